//! The metric D that λ multiplies in C + λD, and its memory.
//!
//! ```text
//! identity   D = I
//! diagonal   D_i = max over the steps so far of |C_ii|, at most |C_ii|/ε of now, and 1 where there was nothing yet
//! ```
//! In Marquardt's metric the step does not depend on the units of the parameters: θ_i → s_i θ_i scales C_ii and D_ii by
//! s_i⁻², so every λ is a pure number. The running maximum (Moré 1978) keeps a parameter whose curvature fades from being
//! set free.
//!
//! Deviations  Moré never forgets. Where the curvature of a parameter falls by many orders of magnitude, as that of a
//!             factor before an exponential that is far too large at the start (NIST's MGH10, start 1), a maximum without a
//!             bound pins the parameter for good; beyond 1/ε it says nothing of the model that λ is to bound.
//! Laws        tests/levenberg_marquardt_method.rs (rescaled parameters, the running maximum and its bound).
//! Reference   D. Marquardt, J. SIAM 11 (1963) 431-441, doi 10.1137/0111030; J. Moré, The Levenberg-Marquardt algorithm:
//!             implementation and theory, LNM 630 (1978) 105-116, doi 10.1007/BFb0067700.

use crate::backend::check;
use crate::error::{Result, check_len};
use crate::scalar::Scalar;

/// Which D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DampingMetric {
    /// I: Levenberg's.
    #[default]
    Identity,
    /// The running maximum of |C_ii|, at most 1/ε of the present: Marquardt's.
    Diagonal,
}

/// D of a source.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Scaling<T> {
    metric: DampingMetric,
    /// The maximum of |C_ii| so far, as far as it is kept; empty before the first step, and for the identity.
    largest: Vec<T>,
}

impl<T: Scalar> Scaling<T> {
    pub(super) fn new(metric: DampingMetric) -> Self {
        Self { metric, largest: Vec::new() }
    }

    pub(super) fn metric(&self) -> DampingMetric {
        self.metric
    }

    /// D after the diagonal of this step's C is seen; `None` for the identity, whose diagonal is not asked for.
    pub(super) fn update(&mut self, dim: usize, diagonal: impl FnOnce() -> Result<Vec<T>>) -> Result<Option<Vec<T>>> {
        self.update_within(T::ONE / T::EPS, dim, diagonal)
    }

    /// The same for another multiple of what is seen now, where other than |C_ii| is kept.
    pub(super) fn update_within(
        &mut self,
        multiple: T,
        dim: usize,
        diagonal: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Option<Vec<T>>> {
        if self.metric == DampingMetric::Identity {
            return Ok(None);
        }
        if !self.largest.is_empty() {
            check_len("theta of an optimizer in use", self.largest.len(), dim)?;
        }
        let diagonal = diagonal()?;
        check::finite_slice("DampingMetric: diagonal", &diagonal)?;
        self.largest.resize(dim, T::ZERO);
        for (max, d) in self.largest.iter_mut().zip(&diagonal) {
            // with no curvature at all now, what is known is the memory
            let now = d.abs();
            *max = if now > T::ZERO { max.max(now).min(multiple * now) } else { *max };
        }
        let entry = |&max: &T| if max > T::ZERO { max } else { T::ONE };
        Ok(Some(self.largest.iter().map(entry).collect()))
    }
}

/// vᵀDv, D = I where there is none.
pub(super) fn metric_form<T: Scalar>(d: Option<&[T]>, v: &[T]) -> f64 {
    match d {
        None => v.iter().map(|v| v.f64().powi(2)).sum(),
        Some(d) => d.iter().zip(v).map(|(d, v)| d.f64() * v.f64().powi(2)).sum(),
    }
}
