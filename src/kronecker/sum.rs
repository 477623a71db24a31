//! [`KroneckerPairInverse`]: (A ⊗ B ± C ⊗ D)⁻¹, the inverse of a sum of two Kronecker products, never formed.
//!
//! Problem     A (n_a x n_a), B (n_b x n_b) symmetric positive definite; C, D symmetric, of the same orders and any sign.
//! ```text
//! A = L Lᵀ,  L⁻¹ C L⁻ᵀ = E diag(s) Eᵀ,  K = L⁻ᵀ E:     Kᵀ A K = I,  Kᵀ C K = diag(s)      (likewise B, D: K', t)
//! (A ⊗ B ± C ⊗ D)⁻¹ vec V = vec( K' [(K'ᵀ V K)_ij / (1 ± t_i s_j)] Kᵀ )
//! ```
//! The relative eigenvalues 1 ± t_i s_j decide: the matrix is positive definite exactly when all of them are positive.
//! With the minus sign and positive semidefinite C, D that asks for the products of the spectra to stay below 1.
//!
//! Floor       A relative eigenvalue within 16 (n_a + n_b) ε of 0 is 0 as far as rounding can tell. It is raised to that
//!             floor, and counted ([`KroneckerPairInverse::floored`]); one further below 0 is
//!             [`Error::NotDominant`](crate::Error::NotDominant). Nothing else is changed.
//! Cost        two factorizations and two eigendecompositions, about 12 (n_a³ + n_b³) flops; 4 n_a n_b (n_a + n_b) a
//!             vector; n_a² + n_b² numbers. With one thread more the two sides run side by side.
//! Deviations  the chapter and the paper take symmetric roots A^{-1/2}, we the Cholesky factor: any root will do, and this
//!             one needs no eigendecomposition. The paper's code replaces a denominator of exactly 0 by 1; see Floor.
//! Laws        tests/kronecker_sum.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, ICML
//!             2015, arXiv:1503.05671, appendix B.

use super::apply::{kronecker_apply, two_sided_product};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_shape};
use crate::factor::Cholesky;
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// The sign between the two Kronecker products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PairSign {
    /// A ⊗ B + C ⊗ D.
    Plus,
    /// A ⊗ B - C ⊗ D.
    Minus,
}

/// (A ⊗ B ± C ⊗ D)⁻¹ as a fixed positive definite operator.
///
/// ```
/// use pullback::kronecker::{KroneckerPairInverse, PairSign};
/// use pullback::{Ctx, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let (a, b) = (Mat::from_diagonal(&[2.0, 4.0]), Mat::identity(1));
/// let (c, d) = (Mat::from_diagonal(&[1.0, 3.0]), Mat::identity(1));
/// let pair = |sign| KroneckerPairInverse::new(&ctx, (a.as_ref(), b.as_ref()), (c.as_ref(), d.as_ref()), sign);
/// let mut x = Mat::zeros(2, 1);
/// let ones = Mat::from_fn(2, 1, |_, _| 1.0);
/// pair(PairSign::Minus)?.apply(&ctx, ones.as_ref(), x.as_mut())?; // diag(2 - 1, 4 - 3)
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-14 && (x[(1, 0)] - 1.0).abs() < 1e-14);
/// assert!((pair(PairSign::Plus)?.log_determinant() - 21f64.ln()).abs() < 1e-14); // diag(3, 7)
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerPairInverse<T> {
    left: Pencil<T>,
    right: Pencil<T>,
    sign: PairSign,
    floor: T,
    floored: usize,
}

/// C z = s A z solved: Kᵀ A K = I, Kᵀ C K = diag(s).
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
struct Pencil<T> {
    basis: Mat<T>,
    values: Vec<T>,
    /// log det A.
    log_determinant: T,
}

impl<T: Scalar> Pencil<T> {
    /// Only the lower triangle of C is read.
    fn new(ctx: &Ctx<T>, a: &Cholesky<T>, c: MatRef<'_, T>) -> Result<Self> {
        let (n, l) = (a.dim(), a.l());
        check_shape("KroneckerPairInverse", (n, n), c.shape())?;
        let mut basis = c.to_owned();
        basis.as_mut().mirror_lower();
        ctx.trsm(Side::Left, l, Op::No, basis.as_mut())?;
        ctx.trsm(Side::Right, l, Op::Transpose, basis.as_mut())?;
        // the two solves round differently: the mean of the triangles is nearer to the symmetric matrix than either
        let half = T::of(0.5);
        for j in 0..n {
            for i in j + 1..n {
                basis[(i, j)] = half * basis[(i, j)] + half * basis[(j, i)];
            }
        }
        let mut values = vec![T::ZERO; n];
        ctx.syevd(basis.as_mut(), &mut values)?;
        ctx.trsm(Side::Left, l, Op::Transpose, basis.as_mut())?;
        check::finite("KroneckerPairInverse", basis.as_ref())?;
        Ok(Self { basis, values, log_determinant: a.log_determinant() })
    }

