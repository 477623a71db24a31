//! [`BlockTridiagonalInverse`]: the damped inverse of a chain of layers, block-tridiagonal and never formed.
//!
//! ```text
//! Ã_i = A_{i-1,i-1} + π_i √λ I,  S̃_i = S_{i,i} + (√λ/π_i) I                              (Eq 24; cross moments undamped)
//! Ψ_{i,i+1} = A_{i-1,i} Ã_{i+1}⁻¹ ⊗ S_{i,i+1} S̃_{i+1}⁻¹
//! Σ_i = Ã_i ⊗ S̃_i - A_{i-1,i} Ã_{i+1}⁻¹ A_{i-1,i}ᵀ ⊗ S_{i,i+1} S̃_{i+1}⁻¹ S_{i,i+1}ᵀ  (i < L),   Σ_L = Ã_L ⊗ S̃_L
//! F̂⁻¹ = Ξᵀ diag(Σ_1⁻¹, ..., Σ_L⁻¹) Ξ,   Ξ = I - Ψ
//! ```
//! Σ_i is the covariance of layer i's gradient given that of layer i+1; its inverse is a [`KroneckerPairInverse`].
//! Damping makes every Σ_i positive definite for moments of the same data, so F̂ is.
//!
//! Cost        damping: for each of the first L-1 layers two eigendecompositions, about 12 (d_in³ + d_out³) flops, against
//!             d_in³ + d_out³ block by block; a solve: 8 Kronecker-factor products a layer against 2.
//! Deviations  a relative eigenvalue of Σ_i that rounding leaves at or below 0 is raised to the floor of
//!             [`KroneckerPairInverse`] and reported as [`Recovery::ClippedSpectrum`].
//! Laws        tests/block_tridiagonal.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, ICML
//!             2015, arXiv:1503.05671, section 4.3 and appendix B.

use super::block_tridiagonal::check_chain;
use super::{
    DampedSolver, Damping, Fidelity, HasInverseSquareRoot, HasLogDeterminant, PiRule, Recovery, SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::Cholesky;
use crate::kronecker::{KroneckerPairInverse, KroneckerProduct, PairSign, kronecker_apply};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// The two factors of one Kronecker-factored block: over inputs, over outputs.
pub type FactorPair<'a, T> = (MatRef<'a, T>, MatRef<'a, T>);

/// Where the rows of each layer lie: in a view of all n rows, and in a scratch that holds layer after layer, each
/// contiguous (so that neighbouring layers can be borrowed apart).
pub(super) struct PackedBlocks<'s> {
    /// First row of each layer, and the number of rows.
    pub(super) starts: &'s [usize],
    pub(super) columns: usize,
}

/// Where each of the layers starts, and where the last one ends.
pub(super) fn starts(dims: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut starts = vec![0];
    dims.for_each(|dim| starts.push(starts[starts.len() - 1] + dim));
    starts
}

impl PackedBlocks<'_> {
    fn dim(&self, i: usize) -> usize {
        self.starts[i + 1] - self.starts[i]
    }

    /// Layer i's rows of a view.
    pub(super) fn rows<'a, T: Scalar>(&self, x: MatRef<'a, T>, i: usize) -> Result<MatRef<'a, T>> {
        x.submatrix(self.starts[i], 0, self.dim(i), self.columns)
    }

    /// Layer i's rows of a view, to write.
    pub(super) fn rows_mut<'a, T: Scalar>(&self, y: MatMut<'a, T>, i: usize) -> Result<MatMut<'a, T>> {
        y.submatrix(self.starts[i], 0, self.dim(i), self.columns)
    }

    /// Layer i of a scratch.
    pub(super) fn block<'a, T: Scalar>(&self, packed: &'a [T], i: usize) -> Result<MatRef<'a, T>> {
        let n = self.dim(i);
        MatRef::from_slice(&packed[self.starts[i] * self.columns..], n, self.columns, n.max(1))
    }

    /// Layer i of a scratch, to write.
    pub(super) fn block_mut<'a, T: Scalar>(&self, packed: &'a mut [T], i: usize) -> Result<MatMut<'a, T>> {
        let n = self.dim(i);
        MatMut::from_slice(&mut packed[self.starts[i] * self.columns..], n, self.columns, n.max(1))
    }

    /// Layers i and i + 1 of a scratch, to write.
    pub(super) fn split_mut<'a, T: Scalar>(
        &self,
        packed: &'a mut [T],
        i: usize,
    ) -> Result<(MatMut<'a, T>, MatMut<'a, T>)> {
        let (head, tail) = packed.split_at_mut(self.starts[i + 1] * self.columns);
        let n = self.dim(i + 1);
        Ok((self.block_mut(head, i)?, MatMut::from_slice(tail, n, self.columns, n.max(1))?))
    }
}

