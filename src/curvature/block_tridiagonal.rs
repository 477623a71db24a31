//! [`BlockTridiagonal`]: the curvature of a chain of layers whose *inverse* is block-tridiagonal (chapter section 5.7, item 3).
//!
//! ```text
//! F_ii = A_{i-1,i-1} ⊗ S_{i,i},   F_{i,i+1} = A_{i-1,i} ⊗ S_{i,i+1},   Ψ_{i,i+1} = F_{i,i+1} F_{i+1,i+1}⁺
//! F_ij = Ψ_{i,i+1} Ψ_{i+1,i+2} ... F_{j-1,j}   for j > i + 1                   (implied)
//! ```
//! The given blocks hold as they stand; a block further from the diagonal is what the chain implies: gradients of layers
//! i and j depend on each other only through the layers between them. This is the only completion of the given blocks
//! whose inverse has no blocks beyond its first off-diagonals, and unlike the truncation to three diagonals it is
//! positive semidefinite.
//!
//! Cost        construction 2 (L-1) eigendecompositions, for the pseudo-inverses; an application 5 Kronecker products a
//!             layer; see [`BlockTridiagonalInverse`] for damping and solves.
//! Deviations  eigenvalues of a factor below 16 n ε of its largest count as 0 in Ψ.
//! Laws        tests/block_tridiagonal.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, ICML
//!             2015, arXiv:1503.05671, section 4.3.

use super::block_tridiagonal_inverse::{BlockTridiagonalInverse, FactorPair, PackedBlocks, starts};
use super::{Curvature, Damping, Definiteness, HasFrobeniusNorm, HasTrace, PiRule};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::factor::SymEigen;
use crate::kronecker::{KroneckerProduct, kronecker_apply};
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// A chain of L layers with the Kronecker factors of its diagonal and first off-diagonal blocks.
///
/// Positive semidefinite by promise: the factors must be moments of the same data, A_{i-1,i} = E[ā_{i-1} ā_iᵀ] and
/// S_{i,i+1} = E[g_i g_{i+1}ᵀ]. Where the promise is broken by more than λ, `damped` fails with
/// [`Error::NotDominant`].
///
/// ```
/// use pullback::curvature::{BlockTridiagonal, PiRule};
/// use pullback::kronecker::KroneckerProduct;
/// use pullback::{Ctx, Curvature, DampedInverse, Damping, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let scalar = |a: f64| KroneckerProduct::new(Mat::from_diagonal(&[a]), Mat::identity(1));
/// // three layers of one weight each; neighbours are correlated by 1/2
/// let c = BlockTridiagonal::new(&ctx, vec![scalar(1.0)?; 3], vec![scalar(0.5)?; 2], PiRule::Trace)?;
/// let dense = c.to_dense(&ctx)?;
/// assert_eq!((dense[(0, 1)], dense[(0, 2)]), (0.5, 0.25)); // layers 1 and 3: through layer 2
/// let inverse = c.damped(&ctx, Damping::try_from(1e-2)?)?;
/// assert!(inverse.to_dense(&ctx)?[(0, 2)].abs() < 1e-15); // and no further
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockTridiagonal<T> {
    diagonal: Vec<KroneckerProduct<T>>,
    cross: Vec<KroneckerProduct<T>>,
    /// Ψ_{i,i+1}.
    links: Vec<KroneckerProduct<T>>,
    /// First row of each layer, and the number of rows.
    starts: Vec<usize>,
    pi: PiRule<T>,
}

/// `Ok` where `cross[i]` fits between `diagonal[i]` and `diagonal[i + 1]`, all square on the diagonal.
pub(super) fn check_chain<T: Scalar>(diagonal: &[FactorPair<'_, T>], cross: &[FactorPair<'_, T>]) -> Result<()> {
    const OP: &str = "BlockTridiagonal";
    check_len("BlockTridiagonal: cross moments", diagonal.len().saturating_sub(1), cross.len())?;
    for &(a, s) in diagonal {
        let (d_in, d_out) = (check::square(OP, a)?, check::square(OP, s)?);
        if d_in.checked_mul(d_out).is_none() {
            return Err(Error::invalid("factors", "the order of their Kronecker product overflows"));
        }
    }
    for (&(a, s), pair) in cross.iter().zip(diagonal.windows(2)) {
        check_shape(OP, (pair[0].0.nrows(), pair[1].0.nrows()), a.shape())?;
        check_shape(OP, (pair[0].1.nrows(), pair[1].1.nrows()), s.shape())?;
    }
    Ok(())
}

