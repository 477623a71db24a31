//! Problems with known answers that were not made by us, to run an optimizer on: small, in `f64`, and hard.
//!
//! | module | problems | answers |
//! |---|---|---|
//! | [`nist`] | 27 regressions of the NIST StRD, two starts each | certified to 11 digits |
//! | [`MoreGarbowHillstrom`] | all 35 of the unconstrained collection, each from its standard start | published minima |
//!
//! Each is a [`Formula`] for residuals r(x), written once; [`SumOfSquares`] makes of it an objective with exact
//! derivatives to second order, and [`minimize`] runs an optimizer on that.

mod jet;
mod more_garbow_hillstrom;
pub mod nist;
mod run;
mod sum_of_squares;

pub use jet::{Jet, Number};
pub use more_garbow_hillstrom::MoreGarbowHillstrom;
pub use run::{Limits, Outcome, Stop, minimize};
pub use sum_of_squares::{Formula, SumOfSquares};
