//! [`LowRank`]: curvature C = D + U Uᵀ, a nonnegative diagonal and a few directions; closed under + λI.
//!
//! ```text
//! tr C = Σ d + ‖U‖²_F,    ‖C‖²_F = Σ d² + 2 Σ d_i ‖u_i‖² + ‖UᵀU‖²_F,    R = [D^½  U],  R Rᵀ = C        (u_i: row i)
//! ```
//! Every sum is one of nonnegative terms: none cancels.
//!
//! Cost        apply 4nk flops a vector, quadratic form 2nk, diagonal and trace 2nk, ‖C‖_F n k²; n(k + 1) numbers.
//!             `damped`: see [`LowRankInverse`].
//! Laws        tests/low_rank.rs.
//! Reference   W. W. Hager, Updating the inverse of a matrix, SIAM Review 31 (1989) 221-239, doi 10.1137/1031049.

use super::{
    Curvature, Damping, Definiteness, HasFrobeniusNorm, HasSquareRoot, HasTrace, LowRankInverse, low_rank_inverse,
};
use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint, TransposeOperator};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// C = D + U Uᵀ with D = diag(d), d >= 0, and U (n x k).
///
/// ```
/// use pullback::curvature::{HasTrace, LowRank};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = LowRank::scaled_identity(1.0, Mat::from_vec(vec![1.0, 0.0], 2, 1)?)?; // diag(2, 1)
/// assert_eq!(c.trace(&ctx)?, 3.0);
/// let solver = c.damped(&ctx, Damping::try_from(2.0)?)?;
/// let mut x = Mat::zeros(2, 1);
/// solver.solve(&ctx, Mat::from_vec(vec![8.0, 6.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 2.0).abs() < 1e-14 && (x[(1, 0)] - 2.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LowRank<T> {
    diagonal: Vec<T>,
    u: Mat<T>,
}

impl<T: Scalar> LowRank<T> {
    /// diag(d) + U Uᵀ.
    ///
    /// # Errors
    /// [`Error::Shape`] unless d has as many entries as U has rows, [`Error::NotFinite`],
    /// [`Error::InvalidParameter`] for a negative entry of d.
    pub fn new(diagonal: Vec<T>, u: Mat<T>) -> Result<Self> {
        check_len("LowRank: diagonal", u.nrows(), diagonal.len())?;
        check::finite_slice("LowRank: diagonal", &diagonal)?;
        check::finite("LowRank: U", u.as_ref())?;
        if let Some(i) = diagonal.iter().position(|&d| d < T::ZERO) {
            return Err(Error::invalid("diagonal", format!("entry {i} (counted from 0) must not be negative")));
        }
        Ok(Self { diagonal, u })
    }

    /// δI + U Uᵀ.
    ///
    /// # Errors
    /// As [`LowRank::new`].
    pub fn scaled_identity(delta: T, u: Mat<T>) -> Result<Self> {
        Self::new(vec![delta; u.nrows()], u)
    }

    /// U Uᵀ alone.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn from_factor(u: Mat<T>) -> Result<Self> {
        Self::scaled_identity(T::ZERO, u)
    }

    /// d.
    pub fn base(&self) -> &[T] {
        &self.diagonal
    }

    /// U.
    pub fn factor(&self) -> &Mat<T> {
        &self.u
    }

    /// k, the number of columns of U.
    pub fn rank(&self) -> usize {
        self.u.ncols()
    }

    /// Σ_j u_ij² for every row, added to `out`.
    fn add_row_squares(&self, out: &mut [T]) {
        for column in self.u.as_ref().cols() {
            out.iter_mut().zip(column).for_each(|(out, &u)| *out += u * u);
        }
    }
}

impl<T: Scalar> LinearOperator<T> for LowRank<T> {
    fn shape(&self) -> (usize, usize) {
        (self.diagonal.len(), self.diagonal.len())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.fill(T::ZERO);
        self.apply_add(ctx, T::ONE, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let n = self.diagonal.len();
        check_shape("apply_add: X", (n, x.ncols()), x.shape())?;
        check_shape("apply_add: Y", x.shape(), y.shape())?;
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.diagonal).for_each(|((y, &x), &d)| *y += alpha * d * x);
        }
        let mut t = ctx.scratch(self.rank(), x.ncols());
        ctx.gemm(T::ONE, self.u.as_ref(), Op::Transpose, x, Op::No, T::ZERO, t.as_mut())?;
        ctx.gemm(alpha, self.u.as_ref(), Op::No, t.as_ref(), Op::No, T::ONE, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for LowRank<T> {}

impl<T: Scalar> HasDiagonal<T> for LowRank<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.diagonal.len(), out.len())?;
        out.copy_from_slice(&self.diagonal);
        self.add_row_squares(out);
        Ok(())
    }
}

