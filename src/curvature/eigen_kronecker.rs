//! [`EigenKronecker`]: a Kronecker eigenbasis with eigenvalues of its own (EKFAC); closed under + λI in that basis.
//!
//! ```text
//! C = (U_A ⊗ U_S) diag(vec S*) (U_A ⊗ U_S)ᵀ,      C vec V = vec( U_S [ S* ∘ (U_Sᵀ V U_A) ] U_Aᵀ )
//! (C + λI)⁻¹ vec V = vec( U_S [ (U_Sᵀ V U_A) ⊘ (S* + λ) ] U_Aᵀ )
//! ```
//! U_A and U_S are the eigenbases of the factors of A ⊗ S; S* (d_out x d_in) replaces the products s_i a_j. With
//! S* the diagonal of a block F in that basis, C is the matrix nearest to F in the Frobenius norm among all that the
//! basis diagonalizes: never farther than A ⊗ S, and of the same trace as F. [`EigenKroneckerMoments`](crate::stats::EigenKroneckerMoments)
//! gathers such an S*.
//!
//! Taking S* to a new basis ([`EigenKronecker::rebased`]) keeps the diagonal of C there, and so its trace:
//! ```text
//! S*' = (U_S'ᵀ U_S)∘² S* ((U_A'ᵀ U_A)∘²)ᵀ
//! ```
//! Cost        apply and solve 4 d_in d_out (d_in + d_out) flops; `damped` and a new λ d_in d_out comparisons; rebasing
//!             2 (d_in³ + d_out³) + 2 d_in d_out (d_in + d_out). Numbers stored: d_in² + d_out² (shared with the
//!             [`KroneckerEigen`] it was made of, and with its solvers) and d_in d_out.
//! Deviations  the paper keeps running averages of squared gradients of the batch; S* here may come from any source.
//! Laws        tests/eigen_kronecker.rs.
//! Reference   T. George, C. Laurent, X. Bouthillier, N. Ballas, P. Vincent, Fast approximate natural gradient descent in
//!             a Kronecker-factored eigenbasis, 2018, arXiv:1806.03884.

use std::sync::Arc;

use super::{
    Curvature, DampedSolver, Damping, Definiteness, Fidelity, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, SolvePath, SolveReport,
};
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result, check_len, check_shape};
use crate::kronecker::{KroneckerEigen, two_sided_product};
use crate::linop::{HasDiagonal, LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// C = (U_A ⊗ U_S) diag(vec S*) (U_A ⊗ U_S)ᵀ; a vector is vec V of a d_out x d_in matrix. Clones share everything.
///
/// ```
/// use pullback::curvature::EigenKronecker;
/// use pullback::{Ctx, Curvature, Damping, Mat, kronecker::KroneckerEigen};
/// let ctx = Ctx::<f64>::default();
/// let basis = KroneckerEigen::new(&ctx, Mat::from_diagonal(&[1.0, 2.0]), Mat::from_diagonal(&[3.0]))?;
/// let c = EigenKronecker::new(basis, Mat::from_vec(vec![4.0, 9.0], 1, 2)?)?; // not 3·1 and 3·2
/// let inverse = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(1, 2);
/// inverse.precondition_matrix(&ctx, Mat::from_vec(vec![5.0, 20.0], 1, 2)?.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-14 && (x[(0, 1)] - 2.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct EigenKronecker<T> {
    basis: KroneckerEigen<T>,
    values: Arc<Mat<T>>,
}

impl<T: Scalar> EigenKronecker<T> {
    /// Eigenvalues S* (d_out x d_in) in the basis of A ⊗ S; a negative one makes the curvature indefinite.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`].
    pub fn new(basis: KroneckerEigen<T>, values: Mat<T>) -> Result<Self> {
        check_shape("EigenKronecker: S*", (basis.right().dim(), basis.left().dim()), values.shape())?;
        check::finite("EigenKronecker: S*", values.as_ref())?;
        Ok(Self { basis, values: Arc::new(values) })
    }

    /// A ⊗ S itself in its eigenbasis: S*_ij = max(s_i a_j, 0).
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a product overflows.
    pub fn uncorrected(basis: KroneckerEigen<T>) -> Result<Self> {
        let (a, s) = (basis.left().values(), basis.right().values());
        let values = Mat::from_fn(s.len(), a.len(), |i, j| (a[j] * s[i]).max(T::ZERO));
        Self::new(basis, values)
    }

    /// U_A and U_S, with the eigenvalues that S* replaces.
    pub fn basis(&self) -> &KroneckerEigen<T> {
        &self.basis
    }

    /// S*, d_out x d_in.
    pub fn values(&self) -> &Mat<T> {
        &self.values
    }

