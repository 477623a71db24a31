//! Iterations that see products only. One program for many test files: what they share is compiled once.

#![allow(clippy::duplicate_mod)] // each file brings its own helpers

#[path = "../block_cg.rs"]
mod block_cg;
#[path = "../estimators.rs"]
mod estimators;
#[path = "../lanczos.rs"]
mod lanczos;
#[path = "../lanczos_orthogonality.rs"]
mod lanczos_orthogonality;
#[path = "../lsqr.rs"]
mod lsqr;
#[path = "../minres.rs"]
mod minres;
#[path = "../multi_shift_metric.rs"]
mod multi_shift_metric;
#[path = "../pcg.rs"]
mod pcg;
#[path = "../pcg_gains.rs"]
mod pcg_gains;
#[path = "../pcg_stops.rs"]
mod pcg_stops;
#[path = "../trust_region.rs"]
mod trust_region;
