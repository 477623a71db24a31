//! BFGS on the inverse Hessian.
//!
//! ```text
//! p = -H g,   H ← (I - s yᵀ/sᵀy) H (I - y sᵀ/sᵀy) + s sᵀ/sᵀy
//!             = H - (u sᵀ + s uᵀ)/sᵀy + (1 + yᵀu/sᵀy) s sᵀ/sᵀy,   u = H y
//! ```
//! H stays symmetric to the bit, positive definite where sᵀy > 0, and H y = s.
//!
//! Cost        one gradient, the search, 2n² flops for p and 8n² for the update; n² numbers of state.
//! Laws        tests/descent_methods.rs (secant equation, positive definiteness, n steps on quadratics, linear coordinates).
//! Reference   C. G. Broyden, IMA J. Appl. Math. 6 (1970) 76-90; R. Fletcher, Comput. J. 13 (1970) 317-322; D. Goldfarb, Math.
//!             Comp. 24 (1970) 23-26; D. F. Shanno, Math. Comp. 24 (1970) 647-656; J. Nocedal, S. J. Wright, Numerical
//!             Optimization (2006), Eq 6.17, 6.20.

use super::line_search::StrongWolfe;
use super::quasi_newton::{CurvatureRule, InitialMatrix};
use super::{AcceptedStep, Descent, Direction, DirectionReport, Objective};
use crate::backend::Ctx;
use crate::backend::sums::dot;
use crate::error::{Result, check_len};
use crate::mat::{MatRef, Op};
use crate::scalar::Scalar;

/// Settings of [`Bfgs`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BfgsOptions {
    /// The first H.
    pub initial: InitialMatrix,
    /// What to do with pairs without curvature.
    pub curvature: CurvatureRule,
}

/// BFGS with the search for the strong Wolfe conditions.
///
/// ```
/// use pullback::optim::{Batches, Bfgs, BfgsOptions, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h, batch) = (Ctx::default(), LeastSquares::new(1, 3, 0.01), Regression::random(1, 3, 9, 1));
/// let mut theta = [1.0, -1.0, 0.5];
/// let mut bfgs = Bfgs::new(BfgsOptions::default())?.with_batches(Batches::Fixed);
/// let norms = (0..12).map(|_| bfgs.step(&ctx, &h, &mut theta, &batch).map(|r| r.gradient_norm.unwrap_or(0.0)));
/// let norms = norms.collect::<Result<Vec<f64>, _>>()?;
/// assert!(norms[11] < 1e-4 * norms[0]);
/// # Ok::<(), pullback::Error>(())
/// ```
pub type Bfgs<T, S = StrongWolfe> = Descent<T, BfgsDirection<T>, S>;

/// p = -H g.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BfgsDirection<T> {
    options: BfgsOptions,
    /// H by columns; empty where it is its first multiple of I.
    inverse: Vec<T>,
    #[cfg_attr(feature = "serde", serde(skip, default = "Vec::new"))]
    change: Vec<T>,
}

impl<T: Scalar> Bfgs<T, StrongWolfe> {
    /// # Errors
    /// As [`BfgsDirection::new`].
    pub fn new(options: BfgsOptions) -> Result<Self> {
        Ok(Self::assemble(BfgsDirection::new(options)?, StrongWolfe::default()))
    }
}

impl<T: Scalar> BfgsDirection<T> {
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for an option outside its domain.
    pub fn new(options: BfgsOptions) -> Result<Self> {
        options.initial.check()?;
        options.curvature.check()?;
        Ok(Self { options, inverse: Vec::new(), change: Vec::new() })
    }

    /// H (n x n by columns); `None` while it is a multiple of I.
    pub fn inverse(&self) -> Option<&[T]> {
        (!self.inverse.is_empty()).then_some(&self.inverse[..])
    }

    fn begin(&mut self, n: usize, sy: f64, yy: f64) {
        let gamma = match self.options.initial {
            InitialMatrix::Fixed(gamma) => gamma,
            InitialMatrix::Scaled => sy / yy,
        };
        self.inverse.resize(n * n, T::ZERO);
        self.inverse.fill(T::ZERO);
        self.inverse.iter_mut().step_by(n + 1).for_each(|h| *h = T::of(gamma));
    }
}

impl<T: Scalar, O: Objective<T> + ?Sized> Direction<T, O> for BfgsDirection<T> {
    fn direction(
        &mut self,
        ctx: &Ctx<T>,
        _objective: &O,
        _batch: &O::Batch,
        _theta: &[T],
        gradient: &[T],
        out: &mut [T],
    ) -> Result<DirectionReport> {
        let n = gradient.len();
        if self.inverse.is_empty() {
            let gamma = T::of(self.options.initial.before_pairs());
            out.iter_mut().zip(gradient).for_each(|(p, &g)| *p = -gamma * g);
        } else {
            check_len("inverse of an optimizer in use", self.inverse.len(), n * n)?;
            let h = MatRef::from_slice(&self.inverse, n, n, n.max(1))?;
            ctx.gemv(-T::ONE, h, Op::No, gradient, T::ZERO, out)?;
        }
        Ok(DirectionReport::default())
    }

    fn accepted(&mut self, ctx: &Ctx<T>, taken: AcceptedStep<'_, T>) -> Result<()> {
        let mut y = std::mem::take(&mut self.change);
        let (s, n) = (taken.step, taken.step.len());
        if let Some(sy) = self.options.curvature.admit(&taken, &mut y) {
            if self.inverse.is_empty() {
                self.begin(n, sy, dot(&y, &y));
            }
            let mut u = ctx.scratch(n, 1);
            let u = u.as_mut().into_slice();
            ctx.gemv(T::ONE, MatRef::from_slice(&self.inverse, n, n, n.max(1))?, Op::No, &y, T::ZERO, u)?;
            let (mixed, square) = (T::of(1.0 / sy), T::of((1.0 + dot(&y, u) / sy) / sy));
            for (j, column) in self.inverse.chunks_exact_mut(n).enumerate() {
                for (i, h) in column.iter_mut().enumerate() {
                    // one expression for (i, j) and (j, i): H stays symmetric to the bit
                    *h += square * (s[i] * s[j]) - mixed * (u[i] * s[j] + u[j] * s[i]);
                }
            }
        }
        self.change = y;
        Ok(())
    }

    fn reset(&mut self) {
        self.inverse.clear();
    }

    fn minimizes_model(&self) -> bool {
        !self.inverse.is_empty() || matches!(self.options.initial, InitialMatrix::Fixed(_))
    }
}
