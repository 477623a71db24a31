//! h along a line: what a line search sees.
//!
//! ```text
//! φ(α) = h(θ + α p),   φ'(α) = pᵀ∇h(θ + α p)
//! ```
//! Cost        one pass for a value, two for a slope; two n-vectors.
//! Laws        tests/line_search.rs.

use super::{Objective, Passes, dot};
use crate::backend::Ctx;
use crate::error::Result;
use crate::scalar::Scalar;

/// A function of one variable that a line search evaluates.
pub trait LineFunction {
    /// φ(α); not finite where h has no finite value.
    ///
    /// # Errors
    /// Those of the objective.
    fn value(&mut self, alpha: f64) -> Result<f64>;

    /// φ(α) and φ'(α).
    ///
    /// # Errors
    /// Those of the objective.
    fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)>;

    /// Relative error of one rounding in the values: ε of `f64` unless told.
    fn resolution(&self) -> f64 {
        f64::EPSILON
    }
}

/// φ of an [`Objective`]. Holds the last point that was evaluated, and its gradient where that was taken.
#[derive(Debug)]
pub struct Line<'a, T: Scalar, O: Objective<T> + ?Sized> {
    ctx: &'a Ctx<T>,
    objective: &'a O,
    batch: &'a O::Batch,
    start: &'a [T],
    direction: &'a [T],
    point: Vec<T>,
    gradient: Vec<T>,
    at: Option<f64>,
    gradient_at: Option<f64>,
    passes: Passes,
}

impl<'a, T: Scalar, O: Objective<T> + ?Sized> Line<'a, T, O> {
    /// The line from θ along p, both of the length of the objective's parameters.
    pub fn new(ctx: &'a Ctx<T>, objective: &'a O, batch: &'a O::Batch, start: &'a [T], direction: &'a [T]) -> Self {
        Self::over(ctx, objective, batch, start, direction, [Vec::new(), Vec::new()])
    }

    /// The same line in memory that was used before.
    pub(super) fn over(
        ctx: &'a Ctx<T>,
        objective: &'a O,
        batch: &'a O::Batch,
        start: &'a [T],
        direction: &'a [T],
        [mut point, mut gradient]: [Vec<T>; 2],
    ) -> Self {
        point.resize(start.len(), T::ZERO);
        gradient.resize(start.len(), T::ZERO);
        Self {
            ctx,
            objective,
            batch,
            start,
            direction,
            point,
            gradient,
            at: None,
            gradient_at: None,
            passes: Passes::default(),
        }
    }

    /// The memory of the last point and gradient.
    pub(super) fn into_memory(self) -> [Vec<T>; 2] {
        [self.point, self.gradient]
    }

    /// Passes that were needed.
    pub fn passes(&self) -> Passes {
        self.passes
    }

    /// θ + α p.
    pub fn point(&mut self, alpha: f64) -> &[T] {
        self.move_to(alpha);
        &self.point
    }

    /// ∇h(θ + α p), if that was the last gradient to be taken.
    pub fn gradient(&self, alpha: f64) -> Option<&[T]> {
        (self.gradient_at == Some(alpha)).then_some(&self.gradient[..])
    }

    fn move_to(&mut self, alpha: f64) {
        if self.at != Some(alpha) {
            let step = T::of(alpha);
            let moved = self.start.iter().zip(self.direction).map(|(&w, &p)| w + step * p);
            self.point.iter_mut().zip(moved).for_each(|(x, m)| *x = m);
            self.at = Some(alpha);
        }
    }
}

impl<T: Scalar, O: Objective<T> + ?Sized> LineFunction for Line<'_, T, O> {
    fn value(&mut self, alpha: f64) -> Result<f64> {
        self.move_to(alpha);
        self.passes.forward += 1;
        Ok(self.objective.loss(self.ctx, &self.point, self.batch)?.f64())
    }

    fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
        self.move_to(alpha);
        self.passes += Passes::GRADIENT;
        self.gradient_at = None;
        let value = self.objective.loss_grad(self.ctx, &self.point, self.batch, &mut self.gradient)?.f64();
        self.gradient_at = Some(alpha);
        Ok((value, dot(self.direction, &self.gradient)))
    }

    fn resolution(&self) -> f64 {
        T::EPS.f64()
    }
}
