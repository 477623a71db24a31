//! Curvature: a symmetric matrix at fixed parameters (Hessian, Gauss-Newton, Fisher, or an approximation).
//!
//! Statistics accumulate; a snapshot is an immutable [`Curvature`]; damping it yields a [`DampedSolver`] for
//! (C + λI) X = B; only a solver that is a fixed positive definite linear map, a [`DampedInverse`], may precondition.
//! Each arrow is a type: an inverse that disagrees with its λ, an undamped solve, or a truncated CG posing as a
//! preconditioner cannot be written.
//!
//! | structure | C + λI | solver | fidelity | may precondition |
//! |---|---|---|---|---|
//! | [`Dense`] | closed | Cholesky | exact | yes |
//! | [`Diagonal`] | closed | elementwise | exact | yes |
//! | [`ScaledIdentity`] σI | closed | elementwise | exact | yes |
//! | [`Kronecker`] A ⊗ S | not closed | eigenbases, or two Choleskys with π | exact, or factored | yes |
//! | [`KroneckerN`] A_1 ⊗ ... ⊗ A_k | not closed | eigenbases, or k Choleskys with λ split | exact, or factored | yes |
//! | [`EigenKronecker`] (U_A ⊗ U_S) diag(S*) (U_A ⊗ U_S)ᵀ | closed in its basis | two rotations | exact | yes |
//! | [`BlockTridiagonal`] chain of A ⊗ S | not closed | a recursion over the layers with π | factored | yes |
//! | [`LowRank`] D + U Uᵀ | closed | Woodbury, k x k Cholesky | exact | yes |
//! | [`DirectSampleSpace`] JᵀJ | closed | P x P or N x N Cholesky | exact | yes |
//! | [`BlockDiagonal`] of any | closed | block by block | worst of its blocks | if every block may |
//! | [`Scaled`](crate::linop::Scaled) s C, [`Shifted`](crate::linop::Shifted) C + μI, [`Permuted`] P C Pᵀ | as C | that of C | as C | if C's may |
//! | [`InMetric`] C, damped by λM | as F⁻¹ C F⁻ᵀ, M = F Fᵀ | that of F⁻¹ C F⁻ᵀ | as F⁻¹ C F⁻ᵀ | if its may |
//! | [`Restricted`] to some parameters | closed | Cholesky of the submatrix | exact | yes |
//! | [`SampleSpace`] JᵀJ | closed | the cheapest of Cholesky, CG, LSMR | exact, or iterative | its direct solvers |
//! | [`MatrixFree`], [`MatrixFreeInMetric`] | shifted operator | preconditioned CG | iterative | no: not linear in B |
//! | [`SumCurvature`] A + B | closed | CG, preconditioned by A | iterative | no: not linear in B |
//!
//! What a kind can tell beyond products and solves is a trait: [`HasTrace`] and its neighbours, [`HasDampingSweep`].

mod any;
mod any_capable;
mod batch_product;
mod block_diagonal;
mod block_tridiagonal;
mod block_tridiagonal_inverse;
mod capability;
mod certificate;
mod dense;
mod diagonal;
mod eigen_kronecker;
mod factor_inverse;
mod gap;
mod identity;
mod jacobian;
mod kronecker;
mod kronecker_cholesky;
mod kronecker_inverse;
mod kronecker_n;
mod kronecker_n_inverse;
mod kronecker_range;
mod low_rank;
mod low_rank_inverse;
mod matrix_free;
mod metric;
mod metric_free;
mod permuted;
mod pi;
pub mod precondition;
mod roots;
mod scaled;
mod shifted;
mod sum;
mod sweep;

