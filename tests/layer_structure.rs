//! The structure of each layer in the K-FAC preconditioner: chosen by a limit on memory and flops, reported, solved like
//! the snapshot of its statistics, following those between refreshes where that is free.

#[path = "common/counting_backend.rs"]
mod counting_backend;

use counting_backend::Counting;
use pullback::curvature::{BlockDiagonal, EigenKronecker, KroneckerDamping, KroneckerN, KroneckerNInverse, PiRule};
use pullback::optim::costs::LayerShape;
use pullback::optim::{
    CaptureSink, FactorLimit, KfacPreconditioner, LayerStructure, ParamLayout, PreconditionerOptions,
};
use pullback::stats::{
    Decay, DiagonalMoments, DiagonalRule, EigenKroneckerMoments, InputSplit, KroneckerFactors, SplitFactors,
};
use pullback::testing::gallery::uniform;
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, LinearOperator, Mat, MatMut, MatRef, Result, Scalar};

const SPLIT: InputSplit = InputSplit { outer: 3, inner: 4, bias: true };
const ROWS: usize = 5;
const COLUMNS: usize = 13;

fn every_structure() -> [LayerStructure; 5] {
    [
        LayerStructure::Kronecker,
        LayerStructure::EigenKronecker,
        LayerStructure::ThreeFactor { split: SPLIT },
        LayerStructure::Diagonal { rule: DiagonalRule::Factored },
        LayerStructure::Diagonal { rule: DiagonalRule::Exact },
    ]
}

fn both<T: Scalar>() -> [KroneckerDamping<T>; 2] {
    [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }]
}

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

fn layout() -> ParamLayout {
    ParamLayout::new([(ROWS, COLUMNS); 5])
}

/// One batch for every layer, with two output directions.
fn feed<T: Scalar>(ctx: &Ctx<T>, kfac: &mut KfacPreconditioner<T>, seed: u64) {
    const CASES: usize = 30;
    let weight = T::of(1.0 / CASES as f64);
    kfac.begin_update();
    for layer in 0..5 {
        let a = uniform::<T>(COLUMNS, CASES, seed);
        kfac.activations(ctx, layer, a.as_ref(), weight).unwrap();
        for direction in 0..2 {
            let g = uniform::<T>(ROWS, CASES, seed + 100 + direction);
            kfac.gradients(ctx, layer, g.as_ref(), weight).unwrap();
            kfac.pairs(ctx, layer, a.as_ref(), g.as_ref(), weight).unwrap();
        }
    }
}

/// What `feed` sends, to a sink of one's own.
fn send<T: Scalar>(seed: u64, mut to: impl FnMut(&Mat<T>, &[Mat<T>; 2], T)) {
    let g = [uniform::<T>(ROWS, 30, seed + 100), uniform(ROWS, 30, seed + 101)];
    to(&uniform(COLUMNS, 30, seed), &g, T::of(1.0 / 30.0));
}

