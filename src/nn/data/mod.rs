//! Data sets: bundled digits and diabetes study, a CURVES-like generator, IDX and CSV readers, splits and minibatches.
//!
//! ```text
//! inputs  X  d_in x N    one case per column
//! targets Y  d_out x N   the inputs themselves, one-hot classes, or values; see Targets
//! ```
//! Nothing here touches the network, and no reader panics on any bytes: what cannot be read is
//! [`Error::Data`](crate::Error::Data) with the file and, where there is one, the row.
//!
//! Laws        tests/data_readers.rs, tests/data_sets.rs.

pub mod csv;
pub mod curves;
mod dataset;
pub mod diabetes;
pub mod digits;
pub mod idx;
mod minibatches;
mod source;
mod standardize;

pub use dataset::{Dataset, Targets};
pub use minibatches::{Minibatches, Partial};
pub use standardize::{Scaling, Standardization};
