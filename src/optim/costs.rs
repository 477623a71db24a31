//! What K-FAC costs beside SGD: operation counts, overhead at given update intervals, and when eigenbases pay.
//!
//! A layer's weights are d_out x d_in (the bias being a column, so d_in counts it); its factors are A (d_in x d_in) and
//! S (d_out x d_out). The counts are floating-point operations of the products and factorizations; elementwise work is
//! left out.
//!
//! ```text
//! gradient        2 MNB forward, 2 MNB weights, 2 MNB back to the inputs (not in the first layer)   M = d_in, N = d_out
//! statistics      M² B + N² B by syrk (Eq 25), and one sampled backward pass, 2 MNB (not in the first layer)
//! inverses        M³ + N³ by Cholesky (potrf n³/3, potri 2n³/3)
//! eigenbases      9 M³ + 9 N³
//! update          S⁻¹ V A⁻¹ (Eq 22)   2 M N (M + N);      by eigenbases (Eq 23)   twice that
//! new λ           inverses: all of them again (Eq 24);    eigenbases: MN divisions (Eq 23)
//! block-tridiagonal, a layer (M, N) and its next (M', N'):
//! cross moments   2 (M M' + N N') B
//! refresh         12 (M³ + N³) + M²M' + 2 M M'² + N²N' + 2 N N'² + M³/3 + N³/3;   the last layer's inverses alone
//! update          4 products of Eq 23 + 2 · 2 min(N M'(N' + M), N'M (M' + N))
//! ```
//! Implements  the chapter's section 5.5, cost items 1 to 3.
//! Laws        the tests below; `cargo run --release --example costs` measures the same quantities.

/// One dense layer: W is `d_out` x `d_in`, the bias column included in `d_in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerShape {
    /// Inputs, the constant one included: the order of A.
    pub d_in: usize,
    /// Outputs: the order of S.
    pub d_out: usize,
}

impl LayerShape {
    fn dims(self) -> (f64, f64) {
        (self.d_in as f64, self.d_out as f64)
    }

    /// Flops of one product with the weights over a batch.
    pub fn product(self, batch: usize) -> f64 {
        let (m, n) = self.dims();
        2.0 * m * n * batch as f64
    }

    /// Flops of both second moments of a batch.
    pub fn statistics(self, batch: usize) -> f64 {
        let (m, n) = self.dims();
        (m * m + n * n) * batch as f64
    }

    /// Flops of both inverses.
    pub fn inverses(self) -> f64 {
        cholesky_inverse(self.d_in) + cholesky_inverse(self.d_out)
    }

    /// Flops of both eigendecompositions.
    pub fn eigenbases(self) -> f64 {
        eigendecomposition(self.d_in) + eigendecomposition(self.d_out)
    }

    /// Flops of S⁻¹ V A⁻¹: two products.
    pub fn update_by_inverses(self) -> f64 {
        let (m, n) = self.dims();
        2.0 * m * n * (m + n)
    }

    /// Flops of Q_S ((Q_Sᵀ V Q_A) ⊘ D) Q_Aᵀ: four products.
    pub fn update_by_eigenbases(self) -> f64 {
        2.0 * self.update_by_inverses()
    }

    /// Whether Cholesky factors serve so many updates at less cost than inverses, which are products where those are
    /// solves. In units of the time of a product's flop, as measured on orders 250 to 1000: 1/0.65 for an inverse's, 1/0.7 for
    /// a Cholesky factorization's, 1/0.85 for a solve's.
    ///
    /// ```text
    /// (M³ + N³)/3/0.7 + steps · update/0.85 < (M³ + N³)/0.65 + steps · update
    /// ```
    pub fn prefers_cholesky(self, steps: u64) -> bool {
        let solves = steps as f64 * self.update_by_inverses() * (1.0 / 0.85 - 1.0);
        solves < self.inverses() * (1.0 / 0.65 - 1.0 / (3.0 * 0.7))
    }

    /// Flops of both cross moments with the next layer over a batch.
    pub fn cross_statistics(self, next: Self, batch: usize) -> f64 {
        let ((m, n), (p, q)) = (self.dims(), next.dims());
        2.0 * (m * p + n * q) * batch as f64
    }

