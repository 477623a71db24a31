//! [`Setup`]: on which backends and from which seed a suite runs; and the macro that names its tests.

use super::contexts;
use crate::backend::Ctx;
use crate::scalar::Scalar;

/// The environment variable that [`Setup::default`] takes the seed from, to replay a failure or to look further.
pub const SEED_VARIABLE: &str = "PULLBACK_SEED";

/// Contexts and seed of a suite.
///
/// ```
/// use pullback::testing::Setup;
/// let setup = Setup::<f64>::default().seeded(7); // every backend compiled in
/// assert_eq!((setup.contexts[0].backend().name(), setup.seed), ("reference", 7));
/// ```
#[derive(Debug, Clone)]
pub struct Setup<T> {
    /// The suite is run on each of them.
    pub contexts: Vec<Ctx<T>>,
    /// Random input is a function of it.
    pub seed: u64,
}

/// A one-thread context on every compiled backend; the seed is `PULLBACK_SEED` where that holds a number, else 1.
impl<T: Scalar> Default for Setup<T> {
    fn default() -> Self {
        let seed = std::env::var(SEED_VARIABLE).ok().and_then(|s| s.trim().parse().ok());
        Self { contexts: contexts(), seed: seed.unwrap_or(1) }
    }
}

impl<T: Scalar> Setup<T> {
    /// On one context only: a backend of your own, or several threads.
    pub fn on(ctx: Ctx<T>) -> Self {
        Self { contexts: vec![ctx], ..Self::default() }
    }

    /// On the compiled backend of this name; without contexts where there is none.
    pub fn named(backend: &str) -> Self {
        let mut setup = Self::default();
        setup.contexts.retain(|ctx| ctx.backend().name() == backend);
        setup
    }

    /// The same with another seed.
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// Names a test for each (suite, scalar, backend): `NAME::single::reference`, `NAME::double::faer`, ...
///
/// The body is an expression of type [`Report`](crate::testing::Report), over a scalar type parameter and a
/// [`Setup`](crate::testing::Setup); with `setup: f64` in place of the parameter it is run for that scalar alone.
/// A failing test prints the laws that failed, where, and the seed; `PULLBACK_SEED=n cargo test` runs another one.
///
/// ```
/// use pullback::testing::{Claim, Report, operator};
/// use pullback::linop::Identity;
/// pullback::conformance! {
///     fn identity<T>(setup) {
///         let claim = Claim::unknown("identity");
///         (0..4).map(|n| operator::check_self_adjoint(setup, &claim, |_| Ok(Identity::new(n)))).collect::<Report>()
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance {
    ($($(#[$meta:meta])* fn $name:ident<$t:ident>($setup:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn suite<$t: $crate::scalar::Scalar>($setup: &$crate::testing::Setup<$t>) -> $crate::testing::Report $body
            mod single {
                $crate::conformance_on_each_backend!(f32);
            }
            mod double {
                $crate::conformance_on_each_backend!(f64);
            }
        }
    )+};
    ($($(#[$meta:meta])* fn $name:ident($setup:ident: $t:ty) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn suite($setup: &$crate::testing::Setup<$t>) -> $crate::testing::Report $body
            mod only {
                $crate::conformance_on_each_backend!($t);
            }
        }
    )+};
}

/// The tests of one scalar; the backends are those that this crate is compiled with.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_on_each_backend {
    ($t:ty) => {
        $crate::conformance_on_backend!(reference, $t);
        $crate::conformance_on_faer!($t);
        $crate::conformance_on_blas!($t);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_on_backend {
    ($backend:ident, $t:ty) => {
        #[test]
        fn $backend() {
            let setup = $crate::testing::Setup::<$t>::named(stringify!($backend));
            assert_eq!(setup.contexts.len(), 1);
            super::suite(&setup).assert_passed();
        }
    };
}

#[cfg(feature = "faer")]
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_on_faer {
    ($t:ty) => {
        $crate::conformance_on_backend!(faer, $t);
    };
}

#[cfg(not(feature = "faer"))]
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_on_faer {
    ($t:ty) => {};
}

#[cfg(feature = "blas")]
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_on_blas {
    ($t:ty) => {
        $crate::conformance_on_backend!(blas, $t);
    };
}

#[cfg(not(feature = "blas"))]
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_on_blas {
    ($t:ty) => {};
}
