//! One rule for every tolerance: c · n · ε · κ.

use crate::mat::MatRef;
use crate::scalar::Scalar;

/// 16 · max(n, 1) · ε · max(κ, 1): what a backward-stable computation of size n on data of condition κ may lose.
///
/// The constant leaves room for the O(1) factors of error analysis; a law that needs more names its own κ.
pub fn tolerance<T: Scalar>(n: usize, kappa: f64) -> f64 {
    16.0 * n.max(1) as f64 * T::EPS.f64() * kappa.max(1.0)
}

/// max|a - b| / max(|b|), or max|a| where b = 0; NaN when anything is not finite, so that `!(error <= limit)` fails.
pub fn relative_error<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> f64 {
    if a.shape() != b.shape() {
        return f64::NAN;
    }
    let (mut difference, mut scale) = (0f64, 0f64);
    for (a, b) in a.cols().zip(b.cols()) {
        for (&a, &b) in a.iter().zip(b) {
            if !a.is_finite() || !b.is_finite() {
                return f64::NAN;
            }
            difference = difference.max((a.f64() - b.f64()).abs());
            scale = scale.max(b.f64().abs());
        }
    }
    if scale > 0.0 { difference / scale } else { difference }
}
