//! The gallery of named matrices: symmetric ones that textbooks and failure reports come back to, with what is known.
//!
//! ```text
//! ones   x xᵀ, x = (1, ..., 1)              minij    min(i, j), eigenvalues 1/(2 - 2cos((2k-1)π/(2n+1)))
//! Hilbert 1/(i + j - 1)                     Moler    Uᵀ U, U unit upper with -1 above; determinant 1
//! Lehmer min(i, j)/max(i, j)                KMS      ½^|i-j| (Kac-Murdock-Szegő)
//! second difference tridiag(-1, 2, -1), eigenvalues 2 - 2cos(kπ/(n+1))
//! Wilkinson tridiagonal |i - (n-1)/2| beside ones: pairs of eigenvalues that agree to many digits
//! ```
//!
//! Reference   N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, chapter 28 (doi
//!             10.1137/1.9780898718027); J. H. Wilkinson, The Algebraic Eigenvalue Problem, 1965, p. 308.

use std::f64::consts::PI;

use super::{graded, rank_deficient, spd, with_spectrum};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// The signs of the eigenvalues of a matrix, before rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// All positive.
    Positive,
    /// None negative, some zero.
    Semidefinite,
    /// Any.
    Indefinite,
}

/// A family of symmetric matrices, one for each order.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// The signs of the eigenvalues where n >= 3.
    pub sign: Sign,
    /// Largest over smallest eigenvalue for an order, where it is known in closed form or by construction.
    pub condition: fn(usize) -> Option<f64>,
    /// The eigenvalues, ascending, where they are known.
    pub eigenvalues: fn(usize) -> Option<Vec<f64>>,
    entries: fn(usize) -> Mat<f64>,
}

impl Named {
    /// The n x n matrix, formed in `f64` and rounded once.
    pub fn matrix<T: Scalar>(&self, n: usize) -> Mat<T> {
        (self.entries)(n).cast()
    }
}

/// The smallest positive condition that a near-singular matrix of `f64` can have to its last bit.
const NEARLY_SINGULAR: f64 = 1.0 / f64::EPSILON;

fn ascending(mut w: Vec<f64>) -> Option<Vec<f64>> {
    w.sort_by(f64::total_cmp);
    Some(w)
}

fn ratio(w: Option<Vec<f64>>) -> Option<f64> {
    let w = w?;
    Some(w.last()? / w.first()?)
}

fn minij(n: usize) -> Option<Vec<f64>> {
    ascending((1..=n).map(|k| 1.0 / (2.0 - 2.0 * ((2 * k - 1) as f64 * PI / (2 * n + 1) as f64).cos())).collect())
}

fn second_difference(n: usize) -> Option<Vec<f64>> {
    ascending((1..=n).map(|k| 2.0 - 2.0 * (k as f64 * PI / (n + 1) as f64).cos()).collect())
}

fn alternating(n: usize) -> Option<Vec<f64>> {
    ascending((0..n).map(|i| if i % 2 == 0 { 1.0 + i as f64 } else { -(i as f64) }).collect())
}

fn clusters(n: usize) -> Option<Vec<f64>> {
    ascending((0..n).map(|i| [1.0, 1.0 + 4.0 * f64::EPSILON, 2.0, 8.0][i % 4]).collect())
}

fn near(i: usize, j: usize) -> usize {
    i.abs_diff(j)
}

const UNKNOWN: fn(usize) -> Option<Vec<f64>> = |_| None;
const NOT_KNOWN: fn(usize) -> Option<f64> = |_| None;

