//! [`BlockDiagonal`]: C = diag(C_1, ..., C_L) of any curvatures, closed under + λI block by block; nests.
//!
//! ```text
//! C + λI = diag(C_1 + λI, ..., C_L + λI)
//! ```
//! Cost        the sum over the blocks; `damped` factors blocks in parallel, the largest first.
//! Laws        tests/curvatures.rs (agrees with the assembled dense matrix; nesting changes nothing), tests/descent.rs,
//!             tests/capabilities.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             section 4.2.

use std::marker::PhantomData;

use super::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, Recovery, SolvePath, SolveReport,
};
use crate::backend::{Ctx, sums};
use crate::error::{Error, Result, check_len};
use crate::linop::{Blocks, HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// C = diag(C_1, ..., C_L); an empty list is the 0 x 0 matrix.
///
/// Blocks of different kinds go through [`AnyCurvature`](super::AnyCurvature).
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, curvature::{BlockDiagonal, Diagonal}};
/// let c = BlockDiagonal::new(vec![Diagonal::new(vec![1.0])?, Diagonal::new(vec![2.0, 3.0])?]);
/// assert_eq!(c.to_dense(&Ctx::default())?, Mat::from_diagonal(&[1.0, 2.0, 3.0]));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockDiagonal<T, C> {
    blocks: Vec<C>,
    scalar: PhantomData<fn() -> T>,
}

impl<T: Scalar, C: SelfAdjoint<T>> BlockDiagonal<T, C> {
    /// Puts the blocks on the diagonal in order.
    pub fn new(blocks: Vec<C>) -> Self {
        Self { blocks, scalar: PhantomData }
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[C] {
        &self.blocks
    }

    /// The blocks in order, owned.
    pub fn into_blocks(self) -> Vec<C> {
        self.blocks
    }
}

/// Calls `f(block, rows of X, rows of Y)` for each block; X and Y have as many rows as the blocks together.
fn for_each_block<T: Scalar, B>(
    blocks: &[B],
    dim: impl Fn(&B) -> usize,
    x: MatRef<'_, T>,
    mut y: MatMut<'_, T>,
    mut f: impl FnMut(&B, MatRef<'_, T>, MatMut<'_, T>) -> Result<()>,
) -> Result<()> {
    let mut start = 0;
    for block in blocks {
        let n = dim(block);
        f(block, x.submatrix(start, 0, n, x.ncols())?, y.rb_mut().submatrix(start, 0, n, x.ncols())?)?;
        start += n;
    }
    Ok(())
}

impl<T: Scalar, C: SelfAdjoint<T>> LinearOperator<T> for BlockDiagonal<T, C> {
    fn shape(&self) -> (usize, usize) {
        let n = self.blocks.iter().map(C::dim).sum();
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        for_each_block(&self.blocks, C::dim, x, y, |c, x, y| c.apply(ctx, x, y))
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let n = self.dim();
        crate::error::check_shape("apply_add: X", (n, x.ncols()), x.shape())?;
        crate::error::check_shape("apply_add: Y", (n, x.ncols()), y.shape())?;
        for_each_block(&self.blocks, C::dim, x, y, |c, x, y| c.apply_add(ctx, alpha, x, y))
    }
}

impl<T: Scalar, C: SelfAdjoint<T>> SelfAdjoint<T> for BlockDiagonal<T, C> {}

impl<T: Scalar, C: HasDiagonal<T>> HasDiagonal<T> for BlockDiagonal<T, C> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.dim(), out.len())?;
        let mut rest = out;
        for block in &self.blocks {
            let (mine, others) = rest.split_at_mut(block.dim());
            block.diagonal(ctx, mine)?;
            rest = others;
        }
        Ok(())
    }
}

impl<T: Scalar, C: HasTrace<T>> HasTrace<T> for BlockDiagonal<T, C> {
    fn trace(&self, ctx: &Ctx<T>) -> Result<T> {
        let traces = self.blocks.iter().map(|c| Ok(c.trace(ctx)?.f64())).collect::<Result<Vec<_>>>()?;
        Ok(T::of(sums::sum(traces.into_iter()).get()))
    }
}

impl<T: Scalar, C: HasFrobeniusNorm<T>> HasFrobeniusNorm<T> for BlockDiagonal<T, C> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        let norms = self.blocks.iter().map(|c| Ok(c.frobenius_norm(ctx)?.f64())).collect::<Result<Vec<_>>>()?;
        Ok(T::of(sums::length(norms.into_iter()).get()))
    }
}

impl<T: Scalar, C: HasSquareRoot<T>> HasSquareRoot<T> for BlockDiagonal<T, C> {
    type Root<'a>
        = Blocks<T, C::Root<'a>>
    where
        Self: 'a;

    /// The roots of the blocks on the diagonal.
    fn square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Ok(Blocks::new(self.blocks.iter().map(|c| c.square_root(ctx)).collect::<Result<_>>()?))
    }
}

impl<T: Scalar, C: Curvature<T>> Curvature<T> for BlockDiagonal<T, C> {
    type Solver = BlockDiagonalInverse<T, C::Solver>;

    fn definiteness(&self) -> Definiteness {
        let indefinite = self.blocks.iter().any(|c| c.definiteness() == Definiteness::Indefinite);
        if indefinite { Definiteness::Indefinite } else { Definiteness::PositiveSemidefinite }
    }

