//! Preconditioners for C + λI built from whatever is known of C. Each is a fixed symmetric positive definite map that
//! approximates (C + λI)⁻¹, for [`pcg`](crate::krylov::pcg) and
//! [`MatrixFree::with_preconditioner`](super::MatrixFree::with_preconditioner).
//!
//! | preconditioner | needs | helps where | a new λ |
//! |---|---|---|---|
//! | [`Jacobi`] | the diagonal, or products that estimate it | rows differ in scale | n |
//! | [`IncompleteCholesky`] | the entries on a sparsity pattern | couplings are local | factors again |
//! | [`Nystrom`] | products | few eigenvalues lie above λ | free |
//! | [`PivotedCholesky`] | the diagonal, and a product a column | few eigenvalues lie above λ, one by one | free |
//!
//! None of them solves (C + λI) X = B, so none is a [`DampedSolver`](super::DampedSolver).

mod deflation;
mod incomplete_cholesky;
mod jacobi;
mod nystrom;
mod pivoted_cholesky;
mod sparse;

pub use incomplete_cholesky::IncompleteCholesky;
pub use jacobi::Jacobi;
pub use nystrom::Nystrom;
pub use pivoted_cholesky::PivotedCholesky;
pub use sparse::SparseLower;
