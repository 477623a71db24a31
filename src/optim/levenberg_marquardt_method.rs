//! The Levenberg-Marquardt method: damped Gauss-Newton whose λ follows the reduction ratio.
//!
//! ```text
//! δ = -(G + λD)⁻¹ ∇h;   ρ = (h(θ + δ) - h(θ)) / M(δ);   h fell: θ ← θ + δ;   λ by its rule, and again where h did not fall
//! ```
//! λ → 0 is Gauss-Newton, λ → ∞ is gradient descent with step 1/λ in the metric D. The rule [`LevenbergMarquardt`] is the
//! chapter's, in either convention of M; Nielsen's is the default.
//!
//! The source of models is interchangeable: [`KernelModel`] takes what is cheapest, N x N or P x P, but an ill-conditioned J
//! at a λ near nothing costs it half of the digits; [`QrModel`] keeps them, for a J that is small enough to be held.
//!
//! Deviations  Moré keeps a trust radius and solves for λ; here λ itself is kept. With [`QrModel`] a step longer than ten
//!             times θ, both in the metric D, counts as one that failed, unseen.
//! Cost        that of its source, and a forward pass and a solve for each λ; n numbers of state for D.
//! Laws        tests/levenberg_marquardt_method.rs (both ends of λ, both conventions of ρ, units of parameters),
//!             tests/qr_model.rs; on real problems tests/nist_bar.rs, tests/more_garbow_hillstrom_bar.rs.
//! Reference   chapter section 4.1, Eq 14; K. Levenberg, Quart. Appl. Math. 2 (1944) 164-168; D. Marquardt, J. SIAM 11
//!             (1963) 431-441, doi 10.1137/0111030; J. Moré, LNM 630 (1978) 105-116, doi 10.1007/BFb0067700; H. Nielsen,
//!             Damping parameter in Marquardt's method, IMM-REP-1999-05, Technical University of Denmark.

use super::damped_newton::{DampedNewton, assembled};
use super::line_search::FixedStep;
use super::{DampingMetric, DampingRule, KernelModel, LevenbergMarquardt, ModelDamping, Nielsen, QrModel};
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
#[derive(Debug, Clone, PartialEq)]
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

impl<T: Scalar> LevenbergMarquardtMethod<T, QrModel<T>> {
    /// In Marquardt's metric, from λ, by Nielsen's rule and an orthogonal factorization of J: for regressions that need
    /// all of their digits.
    ///
    /// ```
    /// use pullback::Ctx;
    /// use pullback::optim::{LevenbergMarquardtMethod, Objective, Optimizer};
    /// # #[cfg(feature = "testing")] {
    /// use pullback::testing::problems::{MoreGarbowHillstrom, SumOfSquares};
    /// let problem = MoreGarbowHillstrom::Rosenbrock;
    /// let (h, mut theta) = (SumOfSquares::new(problem), problem.start());
    /// let mut method = LevenbergMarquardtMethod::by_qr(1e-3)?;
    /// for _ in 0..30 {
    ///     method.step(&Ctx::default(), &h, &mut theta, &())?;
    /// }
    /// assert!(h.loss(&Ctx::default(), &theta, &())? < 1e-20);
    /// # }
    /// # Ok::<(), pullback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`Nielsen::new`].
    pub fn by_qr(lambda: f64) -> Result<Self> {
        let (source, rule) = (QrModel::default().with_metric(DampingMetric::Diagonal), Nielsen::new(lambda)?);
        let assembly = DampedNewton::new(source, DampingRule::Nielsen(rule), FixedStep::new(1.0)?)?;
        Ok(Self { assembly: assembly.with_longest(Some(10.0))? })
    }
}

assembled!(LevenbergMarquardtMethod);
