//! (C + λD) x = b for a dense symmetric C of any definiteness, for one λ after the other.
//!
//! ```text
//! W = D^(-1/2) C D^(-1/2) = Q diag(w) Qᵀ          x = D^(-1/2) (W + λI)⁻¹ D^(-1/2) b
//! as it is   Cholesky of W + λI, or LU where that is indefinite
//! shifted    where W + λI is not positive definite, λ raised to max(|min w|, √ε max|w|) - min w: the most negative
//!            curvature counts by its size, like |w|
//! absolute   w replaced by |w|: every direction descends, by as much as its curvature allows
//! ```
//! Cost        n³/3 flops a λ by Cholesky; about 9n³ once for the eigendecomposition, then 4n² a λ.
//! Reference   J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., section 3.4; Y. Dauphin et al., Identifying and
//!             attacking the saddle point problem, NeurIPS 2014, arXiv:1406.2572 (|H|).

use crate::backend::{Ctx, check};
use crate::error::{Error, Result};
use crate::factor::{Cholesky, Lu, SymEigen};
use crate::linop::{LinearOperator, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// What is done about a C + λD that is not positive definite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Indefinite {
    /// Nothing: the system is solved as it is. The step goes to the stationary point of the model, a saddle or a maximum
    /// too.
    Keep,
    /// λ is raised until C + λD is positive definite.
    #[default]
    Shift,
    /// The eigenvalues of C (in the metric D) are replaced by their absolute values.
    Absolute,
}

/// C in the metric D, factored as needed.
#[derive(Debug)]
pub(super) struct DenseSystem<T> {
    w: SymmetricDense<T>,
    roots: Option<Vec<T>>,
    indefinite: Indefinite,
    eigen: Option<SymEigen<T>>,
}

impl<T: Scalar> DenseSystem<T> {
    /// Takes C, and D unless it is I.
    pub(super) fn new(c: Mat<T>, d: Option<&[T]>, indefinite: Indefinite) -> Result<Self> {
        let roots: Option<Vec<T>> = d.map(|d| d.iter().map(|d| d.sqrt()).collect());
        let whitened = match &roots {
            None => c,
            Some(root) => Mat::from_fn(c.nrows(), c.ncols(), |i, j| c[(i, j)] / root[i] / root[j]),
        };
        check::finite("curvature", whitened.as_ref())?;
        Ok(Self { w: SymmetricDense::new(whitened)?, roots, indefinite, eigen: None })
    }

    /// x ← (C + λD)⁻¹ b, and the λ in force.
    pub(super) fn solve(&mut self, ctx: &Ctx<T>, lambda: T, b: &[T], x: &mut [T]) -> Result<T> {
        let mut rhs = b.to_vec();
        self.whiten(&mut rhs);
        let lambda = match self.indefinite {
            Indefinite::Absolute => self.by_eigenbasis(ctx, lambda, &rhs, x)?,
            _ => match Cholesky::new(ctx, self.shifted(lambda)) {
                Ok(factor) => {
                    x.copy_from_slice(&rhs);
                    factor.solve_in_place(ctx, MatMut::from_column(x))?;
                    lambda
                }
                Err(Error::NotPositiveDefinite { .. }) if self.indefinite == Indefinite::Keep => {
                    x.copy_from_slice(&rhs);
                    Lu::new(self.shifted(lambda))?.solve_in_place(ctx, MatMut::from_column(x))?;
                    lambda
                }
                Err(Error::NotPositiveDefinite { .. }) => self.by_eigenbasis(ctx, lambda, &rhs, x)?,
                Err(error) => return Err(error),
            },
        };
        self.whiten(x);
        Ok(lambda)
    }

    fn whiten(&self, x: &mut [T]) {
        if let Some(roots) = &self.roots {
            x.iter_mut().zip(roots).for_each(|(x, &root)| *x /= root);
        }
    }

    fn shifted(&self, lambda: T) -> Mat<T> {
        let mut shifted = self.w.matrix().clone();
        (0..shifted.nrows()).for_each(|i| shifted[(i, i)] += lambda);
        shifted
    }

    fn by_eigenbasis(&mut self, ctx: &Ctx<T>, lambda: T, rhs: &[T], x: &mut [T]) -> Result<T> {
        if self.eigen.is_none() {
            self.eigen = Some(SymEigen::new(ctx, self.w.matrix().clone())?);
        }
        let Some(eigen) = &self.eigen else { return Err(Error::NoConvergence { op: "DenseSystem" }) };
        let values = eigen.values();
        let largest = values.iter().fold(T::ZERO, |max, w| max.max(w.abs()));
        let (rhs, x) = (MatRef::from_column(rhs), MatMut::from_column(x));
        if self.indefinite == Indefinite::Absolute {
            let floor = T::of(values.len() as f64) * T::EPS * largest;
            if !(floor + lambda > T::ZERO) && !values.is_empty() {
                return Err(Error::Singular { op: "DenseModel: |C| + λD", pivot: 0 });
            }
            eigen.map_apply(ctx, |w| T::ONE / (w.abs() + lambda).max(floor), rhs, x)?;
            return Ok(lambda);
        }
        let smallest = values.first().copied().unwrap_or(T::ZERO);
        // a matrix of zeros has no scale of its own
        let scale = if largest > T::ZERO { largest } else { T::ONE };
        let lambda = lambda.max(smallest.abs().max(T::EPS.sqrt() * scale) - smallest);
        eigen.map_apply(ctx, |w| T::ONE / (w + lambda), rhs, x)?;
        Ok(lambda)
    }

    /// vᵀCv.
    pub(super) fn form(&self, ctx: &Ctx<T>, v: &[T]) -> Result<f64> {
        let mut scaled = v.to_vec();
        if let Some(roots) = &self.roots {
            scaled.iter_mut().zip(roots).for_each(|(v, &root)| *v *= root);
        }
        let mut image = ctx.scratch(v.len(), 1);
        self.w.apply(ctx, MatRef::from_column(&scaled), image.as_mut())?;
        Ok(super::dot(&scaled, image.as_slice()))
    }
}
