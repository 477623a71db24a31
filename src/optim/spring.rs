//! SPRING: damped Gauss-Newton in sample space around a decayed last direction.
//!
//! One step k, on one batch with J (N x P) and r (N), ∇data = Jᵀr:
//! ```text
//! φ₀ = μ φ_{k-1}                              with an L2 term: (η θ + λ μ φ_{k-1}) / (η + λ)
//! φ  = φ₀ + Jᵀ(J Jᵀ + (λ + η) I)⁻¹(r - J φ₀)
//!    = argmin_p ‖J p - r‖² + λ ‖p - μ φ_{k-1}‖² + η ‖p - θ‖²
//! θ ← θ - α_k φ,   α_k = α / (1 + decay k),   scaled down where ‖α_k φ‖² exceeds its limit
//! ```
//! μ = 0 is the damped Gauss-Newton step (natural gradient) -(G + λI)⁻¹∇; a direction that the batch does not see (the
//! kernel of J) keeps what earlier batches said of it, times μ.
//!
//! Deviations  The L2 term, absent from the paper, enters exactly: its quadratic is part of the minimized model. There
//!             is no test of the loss after the step and no rejection: the step is bounded by its norm.
//! Cost        the kernel and its factorization, two products with Jᵀ (one for ‖∇h‖, which the step itself does not need, and
//!             for the layer that an overflow names), one with J where φ₀ is not zero; P numbers of state.
//! Laws        tests/spring.rs (the argmin, μ = 0, descent, errors leave θ and state alone).
//! Reference   G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys. 516 (2024), arXiv:2401.10190, algorithm 1;
//!             J. Guzmán-Cordero et al., Improving energy natural gradient descent through Woodbury, momentum, and
//!             randomization, 2025, arXiv:2505.12149.

use std::sync::Arc;

use super::report::Stopwatch;
use super::scaled_jacobian::{Products, ScaledJacobian};
use super::{Linearization, Optimizer, ResidualObjective, SpringOptions, StepReport, finite_gradient, finite_loss};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::curvature::{Curvature, Damping, SampleSpace, SolveReport};
use crate::error::{Error, Result, check_len};
use crate::krylov::CgStop;
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// The SPRING optimizer, for any [`ResidualObjective`].
///
#[cfg_attr(feature = "nn", doc = "```")]
#[cfg_attr(not(feature = "nn"), doc = "```ignore")]
/// use pullback::nn::{Activation, Init, Mlp};
/// use pullback::optim::{Objective, Optimizer, Spring, SpringOptions};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(1).layer(20, Activation::Tanh).layer(1, Activation::Identity).build()?;
/// let x = Mat::from_fn(1, 8, |_, j| j as f64 / 4.0 - 1.0);
/// let batch = net.batch(x.as_ref(), x.map(f64::sin).as_ref())?;
/// let mut theta = net.init(Init::GlorotUniform, 1);
/// let mut spring = Spring::new(SpringOptions { learning_rate: 0.5, max_squared_norm: None, ..Default::default() })?;
/// let before = spring.step(&ctx, &net, &mut theta, &batch)?.loss_before;
/// assert!(net.loss(&ctx, &theta, &batch)? < 0.5 * before);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct Spring<T> {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    options: SpringOptions<T>,
    steps: u64,
    /// φ of the last step; empty before the first.
    direction: Vec<T>,
}

impl<T: Scalar> Spring<T> {
    /// # Errors
    /// [`Error::InvalidParameter`] for options outside their domain.
    pub fn new(options: SpringOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options, steps: 0, direction: Vec::new() })
    }

    /// The settings.
    pub fn options(&self) -> &SpringOptions<T> {
        &self.options
    }

    /// Changes λ, for a schedule.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless λ is finite and positive.
    pub fn set_lambda(&mut self, lambda: f64) -> Result<()> {
        let options = SpringOptions { lambda, ..self.options };
        options.check()?;
        self.options = options;
        Ok(())
    }

    /// α of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.options.learning_rate / (1.0 + self.options.decay * self.steps as f64)
    }

    /// φ of the last step, before α; `None` before the first.
    pub fn direction(&self) -> Option<&[T]> {
        (self.steps > 0).then_some(&self.direction[..])
    }

    /// φ₀, or `None` where it is zero.
    fn prior(&self, theta: &[T], eta: T) -> Option<Vec<T>> {
        let (lambda, mu) = (self.options.lambda, self.options.momentum);
        let share = eta.f64() / (eta.f64() + lambda);
        let (of_theta, of_last) = (T::of(share), T::of((1.0 - share) * mu));
        let last = (self.steps > 0 && of_last != T::ZERO).then_some(&self.direction);
        match (of_theta == T::ZERO, last) {
            (true, None) => None,
            (true, Some(last)) => Some(last.iter().map(|&p| of_last * p).collect()),
            (false, None) => Some(theta.iter().map(|&w| of_theta * w).collect()),
            (false, Some(last)) => Some(theta.iter().zip(last).map(|(&w, &p)| of_theta * w + of_last * p).collect()),
        }
    }
}

