//! Claim: the statistics that K-FAC samples (targets drawn from the model) have the exact Fisher factors as
//! expectation, and their moving average converges to them; the empirical kind (observed targets) does not, and is
//! rejected by the same test, as is a bias of 5 %.
//!
//! S is known from the forms vᵀS v for v = e_i, e_i + e_j, e_i - e_j, each tested with a false-alarm rate of 1e-6 over
//! N independent samples. One form is w Σ_c (B_cᵀv · g_c)², with g_c the pseudo-gradient of case c at the outputs:
//!
//! ```text
//! cross-entropies   ‖g_c‖² <= d_out, or 2 for softmax: values in an interval of width max‖g‖² w Σ_c ‖B_cᵀv‖², and
//!                   empirical Bernstein applies (tests/statistics_support)
//! squared error     g_c ~ N(0, I): a sum of scaled χ²_1. Laurent and Massart (Ann. Statist. 28 (2000), lemma 1):
//!                   P(|mean - s| >= 2 s √(x/N) + 2 s x/N) <= 2 exp(-x) for the expectation s
//! ```
//! w Σ_c ‖B_cᵀv‖² is vᵀS v of the exact kind for the squared error, whose output Hessian is I.
#![cfg(feature = "nn")]

mod nn_fixture;
mod statistics_support;

use nn_fixture::{Case, LOSSES, case, forward};
use pullback::curvature::KroneckerDamping;
use pullback::curvature::precondition::Nystrom;
use pullback::krylov::{Budget, CgOptions, CgStop, hutch_plus_plus, pcg, xtrace};
use pullback::linop::Shifted;
use pullback::nn::{Activation, GgnOperator, Loss, Reduction};
use pullback::optim::{CaptureSink, FisherKind, LayeredObjective, Objective};
use pullback::stats::{Decay, KroneckerFactors};
use pullback::testing::tolerance;
use pullback::{Ctx, Damping, LinearOperator, Mat, MatRef, Op, Result};
use statistics_support::{ALPHA, Mean};

const SAMPLES: usize = 60_000;

/// S of every layer for one capture, and the moving averages of all of them.
struct Statistics {
    s: Vec<Mat<f64>>,
    factors: Vec<KroneckerFactors<f64>>,
}

impl Statistics {
    fn new(c: &Case<f64>) -> Self {
        // a burn-in longer than any run here: the moving average is the plain mean
        let decay = Decay::new(1.0 - 1e-9).unwrap();
        let blocks = c.net.layout().blocks();
        Self {
            s: blocks.iter().map(|b| Mat::zeros(b.rows, b.rows)).collect(),
            factors: blocks.iter().map(|b| KroneckerFactors::new(b.rows, b.cols, decay)).collect(),
        }
    }

    fn begin(&mut self) {
        self.s.iter_mut().for_each(|s| s.as_mut().fill(0.0));
        self.factors.iter_mut().for_each(KroneckerFactors::begin);
    }
}

impl CaptureSink<f64> for Statistics {
    fn activations(&mut self, ctx: &Ctx<f64>, layer: usize, a: MatRef<'_, f64>, weight: f64) -> Result<()> {
        self.factors[layer].add_activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<f64>, layer: usize, g: MatRef<'_, f64>, weight: f64) -> Result<()> {
        ctx.gemm(weight, g, Op::No, g, Op::Transpose, 1.0, self.s[layer].as_mut())?;
        self.factors[layer].add_gradients(ctx, g, weight)
    }
}

fn network(loss: Loss, cases: usize, seed: u64) -> Case<f64> {
    case(&[3, 4, 3], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, cases, seed)
}

/// S by a kind that draws nothing.
fn fixed(c: &Case<f64>, kind: FisherKind) -> Vec<Mat<f64>> {
    let ctx = Ctx::reference();
    let (mut ws, _) = forward(&ctx, c);
    let mut sink = Statistics::new(c);
    sink.begin();
    c.net.capture(&ctx, &c.theta, &c.batch, &mut ws, kind, c.batch.cases(), 0, &mut sink).unwrap();
    sink.s
}

