//! Kronecker products of many factors as curvatures: the contract of all direct curvatures, agreement with the two-factor
//! form, Eq 24 for any number of factors; and the statistics of a layer whose inputs form a matrix.

#[path = "common/capability_laws.rs"]
mod capability_laws;
mod curvature_support;

use capability_laws::capabilities_agree;
use curvature_support::conformance::{Claim, conforms, damping};
use curvature_support::*;
use pullback::curvature::{HasTrace, Kronecker, KroneckerDamping, KroneckerN, PiRule, SolvePath};
use pullback::kronecker::{kronecker_factors_apply, semidefinite_gap};
use pullback::stats::{Decay, InputSplit, KroneckerFactors, SplitFactors};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, MatRef, Op, Scalar};

const ORDERS: [&[usize]; 13] = [
    &[0],
    &[1],
    &[33],
    &[3, 0, 2],
    &[1, 1, 1],
    &[2, 3],
    &[2, 3, 4],
    &[4, 1, 3],
    &[1, 31, 2],
    &[33, 2, 1],
    &[5, 5, 5],
    &[2, 2, 2, 2],
    &[2, 3, 1, 2, 3],
];

fn factored<T>(pi: PiRule<T>) -> KroneckerDamping<T> {
    KroneckerDamping::Factored { pi }
}

/// F_1 ⊗ ... ⊗ F_k, formed in f64.
fn formed<T: Scalar>(factors: &[Mat<T>]) -> Mat<f64> {
    factors.iter().fold(Mat::identity(1), |product, f| kron(&product, &f.cast()))
}

/// Well conditioned, of low rank, and one of them zero.
fn families<T: Scalar>(orders: &[usize]) -> Vec<Vec<Mat<T>>> {
    let each = |f: &dyn Fn(usize, u64) -> Mat<T>| orders.iter().zip(1..).map(|(&n, seed)| f(n, seed)).collect();
    let mut all: Vec<Vec<Mat<T>>> = vec![
        each(&|n, seed| spd(n, 5.0, seed)),
        each(&|n, seed| low_rank(n, n.div_ceil(2), seed)),
        each(&|n, seed| spd(n, 5.0, seed).map(|x| x * T::of(4f64.powi(seed as i32)))),
    ];
    if orders.len() > 1 {
        all.push(each(&|n, seed| if seed == 2 { Mat::zeros(n, n) } else { spd(n, 5.0, seed) }));
    }
    all
}

/// ⊗ (F_i + s_i I), formed, with s_i written out from its definition.
fn factored_system<T: Scalar>(factors: &[Mat<T>], rule: PiRule<T>, lambda: T) -> Mat<f64> {
    let views: Vec<MatRef<'_, T>> = factors.iter().map(Mat::as_ref).collect();
    let shifts = KroneckerN::shifts(&views, rule, pullback::Damping::new(lambda).unwrap()).unwrap();
    let shifted_factors: Vec<Mat<f64>> = factors.iter().zip(shifts).map(|(f, s)| shifted(&f.cast(), s.f64())).collect();
    formed(&shifted_factors)
}

fn keeps_the_contract<T: Scalar>() {
    for orders in ORDERS {
        for factors in families::<T>(orders) {
            let matrix = formed(&factors);
            let exact = KroneckerN::new(factors.clone(), KroneckerDamping::Exact).unwrap();
            conforms(&Claim::exact("exact product", matrix.clone()), &exact);
            capabilities_agree("exact product", &exact, &matrix, |lambda| shifted(&matrix, lambda));
            for rule in [PiRule::Trace, PiRule::Frobenius] {
                let c = KroneckerN::new(factors.clone(), factored(rule)).unwrap();
                let system = |lambda| factored_system(&factors, rule, lambda);
                // one factor, or none that is not trivial, leaves nothing to approximate but the path is the same
                conforms(&Claim::factored(format!("factored by {rule:?}"), matrix.clone(), system), &c);
                capabilities_agree("factored product", &c, &matrix, |lambda| system(T::of(lambda)));
            }
        }
    }
}

#[test]
fn contract_and_capabilities() {
    keeps_the_contract::<f32>();
    keeps_the_contract::<f64>();
}

