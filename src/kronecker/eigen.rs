//! Spectral decomposition of the Kronecker product of two symmetric matrices, and functions of it.
//!
//! ```text
//! A ⊗ B = (Q_A ⊗ Q_B)(D_A ⊗ D_B)(Q_A ⊗ Q_B)ᵀ          (Eq 21)
//! ```
//! Cost        two decompositions of orders n_a, n_b (about 9 n³ flops each) in place of one of order n_a n_b;
//!             four products, 4 n_a n_b (n_a + n_b) flops, a function of the matrix applied to one vector (Eq 23).
//! Laws        tests/kronecker_identities.rs, tests/curvatures.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             section 6.2.

use std::sync::Arc;

use super::apply::{kronecker_apply, two_sided_product};
use crate::backend::Ctx;
use crate::backend::reduce::vectorized;
use crate::error::{Error, Result, check_shape};
use crate::factor::{SymEigen, Tracking};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Eigenvalues a_j b_i and eigenvectors q_j ⊗ r_i of A ⊗ B for symmetric A and B, held as the two small
/// decompositions. Clones share them.
///
/// ```
/// use pullback::{Ctx, Mat, kronecker::KroneckerEigen};
/// let ctx = Ctx::<f64>::default();
/// let eigen = KroneckerEigen::new(&ctx, Mat::from_diagonal(&[1.0, 2.0]), Mat::from_diagonal(&[3.0]))?;
/// assert_eq!(eigen.values().collect::<Vec<_>>(), [3.0, 6.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerEigen<T> {
    left: Arc<SymEigen<T>>,
    right: Arc<SymEigen<T>>,
}

impl<T: Scalar> KroneckerEigen<T> {
    /// Decomposes A and B, of which only the lower triangles are read; on two threads where the context has them.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::NoConvergence`](crate::Error::NoConvergence),
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn new(ctx: &Ctx<T>, a: Mat<T>, b: Mat<T>) -> Result<Self> {
        let (mut left, mut right) = (None, None);
        let mut items = [(Some(a), &mut left), (Some(b), &mut right)];
        items.sort_by_key(|(m, _)| std::cmp::Reverse(m.as_ref().map_or(0, Mat::nrows)));
        ctx.for_each(&mut items, |ctx, (matrix, eigen)| {
            **eigen = matrix.take().map(|m| SymEigen::new(ctx, m)).transpose()?;
            Ok(())
        })?;
        match (left, right) {
            (Some(left), Some(right)) => Ok(Self::from_parts(left, right)),
            _ => unreachable!("for_each ran both items without an error"),
        }
    }

    /// The decomposition of another A and B of the same orders, each in the basis of this one where the change is within
    /// the tolerance ([`SymEigen::track`]), and what was done for A and for B. Side by side as in [`KroneckerEigen::new`].
    ///
    /// # Errors
    /// As [`SymEigen::track`].
    pub fn track(
        &self,
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        tolerance: f64,
    ) -> Result<(Self, [Tracking; 2])> {
        let (mut left, mut right) = (None, None);
        let mut items = [(&self.left, a, &mut left), (&self.right, b, &mut right)];
        items.sort_by_key(|(_, m, _)| std::cmp::Reverse(m.nrows()));
        ctx.for_each(&mut items, |ctx, (old, matrix, new)| {
            **new = Some(old.track(ctx, *matrix, tolerance)?);
            Ok(())
        })?;
        match (left, right) {
            (Some((left, a)), Some((right, b))) => Ok((Self::from_parts(left, right), [a, b])),
            _ => unreachable!("for_each ran both items without an error"),
        }
    }

    /// Decomposes other matrices of the same orders in the memory of this value (in new memory where clones share it).
    /// `accept` sees the eigenvalues of both first, ascending; on its error, or another one, nothing has changed.
    pub(crate) fn renew(
        &mut self,
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        accept: impl FnOnce(&[T], &[T]) -> Result<()>,
    ) -> Result<()> {
        let room = |m: MatRef<'_, T>| (ctx.scratch(m.nrows(), m.ncols()), ctx.scratch(m.nrows(), 1));
        let (mut left, mut right) = (room(a), room(b));
        let mut items = [(a, &mut left), (b, &mut right)];
        items.sort_by_key(|(m, _)| std::cmp::Reverse(m.nrows()));
        ctx.for_each(&mut items, |ctx, (matrix, (vectors, values))| {
            vectors.as_mut().copy_from(*matrix)?;
            ctx.syevd(vectors.as_mut(), values.as_mut_slice())
        })?;
        accept(left.1.as_slice(), right.1.as_slice())?;
        for (mine, (vectors, values)) in [(&mut self.left, left), (&mut self.right, right)] {
            Arc::make_mut(mine).replace(vectors.as_ref(), values.as_slice())?;
        }
        Ok(())
    }

