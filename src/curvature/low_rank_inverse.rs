//! [`LowRankInverse`]: (D + U Uᵀ + λI)⁻¹ by the Woodbury identity, with a k x k Cholesky factor.
//!
//! ```text
//! W = (D + λI)⁻¹,   V = W^½ U,   M = I + VᵀV = L Lᵀ                                       (k x k, M ⪰ I)
//! (D + U Uᵀ + λI)⁻¹ = W^½ (I - V M⁻¹ Vᵀ) W^½
//! log det           = Σ log(d_i + λ) + log det M                                          (determinant lemma)
//! R                 = W^½ (I - V L⁻ᵀ (L + I)⁻¹ Vᵀ),   R Rᵀ = the inverse
//! ```
//! The root needs no other factorization: with K⁻¹ = (L + I)Lᵀ and VᵀV = L Lᵀ - I, both K⁻¹(K + Kᵀ - K VᵀV Kᵀ)K⁻ᵀ and
//! K⁻¹M⁻¹K⁻ᵀ are (L + I)(Lᵀ + I), so (I - V K Vᵀ)(I - V K Vᵀ)ᵀ = I - V M⁻¹Vᵀ. L + I is as well conditioned as L.
//!
//! Cost        build n k² + k³/3 flops, a solve 4nk + 2k², log det free; n(k + 1) + 2k² numbers. A dense Cholesky is
//!             n³/3 and 2n²: [`woodbury_crossover`].
//! Deviations  M ⪰ I, so its Cholesky can only fail by overflow; no recovery is needed.
//! Accuracy    with κ = 1 + ‖V‖² <= 1 + ‖U‖²/λ the error is ε κ^½ ‖b‖/λ at worst, from M, which squares V. Beside a
//!             solution of the size of b/λ, as for most b, that is what any solver loses or less; but for b in the
//!             range of U, where x is as small as b/(κ λ), I - V M⁻¹Vᵀ cancels and the relative error is ε κ^(3/2).
//!             Beyond ‖U‖²/λ = 1/√ε hold the matrix densely, or refine.
//! Laws        tests/low_rank.rs (against the dense solve up to κ = 1/√ε, b in the range of U, log det, root).
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., section 2.1.4; W. W. Hager, Updating the
//!             inverse of a matrix, SIAM Review 31 (1989) 221-239, doi 10.1137/1031049.

use super::{DampedSolver, Damping, Fidelity, HasInverseSquareRoot, HasLogDeterminant, SolvePath, SolveReport};
use crate::backend::{Ctx, check};
use crate::error::Result;
use crate::factor::Cholesky;
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// (D + U Uᵀ + λI)⁻¹.
///
/// ```
/// use pullback::curvature::{HasLogDeterminant, LowRank};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let c = LowRank::from_factor(Mat::from_fn(3, 1, |_, _| 1.0))?;
/// let solver = c.damped(&Ctx::<f64>::default(), Damping::try_from(1.0)?)?;
/// assert!((solver.log_determinant() - 4f64.ln()).abs() < 1e-14); // eigenvalues 4, 1, 1
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LowRankInverse<T> {
    /// Diagonal of W^½.
    w_root: Vec<T>,
    /// V.
    v: Mat<T>,
    /// L + I in the lower triangle, for the root of the inverse.
    raised: Mat<T>,
    m: Cholesky<T>,
    log_determinant: T,
    lambda: Damping<T>,
}

/// Factors diag(d) + U Uᵀ + λI; d >= 0.
pub(super) fn factored<T: Scalar>(
    ctx: &Ctx<T>,
    diagonal: &[T],
    u: MatRef<'_, T>,
    lambda: Damping<T>,
) -> Result<LowRankInverse<T>> {
    let (k, op) = (u.ncols(), "LowRank::damped");
    let mut log_determinant = 0.0;
    let w_root: Vec<T> = diagonal
        .iter()
        .map(|&d| {
            let damped = d + lambda.get();
            log_determinant += damped.f64().ln();
            T::ONE / damped.sqrt()
        })
        .collect();
    check::finite_slice(op, &[T::of(log_determinant)])?; // d + λ overflows
    check::finite_slice(op, &w_root)?;
    let mut v = u.to_owned();
    for column in v.as_mut().cols_mut() {
        column.iter_mut().zip(&w_root).for_each(|(v, &w)| *v *= w);
    }
    let mut m = Mat::identity(k);
    ctx.syrk_lower(T::ONE, v.as_ref(), Op::No, T::ONE, m.as_mut())?;
    let m = Cholesky::new(ctx, m)?;
    let mut raised = m.l().to_owned();
    (0..k).for_each(|i| raised[(i, i)] += T::ONE);
    log_determinant += m.log_determinant().f64();
    Ok(LowRankInverse { w_root, v, raised, m, log_determinant: T::of(log_determinant), lambda })
}

