//! Which structure the curvature of a layer has in the K-FAC preconditioner, and what that costs.
//!
//! ```text
//! structure       numbers held                                      flops of a refresh (c = 1 factored, 9 exact damping)
//! Kronecker       2 (M² + N²)                                       c (M³ + N³)
//! EigenKronecker  2 (M² + N²) + 2 M N                               11 (M³ + N³) + 2 M N (M + N)
//! ThreeFactor     2 (o² + i² + N²), bias: N², exact: M N            c (o³ + i³ + N³), bias: c N³
//! Diagonal        factored M + N + M N, exact 2 M N                 M N
//! ```
//! for M = d_in inputs (the constant one counted), o i of them being split, and N = d_out outputs: statistics and inverse,
//! scratch left out. [`LayerStructure::Auto`] holds a layer to a [`FactorLimit`] on both, so that one wide layer can take
//! neither all memory nor all time.
//!
//! Laws        tests/layer_structure.rs (the table, the choice at the limit and just below it), tests/layer_structure_kfac.rs.

use super::FisherKind;
use super::costs::{LayerShape, cholesky_inverse, eigendecomposition};
use crate::curvature::KroneckerDamping;
use crate::error::{Error, Result};
use crate::scalar::Scalar;
use crate::stats::{DiagonalRule, InputSplit};

/// The structure of one layer's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LayerStructure {
    /// The first of these within the [`FactorLimit`]: EigenKronecker (if `corrected`), Kronecker, ThreeFactor (if there is a
    /// `split`), and the factored diagonal otherwise.
    Auto {
        /// Whether the eigenvalues are corrected where the limit allows.
        corrected: bool,
        /// How the inputs form a matrix, if they do.
        split: Option<InputSplit>,
    },
    /// A ⊗ S.
    Kronecker,
    /// The eigenbases of A ⊗ S with corrected eigenvalues (EKFAC); needs an objective that sends pairs.
    EigenKronecker,
    /// A_o ⊗ A_i ⊗ S, and the bias apart.
    ThreeFactor {
        /// How the inputs form a matrix.
        split: InputSplit,
    },
    /// A diagonal.
    Diagonal {
        /// Which one; the exact one needs an objective that sends pairs.
        rule: DiagonalRule,
    },
}

/// A ⊗ S within the limit, else a diagonal.
impl Default for LayerStructure {
    fn default() -> Self {
        LayerStructure::Auto { corrected: false, split: None }
    }
}

/// The most that one layer may hold and a refresh of it may take.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FactorLimit {
    /// Bytes of statistics and inverse.
    pub bytes: f64,
    /// Flops of a refresh.
    pub flops: f64,
}

/// 1 GiB and 2·10¹² flops (about a minute of one core): in `f32` 11585 inputs by memory, 12599 by flops of inverses, 6057
/// by flops of eigenbases, few outputs being supposed.
impl Default for FactorLimit {
    fn default() -> Self {
        Self { bytes: (1u64 << 30) as f64, flops: 2e12 }
    }
}

/// What a structure costs a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FactorCost {
    /// Bytes of statistics and inverse.
    pub bytes: f64,
    /// Flops of a refresh.
    pub flops: f64,
}

impl FactorCost {
    /// Whether both are within the limit.
    pub fn within(self, limit: FactorLimit) -> bool {
        self.bytes <= limit.bytes && self.flops <= limit.flops
    }
}

impl LayerStructure {
    /// What the structure costs a layer of this shape; for `Auto`, what A ⊗ S or its correction would.
    ///
    /// ```
    /// use pullback::curvature::KroneckerDamping;
    /// use pullback::optim::{LayerStructure, costs::LayerShape};
    /// let shape = LayerShape { d_in: 3, d_out: 2 };
    /// let cost = LayerStructure::Kronecker.cost::<f32>(shape, KroneckerDamping::Exact);
    /// assert_eq!((cost.bytes, cost.flops), (4.0 * 2.0 * 13.0, 9.0 * 35.0));
    /// ```
    pub fn cost<T: Scalar>(self, shape: LayerShape, damping: KroneckerDamping<T>) -> FactorCost {
        let exact = damping == KroneckerDamping::Exact;
        let refresh = |order: usize| if exact { eigendecomposition(order) } else { cholesky_inverse(order) };
        let (m, n) = (shape.d_in as f64, shape.d_out as f64);
        let square = |order: usize| (order as f64).powi(2);
        let factors = 2.0 * (m * m + n * n);
        let (numbers, flops) = match self {
            LayerStructure::Kronecker | LayerStructure::Auto { corrected: false, .. } => {
                (factors, refresh(shape.d_in) + refresh(shape.d_out))
            }
            LayerStructure::EigenKronecker | LayerStructure::Auto { corrected: true, .. } => {
                let carried = 2.0 * (m.powi(3) + n.powi(3)) + 2.0 * m * n * (m + n);
                (factors + 2.0 * m * n, shape.eigenbases() + carried)
            }
            LayerStructure::ThreeFactor { split } => {
                let copies = if split.bias { 2.0 } else { 1.0 };
                let numbers = 2.0 * (square(split.outer) + square(split.inner)) + (1.0 + copies) * n * n;
                let values = if exact { m * n } else { 0.0 };
                let flops = refresh(split.outer) + refresh(split.inner) + copies * refresh(shape.d_out);
                (numbers + values, flops)
            }
            LayerStructure::Diagonal { rule: DiagonalRule::Factored } => (m + n + m * n, m * n),
            LayerStructure::Diagonal { rule: DiagonalRule::Exact } => (2.0 * m * n, m * n),
        };
        FactorCost { bytes: numbers * size_of::<T>() as f64, flops }
    }

    /// `Ok` unless the structure is made of pairs and a capture of this kind has none.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn check_fisher(self, fisher: FisherKind) -> Result<()> {
        let of_pairs = matches!(
            self,
            LayerStructure::EigenKronecker
                | LayerStructure::Auto { corrected: true, .. }
                | LayerStructure::Diagonal { rule: DiagonalRule::Exact }
        );
        if of_pairs && fisher == FisherKind::Recursive {
            let reason = "FisherKind::Recursive has no pairs of activations and gradients, which this one is made of";
            return Err(Error::invalid("structure", reason));
        }
        Ok(())
    }

    /// The structure that a layer of this shape gets: `Auto` decided by the limit, any other as it is.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when a split is not one of the layer's inputs.
    pub fn resolve<T: Scalar>(
        self,
        shape: LayerShape,
        damping: KroneckerDamping<T>,
        limit: FactorLimit,
    ) -> Result<Self> {
        let split = match self {
            LayerStructure::Auto { split, .. } => split,
            LayerStructure::ThreeFactor { split } => Some(split),
            _ => None,
        };
        if let Some(split) = split
            && split.inputs()? != shape.d_in
        {
            return Err(Error::invalid("split", format!("{split:?} does not make {} inputs", shape.d_in)));
        }
        let LayerStructure::Auto { corrected, split } = self else { return Ok(self) };
        let wanted = [
            corrected.then_some(LayerStructure::EigenKronecker),
            Some(LayerStructure::Kronecker),
            split.map(|split| LayerStructure::ThreeFactor { split }),
        ];
        let affordable = |s: &LayerStructure| s.cost(shape, damping).within(limit);
        let last = LayerStructure::Diagonal { rule: DiagonalRule::Factored };
        Ok(wanted.into_iter().flatten().find(affordable).unwrap_or(last))
    }
}
