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

use super::{LsmrOptions, LsmrReport, LsmrStop};
use crate::backend::sums::norm;
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Result, check_len};
use crate::linop::TransposeOperator;
use crate::mat::{MatMut, MatRef};
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
    let mut run = Run {
        ctx,
        a,
        u: ctx.scratch(m, 1),
        v: ctx.scratch(n, 1),
        h: ctx.scratch(n, 1),
        hbar: ctx.scratch(n, 1),
        au: ctx.scratch(n, 1),
        av: ctx.scratch(m, 1),
    };
    run.u.as_mut_slice().iter_mut().zip(b).for_each(|(u, &b)| *u = scale * b);
    let mut report = run.iterate(x, opts)?;
    let unscaled = T::ONE / scale;
    if stays_finite(x, unscaled) {
        x.iter_mut().for_each(|x| *x *= unscaled);
    } else {
        x.fill(T::ZERO);
        report.stop = LsmrStop::Breakdown;
    }
    run.true_residuals(b, x, opts, &mut report)?;
    Ok(report)
}

/// The vectors of one solve.
struct Run<'r, T: Scalar> {
    ctx: &'r Ctx<T>,
    a: &'r dyn TransposeOperator<T>,
    u: Scratch<'r, T>,
    v: Scratch<'r, T>,
    h: Scratch<'r, T>,
    hbar: Scratch<'r, T>,
    /// Aᵀu.
    au: Scratch<'r, T>,
    /// A v.
    av: Scratch<'r, T>,
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
        let mut report = LsmrReport {
            stop: LsmrStop::Converged,
            iterations: 0,
            residual_norm: 0.0,
            normal_residual_norm: 0.0,
            solution_norm: 0.0,
            operator_norm: 0.0,
            condition: 1.0,
        };
        let damp = opts.damping.f64().sqrt();
        let (atol, btol) = (opts.relative_tolerance.f64(), opts.residual_tolerance.f64());
        let norm_b = normalize(self.u.as_mut_slice());
        if norm_b == 0.0 {
            return Ok(report); // x = 0, even where A holds NaN
        }
        let mut alpha = self.start()?;
        if alpha == 0.0 {
            return Ok(report); // Aᵀb = 0
        }
        let mut s = Rotations::new(alpha, norm_b);
        let threshold = opts.normal_tolerance.f64() * s.zetabar;
        self.h.as_mut_slice().copy_from_slice(self.v.as_slice());
        self.hbar.as_mut_slice().fill(T::ZERO);
        report.stop = LsmrStop::IterationLimit;
        while report.iterations < opts.max_iterations {
            let beta;
            (alpha, beta) = self.bidiagonalize(alpha)?;
            let m = s.rotate(alpha, beta, damp, report.iterations);
            combine(self.hbar.as_mut_slice(), -T::of(m.hbar), self.h.as_slice());
            let step = T::of(m.x);
            if !(m.x.is_finite() && alpha.is_finite() && moves_finitely(x, step, self.hbar.as_slice())) {
                report.stop = LsmrStop::Breakdown;
                break;
            }
            x.iter_mut().zip(self.hbar.as_slice()).for_each(|(x, &h)| *x += step * h);
            combine(self.h.as_mut_slice(), -T::of(m.h), self.v.as_slice());
            report.iterations += 1;
            (report.operator_norm, report.condition) = (m.norm_a, m.condition);
            let norm_ax = m.norm_a * norm(x);
            if m.norm_ar <= (atol * m.norm_a * m.norm_r).max(threshold) {
                report.stop = LsmrStop::Converged;
                break;
            } else if m.norm_r <= btol * norm_b + atol * norm_ax {
                report.stop = LsmrStop::Compatible;
                break;
            } else if m.condition >= opts.condition_limit {
                report.stop = LsmrStop::ConditionLimit;
                break;
            }
        }
        Ok(report)
    }

    /// v ← Aᵀu normalized; its norm α.
    fn start(&mut self) -> Result<f64> {
        self.a.apply_transpose(self.ctx, self.u.as_ref(), self.v.as_mut())?;
        Ok(normalize(self.v.as_mut_slice()))
    }

    /// β u ← A v - α u, α v ← Aᵀu - β v. Returns the new (α, β).
    fn bidiagonalize(&mut self, alpha: f64) -> Result<(f64, f64)> {
        self.a.apply(self.ctx, self.v.as_ref(), self.av.as_mut())?;
        combine(self.u.as_mut_slice(), -T::of(alpha), self.av.as_slice());
        let beta = normalize(self.u.as_mut_slice());
        if beta == 0.0 {
            return Ok((0.0, 0.0)); // the Krylov space is exhausted
        }
        self.a.apply_transpose(self.ctx, self.u.as_ref(), self.au.as_mut())?;
        combine(self.v.as_mut_slice(), -T::of(beta), self.au.as_slice());
        Ok((normalize(self.v.as_mut_slice()), beta))
    }

    fn true_residuals(&mut self, b: &[T], x: &[T], opts: &LsmrOptions<T>, report: &mut LsmrReport) -> Result<()> {
        report.solution_norm = norm(x);
        let av = self.av.as_mut_slice();
        if report.iterations == 0 {
            av.fill(T::ZERO);
        } else {
            self.a.apply(self.ctx, MatRef::from_column(x), MatMut::from_column(av))?;
        }
        self.u.as_mut_slice().iter_mut().zip(b).zip(self.av.as_slice()).for_each(|((u, &b), &ax)| *u = b - ax);
        let lambda = opts.damping;
        report.residual_norm = norm(self.u.as_slice()).hypot(lambda.f64().sqrt() * report.solution_norm);
        if self.u.as_slice().iter().all(|&u| u == T::ZERO) {
            self.au.as_mut_slice().fill(T::ZERO); // b = 0, even where A holds NaN
        } else {
            self.a.apply_transpose(self.ctx, self.u.as_ref(), self.au.as_mut())?;
        }
        self.au.as_mut_slice().iter_mut().zip(x).for_each(|(g, &x)| *g -= lambda * x);
        report.normal_residual_norm = norm(self.au.as_slice());
        if !(report.residual_norm.is_finite() && report.normal_residual_norm.is_finite()) {
            report.stop = LsmrStop::Breakdown;
        }
        Ok(())
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

/// (c, s, r) with c a + s b = r >= 0 and s a = c b.
fn rotation(a: f64, b: f64) -> (f64, f64, f64) {
    let r = a.hypot(b);
    if r == 0.0 { (1.0, 0.0, 0.0) } else { (a / r, b / r, r) }
}

/// x ← x/‖x‖; the norm. A zero vector is left alone.
fn normalize<T: Scalar>(x: &mut [T]) -> f64 {
    let length = norm(x);
    if length > 0.0 {
        // a division: 1/‖x‖ overflows where ‖x‖ is subnormal
        let divisor = T::of(length);
        x.iter_mut().for_each(|x| *x /= divisor);
    }
    length
}

/// y ← s y + x.
fn combine<T: Scalar>(y: &mut [T], s: T, x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = s * *y + x);
}

/// Whether s x is finite in every element.
fn stays_finite<T: Scalar>(x: &[T], s: T) -> bool {
    x.iter().all(|&x| (s * x).is_finite())
}

/// Whether x + s h is finite in every element.
fn moves_finitely<T: Scalar>(x: &[T], s: T, h: &[T]) -> bool {
    let sum = x.iter().zip(h).fold(T::ZERO, |acc, (&x, &h)| acc + T::ZERO * (x + s * h)); // 0, or NaN
    sum == T::ZERO
}
