//! What our own tests stand on, public so that yours can too: one tolerance rule, a gallery of matrices, a counting
//! allocator.

mod contexts;
mod tolerance;

pub use contexts::contexts;
pub use tolerance::{relative_error, tolerance};
