//! Q as a function of w, with the passes that it needs.
//!
//! Cost        a gradient of Q takes 2 passes on B where loss and distance share their passes or there is no distance,
//!             else 2 on B and 2 on B'; the anchor 1 on B', none where it is shared.
//! Laws        tests/proximal.rs.
//! Reference   chapter section 3, Eq 11 and the counts below it.

use super::{OutputProximity, ProximalOptions};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::optim::{Passes, take_gradient};
use crate::scalar::Scalar;

/// How the distance is measured.
enum Function<A> {
    None,
    /// With the loss, in the same passes.
    Joint(A),
    Apart(A),
}

/// Q around w₀.
pub(super) struct Problem<'a, T: Scalar, O: OutputProximity<T> + ?Sized> {
    ctx: &'a Ctx<T>,
    objective: &'a O,
    batch: &'a O::Batch,
    start: &'a [T],
    options: &'a ProximalOptions<T>,
    function: Function<O::Anchor>,
    part: Vec<T>,
    /// h(w₀) = Q(w₀).
    pub loss: T,
    pub passes: Passes,
}

impl<'a, T: Scalar, O: OutputProximity<T> + ?Sized> Problem<'a, T, O> {
    /// Q with its gradient ∇h at w₀, where both proximities are flat: `elsewhere` is B', or `None` for B itself.
    pub fn new(
        ctx: &'a Ctx<T>,
        objective: &'a O,
        batch: &'a O::Batch,
        elsewhere: Option<&'a O::Batch>,
        start: &'a [T],
        options: &'a ProximalOptions<T>,
        gradient: &mut Vec<T>,
    ) -> Result<Self> {
        let mut passes = Passes::GRADIENT;
        let (weight, distance) = (options.function_space, options.distance);
        let mut function = Function::None;
        let loss;
        if weight > T::ZERO && elsewhere.is_none() {
            crate::error::check_len("theta", objective.layout().len(), start.len())?;
            gradient.resize(start.len(), T::ZERO);
            let taken = objective.loss_grad_joint(ctx, start, batch, distance, weight, gradient);
            if let Err(Error::NotFinite { .. }) = &taken {
                // outputs that are not finite anchor nothing: the loss says where that begins
                let loss = objective.loss(ctx, start, batch)?;
                crate::optim::finite_loss(ctx, objective, start, batch, loss)?;
            }
            let (value, joint) = taken?;
            crate::optim::finite_loss(ctx, objective, start, batch, value)?;
            crate::optim::finite_gradient(objective.layout(), gradient)?;
            loss = value;
            if let Some(joint) = joint {
                function = Function::Joint(joint);
            }
        } else {
            loss = take_gradient(ctx, objective, start, batch, gradient)?;
        }
        if weight > T::ZERO && matches!(function, Function::None) {
            function = Function::Apart(objective.anchor(ctx, start, elsewhere.unwrap_or(batch), distance)?);
            passes.forward += 1;
        }
        Ok(Self { ctx, objective, batch, start, options, function, part: vec![T::ZERO; start.len()], loss, passes })
    }

    /// Q(w) and its gradient.
    pub fn evaluate(&mut self, w: &[T], gradient: &mut [T]) -> Result<f64> {
        self.passes += Passes::GRADIENT;
        let (ctx, objective) = (self.ctx, self.objective);
        let mut value = match &self.function {
            Function::None => objective.loss_grad(ctx, w, self.batch, gradient)?.f64(),
            Function::Joint(anchor) => objective.distance_grad(ctx, w, anchor, gradient)?.f64(),
            Function::Apart(anchor) => {
                self.passes += Passes::GRADIENT;
                let loss = objective.loss_grad(ctx, w, self.batch, gradient)?;
                let distance = objective.distance_grad(ctx, w, anchor, &mut self.part)?;
                let weight = self.options.function_space;
                gradient.iter_mut().zip(&self.part).for_each(|(g, &p)| *g += weight * p);
                loss.f64() + weight.f64() * distance.f64()
            }
        };
        let weight = self.options.weight_space;
        for ((g, &w), &start) in gradient.iter_mut().zip(w).zip(self.start) {
            *g += weight * (w - start);
            value += 0.5 * weight.f64() * (w - start).f64().powi(2);
        }
        Ok(value)
    }
}
