//! The largest eigenvalue of a symmetric positive semidefinite operator, by a few Lanczos steps.
//!
//! ```text
//! A q_j = β_j-1 q_j-1 + α_j q_j + β_j q_j+1,   θ = the largest eigenvalue of the tridiagonal T_k
//! θ <= λ_max,   some eigenvalue of A within β_k |s_k| of θ,   s the eigenvector of T_k for θ
//! ```
//! From a random start, the expected relative error of θ after k < n steps is at most 0.103 (ln n / (k - 1))²; after n
//! steps it is rounding. θ is a lower bound for λ_max up to rounding; nothing bounds λ_max from above.
//!
//! Deviations  Full reorthogonalization, twice, since k is small.
//! Cost        k products, 4nk² flops, k n-vectors.
//! Laws        tests/certificates.rs.
//! Reference   J. Kuczyński, H. Woźniakowski, Estimating the largest eigenvalue by the power and Lanczos algorithms with
//!             a random start, SIAM J. Matrix Anal. Appl. 13 (1992), doi:10.1137/0613066.

use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::SymEigen;
use crate::mat::Mat;
use crate::random::Draws;
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

/// The largest eigenvalue of an operator of order n by at most `steps` Lanczos steps from a random start.
///
/// `product(v, out)` writes A v. Equal seeds, equal values.
///
/// ```
/// use pullback::krylov::largest_ritz_value;
/// let product = |v: &[f64], out: &mut [f64]| {
///     out.iter_mut().zip(v).enumerate().for_each(|(i, (o, v))| *o = (i + 1) as f64 * v);
///     Ok(())
/// };
/// let found = largest_ritz_value(5, 5, 7, product)?;
/// assert!((found.value - 5.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// Those of the product. A product that is not finite gives a value that is not finite.
pub fn largest_ritz_value<T: Scalar>(
    n: usize,
    steps: usize,
    seed: u64,
    mut product: impl FnMut(&[T], &mut [T]) -> Result<()>,
) -> Result<RitzValue> {
    let mut draws = Draws::new(seed, 0);
    let mut basis: Vec<Vec<T>> = Vec::new();
    let (mut alphas, mut betas): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next: Vec<T> = (0..n).map(|_| T::of(draws.normal())).collect();
    let mut length = norm(&next);
    for _ in 0..steps.min(n) {
        let inverse = T::of(1.0 / length);
        next.iter_mut().for_each(|x| *x *= inverse);
        let mut image = vec![T::ZERO; n];
        product(&next, &mut image)?;
        let alpha = dot(&next, &image);
        let size = norm(&image);
        basis.push(next);
        alphas.push(alpha);
        if !size.is_finite() {
            return Ok(RitzValue { value: size, residual: f64::INFINITY, steps: alphas.len() });
        }
        // twice is enough
        for _ in 0..2 {
            for q in &basis {
                let along = T::of(-dot(q, &image));
                image.iter_mut().zip(q).for_each(|(x, &q)| *x += along * q);
            }
        }
        length = norm(&image);
        next = image;
        betas.push(length);
        if length <= T::EPS.f64() * size {
            break; // an invariant subspace
        }
    }
    tridiagonal(&alphas, &betas)
}

/// The largest eigenpair of T_k.
fn tridiagonal(alphas: &[f64], betas: &[f64]) -> Result<RitzValue> {
    let k = alphas.len();
    let t = Mat::from_fn(k, k, |i, j| match i.abs_diff(j) {
        0 => alphas[i],
        1 => betas[i.min(j)],
        _ => 0.0,
    });
    let eigen = SymEigen::new(&Ctx::<f64>::reference(), t)?;
    let Some(&value) = eigen.values().last() else {
        return Ok(RitzValue { value: 0.0, residual: 0.0, steps: 0 });
    };
    let last = eigen.vectors().at(k - 1, k - 1).abs();
    Ok(RitzValue { value, residual: betas[k - 1] * last, steps: k })
}

fn dot<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x.f64() * y.f64()).sum()
}

/// ‖x‖ by the scale of its largest entry, so that no square overflows or underflows.
fn norm<T: Scalar>(x: &[T]) -> f64 {
    let largest = x.iter().fold(0f64, |max, x| if max.is_nan() || x.f64().abs() <= max { max } else { x.f64().abs() });
    if largest > 0.0 && largest.is_finite() {
        largest * x.iter().map(|x| (x.f64() / largest).powi(2)).sum::<f64>().sqrt()
    } else {
        largest
    }
}
