//! The contract of `Backend` beside its values (tests/backends.rs): zero sizes, NaN, failing pivots, one error for one
//! mistake on every backend, determinism and threads.

use pullback::backend::Ctx;
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Error, Mat, MatRef, Op, Scalar, Side};

/// Runs a law for both scalars on a context of each backend.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        mod f32_laws { $(#[test] fn $law() { super::contexts::<f32>().iter().for_each(super::$law); })+ }
        mod f64_laws { $(#[test] fn $law() { super::contexts::<f64>().iter().for_each(super::$law); })+ }
    };
}

laws!(
    zero_sizes_are_legal,
    nan_and_infinity_propagate,
    factorizations_refuse_nan_and_infinity,
    failing_pivots_are_exact,
    overflow_is_the_same_error_everywhere,
    wrong_shapes_are_errors,
    results_repeat_bit_for_bit,
    concurrent_calls_equal_lone_ones,
    two_threads_agree_with_one,
    a_leading_dimension_beyond_32_bits_is_an_answer_or_an_error,
);

/// A well-conditioned lower triangle.
fn triangle<T: Scalar>(n: usize, seed: u64) -> Mat<T> {
    let a = gallery::uniform::<T>(n, n, seed);
    Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Less => T::ZERO,
        std::cmp::Ordering::Equal => T::ONE + a[(i, j)].abs(),
        std::cmp::Ordering::Greater => a[(i, j)] / T::of(n as f64),
    })
}

fn zero_sizes_are_legal<T: Scalar>(ctx: &Ctx<T>) {
    let empty = |m, n| Mat::<T>::zeros(m, n);
    for (m, n, k) in [(0, 0, 0), (0, 3, 2), (3, 0, 2), (0, 0, 2), (0, 3, 0)] {
        let mut c = empty(m, n);
        ctx.gemm(T::ONE, empty(m, k).as_ref(), Op::No, empty(k, n).as_ref(), Op::No, T::ONE, c.as_mut()).expect("gemm");
    }
    let mut c = Mat::from_fn(2, 3, |_, _| T::nan());
    ctx.gemm(T::ONE, empty(2, 0).as_ref(), Op::No, empty(0, 3).as_ref(), Op::No, T::ZERO, c.as_mut()).expect("gemm");
    assert_eq!(c, empty(2, 3), "{}: an empty sum is 0", ctx.backend().name());
    let mut c = Mat::from_fn(2, 2, |_, _| T::ONE);
    ctx.syrk(T::ONE, empty(0, 2).as_ref(), Op::No, T::of(3.0), c.as_mut()).expect("syrk");
    assert_eq!(c, Mat::from_fn(2, 2, |_, _| T::of(3.0)));
    ctx.syrk(T::ONE, empty(5, 0).as_ref(), Op::No, T::ZERO, empty(0, 0).as_mut()).expect("syrk");
    let mut y = [T::nan(); 2];
    ctx.gemv(T::ONE, empty(2, 0).as_ref(), Op::No, &[], T::ZERO, &mut y).expect("gemv");
    assert_eq!(y, [T::ZERO; 2]);
    ctx.gemv(T::ONE, empty(2, 0).as_ref(), Op::Transpose, &[T::ONE; 2], T::ZERO, &mut []).expect("gemv");
    for side in [Side::Left, Side::Right] {
        ctx.trsm(side, empty(0, 0).as_ref(), Op::No, empty(0, 0).as_mut()).expect("trsm");
    }
    ctx.trsm(Side::Left, triangle(3, 1).as_ref(), Op::No, empty(3, 0).as_mut()).expect("trsm");
    ctx.trsm(Side::Right, triangle(3, 1).as_ref(), Op::No, empty(0, 3).as_mut()).expect("trsm");
    ctx.trsm(Side::Left, empty(0, 0).as_ref(), Op::Transpose, empty(0, 3).as_mut()).expect("trsm");
    ctx.potrf(empty(0, 0).as_mut()).expect("potrf");
    ctx.potri(empty(0, 0).as_mut()).expect("potri");
    ctx.potrs(empty(0, 0).as_ref(), empty(0, 2).as_mut()).expect("potrs");
    ctx.syevd(empty(0, 0).as_mut(), &mut []).expect("syevd");
}

