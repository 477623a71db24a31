//! [`TrustRegionReport`]: what a solver of the trust-region problem found, and what both solvers share.
//!
//! ```text
//! minimize φ(x) = ½ xᵀA x - bᵀx   subject to ‖x‖_M <= Δ
//! x solves it  ⟺  (A + μ M) x = b,  μ >= 0,  μ (Δ - ‖x‖_M) = 0,  A + μ M positive semidefinite
//! ```
//! M is the matrix of which the preconditioner is the inverse, the identity without one; it is never asked for.
//!
//! Laws        tests/trust_region.rs.
//! Reference   A. R. Conn, N. I. M. Gould, Ph. L. Toint, Trust-Region Methods, 2000, doi 10.1137/1.9780898719857.

use super::{CgOptions, CgStop};
use crate::backend::check::{self, PowerOfTwoScale};
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// How a trust-region problem was solved.
///
/// ```
/// use pullback::krylov::{CgOptions, CgStop, gltr};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 1.0]))?;
/// let mut x = [0.0; 2];
/// let report = gltr(&ctx, &a, None, &[3.0, 4.0], 1.0, &mut x, &CgOptions::default())?;
/// assert!(report.on_boundary && report.stop == CgStop::TrustRegionBoundary);
/// assert!((report.multiplier - 4.0).abs() < 1e-12 && (x[0] - 0.6).abs() < 1e-12); // (1 + 4) x = b
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrustRegionReport {
    /// Dimension of the Krylov space that x was sought in, or steps along it.
    pub iterations: usize,
    /// Products with A.
    pub products: usize,
    /// Why it ended. [`CgStop::NonPositiveCurvature`] of Steihaug's method comes with a point on the boundary.
    pub stop: CgStop,
    /// Whether ‖x‖_M = Δ.
    pub on_boundary: bool,
    /// ‖x‖_M, from recurrences.
    pub norm: f64,
    /// φ(x), from recurrences.
    pub model: f64,
    /// μ. Inside it is 0. On the boundary it is exact for [`gltr`](super::gltr), and the estimate xᵀ(b - A x)/‖x‖²_M,
    /// which may be negative, for [`steihaug`](super::steihaug), whose point is in general not stationary there.
    pub multiplier: f64,
    /// The Krylov space of b is used up: x is optimal within it, and what A does orthogonally to it was not seen. Where A
    /// is indefinite there (the hard case), a better point exists that no product with a vector of this space reveals.
    pub exhausted: bool,
}

impl TrustRegionReport {
    /// x = 0, stopped for that reason.
    pub(super) fn at_zero(stop: CgStop) -> Self {
        Self {
            iterations: 0,
            products: 0,
            stop,
            on_boundary: false,
            norm: 0.0,
            model: 0.0,
            multiplier: 0.0,
            exhausted: false,
        }
    }
}

/// The scaled problem: A x̂ = s b with x̂ = s x, radius s Δ, the bound for ‖s b - A x̂‖.
pub(super) struct ScaledProblem {
    pub scale: f64,
    pub radius: f64,
    pub threshold: f64,
}

/// Checks the arguments, sets x to zero, scales b into r. `Err` of the inner result: there is nothing to do.
pub(super) fn enter<T: Scalar>(
    (a, m_inv): (&dyn SelfAdjoint<T>, Option<&dyn Preconditioner<T>>),
    b: &[T],
    radius: f64,
    x: &mut [T],
    opts: &CgOptions<T>,
    r: &mut [T],
) -> Result<std::result::Result<ScaledProblem, TrustRegionReport>> {
    let n = b.len();
    opts.check()?;
    if !(radius > 0.0 && radius.is_finite()) {
        return Err(Error::invalid("radius", format!("{radius} must be finite and positive")));
    }
    check_shape("trust region: A", (n, n), a.shape())?;
    check_len("trust region: x", n, x.len())?;
    if let Some(m_inv) = m_inv {
        check_shape("trust region: preconditioner", (n, n), m_inv.shape())?;
    }
    x.fill(T::ZERO);
    if check::finite_slice("trust region", b).is_err() {
        return Ok(Err(TrustRegionReport::at_zero(CgStop::Breakdown)));
    }
    let power: PowerOfTwoScale<T> = check::power_of_two_scale(MatRef::from_column(b));
    let scale = power.factor();
    r.iter_mut().zip(b).for_each(|(r, &b)| *r = scale * b);
    let norm_b = r.iter().map(|r| r.f64().powi(2)).sum::<f64>().sqrt();
    let scale = scale.f64();
    let threshold = (opts.relative_tolerance.f64() * norm_b).max(opts.absolute_tolerance.f64() * scale);
    if norm_b <= threshold {
        return Ok(Err(TrustRegionReport::at_zero(CgStop::Converged)));
    }
    if opts.max_iterations == 0 {
        return Ok(Err(TrustRegionReport::at_zero(CgStop::IterationLimit)));
    }
    Ok(Ok(ScaledProblem { scale, radius: radius * scale, threshold }))
}
