//! Damping sweeps: (C + λ_k I) X_k = B for many λ from one factorization or one Krylov space.
//!
//! ```text
//! dense       X_k = Q (D + λ_k)⁻¹ (Qᵀ B)                       Kronecker   the same in the two small eigenbases
//! factored    1 / ((a_j + π √λ_k)(s_i + √λ_k / π)) in place of 1 / (a_j s_i + λ_k), π being that of the factors
//! blocks      block by block                                   matrix-free multi-shift conjugate gradient
//! free        a solver for each λ: diagonal, identity, eigenbases of k factors, spectrum of J Jᵀ or JᵀJ
//! ```
//! Each X_k is the one that `damped(λ_k)` solves for, to rounding.
//!
//! Deviations  A matrix-free sweep takes no preconditioner: with one the Krylov spaces of different λ differ.
//! Cost        dense 9n³ once, then 2n²k a λ; Kronecker 9 (d_in³ + d_out³) once, then 2 products a λ; matrix-free
//!             the iterations of the smallest λ, and a product for the true residual of each.
//! Laws        tests/damping_sweep.rs (every sweep against separate solves).
//! Reference   K. Levenberg 1944 and D. Marquardt 1963 try several λ a step; for the shifts see
//!             [`multi_shift_cg`](crate::krylov::multi_shift_cg).

use std::fmt;
use std::sync::Arc;

use super::block_diagonal::worse;
use super::{
    BlockDiagonal, Curvature, DampedSolver, Damping, Dense, Diagonal, EigenKronecker, Kronecker, KroneckerDamping,
    MatrixFree, PiRule, ScaledIdentity, SolveReport,
};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::factor::SymEigen;
use crate::kronecker::KroneckerEigen;
use crate::krylov::{CgOptions, multi_shift_cg};
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Capability: damped solves for many λ share their work.
pub trait HasDampingSweep<T: Scalar>: Curvature<T> {
    /// What is shared.
    type Sweep<'a>: DampingSweep<T>
    where
        Self: 'a;

    /// Does the work that no λ changes.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::NoConvergence`].
    fn sweep(&self, ctx: &Ctx<T>) -> Result<Self::Sweep<'_>>;
}

/// Solves with C + λI for any number of λ.
pub trait DampingSweep<T: Scalar>: Send + Sync {
    /// Order n of the matrix.
    fn dim(&self) -> usize;

    /// Kernel of [`DampingSweep::solve_sweep`]: shapes are already valid.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn solve_sweep_into(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [MatMut<'_, T>],
    ) -> Result<Vec<SolveReport>>;

    /// X_k ← (C + λ_k I)⁻¹ B for every λ, with one report each.
    ///
    /// ```
    /// use pullback::curvature::{DampingSweep, Dense, HasDampingSweep};
    /// use pullback::{Ctx, Damping, Mat};
    /// let ctx = Ctx::<f64>::default();
    /// let c = Dense::new(Mat::from_diagonal(&[1.0, 3.0]))?;
    /// let lambdas = [Damping::try_from(1.0)?, Damping::try_from(5.0)?];
    /// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 24.0), [Mat::zeros(2, 1), Mat::zeros(2, 1)]);
    /// c.sweep(&ctx)?.solve_sweep(&ctx, b.as_ref(), &lambdas, &mut x)?;
    /// assert!((x[0][(0, 0)] - 12.0).abs() < 1e-12 && (x[1][(1, 0)] - 3.0).abs() < 1e-12);
    /// # Ok::<(), pullback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many X as λ, each of the shape of B;
    /// [`Error::NotPositiveDefinite`] where `damped` would fail for one of the λ.
    fn solve_sweep(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [Mat<T>],
    ) -> Result<Vec<SolveReport>> {
        check_shape("solve_sweep: B", (self.dim(), b.ncols()), b.shape())?;
        check_len("solve_sweep: X", lambdas.len(), x.len())?;
        x.iter().try_for_each(|x| check_shape("solve_sweep: X", b.shape(), x.shape()))?;
        let mut views: Vec<MatMut<'_, T>> = x.iter_mut().map(Mat::as_mut).collect();
        self.solve_sweep_into(ctx, b, lambdas, &mut views)
    }
}

