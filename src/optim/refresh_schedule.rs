//! [`RefreshSchedule`]: which layers of K-FAC's preconditioner get a new inverse at which step.
//!
//! ```text
//! together   all layers at the steps k = 0 mod T₃:       one step of T₃ pays Σ c_ℓ
//! in turn    layer ℓ at the steps k = slot(ℓ) mod T₃:    no step pays more than Σ c_ℓ / T₃ + (1 - 1/T₃) max c_ℓ
//! ```
//! with c_ℓ the cost of a layer's refresh. The slots are given out longest first, each to the slot with the least load.
//! In both, every layer is refreshed once in T₃ steps and no inverse is older than T₃ - 1 steps.
//!
//! Deviations  within an interval the layers' inverses hold the γ of different steps.
//! Cost        L log L + L T₃ comparisons for L layers.
//! Laws        tests/refresh_schedule.rs.
//! Reference   R. L. Graham, Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17 (1969) 416-429,
//!             doi:10.1137/0117039 (the bound above, and 4/3 - 1/(3 T₃) of the best schedule).

/// When the layers are refreshed, T₃ being the refresh interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RefreshSchedule {
    /// All of them every T₃ steps: the paper's.
    #[default]
    Together,
    /// Each every T₃ steps, spread over them by cost, so that no step is slow. For layers that are independent
    /// ([`KfacBlocks::Diagonal`](super::KfacBlocks)) and a γ that is not searched.
    InTurn,
}

/// The slot, below `interval`, of every cost: longest first, each to the least load, the first of equals.
pub(super) fn slots(costs: &[f64], interval: u64) -> Vec<u64> {
    // more slots than layers stay empty
    let mut loads = vec![0.0; costs.len().min(usize::try_from(interval).unwrap_or(usize::MAX)).max(1)];
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|&i, &j| costs[j].total_cmp(&costs[i]));
    let mut slots = vec![0; costs.len()];
    for layer in order {
        let least = (1..loads.len()).fold(0, |least, slot| if loads[slot] < loads[least] { slot } else { least });
        loads[least] += costs[layer];
        slots[layer] = least as u64;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(costs: &[f64], interval: u64) -> Vec<f64> {
        let mut loads = vec![0.0; interval as usize];
        slots(costs, interval).iter().zip(costs).for_each(|(&slot, cost)| loads[slot as usize] += cost);
        loads
    }

    #[test]
    fn loads_differ_by_the_largest_cost_at_most() {
        let mut random = 1u64;
        for layers in 1..20 {
            let costs: Vec<f64> = (0..layers)
                .map(|_| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ((random >> 60) as f64).powi(3)
                })
                .collect();
            for interval in 1..=12u64 {
                let loads = loads(&costs, interval);
                let (total, largest) = (costs.iter().sum::<f64>(), costs.iter().copied().fold(0.0, f64::max));
                let (least, most) = loads.iter().fold((f64::INFINITY, 0f64), |(a, b), &l| (a.min(l), b.max(l)));
                assert!(most - least <= largest, "{costs:?} in {interval}: {loads:?}");
                let t = interval as f64;
                assert!(most <= total / t + (1.0 - 1.0 / t) * largest + 1e-9 * total, "{costs:?} in {interval}");
                assert_eq!(loads.iter().sum::<f64>(), total, "every layer once");
            }
        }
    }

    #[test]
    fn the_autoencoder_in_five_steps() {
        // 784-1000-500-250-30 and back: its largest layer alone is more than a fifth
        let layers = crate::optim::costs::layers(&[784, 1000, 500, 250, 30, 250, 500, 1000, 784]);
        let costs: Vec<f64> = layers.iter().map(|l| l.inverses()).collect();
        let most = loads(&costs, 5).into_iter().fold(0.0, f64::max);
        assert_eq!(most, costs.iter().copied().fold(0.0, f64::max));
        assert!(most < 0.28 * costs.iter().sum::<f64>());
        assert_eq!(slots(&costs, 1), [0; 8]);
        assert_eq!(slots(&[], 5), [0u64; 0]);
        assert_eq!(slots(&[1.0, 3.0, 2.0], u64::MAX), [2, 0, 1], "a slot each, the longest first");
    }
}
