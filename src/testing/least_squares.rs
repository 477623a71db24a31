//! [`LeastSquares`]: the convex quadratic that the optimizer suite minimizes, with faults to order.
//!
//! ```text
//! h(W) = 1/(2N) ‖W X - Y‖_F² + η/2 ‖W‖_F²,   ∇h = (W X - Y) Xᵀ/N + η W,   G = (X Xᵀ/N) ⊗ I
//! ```
//! One layer W without activation, the last row of X ones. Its Gauss-Newton block is a Kronecker product, so K-FAC's
//! factors are exact.
//!
//! Cost        2 d_out d_in N flops a pass.
//! Laws        tests/suites.rs (gradient against differences), tests/broken_implementors.rs.

mod jacobian;

pub use jacobian::RegressionJacobian;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Ctx;
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::{LinearOperator, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::optim::{
    CaptureSink, CurvatureMatrix, CurvatureObjective, FisherKind, LayeredObjective, Objective, OutputDistance,
    OutputProximity, ParamLayout, Passes, SubsetObjective,
};
use crate::random::Draws;
use crate::scalar::Scalar;

/// What is wrong with the objective.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Fault<T> {
    /// Nothing.
    #[default]
    None,
    /// The loss is NaN everywhere.
    Loss,
    /// The gradient holds a NaN everywhere.
    Gradient,
    /// The loss is far higher everywhere but at this θ: every step raises it.
    Cliff(Vec<T>),
}

/// Cases X (d_in x N, last row ones) and targets Y (d_out x N).
#[derive(Debug, Clone)]
pub struct Regression<T> {
    inputs: Mat<T>,
    targets: Mat<T>,
}

impl<T: Scalar> Regression<T> {
    /// # Errors
    /// [`Error::Shape`] unless X and Y have as many columns.
    pub fn new(inputs: Mat<T>, targets: Mat<T>) -> Result<Self> {
        check_shape("Regression", (targets.nrows(), inputs.ncols()), targets.shape())?;
        Ok(Self { inputs, targets })
    }

    /// X.
    pub fn inputs(&self) -> &Mat<T> {
        &self.inputs
    }

    /// Y.
    pub fn targets(&self) -> &Mat<T> {
        &self.targets
    }

    /// Entries uniform in [-1, 1) for X and for Y.
    pub fn random(d_out: usize, d_in: usize, cases: usize, seed: u64) -> Self {
        let x: Mat<T> = super::gallery::uniform(d_in, cases, seed);
        let inputs = Mat::from_fn(d_in, cases, |i, j| if i + 1 == d_in { T::ONE } else { x[(i, j)] });
        Self { inputs, targets: super::gallery::uniform(d_out, cases, seed ^ 0x5A) }
    }
}

/// The objective; it counts the passes that are asked of it.
///
/// ```
/// use pullback::optim::Objective;
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::{Ctx, Mat};
/// let h = LeastSquares::<f64>::new(1, 2, 0.0);
/// let batch = Regression::new(Mat::from_fn(2, 2, |i, j| (i + j) as f64), Mat::from_fn(1, 2, |_, j| j as f64))?;
/// assert_eq!(h.loss(&Ctx::default(), &[0.0, 0.0], &batch)?, 0.25);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct LeastSquares<T> {
    layout: ParamLayout,
    l2: T,
    fault: Fault<T>,
    forward: AtomicU64,
    backward: AtomicU64,
    jvp: AtomicU64,
    vjp: AtomicU64,
    hvp: AtomicU64,
}

impl<T: Scalar> LeastSquares<T> {
    /// W of d_out x d_in, and η.
    pub fn new(d_out: usize, d_in: usize, l2: T) -> Self {
        Self { layout: ParamLayout::new([(d_out, d_in)]), l2, ..Self::default() }
    }

    /// The same with a fault.
    #[must_use]
    pub fn with_fault(self, fault: Fault<T>) -> Self {
        Self { fault, ..self }
    }

    /// Passes that were asked for since the last call.
    pub fn take_passes(&self) -> Passes {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Passes {
            forward: take(&self.forward),
            backward: take(&self.backward),
            jvp: take(&self.jvp),
            vjp: take(&self.vjp),
            hvp: take(&self.hvp),
        }
    }

    pub(super) fn count_forward(&self) {
        self.forward.fetch_add(1, Ordering::Relaxed);
    }

    /// W X - Y into `residual`; the loss as its value.
    fn evaluate(&self, ctx: &Ctx<T>, theta: &[T], batch: &Regression<T>, residual: &mut Mat<T>) -> Result<T> {
        self.count_forward();
        check_len("theta", self.layout.len(), theta.len())?;
        let w = self.layout.blocks()[0].view(theta)?;
        *residual = batch.targets.clone();
        ctx.gemm(T::ONE, w, Op::No, batch.inputs.as_ref(), Op::No, -T::ONE, residual.as_mut())?;
        let squares = |x: &[T]| x.iter().map(|x| x.f64().powi(2)).sum::<f64>();
        let cases = batch.inputs.ncols().max(1) as f64;
        let loss = T::of(squares(residual.as_slice()) / (2.0 * cases) + 0.5 * self.l2.f64() * squares(theta));
        Ok(match &self.fault {
            Fault::Loss => T::nan(),
            Fault::Cliff(start) if start != theta => loss + T::of(1e3),
            _ => loss,
        })
    }

