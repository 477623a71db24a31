//! [`KroneckerCholesky`]: the factored damped inverse of A ⊗ S that keeps the Cholesky factors in place of inverses.
//!
//! ```text
//! L_A L_Aᵀ = A + π√λ I,   L_S L_Sᵀ = S + (√λ/π) I
//! V ↦ L_S⁻ᵀ L_S⁻¹ V L_A⁻ᵀ L_A⁻¹                       (Eq 22 with the damped factors of Eq 24)
//! ```
//! The map of [`KroneckerInverse`] with factored damping. A refresh takes a third of the flops; an application takes as many,
//! but by triangular solves, which are slower than products: the better choice where a refresh serves a step or two.
//!
//! Cost        (d_in³ + d_out³)/3 flops to make, 2 d_in d_out (d_in + d_out) a d_out x d_in matrix.
//! Laws        tests/kronecker_cholesky.rs (the map of the inverses; the suites of every damped solver).
//! Reference   J. Martens, R. Grosse, ICML 2015, section 6.3; N. J. Higham, Accuracy and Stability of Numerical Algorithms,
//!             2nd ed., section 14.1 (why not to invert).

use super::batch_product::{batch_factors_are_cheaper, form_product};
use super::factor_inverse::factor_damped;
use super::{DampedSolver, Damping, Fidelity, HasLogDeterminant, PiRule, Recovery, SolvePath, SolveReport};
use crate::backend::{Ctx, check};
use crate::error::{Result, check_shape};
use crate::factor::Cholesky;
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// ((A + π√λ I) ⊗ (S + (√λ/π) I))⁻¹ by the Cholesky factors of its two factors.
///
/// ```
/// use pullback::curvature::{KroneckerCholesky, PiRule};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let (a, s) = (Mat::identity(2), Mat::identity(3));
/// let inverse = KroneckerCholesky::new(&ctx, a.as_ref(), s.as_ref(), PiRule::Trace, Damping::try_from(1.0)?)?;
/// let mut v = Mat::from_fn(3, 2, |_, _| 4.0);
/// inverse.precondition_in_place(&ctx, v.as_mut())?; // (1 + 1) ⊗ (1 + 1)
/// assert!((v[(2, 1)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerCholesky<T> {
    a: Cholesky<T>,
    s: Cholesky<T>,
    pi: T,
    lambda: Damping<T>,
}

