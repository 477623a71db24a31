//! LSQR: damped least squares by Golub-Kahan bidiagonalization, seeing A (M x N) only through products with A and Aᵀ.
//!
//! Problem     minimize ‖A x - b‖² + λ‖x‖².
//! Recurrence  two plane rotations an iteration turn the bidiagonal matrix, with √λ below it, into an upper bidiagonal R:
//!             w = v - (θ/ρ) w,   x += (φ/ρ) w.
//!             In exact arithmetic the x are those of conjugate gradient on (AᵀA + λI) x = Aᵀb: ‖r̄‖ falls
//!             monotonically (Ā = [A; √λ I]), and the error in the norm of ĀᵀĀ like 2 ((κ - 1)/(κ + 1))^k, κ = cond Ā.
//! Deviations  those of [`lsmr`](super::lsmr), whose options, report and bidiagonalization it shares; it takes a vector
//!             less, and gives a smaller ‖r̄‖ but a ‖Āᵀr̄‖ that may rise.
//! Cost        one product with A and one with Aᵀ, 6M + 16N flops an iteration; three products more in all. Scratch:
//!             2M + 3N numbers.
//! Laws        tests/lsqr.rs.
//! Reference   C. C. Paige, M. A. Saunders, LSQR: An algorithm for sparse linear equations and sparse least squares, ACM
//!             Trans. Math. Softw. 8 (1982) 43-71, doi 10.1145/355984.355989, sections 4 and 5.

use super::golub_kahan::{GolubKahan, combine, moves_finitely, rotation};
use super::lsmr_options::Progress;
use super::{LsmrOptions, LsmrReport, LsmrStop};
use crate::backend::sums::norm;
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Result, check_len};
use crate::linop::TransposeOperator;
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// Minimizes ‖A x - b‖² + λ‖x‖² from x = 0. Without λ and with a deficient rank, x has the least norm.
///
/// Nothing is allocated beyond the context's scratch. Whatever the reason to stop, x is finite.
///
/// ```
/// use pullback::krylov::{LsmrOptions, lsqr};
/// use pullback::{Ctx, Mat, linop::DenseOperator};
/// let ctx = Ctx::<f64>::default();
/// let a = DenseOperator::new(Mat::from_vec(vec![1.0, 1.0], 2, 1)?);
/// let mut x = [0.0];
/// let report = lsqr(&ctx, &a, &[1.0, 2.0], &mut x, &LsmrOptions { damping: 1.0, ..LsmrOptions::default() })?;
/// assert!((x[0] - 1.0).abs() < 1e-14); // (AᵀA + 1)⁻¹ Aᵀb = 3 / 3
/// assert_eq!(report.iterations, 1);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the options,
/// and those of the operator. Everything else is an [`LsmrStop`].
pub fn lsqr<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn TransposeOperator<T>,
    b: &[T],
    x: &mut [T],
    opts: &LsmrOptions<T>,
) -> Result<LsmrReport> {
    opts.check()?;
    let (m, n) = a.shape();
    check_len("lsqr: b", m, b.len())?;
    check_len("lsqr: x", n, x.len())?;
    x.fill(T::ZERO);
    let scale = check::power_of_two_scale(MatRef::from_column(b)).factor();
    let mut basis = GolubKahan::new(ctx, a, b, scale);
    let mut report = iterate(&mut basis, ctx.scratch(n, 1), x, opts)?;
    basis.finish(b, x, scale, opts.damping, &mut report)?;
    Ok(report)
}

/// The scalars of the rotations, named as in the paper.
struct Rotations {
    phibar: f64,
    rhobar: f64,
    /// Σ ψ²: what damping adds to ‖r̄‖².
    psi2: f64,
    /// ‖B‖_F and ‖D‖²_F of section 5.3.
    norm_a: f64,
    norm_d2: f64,
}

/// What one iteration needs to move x and w, and to stop.
struct Moves {
    x: f64,
    w: f64,
    rho: f64,
    norm_a: f64,
    residual: f64,
    normal_residual: f64,
}

fn iterate<T: Scalar>(
    basis: &mut GolubKahan<'_, T>,
    mut w: Scratch<'_, T>,
    x: &mut [T],
    opts: &LsmrOptions<T>,
) -> Result<LsmrReport> {
    let mut report = LsmrReport::at_start();
    let damp = opts.damping.f64().sqrt();
    let Some((mut alpha, norm_b)) = basis.start()? else {
        return Ok(report); // b = 0, even where A holds NaN, or Aᵀb = 0: x = 0
    };
    let threshold = opts.normal_tolerance.f64() * (alpha * norm_b);
    let mut s = Rotations { phibar: norm_b, rhobar: alpha, psi2: 0.0, norm_a: alpha, norm_d2: 0.0 };
    w.as_mut_slice().copy_from_slice(basis.v());
    report.stop = LsmrStop::IterationLimit;
    while report.iterations < opts.max_iterations {
        let beta;
        (alpha, beta) = basis.advance(alpha)?;
        let m = s.rotate(alpha, beta, damp);
        let step = T::of(m.x);
        if !(m.x.is_finite() && alpha.is_finite() && moves_finitely(x, step, w.as_slice())) {
            report.stop = LsmrStop::Breakdown;
            break;
        }
        s.norm_d2 += (norm(w.as_slice()) / m.rho).powi(2);
        x.iter_mut().zip(w.as_slice()).for_each(|(x, &w)| *x += step * w);
        combine(w.as_mut_slice(), -T::of(m.w), basis.v());
        report.iterations += 1;
        (report.operator_norm, report.condition) = (m.norm_a, (m.norm_a * s.norm_d2.sqrt()).max(1.0));
        let (residual, normal_residual) = (m.residual, m.normal_residual);
        let progress = Progress { residual, normal_residual, solution: norm(x), norm_b, threshold };
        if let Some(stop) = report.judge(progress, opts) {
            report.stop = stop;
            break;
        }
    }
    Ok(report)
}

impl Rotations {
    /// One iteration's rotations and estimates; α and β are the new ones.
    fn rotate(&mut self, alpha: f64, beta: f64, damp: f64) -> Moves {
        let norm_a = self.norm_a.hypot(beta).hypot(damp);
        self.norm_a = norm_a.hypot(alpha);
        let (c, s, rhobar) = rotation(self.rhobar, damp);
        self.psi2 += (s * self.phibar).powi(2);
        let phibar = c * self.phibar;
        let (c, s, rho) = rotation(rhobar, beta);
        let phi = c * phibar;
        self.phibar = s * phibar;
        self.rhobar = -c * alpha;
        Moves {
            x: phi / rho,
            w: s * alpha / rho,
            rho,
            norm_a,
            residual: self.phibar.hypot(self.psi2.sqrt()),
            normal_residual: alpha * (s * phi).abs(),
        }
    }
}
