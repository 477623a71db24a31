//! The Levenberg-Marquardt method: damped Gauss-Newton whose λ follows the reduction ratio.
//!
//! ```text
//! δ = -(G + λD)⁻¹ ∇h;   ρ = (h(θ + δ) - h(θ)) / M(δ);   h fell: θ ← θ + δ;   λ by its rule, and again where h did not fall
//! ```
//! λ → 0 is Gauss-Newton, λ → ∞ is gradient descent with step 1/λ in the metric D. The rule [`LevenbergMarquardt`] is the
//! chapter's, in either convention of M; Nielsen's is the default.
//!
//! Deviations  No orthogonal factorization of J: for an ill-conditioned J, and a λ near nothing, half of the digits are
//!             lost in JᵀJ.
//! Cost        that of its [`KernelModel`], and a forward pass and a solve for each λ; n numbers of state for D.
//! Laws        tests/levenberg_marquardt_method.rs (both ends of λ, both conventions of ρ, units of parameters).
//! Reference   chapter section 4.1, Eq 14; K. Levenberg, Quart. Appl. Math. 2 (1944) 164-168; D. Marquardt, J. SIAM 11
//!             (1963) 431-441, doi 10.1137/0111030.

use super::damped_newton::{DampedNewton, assembled};
use super::line_search::FixedStep;
use super::{DampingMetric, DampingRule, KernelModel, LevenbergMarquardt, ModelDamping, Nielsen};
use crate::error::Result;
use crate::scalar::Scalar;

/// The Levenberg-Marquardt method.
///
/// ```
/// use pullback::optim::{LevenbergMarquardtMethod, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (h, batch, mut theta) = (LeastSquares::<f64>::new(2, 3, 0.0), Regression::random(2, 3, 20, 1), vec![1.0; 6]);
/// let mut method = LevenbergMarquardtMethod::marquardt(1e-3)?;
/// let report = method.step(&Ctx::default(), &h, &mut theta, &batch)?;
/// assert!(!report.rejected && report.rho.unwrap() > 0.99);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LevenbergMarquardtMethod<T, S = KernelModel<T>, L = FixedStep> {
    assembly: DampedNewton<T, S, L>,
}

impl<T: Scalar> LevenbergMarquardtMethod<T> {
    /// In Marquardt's metric, from λ, which is then a pure number, by Nielsen's rule.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`Nielsen::new`].
    pub fn marquardt(lambda: f64) -> Result<Self> {
        let source = KernelModel::default().with_metric(DampingMetric::Diagonal);
        Self::assemble(source, DampingRule::Nielsen(Nielsen::new(lambda)?))
    }

    /// In the metric I, by the chapter's rule with either convention of ρ.
    ///
    /// # Errors
    /// None with these parts.
    pub fn levenberg(rule: LevenbergMarquardt, model: ModelDamping) -> Result<Self> {
        Self::assemble(KernelModel::default(), DampingRule::LevenbergMarquardt { rule, model })
    }

    fn assemble(source: KernelModel<T>, rule: DampingRule) -> Result<Self> {
        Ok(Self { assembly: DampedNewton::new(source, rule, FixedStep::new(1.0)?)? })
    }
}

assembled!(LevenbergMarquardtMethod);
