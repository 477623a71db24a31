//! The conformance suite of a direct curvature in one call, for a value that is at hand.
#![allow(dead_code)] // each test file uses its own part

use pullback::curvature::{AnyCurvature, PiRule};
use pullback::testing::{self, Report, Setup, capability, curvature};
use pullback::{Ctx, Curvature, DampedInverse, Damping, HasDiagonal, Mat, Result, Scalar};

use super::{kron, shifted};

pub fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

/// What a curvature claims to be: its matrix, the matrix that λ turns it into, and how that is solved.
pub struct Claim<'a, T>(testing::Claim<'a, T>);

impl<'a, T: Scalar> Claim<'a, T> {
    pub fn exact(name: impl Into<String>, matrix: Mat<f64>) -> Self {
        Self(testing::Claim::exact(name, matrix))
    }

    pub fn factored(
        name: impl Into<String>,
        matrix: Mat<f64>,
        system: impl Fn(T) -> Mat<f64> + Send + Sync + 'a,
    ) -> Self {
        Self(testing::Claim::exact(name, matrix).factored(system))
    }
}

/// (A + π √λ I) ⊗ (S + (√λ/π) I), formed.
pub fn factored_system<T: Scalar>(a: &Mat<T>, s: &Mat<T>, rule: PiRule<T>, lambda: T) -> Mat<f64> {
    let (pi, root) = (rule.pi(a.as_ref(), s.as_ref()).f64(), lambda.f64().sqrt());
    kron(&shifted(&a.cast(), pi * root), &shifted(&s.cast(), root / pi))
}

/// Every law of the contract, on every backend. The kind is erased first, which changes no bit and lets the suite be
/// compiled once a scalar instead of once a kind.
#[track_caller]
pub fn conforms<T: Scalar, C>(claim: &Claim<'_, T>, c: &C)
where
    C: Curvature<T> + Clone + 'static,
    C::Solver: DampedInverse<T> + 'static,
{
    conforms_direct(&Setup::default(), &claim.0, |_| Ok(c.clone())).assert_passed();
}

/// [`conforms`] without erasure, for a curvature that borrows.
#[track_caller]
pub fn conforms_borrowing<T: Scalar, C>(claim: &Claim<'_, T>, c: &C)
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    curvature::check_direct(&Setup::default(), &claim.0, |_| Ok(c)).assert_passed();
}

/// [`curvature::check_direct`] of the erased kind.
pub fn conforms_direct<T: Scalar, C>(
    setup: &Setup<T>,
    claim: &testing::Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<C>,
) -> Report
where
    C: Curvature<T> + 'static,
    C::Solver: DampedInverse<T> + 'static,
{
    let erased: &dyn Fn(&Ctx<T>) -> Result<AnyCurvature<T>> = &|ctx| make(ctx).map(AnyCurvature::new);
    curvature::check_direct(setup, claim, erased)
}

#[track_caller]
pub fn diagonal_agrees<T: Scalar, C: HasDiagonal<T>>(c: &C) {
    capability::check_diagonal(&Setup::default(), &testing::Claim::unknown("diagonal"), |_| Ok(c)).assert_passed();
}