    /// The diagonal of this matrix in another basis, as a curvature there: S*' of the header. The trace is kept, and
    /// nothing changes where the basis is shared.
    ///
    /// # Errors
    /// [`Error::Shape`] when the bases have different orders.
    pub fn rebased(&self, ctx: &Ctx<T>, basis: &KroneckerEigen<T>) -> Result<Self> {
        if basis.shares_with(&self.basis) {
            return Ok(self.clone());
        }
        let shape = |b: &KroneckerEigen<T>| (b.right().dim(), b.left().dim());
        check_shape("EigenKronecker::rebased", shape(&self.basis), shape(basis))?;
        let (d_out, d_in) = self.values.shape();
        let (mut left, mut right) = (ctx.scratch(d_in, d_in), ctx.scratch(d_out, d_out));
        for (overlap, new, old) in [
            (&mut left, basis.left().vectors(), self.basis.left().vectors()),
            (&mut right, basis.right().vectors(), self.basis.right().vectors()),
        ] {
            ctx.gemm(T::ONE, new, Op::Transpose, old, Op::No, T::ZERO, overlap.as_mut())?;
            overlap.as_mut_slice().iter_mut().for_each(|x| *x *= *x);
        }
        let mut values = Mat::zeros(d_out, d_in);
        let (left, right) = ((left.as_ref(), Op::No), (right.as_ref(), Op::No));
        two_sided_product(ctx, T::ONE, left, right, self.values().as_ref(), T::ZERO, values.as_mut())?;
        Self::new(basis.clone(), values)
    }

    /// f(C): the same basis with every eigenvalue mapped.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when f maps an eigenvalue to NaN or infinity.
    pub fn map(&self, f: impl FnMut(T) -> T) -> Result<Self> {
        Self::new(self.basis.clone(), self.values.map(f))
    }

    /// [`Curvature::damped`] without a copy; no backend is needed, since nothing is factored.
    ///
    /// # Errors
    /// As [`Curvature::damped`].
    pub fn into_damped(self, lambda: Damping<T>) -> Result<EigenKroneckerInverse<T>> {
        EigenKroneckerInverse::new(self, lambda)
    }

    /// (smallest, largest) of S*; (0, 0) where there is none.
    fn extremes(&self) -> (T, T) {
        let mut values = self.values.as_slice().iter().copied();
        let first = values.next().unwrap_or_default();
        values.fold((first, first), |(low, high), w| (low.min(w), high.max(w)))
    }
}

/// v ← f(S*) ∘ v for one vector in the basis.
fn scale<T: Scalar>(values: &Mat<T>, f: impl Fn(T) -> T) -> impl Fn(&mut [T]) {
    move |v| v.iter_mut().zip(values.as_slice()).for_each(|(v, &w)| *v *= f(w))
}

impl<T: Scalar> LinearOperator<T> for EigenKronecker<T> {
    fn shape(&self) -> (usize, usize) {
        (self.basis.dim(), self.basis.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.basis.scale_apply(ctx, scale(&self.values, |w| w), x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for EigenKronecker<T> {}

impl<T: Scalar> HasDiagonal<T> for EigenKronecker<T> {
    /// (U_S)∘² S* ((U_A)∘²)ᵀ, stacked.
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.dim(), out.len())?;
        let (d_out, d_in) = self.values.shape();
        let (mut left, mut right) = (ctx.scratch(d_in, d_in), ctx.scratch(d_out, d_out));
        for (squares, vectors) in [(&mut left, self.basis.left().vectors()), (&mut right, self.basis.right().vectors())]
        {
            squares.as_mut().copy_from(vectors)?;
            squares.as_mut_slice().iter_mut().for_each(|x| *x *= *x);
        }
        let (left, right) = ((left.as_ref(), Op::No), (right.as_ref(), Op::No));
        let out = MatMut::from_slice(out, d_out, d_in, d_out.max(1))?;
        two_sided_product(ctx, T::ONE, left, right, self.values().as_ref(), T::ZERO, out)
    }
}

impl<T: Scalar> HasTrace<T> for EigenKronecker<T> {
    /// Σ S*_ij.
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::sum(self.values.as_slice().iter().map(|w| w.f64())).get()))
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for EigenKronecker<T> {
    /// ‖S*‖_F.
    fn frobenius_norm(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::frobenius(&self.values).get()))
    }
}

impl<T: Scalar> HasSquareRoot<T> for EigenKronecker<T> {
    type Root<'a> = EigenKronecker<T>;

    /// The symmetric root, in the same basis.
    fn square_root(&self, _ctx: &Ctx<T>) -> Result<EigenKronecker<T>> {
        let (low, high) = self.extremes();
        // what an accumulation of n non-negative numbers may leave below zero
        let rounding = T::of(16.0 * self.dim() as f64) * T::EPS * high.max(T::ZERO);
        if low < -rounding {
            let pivot = self.values.as_slice().iter().position(|&w| w < -rounding).unwrap_or_default();
            return Err(Error::NotPositiveDefinite { op: "EigenKronecker::square_root", pivot });
        }
        self.map(|w| w.max(T::ZERO).sqrt())
    }
}

