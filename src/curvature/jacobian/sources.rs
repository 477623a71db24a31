//! Givers of a Jacobian: a matrix, chunks of rows, a pair of closures.
//!
//! Cost        stated with each giver.
//! Laws        tests/sample_space.rs (all givers of one matrix agree; chunks are never held all at once).

use std::marker::PhantomData;
use std::ops::Range;

use super::{JacobianCosts, JacobianSource};
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Error, Result, check_len};
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// J held as an N x P matrix.
///
/// ```
/// use pullback::curvature::{DenseJacobian, JacobianSource};
/// use pullback::{Ctx, Mat};
/// let j = DenseJacobian::new(Mat::from_fn(1, 3, |_, j| j as f64))?;
/// assert_eq!(j.kernel(&Ctx::default())?[(0, 0)], 5.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DenseJacobian<T>(Mat<T>);

impl<T: Scalar> DenseJacobian<T> {
    /// Takes J.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn new(j: Mat<T>) -> Result<Self> {
        check::finite("DenseJacobian", j.as_ref())?;
        Ok(Self(j))
    }

    /// J.
    pub fn matrix(&self) -> &Mat<T> {
        &self.0
    }
}

impl<T: Scalar> LinearOperator<T> for DenseJacobian<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(T::ONE, self.0.as_ref(), Op::No, x, Op::No, T::ZERO, y)
    }
}

impl<T: Scalar> TransposeOperator<T> for DenseJacobian<T> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(T::ONE, self.0.as_ref(), Op::Transpose, x, Op::No, T::ZERO, y)
    }
}

impl<T: Scalar> JacobianSource<T> for DenseJacobian<T> {
    fn kernel_into(&self, ctx: &Ctx<T>, k: MatMut<'_, T>) -> Result<()> {
        ctx.syrk(T::ONE, self.0.as_ref(), Op::Transpose, T::ZERO, k)
    }

    fn gram_into(&self, ctx: &Ctx<T>, c: MatMut<'_, T>) -> Result<()> {
        ctx.syrk(T::ONE, self.0.as_ref(), Op::No, T::ZERO, c)
    }

    fn column_squares(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("column_squares", self.0.ncols(), out.len())?;
        for (out, column) in out.iter_mut().zip(self.0.as_ref().cols()) {
            *out = column.iter().map(|&x| x * x).sum();
        }
        Ok(())
    }

    fn costs(&self) -> JacobianCosts {
        JacobianCosts::dense(self.0.nrows(), self.0.ncols())
    }
}

/// J made on demand, `chunk` rows at a time: `fill(rows, out)` writes rows `rows` of J into `out` (rows.len() x P).
///
/// At most two chunks exist at once. A product makes every chunk once, C = JᵀJ too; K = J Jᵀ from c chunks makes
/// c (c + 1) / 2 of them.
///
/// ```
/// use pullback::curvature::{JacobianSource, RowChunks};
/// use pullback::{Ctx, MatMut};
/// let j = RowChunks::new(5, 3, 2, |rows: std::ops::Range<usize>, mut out: MatMut<'_, f64>| {
///     rows.clone().for_each(|i| (0..3).for_each(|p| *out.at_mut(i - rows.start, p) = (i * p) as f64));
///     Ok::<(), std::convert::Infallible>(())
/// })?;
/// assert_eq!(j.kernel(&Ctx::default())?[(4, 3)], (4 * 3 * (1 + 4)) as f64);
/// # Ok::<(), pullback::Error>(())
/// ```
pub struct RowChunks<T, F> {
    rows: usize,
    columns: usize,
    chunk: usize,
    fill: F,
    scalar: PhantomData<fn(T)>,
}

