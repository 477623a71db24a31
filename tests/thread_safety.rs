//! Every public type is `Send` and `Sync`, and what is shared between threads gives each of them the bits of a lone call.

use std::sync::Arc;

use pullback::curvature::{BlockDiagonal, Definiteness, Dense, Diagonal, Kronecker, KroneckerDamping, MatrixFree};
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::{CgOptions, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::{contexts, gallery};
use pullback::{Ctx, Curvature, DampedSolver, Damping, LinearOperator, Mat, Scalar};

/// Checked by the compiler; the text of each list is kept for the completeness test.
macro_rules! send_and_sync {
    ($list:ident: $($t:ty),+ $(,)?) => {
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
    use pullback::curvature::*;
    use pullback::factor::*;
    use pullback::kronecker::*;
    use pullback::krylov::*;
    use pullback::linop::{DenseOperator, FnOperator, Identity, Scaled, Shifted, Sum, SymmetricDense};
    use pullback::optim::{costs::*, *};
    use pullback::random::Draws;
    use pullback::stats::{layout::Order, *};
    use pullback::testing::{gallery::Random, lapack::*};
    use pullback::*;

    use super::T;

    send_and_sync!(BASE: Error, Draws, Mat<T>, MatRef<'static, T>, MatMut<'static, T>, Op, Side);
    send_and_sync!(BACKEND: Ctx<T>, Scratch<'static, T>, Reference, PowerOfTwoScale<T>, dyn Backend<T>);
    #[cfg(feature = "faer")]
    send_and_sync!(FAER: Faer);
    #[cfg(feature = "blas")]
    send_and_sync!(BLAS: Blas);
    send_and_sync!(FACTOR: Cholesky<T>, SymEigen<T>, Lu<T>);
    type Closure = fn(&[T], &mut [T]) -> std::result::Result<(), std::fmt::Error>;
    send_and_sync!(
        LINOP: DenseOperator<T>, SymmetricDense<T>, FnOperator<T, Closure>, Identity, Scaled<T, Identity>,
        Shifted<T, Identity>, Sum<Identity, Identity>, dyn LinearOperator<T>, dyn SelfAdjoint<T>, dyn Preconditioner<T>,
        dyn HasDiagonal<T>,
    );
    send_and_sync!(KRYLOV: CgOptions<T>, CgStart, StallRule, CgReport<T>, CgColumn<T>, CgStop);
    send_and_sync!(KRONECKER: KroneckerProduct<T>, KroneckerEigen<T>);
    send_and_sync!(
        CURVATURE: Dense<T>, DenseInverse<T>, Diagonal<T>, DiagonalInverse<T>, Kronecker<T>, KroneckerDamping<T>,
        KroneckerInverse<T>, FactorInverse<T>, PiRule<T>, BlockDiagonal<T, Dense<T>>,
        BlockDiagonalInverse<T, DenseInverse<T>>, AnyCurvature<T>, MatrixFree<T, Identity>,
        MatrixFreeSolver<T, Identity>, Damping<T>, Definiteness, Fidelity, SolvePath, SolveReport, Recovery,
        dyn DampedSolver<T>,
    );
    send_and_sync!(STATS: Decay, MovingAverage, KroneckerFactors<T>, Order);
    send_and_sync!(
        OPTIM: Sgd<T>, MomentumKind, Adam<T>, Kfac<T, Vec<T>>, KfacOptions<T>, StepRule, GammaRule, Rejection,
        DampingAdaptation, KfacPreconditioner<T>, PreconditionerOptions<T>, RefreshReport, QuadraticModel, SubspaceStep,
        ModelDamping, LevenbergMarquardt, IterateAverage<T>, StepReport<T>, Passes, ParamBlock, ParamLayout, FisherKind,
        LayerShape, KfacCosts, DampingCosts,
    );
    send_and_sync!(
        TESTING: PoType, PoMatrix<T>, SepType, SepMatrix<T>, Form, Spectrum, Magnitude, Measured, Random,
    );
    #[cfg(feature = "nn")]
    mod nn {
        use pullback::nn::data::{csv::Table, idx::Idx, *};
        use pullback::nn::*;

        use super::super::T;

        send_and_sync!(
            NETWORKS: Mlp<T>, MlpBuilder<T>, Layer, Activation, Loss, Reduction, Init, Batch<T>, Workspace<T>, Metrics,
        );
        send_and_sync!(OPERATORS: GgnOperator<'static, T>, HessianOperator<'static, T>);
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
        let base = [BASE, BACKEND, FACTOR, LINOP, KRYLOV, KRONECKER, CURVATURE, STATS, OPTIM, TESTING, "Faer", "Blas"];
        base.into_iter().chain(nn::ALL).collect()
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

#[test]
fn one_context_and_one_solver_serve_many_threads() {
    contexts::<f32>().iter().for_each(shared);
    contexts::<f64>().iter().for_each(shared);
    // two threads each, of the same pool
    contexts::<f64>().iter().for_each(|ctx| shared(&ctx.with_threads(2)));
}