    fn dim(&self) -> usize {
        self.values.len()
    }
}

impl<T: Scalar> KroneckerPairInverse<T> {
    /// The inverse for `first` = (A, B) and `second` = (C, D), of which only the lower triangles are read.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] when A or B is not; [`Error::NotDominant`] when a relative eigenvalue lies below
    /// zero by more than rounding; [`Error::NotFinite`], [`Error::NoConvergence`], [`Error::Shape`].
    pub fn new(
        ctx: &Ctx<T>,
        first: (MatRef<'_, T>, MatRef<'_, T>),
        second: (MatRef<'_, T>, MatRef<'_, T>),
        sign: PairSign,
    ) -> Result<Self> {
        let a = Cholesky::new(ctx, first.0.to_owned())?;
        let b = Cholesky::new(ctx, first.1.to_owned())?;
        Self::from_cholesky(ctx, (&a, &b), second, sign)
    }

    /// The same where A and B are factored already.
    ///
    /// # Errors
    /// As [`KroneckerPairInverse::new`].
    pub fn from_cholesky(
        ctx: &Ctx<T>,
        first: (&Cholesky<T>, &Cholesky<T>),
        second: (MatRef<'_, T>, MatRef<'_, T>),
        sign: PairSign,
    ) -> Result<Self> {
        let (mut left, mut right) = (None, None);
        let mut items = [(first.0, second.0, &mut left), (first.1, second.1, &mut right)];
        items.sort_by_key(|(factor, ..)| std::cmp::Reverse(factor.dim()));
        ctx.for_each(&mut items, |ctx, (factor, c, pencil)| {
            **pencil = Some(Pencil::new(ctx, factor, *c)?);
            Ok(())
        })?;
        let (Some(left), Some(right)) = (left, right) else { unreachable!("for_each ran both items without an error") };
        let floor = T::of(16.0 * (left.dim() + right.dim()) as f64) * T::EPS;
        let mut pair = Self { left, right, sign, floor, floored: 0 };
        let smallest = pair.exact_spectrum().fold(T::infinity(), |low, g| if g >= low { low } else { g });
        if pair.exact_spectrum().any(|g| !g.is_finite()) {
            return Err(Error::not_finite("KroneckerPairInverse"));
        }
        if smallest < -floor {
            return Err(Error::NotDominant { op: "KroneckerPairInverse", smallest: smallest.f64() });
        }
        pair.floored = pair.exact_spectrum().filter(|&g| g < floor).count();
        Ok(pair)
    }

    /// Order n_a n_b of the matrix.
    pub fn dim(&self) -> usize {
        self.left.dim() * self.right.dim()
    }

    /// (n_a, n_b).
    pub fn factor_dims(&self) -> (usize, usize) {
        (self.left.dim(), self.right.dim())
    }

    /// ±.
    pub fn sign(&self) -> PairSign {
        self.sign
    }

