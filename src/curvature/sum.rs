//! [`SumCurvature`]: C = A + B of two curvatures of any structure, such as Kronecker + diagonal.
//!
//! Problem     (A + B + λI) X = B', where the sum has no structure that could be factored.
//! ```text
//! conjugate gradient on A + B + λI, preconditioned by (A + (λ + μ) I)⁻¹, the damped inverse of the first summand
//! ```
//! Put the summand first that is both easy to invert and the larger one: with B ⪯ c (A + λI) the preconditioned condition
//! is at most 1 + c, whatever the conditions of A and B. μ can stand for what B adds on average.
//!
//! Cost        damping: that of A; a solve: a product with A, one with B and a solve with A an iteration.
//! Deviations  the solver is iterative, so it is no [`Preconditioner`].
//! Laws        tests/composed.rs.
//! Reference   Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., 2003, section 9.2.

use std::fmt::Debug;
use std::sync::Arc;

use super::scaled::derived;
use super::{Curvature, DampedInverse, Damping, Definiteness, HasSquareRoot, HasTrace, MatrixFree, MatrixFreeSolver};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_shape};
use crate::krylov::CgOptions;
use crate::linop::{Beside, HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint, Sum};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// What preconditions the solves with a [`SumCurvature`].
#[derive(Clone)]
pub enum SumPreconditioner<T> {
    /// (A + (λ + shift) I)⁻¹, made anew for each λ; shift >= 0.
    FirstSummand {
        /// μ: added to λ.
        shift: T,
    },
    /// A fixed approximation of (A + B + λI)⁻¹ of the caller's.
    Given(Arc<dyn Preconditioner<T>>),
    /// None.
    Plain,
}

impl<T: Debug> Debug for SumPreconditioner<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SumPreconditioner::FirstSummand { shift } => f.debug_struct("FirstSummand").field("shift", shift).finish(),
            SumPreconditioner::Given(_) => f.debug_struct("Given").finish_non_exhaustive(),
            SumPreconditioner::Plain => f.write_str("Plain"),
        }
    }
}

/// C = A + B, solved by conjugate gradient with the damped inverse of A.
///
/// ```
/// use pullback::curvature::{Diagonal, Kronecker, KroneckerDamping, SumCurvature};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let block = Kronecker::new(Mat::from_diagonal(&[1.0, 2.0]), Mat::identity(1), KroneckerDamping::Exact)?;
/// let c = SumCurvature::new(block, Diagonal::new(vec![1.0, 5.0])?)?; // diag(2, 7)
/// let solver = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let (b, mut x) = (Mat::from_vec(vec![3.0, 16.0], 2, 1)?, Mat::zeros(2, 1));
/// solver.solve(&ctx, b.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-7 && (x[(1, 0)] - 2.0).abs() < 1e-7);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SumCurvature<T, A, B> {
    sum: Arc<Sum<A, B>>,
    options: CgOptions<T>,
    preconditioner: SumPreconditioner<T>,
}

impl<T: Scalar, A: SelfAdjoint<T>, B: SelfAdjoint<T>> SumCurvature<T, A, B> {
    /// A + B with default [`CgOptions`], preconditioned by the first summand.
    ///
    /// # Errors
    /// [`Error::Shape`] when the orders differ.
    pub fn new(first: A, second: B) -> Result<Self> {
        Ok(Self {
            sum: Arc::new(Sum::new::<T>(first, second)?),
            options: CgOptions::default(),
            preconditioner: SumPreconditioner::FirstSummand { shift: T::ZERO },
        })
    }

    /// With other settings for the solves.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] as [`CgOptions::check`].
    pub fn with_options(self, options: CgOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options, ..self })
    }

    /// With another preconditioner.
    ///
    /// # Errors
    /// [`Error::Shape`] when its order is not that of C, [`Error::InvalidParameter`] for a shift that is negative or not
    /// finite.
    pub fn with_preconditioner(self, preconditioner: SumPreconditioner<T>) -> Result<Self> {
        match &preconditioner {
            SumPreconditioner::FirstSummand { shift } if !(*shift >= T::ZERO && shift.is_finite()) => {
                return Err(Error::invalid("shift", format!("{shift:e} must be finite and not negative")));
            }
            SumPreconditioner::Given(given) => {
                check_shape("SumCurvature: preconditioner", LinearOperator::<T>::shape(&*self.sum), given.shape())?;
            }
            _ => {}
        }
        Ok(Self { preconditioner, ..self })
    }

    /// Preconditioned by the first summand with the shift μ = tr B / n, what the second adds on average.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the trace is negative; those of the trace.
    pub fn with_mean_shift(self, ctx: &Ctx<T>) -> Result<Self>
    where
        B: HasTrace<T>,
    {
        let n = T::of(self.dim().max(1) as f64);
        let shift = self.second().trace(ctx)? / n;
        self.with_preconditioner(SumPreconditioner::FirstSummand { shift })
    }

    /// A.
    pub fn first(&self) -> &A {
        self.sum.left()
    }

    /// B.
    pub fn second(&self) -> &B {
        self.sum.right()
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, B: SelfAdjoint<T>> LinearOperator<T> for SumCurvature<T, A, B> {
    fn shape(&self) -> (usize, usize) {
        self.first().shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.sum.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.sum.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, B: SelfAdjoint<T>> SelfAdjoint<T> for SumCurvature<T, A, B> {}

impl<T: Scalar, A: HasDiagonal<T>, B: HasDiagonal<T>> HasDiagonal<T> for SumCurvature<T, A, B> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.sum.diagonal(ctx, out)
    }
}

impl<T: Scalar, A: HasTrace<T>, B: HasTrace<T>> HasTrace<T> for SumCurvature<T, A, B> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        Ok(self.first().trace(ctx)? + self.second().trace(ctx)?)
    }
}

/// [R_A R_B].
impl<T: Scalar, A: HasSquareRoot<T>, B: HasSquareRoot<T>> HasSquareRoot<T> for SumCurvature<T, A, B> {
    type Root<'a>
        = Beside<A::Root<'a>, B::Root<'a>>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Beside::new::<T>(self.first().square_root(ctx)?, self.second().square_root(ctx)?)
    }
}

impl<T, A, B> Curvature<T> for SumCurvature<T, A, B>
where
    T: Scalar,
    A: Curvature<T>,
    A::Solver: DampedInverse<T> + 'static,
    B: Curvature<T>,
{
    type Solver = MatrixFreeSolver<T, Arc<Sum<A, B>>>;

    fn definiteness(&self) -> Definiteness {
        match (self.first().definiteness(), self.second().definiteness()) {
            (Definiteness::PositiveSemidefinite, Definiteness::PositiveSemidefinite) => {
                Definiteness::PositiveSemidefinite
            }
            _ => Definiteness::Indefinite,
        }
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        let products = MatrixFree::new(Arc::clone(&self.sum), self.definiteness()).with_options(self.options)?;
        let solver = products.damped(ctx, lambda)?;
        match &self.preconditioner {
            SumPreconditioner::FirstSummand { shift } => {
                let inverse = self.first().damped(ctx, derived(lambda.get() + *shift, "λ + shift")?)?;
                solver.with_preconditioner(Arc::new(inverse))
            }
            SumPreconditioner::Given(given) => solver.with_preconditioner(Arc::clone(given)),
            SumPreconditioner::Plain => Ok(solver),
        }
    }
}
