//! [`Jacobi`]: division by the diagonal of C + λI, known or estimated.
//!
//! ```text
//! M = diag(max(c_ii, 0) + λ)
//! ```
//! The floor: a diagonal entry of a positive semidefinite C is not negative; where sampling noise, rounding or an
//! indefinite C makes it so, it counts as 0 and M holds λ there. So M >= λI, whatever the diagonal.
//! Among all diagonal M it is within a factor n of the best condition number (van der Sluis 1969).
//!
//! Cost        n divisions a column; an estimated diagonal costs its products once. n numbers.
//! Laws        tests/built_preconditioners.rs.
//! Reference   Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 10.2; A. van der Sluis, Numer.
//!             Math. 14 (1969) 14-23, doi 10.1007/BF02165096.

use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::Result;
use crate::krylov::{Budget, diagonal_estimate};
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// diag(max(c_ii, 0) + λ)⁻¹.
///
/// ```
/// use pullback::curvature::precondition::Jacobi;
/// use pullback::{Ctx, Damping, LinearOperator, Mat};
/// let jacobi = Jacobi::from_diagonal(vec![3.0, -0.5], Damping::try_from(1.0)?)?;
/// assert_eq!(jacobi.floored(), 1);
/// assert_eq!(jacobi.to_dense(&Ctx::default())?, Mat::from_diagonal(&[0.25, 1.0]));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", into = "(Vec<T>, Damping<T>)", try_from = "(Vec<T>, Damping<T>)")
)]
pub struct Jacobi<T> {
    diagonal: Vec<T>,
    lambda: Damping<T>,
}

impl<T: Scalar> Jacobi<T> {
    /// From the diagonal of C.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), also where an entry and λ overflow together.
    pub fn from_diagonal(diagonal: Vec<T>, lambda: Damping<T>) -> Result<Self> {
        check::finite_slice("Jacobi", &diagonal)?;
        let largest = diagonal.iter().fold(T::ZERO, |m, &d| m.max(d));
        check::finite_slice("Jacobi", &[largest + lambda.get()])?;
        Ok(Self { diagonal, lambda })
    }

    /// From an operator that knows its diagonal.
    ///
    /// # Errors
    /// As [`Jacobi::from_diagonal`], and those of the operator.
    pub fn new(ctx: &Ctx<T>, c: &(impl HasDiagonal<T> + ?Sized), lambda: Damping<T>) -> Result<Self> {
        let mut diagonal = vec![T::ZERO; c.dim()];
        c.diagonal(ctx, &mut diagonal)?;
        Self::from_diagonal(diagonal, lambda)
    }

    /// From products, by [`diagonal_estimate`].
    ///
    /// # Errors
    /// As [`diagonal_estimate`] and [`Jacobi::from_diagonal`].
    pub fn estimated(
        ctx: &Ctx<T>,
        c: &(impl SelfAdjoint<T> + ?Sized),
        lambda: Damping<T>,
        budget: Budget,
    ) -> Result<Self> {
        let estimate = diagonal_estimate(ctx, c, budget)?;
        Self::from_diagonal(estimate.values.into_iter().map(T::of).collect(), lambda)
    }

    /// The same diagonal with another λ.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) on overflow.
    pub fn redamp(&self, lambda: Damping<T>) -> Result<Self> {
        Self::from_diagonal(self.diagonal.clone(), lambda)
    }

    /// λ.
    pub fn damping(&self) -> Damping<T> {
        self.lambda
    }

    /// How many entries were negative and count as 0.
    pub fn floored(&self) -> usize {
        self.diagonal.iter().filter(|&&d| d < T::ZERO).count()
    }
}

#[cfg(feature = "serde")]
impl<T> From<Jacobi<T>> for (Vec<T>, Damping<T>) {
    fn from(jacobi: Jacobi<T>) -> Self {
        (jacobi.diagonal, jacobi.lambda)
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<(Vec<T>, Damping<T>)> for Jacobi<T> {
    type Error = crate::error::Error;

    /// As [`Jacobi::from_diagonal`].
    fn try_from((diagonal, lambda): (Vec<T>, Damping<T>)) -> Result<Self> {
        Self::from_diagonal(diagonal, lambda)
    }
}

impl<T: Scalar> LinearOperator<T> for Jacobi<T> {
    fn shape(&self) -> (usize, usize) {
        (self.diagonal.len(), self.diagonal.len())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let lambda = self.lambda.get();
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.diagonal).for_each(|((y, &x), &d)| *y = x / (d.max(T::ZERO) + lambda));
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for Jacobi<T> {}
impl<T: Scalar> Preconditioner<T> for Jacobi<T> {}

impl<T: Scalar> HasDiagonal<T> for Jacobi<T> {
    /// 1 / (max(c_ii, 0) + λ).
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        crate::error::check_len("diagonal", self.diagonal.len(), out.len())?;
        let lambda = self.lambda.get();
        out.iter_mut().zip(&self.diagonal).for_each(|(out, &d)| *out = T::ONE / (d.max(T::ZERO) + lambda));
        Ok(())
    }
}
