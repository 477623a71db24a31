//! [`Certificate`]: what can be verified about one solve of (C + λM) X = B, by products with C itself.
//!
//! ```text
//! residual         r = b - C x - λ M x, by the curvature's own product, subtracted in f64
//! backward error   ‖r‖ / (‖C + λM‖ ‖x‖ + ‖b‖): how far the system lies that x solves exactly
//! condition        θ(C + λM) θ((C + λM)⁻¹), each θ a Ritz value of a few Lanczos steps, on the operator and on the solver
//! ```
//! The residual knows nothing of the solver: a solver with a stale λ, or of another matrix, is exposed by it. Both
//! Ritz values are lower bounds, so the condition is a lower bound of the true one (for an iterative solver up to its
//! tolerance), and the backward error, which divides by the first, an upper bound.
//!
//! Deviations  M = I unless the curvature carries a metric.
//! Cost        one product with B's block; [`STEPS`] products and solves of one column for the condition.
//! Laws        tests/certificates.rs.
//! Reference   N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 7.1 (J. L. Rigal,
//!             J. Gaches, On the compatibility of a given solution with the data of a linear system, J. ACM 14 (1967),
//!             doi:10.1145/321406.321416).

use std::fmt;

use super::{Curvature, DampedSolver, Damping, Fidelity, Recovery, SolvePath, SolveReport};
use crate::backend::{Ctx, sums};
use crate::error::{Result, check_shape};
use crate::krylov::largest_ritz_value;
use crate::linop::{LinearOperator, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Lanczos steps of [`certify`] for each of the two extreme eigenvalues.
pub const STEPS: usize = 16;

/// The seed of their starts: equal solves, equal certificates.
const SEED: u64 = 0x0CE2_71F1;

/// How a solve went, verified; see [`certify`].
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// λ of the solver.
    pub damping: f64,
    /// ‖b - (C + λM) x‖ / ‖b‖ of each column: 0 where both vanish, infinite where b = 0 is missed or x is not finite.
    pub residuals: Vec<f64>,
    /// The largest of them.
    pub relative_residual: f64,
    /// The largest ‖r‖ / (θ ‖x‖ + ‖b‖) over the columns.
    pub backward_error: f64,
    /// θ(C + λM): a lower bound for the largest eigenvalue.
    pub norm: f64,
    /// A lower bound for the condition number of C + λM (of the nearby matrix, for a factored solver).
    pub condition: f64,
    /// The algorithm.
    pub path: SolvePath,
    /// What the factorization needed beyond a first attempt.
    pub recovery: Recovery,
    /// Which system was solved.
    pub fidelity: Fidelity,
    /// What rounding explains of a backward error: 16 max(n, 1) ε.
    pub rounding: f64,
    /// The solver's own report, where the solve was made here.
    pub report: Option<SolveReport>,
}

impl Certificate {
    /// Whether the solve is as good as the arithmetic allows: the backward error is explained by rounding.
    pub fn is_backward_stable(&self) -> bool {
        self.backward_error <= self.rounding
    }

    /// Whether the solver says that it solves a nearby system on purpose, so that a residual beyond rounding is the
    /// gap of Eq 24 and no fault.
    pub fn solves_nearby_system(&self) -> bool {
        self.fidelity == Fidelity::Factored
    }

    /// An estimate of ‖x - x*‖ / ‖x*‖: condition times backward error. No bound: the condition is one from below.
    pub fn forward_error_estimate(&self) -> f64 {
        self.condition * self.backward_error
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "relative residual {:.1e}, backward error {:.1e}, condition at least {:.1e}, damping {:e}, path {:?}",
            self.relative_residual, self.backward_error, self.condition, self.damping, self.path
        )?;
        match self.recovery {
            Recovery::None => {}
            Recovery::HigherPrecision => write!(f, ", factored in higher precision")?,
            Recovery::ClippedSpectrum { count, floor } => write!(f, ", {count} eigenvalues raised to {floor:.1e}")?,
        }
        if self.solves_nearby_system() {
            write!(f, "; the system solved is a nearby one (factored damping), and the residual shows how near")?;
        }
        Ok(())
    }
}

/// Checks X against (C + λM) X = B, λ being the one that the solver states.
///
/// ```
/// use pullback::curvature::{Dense, certified_solve};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = Dense::new(Mat::from_diagonal(&[0.0, 99.0]))?;
/// let solver = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 1.0), Mat::zeros(2, 1));
/// let certificate = certified_solve(&ctx, &c, &solver, b.as_ref(), x.as_mut())?;
/// assert!(certificate.is_backward_stable());
/// assert!((certificate.condition - 100.0).abs() < 1e-9);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), those of the products, and those of the solver in the condition estimate. A
/// bad X is no error: its certificate says so.
pub fn certify<T, C, D>(
    ctx: &Ctx<T>,
    curvature: &C,
    solver: &D,
    b: MatRef<'_, T>,
    x: MatRef<'_, T>,
) -> Result<Certificate>
where
    T: Scalar,
    C: Curvature<T> + ?Sized,
    D: DampedSolver<T> + ?Sized,
{
    let n = curvature.dim();
    check_shape("certify: solver", (n, n), (solver.dim(), solver.dim()))?;
    check_shape("certify: B", (n, b.ncols()), b.shape())?;
    check_shape("certify: X", b.shape(), x.shape())?;
    let lambda = solver.damping();
    let residuals = residual_norms(ctx, curvature, lambda, b, x)?;
    let (norm, condition) = condition_estimate(ctx, curvature, solver, STEPS, SEED)?;
    let (mut relative, mut backward) = (Vec::with_capacity(b.ncols()), 0f64);
    for (&r, (b, x)) in residuals.iter().zip(b.cols().zip(x.cols())) {
        let (b, x) = (length(b), length(x));
        relative.push(quotient(r, b));
        // an unknown norm must not make the error look small
        let this = if norm.is_finite() { quotient(r, norm * x + b) } else { f64::INFINITY };
        backward = if this <= backward { backward } else { this };
    }
    Ok(Certificate {
        damping: lambda.get().f64(),
        relative_residual: relative.iter().fold(0.0, |max: f64, &r| max.max(r)),
        residuals: relative,
        backward_error: backward,
        norm,
        condition,
        path: solver.path(),
        recovery: solver.recovery(),
        fidelity: solver.fidelity(),
        rounding: 16.0 * n.max(1) as f64 * T::EPS.f64(),
        report: None,
    })
}

