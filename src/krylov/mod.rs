//! Krylov methods, one a file. They see an operator only through its products.

mod cg;
mod cg_options;
mod cg_report;
mod lsmr;
mod lsmr_options;
mod norm;
mod stop;

pub use cg::{pcg, pcg_into};
pub use cg_options::{CgOptions, CgStart, StallRule};
pub use cg_report::{CgColumn, CgReport};
pub use lsmr::lsmr;
pub use lsmr_options::{LsmrOptions, LsmrReport, LsmrStop};
pub(crate) use norm::norm;
pub use stop::CgStop;
