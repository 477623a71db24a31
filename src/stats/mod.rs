//! Statistics: mutable accumulators of second moments, and the immutable snapshots they give.

mod cross;
mod diagonal;
mod eigen_kronecker;
mod ema;
mod kronecker;
pub mod layout;
mod split;

pub use cross::CrossFactors;
pub use diagonal::{DiagonalMoments, DiagonalRule};
pub use eigen_kronecker::EigenKroneckerMoments;
pub use ema::{Decay, MovingAverage};
pub use kronecker::KroneckerFactors;
pub use split::{InputSplit, SplitFactors};