/// (F̂ + damping)⁻¹ as a fixed positive definite map.
///
/// ```
/// use pullback::curvature::{BlockTridiagonalInverse, PiRule, SolvePath};
/// use pullback::{Ctx, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let (one, half) = (Mat::identity(1), Mat::from_diagonal(&[0.5]));
/// let (block, cross) = ((one.as_ref(), one.as_ref()), (half.as_ref(), one.as_ref()));
/// let lambda = Damping::try_from(1e-2)?;
/// let inverse = BlockTridiagonalInverse::new(&ctx, &[block; 2], &[cross], PiRule::Trace, lambda)?;
/// assert_eq!(inverse.path(), SolvePath::Tridiagonal);
/// let (b, mut x) = (Mat::from_fn(2, 1, |_, _| 1.71), Mat::zeros(2, 1));
/// inverse.solve(&ctx, b.as_ref(), x.as_mut())?; // [1.21 0.5; 0.5 1.21] x = b
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-14 && (x[(1, 0)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", try_from = "Stored<T>")
)]
pub struct BlockTridiagonalInverse<T> {
    /// Ψ_{i,i+1}ᵀ.
    links: Vec<KroneckerProduct<T>>,
    /// Σ_i⁻¹ for i < L.
    conditionals: Vec<KroneckerPairInverse<T>>,
    /// Ã_L⁻¹ ⊗ S̃_L⁻¹; of order 0 without layers.
    last: KroneckerProduct<T>,
    /// log det Σ_L.
    last_log_determinant: f64,
    /// First row of each layer, and the number of rows.
    starts: Vec<usize>,
    lambda: Damping<T>,
}

