//! Dense kernels and the solvers right above them, small enough for overhead to show.

use pullback::curvature::{Dense, KroneckerInverse};
use pullback::factor::SymEigen;
use pullback::kronecker::KroneckerEigen;
use pullback::krylov::{CgOptions, CgStart, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::gallery;
use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, Op};

use crate::Work;

type Named = (&'static str, Box<dyn Fn() -> Work>);

const LAMBDA: f64 = 0.1;

fn definite(n: usize) -> Mat<f64> {
    gallery::spd(n, 100.0, n as u64)
}

/// All of them on one backend.
pub fn kernels(ctx: &Ctx<f64>) -> Vec<Named> {
    let make = |name: &'static str, f: fn(Ctx<f64>) -> Work| -> Named {
        let ctx = ctx.clone();
        (name, Box::new(move || f(ctx.clone())))
    };
    vec![
        make("gemm_64", |ctx| {
            let (a, mut c) = (gallery::uniform(64, 64, 1), Mat::zeros(64, 64));
            Box::new(move || ctx.gemm(1.0, a.as_ref(), Op::No, a.as_ref(), Op::No, 0.0, c.as_mut()))
        }),
        make("statistics_65x64", |ctx| {
            let (x, mut a) = (gallery::uniform(65, 64, 2), Mat::zeros(65, 65));
            Box::new(move || ctx.syrk_lower(0.05, x.as_ref(), Op::Transpose, 0.95, a.as_mut()))
        }),
        make("potrf_64", |ctx| {
            let (a, mut l) = (definite(64), Mat::zeros(64, 64));
            Box::new(move || {
                l.as_mut().copy_from(a.as_ref())?;
                ctx.potrf(l.as_mut())
            })
        }),
        make("inverse_64", |ctx| {
            let (a, mut l) = (definite(64), Mat::zeros(64, 64));
            Box::new(move || {
                l.as_mut().copy_from(a.as_ref())?;
                ctx.potrf(l.as_mut())?;
                ctx.potri(l.as_mut())
            })
        }),
        make("eigen_32", |ctx| {
            let (a, mut q, mut w) = (definite(32), Mat::zeros(32, 32), vec![0.0; 32]);
            Box::new(move || {
                q.as_mut().copy_from(a.as_ref())?;
                ctx.syevd(q.as_mut(), &mut w)
            })
        }),
        make("kronecker_solve_21x10", kronecker_solve),
        make("damped_solve_4", |ctx| damped_solve(ctx, 4)),
        make("damped_solve_16", |ctx| damped_solve(ctx, 16)),
        make("damped_solve_64", |ctx| damped_solve(ctx, 64)),
        make("pcg_64_10_iterations", ten_iterations),
    ]
}

/// (A ⊗ S + λI)⁻¹ vec V through eigenbases that are there.
fn kronecker_solve(ctx: Ctx<f64>) -> Work {
    let side = |n| SymEigen::new(&ctx, definite(n)).expect("converges");
    let lambda = Damping::try_from(LAMBDA).expect("positive");
    let eigen = KroneckerEigen::from_parts(side(21), side(10));
    let solver = KroneckerInverse::from_eigen(eigen, lambda).expect("finite");
    let (v, mut out) = (gallery::uniform(10, 21, 3), Mat::zeros(10, 21));
    Box::new(move || solver.precondition_matrix(&ctx, v.as_ref(), out.as_mut()))
}

/// Damps a dense curvature and solves with it once.
fn damped_solve(ctx: Ctx<f64>, n: usize) -> Work {
    let curvature = Dense::new(definite(n)).expect("finite");
    let lambda = Damping::try_from(LAMBDA).expect("positive");
    let (b, mut x) = (gallery::uniform(n, 1, 4), Mat::zeros(n, 1));
    Box::new(move || {
        let solver = curvature.damped(&ctx, lambda)?;
        solver.solve(&ctx, b.as_ref(), x.as_mut()).map(drop)
    })
}

fn ten_iterations(ctx: Ctx<f64>) -> Work {
    let a = SymmetricDense::new(definite(64)).expect("square");
    let (b, mut x) = (gallery::uniform(64, 1, 5), Mat::zeros(64, 1));
    let options = CgOptions {
        max_iterations: 10,
        relative_tolerance: 0.0,
        stall: None,
        start: CgStart::Zero,
        ..CgOptions::default()
    };
    Box::new(move || pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &options).map(drop))
}

/// The same damped solves by calls of faer alone: what `damped_solve` is held against.
#[cfg(feature = "faer")]
pub fn direct() -> Vec<(String, Box<dyn Fn() -> Work>)> {
    let make = |n: usize| -> (String, Box<dyn Fn() -> Work>) {
        (format!("damped_solve_{n}.faer_alone"), Box::new(move || faer_alone(n)))
    };
    vec![make(4), make(16), make(64)]
}

/// Copies the matrix, adds λ to its diagonal, factors and solves; memory is there.
#[cfg(feature = "faer")]
fn faer_alone(n: usize) -> Work {
    use faer::dyn_stack::{MemBuffer, MemStack};
    use faer::linalg::cholesky::llt::{factor, solve};
    use faer::{MatMut, MatRef, Par, Spec};
    let (a, b) = (definite(n), gallery::uniform::<f64>(n, 1, 4));
    let (mut l, mut x) = (vec![0.0; n * n], vec![0.0; n]);
    let mut memory = MemBuffer::new(factor::cholesky_in_place_scratch::<f64>(n, Par::Seq, Spec::default()));
    Box::new(move || {
        l.copy_from_slice(a.as_slice());
        (0..n).for_each(|i| l[i + i * n] += LAMBDA);
        x.copy_from_slice(b.as_slice());
        let stack = MemStack::new(&mut memory);
        let view = MatMut::from_column_major_slice_mut(&mut l, n, n);
        factor::cholesky_in_place(view, Default::default(), Par::Seq, stack, Spec::default()).expect("definite");
        let view = MatRef::from_column_major_slice(&l, n, n);
        solve::solve_in_place(view, MatMut::from_column_major_slice_mut(&mut x, n, 1), Par::Seq, stack);
        Ok(())
    })
}
