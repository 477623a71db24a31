//! Sums that neither overflow nor underflow before their result does: traces, Frobenius norms, lengths.

use crate::mat::Mat;
use crate::scalar::Scalar;

/// value · scale, the scale being the largest magnitude that was summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled {
    pub value: f64,
    pub scale: f64,
}

impl Scaled {
    pub fn get(self) -> f64 {
        self.value * self.scale
    }

    /// The product of two: scales first, since only their product has the size of the result.
    pub fn times(self, other: Self) -> f64 {
        (self.scale * other.scale) * (self.value * other.value)
    }
}

fn largest(x: impl Iterator<Item = f64>) -> f64 {
    x.fold(0.0, |max, x| if max.is_nan() || x.abs() <= max { max } else { x.abs() })
}

/// Σ x_i.
pub(super) fn sum(x: impl Iterator<Item = f64> + Clone) -> Scaled {
    let scale = largest(x.clone());
    let value = if scale > 0.0 { x.map(|x| x / scale).sum() } else { 0.0 };
    Scaled { value, scale }
}

/// √Σ x_i².
pub(super) fn length(x: impl Iterator<Item = f64> + Clone) -> Scaled {
    let scale = largest(x.clone());
    let value = if scale > 0.0 { x.map(|x| (x / scale).powi(2)).sum::<f64>().sqrt() } else { 0.0 };
    Scaled { value, scale }
}

/// tr M.
pub(super) fn trace<T: Scalar>(m: &Mat<T>) -> Scaled {
    sum((0..m.nrows()).map(|i| m[(i, i)].f64()))
}

/// ‖M‖_F.
pub(super) fn frobenius<T: Scalar>(m: &Mat<T>) -> Scaled {
    length(m.as_slice().iter().map(|x| x.f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_sizes_pass_through() {
        let (huge, tiny) = ([1e308, 1e308], [3e-308, 4e-308]);
        let near = |got: f64, want: f64| (got / want - 1.0).abs() <= 8.0 * f64::EPSILON;
        assert!(near(length(tiny.into_iter()).get(), 5e-308));
        assert!(near(length([3e200, 4e200].into_iter()).get(), 5e200));
        assert!(near(sum(huge.into_iter()).times(sum(tiny.into_iter())), 14.0));
        assert_eq!(sum([0.0, 0.0].into_iter()).get(), 0.0);
        assert!(length([f64::NAN, 1.0].into_iter()).get().is_nan());
        assert!(sum([1.0, f64::NAN].into_iter()).get().is_nan());
    }
}
