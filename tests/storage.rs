//! The tables of docs/storage.md against what the code takes: scratch by the pool's high-water mark, values by the bytes
//! they keep on the heap.

mod cg_support;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;
mod storage_kept;

use cg_support::*;
use pullback::curvature::precondition::{IncompleteCholesky, Nystrom, PivotedCholesky, SparseLower};
use pullback::curvature::{
    BlockTridiagonal, Curvature, DampedSolver, Damping, Definiteness, Dense, DenseJacobian, Diagonal, DirectPath,
    EigenKronecker, HasDampingSweep, InMetric, Kronecker, KroneckerDamping, KroneckerN, LowRank, MatrixFree, Permuted,
    PiRule, SampleSpace, SampleSpaceOptions, SampleSpacePath, ScaledIdentity,
};
use pullback::factor::{Cholesky, SymEigen};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::krylov::{
    Budget, CgOptions, LanczosOptions, LsmrOptions, MinresOptions, Reorthogonalization, block_cg, gltr, lanczos,
    lanczos_block, lsmr, lsqr, minres, multi_shift_cg, multi_shift_cg_in_metric, pcg, steihaug,
};
use pullback::linop::{DenseOperator, DiagonalMetric, Identity};
use pullback::optim::{
    Adam, IterateAverage, Linearization, MomentumKind, Objective, Optimizer, ParamLayout, ResidualObjective, Sgd,
    Spring, SpringOptions,
};
use pullback::stats::{Decay, KroneckerFactors};
use pullback::testing::contexts;
use pullback::{Ctx, LinearOperator, Mat, Preconditioner, Result};

#[global_allocator]
static ALLOCATOR: counting_allocator::CountingAllocator = counting_allocator::CountingAllocator;

const F64: usize = size_of::<f64>();
/// Bytes of bookkeeping (reference counts, small lists) that are not worth a row.
const SMALL: usize = 512;

/// The numbers in the row that starts with `name`.
fn stated(name: &str, numbers: usize) -> Vec<usize> {
    let table = include_str!("../docs/storage.md");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with(&format!("| {name} |"))).collect();
    assert_eq!(rows.len(), 1, "rows for {name}");
    let cells = rows[0].split('|').skip(2).take(numbers);
    cells.map(|cell| cell.trim().parse().unwrap_or_else(|_| panic!("{name}: no number in {cell:?}"))).collect()
}

fn spd(n: usize) -> Mat<f64> {
    with_spectrum(&graded(n, 20.0), n as u64)
}

fn lambda() -> Damping<f64> {
    Damping::new(0.5).expect("positive")
}

/// Scratch that `work` takes from a fresh context, in n-vectors for each of k columns, on every backend.
fn scratch_row(name: &str, work: impl Fn(&Ctx<f64>, &Mat<f64>, &mut Mat<f64>)) {
    // one order for every row; 60 = 12 x 5 for the Kronecker products
    for (n, k) in [(60, 1), (60, 3)] {
        for ctx in contexts::<f64>() {
            let (b, mut x) = (random(n, k, 1), Mat::zeros(n, k));
            work(&ctx, &b, &mut x);
            let expected = stated(name, 1)[0] * n * k * F64;
            assert_eq!(ctx.high_water(), expected, "{name}: n = {n}, k = {k}, {}", ctx.backend().name());
        }
    }
}

