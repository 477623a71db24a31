//! What conjugate gradient found, column by column; reused, it keeps its memory.

use super::{CgStop, LanczosCoefficients};

/// An iterate that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptIterate<T> {
    /// After that many iterations.
    pub iteration: usize,
    /// φ(x), from the running residual.
    pub model: f64,
    /// x.
    pub x: Vec<T>,
}

/// How conjugate gradient went for one right-hand side.
#[derive(Debug, Clone)]
pub struct CgColumn<T> {
    /// Why it stopped.
    pub stop: CgStop,
    /// Iterations: how often x moved.
    pub iterations: usize,
    /// ‖b - A x‖ / ‖b‖ of the x returned, from a product with that x; 0 for b = 0, infinite where it is not finite.
    pub relative_residual: f64,
    /// φ(x) = ½ xᵀA x - bᵀx of the x returned, from the running residual r as ½ xᵀ(-b - r): no product.
    /// NaN where b, or A x at the start, is not finite.
    pub model: f64,
    /// Some for [`CgStop::NonPositiveCurvature`]: pᵀA p.
    pub(super) curvature: Option<f64>,
    /// p, where `curvature` is some.
    pub(super) direction: Vec<T>,
    /// φ(x_0), φ(x_1), ... where the stall rule is on.
    pub(super) models: Vec<f64>,
    /// The first `kept_count` are of this run, the others memory to reuse.
    pub(super) kept: Vec<KeptIterate<T>>,
    pub(super) kept_count: usize,
    /// Where they were asked for.
    pub(super) lanczos: Option<LanczosCoefficients>,
    /// β of the current direction.
    pub(super) beta: f64,
    /// The power of two by which b and r are scaled.
    pub(super) scale: f64,
    /// Bound for the norm of the scaled residual.
    pub(super) threshold: f64,
    /// Norm of the scaled b.
    pub(super) norm_b: f64,
    /// rᵀr and rᵀM⁻¹r of the scaled residual.
    pub(super) rr: f64,
    pub(super) rz: f64,
}

impl<T> Default for CgColumn<T> {
    fn default() -> Self {
        Self {
            stop: CgStop::Converged,
            iterations: 0,
            relative_residual: 0.0,
            model: 0.0,
            curvature: None,
            direction: Vec::new(),
            models: Vec::new(),
            kept: Vec::new(),
            kept_count: 0,
            lanczos: None,
            beta: 0.0,
            scale: 1.0,
            threshold: 0.0,
            norm_b: 0.0,
            rr: 0.0,
            rz: 0.0,
        }
    }
}

impl<T: Copy> CgColumn<T> {
    /// Keeps x as the iterate reached, unless it is kept already.
    pub(super) fn keep(&mut self, x: &[T], model: f64) {
        let iteration = self.iterations;
        if self.kept().last().is_some_and(|last| last.iteration == iteration) {
            return;
        }
        if self.kept_count == self.kept.len() {
            self.kept.push(KeptIterate { iteration, model, x: Vec::new() });
        }
        let entry = &mut self.kept[self.kept_count];
        (entry.iteration, entry.model) = (iteration, model);
        entry.x.clear();
        entry.x.extend_from_slice(x);
        self.kept_count += 1;
    }
}

impl<T> CgColumn<T> {
    /// The direction p and its curvature pᵀA p <= 0, after [`CgStop::NonPositiveCurvature`].
    ///
    /// p is a descent direction of the model at x, up to a positive factor; going along it, the model has no minimum.
    pub fn negative_curvature(&self) -> Option<(&[T], f64)> {
        self.curvature.map(|curvature| (self.direction.as_slice(), curvature))
    }

    /// φ(x_0), φ(x_1), ..., φ(x): recorded when the stall rule is on, else empty.
    pub fn models(&self) -> &[f64] {
        &self.models
    }

    /// The iterates kept, in order, the last x at the end: empty unless [`CgOptions::keep`](super::CgOptions::keep) asks
    /// for them, and where x never moved.
    pub fn kept(&self) -> &[KeptIterate<T>] {
        &self.kept[..self.kept_count]
    }

    /// α and β of every step, where [`CgOptions::coefficients`](super::CgOptions::coefficients) asks for them.
    pub fn lanczos(&self) -> Option<&LanczosCoefficients> {
        self.lanczos.as_ref()
    }

    /// Back to the state before a run, with coefficients or without; memory is kept.
    pub(super) fn reset(&mut self, coefficients: bool) {
        let (mut direction, mut models) = (std::mem::take(&mut self.direction), std::mem::take(&mut self.models));
        direction.clear();
        models.clear();
        let mut lanczos = coefficients.then(|| self.lanczos.take().unwrap_or_default());
        lanczos.iter_mut().for_each(LanczosCoefficients::clear);
        *self = Self { direction, models, lanczos, kept: std::mem::take(&mut self.kept), ..Self::default() };
    }
}

/// How conjugate gradient went for every right-hand side.
///
/// ```
/// use pullback::krylov::CgReport;
/// let report = CgReport::<f64>::default(); // for pcg_into, to be reused
/// assert!(report.columns().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct CgReport<T> {
    pub(super) columns: Vec<CgColumn<T>>,
    /// Which column lives in which slot of the scratch.
    pub(super) slots: Vec<usize>,
    pub(super) products: usize,
}

impl<T> Default for CgReport<T> {
    fn default() -> Self {
        Self { columns: Vec::new(), slots: Vec::new(), products: 0 }
    }
}

impl<T> CgReport<T> {
    /// One entry for each right-hand side.
    pub fn columns(&self) -> &[CgColumn<T>] {
        &self.columns
    }

    /// The worst stop reason over the columns; [`CgStop::Converged`] when there is none.
    pub fn stop(&self) -> CgStop {
        self.columns.iter().map(|c| c.stop).max().unwrap_or(CgStop::Converged)
    }

    /// The largest number of iterations over the columns.
    pub fn iterations(&self) -> usize {
        self.columns.iter().map(|c| c.iterations).max().unwrap_or(0)
    }

    /// The largest relative true residual over the columns.
    pub fn relative_residual(&self) -> f64 {
        self.columns.iter().map(|c| c.relative_residual).fold(0.0, f64::max)
    }

    /// Block products with A that were made: one an iteration, one for a warm start, one for the true residual.
    pub fn products(&self) -> usize {
        self.products
    }
}
