//! Curvature linear algebra: the matrices of second-order optimization (Hessian, Gauss-Newton, Fisher and their
//! structured approximations), the damped solves that use them, and the optimizers built on those solves.

#![forbid(unsafe_op_in_unsafe_fn)]
#![deny(missing_docs, unsafe_code)]

pub mod backend;
pub mod curvature;
pub mod error;
pub mod factor;
pub mod kronecker;
pub mod krylov;
pub mod linop;
pub mod mat;
#[cfg(feature = "nn")]
pub mod nn;
pub mod optim;
pub mod scalar;
pub mod stats;
pub mod testing;

pub use backend::{Backend, Ctx};
pub use curvature::{Curvature, DampedInverse, DampedSolver, Damping};
pub use error::{Error, Result};
pub use linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
pub use mat::{Mat, MatMut, MatRef, Op, Side};
pub use scalar::Scalar;

/// The example of the README, compiled and run.
#[cfg(all(doctest, feature = "nn"))]
#[doc = include_str!("../README.md")]
struct Readme;
