//! Which system to solve for (JᵀJ + λI) x = g, by predicted flops.
//!
//! ```text
//! primal     gram + P³/3 + s 2P²                                                  JᵀJ + λI, P x P
//! kernel     kernel + N³/3 + s (2N² + 2 products)                                 J Jᵀ + λI, N x N
//! CG         s ((i + 1) (2 products + 2P) + 14P i)                                products only
//! LSMR       s ((i + 3/2) 2 products + (6N + 27P) i)                              products only
//! i          min(N, P, ½ √(1 + ‖J‖²/λ) log(2/tolerance))                          expected iterations
//! ```
//! for s right-hand sides. i is the classical bound of conjugate gradient with the largest eigenvalue estimated by a
//! few steps of the power method (from below) and the smallest taken as λ. The rule counts flops, not bytes: a direct
//! path runs at the speed of matrix products, an iterative one at that of the products given, which is lower for a
//! dense J and one right-hand side. A direct path that would hold more than `max_numbers` is left out.
//!
//! Laws        tests/sample_space_choice.rs (the choice is the cheapest prediction, an override is obeyed, crossovers).
//! Reference   J. W. Demmel, Applied Numerical Linear Algebra, section 6.6.4 (the bound).

use super::JacobianCosts;
use crate::error::Result;
use crate::krylov::CgOptions;
use crate::scalar::Scalar;

/// Which system is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SampleSpacePath {
    /// The cheapest of the others by predicted flops.
    #[default]
    Auto,
    /// JᵀJ + λI (P x P), factored.
    Primal,
    /// J Jᵀ + λI (N x N), factored.
    Kernel,
    /// Conjugate gradient with products by J and Jᵀ.
    ConjugateGradient,
    /// LSMR with products by J and Jᵀ.
    Lsmr,
}

/// The two paths with a factorization, whose solvers may precondition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectPath {
    /// JᵀJ + λI (P x P).
    Primal,
    /// J Jᵀ + λI (N x N).
    Kernel,
}

/// How a [`SampleSpace`](super::SampleSpace) is solved.
///
/// ```
/// use pullback::curvature::{SampleSpaceOptions, SampleSpacePath};
/// let options = SampleSpaceOptions::<f64> { path: SampleSpacePath::Kernel, ..SampleSpaceOptions::default() };
/// assert_eq!(options.solves, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct SampleSpaceOptions<T> {
    /// The path, or the choice by cost.
    pub path: SampleSpacePath,
    /// Right-hand sides to come, for the choice.
    pub solves: usize,
    /// Most numbers that a chosen direct path may hold in its square matrix.
    pub max_numbers: usize,
    /// Tolerance and budget of the iterative paths (from zero; the stall rule is conjugate gradient's alone).
    pub iteration: CgOptions<T>,
}

/// Choice by cost for one right-hand side, at most 2²⁸ numbers, CG's defaults.
impl<T: Scalar> Default for SampleSpaceOptions<T> {
    fn default() -> Self {
        Self { path: SampleSpacePath::Auto, solves: 1, max_numbers: 1 << 28, iteration: CgOptions::from_zero() }
    }
}

impl<T: Scalar> SampleSpaceOptions<T> {
    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`CgOptions::check`].
    pub fn check(&self) -> Result<()> {
        self.iteration.check()
    }
}

/// Predicted flops of each path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathCosts {
    /// [`SampleSpacePath::Primal`].
    pub primal: f64,
    /// [`SampleSpacePath::Kernel`].
    pub kernel: f64,
    /// [`SampleSpacePath::ConjugateGradient`].
    pub conjugate_gradient: f64,
    /// [`SampleSpacePath::Lsmr`].
    pub lsmr: f64,
}

