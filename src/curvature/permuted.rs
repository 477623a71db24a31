//! [`Permuted`] and [`Restricted`]: a curvature under another order of its parameters, or of some of them only.
//!
//! ```text
//! Permuted     (P C Pᵀ)_ij = C_{p_i p_j},  p a permutation:   (P C Pᵀ + λI)⁻¹ = P (C + λI)⁻¹ Pᵀ
//! Restricted   C_RR, the rows and columns R = {r_1, ..., r_k} of C
//! ```
//! A permuted curvature inherits the solver and everything with it. A restricted one cannot: the inverse of a principal
//! submatrix is no submatrix of the inverse. It is formed, k x k, and factored - exactly, also where C itself is damped
//! only by factors. For k too large for that, wrap it in a [`MatrixFree`](super::MatrixFree): it is an operator that
//! conjugate gradient can use.
//!
//! Cost        of an application: that of C. Restricted: damping takes C applied to k vectors, k³/3 flops and k² numbers,
//!             and two scratch matrices of n x k.
//! Laws        tests/composed.rs.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., sections 1.2 (permutations) and 4.2.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{
    Curvature, DampedSolver, Damping, Definiteness, Dense, DenseInverse, Fidelity, HasFrobeniusNorm,
    HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, Recovery, SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_len};
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Distinct rows out of 0..n, shared between a curvature and its solvers.
type Rows = Arc<[usize]>;

fn checked_rows(n: usize, rows: Vec<usize>) -> Result<Rows> {
    let mut seen = vec![false; n];
    for &row in &rows {
        match seen.get_mut(row) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return Err(Error::invalid("rows", format!("{row} occurs twice"))),
            None => return Err(Error::invalid("rows", format!("{row} must be below the order {n}"))),
        }
    }
    Ok(rows.into())
}

/// y_i ← x_{r_i}.
fn gather<T: Scalar>(rows: &[usize], x: MatRef<'_, T>, mut y: MatMut<'_, T>) {
    for (y, x) in y.cols_mut().zip(x.cols()) {
        y.iter_mut().zip(rows).for_each(|(y, &row)| *y = x[row]);
    }
}

/// y_{r_i} ← x_i, other rows 0.
fn scatter<T: Scalar>(rows: &[usize], x: MatRef<'_, T>, mut y: MatMut<'_, T>) {
    y.fill(T::ZERO);
    for (y, x) in y.cols_mut().zip(x.cols()) {
        x.iter().zip(rows).for_each(|(&x, &row)| y[row] = x);
    }
}

/// Y ← C_RR X through C, which is handed X scattered over n rows and writes there.
fn through<T: Scalar, R>(
    ctx: &Ctx<T>,
    (rows, n): (&[usize], usize),
    x: MatRef<'_, T>,
    y: MatMut<'_, T>,
    c: impl FnOnce(MatRef<'_, T>, MatMut<'_, T>) -> Result<R>,
) -> Result<R> {
    let (mut wide, mut image) = (ctx.scratch(n, x.ncols()), ctx.scratch(n, x.ncols()));
    scatter(rows, x, wide.as_mut());
    let outcome = c(wide.as_ref(), image.as_mut())?;
    gather(rows, image.as_ref(), y);
    Ok(outcome)
}

/// P C Pᵀ: element (i, j) is that of C at (p_i, p_j).
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, curvature::{Diagonal, Permuted}};
/// let c = Permuted::new(Diagonal::new(vec![1.0, 2.0, 3.0])?, vec![2, 0, 1])?;
/// assert_eq!(c.to_dense(&Ctx::default())?, Mat::from_diagonal(&[3.0, 1.0, 2.0]));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Permuted<T, C>(Restricted<T, C>);

impl<T: Scalar, C: SelfAdjoint<T>> Permuted<T, C> {
    /// C under the order p_1, ..., p_n of its parameters, counted from 0.
    ///
    /// # Errors
    /// [`Error::Shape`] when p has not n entries, [`Error::InvalidParameter`] when it is no permutation.
    pub fn new(inner: C, order: Vec<usize>) -> Result<Self> {
        check_len("Permuted: order", inner.dim(), order.len())?;
        Restricted::new(inner, order).map(Self)
    }