impl<T: Scalar> Curvature<T> for EigenKronecker<T> {
    type Solver = EigenKroneckerInverse<T>;

    fn definiteness(&self) -> Definiteness {
        if self.extremes().0 >= T::ZERO { Definiteness::PositiveSemidefinite } else { Definiteness::Indefinite }
    }

    fn damped(&self, _ctx: &Ctx<T>, lambda: Damping<T>) -> Result<EigenKroneckerInverse<T>> {
        EigenKroneckerInverse::new(self.clone(), lambda)
    }
}

/// (C + λI)⁻¹ of an [`EigenKronecker`], exactly; it shares the basis and S* with it.
///
/// ```
/// use pullback::curvature::EigenKronecker;
/// use pullback::{Ctx, Curvature, Damping, Mat, kronecker::KroneckerEigen};
/// let ctx = Ctx::<f64>::default();
/// let basis = KroneckerEigen::new(&ctx, Mat::identity(2), Mat::identity(3))?;
/// let inverse = EigenKronecker::uncorrected(basis)?.damped(&ctx, Damping::try_from(1.0)?)?;
/// let softer = inverse.redamp(Damping::try_from(3.0)?)?; // nothing is factored or copied
/// let mut v = Mat::from_fn(3, 2, |_, _| 4.0);
/// softer.precondition_in_place(&ctx, v.as_mut())?;
/// assert!((v[(2, 1)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct EigenKroneckerInverse<T> {
    curvature: EigenKronecker<T>,
    lambda: Damping<T>,
}

impl<T: Scalar> EigenKroneckerInverse<T> {
    fn new(curvature: EigenKronecker<T>, lambda: Damping<T>) -> Result<Self> {
        const OP: &str = "EigenKronecker::damped";
        let (low, high) = curvature.extremes();
        if !(low + lambda.get() > T::ZERO) {
            let pivot = curvature.values.as_slice().iter().position(|&w| !(w + lambda.get() > T::ZERO));
            return Err(Error::NotPositiveDefinite { op: OP, pivot: pivot.unwrap_or_default() });
        }
        // the inverse of the smallest: a λ near underflow has no finite reciprocal
        let ends = [high + lambda.get(), T::ONE / (low + lambda.get())];
        check::finite_slice(OP, &ends)?;
        Ok(Self { curvature, lambda })
    }

    /// The curvature without its damping.
    pub fn curvature(&self) -> &EigenKronecker<T> {
        &self.curvature
    }

    /// The inverse for another λ: no factorization, no copy.
    ///
    /// # Errors
    /// As [`Curvature::damped`].
    pub fn redamp(&self, lambda: Damping<T>) -> Result<Self> {
        Self::new(self.curvature.clone(), lambda)
    }

    pub(super) fn divide(&self) -> impl Fn(&mut [T]) {
        let lambda = self.lambda.get();
        move |v| v.iter_mut().zip(self.curvature.values.as_slice()).for_each(|(v, &w)| *v /= w + lambda)
    }

    /// The preconditioned d_out x d_in matrix of one layer; both views may have any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn precondition_matrix(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, out: MatMut<'_, T>) -> Result<()> {
        self.curvature.basis.scale_matrix(ctx, self.divide(), v, out)
    }

    /// [`EigenKroneckerInverse::precondition_matrix`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn precondition_in_place(&self, ctx: &Ctx<T>, v: MatMut<'_, T>) -> Result<()> {
        self.curvature.basis.scale_in_place(ctx, self.divide(), v)
    }
}

impl<T: Scalar> LinearOperator<T> for EigenKroneckerInverse<T> {
    fn shape(&self) -> (usize, usize) {
        self.curvature.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.curvature.basis.scale_apply(ctx, self.divide(), x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for EigenKroneckerInverse<T> {}
impl<T: Scalar> Preconditioner<T> for EigenKroneckerInverse<T> {}

impl<T: Scalar> DampedSolver<T> for EigenKroneckerInverse<T> {
    fn dim(&self) -> usize {
        self.curvature.dim()
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        Fidelity::Exact
    }

    fn path(&self) -> SolvePath {
        SolvePath::Eigen
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}

impl<T: Scalar> HasLogDeterminant<T> for EigenKroneckerInverse<T> {
    /// Σ log(S*_ij + λ).
    fn log_determinant(&self) -> T {
        let lambda = self.lambda.get().f64();
        T::of(self.curvature.values.as_slice().iter().map(|w| (w.f64() + lambda).ln()).sum())
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for EigenKroneckerInverse<T> {
    type Root<'a> = EigenKronecker<T>;

    /// The symmetric root, in the same basis.
    fn inverse_square_root(&self, _ctx: &Ctx<T>) -> Result<EigenKronecker<T>> {
        self.curvature.map(|w| T::ONE / (w + self.lambda.get()).sqrt())
    }
}
