//! What our own tests stand on, public so that yours can too (feature `testing`): conformance suites that hold any
//! implementor to the laws of its trait, one tolerance rule, galleries of matrices, LAPACK's test matrices and ratios.
//!
//! | suite | holds to its laws |
//! |---|---|
//! | [`backend`] | a [`Backend`](crate::Backend) |
//! | [`operator`] | a [`LinearOperator`](crate::LinearOperator), a [`SelfAdjoint`](crate::SelfAdjoint) one |
//! | [`curvature`] | a [`Curvature`](crate::Curvature) and the solver that damping yields |
//! | [`capability`] | what a curvature or a solver can tell: diagonal, trace, norm, log-determinant, roots |
//! | [`preconditioner`] | a [`Preconditioner`](crate::Preconditioner) |
//! | [`krylov`] | a solver of A x = b that sees products only |
//! | [`average`] | a moving average of statistics |
//! | [`optimizer`] | an [`Optimizer`](crate::optim::Optimizer) |
//!
//! A suite is a plain function over a factory that returns a [`Report`]: each [`Law`] with the worst number that was
//! measured, its limit, the place and the seed. [`conformance!`](crate::conformance) turns suites into named tests. No
//! suite panics when the implementor fails; [`Report::assert_passed`] does.

pub mod average;
pub mod backend;
pub mod capability;
mod claim;
mod contexts;
pub mod curvature;
pub mod dense;
pub mod gallery;
pub mod krylov;
pub mod lapack;
mod least_squares;
mod least_squares_policy;
pub mod operator;
pub mod optimizer;
mod padded;
pub mod preconditioner;
pub mod problems;
pub mod ratios;
mod report;
mod setup;
pub mod strategies;
mod tolerance;

pub use claim::Claim;
pub use contexts::contexts;
pub use least_squares::{Fault, LeastSquares, Regression, RegressionJacobian};
pub use padded::Padded;
pub use report::{Law, Measure, Recorder, Report};
pub use setup::{SEED_VARIABLE, Setup};
pub use tolerance::{relative_error, tolerance};

/// Every (suite, law) that a suite of this module can measure.
pub fn all_laws() -> Vec<(&'static str, &'static str)> {
    const SUITES: [(&str, &[&[&str]]); 8] = [
        ("backend", &[&backend::LAWS]),
        ("operator", &[&operator::LAWS, &operator::SELF_ADJOINT_LAWS]),
        ("curvature", &[&curvature::LAWS, &curvature::DIRECT_LAWS]),
        ("capability", &[&capability::LAWS]),
        ("preconditioner", &[&preconditioner::LAWS]),
        ("krylov", &[&krylov::LAWS]),
        ("average", &[&average::LAWS]),
        ("optimizer", &[&optimizer::LAWS]),
    ];
    let laws = |(suite, lists): (&'static str, &'static [&'static [&'static str]])| {
        lists.iter().flat_map(move |list| list.iter().map(move |&law| (suite, law)))
    };
    SUITES.into_iter().flat_map(laws).collect()
}

/// The guide's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/reliability.md")]
struct ReliabilityGuide;
