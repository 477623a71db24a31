//! Output losses of one case as functions of the network's outputs z (d_out) and targets t, summed over outputs.
//!
//! ```text
//!                           ℓ(z, t)                        ∂ℓ/∂z      H_z           S,  S Sᵀ = H_z
//! BernoulliCrossEntropy     Σ max(z,0) - z t + log1p(e^-|z|)   p - t  diag p(1-p)   diag √(p(1-p))       p = logistic z
//! SoftmaxCrossEntropy       Σ t (logsumexp z - z)          (Σt) p - t  diag p - p pᵀ (diag 1 - p 1ᵀ) diag √p   p = softmax z
//! SquaredError              ½ ‖z - t‖²                     z - t      I             I
//! ```
//! Each is the negative log-likelihood of an exponential family in its natural parameters, so H_z does not depend on
//! the targets and equals the Fisher matrix of the predictive distribution. Column c of the softmax S is
//! √p_c (e_c - p): one pseudo-gradient for each class that could have been drawn.
//!
//! Deviations  none; H_z for softmax supposes targets that sum to 1 ([`Loss::check_targets`]).
//! Cost        one exp and one log1p an output; values are accumulated in f64.
//! Laws        tests/nn_losses.rs, tests/nn_gradients.rs, tests/nn_capture.rs.
//! Reference   J. Martens, New insights and perspectives on the natural gradient method, JMLR 21 (2020), section 9.2.

use super::columns::{self, Kernel};
use super::elementary::{exp_neg, log1p_unit, logistic, logistic_parts};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_len, check_shape};
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// A loss on the outputs of a network; z and t are d_out x cases, one case a column.
///
/// ```
/// use pullback::{Ctx, Mat, nn::Loss};
/// let ctx = Ctx::<f64>::default();
/// let (z, t) = (Mat::zeros(2, 3), Mat::zeros(2, 3));
/// let mut per_case = [0.0; 3];
/// let sum = Loss::BernoulliCrossEntropy.value(&ctx, z.as_ref(), t.as_ref(), &mut per_case)?;
/// assert!((sum - 6.0 * 2f64.ln()).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Independent binary outputs from logits, with real targets in [0, 1].
    BernoulliCrossEntropy,
    /// One of d_out classes from logits, with targets that sum to 1 (one-hot or probabilities).
    SoftmaxCrossEntropy,
    /// ½ ‖z - t‖²: a Gaussian of unit variance, up to a constant.
    SquaredError,
}

/// How the losses of the cases of a batch become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

impl Reduction {
    /// The weight of one case: 1, or 1/cases.
    pub fn weight(self, cases: usize) -> f64 {
        match self {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / cases as f64,
        }
    }
}

/// Which of the three matrices on outputs a product is with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputMatrix {
    Hessian,
    Factor(Op),
}

