//! A pole hinged on a cart that is pushed left or right; it is to stay upright.
//!
//! ```text
//! θ̈ = (g sin θ - cos θ (F + m l θ̇² sin θ)/(M + m)) / (l (4/3 - m cos²θ/(M + m)))
//! ẍ = (F + m l (θ̇² sin θ - θ̈ cos θ))/(M + m)
//! ```
//! θ is the angle from upright, l half the length of the pole. A reward of 1 a step; an episode ends beyond 12 degrees or
//! 2.4 metres.
//!
//! Deviations  Order-4 Runge-Kutta steps in place of Euler's; no friction.
//! Reference   A. Barto, R. Sutton, C. Anderson, Neuronlike adaptive elements that can solve difficult learning control
//!             problems, IEEE Trans. Systems, Man, and Cybernetics 13 (1983), appendix.

use pullback::random::Draws;

use super::{Actions, Environment, runge_kutta};

pub const GRAVITY: f64 = 9.8;
pub const CART: f64 = 1.0;
pub const POLE: f64 = 0.1;
pub const HALF_LENGTH: f64 = 0.5;
pub const FORCE: f64 = 10.0;
pub const DT: f64 = 0.02;
const FARTHEST: f64 = 2.4;
const STEEPEST: f64 = 12.0 * std::f64::consts::PI / 180.0;

/// (x, ẋ, θ, θ̇).
#[derive(Debug, Clone, Copy, Default)]
pub struct CartPole {
    pub state: [f64; 4],
}

/// The time derivative of the state under a force.
pub fn derivative(&[_, dx, angle, spin]: &[f64; 4], force: f64) -> [f64; 4] {
    let (sin, cos) = angle.sin_cos();
    let total = CART + POLE;
    let pushed = (force + POLE * HALF_LENGTH * spin * spin * sin) / total;
    let turn = (GRAVITY * sin - cos * pushed) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cos * cos / total));
    [dx, pushed - POLE * HALF_LENGTH * turn * cos / total, spin, turn]
}

impl CartPole {
    /// Moves on by one time step under a force.
    pub fn advance(&mut self, force: f64) {
        self.state = runge_kutta(self.state, DT, |y| derivative(y, force));
    }

    /// Kinetic and potential energy; the rod's moment of inertia about its hinge is 4/3 m l².
    pub fn energy(&self) -> f64 {
        let [_, dx, angle, spin] = self.state;
        let ml = POLE * HALF_LENGTH;
        0.5 * (CART + POLE) * dx * dx
            + ml * dx * spin * angle.cos()
            + 2.0 / 3.0 * ml * HALF_LENGTH * spin * spin
            + ml * GRAVITY * angle.cos()
    }

    /// Horizontal momentum.
    pub fn momentum(&self) -> f64 {
        let [_, dx, angle, spin] = self.state;
        (CART + POLE) * dx + POLE * HALF_LENGTH * spin * angle.cos()
    }
}

impl Environment for CartPole {
    fn observations(&self) -> usize {
        4
    }

    fn actions(&self) -> Actions {
        Actions::Choice(2)
    }

    fn limit(&self) -> usize {
        500
    }

    fn reset(&mut self, draws: &mut Draws) {
        self.state = std::array::from_fn(|_| 0.1 * draws.unit() - 0.05);
    }

    fn observe(&self, out: &mut [f64]) {
        let scale = [1.0 / FARTHEST, 0.5, 1.0 / STEEPEST, 0.5];
        out.iter_mut().zip(self.state.iter().zip(scale)).for_each(|(o, (y, s))| *o = s * y);
    }

    fn step(&mut self, action: f64) -> (f64, bool) {
        self.advance(if action > 0.5 { FORCE } else { -FORCE });
        let [x, _, angle, _] = self.state;
        (1.0, x.abs() > FARTHEST || angle.abs() > STEEPEST)
    }

    fn random_action(&self, draws: &mut Draws) -> f64 {
        draws.below(2) as f64
    }
}