/// e_i, e_i + e_j, e_i - e_j: from their forms S can be put together.
fn directions(n: usize) -> Vec<Vec<f64>> {
    let unit = |i: usize| (0..n).map(move |p| f64::from(u8::from(p == i)));
    let mut all: Vec<Vec<f64>> = (0..n).map(|i| unit(i).collect()).collect();
    for (i, j) in (0..n).flat_map(|i| (0..i).map(move |j| (i, j))) {
        all.push(unit(i).zip(unit(j)).map(|(a, b)| a + b).collect());
        all.push(unit(i).zip(unit(j)).map(|(a, b)| a - b).collect());
    }
    all
}

fn form(s: &Mat<f64>, v: &[f64]) -> f64 {
    (0..v.len()).flat_map(|j| (0..v.len()).map(move |i| (i, j))).map(|(i, j)| v[i] * s[(i, j)] * v[j]).sum()
}

/// The mean of one form over the samples and how far the expectation may be from it.
fn mean_of(loss: Loss, values: &[f64], exact: f64, of_identity: f64, outputs: usize) -> Mean {
    let widest = match loss {
        Loss::BernoulliCrossEntropy => outputs as f64,
        Loss::SoftmaxCrossEntropy => 2.0,
        Loss::SquaredError => {
            let (x, n) = ((2.0 / ALPHA).ln(), values.len() as f64);
            let mean = values.iter().sum::<f64>() / n;
            return Mean { mean, limit: 2.0 * exact * ((x / n).sqrt() + x / n) };
        }
    };
    Mean::of(values, widest * of_identity)
}

/// The forms of every layer and direction over the samples, and the moving averages that saw the same samples.
fn sampled(c: &Case<f64>, directions: &[Vec<Vec<f64>>]) -> (Vec<Vec<Vec<f64>>>, Vec<KroneckerFactors<f64>>) {
    let ctx = Ctx::reference();
    let mut values: Vec<Vec<Vec<f64>>> =
        directions.iter().map(|all| vec![Vec::with_capacity(SAMPLES); all.len()]).collect();
    let mut sink = Statistics::new(c);
    let (mut ws, _) = forward(&ctx, c);
    for sample in 0..SAMPLES as u64 {
        sink.begin();
        let cases = c.batch.cases();
        c.net.capture(&ctx, &c.theta, &c.batch, &mut ws, FisherKind::MonteCarlo, cases, sample, &mut sink).unwrap();
        for (layer, s) in sink.s.iter().enumerate() {
            for (v, values) in directions[layer].iter().zip(&mut values[layer]) {
                values.push(form(s, v));
            }
        }
    }
    (values, sink.factors)
}

fn all_directions(c: &Case<f64>) -> Vec<Vec<Vec<f64>>> {
    c.net.layout().blocks().iter().map(|b| directions(b.rows)).collect()
}

#[test]
fn sampled_factors_have_the_exact_ones_as_expectation_and_empirical_ones_do_not() {
    for (number, loss) in LOSSES.into_iter().enumerate() {
        let seed = 70 + number as u64;
        let c = network(loss, 4, seed);
        let (exact, empirical) = (fixed(&c, FisherKind::Exact), fixed(&c, FisherKind::Empirical));
        // same parameters and inputs, output Hessian I
        let of_identity = fixed(&network(Loss::SquaredError, 4, seed), FisherKind::Exact);
        let directions = all_directions(&c);
        let (values, factors) = sampled(&c, &directions);
        for layer in 0..exact.len() {
            let (mut biased_seen, mut empirical_seen) = (0, 0);
            let average = factors[layer].snapshot(KroneckerDamping::Exact).unwrap().expect("data");
            for (v, values) in directions[layer].iter().zip(&values[layer]) {
                let expected = form(&exact[layer], v);
                let mean = mean_of(loss, values, expected, form(&of_identity[layer], v), c.net.outputs());
                let name = format!("{loss:?}, layer {layer}, v {v:?}");
                assert!(mean.may_be(expected), "{name}: {mean:?} for {expected}");
                let moving = form(average.s(), v);
                let rounding = tolerance::<f64>(SAMPLES, mean.mean);
                assert!((moving - mean.mean).abs() <= rounding, "{name}: moving average {moving}, {mean:?}");
                // controls: a bias of 5 %, and the empirical Fisher in place of the sampled one
                let biased = Mean { mean: 1.05 * mean.mean, limit: 1.05 * mean.limit };
                biased_seen += usize::from(!biased.may_be(expected));
                let observed = Mean { mean: form(&empirical[layer], v), ..mean };
                assert!(observed.mean.is_finite());
                empirical_seen += usize::from(!observed.may_be(expected));
            }
            let half = directions[layer].len() / 2;
            assert!(biased_seen > half, "{loss:?}, layer {layer}: 5 % of bias pass unseen, {biased_seen} of {half}");
            assert!(empirical_seen > half, "{loss:?}, layer {layer}: the empirical Fisher passes, {empirical_seen}");
        }
    }
}

