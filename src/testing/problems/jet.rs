//! [`Jet`]: a number that carries its derivatives along two directions and its mixed second one, so that a formula which
//! is written once for any [`Number`] gives its exact Jacobian and Hessian.
//!
//! ```text
//! x = v + a ε₁ + b ε₂ + c ε₁ε₂,   ε₁² = ε₂² = 0
//! f(x) = f(v) + f'(v) a ε₁ + f'(v) b ε₂ + (f'(v) c + f''(v) a b) ε₁ε₂
//! ```
//! With a = e_j and b = e_k in the arguments, the parts of the result are f, ∂f/∂x_j, ∂f/∂x_k and ∂²f/∂x_j∂x_k: no
//! difference is taken, and no digits are lost.
//!
//! Cost        an operation on jets is up to about twelve on numbers.
//! Laws        tests/problems.rs.
//! Reference   J. Fike, J. Alonso, The development of hyper-dual numbers for exact second-derivative calculations, AIAA
//!             2011-886, doi 10.2514/6.2011-886.

use std::fmt::Debug;
use std::iter::{Product, Sum};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// What a formula may be evaluated in: `f64`, or [`Jet`] for derivatives.
pub trait Number:
    Copy
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
    + Sum
    + Product
{
    /// A constant.
    fn of(value: f64) -> Self;

    /// The value without derivatives, for choices between branches.
    fn value(self) -> f64;

    /// f(self) from f, f' and f'' at the value.
    fn chain(self, f: f64, first: f64, second: f64) -> Self;

    /// eˣ.
    fn exp(self) -> Self {
        let e = self.value().exp();
        self.chain(e, e, e)
    }

    /// The natural logarithm.
    fn ln(self) -> Self {
        let v = self.value();
        self.chain(v.ln(), 1.0 / v, -1.0 / (v * v))
    }

    /// The sine.
    fn sin(self) -> Self {
        let (s, c) = self.value().sin_cos();
        self.chain(s, c, -s)
    }

    /// The cosine.
    fn cos(self) -> Self {
        let (s, c) = self.value().sin_cos();
        self.chain(c, -s, -c)
    }

    /// The arc tangent, in (-π/2, π/2).
    fn atan(self) -> Self {
        let v = self.value();
        let d = 1.0 / (1.0 + v * v);
        self.chain(v.atan(), d, -2.0 * v * d * d)
    }

    /// The square root.
    fn sqrt(self) -> Self {
        let root = self.value().sqrt();
        self.chain(root, 0.5 / root, -0.25 / (root * self.value()))
    }

    /// |x|, with the derivative of the side that x is on.
    fn abs(self) -> Self {
        self.chain(self.value().abs(), self.value().signum(), 0.0)
    }

    /// x².
    fn square(self) -> Self {
        self * self
    }

    /// xⁿ for an integer n.
    fn powi(self, n: i32) -> Self {
        let (v, k) = (self.value(), f64::from(n));
        let first = if n == 0 { 0.0 } else { k * v.powi(n - 1) };
        let second = if n == 0 || n == 1 { 0.0 } else { k * (k - 1.0) * v.powi(n - 2) };
        self.chain(v.powi(n), first, second)
    }

    /// xʸ for x > 0, with derivatives by both.
    fn pow(self, exponent: Self) -> Self {
        let value = self.value().powf(exponent.value());
        (exponent * self.ln()).chain(value, value, value)
    }
}

impl Number for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn chain(self, f: f64, _first: f64, _second: f64) -> Self {
        f
    }
}

/// A value, its derivatives along two directions, and the mixed second derivative.
///
/// ```
/// use pullback::testing::problems::{Jet, Number};
/// // f(x, y) = x² y at (3, 2): f = 18, ∂f/∂x = 12, ∂f/∂y = 9, ∂²f/∂x∂y = 6
/// let (x, y) = (Jet::new(3.0, 1.0, 0.0), Jet::new(2.0, 0.0, 1.0));
/// let f = x.square() * y;
/// assert_eq!((f.value(), f.first(), f.second(), f.mixed()), (18.0, 12.0, 9.0, 6.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Jet {
    v: f64,
    a: f64,
    b: f64,
    c: f64,
}

impl Jet {
    /// A variable that moves by `first` along the first direction and by `second` along the other.
    pub fn new(value: f64, first: f64, second: f64) -> Self {
        Self { v: value, a: first, b: second, c: 0.0 }
    }

    /// The derivative along the first direction.
    pub fn first(self) -> f64 {
        self.a
    }

    /// The derivative along the second direction.
    pub fn second(self) -> f64 {
        self.b
    }

    /// The derivative along one, then the other.
    pub fn mixed(self) -> f64 {
        self.c
    }
}

impl Number for Jet {
    fn of(value: f64) -> Self {
        Self::new(value, 0.0, 0.0)
    }

    fn value(self) -> f64 {
        self.v
    }

    fn chain(self, f: f64, first: f64, second: f64) -> Self {
        Self { v: f, a: first * self.a, b: first * self.b, c: first * self.c + second * self.a * self.b }
    }
}

impl Add for Jet {
    type Output = Self;
    fn add(self, y: Self) -> Self {
        Self { v: self.v + y.v, a: self.a + y.a, b: self.b + y.b, c: self.c + y.c }
    }
}

impl Sub for Jet {
    type Output = Self;
    fn sub(self, y: Self) -> Self {
        Self { v: self.v - y.v, a: self.a - y.a, b: self.b - y.b, c: self.c - y.c }
    }
}

impl Mul for Jet {
    type Output = Self;
    fn mul(self, y: Self) -> Self {
        Self {
            v: self.v * y.v,
            a: self.a * y.v + self.v * y.a,
            b: self.b * y.v + self.v * y.b,
            c: self.c * y.v + self.a * y.b + self.b * y.a + self.v * y.c,
        }
    }
}

impl Div for Jet {
    type Output = Self;
    fn div(self, y: Self) -> Self {
        // z = x/y from z y = x, part by part
        let v = self.v / y.v;
        let (a, b) = ((self.a - v * y.a) / y.v, (self.b - v * y.b) / y.v);
        Self { v, a, b, c: (self.c - v * y.c - a * y.b - b * y.a) / y.v }
    }
}

impl Neg for Jet {
    type Output = Self;
    fn neg(self) -> Self {
        Self { v: -self.v, a: -self.a, b: -self.b, c: -self.c }
    }
}

impl Add<f64> for Jet {
    type Output = Self;
    fn add(self, y: f64) -> Self {
        Self { v: self.v + y, ..self }
    }
}

impl Sub<f64> for Jet {
    type Output = Self;
    fn sub(self, y: f64) -> Self {
        Self { v: self.v - y, ..self }
    }
}

impl Mul<f64> for Jet {
    type Output = Self;
    fn mul(self, y: f64) -> Self {
        Self { v: self.v * y, a: self.a * y, b: self.b * y, c: self.c * y }
    }
}

impl Div<f64> for Jet {
    type Output = Self;
    fn div(self, y: f64) -> Self {
        Self { v: self.v / y, a: self.a / y, b: self.b / y, c: self.c / y }
    }
}

impl Sum for Jet {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::of(0.0), Add::add)
    }
}

impl Product for Jet {
    fn product<I: Iterator<Item = Self>>(factors: I) -> Self {
        factors.fold(Self::of(1.0), Mul::mul)
    }
}
