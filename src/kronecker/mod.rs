//! The Kronecker product (chapter section 5.1): as an operator that is never formed, with every property of Eq 15-21.

mod apply;
mod eigen;
mod factors;
mod metric;
mod product;
mod sum;

pub use apply::{Factor, kronecker_apply, two_sided_product};
pub use eigen::KroneckerEigen;
pub use factors::kronecker_factors_apply;
pub use metric::KroneckerMetric;
pub use product::{KroneckerProduct, semidefinite_gap};
pub use sum::{KroneckerPairInverse, KroneckerPairRoot, PairSign};
