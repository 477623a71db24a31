//! [`Blocks`]: rectangular operators on a diagonal.

use std::marker::PhantomData;

use super::LinearOperator;
use crate::backend::Ctx;
use crate::error::Result;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// diag(A_1, ..., A_L) of operators of any shapes, such as the roots of the blocks of a block-diagonal matrix.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, linop::{Blocks, DenseOperator}};
/// let row = DenseOperator::new(Mat::from_vec(vec![1.0, 2.0], 1, 2)?);
/// let blocks = Blocks::new(vec![row.clone(), row]);
/// assert_eq!(blocks.shape(), (2, 4));
/// assert_eq!(blocks.to_dense(&Ctx::default())?.as_slice(), [1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Blocks<T, A> {
    blocks: Vec<A>,
    scalar: PhantomData<fn() -> T>,
}

impl<T: Scalar, A: LinearOperator<T>> Blocks<T, A> {
    /// Puts the blocks on the diagonal in order.
    pub fn new(blocks: Vec<A>) -> Self {
        Self { blocks, scalar: PhantomData }
    }
}

impl<T: Scalar, A: LinearOperator<T>> LinearOperator<T> for Blocks<T, A> {
    fn shape(&self) -> (usize, usize) {
        self.blocks.iter().map(A::shape).fold((0, 0), |(m, n), (rows, columns)| (m + rows, n + columns))
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let (mut row, mut column) = (0, 0);
        for block in &self.blocks {
            let (m, n) = block.shape();
            let x = x.submatrix(column, 0, n, x.ncols())?;
            let columns = x.ncols();
            block.apply(ctx, x, y.rb_mut().submatrix(row, 0, m, columns)?)?;
            (row, column) = (row + m, column + n);
        }
        Ok(())
    }
}
