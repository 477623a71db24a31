//! The Gauss-Newton method, undamped and damped.
//!
//! ```text
//! θ ← θ - (G + λI)⁻¹ ∇h,     G = JᵀH_zJ + ηI          (Eq 13)
//! ```
//! G is positive semidefinite for a convex loss of the outputs, so that every damped step descends (Eq 6); it is H without
//! the curvature of the network itself.
//!
//! Cost        that of its [`DenseModel`]: 2P + 3 passes, P³/3 flops, P² numbers. [`KernelModel`](super::KernelModel) takes
//!             N² numbers instead, [`CgModel`](super::CgModel) a few n-vectors.
//! Laws        tests/newton.rs (one step on least squares, affine invariance, the four sources agree).
//! Reference   chapter sections 2.1 and 4; N. Schraudolph, Neural Computation 14 (2002) 1723-1738,
//!             doi 10.1162/08997660260028683.

use super::damped_newton::{DampedNewton, assembled};
use super::line_search::FixedStep;
use super::{CurvatureMatrix, DampingRule, DenseModel};
use crate::error::Result;
use crate::scalar::Scalar;

/// The Gauss-Newton method.
///
/// ```
/// use pullback::optim::{GaussNewton, KernelModel, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (h, batch, mut theta) = (LeastSquares::<f64>::new(2, 3, 0.1), Regression::random(2, 3, 20, 1), vec![1.0; 6]);
/// let mut method = GaussNewton::new(0.5)?.with_source(KernelModel::default()); // the same step by another solve
/// let report = method.step(&Ctx::default(), &h, &mut theta, &batch)?;
/// assert!(report.predicted_change.unwrap() < 0.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GaussNewton<T, S = DenseModel<T>, L = FixedStep> {
    assembly: DampedNewton<T, S, L>,
}

impl<T: Scalar> GaussNewton<T> {
    /// Full steps at a fixed λ; λ = 0 is undamped, raised only where G is singular.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless λ is finite and not negative.
    pub fn new(lambda: f64) -> Result<Self> {
        let source = DenseModel::new(CurvatureMatrix::GaussNewton);
        let assembly = DampedNewton::new(source, DampingRule::Fixed(lambda), FixedStep::new(1.0)?)?;
        Ok(Self { assembly })
    }
}

assembled!(GaussNewton);
