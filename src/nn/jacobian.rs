//! [`MlpJacobian`]: the Jacobian of a network on a batch with the output Hessian's square root in it, so that JᵀJ is
//! the Gauss-Newton matrix of the data term for every loss.
//!
//! ```text
//! J = w^½ Sᵀ ∂z/∂θ  (N x P, N = cases · outputs),   JᵀJ = w Σ_n J_nᵀ H_z J_n = G,    Jᵀr = ∇(data term)
//! r_n = w^½ S⁺ ∂ℓ/∂z:    squared error  z - t      Bernoulli  (p - t)/√(p(1-p))      softmax  (p - t)/√p
//! ```
//! J is never formed: products are forward and backward passes, the kernel J Jᵀ goes layer by layer (`kernel`).
//!
//! Deviations  A residual where the model is certain and wrong (p underflows to 0 while t > 0) has no finite value: an
//!             error.
//! Cost        J v and Jᵀu 4PB - 2 P_1 B flops each.
//! Laws        tests/nn_kernel.rs (JᵀJ is G, Jᵀr is the gradient, adjointness, the kernel).
//! Reference   N. N. Schraudolph, Neural Computation 14 (2002); J. Martens, JMLR 21 (2020), section 9.2 (S).

use super::backprop::top_mut;
use super::batch::view;
use super::{Batch, Loss, Mlp, Workspace};
use crate::backend::{Ctx, check};
use crate::curvature::{JacobianCosts, JacobianSource};
use crate::error::{Result, check_len};
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{MatMut, MatRef, Op};
use crate::optim::{LayeredObjective, Linearization, Objective, ResidualObjective};
use crate::scalar::Scalar;

/// J = w^½ Sᵀ ∂z/∂θ of the data term at fixed θ and batch, with the forward pass cached. Row n C + c belongs to case n
/// and column c of S_n.
///
/// ```
/// use pullback::curvature::{DirectPath, SampleSpace};
/// use pullback::nn::{Activation, Batch, Init, Mlp, MlpJacobian};
/// use pullback::{Ctx, DampedInverse, Damping, Mat, optim::Objective};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(2).layer(50, Activation::Tanh).layer(1, Activation::Identity).build()?;
/// let batch = Batch::new(Mat::from_fn(2, 4, |i, j| (i * j) as f64).as_ref(), Mat::zeros(1, 4).as_ref())?;
/// let theta = net.init(Init::GlorotUniform, 1);
/// let (mut gradient, mut direction) = (Mat::zeros(201, 1), Mat::zeros(201, 1));
/// net.loss_grad(&ctx, &theta, &batch, gradient.as_mut_slice())?;
/// // (G + λI)⁻¹ ∇h exactly, from a 4 x 4 system
/// let j = MlpJacobian::new(&ctx, &net, &theta, &batch)?;
/// let inverse = SampleSpace::new(&j).direct(&ctx, Damping::try_from(0.1)?, DirectPath::Kernel)?;
/// inverse.precondition(&ctx, gradient.as_ref(), direction.as_mut())?;
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
pub struct MlpJacobian<'a, T: Scalar> {
    mlp: &'a Mlp<T>,
    theta: &'a [T],
    batch: &'a Batch<T>,
    forward: Workspace<T>,
    loss: T,
    weight_root: T,
}

impl<'a, T: Scalar> MlpJacobian<'a, T> {
    /// Runs the forward pass that every product then shares.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn new(ctx: &Ctx<T>, mlp: &'a Mlp<T>, theta: &'a [T], batch: &'a Batch<T>) -> Result<Self> {
        let mut forward = mlp.workspace();
        let loss = mlp.forward(ctx, theta, batch, &mut forward)?;
        let weight_root = T::of(mlp.weight(batch.cases()).sqrt());
        Ok(Self { mlp, theta, batch, forward, loss, weight_root })
    }

    /// h(θ) on the batch, L2 included.
    pub fn loss(&self) -> T {
        self.loss
    }

    /// r with Jᵀr = the gradient of the data term.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless `out` has N entries; [`Error::NotFinite`](crate::Error::NotFinite)
    /// where the model is certain and wrong.
    pub fn residual(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("residual", self.shape().0, out.len())?;
        let (z, dz) = (self.forward.outputs(), self.forward.output_gradient());
        let mut r = top_mut(out, z.nrows(), z.ncols())?;
        // what ∂ℓ/∂z is divided by
        match self.mlp.output_loss() {
            Loss::SquaredError => r.fill(T::ONE),
            loss @ Loss::BernoulliCrossEntropy => {
                r.fill(T::ONE);
                loss.factor_product(ctx, z, Op::No, r.rb_mut())?;
            }
            loss @ Loss::SoftmaxCrossEntropy => {
                r.copy_from(z)?;
                loss.predict(ctx, r.rb_mut());
                r.cols_mut().for_each(|r| r.iter_mut().for_each(|p| *p = p.sqrt()));
            }
        }
        for (r, dz) in r.cols_mut().zip(dz.cols()) {
            for (r, &dz) in r.iter_mut().zip(dz) {
                *r = if dz == T::ZERO { T::ZERO } else { self.weight_root * dz / *r };
            }
        }
        check::finite_slice("residual", out)
    }
}