/// Every named matrix.
///
/// ```
/// use pullback::testing::gallery::{self, Sign};
/// let hilbert = gallery::named().find(|m| m.name == "Hilbert").unwrap();
/// assert_eq!(hilbert.sign, Sign::Positive);
/// assert_eq!(hilbert.matrix::<f64>(3)[(1, 2)], 0.25);
/// ```
pub fn named() -> impl Iterator<Item = Named> {
    let row = |name, sign, condition, eigenvalues, entries| Named { name, sign, condition, eigenvalues, entries };
    let rows: [Named; 15] = [
        row("zero", Sign::Semidefinite, NOT_KNOWN, |n| Some(vec![0.0; n]), |n| Mat::zeros(n, n)),
        row("identity", Sign::Positive, |_| Some(1.0), |n| Some(vec![1.0; n]), Mat::identity),
        row(
            "ones",
            Sign::Semidefinite,
            NOT_KNOWN,
            |n| ascending((0..n).map(|i| if i == 0 { n as f64 } else { 0.0 }).collect()),
            |n| Mat::from_fn(n, n, |_, _| 1.0),
        ),
        row("half rank", Sign::Semidefinite, NOT_KNOWN, UNKNOWN, |n| rank_deficient(n, n.div_ceil(2), 1)),
        row("Hilbert", Sign::Positive, NOT_KNOWN, UNKNOWN, |n| Mat::from_fn(n, n, |i, j| 1.0 / (i + j + 1) as f64)),
        row("Lehmer", Sign::Positive, NOT_KNOWN, UNKNOWN, |n| {
            Mat::from_fn(n, n, |i, j| (i.min(j) + 1) as f64 / (i.max(j) + 1) as f64)
        }),
        row("minij", Sign::Positive, |n| ratio(minij(n)), minij, |n| Mat::from_fn(n, n, |i, j| (i.min(j) + 1) as f64)),
        row("Moler", Sign::Positive, NOT_KNOWN, UNKNOWN, |n| {
            Mat::from_fn(n, n, |i, j| if i == j { (i + 1) as f64 } else { i.min(j) as f64 - 1.0 })
        }),
        row("Kac-Murdock-Szegő", Sign::Positive, NOT_KNOWN, UNKNOWN, |n| {
            Mat::from_fn(n, n, |i, j| 0.5f64.powi(near(i, j) as i32))
        }),
        row(
            "second difference",
            Sign::Positive,
            |n| ratio(second_difference(n)),
            second_difference,
            |n| Mat::from_fn(n, n, |i, j| [2.0, -1.0, 0.0][near(i, j).min(2)]),
        ),
        row("Wilkinson", Sign::Indefinite, NOT_KNOWN, UNKNOWN, |n| {
            let diagonal = |i: usize| (i as f64 - (n as f64 - 1.0) / 2.0).abs();
            Mat::from_fn(n, n, |i, j| [diagonal(i), 1.0, 0.0][near(i, j).min(2)])
        }),
        row("graded", Sign::Positive, NOT_KNOWN, UNKNOWN, |n| graded(n, 1e-8, 1)),
        row(
            "clustered",
            Sign::Positive,
            |n| ratio(clusters(n)),
            clusters,
            |n| with_spectrum(&clusters(n).unwrap_or_default(), 1),
        ),
        row(
            "near-singular",
            Sign::Positive,
            |n| Some(if n > 1 { NEARLY_SINGULAR } else { 1.0 }),
            UNKNOWN,
            |n| spd(n, NEARLY_SINGULAR, 1),
        ),
        row("indefinite", Sign::Indefinite, NOT_KNOWN, alternating, |n| {
            with_spectrum(&alternating(n).unwrap_or_default(), 1)
        }),
    ];
    rows.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Ctx;
    use crate::factor::SymEigen;
    use crate::testing::dense::norm;
    use crate::testing::tolerance;

    #[test]
    fn what_the_gallery_says_of_a_matrix_is_so() {
        let ctx = Ctx::<f64>::reference();
        for family in named() {
            for n in [0, 1, 2, 3, 8, 17] {
                let matrix = family.matrix::<f64>(n);
                assert_eq!(matrix, matrix.transposed(), "{} of order {n} is symmetric", family.name);
                let limit = tolerance::<f64>(n, 1.0) * norm(&matrix);
                let eigen = SymEigen::new(&ctx, matrix).unwrap();
                if let Some(known) = (family.eigenvalues)(n) {
                    assert_eq!(known.len(), n);
                    for (got, want) in eigen.values().iter().zip(&known) {
                        assert!((got - want).abs() <= limit, "{} of order {n}: {got} and {want}", family.name);
                    }
                }
                let smallest = eigen.values().first().copied().unwrap_or(1.0);
                let sign = match family.sign {
                    _ if n < 3 => true,
                    Sign::Positive => smallest > -limit,
                    Sign::Semidefinite => smallest.abs() <= limit,
                    Sign::Indefinite => smallest < -limit,
                };
                assert!(sign, "{} of order {n}: smallest eigenvalue {smallest}", family.name);
                if let (Some(condition), true) = ((family.condition)(n), n > 0) {
                    let found = eigen.values()[n - 1] / smallest;
                    // an eigenvalue of relative size 1/κ is known to κ ε
                    let slack = tolerance::<f64>(n, condition) * condition;
                    assert!((found - condition).abs() <= slack, "{} of order {n}: {found:e}", family.name);
                }
            }
        }
    }
}
