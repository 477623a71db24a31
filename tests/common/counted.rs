//! A network that counts what it is asked for, pass by pass: the truth that reports are held against.

#![allow(dead_code)] // each test file uses its part

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pullback::curvature::{JacobianCosts, JacobianSource};
use pullback::linop::TransposeOperator;
use pullback::nn::{Batch, Mlp, MlpAnchor, MlpJacobian};
use pullback::optim::{
    CaptureSink, CurvatureMatrix, CurvatureObjective, FisherKind, LayeredObjective, Linearization, Objective,
    OutputDistance, OutputProximity, ParamLayout, Passes, ResidualObjective, SubsetObjective,
};
use pullback::{Ctx, LinearOperator, MatMut, MatRef, Result, Scalar, SelfAdjoint};

#[derive(Debug, Default)]
struct Counts {
    forward: AtomicU64,
    backward: AtomicU64,
    jvp: AtomicU64,
    vjp: AtomicU64,
    hvp: AtomicU64,
}

fn add(count: &AtomicU64, passes: usize) {
    count.fetch_add(passes as u64, Ordering::Relaxed);
}

pub struct Counted<T: Scalar> {
    pub net: Mlp<T>,
    counts: Counts,
    cliff: Mutex<Option<Vec<T>>>,
}

impl<T: Scalar> Counted<T> {
    pub fn new(net: Mlp<T>) -> Self {
        Self { net, counts: Counts::default(), cliff: Mutex::default() }
    }

    /// From now on the loss is far higher everywhere but at this θ; `None` takes that away.
    pub fn set_cliff(&self, theta: Option<Vec<T>>) {
        *self.cliff.lock().unwrap() = theta;
    }

    fn height(&self, theta: &[T]) -> T {
        let cliff = self.cliff.lock().unwrap();
        if cliff.as_ref().is_some_and(|cliff| cliff != theta) { T::of(1e3) } else { T::ZERO }
    }

    /// Passes since the last call.
    pub fn take(&self) -> Passes {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let c = &self.counts;
        Passes {
            forward: take(&c.forward),
            backward: take(&c.backward),
            jvp: take(&c.jvp),
            vjp: take(&c.vjp),
            hvp: take(&c.hvp),
        }
    }

    fn gradient(&self) {
        add(&self.counts.forward, 1);
        add(&self.counts.backward, 1);
    }
}

impl<T: Scalar> Objective<T> for Counted<T> {
    type Batch = Batch<T>;

    fn layout(&self) -> &ParamLayout {
        self.net.layout()
    }

    fn l2(&self) -> T {
        self.net.l2()
    }

    fn loss(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Result<T> {
        add(&self.counts.forward, 1);
        Ok(self.net.loss(ctx, theta, batch)? + self.height(theta))
    }

    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>, grad: &mut [T]) -> Result<T> {
        self.gradient();
        Ok(self.net.loss_grad(ctx, theta, batch, grad)? + self.height(theta))
    }

    fn first_not_finite(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>) -> Option<usize> {
        self.net.first_not_finite(ctx, theta, batch)
    }
}

/// A sink that knows how often gradients came to the first layer: once in each backward pass.
struct Watched<'a, T> {
    sink: &'a mut dyn CaptureSink<T>,
    backward: &'a AtomicU64,
}

impl<T: Scalar> CaptureSink<T> for Watched<'_, T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.sink.activations(ctx, layer, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        add(self.backward, usize::from(layer == 0));
        self.sink.gradients(ctx, layer, g, weight)
    }

    fn wants_cross_moments(&self) -> bool {
        self.sink.wants_cross_moments()
    }

    fn cross_activations(
        &mut self,
        ctx: &Ctx<T>,
        layer: usize,
        a: MatRef<'_, T>,
        next: MatRef<'_, T>,
        weight: T,
    ) -> Result<()> {
        self.sink.cross_activations(ctx, layer, a, next, weight)
    }

    fn cross_gradients(
        &mut self,
        ctx: &Ctx<T>,
        layer: usize,
        g: MatRef<'_, T>,
        next: MatRef<'_, T>,
        weight: T,
    ) -> Result<()> {
        self.sink.cross_gradients(ctx, layer, g, next, weight)
    }

    fn pairs(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.sink.pairs(ctx, layer, a, g, weight)
    }

    fn gradient_moment(&mut self, ctx: &Ctx<T>, layer: usize, m: MatRef<'_, T>, weight: T) -> Result<()> {
        self.sink.gradient_moment(ctx, layer, m, weight)
    }
}

impl<T: Scalar> LayeredObjective<T> for Counted<T> {
    type Workspace = <Mlp<T> as LayeredObjective<T>>::Workspace;

    fn workspace(&self) -> Self::Workspace {
        self.net.workspace()
    }

    fn forward(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>, ws: &mut Self::Workspace) -> Result<T> {
        add(&self.counts.forward, 1);
        Ok(self.net.forward(ctx, theta, batch, ws)? + self.height(theta))
    }

