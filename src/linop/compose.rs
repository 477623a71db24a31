//! Operators made of operators: [`Shifted`] A + λI, [`Scaled`] s A, [`Sum`] A + B.

use super::{HasDiagonal, LinearOperator, SelfAdjoint};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// A + λI for a symmetric A.
#[derive(Debug, Clone)]
pub struct Shifted<T, A> {
    inner: A,
    shift: T,
}

impl<T: Scalar, A: SelfAdjoint<T>> Shifted<T, A> {
    /// A + λI; λ may have any sign.
    pub fn new(inner: A, shift: T) -> Self {
        Self { inner, shift }
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> LinearOperator<T> for Shifted<T, A> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_into(ctx, x, y.rb_mut())?;
        for (y, x) in y.cols_mut().zip(x.cols()) {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y += self.shift * x);
        }
        Ok(())
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> SelfAdjoint<T> for Shifted<T, A> {}

impl<T: Scalar, A: HasDiagonal<T>> HasDiagonal<T> for Shifted<T, A> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.inner.diagonal(ctx, out)?;
        out.iter_mut().for_each(|d| *d += self.shift);
        Ok(())
    }
}

/// s A.
#[derive(Debug, Clone)]
pub struct Scaled<T, A> {
    inner: A,
    factor: T,
}

impl<T: Scalar, A: LinearOperator<T>> Scaled<T, A> {
    /// s A for any s.
    pub fn new(inner: A, factor: T) -> Self {
        Self { inner, factor }
    }
}

impl<T: Scalar, A: LinearOperator<T>> LinearOperator<T> for Scaled<T, A> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_into(ctx, x, y.rb_mut())?;
        y.cols_mut().for_each(|y| y.iter_mut().for_each(|y| *y *= self.factor));
        Ok(())
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.inner.apply_add(ctx, alpha * self.factor, x, y)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> SelfAdjoint<T> for Scaled<T, A> {}

impl<T: Scalar, A: HasDiagonal<T>> HasDiagonal<T> for Scaled<T, A> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.inner.diagonal(ctx, out)?;
        out.iter_mut().for_each(|d| *d *= self.factor);
        Ok(())
    }
}

/// A + B.
#[derive(Debug, Clone)]
pub struct Sum<A, B> {
    left: A,
    right: B,
}

impl<A, B> Sum<A, B> {
    /// A + B.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ.
    pub fn new<T: Scalar>(left: A, right: B) -> Result<Self>
    where
        A: LinearOperator<T>,
        B: LinearOperator<T>,
    {
        if left.shape() != right.shape() {
            return Err(Error::Shape { op: "Sum", expected: left.shape(), found: right.shape() });
        }
        Ok(Self { left, right })
    }
}

impl<T: Scalar, A: LinearOperator<T>, B: LinearOperator<T>> LinearOperator<T> for Sum<A, B> {
    fn shape(&self) -> (usize, usize) {
        self.left.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.left.apply_into(ctx, x, y.rb_mut())?;
        self.right.apply_add(ctx, T::ONE, x, y)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, B: SelfAdjoint<T>> SelfAdjoint<T> for Sum<A, B> {}
