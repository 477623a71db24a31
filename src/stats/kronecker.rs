//! Accumulated Kronecker factors of one layer: A = E[ā āᵀ] and S = E[g gᵀ] (chapter sections 5.2 and 5.4, Eq 25).
//!
//! ```text
//! A ← ε_k A + (1 - ε_k) Σ_calls weight · Ā Āᵀ,     Ā (d_in+1) x cases, homogeneous activations
//! S ← ε_k S + (1 - ε_k) Σ_calls weight · G Gᵀ,     G d_out x cases, pseudo-gradients
//! ```
//! The moving average is folded into the syrk (its β is ε_k), so no second buffer and no extra pass exist.
//!
//! Cost        cases · ((d_in+1)² + d_out²) flops an update, by syrk; only lower triangles are kept up to date.
//! Laws        tests/statistics.rs (equals the dense formula, burn-in is the plain mean, rows and columns agree).

use super::{Decay, MovingAverage};
use crate::backend::Ctx;
use crate::curvature::{Kronecker, KroneckerDamping};
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatRef, Op};
use crate::scalar::Scalar;

/// Moving averages of the two Kronecker factors of one layer.
///
/// ```
/// use pullback::{Ctx, Mat, stats::{Decay, KroneckerFactors}, curvature::KroneckerDamping};
/// let ctx = Ctx::<f64>::default();
/// let mut factors = KroneckerFactors::new(1, 2, Decay::DEFAULT);
/// assert!(factors.snapshot(KroneckerDamping::Exact)?.is_none()); // nothing seen yet
/// let activations = Mat::from_vec(vec![3.0, 1.0], 2, 1)?; // one case: input 3, and the 1 for the bias
/// let gradients = Mat::from_vec(vec![2.0], 1, 1)?;
/// factors.begin();
/// factors.add_activations(&ctx, activations.as_ref(), 1.0)?;
/// factors.add_gradients(&ctx, gradients.as_ref(), 1.0)?;
/// assert_eq!(factors.a().at(0, 0), 9.0);
/// assert_eq!(factors.s().at(0, 0), 4.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerFactors<T> {
    a: Factor<T>,
    s: Factor<T>,
    average: MovingAverage,
}

/// A moving average of one second moment.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) struct Factor<T> {
    /// Lower triangle valid.
    pub(super) moment: Mat<T>,
    /// ε_k still to be applied by the first addition of the current update.
    pending: Option<f64>,
    /// 1 - ε_k of the current update.
    share: f64,
}

impl<T: Scalar> Factor<T> {
    pub(super) fn new(dim: usize) -> Self {
        Self { moment: Mat::zeros(dim, dim), pending: None, share: 0.0 }
    }

    pub(super) fn begin(&mut self, epsilon: f64) {
        self.pending = Some(epsilon);
        self.share = 1.0 - epsilon;
    }

    /// (weight in the average, ε of the old moment) of the next addition; the caller clears `pending` when it is made.
    fn mixing(&self, weight: T) -> Result<(T, T)> {
        if self.share == 0.0 {
            return Err(Error::invalid("update", "call begin() before adding to the statistics"));
        }
        Ok((T::of(self.share) * weight, T::of(self.pending.unwrap_or(1.0))))
    }

    /// Adds weight · X Xᵀ.
    pub(super) fn add(&mut self, ctx: &Ctx<T>, op: &'static str, x: MatRef<'_, T>, weight: T) -> Result<()> {
        check_shape(op, (self.moment.nrows(), x.ncols()), x.shape())?;
        let (alpha, beta) = self.mixing(weight)?;
        ctx.syrk_lower(alpha, x, Op::Transpose, beta, self.moment.as_mut())?;
        self.pending = None;
        Ok(())
    }

    /// Adds weight · M, of which the lower triangle is read.
    pub(super) fn add_moment(&mut self, op: &'static str, m: MatRef<'_, T>, weight: T) -> Result<()> {
        check_shape(op, self.moment.shape(), m.shape())?;
        let (alpha, beta) = self.mixing(weight)?;
        for (j, (mine, m)) in self.moment.as_mut().cols_mut().zip(m.cols()).enumerate() {
            mine[j..].iter_mut().zip(&m[j..]).for_each(|(mine, &m)| *mine = beta * *mine + alpha * m);
        }
        self.pending = None;
        Ok(())
    }

    pub(super) fn symmetric(&self) -> Mat<T> {
        let mut full = self.moment.clone();
        full.as_mut().mirror_lower();
        full
    }
}

impl<T: Scalar> KroneckerFactors<T> {
    /// Of a layer with `d_out` outputs and `d_in` inputs (the bias counted: `d_in` is the rows of Ā).
    pub fn new(d_out: usize, d_in: usize, decay: Decay) -> Self {
        Self { a: Factor::new(d_in), s: Factor::new(d_out), average: MovingAverage::new(decay) }
    }

    /// Begins an update: what is added until the next `begin` is one batch.
    pub fn begin(&mut self) {
        let epsilon = self.average.advance();
        self.a.begin(epsilon);
        self.s.begin(epsilon);
    }

    /// Adds weight · Ā Āᵀ to this update's A.
    ///
    /// # Errors
    /// [`Error::Shape`] unless Ā has d_in rows; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_activations(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, weight: T) -> Result<()> {
        self.a.add(ctx, "KroneckerFactors::add_activations", a, weight)
    }

    /// Adds weight · G Gᵀ to this update's S.
    ///
    /// # Errors
    /// [`Error::Shape`] unless G has d_out rows; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_gradients(&mut self, ctx: &Ctx<T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.s.add(ctx, "KroneckerFactors::add_gradients", g, weight)
    }

    /// Adds weight · M to this update's S, for a second moment that is known as a matrix; its lower triangle is read.
    ///
    /// # Errors
    /// [`Error::Shape`] unless M is d_out x d_out; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_gradient_moment(&mut self, m: MatRef<'_, T>, weight: T) -> Result<()> {
        self.s.add_moment("KroneckerFactors::add_gradient_moment", m, weight)
    }

    /// A; only the lower triangle is defined.
    pub fn a(&self) -> MatRef<'_, T> {
        self.a.moment.as_ref()
    }

    /// S; only the lower triangle is defined.
    pub fn s(&self) -> MatRef<'_, T> {
        self.s.moment.as_ref()
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.average.updates()
    }

    /// The immutable A ⊗ S of now; `None` before any data.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a NaN or an infinity was accumulated.
    pub fn snapshot(&self, damping: KroneckerDamping<T>) -> Result<Option<Kronecker<T>>> {
        if self.updates() == 0 {
            return Ok(None);
        }
        Kronecker::new(self.a.symmetric(), self.s.symmetric(), damping).map(Some)
    }
}