    /// Flops of the conditional inverse given the next layer, and of the link to it.
    fn conditional(self, next: Self) -> f64 {
        let side = |mine: f64, other: f64| {
            // explained part by a solve and syrk, the link by a second solve; pencil: three solves and an eigensolver
            mine * mine * other + 2.0 * mine * other * other + 3.0 * mine.powi(3)
        };
        let ((m, n), (p, q)) = (self.dims(), next.dims());
        side(m, p) + side(n, q) + self.eigenbases()
    }

    /// Flops of a product with the link to the next layer, either way.
    fn link(self, next: Self) -> f64 {
        let ((m, n), (p, q)) = (self.dims(), next.dims());
        2.0 * (n * p * (q + m)).min(q * m * (p + n))
    }

    /// Flops of (S⁻¹ DZ)(A⁻¹ Y)ᵀ beyond the gradient's own product: the same update where the weight gradient is a
    /// product over the batch and nothing else.
    pub fn update_through_batch(self, batch: usize) -> f64 {
        let (m, n) = self.dims();
        2.0 * (m * m + n * n) * batch as f64
    }
}

/// Flops of a Cholesky factorization.
pub fn cholesky(n: usize) -> f64 {
    (n as f64).powi(3) / 3.0
}

/// Flops of an inverse by Cholesky factorization: n³.
pub fn cholesky_inverse(n: usize) -> f64 {
    (n as f64).powi(3)
}

/// Flops of a symmetric eigendecomposition with vectors, about 9n³ (tridiagonalization 4/3, divide and conquer up to
/// 8/3, back-transformation 2, and what their level-2 half costs more).
pub fn eigendecomposition(n: usize) -> f64 {
    9.0 * (n as f64).powi(3)
}

/// The layers of a fully connected network from its widths; each layer's `d_in` counts the bias.
///
/// ```
/// use pullback::optim::costs;
/// let layers = costs::layers(&[784, 1000, 500, 250, 30, 250, 500, 1000, 784]);
/// assert_eq!((layers.len(), layers[0].d_in, layers[0].d_out), (8, 785, 1000));
/// assert!((costs::gradient(&layers, 512) / 1e9 - 7.9).abs() < 0.05);
/// ```
pub fn layers(widths: &[usize]) -> Vec<LayerShape> {
    widths.windows(2).map(|w| LayerShape { d_in: w[0] + 1, d_out: w[1] }).collect()
}

/// Flops of a gradient: forward, weights, and back to the inputs of all layers but the first.
pub fn gradient(layers: &[LayerShape], batch: usize) -> f64 {
    let all: f64 = layers.iter().map(|l| l.product(batch)).sum();
    2.0 * all + backward(layers, batch)
}

/// Flops of a backward pass for the pre-activations' gradients alone: one more of these per sample of targets.
pub fn backward(layers: &[LayerShape], batch: usize) -> f64 {
    layers.iter().skip(1).map(|l| l.product(batch)).sum()
}

/// Flops that block-tridiagonal K-FAC's statistics take beside those of the layers.
pub fn cross_statistics(layers: &[LayerShape], batch: usize) -> f64 {
    layers.windows(2).map(|pair| pair[0].cross_statistics(pair[1], batch)).sum()
}

/// Flops of a refresh of the block-tridiagonal inverse.
///
/// ```
/// use pullback::optim::costs;
/// let layers = costs::layers(&[100; 5]); // of one width: eigenbases dominate
/// let blocks: f64 = layers.iter().map(|l| l.inverses()).sum();
/// assert!((8.0..16.0).contains(&(costs::tridiagonal_refresh(&layers) / blocks)));
/// ```
pub fn tridiagonal_refresh(layers: &[LayerShape]) -> f64 {
    let conditionals: f64 = layers
        .windows(2)
        .map(|pair| pair[0].conditional(pair[1]) + cholesky(pair[0].d_in) + cholesky(pair[0].d_out))
        .sum();
    conditionals + layers.last().map_or(0.0, |last| last.inverses())
}

/// Flops of turning a gradient into a block-tridiagonal update.
pub fn tridiagonal_update(layers: &[LayerShape]) -> f64 {
    let pairs = layers.windows(2).map(|pair| pair[0].update_by_eigenbases() + 2.0 * pair[0].link(pair[1]));
    pairs.sum::<f64>() + layers.last().map_or(0.0, |last| last.update_by_inverses())
}