fn nan_and_infinity_propagate<T: Scalar>(ctx: &Ctx<T>) {
    for (n, at) in [(3, 1), (17, 16), (33, 0), (70, 41), (130, 129)] {
        for bad in [T::nan(), T::infinity()] {
            let what = format!("{} n = {n}, {bad} at {at}", ctx.backend().name());
            let clean = gallery::uniform::<T>(n, n, 13).map(|x| x + T::of(2.0));
            let mut a = clean.clone();
            a[(at, n / 2)] = bad;
            let mut c = Mat::zeros(n, n);
            ctx.gemm(T::ONE, a.as_ref(), Op::No, clean.as_ref(), Op::No, T::ZERO, c.as_mut()).expect(&what);
            for j in 0..n {
                (0..n).for_each(|i| assert_eq!(c[(i, j)].is_finite(), i != at, "gemm ({i}, {j}) {what}"));
            }
            ctx.syrk(T::ONE, a.as_ref(), Op::Transpose, T::ZERO, c.as_mut()).expect(&what);
            for j in 0..n {
                (0..n).for_each(|i| assert_eq!(c[(i, j)].is_finite(), i != at && j != at, "syrk ({i}, {j}) {what}"));
            }
            let mut y = vec![T::ZERO; n];
            ctx.gemv(T::ONE, a.as_ref(), Op::No, clean.as_ref().col(0), T::ZERO, &mut y).expect(&what);
            (0..n).for_each(|i| assert_eq!(y[i].is_finite(), i != at, "gemv {i} {what}"));
            let mut x = clean.clone();
            x[(at, 0)] = bad;
            ctx.trsm(Side::Left, triangle::<T>(n, 14).map(|l| l + T::of(0.01)).as_ref(), Op::No, x.as_mut())
                .expect(&what);
            for j in 0..n {
                (0..n).for_each(|i| assert_eq!(x[(i, j)].is_finite(), i < at || j != 0, "trsm ({i}, {j}) {what}"));
            }
        }
    }
    let mut x = Mat::from_fn(2, 1, |_, _| T::ONE);
    ctx.trsm(Side::Left, Mat::from_diagonal(&[T::ONE, T::ZERO]).as_ref(), Op::No, x.as_mut()).expect("trsm");
    assert!(x[(0, 0)] == T::ONE && !x[(1, 0)].is_finite(), "{}: a zero on the diagonal", ctx.backend().name());
}

fn factorizations_refuse_nan_and_infinity<T: Scalar>(ctx: &Ctx<T>) {
    for n in [1, 2, 5, 33, 130] {
        for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
            for (i, j) in [(0, 0), (n - 1, 0), (n - 1, n - 1), (n / 2, n / 2)] {
                let what = format!("{} n = {n}, {bad} at ({i}, {j})", ctx.backend().name());
                let mut a = gallery::spd::<T>(n, 4.0, 15);
                a[(i, j)] = bad;
                let error = ctx.potrf(a.clone().as_mut());
                assert!(matches!(error, Err(Error::NotFinite { op: "potrf" })), "{what}: {error:?}");
                let error = ctx.potri(a.clone().as_mut());
                assert!(matches!(error, Err(Error::NotFinite { op: "potri" })), "{what}: {error:?}");
                let error = ctx.syevd(a.clone().as_mut(), &mut vec![T::ZERO; n]);
                assert!(matches!(error, Err(Error::NotFinite { op: "syevd" })), "{what}: {error:?}");
            }
        }
    }
}

/// LAPACK's matrix types PO 3, 4 and 5: row and column k zeroed, and variants with a pivot below 0.
fn failing_pivots_are_exact<T: Scalar>(ctx: &Ctx<T>) {
    for n in [1, 2, 3, 4, 5, 16, 17, 33, 64, 65, 129, 200] {
        for k in [0, 1, n / 3, n / 2, n - 1].into_iter().filter(|&k| k < n) {
            let good = gallery::spd::<T>(n, 10.0, 16);
            let zeroed = Mat::from_fn(n, n, |i, j| if i == k || j == k { T::ZERO } else { good[(i, j)] });
            let mut negative = good.clone();
            negative[(k, k)] = -T::ONE;
            // a second bad pivot further on must not hide the first
            let mut two = negative.clone();
            two[(n - 1, n - 1)] = -T::ONE;
            for a in [zeroed, negative, two] {
                let outcome = ctx.potrf(a.clone().as_mut());
                assert!(
                    matches!(outcome, Err(Error::NotPositiveDefinite { op: "potrf", pivot }) if pivot == k),
                    "{} n = {n}, pivot {k}: {outcome:?}",
                    ctx.backend().name()
                );
            }
        }
    }
}

