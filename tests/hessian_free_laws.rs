//! Claim: what Hessian-free inherits and what it decides. With the system solved it does not see an affine change of
//! parameters, and with K-FAC inside not even an iterate of conjugate gradient does; plain conjugate gradient, stopped early,
//! and damping do. The step is the best of the kept iterates although the last one is worse; whatever it tries, the passes it
//! reports are those that were asked for.
#![cfg(feature = "nn")]

#[path = "common/nets.rs"]
mod nets;
mod newton_support;
#[path = "common/reparameterized.rs"]
mod reparameterized;

use std::ops::Range;

use nets::{Problem, Spec, condition, problem};
use newton_support::{Derivatives, Function, InCoordinates, gap, run};
use pullback::factor::Lu;
use pullback::krylov::{CgOptions, KeepIterates, pcg};
use pullback::linop::{Shifted, SymmetricDense};
use pullback::nn::{Activation, Loss, Mlp, Reduction, Workspace};
use pullback::optim::{
    CurvatureMatrix, CurvatureObjective, FisherKind, HessianFree, HessianFreeOptions, InnerPreconditioner,
    KroneckerInner, KroneckerInnerOptions, LayeredObjective, MartensDiagonal, NoPreconditioner, Objective, Optimizer,
    Passes, SubsetObjective,
};
use pullback::testing::{Fault, LeastSquares, Regression, gallery, tolerance};
use pullback::{Ctx, LinearOperator, Mat, MatMut, MatRef, Result, SelfAdjoint};
use reparameterized::{Change, Reparameterized};

impl<O: SubsetObjective<f64>> SubsetObjective<f64> for InCoordinates<'_, O>
where
    O::Batch: Sized,
{
    fn cases(&self, batch: &O::Batch) -> usize {
        self.inner.cases(batch)
    }

    fn subset(&self, batch: &O::Batch, cases: Range<usize>) -> Result<O::Batch> {
        self.inner.subset(batch, cases)
    }
}

impl<O: SubsetObjective<f64>> SubsetObjective<f64> for Reparameterized<'_, O>
where
    O::Batch: Sized,
{
    fn cases(&self, batch: &O::Batch) -> usize {
        self.inner.cases(batch)
    }

    fn subset(&self, batch: &O::Batch, cases: Range<usize>) -> Result<O::Batch> {
        self.inner.subset(batch, cases)
    }
}

/// The Gauss-Newton matrix, from forward products with unit vectors.
impl<O: LayeredObjective<f64>> CurvatureObjective<f64> for Reparameterized<'_, O> {
    fn curvature<'a>(
        &'a self,
        ctx: &Ctx<f64>,
        matrix: CurvatureMatrix,
        theta: &'a [f64],
        batch: &'a O::Batch,
    ) -> Result<Box<dyn SelfAdjoint<f64> + 'a>> {
        assert_eq!(matrix, CurvatureMatrix::GaussNewton);
        let (n, mut ws) = (theta.len(), self.workspace());
        self.forward(ctx, theta, batch, &mut ws)?;
        let identity = Mat::identity(n);
        let units: Vec<&[f64]> = identity.as_ref().cols().collect();
        let mut gram = Mat::zeros(n, n);
        self.ggn_gram(ctx, theta, batch, &mut ws, &units, gram.as_mut())?;
        Ok(Box::new(SymmetricDense::new(gram)?))
    }
}

impl SubsetObjective<f64> for Function {
    fn cases(&self, (): &()) -> usize {
        1
    }

    fn subset(&self, (): &(), _: Range<usize>) -> Result<()> {
        Ok(())
    }
}

/// 17 parameters, 80 residuals.
fn tanh_net() -> Problem {
    let (loss, reduction) = (Loss::SquaredError, Reduction::Mean);
    problem(&Spec { widths: vec![2, 3, 2], activation: Activation::Tanh, loss, reduction, cases: 40 }, 3)
}

fn curvature(net: &Mlp<f64>, theta: &[f64], p: &Problem) -> Mat<f64> {
    let ctx = Ctx::reference();
    net.curvature(&ctx, CurvatureMatrix::GaussNewton, theta, &p.batch).unwrap().to_dense(&ctx).unwrap()
}

