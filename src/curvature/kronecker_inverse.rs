//! [`KroneckerInverse`]: the damped inverse of A ⊗ S.
//!
//! ```text
//! exact      V ↦ Q_S ((Q_Sᵀ V Q_A) ∘ [1 / (s_i a_j + λ)]) Q_Aᵀ          (Eq 23)
//! factored   V ↦ S̃⁻¹ V Ã⁻¹                                             (Eq 22 with the damped factors of Eq 24)
//! ```
//! Cost        a solve of one d_out x d_in matrix: exact 4 products, 4 d_in d_out (d_in + d_out) flops or less
//!             (`kronecker_range`); factored 2 products and half of it. A new λ: exact O(1), factored d_in³ + d_out³.
//! Deviations  eigenvalue products below zero count as 0 (positive semidefinite by promise), so the exact inverse is
//!             positive definite for every λ > 0.
//! Laws        tests/curvatures.rs (residuals, redamp = damped without a factorization), tests/curvature_allocations.rs.
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             section 6.3.

use super::factor_inverse::{FactorInverse, invert};
use super::kronecker_range::Range;
use super::roots::KroneckerInverseRoot;
use super::{
    DampedSolver, Damping, Fidelity, HasInverseSquareRoot, HasLogDeterminant, KroneckerDamping, PiRule, Recovery,
    SolvePath, SolveReport,
};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_shape};
use crate::factor::{OnFailure, Tracking};
use crate::kronecker::{KroneckerEigen, kronecker_apply, two_sided_product};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// (A ⊗ S + λI)⁻¹ exactly, or a factored matrix below it; owns its factors, λ and π, so they cannot disagree.
///
/// ```
/// use pullback::curvature::{Kronecker, KroneckerDamping};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = Kronecker::new(Mat::identity(2), Mat::identity(3), KroneckerDamping::Exact)?;
/// let inverse = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let softer = inverse.redamp(Damping::try_from(3.0)?)?; // no new factorization
/// let (v, mut out) = (Mat::from_fn(3, 2, |_, _| 4.0), Mat::zeros(3, 2));
/// softer.precondition_matrix(&ctx, v.as_ref(), out.as_mut())?;
/// assert!((out[(2, 1)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerInverse<T> {
    pub(super) parts: Parts<T>,
    lambda: Damping<T>,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) enum Parts<T> {
    Exact(KroneckerEigen<T>),
    Factored { a: FactorInverse<T>, s: FactorInverse<T>, pi: T },
}

/// 1 / (max(a s, 0) + λ).
pub(super) fn damped_reciprocal<T: Scalar>(lambda: Damping<T>) -> impl Fn(T, T) -> T {
    move |a, s| T::ONE / ((a * s).max(T::ZERO) + lambda.get())
}

/// `Ok` unless the largest eigenvalue of A ⊗ S + λI, or the inverse of the smallest, overflows; values ascending.
fn check_extremes<T: Scalar>(a: &[T], s: &[T], lambda: Damping<T>) -> Result<()> {
    let ends = |w: &[T]| [w.first().copied().unwrap_or_default(), w.last().copied().unwrap_or_default()];
    let sound = |a: T, s: T| {
        // the inverse: a λ near underflow has no finite reciprocal
        ((a * s).abs() + lambda.get()).is_finite() && damped_reciprocal(lambda)(a, s).is_finite()
    };
    let all = ends(a).into_iter().all(|a| ends(s).into_iter().all(|s| sound(a, s)));
    if all { Ok(()) } else { Err(Error::not_finite("KroneckerInverse::from_eigen")) }
}

/// How many a_j s_i are negative by more than rounding, 16 (d_in + d_out) ε max|a| max|s|.
fn clipped_products<T: Scalar>(eigen: &KroneckerEigen<T>, lambda: Damping<T>) -> Recovery {
    let (a, s) = (eigen.left().values(), eigen.right().values());
    let largest = |w: &[T]| w.iter().fold(0f64, |max, w| max.max(w.f64().abs()));
    let rounding = 16.0 * (a.len() + s.len()) as f64 * T::EPS.f64() * largest(a) * largest(s);
    // only factors with a negative eigenvalue have negative products
    let may_be = [a, s].iter().any(|w| w.first().is_some_and(|&w| w < T::ZERO));
    let count = if may_be { eigen.values().filter(|w| w.f64() < -rounding).count() } else { 0 };
    if count == 0 { Recovery::None } else { Recovery::ClippedSpectrum { count, floor: lambda.get().f64() } }
}

