//! Hessian-free optimization, and by one number every method between it and K-FAC.
//!
//! One step, on one batch (h, ∇h on all of it; G, L2 included, on a part of it, another one in each step):
//! ```text
//! 1  h, ∇h                                          forward, backward
//! 2  B = G + λI, M ≈ B                              forward; what the preconditioner needs
//! 3  x ≈ -B⁻¹∇h by K steps of conjugate gradient    from 0.95 of the last final iterate; 2 passes a product
//! 4  p = the iterate at which h stops to fall, going back over those kept       a forward pass each
//! 5  ρ = (h(θ+p) - h(θ)) / M(p) on the part         two forward passes unless the part is all; λ follows (Eq 14)
//! 6  θ ← θ + α p by Armijo's search, or not at all  a forward pass for each α < 1
//! ```
//! K is [`HessianFreeOptions::cg_iterations`](super::HessianFreeOptions::cg_iterations), the chapter's spectrum (section 6):
//! ```text
//! K = 0          δ = argmin of the exact model on span{M⁻¹∇h} (Eq 26), or span{M⁻¹∇h, δ₀} with a warm start (Eq 27): K-FAC
//! K = 1          from zero the same as Eq 26: a step of preconditioned conjugate gradient is that rescaling
//! K large        the exact damped Gauss-Newton step, whatever M is: Hessian-free
//! ```
//! The warm start is the momentum of this family: conjugate gradient then minimizes over x₀ + a Krylov space, and x₀ is a
//! decayed former update, where Eq 27 minimizes over its multiples too.
//!
//! Deviations  λ is that of a G averaged as the loss is. M(p) is made from conjugate gradient's own φ, with no product.
//!             After a rejected step the next one starts from zero, as λ has changed what x₀ approximated.
//! Cost        2K + 2 passes for gradient and products, as the chapter counts; beside them one forward pass for B, a product
//!             each for a warm start and for the true residual, the preconditioner's, and those of 4 to 6. One n-vector of
//!             state and log K kept iterates during a step.
//! Laws        tests/hessian_free.rs, tests/hessian_free_laws.rs, tests/hessian_free_preconditioners.rs.
//! Reference   J. Martens, Deep learning via Hessian-free optimization, ICML 2010; chapter sections 3.1, 4.1 and 6.

use super::search::{along, backtrack, loss_at};
use super::{HessianFreeOptions, InnerPreconditioner};
use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::{Error, Result, check_len};
use crate::krylov::{CgOptions, CgStart, CgStop, KeptIterate, pcg};
use crate::linop::{Preconditioner, SelfAdjoint, Shifted};
use crate::mat::{MatMut, MatRef};
use crate::optim::report::Stopwatch;
use crate::optim::{
    CurvatureMatrix, CurvatureObjective, InnerReport, InnerStop, LevenbergMarquardt, ModelDamping, Optimizer, Passes,
    QuadraticModel, StepReport, SubsetObjective, dot, take_gradient,
};
use crate::scalar::Scalar;

/// The Hessian-free optimizer; `P` preconditions its conjugate gradient.
///
/// ```
/// use pullback::Ctx;
/// use pullback::optim::{HessianFree, HessianFreeOptions, NoPreconditioner, Objective, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// let (ctx, h) = (Ctx::<f64>::default(), LeastSquares::new(2, 4, 0.0));
/// let (batch, mut theta) = (Regression::random(2, 4, 30, 1), vec![1.0; 8]);
/// let options = HessianFreeOptions { lambda: 1e-9, ..HessianFreeOptions::default() };
/// let mut hf = HessianFree::new(options, NoPreconditioner)?;
/// let report = hf.step(&ctx, &h, &mut theta, &batch)?; // a quadratic: one step is enough
/// let mut gradient = vec![0.0; 8];
/// h.loss_grad(&ctx, &theta, &batch, &mut gradient)?;
/// assert!(gradient.iter().all(|g| g.abs() < 1e-7) && !report.rejected);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: Scalar, P: serde::Serialize", deserialize = "T: Scalar, P: serde::Deserialize<'de>"))
)]
pub struct HessianFree<T, P> {
    options: HessianFreeOptions<T>,
    lambda: f64,
    steps: u64,
    /// The last final iterate of conjugate gradient (the last step for K = 0); empty where there is none.
    iterate: Vec<T>,
    preconditioner: P,
}