impl Loss {
    /// ℓ of each case into `case_loss`, and their sum.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn value<T: Scalar>(
        self,
        ctx: &Ctx<T>,
        z: MatRef<'_, T>,
        t: MatRef<'_, T>,
        case_loss: &mut [f64],
    ) -> Result<f64> {
        let mut dz = ctx.scratch(z.nrows(), z.ncols());
        self.value_gradient(ctx, z, t, case_loss, dz.as_mut())
    }

    /// ℓ of each case into `case_loss`, ∂ℓ/∂z into `dz`, and the sum of ℓ, in one pass.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn value_gradient<T: Scalar>(
        self,
        ctx: &Ctx<T>,
        z: MatRef<'_, T>,
        t: MatRef<'_, T>,
        case_loss: &mut [f64],
        dz: MatMut<'_, T>,
    ) -> Result<f64> {
        check_shape("loss: targets", z.shape(), t.shape())?;
        check_shape("loss: gradient", z.shape(), dz.shape())?;
        check_len("loss: values by case", z.ncols(), case_loss.len())?;
        columns::run(ctx, z.nrows(), (z, t, dz, &mut *case_loss), &ValueGradient(self));
        Ok(case_loss.iter().sum())
    }

    /// V ← H_z V, column by column.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn hessian_product<T: Scalar>(self, ctx: &Ctx<T>, z: MatRef<'_, T>, v: MatMut<'_, T>) -> Result<()> {
        self.product(ctx, z, v, OutputMatrix::Hessian)
    }

    /// V ← S V or Sᵀ V, column by column, with S Sᵀ = H_z.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn factor_product<T: Scalar>(self, ctx: &Ctx<T>, z: MatRef<'_, T>, op: Op, v: MatMut<'_, T>) -> Result<()> {
        self.product(ctx, z, v, OutputMatrix::Factor(op))
    }

    /// Column `direction` of S for each case.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::InvalidParameter`] when there is no such output.
    pub fn factor_column<T: Scalar>(
        self,
        ctx: &Ctx<T>,
        z: MatRef<'_, T>,
        direction: usize,
        mut out: MatMut<'_, T>,
    ) -> Result<()> {
        check_shape("factor_column", z.shape(), out.shape())?;
        if direction >= z.nrows() {
            return Err(Error::invalid("direction", format!("{direction} of {} outputs", z.nrows())));
        }
        for column in out.cols_mut() {
            column.fill(T::ZERO);
            column[direction] = T::ONE;
        }
        self.product(ctx, z, out, OutputMatrix::Factor(Op::No))
    }

    fn product<T: Scalar>(self, ctx: &Ctx<T>, z: MatRef<'_, T>, v: MatMut<'_, T>, matrix: OutputMatrix) -> Result<()> {
        check_shape("output product", z.shape(), v.shape())?;
        match self {
            Loss::BernoulliCrossEntropy => columns::run(ctx, z.nrows(), (z, v), &BernoulliProduct(matrix)),
            Loss::SoftmaxCrossEntropy => {
                let mut p = ctx.scratch(z.nrows(), z.ncols());
                columns::run(ctx, z.nrows(), (z, p.as_mut(), v), &SoftmaxProduct(matrix));
            }
            Loss::SquaredError => {}
        }
        Ok(())
    }

    /// Z ← the model's prediction, the mean of its predictive distribution: logistic z, softmax z, or z.
    pub fn predict<T: Scalar>(self, ctx: &Ctx<T>, z: MatMut<'_, T>) {
        columns::run(ctx, z.nrows(), z, &Predict(self));
    }

    /// Σ (prediction - t)² of each case into `out`, and their sum.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn squared_error<T: Scalar>(
        self,
        ctx: &Ctx<T>,
        z: MatRef<'_, T>,
        t: MatRef<'_, T>,
        out: &mut [f64],
    ) -> Result<f64> {
        check_shape("squared_error", z.shape(), t.shape())?;
        check_len("squared_error", z.ncols(), out.len())?;
        let mut p = ctx.scratch(z.nrows(), z.ncols());
        p.as_mut().copy_from(z)?;
        self.predict(ctx, p.as_mut());
        for ((p, t), out) in p.as_ref().cols().zip(t.cols()).zip(out.iter_mut()) {
            *out = p.iter().zip(t).map(|(p, t)| (p.f64() - t.f64()).powi(2)).sum();
        }
        Ok(out.iter().sum())
    }

    /// How many cases are classified as their targets say: largest output where the largest target is; with a single
    /// output, prediction and target on the same side of 1/2. A NaN output is never right.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn correct<T: Scalar>(self, z: MatRef<'_, T>, t: MatRef<'_, T>) -> Result<usize> {
        check_shape("correct", z.shape(), t.shape())?;
        let threshold = match self {
            Loss::BernoulliCrossEntropy | Loss::SoftmaxCrossEntropy => T::ZERO, // logistic(0) = 1/2
            Loss::SquaredError => T::of(0.5),
        };
        let right = |z: &[T], t: &[T]| match z {
            [] => false,
            _ if z.iter().any(|z| z.is_nan()) => false,
            [z] => (*z > threshold) == (t[0] > T::of(0.5)),
            _ => largest(z) == largest(t),
        };
        Ok(z.cols().zip(t.cols()).filter(|(z, t)| right(z, t)).count())
    }

    /// `Ok` when the targets lie in the loss's domain: [0, 1] for Bernoulli; non-negative columns that sum to 1, up to
    /// rounding, for softmax; anything finite for squared error.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] that names the first bad case.
    pub fn check_targets<T: Scalar>(self, t: MatRef<'_, T>) -> Result<()> {
        let unit = |t: &[T]| t.iter().all(|&t| t >= T::ZERO && t <= T::ONE);
        for (case, t) in t.cols().enumerate() {
            let rounding = T::EPS.f64() * (t.len() + 1) as f64;
            let sum: f64 = t.iter().map(|t| t.f64()).sum();
            let reason = match self {
                Loss::BernoulliCrossEntropy if !unit(t) => "must lie in [0, 1]",
                Loss::SoftmaxCrossEntropy if !(unit(t) && (sum - 1.0).abs() <= rounding) => {
                    "must be non-negative and sum to 1"
                }
                Loss::SquaredError if !t.iter().all(|t| t.is_finite()) => "must be finite",
                _ => continue,
            };
            return Err(Error::invalid("targets", format!("case {case} (counted from 0): the targets {reason}")));
        }
        Ok(())
    }
}

