//! The diagonal of a curvature that is known by products.

use crate::backend::Ctx;
use crate::error::Result;
use crate::krylov::{Budget, diagonal_estimate};
use crate::linop::SelfAdjoint;
use crate::mat::Mat;
use crate::scalar::Scalar;

/// Where the diagonal of C comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DiagonalSource {
    /// P products with unit vectors.
    #[default]
    Exact,
    /// So many products with random signs, the same in every step.
    Estimated {
        /// How many.
        products: usize,
        /// The seed of the signs.
        seed: u64,
    },
}

impl DiagonalSource {
    /// The diagonal of C, and the products that it took.
    pub(super) fn diagonal<T: Scalar>(self, ctx: &Ctx<T>, c: &dyn SelfAdjoint<T>) -> Result<(Vec<T>, u64)> {
        const BLOCK: usize = 32;
        let n = c.dim();
        if let DiagonalSource::Estimated { products, seed } = self {
            let estimate = diagonal_estimate(ctx, c, Budget::new(products, seed))?;
            return Ok((estimate.values.into_iter().map(T::of).collect(), products as u64));
        }
        let mut diagonal = Vec::with_capacity(n);
        for start in (0..n).step_by(BLOCK) {
            let width = BLOCK.min(n - start);
            let units = Mat::from_fn(n, width, |i, j| if i == start + j { T::ONE } else { T::ZERO });
            let mut columns = Mat::zeros(n, width);
            c.apply(ctx, units.as_ref(), columns.as_mut())?;
            diagonal.extend((0..width).map(|j| columns[(start + j, j)]));
        }
        Ok((diagonal, n as u64))
    }
}
