//! LU factorization P A = L U with partial pivoting of a general square matrix.
//!
//! Cost        factor 2n³/3 flops by column operations without blocking, solve 2n²k for k right-hand sides by
//!             triangular solves of the backend, inverse 2n³; 2n² numbers.
//! Deviations  U is held transposed, because [`Backend::trsm`](crate::Backend::trsm) reads lower triangles only. Not
//!             on a training path: the curvatures are symmetric and go through Cholesky or eigenvalues.
//! Laws        tests/factorizations_lu.rs (residual of the inverse, determinant, singular pivot).
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., algorithm 3.4.1.

use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatMut, Op, Side};
use crate::scalar::Scalar;

/// P A = L U, factored once, solved with many times.
///
/// ```
/// use pullback::{Ctx, Mat, factor::Lu};
/// let ctx = Ctx::<f64>::default();
/// let lu = Lu::new(Mat::from_vec(vec![0.0, 2.0, 4.0, 6.0], 2, 2)?)?; // [0 4; 2 6]
/// assert_eq!(lu.determinant(), -8.0);
/// assert!((lu.inverse(&ctx)?[(1, 0)] - 0.25).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lu<T> {
    /// Unit lower triangle.
    l: Mat<T>,
    /// Uᵀ, lower triangle.
    u_transposed: Mat<T>,
    /// Row i of P A is row `rows[i]` of A.
    rows: Vec<usize>,
    /// det P.
    sign: T,
}

impl<T: Scalar> Lu<T> {
    /// Factors A.
    ///
    /// # Errors
    /// [`Error::Singular`] with the first zero pivot, [`Error::NotFinite`], [`Error::Shape`].
    pub fn new(mut a: Mat<T>) -> Result<Self> {
        let n = check::square("Lu", a.as_ref())?;
        check::finite("Lu", a.as_ref())?;
        let mut rows: Vec<usize> = (0..n).collect();
        let mut sign = T::ONE;
        for k in 0..n {
            let pivot = largest(&a.as_ref().col(k)[k..]) + k;
            if a[(pivot, k)] == T::ZERO {
                return Err(Error::Singular { op: "Lu", pivot: k });
            }
            if pivot != k {
                a.as_mut().cols_mut().for_each(|column| column.swap(k, pivot));
                rows.swap(k, pivot);
                sign = -sign;
            }
            let (mut head, mut tail) = a.as_mut().split_at_col(k + 1);
            let (top, multipliers) = head.col_mut(k).split_at_mut(k + 1);
            multipliers.iter_mut().for_each(|l| *l /= top[k]);
            for column in tail.cols_mut() {
                let (top, below) = column.split_at_mut(k + 1);
                below.iter_mut().zip(&*multipliers).for_each(|(x, &l)| *x -= l * top[k]);
            }
        }
        check::finite("Lu", a.as_ref())?;
        let l = Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Greater => a[(i, j)],
            std::cmp::Ordering::Equal => T::ONE,
            std::cmp::Ordering::Less => T::ZERO,
        });
        let u_transposed = Mat::from_fn(n, n, |i, j| if i >= j { a[(j, i)] } else { T::ZERO });
        Ok(Self { l, u_transposed, rows, sign })
    }

    /// Order of the matrix.
    pub fn dim(&self) -> usize {
        self.rows.len()
    }

    /// Solves A X = B in place of B (n x k).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn solve_in_place(&self, ctx: &Ctx<T>, mut b: MatMut<'_, T>) -> Result<()> {
        let n = self.dim();
        check_shape("Lu::solve_in_place", (n, b.ncols()), b.shape())?;
        let mut permuted = ctx.scratch(n, 1);
        for column in b.cols_mut() {
            permuted.as_mut_slice().iter_mut().zip(&self.rows).for_each(|(p, &row)| *p = column[row]);
            column.copy_from_slice(permuted.as_slice());
        }
        ctx.trsm(Side::Left, self.l.as_ref(), Op::No, b.rb_mut())?;
        ctx.trsm(Side::Left, self.u_transposed.as_ref(), Op::Transpose, b)
    }

    /// A⁻¹.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when it overflows.
    pub fn inverse(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        let mut inverse = Mat::identity(self.dim());
        self.solve_in_place(ctx, inverse.as_mut())?;
        check::finite("Lu::inverse", inverse.as_ref())?;
        Ok(inverse)
    }

    /// (sign of det A, log |det A|), which cannot overflow.
    pub fn log_determinant(&self) -> (T, T) {
        let pivots = (0..self.dim()).map(|i| self.u_transposed[(i, i)]);
        let sign = pivots.clone().fold(self.sign, |sign, u| if u < T::ZERO { -sign } else { sign });
        (sign, T::of(pivots.map(|u| u.f64().abs().ln()).sum()))
    }

    /// det A, the product of the pivots; may overflow or underflow where [`Lu::log_determinant`] does not.
    pub fn determinant(&self) -> T {
        (0..self.dim()).fold(self.sign, |product, i| product * self.u_transposed[(i, i)])
    }
}

/// Index of the entry of largest magnitude; the first of equals.
fn largest<T: Scalar>(x: &[T]) -> usize {
    (1..x.len()).fold(0, |best, i| if x[i].abs() > x[best].abs() { i } else { best })
}
