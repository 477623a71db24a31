//! What a backend achieves on one matrix: LAPACK's ratios with their limits.

use super::{PoMatrix, SepMatrix};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::factor::{Cholesky, SymEigen};
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;
use crate::testing::{gallery, ratios};

/// One law, measured on one matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Which law.
    pub law: &'static str,
    /// The error in units of what rounding explains; NaN where a result is not finite, infinite where there is none.
    pub ratio: f64,
    /// What the law allows.
    pub limit: f64,
}

impl Measured {
    /// Whether the ratio is below its limit. A NaN is not.
    pub fn holds(&self) -> bool {
        self.ratio < self.limit
    }

    fn of(law: &'static str, ratio: f64) -> Self {
        Self { law, ratio, limit: ratios::THRESHOLD }
    }
}

/// Right-hand sides of a solve.
const COLUMNS: usize = 3;

/// The laws of a positive definite type: `factor`, `solve`, `inverse` and `log det`, or `pivot` where a row is zeroed
/// (ratio 0 when the factorization names exactly that pivot, else infinite).
pub fn check_po<T: Scalar>(ctx: &Ctx<T>, test: &PoMatrix<T>) -> Vec<Measured> {
    let a = &test.matrix;
    let factored = Cholesky::new(ctx, a.clone());
    if let Some(expected) = test.pivot {
        let exact = matches!(factored, Err(Error::NotPositiveDefinite { pivot, .. }) if pivot == expected);
        return vec![Measured::of("pivot", if exact { 0.0 } else { f64::INFINITY })];
    }
    let laws = ["factor", "solve", "inverse", "log det"];
    let measure = || -> Result<[f64; 4]> {
        let factor = factored?;
        let b = right_hand_sides(a);
        let mut x = b.clone();
        factor.solve_in_place(ctx, x.as_mut())?;
        let inverse = factor.inverse(ctx)?;
        let exact = test.log_determinant.unwrap_or(f64::NAN);
        Ok([
            ratios::cholesky(a.as_ref(), factor.l()),
            ratios::solve(a.as_ref(), x.as_ref(), b.as_ref()),
            ratios::inverse(a.as_ref(), inverse.as_ref()),
            ratios::log_determinant(factor.log_determinant(), exact, a.nrows(), test.condition),
        ])
    };
    let measured = measure().unwrap_or([f64::INFINITY; 4]);
    laws.into_iter().zip(measured).map(|(law, ratio)| Measured::of(law, ratio)).collect()
}

/// B = A X for a random X, so that X is of moderate size at every scale of A.
fn right_hand_sides<T: Scalar>(a: &Mat<T>) -> Mat<T> {
    let x = gallery::uniform::<T>(a.nrows(), COLUMNS, 1);
    let mut b = Mat::zeros(a.nrows(), COLUMNS);
    // the textbook loops: what is measured must not make its own right-hand side
    let product = Ctx::reference().gemm(T::ONE, a.as_ref(), Op::No, x.as_ref(), Op::No, T::ZERO, b.as_mut());
    product.map_or_else(|_| b.map(|_| T::nan()), |()| b.clone())
}

/// The laws of a symmetric eigenvalue type: `residual`, `orthogonality`, and `values` against `alone`, the eigenvalues by
/// another path ([`eigenvalues`](super::eigenvalues)), with the limit max(60, 2n).
pub fn check_sep<T: Scalar>(ctx: &Ctx<T>, test: &SepMatrix<T>, alone: &[f64]) -> Vec<Measured> {
    let a = &test.matrix;
    let measured = match SymEigen::new(ctx, a.clone()) {
        Ok(eigen) => [
            ratios::eigen(a.as_ref(), eigen.vectors(), eigen.values()),
            ratios::orthogonality(eigen.vectors()),
            ratios::eigenvalues(eigen.values(), alone),
        ],
        Err(_) => [f64::INFINITY; 3],
    };
    let values_limit = (2.0 * ratios::THRESHOLD).max(2.0 * a.nrows() as f64);
    vec![
        Measured::of("residual", measured[0]),
        Measured::of("orthogonality", measured[1]),
        Measured { law: "values", ratio: measured[2], limit: values_limit },
    ]
}