fn direct(lambdas: &[impl Sized]) -> Vec<SolveReport> {
    vec![SolveReport::Direct; lambdas.len()]
}

/// `Ok` when w + shift is positive for the smallest of the ascending eigenvalues w.
fn positive<T: Scalar>(op: &'static str, w: &[T], shift: T) -> Result<()> {
    match w.first() {
        Some(&least) if !(least + shift > T::ZERO) => Err(Error::NotPositiveDefinite { op, pivot: 0 }),
        _ => Ok(()),
    }
}

/// The eigendecomposition of a dense matrix.
#[derive(Debug, Clone)]
pub struct DenseSweep<T>(SymEigen<T>);

impl<T: Scalar> HasDampingSweep<T> for Dense<T> {
    type Sweep<'a> = DenseSweep<T>;

    fn sweep(&self, ctx: &Ctx<T>) -> Result<DenseSweep<T>> {
        Ok(DenseSweep(SymEigen::new(ctx, self.matrix().clone())?))
    }
}

impl<T: Scalar> DampingSweep<T> for DenseSweep<T> {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn solve_sweep_into(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [MatMut<'_, T>],
    ) -> Result<Vec<SolveReport>> {
        let (q, w) = (self.0.vectors(), self.0.values());
        lambdas.iter().try_for_each(|lambda| positive("DenseSweep", w, lambda.get()))?;
        let (mut rotated, mut scaled) = (ctx.scratch(b.nrows(), b.ncols()), ctx.scratch(b.nrows(), b.ncols()));
        ctx.gemm(T::ONE, q, Op::Transpose, b, Op::No, T::ZERO, rotated.as_mut())?;
        for (lambda, x) in lambdas.iter().zip(x) {
            for (to, from) in scaled.as_mut().cols_mut().zip(rotated.as_ref().cols()) {
                to.iter_mut().zip(from).zip(w).for_each(|((to, &from), &w)| *to = from / (w + lambda.get()));
            }
            ctx.gemm(T::ONE, q, Op::No, scaled.as_ref(), Op::No, T::ZERO, x.rb_mut())?;
        }
        Ok(direct(lambdas))
    }
}

/// A solver of its own for every λ, none of which factors: of the curvature itself, or of what it was decomposed into
/// once.
///
/// ```
/// use pullback::curvature::{DampingSweep, Diagonal, HasDampingSweep};
/// use pullback::{Ctx, Damping, Mat};
/// let (ctx, c) = (Ctx::<f64>::default(), Diagonal::new(vec![1.0])?);
/// let mut x = [Mat::zeros(1, 1)];
/// c.sweep(&ctx)?.solve_sweep(&ctx, Mat::identity(1).as_ref(), &[Damping::try_from(3.0)?], &mut x)?;
/// assert_eq!(x[0][(0, 0)], 0.25);
/// # Ok::<(), pullback::Error>(())
/// ```
pub struct FreeSweep<'a, T, D> {
    dim: usize,
    damped: Arc<Damp<'a, T, D>>,
}

type Damp<'a, T, D> = dyn Fn(&Ctx<T>, Damping<T>) -> Result<D> + Send + Sync + 'a;

impl<'a, T: Scalar, D: DampedSolver<T>> FreeSweep<'a, T, D> {
    /// Of a matrix of order n, given its solver for any λ.
    pub(super) fn new(dim: usize, damped: impl Fn(&Ctx<T>, Damping<T>) -> Result<D> + Send + Sync + 'a) -> Self {
        Self { dim, damped: Arc::new(damped) }
    }
}

impl<T, D> Clone for FreeSweep<'_, T, D> {
    fn clone(&self) -> Self {
        Self { dim: self.dim, damped: Arc::clone(&self.damped) }
    }
}

impl<T, D> fmt::Debug for FreeSweep<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeSweep").field("dim", &self.dim).finish_non_exhaustive()
    }
}

