//! [`Mlp`]: a multilayer perceptron as a function of flat parameters, with its loss.
//!
//! ```text
//! ā_0 = (x, 1),   s_l = W_l ā_{l-1},   a_l = φ_l(s_l),   z = a_L
//! h(θ) = w Σ_cases ℓ(z, t) + η/2 ‖θ‖²,   w = 1 (sum) or 1/cases (mean),   θ = (vec W_1, ..., vec W_L)
//! ```
//! The value holds a description only; θ is the caller's. Notation of the chapter's section 5.2.
//!
//! Deviations  none; the L2 term covers biases too, as in the reference experiments.
//! Cost        with P parameters and B cases: loss 2PB flops, gradient 6PB - 2 P_1 B (the first layer needs no input
//!             gradient). Batches above the chunk size are worked through in parts: memory is bounded.
//! Laws        tests/nn_gradients.rs, tests/nn_allocations.rs.
//! Reference   chapter section 5.2; D. E. Rumelhart, G. E. Hinton, R. J. Williams, Nature 323 (1986).

use std::sync::{Mutex, PoisonError};

use super::columns;
use super::{Activation, Batch, Layer, Loss, MlpBuilder, Reduction, Workspace};
use crate::backend::Ctx;
use crate::backend::reduce::dot;
use crate::error::{Result, check_len};
use crate::mat::{Mat, MatRef};
use crate::optim::{Objective, ParamLayout};
use crate::scalar::Scalar;

/// A multilayer perceptron with its loss, an [`Objective`] over flat θ.
///
/// ```
/// use pullback::nn::{Activation, Batch, Init, Loss, Mlp};
/// use pullback::{Ctx, Mat, optim::Objective};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(2).layer(8, Activation::Tanh).layer(1, Activation::Identity).build()?;
/// let x = Mat::from_fn(2, 5, |i, j| (i + j) as f64 / 5.0);
/// let t = Mat::from_fn(1, 5, |_, j| j as f64);
/// let batch = Batch::new(x.as_ref(), t.as_ref())?;
/// let theta = net.init(Init::GlorotUniform, 7);
/// let mut grad = vec![0.0; theta.len()];
/// let before = net.loss_grad(&ctx, &theta, &batch, &mut grad)?;
/// let moved: Vec<f64> = theta.iter().zip(&grad).map(|(t, g)| t - 0.01 * g).collect();
/// assert!(net.loss(&ctx, &moved, &batch)? < before);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
pub struct Mlp<T> {
    layers: Vec<Layer>,
    loss: Loss,
    reduction: Reduction,
    l2: T,
    chunk: usize,
    layout: ParamLayout,
    /// Workspaces of `loss` and `loss_grad`, kept between calls.
    pool: Mutex<Vec<Workspace<T>>>,
}

impl<T: Scalar> Clone for Mlp<T> {
    fn clone(&self) -> Self {
        Self::from_parts(self.layers.clone(), self.loss, self.reduction, self.l2, self.chunk)
    }
}

/// How well a network does on a batch; see [`Mlp::evaluate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// h(θ): the reduced loss, L2 included.
    pub loss: f64,
    /// Mean over cases of ‖prediction - t‖².
    pub squared_error: f64,
    /// Fraction of cases that [`Loss::correct`] counts.
    pub accuracy: f64,
}

impl<T: Scalar> Mlp<T> {
    /// Starts a description: a network of `inputs` inputs and no layer yet.
    pub fn builder(inputs: usize) -> MlpBuilder<T> {
        MlpBuilder::new(inputs)
    }

