//! Eigenvalues alone, by a path that shares nothing with any backend: reflections to tridiagonal form, then bisection
//! on the inertia, all in `f64` at the scale of 1.
//!
//! Cost        4n³ flops for the reflections, about 60 n² divisions for the bisection.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., algorithm 8.3.1 and section 8.4.1.

use super::gallery::reflect;
use crate::backend::check::power_of_two_scale;
use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// Orthogonal similarity that leaves a symmetric matrix with entries only within `half_bandwidth` > 0 of the diagonal.
pub(super) fn reduce_to_band(a: &mut Mat<f64>, half_bandwidth: usize) {
    let n = a.nrows();
    let mut v = vec![0.0; n];
    for j in 0..n.saturating_sub(half_bandwidth + 1) {
        let first = j + half_bandwidth;
        let below = &a.as_ref().col(j)[first..];
        if below[1..].iter().all(|&x| x == 0.0) {
            continue;
        }
        let norm = below.iter().map(|x| x * x).sum::<f64>().sqrt();
        // the sign that adds: no cancellation
        let kept = if below[0] > 0.0 { -norm } else { norm };
        v[..first].fill(0.0);
        v[first..].copy_from_slice(below);
        v[first] -= kept;
        let norm2: f64 = v[first..].iter().map(|x| x * x).sum();
        if norm2 > 0.0 {
            reflect(a, &v, 2.0 / norm2, j);
        }
        for i in first..n {
            let exact = if i == first { kept } else { 0.0 };
            (a[(i, j)], a[(j, i)]) = (exact, exact);
        }
    }
}

/// How many eigenvalues of the tridiagonal (d, e) lie below x: the negative pivots of T - x I.
fn count_below(d: &[f64], e2: &[f64], x: f64) -> usize {
    let mut pivot = 1.0;
    let mut count = 0;
    for (i, &d) in d.iter().enumerate() {
        pivot = d - x - if i > 0 { e2[i - 1] / pivot } else { 0.0 };
        if pivot == 0.0 {
            pivot = -f64::MIN_POSITIVE; // as if x were a little larger
        }
        count += usize::from(pivot < 0.0);
    }
    count
}

/// The eigenvalues of a symmetric matrix (lower triangle read), ascending, in `f64`: the values-only path against which
/// a backend's eigenvalues are judged. All NaN where an entry is not finite.
///
/// ```
/// use pullback::{Mat, testing::lapack::eigenvalues};
/// let w = eigenvalues(Mat::from_diagonal(&[3.0f32, -1.0]).as_ref());
/// assert!((w[0] + 1.0).abs() < 1e-15 && (w[1] - 3.0).abs() < 1e-15);
/// ```
pub fn eigenvalues<T: Scalar>(a: MatRef<'_, T>) -> Vec<f64> {
    let n = a.nrows().min(a.ncols());
    let wide = Mat::from_fn(n, n, |i, j| a.at(i.max(j), i.min(j)).f64());
    if !wide.as_ref().is_finite() {
        return vec![f64::NAN; n];
    }
    let scale = power_of_two_scale(wide.as_ref());
    let mut t = wide.map(|x| scale.scale(x));
    reduce_to_band(&mut t, 1);
    let d: Vec<f64> = (0..n).map(|i| t[(i, i)]).collect();
    let e2: Vec<f64> = (1..n).map(|i| t[(i, i - 1)].powi(2)).collect();
    // Gershgorin, opened a little
    let radius = |i: usize| if i < n { e2.get(i).map_or(0.0, |e| e.sqrt()) } else { 0.0 };
    let bound = (0..n).map(|i| d[i].abs() + radius(i) + if i > 0 { radius(i - 1) } else { 0.0 }).fold(0.0, f64::max);
    let bound = bound * (1.0 + 4.0 * f64::EPSILON) + f64::MIN_POSITIVE;
    let bisect = |k: usize| {
        let (mut low, mut high) = (-bound, bound);
        while high - low > 0.25 * f64::EPSILON * bound {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if count_below(&d, &e2, middle) > k { high = middle } else { low = middle }
        }
        0.5 * (low + high)
    };
    (0..n).map(|k| scale.unscale(bisect(k))).collect()
}