impl<T: Scalar> KroneckerInverse<T> {
    /// The damped inverse of A ⊗ S; only the lower triangles of A and S are read. The two factors are treated side by
    /// side over the thread budget.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] with the pivot, [`Error::NotFinite`], [`Error::NoConvergence`],
    /// [`Error::Shape`], [`Error::InvalidParameter`] for a fixed π that is not finite and positive.
    pub fn new(
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        s: MatRef<'_, T>,
        damping: KroneckerDamping<T>,
        lambda: Damping<T>,
    ) -> Result<Self> {
        Self::with_on_failure(ctx, a, s, damping, lambda, OnFailure::Error)
    }

    /// [`KroneckerInverse::new`] with a say in what happens when a pivot of a damped factor is not positive.
    ///
    /// # Errors
    /// As [`KroneckerInverse::new`]; with [`OnFailure::Recover`] as [`PositiveFactor::new`](crate::factor::PositiveFactor::new).
    pub fn with_on_failure(
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        s: MatRef<'_, T>,
        damping: KroneckerDamping<T>,
        lambda: Damping<T>,
        on_failure: OnFailure,
    ) -> Result<Self> {
        let KroneckerDamping::Factored { pi: rule } = damping else {
            return Self::from_eigen(KroneckerEigen::new(ctx, a.to_owned(), s.to_owned())?, lambda);
        };
        rule.check()?;
        let pi = rule.pi(a, s);
        let (shift_a, shift_s) = PiRule::shifts(pi, lambda);
        let (mut a_inverse, mut s_inverse) = (None, None);
        let mut items = [(a, shift_a, &mut a_inverse), (s, shift_s, &mut s_inverse)];
        items.sort_by_key(|(factor, ..)| std::cmp::Reverse(factor.nrows()));
        ctx.for_each(&mut items, |ctx, (factor, shift, inverse)| {
            **inverse = Some(FactorInverse::with_on_failure(ctx, *factor, *shift, on_failure)?);
            Ok(())
        })?;
        match (a_inverse, s_inverse) {
            (Some(a), Some(s)) => Self::from_inverses(a, s, lambda, pi),
            _ => unreachable!("for_each ran both items without an error"),
        }
    }

    /// Makes this the damped inverse of other factors, as [`KroneckerInverse::new`] does, in the memory that it has where
    /// orders and kind of damping stay: nothing is allocated then after the first time, on one thread. On an error it is
    /// what it was.
    ///
    /// # Errors
    /// As [`KroneckerInverse::new`].
    pub fn renew(
        &mut self,
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        s: MatRef<'_, T>,
        damping: KroneckerDamping<T>,
        lambda: Damping<T>,
    ) -> Result<()> {
        let same_orders = self.factor_dims() == (a.nrows(), s.nrows());
        match (&mut self.parts, damping) {
            (Parts::Exact(eigen), KroneckerDamping::Exact) if same_orders => {
                eigen.renew(ctx, a, s, |a, s| check_extremes(a, s, lambda))?;
            }
            (Parts::Factored { a: a_old, s: s_old, pi: pi_old }, KroneckerDamping::Factored { pi: rule })
                if same_orders =>
            {
                rule.check()?;
                let pi = rule.pi(a, s);
                let (shift_a, shift_s) = PiRule::shifts(pi, lambda);
                let room = |m: MatRef<'_, T>| ctx.scratch(m.nrows(), m.nrows());
                let mut items = [(a, shift_a, a_old, room(a), T::ZERO), (s, shift_s, s_old, room(s), T::ZERO)];
                items.sort_by_key(|(factor, ..)| std::cmp::Reverse(factor.nrows()));
                ctx.for_each(&mut items, |ctx, (factor, shift, _, inverse, log_determinant)| {
                    *log_determinant = invert(ctx, *factor, *shift, inverse.as_mut())?;
                    Ok(())
                })?;
                // both are there: from here on nothing fails
                for (_, shift, old, inverse, log_determinant) in items {
                    old.replace(inverse.as_ref(), shift, log_determinant)?;
                }
                *pi_old = pi;
            }
            _ => return Self::new(ctx, a, s, damping, lambda).map(|new| *self = new),
        }
        self.lambda = lambda;
        Ok(())
    }

