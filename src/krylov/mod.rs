//! Krylov methods, one a file, and stochastic estimates. They see an operator only through its products.

mod block_cg;
mod block_qr;
mod block_report;
mod cg;
mod cg_options;
mod cg_report;
mod coefficients;
mod estimate;
mod gltr;
mod golub_kahan;
mod lanczos;
mod largest;
mod lsmr;
mod lsmr_options;
mod lsqr;
mod minres;
mod minres_options;
mod multi_shift;
mod orthogonality;
mod ritz;
mod secular;
mod steihaug;
mod stop;
mod trust_region;

pub use block_cg::block_cg;
pub use block_report::{BlockCgColumn, BlockCgReport};
pub use cg::{pcg, pcg_into};
pub use cg_options::{CgOptions, CgStart, KeepIterates, NegativeCurvature, StallRule};
pub use cg_report::{CgColumn, CgReport, KeptIterate};
pub use coefficients::LanczosCoefficients;
pub use estimate::{
    Budget, DiagonalEstimate, Estimate, diagonal_estimate, frobenius_norm_estimate, hutch_plus_plus, hutchinson,
    log_determinant_estimate, spectral_sum, xtrace,
};
pub use gltr::gltr;
pub use lanczos::{Lanczos, LanczosEnd, LanczosOptions, lanczos, lanczos_block};
pub use largest::{RitzValue, largest_ritz_value};
pub use lsmr::lsmr;
pub use lsmr_options::{LsmrOptions, LsmrReport, LsmrStop};
pub use lsqr::lsqr;
pub use minres::minres;
pub use minres_options::{MinresOptions, MinresReport, MinresStop};
pub use multi_shift::{MultiShiftReport, ShiftColumn, multi_shift_cg, multi_shift_cg_in_metric};
pub use orthogonality::Reorthogonalization;
pub use ritz::Ritz;
pub use steihaug::steihaug;
pub use stop::CgStop;
pub use trust_region::TrustRegionReport;
