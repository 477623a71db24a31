//! One context for each backend that is compiled in.

use crate::backend::Ctx;
use crate::scalar::Scalar;

/// A one-thread context on every compiled backend, the reference first.
pub fn contexts<T: Scalar>() -> Vec<Ctx<T>> {
    vec![
        Ctx::reference(),
        #[cfg(feature = "faer")]
        Ctx::faer(),
        #[cfg(feature = "blas")]
        Ctx::blas(),
    ]
}
