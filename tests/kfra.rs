//! Deterministic factors: KFLR (all output directions) and KFRA (a recursion on averages). KFRA is the Gauss-Newton block
//! for one case, KFLR on linear networks, its own recursion written out anywhere else; it depends on no seed, and its cost
//! grows with the outputs in the last layer only.
#![cfg(feature = "nn")]

#[path = "common/counting_backend.rs"]
mod counting_backend;
mod nn_fixture;

use counting_backend::Counting;
use nn_fixture::{ACTIVATIONS, Case, LOSSES, REDUCTIONS, case, forward};
use pullback::nn::{Activation, GgnOperator, Loss, Reduction};
use pullback::optim::{
    CaptureSink, FisherKind, Kfac, KfacOptions, LayerStructure, LayeredObjective, Objective, Optimizer,
};
use pullback::stats::{Decay, KroneckerFactors};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatRef, Result, Scalar};

/// A and S of every layer in f64, and what was sent.
struct Moments<T> {
    a: Vec<Mat<T>>,
    s: Vec<Mat<f64>>,
    gradients: usize,
    matrices: usize,
    pairs: usize,
    /// Whether matrices are taken as they are, or by the default of the contract.
    direct: bool,
}

impl<T: Scalar> Moments<T> {
    fn new(c: &Case<T>, direct: bool) -> Self {
        let blocks = c.net.layout().blocks();
        let s = blocks.iter().map(|b| Mat::zeros(b.rows, b.rows)).collect();
        Self { a: vec![Mat::zeros(0, 0); blocks.len()], s, gradients: 0, matrices: 0, pairs: 0, direct }
    }

    fn add(&mut self, layer: usize, entry: impl Fn(usize, usize) -> f64) {
        let s = &mut self.s[layer];
        *s = Mat::from_fn(s.nrows(), s.nrows(), |i, j| s[(i, j)] + entry(i, j));
    }
}

impl<T: Scalar> CaptureSink<T> for Moments<T> {
    fn activations(&mut self, _: &Ctx<T>, layer: usize, a: MatRef<'_, T>, _: T) -> Result<()> {
        self.a[layer] = a.to_owned();
        Ok(())
    }

    fn gradients(&mut self, _: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.gradients += 1;
        self.add(layer, |i, j| weight.f64() * g.cols().map(|g| g[i].f64() * g[j].f64()).sum::<f64>());
        Ok(())
    }

    fn pairs(&mut self, _: &Ctx<T>, _: usize, _: MatRef<'_, T>, _: MatRef<'_, T>, _: T) -> Result<()> {
        self.pairs += 1;
        Ok(())
    }

    fn gradient_moment(&mut self, ctx: &Ctx<T>, layer: usize, m: MatRef<'_, T>, weight: T) -> Result<()> {
        self.matrices += 1;
        if self.direct {
            self.add(layer, |i, j| weight.f64() * m.at(i, j).f64());
            return Ok(());
        }
        ByDefault(self).gradient_moment(ctx, layer, m, weight)
    }
}

/// Leaves `gradient_moment` to the contract.
struct ByDefault<'a, T>(&'a mut Moments<T>);

impl<T: Scalar> CaptureSink<T> for ByDefault<'_, T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.0.activations(ctx, layer, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.0.gradients(ctx, layer, g, weight)
    }
}

fn capture_into<T: Scalar>(
    ctx: &Ctx<T>,
    c: &Case<T>,
    kind: FisherKind,
    cases: usize,
    sample: u64,
    sink: &mut Moments<T>,
) {
    let (mut ws, _) = forward(ctx, c);
    c.net.capture(ctx, &c.theta, &c.batch, &mut ws, kind, cases, sample, sink).unwrap();
}

fn capture<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>, kind: FisherKind) -> Moments<T> {
    let mut sink = Moments::new(c, true);
    capture_into(ctx, c, kind, usize::MAX, 0, &mut sink);
    sink
}

