//! The two scalars of the crate: `f32` and `f64`, equal citizens behind one sealed trait.

use std::fmt::{Debug, Display, LowerExp};
use std::iter::Sum;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// What a state that is saved asks of its numbers; with the feature `serde`, to be serde values.
#[cfg(feature = "serde")]
pub trait Stored: serde::Serialize + serde::de::DeserializeOwned {}
#[cfg(feature = "serde")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Stored for T {}

/// What a state that is saved asks of its numbers; with the feature `serde`, to be serde values.
#[cfg(not(feature = "serde"))]
pub trait Stored {}
#[cfg(not(feature = "serde"))]
impl<T> Stored for T {}

/// A real floating-point number: `f32` or `f64`.
///
/// The trait is sealed; arithmetic comes from [`num_traits::Float`] and [`num_traits::NumAssign`].
pub trait Scalar:
    sealed::Sealed
    + Stored
    + num_traits::Float
    + num_traits::NumAssign
    + Default
    + Debug
    + Display
    + LowerExp
    + Sum
    + Send
    + Sync
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Distance from 1 to the next larger number (2⁻²³ or 2⁻⁵²).
    const EPS: Self;
    /// Name of the type, `"f32"` or `"f64"`.
    const NAME: &'static str;
    /// Nearest value of this type.
    fn of(x: f64) -> Self;
    /// Widened to `f64`, exactly.
    fn f64(self) -> f64;
    /// 1.5·2ᵐ with m the number of mantissa bits: adding it rounds a small number to the nearest integer.
    #[doc(hidden)]
    const ROUNDER: Self;
    /// 2ᵏ from t = k + `ROUNDER`, by moving the low bits of t into the exponent; k must be a normal exponent.
    #[doc(hidden)]
    fn exp2_of_rounded(t: Self) -> Self;
}

macro_rules! scalar {
    ($t:ident, $bits:literal) => {
        impl Scalar for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPS: Self = $t::EPSILON;
            const NAME: &'static str = stringify!($t);
            #[inline]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline]
            fn f64(self) -> f64 {
                f64::from(self)
            }
            const ROUNDER: Self = 1.5 * (1u64 << $bits) as $t;
            #[inline(always)]
            fn exp2_of_rounded(t: Self) -> Self {
                $t::from_bits((t.to_bits() << $bits).wrapping_add((1.0 as $t).to_bits()))
            }
        }
    };
}
scalar!(f32, 23);
scalar!(f64, 52);
