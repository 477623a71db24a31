//! Truncated Newton in a trust region: conjugate gradient that stops at the region's edge, and uses negative curvature.
//!
//! ```text
//! δ ≈ argmin ∇hᵀδ + ½ δᵀCδ  subject to ‖δ‖_M <= Δ                  until ‖∇h + Cδ‖ <= η ‖∇h‖
//! ρ = (h(θ + δ) - h(θ)) / M(δ)
//! ρ < 1/4: Δ ← ‖δ‖_M / 4;     ρ > 3/4 and ‖δ‖_M = Δ: Δ ← min(2Δ, Δ_max);     ρ > accept: θ ← θ + δ, else again within Δ
//! ```
//! C is H or G, M the diagonal preconditioner's inverse or I. By [`steihaug`] the first step is along the gradient, so that
//! every step gains at least the Cauchy decrease, which makes the method converge from anywhere; a direction of negative
//! curvature is followed to the edge. [`gltr`] follows the edge to the best point of the same Krylov space.
//!
//! Deviations  Δ shrinks from ‖δ‖_M, not from Δ: where the step was an inner one a smaller Δ that still contains it changes
//!             nothing. Numerator and denominator of ρ get 10 ε |h| each (Conn, Gould, Toint, section 17.4.2), so that
//!             rounding at the minimum is no verdict. The step is tried again in the same call, from the same gradient.
//! Cost        a gradient and a forward pass, 2 passes a product, a forward pass for each trial; six n-vectors of scratch,
//!             no n-vector of state.
//! Laws        tests/trust_region_newton.rs.
//! Reference   J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., algorithms 4.1 and 7.2; T. Steihaug, SIAM J. Numer.
//!             Anal. 20 (1983) 626-637, doi 10.1137/0720042; S. Eisenstat, H. Walker, SIAM J. Sci. Comput. 17 (1996)
//!             16-32, doi 10.1137/0917003 (choice 2 of η); A. Conn, N. Gould, Ph. Toint, Trust-Region Methods, 2000.

use super::report::Stopwatch;
use super::{
    CurvatureMatrix, CurvatureObjective, DiagonalSource, InnerReport, InnerStop, Optimizer, Passes, StepReport,
    take_gradient,
};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len};
use crate::krylov::{CgOptions, TrustRegionReport, gltr, steihaug};
use crate::linop::{DiagonalMetric, MetricInverse, Preconditioner, SelfAdjoint};
use crate::scalar::Scalar;

/// How the problem in the region is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RegionSolver {
    /// Conjugate gradient up to the edge.
    #[default]
    Steihaug,
    /// The best point of the Krylov space.
    Gltr,
}

/// How well it is solved: η.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Forcing {
    /// η in (0, 1): linear convergence with that rate.
    Fixed(f64),
    /// η = 0.9 (‖∇h_k‖/‖∇h_{k-1}‖)², at least 0.9 η_{k-1}² where that is above 0.1, at most 1/2: quadratic convergence in
    /// the end, and no more work than progress deserves before.
    EisenstatWalker,
}

/// Settings of [`TrustRegionNewton`].
///
/// ```
/// use pullback::optim::{CurvatureMatrix, TrustRegionOptions};
/// let options = TrustRegionOptions { matrix: CurvatureMatrix::GaussNewton, ..TrustRegionOptions::default() };
/// assert!(options.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrustRegionOptions {
    /// C.
    pub matrix: CurvatureMatrix,
    /// How the problem in the region is solved.
    pub solver: RegionSolver,
    /// How well.
    pub forcing: Forcing,
    /// Δ at the first step; finite and positive.
    pub radius: f64,
    /// Δ_max; at least Δ.
    pub max_radius: f64,
    /// A step is taken when ρ exceeds this; in [0, 1/4).
    pub accept: f64,
    /// Most products for one problem.
    pub max_iterations: usize,
    /// Preconditioner by the diagonal of C, whose absolute values are also the M of the region; M = I without.
    pub jacobi: Option<DiagonalSource>,
    /// Radii that a step tries; at least one. A step that spends them is rejected.
    pub trials: usize,
}

