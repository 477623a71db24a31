//! Accumulated cross moments of two neighbouring layers: A_{i-1,i} = E[ā_{i-1} ā_iᵀ] and S_{i,i+1} = E[g_i g_{i+1}ᵀ].
//!
//! ```text
//! A ← ε_k A + (1 - ε_k) Σ_calls weight · Ā_{i-1} Ā_iᵀ,    Ā_{i-1} (d_{i-1}+1) x cases, Ā_i (d_i+1) x cases
//! S ← ε_k S + (1 - ε_k) Σ_calls weight · G_i G_{i+1}ᵀ,    G_i d_i x cases, G_{i+1} d_{i+1} x cases
//! ```
//! With the decay, the weights and the batches of the layers' own factors ([`KroneckerFactors`](super::KroneckerFactors))
//! the three moments stay those of one weighted set of cases, so that their joint matrix is positive semidefinite.
//!
//! Cost        2 cases · ((d_{i-1}+1)(d_i+1) + d_i d_{i+1}) flops an update, by gemm.
//! Laws        tests/kfac_tridiagonal.rs.
//! Reference   J. Martens, R. Grosse, ICML 2015, arXiv:1503.05671, section 4.3.

use super::{Decay, MovingAverage};
use crate::backend::Ctx;
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatRef, Op};
use crate::scalar::Scalar;

/// Moving averages of the two cross moments between a layer and the next one.
///
/// ```
/// use pullback::{Ctx, Mat, stats::{CrossFactors, Decay}};
/// let ctx = Ctx::<f64>::default();
/// let mut cross = CrossFactors::new((1, 2), (1, 2), Decay::DEFAULT); // two layers of 1 output and 2 inputs
/// let (a, next) = (Mat::from_vec(vec![3.0, 1.0], 2, 1)?, Mat::from_vec(vec![5.0, 1.0], 2, 1)?); // one case
/// cross.begin();
/// cross.add_activations(&ctx, a.as_ref(), next.as_ref(), 1.0)?;
/// assert_eq!(cross.a().at(0, 0), 15.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct CrossFactors<T> {
    a: Moment<T>,
    s: Moment<T>,
    average: MovingAverage,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
struct Moment<T> {
    moment: Mat<T>,
    /// ε_k still to be applied by the first addition of the current update.
    pending: Option<f64>,
    /// 1 - ε_k of the current update.
    share: f64,
}

impl<T: Scalar> Moment<T> {
    fn new(rows: usize, cols: usize) -> Self {
        Self { moment: Mat::zeros(rows, cols), pending: None, share: 0.0 }
    }

    fn begin(&mut self, epsilon: f64) {
        (self.pending, self.share) = (Some(epsilon), 1.0 - epsilon);
    }

    fn add(&mut self, ctx: &Ctx<T>, op: &'static str, x: MatRef<'_, T>, y: MatRef<'_, T>, weight: T) -> Result<()> {
        check_shape(op, (self.moment.nrows(), x.ncols()), x.shape())?;
        check_shape(op, (self.moment.ncols(), x.ncols()), y.shape())?;
        if self.share == 0.0 {
            return Err(Error::invalid("update", "call begin() before adding to the statistics"));
        }
        let beta = T::of(self.pending.unwrap_or(1.0));
        let alpha = T::of(self.share) * weight;
        ctx.gemm(alpha, x, Op::No, y, Op::Transpose, beta, self.moment.as_mut())?;
        self.pending = None;
        Ok(())
    }
}

impl<T: Scalar> CrossFactors<T> {
    /// Between a layer and the next one, each given as (d_out, d_in), the bias counted in d_in.
    pub fn new(layer: (usize, usize), next: (usize, usize), decay: Decay) -> Self {
        let (a, s) = (Moment::new(layer.1, next.1), Moment::new(layer.0, next.0));
        Self { a, s, average: MovingAverage::new(decay) }
    }

    /// Begins an update: what is added until the next `begin` is one batch.
    pub fn begin(&mut self) {
        let epsilon = self.average.advance();
        self.a.begin(epsilon);
        self.s.begin(epsilon);
    }

    /// Adds weight · Ā Ā'ᵀ to this update's A, Ā' being the activations of the next layer.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have their layer's d_in rows and the same cases; [`Error::InvalidParameter`] before
    /// the first `begin`.
    pub fn add_activations(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, next: MatRef<'_, T>, weight: T) -> Result<()> {
        self.a.add(ctx, "CrossFactors::add_activations", a, next, weight)
    }

    /// Adds weight · G G'ᵀ to this update's S, G' being the pseudo-gradients of the next layer.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have their layer's d_out rows and the same cases; [`Error::InvalidParameter`] before
    /// the first `begin`.
    pub fn add_gradients(&mut self, ctx: &Ctx<T>, g: MatRef<'_, T>, next: MatRef<'_, T>, weight: T) -> Result<()> {
        self.s.add(ctx, "CrossFactors::add_gradients", g, next, weight)
    }

    /// A_{i-1,i}.
    pub fn a(&self) -> MatRef<'_, T> {
        self.a.moment.as_ref()
    }

    /// S_{i,i+1}.
    pub fn s(&self) -> MatRef<'_, T> {
        self.s.moment.as_ref()
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.average.updates()
    }
}
