//! The laws of [`Preconditioner`]: a fixed, linear, symmetric, positive definite map r ↦ M⁻¹ r.
//!
//! ```text
//! linear, symmetric   the laws of a self-adjoint operator (suite "operator")
//! fixed               the same r gives the same bits, whatever was asked in between
//! positive            ⟨r, M⁻¹r⟩ > 0 for r ≠ 0
//! one step            conjugate gradient on M itself, preconditioned by M⁻¹, needs one iteration
//! ```
//! The last law forms M⁻¹ and inverts it in `f64`; it is measured where M⁻¹ is well enough conditioned for one iteration
//! to be told from two.
//!
//! Cost        the operator suite, one n³ inversion and one run of conjugate gradient, for each context.
//! Laws        tests/broken_implementors.rs.

use super::dense::{dot, row_sum_norm};
use super::operator::check_self_adjoint;
use super::{Claim, Measure, Recorder, Report, Setup, gallery, tolerance};
use crate::backend::Ctx;
use crate::error::Result;
use crate::factor::Cholesky;
use crate::krylov::{CgOptions, CgStop, pcg};
use crate::linop::{Preconditioner, SymmetricDense};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// What [`check`] measures beside the laws of a self-adjoint operator.
pub const LAWS: [&str; 4] = ["builds", "is fixed", "is positive", "solves its inverse in one step"];

/// A relative residual above this does not tell one iteration from none.
const COARSEST: f64 = 0.1;

/// Holds the preconditioner that `make` builds to the laws; the claim's matrix is M⁻¹.
///
/// ```
/// use pullback::{linop::Identity, testing::{Claim, Setup, preconditioner}};
/// let claim = Claim::<f64>::unknown("identity");
/// preconditioner::check(&Setup::default(), &claim, |_| Ok(Identity::new(5))).assert_passed();
/// ```
pub fn check<T: Scalar, P: Preconditioner<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<P>,
) -> Report {
    let mut report = check_self_adjoint(setup, claim, &make);
    let mut r = Recorder::new("preconditioner", setup.seed);
    for ctx in &setup.contexts {
        if let Some(p) = r.build(&claim.name, || make(ctx)) {
            measure(&mut r, ctx, claim, &p, setup.seed);
        }
    }
    report.merge(r.into());
    report
}

fn measure<T: Scalar>(r: &mut Recorder, ctx: &Ctx<T>, claim: &Claim<'_, T>, p: &dyn Preconditioner<T>, seed: u64) {
    const VECTORS: usize = 4;
    let (n, place) = (p.dim(), claim.place(ctx, p.shape()));
    let (b, other) = (gallery::uniform::<T>(n, VECTORS, seed), gallery::uniform::<T>(n, VECTORS, seed ^ 1));
    let apply = |x: &Mat<T>| {
        let mut y = Mat::from_fn(n, x.ncols(), |_, _| T::nan());
        p.apply(ctx, x.as_ref(), y.as_mut()).map(|()| y)
    };
    r.law("is fixed", &place, || {
        let first = apply(&b)?;
        let mut changed = 0;
        for _ in 0..3 {
            apply(&other)?;
            changed += super::dense::differing(&first, &apply(&b)?);
        }
        Ok(Measure::count(changed))
    });
    r.law("is positive", &place, || {
        let y = apply(&b)?;
        let positive = |j: usize| dot(b.as_ref().col(j), y.as_ref().col(j)) > 0.0;
        // an operator of order 0 has no r ≠ 0
        Ok(Measure::count((0..VECTORS).filter(|&j| n > 0 && !positive(j)).count()))
    });
    let inverse = || -> Result<(SymmetricDense<T>, f64)> {
        let reference = Ctx::<f64>::reference();
        let m_inv: Mat<f64> = p.to_dense(ctx)?.cast();
        let m = Cholesky::new(&reference, m_inv.clone())?.into_inverse(&reference)?;
        Ok((SymmetricDense::new(m.cast())?, row_sum_norm(&m_inv) * row_sum_norm(&m)))
    };
    let limit = |kappa: f64| tolerance::<T>(n, kappa);
    // where the inversion fails, the law says why
    if n > 0 && inverse().map_or(true, |(_, kappa)| limit(kappa) <= COARSEST) {
        r.law("solves its inverse in one step", &place, || {
            let (m, kappa) = inverse()?;
            let options = CgOptions { relative_tolerance: T::of(limit(kappa)), ..CgOptions::from_zero() };
            let mut x = Mat::zeros(n, VECTORS);
            let report = pcg(ctx, &m, Some(p), b.as_ref(), x.as_mut(), &options)?;
            let steps = Measure { value: report.iterations() as f64, limit: 1.0 };
            Ok(steps.worse(Measure::holds(report.stop() == CgStop::Converged)))
        });
    }
}
