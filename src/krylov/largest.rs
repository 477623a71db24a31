//! The largest eigenvalue of a self-adjoint operator, by a few Lanczos steps from a random start.
//!
//! ```text
//! θ = the largest eigenvalue of T_k <= λ_max,   some eigenvalue of A within β_k |s_k| of θ,   T_k s = θ s
//! ```
//! From a random start, the expected relative error of θ for a semidefinite A after k < n steps is at most
//! 0.103 (ln n / (k - 1))²; after n steps it is rounding. θ is a lower bound for λ_max up to rounding; nothing bounds
//! λ_max from above.
//!
//! Cost        that of [`lanczos`] with reorthogonalization: k products, 4nk² flops, k n-vectors.
//! Laws        tests/certificates.rs.
//! Reference   J. Kuczyński, H. Woźniakowski, Estimating the largest eigenvalue by the power and Lanczos algorithms with
//!             a random start, SIAM J. Matrix Anal. Appl. 13 (1992), doi:10.1137/0613066.

use super::estimate::Probe;
use super::{LanczosOptions, Ritz, lanczos};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::SelfAdjoint;
use crate::mat::Mat;
use crate::scalar::Scalar;

/// What a few Lanczos steps know about the largest eigenvalue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RitzValue {
    /// θ <= λ_max, up to rounding; 0 for the operator of order 0.
    pub value: f64,
    /// ‖A y - θ y‖ for the Ritz vector y: an eigenvalue of A lies within it.
    pub residual: f64,
    /// Products that were made.
    pub steps: usize,
}

/// The largest eigenvalue of A by at most `steps` Lanczos steps from a random start. Equal seeds, equal values.
///
/// ```
/// use pullback::krylov::largest_ritz_value;
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 2.0, 3.0]))?;
/// let found = largest_ritz_value(&Ctx::<f64>::default(), &a, 3, 7)?;
/// assert!((found.value - 3.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// Those of the operator, but one that is not finite: that gives a value of NaN.
pub fn largest_ritz_value<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    steps: usize,
    seed: u64,
) -> Result<RitzValue> {
    let n = a.dim();
    if n == 0 || steps == 0 {
        return Ok(RitzValue { value: 0.0, residual: 0.0, steps: 0 });
    }
    let mut start = Mat::zeros(n, 1);
    Probe::Gaussian.fill(seed, 0, start.as_mut());
    let run = match lanczos(ctx, a, start.as_slice(), LanczosOptions::steps(steps)) {
        Err(Error::NotFinite { .. }) => {
            return Ok(RitzValue { value: f64::NAN, residual: f64::INFINITY, steps: 0 });
        }
        run => run?,
    };
    // in f64, whose range holds every coefficient
    let ritz = Ritz::<f64>::new(&Ctx::reference(), run.alphas(), run.betas())?;
    let residual = ritz.residual_bounds().last().copied().unwrap_or_default();
    Ok(RitzValue { value: ritz.largest(), residual, steps: run.steps() })
}
