//! Every kind of curvature, its damping, its solvers, and what it can tell. One program for many test files: what they share is compiled once.

#![allow(clippy::duplicate_mod)] // each file brings its own helpers

#[path = "../block_tridiagonal.rs"]
mod block_tridiagonal;
#[path = "../built_preconditioners.rs"]
mod built_preconditioners;
#[path = "../capabilities.rs"]
mod capabilities;
#[path = "../certificates.rs"]
mod certificates;
#[path = "../composed.rs"]
mod composed;
#[path = "../curvature_kronecker.rs"]
mod curvature_kronecker;
#[path = "../curvatures.rs"]
mod curvatures;
#[path = "../damping_metric.rs"]
mod damping_metric;
#[path = "../damping_sweep.rs"]
mod damping_sweep;
#[path = "../descent.rs"]
mod descent;
#[path = "../eigen_kronecker.rs"]
mod eigen_kronecker;
#[path = "../kinds.rs"]
mod kinds;
#[path = "../kronecker3.rs"]
mod kronecker3;
#[path = "../kronecker_cholesky.rs"]
mod kronecker_cholesky;
#[path = "../kronecker_range.rs"]
mod kronecker_range;
#[path = "../low_rank.rs"]
mod low_rank;
#[path = "../matrix_free.rs"]
mod matrix_free;
#[path = "../recovery.rs"]
mod recovery;
#[path = "../sample_space.rs"]
mod sample_space;
#[path = "../sample_space_choice.rs"]
mod sample_space_choice;
