//! [`IncompleteCholesky`]: IC(0), a Cholesky factorization without fill on the pattern of C.
//!
//! ```text
//! Ĉ = D^-1/2 (C + λI) D^-1/2,  D = diag(C + λI)          unit diagonal
//! L Lᵀ = Ĉ + αI on the pattern of C, entries outside it dropped
//! M⁻¹ = D^-1/2 L⁻ᵀ L⁻¹ D^-1/2
//! ```
//! Dropping entries may make a pivot negative even where C + λI is positive definite. Then the factorization starts
//! again with α = 10⁻³, 2·10⁻³, 4·10⁻³, ... It succeeds at the latest when Ĉ + αI is strictly diagonally dominant
//! (Manteuffel), so the number of attempts is at most about log₂(1000 n). [`IncompleteCholesky::shift`] reports α.
//!
//! Cost        a factorization Σ_j r_j²/2 multiplications and comparisons, r_j the entries of column j; 4 flops an
//!             entry and right-hand side. As many numbers as C, and n.
//! Deviations  A pivot of Ĉ below ε counts as a failure. With a full pattern and α = 0 it is the Cholesky
//!             factorization.
//! Laws        tests/built_preconditioners.rs.
//! Reference   J. A. Meijerink, H. A. van der Vorst, Math. Comp. 31 (1977) 148-162, doi
//!             10.1090/S0025-5718-1977-0438681-4; T. A. Manteuffel, Math. Comp. 34 (1980) 473-497, doi
//!             10.1090/S0025-5718-1980-0559197-0; C.-J. Lin, J. J. Moré, SIAM J. Sci. Comput. 21 (1999) 24-45, doi
//!             10.1137/S1064827597327334 (the shifts).

use super::SparseLower;
use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::{Error, Result};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// The first shift that is tried after 0 (Lin and Moré).
const FIRST_SHIFT: f64 = 1e-3;

/// (D^1/2 L Lᵀ D^1/2)⁻¹ with L on the pattern of C.
///
/// ```
/// use pullback::curvature::precondition::{IncompleteCholesky, SparseLower};
/// use pullback::{Ctx, Damping, LinearOperator, Mat};
/// let c = SparseLower::from_entries(2, [(0, 0, 3.0), (1, 0, 2.0), (1, 1, 3.0)])?;
/// let inverse = IncompleteCholesky::new(&c, Damping::try_from(1.0)?)?; // full pattern: exact
/// assert_eq!((inverse.shift(), inverse.attempts()), (0.0, 1));
/// let dense = inverse.to_dense(&Ctx::<f64>::default())?; // of [4 2; 2 4]
/// assert!((dense[(0, 0)] - 1.0 / 3.0).abs() < 1e-15 && (dense[(1, 0)] + 1.0 / 6.0).abs() < 1e-15);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound = "T: Scalar", into = "Parts<T>", try_from = "Parts<T>")
)]
pub struct IncompleteCholesky<T> {
    /// L on the pattern.
    factor: SparseLower<T>,
    /// D^-1/2.
    scale: Vec<T>,
    lambda: Damping<T>,
    shift: f64,
    attempts: usize,
}

/// L, D^-1/2, λ, α, attempts.
#[cfg(feature = "serde")]
type Parts<T> = (SparseLower<T>, Vec<T>, Damping<T>, f64, usize);

#[cfg(feature = "serde")]
impl<T: Scalar> From<IncompleteCholesky<T>> for Parts<T> {
    fn from(m: IncompleteCholesky<T>) -> Self {
        (m.factor, m.scale, m.lambda, m.shift, m.attempts)
    }
}

#[cfg(feature = "serde")]
impl<T: Scalar> TryFrom<Parts<T>> for IncompleteCholesky<T> {
    type Error = Error;

    /// Where the parts can be those of a factorization.
    fn try_from((factor, scale, lambda, shift, attempts): Parts<T>) -> Result<Self> {
        crate::error::check_len("IncompleteCholesky: scale", factor.shape().0, scale.len())?;
        let positive = |x: T| x.is_finite() && x > T::ZERO;
        let pivots = (0..scale.len()).all(|j| positive(factor.column(j).1[0]));
        if !(pivots && scale.iter().all(|&s| positive(s)) && shift.is_finite()) {
            return Err(Error::invalid("IncompleteCholesky", "pivots and scales must be finite and positive"));
        }
        Ok(Self { factor, scale, lambda, shift, attempts })
    }
}