/// λ far below the curvature, no memory; the last iterate is taken.
fn solved(lambda: f64, cg_iterations: usize) -> HessianFreeOptions<f64> {
    HessianFreeOptions {
        lambda,
        lambda_range: (1e-40, 1e12),
        cg_iterations,
        stall: None,
        warm_start: None,
        keep: KeepIterates::None,
        ..HessianFreeOptions::default()
    }
}

/// A change of coordinates of condition about 30.
fn coordinates(n: usize) -> Mat<f64> {
    let a = gallery::uniform::<f64>(n, n, 11);
    Mat::from_fn(n, n, |i, j| 0.3 * a[(i, j)] + if i == j { 1.0 + i as f64 / n as f64 } else { 0.0 })
}

/// How far plain Hessian-free ends apart in other coordinates, relative to how far it goes.
fn seen_in_coordinates(p: &Problem, options: HessianFreeOptions<f64>, steps: usize) -> f64 {
    let ctx = Ctx::reference();
    let there = InCoordinates { inner: &p.net, b: coordinates(p.theta.len()) };
    let mut phi = p.theta.clone();
    Lu::new(there.b.clone()).unwrap().solve_in_place(&ctx, MatMut::from_column(&mut phi)).unwrap();
    let theta = there.theta(&phi);
    let make = || HessianFree::new(options, NoPreconditioner).unwrap();
    let (after, reports) = run(&ctx, make(), &p.net, &theta, &p.batch, steps);
    assert!(reports.iter().all(|r| !r.rejected));
    let (phi, _) = run(&ctx, make(), &there, &phi, &p.batch, steps);
    gap(&there.theta(&phi), &after) / gap(&after, &theta)
}

#[test]
fn a_solved_step_does_not_see_an_affine_change_of_parameters() {
    let p = tanh_net();
    let kappa = condition(&Ctx::reference(), &curvature(&p.net, &p.theta, &p));
    // the change of coordinates squares its own condition into one of the systems
    let limit = tolerance::<f64>(p.theta.len(), 1e3 * kappa);
    assert!(limit < 1e-4, "κ = {kappa:e} says nothing");
    for steps in [1, 3] {
        let error = seen_in_coordinates(&p, solved(1e-30, 600), steps);
        assert!(error <= limit, "{steps} steps: {error:e}, limit {limit:e}");
    }
    // λ is a multiple of the identity of one system of coordinates, a few iterations are powers of its matrix
    let damped = seen_in_coordinates(&p, solved(1.0, 600), 1);
    assert!(damped > 1e-2, "damping is not invariant: {damped:e}");
    let truncated = seen_in_coordinates(&p, solved(1e-30, 3), 1);
    assert!(truncated > 1e-2, "three iterations are not invariant: {truncated:e}");
}

/// M† = TᵀMT, so PCG makes the same iterates in both systems.
#[test]
fn with_kfac_inside_no_iterate_sees_a_change_of_the_activations() {
    let (p, ctx) = (tanh_net(), Ctx::default());
    let blocks = p.net.layout().blocks();
    let square = |n: usize, seed| {
        let a = gallery::uniform::<f64>(n, n, seed);
        Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) * 1.3 + 0.8 / n as f64 * a[(i, j)])
    };
    let affine = |n: usize, seed| {
        let a = square(n, seed);
        Mat::from_fn(n, n, |i, j| if i + 1 < n { a[(i, j)] } else { f64::from(u8::from(j + 1 == n)) })
    };
    let seeds = (0..).step_by(2);
    let change = |(b, seed): (&pullback::optim::ParamBlock, u64)| Change {
        phi: square(b.rows, seed),
        omega: affine(b.cols, seed + 1),
    };
    let changes: Vec<Change> = blocks.iter().zip(seeds).map(change).collect();
    let there = Reparameterized { inner: &p.net, changes };
    let daggered: Vec<f64> = p.theta.clone();
    let theta = there.to_inner(&ctx, &daggered);
    let kappa = condition(&ctx, &curvature(&p.net, &theta, &p));
    let limit = tolerance::<f64>(p.theta.len(), 1e3 * kappa);
    assert!(limit < 1e-4, "κ = {kappa:e} says nothing");
    let inner = || {
        let options = KroneckerInnerOptions { fisher: FisherKind::Exact, ..KroneckerInnerOptions::default() };
        KroneckerInner::<f64, Workspace<f64>>::new(options).unwrap()
    };
    for iterations in [0, 1, 2, 4, 8] {
        let options = solved(1e-30, iterations);
        let (here, reports) = run(&ctx, HessianFree::new(options, inner()).unwrap(), &p.net, &theta, &p.batch, 2);
        assert!(reports.iter().all(|r| !r.rejected && r.inner.unwrap().iterations == iterations));
        let (other, _) = run(&ctx, HessianFree::new(options, inner()).unwrap(), &there, &daggered, &p.batch, 2);
        let error = gap(&there.to_inner(&ctx, &other), &here) / gap(&here, &theta);
        assert!(error <= limit, "{iterations} iterations: {error:e}, limit {limit:e}");
        let options = HessianFreeOptions { cg_iterations: iterations.max(1), ..options };
        let plain = || HessianFree::new(options, NoPreconditioner).unwrap();
        let (here, _) = run(&ctx, plain(), &p.net, &theta, &p.batch, 2);
        let (other, _) = run(&ctx, plain(), &there, &daggered, &p.batch, 2);
        let drift = gap(&there.to_inner(&ctx, &other), &here) / gap(&here, &theta);
        assert!(drift > 1e-2, "plain conjugate gradient is not invariant: {drift:e}");
    }
}

