//! Products with J, G = JᵀH_zJ and the Hessian by the R-operator, on the cached forward pass.
//!
//! ```text
//! R-forward    Rs_l = V_l ā_{l-1} + W_l Ra_{l-1},   Ra_l = φ_l' ∘ Rs_l                                J v = Rz
//! G v          Jᵀ (H_z (J v))
//! R-backward   e_l = W_{l+1}ᵀ δ_{l+1},   Re_l = W_{l+1}ᵀ Rδ_{l+1} + V_{l+1}ᵀ δ_{l+1},   e_L = ∂ℓ/∂z, Re_L = H_z Rz
//!              δ_l = φ_l' ∘ e_l,         Rδ_l = φ_l' ∘ Re_l + (φ_l''/φ_l') ∘ Ra_l ∘ e_l
//! H v          R(D W_l) = Rδ_l ā_{l-1}ᵀ + δ_l Ra_{l-1}ᵀ
//! ```
//! G and H are those of the data term, with the reduction's weight; the L2 term adds η I
//! ([`Shifted`](crate::linop::Shifted)).
//!
//! Deviations  Rs_l is not stored: φ'' Rs is written as (φ''/φ') Ra.
//! Cost        with P parameters, P_1 of them in the first layer, B cases: J v 4PB - 2 P_1 B flops, G v 8PB - 4 P_1 B
//!             (1.27 gradients for the 784-1000-500-250-30 autoencoder), H v 12PB - 8 P_1 B.
//! Laws        tests/nn_products.rs (adjointness, formed J, G and H).
//! Reference   B. A. Pearlmutter, Neural Computation 6 (1994); N. N. Schraudolph, Neural Computation 14 (2002).

use super::backprop::top_mut;
use super::batch::view;
use super::columns;
use super::{Batch, Mlp, Workspace};
use crate::backend::Ctx;
use crate::backend::reduce::dot;
use crate::error::{Result, check_len, check_shape};
use crate::mat::{MatMut, MatRef, Op};
use crate::optim::Objective;
use crate::scalar::Scalar;

impl<T: Scalar> Mlp<T> {
    /// out ← J v, the derivative of all outputs (d_out x cases) along v, after `forward` at the same θ and batch.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape); [`Error::InvalidParameter`](crate::Error::InvalidParameter) without a
    /// forward pass.
    pub fn jvp(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        v: &[T],
        out: MatMut<'_, T>,
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_len("jvp", theta.len(), v.len())?;
        check_shape("jvp", (self.outputs(), batch.cases()), out.shape())?;
        self.r_forward(ctx, theta, batch, ws, &[v], out)
    }

    /// Rz along every vector into `out`, side by side; shapes are checked.
    fn r_forward(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        vectors: &[&[T]],
        mut out: MatMut<'_, T>,
    ) -> Result<()> {
        let n = batch.cases() * vectors.len();
        let last = self.layers().len() - 1;
        let widest = self.layers()[..last].iter().map(|l| l.width).max().unwrap_or(0);
        let (mut current, mut next) = (ctx.scratch(widest, n), ctx.scratch(widest, n));
        for (l, layer) in self.layers().iter().enumerate() {
            let before = (l > 0).then(|| view(current.as_slice(), layer.inputs, n));
            let target = if l == last { out.rb_mut() } else { top_mut(next.as_mut_slice(), layer.width, n)? };
            self.r_layer(ctx, theta, batch, ws, l, vectors, before, target)?;
            std::mem::swap(&mut current, &mut next);
        }
        Ok(())
    }

    /// Ra_l along every vector, side by side, from Ra_{l-1} (none for the first layer, whose inputs do not move): W once
    /// for all.
    #[allow(clippy::too_many_arguments)] // everything one layer of a pass reads, by name
    fn r_layer(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        l: usize,
        vectors: &[&[T]],
        before: Option<MatRef<'_, T>>,
        mut target: MatMut<'_, T>,
    ) -> Result<()> {
        let (layer, block, n) = (&self.layers()[l], &self.layout().blocks()[l], batch.cases());
        let input = ws.layer_input(l, batch.inputs());
        let beta = match before {
            None => T::ZERO,
            Some(before) => {
                let weights = columns::columns(block.view(theta)?, 0, layer.inputs);
                ctx.gemm(T::ONE, weights, Op::No, before, Op::No, T::ZERO, target.rb_mut())?;
                T::ONE
            }
        };
        for (k, v) in vectors.iter().enumerate() {
            let mut target = target.rb_mut().submatrix(0, k * n, layer.width, n)?;
            ctx.gemm(T::ONE, block.view(v)?, Op::No, input, Op::No, beta, target.rb_mut())?;
            layer.activation.scale_by_derivative(ctx, ws.activation(l), target)?;
        }
        Ok(())
    }

    /// out ← G v with G = w JᵀH_zJ the Gauss-Newton matrix of the data term (w = 1 or 1/cases; no L2), after `forward`
    /// at the same θ and batch.
    ///
    /// # Errors
    /// As [`Mlp::jvp`].
    pub fn ggn_product(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        v: &[T],
        out: &mut [T],
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_len("ggn_product", theta.len(), v.len())?;
        check_len("ggn_product", theta.len(), out.len())?;
        let mut u = ctx.scratch(self.outputs(), batch.cases());
        self.r_forward(ctx, theta, batch, ws, &[v], u.as_mut())?;
        self.output_loss().hessian_product(ctx, ws.outputs(), u.as_mut())?;
        let weight = T::of(self.weight(batch.cases()));
        self.weight_gradients(ctx, theta, batch.inputs(), ws, u.as_ref(), weight, T::ZERO, out)
    }

