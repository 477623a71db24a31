//! Elementwise work on the columns of several matrices at once: vectorized by run-time CPU detection, shared between
//! threads by halving the columns, without an allocation.

use pulp::{Arch, WithSimd};

use crate::backend::Ctx;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Elements below which a second thread costs more than it brings.
const MIN_PARALLEL: usize = 1 << 15;

/// Things with one part a column, which can be cut between two columns.
pub(super) trait Columns: Sized + Send {
    fn ncols(&self) -> usize;
    /// Columns 0..j and j.. .
    fn split(self, j: usize) -> (Self, Self);
}

impl<T: Scalar> Columns for MatMut<'_, T> {
    fn ncols(&self) -> usize {
        MatMut::ncols(self)
    }
    fn split(self, j: usize) -> (Self, Self) {
        self.split_at_col(j)
    }
}

impl<T: Scalar> Columns for MatRef<'_, T> {
    fn ncols(&self) -> usize {
        MatRef::ncols(self)
    }
    fn split(self, j: usize) -> (Self, Self) {
        (columns(self, 0, j), columns(self, j, MatRef::ncols(&self) - j))
    }
}

/// One number a column.
impl Columns for &mut [f64] {
    fn ncols(&self) -> usize {
        self.len()
    }
    fn split(self, j: usize) -> (Self, Self) {
        self.split_at_mut(j)
    }
}

/// The index of the first column, for kernels that must know where they are.
pub(super) struct From<V>(pub usize, pub V);

impl<V: Columns> Columns for From<V> {
    fn ncols(&self) -> usize {
        self.1.ncols()
    }
    fn split(self, j: usize) -> (Self, Self) {
        let (a, b) = self.1.split(j);
        (Self(self.0, a), Self(self.0 + j, b))
    }
}

macro_rules! columns_of_tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Columns),+> Columns for ($($name,)+) {
            fn ncols(&self) -> usize {
                self.0.ncols()
            }
            #[allow(non_snake_case)] // one pair a type parameter
            fn split(self, j: usize) -> (Self, Self) {
                $(let $name = self.$index.split(j);)+
                (($($name.0,)+), ($($name.1,)+))
            }
        }
    };
}
columns_of_tuple!(A 0, B 1);
columns_of_tuple!(A 0, B 1, C 2);
columns_of_tuple!(A 0, B 1, C 2, D 3);

/// Elementwise work. `run` is inlined into a function compiled for the CPU's vector instructions: it and what it calls
/// in its loops must be `#[inline(always)]`.
pub(super) trait Kernel<V>: Sync {
    fn run(&self, columns: V);
}

struct Vectorized<'k, K, V>(&'k K, V);

impl<V, K: Kernel<V>> WithSimd for Vectorized<'_, K, V> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        self.0.run(self.1);
    }
}

/// Runs a kernel over all columns; `rows` (of the tallest matrix) says how much work there is.
pub(super) fn run<T: Scalar, V: Columns>(ctx: &Ctx<T>, rows: usize, columns: V, kernel: &impl Kernel<V>) {
    let shares = ctx.threads().min(rows * columns.ncols() / MIN_PARALLEL + 1);
    share(shares, columns, kernel);
}

fn share<V: Columns>(shares: usize, columns: V, kernel: &impl Kernel<V>) {
    if shares <= 1 || columns.ncols() < 2 {
        return Arch::new().dispatch(Vectorized(kernel, columns));
    }
    let left = shares / 2;
    let cut = columns.ncols() * left / shares;
    let (a, b) = columns.split(cut);
    rayon::join(|| share(left, a, kernel), || share(shares - left, b, kernel));
}

/// Columns j..j+n of a view; the caller knows that they exist.
pub(super) fn columns<T: Scalar>(a: MatRef<'_, T>, j: usize, n: usize) -> MatRef<'_, T> {
    top(a, a.nrows(), j, n)
}

/// Rows 0..m of columns j..j+n of a view; the caller knows that they exist.
pub(super) fn top<T: Scalar>(a: MatRef<'_, T>, m: usize, j: usize, n: usize) -> MatRef<'_, T> {
    match a.submatrix(0, j, m, n) {
        Ok(view) => view,
        Err(_) => unreachable!("the view lies inside by construction"),
    }
}

/// Y ← Y + α X.
pub(super) fn axpy<T: Scalar>(ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) {
    run(ctx, x.nrows(), (x, y), &Axpy(alpha));
}

struct Axpy<T>(T);

impl<T: Scalar> Kernel<(MatRef<'_, T>, MatMut<'_, T>)> for Axpy<T> {
    #[inline(always)]
    fn run(&self, (x, mut y): (MatRef<'_, T>, MatMut<'_, T>)) {
        for (x, y) in x.cols().zip(y.cols_mut()) {
            for (&x, y) in x.iter().zip(y) {
                *y += self.0 * x;
            }
        }
    }
}