/// The damped solve of each structure's own statistics, after the same three batches, the basis of EKFAC being refreshed
/// after the first and the last.
fn expected<T: Scalar>(
    ctx: &Ctx<T>,
    kind: LayerStructure,
    damping: KroneckerDamping<T>,
    lambda: Damping<T>,
    v: &[T],
) -> Vec<T> {
    let mut out = vec![T::ZERO; v.len()];
    let (b, x) = (MatRef::from_column(v), MatMut::from_column(&mut out));
    match kind {
        LayerStructure::Kronecker => {
            let mut factors = KroneckerFactors::new(ROWS, COLUMNS, Decay::DEFAULT);
            for seed in 1..=3 {
                factors.begin();
                send(seed, |a, gs, weight| {
                    factors.add_activations(ctx, a.as_ref(), weight).unwrap();
                    gs.iter().for_each(|g| factors.add_gradients(ctx, g.as_ref(), weight).unwrap());
                });
            }
            factors.snapshot(damping).unwrap().unwrap().damped(ctx, lambda).unwrap().solve(ctx, b, x).unwrap();
        }
        LayerStructure::EigenKronecker => {
            let mut moments = EigenKroneckerMoments::new(ROWS, COLUMNS, Decay::DEFAULT);
            for seed in 1..=3 {
                moments.begin();
                send(seed, |a, gs, weight| {
                    moments.factors_mut().add_activations(ctx, a.as_ref(), weight).unwrap();
                    for g in gs {
                        moments.factors_mut().add_gradients(ctx, g.as_ref(), weight).unwrap();
                        moments.add_pairs(ctx, a.as_ref(), g.as_ref(), weight).unwrap();
                    }
                });
                if seed != 2 {
                    moments.refresh_basis(ctx).unwrap();
                }
            }
            moments.snapshot().unwrap().unwrap().damped(ctx, lambda).unwrap().solve(ctx, b, x).unwrap();
        }
        LayerStructure::ThreeFactor { split } => {
            let mut factors = SplitFactors::new(ROWS, split, Decay::DEFAULT).unwrap();
            for seed in 1..=3 {
                factors.begin();
                send(seed, |a, gs, weight| {
                    factors.add_activations(ctx, a.as_ref(), weight).unwrap();
                    gs.iter().for_each(|g| factors.add_gradients(ctx, g.as_ref(), weight).unwrap());
                });
            }
            factors.snapshot(damping).unwrap().unwrap().damped(ctx, lambda).unwrap().solve(ctx, b, x).unwrap();
        }
        LayerStructure::Diagonal { rule } => {
            let mut moments = DiagonalMoments::new(ROWS, COLUMNS, rule, Decay::DEFAULT);
            for seed in 1..=3 {
                moments.begin();
                send(seed, |a, gs, weight| {
                    moments.add_activations(a.as_ref(), weight).unwrap();
                    for g in gs {
                        moments.add_gradients(g.as_ref(), weight).unwrap();
                        moments.add_pairs(ctx, a.as_ref(), g.as_ref(), weight).unwrap();
                    }
                });
            }
            moments.snapshot().unwrap().unwrap().damped(ctx, lambda).unwrap().solve(ctx, b, x).unwrap();
        }
        LayerStructure::Auto { .. } => unreachable!("never the structure of a layer"),
    }
    out
}

fn solves_like_its_snapshot<T: Scalar>() {
    for ctx in contexts::<T>() {
        for threads in [1, 2] {
            let ctx = ctx.with_threads(threads);
            for split_damping in both() {
                let options = PreconditionerOptions { damping: split_damping, ..PreconditionerOptions::default() };
                let structures = every_structure();
                let mut kfac = KfacPreconditioner::with_structures(&layout(), options, &structures).unwrap();
                feed(&ctx, &mut kfac, 1);
                let report = kfac.refresh(&ctx, damping(1.0)).unwrap();
                assert_eq!((report.refreshed, report.failed.len()), (5, 0));
                (2..=3).for_each(|seed| feed(&ctx, &mut kfac, seed));
                let v = uniform::<T>(layout().len(), 1, 9);
                for lambda in [1e-2, 1.0, 1e-2] {
                    kfac.refresh(&ctx, damping(lambda)).unwrap();
                    let mut out = vec![T::ZERO; layout().len()];
                    kfac.precondition(&ctx, v.as_slice(), &mut out).unwrap();
                    for (layer, (block, kind)) in layout().blocks().iter().zip(structures).enumerate() {
                        let (mine, v) = (&out[block.range()], &v.as_slice()[block.range()]);
                        let want = expected(&ctx, kind, split_damping, damping(lambda), v);
                        let error = relative_error(MatRef::from_column(mine), MatRef::from_column(&want));
                        // eigenvalues of the blocks are below 10
                        let limit = tolerance::<T>(ROWS * COLUMNS, 10.0 / lambda);
                        assert!(error <= limit, "{kind:?} at {lambda}: {error:e}, limit {limit:e}");
                        assert_eq!(kfac.structure(layer), Some(kind));
                        // the inverse as it is handed out, and a matrix in padded memory, are the same map
                        let mut again = vec![T::ZERO; v.len()];
                        let inverse = kfac.inverse(layer).unwrap();
                        inverse.precondition(&ctx, MatRef::from_column(v), MatMut::from_column(&mut again)).unwrap();
                        let error = relative_error(MatRef::from_column(&again), MatRef::from_column(mine));
                        assert!(error <= limit, "{kind:?}: {error:e}");
                        let padded =
                            Mat::from_fn(ROWS + 2, COLUMNS, |i, j| if i < ROWS { v[i + j * ROWS] } else { T::nan() });
                        let mut u = Mat::zeros(ROWS, COLUMNS);
                        let view = padded.as_ref().submatrix(0, 0, ROWS, COLUMNS).unwrap();
                        kfac.precondition_layer(&ctx, layer, view, u.as_mut()).unwrap();
                        assert!(relative_error(MatRef::from_column(u.as_slice()), MatRef::from_column(mine)) <= limit);
                    }
                }
            }
        }
    }
}

