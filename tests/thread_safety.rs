//! Every public type is `Send` and `Sync`, and what is shared between threads gives each of them the bits of a lone call.

use std::sync::Arc;

use pullback::curvature::precondition::{IncompleteCholesky, Jacobi, Nystrom, PivotedCholesky, SparseLower};
use pullback::curvature::{
    AnyCapable, BlockDiagonal, BlockTridiagonal, DampingSweep, Definiteness, Dense, DenseJacobian, Diagonal,
    DirectPath, EigenKronecker, HasDampingSweep, InMetric, Kronecker, KroneckerDamping, KroneckerN, LowRank,
    MatrixFree, Permuted, PiRule, SampleSpace, SampleSpaceOptions, SampleSpacePath, ScaledIdentity, SumCurvature,
};
use pullback::factor::{Cholesky, SymEigen};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::krylov::{Budget, CgOptions, pcg};
use pullback::linop::{DiagonalMetric, Scaled, SymmetricDense};
use pullback::testing::{contexts, gallery};
use pullback::{Ctx, Curvature, DampedSolver, Damping, LinearOperator, Mat, Scalar};

/// Checked by the compiler; the text of each list is kept for the completeness test.
macro_rules! send_and_sync {
    ($list:tt: $($t:ty),+ $(,)?) => {
        const $list: &str = stringify!($($t),+);
        const _: () = {
            const fn check<S: Send + Sync + ?Sized>() {}
            $(check::<$t>();)+
        };
    };
}

type T = f64;

mod list {
    use pullback::backend::{check::PowerOfTwoScale, *};
    use pullback::curvature::precondition::*;
    use pullback::curvature::*;
    use pullback::factor::*;
    use pullback::kronecker::*;
    use pullback::krylov::*;
    use pullback::linop::*;
    use pullback::optim::{checkpoint::Run, costs::*, line_search::*, *};
    use pullback::random::Draws;
    use pullback::stats::{layout::Order, *};
    use pullback::testing::gallery::{Named, Random, Sign};
    use pullback::testing::krylov::{Domain, Outcome};
    use pullback::testing::problems::{self, nist};
    use pullback::testing::{lapack::*, optimizer::Goal, strategies::Drawn, *};
    use pullback::*;

    use super::T;

