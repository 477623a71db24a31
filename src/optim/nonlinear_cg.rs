//! Nonlinear conjugate gradients.
//!
//! ```text
//! p = -g + β p₋,   y = g - g₋
//! Fletcher-Reeves    β = gᵀg / g₋ᵀg₋
//! Polak-Ribière+     β = max(0, gᵀy / g₋ᵀg₋)
//! Hestenes-Stiefel   β = gᵀy / p₋ᵀy
//! Hager-Zhang        β = max(η, (y - 2 p₋ ‖y‖² / p₋ᵀy)ᵀg / p₋ᵀy),   η = -1 / (‖p₋‖ min(0.01, ‖g₋‖))
//! ```
//! On a quadratic with exact steps all four are linear conjugate gradients.
//!
//! Deviations  y is of one batch, g of the present one: with changing batches they differ. A β that is not finite is a restart.
//! Cost        one gradient, the search, and up to 12n flops; two n-vectors of state.
//! Laws        tests/descent_methods.rs (linear conjugate gradients on quadratics), tests/descent_rules.rs (each β).
//! Reference   R. Fletcher, C. M. Reeves, Comput. J. 7 (1964) 149-154, doi 10.1093/comjnl/7.2.149; E. Polak, G. Ribière,
//!             RIRO 3 (1969) 35-43; M. R. Hestenes, E. Stiefel, J. Res. NBS 49 (1952) 409-436, doi 10.6028/jres.049.044;
//!             W. W. Hager, H. Zhang, SIAM J. Optim. 16 (2005) 170-192, doi 10.1137/030601880;
//!             M. J. D. Powell, Math. Program. 12 (1977) 241-254, doi 10.1007/BF01593790 (restarts).

use super::line_search::StrongWolfe;
use super::{AcceptedStep, Descent, Direction, DirectionReport, Objective};
use crate::backend::Ctx;
use crate::backend::sums::{dot, norm};
use crate::error::{Error, Result, check_len};
use crate::scalar::Scalar;

/// η of the truncation of Hager and Zhang.
const TRUNCATION: f64 = 0.01;

/// Which β.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CgFormula {
    /// ‖g‖² / ‖g₋‖².
    FletcherReeves,
    /// gᵀy / ‖g₋‖², or 0 where that is negative.
    #[default]
    PolakRibierePlus,
    /// gᵀy / p₋ᵀy.
    HestenesStiefel,
    /// That of CG_DESCENT, truncated below.
    HagerZhang,
}

/// Settings of [`NonlinearCg`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NonlinearCgOptions {
    /// β.
    pub formula: CgFormula,
    /// Begin anew after so many steps; never unless told.
    pub restart_every: Option<usize>,
    /// Begin anew where |gᵀg₋| >= ν ‖g‖² (Powell; 0.1 or 0.2), never unless told.
    pub orthogonality: Option<f64>,
}

/// Nonlinear conjugate gradients, with the search for the strong Wolfe conditions, c₂ = 0.1.
///
/// ```
/// use pullback::optim::{CgFormula, NonlinearCg, NonlinearCgOptions, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h, batch) = (Ctx::default(), LeastSquares::new(1, 3, 0.01), Regression::random(1, 3, 9, 1));
/// let (mut theta, formula) = ([1.0, -1.0, 0.5], CgFormula::HestenesStiefel);
/// let mut cg = NonlinearCg::new(NonlinearCgOptions { formula, ..Default::default() })?;
/// let norms = (0..12).map(|_| cg.step(&ctx, &h, &mut theta, &batch).map(|r| r.gradient_norm.unwrap_or(0.0)));
/// let norms = norms.collect::<Result<Vec<f64>, _>>()?;
/// assert!(norms[11] < 1e-3 * norms[0]);
/// # Ok::<(), pullback::Error>(())
/// ```
pub type NonlinearCg<T, S = StrongWolfe> = Descent<T, ConjugateDirection<T>, S>;

