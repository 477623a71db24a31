//! After one warm-up call the kernels and the `_into` and `_in_place` paths of the factorizations allocate nothing.
//!
//! Holds for one-thread contexts on every backend, with one exception: syevd of the reference backend, whose Jacobi
//! rotations work on two matrices of their own. (With more threads, forking tasks allocates inside the thread pool.)

#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::{CountingAllocator, allocations};
use pullback::backend::Ctx;
use pullback::factor::{Cholesky, SymEigen};
use pullback::testing::{contexts, gallery};
use pullback::{Mat, Op, Result, Scalar, Side};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Runs `work` twice and counts the second time.
fn after_warm_up(mut work: impl FnMut() -> Result<()>) -> usize {
    work().expect("warm-up");
    let before = allocations();
    work().expect("second run");
    allocations() - before
}

fn counts<T: Scalar>(ctx: &Ctx<T>, n: usize) -> Vec<(&'static str, usize)> {
    let (a, b) = (gallery::uniform::<T>(n, n, 1), gallery::uniform::<T>(n, n, 2));
    let spd = gallery::spd::<T>(n, 10.0, 3);
    let mut l = spd.clone();
    ctx.potrf(l.as_mut()).expect("positive definite");
    let (mut c, mut w, mut y) = (Mat::zeros(n, n), vec![T::ZERO; n], vec![T::ZERO; n]);
    let chol = Cholesky::new(ctx, spd.clone()).expect("positive definite");
    let eigen = SymEigen::new(ctx, spd.clone()).expect("finite");
    let (one, zero) = (T::ONE, T::ZERO);
    let mut refactored = Some(chol.clone());
    vec![
        ("gemm", after_warm_up(|| ctx.gemm(one, a.as_ref(), Op::No, b.as_ref(), Op::No, zero, c.as_mut()))),
        (
            "gemm, Aᵀ B",
            after_warm_up(|| ctx.gemm(one, a.as_ref(), Op::Transpose, b.as_ref(), Op::No, zero, c.as_mut())),
        ),
        ("gemm, A Bᵀ", after_warm_up(|| ctx.gemm(one, a.as_ref(), Op::No, b.as_ref(), Op::Transpose, one, c.as_mut()))),
        ("syrk", after_warm_up(|| ctx.syrk(one, a.as_ref(), Op::No, zero, c.as_mut()))),
        ("gemv", after_warm_up(|| ctx.gemv(one, a.as_ref(), Op::No, b.as_ref().col(0), zero, &mut y))),
        (
            "trsm",
            after_warm_up(|| {
                c.as_mut().copy_from(b.as_ref()).and_then(|()| {
                    ctx.trsm(Side::Left, l.as_ref(), Op::No, c.as_mut())?;
                    ctx.trsm(Side::Right, l.as_ref(), Op::Transpose, c.as_mut())
                })
            }),
        ),
        ("potrf", after_warm_up(|| c.as_mut().copy_from(spd.as_ref()).and_then(|()| ctx.potrf(c.as_mut())))),
        ("potri", after_warm_up(|| c.as_mut().copy_from(l.as_ref()).and_then(|()| ctx.potri(c.as_mut())))),
        ("syevd", after_warm_up(|| c.as_mut().copy_from(spd.as_ref()).and_then(|()| ctx.syevd(c.as_mut(), &mut w)))),
        ("Cholesky::solve_in_place", after_warm_up(|| chol.solve_in_place(ctx, c.as_mut()))),
        ("Cholesky::inverse_into", after_warm_up(|| chol.inverse_into(ctx, c.as_mut()))),
        (
            "Cholesky::refactor",
            after_warm_up(|| {
                refactored = refactored.take().map(|chol| chol.refactor(ctx, spd.as_ref())).transpose()?;
                Ok(())
            }),
        ),
        ("SymEigen::map_apply", after_warm_up(|| eigen.map_apply(ctx, T::sqrt, b.as_ref(), c.as_mut()))),
        ("SymEigen::solve_damped", after_warm_up(|| eigen.solve_damped(ctx, one, b.as_ref(), c.as_mut()))),
    ]
}

fn nothing_is_allocated<T: Scalar>() {
    for ctx in contexts::<T>() {
        let name = ctx.backend().name();
        let sizes: &[usize] = if name == "reference" { &[3, 40] } else { &[3, 40, 150, 300] };
        for &n in sizes {
            for (what, count) in counts(&ctx, n) {
                if name != "reference" || what != "syevd" {
                    assert_eq!(count, 0, "{name} {} {what} n = {n}", T::NAME);
                }
            }
        }
    }
}

#[test]
fn nothing_is_allocated_after_warm_up_f32() {
    nothing_is_allocated::<f32>();
}

#[test]
fn nothing_is_allocated_after_warm_up_f64() {
    nothing_is_allocated::<f64>();
}

#[test]
fn scratch_comes_from_the_pool_the_second_time() {
    let ctx = Ctx::<f64>::reference();
    assert_eq!(ctx.high_water(), 0);
    assert_eq!(
        after_warm_up(|| {
            drop((ctx.scratch(10, 3), ctx.scratch(4, 4)));
            Ok(())
        }),
        0
    );
    assert_eq!(ctx.high_water(), (30 + 16) * size_of::<f64>());
}

#[test]
fn the_counter_counts() {
    assert!(
        after_warm_up(|| {
            drop(std::hint::black_box(vec![1u8; 100]));
            Ok(())
        }) > 0
    );
}