fn agrees_with_two_factors<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (o, i, d_out) in [(1, 4, 3), (2, 3, 4), (5, 2, 1), (3, 3, 3)] {
            let (outer, inner, s) = (spd::<T>(o, 5.0, 1), spd::<T>(i, 5.0, 2), spd::<T>(d_out, 5.0, 3));
            let a: Mat<T> = kron(&outer, &inner).cast();
            let n = o * i * d_out;
            let (b, mut x, mut y) = (random::<T>(n, 3, 4), Mat::zeros(n, 3), Mat::zeros(n, 3));
            // exact damping sees the product alone
            let two = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
            let three = KroneckerN::new(vec![outer, inner, s.clone()], KroneckerDamping::Exact).unwrap();
            two.apply(&ctx, b.as_ref(), x.as_mut()).unwrap();
            three.apply(&ctx, b.as_ref(), y.as_mut()).unwrap();
            assert!(distance(&y, &x.cast()) <= tolerance::<T>(n, 1.0) * norm(&b), "product");
            for lambda in [1e-2, 1.0] {
                let (two, three) = (two.damped(&ctx, damping(lambda)), three.damped(&ctx, damping(lambda)));
                let three = three.unwrap();
                assert_eq!(three.path(), SolvePath::Eigen);
                two.unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
                three.solve(&ctx, b.as_ref(), y.as_mut()).unwrap();
                let limit = tolerance::<T>(n, 2.0 / lambda) * norm(&x);
                assert!(distance(&y, &x.cast()) <= limit, "exact solve at {lambda}");
                // the same map for a matrix, in padded memory
                let v = Mat::from_fn(
                    d_out + 2,
                    o * i,
                    |r, c| if r < d_out { b.as_slice()[c * d_out + r] } else { T::nan() },
                );
                let mut out = Mat::zeros(d_out, o * i);
                three
                    .precondition_matrix(&ctx, v.as_ref().submatrix(0, 0, d_out, o * i).unwrap(), out.as_mut())
                    .unwrap();
                assert_eq!(out.as_slice(), &y.as_slice()[..n]);
                let mut in_place = v.clone();
                three.precondition_in_place(&ctx, in_place.as_mut().submatrix(0, 0, d_out, o * i).unwrap()).unwrap();
                assert!((0..o * i).all(|c| in_place.as_ref().col(c)[..d_out] == *out.as_ref().col(c)));
            }
            // factored damping of two factors is Kronecker's own
            for rule in [PiRule::Trace, PiRule::Frobenius, PiRule::Fixed(T::of(0.5))] {
                let two = Kronecker::new(a.clone(), s.clone(), factored(rule)).unwrap();
                let also = KroneckerN::new(vec![a.clone(), s.clone()], factored(rule)).unwrap();
                let (two, also) = (two.damped(&ctx, damping(0.5)).unwrap(), also.damped(&ctx, damping(0.5)).unwrap());
                assert_eq!(also.path(), SolvePath::FactoredCholesky);
                let pi = two.pi().unwrap();
                assert_eq!(also.shifts().unwrap(), [pi * T::of(0.5).sqrt(), T::of(0.5).sqrt() / pi]);
                two.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
                also.solve(&ctx, b.as_ref(), y.as_mut()).unwrap();
                assert!(distance(&y, &x.cast()) <= tolerance::<T>(n, 20.0) * norm(&x), "{rule:?}");
            }
        }
    }
}

#[test]
fn where_a_is_a_product_it_agrees_with_the_two_factor_form() {
    agrees_with_two_factors::<f32>();
    agrees_with_two_factors::<f64>();
}

