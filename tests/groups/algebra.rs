//! Backends, factorizations, Kronecker algebra, errors, and the suites themselves. One program for many test files: what they share is compiled once.

#![allow(clippy::duplicate_mod)] // each file brings its own helpers

#[path = "../backends.rs"]
mod backends;
#[path = "../errors.rs"]
mod errors;
#[path = "../factorizations.rs"]
mod factorizations;
#[path = "../factorizations_lu.rs"]
mod factorizations_lu;
#[path = "../kronecker_identities.rs"]
mod kronecker_identities;
#[path = "../kronecker_sum.rs"]
mod kronecker_sum;
#[path = "../strategies.rs"]
mod strategies;
#[path = "../suites.rs"]
mod suites;
#[path = "../tracked_eigen.rs"]
mod tracked_eigen;