/// The Hessian by Steihaug's method, η after Eisenstat and Walker, Δ = 1 up to 10¹⁰, ρ > 10⁻⁴, 250 products, M = I, 16
/// trials.
impl Default for TrustRegionOptions {
    fn default() -> Self {
        Self {
            matrix: CurvatureMatrix::Hessian,
            solver: RegionSolver::Steihaug,
            forcing: Forcing::EisenstatWalker,
            radius: 1.0,
            max_radius: 1e10,
            accept: 1e-4,
            max_iterations: 250,
            jacobi: None,
            trials: 16,
        }
    }
}

impl TrustRegionOptions {
    /// `Ok` when every setting lies in its domain.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |name, why: String| Err(Error::invalid(name, why));
        if !(self.radius > 0.0 && self.radius <= self.max_radius && self.max_radius.is_finite()) {
            return refuse("radius", format!("{} must be within (0, {}]", self.radius, self.max_radius));
        }
        if !(self.accept >= 0.0 && self.accept < 0.25) {
            return refuse("accept", format!("{} must be in [0, 1/4)", self.accept));
        }
        if self.trials == 0 || self.max_iterations == 0 {
            return refuse("trials", "at least one trial of one product is needed".into());
        }
        match self.forcing {
            Forcing::Fixed(eta) if !(eta > 0.0 && eta < 1.0) => refuse("forcing", format!("{eta} must be in (0, 1)")),
            _ => Ok(()),
        }
    }
}

/// Truncated Newton in a trust region.
///
/// ```
/// use pullback::optim::{Optimizer, TrustRegionNewton, TrustRegionOptions};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (h, batch, mut theta) = (LeastSquares::<f64>::new(2, 3, 0.1), Regression::random(2, 3, 20, 1), vec![9.0; 6]);
/// let mut method = TrustRegionNewton::new(TrustRegionOptions::default())?;
/// let report = method.step(&Ctx::default(), &h, &mut theta, &batch)?;
/// assert!(report.step_norm.unwrap() <= 1.0 + 1e-12); // far away: to the edge, and the edge moves out
/// assert_eq!(method.radius(), 2.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrustRegionNewton {
    #[cfg_attr(feature = "serde", serde(deserialize_with = "crate::error::restored"))]
    options: TrustRegionOptions,
    radius: f64,
    /// ‖∇h‖ and η of the last step that was taken.
    last: Option<(f64, f64)>,
}

#[cfg(feature = "serde")]
impl crate::error::Restored for TrustRegionOptions {
    fn check_restored(&self) -> Result<()> {
        self.check()
    }
}

impl TrustRegionNewton {
    /// # Errors
    /// [`Error::InvalidParameter`] for options outside their domain.
    pub fn new(options: TrustRegionOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options, radius: options.radius, last: None })
    }

    /// Δ of the next step.
    pub fn radius(&self) -> f64 {
        self.radius
    }

    /// η at a gradient of that norm.
    fn forcing(&self, gradient: f64) -> f64 {
        const LARGEST: f64 = 0.5;
        match (self.options.forcing, self.last) {
            (Forcing::Fixed(eta), _) => eta,
            (Forcing::EisenstatWalker, None) => LARGEST,
            (Forcing::EisenstatWalker, Some((last, eta))) => {
                let (wanted, kept) = (0.9 * (gradient / last).powi(2), 0.9 * eta * eta);
                let wanted = if kept > 0.1 { wanted.max(kept) } else { wanted };
                wanted.min(LARGEST)
            }
        }
    }

    /// Δ after a step of norm ‖δ‖_M.
    fn resize(&self, radius: f64, rho: f64, tried: &TrustRegionReport) -> f64 {
        if rho > 0.75 && tried.on_boundary {
            (2.0 * radius).min(self.options.max_radius)
        } else if !(rho >= 0.25) {
            // a step that is not finite has no norm
            let length = if tried.norm.is_finite() { tried.norm.min(radius) } else { radius };
            (0.25 * length).max(f64::MIN_POSITIVE)
        } else {
            radius
        }
    }

    /// diag(|C_ii|)⁻¹, entries kept away from zero, and the products that it took.
    fn preconditioner<T: Scalar>(
        &self,
        ctx: &Ctx<T>,
        c: &dyn SelfAdjoint<T>,
    ) -> Result<(Option<MetricInverse<DiagonalMetric<T>>>, u64)> {
        let Some(source) = self.options.jacobi else { return Ok((None, 0)) };
        let (diagonal, products) = source.diagonal(ctx, c)?;
        let sizes: Vec<T> = diagonal.iter().map(|d| d.abs()).collect();
        Ok((Some(MetricInverse(DiagonalMetric::marquardt(&sizes, T::EPS.sqrt())?)), products))
    }
}