#[test]
fn shifts_multiply_to_lambda_and_balance_the_sizes_of_the_factors() {
    for orders in ORDERS.into_iter().filter(|o| o.iter().all(|&n| n > 0)) {
        let factors: Vec<Mat<f64>> =
            orders.iter().zip(1..).map(|(&n, seed)| spd(n, 5.0, seed).map(|x| x * 3f64.powi(seed as i32))).collect();
        let views: Vec<MatRef<'_, f64>> = factors.iter().map(Mat::as_ref).collect();
        let limit = tolerance::<f64>(orders.len(), 8.0);
        for lambda in [1e-30, 1e-3, 1.0, 1e30] {
            let shifts = KroneckerN::shifts(&views, PiRule::Trace, damping(lambda)).unwrap();
            let product: f64 = shifts.iter().product();
            assert!((product / lambda - 1.0).abs() <= limit * 70.0, "{orders:?}: {product:e} for {lambda:e}");
            // s_i / c_i is the same for all: d of the definition u_i + d I, u_i = F_i / c_i
            let mean = |f: &Mat<f64>| (0..f.nrows()).map(|i| f[(i, i)]).sum::<f64>() / f.nrows() as f64;
            let ratios: Vec<f64> = shifts.iter().zip(&factors).map(|(s, f)| s / mean(f)).collect();
            assert!(ratios.iter().all(|r| (r / ratios[0] - 1.0).abs() <= limit * 70.0), "{orders:?}: {ratios:?}");
        }
    }
    let zero = Mat::<f64>::zeros(2, 2);
    let shifts =
        KroneckerN::shifts(&[zero.as_ref(), zero.as_ref(), zero.as_ref()], PiRule::Trace, damping(8.0)).unwrap();
    assert!(shifts.iter().all(|s| (s - 2.0).abs() <= tolerance::<f64>(3, 1.0)), "{shifts:?}");
}

#[test]
fn factored_damping_of_any_number_of_factors_dominates_the_exact_one() {
    // Eq 24: ⊗ (F_i + s_i I) - (⊗ F_i + λI) is positive semidefinite, and not zero
    let ctx = Ctx::default();
    for orders in ORDERS.into_iter().filter(|o| o.len() > 1 && o.iter().all(|&n| n > 0)) {
        for factors in families::<f64>(orders) {
            let matrix = formed(&factors);
            for lambda in [1e-3, 1.0, 30.0] {
                for rule in [PiRule::Trace, PiRule::Frobenius] {
                    let above = factored_system(&factors, rule, lambda);
                    let gap = semidefinite_gap(&ctx, above.as_ref(), shifted(&matrix, lambda).as_ref()).unwrap();
                    let limit = tolerance::<f64>(matrix.nrows(), 1.0) * norm(&above);
                    assert!(gap >= -limit, "{orders:?}, {lambda}, {rule:?}: gap {gap:e}");
                }
                // with the identity for factors the gap is known: (1 + λ^{1/k})^k - 1 - λ
                let identity: Vec<Mat<f64>> = orders.iter().map(|&n| Mat::identity(n)).collect();
                let above = factored_system(&identity, PiRule::Trace, lambda);
                let gap = semidefinite_gap(&ctx, above.as_ref(), shifted(&formed(&identity), lambda).as_ref()).unwrap();
                let k = orders.len() as f64;
                let want = (1.0 + lambda.powf(1.0 / k)).powf(k) - 1.0 - lambda;
                assert!(want > 0.0 && (gap - want).abs() <= tolerance::<f64>(matrix.nrows(), 1.0) * norm(&above));
            }
        }
    }
}

