//! Several environments side by side under one policy: one forward pass a time step for all of them.

use pullback::nn::{Batch, Policy};
use pullback::optim::AdvantageEstimator;
use pullback::random::Draws;
use pullback::{Ctx, Mat, Result};

use super::{Actions, Environment, Task};

/// A piece of one episode: its cases, and the state after the last one, unless the episode ended there.
struct Piece {
    cases: std::ops::Range<usize>,
    cut_at: Option<Vec<f64>>,
}

/// What happened: one case a column, the cases of an environment in order.
pub struct Rollout {
    pub states: Mat<f64>,
    pub actions: Mat<f64>,
    pub rewards: Vec<f64>,
    /// Returns of the episodes that came to their end or limit.
    pub returns: Vec<f64>,
    pieces: Vec<Piece>,
    walkers: usize,
}

/// One environment in the middle of an episode.
struct Walker {
    environment: Box<dyn Environment>,
    draws: Draws,
    steps: usize,
    total: f64,
    seen: Vec<Step>,
}

struct Step {
    state: Vec<f64>,
    action: Vec<f64>,
    reward: f64,
    /// Whether the episode ended, or the state where it was cut.
    end: Option<Option<Vec<f64>>>,
}

/// The environments.
pub struct Walkers {
    walkers: Vec<Walker>,
    observations: usize,
    actions: Actions,
}

impl Walkers {
    pub fn new(task: Task, count: usize, seed: u64) -> Self {
        let walker = |k: usize| {
            let (mut environment, mut draws) = (task.environment(), Draws::new(seed, k as u64));
            environment.reset(&mut draws);
            Walker { environment, draws, steps: 0, total: 0.0, seen: Vec::new() }
        };
        let sample = task.environment();
        let (observations, actions) = (sample.observations(), sample.actions());
        Self { walkers: (0..count).map(walker).collect(), observations, actions }
    }

    /// So many steps of every environment under the policy at θ. Episodes go on in the next call.
    pub fn run(&mut self, ctx: &Ctx<f64>, policy: &Policy<f64>, theta: &[f64], steps: usize) -> Result<Rollout> {
        let mut returns = Vec::new();
        let targets = Mat::zeros(policy.net().outputs(), self.walkers.len());
        let mut states = Mat::zeros(self.observations, self.walkers.len());
        for _ in 0..steps {
            for (walker, state) in self.walkers.iter().zip(states.as_mut().cols_mut()) {
                walker.environment.observe(state);
            }
            let prediction = policy.net().predict(ctx, theta, &Batch::new(states.as_ref(), targets.as_ref())?)?;
            for (k, walker) in self.walkers.iter_mut().enumerate() {
                walker.step(states.as_ref().col(k), prediction.as_ref().col(k), self.actions, &mut returns);
            }
        }
        self.gather(policy.net().outputs(), steps, returns)
    }

    fn gather(&mut self, outputs: usize, steps: usize, returns: Vec<f64>) -> Result<Rollout> {
        let n = steps * self.walkers.len();
        let (mut states, mut actions) = (Vec::new(), Vec::new());
        let (mut rewards, mut pieces) = (Vec::with_capacity(n), Vec::new());
        for walker in &mut self.walkers {
            let mut start = rewards.len();
            let count = walker.seen.len();
            for (t, step) in walker.seen.drain(..).enumerate() {
                states.extend(step.state);
                actions.extend(step.action);
                rewards.push(step.reward);
                let end = step.end.or_else(|| {
                    (t + 1 == count).then(|| {
                        let mut state = vec![0.0; self.observations];
                        walker.environment.observe(&mut state);
                        Some(state)
                    })
                });
                if let Some(cut_at) = end {
                    pieces.push(Piece { cases: start..rewards.len(), cut_at });
                    start = rewards.len();
                }
            }
        }
        let states = Mat::from_vec(states, self.observations, n)?;
        let actions = Mat::from_vec(actions, outputs, n)?;
        Ok(Rollout { states, actions, rewards, returns, pieces, walkers: self.walkers.len() })
    }
}

impl Walker {
    fn step(&mut self, state: &[f64], prediction: &[f64], actions: Actions, returns: &mut Vec<f64>) {
        // the action as the policy's loss sees it, and as the environment does
        let (target, action) = match actions {
            Actions::Choice(count) => {
                let mut left = self.draws.unit();
                let chosen = prediction.iter().position(|p| {
                    left -= p;
                    left < 0.0
                });
                let chosen = chosen.unwrap_or(count - 1);
                ((0..count).map(|c| f64::from(u8::from(c == chosen))).collect(), chosen as f64)
            }
            Actions::Real { deviation } => {
                let target = prediction[0] + self.draws.normal();
                (vec![target], deviation * target)
            }
        };
        let (reward, ended) = self.environment.step(action);
        self.steps += 1;
        self.total += reward;
        let mut end = None;
        if ended || self.steps >= self.environment.limit() {
            let cut_at = (!ended).then(|| {
                let mut state = vec![0.0; state.len()];
                self.environment.observe(&mut state);
                state
            });
            end = Some(cut_at);
            returns.push(self.total);
            (self.steps, self.total) = (0, 0.0);
            self.environment.reset(&mut self.draws);
        }
        self.seen.push(Step { state: state.to_vec(), action: target, reward, end });
    }
}

impl Rollout {
    /// The return of every environment's first episode in this rollout, as far as it went.
    pub fn first_returns(&self) -> Vec<f64> {
        let of_walker = self.rewards.len() / self.walkers.max(1);
        let first = |p: &&Piece| p.cases.start.is_multiple_of(of_walker.max(1));
        self.pieces.iter().filter(first).map(|p| self.rewards[p.cases.clone()].iter().sum()).collect()
    }

    /// Generalized advantages of every case under a value function of batches of states.
    pub fn advantages(
        &self,
        estimator: &AdvantageEstimator,
        value: impl Fn(&Mat<f64>) -> Result<Vec<f64>>,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let values = value(&self.states)?;
        let cut: Vec<&Vec<f64>> = self.pieces.iter().filter_map(|p| p.cut_at.as_ref()).collect();
        let mut last = match cut.len() {
            0 => Vec::new(),
            n => value(&Mat::from_fn(self.states.nrows(), n, |i, j| cut[j][i]))?,
        }
        .into_iter();
        let mut advantages = Vec::with_capacity(values.len());
        for piece in &self.pieces {
            let mut along = values[piece.cases.clone()].to_vec();
            along.push(piece.cut_at.as_ref().and_then(|_| last.next()).unwrap_or(0.0));
            advantages.extend(estimator.advantages(&self.rewards[piece.cases.clone()], &along)?);
        }
        Ok((advantages, values))
    }
}
