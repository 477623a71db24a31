//! What our own tests stand on, public so that yours can too: one tolerance rule, a gallery of matrices, LAPACK's test
//! matrices and ratios, one context for each backend.

mod contexts;
pub mod gallery;
pub mod lapack;
pub mod ratios;
mod tolerance;

pub use contexts::contexts;
pub use tolerance::{relative_error, tolerance};

/// The guide's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/reliability.md")]
struct ReliabilityGuide;
