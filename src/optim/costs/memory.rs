//! [`kfac_memory`]: the bytes that steps of K-FAC hold beside θ, the batch and the network, term by term.
//!
//! ```text
//! vectors      3 P                                  ∇h, d and δ;  P parameters
//! statistics   Σ (M² + N²)                          A and S of every layer, M = d_in, N = d_out
//! inverses     Σ (M² + N²), exact damping + M + N   both inverses, or both eigenbases and their eigenvalues
//! renewal      M² + N² of the largest layer         an inverse in the making beside the one that it replaces
//! activations  (Σ_hidden (N + 1) + 2 N_L) B         ā of the hidden layers, z and ∂ℓ/∂z; B losses in f64 beside them
//! scratch      passes    W B, W B, max(W, 2 N_L) B  two layers' δ, seeds and J v;  W = the widest layer
//!              update    M N, exact damping twice   of the largest layer
//!              refresh   n²                         of its largest factor, factored damping: L⁻¹, but LAPACK inverts in place
//! workspace    2 n² (LAPACK), 4 n² (faer)           of the same factor, exact damping: the eigensolver's own
//! ```
//! Renewal, refresh and workspace are those of one thread; t threads renew the t largest layers at once. Scratch is one pool
//! (`Ctx::scratch`): its i-th largest block is the largest of those that are i-th in passes, update and refresh.
//!
//! Deviations  layers of structure A ⊗ S only. Left out: what a backend's products pack their blocks in, and a few numbers a
//!             layer.
//! Laws        tests/kfac_memory.rs (the measured peak, by the allocator).

use super::LayerShape;
use crate::backend::Ctx;
use crate::curvature::KroneckerDamping;
use crate::scalar::Scalar;

/// Bytes that steps of K-FAC hold, by what they are for: see [`kfac_memory`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KfacMemory {
    /// Vectors of the length of θ.
    pub vectors: f64,
    /// Moving averages of A and S.
    pub statistics: f64,
    /// Inverses or eigenbases.
    pub inverses: f64,
    /// Inverses in the making.
    pub renewal: f64,
    /// The forward pass's.
    pub activations: f64,
    /// The context's pool.
    pub scratch: f64,
    /// The eigensolver's.
    pub workspace: f64,
}

impl KfacMemory {
    /// All of it.
    pub fn total(&self) -> f64 {
        let Self { vectors, statistics, inverses, renewal, activations, scratch, workspace } = self;
        vectors + statistics + inverses + renewal + activations + scratch + workspace
    }
}

/// The most bytes that steps of a [`Kfac`](crate::optim::Kfac) on batches of `batch` cases hold at once, in all threads of
/// this context, from the second refresh on; θ, the batch and the network are the caller's.
///
/// ```
/// use pullback::curvature::{KroneckerDamping, PiRule};
/// use pullback::{Ctx, optim::costs};
/// let layers = costs::layers(&[784, 1000, 500, 250, 30, 250, 500, 1000, 784]);
/// let memory = costs::kfac_memory(&Ctx::<f32>::reference(), &layers, 512, KroneckerDamping::Factored { pi: PiRule::Trace });
/// assert!((memory.total() / 1e6 - 111.0).abs() < 0.5);
/// assert!(memory.statistics == memory.inverses && memory.vectors == 3.0 * 4.0 * 2_837_314.0);
/// ```
pub fn kfac_memory<T: Scalar>(
    ctx: &Ctx<T>,
    layers: &[LayerShape],
    batch: usize,
    damping: KroneckerDamping<T>,
) -> KfacMemory {
    let exact = damping == KroneckerDamping::Exact;
    let sum = |f: &dyn Fn(f64, f64) -> f64| layers.iter().map(|l| l.dims()).map(|(m, n)| f(m, n)).sum::<f64>();
    let b = batch as f64;
    let outputs = layers.last().map_or(0.0, |l| l.d_out as f64);
    let widest = layers.iter().map(|l| l.d_out as f64).fold(0.0, f64::max);

    let factors = sum(&|m, n| m * m + n * n);
    let mut by_size: Vec<LayerShape> = layers.to_vec();
    by_size.sort_by(|a, b| b.inverses().total_cmp(&a.inverses()));
    by_size.truncate(ctx.threads());
    let renewal = by_size.iter().map(|l| l.dims()).map(|(m, n)| m * m + n * n).sum::<f64>();
    let orders = by_size.iter().map(|l| l.d_in.max(l.d_out));

    let passes = vec![widest * b, widest * b, widest.max(2.0 * outputs) * b];
    let largest = layers.iter().map(|l| l.dims()).map(|(m, n)| m * n).fold(0.0, f64::max);
    let (update, refresh, workspace) = if exact {
        (vec![largest; 2], Vec::new(), orders.map(|n| ctx.backend().syevd_workspace(n) as f64).sum::<f64>())
    } else {
        let work = |n| ctx.backend().potri_work(n);
        (vec![largest], orders.map(work).map(|(rows, columns)| (rows * columns) as f64).collect(), 0.0)
    };

    let bytes = size_of::<T>() as f64;
    KfacMemory {
        vectors: 3.0 * sum(&|m, n| m * n) * bytes,
        statistics: factors * bytes,
        inverses: (factors + if exact { sum(&|m, n| m + n) } else { 0.0 }) * bytes,
        renewal: renewal * bytes,
        activations: (sum(&|_, n| n + 1.0) + outputs - 1.0) * b * bytes + b * size_of::<f64>() as f64,
        scratch: pooled([passes, update, refresh]) * bytes,
        workspace: workspace * bytes,
    }
}

/// Elements of a pool that lends to one list of blocks after the other.
fn pooled(mut lists: [Vec<f64>; 3]) -> f64 {
    lists.iter_mut().for_each(|list| list.sort_by(|a, b| b.total_cmp(a)));
    let block = |i: usize| lists.iter().filter_map(|list| list.get(i)).fold(0.0, |max: f64, &size| max.max(size));
    (0..lists.iter().map(Vec::len).max().unwrap_or(0)).map(block).sum()
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::*;
    use crate::curvature::PiRule;

    #[test]
    fn terms_of_a_small_network_by_hand() {
        let network = layers(&[2, 5, 3]); // M x N: 3 x 5, 6 x 3
        let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
        let ctx = Ctx::<f64>::reference();
        let memory = kfac_memory(&ctx, &network, 10, factored);
        assert_eq!(memory.vectors, 8.0 * 3.0 * 33.0);
        assert_eq!(memory.statistics, 8.0 * (9.0 + 25.0 + 36.0 + 9.0));
        assert_eq!((memory.inverses, memory.renewal), (memory.statistics, 8.0 * 45.0));
        assert_eq!(memory.activations, 8.0 * (6.0 + 3.0 + 3.0 + 1.0) * 10.0);
        // passes 50, 50, 60; update 18; refresh 36
        assert_eq!((memory.scratch, memory.workspace), (8.0 * 160.0, 0.0));
        let exact = kfac_memory(&ctx.with_threads(2), &network, 1, KroneckerDamping::Exact);
        assert_eq!(exact.inverses, 8.0 * (79.0 + 8.0 + 9.0));
        assert_eq!(exact.renewal, 8.0 * 79.0);
        // passes 5, 5, 6; update 18, 18
        assert_eq!((exact.scratch, exact.workspace), (8.0 * 41.0, 8.0 * 2.0 * (36.0 + 25.0)));
        let sum = 8.0 * (99.0 + 79.0 + 96.0 + 79.0 + 13.0 + 41.0 + 122.0);
        assert_eq!(exact.total(), sum);
    }
}