/// The two factors of each product.
fn factors<T: Scalar>(products: &[KroneckerProduct<T>]) -> Vec<FactorPair<'_, T>> {
    products.iter().map(|p| (p.left().as_ref(), p.right().as_ref())).collect()
}

/// M C⁺ for a symmetric positive semidefinite C.
fn times_pseudo_inverse<T: Scalar>(ctx: &Ctx<T>, m: &Mat<T>, c: &Mat<T>) -> Result<Mat<T>> {
    let eigen = SymEigen::new(ctx, c.clone())?;
    let largest = eigen.values().last().copied().unwrap_or_default();
    let rounding = T::of(16.0 * eigen.dim() as f64) * T::EPS * largest;
    let inverse = eigen.map_to_dense(ctx, |w| if w > rounding { T::ONE / w } else { T::ZERO })?;
    let mut out = Mat::zeros(m.nrows(), m.ncols());
    ctx.gemm(T::ONE, m.as_ref(), Op::No, inverse.as_ref(), Op::No, T::ZERO, out.as_mut())?;
    Ok(out)
}

impl<T: Scalar> BlockTridiagonal<T> {
    /// The chain of A_{i-1,i-1} ⊗ S_{i,i} (L of them, symmetric parts are taken) joined by A_{i-1,i} ⊗ S_{i,i+1} (L - 1).
    ///
    /// # Errors
    /// [`Error::Shape`] when the factors do not fit in a chain, [`Error::NotFinite`], [`Error::NoConvergence`],
    /// [`Error::InvalidParameter`] for a fixed π that is not finite and positive.
    pub fn new(
        ctx: &Ctx<T>,
        diagonal: Vec<KroneckerProduct<T>>,
        cross: Vec<KroneckerProduct<T>>,
        pi: PiRule<T>,
    ) -> Result<Self> {
        pi.check()?;
        check_chain(&factors(&diagonal), &factors(&cross))?;
        for &(a, s) in factors(&diagonal).iter().chain(&factors(&cross)) {
            check::finite("BlockTridiagonal", a)?;
            check::finite("BlockTridiagonal", s)?;
        }
        let symmetric = |m: Mat<T>| SymmetricDense::new(m).map(|m| m.matrix().clone());
        let diagonal = diagonal.into_iter().map(|product| {
            let (a, s) = product.into_factors();
            KroneckerProduct::new(symmetric(a)?, symmetric(s)?)
        });
        let diagonal = diagonal.collect::<Result<Vec<_>>>()?;
        let mut items: Vec<(usize, Option<KroneckerProduct<T>>)> = (0..cross.len()).map(|i| (i, None)).collect();
        ctx.for_each(&mut items, |ctx, (i, link)| {
            let (across, next) = (&cross[*i], &diagonal[*i + 1]);
            let a = times_pseudo_inverse(ctx, across.left(), next.left())?;
            *link = Some(KroneckerProduct::new(a, times_pseudo_inverse(ctx, across.right(), next.right())?)?);
            Ok(())
        })?;
        let links = items.into_iter().filter_map(|(_, link)| link).collect();
        let starts = starts(diagonal.iter().map(|p| p.shape().0));
        Ok(Self { diagonal, cross, links, starts, pi })
    }

    /// A_{i-1,i-1} ⊗ S_{i,i} in order.
    pub fn diagonal_blocks(&self) -> &[KroneckerProduct<T>] {
        &self.diagonal
    }

    /// A_{i-1,i} ⊗ S_{i,i+1} in order.
    pub fn cross_blocks(&self) -> &[KroneckerProduct<T>] {
        &self.cross
    }

    /// How √λ is split between the factors of each diagonal block.
    pub fn pi_rule(&self) -> PiRule<T> {
        self.pi
    }
}

/// Y ← α op(P) X + β Y.
fn product<T: Scalar>(
    ctx: &Ctx<T>,
    p: &KroneckerProduct<T>,
    op: Op,
    x: MatRef<'_, T>,
    beta: T,
    y: MatMut<'_, T>,
) -> Result<()> {
    kronecker_apply(ctx, T::ONE, (p.left().as_ref(), op), (p.right().as_ref(), op), x, beta, y)
}

