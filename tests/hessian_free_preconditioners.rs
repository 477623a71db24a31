//! Claim: a preconditioner changes how many products the inner solve of a Hessian-free step needs, not what it solves; with
//! zero iterations the step is K-FAC's, with one from zero the same; K-FAC's preconditioner needs a fraction of the products
//! of plain conjugate gradient on the digits.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/resumed.rs"]
mod resumed;

use pullback::curvature::KroneckerDamping;
use pullback::krylov::{CgOptions, StallRule, pcg};
use pullback::linop::Shifted;
use pullback::nn::data::digits;
use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, FisherKind, HessianFree, HessianFreeOptions, InnerPreconditioner, Kfac,
    KfacBlocks, KfacOptions, KroneckerInner, KroneckerInnerOptions, LayerStructure, MartensDiagonal, NoPreconditioner,
    Objective, Optimizer, Passes, Rejection, StepRule,
};
use pullback::stats::Decay;
use pullback::testing::optimizer::{Goal, check};
use pullback::testing::{LeastSquares, Regression, Setup, gallery, tolerance};
use pullback::{Ctx, Damping, Error, LinearOperator, Mat, MatMut, MatRef, Preconditioner, Scalar};
use resumed::resumes_bitwise;

fn kronecker<T: Scalar, W>(blocks: KfacBlocks, structure: LayerStructure) -> KroneckerInner<T, W> {
    let options = KroneckerInnerOptions { blocks, structure, fisher: FisherKind::Exact, ..Default::default() };
    KroneckerInner::new(options).expect("options")
}

fn digits_net<T: Scalar>(cases: usize) -> (Mlp<T>, Batch<T>, Vec<T>) {
    let set = digits::load::<T>().expect("bundled");
    let x = Mat::from_fn(64, cases, |i, j| set.inputs().at(i, 7 * j));
    let net = Mlp::<T>::autoencoder(&[64, 24, 8], Activation::Tanh).l2(T::of(1e-5)).build().expect("net");
    let (batch, theta) = (net.batch(x.as_ref(), x.as_ref()).expect("batch"), net.init(Init::GlorotUniform, 3));
    (net, batch, theta)
}

fn distance<T: Scalar>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| (x - y).f64().powi(2)).sum::<f64>().sqrt()
}

fn alpha_zero_is_plain_conjugate_gradient_bit_for_bit<T: Scalar>() {
    let (net, batch, start) = digits_net::<T>(60);
    let options = HessianFreeOptions { lambda: 1.0, cg_iterations: 12, ..HessianFreeOptions::default() };
    let ctx = Ctx::default();
    let mut plain = HessianFree::new(options, NoPreconditioner).unwrap();
    let mut zero = HessianFree::new(options, MartensDiagonal::new(0.0).unwrap()).unwrap();
    let (mut a, mut b) = (start.clone(), start);
    for _ in 0..3 {
        let (one, two) =
            (plain.step(&ctx, &net, &mut a, &batch).unwrap(), zero.step(&ctx, &net, &mut b, &batch).unwrap());
        assert_eq!((one.inner, one.rho, &a), (two.inner, two.rho, &b));
        assert_eq!(two.passes.total(), one.passes.total() + 2);
    }
}

/// [∂ℓ/∂θ]² by gradients of single cases.
fn martens_diagonal_is_that_of_single_cases<T: Scalar>() {
    let (net, batch, theta) = digits_net::<T>(5);
    let (ctx, lambda) = (Ctx::default(), 0.25);
    let mut m = MartensDiagonal::default();
    let mut passes = Passes::default();
    InnerPreconditioner::<T, Mlp<T>>::prepare(
        &mut m,
        &ctx,
        &net,
        &theta,
        &batch,
        Damping::try_from(lambda).unwrap(),
        &mut passes,
    )
    .unwrap();
    assert_eq!(passes, Passes::GRADIENT);
    let ones = Mat::from_fn(theta.len(), 1, |_, _| T::ONE);
    let mut inverse = Mat::zeros(theta.len(), 1);
    let p = InnerPreconditioner::<T, Mlp<T>>::get(&m).unwrap();
    p.apply(&ctx, ones.as_ref(), inverse.as_mut()).unwrap();
    let mut squares = vec![0.0; theta.len()];
    let mut gradient = vec![T::ZERO; theta.len()];
    for case in 0..5 {
        net.loss_grad(&ctx, &theta, &batch.subset(case..case + 1).unwrap(), &mut gradient).unwrap();
        for (s, (&g, &w)) in squares.iter_mut().zip(gradient.iter().zip(&theta)) {
            *s += (g - net.l2() * w).f64().powi(2) / 5.0;
        }
    }
    let limit = tolerance::<T>(5, 100.0);
    for (s, &got) in squares.iter().zip(inverse.as_slice()) {
        let want = (s + lambda).powf(-0.75);
        assert!((got.f64() - want).abs() <= limit * want, "{got} for {want}");
    }
}

