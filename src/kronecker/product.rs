//! [`KroneckerProduct`]: A ⊗ B of two rectangular matrices, never formed.
//!
//! ```text
//!           | a_11 B ... a_1n B |
//! A ⊗ B  =  |   :          :    |                                  (Eq 15)
//!           | a_m1 B ... a_mn B |
//! vec(A X B) = (Bᵀ ⊗ A) vec X                                      (Eq 16)
//! (A ⊗ B)(C ⊗ D) = A C ⊗ B D                                       (Eq 17)
//! (A ⊗ B)ᵀ = Aᵀ ⊗ Bᵀ,   (A ⊗ B)⁻¹ = A⁻¹ ⊗ B⁻¹                      (Eq 18, 19)
//! vec(u vᵀ) = v ⊗ u                                                (Eq 20)
//! ```
//! Since a matrix is stored by columns, its memory is its vec: [`Mat::into_vec`] and [`Mat::from_vec`] are vec and its
//! inverse. Orthogonal, diagonal, symmetric, and positive (semi)definite factors give a product of the same kind.
//!
//! Cost        of the factors only: inverse and determinant 2n³/3 to 2n³ for each, trace n, norm n².
//! Laws        tests/kronecker_identities.rs: each identity against the formed matrix.
//! Reference   C. F. Van Loan, The ubiquitous Kronecker product, J. Comput. Appl. Math. 123 (2000),
//!             doi:10.1016/S0377-0427(00)00393-9.

use super::apply::kronecker_apply;
use super::eigen::KroneckerEigen;
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result, check_shape};
use crate::factor::{Lu, SymEigen};
use crate::linop::LinearOperator;
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// A ⊗ B (m_a m_b x n_a n_b) as its two factors.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, kronecker::KroneckerProduct};
/// let ctx = Ctx::<f64>::default();
/// let (a, b) = (Mat::from_fn(2, 3, |i, j| (i + j) as f64), Mat::from_fn(1, 2, |_, j| j as f64 + 1.0));
/// let product = KroneckerProduct::new(a, b)?;
/// let mut y = Mat::zeros(2, 1);
/// product.apply(&ctx, Mat::from_fn(6, 1, |_, _| 1.0).as_ref(), y.as_mut())?;
/// assert_eq!(y.as_slice(), [9.0, 18.0]); // row sums of A, times the row sum of B
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerProduct<T> {
    a: Mat<T>,
    b: Mat<T>,
}

impl<T: Scalar> KroneckerProduct<T> {
    /// A ⊗ B for matrices of any shapes.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the rows or columns of the product overflow.
    pub fn new(a: Mat<T>, b: Mat<T>) -> Result<Self> {
        let fits = |x: usize, y: usize| x.checked_mul(y).is_some();
        if !(fits(a.nrows(), b.nrows()) && fits(a.ncols(), b.ncols())) {
            return Err(Error::invalid("factors", "the shape of their Kronecker product overflows"));
        }
        Ok(Self { a, b })
    }

    /// A.
    pub fn left(&self) -> &Mat<T> {
        &self.a
    }

    /// B.
    pub fn right(&self) -> &Mat<T> {
        &self.b
    }

    /// (A, B).
    pub fn into_factors(self) -> (Mat<T>, Mat<T>) {
        (self.a, self.b)
    }

    /// Aᵀ ⊗ Bᵀ (Eq 18).
    pub fn transposed(&self) -> Self {
        Self { a: self.a.transposed(), b: self.b.transposed() }
    }

