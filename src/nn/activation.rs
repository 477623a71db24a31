//! Activation functions a = φ(s), with φ' and φ'' from the activation value a.
//!
//! | φ | φ' | φ''/φ' |
//! |---|---|---|
//! | tanh | 1 - a² | -2a |
//! | logistic | a(1 - a) | 1 - 2a |
//! | ReLU | 1 where a > 0, else 0 | 0 |
//! | softplus ln(1 + eˢ) | 1 - e⁻ᵃ | e⁻ᵃ |
//! | identity | 1 | 0 |
//!
//! The ratio φ''/φ' is what the R-operator needs: φ''(s) Rs = (φ''/φ')(s) Ra, so Rs need not be kept.
//!
//! Cost        one polynomial exp an element for tanh, logistic and softplus; the derivatives of tanh and logistic
//!             are two flops.
//! Laws        src/nn/elementary.rs (ulps), tests/nn_activations.rs (derivatives, NaN, infinities).

use super::columns::{self, Kernel};
use super::elementary::{exp_neg, expm1_neg, logistic, softplus, tanh};
use crate::backend::Ctx;
use crate::error::{Result, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// An activation function, applied to each pre-activation.
///
/// ```
/// use pullback::nn::Activation;
/// let a = Activation::Tanh.value(0.5f64);
/// assert!((a - 0.5f64.tanh()).abs() < 1e-15);
/// assert!((Activation::Tanh.derivative(a) - (1.0 - a * a)).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// tanh s.
    Tanh,
    /// 1 / (1 + e⁻ˢ).
    Logistic,
    /// max(s, 0); the derivative at 0 is taken as 0.
    Relu,
    /// ln(1 + eˢ).
    Softplus,
    /// s.
    Identity,
}

/// Runs `$body` with `$f` bound to one function for each activation, so that no loop holds a branch on it.
macro_rules! for_each_activation {
    ($activation:expr, $T:ident, $table:ident, |$f:ident| $body:expr) => {
        match $activation {
            Activation::Tanh => {
                let $f = $table::tanh::<$T>;
                $body
            }
            Activation::Logistic => {
                let $f = $table::logistic::<$T>;
                $body
            }
            Activation::Relu => {
                let $f = $table::relu::<$T>;
                $body
            }
            Activation::Softplus => {
                let $f = $table::softplus::<$T>;
                $body
            }
            Activation::Identity => {
                let $f = $table::identity::<$T>;
                $body
            }
        }
    };
}

/// φ(s).
mod value {
    use super::Scalar;
    pub(super) use super::{logistic, softplus, tanh};
    #[inline(always)]
    pub(super) fn relu<T: Scalar>(s: T) -> T {
        // written so that NaN passes
        if s <= T::ZERO { T::ZERO } else { s }
    }
    #[inline(always)]
    pub(super) fn identity<T: Scalar>(s: T) -> T {
        s
    }
}

/// φ' and φ''/φ' from a.
mod slope {
    use super::{Scalar, exp_neg, expm1_neg};
    #[inline(always)]
    pub(super) fn tanh<T: Scalar>(a: T) -> (T, T) {
        ((T::ONE - a) * (T::ONE + a), -(a + a))
    }
    #[inline(always)]
    pub(super) fn logistic<T: Scalar>(a: T) -> (T, T) {
        (a * (T::ONE - a), T::ONE - (a + a))
    }
    #[inline(always)]
    pub(super) fn relu<T: Scalar>(a: T) -> (T, T) {
        // 0 a keeps a NaN in the derivative
        (if a > T::ZERO { T::ONE } else { T::ZERO * a }, T::ZERO)
    }
    #[inline(always)]
    pub(super) fn softplus<T: Scalar>(a: T) -> (T, T) {
        (-expm1_neg(-a), exp_neg(-a))
    }
    #[inline(always)]
    pub(super) fn identity<T: Scalar>(_a: T) -> (T, T) {
        (T::ONE, T::ZERO)
    }
}

impl Activation {
    /// φ(s).
    pub fn value<T: Scalar>(self, s: T) -> T {
        for_each_activation!(self, T, value, |f| f(s))
    }

    /// φ'(s) from a = φ(s).
    pub fn derivative<T: Scalar>(self, a: T) -> T {
        for_each_activation!(self, T, slope, |f| f(a).0)
    }

    /// φ''(s) from a = φ(s).
    pub fn second_derivative<T: Scalar>(self, a: T) -> T {
        let (first, ratio) = for_each_activation!(self, T, slope, |f| f(a));
        first * ratio
    }

    /// A ← φ(A), over the context's threads.
    pub fn apply<T: Scalar>(self, ctx: &Ctx<T>, a: MatMut<'_, T>) {
        if self != Activation::Identity {
            columns::run(ctx, a.nrows(), a, &Value(self));
        }
    }

    /// D ← φ'(A) ∘ D, with A = φ(S).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes differ.
    pub fn scale_by_derivative<T: Scalar>(self, ctx: &Ctx<T>, a: MatRef<'_, T>, d: MatMut<'_, T>) -> Result<()> {
        check_shape("scale_by_derivative", a.shape(), d.shape())?;
        if self != Activation::Identity {
            columns::run(ctx, a.nrows(), (a, d), &Scale(self));
        }
        Ok(())
    }

    /// The backward R-operator of one layer: with E and RE given in `d` and `rd`,
    /// ```text
    /// RD ← φ' ∘ RE + (φ''/φ') ∘ RA ∘ E,   D ← φ' ∘ E
    /// ```
    pub(super) fn backward_r<T: Scalar>(
        self,
        ctx: &Ctx<T>,
        a: MatRef<'_, T>,
        ra: MatRef<'_, T>,
        d: MatMut<'_, T>,
        rd: MatMut<'_, T>,
    ) {
        if self != Activation::Identity {
            columns::run(ctx, a.nrows(), (a, ra, d, rd), &BackwardR(self));
        }
    }
}

struct Value(Activation);

impl<T: Scalar> Kernel<MatMut<'_, T>> for Value {
    #[inline(always)]
    fn run(&self, mut a: MatMut<'_, T>) {
        for_each_activation!(self.0, T, value, |f| {
            for column in a.cols_mut() {
                for x in column {
                    *x = f(*x);
                }
            }
        });
    }
}

struct Scale(Activation);

impl<T: Scalar> Kernel<(MatRef<'_, T>, MatMut<'_, T>)> for Scale {
    #[inline(always)]
    fn run(&self, (a, mut d): (MatRef<'_, T>, MatMut<'_, T>)) {
        for_each_activation!(self.0, T, slope, |f| {
            for (a, d) in a.cols().zip(d.cols_mut()) {
                for (&a, d) in a.iter().zip(d) {
                    *d *= f(a).0;
                }
            }
        });
    }
}

struct BackwardR(Activation);

type FourViews<'a, T> = (MatRef<'a, T>, MatRef<'a, T>, MatMut<'a, T>, MatMut<'a, T>);

impl<'a, T: Scalar> Kernel<FourViews<'a, T>> for BackwardR {
    #[inline(always)]
    fn run(&self, (a, ra, mut d, mut rd): FourViews<'a, T>) {
        for_each_activation!(self.0, T, slope, |f| {
            for (((a, ra), d), rd) in a.cols().zip(ra.cols()).zip(d.cols_mut()).zip(rd.cols_mut()) {
                for (((&a, &ra), d), rd) in a.iter().zip(ra).zip(d).zip(rd) {
                    let (first, ratio) = f(a);
                    *rd = first * *rd + ratio * ra * *d;
                    *d *= first;
                }
            }
        });
    }
}