#[test]
fn scratch_for_right_hand_sides() {
    let n = 60;
    let a = operator::<f64>(&spd(n));
    let identity = Identity::new(n);
    let solve = |m_inv: Option<&dyn Preconditioner<f64>>, ctx: &Ctx<f64>, b: &Mat<f64>, x: &mut Mat<f64>| {
        pcg(ctx, &a, m_inv, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    };
    scratch_row("pcg without preconditioner", |ctx, b, x| solve(None, ctx, b, x));
    scratch_row("pcg with preconditioner", |ctx, b, x| solve(Some(&identity), ctx, b, x));
    let free = MatrixFree::new(&a, Definiteness::PositiveSemidefinite);
    let solver = free.damped(&Ctx::default(), lambda()).unwrap();
    scratch_row("MatrixFree damped solve", |ctx, b, x| {
        solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
    });
    scratch_row("apply_add, the default", |ctx, b, x| identity.apply_add(ctx, 2.0, b.as_ref(), x.as_mut()).unwrap());
    scratch_row("quadratic_form", |ctx, b, _| {
        free.quadratic_form(ctx, b.as_ref(), &mut vec![0.0; b.ncols()]).unwrap();
    });
    let reference = Ctx::reference();
    let cholesky = Cholesky::new(&reference, spd(n)).unwrap();
    scratch_row("Cholesky solve", |ctx, _, x| cholesky.solve_in_place(ctx, x.as_mut()).unwrap());
    let dense = Dense::new(spd(n)).unwrap().damped(&reference, lambda()).unwrap();
    scratch_row("Dense damped solve", |ctx, b, x| {
        dense.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
    });
    let eigen = SymEigen::new(&reference, spd(n)).unwrap();
    scratch_row("SymEigen map_apply", |ctx, b, x| eigen.map_apply(ctx, f64::sqrt, b.as_ref(), x.as_mut()).unwrap());
    for (name, damping) in [
        ("Kronecker damped solve, exact", KroneckerDamping::Exact),
        ("Kronecker damped solve, factored", KroneckerDamping::Factored { pi: PiRule::Trace }),
    ] {
        let kronecker = Kronecker::new(spd(12), spd(5), damping).unwrap().damped(&reference, lambda()).unwrap();
        scratch_row(name, |ctx, b, x| {
            kronecker.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        });
    }
}

#[test]
fn scratch_of_trust_regions() {
    let n = 60;
    let a = operator::<f64>(&spd(n));
    let identity = Identity::new(n);
    for (suffix, m_inv) in [("without", None), ("with", Some(&identity as &dyn Preconditioner<f64>))] {
        let (b, options) = (random(n, 1, 1), CgOptions::default());
        for method in ["Steihaug", "GLTR"] {
            for ctx in contexts::<f64>() {
                let mut x = vec![0.0; n];
                let solve = if method == "GLTR" { gltr } else { steihaug };
                solve(&ctx, &a, m_inv, b.as_slice(), 1e3, &mut x, &options).unwrap();
                let expected = stated(&format!("{method} {suffix} preconditioner"), 1)[0] * n * F64;
                assert_eq!(ctx.high_water(), expected, "{method} {suffix}, {}", ctx.backend().name());
            }
        }
    }
}

#[test]
fn scratch_of_the_other_kinds() {
    let (n, reference) = (60, Ctx::reference());
    fn solving<'a>(solver: impl DampedSolver<f64> + 'a) -> impl Fn(&Ctx<f64>, &Mat<f64>, &mut Mat<f64>) + 'a {
        move |ctx, b, x| {
            solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        }
    }
    let basis = KroneckerEigen::new(&reference, spd(12), spd(5)).unwrap();
    let corrected = EigenKronecker::uncorrected(basis).unwrap();
    scratch_row("EKFAC damped solve", solving(corrected.damped(&reference, lambda()).unwrap()));
    let diagonal = Diagonal::new(vec![1.0; n]).unwrap();
    scratch_row("Diagonal damped solve", solving(diagonal.damped(&reference, lambda()).unwrap()));
    let identity = ScaledIdentity::new(n, 1.0).unwrap();
    scratch_row("ScaledIdentity damped solve", solving(identity.damped(&reference, lambda()).unwrap()));
    let permuted = Permuted::new(diagonal, (0..n).rev().collect()).unwrap();
    scratch_row("Permuted damped solve", solving(permuted.damped(&reference, lambda()).unwrap()));
    let metric = DiagonalMetric::new(vec![2.0; n]).unwrap();
    let in_metric = InMetric::new(&reference, Dense::new(spd(n)).unwrap(), metric).unwrap();
    scratch_row("InMetric damped solve", solving(in_metric.damped(&reference, lambda()).unwrap()));
    let sparse = SparseLower::from_dense(spd(n).as_ref(), 0.0).unwrap();
    let incomplete = IncompleteCholesky::new(&sparse, lambda()).unwrap();
    scratch_row("IncompleteCholesky apply", |ctx, b, x| incomplete.apply(ctx, b.as_ref(), x.as_mut()).unwrap());
    let symmetric = operator::<f64>(&spd(n));
    let steps = LanczosOptions { reorthogonalization: Reorthogonalization::None, ..LanczosOptions::steps(4) };
    scratch_row("Lanczos", |ctx, b, _| drop(lanczos_block(ctx, &symmetric, b.as_ref(), steps).unwrap()));
}