    /// Y ← (A ⊗ B)ᵀ X without a transposed copy.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn apply_transposed(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (a, b) = ((self.a.as_ref(), Op::Transpose), (self.b.as_ref(), Op::Transpose));
        kronecker_apply(ctx, T::ONE, a, b, x, T::ZERO, y)
    }

    /// (A ⊗ B)(C ⊗ D) = A C ⊗ B D (Eq 17), the factors fitting pairwise.
    ///
    /// # Errors
    /// [`Error::Shape`] when A C or B D does not exist.
    pub fn compose(&self, ctx: &Ctx<T>, other: &Self) -> Result<Self> {
        let product = |x: &Mat<T>, y: &Mat<T>| {
            let mut xy = Mat::zeros(x.nrows(), y.ncols());
            ctx.gemm(T::ONE, x.as_ref(), Op::No, y.as_ref(), Op::No, T::ZERO, xy.as_mut())?;
            Ok(xy)
        };
        Self::new(product(&self.a, &other.a)?, product(&self.b, &other.b)?)
    }

    /// α (A ⊗ B): the product is linear in each factor, so α goes to A.
    pub fn scaled(&self, alpha: T) -> Self {
        Self { a: self.a.map(|x| alpha * x), b: self.b.clone() }
    }

    /// (A + α I) ⊗ (B + β I) for square factors: the left side of Eq 24. For symmetric positive semidefinite A, B and
    /// α, β >= 0 it dominates A ⊗ B + α β I.
    ///
    /// # Errors
    /// [`Error::Shape`] when a factor is not square.
    pub fn shifted(&self, alpha: T, beta: T) -> Result<Self> {
        let mut shifted = self.clone();
        for (m, shift) in [(&mut shifted.a, alpha), (&mut shifted.b, beta)] {
            check::square("KroneckerProduct::shifted", m.as_ref())?;
            (0..m.nrows()).for_each(|i| m[(i, i)] += shift);
        }
        Ok(shifted)
    }

    /// A⁻¹ ⊗ B⁻¹ (Eq 19) for square factors.
    ///
    /// # Errors
    /// [`Error::Singular`], [`Error::NotFinite`], [`Error::Shape`].
    pub fn inverse(&self, ctx: &Ctx<T>) -> Result<Self> {
        Ok(Self { a: Lu::new(self.a.clone())?.inverse(ctx)?, b: Lu::new(self.b.clone())?.inverse(ctx)? })
    }

    /// tr(A ⊗ B) = tr A tr B for square factors.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn trace(&self) -> Result<T> {
        check::square("KroneckerProduct::trace", self.a.as_ref())?;
        check::square("KroneckerProduct::trace", self.b.as_ref())?;
        Ok(T::of(sums::product([&self.a, &self.b].map(sums::trace))))
    }

    /// ‖A ⊗ B‖_F = ‖A‖_F ‖B‖_F.
    pub fn frobenius_norm(&self) -> T {
        T::of(sums::product([&self.a, &self.b].map(sums::frobenius)))
    }

    /// det(A ⊗ B) = (det A)^{n_b} (det B)^{n_a} for square factors of orders n_a, n_b; 0 when one is singular.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`].
    pub fn determinant(&self) -> Result<T> {
        let (sign, log) = self.log_determinant()?;
        Ok(sign * T::of(log.f64().exp()))
    }

    /// (sign, log |det(A ⊗ B)|), or (0, -∞) when a factor is singular; the 0 x 0 determinant is 1.
    ///
    /// ```text
    /// log |det(A ⊗ B)| = n_b log |det A| + n_a log |det B|
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`].
    pub fn log_determinant(&self) -> Result<(T, T)> {
        let (na, nb) = (self.a.nrows(), self.b.nrows());
        let factor = |m: &Mat<T>| match Lu::new(m.clone()) {
            Ok(lu) => Ok(lu.log_determinant()),
            Err(Error::Singular { .. }) => Ok((T::ZERO, -T::infinity())),
            Err(error) => Err(error),
        };
        let ((sign_a, log_a), (sign_b, log_b)) = (factor(&self.a)?, factor(&self.b)?);
        if na == 0 || nb == 0 {
            return Ok((T::ONE, T::ZERO));
        }
        let power = |sign: T, n: usize| if n.is_multiple_of(2) { sign * sign } else { sign };
        Ok((power(sign_a, nb) * power(sign_b, na), T::of(nb as f64) * log_a + T::of(na as f64) * log_b))
    }

    /// The spectral decomposition (Eq 21) for symmetric factors.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when a factor is not symmetric, entry for entry;
    /// [`Error::Shape`], [`Error::NotFinite`], [`Error::NoConvergence`].
    pub fn eigen(&self, ctx: &Ctx<T>) -> Result<KroneckerEigen<T>> {
        check_symmetric(&self.a)?;
        check_symmetric(&self.b)?;
        KroneckerEigen::new(ctx, self.a.clone(), self.b.clone())
    }

    /// The symmetric positive semidefinite root A^{1/2} ⊗ B^{1/2} for factors of that kind. An eigenvalue below zero
    /// by no more than rounding, 16 n ε of the largest, counts as 0.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] with the index of a negative eigenvalue, and those of
    /// [`KroneckerProduct::eigen`].
    pub fn sqrt(&self, ctx: &Ctx<T>) -> Result<Self> {
        let eigen = self.eigen(ctx)?;
        let root = |e: &SymEigen<T>| {
            let largest = e.values().iter().fold(T::ZERO, |m, w| m.max(w.abs()));
            let rounding = T::of(16.0 * e.dim() as f64) * T::EPS * largest;
            require(e, "KroneckerProduct::sqrt", |w| w >= -rounding)?;
            e.map_to_dense(ctx, |w| w.max(T::ZERO).sqrt())
        };
        Ok(Self { a: root(eigen.left())?, b: root(eigen.right())? })
    }

    /// A^{-1/2} ⊗ B^{-1/2} for symmetric positive definite factors.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] with the index of an eigenvalue that is not positive, and those of
    /// [`KroneckerProduct::eigen`].
    pub fn inverse_sqrt(&self, ctx: &Ctx<T>) -> Result<Self> {
        let eigen = self.eigen(ctx)?;
        let root = |e: &SymEigen<T>| {
            require(e, "KroneckerProduct::inverse_sqrt", |w| w > T::ZERO)?;
            e.map_to_dense(ctx, |w| T::ONE / w.sqrt())
        };
        Ok(Self { a: root(eigen.left())?, b: root(eigen.right())? })
    }
}

impl<T: Scalar> LinearOperator<T> for KroneckerProduct<T> {
    fn shape(&self) -> (usize, usize) {
        (self.a.nrows() * self.b.nrows(), self.a.ncols() * self.b.ncols())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        kronecker_apply(ctx, T::ONE, (self.a.as_ref(), Op::No), (self.b.as_ref(), Op::No), x, T::ZERO, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        kronecker_apply(ctx, alpha, (self.a.as_ref(), Op::No), (self.b.as_ref(), Op::No), x, T::ONE, y)
    }

    /// The formed matrix by its definition (Eq 15), no product with the identity involved.
    fn to_dense(&self, _ctx: &Ctx<T>) -> Result<Mat<T>> {
        let (mb, nb) = self.b.shape();
        let (m, n) = self.shape();
        Ok(Mat::from_fn(m, n, |i, j| self.a[(i / mb, j / nb)] * self.b[(i % mb, j % nb)]))
    }
}

/// The smallest eigenvalue of X - Y for symmetric X and Y (lower triangles are read): not negative, up to rounding,
/// exactly when X ⪰ Y in the positive semidefinite order. Infinity for 0 x 0 matrices.
///
/// ```
/// use pullback::{Ctx, Mat, kronecker::semidefinite_gap};
/// let (x, y) = (Mat::from_diagonal(&[3.0, 5.0]), Mat::from_diagonal(&[2.0, 1.0]));
/// assert_eq!(semidefinite_gap(&Ctx::<f64>::default(), x.as_ref(), y.as_ref())?, 1.0);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`], [`Error::NoConvergence`].
pub fn semidefinite_gap<T: Scalar>(ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatRef<'_, T>) -> Result<T> {
    let n = check::square("semidefinite_gap", x)?;
    check_shape("semidefinite_gap", x.shape(), y.shape())?;
    let difference = Mat::from_fn(n, n, |i, j| x.at(i, j) - y.at(i, j));
    Ok(SymEigen::new(ctx, difference)?.values().first().copied().unwrap_or_else(T::infinity))
}

fn check_symmetric<T: Scalar>(m: &Mat<T>) -> Result<()> {
    check::square("KroneckerProduct", m.as_ref())?;
    check::finite("KroneckerProduct", m.as_ref())?;
    let symmetric = (0..m.ncols()).all(|j| (0..j).all(|i| m[(i, j)] == m[(j, i)]));
    if symmetric { Ok(()) } else { Err(Error::invalid("factor", "must be symmetric, entry for entry")) }
}

fn require<T: Scalar>(e: &SymEigen<T>, op: &'static str, holds: impl Fn(T) -> bool) -> Result<()> {
    match e.values().iter().position(|&w| !holds(w)) {
        Some(pivot) => Err(Error::NotPositiveDefinite { op, pivot }),
        None => Ok(()),
    }
}