impl<T: Scalar> IncompleteCholesky<T> {
    /// Factors C + λI on the pattern of C.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] naming a diagonal entry with c_jj + λ <= 0, [`Error::NotFinite`] on overflow.
    pub fn new(c: &SparseLower<T>, lambda: Damping<T>) -> Result<Self> {
        let n = c.shape().0;
        let mut scale = Vec::with_capacity(n);
        for j in 0..n {
            let damped = c.column(j).1[0] + lambda.get();
            if damped <= T::ZERO {
                return Err(Error::NotPositiveDefinite { op: "IncompleteCholesky", pivot: j });
            }
            scale.push(T::ONE / damped.sqrt());
        }
        check::finite_slice("IncompleteCholesky", &scale)?;
        if scale.contains(&T::ZERO) {
            return Err(Error::not_finite("IncompleteCholesky")); // c_jj + λ overflowed
        }
        let mut scaled = c.clone();
        let mut beside = vec![0f64; n]; // Σ_{j≠i} |ĉ_ij|
        for j in 0..n {
            for at in scaled.starts[j]..scaled.starts[j + 1] {
                let i = scaled.rows[at];
                if i == j {
                    scaled.values[at] = T::ONE;
                    continue;
                }
                let value = scaled.values[at] * scale[i] * scale[j];
                beside[i] += value.f64().abs();
                beside[j] += value.f64().abs();
                scaled.values[at] = value;
            }
        }
        check::finite_slice("IncompleteCholesky", &scaled.values)?;
        // strictly dominant from here on
        let enough = 2.0 * beside.iter().fold(1.0, |m: f64, &b| m.max(b));
        let (mut shift, mut attempts) = (0.0, 1);
        loop {
            let mut factor = scaled.clone();
            (0..n).for_each(|j| factor.values[factor.starts[j]] += T::of(shift));
            match factorize(&mut factor) {
                Ok(()) => return Ok(Self { factor, scale, lambda, shift, attempts }),
                Err(pivot) if shift >= enough => {
                    return Err(Error::NotPositiveDefinite { op: "IncompleteCholesky", pivot });
                }
                Err(_) => shift = if shift == 0.0 { FIRST_SHIFT } else { 2.0 * shift },
            }
            attempts += 1;
        }
    }

    /// λ.
    pub fn damping(&self) -> Damping<T> {
        self.lambda
    }

    /// α: what was added to the unit diagonal of Ĉ, that is, the share of diag(C + λI) added to it. 0 where none was
    /// needed.
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// Factorizations that were tried.
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// L, of the matrix with unit diagonal.
    pub fn factor(&self) -> &SparseLower<T> {
        &self.factor
    }

    /// D^-1/2.
    pub fn scale(&self) -> &[T] {
        &self.scale
    }
}

/// L in place of the matrix on its pattern, column by column; the pivot that fails.
fn factorize<T: Scalar>(a: &mut SparseLower<T>) -> Result<(), usize> {
    for k in 0..a.starts.len() - 1 {
        let (start, end) = (a.starts[k], a.starts[k + 1]);
        let pivot = a.values[start];
        if !(pivot > T::EPS && pivot.is_finite()) {
            return Err(k);
        }
        let root = pivot.sqrt();
        a.values[start] = root;
        a.values[start + 1..end].iter_mut().for_each(|l| *l /= root);
        // a_ij -= l_ik l_jk wherever (i, j) is in the pattern: both columns have ascending rows
        for at in start + 1..end {
            let (j, ljk) = (a.rows[at], a.values[at]);
            let mut to = a.starts[j];
            for from in at..end {
                let i = a.rows[from];
                while to < a.starts[j + 1] && a.rows[to] < i {
                    to += 1;
                }
                if to < a.starts[j + 1] && a.rows[to] == i {
                    let lik = a.values[from];
                    a.values[to] -= lik * ljk;
                }
            }
        }
    }
    Ok(())
}

impl<T: Scalar> LinearOperator<T> for IncompleteCholesky<T> {
    fn shape(&self) -> (usize, usize) {
        (self.scale.len(), self.scale.len())
    }

    fn apply_into(&self, _ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        let n = self.scale.len();
        for (x, y) in x.cols().zip(y.cols_mut()) {
            y.iter_mut().zip(x).zip(&self.scale).for_each(|((y, &x), &s)| *y = s * x);
            for j in 0..n {
                let (rows, values) = self.factor.column(j);
                y[j] /= values[0];
                let yj = y[j];
                rows.iter().zip(values).skip(1).for_each(|(&i, &l)| y[i] -= l * yj);
            }
            for j in (0..n).rev() {
                let (rows, values) = self.factor.column(j);
                let below: T = rows.iter().zip(values).skip(1).map(|(&i, &l)| l * y[i]).sum();
                y[j] = (y[j] - below) / values[0];
            }
            y.iter_mut().zip(&self.scale).for_each(|(y, &s)| *y *= s);
        }
        Ok(())
    }
}

impl<T: Scalar> SelfAdjoint<T> for IncompleteCholesky<T> {}
impl<T: Scalar> Preconditioner<T> for IncompleteCholesky<T> {}