#[test]
fn another_damping_is_free_on_the_exact_path_and_refused_on_the_factored_one() {
    let ctx = Ctx::<f64>::default();
    let factors: Vec<Mat<f64>> = [2, 3, 4].iter().map(|&n| spd(n, 5.0, n as u64)).collect();
    let b = random::<f64>(24, 1, 1);
    let solve = |inverse: &pullback::curvature::KroneckerNInverse<f64>| {
        let mut x = Mat::zeros(24, 1);
        inverse.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        x
    };
    let exact = KroneckerN::new(factors.clone(), KroneckerDamping::Exact).unwrap();
    let (one, two) = (exact.damped(&ctx, damping(0.1)).unwrap(), exact.damped(&ctx, damping(2.0)).unwrap());
    assert_eq!(solve(&one.redamp(damping(2.0)).unwrap()), solve(&two));
    assert_ne!(solve(&one), solve(&two));
    assert!(one.shifts().is_none());
    let split = KroneckerN::new(factors, factored(PiRule::Trace)).unwrap().damped(&ctx, damping(0.1)).unwrap();
    assert!(matches!(split.redamp(damping(2.0)), Err(Error::InvalidParameter { name: "redamp", .. })));
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    let identity = || Mat::<f64>::identity(2);
    let make = |factors: Vec<Mat<f64>>| KroneckerN::new(factors, KroneckerDamping::Exact);
    assert!(matches!(make(vec![]), Err(Error::InvalidParameter { .. })));
    assert!(matches!(make(vec![identity(), Mat::zeros(2, 3)]), Err(Error::Shape { .. })));
    assert!(matches!(make(vec![Mat::from_diagonal(&[f64::NAN])]), Err(Error::NotFinite { .. })));
    for factors in [1, 3] {
        let fixed = KroneckerN::new(vec![identity(); factors], factored(PiRule::Fixed(1.0)));
        assert!(matches!(fixed, Err(Error::InvalidParameter { name: "pi", .. })), "{factors}");
    }
    let huge = make(vec![Mat::from_diagonal(&[1e200]); 3]).unwrap();
    assert!(matches!(huge.damped(&ctx, damping(1.0)), Err(Error::NotFinite { .. })));
    let indefinite = KroneckerN::new(vec![identity(), Mat::from_diagonal(&[1.0, -9.0])], factored(PiRule::Trace));
    assert!(matches!(indefinite.unwrap().damped(&ctx, damping(1.0)), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
    let inverse = make(vec![identity(), identity(), identity()]).unwrap().damped(&ctx, damping(1.0)).unwrap();
    let (v, mut out) = (Mat::zeros(4, 2), Mat::zeros(2, 4));
    assert!(matches!(inverse.precondition_matrix(&ctx, v.as_ref(), out.as_mut()), Err(Error::Shape { .. })));
    let (x, mut y) = (Mat::zeros(3, 1), Mat::zeros(4, 1));
    let read = [(identity(), Op::No), (identity(), Op::No)];
    let factors = read.iter().map(|(f, op)| (f.as_ref(), *op));
    assert!(matches!(kronecker_factors_apply(&ctx, factors, x.as_ref(), y.as_mut()), Err(Error::Shape { .. })));
}

#[test]
fn products_with_rectangular_factors_read_both_ways() {
    for ctx in contexts::<f64>() {
        let shapes = [(2, 3), (4, 1), (3, 2)];
        let factors: Vec<Mat<f64>> = shapes.iter().zip(1..).map(|(&(m, n), seed)| random(m, n, seed)).collect();
        let dense = {
            let (mut product, mut shape) = (vec![1.0], (1, 1));
            for f in &factors {
                let (m, n) = (shape.0 * f.nrows(), shape.1 * f.ncols());
                let old = Mat::from_vec(product, shape.0, shape.1).unwrap();
                let at = |i: usize, j: usize| old[(i / f.nrows(), j / f.ncols())] * f[(i % f.nrows(), j % f.ncols())];
                product = Mat::from_fn(m, n, at).into_vec();
                shape = (m, n);
            }
            Mat::from_vec(product, shape.0, shape.1).unwrap()
        };
        for (op, dense) in [(Op::No, dense.clone()), (Op::Transpose, dense.transposed())] {
            let (x, mut y) = (random::<f64>(dense.ncols(), 2, 9), Mat::zeros(dense.nrows(), 2));
            kronecker_factors_apply(&ctx, factors.iter().map(|f| (f.as_ref(), op)), x.as_ref(), y.as_mut()).unwrap();
            let error = distance(&y, &times(&dense, &x));
            assert!(error <= tolerance::<f64>(24, 1.0) * norm(&dense) * norm(&x), "{op:?}: {error:e}");
        }
    }
}

/// Statistics of one batch.
fn gathered<T: Scalar>(
    ctx: &Ctx<T>,
    split: InputSplit,
    a: &Mat<T>,
    g: &Mat<T>,
    weight: f64,
) -> (SplitFactors<T>, KroneckerFactors<T>) {
    let mut three = SplitFactors::new(g.nrows(), split, Decay::DEFAULT).unwrap();
    let mut two = KroneckerFactors::new(g.nrows(), a.nrows(), Decay::DEFAULT);
    three.begin();
    three.add_activations(ctx, a.as_ref(), T::of(weight)).unwrap();
    three.add_gradients(ctx, g.as_ref(), T::of(weight)).unwrap();
    two.begin();
    two.add_activations(ctx, a.as_ref(), T::of(weight)).unwrap();
    two.add_gradients(ctx, g.as_ref(), T::of(weight)).unwrap();
    (three, two)
}

fn dense<T: Scalar, C: LinearOperator<T>>(ctx: &Ctx<T>, c: Option<C>) -> Mat<f64> {
    c.unwrap().to_dense(ctx).unwrap().cast()
}

fn statistics_of_a_product_are_exact<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (o, i, bias) in [(1, 1, false), (2, 3, false), (3, 2, true), (4, 1, true), (1, 5, true)] {
            // inputs u ⊗ v over all pairs of columns of two matrices: Σ (u ⊗ v)(u ⊗ v)ᵀ = Σ u uᵀ ⊗ Σ v vᵀ. With -u beside u
            // the inputs are centred, so that the bias is apart in A too
            let (u, v) = (random::<T>(o, 3, 1), random::<T>(i, 4, 2));
            let rows = o * i + usize::from(bias);
            let entry = |row: usize, case: usize| {
                let (sign, pair) = (if case.is_multiple_of(2) { T::ONE } else { -T::ONE }, case / 2);
                if row == o * i { T::ONE } else { sign * u[(row / i, pair % 3)] * v[(row % i, pair / 3)] }
            };
            let a = Mat::from_fn(rows, 24, entry);
            let g = random::<T>(3, 24, 5);
            let split = InputSplit { outer: o, inner: i, bias };
            let (three, two) = gathered(&ctx, split, &a, &g, 1.0 / 24.0);
            let got = dense(&ctx, three.snapshot(KroneckerDamping::Exact).unwrap());
            let want = dense(&ctx, two.snapshot(KroneckerDamping::Exact).unwrap());
            let limit = tolerance::<T>(24, 1.0) * norm(&want);
            assert!(distance(&got, &want) <= limit, "{split:?}: {:e}", distance(&got, &want));
        }
    }
}

