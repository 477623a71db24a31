//! LSMR: damped least squares by Golub-Kahan bidiagonalization, seeing A (M x N) only through products with A and Aᵀ.
//!
//! Problem     minimize ‖A x - b‖² + λ‖x‖².
//! Recurrence  β u = A v - α u, α v = Aᵀu - β v; three plane rotations an iteration turn the bidiagonal matrix, with √λ
//!             below it, into that of MINRES on the normal equations: ‖Āᵀr̄‖ falls monotonically (Ā = [A; √λ I]).
//! Deviations  b is scaled by a power of two and norms are taken at the scale of 1, in f64, so a scale of b within the
//!             range of T changes no digit. A step is taken only when the new x is finite. ‖r̄‖ and ‖Āᵀr̄‖ are
//!             estimated to stop, and reported from products with the x returned. No reorthogonalization.
//! Cost        one product with A and one with Aᵀ, 6M + 18N flops an iteration; three products more in all. Scratch:
//!             2M + 4N numbers.
//! Laws        tests/lsmr.rs.
//! Reference   D. C.-L. Fong, M. Saunders, LSMR: An iterative algorithm for sparse least-squares problems, SIAM J. Sci.
//!             Comput. 33 (2011) 2950-2971, doi 10.1137/10079687X, sections 2, 3, 5 and 6.

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
/// use pullback::krylov::{LsmrOptions, lsmr};
/// use pullback::{Ctx, Mat, linop::DenseOperator};
/// let ctx = Ctx::<f64>::default();
/// let a = DenseOperator::new(Mat::from_vec(vec![1.0, 1.0], 2, 1)?);
/// let mut x = [0.0];
/// let report = lsmr(&ctx, &a, &[1.0, 2.0], &mut x, &LsmrOptions { damping: 1.0, ..LsmrOptions::default() })?;
/// assert!((x[0] - 1.0).abs() < 1e-14); // (AᵀA + 1)⁻¹ Aᵀb = 3 / 3
/// assert_eq!(report.iterations, 1);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the options,
/// and those of the operator. Everything else is an [`LsmrStop`].
pub fn lsmr<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn TransposeOperator<T>,
    b: &[T],
    x: &mut [T],
    opts: &LsmrOptions<T>,
) -> Result<LsmrReport> {
    opts.check()?;
    let (m, n) = a.shape();
    check_len("lsmr: b", m, b.len())?;
    check_len("lsmr: x", n, x.len())?;
    x.fill(T::ZERO);
    let scale = check::power_of_two_scale(MatRef::from_column(b)).factor();
    let mut run = Run { basis: GolubKahan::new(ctx, a, b, scale), h: ctx.scratch(n, 1), hbar: ctx.scratch(n, 1) };
    let mut report = run.iterate(x, opts)?;
    run.basis.finish(b, x, scale, opts.damping, &mut report)?;
    Ok(report)
}

/// The vectors of one solve.
struct Run<'r, T: Scalar> {
    basis: GolubKahan<'r, T>,
    h: Scratch<'r, T>,
    hbar: Scratch<'r, T>,
}

/// The scalars of the rotations, named as in the paper.
struct Rotations {
    alphabar: f64,
    zetabar: f64,
    zeta: f64,
    rho: f64,
    rhobar: f64,
    cbar: f64,
    sbar: f64,
    // ‖r̄‖ (section 5.1)
    betadd: f64,
    betad: f64,
    rhodold: f64,
    tautildeold: f64,
    thetatilde: f64,
    d: f64,
    // ‖Ā‖ and its condition (sections 5.3, 5.4)
    norm_a: f64,
    max_rhobar: f64,
    min_rhobar: f64,
}

/// What one iteration needs to move h̄, x and h, and to stop.
struct Moves {
    hbar: f64,
    x: f64,
    h: f64,
    norm_r: f64,
    norm_ar: f64,
    norm_a: f64,
    condition: f64,
}

