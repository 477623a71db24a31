//! A policy, a value function, and an optimizer for each.
//!
//! ```text
//! policy   2 hidden layers of tanh units, softmax over the choices or the mean of a Gaussian      trpo, acktr or ppo
//! value    the same, one output; squared error against A + V                                       adam, some epochs
//! ```

use pullback::nn::{Activation, Batch, Init, Loss, Mlp, Policy, PolicyBatch, Workspace};
use pullback::optim::{
    Acktr, AcktrOptions, Adam, AdvantageEstimator, Optimizer, PolicyObjective, Ppo, PpoOptions, StepReport, Trpo,
    TrpoOptions,
};
use pullback::random::Draws;
use pullback::{Ctx, Mat, Result};

use super::rollout::Walkers;
use super::{Actions, Task};

const HIDDEN: usize = 32;
const WALKERS: usize = 16;
/// Values are of this order: 1/(1 - γ) rewards of 1.
const VALUE_SCALE: f64 = 100.0;
const VALUE_EPOCHS: usize = 5;
const VALUE_MINIBATCH: usize = 128;

/// An algorithm by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Trpo,
    Acktr,
    Ppo,
}

impl Algorithm {
    pub const ALL: [Algorithm; 3] = [Algorithm::Trpo, Algorithm::Acktr, Algorithm::Ppo];

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Trpo => "trpo",
            Algorithm::Acktr => "acktr",
            Algorithm::Ppo => "ppo",
        }
    }

    /// Steps of each environment between two updates: ACKTR makes many small ones.
    fn horizon(self) -> usize {
        match self {
            Algorithm::Trpo | Algorithm::Ppo => 128,
            Algorithm::Acktr => 32,
        }
    }
}

enum Method {
    Trpo(Trpo),
    Acktr(Box<Acktr<f64, Workspace<f64>>>),
    Ppo(Ppo<Adam<f64>>),
}

impl Method {
    fn new(algorithm: Algorithm, seed: u64) -> Result<Self> {
        Ok(match algorithm {
            Algorithm::Trpo => Method::Trpo(Trpo::new(TrpoOptions::default())?),
            Algorithm::Acktr => {
                // some 200 updates are too few for a momentum of 0.9, which looks back 10
                let options = AcktrOptions { radius: 0.002, momentum: 0.0, seed, ..AcktrOptions::default() };
                Method::Acktr(Box::new(Acktr::new(options)?))
            }
            Algorithm::Ppo => {
                let options = PpoOptions { minibatch: 256, seed, ..PpoOptions::default() };
                Method::Ppo(Ppo::new(Adam::new(0.003)?, options)?)
            }
        })
    }

    fn step(
        &mut self,
        ctx: &Ctx<f64>,
        policy: &Policy<f64>,
        theta: &mut [f64],
        batch: &PolicyBatch<f64>,
    ) -> Result<StepReport<f64>> {
        match self {
            Method::Trpo(trpo) => trpo.step(ctx, policy, theta, batch),
            Method::Acktr(acktr) => acktr.step(ctx, policy, theta, batch),
            Method::Ppo(ppo) => ppo.step(ctx, policy, theta, batch),
        }
    }
}

/// One update of the policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Steps of environments so far.
    pub steps: usize,
    /// Mean return of the last episodes; `None` before the first has ended.
    pub mean_return: Option<f64>,
    pub report: StepReport<f64>,
    /// KL divergence of the update.
    pub divergence: f64,
}

/// A run.
pub struct Learner {
    ctx: Ctx<f64>,
    horizon: usize,
    policy: Policy<f64>,
    theta: Vec<f64>,
    method: Method,
    value: Mlp<f64>,
    value_theta: Vec<f64>,
    value_adam: Adam<f64>,
    walkers: Walkers,
    estimator: AdvantageEstimator,
    orders: Draws,
    steps: usize,
    recent: Vec<f64>,
}

/// Episodes that the mean return looks back.
const RECENT: usize = 20;

