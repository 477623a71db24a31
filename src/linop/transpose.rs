//! Operators that also know their transpose: [`TransposeOperator`], and the transpose as an operator, [`Transposed`].
//!
//! ```text
//! ⟨A x, y⟩ = ⟨x, Aᵀ y⟩          for every x and y, to rounding
//! ```
//! Laws        tests/lsmr.rs (adjointness of every giver), tests/sample_space.rs.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., section 1.1.

use super::LinearOperator;
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// A linear map A (M x N) whose transpose can be applied as well.
///
/// ```
/// use pullback::linop::{DenseOperator, TransposeOperator};
/// use pullback::{Ctx, Mat};
/// let a = DenseOperator::new(Mat::from_fn(1, 2, |_, j| (j + 1) as f64)); // [1 2]
/// let mut y = Mat::zeros(2, 1);
/// a.apply_transpose(&Ctx::default(), Mat::from_diagonal(&[3.0]).as_ref(), y.as_mut())?;
/// assert_eq!(y.as_slice(), [3.0, 6.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
pub trait TransposeOperator<T: Scalar>: LinearOperator<T> {
    /// Kernel: Y(N x K) ← Aᵀ X(M x K). The shapes are already valid; Y's old contents must not be read.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()>;

    /// Y ← Aᵀ X with shapes checked.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), and those of `apply_transpose_into`.
    fn apply_transpose(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (m, n) = self.shape();
        check_shape("apply_transpose: X", (m, x.ncols()), x.shape())?;
        check_shape("apply_transpose: Y", (n, x.ncols()), y.shape())?;
        self.apply_transpose_into(ctx, x, y)
    }
}

/// Aᵀ.
///
/// ```
/// use pullback::linop::{DenseOperator, Transposed};
/// use pullback::{Ctx, LinearOperator, Mat};
/// let a = DenseOperator::new(Mat::from_fn(1, 2, |_, j| j as f64));
/// assert_eq!(Transposed::new(&a).to_dense(&Ctx::default())?.shape(), (2, 1));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Transposed<T, A> {
    inner: A,
    scalar: std::marker::PhantomData<fn(T)>,
}

impl<T: Scalar, A: TransposeOperator<T>> Transposed<T, A> {
    /// Aᵀ; pass `&A` to borrow.
    pub fn new(inner: A) -> Self {
        Self { inner, scalar: std::marker::PhantomData }
    }
}

impl<T: Scalar, A: TransposeOperator<T>> LinearOperator<T> for Transposed<T, A> {
    fn shape(&self) -> (usize, usize) {
        let (m, n) = self.inner.shape();
        (n, m)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_transpose_into(ctx, x, y)
    }
}

impl<T: Scalar, A: TransposeOperator<T>> TransposeOperator<T> for Transposed<T, A> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_into(ctx, x, y)
    }
}
