//! Levenberg-Marquardt by orthogonal factorization, for residuals whose Jacobian is small enough to be held.
//!
//! ```text
//! δ = argmin ½‖J δ + r‖² + η/2 ‖θ + δ‖² + λ/2 ‖D δ‖²        D_j = the largest ‖J e_j‖ so far (with η in it)
//!   = the least-squares solution of  [J; √η I; √λ D] δ = -[r; √η θ; 0]      by QR, with columns scaled by D⁻¹
//! ρ = (h(θ) - h(θ + δ)) / (½‖J δ‖² + η/2 ‖δ‖² + λ‖D δ‖²)    the denominator is what the model without λ falls by
//! ρ > 10⁻⁴: accept, λ ← λ max(1/3, 1 - (2ρ - 1)³), ν ← 2;    else λ ← ν λ, ν ← 2ν, and another trial
//! ‖D δ‖ > 10 ‖D θ‖: refused unseen
//! ```
//! JᵀJ is never formed, so half of the digits are not lost; D makes the iteration the same in whatever units each
//! parameter is measured (Marquardt's metric, with Moré's memory).
//!
//! Deviations  Moré keeps a trust radius and solves for λ; here λ itself is kept, and moved by Nielsen's rule. The best λ
//!             of a problem in the metric D is a pure number.
//! Cost        a gradient and J, then for each trial a forward pass and about 8 (N + P) P² flops; (N + P) P numbers, and
//!             P of state. N residuals, P parameters.
//! Laws        tests/marquardt.rs; on real problems tests/nist_bar.rs, tests/more_garbow_hillstrom_bar.rs.
//! Reference   D. Marquardt, J. SIAM 11 (1963) 431-441, doi 10.1137/0111030; J. Moré, The Levenberg-Marquardt algorithm:
//!             implementation and theory, LNM 630 (1978) 105-116, doi 10.1007/BFb0067700; H. Nielsen, Damping parameter
//!             in Marquardt's method, IMM-REP-1999-05, Technical University of Denmark.

use super::report::Stopwatch;
use super::{Linearization, Optimizer, Passes, ResidualObjective, StepReport, dot, finite_gradient, finite_loss};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::curvature::JacobianSource;
use crate::error::{Error, Result, check_len};
use crate::factor::ThinQr;
use crate::linop::LinearOperator;
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;

/// Settings of [`Marquardt`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MarquardtOptions {
    /// λ of the first trial, in the metric D.
    pub lambda: f64,
    /// λ stays within these bounds.
    pub lambda_min: f64,
    /// See `lambda_min`.
    pub lambda_max: f64,
    /// A trial with ‖D δ‖ above this multiple of ‖D θ‖ is refused unseen, unless θ = 0: from far away the first steps of
    /// a small λ may leap to where the model is flat.
    pub longest: f64,
    /// Trials of a step before it is given up, rejected.
    pub trials: usize,
}

/// λ = 10⁻³ within [10⁻¹⁵, 10¹⁵], steps up to ten times θ, 16 trials.
impl Default for MarquardtOptions {
    fn default() -> Self {
        Self { lambda: 1e-3, lambda_min: 1e-15, lambda_max: 1e15, longest: 10.0, trials: 16 }
    }
}

/// Levenberg-Marquardt in Marquardt's metric, by QR.
///
/// ```
/// use pullback::Ctx;
/// use pullback::optim::{Marquardt, MarquardtOptions, Objective, Optimizer};
/// # #[cfg(feature = "testing")] {
/// use pullback::testing::problems::{MoreGarbowHillstrom, SumOfSquares};
/// let problem = MoreGarbowHillstrom::Rosenbrock;
/// let (h, mut theta) = (SumOfSquares::new(problem), problem.start());
/// let mut marquardt = Marquardt::new(MarquardtOptions::default())?;
/// for _ in 0..30 {
///     marquardt.step(&Ctx::default(), &h, &mut theta, &())?;
/// }
/// assert!(h.loss(&Ctx::default(), &theta, &())? < 1e-20);
/// # }
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(serialize = "T: serde::Serialize", deserialize = "T: serde::Deserialize<'de>"))
)]
pub struct Marquardt<T> {
    options: MarquardtOptions,
    lambda: f64,
    /// By how much the next rejection raises λ.
    factor: f64,
    /// D; empty before the first step.
    scales: Vec<T>,
}

/// J, r and D of one step.
struct Model<'a, T> {
    jacobian: &'a Mat<T>,
    residual: &'a [T],
    theta: &'a [T],
    scales: &'a [T],
    eta: f64,
}

