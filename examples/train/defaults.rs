//! Every number that an option falls back to.

use crate::args::{Kind, Task};

/// Cases of a minibatch.
pub const BATCH: usize = 256;

/// η of the L2 term, that of the classic autoencoder experiments.
pub const L2: f64 = 1e-5;

/// Momentum of sgd (Nesterov).
pub const MOMENTUM: f64 = 0.9;

/// Learning rate of a first-order optimizer, for losses that are means over cases and sums over outputs.
pub fn learning_rate(task: Task, kind: Kind) -> Option<f64> {
    match (kind, task) {
        (Kind::Sgd, Task::Autoencoder) => Some(0.01),
        (Kind::Sgd, _) => Some(0.1),
        (Kind::Adam, _) => Some(0.003),
        (Kind::Kfac, _) => None,
    }
}

/// Initial λ of kfac; it adapts.
pub const DAMPING: f64 = 1.0;
