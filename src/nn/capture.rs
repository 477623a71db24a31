//! [`LayeredObjective`] for [`Mlp`]: the passes K-FAC is made of.
//!
//! ```text
//! A_{l-1} = 1/n Σ ā ā ᵀ                      (a mean over cases whatever the reduction)
//! S_l     = 1/n Σ g gᵀ   mean reduction,     cases/n Σ g gᵀ   sum reduction
//! A ⊗ S  ≈  block l of the data term's G on the batch
//! ```
//! with n the cases used of the batch, and g = ∂ℓ/∂s_l of one case for one draw of its targets (Monte-Carlo), for the
//! observed targets (empirical), or summed over all output directions R e_c, R Rᵀ = H_z (exact: KFLR, without sampling
//! noise). The recursive kind (KFRA) sends S_l as matrices, see `kfra`.
//!
//! Every set of g is followed by the pair of it and ā, at the weight of S: Σ weight (ā āᵀ) ⊗ (g gᵀ) over the sets is the
//! layer's block of the Fisher matrix (an estimate of it where targets are drawn) without the factorization.
//!
//! Cost        Monte-Carlo and empirical: one backward pass without weight gradients, 2(P - P_1) n flops; exact: as
//!             many as outputs.
//! Laws        tests/nn_capture.rs, tests/kfra.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, sections 2 and 5; chapter section 5.4. KFLR: A. Botev, H. Ritter,
//!             D. Barber, Practical Gauss-Newton optimisation for deep learning, 2017, arXiv:1706.03662.

use super::backprop::top_mut;
use super::columns;
use super::{Batch, Mlp, Workspace};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::optim::{CaptureSink, FactorVisit, FisherKind, LayeredObjective, Objective};
use crate::scalar::Scalar;

impl<T: Scalar> LayeredObjective<T> for Mlp<T> {
    type Workspace = Workspace<T>;

    fn workspace(&self) -> Workspace<T> {
        Workspace::default()
    }

    fn forward(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>, ws: &mut Workspace<T>) -> Result<T> {
        self.check(theta, batch)?;
        let sum = self.forward_pass(ctx, theta, batch.inputs(), batch.targets(), ws)?;
        Ok(T::of(self.weight(batch.cases()) * sum + self.penalty(ctx, theta)))
    }

    fn backward(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Workspace<T>,
        grad: &mut [T],
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_len("backward: gradient", self.layout().len(), grad.len())?;
        let weight = T::of(self.weight(batch.cases()));
        self.weight_gradients(ctx, theta, batch.inputs(), ws, ws.output_gradient(), weight, T::ZERO, grad)?;
        self.add_penalty_gradient(ctx, theta, grad)
    }

    fn capture(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Workspace<T>,
        kind: FisherKind,
        cases: usize,
        sample: u64,
        sink: &mut dyn CaptureSink<T>,
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        let n = cases.min(batch.cases());
        if n == 0 {
            return Err(Error::invalid("cases", "a capture needs at least one case"));
        }
        for l in 0..self.layers().len() {
            let input = columns::columns(ws.layer_input(l, batch.inputs()), 0, n);
            sink.activations(ctx, l, input, T::of(1.0 / n as f64))?;
        }
        let cross = sink.wants_cross_moments();
        for l in 1..if cross { self.layers().len() } else { 0 } {
            let input = |l| columns::columns(ws.layer_input(l, batch.inputs()), 0, n);
            sink.cross_activations(ctx, l - 1, input(l - 1), input(l), T::of(1.0 / n as f64))?;
        }
        // the batch's weight of a case, times the cases that each used one stands for
        let weight = T::of(self.weight(batch.cases()) * (batch.cases() as f64 / n as f64));
        let z = columns::columns(ws.outputs(), 0, n);
        if kind == FisherKind::Recursive {
            return self.recursive_moments(ctx, theta, ws, n, weight, sink);
        }
        // the gradients of the layer above, which came before
        let widest = self.layers().iter().map(|l| l.width).max().unwrap_or(0);
        let mut above = ctx.scratch(if cross { widest } else { 0 }, n);
        let send = &mut |l: usize, input: MatRef<'_, T>, delta: MatRef<'_, T>| {
            sink.gradients(ctx, l, delta, weight)?;
            sink.pairs(ctx, l, input, delta, weight)?;
            if cross {
                if let Some(next) = self.layers().get(l + 1) {
                    let next = top_mut(above.as_mut_slice(), next.width, n)?;
                    sink.cross_gradients(ctx, l, delta, next.rb(), weight)?;
                }
                top_mut(above.as_mut_slice(), delta.nrows(), n)?.copy_from(delta)?;
            }
            Ok(())
        };
        let mut seed = ctx.scratch(self.outputs(), n);
        match kind {
            FisherKind::Empirical => {
                let observed = columns::columns(ws.output_gradient(), 0, n);
                self.backpropagate(ctx, theta, batch.inputs(), ws, observed, send)
            }
            FisherKind::MonteCarlo => {
                self.output_loss().sample_gradient(ctx, z, sample, seed.as_mut())?;
                self.backpropagate(ctx, theta, batch.inputs(), ws, seed.as_ref(), send)
            }
            FisherKind::Recursive => unreachable!("returned above"),
            FisherKind::Exact => (0..self.outputs()).try_for_each(|direction| {
                self.output_loss().factor_column(ctx, z, direction, seed.as_mut())?;
                self.backpropagate(ctx, theta, batch.inputs(), ws, seed.as_ref(), send)
            }),
        }
    }

    fn ggn_gram(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Workspace<T>,
        vectors: &[&[T]],
        gram: MatMut<'_, T>,
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_shape("ggn_gram", (vectors.len(), vectors.len()), gram.shape())?;
        self.gram_of_products(ctx, theta, batch, ws, vectors, gram, None)
    }

    fn factored_cases(&self, batch: &Batch<T>) -> Option<usize> {
        Some(batch.cases())
    }

    fn gradient_factors(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Workspace<T>,
        visit: FactorVisit<'_, T>,
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        let weight = T::of(self.weight(batch.cases()));
        self.backpropagate(ctx, theta, batch.inputs(), ws, ws.output_gradient(), &mut |l, input, delta| {
            visit(l, delta, input, weight)
        })
    }

    fn ggn_gram_and_slopes(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Workspace<T>,
        vectors: &[&[T]],
        gram: MatMut<'_, T>,
        slopes: &mut [f64],
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_shape("ggn_gram_and_slopes", (vectors.len(), vectors.len()), gram.shape())?;
        check_len("ggn_gram_and_slopes: slopes", vectors.len(), slopes.len())?;
        self.gram_of_products(ctx, theta, batch, ws, vectors, gram, Some(slopes))
    }
}