    /// Joins the decompositions of A and B.
    pub fn from_parts(a: impl Into<Arc<SymEigen<T>>>, b: impl Into<Arc<SymEigen<T>>>) -> Self {
        Self { left: a.into(), right: b.into() }
    }

    /// Order n_a n_b of A ⊗ B.
    pub fn dim(&self) -> usize {
        self.left.dim() * self.right.dim()
    }

    /// Whether both decompositions are the same objects in memory: a clone, not a new computation.
    pub fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.left, &other.left) && Arc::ptr_eq(&self.right, &other.right)
    }

    /// Decomposition of A.
    pub fn left(&self) -> &SymEigen<T> {
        &self.left
    }

    /// Decomposition of B.
    pub fn right(&self) -> &SymEigen<T> {
        &self.right
    }

    /// The eigenvalues a_j b_i, i fastest: the order of the eigenvectors q_j ⊗ r_i, not sorted.
    pub fn values(&self) -> impl Iterator<Item = T> + '_ {
        self.left.values().iter().flat_map(|&a| self.right.values().iter().map(move |&b| a * b))
    }

    /// Writes eigenvector j n_b + i, which is q_j ⊗ r_i.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the index or the length of `out` does not fit.
    pub fn vector(&self, index: usize, out: &mut [T]) -> Result<()> {
        check_shape("KroneckerEigen::vector", (self.dim(), 1), (out.len(), 1))?;
        if index >= self.dim() {
            return Err(Error::invalid("index", format!("{index} must be below the order {}", self.dim())));
        }
        let n = self.right.dim();
        let (q, r) = (self.left.vectors().col(index / n), self.right.vectors().col(index % n));
        for (out, &q) in out.chunks_mut(n).zip(q) {
            out.iter_mut().zip(r).for_each(|(out, &r)| *out = q * r);
        }
        Ok(())
    }

    /// Y ← (Q_A ⊗ Q_B)ᵀ X: coordinates in the eigenbasis.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn to_eigenbasis(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (q, r) = ((self.left.vectors(), Op::Transpose), (self.right.vectors(), Op::Transpose));
        kronecker_apply(ctx, T::ONE, q, r, x, T::ZERO, y)
    }

    /// Y ← (Q_A ⊗ Q_B) f(D_A ⊗ D_B) X, f being given the two eigenvalues: from scaled coordinates in the eigenbasis.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn from_eigenbasis(
        &self,
        ctx: &Ctx<T>,
        f: impl Fn(T, T) -> T,
        x: MatRef<'_, T>,
        y: MatMut<'_, T>,
    ) -> Result<()> {
        check_shape("KroneckerEigen::from_eigenbasis", (self.dim(), x.ncols()), x.shape())?;
        let mut scaled = ctx.scratch(self.dim(), x.ncols());
        scaled.as_mut().copy_from(x)?;
        scaled.as_mut().cols_mut().for_each(|v| self.scale(&f, v));
        let (q, r) = ((self.left.vectors(), Op::No), (self.right.vectors(), Op::No));
        kronecker_apply(ctx, T::ONE, q, r, scaled.as_ref(), T::ZERO, y)
    }

    /// Y ← f(A ⊗ B) X, f being given the two eigenvalues (a, b) whose product is the eigenvalue.
    ///
    /// ```text
    /// V' = Q_Bᵀ V Q_A,  V''_ij = f(a_j, b_i) V'_ij,  V''' = Q_B V'' Q_Aᵀ          (Eq 23)
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn map_apply(&self, ctx: &Ctx<T>, f: impl Fn(T, T) -> T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.scale_apply(ctx, |v| self.scale(&f, v), x, y)
    }

    /// The same map on one n_b x n_a matrix with any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn map_matrix(&self, ctx: &Ctx<T>, f: impl Fn(T, T) -> T, v: MatRef<'_, T>, out: MatMut<'_, T>) -> Result<()> {
        self.scale_matrix(ctx, |v| self.scale(&f, v), v, out)
    }

    /// The same map in place of one n_b x n_a matrix.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn map_in_place(&self, ctx: &Ctx<T>, f: impl Fn(T, T) -> T, v: MatMut<'_, T>) -> Result<()> {
        self.scale_in_place(ctx, |v| self.scale(&f, v), v)
    }

    /// Y ← (Q_A ⊗ Q_B) D (Q_A ⊗ Q_B)ᵀ X for any diagonal D: `scale` multiplies one vector of n_a n_b coordinates in the
    /// eigenbasis (in the order of [`KroneckerEigen::values`]) by D.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn scale_apply(
        &self,
        ctx: &Ctx<T>,
        scale: impl Fn(&mut [T]),
        x: MatRef<'_, T>,
        y: MatMut<'_, T>,
    ) -> Result<()> {
        let (q, r) = (self.left.vectors(), self.right.vectors());
        let mut rotated = ctx.scratch(self.dim(), x.ncols());
        let (qt, rt) = ((q, Op::Transpose), (r, Op::Transpose));
        kronecker_apply(ctx, T::ONE, qt, rt, x, T::ZERO, rotated.as_mut())?;
        rotated.as_mut().cols_mut().for_each(scale);
        kronecker_apply(ctx, T::ONE, (q, Op::No), (r, Op::No), rotated.as_ref(), T::ZERO, y)
    }

    /// [`KroneckerEigen::scale_apply`] on one n_b x n_a matrix with any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn scale_matrix(
        &self,
        ctx: &Ctx<T>,
        scale: impl Fn(&mut [T]),
        v: MatRef<'_, T>,
        out: MatMut<'_, T>,
    ) -> Result<()> {
        let mut rotated = ctx.scratch(self.right.dim(), self.left.dim());
        self.rotate(ctx, v, rotated.as_mut())?;
        scale(rotated.as_mut_slice());
        self.rotate_back(ctx, rotated.as_ref(), out)
    }

    /// [`KroneckerEigen::scale_matrix`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn scale_in_place(&self, ctx: &Ctx<T>, scale: impl Fn(&mut [T]), v: MatMut<'_, T>) -> Result<()> {
        let mut rotated = ctx.scratch(self.right.dim(), self.left.dim());
        self.rotate(ctx, v.rb(), rotated.as_mut())?;
        scale(rotated.as_mut_slice());
        self.rotate_back(ctx, rotated.as_ref(), v)
    }

    /// out ← α (Q_A ⊗ Q_B) D (Q_A ⊗ Q_B)ᵀ vec(G Xᵀ) for an n_b x cases G and an n_a x cases X: their product is formed in the
    /// eigenbasis.  2 cases (n_a² + n_b² + n_a n_b) + 2 n_a n_b (n_a + n_b) flops.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn scale_product(
        &self,
        ctx: &Ctx<T>,
        scale: impl Fn(&mut [T]),
        alpha: T,
        g: MatRef<'_, T>,
        x: MatRef<'_, T>,
        out: MatMut<'_, T>,
    ) -> Result<()> {
        let (na, nb, cases) = (self.left.dim(), self.right.dim(), x.ncols());
        let mut rotated = ctx.scratch(nb, na);
        {
            let (mut qx, mut qg) = (ctx.scratch(na, cases), ctx.scratch(nb, cases));
            ctx.gemm(T::ONE, self.left.vectors(), Op::Transpose, x, Op::No, T::ZERO, qx.as_mut())?;
            ctx.gemm(T::ONE, self.right.vectors(), Op::Transpose, g, Op::No, T::ZERO, qg.as_mut())?;
            ctx.gemm(alpha, qg.as_ref(), Op::No, qx.as_ref(), Op::Transpose, T::ZERO, rotated.as_mut())?;
        }
        scale(rotated.as_mut_slice());
        self.rotate_back(ctx, rotated.as_ref(), out)
    }

    /// Q_Bᵀ V Q_A.
    fn rotate(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, rotated: MatMut<'_, T>) -> Result<()> {
        let (q, r) = ((self.left.vectors(), Op::Transpose), (self.right.vectors(), Op::Transpose));
        two_sided_product(ctx, T::ONE, q, r, v, T::ZERO, rotated)
    }

    fn rotate_back(&self, ctx: &Ctx<T>, rotated: MatRef<'_, T>, out: MatMut<'_, T>) -> Result<()> {
        let (q, r) = ((self.left.vectors(), Op::No), (self.right.vectors(), Op::No));
        two_sided_product(ctx, T::ONE, q, r, rotated, T::ZERO, out)
    }

    /// v ← f(D_A ⊗ D_B) v for one vector in the eigenbasis.
    pub(crate) fn scale(&self, f: &impl Fn(T, T) -> T, v: &mut [T]) {
        let b = self.right.values();
        vectorized(
            #[inline(always)]
            || {
                for (column, &a) in v.chunks_mut(b.len().max(1)).zip(self.left.values()) {
                    column.iter_mut().zip(b).for_each(|(v, &b)| *v *= f(a, b));
                }
            },
        );
    }
}
