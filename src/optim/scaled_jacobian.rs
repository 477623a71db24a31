//! J D^(-1/2) as a source of products, which counts them, also those that its matrices are made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Passes;
use crate::backend::Ctx;
use crate::curvature::{JacobianCosts, JacobianSource};
use crate::error::Result;
use crate::linop::{LinearOperator, TransposeOperator};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// Products with J and with Jᵀ so far.
#[derive(Debug, Default)]
pub(super) struct Products {
    jvp: AtomicU64,
    vjp: AtomicU64,
}

impl Products {
    pub(super) fn passes(&self) -> Passes {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Passes { jvp: read(&self.jvp), vjp: read(&self.vjp), ..Passes::default() }
    }

    fn add(&self, jvp: u64, vjp: u64) {
        self.jvp.fetch_add(jvp, Ordering::Relaxed);
        self.vjp.fetch_add(vjp, Ordering::Relaxed);
    }
}

/// J with its columns divided by roots, where there are any.
#[derive(Debug)]
pub(super) struct ScaledJacobian<T, J> {
    inner: Arc<J>,
    roots: Option<Vec<T>>,
    products: Arc<Products>,
}

impl<T: Scalar, J: JacobianSource<T>> ScaledJacobian<T, J> {
    pub(super) fn new(inner: Arc<J>, roots: Option<Vec<T>>, products: Arc<Products>) -> Self {
        Self { inner, roots, products }
    }

    pub(super) fn roots(&self) -> Option<&[T]> {
        self.roots.as_deref()
    }
}

fn divide<T: Scalar>(mut x: MatMut<'_, T>, roots: &[T]) {
    for x in x.cols_mut() {
        x.iter_mut().zip(roots).for_each(|(x, &root)| *x /= root);
    }
}

impl<T: Scalar, J: JacobianSource<T>> LinearOperator<T> for ScaledJacobian<T, J> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.products.add(x.ncols() as u64, 0);
        let Some(roots) = &self.roots else { return self.inner.apply_into(ctx, x, y) };
        let mut scaled = ctx.scratch(x.nrows(), x.ncols());
        scaled.as_mut().copy_from(x)?;
        divide(scaled.as_mut(), roots);
        self.inner.apply_into(ctx, scaled.as_ref(), y)
    }
}

impl<T: Scalar, J: JacobianSource<T>> TransposeOperator<T> for ScaledJacobian<T, J> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.products.add(0, x.ncols() as u64);
        self.inner.apply_transpose_into(ctx, x, y.rb_mut())?;
        if let Some(roots) = &self.roots {
            divide(y, roots);
        }
        Ok(())
    }
}

impl<T: Scalar, J: JacobianSource<T>> JacobianSource<T> for ScaledJacobian<T, J> {
    /// J D⁻¹ Jᵀ by products where there is a D: the structure of J Jᵀ is lost to it.
    fn kernel_into(&self, ctx: &Ctx<T>, mut k: MatMut<'_, T>) -> Result<()> {
        const BLOCK: usize = 32;
        if self.roots.is_none() {
            let products = self.inner.costs().kernel_products;
            self.products.add(products, products);
            return self.inner.kernel_into(ctx, k);
        }
        let (n, p) = self.shape();
        for start in (0..n).step_by(BLOCK) {
            let width = BLOCK.min(n - start);
            let units = Mat::from_fn(n, width, |i, j| if i == start + j { T::ONE } else { T::ZERO });
            let mut rows = ctx.scratch(p, width);
            self.apply_transpose(ctx, units.as_ref(), rows.as_mut())?;
            self.apply(ctx, rows.as_ref(), k.rb_mut().submatrix(0, start, n, width)?)?;
        }
        let half = T::of(0.5);
        for j in 0..n {
            for i in j + 1..n {
                let mean = half * k.at(i, j) + half * k.at(j, i);
                *k.at_mut(i, j) = mean;
            }
        }
        k.mirror_lower();
        Ok(())
    }

    fn gram_into(&self, ctx: &Ctx<T>, mut c: MatMut<'_, T>) -> Result<()> {
        let products = self.inner.costs().gram_products;
        self.products.add(products, products);
        self.inner.gram_into(ctx, c.rb_mut())?;
        if let Some(roots) = &self.roots {
            for (column, &root) in c.rb_mut().cols_mut().zip(roots) {
                column.iter_mut().zip(roots).for_each(|(c, &other)| *c = *c / root / other);
            }
        }
        Ok(())
    }

    fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.products.add(0, self.inner.costs().diagonal_products);
        self.inner.column_squares(ctx, out)?;
        if let Some(roots) = &self.roots {
            out.iter_mut().zip(roots).for_each(|(out, &root)| *out = *out / root / root);
        }
        Ok(())
    }

    fn costs(&self) -> JacobianCosts {
        let costs = self.inner.costs();
        match self.roots {
            None => costs,
            Some(_) => {
                let (n, p) = self.shape();
                let JacobianCosts { kernel, kernel_products, .. } = JacobianCosts::products(n, p, costs.product);
                JacobianCosts { kernel, kernel_products, ..costs }
            }
        }
    }
}
