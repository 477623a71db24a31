//! Natural gradient descent with the exact Fisher matrix.
//!
//! ```text
//! θ ← θ - α (F + λI)⁻¹ ∇h,     F = E_x E_{y ~ model}[∇log p(y|x) ∇log p(y|x)ᵀ] (+ ηI)
//! ```
//! For a loss that is a negative log-likelihood in the canonical outputs of an exponential family (squared error, logistic,
//! softmax with cross-entropy), the Fisher matrix of the outputs is the Hessian H_z, hence F = JᵀH_zJ = G: the exact Fisher
//! matrix is the Gauss-Newton matrix, and needs no sampling. All losses of `nn` are of this kind. With an L2 term, the
//! negative logarithm of a Gaussian prior, its ηI belongs to F.
//!
//! The step follows steepest descent in the distance of distributions; to first order in α it does not depend on how the
//! model is parameterized, and for an affine change of parameters not at all.
//!
//! Cost        that of its [`KernelModel`]: N² P or N P² flops, whichever is less; no state.
//! Laws        tests/natural_gradient.rs (F from its definition, affine invariance, α = 1 is damped Gauss-Newton).
//! Reference   chapter section 2.3; S. Amari, Neural Computation 10 (1998) 251-276, doi 10.1162/089976698300017746;
//!             J. Martens, J. Machine Learning Research 21 (2020), arXiv:1412.1193.

use super::damped_newton::{DampedNewton, assembled};
use super::line_search::FixedStep;
use super::{DampingRule, KernelModel};
use crate::error::Result;
use crate::scalar::Scalar;

/// Natural gradient descent.
///
#[cfg_attr(feature = "nn", doc = "```")]
#[cfg_attr(not(feature = "nn"), doc = "```ignore")]
/// use pullback::nn::{Activation, Init, Mlp};
/// use pullback::optim::{NaturalGradient, Objective, Optimizer};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let net = Mlp::builder(1).layer(20, Activation::Tanh).layer(1, Activation::Identity).build()?;
/// let x = Mat::from_fn(1, 8, |_, j| j as f64 / 4.0 - 1.0);
/// let batch = net.batch(x.as_ref(), x.map(f64::sin).as_ref())?;
/// let mut theta = net.init(Init::GlorotUniform, 1);
/// let before = net.loss(&ctx, &theta, &batch)?;
/// NaturalGradient::new(0.5, 1e-3)?.step(&ctx, &net, &mut theta, &batch)?;
/// assert!(net.loss(&ctx, &theta, &batch)? < 0.5 * before);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NaturalGradient<T, S = KernelModel<T>, L = FixedStep> {
    assembly: DampedNewton<T, S, L>,
}

impl<T: Scalar> NaturalGradient<T> {
    /// Learning rate α and damping λ; λ = 0 needs a Fisher matrix (with ηI) that is not singular.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) unless α is finite and positive, λ finite and not
    /// negative.
    pub fn new(learning_rate: f64, lambda: f64) -> Result<Self> {
        let search = FixedStep::new(learning_rate)?;
        Ok(Self { assembly: DampedNewton::new(KernelModel::default(), DampingRule::Fixed(lambda), search)? })
    }
}

assembled!(NaturalGradient);
