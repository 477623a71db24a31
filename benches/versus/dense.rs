//! Dense kernels: products, statistics, inverses, eigendecompositions, Kronecker solves.

use pullback::curvature::KroneckerInverse;
use pullback::factor::SymEigen;
use pullback::kronecker::KroneckerEigen;
use pullback::testing::gallery;
use pullback::{Ctx, Damping, Mat, Op, Scalar};

use crate::inputs::{BATCH, pattern, read_definite};
use crate::task::{Task, Work, norm, repeatable};
use crate::{Failure, Settings};

/// λ of the Kronecker solves.
const LAMBDA: f64 = 1e-2;

/// The task of a name and its sizes.
pub fn task<T: Scalar>(
    settings: &Settings,
    name: &str,
    size: impl Fn(usize) -> Result<usize, Failure>,
) -> Result<Option<Box<dyn Task>>, Failure> {
    let ctx = settings.context::<T>()?;
    Ok(Some(match name {
        "gemm" => gemm(ctx, size(0)?),
        "statistics" => statistics(ctx, size(0)?, size(1)?),
        "inverse" => inverse(ctx, read_definite(&settings.folder, size(0)?)?),
        "eigen" => eigen(ctx, read_definite(&settings.folder, size(0)?)?),
        "kronecker" => {
            let solver = kronecker(&ctx, settings, size(0)?, size(1)?)?;
            let (v, out) = (pattern::<T>(size(1)?, size(0)?), Mat::zeros(size(1)?, size(0)?));
            repeatable(
                (v, out),
                |(_, out)| norm(out.as_slice()),
                move |(v, out)| solver.precondition_matrix(&ctx, v.as_ref(), out.as_mut()),
            )
        }
        "kronecker_factors" => factors(ctx, settings, size(0)?, size(1)?)?,
        _ => return Ok(None),
    }))
}

fn trace<T: Scalar>(a: &Mat<T>) -> Option<f64> {
    Some((0..a.nrows()).map(|i| a[(i, i)].f64()).sum())
}

/// C ← A B of order n: the roof.
fn gemm<T: Scalar>(ctx: Ctx<T>, n: usize) -> Box<dyn Task> {
    let matrices = (gallery::uniform::<T>(n, n, 1), gallery::uniform::<T>(n, n, 2), Mat::zeros(n, n));
    repeatable(
        matrices,
        |_| None,
        move |(a, b, c)| ctx.gemm(T::ONE, a.as_ref(), Op::No, b.as_ref(), Op::No, T::ZERO, c.as_mut()),
    )
}

/// The lower triangle of A ← 0.95 A + 0.05/cases Ā Āᵀ, a column of Ā being a case.
fn statistics<T: Scalar>(ctx: Ctx<T>, cases: usize, n: usize) -> Box<dyn Task> {
    let alpha = T::of(0.05 / cases as f64);
    repeatable(
        (pattern::<T>(n, cases), Mat::zeros(n, n)),
        |(_, a)| trace(a),
        move |(x, a)| ctx.syrk_lower(alpha, x.as_ref(), Op::Transpose, T::of(0.95), a.as_mut()),
    )
}

/// A⁻¹, both triangles.
fn inverse<T: Scalar>(ctx: Ctx<T>, a: Mat<T>) -> Box<dyn Task> {
    let out = a.clone();
    Box::new(Work {
        state: (a, out),
        restore: |(a, out): &mut (Mat<T>, Mat<T>)| out.as_mut().copy_from(a.as_ref()),
        run: move |(_, out): &mut (Mat<T>, Mat<T>)| {
            ctx.potrf(out.as_mut())?;
            ctx.potri(out.as_mut())
        },
        steps: 1,
        check: |(_, out)| trace(out),
    })
}

/// All eigenvalues and eigenvectors.
fn eigen<T: Scalar>(ctx: Ctx<T>, a: Mat<T>) -> Box<dyn Task> {
    let (out, values) = (a.clone(), vec![T::ZERO; a.nrows()]);
    Box::new(Work {
        state: (a, out, values),
        restore: |(a, out, _): &mut (Mat<T>, Mat<T>, Vec<T>)| out.as_mut().copy_from(a.as_ref()),
        run: move |(_, out, values): &mut (Mat<T>, Mat<T>, Vec<T>)| ctx.syevd(out.as_mut(), values),
        steps: 1,
        check: |(_, _, values)| Some(values.iter().map(|w| w.f64().ln()).sum()),
    })
}

/// (A ⊗ S + λI)⁻¹ through eigenbases that are there already.
fn kronecker<T: Scalar>(
    ctx: &Ctx<T>,
    settings: &Settings,
    d_in: usize,
    d_out: usize,
) -> Result<KroneckerInverse<T>, Failure> {
    let side = |n| -> Result<_, Failure> { Ok(SymEigen::new(ctx, read_definite::<T>(&settings.folder, n)?)?) };
    let eigen = KroneckerEigen::from_parts(side(d_in)?, side(d_out)?);
    Ok(KroneckerInverse::from_eigen(eigen, Damping::try_from(LAMBDA)?)?)
}

/// The same applied to the gradient G Aᵀ of a batch, of which the factors are given.
fn factors<T: Scalar>(ctx: Ctx<T>, settings: &Settings, d_in: usize, d_out: usize) -> Result<Box<dyn Task>, Failure> {
    let inverse = kronecker(&ctx, settings, d_in, d_out)?;
    let (a, g) = (pattern::<T>(d_in, BATCH), pattern::<T>(d_out, BATCH));
    Ok(repeatable(
        Mat::<T>::zeros(d_out, d_in),
        |v| norm(v.as_slice()),
        move |v| inverse.precondition_product(&ctx, T::ONE, g.as_ref(), a.as_ref(), v.as_mut()),
    ))
}
