//! The trust-region problem solved exactly in the Krylov space (generalized Lanczos trust region).
//!
//! Problem     minimize φ(x) = ½ xᵀA x - bᵀx subject to ‖x‖_M <= Δ over x = Q h in the Krylov space of M⁻¹A and M⁻¹b.
//! Method      Lanczos in the inner product of M, of which only M⁻¹ is applied; a small problem for h at each step.
//!
//! ```text
//! QᵀA Q = T = tridiag(γ_j, δ_j, γ_j),   QᵀM Q = I,   V = M Q,   γ_0 = ‖b‖_{M⁻¹}
//! w = A q_j - δ_j v_j - γ_{j-1} v_{j-1},   γ_j² = wᵀM⁻¹w,   v_{j+1} = w / γ_j,   q_{j+1} = M⁻¹w / γ_j
//! h = argmin ½ hᵀT h - γ_0 h_1, ‖h‖ <= Δ;     ‖(A + μ M) x - b‖ = |h_k| ‖w‖
//! ```
//! φ is at most that of Steihaug's point after as many steps: the boundary is followed, not stopped at.
//!
//! Deviations  The basis is kept and w orthogonalized against all of it, so that ‖h‖ = ‖x‖_M holds to rounding and the
//!             space is exhausted after n steps; the published method recomputes x by a second pass. Once
//!             ‖w‖ <= 16 √n ε max ‖A q‖ the space counts as invariant: the report says that it is exhausted, no random
//!             vector continues it. Of the options, tolerances, budget and stall rule are read.
//! Cost        one product, one with M⁻¹, and 8nj flops at step j; k n-vectors kept on the heap (2k with M), 1 of
//!             scratch (2 with M).
//! Laws        tests/trust_region.rs.
//! Reference   N. I. M. Gould, S. Lucidi, M. Roma, Ph. L. Toint, SIAM J. Optim. 9 (1999) 504-525,
//!             doi 10.1137/S1052623497322735.

use super::cg::axpy;
use super::secular::{Secular, Tridiagonal};
use super::trust_region::{ScaledProblem, enter};
use super::{CgOptions, CgStop, TrustRegionReport};
use crate::backend::sums::dot;
use crate::backend::{Ctx, Scratch};
use crate::error::Result;
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Minimizes φ in the region ‖x‖_M <= `radius`, exactly within the Krylov space, whatever the sign of A.
///
/// ```
/// use pullback::krylov::{CgOptions, gltr};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[3.0, -1.0]))?;
/// let mut x = [0.0; 2];
/// let report = gltr(&ctx, &a, None, &[1.0, 1.0], 2.0, &mut x, &CgOptions::default())?;
/// assert!(report.on_boundary && report.multiplier > 1.0); // A + μ I is positive definite
/// for (x, a) in x.iter().zip([3.0, -1.0]) {
///     assert!(((a + report.multiplier) * x - 1.0).abs() < 1e-10);
/// }
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// As [`steihaug`](super::steihaug).
pub fn gltr<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: &[T],
    radius: f64,
    x: &mut [T],
    opts: &CgOptions<T>,
) -> Result<TrustRegionReport> {
    let n = b.len();
    let mut w = ctx.scratch(n, 1);
    let problem = match enter((a, m_inv), b, radius, x, opts, w.as_mut_slice())? {
        Ok(problem) => problem,
        Err(nothing_to_do) => return Ok(nothing_to_do),
    };
    let z = m_inv.map(|m_inv| (m_inv, ctx.scratch(n, 1)));
    let report = TrustRegionReport::at_zero(CgStop::IterationLimit);
    let mut run = Run {
        ctx,
        problem,
        w,
        z,
        q: Vec::new(),
        v: Vec::new(),
        deltas: Vec::new(),
        gammas: Vec::new(),
        start: 0.0,
        size: 0.0,
        best: None,
        models: vec![0.0],
        report,
    };
    run.report.stop = run.iterate(a, opts)?;
    Ok(run.finish(x))
}

struct Run<'r, T: Scalar> {
    ctx: &'r Ctx<T>,
    problem: ScaledProblem,
    /// The next v, not yet of length one.
    w: Scratch<'r, T>,
    z: Option<(&'r dyn Preconditioner<T>, Scratch<'r, T>)>,
    /// Q, and V where M is not the identity.
    q: Vec<Vec<T>>,
    v: Vec<Vec<T>>,
    deltas: Vec<f64>,
    gammas: Vec<f64>,
    /// γ_0.
    start: f64,
    /// Largest ‖A q‖.
    size: f64,
    best: Option<Secular>,
    models: Vec<f64>,
    report: TrustRegionReport,
}

