//! Updates from the factors of a batch's gradient: the same as from the gradient itself, layer by layer and step by step.
#![cfg(feature = "nn")]

use pullback::curvature::{KroneckerDamping, PiRule, batch_factors_are_cheaper};
use pullback::nn::{Activation, Batch, Init, Loss, Mlp, Reduction, Workspace};
use pullback::optim::{
    CaptureSink, GradientForm, Kfac, KfacBlocks, KfacOptions, KfacPreconditioner, LayerStructure, LayeredObjective,
    Objective, Optimizer, ParamLayout, PreconditionerOptions, Rejection, StepRule,
};
use pullback::stats::{DiagonalRule, InputSplit};
use pullback::testing::gallery::uniform;
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Damping, Error, Mat, MatRef, Op, Scalar};

fn dampings<T: Scalar>() -> [KroneckerDamping<T>; 2] {
    [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }]
}

/// A preconditioner of one layer that has seen a batch.
fn preconditioner<T: Scalar>(
    ctx: &Ctx<T>,
    (rows, cols): (usize, usize),
    damping: KroneckerDamping<T>,
    structure: LayerStructure,
) -> KfacPreconditioner<T> {
    let (layout, n) = (ParamLayout::new([(rows, cols)]), 3 * (rows + cols));
    let options = PreconditionerOptions { damping, structure, ..PreconditionerOptions::default() };
    let mut kfac = KfacPreconditioner::new(&layout, options).unwrap();
    let (a, g) = (uniform::<T>(cols, n, 3), uniform::<T>(rows, n, 4));
    kfac.begin_update();
    let weight = T::of(1.0 / n as f64);
    kfac.activations(ctx, 0, a.as_ref(), weight).unwrap();
    kfac.gradients(ctx, 0, g.as_ref(), weight).unwrap();
    kfac.pairs(ctx, 0, a.as_ref(), g.as_ref(), weight).unwrap();
    kfac.refresh(ctx, Damping::try_from(0.1).unwrap()).unwrap();
    kfac
}