    /// The relative eigenvalues 1 ± t_i s_j as they are used, i fastest: those of (A ⊗ B)⁻¹(A ⊗ B ± C ⊗ D).
    pub fn spectrum(&self) -> impl Iterator<Item = T> + '_ {
        self.exact_spectrum().map(|g| g.max(self.floor))
    }

    fn exact_spectrum(&self) -> impl Iterator<Item = T> + '_ {
        let sign = self.sign;
        self.left.values.iter().flat_map(move |&s| self.right.values.iter().map(move |&t| relative(sign, s, t)))
    }

    /// How many relative eigenvalues were raised to [`KroneckerPairInverse::floor`]: 0 unless the matrix is singular as
    /// far as rounding can tell.
    pub fn floored(&self) -> usize {
        self.floored
    }

    /// The smallest relative eigenvalue that is used, 16 (n_a + n_b) ε.
    pub fn floor(&self) -> T {
        self.floor
    }

    /// log det(A ⊗ B ± C ⊗ D).
    ///
    /// ```text
    /// n_b log det A + n_a log det B + Σ log(1 ± t_i s_j)
    /// ```
    pub fn log_determinant(&self) -> T {
        let (na, nb) = (self.left.dim() as f64, self.right.dim() as f64);
        let relative: f64 = self.spectrum().map(|g| g.f64().ln()).sum();
        T::of(nb * self.left.log_determinant.f64() + na * self.right.log_determinant.f64() + relative)
    }

    /// R = (K ⊗ K') diag(1 ± t_i s_j)^{-1/2}, with R Rᵀ = (A ⊗ B ± C ⊗ D)⁻¹; borrows everything.
    pub fn inverse_root(&self) -> KroneckerPairRoot<'_, T> {
        KroneckerPairRoot(self)
    }

    /// The inverse applied to one n_b x n_a matrix, both views with any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn apply_to_matrix(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: MatMut<'_, T>) -> Result<()> {
        let (k, l) = (self.left.basis.as_ref(), self.right.basis.as_ref());
        let mut rotated = ctx.scratch(self.right.dim(), self.left.dim());
        two_sided_product(ctx, T::ONE, (k, Op::Transpose), (l, Op::Transpose), v, T::ZERO, rotated.as_mut())?;
        self.scale(rotated.as_mut_slice(), |g| T::ONE / g);
        two_sided_product(ctx, T::ONE, (k, Op::No), (l, Op::No), rotated.as_ref(), T::ZERO, out)
    }

    /// v_ij ← v_ij f(1 ± t_i s_j).
    fn scale(&self, v: &mut [T], f: impl Fn(T) -> T) {
        let t = &self.right.values;
        for (column, &s) in v.chunks_mut(t.len().max(1)).zip(&self.left.values) {
            let gains = t.iter().map(|&t| f(relative(self.sign, s, t).max(self.floor)));
            column.iter_mut().zip(gains).for_each(|(v, gain)| *v *= gain);
        }
    }
}

/// 1 ± t s.
fn relative<T: Scalar>(sign: PairSign, s: T, t: T) -> T {
    match sign {
        PairSign::Plus => T::ONE + s * t,
        PairSign::Minus => T::ONE - s * t,
    }
}

impl<T: Scalar> LinearOperator<T> for KroneckerPairInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.dim(), self.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (k, l) = (self.left.basis.as_ref(), self.right.basis.as_ref());
        let mut rotated = ctx.scratch(self.dim(), x.ncols());
        kronecker_apply(ctx, T::ONE, (k, Op::Transpose), (l, Op::Transpose), x, T::ZERO, rotated.as_mut())?;
        rotated.as_mut().cols_mut().for_each(|v| self.scale(v, |g| T::ONE / g));
        kronecker_apply(ctx, T::ONE, (k, Op::No), (l, Op::No), rotated.as_ref(), T::ZERO, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for KroneckerPairInverse<T> {}
impl<T: Scalar> Preconditioner<T> for KroneckerPairInverse<T> {}

/// A root of the inverse; see [`KroneckerPairInverse::inverse_root`].
///
/// ```
/// use pullback::kronecker::{KroneckerPairInverse, PairSign};
/// use pullback::{Ctx, LinearOperator, Mat};
/// let (ctx, four, one) = (Ctx::<f64>::default(), Mat::from_diagonal(&[4.0]), Mat::identity(1));
/// let (first, zero) = ((four.as_ref(), one.as_ref()), Mat::zeros(1, 1));
/// let pair = KroneckerPairInverse::new(&ctx, first, (zero.as_ref(), one.as_ref()), PairSign::Minus)?;
/// assert!((pair.inverse_root().to_dense(&ctx)?[(0, 0)].abs() - 0.5).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct KroneckerPairRoot<'a, T>(&'a KroneckerPairInverse<T>);

impl<T: Scalar> LinearOperator<T> for KroneckerPairRoot<'_, T> {
    fn shape(&self) -> (usize, usize) {
        (self.0.dim(), self.0.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let mut scaled = ctx.scratch(x.nrows(), x.ncols());
        scaled.as_mut().copy_from(x)?;
        scaled.as_mut().cols_mut().for_each(|v| self.0.scale(v, |g| T::ONE / g.sqrt()));
        let (k, l) = (self.0.left.basis.as_ref(), self.0.right.basis.as_ref());
        kronecker_apply(ctx, T::ONE, (k, Op::No), (l, Op::No), scaled.as_ref(), T::ZERO, y)
    }
}
