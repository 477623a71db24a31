//! Operators made of operators: [`Shifted`] A + λI, [`Scaled`] s A, [`Sum`] A + B, [`Beside`] [A B].

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

impl<T: Scalar, A> Shifted<T, A> {
    /// A.
    pub fn inner(&self) -> &A {
        &self.inner
    }

    /// λ.
    pub fn shift(&self) -> T {
        self.shift
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

impl<T: Scalar, A> Scaled<T, A> {
    /// A.
    pub fn inner(&self) -> &A {
        &self.inner
    }

    /// s.
    pub fn factor(&self) -> T {
        self.factor
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

    /// A.
    pub fn left(&self) -> &A {
        &self.left
    }

    /// B.
    pub fn right(&self) -> &B {
        &self.right
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

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.left.apply_add(ctx, alpha, x, y.rb_mut())?;
        self.right.apply_add(ctx, alpha, x, y)
    }
}

impl<T: Scalar, A: SelfAdjoint<T>, B: SelfAdjoint<T>> SelfAdjoint<T> for Sum<A, B> {}

impl<T: Scalar, A: HasDiagonal<T>, B: HasDiagonal<T>> HasDiagonal<T> for Sum<A, B> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.left.diagonal(ctx, out)?;
        let mut right = ctx.scratch(out.len(), 1);
        self.right.diagonal(ctx, right.as_mut_slice())?;
        out.iter_mut().zip(right.as_slice()).for_each(|(d, &r)| *d += r);
        Ok(())
    }
}

/// [A B], two operators side by side: [A B] [x; y] = A x + B y, so [A B] [A B]ᵀ = A Aᵀ + B Bᵀ.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, linop::{Beside, Identity}};
/// let twice = Beside::new::<f64>(Identity::new(2), Identity::new(2))?;
/// let mut y = Mat::zeros(2, 1);
/// twice.apply(&Ctx::default(), Mat::from_vec(vec![1.0, 2.0, 3.0, 4.0], 4, 1)?.as_ref(), y.as_mut())?;
/// assert_eq!(y.as_slice(), [4.0, 6.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Beside<A, B> {
    left: A,
    right: B,
}

impl<A, B> Beside<A, B> {
    /// [A B].
    ///
    /// # Errors
    /// [`Error::Shape`] when they have different numbers of rows.
    pub fn new<T: Scalar>(left: A, right: B) -> Result<Self>
    where
        A: LinearOperator<T>,
        B: LinearOperator<T>,
    {
        let (mine, other) = (left.shape(), right.shape());
        if mine.0 != other.0 {
            return Err(Error::Shape { op: "Beside", expected: (mine.0, other.1), found: other });
        }
        Ok(Self { left, right })
    }
}

impl<T: Scalar, A: LinearOperator<T>, B: LinearOperator<T>> LinearOperator<T> for Beside<A, B> {
    fn shape(&self) -> (usize, usize) {
        let (m, n) = self.left.shape();
        (m, n + self.right.shape().1)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let (n, p, k) = (self.left.shape().1, self.right.shape().1, x.ncols());
        self.left.apply(ctx, x.submatrix(0, 0, n, k)?, y.rb_mut())?;
        self.right.apply_add(ctx, T::ONE, x.submatrix(n, 0, p, k)?, y)
    }
}
