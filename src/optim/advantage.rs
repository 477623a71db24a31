//! Generalized advantage estimation: how much better an action was than what the value function expected.
//!
//! ```text
//! δ_t = r_t + γ V(s_{t+1}) - V(s_t),     A_t = Σ_{l>=0} (γλ)ˡ δ_{t+l} = δ_t + γλ A_{t+1}
//! ```
//! λ = 0 is the one-step temporal difference, λ = 1 the discounted return less V(s_t).
//!
//! Cost        5 flops a step, backwards in time.
//! Laws        tests/advantage.rs (the sum, both ends of λ).
//! Reference   J. Schulman, P. Moritz, S. Levine, M. Jordan, P. Abbeel, High-dimensional continuous control using
//!             generalized advantage estimation, ICLR 2016, arXiv:1506.02438, equations 11 to 16.

use crate::backend::check;
use crate::error::{Error, Result, check_len};

/// γ and λ of the estimator.
///
/// ```
/// use pullback::optim::AdvantageEstimator;
/// let gae = AdvantageEstimator::new(0.5, 1.0)?;
/// // two steps, then the end, whose value is 0
/// let advantages = gae.advantages(&[1.0, 2.0], &[10.0, 1.0, 0.0])?;
/// assert_eq!(advantages, [1.0 + 0.5 * 2.0 - 10.0, 2.0 - 1.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AdvantageEstimator {
    gamma: f64,
    lambda: f64,
}

impl AdvantageEstimator {
    /// # Errors
    /// [`Error::InvalidParameter`] unless both lie in [0, 1].
    pub fn new(gamma: f64, lambda: f64) -> Result<Self> {
        for (name, x) in [("gamma", gamma), ("lambda", lambda)] {
            if !(0.0..=1.0).contains(&x) {
                return Err(Error::invalid(name, format!("{x} must be in [0, 1]")));
            }
        }
        Ok(Self { gamma, lambda })
    }

    /// γ.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// λ.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// A_0, ..., A_{n-1} of one trajectory from its n rewards and the n + 1 values of the states on it; the last value is 0
    /// where the trajectory ended, and that of the state where it was cut off otherwise.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one value more than rewards; [`Error::NotFinite`].
    pub fn advantages(&self, rewards: &[f64], values: &[f64]) -> Result<Vec<f64>> {
        check_len("advantages: values", rewards.len() + 1, values.len())?;
        check::finite_slice("advantages: rewards", rewards)?;
        check::finite_slice("advantages: values", values)?;
        let mut advantages = vec![0.0; rewards.len()];
        let mut next = 0.0;
        for t in (0..rewards.len()).rev() {
            let delta = rewards[t] + self.gamma * values[t + 1] - values[t];
            next = delta + self.gamma * self.lambda * next;
            advantages[t] = next;
        }
        Ok(advantages)
    }
}
