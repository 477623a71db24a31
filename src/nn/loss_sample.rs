//! Pseudo-gradients: ∂ℓ/∂z with targets drawn from the model's own predictive distribution.
//!
//! ```text
//! Bernoulli   t_i ~ B(p_i), g = p - t        softmax   c ~ p, g = p - e_c        squared error   t ~ N(z, I), g = z - t
//! E[g] = 0,   E[g gᵀ] = H_z
//! ```
//! Each case has a generator of its own, seeded by (sample, case): the draws depend neither on the thread count nor on
//! which other cases the batch holds before or after it.
//!
//! Deviations  Bernoulli and categorical draws compare with 32-bit uniforms, so probabilities are met to 2⁻³².
//! Cost        one generator step an output (Bernoulli), one a case (softmax), half a Box-Muller pair an output.
//! Laws        tests/nn_capture.rs (mean, covariance -> H_z, thread counts, replay).
//! Reference   chapter section 4.3 (the pullback sampling trick); M. E. O'Neill, PCG, HMC-CS-2014-0905.

use rand::Rng;
use rand_pcg::Pcg32;

use super::columns::{self, From, Kernel};
use super::elementary::logistic;
use super::loss::{Loss, softmax};
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

impl Loss {
    /// One pseudo-gradient for each case into `out`; equal `sample` numbers give equal draws.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    pub fn sample_gradient<T: Scalar>(
        self,
        ctx: &Ctx<T>,
        z: MatRef<'_, T>,
        sample: u64,
        out: MatMut<'_, T>,
    ) -> Result<()> {
        check_shape("sample_gradient", z.shape(), out.shape())?;
        columns::run(ctx, z.nrows(), From(0, (z, out)), &Sample { loss: self, sample });
        Ok(())
    }
}

/// A bijection of 64 bits in which every output bit depends on every input bit (the finalizer of SplitMix64).
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A generator for one item (a case, a layer) of a seeded computation.
pub(super) fn generator(seed: u64, item: u64) -> Pcg32 {
    Pcg32::new(mix(seed ^ mix(item)), item)
}

/// 32 bits as a number in [0, 1).
#[inline(always)]
fn unit(word: u32) -> f64 {
    f64::from(word) * (1.0 / 4_294_967_296.0)
}

/// Uniform on {0, ..., 2³² - 1} / 2³².
#[inline]
pub(super) fn uniform(rng: &mut Pcg32) -> f64 {
    unit(rng.next_u32())
}

/// Two independent N(0, 1) by Box and Muller.
pub(super) fn normal_pair(rng: &mut Pcg32) -> (f64, f64) {
    // 1 - u lies in (0, 1]
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * uniform(rng)).sin_cos();
    (radius * cos, radius * sin)
}

/// Outputs drawn at a time.
const TILE: usize = 64;

struct Sample {
    loss: Loss,
    sample: u64,
}

type Cases<'a, T> = From<(MatRef<'a, T>, MatMut<'a, T>)>;

impl<'a, T: Scalar> Kernel<Cases<'a, T>> for Sample {
    #[inline(always)]
    fn run(&self, From(first, (z, mut out)): Cases<'a, T>) {
        for (case, (z, g)) in z.cols().zip(out.cols_mut()).enumerate() {
            let mut rng = generator(self.sample, (first + case) as u64);
            match self.loss {
                Loss::BernoulliCrossEntropy => {
                    z.iter().zip(&mut *g).for_each(|(&z, g)| *g = logistic(z));
                    // draws by tiles: the generator is a serial chain, the comparisons vectorize
                    let mut words = [0; TILE];
                    for tile in g.chunks_mut(TILE) {
                        words[..tile.len()].fill_with(|| rng.next_u32());
                        for (g, &word) in tile.iter_mut().zip(&words) {
                            let target = if unit(word) < g.f64() { T::ONE } else { T::ZERO };
                            *g -= target;
                        }
                    }
                }
                Loss::SoftmaxCrossEntropy => {
                    softmax(z, g);
                    if let Some(class) = draw(g, uniform(&mut rng)) {
                        g[class] -= T::ONE;
                    }
                }
                Loss::SquaredError => {
                    for (pair, z) in g.chunks_mut(2).zip(z.chunks(2)) {
                        let (x, y) = normal_pair(&mut rng);
                        for ((g, &z), noise) in pair.iter_mut().zip(z).zip([x, y]) {
                            // z - (z + noise); the product only keeps a NaN of z
                            *g = T::ZERO * z - T::of(noise);
                        }
                    }
                }
            }
        }
    }
}

/// The class c with Σ_{i<c} p_i <= u Σ p < Σ_{i<=c} p_i; the last one where rounding leaves none.
fn draw<T: Scalar>(p: &[T], u: f64) -> Option<usize> {
    let total: f64 = p.iter().map(|p| p.f64()).sum();
    let mut left = u * total;
    let position = p.iter().position(|p| {
        left -= p.f64();
        left < 0.0
    });
    position.or(p.len().checked_sub(1))
}
