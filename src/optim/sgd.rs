//! Stochastic gradient descent with heavy-ball or Nesterov momentum and decoupled schedule (the caller sets the rate).
//!
//! ```text
//! heavy ball   v ← μ v - α ∇h(θ),   θ ← θ + v
//! Nesterov     v ← μ v - α ∇h(θ),   θ ← θ + μ v - α ∇h(θ)
//! ```
//! Cost        one gradient (2 passes) and 4n flops; one n-vector of state and one of scratch.
//! Laws        tests/first_order.rs (recursion, rotation invariance, momentum 0 is gradient descent).
//! Reference   I. Sutskever, J. Martens, G. Dahl, G. Hinton, ICML 2013 (Nesterov in the form without look-ahead point).

use super::report::Stopwatch;
use super::{Objective, Optimizer, PhaseSeconds, StepReport, take_gradient};
use crate::backend::Ctx;
use crate::backend::sums::norm;
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// How the velocity is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum MomentumKind {
    /// Polyak's heavy ball.
    #[default]
    HeavyBall,
    /// Nesterov's accelerated gradient.
    Nesterov,
}

/// Gradient descent with momentum.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct Sgd<T> {
    learning_rate: T,
    momentum: T,
    kind: MomentumKind,
    velocity: Vec<T>,
    /// Scratch.
    #[cfg_attr(feature = "serde", serde(skip))]
    gradient: Vec<T>,
}

impl<T: Scalar> Sgd<T> {
    /// Without momentum when μ = 0.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless α > 0 and 0 <= μ < 1.
    pub fn new(learning_rate: T, momentum: T, kind: MomentumKind) -> Result<Self> {
        positive("learning rate", learning_rate)?;
        fraction("momentum", momentum)?;
        Ok(Self { learning_rate, momentum, kind, velocity: Vec::new(), gradient: Vec::new() })
    }

    /// Changes α, for a schedule.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless α > 0.
    pub fn set_learning_rate(&mut self, learning_rate: T) -> Result<()> {
        positive("learning rate", learning_rate)?;
        self.learning_rate = learning_rate;
        Ok(())
    }
}

/// `Ok` for a finite positive number.
pub(super) fn positive<T: Scalar>(name: &'static str, x: T) -> Result<()> {
    if x.is_finite() && x > T::ZERO {
        Ok(())
    } else {
        Err(Error::invalid(name, format!("{x} must be finite and positive")))
    }
}

/// `Ok` for a number in [0, 1).
pub(super) fn fraction<T: Scalar>(name: &'static str, x: T) -> Result<()> {
    if x >= T::ZERO && x < T::ONE { Ok(()) } else { Err(Error::invalid(name, format!("{x} must be in [0, 1)"))) }
}

impl<T: Scalar, O: Objective<T> + ?Sized> Optimizer<T, O> for Sgd<T> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let loss = take_gradient(ctx, objective, theta, batch, &mut self.gradient)?;
        let gradient = watch.lap();
        self.velocity.resize(theta.len(), T::ZERO);
        let (alpha, mu) = (self.learning_rate, self.momentum);
        let gradient_norm = norm(&self.gradient);
        // the gradient is spent: its memory takes the step
        let update = self.velocity.iter_mut().zip(self.gradient.iter_mut()).zip(theta.iter_mut());
        match self.kind {
            MomentumKind::HeavyBall => update.for_each(|((v, g), w)| {
                *v = mu * *v - alpha * *g;
                *g = *v;
                *w += *g;
            }),
            MomentumKind::Nesterov => update.for_each(|((v, g), w)| {
                *v = mu * *v - alpha * *g;
                *g = mu * *v - alpha * *g;
                *w += *g;
            }),
        }
        Ok(StepReport {
            gradient_norm: Some(T::of(gradient_norm)),
            step_norm: Some(T::of(norm(&self.gradient))),
            alpha: Some(alpha),
            momentum: Some(mu),
            seconds: PhaseSeconds { gradient, search: watch.lap(), ..PhaseSeconds::default() },
            ..StepReport::first_order(loss)
        })
    }
}