impl PathCosts {
    /// The formulas above, for J (n x p), s solves and i iterations each.
    ///
    /// ```
    /// use pullback::curvature::{JacobianCosts, PathCosts, SampleSpacePath};
    /// let wide = PathCosts::predict(100, 10_000, JacobianCosts::dense(100, 10_000), 1, 1e3);
    /// assert_eq!(wide.cheapest(usize::MAX, 100, 10_000), SampleSpacePath::Kernel);
    /// ```
    pub fn predict(n: usize, p: usize, costs: JacobianCosts, solves: usize, iterations: f64) -> Self {
        let (n, p, s, i) = (n as f64, p as f64, solves as f64, iterations);
        let pair = 2.0 * costs.product;
        Self {
            primal: costs.gram + p.powi(3) / 3.0 + s * 2.0 * p * p,
            kernel: costs.kernel + n.powi(3) / 3.0 + s * (2.0 * n * n + pair),
            conjugate_gradient: s * ((i + 1.0) * (pair + 2.0 * p) + 14.0 * p * i),
            lsmr: s * ((i + 1.5) * pair + (6.0 * n + 27.0 * p) * i),
        }
    }

    /// Flops of a path; of the cheapest for [`SampleSpacePath::Auto`].
    pub fn of(&self, path: SampleSpacePath) -> f64 {
        match path {
            SampleSpacePath::Auto => self.primal.min(self.kernel).min(self.conjugate_gradient).min(self.lsmr),
            SampleSpacePath::Primal => self.primal,
            SampleSpacePath::Kernel => self.kernel,
            SampleSpacePath::ConjugateGradient => self.conjugate_gradient,
            SampleSpacePath::Lsmr => self.lsmr,
        }
    }

    /// The path of least flops for J (n x p) among those whose square matrix has at most `max_numbers`; the first of
    /// equals in the order kernel, primal, conjugate gradient, LSMR.
    pub fn cheapest(&self, max_numbers: usize, n: usize, p: usize) -> SampleSpacePath {
        let fits = |order: usize| order as f64 * order as f64 <= max_numbers as f64;
        let mut best = (SampleSpacePath::ConjugateGradient, f64::INFINITY);
        for (path, allowed) in [
            (SampleSpacePath::Kernel, fits(n)),
            (SampleSpacePath::Primal, fits(p)),
            (SampleSpacePath::ConjugateGradient, true),
            (SampleSpacePath::Lsmr, true),
        ] {
            if allowed && self.of(path) < best.1 {
                best = (path, self.of(path));
            }
        }
        best.0
    }
}

/// A choice of a path, and what it was made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathPlan {
    /// The path taken; never [`SampleSpacePath::Auto`].
    pub path: SampleSpacePath,
    /// Predicted flops of every path.
    pub costs: PathCosts,
    /// Expected iterations of the iterative ones.
    pub iterations: f64,
    /// Estimate of ‖J‖², from below.
    pub squared_norm: f64,
}

/// min(N, P, ½ √(1 + ‖J‖²/λ) log(2/tolerance)), at least 1, within the budget.
pub(super) fn expected_iterations<T: Scalar>(
    (n, p): (usize, usize),
    squared_norm: f64,
    lambda: T,
    options: &CgOptions<T>,
) -> f64 {
    let tolerance = options.relative_tolerance.f64().max(T::EPS.f64());
    let bound = 0.5 * (1.0 + squared_norm / lambda.f64()).sqrt() * (2.0 / tolerance).ln();
    bound.min(n.min(p) as f64).min(options.max_iterations as f64).max(1.0)
}

/// The smallest N at which one primal solve with a dense J (N x p) is predicted to take no more flops than one through
/// the kernel: near p, since N²P + N³/3 meets NP² + P³/3 at N = P.
///
/// ```
/// let n = pullback::curvature::kernel_crossover(500);
/// assert!((480..=500).contains(&n));
/// ```
pub fn kernel_crossover(p: usize) -> usize {
    let primal_wins = |n: usize| {
        let costs = PathCosts::predict(n, p, JacobianCosts::dense(n, p), 1, 1.0);
        costs.primal <= costs.kernel
    };
    // kernel - primal is convex in N, negative at 0 and positive at p: one change of sign
    let (mut below, mut above) = (0, p);
    while below < above {
        let middle = below.midpoint(above);
        if primal_wins(middle) { above = middle } else { below = middle + 1 }
    }
    below
}
