//! Objectives that multiply by their curvature matrices, and objectives whose batches can be cut into parts.
//!
//! ```text
//! Gauss-Newton   G = w JᵀH_zJ + η I     (the Fisher matrix too, for losses that are negative log-likelihoods in their
//!                                        canonical outputs)
//! Hessian        H = ∇²h                 (L2 included in both)
//! ```
//! Cost        a Gauss-Newton product is one J v and one Jᵀu, a Hessian product a forward and a backward pass: 2 passes.
//! Laws        tests/curvature_objective.rs.
//! Reference   chapter sections 2.1 and 3.1; N. Schraudolph, Neural Computation 14 (2002) 1723-1738.

use std::ops::Range;

use super::{Objective, Passes};
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::SelfAdjoint;
use crate::scalar::Scalar;

/// A curvature matrix of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CurvatureMatrix {
    /// G, positive semidefinite.
    #[default]
    GaussNewton,
    /// H, of any definiteness.
    Hessian,
}

impl CurvatureMatrix {
    /// What so many products cost.
    pub fn passes(self, products: u64) -> Passes {
        match self {
            CurvatureMatrix::GaussNewton => Passes { jvp: products, vjp: products, ..Passes::default() },
            CurvatureMatrix::Hessian => Passes { hvp: products, ..Passes::default() },
        }
    }
}

/// An objective that multiplies by G and H at fixed θ and batch.
pub trait CurvatureObjective<T: Scalar>: Objective<T> {
    /// The matrix of the whole h, L2 included, as an operator. 1 forward pass now, which every product shares, and
    /// [`CurvatureMatrix::passes`] a product.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    fn curvature<'a>(
        &'a self,
        ctx: &Ctx<T>,
        matrix: CurvatureMatrix,
        theta: &'a [T],
        batch: &'a Self::Batch,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>>;
}

/// An objective whose batches can be cut: for a curvature on a part of the cases, or for batches that grow.
pub trait SubsetObjective<T: Scalar>: Objective<T>
where
    Self::Batch: Sized,
{
    /// Number of cases of a batch.
    fn cases(&self, batch: &Self::Batch) -> usize;

    /// The cases in a range, copied.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for an empty range, or one beyond the batch.
    fn subset(&self, batch: &Self::Batch, cases: Range<usize>) -> Result<Self::Batch>;
}