impl<T: Scalar, F> RowChunks<T, F> {
    /// J of `rows` x `columns`, made `chunk` rows at a time; equal ranges must give equal rows.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a chunk of no row.
    pub fn new<E>(rows: usize, columns: usize, chunk: usize, fill: F) -> Result<Self>
    where
        F: Fn(Range<usize>, MatMut<'_, T>) -> Result<(), E> + Send + Sync,
        E: std::error::Error + Send + Sync + 'static,
    {
        if chunk == 0 {
            return Err(Error::invalid("chunk", "must be at least 1 row"));
        }
        Ok(Self { rows, columns, chunk, fill, scalar: PhantomData })
    }

    /// The ranges of rows, in order.
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<T, F> {
        let (rows, chunk) = (self.rows, self.chunk);
        (0..rows).step_by(chunk).map(move |start| start..rows.min(start + chunk))
    }

    fn make<'p, E>(&self, ctx: &'p Ctx<T>, rows: Range<usize>) -> Result<Scratch<'p, T>>
    where
        F: Fn(Range<usize>, MatMut<'_, T>) -> Result<(), E>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut chunk = ctx.scratch(rows.len(), self.columns);
        (self.fill)(rows, chunk.as_mut()).map_err(Error::external)?;
        Ok(chunk)
    }
}

impl<T, F, E> LinearOperator<T> for RowChunks<T, F>
where
    T: Scalar,
    F: Fn(Range<usize>, MatMut<'_, T>) -> Result<(), E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        for rows in self.chunks() {
            let part = y.rb_mut().submatrix(rows.start, 0, rows.len(), x.ncols())?;
            let chunk = self.make(ctx, rows)?;
            ctx.gemm(T::ONE, chunk.as_ref(), Op::No, x, Op::No, T::ZERO, part)?;
        }
        Ok(())
    }
}

impl<T, F, E> TransposeOperator<T> for RowChunks<T, F>
where
    T: Scalar,
    F: Fn(Range<usize>, MatMut<'_, T>) -> Result<(), E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.fill(T::ZERO);
        for rows in self.chunks() {
            let part = x.submatrix(rows.start, 0, rows.len(), x.ncols())?;
            let chunk = self.make(ctx, rows)?;
            ctx.gemm(T::ONE, chunk.as_ref(), Op::Transpose, part, Op::No, T::ONE, y.rb_mut())?;
        }
        Ok(())
    }
}

impl<T, F, E> JacobianSource<T> for RowChunks<T, F>
where
    T: Scalar,
    F: Fn(Range<usize>, MatMut<'_, T>) -> Result<(), E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    fn kernel_into(&self, ctx: &Ctx<T>, mut k: MatMut<'_, T>) -> Result<()> {
        for left in self.chunks() {
            let a = self.make(ctx, left.clone())?;
            let block = k.rb_mut().submatrix(left.start, left.start, left.len(), left.len())?;
            ctx.syrk(T::ONE, a.as_ref(), Op::Transpose, T::ZERO, block)?;
            for below in self.chunks().filter(|below| below.start > left.start) {
                let block = k.rb_mut().submatrix(below.start, left.start, below.len(), left.len())?;
                let b = self.make(ctx, below)?;
                ctx.gemm(T::ONE, b.as_ref(), Op::No, a.as_ref(), Op::Transpose, T::ZERO, block)?;
            }
        }
        k.mirror_lower();
        Ok(())
    }

    fn gram_into(&self, ctx: &Ctx<T>, mut c: MatMut<'_, T>) -> Result<()> {
        c.fill(T::ZERO);
        for rows in self.chunks() {
            let chunk = self.make(ctx, rows)?;
            ctx.syrk_lower(T::ONE, chunk.as_ref(), Op::No, T::ONE, c.rb_mut())?;
        }
        c.mirror_lower();
        Ok(())
    }

    fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("column_squares", self.columns, out.len())?;
        out.fill(T::ZERO);
        for rows in self.chunks() {
            let chunk = self.make(ctx, rows)?;
            for (out, column) in out.iter_mut().zip(chunk.as_ref().cols()) {
                *out += column.iter().map(|&x| x * x).sum();
            }
        }
        Ok(())
    }

    fn costs(&self) -> JacobianCosts {
        JacobianCosts::dense(self.rows, self.columns)
    }
}