/// Index of the first largest entry.
fn largest<T: Scalar>(x: &[T]) -> usize {
    (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
}

/// out ← softmax z; returns logsumexp z.
#[inline(always)]
pub(super) fn softmax<T: Scalar>(z: &[T], out: &mut [T]) -> f64 {
    let max = z.iter().fold(T::neg_infinity(), |m, &z| if z > m { z } else { m });
    for (&z, out) in z.iter().zip(&mut *out) {
        *out = exp_neg(z - max);
    }
    let sum: f64 = out.iter().map(|e| e.f64()).sum();
    let scale = T::of(1.0 / sum);
    for out in out {
        *out *= scale;
    }
    max.f64() + sum.ln()
}

struct ValueGradient(Loss);

type LossViews<'a, T> = (MatRef<'a, T>, MatRef<'a, T>, MatMut<'a, T>, &'a mut [f64]);

impl<'a, T: Scalar> Kernel<LossViews<'a, T>> for ValueGradient {
    #[inline(always)]
    fn run(&self, (z, t, mut dz, values): LossViews<'a, T>) {
        for (j, value) in values.iter_mut().enumerate() {
            let (z, t, dz) = (z.col(j), t.col(j), dz.col_mut(j));
            *value = match self.0 {
                Loss::BernoulliCrossEntropy => bernoulli(z, t, dz),
                Loss::SoftmaxCrossEntropy => softmax_loss(z, t, dz),
                Loss::SquaredError => squared(z, t, dz),
            };
        }
    }
}

/// Lanes of an f64 accumulator: enough for a vector register or two, and the same on every CPU.
const LANES: usize = 16;

#[inline(always)]
fn add_lanes<T: Scalar>(lanes: &mut [f64; LANES], tile: &[T; TILE]) {
    for part in tile.chunks_exact(LANES) {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane += x.f64();
        }
    }
}

/// Outputs whose losses are computed before they are added up.
const TILE: usize = 64;