    fn gradient(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Regression<T>,
        residual: &Mat<T>,
        grad: &mut [T],
    ) -> Result<()> {
        self.backward.fetch_add(1, Ordering::Relaxed);
        check_len("gradient", self.layout.len(), grad.len())?;
        grad.copy_from_slice(theta);
        let scale = T::ONE / T::of(batch.inputs.ncols().max(1) as f64);
        let g = self.layout.blocks()[0].view_mut(grad)?;
        ctx.gemm(scale, residual.as_ref(), Op::No, batch.inputs.as_ref(), Op::Transpose, self.l2, g)?;
        if let (Fault::Gradient, Some(first)) = (&self.fault, grad.first_mut()) {
            *first = T::nan();
        }
        Ok(())
    }
}

impl<T: Scalar> Objective<T> for LeastSquares<T> {
    type Batch = Regression<T>;

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn l2(&self) -> T {
        self.l2
    }

    fn loss(&self, ctx: &Ctx<T>, theta: &[T], batch: &Regression<T>) -> Result<T> {
        self.evaluate(ctx, theta, batch, &mut Mat::zeros(0, 0))
    }

    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], batch: &Regression<T>, grad: &mut [T]) -> Result<T> {
        let mut residual = Mat::zeros(0, 0);
        let loss = self.evaluate(ctx, theta, batch, &mut residual)?;
        self.gradient(ctx, theta, batch, &residual, grad).map(|()| loss)
    }
}

impl<T: Scalar> LayeredObjective<T> for LeastSquares<T> {
    /// W X - Y of the last forward pass.
    type Workspace = Mat<T>;

    fn workspace(&self) -> Mat<T> {
        Mat::zeros(0, 0)
    }

    fn forward(&self, ctx: &Ctx<T>, theta: &[T], batch: &Regression<T>, ws: &mut Mat<T>) -> Result<T> {
        self.evaluate(ctx, theta, batch, ws)
    }

    fn backward(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Regression<T>,
        ws: &mut Mat<T>,
        grad: &mut [T],
    ) -> Result<()> {
        self.gradient(ctx, theta, batch, ws, grad)
    }

    fn capture(
        &self,
        ctx: &Ctx<T>,
        _theta: &[T],
        batch: &Regression<T>,
        ws: &mut Mat<T>,
        kind: FisherKind,
        cases: usize,
        sample: u64,
        sink: &mut dyn CaptureSink<T>,
    ) -> Result<()> {
        self.backward.fetch_add(self.capture_passes(kind).backward, Ordering::Relaxed);
        let n = cases.min(batch.inputs.ncols());
        if n == 0 {
            return Err(Error::invalid("cases", "a capture needs at least one case"));
        }
        let (rows, weight) = (batch.targets.nrows(), T::of(1.0 / n as f64));
        let inputs = batch.inputs.as_ref().submatrix(0, 0, batch.inputs.nrows(), n)?;
        sink.activations(ctx, 0, inputs, weight)?;
        let mut send = |gradients: MatRef<'_, T>| {
            sink.gradients(ctx, 0, gradients, weight)?;
            sink.pairs(ctx, 0, inputs, gradients, weight)
        };
        match kind {
            // one direction of the outputs after the other: the output Hessian is I
            FisherKind::Exact => (0..rows)
                .try_for_each(|c| send(Mat::from_fn(rows, n, |i, _| if i == c { T::ONE } else { T::ZERO }).as_ref())),
            FisherKind::MonteCarlo => {
                // z - t for t drawn from N(z, I)
                let mut draws = Draws::new(sample, 0);
                send(Mat::from_fn(rows, n, |_, _| T::of(draws.normal())).as_ref())
            }
            FisherKind::Empirical => send(ws.as_ref().submatrix(0, 0, rows, n)?),
            FisherKind::Recursive => sink.gradient_moment(ctx, 0, Mat::identity(rows).as_ref(), T::ONE),
        }
    }

    fn ggn_gram(
        &self,
        ctx: &Ctx<T>,
        _theta: &[T],
        batch: &Regression<T>,
        _ws: &mut Mat<T>,
        vectors: &[&[T]],
        mut gram: MatMut<'_, T>,
    ) -> Result<()> {
        check_shape("ggn_gram", (vectors.len(), vectors.len()), gram.shape())?;
        self.jvp.fetch_add(vectors.len() as u64, Ordering::Relaxed);
        let image = |v: &&[T]| -> Result<Mat<T>> {
            check_len("ggn_gram: vector", self.layout.len(), v.len())?;
            let mut jv = Mat::zeros(batch.targets.nrows(), batch.inputs.ncols());
            let v: MatRef<'_, T> = self.layout.blocks()[0].view(v)?;
            ctx.gemm(T::ONE, v, Op::No, batch.inputs.as_ref(), Op::No, T::ZERO, jv.as_mut()).map(|()| jv)
        };
        let images = vectors.iter().map(image).collect::<Result<Vec<_>>>()?;
        let cases = batch.inputs.ncols().max(1) as f64;
        for (i, x) in images.iter().enumerate() {
            for (j, y) in images.iter().enumerate() {
                *gram.at_mut(i, j) = T::of(super::dense::dot(x.as_slice(), y.as_slice()) / cases);
            }
        }
        Ok(())
    }
}

