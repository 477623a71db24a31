//! [`LanczosCoefficients`]: the tridiagonal matrix that conjugate gradient builds without being asked.
//!
//! ```text
//! T_jj = 1/α_j + β_j/α_{j-1},   T_{j,j+1} = √β_{j+1} / α_j,   β_0 = 0
//! ```
//! Its eigenvalues are the Ritz values of M⁻¹A (of A without a preconditioner), its condition number a lower bound of that
//! of M⁻¹A, up to rounding.
//!
//! Cost        two numbers a step; about 9k³ flops for the Ritz values of k steps.
//! Laws        tests/pcg_gains.rs.
//! Reference   Y. Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 6.7.3.

use super::Ritz;
use crate::backend::Ctx;
use crate::error::Result;
use crate::scalar::Scalar;

/// α and β of the steps of conjugate gradient.
///
/// ```
/// use pullback::krylov::{CgOptions, pcg};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 9.0]))?;
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 1.0), Mat::zeros(2, 1));
/// let options = CgOptions { coefficients: true, ..CgOptions::default() };
/// let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &options)?;
/// let condition = report.columns()[0].lanczos().unwrap().condition_estimate(&ctx)?;
/// assert!((condition.unwrap() - 9.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LanczosCoefficients {
    alphas: Vec<f64>,
    betas: Vec<f64>,
}

impl LanczosCoefficients {
    /// A step along z + β p, by α.
    pub(super) fn push(&mut self, alpha: f64, beta: f64) {
        let first = self.alphas.is_empty();
        self.alphas.push(alpha);
        self.betas.push(if first { 0.0 } else { beta });
    }

    pub(super) fn clear(&mut self) {
        self.alphas.clear();
        self.betas.clear();
    }

    /// Steps taken, the order of the tridiagonal matrix.
    pub fn steps(&self) -> usize {
        self.alphas.len()
    }

    /// α of every step.
    pub fn alphas(&self) -> &[f64] {
        &self.alphas
    }

    /// β of every direction, the first 0.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// T_jj.
    pub fn diagonal(&self) -> Vec<f64> {
        let before = |j: usize| if j > 0 { self.betas[j] / self.alphas[j - 1] } else { 0.0 };
        self.alphas.iter().enumerate().map(|(j, alpha)| 1.0 / alpha + before(j)).collect()
    }

    /// T_{j,j+1}, one entry fewer.
    pub fn off_diagonal(&self) -> Vec<f64> {
        self.alphas.iter().zip(self.betas.iter().skip(1)).map(|(alpha, beta)| beta.sqrt() / alpha).collect()
    }

    /// The eigenvalues of T, ascending.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::NoConvergence`](crate::Error::NoConvergence).
    pub fn ritz_values<T: Scalar>(&self, ctx: &Ctx<T>) -> Result<Vec<f64>> {
        Ok(Ritz::new(ctx, &self.diagonal(), &self.off_diagonal())?.values().to_vec())
    }

    /// Largest by smallest Ritz value; `None` without a step, or where the smallest is not positive.
    ///
    /// # Errors
    /// As `ritz_values`.
    pub fn condition_estimate<T: Scalar>(&self, ctx: &Ctx<T>) -> Result<Option<f64>> {
        let values = self.ritz_values(ctx)?;
        let ends = values.first().zip(values.last());
        Ok(ends.filter(|(smallest, _)| **smallest > 0.0).map(|(smallest, largest)| largest / smallest))
    }
}
