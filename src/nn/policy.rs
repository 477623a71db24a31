//! [`Policy`]: a network whose outputs are a distribution over actions, with the surrogate of its expected return.
//!
//! ```text
//! log π_θ(a|s) = -ℓ(z_θ(s), a) + const         the network's loss, the actions being its targets
//! ρ_n = π_θ(a_n|s_n) / π_old(a_n|s_n) = exp(ℓ_old,n - ℓ_n)
//! h(θ) = -w Σ_n ρ_n A_n                         or, clipped,  -w Σ_n min(ρ_n A_n, clip(ρ_n, 1-ε, 1+ε) A_n)
//! ∂h/∂z_n = w A_n ρ_n ∂ℓ/∂z_n                   0 where the clipped term is the smaller one
//! KL(old ‖ θ) = ℓ(z_θ, E_old a) - ℓ(z_old, E_old a)
//! ```
//! Softmax cross-entropy is a choice among d_out actions (one-hot); squared error a Gaussian of unit variance around z, so
//! that an action of fixed standard deviation σ is σ a; Bernoulli cross-entropy independent switches. F is the Gauss-Newton
//! matrix of the network's own loss, exactly.
//!
//! Deviations  The ratio's exponent is held at 30, so that one improbable action does not overflow the sum.
//! Cost        that of the network's passes; the divergence and the ratio are an exponential and a loss a case.
//! Laws        tests/policy_objective.rs (gradient, F against differences of the divergence, the clip).
//! Reference   J. Schulman et al., arXiv:1502.05477, equations 3 and 14; J. Schulman, F. Wolski, P. Dhariwal, A. Radford,
//!             O. Klimov, Proximal policy optimization algorithms, 2017, arXiv:1707.06347, equation 7.

use super::{Batch, GgnOperator, Mlp, Reduction, Workspace};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::{SelfAdjoint, Shifted};
use crate::mat::{Mat, MatMut, MatRef};
use crate::optim::{CaptureSink, FisherKind, LayeredObjective, Objective, ParamLayout, PolicyObjective};
use crate::scalar::Scalar;

/// Largest exponent of a ratio of probabilities.
const MAX_LOG_RATIO: f64 = 30.0;

/// A stochastic policy and its surrogate objective.
///
/// ```
/// use pullback::nn::{Activation, Init, Loss, Mlp, Policy};
/// use pullback::optim::{Objective, PolicyObjective};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(2).layer(3, Activation::Identity).loss(Loss::SoftmaxCrossEntropy).build()?;
/// let policy = Policy::clipped(net, 0.2)?; // PPO's
/// let theta = policy.net().init(Init::GlorotUniform, 1);
/// let (states, actions) = (Mat::from_fn(2, 3, |i, j| (i + j) as f64), Mat::identity(3));
/// let batch = policy.batch(&ctx, &theta, states.as_ref(), actions.as_ref(), &[1.0, 2.0, -6.0])?;
/// // at the policy that acted every ratio is 1
/// assert!((policy.loss(&ctx, &theta, &batch)? - 1.0).abs() < 1e-12);
/// let old = policy.distributions(&ctx, &theta, &batch)?;
/// assert_eq!(policy.loss_and_divergence(&ctx, old.as_ref(), &theta, &batch)?.1, 0.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy<T: Scalar> {
    net: Mlp<T>,
    clip: Option<f64>,
}

/// What a policy did: states and actions, with the losses -log π_old(a|s) + const at the policy that acted, and the
/// advantages of the actions.
#[derive(Debug, Clone)]
pub struct PolicyBatch<T> {
    cases: Batch<T>,
    old_losses: Vec<f64>,
    advantages: Vec<f64>,
}

impl<T: Scalar> PolicyBatch<T> {
    /// States and actions.
    pub fn cases(&self) -> &Batch<T> {
        &self.cases
    }

    /// ℓ of every case at the policy that acted.
    pub fn old_losses(&self) -> &[f64] {
        &self.old_losses
    }

    /// A of every case.
    pub fn advantages(&self) -> &[f64] {
        &self.advantages
    }
}

impl<T: Scalar> Policy<T> {
    /// The surrogate without a clip: TRPO's and ACKTR's.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless the network's loss is reduced to a mean, as divergences are.
    pub fn new(net: Mlp<T>) -> Result<Self> {
        if net.reduction() != Reduction::Mean {
            return Err(Error::invalid("reduction", "a policy's loss is a mean over cases"));
        }
        Ok(Self { net, clip: None })
    }