    /// An autoencoder from its encoder's widths, input first, and their mirror image: `hidden` activations, a linear
    /// code layer, linear outputs. The loss is set to Bernoulli cross-entropy, the outputs being logits.
    ///
    /// ```
    /// use pullback::nn::{Activation, Mlp};
    /// use pullback::optim::Objective;
    /// let net = Mlp::<f32>::autoencoder(&[784, 1000, 500, 250, 30], Activation::Logistic).l2(1e-5).build()?;
    /// assert_eq!(net.layout().len(), 2_837_314);
    /// # Ok::<(), pullback::Error>(())
    /// ```
    pub fn autoencoder(widths: &[usize], hidden: Activation) -> MlpBuilder<T> {
        let mut builder = MlpBuilder::new(widths.first().copied().unwrap_or(0)).loss(Loss::BernoulliCrossEntropy);
        let code = widths.len().saturating_sub(1);
        for (i, &width) in widths.iter().enumerate().skip(1) {
            builder = builder.layer(width, if i == code { Activation::Identity } else { hidden });
        }
        for (i, &width) in widths.iter().enumerate().take(code).rev() {
            builder = builder.layer(width, if i == 0 { Activation::Identity } else { hidden });
        }
        builder
    }

    pub(super) fn from_parts(layers: Vec<Layer>, loss: Loss, reduction: Reduction, l2: T, chunk: usize) -> Self {
        let layout = ParamLayout::new(layers.iter().map(Layer::shape));
        Self { layers, loss, reduction, l2, chunk, layout, pool: Mutex::default() }
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// d_in of the network.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |l| l.inputs)
    }

    /// d_out of the network.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |l| l.width)
    }

    /// The output loss.
    pub fn output_loss(&self) -> Loss {
        self.loss
    }

    /// How cases are reduced.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// Weight of one case of a batch.
    pub(super) fn weight(&self, cases: usize) -> f64 {
        self.reduction.weight(cases)
    }

    pub(super) fn l2_coefficient(&self) -> T {
        self.l2
    }

    /// η/2 ‖θ‖².
    pub(super) fn penalty(&self, ctx: &Ctx<T>, theta: &[T]) -> f64 {
        if self.l2 == T::ZERO { 0.0 } else { 0.5 * self.l2.f64() * dot(ctx, theta, theta) }
    }

    /// A batch for this network, with its targets checked against the loss's domain.
    ///
    /// # Errors
    /// Those of [`Batch::new`] and [`Loss::check_targets`]; [`Error::Shape`](crate::Error::Shape) when the widths differ.
    pub fn batch(&self, inputs: MatRef<'_, T>, targets: MatRef<'_, T>) -> Result<Batch<T>> {
        self.loss.check_targets(targets)?;
        let batch = Batch::new(inputs, targets)?;
        check_len("batch: inputs", self.inputs(), batch.input_dim())?;
        check_len("batch: targets", self.outputs(), batch.target_dim())?;
        Ok(batch)
    }

    /// Calls `visit` after a forward pass on each part of the batch of at most `chunk` cases: with the part's number,
    /// inputs, targets, and the workspace.
    fn in_parts(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        mut visit: impl FnMut(usize, MatRef<'_, T>, MatRef<'_, T>, &Workspace<T>) -> Result<()>,
    ) -> Result<f64> {
        self.check(theta, batch)?;
        let mut ws = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut sum = 0.0;
        for (part, start) in (0..batch.cases()).step_by(self.chunk).enumerate() {
            let n = self.chunk.min(batch.cases() - start);
            let inputs = columns::columns(batch.inputs(), start, n);
            let targets = columns::columns(batch.targets(), start, n);
            sum += self.forward_pass(ctx, theta, inputs, targets, &mut ws)?;
            visit(part, inputs, targets, &ws)?;
        }
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(ws);
        Ok(sum)
    }

    /// Loss, squared error and accuracy on a batch, in parts that bound memory.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn evaluate(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Result<Metrics> {
        let (mut squared, mut correct) = (0.0, 0);
        let mut by_case = vec![0.0; self.chunk.min(batch.cases())];
        let sum = self.in_parts(ctx, theta, batch, |_, _, targets, ws| {
            squared += self.loss.squared_error(ctx, ws.outputs(), targets, &mut by_case[..ws.cases()])?;
            correct += self.loss.correct(ws.outputs(), targets)?;
            Ok(())
        })?;
        let cases = batch.cases() as f64;
        Ok(Metrics {
            loss: self.weight(batch.cases()) * sum + self.penalty(ctx, theta),
            squared_error: squared / cases,
            accuracy: correct as f64 / cases,
        })
    }

    /// The same layers with another loss.
    pub(super) fn with_loss(&self, loss: Loss, reduction: Reduction, l2: T) -> Self {
        Self::from_parts(self.layers.clone(), loss, reduction, l2, self.chunk)
    }

    /// z on a batch, d_out x cases.  1 pass.
    pub(super) fn outputs_of(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Result<Mat<T>> {
        let mut all = Vec::with_capacity(self.outputs() * batch.cases());
        self.in_parts(ctx, theta, batch, |_, _, _, ws| {
            ws.outputs().cols().for_each(|z| all.extend_from_slice(z));
            Ok(())
        })?;
        Mat::from_vec(all, self.outputs(), batch.cases())
    }

    /// As `loss_grad`, with the outputs z.  2 passes.
    pub(super) fn loss_grad_outputs(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        grad: &mut [T],
    ) -> Result<(T, Mat<T>)> {
        let mut all = Vec::with_capacity(self.outputs() * batch.cases());
        let weight = T::of(self.weight(batch.cases()));
        let sum = self.in_parts(ctx, theta, batch, |part, inputs, _, ws| {
            ws.outputs().cols().for_each(|z| all.extend_from_slice(z));
            let beta = if part == 0 { T::ZERO } else { T::ONE };
            self.weight_gradients(ctx, theta, inputs, ws, ws.output_gradient(), weight, beta, grad)
        })?;
        self.add_penalty_gradient(ctx, theta, grad)?;
        let loss = T::of(self.weight(batch.cases()) * sum + self.penalty(ctx, theta));
        Ok((loss, Mat::from_vec(all, self.outputs(), batch.cases())?))
    }

    /// The predictions (logistic z, softmax z or z) on a batch, d_out x cases.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn predict(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Result<Mat<T>> {
        let mut z = self.outputs_of(ctx, theta, batch)?;
        self.loss.predict(ctx, z.as_mut());
        Ok(z)
    }
}