#[test]
fn every_structure_preconditions_by_the_damped_solve_of_its_statistics() {
    solves_like_its_snapshot::<f32>();
    solves_like_its_snapshot::<f64>();
}

#[test]
fn costs_are_those_of_the_table() {
    let shape = LayerShape { d_in: COLUMNS, d_out: ROWS };
    let (m, n, o, i) = (13.0f64, 5.0f64, 3.0f64, 4.0f64);
    for exact in [true, false] {
        let [full, split] = both::<f64>();
        let (rule, c) = if exact { (full, 9.0) } else { (split, 1.0) };
        let cost = |s: LayerStructure| {
            let cost = s.cost::<f64>(shape, rule);
            (cost.bytes / 8.0, cost.flops)
        };
        let [kronecker, eigen, three, factored, exact_diagonal] = every_structure();
        assert_eq!(cost(kronecker), (2.0 * (m * m + n * n), c * (m.powi(3) + n.powi(3))));
        assert_eq!(cost(LayerStructure::default()), cost(kronecker));
        let carried = 2.0 * m * n * (m + n);
        assert_eq!(cost(eigen), (2.0 * (m * m + n * n) + 2.0 * m * n, 11.0 * (m.powi(3) + n.powi(3)) + carried));
        let values = if exact { m * n } else { 0.0 };
        let numbers = 2.0 * (o * o + i * i + n * n) + n * n + values;
        assert_eq!(cost(three), (numbers, c * (o.powi(3) + i.powi(3) + 2.0 * n.powi(3))));
        assert_eq!(cost(factored), (m + n + m * n, m * n));
        assert_eq!(cost(exact_diagonal), (2.0 * m * n, m * n));
        // half the bytes in f32
        let [full, split] = both::<f32>();
        let single = kronecker.cost(shape, if exact { full } else { split });
        assert_eq!(single.bytes * 2.0, 8.0 * cost(kronecker).0);
    }
}

#[test]
fn auto_takes_the_first_structure_within_the_limit() {
    // wide enough that EKFAC, K-FAC, three factors and the diagonal fall in cost in this order
    let split = InputSplit { outer: 10, inner: 20, bias: true };
    let shape = LayerShape { d_in: 201, d_out: 4 };
    let three = LayerStructure::ThreeFactor { split };
    let last = LayerStructure::Diagonal { rule: DiagonalRule::Factored };
    let layout = ParamLayout::new([(4, 201)]);
    for damping in both::<f64>() {
        let cost = |s: LayerStructure| s.cost(shape, damping);
        let unlimited = FactorLimit { bytes: f64::INFINITY, flops: f64::INFINITY };
        let chosen = |corrected: bool, split: Option<InputSplit>, limit: FactorLimit| {
            let structure = LayerStructure::Auto { corrected, split };
            let options = PreconditionerOptions { damping, structure, limit, ..PreconditionerOptions::default() };
            KfacPreconditioner::new(&layout, options).unwrap().structure(0).unwrap()
        };
        // the limit just met is enough; anything less on either side is not
        for (corrected, split, at, below) in [
            (true, Some(split), LayerStructure::EigenKronecker, LayerStructure::Kronecker),
            (false, Some(split), LayerStructure::Kronecker, three),
            (false, None, LayerStructure::Kronecker, last),
            (true, Some(split), three, last),
            (true, None, LayerStructure::Kronecker, last),
        ] {
            let cost = cost(at);
            let less = |x: f64| x.next_down();
            assert_eq!(chosen(corrected, split, FactorLimit { bytes: cost.bytes, flops: cost.flops }), at);
            assert_eq!(chosen(corrected, split, FactorLimit { bytes: cost.bytes, ..unlimited }), at);
            assert_eq!(chosen(corrected, split, FactorLimit { flops: cost.flops, ..unlimited }), at);
            assert_eq!(chosen(corrected, split, FactorLimit { bytes: less(cost.bytes), ..unlimited }), below);
            let by_flops = chosen(corrected, split, FactorLimit { flops: less(cost.flops), ..unlimited });
            assert_eq!(by_flops, below);
        }
        // whatever the limit, something is chosen; and an explicit structure is nobody's choice but the caller's
        let nothing = FactorLimit { bytes: 0.0, flops: 0.0 };
        assert_eq!(chosen(true, Some(split), nothing), last);
        let options = PreconditionerOptions {
            damping,
            structure: LayerStructure::EigenKronecker,
            limit: nothing,
            ..PreconditionerOptions::default()
        };
        let explicit = KfacPreconditioner::new(&layout, options).unwrap();
        assert_eq!(explicit.structure(0), Some(LayerStructure::EigenKronecker));
        assert_eq!(explicit.structure(1), None);
    }
    // the figures of the default limit, which its documentation states
    let limit = FactorLimit::default();
    let fits = |d_in: usize, damping| {
        LayerStructure::Kronecker.cost::<f32>(LayerShape { d_in, d_out: 10 }, damping).within(limit)
    };
    let [exact, factored] = both::<f32>();
    assert!(fits(11585, factored) && !fits(11586, factored), "by memory");
    assert!(fits(6057, exact) && !fits(6058, exact), "by flops");
    let flops = |d_in| LayerStructure::Kronecker.cost::<f32>(LayerShape { d_in, d_out: 10 }, factored).flops;
    assert!(flops(12599) <= limit.flops && flops(12600) > limit.flops);
}

