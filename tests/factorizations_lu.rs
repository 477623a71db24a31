//! LU with partial pivoting: backward error of solves and inverses, determinants, the exact index of a zero pivot.

use pullback::factor::Lu;
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, Mat, Op, Scalar};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

const SIZES: [usize; 10] = [0, 1, 2, 3, 17, 31, 32, 33, 64, 129];

fn random<T: Scalar>(n: usize, seed: u64) -> Mat<T> {
    let mut rng = Pcg64::seed_from_u64(seed);
    Mat::from_fn(n, n, |_, _| T::of(rng.random_range(-1.0..1.0)))
}

fn norm<T: Scalar>(m: &Mat<T>) -> f64 {
    m.as_slice().iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

/// ‖A X - I‖ <= c n ε ‖A‖ ‖X‖ for X = inverse(A) and X = solve(A, I), on every backend.
fn residual<T: Scalar>() {
    for n in SIZES {
        let a = random::<T>(n, n as u64);
        for ctx in contexts::<T>() {
            let lu = Lu::new(a.clone()).unwrap();
            let inverse = lu.inverse(&ctx).unwrap();
            let mut r = Mat::<f64>::identity(n);
            let (wide, wide_inverse): (Mat<f64>, Mat<f64>) = (a.cast(), inverse.cast());
            let oracle = Ctx::reference();
            oracle.gemm(1.0, wide.as_ref(), Op::No, wide_inverse.as_ref(), Op::No, -1.0, r.as_mut()).unwrap();
            let (error, limit) = (norm(&r), tolerance::<T>(n, 1.0) * norm(&a) * norm(&inverse));
            assert!(error <= limit, "n {n}, {}, {}: {error:e} above {limit:e}", T::NAME, ctx.backend().name());
        }
    }
}

#[test]
fn residual_f32() {
    residual::<f32>();
}

#[test]
fn residual_f64() {
    residual::<f64>();
}

#[test]
fn determinant_of_a_product_is_the_product() {
    for n in SIZES {
        let (a, b) = (random::<f64>(n, 1), random::<f64>(n, 2));
        let mut ab = Mat::zeros(n, n);
        Ctx::reference().gemm(1.0, a.as_ref(), Op::No, b.as_ref(), Op::No, 0.0, ab.as_mut()).unwrap();
        let [(sa, la), (sb, lb), (s, l)] = [a, b, ab].map(|m| Lu::new(m).unwrap().log_determinant());
        assert_eq!(sa * sb, s, "n {n}");
        // a random matrix of order n has a condition of the order n², which log det inherits through its pivots
        let limit = tolerance::<f64>(n, (n * n) as f64);
        assert!((la + lb - l).abs() <= limit, "n {n}: {:e} above {limit:e}", (la + lb - l).abs());
    }
}

#[test]
fn power_of_two_scaling_changes_no_digit() {
    for n in [3, 33] {
        let a = random::<f32>(n, 9);
        let ctx = Ctx::reference();
        let plain = Lu::new(a.clone()).unwrap().inverse(&ctx).unwrap();
        for k in [-40, 40] {
            let scaled = Lu::new(a.map(|x| x * 2f32.powi(k))).unwrap().inverse(&ctx).unwrap();
            assert_eq!(scaled.map(|x| x * 2f32.powi(k)), plain, "n {n}, 2^{k}");
        }
    }
}

#[test]
fn first_zero_pivot_is_named() {
    for (n, zero) in [(1, 0), (4, 0), (5, 2), (33, 32)] {
        // column `zero` repeats column 0, or is zero when it is column 0: integers, so elimination is exact
        let a = Mat::from_fn(n, n, |i, j| match (j == zero, zero) {
            (true, 0) => 0.0,
            (true, _) => f64::from(u8::from(i == 0)),
            _ => f64::from(u8::from(i == j)),
        });
        assert!(matches!(Lu::new(a), Err(Error::Singular { pivot, .. }) if pivot == zero), "{n} {zero}");
    }
}

#[test]
fn misuse_and_non_finite_values_are_errors() {
    let ctx = Ctx::<f64>::default();
    assert!(matches!(Lu::new(Mat::<f64>::zeros(2, 3)), Err(Error::Shape { .. })));
    for bad in [f64::NAN, f64::INFINITY] {
        let a = Mat::from_fn(3, 3, |i, j| if (i, j) == (0, 2) { bad } else { f64::from(u8::from(i == j)) });
        assert!(matches!(Lu::new(a), Err(Error::NotFinite { .. })));
    }
    let lu = Lu::new(Mat::<f64>::identity(3)).unwrap();
    assert!(matches!(lu.solve_in_place(&ctx, Mat::zeros(2, 1).as_mut()), Err(Error::Shape { .. })));
    let tiny = Lu::new(Mat::from_diagonal(&[1e-320])).unwrap();
    assert!(matches!(tiny.inverse(&ctx), Err(Error::NotFinite { .. })));
}
