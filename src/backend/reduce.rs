//! Sums over long vectors, vectorized and shared between the threads.
//!
//! Vectors are cut by halves down to blocks, so that the order of every sum depends on the length alone and results are
//! the same bits for any number of threads.
//!
//! Cost        one read of each vector; no allocation.
//! Laws        the tests below and those of `optim::vectors`.

use pulp::{Arch, NullaryFnOnce};

use super::Ctx;
use crate::scalar::Scalar;

/// Elements of a block: enough to pay for a task.
pub(crate) const BLOCK: usize = 1 << 15;
/// Partial sums in a block.
pub(crate) const LANES: usize = 16;

/// Slices of one length, which can be cut at the same place.
pub(crate) trait Halved: Sized + Send {
    fn length(&self) -> usize;
    fn cut(self, at: usize) -> (Self, Self);
}

impl<T: Sync> Halved for &[T] {
    fn length(&self) -> usize {
        self.len()
    }
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl<T: Send> Halved for &mut [T] {
    fn length(&self) -> usize {
        self.len()
    }
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

impl<A: Halved, B: Halved> Halved for (A, B) {
    fn length(&self) -> usize {
        self.0.length()
    }
    fn cut(self, at: usize) -> (Self, Self) {
        let ((a0, a1), (b0, b1)) = (self.0.cut(at), self.1.cut(at));
        ((a0, b0), (a1, b1))
    }
}

/// The sum of what `block` gives for every block.
pub(crate) fn sum<V: Halved, const N: usize>(
    threads: usize,
    vectors: V,
    block: &(impl Fn(V) -> [f64; N] + Sync),
) -> [f64; N] {
    let n = vectors.length();
    if n <= BLOCK {
        return block(vectors);
    }
    let (left, right) = vectors.cut((n / 2).next_multiple_of(LANES));
    let (a, b) = if threads > 1 {
        rayon::join(|| sum(threads - threads / 2, left, block), || sum(threads / 2, right, block))
    } else {
        (sum(1, left, block), sum(1, right, block))
    };
    std::array::from_fn(|k| a[k] + b[k])
}

/// A closure compiled for the vector instructions of the CPU.
pub(crate) fn vectorized<F: NullaryFnOnce>(f: F) -> F::Output {
    Arch::new().dispatch(f)
}

/// xᵀy in f64, not scaled.
pub(crate) fn dot<T: Scalar>(ctx: &Ctx<T>, x: &[T], y: &[T]) -> f64 {
    let block = |(x, y): (&[T], &[T])| {
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
                    x.iter().zip(y).zip(&mut lanes).for_each(|((x, y), lane)| *lane += x.f64() * y.f64());
                }
                [lanes.iter().sum()]
            },
        )
    };
    sum(ctx.threads(), (x, y), &block)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gallery::uniform;

    fn inner<T: Scalar>() {
        for n in [0, 1, 15, 17, BLOCK - 1, BLOCK + 1, 3 * BLOCK + 5] {
            let (x, y) = (uniform::<T>(n, 1, 1), uniform::<T>(n, 1, 2));
            let (x, y) = (x.as_slice(), y.as_slice());
            let exact: f64 = x.iter().zip(y).map(|(x, y)| x.f64() * y.f64()).sum();
            let found = dot(&Ctx::<T>::default(), x, y);
            // entries lie in [-1, 1]; the plain sum rounds n times
            assert!((found - exact).abs() <= f64::EPSILON * (n as f64).powf(1.5), "{n}: {found} {exact}");
            assert_eq!(dot(&Ctx::<T>::default().with_threads(3), x, y), found, "any number of threads");
        }
    }

    #[test]
    fn dot_is_the_sum_of_products_for_any_number_of_threads() {
        inner::<f32>();
        inner::<f64>();
    }
}