/// Σ ½ c_i x_i² - b_i x_i, and beyond the reach of the model a wall along the flattest coordinate:
/// conjugate gradient goes along the steep coordinates first, and last where the model is wrong.
fn walled(x: &[f64]) -> Derivatives {
    let c = [100.0, 1.0, 0.01];
    let wall = 1e-3 * x[2].powi(4);
    let value = c.iter().zip(x).map(|(c, x)| 0.5 * c * x * x).sum::<f64>() - 10.0 * x[0] - x[1] - 0.1 * x[2] + wall;
    let gradient = vec![100.0 * x[0] - 10.0, x[1] - 1.0, 0.01 * x[2] - 0.1 + 4e-3 * x[2].powi(3)];
    (value, gradient, Mat::from_diagonal(&[100.0, 1.0, 0.01 + 12e-3 * x[2] * x[2]]))
}

/// The iterates of conjugate gradient from zero at θ = 0 and λ.
fn iterates(h: &Function, lambda: f64) -> Vec<pullback::krylov::KeptIterate<f64>> {
    let ctx = Ctx::reference();
    let theta = vec![0.0; 3];
    let mut b = vec![0.0; 3];
    h.loss_grad(&ctx, &theta, &(), &mut b).unwrap();
    b.iter_mut().for_each(|g| *g = -*g);
    let a = Shifted::new(h.curvature(&ctx, CurvatureMatrix::GaussNewton, &theta, &()).unwrap(), lambda);
    let mut x = vec![0.0; 3];
    let keep = KeepIterates::Geometric { first: 1.0, ratio: 1.3 };
    let options = CgOptions { keep, relative_tolerance: 0.0, max_iterations: 3, ..CgOptions::from_zero() };
    let report = pcg(&ctx, &a, None, MatRef::from_column(&b), MatMut::from_column(&mut x), &options).unwrap();
    report.columns()[0].kept().to_vec()
}