    /// The exact inverse from the decompositions of A and S.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the largest eigenvalue of A ⊗ S + λI, or the inverse of the smallest, overflows.
    pub fn from_eigen(eigen: KroneckerEigen<T>, lambda: Damping<T>) -> Result<Self> {
        check_extremes(eigen.left().values(), eigen.right().values(), lambda)?;
        Ok(Self { parts: Parts::Exact(eigen), lambda })
    }

    /// The factored inverse from (A + π √λ I)⁻¹ and (S + (√λ/π) I)⁻¹.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless the shifts of the factors are [`PiRule::shifts`] of π and λ.
    pub fn from_inverses(a: FactorInverse<T>, s: FactorInverse<T>, lambda: Damping<T>, pi: T) -> Result<Self> {
        PiRule::Fixed(pi).check()?;
        let expected = PiRule::shifts(pi, lambda);
        if (a.shift(), s.shift()) != expected {
            let found = (a.shift(), s.shift());
            return Err(Error::invalid("shifts", format!("the factors hold {found:?}, π and λ ask for {expected:?}")));
        }
        Ok(Self { parts: Parts::Factored { a, s, pi }, lambda })
    }

    /// The inverse for another λ from the same eigenbases, which the two share: no factorization, no copy.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] on the factored path, whose inverses hold one λ: damp the curvature again there.
    /// [`Error::NotFinite`] as [`KroneckerInverse::from_eigen`].
    pub fn redamp(&self, lambda: Damping<T>) -> Result<Self> {
        match &self.parts {
            Parts::Exact(eigen) => Self::from_eigen(eigen.clone(), lambda),
            Parts::Factored { .. } => {
                Err(Error::invalid("redamp", "a factored inverse holds one damping; damp the curvature again"))
            }
        }
    }

    /// The exact inverse of other factors at λ, in these eigenbases as far as they serve ([`KroneckerEigen::track`]), and
    /// what was done for A and for S.
    ///
    /// # Errors
    /// As [`KroneckerEigen::track`] and [`KroneckerInverse::from_eigen`]; [`Error::InvalidParameter`] on the factored path.
    pub fn track(
        &self,
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        s: MatRef<'_, T>,
        lambda: Damping<T>,
        tolerance: f64,
    ) -> Result<(Self, [Tracking; 2])> {
        let Parts::Exact(eigen) = &self.parts else {
            return Err(Error::invalid("track", "a factored inverse has no eigenbases"));
        };
        let (eigen, how) = eigen.track(ctx, a, s, tolerance)?;
        Ok((Self::from_eigen(eigen, lambda)?, how))
    }

    /// π; `None` on the exact path.
    pub fn pi(&self) -> Option<T> {
        match self.parts {
            Parts::Exact(_) => None,
            Parts::Factored { pi, .. } => Some(pi),
        }
    }

    /// (d_in, d_out).
    pub fn factor_dims(&self) -> (usize, usize) {
        match &self.parts {
            Parts::Exact(eigen) => (eigen.left().dim(), eigen.right().dim()),
            Parts::Factored { a, s, .. } => (a.matrix().nrows(), s.matrix().nrows()),
        }
    }

    /// The preconditioned d_out x d_in matrix of one layer; both views may have any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn precondition_matrix(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, mut out: MatMut<'_, T>) -> Result<()> {
        match &self.parts {
            Parts::Exact(eigen) => match Range::of(eigen, self.lambda) {
                Some(range) => {
                    check_shape("KroneckerInverse: out", v.shape(), out.shape())?;
                    out.copy_from(v)?;
                    range.solve_in_place(ctx, out)
                }
                None => eigen.map_matrix(ctx, damped_reciprocal(self.lambda), v, out),
            },
            Parts::Factored { a, s, .. } => {
                let (a, s) = ((a.matrix().as_ref(), Op::No), (s.matrix().as_ref(), Op::No));
                two_sided_product(ctx, T::ONE, a, s, v, T::ZERO, out)
            }
        }
    }

    /// [`KroneckerInverse::precondition_matrix`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn precondition_in_place(&self, ctx: &Ctx<T>, mut v: MatMut<'_, T>) -> Result<()> {
        match &self.parts {
            Parts::Exact(eigen) => match Range::of(eigen, self.lambda) {
                Some(range) => range.solve_in_place(ctx, v),
                None => eigen.map_in_place(ctx, damped_reciprocal(self.lambda), v),
            },
            Parts::Factored { a, s, .. } => {
                let mut half = ctx.scratch(v.nrows(), v.ncols());
                ctx.gemm(T::ONE, s.matrix().as_ref(), Op::No, v.rb(), Op::No, T::ZERO, half.as_mut())?;
                ctx.gemm(T::ONE, half.as_ref(), Op::No, a.matrix().as_ref(), Op::No, T::ZERO, v.rb_mut())
            }
        }
    }
}

