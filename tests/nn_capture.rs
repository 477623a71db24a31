//! Claim: captures deliver what K-FAC needs. Pseudo-gradients have mean 0 and covariance H_z; the exact kind sums over
//! all output directions; A ⊗ S has the weights that make it the Gauss-Newton block where that is exact (one case;
//! deep linear networks with squared error); the empirical kind is something else; draws can be replayed and do not
//! depend on threads.
#![cfg(feature = "nn")]

mod nn_fixture;

use nn_fixture::{Case, LOSSES, REDUCTIONS, Random, case, dot, forward, gap, output_hessian, zoo};
use pullback::nn::{Activation, Batch, GgnOperator, Loss, Reduction};
use pullback::optim::{CaptureSink, FisherKind, LayeredObjective, Objective};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatRef, Op, Result, Scalar};

/// Sums what it is sent.
struct Moments<T> {
    a: Vec<Mat<T>>,
    s: Vec<Mat<T>>,
    sent_a: Vec<usize>,
    sent_s: Vec<usize>,
}

impl<T: Scalar> Moments<T> {
    fn new(c: &Case<T>) -> Self {
        let blocks = c.net.layout().blocks();
        Self {
            a: blocks.iter().map(|b| Mat::zeros(b.cols, b.cols)).collect(),
            s: blocks.iter().map(|b| Mat::zeros(b.rows, b.rows)).collect(),
            sent_a: vec![0; blocks.len()],
            sent_s: vec![0; blocks.len()],
        }
    }
}

impl<T: Scalar> CaptureSink<T> for Moments<T> {
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.sent_a[layer] += 1;
        ctx.gemm(weight, a, Op::No, a, Op::Transpose, T::ONE, self.a[layer].as_mut())
    }

    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.sent_s[layer] += 1;
        ctx.gemm(weight, g, Op::No, g, Op::Transpose, T::ONE, self.s[layer].as_mut())
    }
}

fn capture<T: Scalar>(ctx: &Ctx<T>, c: &Case<T>, kind: FisherKind, cases: usize, sample: u64) -> Moments<T> {
    let (mut ws, _) = forward(ctx, c);
    let mut sink = Moments::new(c);
    c.net.capture(ctx, &c.theta, &c.batch, &mut ws, kind, cases, sample, &mut sink).unwrap();
    sink
}

/// Block `layer` of the dense Gauss-Newton matrix.
fn ggn_block(c: &Case<f64>, layer: usize) -> Mat<f64> {
    let ctx = Ctx::reference();
    let g = GgnOperator::new(&ctx, &c.net, &c.theta, &c.batch).unwrap().to_dense(&ctx).unwrap();
    let block = c.net.layout().blocks()[layer];
    g.as_ref().submatrix(block.offset, block.offset, block.len(), block.len()).unwrap().to_owned()
}

fn kronecker(a: &Mat<f64>, s: &Mat<f64>) -> Mat<f64> {
    let (d, n) = (s.nrows(), s.nrows() * a.nrows());
    Mat::from_fn(n, n, |i, j| a[(i / d, j / d)] * s[(i % d, j % d)])
}

/// Checks of means of bounded variables, by Hoeffding: for N variables within an interval of width 2,
/// P(|mean - E| > t) <= 2 exp(-N t²/2), so t = √(2 ln(2 checks / α) / N) with α = 1e-6 for all checks together.
fn hoeffding(samples: usize, checks: usize) -> f64 {
    (2.0 * (2.0 * checks as f64 / 1e-6).ln() / samples as f64).sqrt()
}

#[test]
fn pseudo_gradients_have_mean_zero_and_the_output_hessian_as_covariance() {
    const N: usize = 60_000;
    let ctx = Ctx::<f64>::reference();
    for loss in LOSSES {
        let z = [1.5, -0.5, 0.25, -2.0];
        let d = z.len();
        let h = output_hessian(loss, &z);
        let copies = Mat::from_fn(d, N, |i, _| z[i]);
        let mut g = Mat::zeros(d, N);
        loss.sample_gradient(&ctx, copies.as_ref(), 51, g.as_mut()).unwrap();
        // |g| <= 1 and |g g'| <= 1 for the cross-entropies; for Gaussians var(g) = 1 and var(g g') <= 2, and the sums
        // are close to normal: 7 standard errors are beyond 1e-11 each
        let limit =
            if loss == Loss::SquaredError { 7.0 * (2.0 / N as f64).sqrt() } else { hoeffding(N, 2 * (d + d * d)) };
        for i in 0..d {
            let mean: f64 = g.as_ref().cols().map(|g| g[i]).sum::<f64>() / N as f64;
            assert!(mean.abs() <= limit, "{loss:?}: mean of output {i} is {mean} (limit {limit})");
            for j in 0..d {
                let moment: f64 = g.as_ref().cols().map(|g| g[i] * g[j]).sum::<f64>() / N as f64;
                assert!((moment - h[(i, j)]).abs() <= limit, "{loss:?} ({i}, {j}): {moment}, not {}", h[(i, j)]);
            }
        }
    }
}

