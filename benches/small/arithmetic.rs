//! The arithmetic of a K-FAC step on a network of one hidden layer: bare calls of the backend and loops over numbers, on
//! memory that is there, in the order of the steps of [`Kfac`](pullback::optim::Kfac).

use pullback::curvature::PiRule;
use pullback::nn::{Activation, Loss};
use pullback::{Ctx, Damping, Mat, MatMut, MatRef, Op, Result, Scalar};

use Op::{No, Transpose};

/// One layer: W, its gradient, both factors and both inverses.
struct Layer<T> {
    gradient: Mat<T>,
    direction: Mat<T>,
    update: Mat<T>,
    half: Mat<T>,
    /// A, S and the inverses of both.
    factors: [Mat<T>; 2],
    inverses: [Mat<T>; 2],
}

impl<T: Scalar> Layer<T> {
    fn new(d_out: usize, d_in: usize) -> Self {
        let (zeros, square) = (|| Mat::zeros(d_out, d_in), |n| Mat::identity(n));
        Self {
            gradient: zeros(),
            direction: zeros(),
            update: zeros(),
            half: zeros(),
            factors: [square(d_in), square(d_out)],
            inverses: [square(d_in), square(d_out)],
        }
    }

    /// (A + π √λ I)⁻¹ and (S + (√λ/π) I)⁻¹.
    fn refresh(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<()> {
        let [a, s] = &self.factors;
        let (shift_a, shift_s) = PiRule::shifts(PiRule::Trace.pi(a.as_ref(), s.as_ref()), lambda);
        for ((factor, inverse), shift) in self.factors.iter().zip(&mut self.inverses).zip([shift_a, shift_s]) {
            inverse.as_mut().copy_from(factor.as_ref())?;
            (0..factor.nrows()).for_each(|i| inverse[(i, i)] += shift);
            ctx.potrf(inverse.as_mut())?;
            ctx.potri(inverse.as_mut())?;
        }
        Ok(())
    }

    /// d = -S̃⁻¹ ∇ Ã⁻¹.
    fn precondition(&mut self, ctx: &Ctx<T>) -> Result<()> {
        let [a, s] = &self.inverses;
        ctx.gemm(T::ONE, s.as_ref(), No, self.gradient.as_ref(), No, T::ZERO, self.half.as_mut())?;
        ctx.gemm(-T::ONE, self.half.as_ref(), No, a.as_ref(), No, T::ZERO, self.direction.as_mut())
    }
}

/// Everything that a step reads and writes.
pub struct Arithmetic<T> {
    inputs: Mat<T>,
    targets: Mat<T>,
    start: [Mat<T>; 2],
    weights: [Mat<T>; 2],
    layers: [Layer<T>; 2],
    /// ā of the hidden layer, whose last row is 1.
    hidden: Mat<T>,
    outputs: Mat<T>,
    output_gradient: Mat<T>,
    case_loss: Vec<f64>,
    seed: Mat<T>,
    back: Mat<T>,
    /// J d and J δ₀.
    tangents: [Mat<T>; 2],
}

impl<T: Scalar> Arithmetic<T> {
    /// For homogeneous inputs (d_in + 1 x cases), targets (d_out x cases) and both weight matrices.
    pub fn new(inputs: Mat<T>, targets: Mat<T>, weights: [Mat<T>; 2]) -> Self {
        let (cases, width, d_out) = (inputs.ncols(), weights[0].nrows(), targets.nrows());
        Self {
            layers: [Layer::new(width, inputs.nrows()), Layer::new(d_out, width + 1)],
            hidden: Mat::from_fn(width + 1, cases, |_, _| T::ONE),
            outputs: Mat::zeros(d_out, cases),
            output_gradient: Mat::zeros(d_out, cases),
            case_loss: vec![0.0; cases],
            seed: Mat::zeros(d_out, cases),
            back: Mat::zeros(width, cases),
            tangents: [Mat::zeros(d_out, cases), Mat::zeros(d_out, cases)],
            inputs,
            targets,
            start: weights.clone(),
            weights,
        }
    }

    /// One step from the first weights, with the quadratic model or with α = 0.001 and μ = 0.9.
    pub fn step(&mut self, ctx: &Ctx<T>, refresh: bool, with_model: bool, sample: u64) -> Result<()> {
        for (weights, start) in self.weights.iter_mut().zip(&self.start) {
            weights.as_mut().copy_from(start.as_ref())?;
        }
        self.forward(ctx)?;
        self.backward(ctx)?;
        let mut square = norm_squared(self.layers.iter().map(|l| &l.gradient));
        self.statistics(ctx, sample)?;
        for layer in &mut self.layers {
            if refresh {
                layer.refresh(ctx, Damping::try_from(1.0)?)?;
            }
            layer.precondition(ctx)?;
        }
        let (alpha, mu) = if with_model { self.model(ctx)? } else { (1e-3, 0.9) };
        let (alpha, mu) = (T::of(alpha), T::of(mu));
        for (layer, weights) in self.layers.iter_mut().zip(&mut self.weights) {
            let step = layer.update.as_mut_slice().iter_mut().zip(layer.direction.as_slice());
            for ((u, &d), w) in step.zip(weights.as_mut_slice()) {
                *u = alpha * d + mu * *u;
                *w += *u;
            }
        }
        square += norm_squared(self.layers.iter().map(|l| &l.update));
        std::hint::black_box(square);
        Ok(())
    }

