//! The reference loops, counting the flops of products and the number of factorizations.

#![allow(dead_code)] // each test file uses its part

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pullback::backend::Reference;
use pullback::{Backend, MatMut, MatRef, Op, Result, Side};

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counting(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    flops: AtomicUsize,
    factorizations: AtomicUsize,
}

impl Counting {
    /// Of gemm and syrk.
    pub fn flops(&self) -> usize {
        self.0.flops.load(Ordering::Relaxed)
    }

    /// Cholesky and eigendecompositions.
    pub fn factorizations(&self) -> usize {
        self.0.factorizations.load(Ordering::Relaxed)
    }

    fn products(&self, flops: usize) {
        self.0.flops.fetch_add(flops, Ordering::Relaxed);
    }

    fn factorization(&self) {
        self.0.factorizations.fetch_add(1, Ordering::Relaxed);
    }
}

impl Backend<f64> for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn gemm(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        b: MatRef<'_, f64>,
        tb: Op,
        beta: f64,
        c: MatMut<'_, f64>,
    ) -> Result<()> {
        self.products(2 * c.nrows() * c.ncols() * ta.shape(a.shape()).1);
        Reference.gemm(threads, alpha, a, ta, b, tb, beta, c)
    }

    fn syrk_lower(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        beta: f64,
        c: MatMut<'_, f64>,
    ) -> Result<()> {
        self.products(c.nrows() * a.nrows() * a.ncols());
        Reference.syrk_lower(threads, alpha, a, ta, beta, c)
    }

    fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, f64>, tl: Op, b: MatMut<'_, f64>) -> Result<()> {
        Reference.trsm(threads, side, l, tl, b)
    }

    fn potrf(&self, threads: usize, a: MatMut<'_, f64>) -> Result<()> {
        self.factorization();
        Reference.potrf(threads, a)
    }

    fn syevd(&self, threads: usize, a: MatMut<'_, f64>, w: &mut [f64]) -> Result<()> {
        self.factorization();
        Reference.syevd(threads, a, w)
    }
}
