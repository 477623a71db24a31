//! [`Diagonal`]: curvature C = diag(d), closed under + λI.
//!
//! ```text
//! (C + λI)⁻¹ b = b_i / (d_i + λ)
//! ```
//! Cost        n flops an application, n divisions a solve.
//! Laws        tests/curvatures.rs, tests/descent.rs, tests/capabilities.rs.
//! Reference   S. Becker, Y. LeCun, Improving the convergence of back-propagation learning with second-order methods,
//!             1988 (diagonal curvature as the simplest preconditioner).

use super::roots::nonnegative_roots;
use super::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, SolvePath, SolveReport,
};
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result, check_len};
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// C = diag(d).
///
/// ```
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, curvature::Diagonal};
/// let ctx = Ctx::<f64>::default();
/// let solver = Diagonal::new(vec![1.0, 3.0])?.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(2, 1);
/// solver.solve(&ctx, Mat::from_vec(vec![2.0, 8.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert_eq!(x.as_slice(), [1.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct Diagonal<T> {
    entries: Vec<T>,
}

impl<T: Scalar> Diagonal<T> {
    /// Takes the entries; a negative one makes the curvature indefinite.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn new(entries: Vec<T>) -> Result<Self> {
        check::finite_slice("Diagonal", &entries)?;
        Ok(Self { entries })
    }

    /// d.
    pub fn entries(&self) -> &[T] {
        &self.entries
    }
}

impl<T: Scalar> LinearOperator<T> for Diagonal<T> {
    fn shape(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.len())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.entries).for_each(|((y, &x), &d)| *y = d * x);
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for Diagonal<T> {}

impl<T: Scalar> HasDiagonal<T> for Diagonal<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.entries.len(), out.len())?;
        out.copy_from_slice(&self.entries);
        Ok(())
    }
}

impl<T: Scalar> HasTrace<T> for Diagonal<T> {
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::sum(self.entries.iter().map(|d| d.f64())).get()))
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for Diagonal<T> {
    fn frobenius_norm(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::length(self.entries.iter().map(|d| d.f64())).get()))
    }
}

impl<T: Scalar> HasSquareRoot<T> for Diagonal<T> {
    type Root<'a> = Diagonal<T>;

    /// diag(√d_i), which is symmetric.
    fn square_root(&self, _ctx: &Ctx<T>) -> Result<Diagonal<T>> {
        Ok(Diagonal { entries: nonnegative_roots("Diagonal::square_root", &self.entries)? })
    }
}

impl<T: Scalar> Curvature<T> for Diagonal<T> {
    type Solver = DiagonalInverse<T>;

    fn definiteness(&self) -> Definiteness {
        if self.entries.iter().all(|&d| d >= T::ZERO) {
            Definiteness::PositiveSemidefinite
        } else {
            Definiteness::Indefinite
        }
    }

    fn damped(&self, _ctx: &Ctx<T>, lambda: Damping<T>) -> Result<DiagonalInverse<T>> {
        let damped: Vec<T> = self.entries.iter().map(|&d| d + lambda.get()).collect();
        if let Some(pivot) = damped.iter().position(|&d| d <= T::ZERO) {
            return Err(Error::NotPositiveDefinite { op: "Diagonal::damped", pivot });
        }
        check::finite_slice("Diagonal::damped", &damped)?;
        Ok(DiagonalInverse { damped, lambda })
    }
}

/// (diag(d) + λI)⁻¹, with every d_i + λ > 0.
///
/// ```
/// use pullback::curvature::{Diagonal, HasLogDeterminant};
/// use pullback::{Ctx, Curvature, Damping};
/// let solver = Diagonal::new(vec![1.0, 3.0])?.damped(&Ctx::<f64>::default(), Damping::try_from(1.0)?)?;
/// assert!((solver.log_determinant() - 8f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct DiagonalInverse<T> {
    damped: Vec<T>,
    lambda: Damping<T>,
}

impl<T: Scalar> HasLogDeterminant<T> for DiagonalInverse<T> {
    fn log_determinant(&self) -> T {
        T::of(self.damped.iter().map(|d| d.f64().ln()).sum())
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for DiagonalInverse<T> {
    type Root<'a> = Diagonal<T>;

    /// diag(1/√(d_i + λ)), which is symmetric.
    fn inverse_square_root(&self, _ctx: &Ctx<T>) -> Result<Diagonal<T>> {
        Diagonal::new(self.damped.iter().map(|d| T::ONE / d.sqrt()).collect())
    }
}

impl<T: Scalar> LinearOperator<T> for DiagonalInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.damped.len(), self.damped.len())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.damped).for_each(|((y, &x), &d)| *y = x / d);
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for DiagonalInverse<T> {}
impl<T: Scalar> Preconditioner<T> for DiagonalInverse<T> {}

impl<T: Scalar> DampedSolver<T> for DiagonalInverse<T> {
    fn dim(&self) -> usize {
        self.damped.len()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Exact
    }

    fn path(&self) -> SolvePath {
        SolvePath::Elementwise
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}
