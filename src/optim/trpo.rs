//! TRPO: natural gradient by conjugate gradient, scaled to a radius in KL divergence, with backtracking.
//!
//! ```text
//! x ≈ (F + c I)⁻¹ ∇h                         at most 10 iterations of CG, from zero
//! s = -√(2δ / xᵀF x) x                       ½ sᵀF s = δ: the quadratic model of the divergence is at the radius
//! θ ← θ + s/2ʲ                               the first j <= 10 with h(θ + s/2ʲ) < h(θ) and KL(θ, θ + s/2ʲ) <= 1.5 δ
//! ```
//! Where no j will do the step is rejected.
//!
//! Deviations  The scale is that of F without the damping c (the authors' code puts c into xᵀF x, and steps a little less
//!             far). F is taken on the whole batch, not on every fifth case.
//! Cost        a gradient (2 passes), the distributions and the forward pass of F (1 each), two a CG iteration and one for xᵀF x,
//!             1 for each j; four n-vectors of scratch and those of CG. No state.
//! Laws        tests/trpo.rs.
//! Reference   J. Schulman, S. Levine, P. Moritz, M. Jordan, P. Abbeel, Trust region policy optimization, ICML 2015,
//!             arXiv:1502.05477, section 6 and appendix C; chapter sections 3.1 and 4.

use super::line_search::{SearchReport, SearchStop};
use super::report::Stopwatch;
use super::{InnerReport, InnerStop, Optimizer, Passes, PhaseSeconds, PolicyObjective, StepReport, dot, take_gradient};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::error::{Error, Result};
use crate::krylov::{CgOptions, CgStop, pcg};
use crate::linop::{SelfAdjoint, Shifted};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Settings of [`Trpo`]. The defaults are those of the authors' code for continuous control.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrpoOptions {
    /// δ, the radius: mean KL divergence of a step.
    pub radius: f64,
    /// c: added to F in the solve.
    pub damping: f64,
    /// Most iterations of CG.
    pub cg_iterations: usize,
    /// CG stops where ‖∇h - (F + cI)x‖ is below this.
    pub cg_tolerance: f64,
    /// How often the step is halved.
    pub backtracks: usize,
    /// What a step may exceed the radius by, as a factor.
    pub slack: f64,
}

impl Default for TrpoOptions {
    fn default() -> Self {
        // the code stops at rᵀr < 1e-10
        Self { radius: 0.01, damping: 0.1, cg_iterations: 10, cg_tolerance: 1e-5, backtracks: 10, slack: 1.5 }
    }
}

impl TrpoOptions {
    fn check(&self) -> Result<()> {
        let holds = |name, x: f64, valid: bool| {
            if valid && x.is_finite() {
                Ok(())
            } else {
                Err(Error::invalid(name, format!("{x} is outside its domain")))
            }
        };
        holds("radius", self.radius, self.radius > 0.0)?;
        holds("damping", self.damping, self.damping >= 0.0)?;
        holds("cg_tolerance", self.cg_tolerance, self.cg_tolerance >= 0.0)?;
        holds("slack", self.slack, self.slack >= 1.0)?;
        if self.cg_iterations == 0 {
            return Err(Error::invalid("cg_iterations", "must be at least 1"));
        }
        Ok(())
    }
}

/// Trust region policy optimization, for any [`PolicyObjective`].
///
#[cfg_attr(feature = "nn", doc = "```")]
#[cfg_attr(not(feature = "nn"), doc = "```ignore")]
/// use pullback::optim::{Optimizer, Trpo, TrpoOptions};
/// use pullback::nn::{Activation, Init, Loss, Mlp, Policy};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// // two actions; what is right depends on the sign of the state
/// let net = Mlp::builder(1).layer(4, Activation::Tanh).layer(2, Activation::Identity);
/// let policy = Policy::new(net.loss(Loss::SoftmaxCrossEntropy).build()?)?;
/// let states = Mat::from_fn(1, 8, |_, j| j as f64 - 3.5);
/// let actions = Mat::from_fn(2, 8, |i, j| ((i + j) % 2) as f64);
/// let advantages: Vec<f64> = (0..8).map(|j| if (j % 2 == 0) == (j < 4) { 1.0 } else { -1.0 }).collect();
/// let mut theta = policy.net().init(Init::GlorotUniform, 1);
/// let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &advantages)?;
/// let report = Trpo::new(TrpoOptions::default())?.step(&ctx, &policy, &mut theta, &batch)?;
/// assert!(!report.rejected && report.loss_after < Some(report.loss_before)); // the surrogate rose
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Trpo {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    options: TrpoOptions,
}

#[cfg(feature = "serde")]
impl crate::error::Restored for TrpoOptions {
    fn check_restored(&self) -> Result<()> {
        self.check()
    }
}

/// s, and what the models say of it.
struct Step<T> {
    s: Vec<T>,
    /// ∇hᵀs, negative.
    slope: f64,
}