#[inline(always)]
fn bernoulli<T: Scalar>(z: &[T], t: &[T], dz: &mut [T]) -> f64 {
    let mut lanes = [0.0; LANES];
    for ((z, t), dz) in z.chunks(TILE).zip(t.chunks(TILE)).zip(dz.chunks_mut(TILE)) {
        let mut tile = [T::ZERO; TILE];
        for (((&z, &t), dz), value) in z.iter().zip(t).zip(dz).zip(&mut tile) {
            let (e, q) = logistic_parts(z);
            let p = if z < T::ZERO { e * q } else { q };
            let positive = if z > T::ZERO { z } else { T::ZERO };
            *dz = p - t;
            *value = positive - z * t + log1p_unit(e);
        }
        add_lanes(&mut lanes, &tile);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn squared<T: Scalar>(z: &[T], t: &[T], dz: &mut [T]) -> f64 {
    let mut lanes = [0.0; LANES];
    for ((z, t), dz) in z.chunks(TILE).zip(t.chunks(TILE)).zip(dz.chunks_mut(TILE)) {
        let mut tile = [T::ZERO; TILE];
        for (((&z, &t), dz), value) in z.iter().zip(t).zip(dz).zip(&mut tile) {
            *dz = z - t;
            *value = T::of(0.5) * *dz * *dz;
        }
        add_lanes(&mut lanes, &tile);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn softmax_loss<T: Scalar>(z: &[T], t: &[T], dz: &mut [T]) -> f64 {
    let log_sum = softmax(z, dz);
    let value = z.iter().zip(t).map(|(z, t)| t.f64() * (log_sum - z.f64())).sum();
    let total: T = t.iter().copied().sum();
    for (&t, dz) in t.iter().zip(dz) {
        *dz = total * *dz - t;
    }
    value
}

struct BernoulliProduct(OutputMatrix);

impl<T: Scalar> Kernel<(MatRef<'_, T>, MatMut<'_, T>)> for BernoulliProduct {
    #[inline(always)]
    fn run(&self, (z, mut v): (MatRef<'_, T>, MatMut<'_, T>)) {
        for (z, v) in z.cols().zip(v.cols_mut()) {
            // p(1 - p) = e q² with e = e^-|z|, q = 1/(1 + e): no cancellation in either tail
            match self.0 {
                OutputMatrix::Hessian => z.iter().zip(v).for_each(|(&z, v)| {
                    let (e, q) = logistic_parts(z);
                    *v *= e * q * q;
                }),
                OutputMatrix::Factor(_) => z.iter().zip(v).for_each(|(&z, v)| {
                    let (e, q) = logistic_parts(z);
                    *v *= e.sqrt() * q;
                }),
            }
        }
    }
}

struct SoftmaxProduct(OutputMatrix);

type ThreeViews<'a, T> = (MatRef<'a, T>, MatMut<'a, T>, MatMut<'a, T>);

impl<'a, T: Scalar> Kernel<ThreeViews<'a, T>> for SoftmaxProduct {
    #[inline(always)]
    fn run(&self, (z, mut p, mut v): ThreeViews<'a, T>) {
        for ((z, p), v) in z.cols().zip(p.cols_mut()).zip(v.cols_mut()) {
            softmax(z, p);
            let pv = || v.iter().zip(&*p).map(|(v, p)| v.f64() * p.f64()).sum::<f64>();
            match self.0 {
                OutputMatrix::Hessian => {
                    let mean = T::of(pv());
                    v.iter_mut().zip(p).for_each(|(v, p)| *v = *p * (*v - mean));
                }
                OutputMatrix::Factor(Op::Transpose) => {
                    let mean = T::of(pv());
                    v.iter_mut().zip(p).for_each(|(v, p)| *v = p.sqrt() * (*v - mean));
                }
                OutputMatrix::Factor(Op::No) => {
                    let mean: f64 = v.iter().zip(&*p).map(|(v, p)| v.f64() * p.f64().sqrt()).sum();
                    v.iter_mut().zip(p).for_each(|(v, p)| *v = p.sqrt() * *v - *p * T::of(mean));
                }
            }
        }
    }
}

struct Predict(Loss);

impl<T: Scalar> Kernel<MatMut<'_, T>> for Predict {
    #[inline(always)]
    fn run(&self, mut z: MatMut<'_, T>) {
        match self.0 {
            Loss::BernoulliCrossEntropy => {
                z.cols_mut().for_each(|z| z.iter_mut().for_each(|z| *z = logistic(*z)));
            }
            Loss::SoftmaxCrossEntropy => z.cols_mut().for_each(|z| {
                let max = z.iter().fold(T::neg_infinity(), |m, &z| if z > m { z } else { m });
                z.iter_mut().for_each(|z| *z = exp_neg(*z - max));
                let scale = T::of(1.0 / z.iter().map(|e| e.f64()).sum::<f64>());
                z.iter_mut().for_each(|z| *z *= scale);
            }),
            Loss::SquaredError => {}
        }
    }
}