impl<T: Scalar> HasTrace<T> for LowRank<T> {
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        let base: f64 = self.diagonal.iter().map(|d| d.f64()).sum();
        Ok(T::of(base + norm(self.u.as_slice()).powi(2)))
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for LowRank<T> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        let (n, k) = self.u.shape();
        // s² C has entries around 1: the squares of its entries neither overflow nor vanish
        let largest = |x: &[T]| x.iter().fold(T::ZERO, |m, &x| m.max(x.abs()));
        let size = largest(&self.diagonal).sqrt().max(largest(self.u.as_slice()));
        let scale = check::power_of_two_scale(MatRef::from_column(&[size])).factor();
        let mut u = ctx.scratch(n, k);
        u.as_mut_slice().iter_mut().zip(self.u.as_slice()).for_each(|(s, &u)| *s = scale * u);
        let mut gram = ctx.scratch(k, k);
        ctx.syrk(T::ONE, u.as_ref(), Op::No, T::ZERO, gram.as_mut())?;
        let mut sum = norm(gram.as_slice()).powi(2);
        let mut rows = ctx.scratch(n, 1);
        rows.as_mut_slice().fill(T::ZERO);
        for column in u.as_ref().cols() {
            rows.as_mut_slice().iter_mut().zip(column).for_each(|(r, &u)| *r += u * u);
        }
        for (&d, &row) in self.diagonal.iter().zip(rows.as_slice()) {
            let d = (d * scale * scale).f64();
            sum += d * (d + 2.0 * row.f64());
        }
        Ok(T::of(sum.sqrt() / scale.f64() / scale.f64()))
    }
}

impl<T: Scalar> HasSquareRoot<T> for LowRank<T> {
    type Root<'a> = LowRankRoot<'a, T>;

    fn square_root(&self, _ctx: &Ctx<T>) -> Result<LowRankRoot<'_, T>> {
        Ok(LowRankRoot { root: self.diagonal.iter().map(|d| d.sqrt()).collect(), u: self.u.as_ref() })
    }
}

impl<T: Scalar> Curvature<T> for LowRank<T> {
    type Solver = LowRankInverse<T>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<LowRankInverse<T>> {
        low_rank_inverse::factored(ctx, &self.diagonal, self.u.as_ref(), lambda)
    }

    fn quadratic_form(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: &mut [T]) -> Result<()> {
        check_shape("quadratic_form", (self.diagonal.len(), v.ncols()), v.shape())?;
        check_len("quadratic_form", v.ncols(), out.len())?;
        let mut t = ctx.scratch(self.rank(), v.ncols());
        ctx.gemm(T::ONE, self.u.as_ref(), Op::Transpose, v, Op::No, T::ZERO, t.as_mut())?;
        for ((out, v), t) in out.iter_mut().zip(v.cols()).zip(t.as_ref().cols()) {
            let base: T = v.iter().zip(&self.diagonal).map(|(&v, &d)| d * v * v).sum();
            *out = base + t.iter().map(|&t| t * t).sum();
        }
        Ok(())
    }
}

/// R = [D^½  U], n x (n + k), with R Rᵀ = D + U Uᵀ.
///
/// ```
/// use pullback::curvature::{HasSquareRoot, LowRank, sample_normal};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = LowRank::scaled_identity(1e-4, Mat::from_fn(3, 1, |i, _| i as f64))?;
/// let mut draws = Mat::zeros(3, 100);
/// sample_normal(&ctx, &c.square_root(&ctx)?, 7, draws.as_mut())?; // N(0, C)
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LowRankRoot<'a, T> {
    root: Vec<T>,
    u: MatRef<'a, T>,
}

/// Rows from..from+len of a view; the caller knows that they exist.
fn rows<'a, T: Scalar>(x: MatRef<'a, T>, from: usize, len: usize) -> Result<MatRef<'a, T>> {
    x.submatrix(from, 0, len, x.ncols())
}

impl<T: Scalar> LinearOperator<T> for LowRankRoot<'_, T> {
    fn shape(&self) -> (usize, usize) {
        (self.root.len(), self.root.len() + self.u.ncols())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let n = self.root.len();
        ctx.gemm(T::ONE, self.u, Op::No, rows(x, n, self.u.ncols())?, Op::No, T::ZERO, y.rb_mut())?;
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.root).for_each(|((y, &x), &r)| *y += r * x);
        }
        Ok(())
    }
}

impl<T: Scalar> TransposeOperator<T> for LowRankRoot<'_, T> {
    fn apply_transpose_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let (n, columns) = (self.root.len(), x.ncols());
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.root).for_each(|((y, &x), &r)| *y = r * x);
        }
        let tail = y.submatrix(n, 0, self.u.ncols(), columns)?;
        ctx.gemm(T::ONE, self.u, Op::Transpose, x, Op::No, T::ZERO, tail)
    }
}
