//! KFRA: second moments of pseudo-gradients by a recursion on matrices that are averages over the cases.
//!
//! ```text
//! S_L     = w Σ_n φ_L'(s_n) φ_L'(s_n)ᵀ ∘ H_z(z_n)
//! S_{l-1} = (W_lᵀ S_l W_l) ∘ 1/n Σ_n φ_{l-1}' φ_{l-1}'ᵀ        W_l without its bias column
//! ```
//! where KFLR (the exact kind) averages W_lᵀ g g ᵀ W_l ∘ φ' φ'ᵀ case by case: the recursion replaces the mean of a product by the
//! product of means. The two agree for one case, and where φ' of the hidden layers does not depend on the case.
//!
//! Cost        (2 d_l² d_{l-1} + 2 d_l d_{l-1}² + n d_{l-1}²) flops a layer and n d_L² for the last one: no term grows with
//!             the number of outputs but in the last layer, where KFLR takes d_L backward passes. Scratch: two matrices of
//!             the widest layer, one of widest layer x cases.
//! Laws        tests/kfra.rs (Gauss-Newton block for one case, KFLR for linear layers, the recursion itself, cost).
//! Reference   A. Botev, H. Ritter, D. Barber, Practical Gauss-Newton optimisation for deep learning, ICML 2017,
//!             arXiv:1706.03662, section 3.

use super::backprop::top_mut;
use super::columns;
use super::{Loss, Mlp, Workspace};
use crate::backend::Ctx;
use crate::error::Result;
use crate::mat::{MatMut, MatRef, Op};
use crate::optim::{CaptureSink, Objective};
use crate::scalar::Scalar;

impl<T: Scalar> Mlp<T> {
    /// Sends S_l of every layer, last layer first, from the first n cases of the workspace's forward pass; `weight` is that
    /// of a case in S.
    pub(super) fn recursive_moments(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        ws: &Workspace<T>,
        n: usize,
        weight: T,
        sink: &mut dyn CaptureSink<T>,
    ) -> Result<()> {
        let widest = self.layers().iter().map(|l| l.width).max().unwrap_or(0);
        let (mut current, mut next) = (ctx.scratch(widest, widest), ctx.scratch(widest, widest));
        let mut slopes = ctx.scratch(widest, n);
        let outputs = self.outputs();
        self.output_moment(ctx, ws, n, slopes.as_mut_slice(), top_mut(current.as_mut_slice(), outputs, outputs)?)?;
        for (l, (layer, block)) in self.layers().iter().zip(self.layout().blocks()).enumerate().rev() {
            let mut s = top_mut(current.as_mut_slice(), layer.width, layer.width)?;
            s.mirror_lower();
            sink.gradient_moment(ctx, l, s.rb(), weight)?;
            if l == 0 {
                break;
            }
            let weights = columns::columns(block.view(theta)?, 0, layer.inputs);
            let mut half = ctx.scratch(layer.width, layer.inputs);
            ctx.gemm(T::ONE, s.rb(), Op::No, weights, Op::No, T::ZERO, half.as_mut())?;
            let mut back = top_mut(next.as_mut_slice(), layer.inputs, layer.inputs)?;
            ctx.gemm(T::ONE, weights, Op::Transpose, half.as_ref(), Op::No, T::ZERO, back.rb_mut())?;
            // s is spent: its memory takes the mean of φ' φ'ᵀ
            let mut slopes = top_mut(slopes.as_mut_slice(), layer.inputs, n)?;
            slopes.fill(T::ONE);
            let a = columns::columns(ws.activation(l - 1), 0, n);
            self.layers()[l - 1].activation.scale_by_derivative(ctx, a, slopes.rb_mut())?;
            let mut mean = top_mut(current.as_mut_slice(), layer.inputs, layer.inputs)?;
            ctx.syrk_lower(T::of(1.0 / n as f64), slopes.rb(), Op::Transpose, T::ZERO, mean.rb_mut())?;
            for (j, (back, mean)) in back.cols_mut().zip(mean.rb().cols()).enumerate() {
                back[j..].iter_mut().zip(&mean[j..]).for_each(|(s, &m)| *s *= m);
            }
            std::mem::swap(&mut current, &mut next);
        }
        Ok(())
    }

    /// Lower triangle of Σ φ_L' φ_L'ᵀ ∘ H_z over the first n cases.
    fn output_moment(
        &self,
        ctx: &Ctx<T>,
        ws: &Workspace<T>,
        n: usize,
        slopes: &mut [T],
        mut out: MatMut<'_, T>,
    ) -> Result<()> {
        let z = columns::columns(ws.outputs(), 0, n);
        let (loss, activation) = (self.output_loss(), self.layers()[self.layers().len() - 1].activation);
        // φ' ∘ diag H_z ∘ φ' summed over the cases, for the diagonal; for softmax, p in the place of diag H_z
        let mut weighted = top_mut(slopes, z.nrows(), n)?;
        weighted.fill(T::ONE);
        if loss == Loss::SoftmaxCrossEntropy {
            weighted.copy_from(z)?;
            loss.predict(ctx, weighted.rb_mut());
        } else {
            // H_z is diagonal: its product with ones is its diagonal
            loss.hessian_product(ctx, z, weighted.rb_mut())?;
        }
        activation.scale_by_derivative(ctx, z, weighted.rb_mut())?;
        out.fill(T::ZERO);
        if loss == Loss::SoftmaxCrossEntropy {
            // H_z = diag(p) - p pᵀ
            ctx.syrk_lower(-T::ONE, weighted.rb(), Op::Transpose, T::ZERO, out.rb_mut())?;
        }
        activation.scale_by_derivative(ctx, z, weighted.rb_mut())?;
        add_row_sums(weighted.rb(), out);
        Ok(())
    }
}

/// Diagonal of out += sums of the rows of X.
fn add_row_sums<T: Scalar>(x: MatRef<'_, T>, mut out: MatMut<'_, T>) {
    for x in x.cols() {
        x.iter().enumerate().for_each(|(i, &x)| *out.at_mut(i, i) += x);
    }
}
