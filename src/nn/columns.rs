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

/// Σ a_i b_i in f64, vectorized. The order of the sum depends on the length only, never on the thread count.
pub(super) fn dot<T: Scalar>(ctx: &Ctx<T>, a: &[T], b: &[T]) -> f64 {
    dot_tree(ctx.threads(), a, b)
}

fn dot_tree<T: Scalar>(threads: usize, a: &[T], b: &[T]) -> f64 {
    if a.len() <= MIN_PARALLEL {
        return Arch::new().dispatch(Dot(a, b));
    }
    let half = a.len() / 2;
    let ((a0, a1), (b0, b1)) = (a.split_at(half), b.split_at(half));
    let (left, right) = if threads > 1 {
        rayon::join(|| dot_tree(threads / 2, a0, b0), || dot_tree(threads - threads / 2, a1, b1))
    } else {
        (dot_tree(1, a0, b0), dot_tree(1, a1, b1))
    };
    left + right
}

struct Dot<'a, T>(&'a [T], &'a [T]);

impl<T: Scalar> WithSimd for Dot<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> f64 {
        const LANES: usize = 16;
        let mut lanes = [0.0; LANES];
        let (a, b) = (self.0.chunks_exact(LANES), self.1.chunks_exact(LANES));
        let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a.f64() * b.f64()).sum();
        for (a, b) in a.zip(b) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a.f64() * b.f64();
            }
        }
        lanes.iter().sum::<f64>() + rest
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