    send_and_sync!(BASE: Error, Draws, Mat<T>, MatRef<'static, T>, MatMut<'static, T>, Op, Side);
    send_and_sync!(BACKEND: Ctx<T>, Scratch<'static, T>, Reference, PowerOfTwoScale<T>, dyn Backend<T>);
    // compiled in or not: checked where they are, named without a list
    #[cfg(feature = "faer")]
    send_and_sync!(_: Faer);
    #[cfg(feature = "blas")]
    send_and_sync!(_: Blas);
    send_and_sync!(FACTOR: Cholesky<T>, SymEigen<T>, Lu<T>, ThinQr<T>, PositiveFactor<T>, OnFailure, Recovery, Tracking);
    type Closure = fn(&[T], &mut [T]) -> std::result::Result<(), std::fmt::Error>;
    send_and_sync!(
        LINOP: DenseOperator<T>, SymmetricDense<T>, FnOperator<T, Closure>, Identity, Scaled<T, Identity>,
        Shifted<T, Identity>, Sum<Identity, Identity>, Beside<Identity, Identity>, Blocks<T, Identity>,
        Transposed<T, DenseOperator<T>>, DiagonalMetric<T>, DenseMetric<T>, BlockMetric<T, Identity>,
        MetricInverse<Identity>, dyn LinearOperator<T>, dyn SelfAdjoint<T>, dyn Preconditioner<T>, dyn HasDiagonal<T>,
        dyn TransposeOperator<T>, dyn Metric<T>,
    );
    send_and_sync!(
        KRYLOV: CgOptions<T>, CgStart<T>, KeepIterates, NegativeCurvature, StallRule, CgReport<T>, CgColumn<T>,
        KeptIterate<T>, LanczosCoefficients, TrustRegionReport, CgStop, LsmrOptions<T>, LsmrReport, LsmrStop, MinresOptions<T>,
        MinresReport, MinresStop, BlockCgReport, BlockCgColumn, Reorthogonalization,
        MultiShiftReport, ShiftColumn, Lanczos<T>, LanczosOptions, LanczosEnd, Ritz<T>, RitzValue, Budget,
        Estimate, DiagonalEstimate,
    );
    send_and_sync!(
        HESSIAN_FREE: HessianFree<T, NoPreconditioner>, HessianFreeOptions<T>, NoPreconditioner, MartensDiagonal<T>,
        KroneckerInner<T, ()>, KroneckerInnerOptions<T>,
    );
    send_and_sync!(
        KRONECKER: KroneckerProduct<T>, KroneckerEigen<T>, KroneckerMetric<T>, PairSign, KroneckerPairInverse<T>,
        KroneckerPairRoot<'static, T>,
    );
    send_and_sync!(
        CURVATURE: Dense<T>, DenseInverse<T>, Diagonal<T>, DiagonalInverse<T>, Kronecker<T>, KroneckerDamping<T>,
        KroneckerInverse<T>, KroneckerCholesky<T>, FactorInverse<T>, PiRule<T>, BlockDiagonal<T, Dense<T>>,
        BlockDiagonalInverse<T, DenseInverse<T>>, AnyCurvature<T>, MatrixFree<T, Identity>,
        MatrixFreeSolver<T, Identity>, Damping<T>, Definiteness, Fidelity, SolvePath, SolveReport, Recovery,
        dyn DampedSolver<T>, dyn DampedInverse<T>, Certificate, DampingGap, StepComparison, AnyCapable<T>,
        AnyCapableInverse<T>,
    );
    send_and_sync!(
        STRUCTURES: LowRank<T>, LowRankInverse<T>, LowRankRoot<'static, T>, LowRankInverseRoot<'static, T>,
        EigenKronecker<T>, EigenKroneckerInverse<T>, KroneckerN<T>, KroneckerNInverse<T>, KroneckerNRoot<T>,
        BlockTridiagonal<T>, BlockTridiagonalInverse<T>, BlockTridiagonalRoot<'static, T>, ScaledIdentity<T>,
        ScaledIdentityInverse<T>, ScaledSolver<T, DenseInverse<T>>, SumCurvature<T, Identity, Identity>,
        SumPreconditioner<T>, Permuted<T, Dense<T>>, PermutedSolver<T, DenseInverse<T>>, Restricted<T, Dense<T>>,
        SelectedRows<DenseOperator<T>>, DenseInverseRoot<'static, T>, KroneckerInverseRoot<'static, T>,
    );
    type Rows = fn(std::ops::Range<usize>, MatMut<'_, T>) -> std::result::Result<(), std::fmt::Error>;
    send_and_sync!(
        SAMPLE_SPACE: DenseJacobian<T>, RowChunks<T, Rows>, JvpVjp<T, Closure, Closure>, JacobianCosts,
        SampleSpace<T, DenseJacobian<T>>, DirectSampleSpace<T, DenseJacobian<T>>,
        SampleSpaceSolver<T, DenseJacobian<T>>, SampleSpaceInverse<T, DenseJacobian<T>>,
        SampleSpaceInverseRoot<'static, T, DenseJacobian<T>>, SampleSpaceSpectrum<T, DenseJacobian<T>>,
        SampleSpacePath, SampleSpaceOptions<T>, DirectPath, PathCosts, PathPlan,
    );
    send_and_sync!(
        SWEEPS: DenseSweep<T>, FreeSweep<'static, T, DiagonalInverse<T>>, KroneckerSweep<T>, BlockSweep<DenseSweep<T>>,
        MatrixFreeSweep<'static, T, Identity>, dyn DampingSweep<T>,
    );
    send_and_sync!(
        METRICS: InMetric<T, Dense<T>, DiagonalMetric<T>>, InMetricInverse<DenseInverse<T>, DiagonalMetric<T>>,
        InMetricRoot<'static, Identity, DiagonalMetric<T>>, MatrixFreeInMetric<T, Identity, DiagonalMetric<T>>,
    );
    send_and_sync!(
        PRECONDITIONERS: Jacobi<T>, Nystrom<T>, PivotedCholesky<T>, IncompleteCholesky<T>, SparseLower<T>,
    );
    send_and_sync!(
        PROXIMAL: Proximal<T>, ProximalOptions<T>, InnerMinimizer<T>, OutputDistance, ProximalModel<T>,
        ProximalModelOptions<T>, LossOrder,
    );
    send_and_sync!(
        STATS: Decay, MovingAverage, KroneckerFactors<T>, Order, CrossFactors<T>, DiagonalMoments<T>, DiagonalRule,
        EigenKroneckerMoments<T>, InputSplit, SplitFactors<T>,
    );
    send_and_sync!(
        OPTIM: Sgd<T>, MomentumKind, Adam<T>, Kfac<T, Vec<T>>, KfacOptions<T>, OverheadBudget, CostBasis,
        OverheadReport, KfacPlan, DampingPath, PlanCosts, DampingPathCosts, StepRule, GammaRule, GradientForm, Rejection,
        DampingAdaptation, KfacPreconditioner<T>, PreconditionerOptions<T>, RefreshReport, QuadraticModel, SubspaceStep,
        RefreshSchedule, EigenUpdate, TrackedBases,
        ModelDamping, LevenbergMarquardt, IterateAverage<T>, StepReport<T>, Passes, ParamBlock, ParamLayout, FisherKind,
        LayerShape, KfacCosts, KfacMemory, DampingCosts, KfacBlocks, TridiagonalOptions<T>, TridiagonalPreconditioner<T>,
        LayerStructure, FactorLimit, FactorCost, Spring<T>, SpringOptions<T>, Linearization<T, DenseJacobian<T>>,
        PolynomialAverage<T>, CurvatureClip, GrowingBatch, Schedule, Decline, Explanation<'static, T>, Run<'static>, InnerStop, InnerReport, PhaseSeconds,
        Trpo, TrpoOptions, Acktr<T, Vec<T>>, AcktrOptions, Divergence, Ppo<Adam<T>>, PpoOptions, AdvantageEstimator,
        CurvatureMatrix, Line<'static, T, LeastSquares<T>>, SearchStart, SearchStop, SearchReport, FixedStep, Armijo,
    );
    send_and_sync!(
        DESCENT: Descent<T, SteepestDescent, StrongWolfe>, Batches, SteepestDescent, PreconditionedDirection<Identity>,
        ConjugateDirection<T>, CgFormula, NonlinearCgOptions, BfgsDirection<T>, BfgsOptions, LbfgsDirection<T>,
        LbfgsOptions, InitialMatrix, CurvatureRule, AcceptedStep<'static, T>, DirectionReport, StrongWolfe, HagerZhang,
        GridSearch, SecantStep,
    );
    send_and_sync!(
        SECOND_ORDER: DampedNewton<T, DenseModel<T>>, DampingRule, Nielsen, DampingMetric, Indefinite, ModelStep<T>,
        DenseModel<T>, KernelModel<T>, QrModel<T>, CgModel<T>, KroneckerModel<T>, DiagonalSource, Newton<T>, GaussNewton<T>,
        NaturalGradient<T>, LevenbergMarquardtMethod<T>, TrustRegionNewton, TrustRegionOptions, RegionSolver, Forcing,
    );
    send_and_sync!(
        TESTING: PoType, PoMatrix<T>, SepType, SepMatrix<T>, Form, Spectrum, Magnitude, Measured, Random, Named, Sign,
        Domain, Outcome, Goal, Drawn<T>, Padded<T>, Fault<T>, Regression<T>, RegressionJacobian<'static, T>, LeastSquares<T>, Measure, Law, Report,
        Recorder, Claim<'static, T>, Setup<T>,
    );
    send_and_sync!(
        PROBLEMS: problems::Jet, problems::SumOfSquares, problems::MoreGarbowHillstrom, problems::Limits,
        problems::Outcome, problems::Stop, nist::Model, nist::Difficulty, nist::Parameter, nist::Regression,
    );
    #[cfg(feature = "nn")]
    mod nn {
        use pullback::nn::data::{csv::Table, idx::Idx, *};
        use pullback::nn::*;

        use super::super::T;

        send_and_sync!(
            NETWORKS: Mlp<T>, MlpBuilder<T>, Layer, Activation, Loss, Reduction, Init, Batch<T>, Workspace<T>, Metrics, Policy<T>,
            PolicyBatch<T>,
        );
        send_and_sync!(OPERATORS: MlpAnchor<T>, GgnOperator<'static, T>, HessianOperator<'static, T>, MlpJacobian<'static, T>);
        send_and_sync!(
            DATA: Dataset<T>, Targets<T>, Minibatches, Partial, Scaling<T>, Standardization<T>, Table<T>, Idx,
        );
        pub const ALL: [&str; 3] = [NETWORKS, OPERATORS, DATA];
    }

    #[cfg(not(feature = "nn"))]
    mod nn {
        pub const ALL: [&str; 0] = [];
    }

    pub fn all() -> Vec<&'static str> {
        // the two native backends are declared whatever features are on
        let below = [BASE, BACKEND, FACTOR, LINOP, KRYLOV, KRONECKER, "Faer", "Blas"];
        let curvature = [CURVATURE, STRUCTURES, SAMPLE_SPACE, SWEEPS, METRICS, PRECONDITIONERS];
        below
            .into_iter()
            .chain(curvature)
            .chain([PROXIMAL, STATS, OPTIM, DESCENT, SECOND_ORDER, HESSIAN_FREE, TESTING, PROBLEMS])
            .chain(nn::ALL)
            .collect()
    }
}

/// Names of the public structures and enums that the sources declare at the start of a line.
fn declared(folder: &std::path::Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("sources") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            if cfg!(feature = "nn") || path.file_name().is_some_and(|name| name != "nn") {
                declared(&path, into);
            }
        } else {
            let text = std::fs::read_to_string(&path).expect("utf-8");
            let names = text.lines().filter_map(|line| {
                let rest = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "))?;
                rest.split(|c: char| !c.is_alphanumeric()).next()
            });
            into.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn the_lists_name_every_public_type() {
    let mut names = Vec::new();
    declared(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    assert!(names.len() > 60, "{names:?}");
    let listed = list::all().join(",");
    let listed: Vec<&str> = listed.split(|c: char| !c.is_alphanumeric()).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "add to a list of this file: {missing:?}");
}

/// Threads at work at once.
const THREADS: usize = 6;

/// Every thread computes `work` several times; all results are the bits of a lone call.
fn same_bits<V: PartialEq + Send + Sync>(what: &str, work: impl Fn() -> V + Sync) {
    let alone = work();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..3).for_each(|_| assert!(work() == alone, "{what}: another thread, other bits")));
        }
    });
}

