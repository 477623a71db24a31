//! [`QrModel`]: the Gauss-Newton matrix through an orthogonal factorization of the Jacobian, which is held.
//!
//! ```text
//! [J; √η I] D^(-1/2) = Q R                       once for each model; D = I, or D_j = ‖J e_j‖² + η with a memory
//! D^(1/2) δ(λ) = argmin ‖[R; √λ I] y - [Qᵀ b; 0]‖         by QR again, b = -[r; √η θ]
//! ```
//! JᵀJ is never formed, so that half of the digits are not lost: on an ill-conditioned J, and at a λ near nothing, this is
//! the source to take. A column that depends on those before it up to rounding is left out: its parameter stays.
//!
//! Deviations  The second factorization is dense; MINPACK rotates the rows of √λ I in one by one, for half the flops.
//! Cost        a gradient and J as a dense matrix, which is not counted in passes; 8 (N + P) P² flops once and 16 P³ for
//!             each λ; 2 N P numbers at first, then P². N residuals, P parameters.
//! Laws        tests/qr_model.rs, tests/levenberg_marquardt_method.rs, tests/newton.rs; on real problems
//!             tests/nist_bar.rs, tests/more_garbow_hillstrom_bar.rs.
//! Reference   J. Moré, The Levenberg-Marquardt algorithm: implementation and theory, LNM 630 (1978) 105-116, section 3,
//!             doi 10.1007/BFb0067700.

use super::damping_metric::{Scaling, metric_form};
use super::{
    DampingMetric, Linearization, LocalModel, ModelSource, ModelStep, Passes, ResidualObjective, dot, finite_gradient,
    finite_loss,
};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::curvature::{JacobianSource, SolveReport};
use crate::error::{Result, check_len};
use crate::factor::ThinQr;
use crate::linop::LinearOperator;
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;

/// Gauss-Newton models of any [`ResidualObjective`] whose Jacobian is small enough to be held.
///
/// ```
/// use pullback::optim::{DampingMetric, GaussNewton, Optimizer, QrModel};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let source = QrModel::default().with_metric(DampingMetric::Diagonal);
/// let (h, batch, mut theta) = (LeastSquares::<f64>::new(2, 3, 0.1), Regression::random(2, 3, 20, 1), vec![1.0; 6]);
/// let report = GaussNewton::new(0.0)?.with_source(source).step(&Ctx::default(), &h, &mut theta, &batch)?;
/// assert!(report.predicted_change.unwrap() < 0.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct QrModel<T> {
    /// Lengths of columns, not their squares, which leave the range of `T` first.
    scaling: Scaling<T>,
}

/// D = I.
impl<T: Scalar> Default for QrModel<T> {
    fn default() -> Self {
        Self { scaling: Scaling::new(DampingMetric::Identity) }
    }
}

impl<T: Scalar> QrModel<T> {
    /// With another D.
    #[must_use]
    pub fn with_metric(self, metric: DampingMetric) -> Self {
        Self { scaling: Scaling::new(metric) }
    }

    /// D.
    pub fn metric(&self) -> DampingMetric {
        self.scaling.metric()
    }
}