    /// C.
    pub fn inner(&self) -> &C {
        self.0.inner()
    }

    /// p.
    pub fn order(&self) -> &[usize] {
        self.0.rows()
    }
}

impl<T: Scalar, C: SelfAdjoint<T>> LinearOperator<T> for Permuted<T, C> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}

impl<T: Scalar, C: SelfAdjoint<T>> SelfAdjoint<T> for Permuted<T, C> {}

impl<T: Scalar, C: HasDiagonal<T>> HasDiagonal<T> for Permuted<T, C> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.0.diagonal(ctx, out)
    }
}

impl<T: Scalar, C: HasTrace<T>> HasTrace<T> for Permuted<T, C> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        self.0.inner.trace(ctx)
    }
}

impl<T: Scalar, C: HasFrobeniusNorm<T>> HasFrobeniusNorm<T> for Permuted<T, C> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        self.0.inner.frobenius_norm(ctx)
    }
}

impl<T: Scalar, C: HasSquareRoot<T>> HasSquareRoot<T> for Permuted<T, C> {
    type Root<'a>
        = SelectedRows<C::Root<'a>>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        self.0.square_root(ctx)
    }
}

impl<T: Scalar, C: Curvature<T>> Curvature<T> for Permuted<T, C> {
    type Solver = PermutedSolver<T, C::Solver>;

    fn definiteness(&self) -> Definiteness {
        self.0.definiteness()
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        let inner = self.0.inner.damped(ctx, lambda)?;
        Ok(PermutedSolver { inner, rows: Arc::clone(&self.0.rows), scalar: PhantomData })
    }
}

/// P D Pᵀ for a solver D of C + λI.
///
/// ```
/// use pullback::curvature::{Diagonal, Permuted};
/// use pullback::{Ctx, Curvature, DampedInverse, Damping, Mat};
/// let c = Permuted::new(Diagonal::new(vec![1.0, 3.0])?, vec![1, 0])?;
/// let inverse = c.damped(&Ctx::<f64>::default(), Damping::try_from(1.0)?)?;
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 4.0), Mat::zeros(2, 1));
/// inverse.precondition(&Ctx::default(), b.as_ref(), x.as_mut())?;
/// assert_eq!(x.as_slice(), [1.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PermutedSolver<T, D> {
    inner: D,
    rows: Rows,
    scalar: PhantomData<fn() -> T>,
}

impl<T: Scalar, D: DampedSolver<T>> PermutedSolver<T, D> {
    /// D.
    pub fn inner(&self) -> &D {
        &self.inner
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> LinearOperator<T> for PermutedSolver<T, D> {
    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.rows.len())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        through(ctx, (&self.rows, self.rows.len()), x, y, |x, y| self.inner.apply_into(ctx, x, y))
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> SelfAdjoint<T> for PermutedSolver<T, D> {}
impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> Preconditioner<T> for PermutedSolver<T, D> {}

impl<T: Scalar, D: DampedSolver<T>> DampedSolver<T> for PermutedSolver<T, D> {
    fn dim(&self) -> usize {
        self.rows.len()
    }

    fn damping(&self) -> Damping<T> {
        self.inner.damping()
    }

    fn fidelity(&self) -> Fidelity {
        self.inner.fidelity()
    }

    fn path(&self) -> SolvePath {
        self.inner.path()
    }

    fn recovery(&self) -> Recovery {
        self.inner.recovery()
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        through(ctx, (&self.rows, self.rows.len()), b, x, |b, x| self.inner.solve_into(ctx, b, x))
    }
}

impl<T: Scalar, D: HasLogDeterminant<T>> HasLogDeterminant<T> for PermutedSolver<T, D> {
    fn log_determinant(&self) -> T {
        self.inner.log_determinant()
    }
}

impl<T: Scalar, D: HasInverseSquareRoot<T>> HasInverseSquareRoot<T> for PermutedSolver<T, D> {
    type Root<'a>
        = SelectedRows<D::Root<'a>>
    where
        Self: 'a;

    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Ok(SelectedRows { inner: self.inner.inverse_square_root(ctx)?, rows: Arc::clone(&self.rows) })
    }
}

/// C_RR: the principal submatrix of the parameters r_1, ..., r_k, in that order.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, curvature::{Dense, Restricted}};
/// let c = Dense::new(Mat::from_fn(3, 3, |i, j| (i + j) as f64))?;
/// let some = Restricted::new(c, vec![2, 0])?;
/// assert_eq!(some.to_dense(&Ctx::default())?.as_slice(), [4.0, 2.0, 2.0, 0.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Restricted<T, C> {
    inner: C,
    rows: Rows,
    scalar: PhantomData<fn() -> T>,
}

