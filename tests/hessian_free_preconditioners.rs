//! Claim: a preconditioner changes how many products the inner solve of a Hessian-free step needs, not what it solves; with
//! zero iterations the step is K-FAC's, with one from zero the same; on the digits K-FAC's preconditioner needs at most a
//! quarter of the products of plain conjugate gradient at λ = 10⁻⁴, a third to a half at 10⁻², and saves only early ones at 1.
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
use pullback::testing::{LeastSquares, Regression, Setup, gallery, relative_error, tolerance};
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

/// The inverses of the first three steps are new ones whatever the interval, those of later steps only when it is over.
fn early_inverses_are_new_and_later_ones_old<T: Scalar>() {
    let (net, batch, start) = digits_net::<T>(40);
    let options = HessianFreeOptions { lambda: 1.0, cg_iterations: 2, omega: None, ..HessianFreeOptions::default() };
    let run = |refresh_interval| {
        let inner = KroneckerInnerOptions { refresh_interval, fisher: FisherKind::Exact, ..Default::default() };
        let inner = KroneckerInner::<T, Workspace<T>>::new(inner).unwrap();
        let (mut hf, mut theta) = (HessianFree::new(options, inner).unwrap(), start.clone());
        let step = |_| {
            hf.step(&Ctx::default(), &net, &mut theta, &batch).unwrap();
            theta.clone()
        };
        (0..4).map(step).collect::<Vec<_>>()
    };
    // an inverse that serves one step is kept in another form: the same up to rounding
    let (always, seldom) = (run(1), run(10));
    let change = |k: usize| {
        let column = |x: &[T]| Mat::from_vec(x.to_vec(), x.len(), 1).unwrap();
        relative_error(column(&always[k]).as_ref(), column(&seldom[k]).as_ref())
    };
    let rounding = tolerance::<T>(start.len(), 1e3);
    (0..3).for_each(|k| assert!(change(k) <= rounding, "step {k}: {:e} > {rounding:e}", change(k)));
    assert!(change(3) > 10.0 * change(2) && change(3) > T::EPS.f64().sqrt(), "{:e}", change(3));
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
    early_inverses_are_new_and_later_ones_old,
);

/// φ after each iteration from zero on B x = -∇h, until a stop rule or a limit.
fn models(
    a: &dyn pullback::SelfAdjoint<f64>,
    m: Option<&dyn Preconditioner<f64>>,
    b: &[f64],
    stall: StallRule,
    max_iterations: usize,
) -> Vec<f64> {
    let mut x = vec![0.0; b.len()];
    let options = CgOptions { stall: Some(stall), max_iterations, relative_tolerance: 0.0, ..CgOptions::from_zero() };
    let (b, x) = (MatRef::from_column(b), MatMut::from_column(&mut x));
    pcg(&Ctx::default(), a, m, b, x, &options).unwrap().columns()[0].models().to_vec()
}

/// A λ, and where the medians lie for each of [`KINDS`]: products to 90 % of what plain conjugate gradient lowers φ, and to
/// all of it, as a share of plain's.
const BOUNDS: [(f64, [f64; 2], [f64; 2]); 3] =
    [(1.0, [0.25, 0.5], [0.5, f64::INFINITY]), (1e-2, [0.1, 0.25], [0.25, 0.6]), (1e-4, [0.0, 0.15], [0.0, 0.25])];

/// What K-FAC saves depends on λ: little where λ outweighs most of G, since plain conjugate gradient is done after a few
/// products there; a quarter needs a small λ. The full network, and why, are in docs/inner_cg.md.
#[test]
fn on_the_digits_kfac_needs_a_fraction_of_the_products() {
    let (net, batch, mut theta) = digits_net::<f64>(120);
    let (ctx, never) = (Ctx::default(), StallRule { progress: 1e-12, ..StallRule::default() });
    let options = HessianFreeOptions { lambda: 0.1, cg_iterations: 60, ..HessianFreeOptions::default() };
    let mut trainer = HessianFree::new(options, NoPreconditioner).unwrap();
    let mut kinds = KINDS.map(|(_, blocks, structure)| {
        // the tridiagonal inverse knows factored damping only
        let damping = match blocks {
            KfacBlocks::Diagonal => KroneckerDamping::Exact,
            KfacBlocks::Tridiagonal => KroneckerInnerOptions::default().damping,
        };
        let (fisher, decay) = (FisherKind::Exact, Decay::new(0.0).unwrap());
        let options = KroneckerInnerOptions { blocks, structure, decay, damping, fisher, ..Default::default() };
        KroneckerInner::<f64, Workspace<f64>>::new(options).unwrap()
    });
    let mut ratios = BOUNDS.map(|_| [const { [Vec::new(), Vec::new()] }; 3]);
    for step in 0..16 {
        trainer.step(&ctx, &net, &mut theta, &batch).unwrap();
        if step % 5 != 0 || step == 0 {
            continue;
        }
        let mut gradient = vec![0.0; theta.len()];
        net.loss_grad(&ctx, &theta, &batch, &mut gradient).unwrap();
        gradient.iter_mut().for_each(|g| *g = -*g);
        for ((lambda, ..), ratios) in BOUNDS.iter().zip(&mut ratios) {
            let damping = Damping::try_from(lambda + net.l2()).unwrap();
            let a = Shifted::new(net.curvature(&ctx, CurvatureMatrix::GaussNewton, &theta, &batch).unwrap(), *lambda);
            let plain = models(&a, None, &gradient, StallRule::default(), 250);
            let limit = (plain.len() - 1).min(120); // beyond, it is as good as never
            let to = |models: &[f64], share: f64| {
                models.iter().position(|&phi| phi <= share * plain[plain.len() - 1]).map(|n| n as f64)
            };
            for (kind, ratios) in kinds.iter_mut().zip(ratios) {
                let prepare = InnerPreconditioner::<f64, Mlp<f64>>::prepare;
                prepare(kind, &ctx, &net, &theta, &batch, damping, &mut Passes::default()).unwrap();
                let m = InnerPreconditioner::<f64, Mlp<f64>>::get(kind).unwrap();
                let own = models(&a, Some(m), &gradient, never, limit);
                for (share, ratios) in [0.9, 1.0].into_iter().zip(ratios) {
                    ratios.push(to(&own, share).unwrap_or(f64::INFINITY) / to(&plain, share).unwrap().max(1.0));
                }
            }
        }
    }
    for ((lambda, early, all), ratios) in BOUNDS.iter().zip(&mut ratios) {
        for ((name, ..), ratios) in KINDS.iter().zip(ratios) {
            for (bound, ratios) in [early, all].into_iter().zip(ratios) {
                ratios.sort_by(f64::total_cmp);
                let median = ratios[ratios.len() / 2];
                println!("{name}, lambda {lambda}: {median} of {ratios:?}");
                assert!(
                    median >= bound[0] && median <= bound[1],
                    "{name}, lambda {lambda}: {median} of plain's products, {ratios:?}"
                );
            }
        }
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
