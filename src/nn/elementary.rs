//! exp, expm1, log1p, tanh and the logistic function as branch-free polynomials, so that a loop over them vectorizes.
//!
//! ```text
//! x = k ln 2 + r, |r| <= ln2/2:   expm1(r) by its Taylor polynomial (degree 7 in f32, 13 in f64; remainder < ε/10)
//!                                 exp(x) = 2ᵏ + 2ᵏ expm1(r),  expm1(x) = (2ᵏ - 1) + 2ᵏ expm1(r)
//! log1p(u) = 2 atanh(f / (2 + f)) (+ ln 2 after halving 1 + u), |f| <= 0.42
//! ```
//! The losses and activations need exp only where it cannot overflow, on x <= 0; NaN goes through every function.
//! Results below the smallest normal number are flushed to zero.
//!
//! Cost        about 12 (f32) or 20 (f64) multiply-adds an exp, one division more for tanh, logistic and log1p.
//! Laws        beside (errors in ulps against std's f64 functions), tests/nn_activations.rs.
//! Reference   J.-M. Muller, Elementary Functions, 3rd ed., chapters 5 and 11 (range reduction, Cody and Waite).

use crate::scalar::Scalar;

/// c0 + r (c1 + r (c2 + ...)), the coefficients given as f64 expressions.
macro_rules! horner {
    ($r:expr; $c:expr) => { T::of($c) };
    ($r:expr; $c:expr, $($rest:expr),+) => { T::of($c) + $r * horner!($r; $($rest),+) };
}

#[inline(always)]
const fn single<T>() -> bool {
    size_of::<T>() == 4
}

/// (2ᵏ, expm1(r)) for x = k ln 2 + r, both parts within the normal range.
#[inline(always)]
fn reduce<T: Scalar>(x: T) -> (T, T) {
    // the high part of ln 2 has few enough bits that k times it is exact
    let (hi, lo) = if single::<T>() {
        (0.693_359_375, -2.121_944_400_546_905_8e-4)
    } else {
        (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10)
    };
    let t = x * T::of(std::f64::consts::LOG2_E) + T::ROUNDER;
    let k = t - T::ROUNDER;
    let r = (x - k * T::of(hi)) - k * T::of(lo);
    let tail = if single::<T>() {
        horner!(r; 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0)
    } else {
        horner!(r; 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40_320.0,
            1.0 / 362_880.0, 1.0 / 3_628_800.0, 1.0 / 39_916_800.0, 1.0 / 479_001_600.0, 1.0 / 6_227_020_800.0)
    };
    (T::exp2_of_rounded(t), r + r * r * tail)
}

/// eˣ for x <= 0.
#[inline(always)]
pub(super) fn exp_neg<T: Scalar>(x: T) -> T {
    let smallest = T::of(if single::<T>() { -87.336 } else { -708.396 });
    let (scale, p) = reduce(if x < smallest { smallest } else { x });
    if x < smallest { T::ZERO } else { scale + scale * p }
}

/// eˣ - 1 for x <= 0.
#[inline(always)]
pub(super) fn expm1_neg<T: Scalar>(x: T) -> T {
    // -1 to the last bit from here down, in both precisions
    let flat = T::of(-50.0);
    let (scale, p) = reduce(if x < flat { flat } else { x });
    scale * p + (scale - T::ONE)
}

/// ln(1 + u) for 0 <= u <= 1.
#[inline(always)]
pub(super) fn log1p_unit<T: Scalar>(u: T) -> T {
    let half = T::of(0.5);
    let large = u > T::of(std::f64::consts::SQRT_2 - 1.0);
    let f = if large { (u - T::ONE) * half } else { u };
    let s = f / (T::of(2.0) + f);
    let z = s * s;
    let series = if single::<T>() {
        horner!(z; 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0)
    } else {
        horner!(z; 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0, 2.0 / 13.0, 2.0 / 15.0, 2.0 / 17.0,
            2.0 / 19.0, 2.0 / 21.0)
    };
    // 2 atanh(s) = f - (f²/2 - s (f²/2 + z series)): the leading term stays exact
    let square = half * f * f;
    let log = f - (square - s * (square + z * series));
    if large { T::of(std::f64::consts::LN_2) + log } else { log }
}

/// tanh x = -em / (2 + em) with em = expm1(-2|x|), and the sign of x.
#[inline(always)]
pub(super) fn tanh<T: Scalar>(x: T) -> T {
    let em = expm1_neg(T::of(-2.0) * x.abs());
    (-em / (T::of(2.0) + em)).copysign(x)
}

