//! Square roots of curvatures and of damped inverses, as operators.
//!
//! ```text
//! dense        Q D^(1/2)                    inverse    L⁻ᵀ of L Lᵀ = C + λI
//! A ⊗ S        Q_A D_A^(1/2) ⊗ Q_S D_S^(1/2)           (Q_A ⊗ Q_S)(D_A ⊗ D_S + λI)^(-1/2), or R_A ⊗ R_S of the factors
//! ```
//! Cost        an eigendecomposition of each dense factor, none for an inverse that holds one; an application costs two
//!             products less than that of a symmetric root.
//! Laws        tests/capabilities.rs.
//! Reference   N. J. Higham, Functions of Matrices, 2008, chapter 6.

use super::Damping;
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::factor::{PositiveFactor, SymEigen};
use crate::kronecker::{KroneckerEigen, KroneckerProduct};
use crate::linop::LinearOperator;
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// √w_i, a w_i below zero by no more than rounding, 16 n ε max|w|, counting as zero.
pub(super) fn nonnegative_roots<T: Scalar>(op: &'static str, w: &[T]) -> Result<Vec<T>> {
    let largest = w.iter().fold(T::ZERO, |max, w| max.max(w.abs()));
    let rounding = T::of(16.0 * w.len() as f64) * T::EPS * largest;
    match w.iter().position(|&w| !(w >= -rounding)) {
        Some(pivot) => Err(Error::NotPositiveDefinite { op, pivot }),
        None => Ok(w.iter().map(|w| w.max(T::ZERO).sqrt()).collect()),
    }
}

/// Q D^(1/2) of M = Q D Qᵀ, positive semidefinite up to rounding.
pub(super) fn eigen_root<T: Scalar>(ctx: &Ctx<T>, op: &'static str, m: Mat<T>) -> Result<Mat<T>> {
    let eigen = SymEigen::new(ctx, m)?;
    let roots = nonnegative_roots(op, eigen.values())?;
    let q = eigen.vectors();
    Ok(Mat::from_fn(q.nrows(), q.ncols(), |i, j| q.at(i, j) * roots[j]))
}

/// A root of the inverse of a factored matrix: L⁻ᵀ, or Q W^(-1/2) of a clipped spectrum.
///
/// ```
/// use pullback::curvature::{Dense, HasInverseSquareRoot};
/// use pullback::{Ctx, Curvature, Damping, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let solver = Dense::new(Mat::from_diagonal(&[3.0]))?.damped(&ctx, Damping::try_from(1.0)?)?;
/// assert_eq!(solver.inverse_square_root(&ctx)?.to_dense(&ctx)?[(0, 0)], 0.5);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DenseInverseRoot<'a, T> {
    factor: &'a PositiveFactor<T>,
}

impl<'a, T: Scalar> DenseInverseRoot<'a, T> {
    pub(super) fn new(factor: &'a PositiveFactor<T>) -> Self {
        Self { factor }
    }
}

impl<T: Scalar> LinearOperator<T> for DenseInverseRoot<'_, T> {
    fn shape(&self) -> (usize, usize) {
        (self.factor.dim(), self.factor.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.factor.inverse_root(ctx, x, y)
    }
}

/// A root of a damped Kronecker inverse.
///
/// ```
/// use pullback::curvature::{HasInverseSquareRoot, Kronecker, KroneckerDamping};
/// use pullback::{Ctx, Curvature, Damping, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = Kronecker::new(Mat::from_diagonal(&[3.0]), Mat::identity(1), KroneckerDamping::Exact)?;
/// let solver = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let root = solver.inverse_square_root(&ctx)?.to_dense(&ctx)?;
/// assert!((root[(0, 0)].abs() - 0.5).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KroneckerInverseRoot<'a, T>(Form<'a, T>);

#[derive(Debug, Clone)]
enum Form<'a, T> {
    Exact(&'a KroneckerEigen<T>, Damping<T>),
    Factored(KroneckerProduct<T>),
}

impl<'a, T: Scalar> KroneckerInverseRoot<'a, T> {
    pub(super) fn exact(eigen: &'a KroneckerEigen<T>, lambda: Damping<T>) -> Self {
        Self(Form::Exact(eigen, lambda))
    }

    /// R_A ⊗ R_S with R Rᵀ the inverses of the two damped factors.
    pub(super) fn factored(ctx: &Ctx<T>, a: &Mat<T>, s: &Mat<T>) -> Result<Self> {
        let root = |m: &Mat<T>| eigen_root(ctx, "KroneckerInverse::inverse_square_root", m.clone());
        Ok(Self(Form::Factored(KroneckerProduct::new(root(a)?, root(s)?)?)))
    }
}

impl<T: Scalar> LinearOperator<T> for KroneckerInverseRoot<'_, T> {
    fn shape(&self) -> (usize, usize) {
        match &self.0 {
            Form::Exact(eigen, _) => (eigen.dim(), eigen.dim()),
            Form::Factored(product) => product.shape(),
        }
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        match &self.0 {
            Form::Exact(eigen, lambda) => {
                let scale = |a: T, s: T| T::ONE / ((a * s).max(T::ZERO) + lambda.get()).sqrt();
                eigen.from_eigenbasis(ctx, scale, x, y)
            }
            Form::Factored(product) => product.apply_into(ctx, x, y),
        }
    }
}
