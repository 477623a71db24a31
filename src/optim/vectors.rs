//! Passes over vectors of the length of θ, whose cost is that of memory: everything that one step needs of them at once, in
//! one pass, shared between the threads.
//!
//! Sums are those of [`reduce`](crate::backend::reduce): the same bits for any number of threads.
//!
//! Cost        one read (and write) of each vector named, and no more.
//! Laws        the tests below, tests/kfac.rs.

use crate::backend::Ctx;
use crate::backend::reduce::{LANES, sum, vectorized};
use crate::backend::sums::norm;
use crate::scalar::Scalar;

/// (xᵀx, xᵀy, yᵀy), or (xᵀx, 0, 0) without y.
pub(super) fn inner_products<T: Scalar>(ctx: &Ctx<T>, x: &[T], y: Option<&[T]>) -> [f64; 3] {
    let one = |x: &[T]| {
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                for part in x.chunks(LANES) {
                    part.iter().zip(&mut lanes).for_each(|(x, lane)| *lane += x.f64() * x.f64());
                }
                [lanes.iter().sum(), 0.0, 0.0]
            },
        )
    };
    let two = |(x, y): (&[T], &[T])| {
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = [[0.0; LANES]; 3];
                for (xs, ys) in x.chunks(LANES).zip(y.chunks(LANES)) {
                    for (l, (x, y)) in xs.iter().zip(ys).enumerate() {
                        let (x, y) = (x.f64(), y.f64());
                        lanes[0][l] += x * x;
                        lanes[1][l] += x * y;
                        lanes[2][l] += y * y;
                    }
                }
                lanes.map(|lanes| lanes.iter().sum())
            },
        )
    };
    match y {
        None => sum(ctx.threads(), x, &one),
        Some(y) => sum(ctx.threads(), (x, y), &two),
    }
}

/// √squares, or the length at another scale where squares left the range of f64.
fn root<T: Scalar>(squares: f64, x: &[T]) -> f64 {
    if squares > f64::MIN_POSITIVE / f64::EPSILON && squares.is_finite() { squares.sqrt() } else { norm(x) }
}

/// ‖x‖.
pub(super) fn length<T: Scalar>(ctx: &Ctx<T>, x: &[T]) -> f64 {
    root(inner_products(ctx, x, None)[0], x)
}

/// x ← s x for s = ±1; whether x is finite.
pub(super) fn turn<T: Scalar>(ctx: &Ctx<T>, sign: T, x: &mut [T]) -> bool {
    let block = |x: &mut [T]| {
        vectorized(
            #[inline(always)]
            || {
                // 0 x is 0, or NaN where x is not finite
                let mut lanes = [T::ZERO; LANES];
                for part in x.chunks_mut(LANES) {
                    part.iter_mut().zip(&mut lanes).for_each(|(x, lane)| {
                        *x *= sign;
                        *lane += T::ZERO * *x;
                    });
                }
                [lanes.iter().map(|lane| lane.f64()).sum()]
            },
        )
    };
    sum(ctx.threads(), x, &block)[0] == 0.0
}

