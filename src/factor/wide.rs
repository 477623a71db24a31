//! Cholesky in a wider arithmetic than the matrix is stored in: `f64` for `f32`, double-double for `f64`.
//!
//! ```text
//! A + σI = L Lᵀ, column by column: l_ij = (a_ij - Σ_k<j l_ik l_jk) / l_jj
//! ```
//! σ is added in the wide arithmetic, so that a shift which rounds away in the narrow one still counts. A double-double
//! is an unevaluated sum of two `f64`, about 106 bits.
//!
//! Cost        n³/3 multiply-adds of about 1 (`f64`) or 25 (double-double) flops; n² wide numbers.
//! Laws        tests/recovery.rs.
//! Reference   T. J. Dekker, A floating-point technique for extending the available precision, Numer. Math. 18 (1971),
//!             doi:10.1007/BF01397083; N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 10.

use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// The arithmetic of a factorization.
trait Wide: Copy {
    /// a + b.
    fn sum(a: f64, b: f64) -> Self;
    /// self - a b.
    fn minus_product(self, a: Self, b: Self) -> Self;
    /// self / b.
    fn over(self, b: Self) -> Self;
    /// √self, self > 0.
    fn root(self) -> Self;
    /// Rounded to `f64`.
    fn value(self) -> f64;
}

impl Wide for f64 {
    fn sum(a: f64, b: f64) -> Self {
        a + b
    }
    fn minus_product(self, a: Self, b: Self) -> Self {
        self - a * b
    }
    fn over(self, b: Self) -> Self {
        self / b
    }
    fn root(self) -> Self {
        self.sqrt()
    }
    fn value(self) -> f64 {
        self
    }
}

/// hi + lo, |lo| at most half a unit in the last place of hi.
#[derive(Debug, Clone, Copy, PartialEq)]
struct DoubleDouble {
    hi: f64,
    lo: f64,
}

/// a + b exactly, |a| >= |b|.
fn fast_two_sum(a: f64, b: f64) -> DoubleDouble {
    let hi = a + b;
    DoubleDouble { hi, lo: b - (hi - a) }
}

/// a + b exactly.
fn two_sum(a: f64, b: f64) -> DoubleDouble {
    let hi = a + b;
    let b_part = hi - a;
    DoubleDouble { hi, lo: (a - (hi - b_part)) + (b - b_part) }
}

/// a b exactly, by Veltkamp's split of each factor into two of 26 bits.
fn two_product(a: f64, b: f64) -> DoubleDouble {
    const SPLIT: f64 = 134_217_729.0; // 2²⁷ + 1
    let halves = |x: f64| {
        let wide = SPLIT * x;
        let high = wide - (wide - x);
        (high, x - high)
    };
    let hi = a * b;
    let ((ah, al), (bh, bl)) = (halves(a), halves(b));
    DoubleDouble { hi, lo: ((ah * bh - hi) + ah * bl + al * bh) + al * bl }
}

impl Wide for DoubleDouble {
    fn sum(a: f64, b: f64) -> Self {
        two_sum(a, b)
    }

    fn minus_product(self, a: Self, b: Self) -> Self {
        let mut product = two_product(a.hi, b.hi);
        product.lo += a.hi * b.lo + a.lo * b.hi;
        let product = fast_two_sum(product.hi, product.lo);
        let (high, low) = (two_sum(self.hi, -product.hi), two_sum(self.lo, -product.lo));
        let high = fast_two_sum(high.hi, high.lo + low.hi);
        fast_two_sum(high.hi, high.lo + low.lo)
    }

    fn over(self, b: Self) -> Self {
        let of = |x: f64| DoubleDouble { hi: x, lo: 0.0 };
        let first = self.hi / b.hi;
        let rest = self.minus_product(of(first), b);
        let second = rest.hi / b.hi;
        let third = rest.minus_product(of(second), b).hi / b.hi;
        let quotient = fast_two_sum(first, second);
        fast_two_sum(quotient.hi, quotient.lo + third)
    }

