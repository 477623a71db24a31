//! Adam: a diagonal preconditioner from moving averages of gradients and their squares.
//!
//! ```text
//! m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²,   θ ← θ - α (m / (1 - β₁ᵏ)) / (sqrt(v / (1 - β₂ᵏ)) + ε)
//! ```
//! Cost        one gradient (2 passes) and 12n flops; two n-vectors of state and one of scratch.
//! Laws        tests/first_order.rs (first step is α sign(g), recursion).
//! Reference   D. P. Kingma, J. Ba, ICLR 2015, algorithm 1.

use super::report::Stopwatch;
use super::sgd::{fraction, positive};
use super::{Objective, Optimizer, PhaseSeconds, StepReport, take_gradient};
use crate::backend::Ctx;
use crate::backend::sums::norm;
use crate::error::Result;
use crate::scalar::Scalar;

/// Adam with the paper's defaults β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct Adam<T> {
    learning_rate: T,
    beta1: T,
    beta2: T,
    epsilon: T,
    steps: i32,
    first: Vec<T>,
    second: Vec<T>,
    /// Scratch.
    #[cfg_attr(feature = "serde", serde(skip))]
    gradient: Vec<T>,
}

impl<T: Scalar> Adam<T> {
    /// With the paper's β₁, β₂ and ε.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless α > 0.
    pub fn new(learning_rate: T) -> Result<Self> {
        Self::with_parameters(learning_rate, T::of(0.9), T::of(0.999), T::of(1e-8))
    }

    /// With all parameters named.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless α, ε > 0 and 0 <= β < 1.
    pub fn with_parameters(learning_rate: T, beta1: T, beta2: T, epsilon: T) -> Result<Self> {
        positive("learning rate", learning_rate)?;
        positive("epsilon", epsilon)?;
        fraction("beta1", beta1)?;
        fraction("beta2", beta2)?;
        let (first, second, gradient) = Default::default();
        Ok(Self { learning_rate, beta1, beta2, epsilon, steps: 0, first, second, gradient })
    }
}

impl<T: Scalar, O: Objective<T> + ?Sized> Optimizer<T, O> for Adam<T> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let loss = take_gradient(ctx, objective, theta, batch, &mut self.gradient)?;
        let gradient = watch.lap();
        self.first.resize(theta.len(), T::ZERO);
        self.second.resize(theta.len(), T::ZERO);
        self.steps = self.steps.saturating_add(1);
        let (b1, b2) = (self.beta1, self.beta2);
        let alpha = self.learning_rate / (T::ONE - b1.powi(self.steps));
        let correction = T::ONE / (T::ONE - b2.powi(self.steps));
        let mut squared_step = 0.0;
        let moments = self.first.iter_mut().zip(self.second.iter_mut());
        for ((w, &g), (m, v)) in theta.iter_mut().zip(&self.gradient).zip(moments) {
            *m = b1 * *m + (T::ONE - b1) * g;
            *v = b2 * *v + (T::ONE - b2) * g * g;
            let step = alpha * *m / ((*v * correction).sqrt() + self.epsilon);
            squared_step += step.f64() * step.f64();
            *w -= step;
        }
        Ok(StepReport {
            gradient_norm: Some(T::of(norm(&self.gradient))),
            step_norm: Some(T::of(squared_step.sqrt())),
            alpha: Some(self.learning_rate),
            momentum: Some(b1),
            seconds: PhaseSeconds { gradient, search: watch.lap(), ..PhaseSeconds::default() },
            ..StepReport::first_order(loss)
        })
    }
}
