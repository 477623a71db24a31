//! XTrace: Hutch++ in which every probe serves the sketch and the remainder, each left out in turn.
//!
//! ```text
//! Y = A Ω,  Ω = [ω_1 ... ω_k] Gaussian,  k = ⌊s/2⌋,      Q_i = orth(A ω_j, j ≠ i),      P_i = I - Q_i Q_iᵀ
//! t_i = tr(Q_iᵀA Q_i) + ν_iᵀA ν_i,       ν_i = √(n - rank Q_i) P_i ω_i / ‖P_i ω_i‖
//! tr A ≈ 1/k Σ t_i ± (Σ (t_i - mean)² / (k (k - 1)))^(1/2)
//! ```
//! All Q_i come from one Q R = Y: Q_i Q_iᵀ = Q (I - s_i s_iᵀ) Qᵀ with s_i along column i of R⁻ᵀ. Each t_i is unbiased:
//! ω_i is independent of Q_i, and P_i ω_i has a uniform direction in the range of P_i. The t_i are exchangeable, not
//! independent: the standard error is that of the paper, close to the truth but not exactly unbiased.
//! Exact (to rounding) where rank A < k, and where s >= n, which is answered by n unit vectors.
//!
//! Cost        k + r products in blocks, r <= k the rank of Y; 16nk² + O(k³) flops; 4nk numbers.
//! Deviations  Where Y has dependent columns (r < k), leaving one out does not change the range of a generic Ω, and
//!             s_i = 0; directions of Y below 8 √n ε of a column count as dependent, which moves the mean by rounding.
//! Laws        tests/estimators.rs.
//! Reference   E. N. Epperly, J. A. Tropp, R. J. Webber, SIAM J. Matrix Anal. Appl. 45 (2024) 1-23,
//!             doi 10.1137/23M1548323, arXiv:2301.07825 (section 2.3 for the normalized probes).

use super::{Budget, Estimate, Probe, Sample, dot, exact_trace, products};
use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::ThinQr;
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, MatRef, Op, Side};
use crate::scalar::Scalar;

/// tr A from at most `budget.products` products (at least 4).
///
/// ```text
/// 1/k Σ t_i ± (Σ (t_i - mean)² / (k (k - 1)))^(1/2)
/// ```
///
/// ```
/// use pullback::krylov::{Budget, xtrace};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ones = SymmetricDense::new(Mat::from_fn(50, 50, |_, _| 1.0))?; // rank 1
/// let trace = xtrace(&Ctx::<f64>::default(), &ones, Budget::new(6, 1))?;
/// assert!((trace.value - 50.0).abs() < 1e-11);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the budget,
/// [`Error::NotFinite`](crate::Error::NotFinite), those of the operator.
pub fn xtrace<T: Scalar>(ctx: &Ctx<T>, a: &(impl SelfAdjoint<T> + ?Sized), budget: Budget) -> Result<Estimate> {
    budget.check(4)?;
    let n = a.dim();
    if budget.products >= n {
        return exact_trace(ctx, a, budget.block);
    }
    let k = budget.products / 2;
    let mut omega = Mat::zeros(n, k);
    Probe::Gaussian.fill(budget.seed, 0, omega.as_mut());
    let y = products(ctx, a, omega.as_ref(), budget.block)?;
    let qr = ThinQr::new(ctx, y.as_ref())?;
    let r = qr.rank();
    let z = products(ctx, a, qr.q().as_ref(), budget.block)?;
    let transposed_product = |left: &Mat<T>, right: &Mat<T>| -> Result<Mat<T>> {
        let mut out = Mat::zeros(left.ncols(), right.ncols());
        ctx.gemm(T::ONE, left.as_ref(), Op::Transpose, right.as_ref(), Op::No, T::ZERO, out.as_mut())?;
        Ok(out)
    };
    let h = transposed_product(qr.q(), &z)?; // QᵀA Q
    let w = transposed_product(qr.q(), &omega)?; // Qᵀω_i
    let g = transposed_product(&z, &omega)?; // QᵀA ω_i
    let left_out = directions(ctx, &qr, k)?;
    let trace: f64 = (0..r).map(|i| h[(i, i)].f64()).sum();
    let sample = Sample::of((0..k).map(|i| {
        let s = left_out.as_ref().map(|s| s.as_ref().col(i)).unwrap_or(&[]);
        let (omega, y) = (omega.as_ref().col(i), y.as_ref().col(i));
        let on_range = trace - form(h.as_ref(), s, s);
        // coefficients of Q_i Q_iᵀ ω_i in Q
        let along = dot(s, &w.as_ref().col(i)[..s.len()]);
        let kept: Vec<T> = (0..r).map(|p| w[(p, i)] - T::of(along) * s.get(p).copied().unwrap_or(T::ZERO)).collect();
        let free = n - r + usize::from(!s.is_empty());
        let length = dot(omega, omega) - dot(&kept, &kept);
        let energy = dot(omega, y) - 2.0 * dot(&kept, g.as_ref().col(i)) + form(h.as_ref(), &kept, &kept);
        // n > 2k > r: P_i ω_i is zero with probability 0
        on_range + free as f64 / length * energy
    }));
    sample.estimate(k + r)
}

/// s_i as column i: the unit vector in the coordinates of Q that is orthogonal to all other columns of Y. `None` where
/// the columns are dependent, so that the others span the whole range.
fn directions<T: Scalar>(ctx: &Ctx<T>, qr: &ThinQr<T>, k: usize) -> Result<Option<Mat<T>>> {
    if qr.rank() < k {
        return Ok(None);
    }
    let mut s = Mat::identity(k);
    ctx.trsm(Side::Left, qr.r().transposed().as_ref(), Op::No, s.as_mut())?;
    for column in s.as_mut().cols_mut() {
        let largest = column.iter().fold(T::ZERO, |m, s| m.max(s.abs()));
        column.iter_mut().for_each(|s| *s /= largest);
        let norm = T::of(dot(column, column).sqrt());
        column.iter_mut().for_each(|s| *s /= norm);
    }
    Ok(Some(s))
}

/// xᵀH y; 0 for empty vectors.
fn form<T: Scalar>(h: MatRef<'_, T>, x: &[T], y: &[T]) -> f64 {
    h.cols().zip(y).map(|(column, y)| dot(&column[..x.len()], x) * y.f64()).sum()
}
