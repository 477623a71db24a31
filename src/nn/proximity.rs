//! How far a network's outputs are from those at another θ: losses whose targets are the network's own predictions.
//!
//! ```text
//! KL(p₀ ‖ p) = ℓ(z, p₀) - ℓ(z₀, p₀),      ½ ‖z - z₀‖² = ℓ(z, z₀) of the squared error
//! w ℓ(z, t) + λ KL = (w + λ) ℓ(z, (w t + λ p₀)/(w + λ)) + const          ℓ is, up to a constant, affine in its targets
//! ```
//! So the loss code of [`Loss`] serves both, and h + λ E ρ on one batch takes the passes of one loss.
//!
//! Laws        tests/proximal.rs.
//! Reference   chapter sections 2.4 and 3.

use super::{Batch, Loss, Mlp, Reduction};
use crate::backend::Ctx;
use crate::error::{Result, check_len};
use crate::mat::{Mat, MatRef};
use crate::optim::{Objective, OutputDistance, OutputProximity};
use crate::scalar::Scalar;

/// A function of θ: scale · loss of `net` on `batch`, less `offset`.
#[derive(Debug)]
pub struct MlpAnchor<T> {
    net: Mlp<T>,
    batch: Batch<T>,
    scale: f64,
    offset: f64,
}

impl<T: Scalar> Mlp<T> {
    /// The network with a mean of that loss.
    fn measuring(&self, loss: Loss, l2: T) -> Self {
        self.with_loss(loss, Reduction::Mean, l2)
    }

    fn anchor_of(&self, loss: Loss, (scale, offset): (f64, f64), l2: T, batch: Batch<T>) -> MlpAnchor<T> {
        MlpAnchor { net: self.measuring(loss, l2), batch, scale, offset }
    }

    fn distance_loss(&self, distance: OutputDistance) -> Loss {
        match distance {
            OutputDistance::Squared => Loss::SquaredError,
            OutputDistance::KullbackLeibler => self.output_loss(),
        }
    }
}

/// The inputs without their row of ones.
fn inputs<T: Scalar>(batch: &Batch<T>) -> Result<MatRef<'_, T>> {
    batch.inputs().submatrix(0, 0, batch.input_dim(), batch.cases())
}

impl<T: Scalar> OutputProximity<T> for Mlp<T> {
    type Anchor = MlpAnchor<T>;

    fn anchor(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>, distance: OutputDistance) -> Result<MlpAnchor<T>> {
        let loss = self.distance_loss(distance);
        let outputs = self.outputs_of(ctx, theta, batch)?;
        let mut own = outputs.clone();
        loss.predict(ctx, own.as_mut());
        let entropy = loss.value(ctx, outputs.as_ref(), own.as_ref(), &mut vec![0.0; batch.cases()])?;
        let own = Batch::new(inputs(batch)?, own.as_ref())?;
        Ok(self.anchor_of(loss, (1.0, entropy / batch.cases() as f64), T::ZERO, own))
    }

    fn distance(&self, ctx: &Ctx<T>, theta: &[T], anchor: &MlpAnchor<T>) -> Result<T> {
        Ok(T::of(anchor.scale * anchor.net.loss(ctx, theta, &anchor.batch)?.f64() - anchor.offset))
    }

    fn distance_grad(&self, ctx: &Ctx<T>, theta: &[T], anchor: &MlpAnchor<T>, grad: &mut [T]) -> Result<T> {
        let value = anchor.net.loss_grad(ctx, theta, &anchor.batch, grad)?.f64();
        let scale = T::of(anchor.scale);
        grad.iter_mut().for_each(|g| *g *= scale);
        Ok(T::of(anchor.scale * value - anchor.offset))
    }

    fn loss_grad_joint(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        distance: OutputDistance,
        weight: T,
        grad: &mut [T],
    ) -> Result<(T, Option<MlpAnchor<T>>)> {
        check_len("loss_grad_joint: gradient", self.layout().len(), grad.len())?;
        let loss = self.output_loss();
        if self.distance_loss(distance) != loss {
            return Ok((self.loss_grad(ctx, theta, batch, grad)?, None));
        }
        let (value, outputs) = self.loss_grad_outputs(ctx, theta, batch, grad)?;
        let mut mixed = outputs.clone();
        loss.predict(ctx, mixed.as_mut());
        let cases = batch.cases() as f64;
        // h is w times the mean of the losses
        let (of_loss, of_distance) = (self.weight(batch.cases()) * cases, weight.f64());
        let scale = of_loss + of_distance;
        let mut by_case = vec![0.0; batch.cases()];
        let mut mean =
            |t: MatRef<'_, T>| -> Result<f64> { Ok(loss.value(ctx, outputs.as_ref(), t, &mut by_case)? / cases) };
        let data = of_loss * mean(batch.targets())?;
        let targets = batch.targets();
        let mixed = Mat::from_fn(self.outputs(), batch.cases(), |i, j| {
            T::of((of_loss * targets.at(i, j).f64() + of_distance * mixed[(i, j)].f64()) / scale)
        });
        let offset = scale * mean(mixed.as_ref())? - data;
        let l2 = T::of(self.l2().f64() / scale);
        let mixed = Batch::new(inputs(batch)?, mixed.as_ref())?;
        Ok((value, Some(self.anchor_of(loss, (scale, offset), l2, mixed))))
    }
}