/// For one case A = ā āᵀ, and the Gauss-Newton block is A ⊗ S: its form for ā ⊗ v is ‖ā‖⁴ vᵀS v.
#[test]
fn for_one_case_sampled_factors_have_the_gauss_newton_block_as_expectation() {
    let ctx = Ctx::reference();
    for (number, loss) in LOSSES.into_iter().enumerate() {
        let seed = 90 + number as u64;
        let c = network(loss, 1, seed);
        let ggn = GgnOperator::new(&ctx, &c.net, &c.theta, &c.batch).unwrap().to_dense(&ctx).unwrap();
        let of_identity = fixed(&network(Loss::SquaredError, 1, seed), FisherKind::Exact);
        let empirical = fixed(&c, FisherKind::Empirical);
        let directions = all_directions(&c);
        let (values, factors) = sampled(&c, &directions);
        for (layer, b) in c.net.layout().blocks().iter().enumerate() {
            let block = ggn.as_ref().submatrix(b.offset, b.offset, b.len(), b.len()).unwrap().to_owned();
            let a = factors[layer].snapshot(KroneckerDamping::Exact).unwrap().expect("data").a().clone();
            let activation = a.as_ref().col(b.cols - 1); // ā, whose last entry is 1
            let fourth = activation.iter().map(|a| a * a).sum::<f64>().powi(2);
            let mut empirical_seen = 0;
            for (v, values) in directions[layer].iter().zip(&values[layer]) {
                let vector: Vec<f64> = activation.iter().flat_map(|a| v.iter().map(move |v| a * v)).collect();
                let expected = form(&block, &vector) / fourth;
                let mean = mean_of(loss, values, expected, form(&of_identity[layer], v), c.net.outputs());
                assert!(mean.may_be(expected), "{loss:?}, layer {layer}, v {v:?}: {mean:?} for {expected}");
                let observed = Mean { mean: form(&empirical[layer], v), ..mean };
                empirical_seen += usize::from(!observed.may_be(expected));
            }
            let half = directions[layer].len() / 2;
            assert!(empirical_seen > half, "{loss:?}, layer {layer}: the empirical Fisher passes, {empirical_seen}");
        }
    }
}

/// G of one case has at most as many eigenvalues as there are outputs: sketches see all of it through products alone.
#[test]
fn sketches_of_a_gauss_newton_operator_of_one_case_are_exact() {
    let ctx = Ctx::reference();
    for (number, loss) in LOSSES.into_iter().enumerate() {
        let c = network(loss, 1, 110 + number as u64);
        let ggn = GgnOperator::new(&ctx, &c.net, &c.theta, &c.batch).unwrap();
        let dense = ggn.to_dense(&ctx).unwrap();
        let n = dense.nrows();
        let trace: f64 = (0..n).map(|i| dense[(i, i)]).sum();
        for seed in 0..5 {
            for found in [
                hutch_plus_plus(&ctx, &ggn, Budget::new(12, seed)).unwrap(),
                xtrace(&ctx, &ggn, Budget::new(12, seed)).unwrap(),
            ] {
                // sketches of 4 and 6 columns of a range of at most 3 dimensions
                let error = (found.value - trace).abs();
                assert!(error <= tolerance::<f64>(n, n as f64 * trace), "{loss:?}: {found:?} for {trace}");
                assert!(found.products < n, "fewer products than the order: {found:?} of {n}");
            }
            let lambda = 1e-4 * trace;
            let nystrom = Nystrom::new(&ctx, &ggn, Damping::try_from(lambda).unwrap(), Budget::new(8, seed)).unwrap();
            let (b, mut x) = (Mat::from_fn(n, 1, |i, _| 1.0 + (i % 7) as f64), Mat::zeros(n, 1));
            let a = Shifted::new(&ggn, lambda);
            let report = pcg(&ctx, &a, Some(&nystrom), b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
            assert!(report.stop() == CgStop::Converged && report.iterations() <= 2, "{loss:?}: {report:?}");
        }
    }
}
