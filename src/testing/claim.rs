//! [`Claim`]: what an implementor is said to be, for a suite to hold it to.

use super::dense::shifted;
use crate::backend::Ctx;
use crate::curvature::Fidelity;
use crate::mat::Mat;
use crate::scalar::Scalar;

/// The matrix that damping by λ yields.
type System<'a, T> = Box<dyn Fn(T) -> Mat<f64> + Send + Sync + 'a>;

/// A name, the matrix that the implementor stands for, and (for a curvature) the matrix that its solver inverts.
///
/// ```
/// use pullback::{Mat, testing::Claim};
/// let plain = Claim::<f32>::exact("two by two", Mat::identity(2));
/// let rounded = Claim::<f32>::exact("a long product", Mat::identity(2)).with_condition(100.0);
/// # let _ = (plain, rounded);
/// ```
pub struct Claim<'a, T> {
    pub(crate) name: String,
    pub(crate) matrix: Option<Mat<f64>>,
    system: Option<System<'a, T>>,
    pub(crate) fidelity: Fidelity,
    pub(crate) condition: f64,
}

impl<T> std::fmt::Debug for Claim<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("name", &self.name).field("fidelity", &self.fidelity).finish_non_exhaustive()
    }
}

impl<'a, T: Scalar> Claim<'a, T> {
    /// The matrix is `matrix`; damped, C + λI to rounding.
    pub fn exact(name: impl Into<String>, matrix: Mat<f64>) -> Self {
        Self { matrix: Some(matrix), ..Self::unknown(name) }
    }

    /// Nothing is known beforehand: the suite takes [`to_dense`](crate::LinearOperator::to_dense) as the matrix.
    pub fn unknown(name: impl Into<String>) -> Self {
        Self { name: name.into(), matrix: None, system: None, fidelity: Fidelity::Exact, condition: 1.0 }
    }

    /// The solver inverts `system(λ)` ⪰ λI, a matrix near C + λI.
    #[must_use]
    pub fn factored(self, system: impl Fn(T) -> Mat<f64> + Send + Sync + 'a) -> Self {
        Self { system: Some(Box::new(system)), fidelity: Fidelity::Factored, ..self }
    }

    /// The solver solves with C + λI to a tolerance that it reports.
    #[must_use]
    pub fn iterative(self) -> Self {
        Self { fidelity: Fidelity::Iterative, ..self }
    }

    /// Products lose `condition` times more than one backward-stable product of the same order: for an operator that is
    /// a chain of several.
    #[must_use]
    pub fn with_condition(self, condition: f64) -> Self {
        Self { condition, ..self }
    }

    /// The matrix that the solver inverts.
    pub(crate) fn system(&self, dense: &Mat<f64>, lambda: T) -> Mat<f64> {
        self.system.as_ref().map_or_else(|| shifted(dense, lambda.f64()), |system| system(lambda))
    }

    /// Name, order, backend, threads and scalar, for a report.
    pub(crate) fn place(&self, ctx: &Ctx<T>, (m, n): (usize, usize)) -> String {
        let threads = if ctx.threads() > 1 { format!(" x {}", ctx.threads()) } else { String::new() };
        format!("{}, {m}x{n}, on {}{threads} in {}", self.name, ctx.backend().name(), T::NAME)
    }
}
