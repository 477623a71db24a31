//! Truncated conjugate gradient for a trust region, of Steihaug and Toint.
//!
//! Problem     minimize φ(x) = ½ xᵀA x - bᵀx subject to ‖x‖_M <= Δ, seeing A and M⁻¹ only through products, x from zero.
//! Method      conjugate gradient until a step would leave the region, or a direction has pᵀA p <= 0: then to the
//!             boundary along p. M is never applied, since with σ = ‖x‖²_M, κ = xᵀM p, π = ‖p‖²_M
//!
//! ```text
//! σ += 2 α κ + α² π,   κ ← β (κ + α π),   π ← rᵀM⁻¹r + β² π;      ‖x + τ p‖_M = Δ:  τ = (√(κ² + π (Δ² - σ)) - κ) / π
//! ```
//! ‖x‖_M grows and φ falls at every step, so the first crossing is the last. φ of the result is at most φ at the Cauchy
//! point, and at least half of the optimal reduction where A is positive definite (Yuan 2000).
//!
//! Deviations  b is scaled by a power of two, inner products are summed in f64. x starts from zero: of the options,
//!             tolerances, budget and stall rule are read.
//! Cost        one product, one with M⁻¹, about 12n flops a step. Scratch: 3 n-vectors, 4 with M.
//! Laws        tests/trust_region.rs.
//! Reference   T. Steihaug, SIAM J. Numer. Anal. 20 (1983) 626-637, doi 10.1137/0720042; Ph. L. Toint, in: I. S. Duff
//!             (ed.), Sparse Matrices and Their Uses, 1981, 57-88; Y. Yuan, Math. Program. 87 (2000) 561-573,
//!             doi 10.1007/s101070050012.

use super::cg::{axpy, model, stays_finite};
use super::trust_region::{ScaledProblem, enter};
use super::{CgOptions, CgStop, TrustRegionReport};
use crate::backend::sums::dot;
use crate::backend::{Ctx, Scratch};
use crate::error::Result;
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Minimizes φ in the region ‖x‖_M <= `radius` by truncated conjugate gradient, from zero.
///
/// ```
/// use pullback::krylov::{CgOptions, CgStop, steihaug};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, -1.0]))?;
/// let mut x = [0.0; 2];
/// let report = steihaug(&ctx, &a, None, &[1.0, 1.0], 2.0, &mut x, &CgOptions::default())?;
/// assert!(report.on_boundary && report.stop == CgStop::NonPositiveCurvature);
/// assert!((x[0] * x[0] + x[1] * x[1] - 4.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the options and
/// a radius that is not finite and positive, and those of the operators. Everything else is a [`CgStop`].
pub fn steihaug<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: &[T],
    radius: f64,
    x: &mut [T],
    opts: &CgOptions<T>,
) -> Result<TrustRegionReport> {
    let n = b.len();
    let mut r = ctx.scratch(n, 1);
    let problem = match enter((a, m_inv), b, radius, x, opts, r.as_mut_slice())? {
        Ok(problem) => problem,
        Err(nothing_to_do) => return Ok(nothing_to_do),
    };
    let (p, ap, z) = (ctx.scratch(n, 1), ctx.scratch(n, 1), m_inv.map(|_| ctx.scratch(n, 1)));
    let report = TrustRegionReport::at_zero(CgStop::IterationLimit);
    let mut run = Run { problem, b, x, r, p, ap, z, report, xx: 0.0, xp: 0.0, pp: 0.0, rz: 0.0, models: Vec::new() };
    if opts.stall.is_some() {
        run.models.push(0.0);
    }
    run.report.stop = loop {
        if let Some(stop) = run.direction(ctx, m_inv)? {
            break stop;
        }
        a.apply(ctx, column(&run.p), MatMut::from_column(run.ap.as_mut_slice()))?;
        run.report.products += 1;
        if let Some(stop) = run.step(opts) {
            break stop;
        }
    };
    Ok(run.finish())
}

struct Run<'r, T: Scalar> {
    problem: ScaledProblem,
    b: &'r [T],
    x: &'r mut [T],
    r: Scratch<'r, T>,
    p: Scratch<'r, T>,
    ap: Scratch<'r, T>,
    z: Option<Scratch<'r, T>>,
    report: TrustRegionReport,
    /// ‖x‖²_M, xᵀM p, ‖p‖²_M of the scaled x; rᵀM⁻¹r.
    xx: f64,
    xp: f64,
    pp: f64,
    rz: f64,
    models: Vec<f64>,
}

