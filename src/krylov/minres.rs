//! MINRES: the residual of least norm over the Krylov space, for a symmetric A of any signature, singular ones included.
//!
//! Problem     minimize ‖b - (A + σI) x‖ in the norm √(rᵀM⁻¹r) over x in x_0 + span{z, (M⁻¹Ā) z, ...}, z = M⁻¹r_0,
//!             r_0 = b - Ā x_0, Ā = A + σI.
//! Recurrence  Lanczos: w = Ā z_j - β_j v_{j-1} - α_j v_j, u = M⁻¹w, β_{j+1} = √(wᵀu), (v, z)_{j+1} = (w, u) / β_{j+1};
//!             plane rotations make T_k upper triangular, d_k = (z_k - δ d_{k-1} - ε d_{k-2}) / γ, x += φ d_k.
//! Bound       ‖r_k‖ <= 2 ((κ - 1)/(κ + 1))^⌊k/2⌋ ‖b‖ with κ = cond(M⁻¹Ā), and with √κ and k where Ā is definite.
//!             (times ‖r_0‖/‖b‖ from another start); ‖r_k‖ never rises, and is at most that of conjugate gradient.
//! Deviations  b is scaled by a power of two, inner products are summed in f64 at the scale of 1. Whether x is a
//!             least-squares solution is tested before the step that would leave it: at an incompatible singular system the
//!             last pivot γ is zero, and that step would be infinite. A step is taken only when the new x is finite. No
//!             choice of the solution of least norm where there are many (that is MINRES-QLP).
//! Cost        one product with A and about 16n flops an iteration (18n and one product with M⁻¹ with a preconditioner), one
//!             product more at the end; for a warm start one with A and one with M⁻¹. Scratch: 5 n-vectors, 7 with M.
//! Laws        tests/minres.rs.
//! Reference   C. C. Paige, M. A. Saunders, Solution of sparse indefinite systems of linear equations, SIAM J. Numer. Anal.
//!             12 (1975) 617-629, doi 10.1137/0712047; A. Greenbaum, Iterative Methods for Solving Linear Systems, 1997,
//!             section 3.1 (the bounds).

use super::cg::axpy;
use super::golub_kahan::moves_finitely;
use super::{CgStart, MinresOptions, MinresReport, MinresStop};
use crate::backend::sums::{dot, norm};
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Result, check_len, check_shape};
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// Solves (A + σI) x = b by MINRES from zero or from the x given ([`CgStart`]), in the least-squares sense where that has no
/// solution. Tolerances are relative to b, wherever it starts.
///
/// Nothing is allocated beyond the context's scratch. Whatever the reason to stop, x is finite: one that is not on entry is
/// set to zero, and the run has broken down.
///
/// ```
/// use pullback::krylov::{MinresOptions, MinresStop, minres};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[2.0, -2.0, 0.0]))?;
/// let mut x = [0.0; 3];
/// let report = minres(&ctx, &a, None, &[4.0, 4.0, 0.0], &mut x, &MinresOptions::default())?;
/// assert_eq!((report.stop, report.iterations), (MinresStop::Converged, 2)); // two eigenvalues take part
/// assert!((x[0] - 2.0).abs() < 1e-12 && (x[1] + 2.0).abs() < 1e-12);
/// let report = minres(&ctx, &a, None, &[4.0, 4.0, 1.0], &mut x, &MinresOptions::default())?;
/// assert_eq!(report.stop, MinresStop::LeastSquares); // nothing reaches the last component
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the options,
/// and those of the operators. Everything else is a [`MinresStop`].
pub fn minres<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: &[T],
    x: &mut [T],
    opts: &MinresOptions<T>,
) -> Result<MinresReport> {
    opts.check()?;
    let n = b.len();
    check_shape("minres: A", (n, n), a.shape())?;
    check_len("minres: x", n, x.len())?;
    if let Some(m_inv) = m_inv {
        check_shape("minres: preconditioner", (n, n), m_inv.shape())?;
    }
    let zero = b.iter().all(|&b| b == T::ZERO);
    let readable = opts.start == CgStart::Zero || zero || check::finite_slice("minres", x).is_ok();
    match opts.start {
        CgStart::Decayed(decay) if readable && !zero => x.iter_mut().for_each(|x| *x *= decay),
        CgStart::Given if readable && !zero => {}
        _ => x.fill(T::ZERO),
    }
    let scale = check::power_of_two_scale(MatRef::from_column(b)).factor();
    let vector = || ctx.scratch(n, 1);
    let basis = Lanczos {
        ctx,
        a,
        shift: opts.shift,
        v: [vector(), vector(), vector()],
        preconditioned: m_inv.map(|m_inv| (m_inv, [vector(), vector()])),
    };
    let mut run = Run { basis, d: [vector(), vector()] };
    let start = run.basis.v[1].as_mut_slice();
    start.iter_mut().zip(b).for_each(|(v, &b)| *v = scale * b);
    if !readable {
        let stop = MinresStop::Breakdown;
        return Ok(MinresReport { stop, relative_residual: run.basis.size_of_b(), ..MinresReport::AT_ZERO });
    }
    let mut report = run.iterate(b, x, scale, opts)?;
    run.basis.true_residual(b, x, scale, &mut report)?;
    Ok(report)
}

