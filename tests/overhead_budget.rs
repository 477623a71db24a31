//! K-FAC at a cost that the user sets: averaged gradients, plans for a limit, and runs that hold one.
#![cfg(feature = "nn")]

#[path = "common/nets.rs"]
mod nets;

use nets::{Problem, Spec, dense_ggn, problem};
use proptest::prelude::*;
use pullback::curvature::KroneckerDamping;
use pullback::nn::{Activation, Batch, Loss, Mlp, Reduction, Workspace};
use pullback::optim::checkpoint::Run;
use pullback::optim::{
    DampingAdaptation, DampingPath, DampingPathCosts, FisherKind, GammaRule, Kfac, KfacBlocks, KfacOptions, KfacPlan,
    LayerStructure, ModelDamping, Objective, Optimizer, OverheadBudget, PlanCosts, Rejection, StepRule,
};
use pullback::testing::tolerance;
use pullback::{Ctx, Error, MatRef, Op};

type Optim = Kfac<f64, Workspace<f64>>;

const CASES: usize = 60;

fn net(activation: Activation, loss: Loss) -> Problem {
    problem(&Spec { widths: vec![4, 5, 3], activation, loss, reduction: Reduction::Mean, cases: CASES }, 7)
}

/// The cases of a problem in so many equal batches.
fn parts(p: &Problem, count: usize) -> Vec<Batch<f64>> {
    let each = CASES / count;
    (0..count).map(|i| p.batch.subset(i * each..(i + 1) * each).unwrap()).collect()
}