fn overflow_is_the_same_error_everywhere<T: Scalar>(ctx: &Ctx<T>) {
    let name = ctx.backend().name();
    let (tiny, huge) = (T::min_positive_value(), T::max_value() / T::of(4.0));
    // L(2, 0) overflows to infinity, then 0 · ∞ and a pivot that is NaN or -∞
    let mut a = Mat::identity(3);
    (a[(0, 0)], a[(2, 0)], a[(2, 1)]) = (tiny, huge, T::of(0.5));
    let outcome = ctx.potrf(a.as_mut());
    assert!(matches!(outcome, Err(Error::NotPositiveDefinite { pivot: 2, .. })), "{name}: {outcome:?}");
    for n in [1, 3, 40, 130] {
        for diagonal in [T::ZERO, tiny * T::of(0.25)] {
            let mut l = triangle::<T>(n, 17);
            l[(n - 1, n - 1)] = diagonal;
            let outcome = ctx.potri(l.as_mut());
            assert!(matches!(outcome, Err(Error::NotFinite { op: "potri" })), "{name} n = {n}: {outcome:?}");
        }
        // eigenvalue n · max overflows
        let mut a = Mat::from_fn(n, n, |_, _| T::max_value());
        let outcome = ctx.syevd(a.as_mut(), &mut vec![T::ZERO; n]);
        if n > 1 {
            assert!(matches!(outcome, Err(Error::NotFinite { op: "syevd" })), "{name} n = {n}: {outcome:?}");
        }
    }
}

fn wrong_shapes_are_errors<T: Scalar>(ctx: &Ctx<T>) {
    let name = ctx.backend().name();
    let is_shape = |what: &str, outcome: pullback::Result<()>| {
        assert!(matches!(outcome, Err(Error::Shape { .. })), "{name} {what}: {outcome:?}");
    };
    let a = gallery::uniform::<T>(3, 4, 18);
    let mut c = Mat::zeros(3, 3);
    is_shape("gemm inner", ctx.gemm(T::ONE, a.as_ref(), Op::No, a.as_ref(), Op::No, T::ZERO, c.as_mut()));
    is_shape("gemm outer", ctx.gemm(T::ONE, a.as_ref(), Op::Transpose, a.as_ref(), Op::No, T::ZERO, c.as_mut()));
    is_shape("syrk", ctx.syrk(T::ONE, a.as_ref(), Op::No, T::ZERO, c.as_mut()));
    is_shape("syrk_lower", ctx.syrk_lower(T::ONE, a.as_ref(), Op::Transpose, T::ZERO, Mat::zeros(3, 4).as_mut()));
    is_shape("gemv x", ctx.gemv(T::ONE, a.as_ref(), Op::No, &[T::ONE; 3], T::ZERO, &mut [T::ZERO; 3]));
    is_shape("gemv y", ctx.gemv(T::ONE, a.as_ref(), Op::No, &[T::ONE; 4], T::ZERO, &mut [T::ZERO; 4]));
    is_shape("trsm square", ctx.trsm(Side::Left, a.as_ref(), Op::No, c.as_mut()));
    is_shape("trsm left", ctx.trsm(Side::Left, Mat::identity(4).as_ref(), Op::No, c.as_mut()));
    is_shape("trsm right", ctx.trsm(Side::Right, Mat::identity(4).as_ref(), Op::No, c.as_mut()));
    is_shape("potrf", ctx.potrf(a.clone().as_mut()));
    is_shape("potri", ctx.potri(a.clone().as_mut()));
    is_shape("potri work", ctx.backend().potri(1, c.as_mut(), Mat::zeros(2, 2).as_mut()));
    is_shape("potrs", ctx.potrs(Mat::identity(4).as_ref(), c.as_mut()));
    is_shape("syevd", ctx.syevd(a.clone().as_mut(), &mut [T::ZERO; 3]));
    is_shape("syevd values", ctx.syevd(c.as_mut(), &mut [T::ZERO; 2]));
}

/// One of each kernel on matrices that are large enough to be split: all results in one vector.
fn all_kernels<T: Scalar>(ctx: &Ctx<T>, n: usize) -> Vec<T> {
    let (a, b) = (gallery::uniform::<T>(n, n + 5, 19), gallery::uniform::<T>(n + 5, n, 20));
    let spd = gallery::spd::<T>(n, 10.0, 21);
    let (mut product, mut gram, mut l) = (Mat::zeros(n, n), Mat::zeros(n, n), spd.clone());
    ctx.gemm(T::ONE, a.as_ref(), Op::No, b.as_ref(), Op::No, T::ZERO, product.as_mut()).expect("gemm");
    ctx.syrk(T::ONE, b.as_ref(), Op::No, T::ZERO, gram.as_mut()).expect("syrk");
    ctx.potrf(l.as_mut()).expect("potrf");
    let mut solved = product.clone();
    ctx.potrs(l.as_ref(), solved.as_mut()).expect("potrs");
    let mut inverse = l;
    ctx.potri(inverse.as_mut()).expect("potri");
    let mut y = vec![T::ZERO; n];
    ctx.gemv(T::ONE, b.as_ref(), Op::Transpose, b.as_ref().col(0), T::ZERO, &mut y).expect("gemv");
    [product, gram, solved, inverse].iter().flat_map(|m| m.as_slice().to_vec()).chain(y).collect()
}

