//! [`Metric`]: a symmetric positive definite M with a known factor F, M = F Fᵀ, by which variables are changed.
//!
//! ```text
//! identity     F = I                    diagonal      F = diag(√m_i)
//! dense        F = L of M = L Lᵀ        Kronecker     F = L_A ⊗ L_S of M_A ⊗ M_S       blocks    F = diag(F_1, ..., F_L)
//! ```
//! Cost        of F⁻¹ on one vector: n, n, n², d_in d_out (d_in + d_out) flops.
//! Laws        tests/damping_metric.rs.
//! Reference   R. Horn, C. Johnson, Matrix Analysis, 2nd ed., section 4.5 (congruence).

use std::sync::Arc;

use super::{Identity, LinearOperator, Preconditioner, SelfAdjoint};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::factor::Cholesky;
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// A positive definite M = F Fᵀ: products with M, solves with F and Fᵀ.
pub trait Metric<T: Scalar>: SelfAdjoint<T> {
    /// X ← F⁻¹ X for an n x k block whose shape is already valid.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn whiten(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()>;

    /// X ← F⁻ᵀ X for an n x k block whose shape is already valid.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn whiten_transposed(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()>;

    /// log det M.
    fn log_determinant(&self) -> T;
}

impl<T: Scalar> Metric<T> for Identity {
    fn whiten(&self, _ctx: &Ctx<T>, _x: MatMut<'_, T>) -> Result<()> {
        Ok(())
    }

    fn whiten_transposed(&self, _ctx: &Ctx<T>, _x: MatMut<'_, T>) -> Result<()> {
        Ok(())
    }

    fn log_determinant(&self) -> T {
        T::ZERO
    }
}

/// M = diag(m), m > 0.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, linop::DiagonalMetric};
/// let m = DiagonalMetric::new(vec![1.0, 4.0])?;
/// assert_eq!(m.to_dense(&Ctx::default())?, Mat::from_diagonal(&[1.0, 4.0]));
/// // Marquardt scaling: a zero entry is raised to the floor, 0.01 of the largest
/// let scaling = DiagonalMetric::marquardt(&[8.0, 0.0], 0.01)?;
/// assert_eq!(scaling.entries(), [8.0, 0.08]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct DiagonalMetric<T> {
    entries: Arc<[T]>,
}

impl<T: Scalar> DiagonalMetric<T> {
    /// Takes m.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::InvalidParameter`] unless every entry is positive.
    pub fn new(entries: Vec<T>) -> Result<Self> {
        check::finite_slice("DiagonalMetric", &entries)?;
        match entries.iter().find(|&&m| !(m > T::ZERO)) {
            Some(m) => Err(Error::invalid("metric", format!("{m} must be positive"))),
            None => Ok(Self { entries: entries.into() }),
        }
    }

    /// Marquardt's scaling by the diagonal d of a positive semidefinite matrix,
    ///
    /// ```text
    /// m_i = max(d_i, floor · max_j d_j),  and m = 1 where every d_j is zero or negative
    /// ```
    /// so that a parameter which the data do not determine is damped like one of the floor's share of the largest
    /// curvature. √ε is a floor that leaves every determined parameter alone.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::InvalidParameter`] unless 0 < floor <= 1 and floor · max_j d_j does not underflow.
    pub fn marquardt(diagonal: &[T], floor: T) -> Result<Self> {
        check::finite_slice("DiagonalMetric", diagonal)?;
        if !(floor > T::ZERO && floor <= T::ONE) {
            return Err(Error::invalid("floor", format!("{floor} must be in (0, 1]")));
        }
        let largest = diagonal.iter().fold(T::ZERO, |max, &d| max.max(d));
        if largest == T::ZERO {
            return Self::new(vec![T::ONE; diagonal.len()]);
        }
        Self::new(diagonal.iter().map(|&d| d.max(floor * largest)).collect())
    }

    /// m.
    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The metrics of consecutive blocks of these orders.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the orders add up to that of M.
    pub fn split(&self, dims: impl IntoIterator<Item = usize>) -> Result<Vec<Self>> {
        let dims: Vec<usize> = dims.into_iter().collect();
        check_len("DiagonalMetric::split", self.entries.len(), dims.iter().sum())?;
        let mut rest = &self.entries[..];
        let next = |n: usize| {
            let (mine, others) = rest.split_at(n);
            rest = others;
            Self { entries: mine.into() }
        };
        Ok(dims.into_iter().map(next).collect())
    }
}

impl<T: Scalar> LinearOperator<T> for DiagonalMetric<T> {
    fn shape(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.len())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&*self.entries).for_each(|((y, &x), &m)| *y = m * x);
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for DiagonalMetric<T> {}

impl<T: Scalar> Metric<T> for DiagonalMetric<T> {
    fn whiten(&self, _ctx: &Ctx<T>, mut x: MatMut<'_, T>) -> Result<()> {
        for x in x.cols_mut() {
            x.iter_mut().zip(&*self.entries).for_each(|(x, m)| *x /= m.sqrt());
        }
        Ok(())
    }

    fn whiten_transposed(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        self.whiten(ctx, x)
    }

    fn log_determinant(&self) -> T {
        T::of(self.entries.iter().map(|m| m.f64().ln()).sum())
    }
}

/// M⁻¹ = F⁻ᵀ F⁻¹ as a preconditioner.
///
/// ```
/// use pullback::{Ctx, LinearOperator, linop::{DiagonalMetric, MetricInverse}};
/// let inverse = MetricInverse(DiagonalMetric::new(vec![4.0])?);
/// assert_eq!(inverse.to_dense(&Ctx::<f64>::default())?[(0, 0)], 0.25);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MetricInverse<M>(pub M);

