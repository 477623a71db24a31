//! Claim: D + U Uᵀ is what it says - its products, trace, norm, diagonal and root - and its Woodbury inverse,
//! log-determinant and inverse root are those of the dense damped matrix, up to the condition that the file states.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use curvature_support::conformance::{Claim, conforms, damping, diagonal_agrees};
use curvature_support::*;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Dense, HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot,
    HasTrace, LowRank, Recovery, SolvePath, sample_normal, woodbury_crossover,
};
use pullback::factor::SymEigen;
use pullback::linop::TransposeOperator;
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, Scalar};

/// D + U Uᵀ in f64.
fn formed<T: Scalar>(d: &[T], u: &Mat<T>) -> Mat<f64> {
    let u = u.cast::<f64>();
    let mut c = times(&u, &u.transposed());
    d.iter().enumerate().for_each(|(i, d)| c[(i, i)] += d.f64());
    c
}

/// (n, k, d, U): every shape, with a diagonal, a multiple of the identity, and nothing below U.
fn cases<T: Scalar>() -> Vec<(String, LowRank<T>, Mat<f64>)> {
    let mut all = Vec::new();
    for (n, k) in [(0, 0), (0, 2), (1, 0), (1, 1), (2, 3), (3, 1), (31, 4), (33, 33), (64, 7), (129, 32), (20, 50)] {
        let u = random::<T>(n, k, 31);
        let d: Vec<T> = random::<T>(n, 1, 32).as_slice().iter().map(|x| x.abs()).collect();
        let name = |kind: &str| format!("{kind} + {n} x {k}");
        all.push((name("diagonal"), LowRank::new(d.clone(), u.clone()).unwrap(), formed(&d, &u)));
        let delta = vec![T::of(0.25); n];
        all.push((name("identity"), LowRank::scaled_identity(T::of(0.25), u.clone()).unwrap(), formed(&delta, &u)));
        all.push((name("zero"), LowRank::from_factor(u.clone()).unwrap(), formed(&vec![T::ZERO; n], &u)));
    }
    let zero = Mat::<T>::zeros(5, 2);
    all.push(("zero U".to_owned(), LowRank::scaled_identity(T::ONE, zero).unwrap(), Mat::identity(5)));
    all
}

fn laws<T: Scalar>() {
    for (name, c, matrix) in cases::<T>() {
        conforms(&Claim::exact(name, matrix), &c);
        diagonal_agrees(&c);
    }
}

fn capabilities<T: Scalar>() {
    for (name, c, matrix) in cases::<T>() {
        let n = matrix.nrows();
        for ctx in contexts::<T>() {
            let scale = tolerance::<T>(n, 1.0);
            let trace: f64 = (0..n).map(|i| matrix[(i, i)]).sum();
            assert!((c.trace(&ctx).unwrap().f64() - trace).abs() <= scale * trace, "{name}: trace");
            let (got, want) = (c.frobenius_norm(&ctx).unwrap().f64(), norm(&matrix));
            assert!((got - want).abs() <= scale * want, "{name}: Frobenius norm {got:e}, dense {want:e}");

            let root = c.square_root(&ctx).unwrap();
            assert_eq!(root.shape(), (n, n + c.rank()), "{name}");
            let r = root.to_dense(&ctx).unwrap();
            let product = times(&r.cast(), &r.transposed().cast());
            let error = distance(&product, &matrix);
            assert!(error <= scale * norm(&matrix), "{name}: R R' is off by {error:e}");
            let mut transposed = Mat::from_fn(n + c.rank(), n, |_, _| T::nan());
            root.apply_transpose(&ctx, Mat::identity(n).as_ref(), transposed.as_mut()).unwrap();
            assert!(distance(&transposed, &r.transposed().cast()) <= scale * norm(&r), "{name}: R'");
        }
    }
}

