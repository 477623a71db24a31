//! Eigenbases that follow a slowly changing matrix: [`SymEigen::track`].
//!
//! ```text
//! w_i = q_iᵀ A q_i,   R = A Q - Q diag(w)                               Rayleigh quotients and residual of the old Q
//! off = ‖R‖_F / ‖A‖_F = ‖A - Q diag(w) Qᵀ‖_F / ‖A‖_F                    the off-diagonal mass of Qᵀ A Q
//! ```
//! One product tells: where off <= tolerance, Q is kept and only its eigenvalues are new; otherwise A is decomposed. Q is
//! never multiplied, so it stays as orthonormal as the decomposition left it.
//!
//! What keeping it means for a positive semidefinite A as a preconditioner: Q diag(w) Qᵀ is positive semidefinite too. Its
//! spectrum lies within that of A, majorized by it (Schur), and in order within off ‖A‖_F of it (Hoffman, Wielandt); and
//! ```text
//! ‖(Q diag(w) Qᵀ + λI)⁻¹ - (A + λI)⁻¹‖_F <= off ‖A‖_F / λ²
//! ```
//! Cost        2n³ flops, and n² numbers twice of scratch; where Q is not kept, a decomposition more (about 9n³).
//! Deviations  no rotation of the old basis in between (docs/adr/0009-refreshes-stay-in-the-step.md has the figures).
//! Laws        tests/tracked_eigen.rs.
//! Reference   B. N. Parlett, The Symmetric Eigenvalue Problem, 1998, chapters 10 and 11 (residual bounds); R. A. Horn,
//!             C. R. Johnson, Matrix Analysis, 2013, sections 4.3 and 6.3 (the theorems of Schur, Hoffman and Wielandt).

use super::SymEigen;
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatRef, Op};
use crate::scalar::Scalar;

/// What [`SymEigen::track`] did, with ‖A - Q diag(w) Qᵀ‖_F / ‖A‖_F for the basis Q that it was given.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Tracking {
    /// The old basis serves, with new eigenvalues.
    Kept {
        /// At most the tolerance.
        off: f64,
    },
    /// The change was too large, and A was decomposed.
    Decomposed {
        /// More than the tolerance.
        off: f64,
    },
}

impl<T: Scalar> SymEigen<T> {
    /// The decomposition of a new A of the same order, in the basis of this one where `off` is within the tolerance (or
    /// within 16 n ε, which is rounding). Only the lower triangle of A is read.
    ///
    /// ```
    /// use pullback::factor::{SymEigen, Tracking};
    /// use pullback::{Ctx, Mat};
    /// let ctx = Ctx::<f64>::default();
    /// let old = SymEigen::new(&ctx, Mat::from_diagonal(&[4.0, 9.0]))?;
    /// let nearly = Mat::from_vec(vec![3.0, 0.1, 0.1, 4.0], 2, 2)?;
    /// let (kept, how) = old.track(&ctx, nearly.as_ref(), 0.05)?;
    /// assert!(matches!(how, Tracking::Kept { off } if (off - 0.02f64.sqrt() / 25.02f64.sqrt()).abs() < 1e-15));
    /// assert_eq!(kept.values(), [3.0, 4.0]);
    /// let (_, how) = old.track(&ctx, nearly.as_ref(), 0.0)?;
    /// assert!(matches!(how, Tracking::Decomposed { .. }));
    /// # Ok::<(), pullback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`], [`Error::NoConvergence`]; [`Error::InvalidParameter`] for a tolerance that
    /// is negative or NaN.
    pub fn track(&self, ctx: &Ctx<T>, a: MatRef<'_, T>, tolerance: f64) -> Result<(Self, Tracking)> {
        const OP: &str = "SymEigen::track";
        let n = self.dim();
        check_shape(OP, (n, n), a.shape())?;
        check_tolerance(tolerance)?;
        check::finite_lower(OP, a)?;
        // at the scale of 1, so that no square leaves the range
        let scale = check::power_of_two_scale(a);
        let (mut whole, mut product) = (ctx.scratch(n, n), ctx.scratch(n, n));
        for (j, (to, from)) in whole.as_mut().cols_mut().zip(a.cols()).enumerate() {
            to[j..].iter_mut().zip(&from[j..]).for_each(|(to, &from)| *to = scale.scale(from));
        }
        whole.as_mut().mirror_lower();
        ctx.gemm(T::ONE, whole.as_ref(), Op::No, self.vectors(), Op::No, T::ZERO, product.as_mut())?;
        let (mut values, mut residual) = (Vec::with_capacity(n), 0.0);
        for (aq, q) in product.as_mut().cols_mut().zip(self.vectors().cols()) {
            let w = T::of(sums::dot(aq, q));
            aq.iter_mut().zip(q).for_each(|(aq, &q)| *aq -= w * q);
            residual += sums::dot(aq, aq);
            values.push(scale.unscale(w));
        }
        let size = sums::dot(whole.as_slice(), whole.as_slice()).sqrt();
        let off = if size > 0.0 { residual.sqrt() / size } else { 0.0 };
        if off <= tolerance.max(16.0 * n as f64 * T::EPS.f64()) {
            return Ok((self.with_values(values), Tracking::Kept { off }));
        }
        drop((whole, product));
        Ok((Self::new(ctx, a.to_owned())?, Tracking::Decomposed { off }))
    }

    /// The same basis with other values, its columns in their ascending order.
    fn with_values(&self, values: Vec<T>) -> Self {
        if values.is_sorted() {
            return Self { vectors: self.vectors.clone(), values };
        }
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].f64().total_cmp(&values[j].f64()));
        let mut vectors = Mat::zeros(self.dim(), self.dim());
        for (column, &from) in vectors.as_mut().cols_mut().zip(&order) {
            column.copy_from_slice(self.vectors().col(from));
        }
        Self { vectors, values: order.iter().map(|&i| values[i]).collect() }
    }
}

/// `Ok` for a number that `off` can be compared with.
pub(crate) fn check_tolerance(tolerance: f64) -> Result<()> {
    let reason = || format!("{tolerance} must not be negative");
    if tolerance >= 0.0 { Ok(()) } else { Err(Error::invalid("tolerance", reason())) }
}