impl<T: Scalar> HasLogDeterminant<T> for KroneckerInverse<T> {
    /// log det of the damped matrix that this inverts: A ⊗ S + λI, or the factored one.
    ///
    /// ```text
    /// log det(Ã ⊗ S̃) = d_out log det Ã + d_in log det S̃
    /// ```
    fn log_determinant(&self) -> T {
        match &self.parts {
            Parts::Exact(eigen) => {
                let lambda = self.lambda.get().f64();
                T::of(eigen.values().map(|w| (w.f64().max(0.0) + lambda).ln()).sum())
            }
            Parts::Factored { a, s, .. } => {
                let (d_in, d_out) = (a.matrix().nrows() as f64, s.matrix().nrows() as f64);
                T::of(d_out * a.log_determinant().f64() + d_in * s.log_determinant().f64())
            }
        }
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for KroneckerInverse<T> {
    type Root<'a> = KroneckerInverseRoot<'a, T>;

    /// Free on the exact path; two eigendecompositions on the factored one.
    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<KroneckerInverseRoot<'_, T>> {
        match &self.parts {
            Parts::Exact(eigen) => Ok(KroneckerInverseRoot::exact(eigen, self.lambda)),
            Parts::Factored { a, s, .. } => KroneckerInverseRoot::factored(ctx, a.matrix(), s.matrix()),
        }
    }
}

impl<T: Scalar> LinearOperator<T> for KroneckerInverse<T> {
    fn shape(&self) -> (usize, usize) {
        let (d_in, d_out) = self.factor_dims();
        (d_in * d_out, d_in * d_out)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        match &self.parts {
            Parts::Exact(eigen) => match Range::of(eigen, self.lambda) {
                Some(range) => {
                    let (d_in, d_out) = self.factor_dims();
                    check_shape("KroneckerInverse: X", (d_in * d_out, x.ncols()), x.shape())?;
                    y.copy_from(x)?;
                    (0..y.ncols()).try_for_each(|k| {
                        range.solve_in_place(ctx, MatMut::from_slice(y.col_mut(k), d_out, d_in, d_out.max(1))?)
                    })
                }
                None => eigen.map_apply(ctx, damped_reciprocal(self.lambda), x, y),
            },
            Parts::Factored { a, s, .. } => {
                let (a, s) = ((a.matrix().as_ref(), Op::No), (s.matrix().as_ref(), Op::No));
                kronecker_apply(ctx, T::ONE, a, s, x, T::ZERO, y)
            }
        }
    }
}

impl<T: Scalar> SelfAdjoint<T> for KroneckerInverse<T> {}
impl<T: Scalar> Preconditioner<T> for KroneckerInverse<T> {}

impl<T: Scalar> DampedSolver<T> for KroneckerInverse<T> {
    fn dim(&self) -> usize {
        let (d_in, d_out) = self.factor_dims();
        d_in * d_out
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        match self.parts {
            Parts::Exact(_) => Fidelity::Exact,
            Parts::Factored { .. } => Fidelity::Factored,
        }
    }

    fn path(&self) -> SolvePath {
        match self.parts {
            Parts::Exact(_) => SolvePath::Eigen,
            Parts::Factored { .. } => SolvePath::FactoredCholesky,
        }
    }

    /// Of both factors together. On the exact path the products of eigenvalues that are negative by more than rounding
    /// and were taken as zero, so raised to λ.
    fn recovery(&self) -> Recovery {
        match &self.parts {
            Parts::Exact(eigen) => clipped_products(eigen, self.lambda),
            Parts::Factored { a, s, .. } => a.recovery().and(s.recovery()),
        }
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}