impl<T: Scalar, O: CurvatureObjective<T> + ?Sized> Optimizer<T, O> for TrustRegionNewton {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let (mut watch, options) = (Stopwatch::start(), self.options);
        check_len("theta", objective.layout().len(), theta.len())?;
        let mut gradient = Vec::new();
        let loss = take_gradient(ctx, objective, theta, batch, &mut gradient)?;
        let length = norm(&gradient);
        let mut report = StepReport { gradient_norm: Some(T::of(length)), ..StepReport::first_order(loss) };
        report.radius = Some(T::of(self.radius));
        report.seconds.gradient = watch.lap();
        if length == 0.0 {
            return Ok(report);
        }
        let c = objective.curvature(ctx, options.matrix, theta, batch)?;
        let (inverse, products) = self.preconditioner(ctx, &*c)?;
        report.passes += options.matrix.passes(products);
        report.passes.forward += 1;
        report.seconds.curvature = watch.lap();

        let inverse = inverse.as_ref().map(|inverse| inverse as &dyn Preconditioner<T>);
        let solve = if options.solver == RegionSolver::Gltr { gltr } else { steihaug };
        let eta = self.forcing(length);
        let (max_iterations, relative_tolerance) = (options.max_iterations, T::of(eta));
        let inner = CgOptions { relative_tolerance, max_iterations, ..CgOptions::from_zero() };
        let descent: Vec<T> = gradient.iter().map(|&g| -g).collect();
        let (mut delta, mut radius, mut accepted) = (vec![T::ZERO; theta.len()], self.radius, None);
        for _ in 0..options.trials {
            let tried = solve(ctx, &*c, inverse, &descent, radius, &mut delta, &inner)?;
            report.passes += options.matrix.passes(tried.products as u64);
            report.radius = Some(T::of(radius));
            report.inner = Some(InnerReport { iterations: tried.iterations, stop: InnerStop::Krylov(tried.stop) });
            report.seconds.solve += watch.lap();
            let point: Vec<T> = theta.iter().zip(&delta).map(|(&w, &d)| w + d).collect();
            let rho = judge(ctx, objective, batch, &point, &tried, &mut report)?;
            report.step_norm = Some(T::of(norm(&delta)));
            report.rho = (!rho.is_nan()).then(|| T::of(rho));
            report.seconds.search += watch.lap();
            radius = self.resize(radius, rho, &tried);
            if rho > options.accept {
                accepted = Some(point);
                break;
            }
        }
        drop(c);
        self.radius = radius;
        match accepted {
            Some(point) => {
                theta.copy_from_slice(&point);
                self.last = Some((length, eta));
            }
            None => report.rejected = true,
        }
        Ok(report)
    }
}

/// ρ at θ + δ, NaN where it says nothing.
fn judge<T: Scalar, O: CurvatureObjective<T> + ?Sized>(
    ctx: &Ctx<T>,
    objective: &O,
    batch: &O::Batch,
    point: &[T],
    tried: &TrustRegionReport,
    report: &mut StepReport<T>,
) -> Result<f64> {
    (report.loss_after, report.predicted_change) = (None, Some(T::of(tried.model)));
    if check::finite_slice("trust region: step", point).is_err() {
        return Ok(f64::NAN);
    }
    let (before, after) = (report.loss_before.f64(), objective.loss(ctx, point, batch)?);
    report.passes += Passes { forward: 1, ..Passes::default() };
    report.loss_after = Some(after);
    let after = after.f64();
    if !(tried.model < 0.0 && after.is_finite()) {
        return Ok(f64::NAN);
    }
    let noise = 10.0 * T::EPS.f64() * before.abs();
    Ok((before - after + noise) / (noise - tried.model))
}