impl<T: Scalar> LowRankInverse<T> {
    /// Y ← W^½ (Y - V T), the end of a solve and of the root.
    fn finish(&self, ctx: &Ctx<T>, t: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        ctx.gemm(-T::ONE, self.v.as_ref(), Op::No, t, Op::No, T::ONE, y.rb_mut())?;
        self.scale(y);
        Ok(())
    }

    /// Y ← W^½ Y.
    fn scale(&self, mut y: MatMut<'_, T>) {
        for column in y.cols_mut() {
            column.iter_mut().zip(&self.w_root).for_each(|(y, &w)| *y *= w);
        }
    }
}

impl<T: Scalar> LinearOperator<T> for LowRankInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.w_root.len(), self.w_root.len())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        y.copy_from(x)?;
        self.scale(y.rb_mut());
        let mut t = ctx.scratch(self.v.ncols(), x.ncols());
        ctx.gemm(T::ONE, self.v.as_ref(), Op::Transpose, y.rb(), Op::No, T::ZERO, t.as_mut())?;
        self.m.solve_in_place(ctx, t.as_mut())?;
        self.finish(ctx, t.as_ref(), y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for LowRankInverse<T> {}
impl<T: Scalar> Preconditioner<T> for LowRankInverse<T> {}

impl<T: Scalar> DampedSolver<T> for LowRankInverse<T> {
    fn dim(&self) -> usize {
        self.w_root.len()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Exact
    }

    fn path(&self) -> SolvePath {
        SolvePath::Woodbury
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}

impl<T: Scalar> HasLogDeterminant<T> for LowRankInverse<T> {
    fn log_determinant(&self) -> T {
        self.log_determinant
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for LowRankInverse<T> {
    type Root<'a> = LowRankInverseRoot<'a, T>;

    fn inverse_square_root(&self, _ctx: &Ctx<T>) -> Result<LowRankInverseRoot<'_, T>> {
        Ok(LowRankInverseRoot { inverse: self })
    }
}

/// R = W^½ (I - V L⁻ᵀ (L + I)⁻¹ Vᵀ), n x n, with R Rᵀ = (D + U Uᵀ + λI)⁻¹.
///
/// ```
/// use pullback::curvature::{HasInverseSquareRoot, LowRank};
/// use pullback::{Ctx, Curvature, Damping, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let solver = LowRank::from_factor(Mat::from_diagonal(&[3f64.sqrt()]))?.damped(&ctx, Damping::try_from(1.0)?)?;
/// assert!((solver.inverse_square_root(&ctx)?.to_dense(&ctx)?[(0, 0)] - 0.5).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LowRankInverseRoot<'a, T> {
    inverse: &'a LowRankInverse<T>,
}

impl<T: Scalar> LinearOperator<T> for LowRankInverseRoot<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.inverse.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let LowRankInverse { v, raised, m, .. } = self.inverse;
        let mut t = ctx.scratch(v.ncols(), x.ncols());
        ctx.gemm(T::ONE, v.as_ref(), Op::Transpose, x, Op::No, T::ZERO, t.as_mut())?;
        ctx.trsm(Side::Left, raised.as_ref(), Op::No, t.as_mut())?;
        ctx.trsm(Side::Left, m.l(), Op::Transpose, t.as_mut())?;
        y.copy_from(x)?;
        self.inverse.finish(ctx, t.as_ref(), y)
    }
}

/// The smallest rank k at which building and solving once by Woodbury takes at least as many flops as by a dense
/// Cholesky factorization of the n x n matrix, held already:
///
/// ```text
/// n k² + k³/3 + 4nk + 2k²  >=  n³/3 + 2n²
/// ```
/// ```
/// let k = pullback::curvature::woodbury_crossover(1000);
/// assert!((530..540).contains(&k)); // k/n tends to 0.532, the root of x² + x³/3 = 1/3
/// ```
pub fn woodbury_crossover(n: usize) -> usize {
    let n = n as f64;
    let dense = n.powi(3) / 3.0 + 2.0 * n * n;
    let woodbury = |k: f64| n * k * k + k.powi(3) / 3.0 + 4.0 * n * k + 2.0 * k * k;
    let (mut below, mut above) = (0usize, n as usize + 1);
    // woodbury rises with k and exceeds dense at k = n
    while below < above {
        let middle = below.midpoint(above);
        if woodbury(middle as f64) >= dense { above = middle } else { below = middle + 1 }
    }
    below
}
