//! The exact damped inverse by the eigenpairs that λ can tell from zero: the same map as by all of them.

use pullback::curvature::{KroneckerDamping, KroneckerInverse};
use pullback::kronecker::KroneckerEigen;
use pullback::linop::LinearOperator;
use pullback::testing::gallery::{rank_deficient, scaled, spd, uniform};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Damping, Mat, MatMut, Op, Scalar};

/// V ↦ (A ⊗ S + λI)⁻¹ V by all eigenpairs.
fn whole<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, s: &Mat<T>, lambda: T, v: &Mat<T>) -> Mat<T> {
    let eigen = KroneckerEigen::new(ctx, a.clone(), s.clone()).unwrap();
    let mut out = Mat::zeros(v.nrows(), v.ncols());
    let f = |a: T, s: T| T::ONE / ((a * s).max(T::ZERO) + lambda);
    eigen.map_matrix(ctx, f, v.as_ref(), out.as_mut()).unwrap();
    out
}

/// By every public way, for G Āᵀ with `cases` columns.
fn agree<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, s: &Mat<T>, lambda: f64, cases: usize, what: &str) {
    let (d_in, d_out) = (a.nrows(), s.nrows());
    let damping = Damping::try_from(lambda).unwrap();
    let inverse = KroneckerInverse::new(ctx, a.as_ref(), s.as_ref(), KroneckerDamping::Exact, damping).unwrap();
    let (x, g) = (uniform::<T>(d_in, cases, 5), uniform::<T>(d_out, cases, 6));
    let mut v = Mat::zeros(d_out, d_in);
    ctx.gemm(T::ONE, g.as_ref(), Op::No, x.as_ref(), Op::Transpose, T::ZERO, v.as_mut()).unwrap();
    let expected = whole(ctx, a, s, damping.get(), &v);
    // rounding of V counts at the scale of 1/λ
    let length = |m: &Mat<T>| m.as_slice().iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt();
    let condition = 1.0 + length(&v) / lambda / length(&expected).max(f64::MIN_POSITIVE);
    let limit = tolerance::<T>(d_in + d_out + cases, condition);
    let check = |found: &Mat<T>, way: &str| {
        let error = relative_error(found.as_ref(), expected.as_ref());
        assert!(error <= limit, "{what} by {way}, {}: {error:e} > {limit:e}", ctx.backend().name());
    };
    let mut found = Mat::from_fn(d_out, d_in, |_, _| T::nan());
    inverse.precondition_matrix(ctx, v.as_ref(), found.as_mut()).unwrap();
    check(&found, "precondition_matrix");
    found.as_mut().copy_from(v.as_ref()).unwrap();
    inverse.precondition_in_place(ctx, found.as_mut()).unwrap();
    check(&found, "precondition_in_place");
    found.as_mut().fill(T::nan());
    inverse.precondition_product(ctx, T::ONE, g.as_ref(), x.as_ref(), found.as_mut()).unwrap();
    check(&found, "precondition_product");
    let two = Mat::from_fn(d_in * d_out, 2, |i, k| v.as_slice()[i] * T::of((k + 1) as f64));
    let mut out = Mat::from_fn(d_in * d_out, 2, |_, _| T::nan());
    inverse.apply_into(ctx, two.as_ref(), out.as_mut()).unwrap();
    for k in 0..2 {
        let half = T::of(1.0 / (k + 1) as f64);
        let column = MatMut::from_slice(out.as_mut().col_mut(k), d_out, d_in, d_out).unwrap().rb().to_owned();
        check(&Mat::from_fn(d_out, d_in, |i, j| half * column[(i, j)]), "apply_into");
    }
}

fn ranges<T: Scalar>() {
    const SIZES: [(usize, usize); 6] = [(1, 1), (2, 3), (31, 33), (33, 31), (129, 40), (40, 129)];
    for ctx in contexts::<T>() {
        for (d_in, d_out) in SIZES {
            for (rank_a, rank_s) in [(d_in / 4, d_out), (d_in, d_out / 4), (d_in / 4, d_out / 5), (1, 1), (d_in, d_out)]
            {
                let matrix = |n: usize, rank: usize, seed| {
                    if rank == n { spd::<T>(n, 100.0, seed) } else { rank_deficient::<T>(n, rank, seed) }
                };
                let (a, s) = (matrix(d_in, rank_a, 1), matrix(d_out, rank_s, 2));
                for (scale, lambda) in [(0, 1e-3), (0, 10.0), (0, 1e6), (20, 1e3), (-20, 1e3)] {
                    let (a, lambda) = (scaled(&a, scale), lambda * 2f64.powi(scale));
                    let what = format!("{d_in} of {rank_a}, {d_out} of {rank_s}, 2^{scale}, λ = {lambda:e}");
                    agree(&ctx, &a, &s, lambda, 7, &what);
                    agree(&ctx, &a, &s, lambda, 150, &what);
                }
            }
        }
    }
}

#[test]
fn the_range_gives_what_all_eigenpairs_give() {
    ranges::<f32>();
    ranges::<f64>();
}

/// Eigenvalues below zero by more than rounding, whose products count where both are: nothing is left out.
#[test]
fn factors_that_are_not_semidefinite_are_taken_whole() {
    for ctx in contexts::<f64>() {
        let diagonal = |values: &[f64]| Mat::from_diagonal(values);
        let (a, s) = (diagonal(&[-2.0, 1e-17, 1.0, 0.0, 0.0, 0.0]), diagonal(&[-3.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
        agree(&ctx, &a, &s, 0.5, 3, "indefinite");
        agree(&ctx, &diagonal(&[-1.0, -2.0, 0.0, 0.0]), &diagonal(&[-1.0, 0.0, 0.0, 0.0]), 0.5, 3, "negative");
    }
}

/// Zero factors, no columns, no rows.
#[test]
fn nothing_to_tell_from_zero_leaves_the_damping() {
    for ctx in contexts::<f32>() {
        for (d_in, d_out) in [(5, 4), (0, 3), (3, 0)] {
            let (a, s) = (Mat::zeros(d_in, d_in), Mat::zeros(d_out, d_out));
            let lambda = Damping::try_from(0.5).unwrap();
            let inverse = KroneckerInverse::new(&ctx, a.as_ref(), s.as_ref(), KroneckerDamping::Exact, lambda).unwrap();
            let v = uniform::<f32>(d_out, d_in, 3);
            let mut out = Mat::zeros(d_out, d_in);
            inverse.precondition_matrix(&ctx, v.as_ref(), out.as_mut()).unwrap();
            assert!(out.as_slice().iter().zip(v.as_slice()).all(|(&x, &v)| x == 2.0 * v));
        }
    }
}