/// An inverse as it is read, before its parts are believed to fit.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(bound = "T: Scalar")]
struct Stored<T> {
    links: Vec<KroneckerProduct<T>>,
    conditionals: Vec<KroneckerPairInverse<T>>,
    last: KroneckerProduct<T>,
    last_log_determinant: f64,
    starts: Vec<usize>,
    lambda: Damping<T>,
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<Stored<T>> for BlockTridiagonalInverse<T> {
    type Error = crate::error::Error;
    fn try_from(stored: Stored<T>) -> Result<Self> {
        let Stored { links, conditionals, last, last_log_determinant, starts, lambda } = stored;
        let dims: Vec<usize> = conditionals.iter().map(|c| c.shape().0).chain([last.shape().0]).collect();
        let ends = dims.iter().try_fold(vec![0usize], |mut ends: Vec<usize>, &dim| {
            ends.push(ends[ends.len() - 1].checked_add(dim)?);
            Some(ends)
        });
        let layerless = dims == [0] && starts == [0];
        let linked = links.len() == conditionals.len()
            && links.iter().zip(dims.windows(2)).all(|(link, pair)| link.shape() == (pair[1], pair[0]));
        if !(linked && (layerless || ends.as_ref() == Some(&starts))) {
            return Err(Self::Error::invalid("BlockTridiagonalInverse", "its layers do not fit together"));
        }
        Ok(Self { links, conditionals, last, last_log_determinant, starts, lambda })
    }
}

/// Factors of Ã_i and S̃_i.
type DampedFactors<T> = (Cholesky<T>, Cholesky<T>);

fn damped_cholesky<T: Scalar>(ctx: &Ctx<T>, m: MatRef<'_, T>, shift: T) -> Result<Cholesky<T>> {
    let mut shifted = m.to_owned();
    (0..m.nrows()).for_each(|i| shifted[(i, i)] += shift);
    Cholesky::new(ctx, shifted)
}

/// (Ψᵀ, M C⁻¹ Mᵀ) for Ψ = M C⁻¹: one factor of a link and of the term that it takes from Σ.
fn regress<T: Scalar>(ctx: &Ctx<T>, m: MatRef<'_, T>, c: &Cholesky<T>) -> Result<(Mat<T>, Mat<T>)> {
    let mut w = m.to_owned().transposed();
    ctx.trsm(Side::Left, c.l(), Op::No, w.as_mut())?;
    let mut explained = Mat::zeros(m.nrows(), m.nrows());
    ctx.syrk(T::ONE, w.as_ref(), Op::No, T::ZERO, explained.as_mut())?;
    ctx.trsm(Side::Left, c.l(), Op::Transpose, w.as_mut())?;
    Ok((w, explained))
}

impl<T: Scalar> BlockTridiagonalInverse<T> {
    /// The damped inverse of the chain of A_{i-1,i-1} ⊗ S_{i,i} (only lower triangles are read) joined by
    /// A_{i-1,i} ⊗ S_{i,i+1}; the layers side by side over the thread budget.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) when a damped factor is not;
    /// [`Error::NotDominant`](crate::Error::NotDominant) when the cross moments are larger than their diagonal blocks
    /// allow; [`Error::NotFinite`](crate::Error::NotFinite), [`Error::NoConvergence`](crate::Error::NoConvergence),
    /// [`Error::Shape`](crate::Error::Shape), [`Error::InvalidParameter`](crate::Error::InvalidParameter) for a fixed π
    /// that is not finite and positive.
    pub fn new(
        ctx: &Ctx<T>,
        diagonal: &[FactorPair<'_, T>],
        cross: &[FactorPair<'_, T>],
        pi: PiRule<T>,
        lambda: Damping<T>,
    ) -> Result<Self> {
        pi.check()?;
        check_chain(diagonal, cross)?;
        let mut items: Vec<(usize, Option<DampedFactors<T>>)> = (0..diagonal.len()).map(|i| (i, None)).collect();
        ctx.for_each(&mut items, |ctx, (i, factors)| {
            let (a, s) = diagonal[*i];
            let (shift_a, shift_s) = PiRule::shifts(pi.pi(a, s), lambda);
            *factors = Some((damped_cholesky(ctx, a, shift_a)?, damped_cholesky(ctx, s, shift_s)?));
            Ok(())
        })?;
        let damped: Vec<DampedFactors<T>> = items.into_iter().filter_map(|(_, factors)| factors).collect();

        let order = |i: &usize| diagonal[*i].0.nrows().max(diagonal[*i].1.nrows());
        let mut items: Vec<_> = (0..cross.len()).map(|i| (i, None)).collect();
        items.sort_by_key(|(i, _)| std::cmp::Reverse(order(i)));
        ctx.for_each(&mut items, |ctx, (i, parts)| {
            let (next, mine) = (&damped[*i + 1], &damped[*i]);
            let (link_a, explained_a) = regress(ctx, cross[*i].0, &next.0)?;
            let (link_s, explained_s) = regress(ctx, cross[*i].1, &next.1)?;
            let explained = (explained_a.as_ref(), explained_s.as_ref());
            let inverse = KroneckerPairInverse::from_cholesky(ctx, (&mine.0, &mine.1), explained, PairSign::Minus)?;
            *parts = Some((KroneckerProduct::new(link_a, link_s)?, inverse));
            Ok(())
        })?;
        items.sort_by_key(|&(i, _)| i);
        let (links, conditionals): (Vec<_>, Vec<_>) = items.into_iter().filter_map(|(_, parts)| parts).unzip();

        let (last, last_log_determinant) = match damped.last() {
            None => (KroneckerProduct::new(Mat::zeros(0, 0), Mat::zeros(0, 0))?, 0.0),
            Some((a, s)) => {
                let log = s.dim() as f64 * a.log_determinant().f64() + a.dim() as f64 * s.log_determinant().f64();
                (KroneckerProduct::new(a.inverse(ctx)?, s.inverse(ctx)?)?, log)
            }
        };
        let starts = starts(conditionals.iter().map(KroneckerPairInverse::dim).chain([last.shape().0]));
        Ok(Self { links, conditionals, last, last_log_determinant, starts, lambda })
    }

    /// Σ_i⁻¹ of all layers but the last.
    pub fn conditionals(&self) -> &[KroneckerPairInverse<T>] {
        &self.conditionals
    }

    fn blocks(&self, columns: usize) -> PackedBlocks<'_> {
        PackedBlocks { starts: &self.starts, columns }
    }

    /// Y ← Ξᵀ X for a packed X: y_1 = x_1, y_i = x_i - Ψ_{i-1,i}ᵀ x_{i-1}.
    fn leave(&self, ctx: &Ctx<T>, blocks: &PackedBlocks<'_>, x: &[T], mut y: MatMut<'_, T>) -> Result<()> {
        for i in 0..=self.links.len() {
            let mut yi = blocks.rows_mut(y.rb_mut(), i)?;
            yi.copy_from(blocks.block(x, i)?)?;
            if let Some(before) = i.checked_sub(1) {
                link(ctx, &self.links[before], Op::No, blocks.block(x, before)?, yi)?;
            }
        }
        Ok(())
    }
}

/// Y ← Y - op(Ψᵀ) X.
fn link<T: Scalar>(
    ctx: &Ctx<T>,
    transposed: &KroneckerProduct<T>,
    op: Op,
    x: MatRef<'_, T>,
    y: MatMut<'_, T>,
) -> Result<()> {
    let (a, s) = ((transposed.left().as_ref(), op), (transposed.right().as_ref(), op));
    kronecker_apply(ctx, -T::ONE, a, s, x, T::ONE, y)
}

impl<T: Scalar> LinearOperator<T> for BlockTridiagonalInverse<T> {
    fn shape(&self) -> (usize, usize) {
        let n = self.starts[self.starts.len() - 1];
        (n, n)
    }

