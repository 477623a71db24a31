//! LAPACK's test ratios: the error of a factorization in units of what rounding explains.
//!
//! ```text
//! Cholesky   ‖A - L Lᵀ‖ / (n ‖A‖ ε)          inverse   ‖I - A X‖ / (n ‖A‖ ‖X‖ ε)
//! solve      ‖B - A X‖ / (‖A‖ ‖X‖ ε)         eigen     ‖A - Q W Qᵀ‖ / (n ‖A‖ ε),  ‖I - Q Qᵀ‖ / (n ε)
//! values     max|w - v| / (max|v| ε)         log det   |log det - exact| / (ε (n κ + |exact|))
//! ```
//! All norms are the 1-norm. Everything is evaluated in `f64` by plain loops, apart from any backend. A ratio is NaN when
//! anything is not finite, so a law reads `assert!(ratio < THRESHOLD)`.
//!
//! Cost        2n³ flops each.
//! Reference   E. Anderson et al., LAPACK Working Note 41 (installation guide), sections on testing.

use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// What LAPACK's own tests allow.
pub const THRESHOLD: f64 = 30.0;

/// The whole symmetric matrix in `f64`, of which only the lower triangle is read.
fn symmetric<T: Scalar>(a: MatRef<'_, T>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.nrows(), |i, j| a.at(i.max(j), i.min(j)).f64())
}

fn wide<T: Scalar>(a: MatRef<'_, T>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a.at(i, j).f64())
}

/// c ← c - a b.
fn subtract_product(c: &mut Mat<f64>, a: &Mat<f64>, b: &Mat<f64>) {
    for (cj, bj) in c.as_mut().cols_mut().zip(b.as_ref().cols()) {
        for (ap, &bpj) in a.as_ref().cols().zip(bj) {
            if bpj != 0.0 {
                cj.iter_mut().zip(ap).for_each(|(c, a)| *c -= a * bpj);
            }
        }
    }
}

/// Largest column sum; NaN when any entry is not finite.
fn norm1(a: &Mat<f64>) -> f64 {
    let sums = a.as_ref().cols().map(|c| c.iter().map(|x| x.abs()).sum::<f64>());
    sums.fold(0.0, |m, s| if s.is_finite() && m.is_finite() { m.max(s) } else { f64::NAN })
}

/// error / (n · scale · ε), and 0 for an exact result of any scale.
fn ratio<T: Scalar>(error: f64, n: usize, scale: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / scale / (n as f64 * T::EPS.f64()) }
}

/// ‖A - L Lᵀ‖ / (n ‖A‖ ε); lower triangles are read.
pub fn cholesky<T: Scalar>(a: MatRef<'_, T>, l: MatRef<'_, T>) -> f64 {
    let a = symmetric(a);
    let l = Mat::from_fn(l.nrows(), l.nrows(), |i, j| if i >= j { l.at(i, j).f64() } else { 0.0 });
    let mut error = a.clone();
    subtract_product(&mut error, &l, &l.transposed());
    ratio::<T>(norm1(&error), a.nrows(), norm1(&a))
}

/// ‖I - A X‖ / (n ‖A‖ ‖X‖ ε) for a symmetric A (lower triangle read) and its inverse X.
pub fn inverse<T: Scalar>(a: MatRef<'_, T>, x: MatRef<'_, T>) -> f64 {
    let (a, x) = (symmetric(a), wide(x));
    let mut error = Mat::identity(a.nrows());
    subtract_product(&mut error, &a, &x);
    ratio::<T>(norm1(&error), a.nrows(), norm1(&a) * norm1(&x))
}

/// The largest ‖b - A x‖ / (‖A‖ ‖x‖ ε) over the columns of A X = B, A symmetric (lower triangle read).
pub fn solve<T: Scalar>(a: MatRef<'_, T>, x: MatRef<'_, T>, b: MatRef<'_, T>) -> f64 {
    let (a, x, mut error) = (symmetric(a), wide(x), wide(b));
    subtract_product(&mut error, &a, &x);
    let norm = norm1(&a);
    let column = |c: &[f64]| c.iter().map(|x| x.abs()).sum::<f64>();
    let ratios = error.as_ref().cols().zip(x.as_ref().cols());
    ratios
        .map(|(e, x)| ratio::<T>(column(e), 1, norm * column(x)))
        .fold(0.0, |m, r| if r.is_nan() || m.is_nan() { f64::NAN } else { m.max(r) })
}