impl<T: Scalar> Run<'_, T> {
    /// p ← M⁻¹ r + β p.
    fn direction(&mut self, ctx: &Ctx<T>, m_inv: Option<&dyn Preconditioner<T>>) -> Result<Option<CgStop>> {
        if let (Some(m_inv), Some(z)) = (m_inv, &mut self.z) {
            m_inv.apply(ctx, column(&self.r), MatMut::from_column(z.as_mut_slice()))?;
        }
        let z = self.z.as_ref().map_or(self.r.as_slice(), |z| z.as_slice());
        let rz = dot(self.r.as_slice(), z);
        if !rz.is_finite() {
            return Ok(Some(CgStop::Breakdown));
        }
        if rz <= 0.0 {
            return Ok(Some(CgStop::PreconditionerNotPositive));
        }
        let p = self.p.as_mut_slice();
        if self.report.iterations == 0 {
            p.copy_from_slice(z);
            self.pp = rz;
        } else {
            let beta = rz / self.rz;
            let factor = T::of(beta);
            p.iter_mut().zip(z).for_each(|(p, &z)| *p = z + factor * *p);
            self.xp *= beta;
            self.pp = rz + beta * beta * self.pp;
        }
        self.rz = rz;
        Ok(None)
    }

    /// x moves along p, within the region.
    fn step(&mut self, opts: &CgOptions<T>) -> Option<CgStop> {
        let curvature = dot(self.p.as_slice(), self.ap.as_slice());
        if !curvature.is_finite() {
            return Some(CgStop::Breakdown);
        }
        let alpha = self.rz / curvature;
        let reached = (self.xx + alpha * (2.0 * self.xp + alpha * self.pp)).max(0.0).sqrt();
        if curvature <= 0.0 || reached >= self.problem.radius {
            let tau = self.to_boundary();
            if !self.advance(tau) {
                return Some(CgStop::Breakdown);
            }
            self.report.on_boundary = true;
            let curved = curvature <= 0.0;
            return Some(if curved { CgStop::NonPositiveCurvature } else { CgStop::TrustRegionBoundary });
        }
        if !self.advance(alpha) {
            return Some(CgStop::Breakdown);
        }
        let norm_r = dot(self.r.as_slice(), self.r.as_slice()).sqrt();
        if norm_r <= self.problem.threshold {
            return Some(CgStop::Converged);
        }
        if let Some(rule) = opts.stall {
            self.models.push(self.model());
            if rule.stalled(&self.models) {
                return Some(CgStop::ModelStalled);
            }
        }
        (self.report.iterations >= opts.max_iterations).then_some(CgStop::IterationLimit)
    }

    /// τ >= 0 with ‖x + τ p‖_M = Δ, by the form of the root without cancellation.
    fn to_boundary(&self) -> f64 {
        let radius = self.problem.radius;
        let norm = self.xx.sqrt();
        let rest = ((radius - norm) * (radius + norm)).max(0.0);
        let root = (self.xp * self.xp + self.pp * rest).sqrt();
        if self.xp > 0.0 { rest / (root + self.xp) } else { (root - self.xp) / self.pp }
    }

    /// x += α p, r -= α A p, where that is finite.
    fn advance(&mut self, alpha: f64) -> bool {
        let (along, back) = (T::of(alpha / self.problem.scale), -T::of(alpha));
        let (p, ap) = (self.p.as_slice(), self.ap.as_slice());
        if !stays_finite(self.x, along, p) || !stays_finite(self.r.as_slice(), back, ap) {
            return false;
        }
        axpy(along, p, self.x);
        axpy(back, ap, self.r.as_mut_slice());
        self.xx = (self.xx + alpha * (2.0 * self.xp + alpha * self.pp)).max(0.0);
        self.xp += alpha * self.pp;
        self.report.iterations += 1;
        true
    }

    /// φ(x), unscaled.
    fn model(&self) -> f64 {
        model(self.x, self.b, self.r.as_slice(), self.problem.scale)
    }

    fn finish(self) -> TrustRegionReport {
        let scale = self.problem.scale;
        let gain: f64 = self.x.iter().zip(self.r.as_slice()).map(|(x, r)| x.f64() * r.f64()).sum();
        let multiplier = if self.report.on_boundary { scale * gain / self.xx } else { 0.0 };
        TrustRegionReport { norm: self.xx.sqrt() / scale, model: self.model(), multiplier, ..self.report }
    }
}

fn column<'s, T: Scalar>(vector: &'s Scratch<'_, T>) -> MatRef<'s, T> {
    MatRef::from_column(vector.as_slice())
}
