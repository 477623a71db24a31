//! [`EigenUpdate`]: whether a refresh decomposes every factor, or keeps the eigenbases that still serve.
//!
//! ```text
//! full       A = Q diag(w) Qᵀ                                                     about 9n³ flops
//! tracked    off = ‖A - Q diag(w) Qᵀ‖_F / ‖A‖_F of the old Q, w = diag(Qᵀ A Q)    2n³; where off > tolerance, 9n³ more
//! ```
//! Laws        tests/eigen_update.rs.
//! Reference   [`SymEigen::track`](crate::factor::SymEigen::track) has the bounds.

use crate::error::Result;
use crate::factor::{Tracking, check_tolerance};

/// How the eigenbases of exact damping and of EKFAC come up to date at a refresh, in layers of two factors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum EigenUpdate {
    /// By a decomposition of every factor.
    #[default]
    Full,
    /// By new eigenvalues alone, in a basis that diagonalizes the factor to the tolerance.
    Tracked {
        /// The largest ‖A - Q diag(w) Qᵀ‖_F / ‖A‖_F that is kept.
        tolerance: f64,
    },
}

impl EigenUpdate {
    pub(super) fn check(self) -> Result<()> {
        match self {
            EigenUpdate::Full => Ok(()),
            EigenUpdate::Tracked { tolerance } => check_tolerance(tolerance),
        }
    }
}

/// How the eigenbases of all factors were renewed, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrackedBases {
    /// Bases that were kept.
    pub kept: u64,
    /// Bases that had changed too much.
    pub decomposed: u64,
}

impl TrackedBases {
    pub(super) fn count(&mut self, how: [Tracking; 2]) {
        for how in how {
            match how {
                Tracking::Kept { .. } => self.kept += 1,
                Tracking::Decomposed { .. } => self.decomposed += 1,
            }
        }
    }
}

impl std::ops::Add for TrackedBases {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { kept: self.kept + other.kept, decomposed: self.decomposed + other.decomposed }
    }
}
