//! [`Kronecker`]: curvature C = A ⊗ S of one layer, A over inputs and S over outputs; not closed under + λI.
//!
//! ```text
//! exact      (A ⊗ S + λI)⁻¹ = (Q_A ⊗ Q_S)(D_A ⊗ D_S + λI)⁻¹(Q_A ⊗ Q_S)ᵀ            (Eq 23)
//! factored   (A + π √λ I)⁻¹ ⊗ (S + (√λ/π) I)⁻¹, a matrix below the exact one       (Eq 22, 24)
//! ```
//! Cost        apply 2 d_in d_out (d_in + d_out) flops; `damped` about 9 (d_in³ + d_out³) exact, d_in³ + d_out³
//!             factored; see [`KroneckerInverse`] for a solve. d_in² + d_out² numbers.
//! Deviations  A and S are positive semidefinite by promise: eigenvalues that rounding leaves below zero count as 0
//!             on the exact path, and fail as a pivot on the factored one when damping does not cover them.
//! Laws        tests/curvatures.rs, tests/descent.rs, tests/kronecker_identities.rs, tests/capabilities.rs,
//!             tests/recovery.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             sections 4.2 and 6.3.

use super::roots::eigen_root;
use super::{Curvature, Damping, Definiteness, HasFrobeniusNorm, HasSquareRoot, HasTrace, KroneckerInverse, PiRule};
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result, check_len};
use crate::factor::OnFailure;
use crate::kronecker::{KroneckerProduct, kronecker_apply};
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// How λ enters a Kronecker product, which is not closed under + λI.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub enum KroneckerDamping<T> {
    /// A ⊗ S + λI through the eigenbases (Eq 23); a new λ is free.
    Exact,
    /// (A + π √λ I) ⊗ (S + (√λ/π) I) through two Cholesky factorizations (Eq 24); each new λ costs both.
    Factored {
        /// How √λ is split.
        pi: PiRule<T>,
    },
}

/// C = A ⊗ S with A (d_in x d_in) and S (d_out x d_out), positive semidefinite by promise.
///
/// A vector is vec V, the stacked columns of a d_out x d_in matrix: C vec V = vec(S V A).
///
/// ```
/// use pullback::curvature::{Kronecker, KroneckerDamping};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let (a, s) = (Mat::from_diagonal(&[1.0, 2.0]), Mat::from_diagonal(&[3.0]));
/// let c = Kronecker::new(a, s, KroneckerDamping::Exact)?;
/// let solver = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(2, 1);
/// solver.solve(&ctx, Mat::from_vec(vec![4.0, 14.0], 2, 1)?.as_ref(), x.as_mut())?;
/// assert!((x[(0, 0)] - 1.0).abs() < 1e-14 && (x[(1, 0)] - 2.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Kronecker<T> {
    a: SymmetricDense<T>,
    s: SymmetricDense<T>,
    damping: KroneckerDamping<T>,
    on_failure: OnFailure,
}

impl<T: Scalar> Kronecker<T> {
    /// Takes the symmetric parts of A and S.
    ///
    /// # Errors
    /// [`Error::Shape`] when a factor is not square, [`Error::NotFinite`], [`Error::InvalidParameter`] for a fixed π
    /// that is not finite and positive, or an order d_in d_out that overflows.
    pub fn new(a: Mat<T>, s: Mat<T>, damping: KroneckerDamping<T>) -> Result<Self> {
        let (a, s) = (SymmetricDense::new(a)?, SymmetricDense::new(s)?);
        check::finite("Kronecker: A", a.matrix().as_ref())?;
        check::finite("Kronecker: S", s.matrix().as_ref())?;
        if let KroneckerDamping::Factored { pi } = &damping {
            pi.check()?;
        }
        if a.matrix().nrows().checked_mul(s.matrix().nrows()).is_none() {
            return Err(Error::invalid("factors", "the order of their Kronecker product overflows"));
        }
        Ok(Self { a, s, damping, on_failure: OnFailure::Error })
    }

    /// With another answer to a damped factor whose pivot is not positive (factored damping only: the exact path takes
    /// eigenvalues below zero as zero anyway). The solver's [`recovery`](super::DampedSolver::recovery) says what was done.
    pub fn with_on_failure(self, on_failure: OnFailure) -> Self {
        Self { on_failure, ..self }
    }

    /// Other factors, everything else as here.
    pub(super) fn with_factors(&self, a: Mat<T>, s: Mat<T>) -> Result<Self> {
        Ok(Self::new(a, s, self.damping)?.with_on_failure(self.on_failure))
    }

    /// A, over the inputs.
    pub fn a(&self) -> &Mat<T> {
        self.a.matrix()
    }

    /// S, over the outputs.
    pub fn s(&self) -> &Mat<T> {
        self.s.matrix()
    }

    /// How λ enters.
    pub fn kronecker_damping(&self) -> KroneckerDamping<T> {
        self.damping
    }

    fn product(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, beta: T, y: MatMut<'_, T>) -> Result<()> {
        kronecker_apply(ctx, alpha, (self.a().as_ref(), Op::No), (self.s().as_ref(), Op::No), x, beta, y)
    }
}

impl<T: Scalar> LinearOperator<T> for Kronecker<T> {
    fn shape(&self) -> (usize, usize) {
        let n = self.a().nrows() * self.s().nrows();
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.product(ctx, T::ONE, x, T::ZERO, y)
    }

    fn apply_add(&self, ctx: &Ctx<T>, alpha: T, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.product(ctx, alpha, x, T::ONE, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for Kronecker<T> {}

impl<T: Scalar> HasDiagonal<T> for Kronecker<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.dim(), out.len())?;
        let (a, s) = (self.a(), self.s());
        for (j, out) in out.chunks_mut(s.nrows().max(1)).enumerate() {
            out.iter_mut().enumerate().for_each(|(i, d)| *d = a[(j, j)] * s[(i, i)]);
        }
        Ok(())
    }
}

impl<T: Scalar> HasTrace<T> for Kronecker<T> {
    /// tr A tr S.
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::product([self.a(), self.s()].map(sums::trace))))
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for Kronecker<T> {
    /// ‖A‖_F ‖S‖_F.
    fn frobenius_norm(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::product([self.a(), self.s()].map(sums::frobenius))))
    }
}

impl<T: Scalar> HasSquareRoot<T> for Kronecker<T> {
    type Root<'a> = KroneckerProduct<T>;

    /// Q_A D_A^(1/2) ⊗ Q_S D_S^(1/2).
    fn square_root(&self, ctx: &Ctx<T>) -> Result<KroneckerProduct<T>> {
        let root = |m: &Mat<T>| eigen_root(ctx, "Kronecker::square_root", m.clone());
        KroneckerProduct::new(root(self.a())?, root(self.s())?)
    }
}

impl<T: Scalar> Curvature<T> for Kronecker<T> {
    type Solver = KroneckerInverse<T>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    /// Factors A and S, on two threads where the context has them.
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<KroneckerInverse<T>> {
        let (a, s) = (self.a().as_ref(), self.s().as_ref());
        KroneckerInverse::with_on_failure(ctx, a, s, self.damping, lambda, self.on_failure)
    }
}
