//! [`PiRule`]: how factored damping splits √λ between the two factors.
//!
//! ```text
//! (A + π √λ I) ⊗ (S + (√λ/π) I) ⪰ A ⊗ S + λI  for every π > 0                    (Eq 24)
//! ```
//! Cost        d_in + d_out additions by trace, d_in² + d_out² by Frobenius norm, 24 symmetric products of 2n² flops
//!             each factor by operator norm.
//! Deviations  the chapter leaves π free; these rules minimize the norm of the two terms that Eq 24 drops.
//! Laws        tests/curvatures.rs (balance under scaling of a factor, fallbacks), tests/descent.rs,
//!             tests/certificates.rs (the operator norm).
//! Reference   J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015,
//!             section 6.3: π = √(‖A ⊗ I‖ / ‖I ⊗ S‖).

use super::Damping;
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result};
use crate::krylov::largest_ritz_value;
use crate::linop::SymmetricDense;
use crate::mat::{Mat, MatRef};
use crate::scalar::Scalar;

/// Lanczos steps of [`PiRule::OperatorNorm`]: the expected relative error of an eigenvalue is at most
/// 0.103 (ln n / 23)², that of π at most half of it (0.5 % at n = 1000), and rounding for n <= 24.
const NORM_STEPS: usize = 24;

/// The rule for π. Where a norm is zero, negative or not finite, or the quotient is not a positive finite number,
/// π = 1 by definition, so every rule is total.
///
/// ```
/// use pullback::{Damping, Mat, curvature::PiRule};
/// let (a, s) = (Mat::from_diagonal(&[8.0, 8.0]), Mat::from_diagonal(&[2.0]));
/// assert_eq!(PiRule::Trace.pi(a.as_ref(), s.as_ref()), 2.0);
/// assert_eq!(PiRule::Trace.pi(a.as_ref(), Mat::zeros(1, 1).as_ref()), 1.0);
/// let lambda = Damping::try_from(9.0)?;
/// assert_eq!(PiRule::shifts(2.0, lambda), (6.0, 1.5));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub enum PiRule<T> {
    /// π² = (tr A / d_in) / (tr S / d_out), the ratio of the mean eigenvalues.
    #[default]
    Trace,
    /// π² = (‖A‖_F / √d_in) / (‖S‖_F / √d_out), the ratio of the root mean square eigenvalues.
    Frobenius,
    /// π² = ‖A‖₂ / ‖S‖₂, the ratio of the largest eigenvalues: minimizes the largest eigenvalue of the two dropped
    /// terms together. By 24 Lanczos steps each (see [`largest_ritz_value`]).
    OperatorNorm,
    /// The same π for all factors; finite and positive.
    Fixed(T),
}

impl<T: Scalar> PiRule<T> {
    /// π for the factors A (d_in x d_in) and S (d_out x d_out), of which only the lower triangles are read.
    pub fn pi(&self, a: MatRef<'_, T>, s: MatRef<'_, T>) -> T {
        let size = match *self {
            PiRule::Trace => mean_diagonal,
            PiRule::Frobenius => root_mean_square,
            PiRule::OperatorNorm => largest_eigenvalue,
            PiRule::Fixed(pi) => return usable(pi),
        };
        let (a, s) = (size(a), size(s));
        // roots first: the quotient of the sizes may overflow where that of their roots does not
        if a > 0.0 && s > 0.0 { usable(T::of(a.sqrt() / s.sqrt())) } else { T::ONE }
    }

    /// (π √λ, √λ / π): what is added to the diagonals of A and of S.
    pub fn shifts(pi: T, lambda: Damping<T>) -> (T, T) {
        let root = lambda.get().sqrt();
        (pi * root, root / pi)
    }

    /// `Ok` unless a fixed π is not a positive finite number.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn check(&self) -> Result<()> {
        match *self {
            PiRule::Fixed(pi) if !is_usable(pi) => {
                Err(Error::invalid("pi", format!("{pi} must be finite and positive")))
            }
            _ => Ok(()),
        }
    }
}

fn is_usable<T: Scalar>(pi: T) -> bool {
    pi.is_finite() && pi > T::ZERO
}

fn usable<T: Scalar>(pi: T) -> T {
    if is_usable(pi) { pi } else { T::ONE }
}

/// tr M / n as a mean that cannot overflow.
fn mean_diagonal<T: Scalar>(m: MatRef<'_, T>) -> f64 {
    let n = m.nrows().min(m.ncols());
    (0..n).map(|i| m.at(i, i).f64() / n as f64).sum()
}

/// ‖M‖_F / √n from the lower triangle of a symmetric M, at any scale.
fn root_mean_square<T: Scalar>(m: MatRef<'_, T>) -> f64 {
    let below = |first: usize| (0..m.ncols()).flat_map(move |j| m.col(j).iter().skip(j + first)).map(|x| x.f64());
    // every entry below the diagonal stands for two
    let sum = sums::length(below(0).chain(below(1)));
    sum.get() / (m.nrows().max(1) as f64).sqrt()
}

/// A lower bound of the largest eigenvalue from the lower triangle of a symmetric M, in f64 at the scale of 1; NaN where
/// M is not finite.
fn largest_eigenvalue<T: Scalar>(m: MatRef<'_, T>) -> f64 {
    let n = m.nrows().min(m.ncols());
    let scale = check::power_of_two_scale(m);
    let whole = Mat::from_fn(n, n, |i, j| scale.scale(m.at(i.max(j), i.min(j))).f64());
    let found = SymmetricDense::new(whole)
        .and_then(|whole| largest_ritz_value(&Ctx::<f64>::reference(), &whole, NORM_STEPS, 0));
    found.map_or(f64::NAN, |found| scale.unscale(T::of(found.value)).f64())
}