impl<T: Scalar> KroneckerCholesky<T> {
    /// Factors the damped A and S, of which only the lower triangles are read, side by side over the thread budget.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) with the pivot,
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Shape`](crate::Error::Shape),
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for a fixed π that is not finite and positive.
    pub fn new(ctx: &Ctx<T>, a: MatRef<'_, T>, s: MatRef<'_, T>, rule: PiRule<T>, lambda: Damping<T>) -> Result<Self> {
        check::square("KroneckerCholesky: A", a)?;
        check::square("KroneckerCholesky: S", s)?;
        rule.check()?;
        let pi = rule.pi(a, s);
        let (shift_a, shift_s) = PiRule::shifts(pi, lambda);
        let (mut l_a, mut l_s) = (None, None);
        let mut items = [(a, shift_a, &mut l_a), (s, shift_s, &mut l_s)];
        items.sort_by_key(|(factor, ..)| std::cmp::Reverse(factor.nrows()));
        ctx.for_each(&mut items, |ctx, (factor, shift, l)| {
            let mut damped = factor.to_owned();
            (0..damped.nrows()).for_each(|i| damped[(i, i)] += *shift);
            **l = Some(Cholesky::new(ctx, damped)?);
            Ok(())
        })?;
        match (l_a, l_s) {
            (Some(a), Some(s)) => Ok(Self { a, s, pi, lambda }),
            _ => unreachable!("for_each ran both items without an error"),
        }
    }

    /// Factors others, as [`KroneckerCholesky::new`] does, in the memory of this one where the orders stay. On an error it
    /// is what it was.
    ///
    /// # Errors
    /// As [`KroneckerCholesky::new`].
    pub fn renew(
        &mut self,
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        s: MatRef<'_, T>,
        rule: PiRule<T>,
        lambda: Damping<T>,
    ) -> Result<()> {
        if self.factor_dims() != (a.nrows(), s.nrows()) {
            return Self::new(ctx, a, s, rule, lambda).map(|new| *self = new);
        }
        rule.check()?;
        let pi = rule.pi(a, s);
        let (shift_a, shift_s) = PiRule::shifts(pi, lambda);
        let room = |m: MatRef<'_, T>| ctx.scratch(m.nrows(), m.nrows());
        let mut items = [(a, shift_a, &mut self.a, room(a)), (s, shift_s, &mut self.s, room(s))];
        items.sort_by_key(|(factor, ..)| std::cmp::Reverse(factor.nrows()));
        ctx.for_each(&mut items, |ctx, (factor, shift, _, l)| factor_damped(ctx, *factor, *shift, l.as_mut()))?;
        // both are there: from here on nothing fails
        for (_, _, old, l) in items {
            old.replace(l.as_ref())?;
        }
        (self.pi, self.lambda) = (pi, lambda);
        Ok(())
    }

    /// π.
    pub fn pi(&self) -> T {
        self.pi
    }

    /// (d_in, d_out).
    pub fn factor_dims(&self) -> (usize, usize) {
        (self.a.dim(), self.s.dim())
    }

    /// The preconditioned d_out x d_in matrix of one layer; both views may have any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn precondition_matrix(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, mut out: MatMut<'_, T>) -> Result<()> {
        check_shape("KroneckerCholesky: out", v.shape(), out.shape())?;
        out.copy_from(v)?;
        self.precondition_in_place(ctx, out)
    }

    /// [`KroneckerCholesky::precondition_matrix`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn precondition_in_place(&self, ctx: &Ctx<T>, mut v: MatMut<'_, T>) -> Result<()> {
        check_shape("KroneckerCholesky: V", (self.s.dim(), self.a.dim()), v.shape())?;
        self.s.solve_in_place(ctx, v.rb_mut())?;
        ctx.trsm(Side::Right, self.a.l(), Op::Transpose, v.rb_mut())?;
        ctx.trsm(Side::Right, self.a.l(), Op::No, v)
    }

    /// out ← α P(G Āᵀ), d_out x d_in, for G d_out x B and Ā d_in x B: the preconditioned gradient of a batch, as
    /// [`KroneckerInverse::precondition_product`](super::KroneckerInverse::precondition_product).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn precondition_product(
        &self,
        ctx: &Ctx<T>,
        alpha: T,
        g: MatRef<'_, T>,
        a: MatRef<'_, T>,
        out: MatMut<'_, T>,
    ) -> Result<()> {
        let (d_in, d_out) = self.factor_dims();
        if !batch_factors_are_cheaper(a.ncols(), d_in, d_out) {
            return form_product(ctx, alpha, g, a, |v| self.precondition_matrix(ctx, v, out));
        }
        let (mut x, mut y) = (ctx.scratch(d_in, a.ncols()), ctx.scratch(d_out, g.ncols()));
        x.as_mut().copy_from(a)?;
        y.as_mut().copy_from(g)?;
        self.a.solve_in_place(ctx, x.as_mut())?;
        self.s.solve_in_place(ctx, y.as_mut())?;
        ctx.gemm(alpha, y.as_ref(), Op::No, x.as_ref(), Op::Transpose, T::ZERO, out)
    }
}

impl<T: Scalar> HasLogDeterminant<T> for KroneckerCholesky<T> {
    /// d_out log det(L_A L_Aᵀ) + d_in log det(L_S L_Sᵀ).
    fn log_determinant(&self) -> T {
        let (d_in, d_out) = (self.a.dim() as f64, self.s.dim() as f64);
        T::of(d_out * self.a.log_determinant().f64() + d_in * self.s.log_determinant().f64())
    }
}

impl<T: Scalar> LinearOperator<T> for KroneckerCholesky<T> {
    fn shape(&self) -> (usize, usize) {
        let n = self.a.dim() * self.s.dim();
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        check_shape("KroneckerCholesky: X", (LinearOperator::shape(self).0, x.ncols()), x.shape())?;
        check_shape("KroneckerCholesky: Y", x.shape(), y.shape())?;
        y.copy_from(x)?;
        let (d_in, d_out) = self.factor_dims();
        for k in 0..y.ncols() {
            self.precondition_in_place(ctx, MatMut::from_slice(y.col_mut(k), d_out, d_in, d_out.max(1))?)?;
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for KroneckerCholesky<T> {}
impl<T: Scalar> Preconditioner<T> for KroneckerCholesky<T> {}

impl<T: Scalar> DampedSolver<T> for KroneckerCholesky<T> {
    fn dim(&self) -> usize {
        self.a.dim() * self.s.dim()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Factored
    }

    fn path(&self) -> SolvePath {
        SolvePath::FactoredCholesky
    }

    fn recovery(&self) -> Recovery {
        Recovery::None
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}