/// p = -g + β p₋.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ConjugateDirection<T> {
    options: NonlinearCgOptions,
    /// Steps since p was the gradient alone.
    since: usize,
    /// p₋; empty before the first step.
    last: Vec<T>,
    /// y.
    change: Vec<T>,
    /// ‖g₋‖².
    square: f64,
}

impl<T: Scalar> NonlinearCg<T, StrongWolfe> {
    /// # Errors
    /// As [`ConjugateDirection::new`].
    pub fn new(options: NonlinearCgOptions) -> Result<Self> {
        let search = StrongWolfe { curvature: 0.1, ..StrongWolfe::default() };
        Ok(Self::assemble(ConjugateDirection::new(options)?, search))
    }
}

impl<T: Scalar> ConjugateDirection<T> {
    /// # Errors
    /// [`Error::InvalidParameter`] for a restart after no step, or ν that is not positive.
    pub fn new(options: NonlinearCgOptions) -> Result<Self> {
        if options.restart_every == Some(0) {
            return Err(Error::invalid("restart_every", "at least one step is needed"));
        }
        if options.orthogonality.is_some_and(|nu| !(nu > 0.0)) {
            return Err(Error::invalid("orthogonality", "must be positive"));
        }
        Ok(Self { options, since: 0, last: Vec::new(), change: Vec::new(), square: 0.0 })
    }

    /// β, or `None` where the direction begins anew.
    fn beta(&self, g: &[T]) -> Option<f64> {
        if self.options.restart_every.is_some_and(|every| self.since >= every) {
            return None;
        }
        let (p, y) = (&self.last, &self.change);
        let (gg, gy) = (dot(g, g), dot(g, y));
        // g₋ = g - y
        if self.options.orthogonality.is_some_and(|nu| (gg - gy).abs() >= nu * gg) {
            return None;
        }
        let beta = match self.options.formula {
            CgFormula::FletcherReeves => gg / self.square,
            CgFormula::PolakRibierePlus => (gy / self.square).max(0.0),
            CgFormula::HestenesStiefel => gy / dot(p, y),
            CgFormula::HagerZhang => {
                let py = dot(p, y);
                let floor = -1.0 / (norm(p) * TRUNCATION.min(self.square.sqrt()));
                ((gy - 2.0 * dot(y, y) * dot(p, g) / py) / py).max(floor)
            }
        };
        beta.is_finite().then_some(beta)
    }
}

impl<T: Scalar, O: Objective<T> + ?Sized> Direction<T, O> for ConjugateDirection<T> {
    fn direction(
        &mut self,
        _ctx: &Ctx<T>,
        _objective: &O,
        _batch: &O::Batch,
        _theta: &[T],
        gradient: &[T],
        out: &mut [T],
    ) -> Result<DirectionReport> {
        out.iter_mut().zip(gradient).for_each(|(p, &g)| *p = -g);
        if self.last.is_empty() {
            self.since = 0;
            return Ok(DirectionReport::default());
        }
        check_len("gradient of an optimizer in use", self.last.len(), gradient.len())?;
        let Some(beta) = self.beta(gradient) else {
            self.last.clear();
            self.since = 0;
            return Ok(DirectionReport { restarted: true, momentum: None });
        };
        out.iter_mut().zip(&self.last).for_each(|(p, &last)| *p += T::of(beta) * last);
        Ok(DirectionReport { restarted: false, momentum: Some(beta) })
    }

    fn accepted(&mut self, _ctx: &Ctx<T>, step: AcceptedStep<'_, T>) -> Result<()> {
        self.last.clear();
        self.last.extend_from_slice(step.direction);
        self.change.clear();
        self.change.extend_from_slice(step.change);
        self.square = dot(step.gradient, step.gradient);
        self.since += 1;
        Ok(())
    }

    fn reset(&mut self) {
        self.last.clear();
        self.since = 0;
    }
}