impl<T: Scalar, D: DampedSolver<T>> DampingSweep<T> for FreeSweep<'_, T, D> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn solve_sweep_into(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [MatMut<'_, T>],
    ) -> Result<Vec<SolveReport>> {
        // every solver before anything is written
        let solvers = lambdas.iter().map(|&lambda| (self.damped)(ctx, lambda)).collect::<Result<Vec<_>>>()?;
        solvers.iter().zip(x).map(|(solver, x)| solver.solve_into(ctx, b, x.rb_mut())).collect()
    }
}

macro_rules! damped_for_free {
    ($($curvature:ident),+) => {$(
        impl<T: Scalar> HasDampingSweep<T> for $curvature<T> {
            type Sweep<'a> = FreeSweep<'a, T, Self::Solver>;

            fn sweep(&self, _ctx: &Ctx<T>) -> Result<Self::Sweep<'_>> {
                Ok(FreeSweep::new(self.dim(), |ctx, lambda| self.damped(ctx, lambda)))
            }
        }
    )+};
}
damped_for_free!(Diagonal, ScaledIdentity, EigenKronecker);

/// The two eigendecompositions of a Kronecker product, for either damping.
///
/// ```
/// use pullback::curvature::{DampingSweep, HasDampingSweep, Kronecker, KroneckerDamping};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = Kronecker::new(Mat::from_diagonal(&[2.0]), Mat::from_diagonal(&[3.0]), KroneckerDamping::Exact)?;
/// let (lambdas, mut x) = ([Damping::try_from(2.0)?, Damping::try_from(4.0)?], [Mat::zeros(1, 1), Mat::zeros(1, 1)]);
/// c.sweep(&ctx)?.solve_sweep(&ctx, Mat::identity(1).as_ref(), &lambdas, &mut x)?;
/// assert!((x[0][(0, 0)] - 0.125).abs() < 1e-15 && (x[1][(0, 0)] - 0.1).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KroneckerSweep<T> {
    eigen: KroneckerEigen<T>,
    /// π, where the damping is factored.
    pi: Option<T>,
}

impl<T: Scalar> HasDampingSweep<T> for Kronecker<T> {
    type Sweep<'a> = KroneckerSweep<T>;

    fn sweep(&self, ctx: &Ctx<T>) -> Result<KroneckerSweep<T>> {
        let pi = match self.kronecker_damping() {
            KroneckerDamping::Exact => None,
            KroneckerDamping::Factored { pi } => Some(pi.pi(self.a().as_ref(), self.s().as_ref())),
        };
        Ok(KroneckerSweep { eigen: KroneckerEigen::new(ctx, self.a().clone(), self.s().clone())?, pi })
    }
}

impl<T: Scalar> DampingSweep<T> for KroneckerSweep<T> {
    fn dim(&self) -> usize {
        self.eigen.dim()
    }

    fn solve_sweep_into(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [MatMut<'_, T>],
    ) -> Result<Vec<SolveReport>> {
        if let Some(pi) = self.pi {
            for &lambda in lambdas {
                let (shift_a, shift_s) = PiRule::shifts(pi, lambda);
                positive("KroneckerSweep: A", self.eigen.left().values(), shift_a)?;
                positive("KroneckerSweep: S", self.eigen.right().values(), shift_s)?;
            }
        }
        let mut rotated = ctx.scratch(b.nrows(), b.ncols());
        self.eigen.to_eigenbasis(ctx, b, rotated.as_mut())?;
        for (&lambda, x) in lambdas.iter().zip(x.iter_mut()) {
            let inverse = |a: T, s: T| match self.pi {
                None => T::ONE / ((a * s).max(T::ZERO) + lambda.get()),
                Some(pi) => {
                    let (shift_a, shift_s) = PiRule::shifts(pi, lambda);
                    T::ONE / (a + shift_a) / (s + shift_s)
                }
            };
            self.eigen.from_eigenbasis(ctx, inverse, rotated.as_ref(), x.rb_mut())?;
        }
        // a λ near underflow has no finite reciprocal
        x.iter().try_for_each(|x| check::finite("KroneckerSweep", x.rb()))?;
        Ok(direct(lambdas))
    }
}

/// The sweeps of the blocks.
///
/// ```
/// use pullback::curvature::{BlockDiagonal, DampingSweep, Diagonal, HasDampingSweep};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = BlockDiagonal::new(vec![Diagonal::new(vec![1.0])?, Diagonal::new(vec![0.0])?]);
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 6.0), [Mat::zeros(2, 1)]);
/// c.sweep(&ctx)?.solve_sweep(&ctx, b.as_ref(), &[Damping::try_from(2.0)?], &mut x)?;
/// assert_eq!(x[0].as_slice(), [2.0, 3.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockSweep<S> {
    blocks: Vec<S>,
}