fn shared<T: Scalar>(ctx: &Ctx<T>) {
    let place = |what: &str| format!("{what} on {} in {}", ctx.backend().name(), T::NAME);
    let n = 24;
    let (spd, b) = (gallery::spd::<T>(n, 10.0, 1), gallery::uniform::<T>(n, 3, 2));
    let (chol, eigen) =
        (Cholesky::new(ctx, spd.clone()).expect("definite"), SymEigen::new(ctx, spd.clone()).expect("finite"));
    same_bits(&place("one factorization"), || {
        let (mut x, mut y) = (b.clone(), b.clone());
        chol.solve_in_place(ctx, x.as_mut()).expect("shapes");
        eigen.map_apply(ctx, T::sqrt, b.as_ref(), y.as_mut()).expect("shapes");
        (x, y, chol.inverse(ctx).expect("finite"))
    });
    same_bits(&place("one context"), || {
        let eigen = SymEigen::new(ctx, spd.clone()).expect("finite");
        (eigen.values().to_vec(), eigen.vectors().to_owned())
    });

    let lambda = Damping::try_from(0.1).expect("positive");
    let one = |name: &str, solver: &(dyn DampedSolver<T> + '_)| {
        same_bits(&place(name), || {
            let mut x = Mat::zeros(n, 3);
            solver.solve(ctx, b.as_ref(), x.as_mut()).expect("shapes");
            x
        });
    };
    let (a, s) = (gallery::spd::<T>(6, 10.0, 3), gallery::rank_deficient::<T>(4, 2, 4));
    let dense = Dense::new(gallery::spd::<T>(n / 2, 5.0, 5)).expect("finite");
    one("dense", &Dense::new(spd.clone()).expect("finite").damped(ctx, lambda).expect("definite"));
    one("diagonal", &Diagonal::new(vec![T::ONE; n]).expect("finite").damped(ctx, lambda).expect("definite"));
    let kronecker = Kronecker::new(a, s, KroneckerDamping::Exact).expect("finite");
    one("Kronecker", &kronecker.damped(ctx, lambda).expect("definite"));
    one("blocks", &BlockDiagonal::new(vec![dense.clone(), dense]).damped(ctx, lambda).expect("definite"));

    let operator = Arc::new(SymmetricDense::new(spd).expect("square"));
    let free = MatrixFree::new(operator.clone(), Definiteness::PositiveSemidefinite);
    one("matrix-free", &free.damped(ctx, lambda).expect("free"));
    same_bits(&place("one operator"), || {
        let mut x = Mat::zeros(n, 3);
        let options = CgOptions::from_zero();
        let report = pcg(ctx, &*operator, None, b.as_ref(), x.as_mut(), &options).expect("shapes");
        (x, report.iterations(), operator.to_dense(ctx).expect("products"))
    });
}

