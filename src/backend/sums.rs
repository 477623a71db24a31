//! Sums in f64 that neither overflow nor underflow before their result does: traces, norms, inner products.

use super::check;
use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// value · scale, the scale being the largest magnitude that was summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scaled {
    pub value: f64,
    pub scale: f64,
}

impl Scaled {
    pub fn get(self) -> f64 {
        self.value * self.scale
    }
}

/// Π x_i: scales and values apart, since only the product of the scales has the size of the result.
pub(crate) fn product(x: impl IntoIterator<Item = Scaled>) -> f64 {
    let (value, scale) = x.into_iter().fold((1.0, 1.0), |(value, scale), x| (value * x.value, scale * x.scale));
    scale * value
}

fn largest(x: impl Iterator<Item = f64>) -> f64 {
    x.fold(0.0, |max, x| if max.is_nan() || x.abs() <= max { max } else { x.abs() })
}

/// Σ x_i.
pub(crate) fn sum(x: impl Iterator<Item = f64> + Clone) -> Scaled {
    let scale = largest(x.clone());
    let value = if scale > 0.0 { x.map(|x| x / scale).sum() } else { 0.0 };
    Scaled { value, scale }
}

/// √Σ x_i².
pub(crate) fn length(x: impl Iterator<Item = f64> + Clone) -> Scaled {
    let scale = largest(x.clone());
    // 0, infinity and NaN are lengths as they are
    let scaled = scale > 0.0 && scale.is_finite();
    let value = if scaled { x.map(|x| (x / scale).powi(2)).sum::<f64>().sqrt() } else { 1.0 };
    Scaled { value, scale }
}

/// ‖x‖, at the scale of 1 by a power of two: one multiplication an element where [`length`] divides.
pub(crate) fn norm<T: Scalar>(x: &[T]) -> f64 {
    let scale = check::power_of_two_scale(MatRef::from_column(x)).factor();
    sum_of_products(x, x, |x| (x * scale).f64()).sqrt() / scale.f64()
}

/// xᵀy, not scaled.
pub(crate) fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    sum_of_products(x, y, T::f64)
}

/// Σ f(x_i) f(y_i) by eight partial sums, which the compiler can turn into vector instructions.
fn sum_of_products<T: Scalar>(x: &[T], y: &[T], f: impl Fn(T) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut partial = [0f64; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| f(x) * f(y)).sum();
    for (x, y) in xs.zip(ys) {
        for l in 0..LANES {
            partial[l] += f(x[l]) * f(y[l]);
        }
    }
    partial.iter().sum::<f64>() + rest
}

/// tr M.
pub(crate) fn trace<T: Scalar>(m: &Mat<T>) -> Scaled {
    sum((0..m.nrows()).map(|i| m[(i, i)].f64()))
}

/// ‖M‖_F.
pub(crate) fn frobenius<T: Scalar>(m: &Mat<T>) -> Scaled {
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
        assert!(near(product([sum(huge.into_iter()), sum(tiny.into_iter())]), 14.0));
        assert_eq!(sum([0.0, 0.0].into_iter()).get(), 0.0);
        assert!(length([f64::NAN, 1.0].into_iter()).get().is_nan());
        assert_eq!(length([f64::INFINITY, 1.0].into_iter()).get(), f64::INFINITY);
        assert!(near(norm(&[3e-308, 4e-308]), 5e-308) && near(norm(&[3e200, 4e200]), 5e200));
        assert!(sum([1.0, f64::NAN].into_iter()).get().is_nan());
    }
}