impl<T: Scalar, C: HasDampingSweep<T>> HasDampingSweep<T> for BlockDiagonal<T, C> {
    type Sweep<'a>
        = BlockSweep<C::Sweep<'a>>
    where
        Self: 'a;

    fn sweep(&self, ctx: &Ctx<T>) -> Result<Self::Sweep<'_>> {
        Ok(BlockSweep { blocks: self.blocks().iter().map(|c| c.sweep(ctx)).collect::<Result<_>>()? })
    }
}

impl<T: Scalar, S: DampingSweep<T>> DampingSweep<T> for BlockSweep<S> {
    fn dim(&self) -> usize {
        self.blocks.iter().map(S::dim).sum()
    }

    fn solve_sweep_into(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [MatMut<'_, T>],
    ) -> Result<Vec<SolveReport>> {
        let mut reports = direct(lambdas);
        let (mut start, k) = (0, b.ncols());
        for block in &self.blocks {
            let n = block.dim();
            let rows = |x| MatMut::submatrix(MatMut::rb_mut(x), start, 0, n, k);
            let mut mine = x.iter_mut().map(rows).collect::<Result<Vec<_>>>()?;
            let theirs = block.solve_sweep_into(ctx, b.submatrix(start, 0, n, k)?, lambdas, &mut mine)?;
            reports = reports.into_iter().zip(theirs).map(|(one, other)| worse(one, other)).collect();
            start += n;
        }
        Ok(reports)
    }
}

/// The products of a matrix-free curvature and its settings; its preconditioner is not used.
#[derive(Debug, Clone)]
pub struct MatrixFreeSweep<'a, T, A> {
    products: &'a A,
    options: CgOptions<T>,
}

impl<T: Scalar, A: SelfAdjoint<T> + Clone> HasDampingSweep<T> for MatrixFree<T, A> {
    type Sweep<'a>
        = MatrixFreeSweep<'a, T, A>
    where
        Self: 'a;

    fn sweep(&self, _ctx: &Ctx<T>) -> Result<MatrixFreeSweep<'_, T, A>> {
        Ok(MatrixFreeSweep { products: self.products(), options: CgOptions { stall: None, ..*self.options() } })
    }
}

impl<T: Scalar, A: SelfAdjoint<T>> DampingSweep<T> for MatrixFreeSweep<'_, T, A> {
    fn dim(&self) -> usize {
        self.products.dim()
    }

    fn solve_sweep_into(
        &self,
        ctx: &Ctx<T>,
        b: MatRef<'_, T>,
        lambdas: &[Damping<T>],
        x: &mut [MatMut<'_, T>],
    ) -> Result<Vec<SolveReport>> {
        let shifts: Vec<T> = lambdas.iter().map(|lambda| lambda.get()).collect();
        let report = multi_shift_cg(ctx, self.products, &shifts, b, x, &self.options)?;
        let summary = |k| {
            let worst = report.worst(k);
            SolveReport::Iterative {
                iterations: worst.iterations,
                relative_residual: worst.relative_residual,
                stop: worst.stop,
            }
        };
        Ok((0..shifts.len()).map(summary).collect())
    }
}