impl Learner {
    pub fn new(task: Task, algorithm: Algorithm, seed: u64) -> Result<Self> {
        let environment = task.environment();
        let inputs = environment.observations();
        let hidden = || Mlp::builder(inputs).layer(HIDDEN, Activation::Tanh).layer(HIDDEN, Activation::Tanh);
        let net = match environment.actions() {
            Actions::Choice(count) => hidden().layer(count, Activation::Identity).loss(Loss::SoftmaxCrossEntropy),
            Actions::Real { .. } => hidden().layer(1, Activation::Identity),
        }
        .build()?;
        let policy = match algorithm {
            Algorithm::Ppo => Policy::clipped(net, 0.2)?,
            Algorithm::Trpo | Algorithm::Acktr => Policy::new(net)?,
        };
        let value = hidden().layer(1, Activation::Identity).build()?;
        let mut theta = policy.net().init(Init::GlorotUniform, seed);
        // nearly the same distribution in every state at first
        let last = policy.net().layers().last().map_or(0, |l| (l.inputs + 1) * l.width);
        let start = theta.len() - last;
        theta[start..].iter_mut().for_each(|w| *w *= 0.01);
        Ok(Self {
            ctx: Ctx::default(),
            horizon: algorithm.horizon(),
            theta,
            method: Method::new(algorithm, seed)?,
            value_theta: value.init(Init::GlorotUniform, seed ^ 0xA5),
            value_adam: Adam::new(0.003)?,
            walkers: Walkers::new(task, WALKERS, seed),
            estimator: AdvantageEstimator::new(0.99, 0.95)?,
            orders: Draws::new(seed, u64::MAX),
            steps: 0,
            recent: Vec::new(),
            policy,
            value,
        })
    }

    /// With another backend.
    pub fn with_context(self, ctx: Ctx<f64>) -> Self {
        Self { ctx, ..self }
    }

    /// Steps of environments that one update takes.
    pub fn steps_of_update(&self) -> usize {
        self.horizon * WALKERS
    }

    pub fn theta(&self) -> &[f64] {
        &self.theta
    }

    pub fn policy(&self) -> &Policy<f64> {
        &self.policy
    }

    /// Rolls out, moves the policy, then the value function.
    pub fn update(&mut self) -> Result<Update> {
        let rollout = self.walkers.run(&self.ctx, &self.policy, &self.theta, self.horizon)?;
        self.steps += rollout.rewards.len();
        self.recent.extend(&rollout.returns);
        let old = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..old);
        let (advantages, values) = rollout.advantages(&self.estimator, |states| self.values(states))?;
        let targets: Vec<f64> = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
        let (states, actions) = (rollout.states.as_ref(), rollout.actions.as_ref());
        let batch = self.policy.batch(&self.ctx, &self.theta, states, actions, &standardized(&advantages))?;
        let before = self.policy.distributions(&self.ctx, &self.theta, &batch)?;
        let report = self.method.step(&self.ctx, &self.policy, &mut self.theta, &batch)?;
        let (_, divergence) = self.policy.loss_and_divergence(&self.ctx, before.as_ref(), &self.theta, &batch)?;
        self.fit_values(&rollout.states, &targets)?;
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let mean_return = (!self.recent.is_empty()).then_some(mean);
        Ok(Update { steps: self.steps, mean_return, report, divergence })
    }

    /// Mean return over fresh episodes under the policy as it is.
    pub fn evaluate(&self, task: Task, episodes: usize, seed: u64) -> Result<f64> {
        let mut walkers = Walkers::new(task, episodes, seed);
        // every environment's first episode ends within its limit
        let rollout = walkers.run(&self.ctx, &self.policy, &self.theta, task.environment().limit())?;
        Ok(rollout.first_returns().iter().sum::<f64>() / episodes as f64)
    }

    fn values(&self, states: &Mat<f64>) -> Result<Vec<f64>> {
        let batch = Batch::new(states.as_ref(), Mat::zeros(1, states.ncols()).as_ref())?;
        let values = self.value.predict(&self.ctx, &self.value_theta, &batch)?;
        Ok(values.as_slice().iter().map(|v| VALUE_SCALE * v).collect())
    }

    fn fit_values(&mut self, states: &Mat<f64>, targets: &[f64]) -> Result<()> {
        let targets = Mat::from_fn(1, targets.len(), |_, n| targets[n] / VALUE_SCALE);
        let mut order: Vec<usize> = (0..states.ncols()).collect();
        let mut batch = Batch::new(states.as_ref(), targets.as_ref())?;
        for _ in 0..VALUE_EPOCHS {
            self.orders.shuffle(&mut order);
            for cases in order.chunks(VALUE_MINIBATCH) {
                batch.select(states.as_ref(), Some(targets.as_ref()), cases)?;
                self.value_adam.step(&self.ctx, &self.value, &mut self.value_theta, &batch)?;
            }
        }
        Ok(())
    }
}

/// Mean 0 and variance 1.
fn standardized(x: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    x.iter().map(|x| (x - mean) / (deviation + 1e-8)).collect()
}