impl<T, F> std::fmt::Debug for RowChunks<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = (self.rows, self.columns);
        f.debug_struct("RowChunks").field("shape", &shape).field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

/// J known by two closures on single vectors, v ↦ J v and u ↦ Jᵀu: how an automatic differentiation framework hands in
/// its Jacobian-vector products.
///
/// ```
/// use pullback::curvature::{JacobianSource, JvpVjp};
/// use pullback::Ctx;
/// use std::convert::Infallible;
/// let jvp = |v: &[f64], out: &mut [f64]| {
///     out[0] = v[0] + 2.0 * v[1];
///     Ok::<(), Infallible>(())
/// };
/// let vjp = |u: &[f64], out: &mut [f64]| {
///     out.copy_from_slice(&[u[0], 2.0 * u[0]]);
///     Ok::<(), Infallible>(())
/// };
/// let j = JvpVjp::new(1, 2, jvp, vjp).with_product_flops(4.0);
/// assert_eq!(j.kernel(&Ctx::default())?[(0, 0)], 5.0);
/// # Ok::<(), pullback::Error>(())
/// ```
pub struct JvpVjp<T, F, G> {
    rows: usize,
    columns: usize,
    jvp: F,
    vjp: G,
    product_flops: f64,
    scalar: PhantomData<fn(T)>,
}

impl<T: Scalar, F, G> JvpVjp<T, F, G> {
    /// `jvp(v, out)` writes J v (N numbers), `vjp(u, out)` writes Jᵀu (P numbers) for the same J (N x P).
    pub fn new<E, H>(rows: usize, columns: usize, jvp: F, vjp: G) -> Self
    where
        F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
        G: Fn(&[T], &mut [T]) -> Result<(), H> + Send + Sync,
        E: std::error::Error + Send + Sync + 'static,
        H: std::error::Error + Send + Sync + 'static,
    {
        let product_flops = 2.0 * rows as f64 * columns as f64;
        Self { rows, columns, jvp, vjp, product_flops, scalar: PhantomData }
    }

    /// With the flops of one product, for the choice of a path; 2NP unless told.
    pub fn with_product_flops(self, product_flops: f64) -> Self {
        Self { product_flops, ..self }
    }
}

impl<T, F, G, E, H> LinearOperator<T> for JvpVjp<T, F, G>
where
    T: Scalar,
    F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
    G: Fn(&[T], &mut [T]) -> Result<(), H> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
    H: std::error::Error + Send + Sync + 'static,
{
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        x.cols().zip(y.cols_mut()).try_for_each(|(x, y)| (self.jvp)(x, y)).map_err(Error::external)
    }
}

impl<T, F, G, E, H> TransposeOperator<T> for JvpVjp<T, F, G>
where
    T: Scalar,
    F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
    G: Fn(&[T], &mut [T]) -> Result<(), H> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
    H: std::error::Error + Send + Sync + 'static,
{
    fn apply_transpose_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        x.cols().zip(y.cols_mut()).try_for_each(|(x, y)| (self.vjp)(x, y)).map_err(Error::external)
    }
}

impl<T, F, G, E, H> JacobianSource<T> for JvpVjp<T, F, G>
where
    T: Scalar,
    F: Fn(&[T], &mut [T]) -> Result<(), E> + Send + Sync,
    G: Fn(&[T], &mut [T]) -> Result<(), H> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
    H: std::error::Error + Send + Sync + 'static,
{
    fn costs(&self) -> JacobianCosts {
        JacobianCosts::products(self.rows, self.columns, self.product_flops)
    }
}

impl<T, F, G> std::fmt::Debug for JvpVjp<T, F, G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JvpVjp").field("shape", &(self.rows, self.columns)).finish_non_exhaustive()
    }
}