/// Scratch that `work` takes from a fresh context: the numbers of the row, weighted by `sizes` of (n, K).
fn sized_scratch<const C: usize>(
    (name, n): (&str, usize),
    sizes: impl Fn(usize) -> [usize; C],
    work: impl Fn(&Ctx<f64>, &Mat<f64>, &mut Mat<f64>),
) {
    for (k, ctx) in [1, 3].into_iter().flat_map(|k| contexts::<f64>().into_iter().map(move |ctx| (k, ctx))) {
        let (b, mut x) = (random(n, k, 1), Mat::zeros(n, k));
        work(&ctx, &b, &mut x);
        let expected: usize = stated(name, C).iter().zip(sizes(k)).map(|(count, size)| count * size).sum();
        assert_eq!(ctx.high_water(), expected * F64, "{name}: {k} columns, {}", ctx.backend().name());
    }
}

#[test]
fn scratch_that_depends_on_a_rank() {
    let (n, rank, reference) = (60, 7, Ctx::reference());
    let low_rank = LowRank::scaled_identity(1.0, random(n, rank, 2)).unwrap();
    let size = |k: usize| [rank * k];
    sized_scratch(("LowRank apply", n), size, |ctx, b, x| low_rank.apply(ctx, b.as_ref(), x.as_mut()).unwrap());
    let solver = low_rank.damped(&reference, lambda()).unwrap();
    sized_scratch(("LowRank damped solve", n), size, |ctx, b, x| {
        solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
    });
    let dense = Dense::new(spd(n)).unwrap();
    let nystrom = Nystrom::new(&reference, &dense, lambda(), Budget::new(rank, 3)).unwrap();
    sized_scratch(("Nystrom apply", n), size, |ctx, b, x| nystrom.apply(ctx, b.as_ref(), x.as_mut()).unwrap());
    let pivoted = PivotedCholesky::new(&reference, &dense, lambda(), rank).unwrap();
    sized_scratch(("PivotedCholesky apply", n), size, |ctx, b, x| pivoted.apply(ctx, b.as_ref(), x.as_mut()).unwrap());
}

#[test]
fn scratch_of_sample_space_paths() {
    let (rows, p, reference) = (9, 40, Ctx::reference());
    let j = DenseJacobian::new(random(rows, p, 4)).unwrap();
    let c = SampleSpace::new(&j);
    let each = |k: usize| [rows * k, p * k];
    sized_scratch(("SampleSpace apply", p), each, |ctx, b, x| c.apply(ctx, b.as_ref(), x.as_mut()).unwrap());
    for (name, path) in
        [("SampleSpace solve, primal", DirectPath::Primal), ("SampleSpace solve, kernel", DirectPath::Kernel)]
    {
        let solver = c.direct(&reference, lambda(), path).unwrap();
        sized_scratch((name, p), each, |ctx, b, x| {
            solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        });
    }
    let kernel = c.direct(&reference, lambda(), DirectPath::Kernel).unwrap();
    sized_scratch(("SampleSpace solve_residual, kernel", p), each, |ctx, b, x| {
        let r = b.as_ref().submatrix(0, 0, rows, b.ncols()).unwrap();
        kernel.solve_residual(ctx, r, x.as_mut()).unwrap();
    });
    let by = |path| {
        let options = SampleSpaceOptions { path, ..SampleSpaceOptions::default() };
        SampleSpace::new(&j).with_options(options).unwrap().damped(&reference, lambda()).unwrap()
    };
    let solver = by(SampleSpacePath::ConjugateGradient);
    sized_scratch(("SampleSpace solve, conjugate gradient", p), each, |ctx, b, x| {
        solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
    });
    let solver = by(SampleSpacePath::Lsmr);
    sized_scratch(
        ("SampleSpace solve, LSMR", p),
        |_| [rows, p],
        |ctx, b, x| {
            solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        },
    );
    let tall = DenseOperator::new(random(p, rows, 5));
    let options = LsmrOptions::default();
    sized_scratch(
        ("LSMR", p),
        |_| [p, rows],
        |ctx, b, x| {
            let solution = &mut x.as_mut_slice()[..rows];
            lsmr(ctx, &tall, &b.as_slice()[..p], solution, &options).unwrap();
        },
    );
    sized_scratch(
        ("LSQR", p),
        |_| [p, rows],
        |ctx, b, x| {
            let solution = &mut x.as_mut_slice()[..rows];
            lsqr(ctx, &tall, &b.as_slice()[..p], solution, &options).unwrap();
        },
    );
}