/// (X Xᵀ/N) ⊗ I + η I as products.
struct Products<'a, T: Scalar> {
    h: &'a LeastSquares<T>,
    batch: &'a Regression<T>,
    matrix: CurvatureMatrix,
}

impl<T: Scalar> LinearOperator<T> for Products<'_, T> {
    fn shape(&self) -> (usize, usize) {
        (self.h.layout.len(), self.h.layout.len())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let (block, inputs) = (&self.h.layout.blocks()[0], self.batch.inputs.as_ref());
        let scale = T::ONE / T::of(inputs.ncols().max(1) as f64);
        let mut image = Mat::zeros(block.rows, inputs.ncols());
        for (v, out) in x.cols().zip(y.cols_mut()) {
            match self.matrix {
                CurvatureMatrix::GaussNewton => {
                    self.h.jvp.fetch_add(1, Ordering::Relaxed);
                    self.h.vjp.fetch_add(1, Ordering::Relaxed);
                }
                CurvatureMatrix::Hessian => {
                    self.h.hvp.fetch_add(1, Ordering::Relaxed);
                }
            }
            ctx.gemm(T::ONE, block.view(v)?, Op::No, inputs, Op::No, T::ZERO, image.as_mut())?;
            out.copy_from_slice(v);
            let out = block.view_mut(out)?;
            ctx.gemm(scale, image.as_ref(), Op::No, inputs, Op::Transpose, self.h.l2, out)?;
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for Products<'_, T> {}

impl<T: Scalar> CurvatureObjective<T> for LeastSquares<T> {
    fn curvature<'a>(
        &'a self,
        _ctx: &Ctx<T>,
        matrix: CurvatureMatrix,
        theta: &'a [T],
        batch: &'a Regression<T>,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>> {
        check_len("theta", self.layout.len(), theta.len())?;
        self.count_forward();
        Ok(Box::new(Products { h: self, batch, matrix }))
    }
}

impl<T: Scalar> OutputProximity<T> for LeastSquares<T> {
    /// h without η on the batch whose targets are the outputs.
    type Anchor = (LeastSquares<T>, Regression<T>);

    fn anchor(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Regression<T>,
        _distance: OutputDistance,
    ) -> Result<Self::Anchor> {
        let mut own = Mat::zeros(0, 0);
        self.evaluate(ctx, theta, batch, &mut own)?;
        let targets = Mat::from_fn(own.nrows(), own.ncols(), |i, j| own[(i, j)] + batch.targets[(i, j)]);
        let plain = LeastSquares::new(self.layout.blocks()[0].rows, self.layout.blocks()[0].cols, T::ZERO);
        Ok((plain, Regression::new(batch.inputs.clone(), targets)?))
    }

    fn distance(&self, ctx: &Ctx<T>, theta: &[T], (h, batch): &Self::Anchor) -> Result<T> {
        self.forward.fetch_add(1, Ordering::Relaxed);
        h.loss(ctx, theta, batch)
    }

    fn distance_grad(&self, ctx: &Ctx<T>, theta: &[T], (h, batch): &Self::Anchor, grad: &mut [T]) -> Result<T> {
        self.forward.fetch_add(1, Ordering::Relaxed);
        self.backward.fetch_add(1, Ordering::Relaxed);
        h.loss_grad(ctx, theta, batch, grad)
    }
}

impl<T: Scalar> SubsetObjective<T> for LeastSquares<T> {
    fn cases(&self, batch: &Regression<T>) -> usize {
        batch.inputs.ncols()
    }

    fn subset(&self, batch: &Regression<T>, cases: std::ops::Range<usize>) -> Result<Regression<T>> {
        if cases.is_empty() || cases.end > batch.inputs.ncols() {
            return Err(Error::invalid("cases", format!("{cases:?} of {}", batch.inputs.ncols())));
        }
        let part = |m: &Mat<T>| Mat::from_fn(m.nrows(), cases.len(), |i, j| m[(i, cases.start + j)]);
        Regression::new(part(&batch.inputs), part(&batch.targets))
    }
}
