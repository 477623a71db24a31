//! Optimizers: parts (objective, damping rule, quadratic model, averaging) and short assemblies of them.

pub mod costs;
mod objective;

pub use objective::{CaptureSink, FisherKind, LayeredObjective, Objective, ParamBlock, ParamLayout};
