//! Typed factorizations: a value of these types is a factorization that succeeded.

mod cholesky;
mod eigh;
mod lu;
mod robust;
mod thin_qr;
mod tracked_eigen;
mod wide;

pub use cholesky::Cholesky;
pub(crate) use cholesky::log_determinant;
pub use eigh::SymEigen;
pub use lu::Lu;
pub use robust::{OnFailure, PositiveFactor, Recovery};
pub use thin_qr::ThinQr;
pub use tracked_eigen::Tracking;
pub(crate) use tracked_eigen::check_tolerance;