#[test]
fn what_does_not_fit_a_layer_is_a_typed_error() {
    let options = PreconditionerOptions::<f64>::default();
    let wrong = InputSplit { outer: 3, inner: 4, bias: false };
    for structure in
        [LayerStructure::ThreeFactor { split: wrong }, LayerStructure::Auto { corrected: false, split: Some(wrong) }]
    {
        let made = KfacPreconditioner::new(&layout(), PreconditionerOptions { structure, ..options });
        assert!(matches!(made, Err(Error::InvalidParameter { name: "split", .. })), "{structure:?}");
    }
    let few = KfacPreconditioner::with_structures(&layout(), options, &[LayerStructure::Kronecker]);
    assert!(matches!(few, Err(Error::Shape { .. })));
}

#[test]
fn between_refreshes_eigenvalues_and_diagonals_follow_and_the_rest_stays() {
    let ctx = Ctx::<f64>::default();
    let structures = every_structure();
    let mut kfac =
        KfacPreconditioner::with_structures(&layout(), PreconditionerOptions::default(), &structures).unwrap();
    feed(&ctx, &mut kfac, 1);
    kfac.follow(&ctx, damping(0.1)).unwrap();
    assert!(!kfac.is_ready(), "without an inverse there is nothing to follow");
    kfac.refresh(&ctx, damping(0.1)).unwrap();
    let dense = |kfac: &KfacPreconditioner<f64>| -> Vec<Mat<f64>> {
        (0..5).map(|l| kfac.inverse(l).unwrap().to_dense(&ctx).unwrap()).collect()
    };
    let before = dense(&kfac);
    let basis = kfac.eigen_moments(1).unwrap().basis().unwrap().clone();
    feed(&ctx, &mut kfac, 2);
    kfac.follow(&ctx, damping(0.3)).unwrap();
    let after = dense(&kfac);
    for layer in [0, 2] {
        assert_eq!(before[layer], after[layer], "{:?} needs a factorization", structures[layer]);
    }
    let moments = kfac.eigen_moments(1).unwrap();
    assert!(moments.basis().unwrap().shares_with(&basis), "no new basis");
    let curvature = moments.snapshot().unwrap().unwrap();
    let want = curvature.damped(&ctx, damping(0.3)).unwrap().to_dense(&ctx).unwrap();
    assert_eq!(after[1], want);
    for layer in [1, 3, 4] {
        assert!(relative_error(after[layer].as_ref(), before[layer].as_ref()) > 0.1, "{:?}", structures[layer]);
    }
    // at the refresh the eigenvalues are carried over, to the bit what the snapshot says of it
    kfac.refresh(&ctx, damping(0.3)).unwrap();
    let renewed = kfac.eigen_moments(1).unwrap().snapshot().unwrap().unwrap();
    assert!(!renewed.basis().shares_with(&basis), "a new basis");
    assert_eq!(renewed.values(), curvature.rebased(&ctx, renewed.basis()).unwrap().values());
    let forgotten = EigenKronecker::uncorrected(renewed.basis().clone()).unwrap();
    let error = relative_error(renewed.values().as_ref(), forgotten.values().as_ref());
    assert!(error > 0.01, "K-FAC's own eigenvalues would be another thing");
}