/// Iterates to choose from, and the final one.
struct Inner<T> {
    kept: Vec<KeptIterate<T>>,
    last: Vec<T>,
    report: InnerReport,
}

impl<T: Scalar, P> HessianFree<T, P> {
    /// # Errors
    /// [`Error::InvalidParameter`] for options outside their domain.
    pub fn new(options: HessianFreeOptions<T>, preconditioner: P) -> Result<Self> {
        options.check()?;
        Ok(Self { lambda: options.lambda, options, steps: 0, iterate: Vec::new(), preconditioner })
    }

    /// λ of the next step.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// The settings.
    pub fn options(&self) -> &HessianFreeOptions<T> {
        &self.options
    }

    /// The preconditioner.
    pub fn preconditioner(&self) -> &P {
        &self.preconditioner
    }

    /// What the next solve starts from, before its decay; `None` where it starts from zero.
    pub fn last_iterate(&self) -> Option<&[T]> {
        (!self.iterate.is_empty() && self.options.warm_start.is_some()).then_some(&self.iterate[..])
    }

    /// λ after a verdict.
    fn adapt(&mut self, rho: f64, rejected: bool) -> Result<()> {
        let mut rule = self.options.rule(self.lambda)?;
        if rejected {
            rule.raise();
        } else if self.options.omega.is_some() {
            rule.update(rho);
        }
        self.lambda = rule.lambda();
        Ok(())
    }

    /// Step 3: K steps of conjugate gradient on B x = -∇h, or none.
    fn solve(
        &self,
        ctx: &Ctx<T>,
        b_matrix: &dyn SelfAdjoint<T>,
        m_inv: Option<&dyn Preconditioner<T>>,
        gradient: &[T],
        passes: &mut Passes,
    ) -> Result<Inner<T>> {
        if self.options.cg_iterations == 0 {
            return self.rescale(ctx, b_matrix, m_inv, gradient, passes);
        }
        let b: Vec<T> = gradient.iter().map(|&g| -g).collect();
        let (mut x, start) = match (self.last_iterate(), self.options.warm_start) {
            (Some(last), Some(decay)) => (last.to_vec(), CgStart::Decayed(T::of(decay))),
            _ => (vec![T::ZERO; b.len()], CgStart::Zero),
        };
        let options = CgOptions { start, ..self.options.cg() };
        let report = pcg(ctx, b_matrix, m_inv, MatRef::from_column(&b), MatMut::from_column(&mut x), &options)?;
        *passes += CurvatureMatrix::GaussNewton.passes(report.products() as u64);
        if report.stop() == CgStop::Breakdown {
            return Err(Error::not_finite("Hessian-free: conjugate gradient"));
        }
        let column = &report.columns()[0];
        let mut kept = column.kept().to_vec();
        if kept.is_empty() {
            kept.push(KeptIterate { iteration: column.iterations, model: column.model, x: x.clone() });
        }
        let report = InnerReport { iterations: column.iterations, stop: InnerStop::Krylov(column.stop) };
        Ok(Inner { kept, last: x, report })
    }