impl<T: Scalar> Run<'_, T> {
    fn iterate(&mut self, x: &mut [T], opts: &LsmrOptions<T>) -> Result<LsmrReport> {
        let mut report = LsmrReport::at_start();
        let damp = opts.damping.f64().sqrt();
        let Some((mut alpha, norm_b)) = self.basis.start()? else {
            return Ok(report); // b = 0, even where A holds NaN, or Aᵀb = 0: x = 0
        };
        let mut s = Rotations::new(alpha, norm_b);
        let threshold = opts.normal_tolerance.f64() * s.zetabar;
        self.h.as_mut_slice().copy_from_slice(self.basis.v());
        self.hbar.as_mut_slice().fill(T::ZERO);
        report.stop = LsmrStop::IterationLimit;
        while report.iterations < opts.max_iterations {
            let beta;
            (alpha, beta) = self.basis.advance(alpha)?;
            let m = s.rotate(alpha, beta, damp, report.iterations);
            combine(self.hbar.as_mut_slice(), -T::of(m.hbar), self.h.as_slice());
            let step = T::of(m.x);
            if !(m.x.is_finite() && alpha.is_finite() && moves_finitely(x, step, self.hbar.as_slice())) {
                report.stop = LsmrStop::Breakdown;
                break;
            }
            x.iter_mut().zip(self.hbar.as_slice()).for_each(|(x, &h)| *x += step * h);
            combine(self.h.as_mut_slice(), -T::of(m.h), self.basis.v());
            report.iterations += 1;
            (report.operator_norm, report.condition) = (m.norm_a, m.condition);
            let progress =
                Progress { residual: m.norm_r, normal_residual: m.norm_ar, solution: norm(x), norm_b, threshold };
            if let Some(stop) = report.judge(progress, opts) {
                report.stop = stop;
                break;
            }
        }
        Ok(report)
    }
}

impl Rotations {
    fn new(alpha: f64, beta: f64) -> Self {
        Self {
            alphabar: alpha,
            zetabar: alpha * beta,
            zeta: 0.0,
            rho: 1.0,
            rhobar: 1.0,
            cbar: 1.0,
            sbar: 0.0,
            betadd: beta,
            betad: 0.0,
            rhodold: 1.0,
            tautildeold: 0.0,
            thetatilde: 0.0,
            d: 0.0,
            norm_a: alpha,
            max_rhobar: 0.0,
            min_rhobar: f64::INFINITY,
        }
    }

    /// One iteration's rotations and estimates; α and β are the new ones.
    fn rotate(&mut self, alpha: f64, beta: f64, damp: f64, iteration: usize) -> Moves {
        let (chat, shat, alphahat) = rotation(self.alphabar, damp);
        let rho_old = self.rho;
        let (c, s, rho) = rotation(alphahat, beta);
        self.rho = rho;
        let theta_new = s * alpha;
        self.alphabar = c * alpha;
        let (rhobar_old, zeta_old) = (self.rhobar, self.zeta);
        let (thetabar, rho_temp) = (self.sbar * rho, self.cbar * rho);
        (self.cbar, self.sbar, self.rhobar) = rotation(rho_temp, theta_new);
        self.zeta = self.cbar * self.zetabar;
        self.zetabar *= -self.sbar;

        let (betaacute, betacheck) = (chat * self.betadd, -shat * self.betadd);
        let betahat = c * betaacute;
        self.betadd = -s * betaacute;
        let theta_tilde_old = self.thetatilde;
        let (ctilde, stilde, rhotilde) = rotation(self.rhodold, thetabar);
        self.thetatilde = stilde * self.rhobar;
        self.rhodold = ctilde * self.rhobar;
        self.betad = ctilde * betahat - stilde * self.betad;
        self.tautildeold = (zeta_old - theta_tilde_old * self.tautildeold) / rhotilde;
        let taud = (self.zeta - self.thetatilde * self.tautildeold) / self.rhodold;
        self.d += betacheck * betacheck;
        let norm_r = (self.d + (self.betad - taud).powi(2) + self.betadd.powi(2)).sqrt();

        let norm_a = self.norm_a.hypot(beta).hypot(damp);
        self.norm_a = norm_a.hypot(alpha);
        if iteration > 0 {
            self.max_rhobar = self.max_rhobar.max(rhobar_old);
            self.min_rhobar = self.min_rhobar.min(rhobar_old);
        }
        Moves {
            hbar: thetabar * rho / (rho_old * rhobar_old),
            x: self.zeta / (rho * self.rhobar),
            h: theta_new / rho,
            norm_r,
            norm_ar: self.zetabar.abs(),
            norm_a,
            condition: (self.max_rhobar.max(rho_temp) / self.min_rhobar.min(rho_temp)).max(1.0),
        }
    }
}
