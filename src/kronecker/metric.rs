//! [`KroneckerMetric`]: the metric M_A ⊗ M_S, never formed.
//!
//! ```text
//! F = L_A ⊗ L_S,   F⁻¹ vec V = vec(L_S⁻¹ V L_A⁻ᵀ),   F⁻ᵀ vec V = vec(L_S⁻ᵀ V L_A⁻¹)
//! ```
//! Cost        d_in d_out (d_in + d_out) flops for F⁻¹ of one vector.
//! Laws        tests/damping_metric.rs.
//! Reference   C. F. Van Loan, The ubiquitous Kronecker product, J. Comput. Appl. Math. 123 (2000),
//!             doi:10.1016/S0377-0427(00)00393-9.

use super::apply::kronecker_apply;
use crate::backend::{Ctx, check};
use crate::error::{Error, Result};
use crate::linop::{DenseMetric, DiagonalMetric, LinearOperator, Metric, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// M_A ⊗ M_S of two symmetric positive definite matrices; clones share them.
///
/// ```
/// use pullback::{Ctx, Mat, kronecker::KroneckerMetric, linop::Metric};
/// let ctx = Ctx::<f64>::default();
/// let m = KroneckerMetric::new(&ctx, Mat::from_diagonal(&[4.0]), Mat::from_diagonal(&[9.0]))?;
/// let mut x = Mat::identity(1);
/// m.whiten(&ctx, x.as_mut())?;
/// assert!((x[(0, 0)] - 1.0 / 6.0).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KroneckerMetric<T> {
    a: DenseMetric<T>,
    s: DenseMetric<T>,
}

impl<T: Scalar> KroneckerMetric<T> {
    /// Takes M_A and M_S by their lower triangles.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`], [`Error::NotFinite`], [`Error::Shape`], [`Error::InvalidParameter`] where the order
    /// of the product overflows.
    pub fn new(ctx: &Ctx<T>, a: Mat<T>, s: Mat<T>) -> Result<Self> {
        if a.nrows().checked_mul(s.nrows()).is_none() {
            return Err(Error::invalid("factors", "the order of their Kronecker product overflows"));
        }
        Ok(Self { a: DenseMetric::new(ctx, a)?, s: DenseMetric::new(ctx, s)? })
    }

    /// diag A ⊗ diag S = diag(A ⊗ S), Marquardt's scaling of a Kronecker product, each factor with the floor rule of
    /// [`DiagonalMetric::marquardt`].
    ///
    /// # Errors
    /// Those of [`DiagonalMetric::marquardt`], and [`Error::Shape`] unless A and S are square.
    pub fn marquardt(ctx: &Ctx<T>, a: MatRef<'_, T>, s: MatRef<'_, T>, floor: T) -> Result<Self> {
        let scaling = |m: MatRef<'_, T>| -> Result<Mat<T>> {
            check::square("KroneckerMetric", m)?;
            let diagonal: Vec<T> = (0..m.nrows()).map(|i| m.at(i, i)).collect();
            Ok(Mat::from_diagonal(DiagonalMetric::marquardt(&diagonal, floor)?.entries()))
        };
        Self::new(ctx, scaling(a)?, scaling(s)?)
    }

    /// (M_A, M_S), each a metric.
    pub fn factors(&self) -> (&DenseMetric<T>, &DenseMetric<T>) {
        (&self.a, &self.s)
    }

    /// V ← op(L_S)⁻¹ V op(L_A)⁻ᵀ for each column vec V of X.
    fn divide(&self, ctx: &Ctx<T>, op: Op, mut x: MatMut<'_, T>) -> Result<()> {
        let (a, s) = (self.a.factor().l(), self.s.factor().l());
        let (d_in, d_out) = (a.nrows(), s.nrows());
        for column in x.cols_mut() {
            let mut v = MatMut::from_slice(column, d_out, d_in, d_out.max(1))?;
            ctx.trsm(Side::Left, s, op, v.rb_mut())?;
            ctx.trsm(Side::Right, a, op.flipped(), v)?;
        }
        Ok(())
    }
}

impl<T: Scalar> LinearOperator<T> for KroneckerMetric<T> {
    fn shape(&self) -> (usize, usize) {
        let n = self.a.dim() * self.s.dim();
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (a, s) = (self.a.matrix(), self.s.matrix());
        kronecker_apply(ctx, T::ONE, (a.as_ref(), Op::No), (s.as_ref(), Op::No), x, T::ZERO, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for KroneckerMetric<T> {}

impl<T: Scalar> Metric<T> for KroneckerMetric<T> {
    fn whiten(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        self.divide(ctx, Op::No, x)
    }

    fn whiten_transposed(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        self.divide(ctx, Op::Transpose, x)
    }

    fn log_determinant(&self) -> T {
        let (d_in, d_out) = (self.a.dim() as f64, self.s.dim() as f64);
        T::of(d_out * self.a.log_determinant().f64() + d_in * self.s.log_determinant().f64())
    }
}