impl Trpo {
    /// # Errors
    /// [`Error::InvalidParameter`] for options outside their domain.
    pub fn new(options: TrpoOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options })
    }

    /// The settings.
    pub fn options(&self) -> &TrpoOptions {
        &self.options
    }

    /// s of a gradient; `None` where F does not see the direction, so that no multiple of it is at the radius.
    fn full_step<T: Scalar>(
        &self,
        ctx: &Ctx<T>,
        fisher: &dyn SelfAdjoint<T>,
        gradient: &[T],
        passes: &mut Passes,
    ) -> Result<(Option<Step<T>>, InnerReport)> {
        let options = CgOptions {
            relative_tolerance: T::ZERO,
            absolute_tolerance: T::of(self.options.cg_tolerance),
            max_iterations: self.options.cg_iterations,
            ..CgOptions::from_zero()
        };
        let damped = Shifted::new(fisher, T::of(self.options.damping));
        let mut x = vec![T::ZERO; gradient.len()];
        let b = MatRef::from_column(gradient);
        let report = pcg(ctx, &damped, None, b, MatMut::from_column(&mut x), &options)?;
        let inner = InnerReport { iterations: report.iterations(), stop: InnerStop::Krylov(report.stop()) };
        let mut products = report.products() as u64;
        let mut step = None;
        if report.stop() != CgStop::Breakdown && x.iter().any(|&x| x != T::ZERO) {
            let mut fx = vec![T::ZERO; x.len()];
            fisher.apply(ctx, MatRef::from_column(&x), MatMut::from_column(&mut fx))?;
            products += 1;
            let scale = (2.0 * self.options.radius / dot(&x, &fx)).sqrt();
            x.iter_mut().for_each(|x| *x *= -T::of(scale));
            let slope = dot(gradient, &x);
            if slope < 0.0 && check::finite_slice("trust region: step", &x).is_ok() {
                step = Some(Step { s: x, slope });
            }
        }
        passes.jvp += products;
        passes.vjp += products;
        Ok((step, inner))
    }
}

impl<T: Scalar, O: PolicyObjective<T>> Optimizer<T, O> for Trpo
where
    O::Batch: Sized,
{
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let mut gradient = Vec::new();
        let loss = take_gradient(ctx, objective, theta, batch, &mut gradient)?;
        let mut report = StepReport {
            gradient_norm: Some(T::of(norm(&gradient))),
            lambda: Some(T::of(self.options.damping)),
            radius: Some(T::of(self.options.radius)),
            seconds: PhaseSeconds { gradient: watch.lap(), ..PhaseSeconds::default() },
            ..StepReport::first_order(loss)
        };
        if gradient.iter().all(|&g| g == T::ZERO) {
            return Ok(report); // θ is stationary
        }
        let start = theta.to_vec();
        let (step, inner) = {
            let fisher = objective.fisher(ctx, &start, batch)?;
            report.passes.forward += 1;
            self.full_step(ctx, &*fisher, &gradient, &mut report.passes)?
        };
        report.inner = Some(inner);
        report.seconds.solve = watch.lap();
        match step {
            None => report.rejected = true,
            Some(step) => self.backtrack(ctx, objective, &start, &step, theta, batch, &mut report)?,
        }
        report.seconds.search = watch.lap();
        Ok(report)
    }
}

impl Trpo {
    /// Moves θ to the first acceptable point on the step, or leaves it at `start`.
    fn backtrack<T: Scalar, O: PolicyObjective<T>>(
        &self,
        ctx: &Ctx<T>,
        objective: &O,
        start: &[T],
        step: &Step<T>,
        theta: &mut [T],
        batch: &O::Batch,
        report: &mut StepReport<T>,
    ) -> Result<()>
    where
        O::Batch: Sized,
    {
        let old = objective.distributions(ctx, start, batch)?;
        report.passes.forward += 1;
        let limit = self.options.slack * self.options.radius;
        let mut trial = vec![T::ZERO; start.len()];
        let mut search =
            SearchReport { alpha: 0.0, value: None, slope: None, evaluations: 0, stop: SearchStop::EvaluationLimit };
        for j in 0..=self.options.backtracks {
            let alpha = 0.5f64.powi(j as i32);
            trial.iter_mut().zip(start.iter().zip(&step.s)).for_each(|(t, (&w, &s))| *t = w + T::of(alpha) * s);
            let (loss, divergence) = objective.loss_and_divergence(ctx, old.as_ref(), &trial, batch)?;
            report.passes.forward += 1;
            search.evaluations += 1;
            // false for a NaN in either
            if loss < report.loss_before && divergence <= limit {
                theta.copy_from_slice(&trial);
                search = SearchReport { alpha, value: Some(loss.f64()), stop: SearchStop::Accepted, ..search };
                report.loss_after = Some(loss);
                report.predicted_change = Some(T::of(alpha * step.slope));
                report.rho = Some(T::of((loss.f64() - report.loss_before.f64()) / (alpha * step.slope)));
                report.alpha = Some(T::of(alpha));
                report.step_norm = Some(T::of(alpha * norm(&step.s)));
                break;
            }
        }
        report.rejected = search.stop != SearchStop::Accepted;
        report.search = Some(search);
        Ok(())
    }
}
