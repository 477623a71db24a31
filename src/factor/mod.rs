//! Typed factorizations: a value of these types is a factorization that succeeded.

mod cholesky;
mod eigh;
mod lu;

pub use cholesky::Cholesky;
pub use eigh::SymEigen;
pub use lu::Lu;
