//! Curvature linear algebra: the matrices of second-order optimization (Hessian, Gauss-Newton, Fisher and their
//! structured approximations), the damped solves that use them, and the optimizers built on those solves.
//!
//! *Statistics accumulate; a snapshot is an immutable matrix-like value; damping it yields a solver; only solvers that
//! are fixed symmetric positive definite linear maps may precondition.* Each arrow is a type.
//!
//! # The map
//!
//! A module uses only modules above it in this table (a test reads the sources and checks).
//!
//! | module | what |
//! |---|---|
//! | [`error`], [`scalar`], [`random`], [`mat`] | one error type; `f32` and `f64`; seeded draws; column-major matrices and views |
//! | [`backend`] | dense kernels behind one trait: reference loops, faer, BLAS/LAPACK; [`Ctx`] = backend + scratch + threads |
//! | [`factor`] | Cholesky (with recoveries), symmetric eigendecomposition, LU, thin QR, as values |
//! | [`linop`] | operators on blocks of vectors, known by their products; their sums and compositions; metrics |
//! | [`krylov`] | preconditioned and multi-shift conjugate gradient, LSMR, Lanczos; stochastic estimates of traces, norms, log-determinants |
//! | [`kronecker`] | Kronecker products and sums of two as operators, never formed |
//! | [`curvature`] | dense, diagonal, block, Kronecker-factored, low-rank, sample-space, matrix-free: damp, solve, precondition, certify |
//! | [`stats`] | moving averages of second moments, and the snapshots they give |
//! | [`optim`] | SGD, Adam, K-FAC, SPRING; the K-FAC preconditioners alone |
//! | `nn` (feature `nn`) | multilayer perceptrons with products by J, G and H, captures, data readers |
//! | `testing` (feature `testing`) | conformance suites for your implementations, tolerances, galleries, strategies |
//!
//! # Symbols
//!
//! | symbol | meaning |
//! |---|---|
//! | θ, h(θ) | flat parameters; the loss with its L2 term η/2 ‖θ‖² |
//! | J, H_z, G | Jacobian of the outputs z; Hessian of the loss in z; Gauss-Newton matrix JᵀH_zJ |
//! | W, ā, s, g | a layer's weights d_out x (d_in+1), bias last; homogeneous activations; pre-activations; pseudo-gradients |
//! | A, S | second moments of ā and of g; the layer's block of G is about A ⊗ S |
//! | λ, γ, π | damping; √ of the preconditioner's damping; how √λ is split between A and S |
//! | ρ, M(δ) | reduction ratio; change of h that the quadratic model predicts |
//!
//! Vectors of matrices stack columns: vec(S X Aᵀ) = (A ⊗ S) vec X. A batch holds one case a column.
//!
//! # Quick start
//!
//! A curvature of your own data, damped and solved with:
//!
//! ```
//! use pullback::curvature::{Kronecker, KroneckerDamping};
//! use pullback::{Ctx, Curvature, DampedInverse, Damping, Mat};
//!
//! let ctx = Ctx::<f64>::default().with_threads(2); // faer; Ctx::reference(), Ctx::blas() are others
//! let inputs = Mat::from_fn(3, 100, |i, j| ((i + 1) * j % 7) as f64); // one case a column
//! let gradients = Mat::from_fn(2, 100, |i, j| ((i + 3) * j % 5) as f64 - 2.0);
//! let second_moment = |x: &Mat<f64>| {
//!     let mut m = Mat::zeros(x.nrows(), x.nrows());
//!     ctx.syrk(0.01, x.as_ref(), pullback::Op::Transpose, 0.0, m.as_mut()).map(|()| m)
//! };
//! let block = Kronecker::new(second_moment(&inputs)?, second_moment(&gradients)?, KroneckerDamping::Exact)?;
//! let inverse = block.damped(&ctx, Damping::try_from(0.1)?)?; // factored once
//! let (gradient, mut direction) = (Mat::from_fn(6, 1, |i, _| i as f64), Mat::zeros(6, 1));
//! inverse.precondition(&ctx, gradient.as_ref(), direction.as_mut())?;
//! let softer = inverse.redamp(Damping::try_from(10.0)?)?; // another λ: no new factorization
//! # let _ = softer;
//! # Ok::<(), pullback::Error>(())
//! ```
//!
//! The README trains a network; `docs/` explains damping, storage and the decisions behind the design.

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
pub mod random;
pub mod scalar;
pub mod stats;
#[cfg(feature = "testing")]
pub mod testing;

pub use backend::{Backend, Ctx};
pub use curvature::{Curvature, DampedInverse, DampedSolver, Damping};
pub use error::{Error, Result};
pub use linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
pub use mat::{Mat, MatMut, MatRef, Op, Side};
pub use scalar::Scalar;

/// The examples of the README and the guides, compiled and run.
#[cfg(all(doctest, feature = "nn"))]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/damping.md")]
    struct Damping;
    #[doc = include_str!("../docs/storage.md")]
    struct Storage;
    #[doc = include_str!("../docs/notation.md")]
    struct Notation;
    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/plug_in.md")]
    struct PlugIn;
}
