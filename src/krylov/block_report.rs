//! How block conjugate gradient went, and how each column enters it.
//!
//! Laws        tests/block_cg.rs.
//! Reference   D. P. O'Leary, Linear Algebra Appl. 29 (1980) 293-322, doi 10.1016/0024-3795(80)90247-5.

use super::{CgOptions, CgStop};
use crate::backend::check;
use crate::mat::MatRef;
use crate::scalar::Scalar;

/// How it went for one right-hand side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockCgColumn {
    /// Why it stopped.
    pub stop: CgStop,
    /// Iterations of the block until this column met the tolerance or stopped.
    pub iterations: usize,
    /// ‖b - A x‖ / ‖b‖ of the x returned, from a product with that x; 0 for b = 0, infinite where it is not finite.
    pub relative_residual: f64,
    /// Whether its x is moved with the block.
    pub(super) takes_part: bool,
    pub(super) moved: bool,
}

impl Default for BlockCgColumn {
    fn default() -> Self {
        let stop = CgStop::Converged;
        Self { stop, iterations: 0, relative_residual: 0.0, takes_part: false, moved: false }
    }
}

impl BlockCgColumn {
    /// Writes the scaled residual, zero where the column takes no part. Its scale, and the scaled (‖b‖, bound of ‖r‖).
    pub(super) fn enter<T: Scalar>(
        &mut self,
        b: &[T],
        ax: &[T],
        r: &mut [T],
        opts: &CgOptions<T>,
    ) -> (f64, (f64, f64)) {
        for ((r, &b), &ax) in r.iter_mut().zip(b).zip(ax) {
            *r = b - ax;
        }
        let scale_b = check::power_of_two_scale(MatRef::from_column(b)).factor();
        let scale = scale_b.min(check::power_of_two_scale(MatRef::from_column(r)).factor());
        let length = |x: &[T], scale: T| x.iter().map(|&x| (x * scale).f64().powi(2)).sum::<f64>().sqrt();
        // each by its own scale, so that its squares neither overflow nor vanish
        let norm_b = length(b, scale_b) / scale_b.f64() * scale.f64();
        let threshold = (opts.relative_tolerance.f64() * norm_b).max(opts.absolute_tolerance.f64() * scale.f64());
        r.iter_mut().for_each(|r| *r *= scale);
        let norm_r = length(r, T::ONE);
        if norm_b != 0.0 {
            let relative = norm_r / norm_b;
            self.relative_residual = if relative.is_finite() { relative } else { f64::INFINITY };
            if self.stop == CgStop::Breakdown || !norm_r.is_finite() {
                self.stop = CgStop::Breakdown;
            } else if norm_r > threshold {
                // what it is called if nothing else happens
                (self.stop, self.takes_part) = (CgStop::IterationLimit, true);
            }
        }
        if !self.takes_part {
            r.fill(T::ZERO);
        }
        (scale.f64(), (norm_b, threshold))
    }
}

/// How block conjugate gradient went for every right-hand side.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockCgReport {
    pub(super) columns: Vec<BlockCgColumn>,
    pub(super) widths: Vec<usize>,
    pub(super) products: usize,
}

impl BlockCgReport {
    /// One entry for each right-hand side.
    pub fn columns(&self) -> &[BlockCgColumn] {
        &self.columns
    }

    /// The worst stop reason over the columns; [`CgStop::Converged`] when there is none.
    pub fn stop(&self) -> CgStop {
        self.columns.iter().map(|c| c.stop).max().unwrap_or(CgStop::Converged)
    }

    /// Iterations of the block.
    pub fn iterations(&self) -> usize {
        self.widths.len()
    }

    /// The columns that A was applied to in each iteration: the rank of the block, which never grows.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// The largest relative true residual over the columns.
    pub fn relative_residual(&self) -> f64 {
        self.columns.iter().map(|c| c.relative_residual).fold(0.0, f64::max)
    }

    /// Block products with A that were made: one an iteration, one for a warm start, two for a fresh start
    /// where rounding asks for one, one for the true residual.
    pub fn products(&self) -> usize {
        self.products
    }
}

/// What the Cholesky factorization of PᵀA P met.
pub(super) enum Pivots {
    Positive,
    /// A pivot that is zero to rounding.
    Rounding,
    Stop(CgStop),
}

/// Watches the largest of the relative residuals since the last time that they were taken anew.
pub(super) struct Stall {
    least: f64,
    /// Iterations since it was that.
    iterations: usize,
}

impl Default for Stall {
    fn default() -> Self {
        Self { least: f64::INFINITY, iterations: 0 }
    }
}

impl Stall {
    /// Whether it has not fallen for so many iterations, three at least.
    pub(super) fn watch(&mut self, largest: f64, iterations: usize) -> bool {
        const LEAST: usize = 3;
        const FALLS: f64 = 0.99;
        if largest < FALLS * self.least {
            *self = Self { least: largest, iterations: 0 };
        } else {
            self.iterations += 1;
        }
        largest > 0.0 && self.iterations >= iterations.max(LEAST)
    }
}