#[test]
fn scratch_of_shifts_factors_and_chains() {
    let (n, reference) = (60, Ctx::reference());
    let a = operator::<f64>(&spd(n));
    let shifts = [0.5, 1.0, 2.0, 4.0, 8.0];
    sized_scratch(
        ("multi-shift CG", n),
        |k| [n * k, n * k * shifts.len()],
        |ctx, b, _| {
            let mut x = shifts.map(|_| Mat::zeros(n, b.ncols()));
            let mut views: Vec<_> = x.iter_mut().map(Mat::as_mut).collect();
            multi_shift_cg(ctx, &a, &shifts, b.as_ref(), &mut views, &CgOptions::default()).unwrap();
        },
    );
    let metric = DiagonalMetric::new(vec![2.0; n]).unwrap();
    sized_scratch(
        ("multi-shift CG in a metric", n),
        |k| [n * k, n * k * shifts.len()],
        |ctx, b, _| {
            let mut x = shifts.map(|_| Mat::zeros(n, b.ncols()));
            let mut views: Vec<_> = x.iter_mut().map(Mat::as_mut).collect();
            let options = CgOptions::default();
            multi_shift_cg_in_metric(ctx, &a, &metric, &shifts, b.as_ref(), &mut views, &options).unwrap();
        },
    );
    for (name, damping) in [
        ("KroneckerN damped solve, exact", KroneckerDamping::Exact),
        ("KroneckerN damped solve, factored", KroneckerDamping::Factored { pi: PiRule::Trace }),
    ] {
        let product = KroneckerN::new(vec![spd(4), spd(3), spd(5)], damping).unwrap();
        let solver = product.damped(&reference, lambda()).unwrap();
        sized_scratch(
            (name, n),
            |k| [n * k, n],
            |ctx, b, x| {
                solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
            },
        );
    }
    let solver = chain(3, 5, 4).damped(&reference, lambda()).unwrap();
    sized_scratch(
        ("BlockTridiagonal damped solve", n),
        |k| [n * k, 5 * 4 * k],
        |ctx, b, x| {
            solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        },
    );
}

#[test]
fn scratch_of_the_other_krylov_methods() {
    let n = 60;
    let a = operator::<f64>(&spd(n));
    let identity = Identity::new(n);
    let preconditioner: &dyn Preconditioner<f64> = &identity;
    for (name, m_inv) in [("MINRES without preconditioner", None), ("MINRES with preconditioner", Some(preconditioner))]
    {
        sized_scratch(
            (name, n),
            |_| [n],
            |ctx, b, x| {
                for (b, x) in b.as_ref().cols().zip(x.as_mut().cols_mut()) {
                    minres(ctx, &a, m_inv, b, x, &MinresOptions::default()).unwrap();
                }
            },
        );
    }
    for m_inv in [None, Some(preconditioner)] {
        sized_scratch(
            ("block CG", n),
            |k| [n * k, k * k],
            |ctx, b, x| {
                block_cg(ctx, &a, m_inv, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
            },
        );
    }
}

/// A chain of equal layers.
fn chain(layers: usize, d_in: usize, d_out: usize) -> BlockTridiagonal<f64> {
    let pair = |scale: f64| KroneckerProduct::new(spd(d_in).map(|x| scale * x), spd(d_out)).unwrap();
    let (blocks, links) = (vec![pair(1.0); layers], vec![pair(0.25); layers - 1]);
    BlockTridiagonal::new(&Ctx::reference(), blocks, links, PiRule::Trace).unwrap()
}

#[test]
fn scratch_for_factorizations() {
    let n = 65;
    for (name, work) in [
        ("Cholesky inverse", (|ctx, a| drop(Cholesky::new(ctx, a).unwrap().inverse(ctx).unwrap())) as fn(&Ctx<f64>, _)),
        ("Cholesky factor", |ctx, a| drop(Cholesky::new(ctx, a).unwrap())),
        ("SymEigen factor", |ctx, a| drop(SymEigen::new(ctx, a).unwrap())),
    ] {
        for ctx in contexts::<f64>() {
            work(&ctx, spd(n));
            let lapack = name == "Cholesky inverse" && ctx.backend().name() == "blas";
            let row = if lapack { "Cholesky inverse by LAPACK" } else { name };
            assert_eq!(ctx.high_water(), stated(row, 1)[0] * n * n * F64, "{name}, {}", ctx.backend().name());
        }
    }
}