/// The solvers of the other kinds, the sweeps and the preconditioners: one value, many threads.
fn shared_structures<T: Scalar>(ctx: &Ctx<T>) {
    let place = |what: &str| format!("{what} on {} in {}", ctx.backend().name(), T::NAME);
    let (n, columns, lambda) = (24, 3, Damping::try_from(0.1).expect("positive"));
    let b = gallery::uniform::<T>(n, columns, 2);
    let solves = |name: &str, solver: &(dyn DampedSolver<T> + '_)| {
        same_bits(&place(name), || {
            let mut x = Mat::zeros(n, columns);
            solver.solve(ctx, b.as_ref(), x.as_mut()).expect("shapes");
            x
        });
    };
    let applies = |name: &str, operator: &(dyn LinearOperator<T> + '_)| {
        same_bits(&place(name), || {
            let mut y = Mat::zeros(n, columns);
            operator.apply(ctx, b.as_ref(), y.as_mut()).expect("shapes");
            y
        });
    };
    let spd = gallery::spd::<T>(n, 10.0, 1);
    let dense = Dense::new(spd.clone()).expect("finite");
    let low_rank = LowRank::scaled_identity(T::ONE, gallery::uniform(n, 5, 3)).expect("finite");
    solves("low rank", &low_rank.damped(ctx, lambda).expect("definite"));
    let (a, s) = (gallery::spd::<T>(6, 10.0, 4), gallery::rank_deficient::<T>(4, 2, 5));
    let basis = KroneckerEigen::new(ctx, a.clone(), s.clone()).expect("finite");
    solves("EKFAC", &EigenKronecker::uncorrected(basis).expect("finite").damped(ctx, lambda).expect("definite"));
    let factors = vec![gallery::spd(3, 5.0, 6), gallery::spd(2, 5.0, 7), s.clone()];
    for damping in [KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace }] {
        let three = KroneckerN::new(factors.clone(), damping).expect("finite");
        solves("three factors", &three.damped(ctx, lambda).expect("definite"));
    }
    let pair = |scale: f64| {
        let (a, s) = (gallery::spd::<T>(4, 5.0, 8).map(|x| T::of(scale) * x), gallery::spd::<T>(2, 5.0, 9));
        KroneckerProduct::new(a, s).expect("fits")
    };
    let chain = BlockTridiagonal::new(ctx, vec![pair(1.0); 3], vec![pair(0.25); 2], PiRule::Trace).expect("consistent");
    solves("block-tridiagonal", &chain.damped(ctx, lambda).expect("definite"));
    let j = DenseJacobian::new(gallery::uniform::<T>(9, n, 10)).expect("finite");
    let sample_space = SampleSpace::new(&j);
    for path in [DirectPath::Primal, DirectPath::Kernel] {
        solves("sample space", &sample_space.direct(ctx, lambda, path).expect("definite"));
        let spectrum = sample_space.spectrum(ctx, path).expect("finite");
        solves("sample-space spectrum", &spectrum.damped(lambda).expect("definite"));
    }
    for path in [SampleSpacePath::ConjugateGradient, SampleSpacePath::Lsmr] {
        let options = SampleSpaceOptions { path, ..SampleSpaceOptions::default() };
        let iterative = SampleSpace::new(&j).with_options(options).expect("valid");
        solves("sample space, iterative", &iterative.damped(ctx, lambda).expect("definite"));
    }
    let weights = DiagonalMetric::new((0..n).map(|i| T::of(1.0 + i as f64)).collect()).expect("positive");
    let in_metric = InMetric::new(ctx, dense.clone(), weights.clone()).expect("orders");
    solves("in a metric", &in_metric.damped(ctx, lambda).expect("definite"));
    solves("scaled identity", &ScaledIdentity::new(n, T::ONE).expect("finite").damped(ctx, lambda).expect("definite"));
    solves("scaled", &Scaled::new(dense.clone(), T::of(3.0)).damped(ctx, lambda).expect("definite"));
    let permuted = Permuted::new(dense.clone(), (0..n).rev().collect()).expect("an order");
    solves("permuted", &permuted.damped(ctx, lambda).expect("definite"));
    let erased = AnyCapable::new(dense.clone());
    solves("erased", &erased.damped(ctx, lambda).expect("definite"));

    let operator = SymmetricDense::new(spd.clone()).expect("square");
    let free = MatrixFree::new(&operator, Definiteness::PositiveSemidefinite);
    let sum = SumCurvature::new(dense.clone(), low_rank).expect("orders");
    solves("sum", &sum.damped(ctx, lambda).expect("orders"));
    solves(
        "matrix-free in a metric",
        &free.clone().in_metric(weights).expect("orders").damped(ctx, lambda).expect("free"),
    );
    applies("Jacobi", &Jacobi::new(ctx, &dense, lambda).expect("finite"));
    applies("Nyström", &Nystrom::new(ctx, &dense, lambda, Budget::new(8, 11)).expect("finite"));
    applies("pivoted Cholesky", &PivotedCholesky::new(ctx, &dense, lambda, 6).expect("finite"));
    let sparse = SparseLower::from_dense(spd.as_ref(), T::ZERO).expect("finite");
    applies("incomplete Cholesky", &IncompleteCholesky::new(&sparse, lambda).expect("finite"));

    sweeps(ctx, &place("dense sweep"), &dense);
    sweeps(ctx, &place("matrix-free sweep"), &free);
    sweeps(ctx, &place("Kronecker sweep"), &Kronecker::new(a, s, KroneckerDamping::Exact).expect("finite"));
}

fn sweeps<T: Scalar, C: HasDampingSweep<T>>(ctx: &Ctx<T>, what: &str, c: &C) {
    let (sweep, b) = (c.sweep(ctx).expect("finite"), gallery::uniform::<T>(c.dim(), 2, 12));
    let lambdas = [0.1, 1.0, 10.0].map(|lambda| Damping::try_from(lambda).expect("positive"));
    same_bits(what, || {
        let mut x = lambdas.map(|_| Mat::zeros(c.dim(), 2));
        sweep.solve_sweep(ctx, b.as_ref(), &lambdas, &mut x).expect("definite");
        x
    });
}

#[test]
fn one_context_and_one_solver_serve_many_threads() {
    contexts::<f32>().iter().for_each(shared);
    contexts::<f64>().iter().for_each(shared);
    // two threads each, of the same pool
    contexts::<f64>().iter().for_each(|ctx| shared(&ctx.with_threads(2)));
}

#[test]
fn one_solver_of_every_kind_serves_many_threads() {
    contexts::<f32>().iter().for_each(shared_structures);
    contexts::<f64>().iter().for_each(shared_structures);
}