    /// The surrogate with ratios clipped to [1 - ε, 1 + ε]: PPO's.
    ///
    /// # Errors
    /// As [`Policy::new`]; [`Error::InvalidParameter`] unless 0 < ε < 1.
    pub fn clipped(net: Mlp<T>, epsilon: f64) -> Result<Self> {
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(Error::invalid("clip", format!("{epsilon} must be in (0, 1)")));
        }
        Ok(Self { clip: Some(epsilon), ..Self::new(net)? })
    }

    /// The network.
    pub fn net(&self) -> &Mlp<T> {
        &self.net
    }

    /// ε of the clip.
    pub fn clip(&self) -> Option<f64> {
        self.clip
    }

    /// A batch of what the policy at `theta` did.  1 pass.
    ///
    /// # Errors
    /// Those of [`Mlp::batch`]; [`Error::Shape`] unless there is an advantage for each case; [`Error::NotFinite`] for one
    /// that is not finite, or an action that the policy cannot have taken.
    pub fn batch(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        states: MatRef<'_, T>,
        actions: MatRef<'_, T>,
        advantages: &[f64],
    ) -> Result<PolicyBatch<T>> {
        let cases = self.net.batch(states, actions)?;
        check_len("policy: advantages", cases.cases(), advantages.len())?;
        check::finite_slice("policy: advantages", advantages)?;
        let mut ws = self.net.workspace();
        self.net.forward(ctx, theta, &cases, &mut ws)?;
        let old_losses = ws.case_losses().to_vec();
        check::finite_slice("policy: probabilities of the actions", &old_losses)?;
        Ok(PolicyBatch { cases, old_losses, advantages: advantages.to_vec() })
    }

    /// The sum of the cases' terms of h, and each one's factor A ρ of ∂ℓ/∂z (0 where it is clipped).
    fn terms(&self, batch: &PolicyBatch<T>, losses: &[f64], mut factor: impl FnMut(usize, f64)) -> f64 {
        let known = batch.old_losses.iter().zip(&batch.advantages);
        let mut sum = 0.0;
        for (n, (&loss, (&old, &advantage))) in losses.iter().zip(known).enumerate() {
            let exponent = old - loss;
            let ratio = if exponent > MAX_LOG_RATIO { MAX_LOG_RATIO.exp() } else { exponent.exp() };
            let plain = ratio * advantage;
            let clipped = self.clip.map_or(plain, |e| ratio.clamp(1.0 - e, 1.0 + e) * advantage);
            let held = clipped < plain || exponent > MAX_LOG_RATIO;
            // written so that a NaN passes
            sum -= if clipped < plain { clipped } else { plain };
            factor(n, if held { 0.0 } else { plain });
        }
        sum
    }

    fn reduced(&self, ctx: &Ctx<T>, theta: &[T], batch: &PolicyBatch<T>, ws: &Workspace<T>) -> f64 {
        let sum = self.terms(batch, ws.case_losses(), |_, _| {});
        self.net.weight(batch.cases.cases()) * sum + self.net.penalty(ctx, theta)
    }

    /// The gradient after a forward pass.
    fn gradient(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &PolicyBatch<T>,
        ws: &Workspace<T>,
        grad: &mut [T],
    ) -> Result<()> {
        let n = batch.cases.cases();
        let mut seed = ctx.scratch(self.net.outputs(), n);
        seed.as_mut().copy_from(ws.output_gradient())?;
        let mut scaled = seed.as_mut();
        self.terms(batch, ws.case_losses(), |n, factor| {
            scaled.col_mut(n).iter_mut().for_each(|s| *s *= T::of(factor));
        });
        self.net.vjp(ctx, theta, &batch.cases, ws, seed.as_ref(), grad)?;
        let weight = T::of(self.net.weight(n));
        grad.iter_mut().for_each(|g| *g *= weight);
        self.net.add_penalty_gradient(ctx, theta, grad)
    }
}

impl<T: Scalar> Objective<T> for Policy<T> {
    type Batch = PolicyBatch<T>;

    fn layout(&self) -> &ParamLayout {
        self.net.layout()
    }

    fn l2(&self) -> T {
        self.net.l2()
    }

