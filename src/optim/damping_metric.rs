//! The metric D that λ multiplies in C + λD, and its memory.
//!
//! ```text
//! identity   D = I
//! diagonal   D_i = max over the steps so far of |C_ii|, and 1 where that is zero
//! ```
//! In Marquardt's metric the step does not depend on the units of the parameters: θ_i → s_i θ_i scales C_ii and D_ii by
//! s_i⁻², so every λ is a pure number. The running maximum (Moré 1978) keeps a parameter whose curvature fades from being
//! set free.
//!
//! Laws        tests/levenberg_marquardt_method.rs (rescaled parameters, the running maximum).
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
    /// The running maximum of |C_ii|: Marquardt's.
    Diagonal,
}

/// D of a source.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Scaling<T> {
    metric: DampingMetric,
    /// max |C_ii| so far; empty before the first step, and for the identity.
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
        if self.metric == DampingMetric::Identity {
            return Ok(None);
        }
        if !self.largest.is_empty() {
            check_len("theta of an optimizer in use", self.largest.len(), dim)?;
        }
        let diagonal = diagonal()?;
        check::finite_slice("DampingMetric: diagonal", &diagonal)?;
        self.largest.resize(dim, T::ZERO);
        self.largest.iter_mut().zip(&diagonal).for_each(|(max, &d)| *max = max.max(d.abs()));
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