/// What K-FAC adds to a gradient, all in one unit (seconds or flops).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KfacCosts {
    /// A gradient: what a step of SGD costs.
    pub gradient: f64,
    /// Updating the statistics once, the sampled backward pass included (item 1).
    pub statistics: f64,
    /// Recomputing every inverse or eigenbasis once (item 2).
    pub refresh: f64,
    /// Turning a gradient into an update (item 3), every step.
    pub update: f64,
}

impl KfacCosts {
    /// Cost of an average step over that of SGD, with statistics every `statistics_interval` steps and inverses every
    /// `refresh_interval`: at least 1.
    pub fn overhead(&self, statistics_interval: usize, refresh_interval: usize) -> f64 {
        let per_step = |cost: f64, interval: usize| cost / interval.max(1) as f64;
        let extra =
            self.update + per_step(self.statistics, statistics_interval) + per_step(self.refresh, refresh_interval);
        1.0 + extra / self.gradient
    }

    /// Fewest steps between refreshes, the statistics being updated every `statistics_interval` steps, that keep the
    /// overhead within `limit`; `None` where the rest alone exceeds it.
    pub fn refresh_interval(&self, statistics_interval: usize, limit: f64) -> Option<usize> {
        let left = limit - self.overhead(statistics_interval, 1) + self.refresh / self.gradient;
        first_interval(self.refresh / self.gradient, left, |n| self.overhead(statistics_interval, n) <= limit)
    }

    /// Fewest steps between updates of both statistics and inverses that keep the overhead within `limit`; `None` where
    /// the update alone exceeds it.
    pub fn common_interval(&self, limit: f64) -> Option<usize> {
        let left = limit - 1.0 - self.update / self.gradient;
        first_interval((self.statistics + self.refresh) / self.gradient, left, |n| self.overhead(n, n) <= limit)
    }
}

/// Smallest n >= 1 with cost / n <= left; `None` where nothing is left. The quotient may round across a whole number,
/// so that its neighbours are judged by `within` itself.
fn first_interval(cost: f64, left: f64, within: impl Fn(usize) -> bool) -> Option<usize> {
    // what is left is a difference of numbers near 1: below this it is rounding
    if !(left > 1e-12) {
        return None;
    }
    let guess = (cost / left).ceil().max(1.0) as usize;
    (guess.saturating_sub(1).max(1)..=guess.saturating_add(1)).find(|&n| within(n))
}

/// Costs of the two ways to damp, for one refresh and the steps until the next, in one unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DampingCosts {
    /// Every inverse once: the cost of a refresh, and of a new λ.
    pub inverses: f64,
    /// One update by inverses.
    pub update_by_inverses: f64,
    /// Every eigenbasis once: the cost of a refresh.
    pub eigenbases: f64,
    /// A new λ in the eigenbases.
    pub new_damping: f64,
    /// One update by eigenbases.
    pub update_by_eigenbases: f64,
}