impl<T: Scalar, C: SelfAdjoint<T>> Restricted<T, C> {
    /// The parameters `rows` of C, counted from 0, in the order given.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when one does not exist or occurs twice.
    pub fn new(inner: C, rows: Vec<usize>) -> Result<Self> {
        let rows = checked_rows(inner.dim(), rows)?;
        Ok(Self { inner, rows, scalar: PhantomData })
    }

    /// C.
    pub fn inner(&self) -> &C {
        &self.inner
    }

    /// r.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }
}

impl<T: Scalar, C: SelfAdjoint<T>> LinearOperator<T> for Restricted<T, C> {
    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.rows.len())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        through(ctx, (&self.rows, self.inner.dim()), x, y, |x, y| self.inner.apply_into(ctx, x, y))
    }
}

impl<T: Scalar, C: SelfAdjoint<T>> SelfAdjoint<T> for Restricted<T, C> {}

impl<T: Scalar, C: HasDiagonal<T>> HasDiagonal<T> for Restricted<T, C> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.rows.len(), out.len())?;
        let mut whole = ctx.scratch(self.inner.dim(), 1);
        self.inner.diagonal(ctx, whole.as_mut_slice())?;
        gather(&self.rows, whole.as_ref(), MatMut::from_column(out));
        Ok(())
    }
}

/// The sum of the chosen diagonal entries.
impl<T: Scalar, C: HasDiagonal<T>> HasTrace<T> for Restricted<T, C> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        let mut diagonal = ctx.scratch(self.rows.len(), 1);
        self.diagonal(ctx, diagonal.as_mut_slice())?;
        Ok(T::of(diagonal.as_slice().iter().map(|d| d.f64()).sum()))
    }
}

impl<T: Scalar, C: HasSquareRoot<T>> HasSquareRoot<T> for Restricted<T, C> {
    type Root<'a>
        = SelectedRows<C::Root<'a>>
    where
        Self: 'a;

    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Ok(SelectedRows { inner: self.inner.square_root(ctx)?, rows: Arc::clone(&self.rows) })
    }
}

impl<T: Scalar, C: Curvature<T>> Curvature<T> for Restricted<T, C> {
    type Solver = DenseInverse<T>;

    fn definiteness(&self) -> Definiteness {
        self.inner.definiteness()
    }

    /// Forms C_RR and factors C_RR + λI.
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<DenseInverse<T>> {
        Dense::new(self.to_dense(ctx)?)?.damped(ctx, lambda)
    }
}

/// Rows r_1, ..., r_k of an operator: of a root of C, a root of C_RR.
///
/// ```
/// use pullback::curvature::{HasSquareRoot, Restricted, ScaledIdentity};
/// use pullback::{Ctx, LinearOperator};
/// let c = Restricted::new(ScaledIdentity::new(3, 4.0)?, vec![2])?;
/// let root = c.square_root(&Ctx::default())?; // 1 x 3
/// assert_eq!(root.to_dense(&Ctx::default())?.as_slice(), [0.0, 0.0, 2.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SelectedRows<R> {
    inner: R,
    rows: Rows,
}

impl<T: Scalar, R: LinearOperator<T>> LinearOperator<T> for SelectedRows<R> {
    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.inner.shape().1)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let mut whole = ctx.scratch(self.inner.shape().0, x.ncols());
        self.inner.apply(ctx, x, whole.as_mut())?;
        gather(&self.rows, whole.as_ref(), y);
        Ok(())
    }
}