impl<T: Scalar, O: ResidualObjective<T> + ?Sized> ModelSource<T, O> for QrModel<T> {
    fn model<'a>(
        &'a mut self,
        ctx: &Ctx<T>,
        objective: &'a O,
        theta: &'a [T],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn LocalModel<T> + 'a>> {
        check_len("theta", objective.layout().len(), theta.len())?;
        let (eta, p) = (objective.l2(), theta.len());
        let Linearization { loss, jacobian, residual } = objective.linearize(ctx, theta, batch)?;
        finite_loss(ctx, objective, theta, batch, loss)?;
        check::finite_slice("residual", &residual)?;
        // the evaluation of a J that is there as a matrix counts as a backward pass
        let formation = match jacobian.costs().matrix_products {
            0 => Passes { backward: 1, ..Passes::default() },
            products => Passes { jvp: products, ..Passes::default() },
        };
        let j = jacobian.to_dense(ctx)?;
        // backpropagation, which comes from the last layer, met first what is not finite
        let derivative =
            |column: &[T]| if check::finite_slice("Jacobian", column).is_ok() { T::ZERO } else { T::nan() };
        finite_gradient(objective.layout(), &j.as_ref().cols().map(derivative).collect::<Vec<T>>())?;
        let mut gradient = theta.to_vec();
        ctx.gemv(T::ONE, j.as_ref(), Op::Transpose, &residual, eta, &mut gradient)?;
        finite_gradient(objective.layout(), &gradient)?;
        let root = eta.sqrt();
        let lengths = || Ok(j.as_ref().cols().map(|column| T::of(norm(column).hypot(root.f64()))).collect());
        let scales = self.scaling.update_within(T::ONE / T::EPS.sqrt(), p, lengths)?.unwrap_or_else(|| vec![T::ONE; p]);
        let (n, regular) = (j.nrows(), if eta > T::ZERO { p } else { 0 });
        let stacked = Mat::from_fn(n + regular, p, |i, k| match i {
            _ if i < n => j[(i, k)] / scales[k],
            _ if i - n == k => root / scales[k],
            _ => T::ZERO,
        });
        let mut right: Vec<T> = residual.iter().map(|&r| -r).collect();
        right.extend(theta.iter().take(regular).map(|&w| -root * w));
        let qr = ThinQr::new(ctx, stacked.as_ref())?;
        let mut image = vec![T::ZERO; qr.rank()];
        ctx.gemv(T::ONE, qr.q().as_ref(), Op::Transpose, &right, T::ZERO, &mut image)?;
        Ok(Box::new(QrLocal { loss, gradient, scales, r: qr.r().clone(), image, formation }))
    }
}

struct QrLocal<T> {
    loss: T,
    gradient: Vec<T>,
    /// √D.
    scales: Vec<T>,
    /// R.
    r: Mat<T>,
    /// Qᵀ b.
    image: Vec<T>,
    /// What J cost.
    formation: Passes,
}

impl<T: Scalar> LocalModel<T> for QrLocal<T> {
    fn loss(&self) -> T {
        self.loss
    }

    fn gradient(&self) -> &[T] {
        &self.gradient
    }

    fn step(&mut self, ctx: &Ctx<T>, lambda: T, delta: &mut [T]) -> Result<ModelStep<T>> {
        let (rank, p) = self.r.shape();
        let (root, damped) = (lambda.sqrt(), if lambda > T::ZERO { p } else { 0 });
        let stacked = Mat::from_fn(rank + damped, p, |i, k| match i {
            _ if i < rank => self.r[(i, k)],
            _ if i - rank == k => root,
            _ => T::ZERO,
        });
        let qr = ThinQr::new(ctx, stacked.as_ref())?;
        let mut right = self.image.clone();
        right.resize(rank + damped, T::ZERO);
        let mut z = vec![T::ZERO; qr.rank()];
        ctx.gemv(T::ONE, qr.q().as_ref(), Op::Transpose, &right, T::ZERO, &mut z)?;
        delta.fill(T::ZERO);
        // back substitution over the columns that are kept
        for (i, &j) in qr.kept().iter().enumerate().rev() {
            let known: T = qr.kept()[i + 1..].iter().map(|&k| qr.r()[(i, k)] * delta[k]).sum();
            delta[j] = (z[i] - known) / qr.r()[(i, j)];
        }
        delta.iter_mut().zip(&self.scales).for_each(|(d, &s)| *d /= s);
        Ok(ModelStep { lambda, solve: SolveReport::Direct })
    }

    fn quadratic_form(&mut self, ctx: &Ctx<T>, v: &[T]) -> Result<f64> {
        let scaled: Vec<T> = v.iter().zip(&self.scales).map(|(&v, &s)| s * v).collect();
        let mut image = ctx.scratch(self.r.nrows(), 1);
        let image = image.as_mut().into_slice();
        ctx.gemv(T::ONE, self.r.as_ref(), Op::No, &scaled, T::ZERO, image)?;
        Ok(dot(image, image))
    }

    fn metric_form(&self, v: &[T]) -> f64 {
        let scaled: Vec<T> = v.iter().zip(&self.scales).map(|(&v, &s)| s * v).collect();
        metric_form(None, &scaled)
    }

    fn passes(&self) -> Passes {
        Passes { forward: 1, ..self.formation }
    }
}
