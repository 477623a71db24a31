//! Objectives for the laws of second-order methods: functions with known derivatives, and objectives in other coordinates.

#![allow(dead_code)] // each test file uses its part

use pullback::curvature::DenseJacobian;
use pullback::linop::SymmetricDense;
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, Linearization, Objective, Optimizer, ParamLayout, ResidualObjective,
    StepReport,
};
use pullback::{Ctx, LinearOperator, Mat, Op, Result, Scalar, SelfAdjoint};

/// Value, gradient and Hessian at a point.
pub type Derivatives = (f64, Vec<f64>, Mat<f64>);

/// A function of n variables, evaluated in f64; its Gauss-Newton matrix is its Hessian.
pub struct Function {
    at: fn(&[f64]) -> Derivatives,
    layout: ParamLayout,
}

impl Function {
    pub fn new(n: usize, at: fn(&[f64]) -> Derivatives) -> Self {
        Self { at, layout: ParamLayout::new([(n, 1)]) }
    }

    fn derivatives<T: Scalar>(&self, x: &[T]) -> Derivatives {
        (self.at)(&x.iter().map(|x| x.f64()).collect::<Vec<_>>())
    }
}

impl<T: Scalar> Objective<T> for Function {
    type Batch = ();

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn loss(&self, _: &Ctx<T>, x: &[T], _: &()) -> Result<T> {
        Ok(T::of(self.derivatives(x).0))
    }

    fn loss_grad(&self, _: &Ctx<T>, x: &[T], _: &(), grad: &mut [T]) -> Result<T> {
        let (value, gradient, _) = self.derivatives(x);
        grad.iter_mut().zip(gradient).for_each(|(to, from)| *to = T::of(from));
        Ok(T::of(value))
    }
}

impl<T: Scalar> CurvatureObjective<T> for Function {
    fn curvature<'a>(
        &'a self,
        _: &Ctx<T>,
        _: CurvatureMatrix,
        x: &'a [T],
        _: &'a (),
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>> {
        Ok(Box::new(SymmetricDense::new(self.derivatives(x).2.cast())?))
    }
}

/// h(B φ) as a function of φ.
pub struct InCoordinates<'a, O> {
    pub inner: &'a O,
    pub b: Mat<f64>,
}

impl<O> InCoordinates<'_, O> {
    /// θ = B φ.
    pub fn theta(&self, phi: &[f64]) -> Vec<f64> {
        product(&self.b, Op::No, phi)
    }
}

/// op(M) x.
pub fn product(m: &Mat<f64>, op: Op, x: &[f64]) -> Vec<f64> {
    let x = Mat::from_fn(x.len(), 1, |i, _| x[i]);
    matrix_product(m, op, &x).into_vec()
}

/// op(M) X.
pub fn matrix_product(m: &Mat<f64>, op: Op, x: &Mat<f64>) -> Mat<f64> {
    let mut y = Mat::zeros(op.shape(m.shape()).0, x.ncols());
    Ctx::reference().gemm(1.0, m.as_ref(), op, x.as_ref(), Op::No, 0.0, y.as_mut()).unwrap();
    y
}

impl<O: Objective<f64>> Objective<f64> for InCoordinates<'_, O> {
    type Batch = O::Batch;

    fn layout(&self) -> &ParamLayout {
        self.inner.layout()
    }

    fn loss(&self, ctx: &Ctx<f64>, phi: &[f64], batch: &O::Batch) -> Result<f64> {
        self.inner.loss(ctx, &self.theta(phi), batch)
    }

    fn loss_grad(&self, ctx: &Ctx<f64>, phi: &[f64], batch: &O::Batch, grad: &mut [f64]) -> Result<f64> {
        let mut inner = vec![0.0; grad.len()];
        let loss = self.inner.loss_grad(ctx, &self.theta(phi), batch, &mut inner)?;
        grad.copy_from_slice(&product(&self.b, Op::Transpose, &inner));
        Ok(loss)
    }
}

/// BᵀCB.
impl<O: CurvatureObjective<f64>> CurvatureObjective<f64> for InCoordinates<'_, O> {
    fn curvature<'a>(
        &'a self,
        ctx: &Ctx<f64>,
        matrix: CurvatureMatrix,
        phi: &'a [f64],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn SelfAdjoint<f64> + 'a>> {
        let theta = self.theta(phi);
        let c = self.inner.curvature(ctx, matrix, &theta, batch)?.to_dense(ctx)?;
        let right = matrix_product(&c, Op::No, &self.b);
        Ok(Box::new(SymmetricDense::new(matrix_product(&self.b, Op::Transpose, &right))?))
    }
}

/// J B.
impl<O: ResidualObjective<f64>> ResidualObjective<f64> for InCoordinates<'_, O> {
    type Jacobian<'a>
        = DenseJacobian<f64>
    where
        Self: 'a;

    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<f64>,
        phi: &'a [f64],
        batch: &'a O::Batch,
    ) -> Result<Linearization<f64, DenseJacobian<f64>>> {
        let theta = self.theta(phi);
        let Linearization { loss, jacobian, residual } = self.inner.linearize(ctx, &theta, batch)?;
        let jacobian = matrix_product(&jacobian.to_dense(ctx)?, Op::No, &self.b);
        Ok(Linearization { loss, jacobian: DenseJacobian::new(jacobian)?, residual })
    }
}

/// θ and the reports of some steps.
pub fn run<T: Scalar, O: Objective<T>, P: Optimizer<T, O>>(
    ctx: &Ctx<T>,
    mut optimizer: P,
    objective: &O,
    start: &[T],
    batch: &O::Batch,
    steps: usize,
) -> (Vec<T>, Vec<StepReport<T>>) {
    let mut theta = start.to_vec();
    let step = |_| optimizer.step(ctx, objective, &mut theta, batch).unwrap();
    let reports = (0..steps).map(step).collect();
    (theta, reports)
}

/// ‖x - y‖ in f64.
pub fn gap<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x.f64() - y.f64()).powi(2)).sum::<f64>().sqrt()
}

/// ‖x‖ in f64.
pub fn length<T: Scalar>(x: &[T]) -> f64 {
    x.iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}
