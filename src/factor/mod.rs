//! Typed factorizations: a value of these types is a factorization that succeeded.

mod cholesky;
mod eigh;
mod lu;
mod thin_qr;

pub use cholesky::Cholesky;
pub use eigh::SymEigen;
pub use lu::Lu;
pub use thin_qr::ThinQr;
