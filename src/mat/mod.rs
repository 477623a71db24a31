//! Column-major matrices: owned [`Mat`], borrowed [`MatRef`] and [`MatMut`] with a leading dimension.
//!
//! ```text
//! element (i, j) of an m x n view lives at data[i + j*ld],  ld >= max(1, m)
//! ```
//! Views are safe: they wrap a slice, never a pointer. A transposed matrix is not a view of its own: operations
//! read their arguments through an [`Op`]. Rows m..ld of a column are padding, which no operation reads or writes.

mod owned;
mod view;

pub use owned::Mat;
pub use view::{MatMut, MatRef};

/// How an operation reads a matrix argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// op(A) = A.
    No,
    /// op(A) = Aᵀ.
    Transpose,
}

impl Op {
    /// Shape of op(A) for an A of the given shape.
    pub fn shape(self, (nrows, ncols): (usize, usize)) -> (usize, usize) {
        match self {
            Op::No => (nrows, ncols),
            Op::Transpose => (ncols, nrows),
        }
    }

    /// The other reading.
    pub fn flipped(self) -> Self {
        match self {
            Op::No => Op::Transpose,
            Op::Transpose => Op::No,
        }
    }
}

/// The side from which a triangular factor is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// op(L) X = B.
    Left,
    /// X op(L) = B.
    Right,
}