/// Zero iterations from zero are a step of `Kfac` by Eq 26, and with the warm start by Eq 27; one iteration from zero too.
fn the_spectrum_begins_at_kfac<T: Scalar>() {
    let (net, batch, start) = digits_net::<T>(60);
    let (ctx, lambda) = (Ctx::default(), 1.0);
    for momentum in [false, true] {
        let options = KfacOptions {
            lambda,
            adaptation: None,
            fisher: FisherKind::Exact,
            refresh_interval: 1,
            step: StepRule::QuadraticModel { momentum },
            rejection: Rejection::Never,
            ..KfacOptions::default()
        };
        let mut kfac = Kfac::new(options).unwrap();
        let hf = |cg_iterations| {
            let options = HessianFreeOptions {
                lambda,
                omega: None,
                cg_iterations,
                warm_start: momentum.then_some(1.0),
                ..HessianFreeOptions::default()
            };
            HessianFree::new(options, kronecker::<T, Workspace<T>>(KfacBlocks::Diagonal, LayerStructure::default()))
                .unwrap()
        };
        let (mut zero, mut one) = (hf(0), hf(1));
        let (mut a, mut b, mut c) = (start.clone(), start.clone(), start.clone());
        for step in 0..3 {
            let before = a.clone();
            kfac.step(&ctx, &net, &mut a, &batch).unwrap();
            let report = zero.step(&ctx, &net, &mut b, &batch).unwrap();
            assert_eq!((report.alpha, report.inner.unwrap().iterations), (Some(T::ONE), 0));
            // solves at λ = 1 with factors of a few, several steps of a map that is smooth on that scale
            let limit = tolerance::<T>(60, 50.0) * distance(&before, &start).max(distance(&a, &before));
            let error = distance(&a, &b);
            assert!(error <= limit, "momentum {momentum}, step {step}: {error:e} > {limit:e}");
            if !momentum {
                one.step(&ctx, &net, &mut c, &batch).unwrap();
                let error = distance(&a, &c);
                assert!(error <= limit, "one iteration, step {step}: {error:e} > {limit:e}");
            }
        }
    }
}

/// One layer without activation: A ⊗ S + (λ+η)I with exact damping is B.
fn an_exact_preconditioner_needs_one_iteration<T: Scalar>() {
    let (h, batch) = (LeastSquares::<T>::new(3, 7, T::of(0.01)), Regression::random(3, 7, 40, 6));
    let theta = gallery::uniform::<T>(21, 1, 5).into_vec();
    let options = HessianFreeOptions {
        lambda: 0.1,
        warm_start: None,
        relative_tolerance: T::of(tolerance::<T>(21, 30.0)),
        ..HessianFreeOptions::default()
    };
    for structure in [LayerStructure::Kronecker, LayerStructure::EigenKronecker] {
        let inner = KroneckerInnerOptions {
            structure,
            fisher: FisherKind::Exact,
            damping: KroneckerDamping::Exact,
            ..Default::default()
        };
        let mut hf = HessianFree::new(options, KroneckerInner::new(inner).unwrap()).unwrap();
        let report = hf.step(&Ctx::default(), &h, &mut theta.clone(), &batch).unwrap();
        let iterations = report.inner.unwrap().iterations;
        assert!((1..=2).contains(&iterations), "{structure:?}: {iterations}");
    }
}

fn with_every_preconditioner_it_is_an_optimizer<T: Scalar>() {
    let (setup, goal) = (Setup::default(), Goal { steps: 10, share: 1e-2 });
    let options = HessianFreeOptions { lambda: 1.0, ..HessianFreeOptions::default() };
    check(&setup, "Martens", goal, || HessianFree::<T, _>::new(options, MartensDiagonal::default())).assert_passed();
    for (name, blocks, structure) in KINDS {
        check(&setup, name, goal, || HessianFree::<T, _>::new(options, kronecker(blocks, structure))).assert_passed();
    }
}

/// Statistics every second step and inverses every fourth: both must be saved.
fn statistics_and_inverses_are_resumed_to_the_same_bits<T: Scalar>() {
    let (net, batch, start) = digits_net::<T>(40);
    let options = HessianFreeOptions { lambda: 1.0, cg_iterations: 3, ..HessianFreeOptions::default() };
    for (name, blocks, structure) in KINDS {
        let inner = KroneckerInnerOptions {
            blocks,
            structure,
            statistics_interval: 2,
            refresh_interval: 4,
            ..KroneckerInnerOptions::default()
        };
        let make = || HessianFree::new(options, KroneckerInner::<T, Workspace<T>>::new(inner).unwrap()).unwrap();
        resumes_bitwise(name, make, &net, &start, std::slice::from_ref(&batch), 4);
    }
}

const KINDS: [(&str, KfacBlocks, LayerStructure); 3] = [
    ("K-FAC", KfacBlocks::Diagonal, LayerStructure::Kronecker),
    ("EKFAC", KfacBlocks::Diagonal, LayerStructure::EigenKronecker),
    ("tridiagonal", KfacBlocks::Tridiagonal, LayerStructure::Kronecker),
];

