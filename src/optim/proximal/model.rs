//! [`ProximalModel`]: the proximal objective with its parts to first or second order, minimized exactly.
//!
//! ```text
//! minimize ∇hᵀδ [+ ½ δᵀC δ] + λ_F/2 δᵀ(G - ηI) δ + λ_W/2 ‖δ‖²:     δ = -([C +] λ_F (G - ηI) + λ_W I)⁻¹ ∇h
//!
//! loss           function space   weight space   the update is
//! first order    -                λ_W            gradient descent of rate 1/λ_W
//! second order   -                λ_W            damped Newton (C = H) or Gauss-Newton (C = G), λ = λ_W
//! first order    quadratic        λ_W            damped natural gradient of rate 1/λ_F, λ = λ_W/λ_F
//! second order   quadratic        λ_W            their sum; with C = G, Gauss-Newton again (Eq 12)
//! ```
//! G - ηI is the Hessian of E ρ at w₀ for a distance of the kind of the loss (Eq below 11), in the reduction of h.
//!
//! Cost        1 gradient; where a matrix is needed 1 forward pass for each and its products in conjugate gradient;
//!             2 n-vectors. No state beside the options.
//! Laws        tests/proximal.rs.
//! Reference   chapter sections 2.4, 3 and 4.

use super::options::not_negative;
use crate::backend::Ctx;
use crate::backend::sums::norm;
use crate::error::Result;
use crate::krylov::{CgOptions, CgStop, pcg};
use crate::linop::{LinearOperator, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::optim::report::Stopwatch;
use crate::optim::sgd::positive;
use crate::optim::{
    CurvatureMatrix, CurvatureObjective, InnerReport, InnerStop, Optimizer, PhaseSeconds, StepReport, take_gradient,
};
use crate::scalar::Scalar;

/// To which order the loss is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LossOrder {
    /// ∇hᵀδ.
    #[default]
    First,
    /// ∇hᵀδ + ½ δᵀC δ.
    Second(CurvatureMatrix),
}

/// Settings of [`ProximalModel`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct ProximalModelOptions<T> {
    /// Order of the loss.
    pub loss: LossOrder,
    /// λ_W > 0.
    pub weight_space: T,
    /// λ_F >= 0; no product is made for 0.
    pub function_space: T,
    /// The solve where there is a matrix; it starts from zero.
    pub solve: CgOptions<T>,
}

/// First order, λ_W = 1, λ_F = 0, conjugate gradient with its defaults.
impl<T: Scalar> Default for ProximalModelOptions<T> {
    fn default() -> Self {
        let solve = CgOptions::from_zero();
        Self { loss: LossOrder::First, weight_space: T::ONE, function_space: T::ZERO, solve }
    }
}

/// The quadratic proximal step.
///
/// ```
/// use pullback::optim::{Optimizer, ProximalModel, ProximalModelOptions};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h) = (Ctx::<f64>::default(), LeastSquares::new(1, 3, 0.0));
/// let (batch, mut theta) = (Regression::random(1, 3, 8, 5), vec![1.0, -1.0, 0.5]);
/// let options = ProximalModelOptions { function_space: 2.0, weight_space: 0.1, ..ProximalModelOptions::default() };
/// let report = ProximalModel::new(options)?.step(&ctx, &h, &mut theta, &batch)?; // damped natural gradient
/// assert!(report.predicted_change.unwrap() < 0.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct ProximalModel<T> {
    options: ProximalModelOptions<T>,
}

impl<T: Scalar> ProximalModel<T> {
    /// With those settings.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless λ_W > 0 and λ_F >= 0; as
    /// [`CgOptions::check`].
    pub fn new(options: ProximalModelOptions<T>) -> Result<Self> {
        positive("weight_space", options.weight_space)?;
        not_negative("function_space", options.function_space)?;
        options.solve.check()?;
        Ok(Self { options })
    }
}