impl<T: Scalar> LinearOperator<T> for BlockTridiagonal<T> {
    fn shape(&self) -> (usize, usize) {
        let n = self.starts[self.starts.len() - 1];
        (n, n)
    }

    /// ```text
    /// above   u_L = 0,    u_i = F_{i,i+1} x_{i+1} + Ψ_{i,i+1} u_{i+1}
    /// below   t_1 = x_1,  t_i = x_i + Ψ_{i-1,i}ᵀ t_{i-1}
    /// y_i = u_i + F_ii x_i + F_{i-1,i}ᵀ t_{i-1}
    /// ```
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let (n, k) = x.shape();
        let blocks = PackedBlocks { starts: &self.starts, columns: k };
        let (mut above, mut below) = (ctx.scratch(n, k), ctx.scratch(n, k));
        let last = self.diagonal.len().saturating_sub(1);
        if last < self.diagonal.len() {
            blocks.block_mut(above.as_mut_slice(), last)?.fill(T::ZERO);
        }
        for i in (0..last).rev() {
            let (mut u, next) = blocks.split_mut(above.as_mut_slice(), i)?;
            product(ctx, &self.cross[i], Op::No, blocks.rows(x, i + 1)?, T::ZERO, u.rb_mut())?;
            product(ctx, &self.links[i], Op::No, next.rb(), T::ONE, u)?;
        }
        for (i, block) in self.diagonal.iter().enumerate() {
            let xi = blocks.rows(x, i)?;
            let mut yi = blocks.rows_mut(y.rb_mut(), i)?;
            yi.copy_from(blocks.block(above.as_slice(), i)?)?;
            product(ctx, block, Op::No, xi, T::ONE, yi.rb_mut())?;
            if i == 0 {
                blocks.block_mut(below.as_mut_slice(), 0)?.copy_from(xi)?;
                continue;
            }
            let (before, mut t) = blocks.split_mut(below.as_mut_slice(), i - 1)?;
            product(ctx, &self.cross[i - 1], Op::Transpose, before.rb(), T::ONE, yi)?;
            t.copy_from(xi)?;
            product(ctx, &self.links[i - 1], Op::Transpose, before.rb(), T::ONE, t)?;
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for BlockTridiagonal<T> {}

impl<T: Scalar> HasDiagonal<T> for BlockTridiagonal<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.dim(), out.len())?;
        let mut rest = out.iter_mut();
        for block in &self.diagonal {
            let (a, s) = (block.left(), block.right());
            for j in 0..a.nrows() {
                (0..s.nrows()).zip(&mut rest).for_each(|(i, d)| *d = a[(j, j)] * s[(i, i)]);
            }
        }
        Ok(())
    }
}

impl<T: Scalar> HasTrace<T> for BlockTridiagonal<T> {
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        self.diagonal.iter().map(KroneckerProduct::trace).sum()
    }
}

/// All blocks on and above the diagonal, the implied ones too: L² / 2 products of factors.
impl<T: Scalar> HasFrobeniusNorm<T> for BlockTridiagonal<T> {
    fn frobenius_norm(&self, ctx: &Ctx<T>) -> Result<T> {
        let mut norm = 0f64;
        for (j, diagonal) in self.diagonal.iter().enumerate() {
            norm = norm.hypot(diagonal.frobenius_norm().f64());
            let Some(nearest) = j.checked_sub(1) else { continue };
            let mut block = self.cross[nearest].clone();
            for i in (0..j).rev() {
                if i < nearest {
                    block = self.links[i].compose(ctx, &block)?;
                }
                // each stands for two
                norm = norm.hypot(std::f64::consts::SQRT_2 * block.frobenius_norm().f64());
            }
        }
        Ok(T::of(norm))
    }
}

impl<T: Scalar> Curvature<T> for BlockTridiagonal<T> {
    type Solver = BlockTridiagonalInverse<T>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<BlockTridiagonalInverse<T>> {
        BlockTridiagonalInverse::new(ctx, &factors(&self.diagonal), &factors(&self.cross), self.pi, lambda)
    }
}
