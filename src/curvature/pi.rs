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
use crate::backend::check;
use crate::error::{Error, Result};
use crate::krylov::largest_ritz_value;
use crate::mat::MatRef;
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

/// ‖M‖_F / √n from the lower triangle of a symmetric M, scaled by the largest entry so that no square overflows or
/// underflows.
fn root_mean_square<T: Scalar>(m: MatRef<'_, T>) -> f64 {
    let below = |j: usize| &m.col(j)[j.min(m.nrows())..];
    let largest = (0..m.ncols()).flat_map(below).fold(0f64, |max, x| max.max(x.f64().abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let square = |x: &T| (x.f64() / largest).powi(2);
    // every entry below the diagonal stands for two
    let column = |j: usize| below(j).iter().map(square).sum::<f64>() * 2.0 - below(j).first().map_or(0.0, square);
    let sum: f64 = (0..m.ncols()).map(column).sum();
    largest * (sum / m.nrows() as f64).sqrt()
}

/// A lower bound of the largest eigenvalue from the lower triangle of a symmetric M, products being made at the scale
/// of 1; NaN where M is not finite.
fn largest_eigenvalue<T: Scalar>(m: MatRef<'_, T>) -> f64 {
    let n = m.nrows().min(m.ncols());
    let scale = check::power_of_two_scale(m);
    let product = |v: &[f64], out: &mut [f64]| {
        out.fill(0.0);
        for j in 0..n {
            let column = &m.col(j)[j..n];
            let entry = |x: &T| scale.scale(*x).f64();
            out[j] += column.iter().zip(&v[j..]).map(|(x, v)| entry(x) * v).sum::<f64>();
            column.iter().zip(&mut out[j..]).skip(1).for_each(|(x, out)| *out += entry(x) * v[j]);
        }
        Ok(())
    };
    match largest_ritz_value(n, NORM_STEPS, 0, product) {
        Ok(found) if found.value.is_finite() => scale.unscale(T::of(found.value)).f64(),
        _ => f64::NAN,
    }
}