impl<T: Scalar, O: ResidualObjective<T> + ?Sized> Optimizer<T, O> for Spring<T> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let p = objective.layout().len();
        check_len("theta", p, theta.len())?;
        if self.steps > 0 {
            check_len("theta of an optimizer in use", self.direction.len(), p)?;
        }
        let mut report = StepReport {
            lambda: Some(T::of(self.options.lambda)),
            momentum: Some(T::of(self.options.momentum)),
            refreshed: true,
            ..StepReport::default()
        };
        let mut watch = Stopwatch::start();
        let direction = self.solve(ctx, objective, theta, batch, &mut report)?;
        report.seconds.solve = watch.lap() - report.seconds.gradient;
        let alpha = self.bounded_rate(&direction);
        check::finite_slice("Spring: step size", &[T::of(alpha)])?;
        theta.iter_mut().zip(&direction).for_each(|(w, &d)| *w -= T::of(alpha) * d);
        self.direction = direction;
        self.steps += 1;
        report.alpha = Some(T::of(alpha));
        report.step_norm = Some(T::of(alpha * norm(&self.direction)));
        report.seconds.search = watch.lap();
        Ok(report)
    }
}

impl<T: Scalar> Spring<T> {
    /// φ at θ; loss and passes go into the report. The state is left alone.
    fn solve<O: ResidualObjective<T> + ?Sized>(
        &self,
        ctx: &Ctx<T>,
        objective: &O,
        theta: &[T],
        batch: &O::Batch,
        report: &mut StepReport<T>,
    ) -> Result<Vec<T>> {
        let eta = objective.l2();
        let mut watch = Stopwatch::start();
        let Linearization { loss, jacobian, mut residual } = objective.linearize(ctx, theta, batch)?;
        report.passes.forward += 1;
        report.loss_before = finite_loss(ctx, objective, theta, batch, loss)?;
        check::finite_slice("residual", &residual)?;
        let products = Arc::<Products>::default();
        let jacobian = ScaledJacobian::new(Arc::new(jacobian), None, products.clone());
        let mut gradient = vec![T::ZERO; theta.len()];
        jacobian.apply_transpose(ctx, MatRef::from_column(&residual), MatMut::from_column(&mut gradient))?;
        gradient.iter_mut().zip(theta).for_each(|(g, &w)| *g += eta * w);
        finite_gradient(objective.layout(), &gradient)?;
        report.gradient_norm = Some(T::of(norm(&gradient)));
        report.seconds.gradient = watch.lap();
        let prior = self.prior(theta, eta);
        if let Some(prior) = &prior {
            let mut seen = ctx.scratch(residual.len(), 1);
            jacobian.apply(ctx, MatRef::from_column(prior), seen.as_mut())?;
            residual.iter_mut().zip(seen.as_slice()).for_each(|(r, &s)| *r -= s);
        }
        let damping = Damping::try_from(self.options.lambda + eta.f64())?;
        let solver = SampleSpace::new(&jacobian).with_options(self.options.solve)?.damped(ctx, damping)?;
        let mut direction = vec![T::ZERO; theta.len()];
        let (r, phi) = (MatRef::from_column(&residual), MatMut::from_column(&mut direction));
        if let SolveReport::Iterative { stop: CgStop::Breakdown, .. } = solver.solve_residual(ctx, r, phi)? {
            return Err(Error::not_finite("Spring: solve"));
        }
        if let Some(prior) = &prior {
            direction.iter_mut().zip(prior).for_each(|(d, &p)| *d += p);
        }
        check::finite_slice("Spring: direction", &direction)?;
        report.passes += products.passes();
        Ok(direction)
    }

    /// α_k, or less where ‖α_k φ‖² would exceed its limit.
    fn bounded_rate(&self, direction: &[T]) -> f64 {
        let (alpha, length) = (self.learning_rate(), norm(direction));
        match self.options.max_squared_norm {
            Some(limit) if alpha * length > limit.sqrt() => limit.sqrt() / length,
            _ => alpha,
        }
    }
}