    /// K = 0: the minimum of the exact model on the span of d = -M⁻¹∇h and of the last step (Eq 26, 27).
    fn rescale(
        &self,
        ctx: &Ctx<T>,
        b_matrix: &dyn SelfAdjoint<T>,
        m_inv: Option<&dyn Preconditioner<T>>,
        gradient: &[T],
        passes: &mut Passes,
    ) -> Result<Inner<T>> {
        let n = gradient.len();
        let mut d = gradient.to_vec();
        if let Some(m_inv) = m_inv {
            m_inv.apply(ctx, MatRef::from_column(gradient), MatMut::from_column(&mut d))?;
        }
        d.iter_mut().for_each(|d| *d = -*d);
        check::finite_slice("preconditioned gradient", &d)?;
        let zero = vec![T::ZERO; if self.last_iterate().is_some() { 0 } else { n }];
        let vectors = [&d[..], self.last_iterate().unwrap_or(&zero)];
        let mut model =
            QuadraticModel { gram: [[0.0; 2]; 2], inner: [[0.0; 2]; 2], slope: [0.0; 2], l2: 0.0, lambda: 0.0 };
        let count = if zero.is_empty() { 2 } else { 1 };
        let mut image = vec![T::ZERO; n];
        for j in 0..count {
            b_matrix.apply(ctx, MatRef::from_column(vectors[j]), MatMut::from_column(&mut image))?;
            *passes += CurvatureMatrix::GaussNewton.passes(1);
            model.slope[j] = dot(gradient, vectors[j]);
            for (i, v) in vectors.iter().enumerate().take(j + 1) {
                model.gram[i][j] = dot(v, &image);
                model.gram[j][i] = model.gram[i][j];
            }
        }
        // the gram matrix comes from sums of rounded products
        let Some(step) = model.minimize(64.0 * T::EPS.f64()) else {
            let report = InnerReport { iterations: 0, stop: InnerStop::NoProgress };
            return Ok(Inner { kept: Vec::new(), last: Vec::new(), report });
        };
        let (alpha, mu) = (T::of(step.alpha), T::of(step.momentum));
        let x: Vec<T> = vectors[0].iter().zip(vectors[1]).map(|(&d, &u)| alpha * d + mu * u).collect();
        let kept = vec![KeptIterate { iteration: 0, model: model.change(step, false), x: x.clone() }];
        Ok(Inner { kept, last: x, report: InnerReport { iterations: 0, stop: InnerStop::Converged } })
    }

    /// M(p), with λ or without, from φ(p) = ∇hᵀp + ½ pᵀ(G + λI)p.
    fn predicted(&self, iterate: &KeptIterate<T>) -> f64 {
        match self.options.model {
            ModelDamping::Included => iterate.model,
            ModelDamping::Excluded => iterate.model - 0.5 * self.lambda * dot(&iterate.x, &iterate.x),
        }
    }
}

/// The part of a batch on which a step takes the curvature; `None` is all of it.
fn part<T, O>(objective: &O, batch: &O::Batch, size: Option<usize>, step: u64) -> Result<Option<O::Batch>>
where
    T: Scalar,
    O: SubsetObjective<T> + ?Sized,
    O::Batch: Sized,
{
    let cases = objective.cases(batch);
    let chunks = size.map_or(1, |size| cases / size.max(1)).max(1);
    if chunks == 1 {
        return Ok(None);
    }
    let chunk = (step % chunks as u64) as usize;
    objective.subset(batch, chunk * cases / chunks..(chunk + 1) * cases / chunks).map(Some)
}