impl<T: Scalar> Objective<T> for Mlp<T> {
    type Batch = Batch<T>;

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn l2(&self) -> T {
        self.l2_coefficient()
    }

    fn loss(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Result<T> {
        let sum = self.in_parts(ctx, theta, batch, |_, _, _, _| Ok(()))?;
        Ok(T::of(self.weight(batch.cases()) * sum + self.penalty(ctx, theta)))
    }

    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>, grad: &mut [T]) -> Result<T> {
        check_len("loss_grad: gradient", self.layout.len(), grad.len())?;
        let weight = T::of(self.weight(batch.cases()));
        let sum = self.in_parts(ctx, theta, batch, |part, inputs, _, ws| {
            let beta = if part == 0 { T::ZERO } else { T::ONE };
            self.weight_gradients(ctx, theta, inputs, ws, ws.output_gradient(), weight, beta, grad)
        })?;
        self.add_penalty_gradient(ctx, theta, grad)?;
        Ok(T::of(self.weight(batch.cases()) * sum + self.penalty(ctx, theta)))
    }

    /// The first layer whose parameters or activations are not finite.
    fn first_not_finite(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Option<usize> {
        let mut first = self.layout.blocks_not_finite(theta).next();
        let looked = self.in_parts(ctx, theta, batch, |_, _, _, ws| {
            let sound = |l: usize| ws.activation(l).cols().all(|a| a.iter().all(|a| a.is_finite()));
            if let Some(layer) = (0..first.unwrap_or(self.layers.len())).find(|&l| !sound(l)) {
                first = Some(layer);
            }
            Ok(())
        });
        looked.ok().and(first)
    }
}