/// Largest difference over the layers, relative to the larger matrix's largest entry.
fn worst(got: &Moments<impl Scalar>, want: &[Mat<f64>]) -> f64 {
    let errors = got.s.iter().zip(want).map(|(got, want)| relative_error(got.as_ref(), want.as_ref()));
    errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

#[test]
fn for_one_case_it_is_the_gauss_newton_block() {
    for reduction in REDUCTIONS {
        for loss in LOSSES {
            for hidden in ACTIVATIONS {
                for output in [Activation::Identity, Activation::Softplus] {
                    let c = case::<f64>(&[3, 4, 3, 2], hidden, output, loss, reduction, 0.1, 1, 53);
                    for ctx in contexts::<f64>() {
                        let g = GgnOperator::new(&ctx, &c.net, &c.theta, &c.batch).unwrap().to_dense(&ctx).unwrap();
                        let got = capture(&ctx, &c, FisherKind::Recursive);
                        for (l, block) in c.net.layout().blocks().iter().enumerate() {
                            let (s, a) = (&got.s[l], &got.a[l]);
                            let d = s.nrows();
                            let entry = |i: usize, j: usize| a[(i / d, 0)] * a[(j / d, 0)] * s[(i % d, j % d)];
                            let kronecker = Mat::from_fn(block.len(), block.len(), entry);
                            let (at, n) = (block.offset, block.len());
                            let want = g.as_ref().submatrix(at, at, n, n).unwrap();
                            let error = relative_error(kronecker.as_ref(), want);
                            assert!(error <= tolerance::<f64>(16, 10.0), "{} layer {l}: {error:e}", c.name);
                        }
                    }
                }
            }
        }
    }
}

fn agrees_with_kflr<T: Scalar>() {
    for ctx in contexts::<T>() {
        for loss in LOSSES {
            for reduction in REDUCTIONS {
                for cases in [1, 2, 7, 40] {
                    // hidden layers are linear; the last one may be curved, since nothing recurs through it
                    for output in [Activation::Identity, Activation::Softplus] {
                        let c = case::<T>(&[3, 4, 3, 3], Activation::Identity, output, loss, reduction, 0.0, cases, 54);
                        let (got, want) =
                            (capture(&ctx, &c, FisherKind::Recursive), capture(&ctx, &c, FisherKind::Exact));
                        let error = worst(&got, &want.s);
                        assert!(error <= tolerance::<T>(cases + 8, 20.0), "{}, {cases} cases: {error:e}", c.name);
                        assert_eq!((got.gradients, got.matrices, got.pairs), (0, 3, 0));
                        assert_eq!((want.gradients, want.matrices, want.pairs), (9, 0, 9));
                    }
                }
            }
        }
    }
}

#[test]
fn on_linear_networks_it_agrees_with_all_output_directions() {
    agrees_with_kflr::<f32>();
    agrees_with_kflr::<f64>();
}

/// The recursion, from the last S of the exact kind, by loops.
fn recursion(c: &Case<f64>, exact: &Moments<f64>) -> Vec<Mat<f64>> {
    let layers = c.net.layers();
    let mut s = vec![exact.s[layers.len() - 1].clone()];
    for l in (1..layers.len()).rev() {
        let w = c.net.layout().blocks()[l].view(&c.theta).unwrap();
        let (next, a) = (&s[0], &exact.a[l]);
        let slope = |i: usize, case: usize| layers[l - 1].activation.derivative(a[(i, case)]);
        let entry = |i: usize, j: usize| {
            let mut sum = 0.0;
            for p in 0..next.nrows() {
                for q in 0..next.nrows() {
                    sum += w.at(p, i) * next[(p, q)] * w.at(q, j);
                }
            }
            sum * (0..a.ncols()).map(|case| slope(i, case) * slope(j, case)).sum::<f64>() / a.ncols() as f64
        };
        s.insert(0, Mat::from_fn(layers[l - 1].width, layers[l - 1].width, entry));
    }
    s
}

#[test]
fn elsewhere_it_is_the_recursion_on_averages_and_not_kflr() {
    for ctx in contexts::<f64>() {
        for loss in LOSSES {
            for hidden in [Activation::Tanh, Activation::Logistic, Activation::Softplus] {
                let c = case::<f64>(&[3, 5, 4, 3], hidden, Activation::Softplus, loss, Reduction::Mean, 0.0, 9, 55);
                let (got, exact) = (capture(&ctx, &c, FisherKind::Recursive), capture(&ctx, &c, FisherKind::Exact));
                let error = worst(&got, &recursion(&c, &exact));
                assert!(error <= tolerance::<f64>(25, 20.0), "{}: {error:e}", c.name);
                // the control: averages of products are not products of averages
                assert!(worst(&got, &exact.s) > 1e-4, "{}", c.name);
                let last = relative_error(got.s[2].as_ref(), exact.s[2].as_ref());
                assert!(last <= tolerance::<f64>(12, 20.0), "{}: the last layer is exact, off by {last:e}", c.name);
            }
        }
    }
}

#[test]
fn it_depends_on_no_seed_and_on_the_cases_used_only() {
    let ctx = Ctx::<f64>::default();
    for reduction in REDUCTIONS {
        let loss = Loss::SoftmaxCrossEntropy;
        let c = case::<f64>(&[3, 5, 4], Activation::Tanh, Activation::Identity, loss, reduction, 0.0, 12, 56);
        let run = |cases: usize, sample: u64| {
            let mut sink = Moments::new(&c, true);
            capture_into(&ctx, &c, FisherKind::Recursive, cases, sample, &mut sink);
            sink.s
        };
        assert_eq!(run(usize::MAX, 1), run(usize::MAX, 2), "not a bit depends on the sample number");
        let exact = |cases: usize| {
            let mut sink = Moments::new(&c, true);
            capture_into(&ctx, &c, FisherKind::Exact, cases, 0, &mut sink);
            sink.s
        };
        // the last layer's S is the exact kind's for any part of the batch, weights included
        for cases in [1, 5, 12] {
            let error = relative_error(run(cases, 0)[1].as_ref(), exact(cases)[1].as_ref());
            assert!(error <= tolerance::<f64>(12, 20.0), "{reduction:?}, {cases} cases: {error:e}");
        }
        assert!(run(5, 0) != run(12, 0));
    }
}

#[test]
fn a_sink_without_matrices_gets_a_root_of_them() {
    for ctx in contexts::<f64>() {
        // more layers than needed are rank deficient: 7 units behind 2
        let loss = Loss::SoftmaxCrossEntropy;
        let c = case::<f64>(&[3, 7, 2, 3], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, 6, 57);
        let (direct, mut rooted) = (capture(&ctx, &c, FisherKind::Recursive), Moments::new(&c, false));
        capture_into(&ctx, &c, FisherKind::Recursive, usize::MAX, 0, &mut rooted);
        assert_eq!((rooted.gradients, rooted.matrices), (3, 3));
        let error = worst(&rooted, &direct.s);
        assert!(error <= tolerance::<f64>(7, 10.0), "{error:e}");
        // factors take matrices and gradients alike
        let mut factors = KroneckerFactors::<f64>::new(7, 4, Decay::DEFAULT);
        factors.begin();
        factors.add_gradient_moment(direct.s[0].as_ref(), 0.5).unwrap();
        factors.begin();
        factors.add_gradient_moment(direct.s[0].as_ref(), 1.5).unwrap();
        let lower = |m: MatRef<'_, f64>| Mat::from_fn(7, 7, |i, j| if i >= j { m.at(i, j) } else { 0.0 });
        let error = relative_error(lower(factors.s()).as_ref(), lower(direct.s[0].as_ref()).as_ref());
        assert!(error <= tolerance::<f64>(1, 1.0), "the mean of 1/2 and 3/2 is 1: {error:e}");
        assert!(matches!(factors.add_gradient_moment(direct.s[1].as_ref(), 1.0), Err(Error::Shape { .. })));
        let mut fresh = KroneckerFactors::<f64>::new(2, 4, Decay::DEFAULT);
        let early = fresh.add_gradient_moment(direct.s[1].as_ref(), 1.0);
        assert!(matches!(early, Err(Error::InvalidParameter { .. })));
    }
}

#[test]
fn its_cost_grows_with_the_outputs_in_the_last_layer_only() {
    const CASES: usize = 10;
    let flops = |outputs: usize, loss: Loss, kind: FisherKind| {
        let widths = [3, 6, 5, outputs];
        let c = case::<f64>(&widths, Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, CASES, 58);
        let counting = Counting::default();
        let ctx = Ctx::new(counting.clone());
        let (mut ws, _) = forward(&ctx, &c);
        let (mut sink, before) = (Moments::new(&c, true), counting.flops());
        c.net.capture(&ctx, &c.theta, &c.batch, &mut ws, kind, CASES, 0, &mut sink).unwrap();
        counting.flops() - before
    };
    // one step back through a layer of `w` outputs and `d` inputs
    let step = |w: usize, d: usize| 2 * w * w * d + 2 * w * d * d + CASES * d * d;
    for loss in LOSSES {
        for outputs in [2, 30] {
            let output = if loss == Loss::SoftmaxCrossEntropy { CASES * outputs * outputs } else { 0 };
            let want = output + step(outputs, 5) + step(5, 6);
            assert_eq!(flops(outputs, loss, FisherKind::Recursive), want, "{loss:?}, {outputs} outputs");
            // the control: all output directions cost a backward pass each, in every layer
            let pass = 2 * CASES * (outputs * 5 + 5 * 6);
            assert_eq!(flops(outputs, loss, FisherKind::Exact), outputs * pass, "{loss:?}, {outputs} outputs");
        }
    }
}

#[test]
fn kfac_trains_on_it_and_refuses_structures_that_it_cannot_feed() {
    let ctx = Ctx::<f64>::default();
    let loss = Loss::SoftmaxCrossEntropy;
    let c = case::<f64>(&[3, 6, 3], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 1e-3, 40, 59);
    let options = KfacOptions { fisher: FisherKind::Recursive, lambda: 0.1, ..KfacOptions::default() };
    let run = |fisher: FisherKind| {
        let (mut theta, mut kfac) = (c.theta.clone(), Kfac::new(KfacOptions { fisher, ..options }).unwrap());
        for _ in 0..15 {
            kfac.step(&ctx, &c.net, &mut theta, &c.batch).unwrap();
        }
        theta
    };
    assert_eq!(run(FisherKind::Recursive), run(FisherKind::Recursive), "no sampling: the run is determined by θ");
    let gain = |kind: FisherKind| {
        let loss = |theta: &[f64]| c.net.loss(&ctx, theta, &c.batch).unwrap();
        loss(&c.theta) - loss(&run(kind))
    };
    let (recursive, exact) = (gain(FisherKind::Recursive), gain(FisherKind::Exact));
    assert!(recursive > 0.8 * exact && exact > 0.0, "the loss falls by {recursive}, by {exact} with the exact kind");
    for structure in [
        LayerStructure::EigenKronecker,
        LayerStructure::Auto { corrected: true, split: None },
        LayerStructure::Diagonal { rule: pullback::stats::DiagonalRule::Exact },
    ] {
        let refused = Kfac::<f64, ()>::new(KfacOptions { structure, ..options });
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "structure", .. })), "{structure:?}");
        let refused = Kfac::<f64, ()>::with_structures(options, vec![structure]);
        assert!(matches!(refused, Err(Error::InvalidParameter { name: "structure", .. })), "{structure:?}");
    }
}
