//! Hessian-free optimization (Martens 2010), and the methods between it and K-FAC.

mod kronecker;
mod martens_diagonal;
mod options;
mod preconditioner;
mod search;
mod step;

pub use kronecker::{KroneckerInner, KroneckerInnerOptions};
pub use martens_diagonal::MartensDiagonal;
pub use options::HessianFreeOptions;
pub use preconditioner::{InnerPreconditioner, NoPreconditioner};
pub use step::HessianFree;