fn gradient(ctx: &Ctx<f64>, p: &Problem, batch: &Batch<f64>) -> Vec<f64> {
    let mut grad = vec![0.0; p.theta.len()];
    p.net.loss_grad(ctx, &p.theta, batch, &mut grad).unwrap();
    grad
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn bits(theta: &[f64]) -> Vec<u64> {
    theta.iter().map(|w| w.to_bits()).collect()
}

fn judged(interval: u64) -> Option<DampingAdaptation> {
    Some(DampingAdaptation { interval, omega: 0.5, min: 1e-16, max: 1e12, model: ModelDamping::Excluded })
}

fn every_kind() -> Vec<KfacOptions<f64>> {
    let base = KfacOptions { lambda: 0.1, adaptation: judged(2), ..KfacOptions::default() };
    let fixed = StepRule::Fixed { learning_rate: 0.1, momentum: 0.5, norm_constraint: None };
    vec![
        base,
        KfacOptions { damping: KroneckerDamping::Exact, statistics_interval: 2, ..base },
        KfacOptions { structure: LayerStructure::EigenKronecker, ..base },
        KfacOptions { blocks: KfacBlocks::Tridiagonal, ..base },
        KfacOptions { step: fixed, rejection: Rejection::EveryStep, ..base },
    ]
}

#[test]
fn k_times_the_same_batch_is_one_step_on_it() {
    let ctx = Ctx::default();
    for options in every_kind() {
        let run = |k: u64| {
            let mut p = net(Activation::Tanh, Loss::SquaredError);
            let mut kfac: Optim = Kfac::new(KfacOptions { update_interval: k, ..options }).unwrap();
            let mut reports = Vec::new();
            for _ in 0..6 {
                for batch in 1..=k {
                    let before = bits(&p.theta);
                    let report = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap();
                    assert_eq!(report.alpha.is_some(), batch == k);
                    assert!(batch == k || bits(&p.theta) == before, "theta waits for the update");
                    if batch == k {
                        // as text: without a model rho is not a number, which is not equal to itself
                        let told = (report.alpha, report.rho, report.loss_before, report.loss_after);
                        reports.push(format!("{told:?}"));
                    }
                }
            }
            (bits(&p.theta), reports, kfac.lambda())
        };
        let once = run(1);
        assert!(run(1) == once);
        // a sum of equal numbers and its share of it are exact for powers of two
        for k in [2, 4] {
            assert!(run(k) == once, "{k} {options:?}");
        }
    }
}

#[test]
fn k_batches_are_one_step_along_the_gradient_of_all_their_cases() {
    let ctx = Ctx::default();
    for count in [2, 3, 5] {
        let mut p = net(Activation::Tanh, Loss::BernoulliCrossEntropy);
        let (batches, all) = (parts(&p, count), gradient(&ctx, &p, &p.batch));
        let options = KfacOptions {
            lambda: 0.1,
            adaptation: None,
            fisher: FisherKind::Exact,
            update_interval: count as u64,
            ..KfacOptions::default()
        };
        let mut kfac: Optim = Kfac::new(options).unwrap();
        let start = p.theta.clone();
        let report = batches.iter().map(|b| kfac.step(&ctx, &p.net, &mut p.theta, b).unwrap()).last().unwrap();
        // δ = -α P ḡ, P from the statistics of the last batch
        let delta = kfac.last_update().unwrap();
        let mut direction = vec![0.0; all.len()];
        kfac.preconditioner().unwrap().precondition(&ctx, &all, &mut direction).unwrap();
        let tol = tolerance::<f64>(CASES, 1e3);
        let alpha = report.alpha.unwrap();
        assert!(delta.iter().zip(&direction).all(|(d, p)| (d + alpha * p).abs() <= tol), "{count}");
        let mut alone: Optim = Kfac::new(KfacOptions { update_interval: 1, ..options }).unwrap();
        alone.step(&ctx, &p.net, &mut start.clone(), &batches[count - 1]).unwrap();
        let factors = |kfac: &Optim| {
            let of = |l| kfac.preconditioner().unwrap().factors(l).unwrap();
            (0..2).map(|l| (of(l).a().to_owned(), of(l).s().to_owned())).collect::<Vec<_>>()
        };
        assert!(factors(&alone) == factors(&kfac), "statistics of the last batch");
        // α minimizes the model of the last batch with the gradient of all
        let last = Problem { theta: start, batch: batches[count - 1].clone(), net: p.net };
        let mut residual = all.clone();
        ctx.gemv(1.0, dense_ggn(&ctx, &last).as_ref(), Op::No, delta, 1.0, &mut residual).unwrap();
        residual.iter_mut().zip(delta).for_each(|(r, d)| *r += 0.1 * d);
        assert!(dot(&residual, delta).abs() <= tol * dot(&all, delta).abs(), "{count}");
    }
}

#[test]
fn rho_is_one_on_a_quadratic_loss_whatever_the_batches() {
    // one linear layer and squared error: the model of a batch is its loss, and the other batches enter linearly
    let spec = Spec {
        widths: vec![4, 3],
        activation: Activation::Identity,
        loss: Loss::SquaredError,
        reduction: Reduction::Mean,
        cases: CASES,
    };
    let ctx = Ctx::default();
    for count in [1, 2, 4] {
        let mut p = problem(&spec, 3);
        let options =
            KfacOptions { lambda: 0.5, adaptation: judged(1), update_interval: count as u64, ..KfacOptions::default() };
        let mut kfac: Optim = Kfac::new(options).unwrap();
        for _ in 0..3 {
            let batches = parts(&p, count);
            let report = batches.iter().map(|b| kfac.step(&ctx, &p.net, &mut p.theta, b).unwrap()).last().unwrap();
            assert!((report.rho.unwrap() - 1.0).abs() <= tolerance::<f64>(CASES, 1e3), "{count}: {:?}", report.rho);
            assert!(!report.rejected);
        }
    }
}

/// Costs of phases in gradients, from nothing to many.
fn costs() -> impl Strategy<Value = PlanCosts> {
    let cost = || (-3.0..2.0).prop_map(|x: f64| 10f64.powf(x));
    (cost(), (cost(), cost()), (cost(), cost()), any::<bool>()).prop_map(|(statistics, inverses, eigen, open)| {
        let path = |(refresh, update)| DampingPathCosts { refresh, update };
        PlanCosts {
            gradient: 1.0,
            statistics: KfacPlan::SHARES.map(|share| statistics / share as f64),
            inverses: path(inverses),
            eigenbases: if open { path(eigen) } else { DampingPathCosts::CLOSED },
        }
    })
}

/// The formula of the overhead, written out.
fn overhead(c: &PlanCosts, p: &KfacPlan) -> f64 {
    let path = if p.path == DampingPath::Inverses { c.inverses } else { c.eigenbases };
    let statistics = c.statistics[KfacPlan::SHARES.iter().position(|&s| s == p.statistics_share).unwrap()];
    let extra = path.update + statistics / p.statistics_interval as f64 + path.refresh / p.refresh_interval as f64;
    1.0 + extra / (c.gradient * p.update_interval as f64)
}

/// Every plan with at most so many batches an update.
fn plans(longest: u64) -> Vec<KfacPlan> {
    let mut all = Vec::new();
    for update_interval in 1..=longest {
        for statistics_interval in KfacPlan::INTERVALS {
            for refresh_interval in KfacPlan::INTERVALS.into_iter().filter(|&r| r >= statistics_interval) {
                for statistics_share in KfacPlan::SHARES {
                    for path in [DampingPath::Inverses, DampingPath::Eigenbases] {
                        let intervals = (update_interval, statistics_interval, refresh_interval);
                        let (update_interval, statistics_interval, refresh_interval) = intervals;
                        all.push(KfacPlan {
                            update_interval,
                            statistics_interval,
                            statistics_share,
                            refresh_interval,
                            path,
                        });
                    }
                }
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_is_the_least_stale_of_all_within_the_limit(c in costs(), limit in 1.05..8.0f64, noise in 0.0..12.0f64) {
        let plan = c.best_plan(limit, noise);
        prop_assert!((c.overhead(&plan) - overhead(&c, &plan)).abs() <= 1e-12 * overhead(&c, &plan));
        // rounding: what is just above the limit is left out on both sides
        let within = plans(40).into_iter().filter(|p| overhead(&c, p) <= limit * (1.0 - 1e-12));
        match within.map(|p| p.staleness(noise)).min_by(f64::total_cmp) {
            Some(least) => {
                prop_assert!(c.overhead(&plan) <= limit);
                prop_assert!(plan.staleness(noise) <= least * (1.0 + 1e-12), "{plan:?} {least}");
            }
            None => prop_assert!(plan.update_interval > 40, "{plan:?}"),
        }
    }

    #[test]
    fn a_limit_is_exceeded_only_where_every_plan_exceeds_it(c in costs(), excess in -6.0..1.0f64) {
        let limit = 1.0 + 10f64.powf(excess);
        let plan = c.best_plan(limit, 1.0);
        if c.overhead(&plan) > limit {
            let rarest = plans(1).into_iter().map(|p| KfacPlan { update_interval: KfacPlan::LONGEST, ..p });
            let least = rarest.map(|p| c.overhead(&p)).min_by(f64::total_cmp).unwrap();
            prop_assert!(least > limit && c.overhead(&plan) <= least, "{least}, {plan:?}");
        }
    }

    #[test]
    fn a_larger_limit_never_gives_a_staler_plan(
        c in costs(), limit in 1.01..5.0f64, more in 0.0..5.0f64, noise in 0.0..12.0f64,
    ) {
        let staleness = |limit| c.best_plan(limit, noise).staleness(noise);
        prop_assert!(staleness(limit + more) <= staleness(limit) * (1.0 + 1e-12));
    }
}

#[test]
fn what_costs_nothing_is_at_its_freshest() {
    let free = DampingPathCosts { refresh: 1e-9, update: 1e-9 };
    let costs = PlanCosts { gradient: 1.0, statistics: [1e-9; 4], inverses: free, eigenbases: free };
    assert_eq!(costs.best_plan(1.1, 0.0), KfacPlan::FRESHEST);
    // and as many batches as their noise asks for
    assert_eq!(costs.best_plan(1.1, 6.0), KfacPlan { update_interval: 3, ..KfacPlan::FRESHEST });
    let closed = PlanCosts { eigenbases: DampingPathCosts::CLOSED, ..costs };
    assert_eq!(closed.best_plan(1.1, 0.0), KfacPlan { path: DampingPath::Inverses, ..KfacPlan::FRESHEST });
}

#[test]
fn staleness_grows_with_every_thing_that_is_put_off() {
    let base = KfacPlan::FRESHEST;
    for staler in [
        KfacPlan { update_interval: 2, ..base },
        KfacPlan { statistics_interval: 2, ..base },
        KfacPlan { statistics_share: 2, ..base },
        KfacPlan { refresh_interval: 2, ..base },
        KfacPlan { path: DampingPath::Inverses, ..base },
    ] {
        assert!(staler.staleness(0.5) > base.staleness(0.5), "{staler:?}");
    }
}

fn by_flops(limit: f64) -> KfacOptions<f64> {
    KfacOptions { lambda: 0.1, budget: Some(OverheadBudget::flops(limit)), ..KfacOptions::default() }
}

fn steps(kfac: &mut Optim, ctx: &Ctx<f64>, net: &Mlp<f64>, theta: &mut [f64], batches: &[Batch<f64>]) {
    for batch in batches {
        kfac.step(ctx, net, theta, batch).unwrap();
    }
}

#[test]
fn a_budget_of_flops_repeats_bit_for_bit_and_holds() {
    let ctx = Ctx::default();
    for limit in [1.2, 1.5, 2.0, 4.0, 50.0] {
        for blocks in [KfacBlocks::Diagonal, KfacBlocks::Tridiagonal] {
            let run = || {
                let mut p = net(Activation::Tanh, Loss::SquaredError);
                let mut kfac: Optim = Kfac::new(KfacOptions { blocks, ..by_flops(limit) }).unwrap();
                assert_eq!(kfac.overhead(), None);
                let batches = parts(&p, 3);
                (0..40).for_each(|_| steps(&mut kfac, &ctx, &p.net, &mut p.theta, &batches));
                (bits(&p.theta), kfac.overhead().unwrap())
            };
            let (first, again) = (run(), run());
            assert!(first == again);
            let report = first.1;
            assert!(report.predicted <= limit && report.measured.is_none() && report.limit == limit, "{report:?}");
            assert!(blocks == KfacBlocks::Diagonal || report.plan.path == DampingPath::Inverses);
        }
    }
}

#[test]
fn batches_an_update_fall_as_the_limit_grows() {
    let ctx = Ctx::default();
    let updates = [1.2, 1.5, 2.0, 4.0, 50.0].map(|limit| {
        let mut p = net(Activation::Tanh, Loss::SquaredError);
        let mut kfac: Optim = Kfac::new(by_flops(limit)).unwrap();
        // the same batch again and again: no noise
        steps(&mut kfac, &ctx, &p.net, &mut p.theta, &vec![p.batch.clone(); 100]);
        kfac.overhead().unwrap().plan.update_interval
    });
    assert!(updates.is_sorted_by(|a, b| a >= b) && updates[0] > 4 && updates[4] == 1, "{updates:?}");
}

#[test]
fn noise_is_averaged_where_the_limit_allows_it() {
    // halves of a batch whose targets are opposite: little is left of their gradients in the mean
    let ctx = Ctx::default();
    let mut p = net(Activation::Tanh, Loss::SquaredError);
    let half = p.batch.subset(0..CASES / 2).unwrap();
    let mut opposite = half.targets().to_owned();
    opposite.as_mut_slice().iter_mut().for_each(|t| *t *= -30.0);
    let without_ones = half.inputs().submatrix(0, 0, 4, half.cases()).unwrap();
    let opposite = Batch::new(without_ones, opposite.as_ref()).unwrap();
    let plan = |p: &mut Problem, batches: [&Batch<f64>; 2]| {
        let mut kfac: Optim = Kfac::new(by_flops(50.0)).unwrap();
        (0..60).for_each(|_| steps(&mut kfac, &ctx, &p.net, &mut p.theta, &batches.map(Batch::clone)));
        kfac.overhead().unwrap().plan.update_interval
    };
    assert_eq!(plan(&mut p, [&half, &half]), 1);
    assert!(plan(&mut p, [&half, &opposite]) > 1);
}

#[test]
fn the_plan_is_what_is_done() {
    let ctx = Ctx::default();
    for limit in [1.3, 2.0, 3.0, 50.0] {
        let mut p = net(Activation::Tanh, Loss::SquaredError);
        let batches = parts(&p, 3);
        let mut kfac: Optim = Kfac::new(by_flops(limit)).unwrap();
        let (mut update, mut since, mut probes) = (0u64, 0, 0);
        for batch in batches.iter().cycle().take(600) {
            let report = kfac.step(&ctx, &p.net, &mut p.theta, batch).unwrap();
            let plan = kfac.overhead().unwrap().plan;
            since += 1;
            let draws = report.passes.backward - 1;
            if report.alpha.is_none() {
                assert_eq!((draws, report.refreshed), (0, false));
                continue;
            }
            // two batches now and then, where one is planned
            probes += u64::from(since == 2 && plan.update_interval == 1);
            assert!(since == plan.update_interval || (since, plan.update_interval) == (2, 1), "{since} {plan:?}");
            assert_eq!(draws == 1, update % plan.statistics_interval == 0, "{update} {plan:?}");
            assert_eq!(report.refreshed, update < 3 || update % plan.refresh_interval == 0, "{update} {plan:?}");
            (update, since) = (update + 1, 0);
        }
        assert!(update >= 10 && probes <= 5 + update / 16, "{limit}: {probes} of {update}");
    }
}

/// Mean eigenvalue of the blocks: Σ tr A tr S over the number of parameters.
fn mean_eigenvalue(kfac: &Optim, p: &Problem) -> f64 {
    let preconditioner = kfac.preconditioner().unwrap();
    let trace = |m: MatRef<'_, f64>| (0..m.nrows()).map(|i| m.at(i, i)).sum::<f64>();
    let layers = (0..p.net.layout().blocks().len()).map(|layer| preconditioner.factors(layer).unwrap());
    layers.map(|f| trace(f.a()) * trace(f.s())).sum::<f64>() / p.theta.len() as f64
}

#[test]
fn exact_damping_is_chosen_only_where_lambda_is_a_hundredth_of_the_mean_eigenvalue() {
    let ctx = Ctx::default();
    let mut ends = Vec::new();
    for lambda in (-16..8).map(|e| 2f64.powi(e)) {
        let mut p = net(Activation::Tanh, Loss::SquaredError);
        // all that there is can be afforded
        let mut kfac: Optim = Kfac::new(KfacOptions { lambda, adaptation: None, ..by_flops(1e3) }).unwrap();
        let mut open = true;
        for _ in 0..4 {
            let update = kfac.overhead().map_or(0, |report| report.plan.update_interval);
            for batch in 0.. {
                let moved = kfac.step(&ctx, &p.net, &mut p.theta, &p.batch).unwrap().alpha.is_some();
                if batch == 0 {
                    let path = kfac.overhead().unwrap().plan.path;
                    assert_eq!(path == DampingPath::Eigenbases, open, "{lambda} {update}");
                }
                if moved {
                    break;
                }
            }
            // what was closed once is not worth a change later
            open &= lambda >= 0.01 * mean_eigenvalue(&kfac, &p);
        }
        ends.push(open);
    }
    assert!(ends.is_sorted() && !ends[0] && ends[ends.len() - 1], "{ends:?}");
}

#[test]
fn batches_of_another_size_get_another_plan() {
    let ctx = Ctx::default();
    let mut p = net(Activation::Tanh, Loss::SquaredError);
    let mut kfac: Optim = Kfac::new(by_flops(2.0)).unwrap();
    // the same batch each time: no noise, so that its size alone counts
    let run = |kfac: &mut Optim, theta: &mut [f64], batch: &Batch<f64>| {
        steps(kfac, &ctx, &p.net, theta, &vec![batch.clone(); 50]);
        kfac.overhead().unwrap().plan
    };
    let small = run(&mut kfac, &mut p.theta, &p.batch.subset(0..6).unwrap());
    let large = run(&mut kfac, &mut p.theta, &p.batch);
    assert!(large.staleness(0.0) < small.staleness(0.0), "{small:?} {large:?}");
    let again = run(&mut kfac, &mut p.theta, &p.batch.subset(0..6).unwrap());
    assert_eq!(again, small);
}

#[test]
fn a_run_that_is_saved_and_loaded_goes_on_to_the_same_bits() {
    let ctx = Ctx::default();
    let averaged = KfacOptions { lambda: 0.1, update_interval: 3, ..KfacOptions::default() };
    for options in [by_flops(1.5), by_flops(3.0), averaged] {
        let p = net(Activation::Tanh, Loss::SquaredError);
        let batches = parts(&p, 5);
        let run = Run { kind: "kfac", layout: p.net.layout() };
        // at any place in an update, and around new plans
        for before in [1, 2, 7, 40, 83] {
            let at = |from: usize, to: usize| batches.iter().cycle().take(to).skip(from).cloned().collect::<Vec<_>>();
            let (mut whole, mut theta): (Optim, _) = (Kfac::new(options).unwrap(), p.theta.clone());
            steps(&mut whole, &ctx, &p.net, &mut theta, &at(0, before));
            let bytes = run.to_bytes::<f64, _>(&whole).unwrap();
            let mut again: Optim = run.from_bytes::<f64, _>(&bytes, "memory").unwrap();
            assert_eq!(again.overhead(), whole.overhead());
            let mut other = theta.clone();
            steps(&mut whole, &ctx, &p.net, &mut theta, &at(before, before + 60));
            steps(&mut again, &ctx, &p.net, &mut other, &at(before, before + 60));
            assert!(bits(&other) == bits(&theta) && bits(&theta) != bits(&p.theta), "{before}");
            assert_eq!(again.overhead(), whole.overhead());
        }
    }
}

#[test]
fn a_budget_of_seconds_has_a_plan_and_measures() {
    let ctx = Ctx::default();
    let mut p = net(Activation::Tanh, Loss::SquaredError);
    let mut kfac: Optim =
        Kfac::new(KfacOptions { budget: Some(OverheadBudget::seconds(3.0)), ..by_flops(3.0) }).unwrap();
    let before = p.net.loss(&ctx, &p.theta, &p.batch).unwrap();
    let batches = parts(&p, 2);
    (0..200).for_each(|_| steps(&mut kfac, &ctx, &p.net, &mut p.theta, &batches));
    let report = kfac.overhead().unwrap();
    assert!(report.measured.is_some_and(|m| m >= 1.0) && report.predicted >= 1.0, "{report:?}");
    assert!(p.net.loss(&ctx, &p.theta, &p.batch).unwrap() < before);
    // saved and loaded it keeps plan and measurements
    let run = Run { kind: "kfac", layout: p.net.layout() };
    let bytes = run.to_bytes::<f64, _>(&kfac).unwrap();
    let back: Optim = run.from_bytes::<f64, _>(&bytes, "memory").unwrap();
    assert_eq!(back.overhead(), kfac.overhead());
    assert_eq!(run.to_bytes::<f64, _>(&back).unwrap(), bytes);
}

#[test]
fn a_budget_that_is_none_is_refused() {
    let name = |options: KfacOptions<f64>| match Kfac::<f64, Workspace<f64>>::new(options) {
        Err(Error::InvalidParameter { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    for limit in [1.0, 0.5, -2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for budget in [OverheadBudget::seconds(limit), OverheadBudget::flops(limit)] {
            assert_eq!(name(KfacOptions { budget: Some(budget), ..KfacOptions::default() }), "overhead budget");
        }
    }
    let gamma = GammaRule::Search { interval: 20, omega: 0.5, max: 1.0 };
    assert_eq!(name(KfacOptions { gamma, ..by_flops(2.0) }), "overhead budget");
    assert_eq!(name(KfacOptions { update_interval: 0, ..KfacOptions::default() }), "update_interval");
}