fn products_agree<T: Scalar>() {
    const SIZES: [usize; 9] = [1, 2, 3, 31, 32, 33, 64, 127, 129];
    for ctx in contexts::<T>() {
        for damping in dampings() {
            for (k, &rows) in SIZES.iter().enumerate() {
                let cols = SIZES[(5 * k + 2) % SIZES.len()];
                let split = InputSplit { outer: 1, inner: cols, bias: false };
                for structure in [
                    LayerStructure::Kronecker,
                    LayerStructure::EigenKronecker,
                    LayerStructure::ThreeFactor { split },
                    LayerStructure::Diagonal { rule: DiagonalRule::Exact },
                ] {
                    let kfac = preconditioner(&ctx, (rows, cols), damping, structure);
                    for cases in [0, 1, 2, 33, 140] {
                        let (a, g) = (uniform::<T>(cols, cases, 5), uniform::<T>(rows, cases, 6));
                        let mut gradient = Mat::zeros(rows, cols);
                        ctx.gemm(
                            T::of(-0.5),
                            g.as_ref(),
                            Op::No,
                            a.as_ref(),
                            Op::Transpose,
                            T::ZERO,
                            gradient.as_mut(),
                        )
                        .unwrap();
                        let (mut expected, mut found) = (Mat::zeros(rows, cols), Mat::zeros(rows, cols));
                        kfac.precondition_layer(&ctx, 0, gradient.as_ref(), expected.as_mut()).unwrap();
                        found.as_mut().fill(T::nan());
                        kfac.precondition_product(&ctx, 0, T::of(-0.5), g.as_ref(), a.as_ref(), found.as_mut())
                            .unwrap();
                        // the blocks' eigenvalues are below 1, so their condition at λ is below 11; the sum over cases may
                        // be smaller than its terms
                        let error = relative_error(found.as_ref(), expected.as_ref());
                        let limit = tolerance::<T>(rows + cols + cases, 11.0 * (1.0 + cases as f64).sqrt());
                        assert!(error <= limit, "{rows}x{cols}, {cases} cases, {structure:?}: {error:e} > {limit:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_product_of_a_batchs_factors_is_preconditioned_as_its_gradient() {
    products_agree::<f32>();
    products_agree::<f64>();
}

#[test]
fn both_ways_are_taken_and_shapes_are_checked() {
    assert!(batch_factors_are_cheaper(1, 64, 64) && batch_factors_are_cheaper(33, 129, 64));
    assert!(!batch_factors_are_cheaper(64, 64, 64) && !batch_factors_are_cheaper(2, 129, 1));
    // counts that do not fit a usize product
    assert!(!batch_factors_are_cheaper(usize::MAX, usize::MAX / 2, 3));
    let ctx = Ctx::<f64>::default();
    let kfac = preconditioner(&ctx, (2, 3), KroneckerDamping::Exact, LayerStructure::Kronecker);
    let (a, g) = (Mat::<f64>::zeros(3, 4), Mat::zeros(2, 4));
    let apply = |layer: usize, a: MatRef<'_, f64>, g: MatRef<'_, f64>, rows: usize| {
        kfac.precondition_product(&ctx, layer, 1.0, g, a, Mat::zeros(rows, 3).as_mut()).unwrap_err()
    };
    assert!(matches!(apply(1, a.as_ref(), g.as_ref(), 2), Error::InvalidParameter { .. }));
    assert!(matches!(apply(0, g.as_ref(), g.as_ref(), 2), Error::Shape { .. }));
    assert!(matches!(apply(0, a.as_ref(), a.as_ref(), 2), Error::Shape { .. }));
    assert!(matches!(apply(0, a.as_ref(), Mat::zeros(2, 5).as_ref(), 2), Error::Shape { .. }));
    assert!(matches!(apply(0, a.as_ref(), g.as_ref(), 3), Error::Shape { .. }));
}

type Problem = (Mlp<f64>, Vec<Batch<f64>>, Vec<f64>);

/// Layers wider than a batch, and one that is not.
fn problem(l2: f64) -> Problem {
    let net = Mlp::builder(40)
        .layer(50, Activation::Tanh)
        .layer(3, Activation::Tanh)
        .layer(30, Activation::Identity)
        .loss(Loss::BernoulliCrossEntropy)
        .reduction(Reduction::Mean)
        .l2(l2)
        .build()
        .unwrap();
    let batch = |seed| {
        let (x, t) = (uniform::<f64>(40, 20, seed), uniform::<f64>(30, 20, seed + 1).map(|t| 0.5 + 0.5 * t));
        net.batch(x.as_ref(), t.as_ref()).unwrap()
    };
    let (batches, theta) = (vec![batch(1), batch(3)], net.init(Init::GlorotUniform, 7));
    (net, batches, theta)
}

fn options() -> KfacOptions<f64> {
    KfacOptions { lambda: 0.1, ..KfacOptions::default() }
}

#[test]
fn factors_and_slopes_are_those_of_the_gradient() {
    let ctx = Ctx::<f64>::default();
    let (net, batches, theta) = problem(0.0);
    let mut ws = net.workspace();
    let (mut formed, mut gradient) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
    net.loss_grad(&ctx, &theta, &batches[0], &mut gradient).unwrap();
    net.forward(&ctx, &theta, &batches[0], &mut ws).unwrap();
    assert_eq!(net.factored_cases(&batches[0]), Some(20));
    let mut order = Vec::new();
    net.gradient_factors(&ctx, &theta, &batches[0], &mut ws, &mut |layer, g, a, w| {
        order.push(layer);
        ctx.gemm(w, g, Op::No, a, Op::Transpose, 0.0, net.layout().blocks()[layer].view_mut(&mut formed)?)
    })
    .unwrap();
    assert_eq!(order, [2, 1, 0]);
    let column = |x: &[f64]| Mat::from_vec(x.to_vec(), x.len(), 1).unwrap();
    assert!(relative_error(column(&formed).as_ref(), column(&gradient).as_ref()) <= tolerance::<f64>(20, 1.0));
    let v = uniform::<f64>(theta.len(), 2, 9);
    let vectors = [v.as_ref().col(0), v.as_ref().col(1)];
    let (mut gram, mut same, mut slopes) = (Mat::zeros(2, 2), Mat::zeros(2, 2), [f64::NAN; 2]);
    net.ggn_gram_and_slopes(&ctx, &theta, &batches[0], &mut ws, &vectors, gram.as_mut(), &mut slopes).unwrap();
    net.ggn_gram(&ctx, &theta, &batches[0], &mut ws, &vectors, same.as_mut()).unwrap();
    assert_eq!(gram, same);
    for (slope, v) in slopes.iter().zip(vectors) {
        let expected: f64 = gradient.iter().zip(v).map(|(g, v)| g * v).sum();
        let size: f64 = gradient.iter().zip(v).map(|(g, v)| (g * v).abs()).sum();
        assert!((slope - expected).abs() <= tolerance::<f64>(theta.len(), 1.0) * size, "{slope} {expected}");
    }
    let wrong = net.ggn_gram_and_slopes(&ctx, &theta, &batches[0], &mut ws, &vectors, gram.as_mut(), &mut [0.0]);
    assert!(matches!(wrong, Err(Error::Shape { .. })));
}

/// θ after some steps, and the reports.
fn run(
    steps: usize,
    options: KfacOptions<f64>,
    (net, batches, theta): &Problem,
) -> (Mat<f64>, Vec<pullback::optim::StepReport<f64>>) {
    let ctx = Ctx::<f64>::default();
    let mut kfac: Kfac<f64, Workspace<f64>> = Kfac::new(options).unwrap();
    let mut theta = theta.clone();
    let reports = (0..steps).map(|k| kfac.step(&ctx, net, &mut theta, &batches[k % 2]).unwrap()).collect();
    (Mat::from_vec(theta.clone(), theta.len(), 1).unwrap(), reports)
}

#[test]
fn kfac_takes_the_same_steps_from_factors_as_from_the_gradient() {
    let problem = problem(0.0);
    let fixed = StepRule::Fixed { learning_rate: 0.05, momentum: 0.9, norm_constraint: None };
    for step in [StepRule::QuadraticModel { momentum: true }, StepRule::QuadraticModel { momentum: false }, fixed] {
        for damping in dampings() {
            for structure in [LayerStructure::default(), LayerStructure::EigenKronecker] {
                for rejection in [Rejection::EveryStep, Rejection::Never] {
                    let options = KfacOptions { step, damping, structure, rejection, ..options() };
                    // the next eigenbasis of statistics of low rank is another one after any rounding
                    let steps = if structure == LayerStructure::EigenKronecker { 1 } else { 12 };
                    let (theta, reports) = run(steps, options, &problem);
                    let formed = KfacOptions { gradient: GradientForm::Formed, ..options };
                    let (expected, others) = run(steps, formed, &problem);
                    let error = relative_error(theta.as_ref(), expected.as_ref());
                    // steps amplify what the two ways round differently
                    assert!(error <= tolerance::<f64>(50, 1e4), "{step:?} {damping:?} {structure:?}: {error:e}");
                    assert!(error > 0.0, "the factors were not used");
                    for (report, other) in reports.iter().zip(&others) {
                        assert_eq!((report.passes, report.rejected), (other.passes, other.rejected));
                        assert!(report.gradient_norm.is_none() && other.gradient_norm.is_some());
                    }
                }
            }
        }
    }
}

#[test]
fn the_gradient_is_formed_where_something_else_needs_it() {
    let clipped = StepRule::Fixed { learning_rate: 0.05, momentum: 0.9, norm_constraint: Some(1e-3) };
    let tridiagonal = KfacBlocks::Tridiagonal;
    for (l2, options) in [
        (1e-3, options()),
        (0.0, KfacOptions { step: clipped, ..options() }),
        (0.0, KfacOptions { blocks: tridiagonal, ..options() }),
        (0.0, KfacOptions { structure: LayerStructure::Diagonal { rule: DiagonalRule::Exact }, ..options() }),
    ] {
        let problem = problem(l2);
        let (theta, reports) = run(3, options, &problem);
        let (expected, _) = run(3, KfacOptions { gradient: GradientForm::Formed, ..options }, &problem);
        assert_eq!(theta, expected, "bit for bit");
        assert!(reports.iter().all(|report| report.gradient_norm.is_some()));
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_named_by_its_layer() {
    let ctx = Ctx::<f64>::default();
    let widths = [6, 5, 4];
    let builder = widths.iter().fold(Mlp::<f64>::builder(7), |b, &width| b.layer(width, Activation::Identity));
    let net = builder.loss(Loss::BernoulliCrossEntropy).build().unwrap();
    let x = uniform::<f64>(7, 2, 1);
    let batch = |x: &Mat<f64>| net.batch(x.as_ref(), Mat::zeros(4, 2).as_ref()).unwrap();
    for gradient in [GradientForm::ByCost, GradientForm::Formed] {
        let mut kfac: Kfac<f64, Workspace<f64>> = Kfac::new(KfacOptions { gradient, ..options() }).unwrap();
        let mut theta = net.init(Init::GlorotUniform, 7);
        kfac.step(&ctx, &net, &mut theta, &batch(&x)).unwrap();
        // tiny inputs under huge weights: the outputs are finite, what comes back to the first layer is not
        for (block, size) in net.layout().blocks().iter().zip([1.0, 1e200, 1e200]) {
            let (weights, bias) = theta[block.range()].split_at_mut(block.rows * (block.cols - 1));
            weights.iter_mut().for_each(|w| *w *= size);
            bias.fill(0.0);
        }
        let before = theta.clone();
        let error = kfac.step(&ctx, &net, &mut theta, &batch(&x.map(|x| 1e-300 * x))).unwrap_err();
        assert!(matches!(error, Error::NotFinite { op: "gradient", layer: Some(0) }), "{error}");
        assert_eq!(theta, before);
    }
}