/// (e^-|x|, 1 / (1 + e^-|x|)): what the logistic function, its derivative and softplus have in common.
#[inline(always)]
pub(super) fn logistic_parts<T: Scalar>(x: T) -> (T, T) {
    let e = exp_neg(-x.abs());
    (e, T::ONE / (T::ONE + e))
}

/// 1 / (1 + e⁻ˣ), accurate to a few ulps in both tails.
#[inline(always)]
pub(super) fn logistic<T: Scalar>(x: T) -> T {
    let (e, q) = logistic_parts(x);
    if x < T::ZERO { e * q } else { q }
}

/// ln(1 + eˣ) = max(x, 0) + log1p(e^-|x|).
#[inline(always)]
pub(super) fn softplus<T: Scalar>(x: T) -> T {
    let e = exp_neg(-x.abs());
    (if x > T::ZERO { x } else { T::ZERO }) + log1p_unit(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the exact result, which f64's own functions stand for.
    fn worst<T: Scalar>(ours: impl Fn(T) -> T, exact: impl Fn(f64) -> f64, xs: impl Iterator<Item = f64>) -> f64 {
        xs.map(|x| {
            let x = T::of(x);
            let (got, want) = (ours(x).f64(), exact(x.f64()));
            if got == want {
                return 0.0;
            }
            // below the smallest normal number a unit in the last place no longer shrinks
            let ulp = want.abs().max(T::min_positive_value().f64() / T::EPS.f64()).log2().floor().exp2() * T::EPS.f64();
            let error = (got - want).abs() / ulp;
            if error.is_nan() { f64::INFINITY } else { error }
        })
        .fold(0.0, f64::max)
    }

    /// ±2ᵉ(1 + f) from 2^-60 up to `top`, dense, and a linear grid.
    fn grid(top: f64) -> impl Iterator<Item = f64> + Clone {
        let logarithmic = (0..20_000).map(move |i| 2f64.powf(-60.0 + (top.log2() + 60.0) * f64::from(i) / 20_000.0));
        let linear = (0..20_001).map(move |i| top * f64::from(i) / 20_000.0);
        logarithmic.chain(linear).flat_map(|x| [x, -x])
    }

    fn accuracy<T: Scalar>() {
        let top = if single::<T>() { 87.0 } else { 708.0 };
        let negative = grid(top).map(|x| -x.abs());
        let bound = |name: &str, error: f64, ulps: f64| assert!(error <= ulps, "{} {name}: {error} ulps", T::NAME);
        bound("exp", worst::<T>(exp_neg, f64::exp, negative.clone()), 2.0);
        bound("expm1", worst::<T>(expm1_neg, f64::exp_m1, negative), 2.5);
        bound("log1p", worst::<T>(log1p_unit, f64::ln_1p, grid(1.0).map(f64::abs)), 2.5);
        bound("tanh", worst::<T>(tanh, f64::tanh, grid(top)), 4.0);
        bound("logistic", worst::<T>(logistic, |x| 1.0 / (1.0 + (-x).exp()), grid(top)), 4.0);
        let softplus_exact = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        bound("softplus", worst::<T>(softplus, softplus_exact, grid(top)), 3.0);
    }

    #[test]
    fn every_function_is_accurate_to_a_few_ulps() {
        accuracy::<f32>();
        accuracy::<f64>();
    }

    fn limits<T: Scalar>() {
        let (inf, nan) = (T::infinity(), T::nan());
        assert_eq!([exp_neg(-inf), exp_neg(T::ZERO), exp_neg(-T::max_value())], [T::ZERO, T::ONE, T::ZERO]);
        assert_eq!([tanh(inf), tanh(-inf), tanh(T::max_value())], [T::ONE, -T::ONE, T::ONE]);
        assert!(tanh(-T::ZERO).is_sign_negative() && tanh(-T::ZERO) == T::ZERO);
        assert_eq!([logistic(inf), logistic(-inf), logistic(T::ZERO)], [T::ONE, T::ZERO, T::of(0.5)]);
        assert_eq!([softplus(inf), softplus(-inf)], [inf, T::ZERO]);
        assert_eq!(softplus(T::ZERO), T::of(std::f64::consts::LN_2));
        for f in [exp_neg::<T>, expm1_neg, log1p_unit, tanh, logistic, softplus] {
            assert!(f(nan).is_nan());
        }
    }

    #[test]
    fn infinities_and_nan_go_where_they_must() {
        limits::<f32>();
        limits::<f64>();
    }
}