/// Against the dense solve, determinant and inverse, from no damping problem to κ = 1/√ε.
fn agrees_with_dense<T: Scalar>() {
    let root_eps = T::EPS.f64().sqrt();
    for (n, k) in [(1, 1), (12, 3), (33, 9), (64, 64), (10, 25)] {
        let u = random::<T>(n, k, 33);
        let d: Vec<T> = (0..n).map(|i| T::of(if i % 3 == 0 { 0.0 } else { 0.01 * i as f64 })).collect();
        let matrix = formed(&d, &u);
        let largest = extremes(&matrix).1;
        let c = LowRank::new(d, u).unwrap();
        let b = random::<T>(n, 2, 34);
        for relative in [1e2, 1.0, 1e-2, root_eps] {
            let lambda = T::of(relative * largest);
            let system = shifted(&matrix, lambda.f64());
            let wide = Ctx::<f64>::reference();
            let dense = Dense::new(matrix.clone()).unwrap().damped(&wide, damping(lambda.f64())).unwrap();
            let mut want = Mat::zeros(n, 2);
            dense.solve(&wide, b.cast().as_ref(), want.as_mut()).unwrap();
            // the smallest eigenvalue is at least λ
            let kappa = 1.0 + largest / lambda.f64();
            for ctx in contexts::<T>() {
                let place = format!("{n} x {k}, lambda/norm {relative:e}, {} {}", ctx.backend().name(), T::NAME);
                let solver = c.damped(&ctx, pullback::Damping::new(lambda).unwrap()).unwrap();
                assert_eq!((solver.path(), solver.recovery()), (SolvePath::Woodbury, Recovery::None));
                let mut x = Mat::from_fn(n, 2, |_, _| T::nan());
                solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
                // an error of ε κ beside ‖b‖/λ, which bounds ‖x‖
                let limit = tolerance::<T>(n, kappa) * norm(&b) / lambda.f64();
                let error = distance(&x, &want);
                assert!(error <= limit, "{place}: off by {error:e}, limit {limit:e}");

                let (got, want) = (solver.log_determinant().f64(), dense.log_determinant());
                // tr(A⁻¹ δA) for a rounding δA of either matrix
                let limit = tolerance::<T>(n, kappa) + tolerance::<T>(1, 1.0) * want.abs();
                assert!((got - want).abs() <= limit, "{place}: log det {got}, dense {want}");

                let r = solver.inverse_square_root(&ctx).unwrap().to_dense(&ctx).unwrap().cast::<f64>();
                let error = distance(&times(&times(&r.transposed(), &system), &r), &Mat::identity(n));
                let limit = tolerance::<T>(n, kappa) * (n as f64).sqrt();
                assert!(error <= limit, "{place}: R' A R is off by {error:e}, limit {limit:e}");
            }
        }
    }
}

/// b along the largest direction of U: x is κ times smaller than b/λ, and the cancellation costs no more than is said.
fn a_right_hand_side_in_the_range<T: Scalar>() {
    let (n, k) = (40, 6);
    // κ while κ^(3/2) leaves digits; singular values from 1 to √κ, λ = 1
    for exponent in [0.125, 0.25, 0.375] {
        let kappa = T::EPS.f64().powf(-exponent);
        let q = SymEigen::new(&Ctx::reference(), random::<f64>(n, n, 43)).unwrap().vectors().to_owned();
        let singular = |j: usize| kappa.powf(0.5 * j as f64 / (k - 1) as f64);
        let u = Mat::from_fn(n, k, |i, j| T::of(q[(i, j)] * singular(j)));
        let b = Mat::from_fn(n, 1, |i, _| T::of(q[(i, k - 1)]));
        let wide = Ctx::<f64>::reference();
        let matrix = formed(&vec![T::ZERO; n], &u);
        let dense = Dense::new(matrix).unwrap().damped(&wide, damping(1.0)).unwrap();
        let mut want = Mat::zeros(n, 1);
        dense.solve(&wide, b.cast().as_ref(), want.as_mut()).unwrap();
        for ctx in contexts::<T>() {
            let solver = LowRank::from_factor(u.clone()).unwrap().damped(&ctx, damping(1.0)).unwrap();
            let mut x = Mat::zeros(n, 1);
            solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            let (error, limit) = (distance(&x, &want) / norm(&want), tolerance::<T>(n, kappa.powf(1.5)));
            assert!(error <= limit, "kappa {kappa:e} on {}: {error:e}, limit {limit:e}", ctx.backend().name());
        }
    }
}

/// Scaling by 2^e: of U by 2^e, of D and λ by 2^2e.
fn equivariant_under_scales<T: Scalar>() {
    let largest = if T::NAME == "f32" { 50 } else { 400 };
    let (u, d) = (random::<T>(9, 3, 35), random::<T>(9, 1, 36).map(|x| x.abs()));
    let b = random::<T>(9, 1, 37);
    for ctx in contexts::<T>() {
        let solve = |e: i32| {
            let (one, two) = (T::of(2.0).powi(e), T::of(2.0).powi(e) * T::of(2.0).powi(e));
            let c = LowRank::new(d.map(|x| x * two).into_vec(), u.map(|x| x * one)).unwrap();
            let solver = c.damped(&ctx, pullback::Damping::new(two).unwrap()).unwrap();
            let mut x = Mat::zeros(9, 1);
            solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            (x.map(|x| x * two), c.frobenius_norm(&ctx).unwrap() / two)
        };
        let (x, size) = solve(0);
        for e in [-largest, -7, 7, largest] {
            assert_eq!(solve(e), (x.clone(), size), "2^{e} on {}", ctx.backend().name());
        }
    }
}