#[test]
fn the_best_kept_iterate_is_taken_though_the_last_is_worse() {
    let (ctx, h, lambda) = (Ctx::reference(), Function::new(3, walled), 1e-9);
    let kept = iterates(&h, lambda);
    let losses: Vec<f64> = kept.iter().map(|k| h.loss(&ctx, &k.x, &()).unwrap()).collect();
    assert_eq!(kept.iter().map(|k| k.iteration).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(losses[1] < losses[0] && losses[1] < losses[2], "the last iterate must be worse: {losses:?}");
    assert!(kept[2].model < kept[1].model, "though not for the model");
    let options = HessianFreeOptions {
        lambda,
        lambda_range: (1e-12, 1e12),
        keep: KeepIterates::Geometric { first: 1.0, ratio: 1.3 },
        cg_iterations: 3,
        relative_tolerance: 0.0,
        ..HessianFreeOptions::default()
    };
    let (mut hf, mut theta) = (HessianFree::new(options, NoPreconditioner).unwrap(), vec![0.0; 3]);
    let report = hf.step(&ctx, &h, &mut theta, &()).unwrap();
    assert_eq!(theta, kept[1].x, "{losses:?}");
    assert_eq!((report.alpha, report.loss_after, report.rejected), (Some(1.0), Some(losses[1]), false));
    let squares = kept[1].x.iter().map(|x| x * x).sum::<f64>();
    let (said, model) = (report.predicted_change.unwrap(), kept[1].model - 0.5 * lambda * squares);
    assert!((said - model).abs() <= tolerance::<f64>(3, 1.0) * model.abs(), "the model of the iterate taken: {said}");
    let rho = (losses[1] - h.loss(&ctx, &[0.0; 3], &()).unwrap()) / model;
    assert!((report.rho.unwrap() - rho).abs() <= tolerance::<f64>(3, 10.0));
    // three losses of iterates, one of θ with its gradient, one of B; three products and one for the true residual
    assert_eq!((report.passes.forward, report.passes.jvp), (1 + 1 + 3, 3 + 1));
    // the next solve starts from the last iterate, not from the one taken
    assert_eq!(hf.last_iterate(), Some(&kept[2].x[..]));
    // without a choice, the last one has to be shortened
    let last = HessianFreeOptions { keep: KeepIterates::None, ..options };
    let (mut hf, mut theta) = (HessianFree::new(last, NoPreconditioner).unwrap(), vec![0.0; 3]);
    let shortened = hf.step(&ctx, &h, &mut theta, &()).unwrap();
    assert!(shortened.alpha.unwrap() < 1.0 && shortened.loss_after.unwrap() > losses[1], "{shortened:?}");
    let alpha = shortened.alpha.unwrap();
    assert_eq!(theta, kept[2].x.iter().map(|x| alpha * x).collect::<Vec<_>>());
    assert_eq!(shortened.loss_after.unwrap(), h.loss(&ctx, &theta, &()).unwrap());
}

/// Everything a step may ask for: products, or their two for K = 0, statistics, the part of the batch, α < 1, refusals.
#[test]
fn reported_passes_are_those_of_a_counting_objective() {
    type Make = fn() -> Box<dyn InnerPreconditioner<f64, LeastSquares<f64>>>;
    let makes: [(&str, Make, u64); 3] = [
        ("none", || Box::new(NoPreconditioner), 0),
        ("Martens", || Box::new(MartensDiagonal::default()), 1),
        ("K-FAC", || Box::new(KroneckerInner::new(KroneckerInnerOptions::default()).unwrap()), 1),
    ];
    let ctx = Ctx::reference();
    for (name, make, own) in makes {
        for (cg_iterations, curvature_cases) in [(0, None), (0, Some(10)), (1, None), (6, None), (6, Some(10))] {
            for cliff in [false, true] {
                let mut theta = gallery::uniform::<f64>(21, 1, 5).into_vec();
                let fault = if cliff { Fault::Cliff(theta.clone()) } else { Fault::None };
                let h = LeastSquares::<f64>::new(3, 7, 0.01).with_fault(fault);
                let batch = Regression::random(3, 7, 40, 6);
                let options = HessianFreeOptions { lambda: 1.0, cg_iterations, curvature_cases, ..Default::default() };
                let mut hf = HessianFree::new(options, make()).unwrap();
                let mut warm = 0;
                for step in 0..4 {
                    h.take_passes();
                    let report = hf.step(&ctx, &h, &mut theta, &batch).unwrap();
                    let place = format!("{name}, K = {cg_iterations}, {curvature_cases:?}, step {step}");
                    assert_eq!(report.passes, h.take_passes(), "{place}");
                    assert_eq!(report.rejected, cliff, "{place}");
                    let k = report.inner.unwrap().iterations as u64;
                    // K = 0: a product with the direction, one with the last step; else K, the true residual, the start
                    let products = if cg_iterations == 0 { 1 } else { k + 1 } + warm;
                    let gradients = 1 + own;
                    let Passes { backward, jvp, vjp, hvp, .. } = report.passes;
                    assert_eq!((backward, jvp, vjp, hvp), (gradients, products, products, 0), "{place}");
                    warm = u64::from(hf.last_iterate().is_some());
                }
            }
        }
    }
}