impl<T: Scalar> Model<'_, T> {
    /// D δ.
    fn scaled_step(&self, ctx: &Ctx<T>, lambda: f64) -> Result<Vec<T>> {
        let (n, p) = self.jacobian.shape();
        let regular = if self.eta > 0.0 { p } else { 0 };
        let (root_eta, root_lambda) = (T::of(self.eta.sqrt()), T::of(lambda.sqrt()));
        let stacked = Mat::from_fn(n + regular + p, p, |i, j| match i {
            _ if i < n => self.jacobian[(i, j)] / self.scales[j],
            _ if i - n < regular => {
                if i - n == j {
                    root_eta / self.scales[j]
                } else {
                    T::ZERO
                }
            }
            _ => {
                if i - n - regular == j {
                    root_lambda
                } else {
                    T::ZERO
                }
            }
        });
        let mut right = vec![T::ZERO; n + regular + p];
        right[..n].iter_mut().zip(self.residual).for_each(|(b, &r)| *b = -r);
        right[n..n + regular].iter_mut().zip(self.theta).for_each(|(b, &w)| *b = -root_eta * w);
        let qr = ThinQr::new(ctx, stacked.as_ref())?;
        let mut z = vec![T::ZERO; qr.rank()];
        ctx.gemv(T::ONE, qr.q().as_ref(), Op::Transpose, &right, T::ZERO, &mut z)?;
        // back substitution over the columns that are kept; a column that was dropped moves nothing
        let mut step = vec![T::ZERO; p];
        for (i, &j) in qr.kept().iter().enumerate().rev() {
            let known: T = qr.kept()[i + 1..].iter().map(|&k| qr.r()[(i, k)] * step[k]).sum();
            step[j] = (z[i] - known) / qr.r()[(i, j)];
        }
        Ok(step)
    }

    /// What the model without λ falls by, as a sum of positive terms.
    fn fall(&self, ctx: &Ctx<T>, step: &[T], scaled: &[T], lambda: f64) -> Result<f64> {
        let mut image = vec![T::ZERO; self.residual.len()];
        ctx.gemv(T::ONE, self.jacobian.as_ref(), Op::No, step, T::ZERO, &mut image)?;
        Ok(0.5 * dot(&image, &image) + 0.5 * self.eta * dot(step, step) + lambda * dot(scaled, scaled))
    }
}

impl<T: Scalar> Marquardt<T> {
    /// # Errors
    /// [`Error::InvalidParameter`] unless 0 < lambda_min <= lambda <= lambda_max, longest > 0, and there is a trial.
    pub fn new(options: MarquardtOptions) -> Result<Self> {
        let MarquardtOptions { lambda, lambda_min, lambda_max, longest, trials } = options;
        if !(lambda_min > 0.0 && lambda_min <= lambda && lambda <= lambda_max && lambda_max.is_finite()) {
            let what = format!("{lambda} must be within [{lambda_min}, {lambda_max}], both positive");
            return Err(Error::invalid("lambda", what));
        }
        if !(longest > 0.0) {
            return Err(Error::invalid("longest", format!("{longest} must be positive")));
        }
        if trials == 0 {
            return Err(Error::invalid("trials", "a step needs at least one"));
        }
        Ok(Self { options, lambda, factor: 2.0, scales: Vec::new() })
    }

    /// The settings.
    pub fn options(&self) -> &MarquardtOptions {
        &self.options
    }

    /// λ of the next trial.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// D, empty before the first step.
    pub fn scales(&self) -> &[T] {
        &self.scales
    }

    /// D with the columns of this J in it.
    fn updated_scales(&self, jacobian: &Mat<T>, eta: f64) -> Vec<T> {
        let known = |j: usize| self.scales.get(j).copied().unwrap_or(T::ZERO);
        let length = |column: &[T]| T::of(norm(column).hypot(eta.sqrt()));
        // a parameter that nothing has depended on yet is measured in its own units
        let own = |d: T| if d > T::ZERO { d } else { T::ONE };
        jacobian.as_ref().cols().enumerate().map(|(j, column)| own(length(column).max(known(j)))).collect()
    }

    fn accepted(&mut self, rho: f64) {
        let shrink = (1.0 - (2.0 * rho - 1.0).powi(3)).max(1.0 / 3.0);
        self.lambda = (self.lambda * shrink).clamp(self.options.lambda_min, self.options.lambda_max);
        self.factor = 2.0;
    }

    fn refused(&mut self) {
        self.lambda = (self.lambda * self.factor).min(self.options.lambda_max);
        self.factor = (2.0 * self.factor).min(1e6);
    }
}

/// What was tried: the parameters, and the terms by which they are judged.
struct Trial<T> {
    moved: Vec<T>,
    step_norm: f64,
    scaled_norm: f64,
    fall: f64,
}