for_both!(laws, capabilities, agrees_with_dense, a_right_hand_side_in_the_range, equivariant_under_scales);

#[test]
fn it_is_a_block_like_any_other() {
    let ctx = Ctx::<f64>::default();
    let (u, m) = (random::<f64>(6, 2, 38), spd::<f64>(4, 10.0, 39));
    let low = LowRank::scaled_identity(0.5, u.clone()).unwrap();
    let blocks = BlockDiagonal::new(vec![AnyCurvature::new(low), AnyCurvature::new(Dense::new(m.clone()).unwrap())]);
    conforms(&Claim::exact("blocks", assembled(&[formed(&[0.5; 6], &u), m])), &blocks);
    assert_eq!(blocks.damped(&ctx, damping(1.0)).unwrap().path(), SolvePath::Blocks);
}

#[test]
fn draws_have_the_covariance() {
    // five standard deviations of each entry of the sample covariance: √((c_ij² + c_ii c_jj) / draws)
    let (ctx, draws) = (Ctx::<f64>::default(), 20_000);
    let u = random::<f64>(4, 2, 40);
    let c = LowRank::scaled_identity(0.1, u.clone()).unwrap();
    let matrix = formed(&[0.1; 4], &u);
    let solver = c.damped(&ctx, damping(0.3)).unwrap();
    let inverse = solver.to_dense(&ctx).unwrap();
    let (root, inverse_root) = (c.square_root(&ctx).unwrap(), solver.inverse_square_root(&ctx).unwrap());
    let roots: [(&dyn LinearOperator<f64>, &Mat<f64>); 2] = [(&root, &matrix), (&inverse_root, &inverse)];
    for (root, covariance) in roots {
        let mut x = Mat::zeros(4, draws);
        sample_normal(&ctx, root, 41, x.as_mut()).unwrap();
        let sample = times(&x, &x.transposed()).map(|v| v / draws as f64);
        for i in 0..4 {
            for j in 0..4 {
                let variance = covariance[(i, j)].powi(2) + covariance[(i, i)] * covariance[(j, j)];
                let limit = 5.0 * (variance / draws as f64).sqrt();
                let error = (sample[(i, j)] - covariance[(i, j)]).abs();
                assert!(error <= limit, "covariance ({i}, {j}) is off by {error:e}, limit {limit:e}");
            }
        }
    }
}

#[test]
fn bad_arguments_are_typed_errors() {
    let u = || Mat::<f64>::zeros(2, 1);
    assert!(matches!(LowRank::new(vec![1.0; 3], u()), Err(Error::Shape { .. })));
    assert!(matches!(LowRank::new(vec![1.0, -1e-300], u()), Err(Error::InvalidParameter { .. })));
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(LowRank::new(vec![1.0, bad], u()), Err(Error::NotFinite { .. })));
        assert!(matches!(LowRank::from_factor(Mat::from_diagonal(&[bad])), Err(Error::NotFinite { .. })));
    }
    // ‖V‖² overflows, and so does d + λ
    for ctx in contexts::<f64>() {
        let huge = LowRank::from_factor(Mat::from_diagonal(&[1e200])).unwrap();
        assert!(matches!(huge.damped(&ctx, damping(1.0)), Err(Error::NotFinite { .. })));
        let huge = LowRank::scaled_identity(f64::MAX, u()).unwrap();
        assert!(matches!(huge.damped(&ctx, damping(f64::MAX)), Err(Error::NotFinite { .. })));
    }
}

#[test]
fn the_predicted_crossover_is_where_the_flops_meet() {
    let flops = |n: f64, k: f64| n * k * k + k * k * k / 3.0 + 4.0 * n * k + 2.0 * k * k;
    for n in [1, 2, 10, 100, 1000, 12_345] {
        let k = woodbury_crossover(n);
        let (n, dense) = (n as f64, (n as f64).powi(3) / 3.0 + 2.0 * (n as f64).powi(2));
        assert!(flops(n, k as f64) >= dense);
        assert!(k == 0 || flops(n, k as f64 - 1.0) < dense);
    }
    assert_eq!(woodbury_crossover(0), 0);
}
