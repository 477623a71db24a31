//! The one error type. `Err` means misuse or numerical failure; outcomes of normal operation (an exhausted
//! iteration budget, negative curvature, a rejected step) are values in a report.

use std::sync::Arc;

/// What went wrong, where, and what to do about it.
#[non_exhaustive]
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Two shapes that must agree do not.
    #[error(
        "{op}: expected a {}x{} matrix, found {}x{}; check the order of the arguments and the Op (transpose) flags",
        .expected.0, .expected.1, .found.0, .found.1
    )]
    Shape {
        /// The operation that found the mismatch.
        op: &'static str,
        /// Rows and columns it needs.
        expected: (usize, usize),
        /// Rows and columns it was given.
        found: (usize, usize),
    },
    /// A Cholesky pivot was not positive.
    #[error(
        "{op}: the matrix is not positive definite (pivot {pivot}, counted from 0, is not positive); \
         add damping, use an eigendecomposition, or check that the matrix is symmetric"
    )]
    NotPositiveDefinite {
        /// The operation that failed.
        op: &'static str,
        /// Index of the first pivot that is not positive, counted from 0.
        pivot: usize,
    },
    /// A sum or difference of two matrices is not positive definite: the second outweighs the first.
    #[error(
        "{op}: the second term outweighs the first (their combination has the relative eigenvalue {smallest:e}, which must \
         be positive); damp the first term, or check that both come from the same data"
    )]
    NotDominant {
        /// The operation that failed.
        op: &'static str,
        /// Smallest eigenvalue of the combination relative to its first term.
        smallest: f64,
    },
    /// A pivot of an LU factorization was zero.
    #[error(
        "{op}: the matrix is singular (pivot {pivot}, counted from 0, is zero); add damping, or use a pseudo-inverse \
         through an eigendecomposition"
    )]
    Singular {
        /// The operation that failed.
        op: &'static str,
        /// Index of the first zero pivot, counted from 0.
        pivot: usize,
    },
    /// An iteration inside a factorization did not converge.
    #[error("{op}: the iteration did not converge; the matrix may hold values close to overflow, rescale it")]
    NoConvergence {
        /// The operation that failed.
        op: &'static str,
    },
    /// A NaN or an infinity where a finite number is needed.
    #[error(
        "{op}: found NaN or infinity{}; check the inputs, lower the learning rate or raise the damping",
        .layer.map(|l| format!(", first in layer {l} (counted from 0)")).unwrap_or_default()
    )]
    NotFinite {
        /// The operation that found the value.
        op: &'static str,
        /// The first layer that holds such a value, where one can be named.
        layer: Option<usize>,
    },
    /// An argument is outside its domain.
    #[error("invalid {name}: {reason}")]
    InvalidParameter {
        /// The argument.
        name: &'static str,
        /// Its domain, or what is wrong with it.
        reason: String,
    },
    /// The backend is not compiled into this build.
    #[error("backend `{backend}` is not available: {reason}")]
    BackendUnavailable {
        /// Name of the backend.
        backend: &'static str,
        /// Which feature to enable or what to install.
        reason: &'static str,
    },
    /// A data file or stream could not be read.
    #[error("{file}{}: {what}", .row.map(|r| format!(", row {r}")).unwrap_or_default())]
    Data {
        /// The file as the caller named it.
        file: String,
        /// The row (counted from 1, header included), where one can be named.
        row: Option<usize>,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Refreshing a factorization failed several times in a row, and the old one is too old to go on with.
    #[error("{op}: failed {failures} times in a row, the last time because: {last}")]
    RepeatedFailure {
        /// The operation.
        op: &'static str,
        /// Consecutive failures.
        failures: usize,
        /// The last failure.
        last: Box<Error>,
    },
    /// An error raised by user code (a closure operator, an objective of another framework).
    #[error("{0}")]
    External(Arc<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an error of user code.
    pub fn external(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::External(Arc::new(error))
    }

    /// A NaN or an infinity, not traced to a layer.
    pub fn not_finite(op: &'static str) -> Self {
        Error::NotFinite { op, layer: None }
    }

    /// An argument outside its domain.
    pub fn invalid(name: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidParameter { name, reason: reason.into() }
    }
}

/// `std::result::Result` with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `Ok` where two shapes agree, else [`Error::Shape`].
pub fn check_shape(op: &'static str, expected: (usize, usize), found: (usize, usize)) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Shape { op, expected, found }) }
}

/// `Ok` where a slice has the length an operation needs, else [`Error::Shape`] with one column.
pub fn check_len(op: &'static str, expected: usize, found: usize) -> Result<()> {
    check_shape(op, (expected, 1), (found, 1))
}

/// What must hold between the parts of a value that was read back, so that no later use can panic.
#[cfg(feature = "serde")]
pub(crate) trait Restored {
    /// `Ok`, or what contradicts what.
    fn check_restored(&self) -> Result<()>;
}

#[cfg(feature = "serde")]
impl<X: Restored> Restored for Option<X> {
    fn check_restored(&self) -> Result<()> {
        self.as_ref().map_or(Ok(()), X::check_restored)
    }
}

/// Reads a value and checks it: for `#[serde(deserialize_with)]`.
#[cfg(feature = "serde")]
pub(crate) fn restored<'de, D: serde::Deserializer<'de>, X: serde::Deserialize<'de> + Restored>(
    deserializer: D,
) -> std::result::Result<X, D::Error> {
    let value = X::deserialize(deserializer)?;
    value.check_restored().map_err(serde::de::Error::custom)?;
    Ok(value)
}