impl<T: Scalar> Run<'_, T> {
    fn iterate(&mut self, a: &dyn SelfAdjoint<T>, opts: &CgOptions<T>) -> Result<CgStop> {
        loop {
            if let Some(stop) = self.extend()? {
                return Ok(stop);
            }
            let Some(q) = self.q.last() else { return Ok(CgStop::Breakdown) };
            a.apply(self.ctx, MatRef::from_column(q), MatMut::from_column(self.w.as_mut_slice()))?;
            self.report.products += 1;
            if let Some(stop) = self.project(opts) {
                return Ok(stop);
            }
        }
    }

    /// q and v from w.
    fn extend(&mut self) -> Result<Option<CgStop>> {
        let w = self.w.as_slice();
        if let Some((m_inv, z)) = &mut self.z {
            m_inv.apply(self.ctx, MatRef::from_column(w), MatMut::from_column(z.as_mut_slice()))?;
        }
        let z = self.z.as_ref().map_or(w, |(_, z)| z.as_slice());
        let square = dot(w, z);
        if !square.is_finite() {
            return Ok(Some(CgStop::Breakdown));
        }
        if square <= 0.0 {
            return Ok(Some(CgStop::PreconditionerNotPositive));
        }
        let gamma = square.sqrt();
        let inverse = T::of(1.0 / gamma);
        if self.q.is_empty() {
            self.start = gamma;
        } else {
            self.gammas.push(gamma);
        }
        self.q.push(z.iter().map(|&z| z * inverse).collect());
        if self.z.is_some() {
            self.v.push(w.iter().map(|&w| w * inverse).collect());
        }
        Ok(None)
    }

    /// T grows by A q = w, h follows, w becomes the next direction. The reason to stop, if there is one.
    fn project(&mut self, opts: &CgOptions<T>) -> Option<CgStop> {
        let k = self.q.len();
        let (w, v) = (self.w.as_mut_slice(), if self.z.is_some() { &self.v } else { &self.q });
        let delta = dot(&self.q[k - 1], w);
        let size = dot(w, w).sqrt();
        if !(delta.is_finite() && size.is_finite()) {
            return Some(CgStop::Breakdown);
        }
        self.size = self.size.max(size);
        self.deltas.push(delta);
        for _ in 0..2 {
            for (q, v) in self.q.iter().zip(v).rev() {
                axpy(T::of(-dot(q, w)), v, w);
            }
        }
        let rest = dot(w, w).sqrt();
        let tridiagonal = Tridiagonal { diagonal: &self.deltas, off: &self.gammas };
        let guess = self.best.as_ref().map_or(0.0, |best| best.multiplier);
        let Some(best) = tridiagonal.minimize(self.start, self.problem.radius, guess) else {
            return Some(CgStop::Breakdown);
        };
        let last = best.h.last().map_or(0.0, |h| h.abs());
        let solved = if best.on_boundary { CgStop::TrustRegionBoundary } else { CgStop::Converged };
        self.models.push(tridiagonal.model(self.start, &best.h));
        self.best = Some(best);
        self.report.iterations = k;
        let n = w.len();
        if k >= n || rest <= 16.0 * (n as f64).sqrt() * T::EPS.f64() * self.size {
            self.report.exhausted = true;
            return Some(solved);
        }
        if rest * last <= self.problem.threshold {
            return Some(solved);
        }
        if opts.stall.is_some_and(|rule| rule.stalled(&self.models)) {
            return Some(CgStop::ModelStalled);
        }
        (k >= opts.max_iterations).then_some(CgStop::IterationLimit)
    }

    /// x ← Q h, where that is finite.
    fn finish(mut self, x: &mut [T]) -> TrustRegionReport {
        let scale = self.problem.scale;
        let Some(best) = self.best.take() else { return self.report };
        for (q, h) in self.q.iter().zip(&best.h) {
            axpy(T::of(h / scale), q, x);
        }
        if x.iter().any(|x| !x.is_finite()) {
            x.fill(T::ZERO);
            return TrustRegionReport {
                products: self.report.products,
                ..TrustRegionReport::at_zero(CgStop::Breakdown)
            };
        }
        let norm = best.h.iter().map(|h| h * h).sum::<f64>().sqrt() / scale;
        let model = self.models.last().copied().unwrap_or(0.0) / scale / scale;
        let (on_boundary, multiplier) = (best.on_boundary, best.multiplier);
        TrustRegionReport { norm, model, on_boundary, multiplier, ..self.report }
    }
}
