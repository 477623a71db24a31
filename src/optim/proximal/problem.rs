//! Q as an objective in w, with the passes that it needs.
//!
//! At w₀ both proximities are flat: Q and ∇Q there are h and ∇h, taken once and kept.
//!
//! Cost        a gradient of Q takes 2 passes on B where loss and distance share their passes or there is no distance,
//!             else 2 on B and 2 on B'; the anchor 1 on B', none where it is shared.
//! Laws        tests/proximal.rs.
//! Reference   chapter section 3, Eq 11 and the counts below it.

use std::cell::Cell;

use super::{OutputProximity, ProximalOptions};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::optim::{Objective, ParamLayout, Passes, take_gradient};
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
    objective: &'a O,
    batch: &'a O::Batch,
    start: &'a [T],
    options: &'a ProximalOptions<T>,
    function: Function<O::Anchor>,
    loss: T,
    gradient: Vec<T>,
    passes: Cell<Passes>,
}

impl<'a, T: Scalar, O: OutputProximity<T> + ?Sized> Problem<'a, T, O> {
    /// Takes h and ∇h at w₀: `elsewhere` is B', or `None` for B itself.
    pub fn new(
        ctx: &Ctx<T>,
        objective: &'a O,
        batch: &'a O::Batch,
        elsewhere: Option<&'a O::Batch>,
        start: &'a [T],
        options: &'a ProximalOptions<T>,
    ) -> Result<Self> {
        let mut passes = Passes::GRADIENT;
        let (weight, distance) = (options.function_space, options.distance);
        let (mut function, mut gradient) = (Function::None, Vec::new());
        let loss;
        if weight > T::ZERO && elsewhere.is_none() {
            crate::error::check_len("theta", objective.layout().len(), start.len())?;
            gradient.resize(start.len(), T::ZERO);
            let taken = objective.loss_grad_joint(ctx, start, batch, distance, weight, &mut gradient);
            if let Err(Error::NotFinite { .. }) = &taken {
                // outputs that are not finite anchor nothing: the loss says where that begins
                let loss = objective.loss(ctx, start, batch)?;
                crate::optim::finite_loss(ctx, objective, start, batch, loss)?;
            }
            let (value, joint) = taken?;
            crate::optim::finite_loss(ctx, objective, start, batch, value)?;
            crate::optim::finite_gradient(objective.layout(), &gradient)?;
            loss = value;
            if let Some(joint) = joint {
                function = Function::Joint(joint);
            }
        } else {
            loss = take_gradient(ctx, objective, start, batch, &mut gradient)?;
        }
        if weight > T::ZERO && matches!(function, Function::None) {
            function = Function::Apart(objective.anchor(ctx, start, elsewhere.unwrap_or(batch), distance)?);
            passes.forward += 1;
        }
        Ok(Self { objective, batch, start, options, function, loss, gradient, passes: Cell::new(passes) })
    }

    /// h(w₀) = Q(w₀).
    pub fn loss_at_start(&self) -> T {
        self.loss
    }

    /// ∇h(w₀) = ∇Q(w₀).
    pub fn gradient_at_start(&self) -> &[T] {
        &self.gradient
    }

    /// Passes so far.
    pub fn passes(&self) -> Passes {
        self.passes.get()
    }

    fn count(&self, more: Passes) {
        let mut passes = self.passes.get();
        passes += more;
        self.passes.set(passes);
    }
}

impl<T: Scalar, O: OutputProximity<T> + ?Sized> Objective<T> for Problem<'_, T, O> {
    type Batch = ();

    fn layout(&self) -> &ParamLayout {
        self.objective.layout()
    }

    /// No search here asks for a value without its gradient.
    fn loss(&self, ctx: &Ctx<T>, w: &[T], batch: &()) -> Result<T> {
        self.loss_grad(ctx, w, batch, &mut vec![T::ZERO; w.len()])
    }

    fn loss_grad(&self, ctx: &Ctx<T>, w: &[T], _batch: &(), gradient: &mut [T]) -> Result<T> {
        if w == self.start {
            gradient.copy_from_slice(&self.gradient);
            return Ok(self.loss);
        }
        let objective = self.objective;
        self.count(Passes::GRADIENT);
        let mut value = match &self.function {
            Function::None => objective.loss_grad(ctx, w, self.batch, gradient)?.f64(),
            Function::Joint(anchor) => objective.distance_grad(ctx, w, anchor, gradient)?.f64(),
            Function::Apart(anchor) => {
                self.count(Passes::GRADIENT);
                let loss = objective.loss_grad(ctx, w, self.batch, gradient)?;
                let mut part = ctx.scratch(w.len(), 1);
                let part = part.as_mut().into_slice();
                let distance = objective.distance_grad(ctx, w, anchor, part)?;
                let weight = self.options.function_space;
                gradient.iter_mut().zip(&*part).for_each(|(g, &p)| *g += weight * p);
                loss.f64() + weight.f64() * distance.f64()
            }
        };
        let weight = self.options.weight_space;
        for ((g, &w), &start) in gradient.iter_mut().zip(w).zip(self.start) {
            *g += weight * (w - start);
            value += 0.5 * weight.f64() * (w - start).f64().powi(2);
        }
        Ok(T::of(value))
    }
}
