//! Krylov methods, one a file. They see an operator only through its products.

mod cg;
mod cg_options;
mod cg_report;
mod multi_shift;
mod ritz;
mod stop;

pub use cg::{pcg, pcg_into};
pub use cg_options::{CgOptions, CgStart, StallRule};
pub use cg_report::{CgColumn, CgReport};
pub use multi_shift::{MultiShiftReport, ShiftColumn, multi_shift_cg};
pub use ritz::{RitzValue, largest_ritz_value};
pub use stop::CgStop;
