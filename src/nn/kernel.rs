//! The kernel J Jᵀ of a network layer by layer, without J; and the diagonal of JᵀJ, in the same sweep.
//!
//! ```text
//! rows of J     w^½ S_nᵀ J_n,  n = 1..B cases, S_n S_nᵀ = H_z of case n, C outputs: N = B C rows, case by case
//! seeds         column c of S_n for every case: δ_L = φ_L' ∘ S_n e_c,  δ_{l-1} = φ_{l-1}' ∘ (W_lᵀ δ_l, last row off)
//! J Jᵀ          w Σ_l (Ā_{l-1}ᵀĀ_{l-1}) ∘ (Δ_lᵀΔ_l),   entry ((n, c), (m, c')): (ā_n · ā_m)(δ_nc · δ_mc')
//! diag JᵀJ      w Σ_n (Σ_c δ_nc²) (ā_n²)ᵀ for each layer
//! ```
//! The derivative of output direction (n, c) by W_l is the rank-one δ_nc ā_nᵀ: an inner product of two of them is a
//! product of two inner products. Exact for dense layers.
//!
//! Cost        Σ_l (N² d_l + B² (d_{l-1} + 1) + 2N²) flops and a backward pass of N columns without weight gradients,
//!             2 (P - P_1) N; forming J first takes N² P. Scratch: 2N (widest layer) + N² + B² numbers, no N x P array.
//! Laws        tests/nn_kernel.rs (equals J Jᵀ formed row by row; scratch stays below N x P).
//! Reference   F. Dangel, S. Harmeling, P. Hennig, Modular block-diagonal curvature approximations, AISTATS 2020,
//!             arXiv:1902.01813 (backward passes of output directions); R. Novak, J. Sohl-Dickstein, S. Schoenholz,
//!             Fast finite width neural tangent kernel, ICML 2022, arXiv:2206.08720 (structured kernels).

use super::backprop::top_mut;
use super::batch::view;
use super::columns;
use super::{Activation, Batch, Mlp, Workspace};
use crate::backend::{Ctx, Scratch};
use crate::error::Result;
use crate::mat::{MatMut, MatRef, Op};
use crate::optim::Objective;
use crate::scalar::Scalar;

/// Takes a layer's number, its input Ā (one column a case) and its Δ (C columns a case).
type Visit<'v, T> = &'v mut dyn FnMut(usize, MatRef<'_, T>, MatRef<'_, T>) -> Result<()>;

impl<T: Scalar> Mlp<T> {
    /// Back-propagates every output direction of every case; last layer first.
    fn backpropagate_directions(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        visit: Visit<'_, T>,
    ) -> Result<()> {
        let (outputs, cases) = (self.outputs(), batch.cases());
        let n = outputs * cases;
        let widest = self.layers().iter().map(|l| l.width).max().unwrap_or(0);
        let (mut current, mut next) = (ctx.scratch(widest, n), ctx.scratch(widest, n));
        self.seed_directions(ctx, ws, top_mut(current.as_mut_slice(), outputs, n)?)?;
        let last = self.layers().len() - 1;
        for (l, (layer, block)) in self.layers().iter().zip(self.layout().blocks()).enumerate().rev() {
            let delta = top_mut(current.as_mut_slice(), layer.width, n)?;
            if l < last || layer.activation != Activation::Identity {
                scale_by_slope(ctx, layer.activation, ws.activation(l), outputs, delta)?;
            }
            let delta = view(current.as_slice(), layer.width, n);
            visit(l, ws.layer_input(l, batch.inputs()), delta)?;
            if l > 0 {
                let weights = columns::columns(block.view(theta)?, 0, layer.inputs);
                let back = top_mut(next.as_mut_slice(), layer.inputs, n)?;
                ctx.gemm(T::ONE, weights, Op::Transpose, delta, Op::No, T::ZERO, back)?;
                std::mem::swap(&mut current, &mut next);
            }
        }
        Ok(())
    }