impl DampingCosts {
    /// How many changes of λ per refresh make the eigenbases the cheaper way, with `steps` updates per refresh: the
    /// smallest c with
    ///
    /// ```text
    /// eigenbases + c·new_damping + steps·update_by_eigenbases <= (1 + c)·inverses + steps·update_by_inverses
    /// ```
    /// `None` where a new λ costs the eigenbases no less than new inverses.
    pub fn break_even(&self, steps: usize) -> Option<usize> {
        let saved = self.inverses - self.new_damping;
        let extra =
            self.eigenbases - self.inverses + steps as f64 * (self.update_by_eigenbases - self.update_by_inverses);
        (saved > 0.0).then(|| (extra / saved).ceil().max(0.0) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: LayerShape = LayerShape { d_in: 3, d_out: 2 };

    #[test]
    fn counts_of_a_small_layer_by_hand() {
        assert_eq!(LAYER.product(5), 60.0);
        assert_eq!(LAYER.statistics(5), 5.0 * 13.0);
        assert_eq!(LAYER.inverses(), 35.0);
        assert_eq!(LAYER.eigenbases(), 315.0);
        // S⁻¹ V: 2·2·2·3, (S⁻¹ V) A⁻¹: 2·2·3·3
        assert_eq!(LAYER.update_by_inverses(), 24.0 + 36.0);
        assert_eq!(LAYER.update_by_eigenbases(), 120.0);
        assert_eq!(LAYER.update_through_batch(5), 130.0);
        assert_eq!(cholesky(3), 9.0);
        let network = layers(&[2, 2, 4]);
        assert_eq!(network, [LAYER, LayerShape { d_in: 3, d_out: 4 }]);
        assert_eq!(backward(&network, 5), 120.0);
        assert_eq!(gradient(&network, 5), 2.0 * 180.0 + 120.0);
    }

    #[test]
    fn block_tridiagonal_counts_of_two_small_layers_by_hand() {
        let network = layers(&[2, 2, 4]);
        assert_eq!(cross_statistics(&network, 5), 2.0 * (3.0 * 3.0 + 2.0 * 4.0) * 5.0);
        // A: 3²·3 + 2·3·3² + 3·3³, S: 2²·4 + 2·2·4² + 3·2³, 315 for the eigenbases, 9 + 8/3 for the factors, then 27 + 64
        let own = 27.0 + 54.0 + 81.0 + 16.0 + 64.0 + 24.0 + 315.0 + 9.0 + 8.0 / 3.0;
        assert!((tridiagonal_refresh(&network) - (own + 91.0)).abs() < 1e-9);
        // pair 120; link 2·min(2·3·(4 + 3), 4·3·(3 + 2)) twice; the last layer 2·3·4·7
        assert_eq!(tridiagonal_update(&network), 120.0 + 2.0 * 84.0 + 168.0);
        assert_eq!((tridiagonal_update(&[]), tridiagonal_refresh(&[])), (0.0, 0.0));
        assert_eq!(tridiagonal_update(&[LAYER]), LAYER.update_by_inverses());
    }

    #[test]
    fn cholesky_factors_serve_a_step_or_two() {
        for n in [1, 64, 1000] {
            let square = LayerShape { d_in: n, d_out: n };
            let longest = (1..20).take_while(|&steps| square.prefers_cholesky(steps)).count();
            assert_eq!(longest, 3);
        }
        assert!(LayerShape { d_in: 1000, d_out: 10 }.prefers_cholesky(20), "few outputs have cheap updates");
    }

    const COSTS: KfacCosts = KfacCosts { gradient: 8.0, statistics: 6.0, refresh: 20.0, update: 1.0 };

    #[test]
    fn the_interval_found_is_the_first_within_the_limit() {
        assert_eq!(COSTS.overhead(2, 10), 1.75);
        for limit in [1.25, 1.5, 2.0, 5.0] {
            if let Some(n) = COSTS.common_interval(limit) {
                assert!(COSTS.overhead(n, n) <= limit + 1e-12);
                assert!(n == 1 || COSTS.overhead(n - 1, n - 1) > limit);
            }
            for statistics_interval in [1, 3, 100] {
                if let Some(n) = COSTS.refresh_interval(statistics_interval, limit) {
                    assert!(COSTS.overhead(statistics_interval, n) <= limit + 1e-12);
                    assert!(n == 1 || COSTS.overhead(statistics_interval, n - 1) > limit);
                }
            }
        }
        assert_eq!(COSTS.common_interval(1.5), Some(9));
    }

    #[test]
    fn a_limit_below_the_cost_of_every_step_is_out_of_reach() {
        assert_eq!(COSTS.common_interval(1.125), None);
        assert_eq!(COSTS.refresh_interval(1, 1.5), None);
        assert_eq!(COSTS.refresh_interval(3, 1.5), Some(20));
        assert_eq!(COSTS.overhead(0, 0), 4.375, "an interval of 0 counts as every step");
    }

    #[test]
    fn break_even_is_the_first_count_at_which_eigenbases_cost_no_more() {
        let costs = DampingCosts {
            inverses: 10.0,
            update_by_inverses: 2.0,
            eigenbases: 95.0,
            new_damping: 0.1,
            update_by_eigenbases: 4.0,
        };
        for steps in [0, 1, 5, 50] {
            let c = costs.break_even(steps).expect("a new λ is cheap");
            let by_eigen = |c: f64| 95.0 + c * 0.1 + steps as f64 * 4.0;
            let by_inverse = |c: f64| (1.0 + c) * 10.0 + steps as f64 * 2.0;
            assert!(by_eigen(c as f64) <= by_inverse(c as f64));
            assert!(by_eigen(c as f64 - 1.0) > by_inverse(c as f64 - 1.0));
        }
        assert_eq!(DampingCosts { new_damping: 10.0, ..costs }.break_even(1), None);
        assert_eq!(DampingCosts { eigenbases: 1.0, ..costs }.break_even(0), Some(0), "cheaper from the start");
    }
}
