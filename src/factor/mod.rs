//! Typed factorizations: a value of these types is a factorization that succeeded.

mod cholesky;
mod eigh;

pub use cholesky::Cholesky;
pub use eigh::SymEigen;