/// The three-term recurrence of the preconditioned Lanczos process.
struct Lanczos<'r, T: Scalar> {
    ctx: &'r Ctx<T>,
    a: &'r dyn SelfAdjoint<T>,
    shift: T,
    /// v_{j-1}, v_j and w.
    v: [Scratch<'r, T>; 3],
    /// M⁻¹ with z_j and u; without it z = v and u = w.
    preconditioned: Option<(&'r dyn Preconditioner<T>, [Scratch<'r, T>; 2])>,
}

/// √(wᵀu), or that it does not exist.
enum Length {
    Is(f64),
    NotPositive,
    NotFinite,
}

impl Length {
    /// Why a vector without a length ends the run.
    fn stop(self) -> MinresStop {
        match self {
            Length::NotPositive => MinresStop::PreconditionerNotPositive,
            Length::Is(_) | Length::NotFinite => MinresStop::Breakdown,
        }
    }
}

impl<T: Scalar> Lanczos<'_, T> {
    /// u ← M⁻¹ w of the vector in slot `at`, and √(wᵀu).
    fn length(&mut self, at: usize) -> Result<Length> {
        let w = &self.v[at];
        let Some((m_inv, [_, u])) = &mut self.preconditioned else {
            let length = norm(w.as_slice());
            return Ok(if length.is_finite() { Length::Is(length) } else { Length::NotFinite });
        };
        m_inv.apply(self.ctx, w.as_ref(), u.as_mut())?;
        // at the scale of w, so that the product of two small or large vectors stays in range
        let scale = check::power_of_two_scale(w.as_ref()).factor();
        let scaled = |x: T| (scale * x).f64();
        let square: f64 = w.as_slice().iter().zip(u.as_slice()).map(|(&w, &u)| scaled(w) * scaled(u)).sum();
        let zero = w.as_slice().iter().all(|&w| w == T::ZERO);
        Ok(if !square.is_finite() {
            Length::NotFinite
        } else if square > 0.0 || zero {
            Length::Is(square.sqrt() / scale.f64())
        } else {
            Length::NotPositive
        })
    }

    /// (v, z) ← (w, u) / β of the vector in slot `at`, which becomes the middle one.
    fn normalize(&mut self, at: usize, beta: f64) {
        let divisor = T::of(beta);
        self.v[at].as_mut_slice().iter_mut().for_each(|v| *v /= divisor);
        if let Some((_, z)) = &mut self.preconditioned {
            z[1].as_mut_slice().iter_mut().for_each(|z| *z /= divisor);
            z.swap(0, 1);
        }
        if at == 2 {
            self.v.rotate_left(1);
        }
    }

    /// z_j.
    fn z(&self) -> &[T] {
        self.preconditioned.as_ref().map_or(self.v[1].as_slice(), |(_, [z, _])| z.as_slice())
    }

    /// w ← Ā z_j - β v_{j-1} - α v_j. Returns α, and β_{j+1} where there is one.
    fn advance(&mut self, beta: f64) -> Result<(f64, Length)> {
        let [before, v, w] = &mut self.v;
        let z = self.preconditioned.as_ref().map_or(&*v, |(_, [z, _])| z);
        self.a.apply(self.ctx, z.as_ref(), w.as_mut())?;
        axpy(self.shift, z.as_slice(), w.as_mut_slice());
        if beta != 0.0 {
            axpy(T::of(-beta), before.as_slice(), w.as_mut_slice());
        }
        let alpha = dot(z.as_slice(), w.as_slice());
        axpy(T::of(-alpha), v.as_slice(), w.as_mut_slice());
        Ok((alpha, self.length(2)?))
    }

    /// 1, the ‖b‖ / ‖b‖ of x = 0; infinite where b, which v_1 holds, is not finite.
    fn size_of_b(&self) -> f64 {
        if check::finite_slice("minres", self.v[1].as_slice()).is_ok() { 1.0 } else { f64::INFINITY }
    }

    /// The first or second vector ← scale (b - Ā x), by one product.
    fn residual(&mut self, at: usize, b: &[T], x: &[T], scale: T) -> Result<()> {
        let (vectors, ax) = self.v.split_at_mut(2);
        let (r, ax) = (&mut vectors[at], &mut ax[0]);
        self.a.apply(self.ctx, MatRef::from_column(x), ax.as_mut())?;
        let terms = b.iter().zip(x).zip(ax.as_slice());
        for (r, ((&b, &x), &ax)) in r.as_mut_slice().iter_mut().zip(terms) {
            *r = scale * b - scale * (ax + self.shift * x);
        }
        Ok(())
    }

    /// ‖b - Ā x‖ / ‖b‖ by one more product, where x has moved.
    fn true_residual(&mut self, b: &[T], x: &[T], scale: T, report: &mut MinresReport) -> Result<()> {
        if report.iterations == 0 {
            return Ok(());
        }
        self.residual(0, b, x, scale)?;
        report.products += 1;
        let norm_b = b.iter().map(|&b| (scale * b).f64().powi(2)).sum::<f64>().sqrt();
        let relative = norm(self.v[0].as_slice()) / norm_b;
        report.relative_residual = if relative.is_finite() { relative } else { f64::INFINITY };
        if !relative.is_finite() {
            report.stop = MinresStop::Breakdown; // whatever the recurrence believed
        }
        Ok(())
    }
}