    fn loss(&self, ctx: &Ctx<T>, theta: &[T], batch: &PolicyBatch<T>) -> Result<T> {
        self.forward(ctx, theta, batch, &mut self.net.workspace())
    }

    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], batch: &PolicyBatch<T>, grad: &mut [T]) -> Result<T> {
        let mut ws = self.net.workspace();
        let loss = self.forward(ctx, theta, batch, &mut ws)?;
        self.backward(ctx, theta, batch, &mut ws, grad)?;
        Ok(loss)
    }

    fn first_not_finite(&self, ctx: &Ctx<T>, theta: &[T], batch: &PolicyBatch<T>) -> Option<usize> {
        self.net.first_not_finite(ctx, theta, &batch.cases)
    }
}

impl<T: Scalar> PolicyObjective<T> for Policy<T> {
    /// The outputs z, d_out x cases.
    fn distributions(&self, ctx: &Ctx<T>, theta: &[T], batch: &PolicyBatch<T>) -> Result<Mat<T>> {
        let mut ws = self.net.workspace();
        self.net.forward(ctx, theta, &batch.cases, &mut ws)?;
        Ok(ws.outputs().to_owned())
    }

    fn loss_and_divergence(
        &self,
        ctx: &Ctx<T>,
        old: MatRef<'_, T>,
        theta: &[T],
        batch: &PolicyBatch<T>,
    ) -> Result<(T, f64)> {
        let n = batch.cases.cases();
        check_shape("divergence: old distributions", (self.net.outputs(), n), old.shape())?;
        let mut ws = self.net.workspace();
        self.net.forward(ctx, theta, &batch.cases, &mut ws)?;
        let loss = self.net.output_loss();
        let mut mean = old.to_owned();
        loss.predict(ctx, mean.as_mut());
        let (mut cross, mut own) = (vec![0.0; n], vec![0.0; n]);
        loss.value(ctx, ws.outputs(), mean.as_ref(), &mut cross)?;
        loss.value(ctx, old, mean.as_ref(), &mut own)?;
        // case by case: the difference is small beside either
        let sum: f64 = cross.iter().zip(&own).map(|(c, o)| c - o).sum();
        Ok((T::of(self.reduced(ctx, theta, batch, &ws)), sum / n as f64))
    }

    fn fisher<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a PolicyBatch<T>,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>> {
        Ok(Box::new(Shifted::new(GgnOperator::new(ctx, &self.net, theta, &batch.cases)?, self.net.l2())))
    }

    fn case_count(&self, batch: &PolicyBatch<T>) -> usize {
        batch.cases.cases()
    }

    fn select(&self, batch: &PolicyBatch<T>, cases: &[usize]) -> Result<PolicyBatch<T>> {
        let inputs = batch.cases.inputs().submatrix(0, 0, batch.cases.input_dim(), batch.cases.cases())?;
        let targets = batch.cases.targets();
        let mut chosen = Batch::empty();
        chosen.select(inputs, Some(targets), cases)?; // knows the cases to be there
        let of = |values: &[f64]| cases.iter().map(|&n| values[n]).collect();
        Ok(PolicyBatch { cases: chosen, old_losses: of(&batch.old_losses), advantages: of(&batch.advantages) })
    }
}

/// A network's own captures and products: they know its distributions, not the surrogate.
impl<T: Scalar> LayeredObjective<T> for Policy<T> {
    type Workspace = Workspace<T>;

    fn workspace(&self) -> Workspace<T> {
        self.net.workspace()
    }

    fn forward(&self, ctx: &Ctx<T>, theta: &[T], batch: &PolicyBatch<T>, ws: &mut Workspace<T>) -> Result<T> {
        self.net.forward(ctx, theta, &batch.cases, ws)?;
        Ok(T::of(self.reduced(ctx, theta, batch, ws)))
    }

    fn backward(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &PolicyBatch<T>,
        ws: &mut Workspace<T>,
        grad: &mut [T],
    ) -> Result<()> {
        ws.check(&self.net, theta, &batch.cases)?;
        check_len("backward: gradient", self.layout().len(), grad.len())?;
        self.gradient(ctx, theta, batch, ws, grad)
    }

    fn capture(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &PolicyBatch<T>,
        ws: &mut Workspace<T>,
        kind: FisherKind,
        cases: usize,
        sample: u64,
        sink: &mut dyn CaptureSink<T>,
    ) -> Result<()> {
        self.net.capture(ctx, theta, &batch.cases, ws, kind, cases, sample, sink)
    }

    fn ggn_gram(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &PolicyBatch<T>,
        ws: &mut Workspace<T>,
        vectors: &[&[T]],
        gram: MatMut<'_, T>,
    ) -> Result<()> {
        self.net.ggn_gram(ctx, theta, &batch.cases, ws, vectors, gram)
    }
}