    /// Column c of S_n at column n C + c.
    fn seed_directions(&self, ctx: &Ctx<T>, ws: &Workspace<T>, mut seeds: MatMut<'_, T>) -> Result<()> {
        let outputs = self.outputs();
        let mut column = ctx.scratch(outputs, ws.cases());
        for c in 0..outputs {
            self.output_loss().factor_column(ctx, ws.outputs(), c, column.as_mut())?;
            for (case, s) in column.as_ref().cols().enumerate() {
                seeds.col_mut(case * outputs + c).copy_from_slice(s);
            }
        }
        Ok(())
    }

    /// K ← J Jᵀ, N x N, both triangles; shapes are checked by the caller.
    pub(super) fn kernel_by_layers(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        mut k: MatMut<'_, T>,
    ) -> Result<()> {
        let (outputs, cases) = (self.outputs(), batch.cases());
        let weight = T::of(self.weight(cases));
        let (mut inputs, mut deltas) = (ctx.scratch(cases, cases), ctx.scratch(outputs * cases, outputs * cases));
        k.fill(T::ZERO);
        self.backpropagate_directions(ctx, theta, batch, ws, &mut |_, input, delta| {
            ctx.syrk_lower(weight, input, Op::No, T::ZERO, inputs.as_mut())?;
            ctx.syrk_lower(T::ONE, delta, Op::No, T::ZERO, deltas.as_mut())?;
            add_hadamard(inputs.as_ref(), deltas.as_ref(), outputs, k.rb_mut());
            Ok(())
        })?;
        k.mirror_lower();
        Ok(())
    }

    /// out ← the diagonal of JᵀJ; the length is checked by the caller.
    pub(super) fn squares_by_layers(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        out: &mut [T],
    ) -> Result<()> {
        let (outputs, cases) = (self.outputs(), batch.cases());
        let weight = T::of(self.weight(cases));
        self.backpropagate_directions(ctx, theta, batch, ws, &mut |l, input, delta| {
            let squares = squared(ctx, input);
            let mut energy: Scratch<'_, T> = ctx.scratch(delta.nrows(), cases);
            energy.as_mut_slice().fill(T::ZERO);
            for (j, delta) in delta.cols().enumerate() {
                let mut energy = energy.as_mut();
                energy.col_mut(j / outputs).iter_mut().zip(delta).for_each(|(e, &d)| *e += d * d);
            }
            let block = self.layout().blocks()[l].view_mut(out)?;
            ctx.gemm(weight, energy.as_ref(), Op::No, squares.as_ref(), Op::Transpose, T::ZERO, block)
        })
    }
}

/// The entries squared.
fn squared<'p, T: Scalar>(ctx: &'p Ctx<T>, a: MatRef<'_, T>) -> Scratch<'p, T> {
    let mut squares = ctx.scratch(a.nrows(), a.ncols());
    for (s, a) in squares.as_mut().cols_mut().zip(a.cols()) {
        s.iter_mut().zip(a).for_each(|(s, &a)| *s = a * a);
    }
    squares
}

/// Each column of Δ times φ' of its case.
fn scale_by_slope<T: Scalar>(
    ctx: &Ctx<T>,
    activation: Activation,
    a: MatRef<'_, T>,
    outputs: usize,
    mut delta: MatMut<'_, T>,
) -> Result<()> {
    let mut slope = ctx.scratch(a.nrows(), a.ncols());
    slope.as_mut_slice().fill(T::ONE);
    activation.scale_by_derivative(ctx, a, slope.as_mut())?;
    for (j, delta) in delta.cols_mut().enumerate() {
        delta.iter_mut().zip(slope.as_ref().col(j / outputs)).for_each(|(d, &s)| *d *= s);
    }
    Ok(())
}

/// Lower triangle of K += (G_a ⊗ 1 1ᵀ) ∘ G_δ, with C x C blocks of ones; lower triangles are read.
fn add_hadamard<T: Scalar>(inputs: MatRef<'_, T>, deltas: MatRef<'_, T>, outputs: usize, mut k: MatMut<'_, T>) {
    for (j, (k, deltas)) in k.cols_mut().zip(deltas.cols()).enumerate() {
        let m = j / outputs;
        for (n, &a) in inputs.col(m).iter().enumerate().skip(m) {
            let rows = (n * outputs).max(j)..(n + 1) * outputs;
            k[rows.clone()].iter_mut().zip(&deltas[rows]).for_each(|(k, &d)| *k += a * d);
        }
    }
}
