//! A point mass on a rod that is to be swung up and held, by a motor too weak to lift it.
//!
//! ```text
//! θ̈ = (g/l) sin θ + u/(m l²),   |u| <= U           θ the angle from upright; U < m g l: it takes a swing
//! reward cos θ - 0.01 θ̇² - 0.001 u² a step, 200 steps; it never ends before
//! ```

use pullback::random::Draws;

use super::{Actions, Environment, runge_kutta};

pub const GRAVITY: f64 = 9.81;
pub const LENGTH: f64 = 1.0;
pub const MASS: f64 = 1.0;
pub const DT: f64 = 0.05;
pub const LARGEST: f64 = 6.0;
/// Beyond this the spin is held, as by a governor.
const FASTEST: f64 = 10.0;

/// (θ, θ̇).
#[derive(Debug, Clone, Copy, Default)]
pub struct Pendulum {
    pub state: [f64; 2],
}

impl Pendulum {
    /// Moves on by one time step under a torque.
    pub fn advance(&mut self, torque: f64) {
        let derivative =
            |&[angle, spin]: &[f64; 2]| [spin, GRAVITY / LENGTH * angle.sin() + torque / (MASS * LENGTH * LENGTH)];
        self.state = runge_kutta(self.state, DT, derivative);
    }

    /// Kinetic and potential energy.
    pub fn energy(&self) -> f64 {
        let [angle, spin] = self.state;
        MASS * LENGTH * (0.5 * LENGTH * spin * spin + GRAVITY * angle.cos())
    }
}

impl Environment for Pendulum {
    fn observations(&self) -> usize {
        3
    }

    fn actions(&self) -> Actions {
        Actions::Real { deviation: 2.0 }
    }

    fn limit(&self) -> usize {
        200
    }

    fn reset(&mut self, draws: &mut Draws) {
        self.state = [std::f64::consts::TAU * draws.unit(), 2.0 * draws.unit() - 1.0];
    }

    fn observe(&self, out: &mut [f64]) {
        let [angle, spin] = self.state;
        let (sin, cos) = angle.sin_cos();
        out.copy_from_slice(&[sin, cos, 0.25 * spin]);
    }

    fn step(&mut self, action: f64) -> (f64, bool) {
        let torque = action.clamp(-LARGEST, LARGEST);
        self.advance(torque);
        self.state[1] = self.state[1].clamp(-FASTEST, FASTEST);
        let [angle, spin] = self.state;
        (angle.cos() - 0.01 * spin * spin - 0.001 * torque * torque, false)
    }

    fn random_action(&self, draws: &mut Draws) -> f64 {
        LARGEST * (2.0 * draws.unit() - 1.0)
    }
}
