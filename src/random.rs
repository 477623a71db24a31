//! Counter-based random numbers: draw c of stream (seed, i) is a pure function of (seed, i, c).
//!
//! Nothing is carried from one stream to the next, so image i or epoch e is the same whatever was drawn before, in
//! whatever order and on whatever machine.
//!
//! Reference   G. L. Steele, D. Lea, C. H. Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014
//!             (the mixing function), doi 10.1145/2660193.2660195.

/// 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// One stream of draws.
///
/// ```
/// use pullback::random::Draws;
/// let (mut one, mut same) = (Draws::new(7, 0), Draws::new(7, 0));
/// assert_eq!(one.normal(), same.normal());
/// assert_eq!(one.sign().abs(), 1.0);
/// ```
#[derive(Debug, Clone)]
pub struct Draws {
    key: u64,
    count: u64,
}

impl Draws {
    /// Stream `index` of `seed`. The seed is mixed before the index is added, so that neighbouring seeds and indices
    /// have unrelated streams.
    pub fn new(seed: u64, index: u64) -> Self {
        let key = mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(index.wrapping_mul(GOLDEN)));
        Self { key, count: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.count += 1;
        mix(self.key.wrapping_add(self.count.wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal, by the cosine half of the Box-Muller transform: two draws each.
    pub fn normal(&mut self) -> f64 {
        // 1 - unit is in (0, 1], so the logarithm is finite
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// 1 or -1, equally likely (Rademacher).
    pub fn sign(&mut self) -> f64 {
        if self.bits() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    /// Uniform in 0..n, n > 0, without bias (multiply and reject).
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        let reject_below = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= reject_below {
                return (product >> 64) as usize;
            }
        }
    }

    /// Shuffles in place; every order is equally likely.
    pub fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let take = |seed, index| -> Vec<u64> {
            let mut draws = Draws::new(seed, index);
            (0..8).map(|_| draws.bits()).collect()
        };
        assert_eq!(take(7, 3), take(7, 3));
        let streams = [take(7, 3), take(7, 4), take(8, 3), take(3, 7), take(4, 7)];
        for (i, a) in streams.iter().enumerate() {
            for b in &streams[i + 1..] {
                assert!(a.iter().all(|x| !b.contains(x)));
            }
        }
    }

    #[test]
    fn normals_and_signs_have_their_moments() {
        // five deviations of each sample moment: mean, variance, fourth moment, and the mean of the signs
        let count = 100_000;
        let mut stream = Draws::new(5, 1);
        let draws: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
        let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / count as f64;
        let deviation = |variance: f64| 5.0 * (variance / count as f64).sqrt();
        assert!(moment(1).abs() <= deviation(1.0));
        assert!((moment(2) - 1.0).abs() <= deviation(2.0));
        assert!((moment(4) - 3.0).abs() <= deviation(96.0));
        let signs: f64 = (0..count).map(|_| stream.sign()).sum::<f64>() / count as f64;
        assert!(signs.abs() <= deviation(1.0));
    }

    #[test]
    fn below_is_uniform() {
        // chi-square over 7 cells: mean 6, standard deviation sqrt(12); five deviations
        let (cells, draws) = (7, 70_000);
        let mut stream = Draws::new(11, 0);
        let mut counts = vec![0f64; cells];
        (0..draws).for_each(|_| counts[stream.below(cells)] += 1.0);
        let expected = draws as f64 / cells as f64;
        let chi2: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        assert!(chi2 <= 6.0 + 5.0 * 12f64.sqrt(), "chi-square {chi2}");
    }
}