#[test]
fn samples_of_one_case_are_independent_too() {
    // the same case under sample numbers 0, 1, ...: the mean over them is 0, and neighbours do not correlate
    const N: usize = 20_000;
    let ctx = Ctx::<f64>::reference();
    let z = Mat::from_vec(vec![0.3, -0.7], 2, 1).unwrap();
    let draws: Vec<f64> = (0..N as u64)
        .map(|sample| {
            let mut g = Mat::zeros(2, 1);
            Loss::BernoulliCrossEntropy.sample_gradient(&ctx, z.as_ref(), sample, g.as_mut()).unwrap();
            g[(0, 0)]
        })
        .collect();
    let limit = hoeffding(N - 1, 2);
    let mean = draws.iter().sum::<f64>() / N as f64;
    let neighbours = draws.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / (N - 1) as f64;
    // the products of neighbours are 1-dependent: half as many independent ones
    assert!(mean.abs() <= limit && neighbours.abs() <= 2.0 * limit, "mean {mean}, lag-1 moment {neighbours}");
}

#[test]
fn draws_depend_on_sample_and_case_alone() {
    fn check<T: Scalar>() {
        let (d, n) = (300, 400); // shared between threads
        let z = Random::new(52).matrix::<T>(d, n, 2.0);
        for loss in LOSSES {
            let draw = |threads: usize, cases: usize, sample: u64| {
                let ctx = Ctx::<T>::reference().with_threads(threads);
                let mut g = Mat::zeros(d, cases);
                let z = z.as_ref().submatrix(0, 0, d, cases).unwrap();
                loss.sample_gradient(&ctx, z, sample, g.as_mut()).unwrap();
                g
            };
            let one = draw(1, n, 9);
            assert!(one == draw(2, n, 9) && one == draw(3, n, 9), "{loss:?}: threads");
            assert!(one != draw(1, n, 10), "{loss:?}: another sample is another draw");
            assert!(one.as_slice()[..d * 7] == *draw(1, 7, 9).as_slice(), "{loss:?}: the first cases are the same");
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn for_one_case_a_kronecker_s_is_the_ggn_block() {
    for reduction in REDUCTIONS {
        for loss in LOSSES {
            for activation in nn_fixture::ACTIVATIONS {
                for output in [Activation::Identity, Activation::Softplus] {
                    let c = case::<f64>(&[3, 4, 3, 2], activation, output, loss, reduction, 0.1, 1, 53);
                    for ctx in contexts::<f64>() {
                        let m = capture(&ctx, &c, FisherKind::Exact, usize::MAX, 0);
                        for l in 0..3 {
                            let (got, want) = (kronecker(&m.a[l], &m.s[l]), ggn_block(&c, l));
                            let error = gap(got.as_slice(), want.as_slice());
                            assert!(error <= tolerance::<f64>(16, 1.0), "{} layer {l}: {error:e}", c.name);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn for_deep_linear_networks_and_squared_error_too_with_any_number_of_cases() {
    for reduction in REDUCTIONS {
        let c = case::<f64>(
            &[3, 4, 3, 2],
            Activation::Identity,
            Activation::Identity,
            Loss::SquaredError,
            reduction,
            0.0,
            7,
            54,
        );
        let m = capture(&Ctx::reference(), &c, FisherKind::Exact, 7, 0);
        for l in 0..3 {
            let error = gap(kronecker(&m.a[l], &m.s[l]).as_slice(), ggn_block(&c, l).as_slice());
            assert!(error <= tolerance::<f64>(32, 1.0), "{} layer {l}: {error:e}", c.name);
        }
        // control: a curved network breaks the independence that K-FAC assumes
        let c = case::<f64>(
            &[3, 4, 3, 2],
            Activation::Tanh,
            Activation::Identity,
            Loss::SquaredError,
            reduction,
            0.0,
            7,
            54,
        );
        let m = capture(&Ctx::reference(), &c, FisherKind::Exact, 7, 0);
        let error = gap(kronecker(&m.a[1], &m.s[1]).as_slice(), ggn_block(&c, 1).as_slice());
        assert!(error > 1e6 * tolerance::<f64>(32, 1.0), "{error:e}");
    }
}

#[test]
fn exact_s_is_the_bias_block_of_the_ggn_and_a_the_mean_of_the_activations() {
    // the bias column sees ā = 1: its block of G is w Σ_cases g gᵀ over all directions, which is S
    for c in zoo::<f64>() {
        for ctx in contexts::<f64>() {
            let m = capture(&ctx, &c, FisherKind::Exact, c.batch.cases(), 0);
            for (l, block) in c.net.layout().blocks().iter().enumerate() {
                let g = ggn_block(&c, l);
                let bias = block.rows * (block.cols - 1);
                let want = g.as_ref().submatrix(bias, bias, block.rows, block.rows).unwrap().to_owned();
                let error = gap(m.s[l].as_slice(), want.as_slice());
                assert!(error <= tolerance::<f64>(32, 1.0), "{} layer {l}: {error:e}", c.name);
                assert_eq!(m.sent_a[l], 1, "{}: activations are sent once", c.name);
                assert_eq!(m.sent_s[l], c.net.outputs(), "{}: one backward pass a direction", c.name);
                let one = m.a[l][(block.cols - 1, block.cols - 1)];
                assert!((one - 1.0).abs() <= tolerance::<f64>(4, 1.0), "{}: the constant's second moment is 1", c.name);
            }
            let (x, n) = (c.batch.inputs(), c.batch.cases() as f64);
            let want = Mat::from_fn(x.nrows(), x.nrows(), |i, j| x.cols().map(|x| x[i] * x[j]).sum::<f64>() / n);
            assert!(gap(m.a[0].as_slice(), want.as_slice()) <= tolerance::<f64>(4, 1.0), "{}", c.name);
        }
    }
}

#[test]
fn monte_carlo_factors_converge_to_the_exact_ones() {
    // entrywise, within 7 standard errors that the samples themselves show (false alarm below 1e-10 for all entries)
    const M: usize = 3000;
    let ctx = Ctx::<f64>::reference();
    for loss in LOSSES {
        let c = case::<f64>(&[3, 3, 2], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, 4, 55);
        let exact = capture(&ctx, &c, FisherKind::Exact, 4, 0);
        let samples: Vec<_> = (0..M as u64).map(|k| capture(&ctx, &c, FisherKind::MonteCarlo, 4, k)).collect();
        assert_eq!(samples[0].sent_s, [1, 1], "one backward pass");
        for l in 0..2 {
            for (k, &want) in exact.s[l].as_slice().iter().enumerate() {
                let entry = |m: &Moments<f64>| m.s[l].as_slice()[k];
                let mean = samples.iter().map(entry).sum::<f64>() / M as f64;
                let variance = samples.iter().map(|m| (entry(m) - mean).powi(2)).sum::<f64>() / M as f64;
                let limit = 7.0 * (variance / M as f64).sqrt() + tolerance::<f64>(M, 1.0);
                assert!((mean - want).abs() <= limit, "{loss:?} layer {l} entry {k}: {mean}, not {want} ± {limit}");
            }
        }
    }
}

#[test]
fn the_empirical_kind_uses_the_observed_targets_and_is_not_the_fisher() {
    for loss in LOSSES {
        for reduction in REDUCTIONS {
            // one case: A ⊗ S is the outer product of the gradient with itself
            let c = case::<f64>(&[3, 4, 2], Activation::Tanh, Activation::Identity, loss, reduction, 0.0, 1, 56);
            let ctx = Ctx::<f64>::reference();
            let m = capture(&ctx, &c, FisherKind::Empirical, 1, 0);
            let mut grad = vec![0.0; c.theta.len()];
            c.net.loss_grad(&ctx, &c.theta, &c.batch, &mut grad).unwrap();
            for (l, block) in c.net.layout().blocks().iter().enumerate() {
                let g = &grad[block.range()];
                let want = Mat::from_fn(g.len(), g.len(), |i, j| g[i] * g[j]);
                let error = gap(kronecker(&m.a[l], &m.s[l]).as_slice(), want.as_slice());
                assert!(error <= tolerance::<f64>(16, 1.0), "{} layer {l}: {error:e}", c.name);
                // control
                let fisher = capture(&ctx, &c, FisherKind::Exact, 1, 0);
                assert!(gap(m.s[l].as_slice(), fisher.s[l].as_slice()) > 1e-3, "{} layer {l}", c.name);
            }
        }
    }
}

#[test]
fn some_of_the_cases_stand_for_all() {
    for kind in [FisherKind::Exact, FisherKind::MonteCarlo, FisherKind::Empirical] {
        for reduction in REDUCTIONS {
            let c = case::<f64>(
                &[3, 4, 2],
                Activation::Tanh,
                Activation::Identity,
                Loss::SoftmaxCrossEntropy,
                reduction,
                0.0,
                6,
                57,
            );
            let x = c.batch.inputs().submatrix(0, 0, 3, 2).unwrap();
            let t = c.batch.targets().submatrix(0, 0, 2, 2).unwrap();
            let few = Case {
                name: c.name.clone(),
                net: c.net.clone(),
                theta: c.theta.clone(),
                batch: Batch::new(x, t).unwrap(),
            };
            let ctx = Ctx::<f64>::reference();
            let (part, alone) = (capture(&ctx, &c, kind, 2, 8), capture(&ctx, &few, kind, 2, 8));
            // 2 of 6 cases: a mean is what it was, a sum stands for three times as much
            let factor = if reduction == Reduction::Sum { 3.0 } else { 1.0 };
            for l in 0..2 {
                let limit = tolerance::<f64>(4, 1.0);
                assert!(gap(part.a[l].as_slice(), alone.a[l].as_slice()) <= limit, "{kind:?} {}", c.name);
                let want = alone.s[l].map(|x| factor * x);
                assert!(gap(part.s[l].as_slice(), want.as_slice()) <= limit, "{kind:?} {}", c.name);
            }
        }
    }
}

#[test]
fn equal_samples_give_equal_bits_on_any_number_of_threads() {
    fn check<T: Scalar>() {
        let (hidden, output, loss) = (Activation::Logistic, Activation::Identity, Loss::BernoulliCrossEntropy);
        let c = case::<T>(&[20, 300, 300], hidden, output, loss, Reduction::Mean, 0.0, 230, 58);
        let one = Ctx::<T>::reference();
        let (first, second) = (
            capture(&one, &c, FisherKind::MonteCarlo, 230, 4),
            capture(&one.with_threads(2), &c, FisherKind::MonteCarlo, 230, 4),
        );
        assert!(first.s == second.s && first.a == second.a);
        assert!(first.s != capture(&one, &c, FisherKind::MonteCarlo, 230, 5).s, "another sample");
    }
    check::<f32>();
}

#[test]
fn misuse_and_a_failing_sink_are_errors() {
    struct Full;
    impl CaptureSink<f64> for Full {
        fn activations(&mut self, _: &Ctx<f64>, _: usize, _: MatRef<'_, f64>, _: f64) -> Result<()> {
            Ok(())
        }
        fn gradients(&mut self, _: &Ctx<f64>, _: usize, _: MatRef<'_, f64>, _: f64) -> Result<()> {
            Err(Error::not_finite("sink"))
        }
    }
    let ctx = Ctx::<f64>::reference();
    let c = case::<f64>(
        &[3, 4, 2],
        Activation::Tanh,
        Activation::Identity,
        Loss::SquaredError,
        Reduction::Mean,
        0.0,
        5,
        59,
    );
    let mut ws = c.net.workspace();
    let run =
        |ws: &mut _, cases| c.net.capture(&ctx, &c.theta, &c.batch, ws, FisherKind::MonteCarlo, cases, 0, &mut Full);
    assert!(matches!(run(&mut ws, 5), Err(Error::InvalidParameter { name: "workspace", .. })));
    c.net.forward(&ctx, &c.theta, &c.batch, &mut ws).unwrap();
    assert!(matches!(run(&mut ws, 0), Err(Error::InvalidParameter { name: "cases", .. })));
    assert!(matches!(run(&mut ws, 5), Err(Error::NotFinite { op: "sink", .. })));
    assert!(dot(&c.theta, &c.theta) > 0.0);
}