impl<T: Scalar> Model<'_, T> {
    fn trial(&self, ctx: &Ctx<T>, lambda: f64) -> Result<Trial<T>> {
        let scaled = self.scaled_step(ctx, lambda)?;
        let step: Vec<T> = scaled.iter().zip(self.scales).map(|(&d, &s)| d / s).collect();
        let fall = self.fall(ctx, &step, &scaled, lambda)?;
        let moved = self.theta.iter().zip(&step).map(|(&w, &d)| w + d).collect();
        Ok(Trial { moved, step_norm: norm(&step), scaled_norm: norm(&scaled), fall })
    }
}

impl<T: Scalar, O: ResidualObjective<T> + ?Sized> Optimizer<T, O> for Marquardt<T> {
    fn step(&mut self, ctx: &Ctx<T>, objective: &O, theta: &mut [T], batch: &O::Batch) -> Result<StepReport<T>> {
        const ENOUGH: f64 = 1e-4;
        check_len("theta", objective.layout().len(), theta.len())?;
        if !self.scales.is_empty() {
            check_len("theta of an optimizer in use", self.scales.len(), theta.len())?;
        }
        let mut watch = Stopwatch::start();
        let mut report = StepReport { rejected: true, ..StepReport::default() };
        report.passes.forward += 1;
        let eta = objective.l2().f64();
        let (jacobian, residual, gradient) = linearized(ctx, objective, theta, batch, &mut report)?;
        report.gradient_norm = Some(T::of(norm(&gradient)));
        report.seconds.gradient = watch.lap();
        // on a copy: an error in the middle leaves the state as it was
        let mut next = Self { scales: self.updated_scales(&jacobian, eta), ..self.clone() };
        let scales = next.scales.clone();
        let model = Model { jacobian: &jacobian, residual: &residual, theta, scales: &scales, eta };
        let longest = match norm(&theta.iter().zip(&scales).map(|(&w, &d)| w * d).collect::<Vec<T>>()) {
            0.0 => f64::INFINITY,
            length => self.options.longest * length,
        };
        let mut accepted = None;
        for _ in 0..self.options.trials {
            report.lambda = Some(T::of(next.lambda));
            let trial = model.trial(ctx, next.lambda)?;
            report.seconds.solve += watch.lap();
            report.step_norm = Some(T::of(trial.step_norm));
            report.predicted_change = Some(T::of(-trial.fall));
            if trial.moved == theta {
                // at the first trial: stationary, or as near to that as the digits of θ allow, whatever λ
                report.rejected = next.lambda > self.lambda;
                break;
            }
            (report.loss_after, report.rho) = (None, None);
            if !(trial.scaled_norm <= longest) {
                next.refused();
                continue;
            }
            let after = objective.loss(ctx, &trial.moved, batch)?;
            report.passes.forward += 1;
            report.seconds.search += watch.lap();
            report.loss_after = Some(after);
            let rho = (report.loss_before.f64() - after.f64()) / trial.fall;
            report.rho = rho.is_finite().then(|| T::of(rho));
            if rho > ENOUGH && after.is_finite() {
                next.accepted(rho);
                accepted = Some(trial.moved);
                break;
            }
            next.refused();
        }
        *self = next;
        if let Some(moved) = accepted {
            theta.copy_from_slice(&moved);
            report.rejected = false;
        }
        Ok(report)
    }
}

/// J, r and ∇h, all finite; the loss goes into the report.
fn linearized<T: Scalar, O: ResidualObjective<T> + ?Sized>(
    ctx: &Ctx<T>,
    objective: &O,
    theta: &[T],
    batch: &O::Batch,
    report: &mut StepReport<T>,
) -> Result<(Mat<T>, Vec<T>, Vec<T>)> {
    let Linearization { loss, jacobian, residual } = objective.linearize(ctx, theta, batch)?;
    report.loss_before = finite_loss(ctx, objective, theta, batch, loss)?;
    check::finite_slice("residual", &residual)?;
    // the evaluation of a J that is there as a matrix counts as a backward pass
    report.passes += match jacobian.costs().matrix_products {
        0 => Passes { backward: 1, ..Passes::default() },
        products => Passes { jvp: products, ..Passes::default() },
    };
    let dense = jacobian.to_dense(ctx)?;
    // a column is not finite where its derivatives are not: backpropagation, which comes from the last layer, met it first
    let column = |column: &[T]| if check::finite_slice("Jacobian", column).is_ok() { T::ZERO } else { T::nan() };
    finite_gradient(objective.layout(), &dense.as_ref().cols().map(column).collect::<Vec<T>>())?;
    let mut gradient = theta.to_vec();
    ctx.gemv(T::ONE, dense.as_ref(), Op::Transpose, &residual, objective.l2(), &mut gradient)?;
    finite_gradient(objective.layout(), &gradient)?;
    Ok((dense, residual, gradient))
}