/// X ← the solver's solution for B, and its certificate, with the solver's own report.
///
/// # Errors
/// Those of [`DampedSolver::solve`] and of [`certify`].
pub fn certified_solve<T, C, D>(
    ctx: &Ctx<T>,
    curvature: &C,
    solver: &D,
    b: MatRef<'_, T>,
    mut x: MatMut<'_, T>,
) -> Result<Certificate>
where
    T: Scalar,
    C: Curvature<T> + ?Sized,
    D: DampedSolver<T> + ?Sized,
{
    let report = solver.solve(ctx, b, x.rb_mut())?;
    Ok(Certificate { report: Some(report), ..certify(ctx, curvature, solver, b, x.rb())? })
}

/// (θ, θ θ') with θ <= ‖C + λM‖ and θ' <= ‖(C + λM)⁻¹‖ by at most `steps` Lanczos steps each, on the operator and on the
/// solver: lower bounds of the norm and of the condition number, which is 1 for order 0.
///
/// # Errors
/// Those of the products and of the solver.
pub fn condition_estimate<T, C, D>(
    ctx: &Ctx<T>,
    curvature: &C,
    solver: &D,
    steps: usize,
    seed: u64,
) -> Result<(f64, f64)>
where
    T: Scalar,
    C: Curvature<T> + ?Sized,
    D: DampedSolver<T> + ?Sized,
{
    let n = curvature.dim();
    if n == 0 {
        return Ok((0.0, 1.0));
    }
    let lambda = solver.damping();
    let largest = largest_ritz_value(ctx, &Damped { curvature, lambda }, steps, seed)?;
    let inverse = largest_ritz_value(ctx, &Solves(solver), steps, seed)?;
    // no condition number is below 1; a NaN must stay one
    let condition = largest.value * inverse.value;
    Ok((largest.value, if condition < 1.0 { 1.0 } else { condition }))
}

/// C + λM.
struct Damped<'a, T, C: ?Sized> {
    curvature: &'a C,
    lambda: Damping<T>,
}

impl<T: Scalar, C: Curvature<T> + ?Sized> LinearOperator<T> for Damped<'_, T, C> {
    fn shape(&self) -> (usize, usize) {
        self.curvature.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.curvature.apply(ctx, x, y.rb_mut())?;
        self.curvature.add_damping(ctx, self.lambda, x, y)
    }
}
impl<T: Scalar, C: Curvature<T> + ?Sized> SelfAdjoint<T> for Damped<'_, T, C> {}

/// What a solver does, as an operator: for an iterative one self-adjoint up to its tolerance only.
struct Solves<'a, D: ?Sized>(&'a D);

impl<T: Scalar, D: DampedSolver<T> + ?Sized> LinearOperator<T> for Solves<'_, D> {
    fn shape(&self) -> (usize, usize) {
        (self.0.dim(), self.0.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.0.solve(ctx, x, y).map(|_| ())
    }
}
impl<T: Scalar, D: DampedSolver<T> + ?Sized> SelfAdjoint<T> for Solves<'_, D> {}

/// ‖b - C x - λ M x‖ of each column.
fn residual_norms<T: Scalar, C: Curvature<T> + ?Sized>(
    ctx: &Ctx<T>,
    curvature: &C,
    lambda: Damping<T>,
    b: MatRef<'_, T>,
    x: MatRef<'_, T>,
) -> Result<Vec<f64>> {
    let (n, k) = b.shape();
    let (mut product, mut damped) = (ctx.scratch(n, k), ctx.scratch(n, k));
    curvature.apply(ctx, x, product.as_mut())?;
    damped.as_mut_slice().fill(T::ZERO);
    curvature.add_damping(ctx, lambda, x, damped.as_mut())?;
    let terms = product.as_ref().cols().zip(damped.as_ref().cols());
    let columns = b.cols().zip(terms);
    Ok(columns
        .map(|(b, (cx, mx))| {
            let terms = b.iter().zip(cx.iter().zip(mx));
            sums::length(terms.map(|(b, (cx, mx))| (b.f64() - cx.f64()) - mx.f64())).get()
        })
        .collect())
}

fn length<T: Scalar>(x: &[T]) -> f64 {
    sums::length(x.iter().map(|x| x.f64())).get()
}

/// r / size: 0 for 0 / 0, infinite where it is not finite.
fn quotient(r: f64, size: f64) -> f64 {
    let quotient = if r == 0.0 && size == 0.0 { 0.0 } else { r / size };
    if quotient.is_finite() { quotient } else { f64::INFINITY }
}
