//! Forward pass and back-propagation.
//!
//! ```text
//! forward    s_l = W_l ā_{l-1},  a_l = φ_l(s_l)
//! backward   δ_L = φ_L' ∘ ∂ℓ/∂z,   δ_{l-1} = φ_{l-1}' ∘ (W_lᵀ δ_l without its last row),   D W_l = w δ_l ā_{l-1}ᵀ
//! ```
//! Products write into place: the forward product into the top rows of ā_l, the weight gradient into its slice of
//! flat θ; the transposed product leaves W's bias column out. Nothing is copied.
//!
//! Cost        forward 2PB flops, backward 4PB - 2 P_1 B; two scratch matrices of widest layer x B.
//! Laws        tests/nn_gradients.rs.

use super::batch::view;
use super::columns;
use super::{Activation, Batch, Mlp, Workspace};
use crate::backend::Ctx;
use crate::error::{Result, check_len, check_shape};
use crate::mat::{MatMut, MatRef, Op};
use crate::optim::Objective;
use crate::scalar::Scalar;

/// Takes a layer's number, its input ā and its δ, one column a case.
type Visit<'v, T> = &'v mut dyn FnMut(usize, MatRef<'_, T>, MatRef<'_, T>) -> Result<()>;

impl<T: Scalar> Mlp<T> {
    /// Fills the workspace; returns the sum of the cases' losses.
    pub(super) fn forward_pass(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        inputs: MatRef<'_, T>,
        targets: MatRef<'_, T>,
        ws: &mut Workspace<T>,
    ) -> Result<f64> {
        let cases = inputs.ncols();
        ws.prepare(self.layers(), cases);
        for (l, (layer, block)) in self.layers().iter().zip(self.layout().blocks()).enumerate() {
            let (before, after) = ws.hidden.split_at_mut(l);
            let input = match before.last() {
                Some(hidden) => view(hidden, layer.inputs + 1, cases),
                None => inputs,
            };
            let (buffer, ld) = match after.first_mut() {
                Some(hidden) => (hidden, layer.width + 1),
                None => (&mut ws.outputs, layer.width),
            };
            let mut a = MatMut::from_slice(buffer, layer.width, cases, ld)?;
            ctx.gemm(T::ONE, block.view(theta)?, Op::No, input, Op::No, T::ZERO, a.rb_mut())?;
            layer.activation.apply(ctx, a);
        }
        let z = view(&ws.outputs, self.outputs(), cases);
        let dz = MatMut::from_slice(&mut ws.output_gradient, self.outputs(), cases, self.outputs())?;
        let sum = self.output_loss().value_gradient(ctx, z, targets, &mut ws.case_loss, dz)?;
        ws.cases = cases;
        Ok(sum)
    }

    /// Back-propagates `seed` (∂/∂z, d_out x n) through the first n cases and hands each layer's input ā and
    /// δ (both with n columns) to `visit`, last layer first.
    pub(super) fn backpropagate(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        inputs: MatRef<'_, T>,
        ws: &Workspace<T>,
        seed: MatRef<'_, T>,
        visit: Visit<'_, T>,
    ) -> Result<()> {
        let n = seed.ncols();
        let widest = self.layers().iter().map(|l| l.width).max().unwrap_or(0);
        let (mut current, mut next) = (ctx.scratch(widest, n), ctx.scratch(widest, n));
        let last = self.layers().len() - 1;
        let mut in_seed = true;
        if self.layers()[last].activation != Activation::Identity {
            let mut delta = top_mut(current.as_mut_slice(), self.outputs(), n)?;
            delta.copy_from(seed)?;
            let z = columns::columns(ws.outputs(), 0, n);
            self.layers()[last].activation.scale_by_derivative(ctx, z, delta)?;
            in_seed = false;
        }
        for (l, (layer, block)) in self.layers().iter().zip(self.layout().blocks()).enumerate().rev() {
            let delta = if in_seed { seed } else { view(current.as_slice(), layer.width, n) };
            visit(l, columns::columns(ws.layer_input(l, inputs), 0, n), delta)?;
            if l == 0 {
                break;
            }
            let weights = columns::columns(block.view(theta)?, 0, layer.inputs);
            let mut back = top_mut(next.as_mut_slice(), layer.inputs, n)?;
            ctx.gemm(T::ONE, weights, Op::Transpose, delta, Op::No, T::ZERO, back.rb_mut())?;
            let a = columns::columns(ws.activation(l - 1), 0, n);
            self.layers()[l - 1].activation.scale_by_derivative(ctx, a, back)?;
            std::mem::swap(&mut current, &mut next);
            in_seed = false;
        }
        Ok(())
    }

    /// out ← scale Jᵀ seed + β out, each layer's part straight into its slice.
    #[allow(clippy::too_many_arguments)] // everything a pass reads, by name
    pub(super) fn weight_gradients(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        inputs: MatRef<'_, T>,
        ws: &Workspace<T>,
        seed: MatRef<'_, T>,
        scale: T,
        beta: T,
        out: &mut [T],
    ) -> Result<()> {
        let blocks = self.layout().blocks();
        self.backpropagate(ctx, theta, inputs, ws, seed, &mut |l, input, delta| {
            ctx.gemm(scale, delta, Op::No, input, Op::Transpose, beta, blocks[l].view_mut(out)?)
        })
    }

    /// grad ← grad + η θ.
    pub(super) fn add_penalty_gradient(&self, ctx: &Ctx<T>, theta: &[T], grad: &mut [T]) -> Result<()> {
        let eta = self.l2_coefficient();
        if eta != T::ZERO {
            for block in self.layout().blocks() {
                columns::axpy(ctx, eta, block.view(theta)?, block.view_mut(grad)?);
            }
        }
        Ok(())
    }

    /// out ← Jᵀ U with J the Jacobian of all outputs (d_out x cases, no reduction), after `forward` at the same θ and
    /// batch.  1 pass.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape); [`Error::InvalidParameter`](crate::Error::InvalidParameter) without a
    /// forward pass.
    pub fn vjp(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        u: MatRef<'_, T>,
        out: &mut [T],
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_shape("vjp", (self.outputs(), batch.cases()), u.shape())?;
        check_len("vjp", self.layout().len(), out.len())?;
        self.weight_gradients(ctx, theta, batch.inputs(), ws, u, T::ONE, T::ZERO, out)
    }
}

/// The front of a scratch buffer as a contiguous matrix.
pub(super) fn top_mut<T: Scalar>(buffer: &mut [T], nrows: usize, ncols: usize) -> Result<MatMut<'_, T>> {
    MatMut::from_slice(buffer, nrows, ncols, nrows.max(1))
}