/// [C +] λ_F (G - ηI) + λ_W I.
struct Sum<'a, T: Scalar> {
    loss: Option<Box<dyn SelfAdjoint<T> + 'a>>,
    function: Option<Box<dyn SelfAdjoint<T> + 'a>>,
    function_space: T,
    identity: T,
    n: usize,
}

impl<T: Scalar> LinearOperator<T> for Sum<'_, T> {
    fn shape(&self) -> (usize, usize) {
        (self.n, self.n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for (y, x) in y.cols_mut().zip(x.cols()) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = self.identity * x);
        }
        if let Some(loss) = &self.loss {
            loss.apply_add(ctx, T::ONE, x, y.rb_mut())?;
        }
        if let Some(function) = &self.function {
            function.apply_add(ctx, self.function_space, x, y)?;
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for Sum<'_, T> {}

impl<T: Scalar, O: CurvatureObjective<T> + ?Sized> Optimizer<T, O> for ProximalModel<T> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        let mut watch = Stopwatch::start();
        let ProximalModelOptions { loss: order, weight_space, function_space, solve } = self.options;
        let mut gradient = Vec::new();
        let loss = take_gradient(ctx, objective, theta, batch, &mut gradient)?;
        let mut report = StepReport { lambda: Some(weight_space), ..StepReport::first_order(loss) };
        report.gradient_norm = Some(T::of(norm(&gradient)));
        let mut seconds = PhaseSeconds { gradient: watch.lap(), ..PhaseSeconds::default() };
        let mut step: Vec<T> = vec![T::ZERO; theta.len()];
        let (mut stop, mut change) = (CgStop::Converged, 0.0);
        if order == LossOrder::First && function_space == T::ZERO {
            let alpha = T::ONE / weight_space;
            step.iter_mut().zip(&gradient).for_each(|(s, &g)| *s = -alpha * g);
            change = -alpha.f64() * super::super::dot(&gradient, &gradient);
            report.alpha = Some(alpha);
        } else {
            let (point, fixed) = (theta.to_vec(), &mut report.passes);
            let mut matrix = |matrix| {
                fixed.forward += 1;
                objective.curvature(ctx, matrix, &point, batch)
            };
            let of_loss = match order {
                LossOrder::First => None,
                LossOrder::Second(kind) => Some((kind, matrix(kind)?)),
            };
            let gauss_newton = CurvatureMatrix::GaussNewton;
            let function = if function_space > T::ZERO { Some(matrix(gauss_newton)?) } else { None };
            let kind = of_loss.as_ref().map(|(kind, _)| *kind);
            let eta = if function.is_some() { function_space * objective.l2() } else { T::ZERO };
            let (identity, n) = (weight_space - eta, gradient.len());
            let sum = Sum { loss: of_loss.map(|(_, c)| c), function, function_space, identity, n };
            seconds.curvature = watch.lap();
            let right: Vec<T> = gradient.iter().map(|&g| -g).collect();
            let x = MatMut::from_column(&mut step);
            let cg = pcg(ctx, &sum, None, MatRef::from_column(&right), x, &solve)?;
            let products = cg.products() as u64;
            kind.into_iter().for_each(|kind| report.passes += kind.passes(products));
            if sum.function.is_some() {
                report.passes += gauss_newton.passes(products);
            }
            stop = cg.stop();
            change += cg.columns().first().map_or(0.0, |column| column.model);
            report.inner = Some(InnerReport { iterations: cg.iterations(), stop: InnerStop::Krylov(stop) });
        }
        seconds.solve = watch.lap();
        report.predicted_change = Some(T::of(change));
        report.step_norm = Some(T::of(norm(&step)));
        report.seconds = seconds;
        let finite = theta.iter().zip(&step).all(|(&w, &s)| (w + s).is_finite());
        // Q has no minimum where its matrix is not positive definite
        report.rejected = !finite || matches!(stop, CgStop::NonPositiveCurvature | CgStop::Breakdown);
        if !report.rejected {
            theta.iter_mut().zip(&step).for_each(|(w, &s)| *w += s);
        }
        Ok(report)
    }
}
