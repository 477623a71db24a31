//! Statistics: mutable accumulators of second moments, and the immutable snapshots they give.

mod cross;
mod ema;
mod kronecker;
pub mod layout;

pub use cross::CrossFactors;
pub use ema::{Decay, MovingAverage};
pub use kronecker::KroneckerFactors;
