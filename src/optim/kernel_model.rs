//! [`KernelModel`]: the Gauss-Newton matrix through its Jacobian, in sample space where that is cheaper.
//!
//! ```text
//! C = JᵀJ + ηI,   ∇h = Jᵀr + ηθ,   M = ηI + λD = F²,   J' = J F⁻¹
//! δ(λ) = -F⁻¹ (y₀ + J'ᵀ(J'J'ᵀ + I)⁻¹(r - J'y₀)),   y₀ = η F⁻¹ θ           (N x N; or P x P, CG, LSMR on the same problem)
//! ```
//! δ minimizes ½‖J δ + r‖² + η/2 ‖θ + δ‖² + λ/2 δᵀDδ, and r is used, not Jᵀr: nothing cancels where λ is small.
//!
//! Deviations  With λ = 0 and η = 0 there is no sample-space form: JᵀJ is factored, an error where it is singular.
//! Cost        a forward pass, a product with Jᵀ for the gradient, and the path of [`SampleSpaceOptions`] (its products are
//!             counted as passes; a kernel or gram matrix that the structure of J gives without products is not). The second
//!             λ of a model costs an eigendecomposition, further ones are free, unless η and a metric mix.
//! Laws        tests/newton.rs, tests/levenberg_marquardt_method.rs.
//! Reference   chapter section 2.1; Y. Ren, D. Goldfarb, 2019, arXiv:1906.02353 (the sample-space form).

use std::sync::Arc;

use super::damping_metric::{Scaling, metric_form};
use super::scaled_jacobian::{Products, ScaledJacobian};
use super::{
    DampingMetric, Linearization, LocalModel, ModelSource, ModelStep, Passes, ResidualObjective, finite_gradient,
    finite_loss,
};
use crate::backend::{Ctx, check};
use crate::curvature::{
    Curvature, DampedSolver, Damping, DirectPath, JacobianSource, SampleSpace, SampleSpaceOptions, SampleSpaceSpectrum,
    SolvePath, SolveReport,
};
use crate::error::{Result, check_len};
use crate::factor::Cholesky;
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Gauss-Newton models of any [`ResidualObjective`].
///
/// ```
/// use pullback::curvature::{SampleSpaceOptions, SampleSpacePath};
/// use pullback::optim::{DampingMetric, KernelModel};
/// let options = SampleSpaceOptions { path: SampleSpacePath::Kernel, ..SampleSpaceOptions::default() };
/// let model = KernelModel::<f64>::new(options)?.with_metric(DampingMetric::Diagonal);
/// assert_eq!(model.options().path, SampleSpacePath::Kernel);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KernelModel<T> {
    options: SampleSpaceOptions<T>,
    scaling: Scaling<T>,
}

/// By the cheapest path, D = I.
impl<T: Scalar> Default for KernelModel<T> {
    fn default() -> Self {
        Self { options: SampleSpaceOptions::default(), scaling: Scaling::default() }
    }
}

impl<T: Scalar> KernelModel<T> {
    /// By the path of the options, D = I.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) as [`SampleSpaceOptions::check`].
    pub fn new(options: SampleSpaceOptions<T>) -> Result<Self> {
        options.check()?;
        Ok(Self { options, ..Self::default() })
    }

    /// With another D.
    #[must_use]
    pub fn with_metric(self, metric: DampingMetric) -> Self {
        Self { scaling: Scaling::new(metric), ..self }
    }

    /// How the systems are solved.
    pub fn options(&self) -> &SampleSpaceOptions<T> {
        &self.options
    }
}

impl<T: Scalar, O: ResidualObjective<T> + ?Sized> ModelSource<T, O> for KernelModel<T> {
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>> {
        check_len("theta", objective.layout().len(), theta.len())?;
        let eta = objective.l2();
        let Linearization { loss, jacobian, residual } = objective.linearize(ctx, theta, batch)?;
        finite_loss(ctx, objective, theta, batch, loss)?;
        let (products, jacobian) = (Arc::<Products>::default(), Arc::new(jacobian));
        let plain = ScaledJacobian::new(jacobian.clone(), None, products.clone());
        let mut gradient = vec![T::ZERO; theta.len()];
        plain.apply_transpose(ctx, MatRef::from_column(&residual), MatMut::from_column(&mut gradient))?;
        gradient.iter_mut().zip(theta).for_each(|(g, &w)| *g += eta * w);
        finite_gradient(objective.layout(), &gradient)?;
        let diagonal = || {
            let mut squares = vec![T::ZERO; theta.len()];
            plain.column_squares(ctx, &mut squares)?;
            squares.iter_mut().for_each(|s| *s += eta);
            Ok(squares)
        };
        let d = self.scaling.update(theta.len(), diagonal)?;
        let options = &self.options;
        let known = Known { loss, gradient, theta, residual, eta, d };
        Ok(Box::new(KernelLocal { known, jacobian, plain, products, options, last: None, spectrum: None }))
    }
}

/// What does not change with λ.
struct Known<'a, T> {
    loss: T,
    gradient: Vec<T>,
    theta: &'a [T],
    residual: Vec<T>,
    eta: T,
    d: Option<Vec<T>>,
}

type Shared<T, J> = Arc<ScaledJacobian<T, J>>;