#[test]
fn statistics_of_inputs_that_are_products_give_the_two_factor_block() {
    statistics_of_a_product_are_exact::<f32>();
    statistics_of_a_product_are_exact::<f64>();
}

#[test]
fn the_trace_is_kept_for_any_inputs_and_the_bias_is_a_block_of_its_own() {
    for ctx in contexts::<f64>() {
        for (o, i, bias) in [(2, 3, false), (3, 4, true), (5, 2, true)] {
            let rows = o * i + usize::from(bias);
            let a = Mat::from_fn(rows, 7, |r, c| if r == o * i { 1.0 } else { random::<f64>(rows, 7, 3)[(r, c)] });
            let g = random::<f64>(2, 7, 4);
            let (three, two) = gathered(&ctx, InputSplit { outer: o, inner: i, bias }, &a, &g, 0.25);
            let three = three.snapshot(KroneckerDamping::Exact).unwrap().unwrap();
            let two = two.snapshot(KroneckerDamping::Exact).unwrap().unwrap();
            let matrix = three.to_dense(&ctx).unwrap();
            let trace = |m: &Mat<f64>| (0..m.nrows()).map(|i| m[(i, i)]).sum::<f64>();
            let want = trace(&two.to_dense(&ctx).unwrap());
            assert!((trace(&matrix) - want).abs() <= tolerance::<f64>(matrix.nrows(), 1.0) * want);
            assert_eq!(three.blocks().len(), 1 + usize::from(bias));
            if bias {
                // m ⊗ S with m = Σ weight · 1²
                let last = matrix.as_ref().submatrix(2 * o * i, 2 * o * i, 2, 2).unwrap().to_owned();
                let s = two.s().map(|s| 7.0 * 0.25 * s);
                assert!(distance(&last, &s) <= tolerance::<f64>(7, 1.0) * norm(&s));
                assert!(
                    (three.blocks()[1].trace(&ctx).unwrap() - trace(&s)).abs() <= tolerance::<f64>(7, 1.0) * norm(&s)
                );
                let cross = matrix.as_ref().submatrix(0, 2 * o * i, 2 * o * i, 2).unwrap().to_owned();
                assert_eq!(norm(&cross), 0.0);
            }
        }
    }
}