pub use any::AnyCurvature;
pub use any_capable::{AnyCapable, AnyCapableInverse};
pub use batch_product::batch_factors_are_cheaper;
pub(crate) use batch_product::form_product;
pub use block_diagonal::{BlockDiagonal, BlockDiagonalInverse};
pub use block_tridiagonal::BlockTridiagonal;
pub use block_tridiagonal_inverse::{BlockTridiagonalInverse, BlockTridiagonalRoot, FactorPair};
pub use capability::{
    HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, sample_normal,
};
pub use certificate::{Certificate, STEPS as CERTIFICATE_STEPS, certified_solve, certify, condition_estimate};
pub use dense::{Dense, DenseInverse};
pub use diagonal::{Diagonal, DiagonalInverse};
pub use eigen_kronecker::{EigenKronecker, EigenKroneckerInverse};
pub use factor_inverse::FactorInverse;
pub use gap::{DampingGap, StepComparison, compare_damped_steps, factored_damping_gap};
pub use identity::{ScaledIdentity, ScaledIdentityInverse};
pub use jacobian::{
    DenseJacobian, DirectPath, DirectSampleSpace, JacobianCosts, JacobianSource, JvpVjp, PathCosts, PathPlan,
    RowChunks, SampleSpace, SampleSpaceInverse, SampleSpaceInverseRoot, SampleSpaceOptions, SampleSpacePath,
    SampleSpaceSolver, SampleSpaceSpectrum, kernel_crossover,
};
pub use kronecker::{Kronecker, KroneckerDamping};
pub use kronecker_cholesky::KroneckerCholesky;
pub use kronecker_inverse::KroneckerInverse;
pub use kronecker_n::{KroneckerN, KroneckerNRoot};
pub use kronecker_n_inverse::KroneckerNInverse;
pub use low_rank::{LowRank, LowRankRoot};
pub use low_rank_inverse::{LowRankInverse, LowRankInverseRoot, woodbury_crossover};
pub use matrix_free::{MatrixFree, MatrixFreeSolver};
pub use metric::{Congruence, InMetric, InMetricInverse, InMetricRoot};
pub use metric_free::MatrixFreeInMetric;
pub use permuted::{Permuted, PermutedSolver, Restricted, SelectedRows};
pub use pi::PiRule;
pub use roots::{DenseInverseRoot, KroneckerInverseRoot};
pub use scaled::ScaledSolver;
pub use sum::{SumCurvature, SumPreconditioner};
pub use sweep::{BlockSweep, DampingSweep, DenseSweep, FreeSweep, HasDampingSweep, KroneckerSweep, MatrixFreeSweep};

pub use crate::factor::{OnFailure, Recovery};

use crate::backend::Ctx;
use crate::error::{Error, Result, check_len, check_shape};
use crate::krylov::CgStop;
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// λ in C + λI: finite and positive.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", into = "f64", try_from = "f64")
)]
pub struct Damping<T>(T);

impl<T: Scalar> From<Damping<T>> for f64 {
    fn from(lambda: Damping<T>) -> f64 {
        lambda.0.f64()
    }
}

impl<T: Scalar> Damping<T> {
    /// `None` unless λ is finite and positive.
    pub fn new(lambda: T) -> Option<Self> {
        (lambda.is_finite() && lambda > T::ZERO).then_some(Self(lambda))
    }

    /// λ.
    pub fn get(self) -> T {
        self.0
    }
}

impl<T: Scalar> TryFrom<f64> for Damping<T> {
    type Error = Error;
    fn try_from(lambda: f64) -> Result<Self> {
        Damping::new(T::of(lambda))
            .ok_or_else(|| Error::invalid("damping", format!("{lambda} must be finite and positive")))
    }
}

/// What is known about the sign of vᵀCv.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definiteness {
    /// vᵀCv >= 0 for every v.
    PositiveSemidefinite,
    /// Any sign.
    Indefinite,
}

/// Which system a solver solves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fidelity {
    /// C + λI, to rounding.
    Exact,
    /// A nearby matrix with Kronecker structure (Eq 24), to rounding.
    Factored,
    /// C + λI, to a tolerance.
    Iterative,
}

/// The algorithm behind a solver.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SolvePath {
    /// Not stated by the implementor.
    #[default]
    Unstated,
    /// Division by a diagonal.
    Elementwise,
    /// A Cholesky factorization of the whole damped matrix.
    Cholesky,
    /// An eigendecomposition, λ added to the eigenvalues.
    Eigen,
    /// Cholesky factorizations of the damped factors of a Kronecker product.
    FactoredCholesky,
    /// A small system of the order of the rank, by the Woodbury identity.
    Woodbury,
    /// The parameter-space system JᵀJ + λI (P x P).
    Primal,
    /// The sample-space system J Jᵀ + λI (N x N).
    Kernel,
    /// The block-tridiagonal recursion.
    Tridiagonal,
    /// Block by block, each on its own path.
    Blocks,
    /// Conjugate gradient on the damped matrix.
    ConjugateGradient,
    /// LSMR on the damped least-squares problem.
    Lsmr,
}

/// How a solve went.
#[derive(Debug, Clone, PartialEq)]
pub enum SolveReport {
    /// By a factorization.
    Direct,
    /// By an iteration: iterations over all columns, the largest relative true residual, the worst stop reason.
    Iterative {
        /// Largest number of iterations over the right-hand sides.
        iterations: usize,
        /// Largest relative true residual over the right-hand sides.
        relative_residual: f64,
        /// Why the worst column stopped.
        stop: CgStop,
    },
}