/// One solve: the basis and the last two directions.
struct Run<'r, T: Scalar> {
    basis: Lanczos<'r, T>,
    d: [Scratch<'r, T>; 2],
}

/// The scalars of the rotations, named as in the paper's successors.
struct Rotations {
    cs: f64,
    sn: f64,
    dbar: f64,
    epsilon: f64,
    phibar: f64,
    max_gamma: f64,
    min_gamma: f64,
}

impl<T: Scalar> Run<'_, T> {
    fn iterate(&mut self, b: &[T], x: &mut [T], scale: T, opts: &MinresOptions<T>) -> Result<MinresReport> {
        let mut report = MinresReport::AT_ZERO;
        if self.basis.v[1].as_slice().iter().all(|&b| b == T::ZERO) {
            return Ok(MinresReport { relative_residual: 0.0, residual_estimate: 0.0, normal_estimate: 0.0, ..report }); // x = 0, even where A holds NaN
        }
        report.relative_residual = self.basis.size_of_b();
        let size = match self.basis.length(1)? {
            Length::Is(length) => length,
            other => return Ok(MinresReport { stop: other.stop(), ..report }),
        };
        let mut start = size;
        if x.iter().any(|&x| x != T::ZERO) {
            let norm_b = norm(self.basis.v[1].as_slice());
            self.basis.residual(1, b, x, scale)?;
            report.products += 1;
            let relative = norm(self.basis.v[1].as_slice()) / norm_b;
            report.relative_residual = if relative.is_finite() { relative } else { f64::INFINITY };
            start = match self.basis.length(1)? {
                Length::Is(length) => length,
                other => return Ok(MinresReport { stop: other.stop(), ..report }),
            };
            report.residual_estimate = start / size;
            if start == 0.0 {
                return Ok(MinresReport { normal_estimate: 0.0, ..report });
            }
        }
        self.basis.normalize(1, start);
        self.d.iter_mut().for_each(|d| d.as_mut().fill(T::ZERO));
        let mut s = Rotations {
            cs: -1.0,
            sn: 0.0,
            dbar: 0.0,
            epsilon: 0.0,
            phibar: start,
            max_gamma: 0.0,
            min_gamma: f64::INFINITY,
        };
        let (mut beta, unscale) = (0.0, 1.0 / scale.f64());
        report.stop = loop {
            if s.phibar <= opts.relative_tolerance.f64() * size {
                break MinresStop::Converged;
            }
            if report.iterations >= opts.max_iterations {
                break MinresStop::IterationLimit;
            }
            let (alpha, length) = self.basis.advance(beta)?;
            report.products += 1;
            let next = match length {
                Length::Is(next) if alpha.is_finite() => next,
                Length::NotPositive => break MinresStop::PreconditionerNotPositive,
                _ => break MinresStop::Breakdown,
            };
            report.operator_norm = report.operator_norm.max(alpha.hypot(beta).hypot(next));
            let m = s.rotate(alpha, next);
            report.normal_estimate = if m.root > 0.0 { m.root / report.operator_norm } else { 0.0 };
            if report.normal_estimate <= opts.normal_tolerance.f64() {
                break MinresStop::LeastSquares;
            }
            self.direction(&m);
            let step = T::of(m.phi * unscale);
            if !(step.is_finite() && moves_finitely(x, step, self.d[1].as_slice())) {
                break MinresStop::Breakdown;
            }
            axpy(step, self.d[1].as_slice(), x);
            s.phibar *= s.sn;
            report.iterations += 1;
            report.condition = s.max_gamma / s.min_gamma;
            report.residual_estimate = s.phibar / size;
            if next > 0.0 {
                self.basis.normalize(2, next);
            }
            beta = next;
        };
        Ok(report)
    }

    /// d_k = (z_k - δ d_{k-1} - ε d_{k-2}) / γ in place of d_{k-2}, then the last of the two.
    fn direction(&mut self, m: &Moves) {
        let (delta, epsilon, gamma) = (T::of(m.delta), T::of(m.epsilon), T::of(m.gamma));
        let [older, old] = &mut self.d;
        let terms = self.basis.z().iter().zip(old.as_slice());
        for (d, (&z, &old)) in older.as_mut_slice().iter_mut().zip(terms) {
            *d = (z - epsilon * *d - delta * old) / gamma;
        }
        self.d.swap(0, 1);
    }
}

/// What one iteration needs to move d and x, and the ‖Ā M⁻¹r‖ / ‖r‖ of the x before.
struct Moves {
    epsilon: f64,
    delta: f64,
    gamma: f64,
    phi: f64,
    root: f64,
}

impl Rotations {
    /// Applies the last rotation to the new column (β_j, α_j, β_{j+1}) of T and makes the next one; φ̄ is left to the
    /// caller, who may refuse the step.
    fn rotate(&mut self, alpha: f64, beta: f64) -> Moves {
        let epsilon = self.epsilon;
        let delta = self.cs * self.dbar + self.sn * alpha;
        let gbar = self.sn * self.dbar - self.cs * alpha;
        self.epsilon = self.sn * beta;
        self.dbar = -self.cs * beta;
        let root = gbar.hypot(self.dbar);
        let gamma = gbar.hypot(beta);
        (self.cs, self.sn) = if gamma > 0.0 { (gbar / gamma, beta / gamma) } else { (1.0, 0.0) };
        self.max_gamma = self.max_gamma.max(gamma);
        self.min_gamma = self.min_gamma.min(gamma);
        Moves { epsilon, delta, gamma, phi: self.cs * self.phibar, root }
    }
}
