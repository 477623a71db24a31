//! How far factored damping is from exact damping: the gap of Eq 24, whose spectrum is known in closed form, and the two
//! steps for one gradient side by side.
//!
//! ```text
//! Ã ⊗ S̃ - (A ⊗ S + λI) = π√λ (I ⊗ S) + (√λ/π)(A ⊗ I),   eigenvalues g_ij = π√λ s_i + (√λ/π) a_j >= 0
//! ```
//! All three matrices share the eigenvectors q_j ⊗ r_i, so along each of them the exact step is longer than the factored
//! one by the factor 1 + g_ij / (a_j s_i + λ).
//!
//! Cost        two eigendecompositions, about 9 (d_in³ + d_out³) flops, and d_in d_out; the steps one refresh and one
//!             solve of each kind.
//! Laws        tests/certificates.rs (against the formed matrices).
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             section 6.3.

use super::{DampedSolver, Damping, KroneckerDamping, KroneckerInverse, PiRule};
use crate::backend::{Ctx, check, sums};
use crate::error::{Result, check_shape};
use crate::kronecker::{KroneckerEigen, kronecker_apply};
use crate::mat::{Mat, MatRef, Op};
use crate::scalar::Scalar;

/// The size of the gap between factored and exact damping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DampingGap {
    /// π of the rule.
    pub pi: f64,
    /// The smallest eigenvalue of the gap; not negative.
    pub smallest: f64,
    /// The largest eigenvalue of the gap, which is its 2-norm.
    pub largest: f64,
    /// The largest eigenvalue of the gap over that of A ⊗ S + λI.
    pub relative_norm: f64,
    /// The smallest g_ij / (a_j s_i + λ).
    pub smallest_ratio: f64,
    /// The largest g_ij / (a_j s_i + λ): along its eigenvector the factored step is shorter by 1 + this.
    pub largest_ratio: f64,
}

/// The gap of Eq 24 for the factors A and S (lower triangles are read), positive semidefinite up to rounding.
///
/// ```
/// use pullback::curvature::{PiRule, factored_damping_gap};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let (a, s) = (Mat::from_diagonal(&[4.0]), Mat::from_diagonal(&[1.0]));
/// // (4 + 2) (1 + 1/2) = 9 in place of 4 + 1
/// let gap = factored_damping_gap(&ctx, a.as_ref(), s.as_ref(), PiRule::Trace, Damping::try_from(1.0)?)?;
/// assert!((gap.largest - 4.0).abs() < 1e-14 && (gap.relative_norm - 0.8).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// Zero, and a `pi` of 1 by definition, for factors of order 0.
///
/// # Errors
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for a fixed π that is not finite and positive,
/// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Shape`](crate::Error::Shape),
/// [`Error::NoConvergence`](crate::Error::NoConvergence).
pub fn factored_damping_gap<T: Scalar>(
    ctx: &Ctx<T>,
    a: MatRef<'_, T>,
    s: MatRef<'_, T>,
    rule: PiRule<T>,
    lambda: Damping<T>,
) -> Result<DampingGap> {
    check::square("factored_damping_gap: A", a)?;
    check::square("factored_damping_gap: S", s)?;
    rule.check()?;
    let eigen = KroneckerEigen::new(ctx, a.to_owned(), s.to_owned())?;
    let pi = rule.pi(a, s).f64();
    let (shift_a, shift_s) = (pi * lambda.get().f64().sqrt(), lambda.get().f64().sqrt() / pi);
    let mut gap =
        DampingGap { pi, smallest: 0.0, largest: 0.0, relative_norm: 0.0, smallest_ratio: 0.0, largest_ratio: 0.0 };
    let (mut first, mut exact_norm) = (true, 0f64);
    let clipped = |w: T| w.f64().max(0.0); // positive semidefinite by promise
    for &a in eigen.left().values() {
        for &s in eigen.right().values() {
            let g = shift_a * clipped(s) + shift_s * clipped(a);
            let exact = clipped(a) * clipped(s) + lambda.get().f64();
            let ratio = g / exact;
            if first {
                (gap.smallest, gap.smallest_ratio, first) = (g, ratio, false);
            }
            (gap.smallest, gap.largest) = (gap.smallest.min(g), gap.largest.max(g));
            (gap.smallest_ratio, gap.largest_ratio) = (gap.smallest_ratio.min(ratio), gap.largest_ratio.max(ratio));
            exact_norm = exact_norm.max(exact);
        }
    }
    gap.relative_norm = if exact_norm > 0.0 { gap.largest / exact_norm } else { 0.0 };
    Ok(gap)
}