    fn backward(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Self::Workspace,
        grad: &mut [T],
    ) -> Result<()> {
        add(&self.counts.backward, 1);
        self.net.backward(ctx, theta, batch, ws, grad)
    }

    fn capture(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Self::Workspace,
        kind: FisherKind,
        cases: usize,
        sample: u64,
        sink: &mut dyn CaptureSink<T>,
    ) -> Result<()> {
        let mut watched = Watched { sink, backward: &self.counts.backward };
        self.net.capture(ctx, theta, batch, ws, kind, cases, sample, &mut watched)
    }

    fn ggn_gram(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        ws: &mut Self::Workspace,
        vectors: &[&[T]],
        gram: MatMut<'_, T>,
    ) -> Result<()> {
        add(&self.counts.jvp, vectors.len());
        self.net.ggn_gram(ctx, theta, batch, ws, vectors, gram)
    }
}

struct CountedMatrix<'a, T: Scalar> {
    inner: Box<dyn SelfAdjoint<T> + 'a>,
    matrix: CurvatureMatrix,
    counts: &'a Counts,
}

impl<T: Scalar> LinearOperator<T> for CountedMatrix<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        match self.matrix {
            CurvatureMatrix::GaussNewton => {
                add(&self.counts.jvp, x.ncols());
                add(&self.counts.vjp, x.ncols());
            }
            CurvatureMatrix::Hessian => add(&self.counts.hvp, x.ncols()),
        }
        self.inner.apply_into(ctx, x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for CountedMatrix<'_, T> {}

impl<T: Scalar> CurvatureObjective<T> for Counted<T> {
    fn curvature<'a>(
        &'a self,
        ctx: &Ctx<T>,
        matrix: CurvatureMatrix,
        theta: &'a [T],
        batch: &'a Batch<T>,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>> {
        add(&self.counts.forward, 1);
        let inner = self.net.curvature(ctx, matrix, theta, batch)?;
        Ok(Box::new(CountedMatrix { inner, matrix, counts: &self.counts }))
    }
}

/// A matrix that the network makes layer by layer takes no products; the others are made of those counted here.
pub struct CountedJacobian<'a, T: Scalar> {
    inner: MlpJacobian<'a, T>,
    counts: &'a Counts,
}

impl<T: Scalar> LinearOperator<T> for CountedJacobian<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        add(&self.counts.jvp, x.ncols());
        self.inner.apply_into(ctx, x, y)
    }
}

impl<T: Scalar> TransposeOperator<T> for CountedJacobian<'_, T> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        add(&self.counts.vjp, x.ncols());
        self.inner.apply_transpose_into(ctx, x, y)
    }
}

impl<T: Scalar> JacobianSource<T> for CountedJacobian<'_, T> {
    fn kernel_into(&self, ctx: &Ctx<T>, k: MatMut<'_, T>) -> Result<()> {
        self.inner.kernel_into(ctx, k)
    }

    fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.inner.column_squares(ctx, out)
    }

    fn costs(&self) -> JacobianCosts {
        self.inner.costs()
    }
}

impl<T: Scalar> ResidualObjective<T> for Counted<T> {
    type Jacobian<'a> = CountedJacobian<'a, T>;

    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a Batch<T>,
    ) -> Result<Linearization<T, CountedJacobian<'a, T>>> {
        add(&self.counts.forward, 1);
        let Linearization { loss, jacobian, residual } = self.net.linearize(ctx, theta, batch)?;
        Ok(Linearization { loss, jacobian: CountedJacobian { inner: jacobian, counts: &self.counts }, residual })
    }
}

impl<T: Scalar> SubsetObjective<T> for Counted<T> {
    fn cases(&self, batch: &Batch<T>) -> usize {
        self.net.cases(batch)
    }

    fn subset(&self, batch: &Batch<T>, cases: Range<usize>) -> Result<Batch<T>> {
        self.net.subset(batch, cases)
    }
}

impl<T: Scalar> OutputProximity<T> for Counted<T> {
    type Anchor = MlpAnchor<T>;

    fn anchor(&self, ctx: &Ctx<T>, theta: &[T], batch: &Batch<T>, distance: OutputDistance) -> Result<MlpAnchor<T>> {
        add(&self.counts.forward, 1);
        self.net.anchor(ctx, theta, batch, distance)
    }

    fn distance(&self, ctx: &Ctx<T>, theta: &[T], anchor: &MlpAnchor<T>) -> Result<T> {
        add(&self.counts.forward, 1);
        self.net.distance(ctx, theta, anchor)
    }

    fn distance_grad(&self, ctx: &Ctx<T>, theta: &[T], anchor: &MlpAnchor<T>, grad: &mut [T]) -> Result<T> {
        self.gradient();
        self.net.distance_grad(ctx, theta, anchor, grad)
    }

    fn loss_grad_joint(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Batch<T>,
        distance: OutputDistance,
        weight: T,
        grad: &mut [T],
    ) -> Result<(T, Option<MlpAnchor<T>>)> {
        self.gradient();
        self.net.loss_grad_joint(ctx, theta, batch, distance, weight, grad)
    }
}
