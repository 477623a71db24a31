//! The tables of docs/storage.md against what the code takes: scratch by the pool's high-water mark, values by the bytes
//! they keep on the heap.

mod cg_support;

use cg_support::*;
use pullback::curvature::{
    Curvature, DampedSolver, Damping, Definiteness, Dense, Diagonal, Kronecker, KroneckerDamping, MatrixFree, PiRule,
};
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::{CgOptions, pcg};
use pullback::linop::Identity;
use pullback::optim::{Adam, IterateAverage, MomentumKind, Objective, Optimizer, ParamLayout, Sgd};
use pullback::stats::{Decay, KroneckerFactors};
use pullback::testing::contexts;
use pullback::{Ctx, LinearOperator, Mat, Preconditioner, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts the bytes that this thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn add(bytes: isize) {
    // the thread-local may be gone while the thread ends
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

/// Bytes on the heap that belong to the value `make` returns.
fn kept<V>(make: impl FnOnce() -> V) -> usize {
    let before = LIVE.get();
    let value = make();
    let bytes = LIVE.get() - before;
    drop(value);
    usize::try_from(bytes).expect("a value holds no negative memory")
}

fn assert_kept<V>(name: &str, expected: usize, make: impl FnOnce() -> V) {
    let bytes = kept(make);
    assert!(bytes >= expected && bytes <= expected + SMALL, "{name} keeps {bytes} bytes, {expected} are stated");
}

fn kept_row<V>(name: &str, n: usize, make: impl FnOnce() -> V) {
    let counts = stated(name, 2);
    assert_kept(name, (counts[0] * n * n + counts[1] * n) * F64, make);
}

/// h(θ) = ½ ‖θ‖².
struct Bowl(ParamLayout);

impl Objective<f64> for Bowl {
    type Batch = ();
    fn layout(&self) -> &ParamLayout {
        &self.0
    }
    fn loss(&self, _: &Ctx<f64>, theta: &[f64], _: &()) -> Result<f64> {
        Ok(theta.iter().map(|x| 0.5 * x * x).sum())
    }
    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &(), grad: &mut [f64]) -> Result<f64> {
        grad.copy_from_slice(theta);
        self.loss(ctx, theta, batch)
    }
}

#[test]
fn what_is_kept() {
    let (n, ctx) = (200, Ctx::<f64>::reference());
    let (a, theta) = (spd(n), vec![1.0; n]);
    let bowl = Bowl(ParamLayout::new([(n, 1)]));
    // one first solve each, so that the pool's own growth is not counted
    drop(Cholesky::new(&ctx, a.clone()).unwrap());
    kept_row("Cholesky", n, || Cholesky::new(&ctx, a.clone()).unwrap());
    kept_row("SymEigen", n, || SymEigen::new(&ctx, a.clone()).unwrap());
    let dense = Dense::new(a.clone()).unwrap();
    kept_row("Dense damped inverse", n, || dense.damped(&ctx, lambda()).unwrap());
    let diagonal = Diagonal::new(theta.clone()).unwrap();
    kept_row("Diagonal damped inverse", n, || diagonal.damped(&ctx, lambda()).unwrap());
    fn steps<O: Optimizer<f64, Bowl>>(mut optimizer: O, bowl: &Bowl, theta: &[f64]) -> O {
        let mut theta = theta.to_vec();
        for _ in 0..3 {
            optimizer.step(&Ctx::reference(), bowl, &mut theta, &()).unwrap();
        }
        optimizer
    }
    kept_row("Sgd", n, || steps(Sgd::new(0.1, 0.9, MomentumKind::HeavyBall).unwrap(), &bowl, &theta));
    kept_row("Adam", n, || steps(Adam::new(0.1).unwrap(), &bowl, &theta));
    kept_row("IterateAverage", n, || {
        let mut average = IterateAverage::new(Decay::DEFAULT, 1);
        average.update(&theta);
        average
    });
}

#[test]
fn what_a_kfac_layer_keeps() {
    let (d_in, d_out, ctx) = (90, 70, Ctx::<f64>::reference());
    let pair = (d_in * d_in + d_out * d_out) * F64;
    let row = |name: &str| stated(name, 1)[0] * pair;
    let (activations, gradients) = (random(d_in, 100, 1), random(d_out, 100, 2));
    let statistics = || {
        let mut factors = KroneckerFactors::new(d_out, d_in, Decay::DEFAULT);
        for _ in 0..2 {
            factors.begin();
            factors.add_activations(&ctx, activations.as_ref(), 0.01).unwrap();
            factors.add_gradients(&ctx, gradients.as_ref(), 0.01).unwrap();
        }
        factors
    };
    assert_kept("statistics", row("statistics"), statistics);
    let factors = statistics();
    let (exact, factored) = (KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace });
    let snapshot = |damping| factors.snapshot(damping).unwrap().expect("data was added");
    assert_kept("snapshot", row("snapshot"), || snapshot(exact));
    let inverse = |damping| snapshot(damping).damped(&ctx, lambda()).unwrap();
    drop(inverse(factored)); // fills the pool
    assert_kept("factored", row("inverse, factored damping"), || inverse(factored));
    drop(inverse(exact));
    assert_kept("exact", row("inverse, exact damping") + (d_in + d_out) * F64, || inverse(exact));
}