/// The factored step y beside the exact step x for one right-hand side b; q(d) = bᵀd - ½ dᵀ(A ⊗ S + λI)d is the decrease
/// of the exactly damped model, which x maximizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepComparison {
    /// ‖y‖ / ‖x‖, at most 1: y is the shorter one along every eigenvector.
    pub length_ratio: f64,
    /// The cosine of the angle between them.
    pub cosine: f64,
    /// ‖y - x‖ / ‖x‖.
    pub relative_distance: f64,
    /// q(y) / q(x): the share of the best decrease that the factored step reaches, at most 1.
    pub decrease_ratio: f64,
}

/// Solves with both dampings of A ⊗ S for one b, the vec of a d_out x d_in matrix.
///
/// ```
/// use pullback::curvature::{PiRule, compare_damped_steps};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let (a, s) = (Mat::from_diagonal(&[4.0]), Mat::from_diagonal(&[1.0]));
/// let b = [1.0];
/// let lambda = Damping::try_from(1.0)?;
/// let steps = compare_damped_steps(&ctx, a.as_ref(), s.as_ref(), PiRule::Trace, lambda, &b)?;
/// assert!((steps.length_ratio - 5.0 / 9.0).abs() < 1e-14); // 1/9 in place of 1/5
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// For b = 0 both steps are zero: the ratios and the cosine are 1, the distance 0.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), and those of [`KroneckerInverse::new`].
pub fn compare_damped_steps<T: Scalar>(
    ctx: &Ctx<T>,
    a: MatRef<'_, T>,
    s: MatRef<'_, T>,
    rule: PiRule<T>,
    lambda: Damping<T>,
    b: &[T],
) -> Result<StepComparison> {
    let n = check::square("compare_damped_steps: A", a)? * check::square("compare_damped_steps: S", s)?;
    check_shape("compare_damped_steps: b", (n, 1), (b.len(), 1))?;
    let rhs = MatRef::from_column(b);
    let step = |damping| -> Result<Mat<T>> {
        let mut x = Mat::zeros(n, 1);
        KroneckerInverse::new(ctx, a, s, damping, lambda)?.solve(ctx, rhs, x.as_mut())?;
        Ok(x)
    };
    let (x, y) = (step(KroneckerDamping::Exact)?, step(KroneckerDamping::Factored { pi: rule })?);
    let (whole_a, whole_s) = (whole(a), whole(s));
    let decrease = |d: &Mat<T>| -> Result<f64> {
        let mut image = d.map(|d| lambda.get() * d);
        let (a, s) = ((whole_a.as_ref(), Op::No), (whole_s.as_ref(), Op::No));
        kronecker_apply(ctx, T::ONE, a, s, d.as_ref(), T::ONE, image.as_mut())?;
        let terms = d.as_slice().iter().zip(b).zip(image.as_slice());
        Ok(terms.map(|((d, b), c)| d.f64() * (b.f64() - 0.5 * c.f64())).sum())
    };
    let length = |m: &Mat<T>| sums::length(m.as_slice().iter().map(|x| x.f64())).get();
    let (long, short) = (length(&x), length(&y));
    if long == 0.0 {
        return Ok(StepComparison { length_ratio: 1.0, cosine: 1.0, relative_distance: 0.0, decrease_ratio: 1.0 });
    }
    let pairs = || x.as_slice().iter().zip(y.as_slice()).map(|(x, y)| (x.f64() / long, y.f64() / long));
    let distance = sums::length(pairs().map(|(x, y)| y - x).collect::<Vec<_>>().into_iter()).get();
    Ok(StepComparison {
        length_ratio: short / long,
        cosine: pairs().map(|(x, y)| x * y).sum::<f64>() * long / short,
        relative_distance: distance,
        decrease_ratio: decrease(&y)? / decrease(&x)?,
    })
}

/// Both triangles from the lower one.
fn whole<T: Scalar>(m: MatRef<'_, T>) -> Mat<T> {
    let mut whole = m.to_owned();
    whole.as_mut().mirror_lower();
    whole
}