impl<T: Scalar> LinearOperator<T> for MlpJacobian<'_, T> {
    fn shape(&self) -> (usize, usize) {
        (self.mlp.outputs() * self.batch.cases(), self.mlp.layout().len())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let z = self.forward.outputs();
        for (x, y) in x.cols().zip(y.cols_mut()) {
            let mut product = top_mut(y, z.nrows(), z.ncols())?;
            self.mlp.jvp(ctx, self.theta, self.batch, &self.forward, x, product.rb_mut())?;
            self.mlp.output_loss().factor_product(ctx, z, Op::Transpose, product)?;
            y.iter_mut().for_each(|y| *y *= self.weight_root);
        }
        Ok(())
    }
}

impl<T: Scalar> TransposeOperator<T> for MlpJacobian<'_, T> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let z = self.forward.outputs();
        let mut seed = ctx.scratch(z.nrows(), z.ncols());
        for (x, y) in x.cols().zip(y.cols_mut()) {
            seed.as_mut().copy_from(view(x, z.nrows(), z.ncols()))?;
            self.mlp.output_loss().factor_product(ctx, z, Op::No, seed.as_mut())?;
            let inputs = self.batch.inputs();
            let (ws, root) = (&self.forward, self.weight_root);
            self.mlp.weight_gradients(ctx, self.theta, inputs, ws, seed.as_ref(), root, T::ZERO, y)?;
        }
        Ok(())
    }
}

impl<T: Scalar> JacobianSource<T> for MlpJacobian<'_, T> {
    fn kernel_into(&self, ctx: &Ctx<T>, k: MatMut<'_, T>) -> Result<()> {
        self.mlp.kernel_by_layers(ctx, self.theta, self.batch, &self.forward, k)
    }

    fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("column_squares", self.theta.len(), out.len())?;
        self.mlp.squares_by_layers(ctx, self.theta, self.batch, &self.forward, out)
    }

    fn costs(&self) -> JacobianCosts {
        let (n, p) = self.shape();
        let (rows, cases) = (n as f64, self.batch.cases() as f64);
        let first = self.mlp.layers().first().map_or(0.0, |l| (l.width * (l.inputs + 1)) as f64);
        let layer = |l: &super::Layer| rows * rows * (l.width as f64 + 2.0) + cases * cases * (l.inputs as f64 + 1.0);
        let kernel = self.mlp.layers().iter().map(layer).sum::<f64>() + 2.0 * (p as f64 - first) * rows;
        let product = (4.0 * p as f64 - 2.0 * first) * cases;
        // K and the diagonal of C go layer by layer
        JacobianCosts { kernel, kernel_products: 0, diagonal_products: 0, ..JacobianCosts::products(n, p, product) }
    }
}

impl<T: Scalar> ResidualObjective<T> for Mlp<T> {
    type Jacobian<'a> = MlpJacobian<'a, T>;

    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<T>,
        theta: &'a [T],
        batch: &'a Batch<T>,
    ) -> Result<Linearization<T, MlpJacobian<'a, T>>> {
        let jacobian = MlpJacobian::new(ctx, self, theta, batch)?;
        let loss = jacobian.loss();
        let mut residual = vec![T::ZERO; jacobian.shape().0];
        if loss.is_finite() {
            jacobian.residual(ctx, &mut residual)?;
        }
        Ok(Linearization { loss, jacobian, residual })
    }
}