    /// Block by block, each in its own metric.
    fn add_damping(&self, ctx: &Ctx<T>, lambda: Damping<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        crate::error::check_shape("add_damping: X", (self.dim(), x.ncols()), x.shape())?;
        crate::error::check_shape("add_damping: Y", x.shape(), y.shape())?;
        for_each_block(&self.blocks, C::dim, x, y, |c, x, y| c.add_damping(ctx, lambda, x, y))
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<Self::Solver> {
        let mut items: Vec<(usize, Option<C::Solver>)> = (0..self.blocks.len()).map(|i| (i, None)).collect();
        items.sort_by_key(|&(i, _)| std::cmp::Reverse(self.blocks[i].dim()));
        ctx.for_each(&mut items, |ctx, (i, solver)| {
            *solver = Some(self.blocks[*i].damped(ctx, lambda)?);
            Ok(())
        })?;
        items.sort_by_key(|&(i, _)| i);
        Ok(BlockDiagonalInverse { blocks: items.into_iter().filter_map(|(_, solver)| solver).collect(), lambda })
    }
}

/// The solvers of the blocks, one λ for all of them.
///
/// ```
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, curvature::{BlockDiagonal, Diagonal, Fidelity}};
/// let c = BlockDiagonal::new(vec![Diagonal::new(vec![1.0])?, Diagonal::new(vec![2.0, 3.0])?]);
/// let solver = c.damped(&Ctx::<f64>::default(), Damping::try_from(0.5)?)?;
/// assert_eq!((solver.dim(), solver.fidelity()), (3, Fidelity::Exact));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(serialize = "T: Scalar, D: serde::Serialize", deserialize = "T: Scalar, D: serde::Deserialize<'de>"))
)]
pub struct BlockDiagonalInverse<T, D> {
    blocks: Vec<D>,
    lambda: Damping<T>,
}

impl<T: Scalar, D: DampedSolver<T>> BlockDiagonalInverse<T, D> {
    /// The solvers in order.
    pub fn blocks(&self) -> &[D] {
        &self.blocks
    }

    /// The solver at another λ, made block by block from what each has factored.
    ///
    /// # Errors
    /// The first error of `redamp`; [`Error::InvalidParameter`] when it returns a block at another λ.
    pub fn redamped(&self, lambda: Damping<T>, redamp: impl Fn(&D, Damping<T>) -> Result<D>) -> Result<Self> {
        let blocks: Vec<D> = self.blocks.iter().map(|block| redamp(block, lambda)).collect::<Result<_>>()?;
        if blocks.iter().any(|block| block.damping() != lambda) {
            return Err(Error::invalid("redamp", "a block came back at another damping"));
        }
        Ok(Self { blocks, lambda })
    }
}

impl<T: Scalar, D: HasLogDeterminant<T>> HasLogDeterminant<T> for BlockDiagonalInverse<T, D> {
    fn log_determinant(&self) -> T {
        T::of(self.blocks.iter().map(|d| d.log_determinant().f64()).sum())
    }
}

impl<T: Scalar, D: HasInverseSquareRoot<T>> HasInverseSquareRoot<T> for BlockDiagonalInverse<T, D> {
    type Root<'a>
        = Blocks<T, D::Root<'a>>
    where
        Self: 'a;

    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<Self::Root<'_>> {
        Ok(Blocks::new(self.blocks.iter().map(|d| d.inverse_square_root(ctx)).collect::<Result<_>>()?))
    }
}

/// The report of two solves together: the most iterations, the largest residual (NaN above all), the worst reason.
pub(super) fn worse(one: SolveReport, other: SolveReport) -> SolveReport {
    use SolveReport::{Direct, Iterative};
    match (one, other) {
        (Direct, report) | (report, Direct) => report,
        (
            Iterative { iterations: n, relative_residual: r, stop },
            Iterative { iterations: m, relative_residual: s, stop: other_stop },
        ) => Iterative {
            iterations: n.max(m),
            relative_residual: if r.is_nan() || r >= s { r } else { s },
            stop: stop.max(other_stop),
        },
    }
}

impl<T: Scalar, D: DampedSolver<T>> DampedSolver<T> for BlockDiagonalInverse<T, D> {
    fn dim(&self) -> usize {
        self.blocks.iter().map(D::dim).sum()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    /// The worst of the blocks; exact without blocks.
    fn fidelity(&self) -> Fidelity {
        self.blocks.iter().map(D::fidelity).max().unwrap_or(Fidelity::Exact)
    }

    fn path(&self) -> SolvePath {
        SolvePath::Blocks
    }

    /// Of all blocks together.
    fn recovery(&self) -> Recovery {
        self.blocks.iter().map(D::recovery).fold(Recovery::None, Recovery::and)
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        let mut report = SolveReport::Direct;
        for_each_block(&self.blocks, D::dim, b, x, |d, b, x| {
            let this = d.solve(ctx, b, x)?;
            report = worse(std::mem::replace(&mut report, SolveReport::Direct), this);
            Ok(())
        })?;
        Ok(report)
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> LinearOperator<T> for BlockDiagonalInverse<T, D> {
    fn shape(&self) -> (usize, usize) {
        let n = DampedSolver::dim(self);
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        for_each_block(&self.blocks, <D as DampedSolver<T>>::dim, x, y, |d, x, y| d.apply(ctx, x, y))
    }
}

impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> SelfAdjoint<T> for BlockDiagonalInverse<T, D> {}
impl<T: Scalar, D: DampedSolver<T> + Preconditioner<T>> Preconditioner<T> for BlockDiagonalInverse<T, D> {}
