//! [`kfac_memory`]: the bytes that steps of K-FAC hold beside θ, the batch and the network, term by term.
//!
//! ```text
//! vectors      3 P                                  ∇h, d and δ;  P parameters.  2 P where some layer takes factors: no ∇h
//! statistics   Σ (M² + N²)                          A and S of every layer, M = d_in, N = d_out
//! inverses     Σ (M² + N²), exact damping + M + N   both inverses, or both eigenbases and their eigenvalues
//! activations  (Σ_hidden (N + 1) + 2 N_L) B         ā of the hidden layers, z and ∂ℓ/∂z; B losses in f64 beside them
//! scratch      backward  W B, W B, N_L B            two layers' δ, and seeds;  W = the widest layer
//!              tangents  2 W' B, 2 W' B, 2 N_L B    J v along two vectors;  W' = the widest hidden layer
//!              factors   W B, W B, M B, N B         the update through a batch's factors, where some layer takes it
//!              update    M N, exact damping twice   of the largest layer
//!              refresh   M² + N², + n² or + M + N   of the largest layer: both factors in the making beside those that they
//!                                                   replace; then L⁻¹ of the larger one (not where Cholesky factors are
//!                                                   kept; LAPACK inverts in place), or, with exact damping, the eigenvalues
//! workspace    2 n² (LAPACK), 4 n² (faer)           of the same factor, exact damping: the eigensolver's own
//! ```
//! Refresh and workspace are those of one thread; t threads renew the t largest layers at once. Scratch is one pool
//! (`Ctx::scratch`): its i-th largest block is the largest of those that are i-th in these lists.
//!
//! Deviations  layers of structure A ⊗ S and no L2 term (with one, no layer takes factors). Left out: what a backend's products pack their blocks in, and a few numbers a
//!             layer.
//! Laws        tests/kfac_memory.rs (the measured peak, by the allocator).

use super::LayerShape;
use crate::backend::Ctx;
use crate::curvature::{KroneckerDamping, batch_factors_are_cheaper};
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
        let Self { vectors, statistics, inverses, activations, scratch, workspace } = self;
        vectors + statistics + inverses + activations + scratch + workspace
    }
}

/// Updates that a refresh serves by default; other numbers may keep other forms of the factors.
const UPDATES: u64 = 5;

/// The most bytes that steps of a [`Kfac`](crate::optim::Kfac) on batches of `batch` cases hold at once, in all threads of
/// this context, from the second refresh on; θ, the batch and the network are the caller's.
///
/// ```
/// use pullback::curvature::{KroneckerDamping, PiRule};
/// use pullback::{Ctx, optim::costs};
/// let layers = costs::layers(&[784, 1000, 500, 250, 30, 250, 500, 1000, 784]);
/// let memory = costs::kfac_memory(&Ctx::<f32>::reference(), &layers, 512, KroneckerDamping::Factored { pi: PiRule::Trace });
/// assert!((memory.total() / 1e6 - 98.1).abs() < 0.5);
/// assert!(memory.statistics == memory.inverses && memory.vectors == 2.0 * 4.0 * 2_837_314.0);
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

    let moments = sum(&|m, n| m * m + n * n);
    let mut by_size: Vec<LayerShape> = layers.to_vec();
    by_size.sort_by(|a, b| b.inverses().total_cmp(&a.inverses()));
    by_size.truncate(ctx.threads());
    let renewed = by_size.iter().map(|l| l.dims());
    let orders = by_size.iter().map(|l| l.d_in.max(l.d_out));

    let hidden =
        layers.split_last().map_or(0.0, |(_, hidden)| hidden.iter().map(|l| l.d_out as f64).fold(0.0, f64::max));
    let backward = vec![widest * b, widest * b, outputs * b];
    let tangents = vec![2.0 * hidden * b, 2.0 * hidden * b, 2.0 * outputs * b];
    let through = layers.iter().filter(|l| batch_factors_are_cheaper(batch, l.d_in, l.d_out)).map(|l| l.dims());
    let factors = through.max_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
    let factors = factors.map_or(Vec::new(), |(m, n)| vec![widest * b, widest * b, m * b, n * b]);
    let largest = layers.iter().map(|l| l.dims()).map(|(m, n)| m * n).fold(0.0, f64::max);
    let (update, refresh, workspace) = if exact {
        let refresh = renewed.flat_map(|(m, n)| [m * m, n * n, m, n]).collect();
        (vec![largest; 2], refresh, orders.map(|n| ctx.backend().syevd_workspace(n) as f64).sum::<f64>())
    } else {
        let inverted = by_size.iter().filter(|l| !l.prefers_cholesky(UPDATES)).map(|l| l.d_in.max(l.d_out));
        let work = inverted.map(|n| ctx.backend().potri_work(n)).map(|(rows, columns)| (rows * columns) as f64);
        (vec![largest], renewed.flat_map(|(m, n)| [m * m, n * n]).chain(work).collect(), 0.0)
    };

    let bytes = size_of::<T>() as f64;
    let vectors = if factors.is_empty() { 3.0 } else { 2.0 };
    KfacMemory {
        vectors: vectors * sum(&|m, n| m * n) * bytes,
        statistics: moments * bytes,
        inverses: (moments + if exact { sum(&|m, n| m + n) } else { 0.0 }) * bytes,
        activations: (sum(&|_, n| n + 1.0) + outputs - 1.0) * b * bytes + b * size_of::<f64>() as f64,
        scratch: pooled([backward, tangents, factors, update, refresh]) * bytes,
        workspace: workspace * bytes,
    }
}

/// Elements of a pool that lends to one list of blocks after the other.
fn pooled<const N: usize>(mut lists: [Vec<f64>; N]) -> f64 {
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
        assert_eq!(memory.inverses, memory.statistics);
        assert_eq!(memory.activations, 8.0 * (6.0 + 3.0 + 3.0 + 1.0) * 10.0);
        // backward 50, 50, 30; tangents 100, 100, 60; update 18; refresh 36, 9, 36
        assert_eq!((memory.scratch, memory.workspace), (8.0 * 260.0, 0.0));
        let exact = kfac_memory(&ctx.with_threads(2), &network, 1, KroneckerDamping::Exact);
        assert_eq!(exact.inverses, 8.0 * (79.0 + 8.0 + 9.0));
        // tangents 10, 10, 6; factors 5, 5, 6, 3; update 18, 18; refresh 36, 25, 9, 9, 6, 5, 3, 3
        assert_eq!((exact.scratch, exact.workspace), (8.0 * 96.0, 8.0 * 2.0 * (36.0 + 25.0)));
        // one case: the first layer takes its factors
        let sum = 8.0 * (66.0 + 79.0 + 96.0 + 13.0 + 96.0 + 122.0);
        assert_eq!(exact.total(), sum);
    }
}