for_both!(
    alpha_zero_is_plain_conjugate_gradient_bit_for_bit,
    martens_diagonal_is_that_of_single_cases,
    the_spectrum_begins_at_kfac,
    an_exact_preconditioner_needs_one_iteration,
    with_every_preconditioner_it_is_an_optimizer,
    statistics_and_inverses_are_resumed_to_the_same_bits,
);

/// φ after each iteration from zero on B x = -∇h, by Martens' stop or after so many.
fn models(
    a: &dyn pullback::SelfAdjoint<f64>,
    m: Option<&dyn Preconditioner<f64>>,
    b: &[f64],
    stall: StallRule,
) -> Vec<f64> {
    let mut x = vec![0.0; b.len()];
    let options =
        CgOptions { stall: Some(stall), max_iterations: 250, relative_tolerance: 0.0, ..CgOptions::from_zero() };
    let (b, x) = (MatRef::from_column(b), MatMut::from_column(&mut x));
    pcg(&Ctx::default(), a, m, b, x, &options).unwrap().columns()[0].models().to_vec()
}

#[test]
fn on_the_digits_kfac_needs_a_fraction_of_the_products() {
    let (net, batch, mut theta) = digits_net::<f64>(120);
    let (ctx, never) = (Ctx::default(), StallRule { progress: 1e-12, ..StallRule::default() });
    let options = HessianFreeOptions { lambda: 0.1, cg_iterations: 60, ..HessianFreeOptions::default() };
    let mut trainer = HessianFree::new(options, NoPreconditioner).unwrap();
    let fresh = || {
        KINDS.map(|(_, blocks, structure)| {
            let decay = Decay::new(0.0).unwrap();
            // the tridiagonal inverse knows factored damping only
            let damping = match blocks {
                KfacBlocks::Diagonal => KroneckerDamping::Exact,
                KfacBlocks::Tridiagonal => KroneckerInnerOptions::default().damping,
            };
            let options = KroneckerInnerOptions {
                blocks,
                structure,
                decay,
                damping,
                fisher: FisherKind::Exact,
                ..Default::default()
            };
            KroneckerInner::<f64, Workspace<f64>>::new(options).unwrap()
        })
    };
    let (mut kinds, mut ratios) = (fresh(), [const { Vec::new() }; 3]);
    for step in 0..16 {
        trainer.step(&ctx, &net, &mut theta, &batch).unwrap();
        if step % 2 == 0 {
            continue;
        }
        let lambda = trainer.lambda();
        let damping = Damping::try_from(lambda + net.l2()).unwrap();
        let mut gradient = vec![0.0; theta.len()];
        net.loss_grad(&ctx, &theta, &batch, &mut gradient).unwrap();
        gradient.iter_mut().for_each(|g| *g = -*g);
        let a = Shifted::new(net.curvature(&ctx, CurvatureMatrix::GaussNewton, &theta, &batch).unwrap(), lambda);
        let plain = models(&a, None, &gradient, StallRule::default());
        let target = plain[plain.len() - 1];
        for (kind, ratios) in kinds.iter_mut().zip(&mut ratios) {
            let prepare = InnerPreconditioner::<f64, Mlp<f64>>::prepare;
            prepare(kind, &ctx, &net, &theta, &batch, damping, &mut Passes::default()).unwrap();
            let m = InnerPreconditioner::<f64, Mlp<f64>>::get(kind).unwrap();
            let reached = models(&a, Some(m), &gradient, never).iter().position(|&phi| phi <= target);
            ratios.push(reached.map_or(f64::INFINITY, |n| n as f64 / (plain.len() - 1) as f64));
        }
    }
    for ((name, ..), ratios) in KINDS.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!("{name}: {median} of {ratios:?}");
        assert!(median <= 1.0, "{name}: {median} of the products of plain conjugate gradient, {ratios:?}");
    }
}

#[test]
fn a_preconditioner_without_statistics_is_no_operator_yet() {
    let net = digits_net::<f64>(5).0;
    let kfac = pullback::optim::KfacPreconditioner::<f64>::new(net.layout(), Default::default()).unwrap();
    let n = net.layout().len();
    assert_eq!(kfac.shape(), (n, n));
    let mut y = Mat::zeros(n, 1);
    let outcome = kfac.apply(&Ctx::default(), Mat::zeros(n, 1).as_ref(), y.as_mut());
    assert!(matches!(outcome, Err(Error::InvalidParameter { .. })));
}

#[test]
fn a_parameter_that_is_not_finite_is_named_by_its_layer() {
    let (net, batch, mut theta) = digits_net::<f64>(20);
    theta[net.layout().blocks()[2].offset] = f64::NAN;
    let kept: Vec<u64> = theta.iter().map(|w| w.to_bits()).collect();
    let inner = kronecker::<f64, Workspace<f64>>(KfacBlocks::Diagonal, LayerStructure::default());
    let mut hf = HessianFree::new(HessianFreeOptions::default(), inner).unwrap();
    let outcome = hf.step(&Ctx::default(), &net, &mut theta, &batch);
    assert!(matches!(outcome, Err(Error::NotFinite { layer: Some(2), .. })), "{outcome:?}");
    assert!(theta.iter().map(|w| w.to_bits()).eq(kept));
}
