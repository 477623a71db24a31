//! The Kronecker product as an operator (chapter section 5.1).

mod apply;
mod eigen;

pub use apply::{Factor, kronecker_apply, two_sided_product};
pub use eigen::KroneckerEigen;
