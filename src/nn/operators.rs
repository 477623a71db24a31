//! The Gauss-Newton matrix and the Hessian of a network at fixed θ and batch, as operators; parts of a batch.

use super::{Batch, Mlp, Workspace};
use crate::backend::Ctx;
use crate::error::Result;
use crate::linop::{LinearOperator, SelfAdjoint, Shifted};
use crate::mat::{MatMut, MatRef};
use crate::optim::{CurvatureMatrix, CurvatureObjective, LayeredObjective, Objective, SubsetObjective};
use crate::scalar::Scalar;

macro_rules! operator {
    ($(#[$doc:meta])* $name:ident, $product:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'a, T: Scalar> {
            mlp: &'a Mlp<T>,
            theta: &'a [T],
            batch: &'a Batch<T>,
            forward: Workspace<T>,
            loss: T,
        }

        impl<'a, T: Scalar> $name<'a, T> {
            /// Runs the forward pass that every product then shares.
            ///
            /// # Errors
            /// [`Error::Shape`](crate::Error::Shape).
            pub fn new(ctx: &Ctx<T>, mlp: &'a Mlp<T>, theta: &'a [T], batch: &'a Batch<T>) -> Result<Self> {
                let mut forward = mlp.workspace();
                let loss = mlp.forward(ctx, theta, batch, &mut forward)?;
                Ok(Self { mlp, theta, batch, forward, loss })
            }

            /// h(θ) on the batch, L2 included.
            pub fn loss(&self) -> T {
                self.loss
            }
        }

        impl<T: Scalar> LinearOperator<T> for $name<'_, T> {
            fn shape(&self) -> (usize, usize) {
                let n = self.mlp.layout().len();
                (n, n)
            }

            fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
                for (x, y) in x.cols().zip(y.cols_mut()) {
                    self.mlp.$product(ctx, self.theta, self.batch, &self.forward, x, y)?;
                }
                Ok(())
            }
        }

        impl<T: Scalar> SelfAdjoint<T> for $name<'_, T> {}
    };
}

operator! {
    /// G = w JᵀH_zJ of the data term (positive semidefinite), with the forward pass cached.
    ///
    /// The L2 term is left out: `Shifted::new(operator, eta)` adds it.
    ///
    /// ```
    /// use pullback::nn::{Activation, Batch, GgnOperator, Init, Mlp};
    /// use pullback::{Ctx, LinearOperator, Mat};
    /// let ctx = Ctx::<f64>::default();
    /// let net = Mlp::builder(2).layer(3, Activation::Tanh).layer(1, Activation::Identity).build()?;
    /// let batch = Batch::new(Mat::from_fn(2, 4, |i, j| (i * j) as f64).as_ref(), Mat::zeros(1, 4).as_ref())?;
    /// let theta = net.init(Init::GlorotUniform, 1);
    /// let g = GgnOperator::new(&ctx, &net, &theta, &batch)?.to_dense(&ctx)?;
    /// assert_eq!(g.shape(), (13, 13));
    /// assert!(g[(12, 12)] > 0.0);
    /// # Ok::<(), pullback::Error>(())
    /// ```
    GgnOperator, ggn_product
}

operator! {
    /// The Hessian of the data term (of any definiteness), with the forward pass cached.
    ///
    /// The L2 term is left out: `Shifted::new(operator, eta)` adds it.
    ///
    /// ```
    /// use pullback::nn::{Activation, Batch, HessianOperator, Init, Mlp};
    /// use pullback::{Ctx, LinearOperator, Mat};
    /// let ctx = Ctx::<f64>::default();
    /// let net = Mlp::builder(1).layer(1, Activation::Identity).build()?; // linear: h = ½ (w x + b)², H = Σ ā āᵀ / cases
    /// let batch = Batch::new(Mat::from_fn(1, 1, |_, _| 3.0).as_ref(), Mat::zeros(1, 1).as_ref())?;
    /// let theta = net.init(Init::GlorotUniform, 1);
    /// let h = HessianOperator::new(&ctx, &net, &theta, &batch)?.to_dense(&ctx)?;
    /// assert_eq!(h.as_slice(), [9.0, 3.0, 3.0, 1.0]);
    /// # Ok::<(), pullback::Error>(())
    /// ```
    HessianOperator, hessian_product
}

impl<T: Scalar> CurvatureObjective<T> for Mlp<T> {
    fn curvature<'a>(
        &'a self,
        ctx: &Ctx<T>,
        matrix: CurvatureMatrix,
        theta: &'a [T],
        batch: &'a Batch<T>,
    ) -> Result<Box<dyn SelfAdjoint<T> + 'a>> {
        let eta = self.l2();
        Ok(match matrix {
            CurvatureMatrix::GaussNewton => Box::new(Shifted::new(GgnOperator::new(ctx, self, theta, batch)?, eta)),
            CurvatureMatrix::Hessian => Box::new(Shifted::new(HessianOperator::new(ctx, self, theta, batch)?, eta)),
        })
    }
}

impl<T: Scalar> SubsetObjective<T> for Mlp<T> {
    fn cases(&self, batch: &Batch<T>) -> usize {
        batch.cases()
    }

    fn subset(&self, batch: &Batch<T>, cases: std::ops::Range<usize>) -> Result<Batch<T>> {
        batch.subset(cases)
    }
}