struct KernelLocal<'a, T: Scalar, J> {
    known: Known<'a, T>,
    jacobian: Arc<J>,
    plain: ScaledJacobian<T, J>,
    products: Arc<Products>,
    options: &'a SampleSpaceOptions<T>,
    /// J' and the direct path of the last solve, where J' does not depend on λ.
    last: Option<(Shared<T, J>, DirectPath)>,
    spectrum: Option<SampleSpaceSpectrum<T, Shared<T, J>>>,
}

impl<T: Scalar, J: JacobianSource<T>> KernelLocal<'_, T, J> {
    /// F, `None` where it is a multiple of I that is part of the shift, and the shift: J' = J F⁻¹ damped by the shift.
    fn whitening(&self, lambda: T) -> (Option<Vec<T>>, T) {
        let eta = self.known.eta;
        match &self.known.d {
            None => (None, eta + lambda),
            Some(d) if eta == T::ZERO => (Some(d.iter().map(|d| d.sqrt()).collect()), lambda),
            Some(d) => (Some(d.iter().map(|&d| (eta + lambda * d).sqrt()).collect()), T::ONE),
        }
    }

    fn undamped(&self, ctx: &Ctx<T>, delta: &mut [T]) -> Result<SolveReport> {
        delta.copy_from_slice(&self.known.gradient);
        Cholesky::new(ctx, self.plain.gram(ctx)?)?.solve_in_place(ctx, MatMut::from_column(delta))?;
        Ok(SolveReport::Direct)
    }

    /// y ← J'ᵀ(J'J'ᵀ + shift I)⁻¹ r.
    fn solve(&mut self, ctx: &Ctx<T>, j: &Shared<T, J>, shift: T, r: &[T], y: &mut [T]) -> Result<SolveReport> {
        let damping = Damping::try_from(shift.f64())?;
        let (r, y) = (MatRef::from_column(r), MatMut::from_column(y));
        if let (None, Some((last, path))) = (&self.spectrum, &self.last) {
            self.spectrum = Some(SampleSpace::new(last.clone()).spectrum(ctx, *path)?);
        }
        if let Some(spectrum) = &self.spectrum {
            return spectrum.damped(damping)?.solve_residual(ctx, r, y).map(|()| SolveReport::Direct);
        }
        let solver = SampleSpace::new(j.clone()).with_options(*self.options)?.damped(ctx, damping)?;
        let fixed = self.known.d.is_none() || self.known.eta == T::ZERO;
        self.last = match solver.path() {
            SolvePath::Kernel if fixed => Some((j.clone(), DirectPath::Kernel)),
            SolvePath::Primal if fixed => Some((j.clone(), DirectPath::Primal)),
            _ => None,
        };
        solver.solve_residual(ctx, r, y)
    }

    fn damped(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<SolveReport> {
        let (roots, shift) = self.whitening(lambda);
        let j = match &self.last {
            Some((j, _)) => j.clone(),
            None => Arc::new(ScaledJacobian::new(self.jacobian.clone(), roots, self.products.clone())),
        };
        let (eta, theta) = (self.known.eta, self.known.theta);
        let mut residual = self.known.residual.clone();
        let prior: Option<Vec<T>> = (eta != T::ZERO).then(|| {
            let mut prior: Vec<T> = theta.iter().map(|&w| eta * w / shift).collect();
            divide(&mut prior, j.roots());
            prior
        });
        if let Some(prior) = &prior {
            let mut seen = ctx.scratch(residual.len(), 1);
            j.apply(ctx, MatRef::from_column(prior), seen.as_mut())?;
            residual.iter_mut().zip(seen.as_slice()).for_each(|(r, &s)| *r -= s);
        }
        let report = self.solve(ctx, &j, shift, &residual, delta)?;
        if let Some(prior) = &prior {
            delta.iter_mut().zip(prior).for_each(|(y, &p)| *y += p);
        }
        divide(delta, j.roots());
        Ok(report)
    }
}

fn divide<T: Scalar>(x: &mut [T], roots: Option<&[T]>) {
    if let Some(roots) = roots {
        x.iter_mut().zip(roots).for_each(|(x, &root)| *x /= root);
    }
}

impl<T: Scalar, J: JacobianSource<T>> LocalModel<T> for KernelLocal<'_, T, J> {
    fn loss(&self) -> T {
        self.known.loss
    }

    fn gradient(&self) -> &[T] {
        &self.known.gradient
    }

    fn step(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<ModelStep<T>> {
        check::finite_slice("residual", &self.known.residual)?;
        let solve = if lambda + self.known.eta == T::ZERO {
            self.undamped(ctx, delta)?
        } else {
            self.damped(ctx, lambda, delta)?
        };
        delta.iter_mut().for_each(|d| *d = -*d);
        Ok(ModelStep { lambda, solve })
    }

    fn quadratic_form(&mut self, ctx: &Ctx<T>, v: &[T]) -> Result<f64> {
        let mut image = ctx.scratch(self.known.residual.len(), 1);
        self.plain.apply(ctx, MatRef::from_column(v), image.as_mut())?;
        Ok(metric_form(None, image.as_slice()) + self.known.eta.f64() * metric_form(None, v))
    }

    fn metric_form(&self, v: &[T]) -> f64 {
        metric_form(self.known.d.as_deref(), v)
    }

    fn passes(&self) -> Passes {
        let mut passes = self.products.passes();
        passes.forward += 1;
        passes
    }
}
