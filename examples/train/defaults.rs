//! Every number that an option falls back to.

use crate::args::Task;

/// Cases of a minibatch of so many: this many, but at least five minibatches an epoch.
pub fn batch(cases: usize) -> usize {
    256.min(cases / 5).max(1)
}

/// Cases of a large batch, redrawn in every step.
pub const LARGE: usize = 2048;

/// Most cases of a full batch.
pub const FULL: usize = 20_000;

/// Most rows of a kernel, cases x outputs.
pub const KERNEL: usize = 2048;

/// Cases of Hessian-free's curvature.
pub const CURVATURE: usize = 2048;

/// η of the L2 term, that of the classic autoencoder experiments.
pub const L2: f64 = 1e-5;

/// Learning rate and momentum of sgd (Nesterov), for losses that are means over cases and sums over outputs. Those of
/// autoencoders are the best of the sweeps in `docs/benchmarks.md`: few inputs like the digits, many like MNIST.
pub fn sgd(task: Task, inputs: usize) -> (f64, f64) {
    match task {
        Task::Autoencoder if inputs < WIDE => (0.003, 0.99),
        Task::Autoencoder => (0.001, 0.9),
        Task::Classify | Task::Regress => (0.1, 0.9),
    }
}

/// Learning rate of adam; see [`sgd`].
pub fn adam(task: Task, inputs: usize) -> f64 {
    match task {
        Task::Autoencoder if inputs < WIDE => 0.005,
        Task::Autoencoder => 0.001,
        Task::Classify | Task::Regress => 0.003,
    }
}

/// Learning rate of natural gradient descent, from `docs/sweep_second_order.csv`.
pub const NATURAL_GRADIENT: f64 = 0.3;

/// Inputs from which on an autoencoder counts as wide.
const WIDE: usize = 256;

/// Initial λ of kfac, which adapts; from the same sweeps.
pub const DAMPING: f64 = 0.1;

/// λ where it stays and a search keeps the step in bounds.
pub const FIXED_DAMPING: f64 = 0.01;

/// Initial λ of Hessian-free, from `docs/sweep_second_order.csv`.
pub const HF_DAMPING: f64 = 1.0;
