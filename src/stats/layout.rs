//! The one place that knows the other memory order.
//!
//! This crate stacks columns: vec(S X Aᵀ) = (A ⊗ S) vec X, with A on the input side. A user whose weights are stored by
//! rows stacks rows, rvec(S X Aᵀ) = (S ⊗ A) rvec X: the factors change places. The row-major d_out x d_in weight matrix is
//! the column-major d_in x d_out matrix Wᵀ, so the same kernels serve with the two factors swapped.

/// How a weight matrix is laid out in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Column by column: this crate's order.
    #[default]
    ColumnMajor,
    /// Row by row: the order of NumPy, PyTorch, ndarray and candle.
    RowMajor,
}

impl Order {
    /// (left, right) factors of the block's Kronecker product for an input-side and an output-side factor.
    ///
    /// ```
    /// use pullback::stats::layout::Order;
    /// assert_eq!(Order::ColumnMajor.factors("A", "S"), ("A", "S"));
    /// assert_eq!(Order::RowMajor.factors("A", "S"), ("S", "A"));
    /// ```
    pub fn factors<M>(self, input: M, output: M) -> (M, M) {
        match self {
            Order::ColumnMajor => (input, output),
            Order::RowMajor => (output, input),
        }
    }
}