    /// out ← H v with H the Hessian of the data term (with the reduction's weight; no L2), after `forward` at the same
    /// θ and batch. At the kinks of ReLU the second derivative is taken as 0.
    ///
    /// # Errors
    /// As [`Mlp::jvp`].
    pub fn hessian_product(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        v: &[T],
        out: &mut [T],
    ) -> Result<()> {
        ws.check(self, theta, batch)?;
        check_len("hessian_product", theta.len(), v.len())?;
        check_len("hessian_product", theta.len(), out.len())?;
        // every Ra_l, one after the other; that of layer l starts at starts(l)
        let n = batch.cases();
        let starts = |l: usize| self.layers()[..l].iter().map(|l| l.width).sum::<usize>() * n;
        let mut ra = ctx.scratch(self.layers().iter().map(|l| l.width).sum(), n);
        for (l, layer) in self.layers().iter().enumerate() {
            let (before, rest) = ra.as_mut_slice().split_at_mut(starts(l));
            let before = (l > 0).then(|| view(&before[starts(l - 1)..], layer.inputs, n));
            self.r_layer(ctx, theta, batch, ws, l, &[v], before, top_mut(rest, layer.width, n)?)?;
        }
        let ra_of = |l: usize| view(&ra.as_slice()[starts(l)..], self.layers()[l].width, n);
        self.r_backward(ctx, theta, batch, ws, v, &ra_of, out)
    }

    #[allow(clippy::too_many_arguments)] // everything a pass reads, by name
    fn r_backward<'a>(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        v: &[T],
        ra_of: &impl Fn(usize) -> MatRef<'a, T>,
        out: &mut [T],
    ) -> Result<()> {
        let n = batch.cases();
        let weight = T::of(self.weight(n));
        let widest = self.layers().iter().map(|l| l.width).max().unwrap_or(0);
        let scratch = || ctx.scratch(widest, n);
        let (mut e, mut re, mut e_next, mut re_next) = (scratch(), scratch(), scratch(), scratch());
        let last = self.layers().len() - 1;
        top_mut(e.as_mut_slice(), self.outputs(), n)?.copy_from(ws.output_gradient())?;
        let mut rz = top_mut(re.as_mut_slice(), self.outputs(), n)?;
        rz.copy_from(ra_of(last))?;
        self.output_loss().hessian_product(ctx, ws.outputs(), rz)?;
        for (l, (layer, block)) in self.layers().iter().zip(self.layout().blocks()).enumerate().rev() {
            let delta = top_mut(e.as_mut_slice(), layer.width, n)?;
            let r_delta = top_mut(re.as_mut_slice(), layer.width, n)?;
            layer.activation.backward_r(ctx, ws.activation(l), ra_of(l), delta, r_delta);
            let (delta, r_delta) = (view(e.as_slice(), layer.width, n), view(re.as_slice(), layer.width, n));
            let mut grad = block.view_mut(out)?;
            let input = ws.layer_input(l, batch.inputs());
            ctx.gemm(weight, r_delta, Op::No, input, Op::Transpose, T::ZERO, grad.rb_mut())?;
            if l == 0 {
                break;
            }
            let inner = grad.submatrix(0, 0, layer.width, layer.inputs)?;
            ctx.gemm(weight, delta, Op::No, ra_of(l - 1), Op::Transpose, T::ONE, inner)?;
            let w = columns::columns(block.view(theta)?, 0, layer.inputs);
            let vl = columns::columns(block.view(v)?, 0, layer.inputs);
            let mut back = top_mut(re_next.as_mut_slice(), layer.inputs, n)?;
            ctx.gemm(T::ONE, w, Op::Transpose, r_delta, Op::No, T::ZERO, back.rb_mut())?;
            ctx.gemm(T::ONE, vl, Op::Transpose, delta, Op::No, T::ONE, back)?;
            let back = top_mut(e_next.as_mut_slice(), layer.inputs, n)?;
            ctx.gemm(T::ONE, w, Op::Transpose, delta, Op::No, T::ZERO, back)?;
            std::mem::swap(&mut e, &mut e_next);
            std::mem::swap(&mut re, &mut re_next);
        }
        Ok(())
    }

    /// gram(i, j) ← v_iᵀ G v_j and, where they are asked for, slopes(i) ← v_iᵀ∇h of the data term; shapes but those of the
    /// vectors are checked by the caller.
    pub(super) fn gram_of_products(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &Workspace<T>,
        vectors: &[&[T]],
        mut gram: MatMut<'_, T>,
        mut slopes: Option<&mut [f64]>,
    ) -> Result<()> {
        let (d, n) = (self.outputs(), batch.cases());
        vectors.iter().try_for_each(|v| check_len("ggn_gram", theta.len(), v.len()))?;
        // J v_k, then Sᵀ J v_k, side by side
        let mut products = ctx.scratch(d, n * vectors.len());
        self.r_forward(ctx, theta, batch, ws, vectors, products.as_mut())?;
        for (k, product) in products.as_mut_slice().chunks_exact_mut((d * n).max(1)).enumerate() {
            let product = top_mut(product, d, n)?;
            if let Some(slopes) = &mut slopes {
                let along = dot(ctx, &ws.output_gradient[..d * n], product.rb().as_slice());
                slopes[k] = self.weight(n) * along;
            }
            self.output_loss().factor_product(ctx, ws.outputs(), Op::Transpose, product)?;
        }
        let product = |k: usize| &products.as_slice()[k * d * n..(k + 1) * d * n];
        for j in 0..vectors.len() {
            for i in 0..=j {
                let value = T::of(self.weight(n) * dot(ctx, product(i), product(j)));
                (*gram.at_mut(i, j), *gram.at_mut(j, i)) = (value, value);
            }
        }
        Ok(())
    }
}
