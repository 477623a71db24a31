//! The Euclidean norm at any scale.

use crate::backend::check;
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// ‖x‖, summed in f64 at the scale of 1: it overflows or vanishes only where the norm does; NaN where x holds one.
pub(crate) fn norm<T: Scalar>(x: &[T]) -> f64 {
    let scale = check::power_of_two_scale(MatRef::from_column(x)).factor();
    x.iter().map(|&x| (x * scale).f64().powi(2)).sum::<f64>().sqrt() / scale.f64()
}