impl<T: Scalar, M: Metric<T>> LinearOperator<T> for MetricInverse<M> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.copy_from(x)?;
        self.0.whiten(ctx, y.rb_mut())?;
        self.0.whiten_transposed(ctx, y)
    }
}

impl<T: Scalar, M: Metric<T>> SelfAdjoint<T> for MetricInverse<M> {}
impl<T: Scalar, M: Metric<T>> Preconditioner<T> for MetricInverse<M> {}

/// A dense M and its Cholesky factor; clones share them.
///
/// ```
/// use pullback::{Ctx, Mat, linop::{DenseMetric, Metric}};
/// let ctx = Ctx::<f64>::default();
/// let m = DenseMetric::new(&ctx, Mat::from_diagonal(&[4.0]))?;
/// let mut x = Mat::identity(1);
/// m.whiten(&ctx, x.as_mut())?;
/// assert_eq!(x[(0, 0)], 0.5);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DenseMetric<T> {
    matrix: Arc<Mat<T>>,
    factor: Arc<Cholesky<T>>,
}

impl<T: Scalar> DenseMetric<T> {
    /// Takes M by its lower triangle.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`], [`Error::NotFinite`], [`Error::Shape`].
    pub fn new(ctx: &Ctx<T>, mut m: Mat<T>) -> Result<Self> {
        check::square("DenseMetric", m.as_ref())?;
        m.as_mut().mirror_lower();
        Ok(Self { factor: Arc::new(Cholesky::new(ctx, m.clone())?), matrix: Arc::new(m) })
    }

    /// L of M = L Lᵀ.
    pub fn factor(&self) -> &Cholesky<T> {
        &self.factor
    }

    /// M.
    pub fn matrix(&self) -> &Mat<T> {
        &self.matrix
    }
}

impl<T: Scalar> LinearOperator<T> for DenseMetric<T> {
    fn shape(&self) -> (usize, usize) {
        self.matrix.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(T::ONE, self.matrix().as_ref(), Op::No, x, Op::No, T::ZERO, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for DenseMetric<T> {}

impl<T: Scalar> Metric<T> for DenseMetric<T> {
    fn whiten(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        ctx.trsm(Side::Left, self.factor.l(), Op::No, x)
    }

    fn whiten_transposed(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        ctx.trsm(Side::Left, self.factor.l(), Op::Transpose, x)
    }

    fn log_determinant(&self) -> T {
        self.factor.log_determinant()
    }
}

/// M = diag(M_1, ..., M_L).
///
/// ```
/// use pullback::{LinearOperator, linop::{BlockMetric, DiagonalMetric}};
/// let block = DiagonalMetric::new(vec![1.0, 2.0])?;
/// assert_eq!(BlockMetric::<f64, _>::new(vec![block.clone(), block]).shape(), (4, 4));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockMetric<T, M> {
    blocks: Vec<M>,
    scalar: std::marker::PhantomData<fn() -> T>,
}

impl<T: Scalar, M: Metric<T>> BlockMetric<T, M> {
    /// Puts the metrics on the diagonal in order.
    pub fn new(blocks: Vec<M>) -> Self {
        Self { blocks, scalar: std::marker::PhantomData }
    }

    /// The metrics in order.
    pub fn blocks(&self) -> &[M] {
        &self.blocks
    }

    fn for_each(&self, mut x: MatMut<'_, T>, f: impl Fn(&M, MatMut<'_, T>) -> Result<()>) -> Result<()> {
        let (mut start, k) = (0, x.ncols());
        for block in &self.blocks {
            f(block, x.rb_mut().submatrix(start, 0, block.dim(), k)?)?;
            start += block.dim();
        }
        Ok(())
    }
}

impl<T: Scalar, M: Metric<T>> LinearOperator<T> for BlockMetric<T, M> {
    fn shape(&self) -> (usize, usize) {
        let n = self.blocks.iter().map(M::dim).sum();
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let mut start = 0;
        for block in &self.blocks {
            let (n, k) = (block.dim(), x.ncols());
            block.apply(ctx, x.submatrix(start, 0, n, k)?, y.rb_mut().submatrix(start, 0, n, k)?)?;
            start += n;
        }
        Ok(())
    }
}

impl<T: Scalar, M: Metric<T>> SelfAdjoint<T> for BlockMetric<T, M> {}

impl<T: Scalar, M: Metric<T>> Metric<T> for BlockMetric<T, M> {
    fn whiten(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        self.for_each(x, |block, x| block.whiten(ctx, x))
    }

    fn whiten_transposed(&self, ctx: &Ctx<T>, x: MatMut<'_, T>) -> Result<()> {
        self.for_each(x, |block, x| block.whiten_transposed(ctx, x))
    }

    fn log_determinant(&self) -> T {
        T::of(self.blocks.iter().map(|m| m.log_determinant().f64()).sum())
    }
}

/// F⁻¹ C F⁻ᵀ of a symmetric n x n matrix, symmetric entry for entry.
///
/// # Errors
/// [`Error::Shape`] unless C and M are of one order, and those of the metric.
pub fn whitened<T: Scalar>(ctx: &Ctx<T>, c: &Mat<T>, metric: &(impl Metric<T> + ?Sized)) -> Result<Mat<T>> {
    check_shape("whitened", metric.shape(), c.shape())?;
    let mut half = c.clone();
    metric.whiten(ctx, half.as_mut())?;
    let mut whole = half.transposed();
    metric.whiten(ctx, whole.as_mut())?;
    whole.as_mut().mirror_lower();
    Ok(whole)
}