    fn root(self) -> Self {
        // one step of Newton's iteration from the f64 root
        let root = self.hi.sqrt();
        let of_root = DoubleDouble { hi: root, lo: 0.0 };
        fast_two_sum(root, self.minus_product(of_root, of_root).hi / (2.0 * root))
    }

    fn value(self) -> f64 {
        self.hi + self.lo
    }
}

/// L of A + σI in the wide arithmetic, rounded once, its strict upper triangle zero; only the lower triangle of A is
/// read. `None` where a pivot is not positive, or vanishes or overflows when it is rounded.
pub(super) fn cholesky<T: Scalar>(a: MatRef<'_, T>, shift: T) -> Option<Mat<T>> {
    if T::EPS.f64() > f64::EPSILON { factored::<T, f64>(a, shift) } else { factored::<T, DoubleDouble>(a, shift) }
}

fn factored<T: Scalar, W: Wide>(a: MatRef<'_, T>, shift: T) -> Option<Mat<T>> {
    let n = a.nrows();
    // A by a power of 4 to the scale of 1, so that no square and no split overflows
    let diagonal = (0..n).fold(0f64, |max, i| max.max((a.at(i, i).f64() + shift.f64()).abs()));
    let exponent = if diagonal > 0.0 { (0.5 * diagonal.log2()).floor() as i32 } else { 0 };
    let (down, up) = (2f64.powi(-exponent), 2f64.powi(exponent));
    let scaled = |x: f64| x * down * down;
    let mut l: Vec<W> = vec![W::sum(0.0, 0.0); n * n];
    for j in 0..n {
        let (before, rest) = l.split_at_mut(j * n);
        let column = &mut rest[..n];
        for (i, x) in column.iter_mut().enumerate().skip(j) {
            let shift = if i == j { scaled(shift.f64()) } else { 0.0 };
            *x = W::sum(scaled(a.at(i, j).f64()), shift);
        }
        for earlier in before.chunks_exact(n) {
            let factor = earlier[j];
            column[j..].iter_mut().zip(&earlier[j..]).for_each(|(x, &l)| *x = x.minus_product(l, factor));
        }
        let pivot = column[j];
        if !(pivot.value() > 0.0 && pivot.value().is_finite()) {
            return None;
        }
        let root = pivot.root();
        column[j] = root;
        column[j + 1..].iter_mut().for_each(|x| *x = x.over(root));
    }
    let l = Mat::from_fn(n, n, |i, j| if i >= j { T::of(l[i + j * n].value() * up) } else { T::ZERO });
    let usable = (0..n).all(|i| l[(i, i)] > T::ZERO) && l.as_ref().is_finite();
    usable.then_some(l)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_doubles_hold_what_f64_cannot() {
        let tiny = 2f64.powi(-80);
        let one = DoubleDouble::sum(1.0, tiny);
        assert_eq!((one.hi, one.lo), (1.0, tiny));
        // (1 + t)² - 1 - 2t = t²
        let square = DoubleDouble::sum(1.0, 2.0 * tiny).minus_product(one, one);
        assert!(square.value().abs() <= 2f64.powi(-104), "{:e}", square.value());
        let root = one.root();
        assert!((root.lo - 0.5 * tiny).abs() <= 2f64.powi(-104), "{:e}", root.lo);
        let third = DoubleDouble::sum(1.0, 0.0).over(DoubleDouble::sum(3.0, 0.0));
        let rest = DoubleDouble::sum(1.0, 0.0).minus_product(third, DoubleDouble::sum(3.0, 0.0));
        assert!(rest.value().abs() <= 2f64.powi(-103), "{:e}", rest.value());
    }

    #[test]
    fn products_are_exact() {
        let (a, b) = (1.0 + f64::EPSILON, 1.0 - f64::EPSILON);
        // (1 + ε)(1 - ε) = 1 - ε²
        let product = two_product(a, b);
        assert_eq!((product.hi, product.lo), (1.0, -f64::EPSILON * f64::EPSILON));
    }
}