#[test]
fn with_exact_damping_another_lambda_costs_no_factorization_in_any_structure() {
    let counting = Counting::default();
    let ctx = Ctx::new(counting.clone());
    for (damping_rule, again) in both().into_iter().zip([0, 7]) {
        let options = PreconditionerOptions { damping: damping_rule, ..PreconditionerOptions::default() };
        let mut kfac = KfacPreconditioner::with_structures(&layout(), options, &every_structure()).unwrap();
        feed(&ctx, &mut kfac, 1);
        let start = counting.factorizations();
        kfac.refresh(&ctx, damping(0.1)).unwrap();
        // A and S; U_A and U_S; A_o, A_i, S, and for the bias 1 and S
        assert_eq!(counting.factorizations() - start, 2 + 2 + 5);
        kfac.refresh(&ctx, damping(0.7)).unwrap();
        // the eigenbases are kept; inverses are of one λ
        assert_eq!(counting.factorizations() - start, 2 + 2 + 5 + again, "{damping_rule:?}");
        for layer in 0..5 {
            assert_eq!(kfac.inverse(layer).unwrap().damping(), damping(0.7));
        }
    }
}

#[test]
fn blocks_are_redamped_together_or_not_at_all() {
    let ctx = Ctx::<f64>::default();
    let blocks = [2, 3].map(|n| KroneckerN::new(vec![Mat::identity(n), Mat::identity(2)], KroneckerDamping::Exact));
    let c = BlockDiagonal::new(blocks.into_iter().collect::<Result<Vec<_>>>().unwrap());
    let solver = c.damped(&ctx, damping(1.0)).unwrap();
    let other = solver.redamped(damping(3.0), KroneckerNInverse::redamp).unwrap();
    assert_eq!(other.damping(), damping(3.0));
    let want = c.damped(&ctx, damping(3.0)).unwrap().to_dense(&ctx).unwrap();
    assert_eq!(other.to_dense(&ctx).unwrap(), want);
    let stale = solver.redamped(damping(3.0), |block, _| Ok(block.clone()));
    assert!(matches!(stale, Err(Error::InvalidParameter { name: "redamp", .. })));
}

#[test]
fn pairs_that_never_come_are_noticed() {
    let ctx = Ctx::<f64>::default();
    for structure in [LayerStructure::EigenKronecker, LayerStructure::Diagonal { rule: DiagonalRule::Exact }] {
        let options = PreconditionerOptions { structure, tolerated_failures: 1, ..PreconditionerOptions::default() };
        let mut kfac = KfacPreconditioner::new(&ParamLayout::new([(2, 3)]), options).unwrap();
        let (a, g) = (uniform::<f64>(3, 8, 1), uniform::<f64>(2, 8, 2));
        let feed = |kfac: &mut KfacPreconditioner<f64>, pairs: bool| {
            kfac.begin_update();
            kfac.activations(&ctx, 0, a.as_ref(), 0.125).unwrap();
            kfac.gradients(&ctx, 0, g.as_ref(), 0.125).unwrap();
            if pairs {
                kfac.pairs(&ctx, 0, a.as_ref(), g.as_ref(), 0.125).unwrap();
            }
        };
        feed(&mut kfac, true);
        kfac.refresh(&ctx, damping(1.0)).unwrap();
        feed(&mut kfac, false);
        let report = kfac.refresh(&ctx, damping(1.0)).unwrap();
        assert!(matches!(report.failed[..], [(0, Error::InvalidParameter { name: "refresh", .. })]), "{report:?}");
        assert!(matches!(kfac.follow(&ctx, damping(1.0)), Err(Error::RepeatedFailure { failures: 2, .. })));
        feed(&mut kfac, true);
        assert!(kfac.refresh(&ctx, damping(1.0)).unwrap().failed.is_empty(), "pairs again, all is well again");
        assert!(kfac.factors(0).is_some() == (structure == LayerStructure::EigenKronecker));
    }
}
