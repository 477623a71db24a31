//! Golub-Kahan bidiagonalization of A (M x N), which [`lsmr`](super::lsmr) and [`lsqr`](super::lsqr) share.
//!
//! ```text
//! β_1 u_1 = b,   α_1 v_1 = Aᵀu_1,   β_{k+1} u_{k+1} = A v_k - α_k u_k,   α_{k+1} v_{k+1} = Aᵀu_{k+1} - β_{k+1} v_k
//! A V_k = U_{k+1} B_k,   B_k lower bidiagonal with α_1, ..., α_k beside β_2, ..., β_{k+1}
//! ```
//! In exact arithmetic the v are those that Lanczos makes of AᵀA from Aᵀb.
//!
//! Deviations  b is scaled by a power of two and norms are taken at the scale of 1, in f64. No reorthogonalization.
//! Cost        one product with A and one with Aᵀ, 3M + 3N multiplications a step. Scratch: 2M + 2N numbers.
//! Laws        tests/lsmr.rs, tests/lsqr.rs.
//! Reference   G. H. Golub, W. Kahan, Calculating the singular values and pseudo-inverse of a matrix, J. SIAM Numer. Anal.
//!             2 (1965) 205-224, doi 10.1137/0702016.

use super::{LsmrReport, LsmrStop};
use crate::backend::sums::norm;
use crate::backend::{Ctx, Scratch};
use crate::error::Result;
use crate::linop::TransposeOperator;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// The vectors of one bidiagonalization.
pub(super) struct GolubKahan<'r, T: Scalar> {
    ctx: &'r Ctx<T>,
    a: &'r dyn TransposeOperator<T>,
    u: Scratch<'r, T>,
    v: Scratch<'r, T>,
    /// Aᵀu.
    au: Scratch<'r, T>,
    /// A v.
    av: Scratch<'r, T>,
}

impl<'r, T: Scalar> GolubKahan<'r, T> {
    /// Of A from scale · b, whose length is that of A's columns.
    pub(super) fn new(ctx: &'r Ctx<T>, a: &'r dyn TransposeOperator<T>, b: &[T], scale: T) -> Self {
        let (m, n) = a.shape();
        let (u, v) = (ctx.scratch(m, 1), ctx.scratch(n, 1));
        let mut basis = Self { ctx, a, u, v, au: ctx.scratch(n, 1), av: ctx.scratch(m, 1) };
        basis.u.as_mut_slice().iter_mut().zip(b).for_each(|(u, &b)| *u = scale * b);
        basis
    }

    /// v_k.
    pub(super) fn v(&self) -> &[T] {
        self.v.as_slice()
    }

    /// (α_1, β_1), or none where b or Aᵀb is zero.
    pub(super) fn start(&mut self) -> Result<Option<(f64, f64)>> {
        let beta = normalize(self.u.as_mut_slice());
        if beta == 0.0 {
            return Ok(None);
        }
        self.a.apply_transpose(self.ctx, self.u.as_ref(), self.v.as_mut())?;
        let alpha = normalize(self.v.as_mut_slice());
        Ok((alpha != 0.0).then_some((alpha, beta)))
    }

    /// β u ← A v - α u, α v ← Aᵀu - β v. Returns the new (α, β).
    pub(super) fn advance(&mut self, alpha: f64) -> Result<(f64, f64)> {
        self.a.apply(self.ctx, self.v.as_ref(), self.av.as_mut())?;
        combine(self.u.as_mut_slice(), -T::of(alpha), self.av.as_slice());
        let beta = normalize(self.u.as_mut_slice());
        if beta == 0.0 {
            return Ok((0.0, 0.0)); // the Krylov space is exhausted
        }
        self.a.apply_transpose(self.ctx, self.u.as_ref(), self.au.as_mut())?;
        combine(self.v.as_mut_slice(), -T::of(beta), self.au.as_slice());
        Ok((normalize(self.v.as_mut_slice()), beta))
    }

    /// Unscales x and reports its true residuals, by products with it. The basis is spent.
    pub(super) fn finish(&mut self, b: &[T], x: &mut [T], scale: T, lambda: T, report: &mut LsmrReport) -> Result<()> {
        let unscaled = T::ONE / scale;
        if x.iter().all(|&x| (unscaled * x).is_finite()) {
            x.iter_mut().for_each(|x| *x *= unscaled);
        } else {
            x.fill(T::ZERO);
            report.stop = LsmrStop::Breakdown;
        }
        report.solution_norm = norm(x);
        let av = self.av.as_mut_slice();
        if report.iterations == 0 {
            av.fill(T::ZERO);
        } else {
            self.a.apply(self.ctx, MatRef::from_column(x), MatMut::from_column(av))?;
        }
        self.u.as_mut_slice().iter_mut().zip(b).zip(self.av.as_slice()).for_each(|((u, &b), &ax)| *u = b - ax);
        report.residual_norm = norm(self.u.as_slice()).hypot(lambda.f64().sqrt() * report.solution_norm);
        if self.u.as_slice().iter().all(|&u| u == T::ZERO) {
            self.au.as_mut_slice().fill(T::ZERO); // b = 0, even where A holds NaN
        } else {
            self.a.apply_transpose(self.ctx, self.u.as_ref(), self.au.as_mut())?;
        }
        self.au.as_mut_slice().iter_mut().zip(&*x).for_each(|(g, &x)| *g -= lambda * x);
        report.normal_residual_norm = norm(self.au.as_slice());
        if !(report.residual_norm.is_finite() && report.normal_residual_norm.is_finite()) {
            report.stop = LsmrStop::Breakdown;
        }
        Ok(())
    }
}

/// (c, s, r) with c a + s b = r >= 0 and s a = c b.
pub(super) fn rotation(a: f64, b: f64) -> (f64, f64, f64) {
    let r = a.hypot(b);
    if r == 0.0 { (1.0, 0.0, 0.0) } else { (a / r, b / r, r) }
}

/// x ← x/‖x‖; the norm. A zero vector is left alone.
fn normalize<T: Scalar>(x: &mut [T]) -> f64 {
    let length = norm(x);
    if length > 0.0 {
        // a division: 1/‖x‖ overflows where ‖x‖ is subnormal
        let divisor = T::of(length);
        x.iter_mut().for_each(|x| *x /= divisor);
    }
    length
}

/// y ← s y + x.
pub(super) fn combine<T: Scalar>(y: &mut [T], s: T, x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = s * *y + x);
}

/// Whether x + s h is finite in every element.
pub(super) fn moves_finitely<T: Scalar>(x: &[T], s: T, h: &[T]) -> bool {
    let sum = x.iter().zip(h).fold(T::ZERO, |acc, (&x, &h)| acc + T::ZERO * (x + s * h)); // 0, or NaN
    sum == T::ZERO
}
