//! Proximal optimization: a new θ that lowers the loss of a batch and stays near the old one, in weights and in outputs.
//!
//! ```text
//! Q(w) = h_B(w) + λ_F E_{x in B'} ρ(f(x, w), f(x, w₀)) + λ_W/2 ‖w - w₀‖²        (chapter Eq 10, 11)
//! ```
//! | file | one thing |
//! |---|---|
//! | `distance` | ρ, and objectives that know it |
//! | `problem` | Q as an objective, with the passes that it needs |
//! | `options`, `step` | [`Proximal`]: Q minimized by BFGS or by K gradient steps |
//! | `model` | [`ProximalModel`]: Q with its parts to first or second order, solved exactly |

mod distance;
mod model;
mod options;
mod problem;
mod step;

pub use distance::{OutputDistance, OutputProximity};
pub use model::{LossOrder, ProximalModel, ProximalModelOptions};
pub use options::{InnerMinimizer, ProximalOptions};
pub use step::Proximal;
