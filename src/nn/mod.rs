//! The MLP harness: networks, losses, products with J, G and H, captures, and data readers.
//!
//! | file | one thing |
//! |---|---|
//! | `mlp`, `builder`, `layer` | the description of a network: widths, activations, loss, reduction, L2 |
//! | `batch` | inputs with a row of ones, targets |
//! | `activation`, `elementary` | φ, φ', φ'' and the vectorized exp, tanh, log1p below them |
//! | `loss`, `loss_sample` | output losses, their Hessians, square roots and sampled targets |
//! | `workspace`, `backprop` | forward and backward pass |
//! | `rop` | products with J, Jᵀ, G and H, and the operators made of them |
//! | `jacobian`, `kernel` | J scaled by the root of the output Hessian, residuals, and J Jᵀ layer by layer |
//! | `capture` | what K-FAC looks at: activations and pseudo-gradients |
//! | `kfra` | second moments of pseudo-gradients by recursion on the average block |
//! | `proximity` | distances of outputs from those at another θ |
//! | `policy` | networks as policies: surrogate objectives of reinforcement learning, divergences |
//! | `init` | sparse, Glorot and He initialization |

mod activation;
mod backprop;
mod batch;
mod builder;
mod capture;
mod columns;
pub mod data;
mod elementary;
mod init;
mod jacobian;
mod kernel;
mod kfra;
mod layer;
mod loss;
mod loss_sample;
mod mlp;
mod operators;
mod policy;
mod proximity;
mod rop;
mod workspace;

pub use activation::Activation;
pub use batch::Batch;
pub use builder::MlpBuilder;
pub use init::Init;
pub use jacobian::MlpJacobian;
pub use layer::Layer;
pub use loss::{Loss, Reduction};
pub use mlp::{Metrics, Mlp};
pub use operators::{GgnOperator, HessianOperator};
pub use policy::{Policy, PolicyBatch};
pub use proximity::MlpAnchor;
pub use workspace::Workspace;