/// δ ← α d + μ δ, d ← θ, θ ← θ + δ: the step, with the old θ kept in the place of d. Returns ‖δ‖.
pub(super) fn take_step<T: Scalar>(
    ctx: &Ctx<T>,
    (alpha, mu): (T, T),
    d: &mut [T],
    delta: &mut [T],
    theta: &mut [T],
) -> f64 {
    let block = |(d, (delta, theta)): (&mut [T], (&mut [T], &mut [T]))| {
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                for ((ds, deltas), thetas) in
                    d.chunks_mut(LANES).zip(delta.chunks_mut(LANES)).zip(theta.chunks_mut(LANES))
                {
                    for (((d, u), w), lane) in ds.iter_mut().zip(deltas).zip(thetas).zip(&mut lanes) {
                        *u = alpha * *d + mu * *u;
                        *d = *w;
                        *w += *u;
                        *lane += u.f64() * u.f64();
                    }
                }
                [lanes.iter().sum()]
            },
        )
    };
    let [squares] = sum(ctx.threads(), (d, (&mut *delta, theta)), &block);
    root(squares, delta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::reduce::BLOCK;
    use crate::testing::gallery::uniform;

    const LENGTHS: [usize; 7] = [0, 1, 15, 17, BLOCK - 1, BLOCK + 1, 3 * BLOCK + 5];

    fn vector<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
        uniform::<T>(n, 1, seed).as_slice().to_vec()
    }

    fn inner<T: Scalar>() {
        for n in LENGTHS {
            let (x, y) = (vector::<T>(n, 1), vector::<T>(n, 2));
            let exact = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.f64() * y.f64()).sum::<f64>();
            let ctx = Ctx::<T>::default();
            let found = inner_products(&ctx, &x, Some(&y));
            for (found, exact) in found.iter().zip([exact(&x, &x), exact(&x, &y), exact(&y, &y)]) {
                // entries lie in [-1, 1]; the plain sum rounds n times
                assert!((found - exact).abs() <= f64::EPSILON * (n as f64).powf(1.5), "{n}: {found} {exact}");
            }
            assert_eq!(inner_products(&ctx, &x, None)[0], found[0]);
            assert_eq!(inner_products(&ctx.with_threads(3), &x, Some(&y)), found, "any number of threads");
        }
    }

    #[test]
    fn inner_products_are_sums_of_products_for_any_number_of_threads() {
        inner::<f32>();
        inner::<f64>();
    }

    fn step<T: Scalar>() {
        for n in LENGTHS {
            let (d, delta, theta) = (vector::<T>(n, 1), vector::<T>(n, 2), vector::<T>(n, 3));
            let (alpha, mu) = (T::of(0.5), T::of(-0.25));
            for threads in [1, 2] {
                let (mut old, mut update, mut moved) = (d.clone(), delta.clone(), theta.clone());
                let ctx = Ctx::<T>::default().with_threads(threads);
                let length = take_step(&ctx, (alpha, mu), &mut old, &mut update, &mut moved);
                assert_eq!(old, theta);
                for i in 0..n {
                    assert_eq!(update[i], alpha * d[i] + mu * delta[i]);
                    assert_eq!(moved[i], theta[i] + update[i]);
                }
                let exact = norm(&update);
                assert!((length - exact).abs() <= 64.0 * f64::EPSILON * exact, "{length} {exact}");
            }
        }
    }

    #[test]
    fn a_step_moves_theta_and_keeps_where_it_was() {
        step::<f32>();
        step::<f64>();
    }

    #[test]
    fn turning_a_vector_says_whether_it_is_finite() {
        for n in LENGTHS {
            let (x, ctx) = (vector::<f32>(n, 1), Ctx::<f32>::default().with_threads(2));
            let mut turned = x.clone();
            assert!(turn(&ctx, -1.0, &mut turned));
            assert!(turned.iter().zip(&x).all(|(&t, &x)| t == -x));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in [0, n / 2, n.wrapping_sub(1)].into_iter().filter(|&i| i < n) {
                    let mut x = x.clone();
                    x[place] = bad;
                    assert!(!turn(&ctx, 1.0, &mut x), "{bad} at {place} of {n}");
                }
            }
        }
    }

    #[test]
    fn lengths_of_any_size_are_found() {
        let ctx = Ctx::<f64>::default();
        for size in [1e-200, 1e200, 0.0, f64::INFINITY] {
            let length = take_step(&ctx, (1.0, 0.0), &mut [3.0 * size, 4.0 * size], &mut [0.0; 2], &mut [0.0; 2]);
            assert!(length == 5.0 * size || (length / (5.0 * size) - 1.0).abs() <= 8.0 * f64::EPSILON, "{length}");
        }
        assert!(take_step(&ctx, (1.0, 0.0), &mut [f64::NAN], &mut [0.0], &mut [0.0]).is_nan());
    }
}