#[test]
fn split_statistics_are_moving_averages_and_refuse_misuse() {
    let ctx = Ctx::<f64>::default();
    let split = InputSplit { outer: 2, inner: 2, bias: true };
    let mut factors = SplitFactors::new(1, split, Decay::new(0.5).unwrap()).unwrap();
    assert!(factors.snapshot(KroneckerDamping::Exact).unwrap().is_none());
    let a = Mat::from_vec(vec![1.0, 0.0, 0.0, 0.0, 1.0], 5, 1).unwrap();
    let early = factors.add_activations(&ctx, a.as_ref(), 1.0);
    assert!(matches!(early, Err(Error::InvalidParameter { .. })));
    for k in 1..=4 {
        factors.begin();
        let a = a.map(|x| x * f64::from(k));
        factors.add_activations(&ctx, a.as_ref(), 1.0).unwrap();
        // a moment known as a matrix is worth the gradients it is made of
        if k % 2 == 0 {
            factors.add_gradients(&ctx, Mat::from_diagonal(&[f64::from(k)]).as_ref(), 1.0).unwrap();
        } else {
            factors.add_gradient_moment(Mat::from_diagonal(&[f64::from(k * k)]).as_ref(), 1.0).unwrap();
        }
    }
    // burn-in: ε = 0, 1/2, then 1/2: ((1 + 4)/2 + 9)/2 + 16)/2
    let mean = (((1.0 + 4.0) / 2.0 + 9.0) / 2.0 + 16.0) / 2.0;
    let matrix = dense(&ctx, factors.snapshot(KroneckerDamping::Exact).unwrap());
    let want = Mat::from_diagonal(&[mean * mean, 0.0, 0.0, 0.0, mean * mean]);
    assert!(distance(&matrix, &want) <= tolerance::<f64>(5, 1.0) * norm(&want));
    assert_eq!((factors.updates(), factors.split()), (4, split));

    let wrong = Mat::zeros(4, 1);
    assert!(matches!(factors.add_activations(&ctx, wrong.as_ref(), 1.0), Err(Error::Shape { .. })));
    assert!(matches!(factors.add_gradients(&ctx, wrong.as_ref(), 1.0), Err(Error::Shape { .. })));
    assert!(matches!(factors.add_gradient_moment(wrong.as_ref(), 1.0), Err(Error::Shape { .. })));
    let fixed = factors.snapshot(factored(PiRule::Fixed(1.0)));
    assert!(matches!(fixed, Err(Error::InvalidParameter { name: "pi", .. })));
    let overflowing = InputSplit { outer: usize::MAX, inner: 2, bias: false };
    assert!(matches!(SplitFactors::<f64>::new(1, overflowing, Decay::DEFAULT), Err(Error::InvalidParameter { .. })));
    // no input but the constant: A is zero, and damping makes it a solvable one
    let mut silent = SplitFactors::<f64>::new(1, split, Decay::DEFAULT).unwrap();
    silent.begin();
    silent.add_activations(&ctx, Mat::from_vec(vec![0.0, 0.0, 0.0, 0.0, 1.0], 5, 1).unwrap().as_ref(), 1.0).unwrap();
    silent.add_gradients(&ctx, Mat::identity(1).as_ref(), 1.0).unwrap();
    let c = silent.snapshot(factored(PiRule::Trace)).unwrap().unwrap();
    assert!(
        distance(&c.to_dense(&ctx).unwrap(), &Mat::from_diagonal(&[0.0, 0.0, 0.0, 0.0, 1.0]))
            <= tolerance::<f64>(1, 1.0)
    );
    assert!(c.damped(&ctx, damping(0.5)).is_ok());
    factors.begin();
    factors.add_activations(&ctx, a.map(|x| x * f64::NAN).as_ref(), 1.0).unwrap();
    assert!(matches!(factors.snapshot(KroneckerDamping::Exact), Err(Error::NotFinite { .. })));
}