    /// ```text
    /// u_i = b_i - Ψ_{i,i+1} b_{i+1},   v_i = Σ_i⁻¹ u_i,   x_i = v_i - Ψ_{i-1,i}ᵀ v_{i-1}
    /// ```
    fn apply_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<()> {
        let (n, k) = b.shape();
        let blocks = self.blocks(k);
        let (mut u, mut v) = (ctx.scratch(n, k), ctx.scratch(n, k));
        for i in 0..=self.links.len() {
            let mut ui = blocks.block_mut(u.as_mut_slice(), i)?;
            ui.copy_from(blocks.rows(b, i)?)?;
            let vi = blocks.block_mut(v.as_mut_slice(), i)?;
            match self.conditionals.get(i) {
                Some(inverse) => {
                    link(ctx, &self.links[i], Op::Transpose, blocks.rows(b, i + 1)?, ui.rb_mut())?;
                    inverse.apply(ctx, ui.rb(), vi)?;
                }
                None => self.last.apply(ctx, ui.rb(), vi)?,
            }
        }
        self.leave(ctx, &blocks, v.as_slice(), x)
    }
}

impl<T: Scalar> SelfAdjoint<T> for BlockTridiagonalInverse<T> {}
impl<T: Scalar> Preconditioner<T> for BlockTridiagonalInverse<T> {}

impl<T: Scalar> DampedSolver<T> for BlockTridiagonalInverse<T> {
    fn dim(&self) -> usize {
        self.shape().0
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Factored
    }

    fn path(&self) -> SolvePath {
        SolvePath::Tridiagonal
    }

    /// Relative eigenvalues of the Σ_i that were raised to the floor.
    fn recovery(&self) -> Recovery {
        let floored = self.conditionals.iter().filter(|c| c.floored() > 0);
        match floored.clone().map(KroneckerPairInverse::floored).sum() {
            0 => Recovery::None,
            count => Recovery::ClippedSpectrum { count, floor: floored.fold(0.0, |high, c| c.floor().f64().max(high)) },
        }
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}

/// Σ log det Σ_i, since Ξ has determinant 1.
impl<T: Scalar> HasLogDeterminant<T> for BlockTridiagonalInverse<T> {
    fn log_determinant(&self) -> T {
        let conditionals: f64 = self.conditionals.iter().map(|c| c.log_determinant().f64()).sum();
        T::of(conditionals + self.last_log_determinant)
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for BlockTridiagonalInverse<T> {
    type Root<'a> = BlockTridiagonalRoot<'a, T>;

    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<BlockTridiagonalRoot<'_, T>> {
        let lower = |m: &Mat<T>| {
            let factor = Cholesky::new(ctx, m.clone())?;
            let l = factor.l();
            Ok(Mat::from_fn(m.nrows(), m.nrows(), |i, j| if i >= j { l.at(i, j) } else { T::ZERO }))
        };
        let last = KroneckerProduct::new(lower(self.last.left())?, lower(self.last.right())?)?;
        Ok(BlockTridiagonalRoot { inverse: self, last })
    }
}

/// Ξᵀ diag(R_1, ..., R_L) with R_i R_iᵀ = Σ_i⁻¹: a root of a [`BlockTridiagonalInverse`].
///
/// ```
/// use pullback::curvature::{BlockTridiagonalInverse, HasInverseSquareRoot, PiRule, sample_normal};
/// use pullback::{Ctx, Damping, Mat};
/// let (ctx, one) = (Ctx::<f64>::default(), Mat::identity(1));
/// let (block, cross) = ((one.as_ref(), one.as_ref()), (one.as_ref(), one.as_ref()));
/// let lambda = Damping::try_from(1e-2)?;
/// let inverse = BlockTridiagonalInverse::new(&ctx, &[block; 2], &[cross], PiRule::Trace, lambda)?;
/// let mut weights = Mat::zeros(2, 5); // five draws from N(0, F̂⁻¹)
/// sample_normal(&ctx, &inverse.inverse_square_root(&ctx)?, 7, weights.as_mut())?;
/// assert!(weights.as_ref().is_finite());
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockTridiagonalRoot<'a, T> {
    inverse: &'a BlockTridiagonalInverse<T>,
    /// R_L.
    last: KroneckerProduct<T>,
}

impl<T: Scalar> LinearOperator<T> for BlockTridiagonalRoot<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.inverse.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let blocks = self.inverse.blocks(x.ncols());
        let mut v = ctx.scratch(x.nrows(), x.ncols());
        for i in 0..=self.inverse.links.len() {
            let (xi, vi) = (blocks.rows(x, i)?, blocks.block_mut(v.as_mut_slice(), i)?);
            match self.inverse.conditionals.get(i) {
                Some(conditional) => conditional.inverse_root().apply(ctx, xi, vi)?,
                None => self.last.apply(ctx, xi, vi)?,
            }
        }
        self.inverse.leave(ctx, &blocks, v.as_slice(), y)
    }
}