/// ‖A - Q diag(w) Qᵀ‖ / (n ‖A‖ ε), A symmetric (lower triangle read).
pub fn eigen<T: Scalar>(a: MatRef<'_, T>, q: MatRef<'_, T>, w: &[T]) -> f64 {
    let (a, q) = (symmetric(a), wide(q));
    let scaled = Mat::from_fn(q.nrows(), q.ncols(), |i, j| q[(i, j)] * w[j].f64());
    let mut error = a.clone();
    subtract_product(&mut error, &scaled, &q.transposed());
    ratio::<T>(norm1(&error), a.nrows(), norm1(&a))
}

/// ‖I - Q Qᵀ‖ / (n ε).
pub fn orthogonality<T: Scalar>(q: MatRef<'_, T>) -> f64 {
    let q = wide(q);
    let mut error = Mat::identity(q.nrows());
    subtract_product(&mut error, &q, &q.transposed());
    ratio::<T>(norm1(&error), q.nrows(), 1.0)
}

/// |log det - exact| / (ε (n κ + |exact|)): a backward error of n ε ‖A‖ moves log det by n ε κ at most.
pub fn log_determinant<T: Scalar>(computed: T, exact: f64, n: usize, condition: f64) -> f64 {
    let error = (computed.f64() - exact).abs();
    if error == 0.0 { 0.0 } else { error / (T::EPS.f64() * (n as f64 * condition + exact.abs())) }
}

/// max|w_i - v_i| / (max|v_i| ε) for eigenvalues of one matrix by two paths, both ascending.
pub fn eigenvalues<T: Scalar>(w: &[T], v: &[f64]) -> f64 {
    if w.len() != v.len() {
        return f64::NAN;
    }
    let finite_max = |m: f64, x: f64| if m.is_finite() && x.is_finite() { m.max(x) } else { f64::NAN };
    let error = w.iter().zip(v).map(|(w, v)| (w.f64() - v).abs()).fold(0.0, finite_max);
    let scale = v.iter().map(|v| v.abs()).fold(0.0, finite_max);
    ratio::<T>(error, 1, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_results_have_ratio_0_and_a_relative_error_of_n_eps_has_ratio_1() {
        let a = Mat::from_diagonal(&[4.0f64, 16.0]);
        let l = Mat::from_diagonal(&[2.0f64, 4.0]);
        assert_eq!(cholesky(a.as_ref(), l.as_ref()), 0.0);
        let off = a.map(|x| x * (1.0 + 2.0 * f64::EPSILON));
        assert!((cholesky(off.as_ref(), l.as_ref()) - 1.0).abs() < 1e-6);
        assert_eq!(eigen(a.as_ref(), Mat::identity(2).as_ref(), &[4.0, 16.0]), 0.0);
        assert!((eigen(off.as_ref(), Mat::identity(2).as_ref(), &[4.0, 16.0]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn wrong_results_exceed_the_threshold_and_nan_never_passes() {
        let a = Mat::from_diagonal(&[4.0f32, 9.0]);
        let wrong = Mat::from_diagonal(&[0.25f32, 0.112]);
        assert!(inverse(a.as_ref(), wrong.as_ref()) > THRESHOLD);
        assert!(solve(a.as_ref(), wrong.as_ref(), Mat::identity(2).as_ref()) > THRESHOLD);
        assert!(orthogonality(Mat::from_diagonal(&[1.0f32, 1.01]).as_ref()) > THRESHOLD);
        let nan = Mat::from_diagonal(&[f32::NAN, 1.0]);
        assert!(cholesky(a.as_ref(), nan.as_ref()).is_nan());
        assert!(inverse(a.as_ref(), nan.as_ref()).is_nan());
        assert!(solve(a.as_ref(), nan.as_ref(), a.as_ref()).is_nan());
        assert!(eigen(a.as_ref(), nan.as_ref(), &[1.0, 2.0]).is_nan());
        assert!(orthogonality(nan.as_ref()).is_nan());
        assert!(log_determinant(f32::NAN, 1.0, 2, 1.0).is_nan() && log_determinant(1.01f32, 1.0, 2, 1.0) > THRESHOLD);
        assert!(eigenvalues(&[f32::NAN, 1.0], &[0.0, 1.0]).is_nan() && eigenvalues(&[1.0f32], &[]).is_nan());
        assert!(eigenvalues(&[1.0f32, f32::INFINITY], &[0.0, 1.0]).is_nan());
        assert_eq!(eigenvalues(&[0.5, 1.0 + 4.0 * f64::EPSILON], &[0.5, 1.0]), 4.0);
    }
}
