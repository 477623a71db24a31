//! A network seen through an affine change of every layer's activations and pre-activations.
//!
//! ```text
//! ā†_l = Ω_l ā_l,   s_l = Φ_l s†_l,   W†_l = Φ_l⁻¹ W_l Ω_{l-1}⁻¹      (homogeneous activations; Ω fixes the last one)
//! ```
//! It computes the same function, W_l = Φ_l W†_l Ω_{l-1}; by the chain rule ∇W† = Φᵀ ∇W Ωᵀ and g† = Φᵀ g.

use pullback::optim::{CaptureSink, FisherKind, LayeredObjective, Objective, ParamLayout};
use pullback::{Ctx, Mat, MatMut, MatRef, Op, Result};

/// Φ_l (d_out x d_out) and Ω_{l-1} ((d_in+1) x (d_in+1)) of one layer.
#[derive(Clone)]
pub struct Change {
    pub phi: Mat<f64>,
    pub omega: Mat<f64>,
}

pub struct Reparameterized<'a, O> {
    pub inner: &'a O,
    pub changes: Vec<Change>,
}

fn product(ctx: &Ctx<f64>, a: MatRef<'_, f64>, ta: Op, b: MatRef<'_, f64>, tb: Op) -> Mat<f64> {
    let mut c = Mat::zeros(ta.shape(a.shape()).0, tb.shape(b.shape()).1);
    ctx.gemm(1.0, a, ta, b, tb, 0.0, c.as_mut()).unwrap();
    c
}

impl<O: Objective<f64>> Reparameterized<'_, O> {
    fn map(&self, ctx: &Ctx<f64>, x: &[f64], op: Op) -> Vec<f64> {
        let mut y = vec![0.0; x.len()];
        for (change, block) in self.changes.iter().zip(self.layout().blocks()) {
            let half = product(ctx, change.phi.as_ref(), op, block.view(x).unwrap(), Op::No);
            let full = product(ctx, half.as_ref(), Op::No, change.omega.as_ref(), op);
            block.view_mut(&mut y).unwrap().copy_from(full.as_ref()).unwrap();
        }
        y
    }

    /// θ of θ†, and J v of v: W = Φ W† Ω.
    pub fn to_inner(&self, ctx: &Ctx<f64>, theta: &[f64]) -> Vec<f64> {
        self.map(ctx, theta, Op::No)
    }

    /// ∇W† = Φᵀ ∇W Ωᵀ.
    pub fn pull_back(&self, ctx: &Ctx<f64>, grad: &[f64]) -> Vec<f64> {
        self.map(ctx, grad, Op::Transpose)
    }
}

impl<O: Objective<f64>> Objective<f64> for Reparameterized<'_, O> {
    type Batch = O::Batch;

    fn layout(&self) -> &ParamLayout {
        self.inner.layout()
    }

    fn l2(&self) -> f64 {
        self.inner.l2()
    }

    fn loss(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &O::Batch) -> Result<f64> {
        self.inner.loss(ctx, &self.to_inner(ctx, theta), batch)
    }

    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &O::Batch, grad: &mut [f64]) -> Result<f64> {
        let mut inner = vec![0.0; grad.len()];
        let loss = self.inner.loss_grad(ctx, &self.to_inner(ctx, theta), batch, &mut inner)?;
        grad.copy_from_slice(&self.pull_back(ctx, &inner));
        Ok(loss)
    }
}

/// Applies Ω and Φᵀ on the way to another sink.
struct Through<'a> {
    changes: &'a [Change],
    sink: &'a mut dyn CaptureSink<f64>,
}

impl CaptureSink<f64> for Through<'_> {
    fn activations(&mut self, ctx: &Ctx<f64>, layer: usize, a: MatRef<'_, f64>, weight: f64) -> Result<()> {
        let a = product(ctx, self.changes[layer].omega.as_ref(), Op::No, a, Op::No);
        self.sink.activations(ctx, layer, a.as_ref(), weight)
    }

    fn gradients(&mut self, ctx: &Ctx<f64>, layer: usize, g: MatRef<'_, f64>, weight: f64) -> Result<()> {
        let g = product(ctx, self.changes[layer].phi.as_ref(), Op::Transpose, g, Op::No);
        self.sink.gradients(ctx, layer, g.as_ref(), weight)
    }

    fn wants_cross_moments(&self) -> bool {
        self.sink.wants_cross_moments()
    }

    fn cross_activations(
        &mut self,
        ctx: &Ctx<f64>,
        layer: usize,
        a: MatRef<'_, f64>,
        next: MatRef<'_, f64>,
        weight: f64,
    ) -> Result<()> {
        let through = |layer: usize, a| product(ctx, self.changes[layer].omega.as_ref(), Op::No, a, Op::No);
        let (a, next) = (through(layer, a), through(layer + 1, next));
        self.sink.cross_activations(ctx, layer, a.as_ref(), next.as_ref(), weight)
    }

    fn cross_gradients(
        &mut self,
        ctx: &Ctx<f64>,
        layer: usize,
        g: MatRef<'_, f64>,
        next: MatRef<'_, f64>,
        weight: f64,
    ) -> Result<()> {
        let through = |layer: usize, g| product(ctx, self.changes[layer].phi.as_ref(), Op::Transpose, g, Op::No);
        let (g, next) = (through(layer, g), through(layer + 1, next));
        self.sink.cross_gradients(ctx, layer, g.as_ref(), next.as_ref(), weight)
    }
}

impl<O: LayeredObjective<f64>> LayeredObjective<f64> for Reparameterized<'_, O> {
    type Workspace = O::Workspace;

    fn workspace(&self) -> O::Workspace {
        self.inner.workspace()
    }

    fn forward(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &O::Batch, ws: &mut O::Workspace) -> Result<f64> {
        self.inner.forward(ctx, &self.to_inner(ctx, theta), batch, ws)
    }

    fn backward(
        &self,
        ctx: &Ctx<f64>,
        theta: &[f64],
        batch: &O::Batch,
        ws: &mut O::Workspace,
        grad: &mut [f64],
    ) -> Result<()> {
        let mut inner = vec![0.0; grad.len()];
        self.inner.backward(ctx, &self.to_inner(ctx, theta), batch, ws, &mut inner)?;
        grad.copy_from_slice(&self.pull_back(ctx, &inner));
        Ok(())
    }

    fn capture(
        &self,
        ctx: &Ctx<f64>,
        theta: &[f64],
        batch: &O::Batch,
        ws: &mut O::Workspace,
        kind: FisherKind,
        cases: usize,
        sample: u64,
        sink: &mut dyn CaptureSink<f64>,
    ) -> Result<()> {
        let mut through = Through { changes: &self.changes, sink };
        self.inner.capture(ctx, &self.to_inner(ctx, theta), batch, ws, kind, cases, sample, &mut through)
    }

    fn ggn_gram(
        &self,
        ctx: &Ctx<f64>,
        theta: &[f64],
        batch: &O::Batch,
        ws: &mut O::Workspace,
        vectors: &[&[f64]],
        gram: MatMut<'_, f64>,
    ) -> Result<()> {
        let mapped: Vec<Vec<f64>> = vectors.iter().map(|v| self.to_inner(ctx, v)).collect();
        let mapped: Vec<&[f64]> = mapped.iter().map(Vec::as_slice).collect();
        self.inner.ggn_gram(ctx, &self.to_inner(ctx, theta), batch, ws, &mapped, gram)
    }
}