    fn forward(&mut self, ctx: &Ctx<T>) -> Result<()> {
        let [w1, w2] = &self.weights;
        let (width, cases) = self.back.shape();
        let mut a = self.hidden.as_mut().submatrix(0, 0, width, cases)?;
        ctx.gemm(T::ONE, w1.as_ref(), No, self.inputs.as_ref(), No, T::ZERO, a.rb_mut())?;
        Activation::Tanh.apply(ctx, a);
        ctx.gemm(T::ONE, w2.as_ref(), No, self.hidden.as_ref(), No, T::ZERO, self.outputs.as_mut())?;
        let (z, t) = (self.outputs.as_ref(), self.targets.as_ref());
        let dz = self.output_gradient.as_mut();
        Loss::SquaredError.value_gradient(ctx, z, t, &mut self.case_loss, dz).map(drop)
    }

    /// δ of the hidden layer into `back`.
    fn back(
        ctx: &Ctx<T>,
        w2: MatRef<'_, T>,
        seed: MatRef<'_, T>,
        hidden: MatRef<'_, T>,
        mut back: MatMut<'_, T>,
    ) -> Result<()> {
        let (width, cases) = (back.nrows(), back.ncols());
        let w = w2.submatrix(0, 0, w2.nrows(), width)?;
        ctx.gemm(T::ONE, w, Transpose, seed, No, T::ZERO, back.rb_mut())?;
        Activation::Tanh.scale_by_derivative(ctx, hidden.submatrix(0, 0, width, cases)?, back)
    }

    fn backward(&mut self, ctx: &Ctx<T>) -> Result<()> {
        let weight = T::of(1.0 / self.inputs.ncols() as f64);
        let (dz, hidden) = (self.output_gradient.as_ref(), self.hidden.as_ref());
        let [first, second] = &mut self.layers;
        ctx.gemm(weight, dz, No, hidden, Transpose, T::ZERO, second.gradient.as_mut())?;
        Self::back(ctx, self.weights[1].as_ref(), dz, hidden, self.back.as_mut())?;
        let (delta, x) = (self.back.as_ref(), self.inputs.as_ref());
        ctx.gemm(weight, delta, No, x, Transpose, T::ZERO, first.gradient.as_mut())
    }

    fn statistics(&mut self, ctx: &Ctx<T>, sample: u64) -> Result<()> {
        let (old, new) = (T::of(0.95), T::of(0.05 / self.inputs.ncols() as f64));
        let [first, second] = &mut self.layers;
        let add = |x: MatRef<'_, T>, moment: &mut Mat<T>| ctx.syrk_lower(new, x, Transpose, old, moment.as_mut());
        add(self.inputs.as_ref(), &mut first.factors[0])?;
        add(self.hidden.as_ref(), &mut second.factors[0])?;
        Loss::SquaredError.sample_gradient(ctx, self.outputs.as_ref(), sample, self.seed.as_mut())?;
        add(self.seed.as_ref(), &mut second.factors[1])?;
        let seed = self.seed.as_ref();
        Self::back(ctx, self.weights[1].as_ref(), seed, self.hidden.as_ref(), self.back.as_mut())?;
        add(self.back.as_ref(), &mut first.factors[1])
    }

    /// α and μ that minimize the model on span{d, δ₀}.
    fn model(&mut self, ctx: &Ctx<T>) -> Result<(f64, f64)> {
        let [first, second] = &self.layers;
        let pairs = [(&first.direction, &second.direction), (&first.update, &second.update)];
        for ((v1, v2), tangent) in pairs.into_iter().zip(&mut self.tangents) {
            ctx.gemm(T::ONE, v1.as_ref(), No, self.inputs.as_ref(), No, T::ZERO, self.back.as_mut())?;
            let (width, cases) = self.back.shape();
            let a = self.hidden.as_ref().submatrix(0, 0, width, cases)?;
            Activation::Tanh.scale_by_derivative(ctx, a, self.back.as_mut())?;
            ctx.gemm(T::ONE, v2.as_ref(), No, self.hidden.as_ref(), No, T::ZERO, tangent.as_mut())?;
            let w = self.weights[1].as_ref().submatrix(0, 0, tangent.nrows(), width)?;
            ctx.gemm(T::ONE, w, No, self.back.as_ref(), No, T::ONE, tangent.as_mut())?;
        }
        let weight = 1.0 / self.inputs.ncols() as f64;
        let [td, tu] = &self.tangents;
        let [mut b00, mut b01, mut b11] = [(td, td), (td, tu), (tu, tu)].map(|(x, y)| weight * dot(x, y));
        let (mut c0, mut c1) = (0.0, 0.0);
        for Layer { gradient, direction, update, .. } in &self.layers {
            b00 += dot(direction, direction);
            b01 += dot(direction, update);
            b11 += dot(update, update);
            c0 += dot(gradient, direction);
            c1 += dot(gradient, update);
        }
        let determinant = b00 * b11 - b01 * b01;
        Ok(if determinant > 64.0 * T::EPS.f64() * b00 * b11 {
            ((b01 * c1 - b11 * c0) / determinant, (b01 * c0 - b00 * c1) / determinant)
        } else {
            (-c0 / b00, 0.0)
        })
    }
}

/// Σ x_i y_i by eight partial sums.
fn dot<T: Scalar>(x: &Mat<T>, y: &Mat<T>) -> f64 {
    let (xs, x_rest) = x.as_slice().as_chunks::<8>();
    let (ys, y_rest) = y.as_slice().as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for (x, y) in xs.iter().zip(ys) {
        (0..8).for_each(|l| lanes[l] += x[l].f64() * y[l].f64());
    }
    lanes.iter().sum::<f64>() + x_rest.iter().zip(y_rest).map(|(x, y)| x.f64() * y.f64()).sum::<f64>()
}

fn norm_squared<'a, T: Scalar>(parts: impl Iterator<Item = &'a Mat<T>>) -> f64 {
    parts.map(|part| dot(part, part)).sum()
}