impl<T, O, P> Optimizer<T, O> for HessianFree<T, P>
where
    T: Scalar,
    O: CurvatureObjective<T> + SubsetObjective<T> + ?Sized,
    O::Batch: Sized,
    P: InnerPreconditioner<T, O>,
{
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        check_len("theta", objective.layout().len(), theta.len())?;
        if !self.iterate.is_empty() {
            check_len("theta of an optimizer in use", self.iterate.len(), theta.len())?;
        }
        let (mut clock, mut gradient) = (Stopwatch::start(), Vec::new());
        let before = take_gradient(ctx, objective, theta, batch, &mut gradient)?;
        let mut report = StepReport {
            lambda: Some(T::of(self.lambda)),
            gradient_norm: Some(T::of(dot(&gradient, &gradient).sqrt())),
            ..StepReport::first_order(before)
        };
        report.seconds.gradient = clock.lap();
        if gradient.iter().all(|&g| g == T::ZERO) {
            (report.loss_after, report.step_norm) = (Some(before), Some(T::ZERO));
            return Ok(report);
        }
        let own = part(objective, batch, self.options.curvature_cases, self.steps)?;
        let on = own.as_ref().unwrap_or(batch);
        let damping = Damping::try_from(self.lambda + objective.l2().f64())?;
        self.preconditioner.prepare(ctx, objective, theta, on, damping, &mut report.passes)?;
        report.preconditioner_damping = self.preconditioner.get().map(|_| damping.get());
        let matrix = objective.curvature(ctx, CurvatureMatrix::GaussNewton, theta, on)?;
        report.passes.forward += 1;
        report.seconds.curvature = clock.lap();
        let shifted = Shifted::new(matrix, T::of(self.lambda));
        let inner = self.solve(ctx, &shifted, self.preconditioner.get(), &gradient, &mut report.passes)?;
        drop(shifted);
        report.inner = Some(inner.report);
        report.seconds.solve = clock.lap();
        self.settle(ctx, objective, theta, batch, own.as_ref(), &gradient, inner, &mut report)?;
        report.seconds.search = clock.lap();
        self.steps += 1;
        Ok(report)
    }
}

impl<T: Scalar, P> HessianFree<T, P> {
    /// Steps 4 to 6.
    fn settle<O>(
        &mut self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &mut [T],
        batch: &O::Batch,
        part: Option<&O::Batch>,
        gradient: &[T],
        inner: Inner<T>,
        report: &mut StepReport<T>,
    ) -> Result<()>
    where
        O: SubsetObjective<T> + ?Sized,
        O::Batch: Sized,
    {
        let (before, passes) = (report.loss_before.f64(), &mut report.passes);
        let chosen = backtrack(&inner.kept, |x| loss_at(ctx, objective, batch, theta, x, passes))?;
        let Some((index, at_one)) = chosen else {
            return self.reject(report);
        };
        let iterate = &inner.kept[index];
        let predicted = self.predicted(iterate);
        report.predicted_change = Some(T::of(predicted));
        let (from, to) = match part {
            None => (before, at_one),
            Some(part) => {
                report.passes.forward += 1;
                let from = objective.loss(ctx, theta, part)?.f64();
                (from, loss_at(ctx, objective, part, theta, &iterate.x, &mut report.passes)?)
            }
        };
        let rho = if to > from { f64::NEG_INFINITY } else { LevenbergMarquardt::reduction_ratio(from, to, predicted) };
        report.rho = Some(T::of(rho));
        let slope = dot(gradient, &iterate.x);
        let values = (before, slope, at_one);
        let search = &self.options.search;
        let found = along(ctx, objective, batch, theta, &iterate.x, values, search, &mut report.passes)?;
        report.search = Some(found);
        if !(found.alpha > 0.0) {
            return self.reject(report);
        }
        let alpha = T::of(found.alpha);
        theta.iter_mut().zip(&iterate.x).for_each(|(w, &p)| *w += alpha * p);
        report.alpha = Some(alpha);
        report.loss_after = found.value.map(T::of);
        report.step_norm = Some(T::of(found.alpha * dot(&iterate.x, &iterate.x).sqrt()));
        // for K = 0 the last step itself, shortened as it was
        let shrink = if self.options.cg_iterations == 0 { alpha } else { T::ONE };
        self.iterate = inner.last;
        self.iterate.iter_mut().for_each(|x| *x *= shrink);
        self.adapt(rho, false)
    }

    /// θ stays; λ rises, and the next solve starts from zero.
    fn reject(&mut self, report: &mut StepReport<T>) -> Result<()> {
        report.rejected = true;
        report.step_norm = Some(T::ZERO);
        self.iterate.clear();
        self.adapt(f64::NAN, true)
    }
}
