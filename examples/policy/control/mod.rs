//! Control tasks with dynamics of their own, rollouts of a policy through them, and learners. Everything is a function of
//! the seed.

#![allow(dead_code)] // the tests of the dynamics need their parts only

pub mod cart_pole;
pub mod learner;
pub mod pendulum;
pub mod rollout;

use pullback::random::Draws;

/// What an action is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Actions {
    /// One of so many.
    Choice(usize),
    /// A real number, of this standard deviation around the policy's mean.
    Real { deviation: f64 },
}

/// A system that is controlled step by step.
pub trait Environment: Send {
    /// Length of an observation.
    fn observations(&self) -> usize;

    fn actions(&self) -> Actions;

    /// Steps after which an episode is cut off.
    fn limit(&self) -> usize;

    /// A new episode.
    fn reset(&mut self, draws: &mut Draws);

    /// What the policy sees, each number of order 1.
    fn observe(&self, out: &mut [f64]);

    /// One step under an action: the number of the choice, or the real number. The reward, and whether the episode ended.
    fn step(&mut self, action: f64) -> (f64, bool);

    /// An action of the policy that knows nothing.
    fn random_action(&self, draws: &mut Draws) -> f64;
}

/// A task by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    CartPole,
    Pendulum,
}

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Task::CartPole => "cart-pole",
            Task::Pendulum => "pendulum",
        }
    }

    pub fn environment(self) -> Box<dyn Environment> {
        match self {
            Task::CartPole => Box::new(cart_pole::CartPole::default()),
            Task::Pendulum => Box::new(pendulum::Pendulum::default()),
        }
    }
}

/// Returns of whole episodes under the policy that knows nothing.
pub fn random_returns(task: Task, episodes: usize, seed: u64) -> Vec<f64> {
    let mut environment = task.environment();
    let episode = |e: usize| {
        let mut draws = Draws::new(seed, e as u64);
        environment.reset(&mut draws);
        let mut total = 0.0;
        for _ in 0..environment.limit() {
            let (reward, ended) = environment.step(environment.random_action(&mut draws));
            total += reward;
            if ended {
                break;
            }
        }
        total
    };
    (0..episodes).map(episode).collect()
}

/// The classical Runge-Kutta step of order 4 for ẏ = f(y).
pub fn runge_kutta<const N: usize>(y: [f64; N], dt: f64, f: impl Fn(&[f64; N]) -> [f64; N]) -> [f64; N] {
    let ahead = |k: &[f64; N], h: f64| std::array::from_fn(|i| y[i] + h * k[i]);
    let k1 = f(&y);
    let k2 = f(&ahead(&k1, 0.5 * dt));
    let k3 = f(&ahead(&k2, 0.5 * dt));
    let k4 = f(&ahead(&k3, dt));
    std::array::from_fn(|i| y[i] + dt / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]))
}