fn eigen<T: Scalar>(ctx: &Ctx<T>, n: usize) -> (Mat<T>, Vec<T>) {
    let (mut q, mut w) = (gallery::spd::<T>(n, 100.0, 22), vec![T::ZERO; n]);
    ctx.syevd(q.as_mut(), &mut w).expect("syevd");
    (q, w)
}

/// Large enough to be cut into blocks and shared among threads; the textbook loops know neither.
fn blocked_size<T: Scalar>(ctx: &Ctx<T>) -> usize {
    if ctx.backend().name() == "reference" { 40 } else { 150 }
}

fn results_repeat_bit_for_bit<T: Scalar>(ctx: &Ctx<T>) {
    let n = blocked_size(ctx);
    for threads in [1, 2] {
        let ctx = ctx.with_threads(threads);
        let (first, first_eigen) = (all_kernels(&ctx, n), eigen(&ctx, n));
        for _ in 0..3 {
            assert!(first == all_kernels(&ctx, n), "{} with {threads} threads", ctx.backend().name());
            assert!(first_eigen == eigen(&ctx, n), "{} syevd with {threads} threads", ctx.backend().name());
        }
    }
}

fn concurrent_calls_equal_lone_ones<T: Scalar>(ctx: &Ctx<T>) {
    let n = blocked_size(ctx) - 20;
    let alone = all_kernels(ctx, n);
    let mut results = vec![Vec::new(); 8];
    ctx.with_threads(4)
        .for_each(&mut results, |ctx, result| {
            assert_eq!(ctx.threads(), 1);
            *result = all_kernels(ctx, n);
            Ok(())
        })
        .expect("all run");
    results.iter().for_each(|r| assert!(*r == alone, "{}: one-thread calls side by side", ctx.backend().name()));
    // different thread counts side by side, as two users of one process would ask for
    let two = all_kernels(&ctx.with_threads(2), n);
    std::thread::scope(|scope| {
        for threads in [1, 2, 1, 2] {
            let (alone, two) = (&alone, &two);
            scope.spawn(move || {
                let got = all_kernels(&ctx.with_threads(threads), n);
                assert!(got == *if threads == 1 { alone } else { two }, "{}: mixed counts", ctx.backend().name());
            });
        }
    });
}

fn two_threads_agree_with_one<T: Scalar>(ctx: &Ctx<T>) {
    let n = blocked_size(ctx);
    let (one, two) = (all_kernels(ctx, n), all_kernels(&ctx.with_threads(2), n));
    // the solve multiplies by the condition 10, the entries of the products are at most n
    let limit = tolerance::<T>(n, 10.0 * n as f64);
    for (i, (a, b)) in one.iter().zip(&two).enumerate() {
        assert!((a.f64() - b.f64()).abs() <= limit, "{}: result {i}: {a} and {b}", ctx.backend().name());
    }
    let ((_, one), (_, two)) = (eigen(ctx, n), eigen(&ctx.with_threads(2), n));
    for (a, b) in one.iter().zip(&two) {
        assert!((a.f64() - b.f64()).abs() <= tolerance::<T>(n, 1.0), "{}: {a} and {b}", ctx.backend().name());
    }
}

fn a_leading_dimension_beyond_32_bits_is_an_answer_or_an_error<T: Scalar>(ctx: &Ctx<T>) {
    let data = [T::ONE, T::of(2.0)];
    let a = MatRef::from_slice(&data, 2, 1, 1 << 33).expect("one column needs no room for the next");
    let mut c = Mat::zeros(1, 1);
    match ctx.gemm(T::ONE, a, Op::Transpose, a, Op::No, T::ZERO, c.as_mut()) {
        Ok(()) => assert_eq!(c[(0, 0)], T::of(5.0)),
        Err(Error::InvalidParameter { .. }) => assert_eq!(ctx.backend().name(), "blas"),
        Err(other) => panic!("{}: {other}", ctx.backend().name()),
    }
}

#[test]
fn every_backend_describes_itself_in_one_line() {
    for ctx in contexts::<f32>() {
        let details = ctx.backend().details();
        assert!(!details.is_empty() && !details.contains('\n'), "{details:?}");
    }
}