/// A symmetric n x n curvature matrix at fixed parameters. Immutable.
pub trait Curvature<T: Scalar>: SelfAdjoint<T> {
    /// The solver that damping yields.
    type Solver: DampedSolver<T>;

    /// What is known about definiteness.
    fn definiteness(&self) -> Definiteness;

    /// Factors C + λI once, to solve many times. Pure: the curvature is unchanged.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`], [`Error::NotFinite`], [`Error::NoConvergence`].
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver>;

    /// Y ← Y + λ M X: the damping term of the system C + λM that `damped` solves. M = I unless the curvature carries a
    /// metric of its own ([`InMetric`]).
    ///
    /// # Errors
    /// [`Error::Shape`], and those of the metric.
    fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let _ = ctx;
        check_shape("add_damping: Y", x.shape(), y.shape())?;
        for (y, x) in y.cols_mut().zip(x.cols()) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y += lambda.get() * x);
        }
        Ok(())
    }

    /// out_k ← v_kᵀ C v_k for each column of V.
    ///
    /// # Errors
    /// [`Error::Shape`], and those of the operator.
    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
        check_len("quadratic_form", v.ncols(), out.len())?;
        let mut cv = ctx.scratch(v.nrows(), v.ncols());
        self.apply(ctx, v, cv.as_mut())?;
        for (k, out) in out.iter_mut().enumerate() {
            *out = v.col(k).iter().zip(cv.as_ref().col(k)).map(|(&v, &cv)| v * cv).sum();
        }
        Ok(())
    }
}

/// A procedure for (C + λI) X = B; possibly not linear in B (truncated CG).
pub trait DampedSolver<T: Scalar>: Send + Sync {
    /// Order n of the matrix.
    fn dim(&self) -> usize;

    /// λ.
    fn damping(&self) -> Damping<T>;

    /// Which system is solved, and how well.
    fn fidelity(&self) -> Fidelity;

    /// The algorithm; state it, so that a certificate can name it.
    fn path(&self) -> SolvePath {
        SolvePath::Unstated
    }

    /// What the factorization needed beyond a first attempt.
    fn recovery(&self) -> Recovery {
        Recovery::None
    }

    /// Kernel of [`DampedSolver::solve`]; shapes are already valid, X's old contents must not be read.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport>;

    /// X ← (C + λI)⁻¹ B for an n x K block, shapes checked.
    ///
    /// # Errors
    /// [`Error::Shape`], and those of the computation.
    fn solve(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        check_shape("solve: B", (self.dim(), b.ncols()), b.shape())?;
        check_shape("solve: X", b.shape(), x.shape())?;
        self.solve_into(ctx, b, x)
    }
}

/// A solver that is a fixed positive definite linear map: only these may precondition. Never written by hand.
pub trait DampedInverse<T: Scalar>: DampedSolver<T> + Preconditioner<T> {
    /// R ↦ (C + λI)⁻¹ R, the preconditioned gradient.
    ///
    /// # Errors
    /// As [`DampedSolver::solve`].
    fn precondition(&self, ctx: &Ctx<T>, r: MatRef<'_, T>, out: MatMut<'_, T>) -> Result<()> {
        self.solve(ctx, r, out).map(|_| ())
    }
}
impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T> + ?Sized> DampedInverse<T> for D {}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: Scalar, C: Curvature<T> + ?Sized> Curvature<T> for $pointer {
            type Solver = C::Solver;
            fn definiteness(&self) -> Definiteness {
                (**self).definiteness()
            }
            fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<C::Solver> {
                (**self).damped(ctx, lambda)
            }
            fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
                (**self).quadratic_form(ctx, v, out)
            }
            fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
                (**self).add_damping(ctx, lambda, x, y)
            }
        }
        impl<T: Scalar, C: DampedSolver<T> + ?Sized> DampedSolver<T> for $pointer {
            fn dim(&self) -> usize {
                (**self).dim()
            }
            fn damping(&self) -> Damping<T> {
                (**self).damping()
            }
            fn fidelity(&self) -> Fidelity {
                (**self).fidelity()
            }
            fn path(&self) -> SolvePath {
                (**self).path()
            }
            fn recovery(&self) -> Recovery {
                (**self).recovery()
            }
            fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
                (**self).solve_into(ctx, b, x)
            }
            fn solve(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
                (**self).solve(ctx, b, x)
            }
        }
    )+};
}
forward!(&C, Box<C>, std::sync::Arc<C>);

/// The guide's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/damping.md")]
struct DampingGuide;
