//! L-BFGS: the inverse matrix of BFGS from the last m pairs, by the recursion of two loops.
//!
//! ```text
//! q = g;     newest to oldest   a_i = sᵢᵀq / sᵢᵀyᵢ,   q ← q - a_i yᵢ
//! q ← γ q;   oldest to newest   q ← q + (a_i - yᵢᵀq / sᵢᵀyᵢ) sᵢ;       p = -q
//! ```
//! Cost        one gradient, the search, 8mn flops; 2mn numbers of state.
//! Laws        tests/descent_methods.rs (with all pairs and a fixed γ it is BFGS), tests/descent_rules.rs.
//! Reference   J. Nocedal, Math. Comp. 35 (1980) 773-782, doi 10.1090/S0025-5718-1980-0572855-7; D. C. Liu, J. Nocedal,
//!             Math. Program. 45 (1989) 503-528, doi 10.1007/BF01589116.

use super::line_search::StrongWolfe;
use super::quasi_newton::{CurvatureRule, InitialMatrix};
use super::{AcceptedStep, Descent, Direction, DirectionReport, Objective};
use crate::backend::Ctx;
use crate::backend::sums::dot;
use crate::error::{Error, Result, check_len};
use crate::scalar::Scalar;
use std::collections::VecDeque;

/// Settings of [`Lbfgs`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LbfgsOptions {
    /// m.
    pub memory: usize,
    /// γ.
    pub initial: InitialMatrix,
    /// What to do with pairs without curvature.
    pub curvature: CurvatureRule,
}

/// m = 10, γ of the newest pair.
impl Default for LbfgsOptions {
    fn default() -> Self {
        Self { memory: 10, initial: InitialMatrix::default(), curvature: CurvatureRule::default() }
    }
}

/// L-BFGS with the search for the strong Wolfe conditions.
///
/// ```
/// use pullback::optim::{Lbfgs, LbfgsOptions, Optimizer};
/// use pullback::testing::{LeastSquares, Regression};
/// use pullback::Ctx;
/// let (ctx, h, batch) = (Ctx::default(), LeastSquares::new(1, 3, 0.01), Regression::random(1, 3, 9, 1));
/// let mut theta = [1.0, -1.0, 0.5];
/// let mut lbfgs = Lbfgs::new(LbfgsOptions { memory: 20, ..LbfgsOptions::default() })?;
/// let norms = (0..12).map(|_| lbfgs.step(&ctx, &h, &mut theta, &batch).map(|r| r.gradient_norm.unwrap_or(0.0)));
/// let norms = norms.collect::<Result<Vec<f64>, _>>()?;
/// assert!(norms[11] < 1e-4 * norms[0]);
/// # Ok::<(), pullback::Error>(())
/// ```
pub type Lbfgs<T, S = StrongWolfe> = Descent<T, LbfgsDirection<T>, S>;

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Pair<T> {
    s: Vec<T>,
    y: Vec<T>,
    sy: f64,
}

/// p = -H g, H from pairs.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LbfgsDirection<T> {
    options: LbfgsOptions,
    /// Oldest first.
    pairs: VecDeque<Pair<T>>,
    #[cfg_attr(feature = "serde", serde(skip, default = "Vec::new"))]
    shares: Vec<f64>,
    #[cfg_attr(feature = "serde", serde(skip, default = "Vec::new"))]
    change: Vec<T>,
}

impl<T: Scalar> Lbfgs<T, StrongWolfe> {
    /// # Errors
    /// As [`LbfgsDirection::new`].
    pub fn new(options: LbfgsOptions) -> Result<Self> {
        Ok(Self::assemble(LbfgsDirection::new(options)?, StrongWolfe::default()))
    }
}

impl<T: Scalar> LbfgsDirection<T> {
    /// # Errors
    /// [`Error::InvalidParameter`] for an option outside its domain.
    pub fn new(options: LbfgsOptions) -> Result<Self> {
        if options.memory == 0 {
            return Err(Error::invalid("memory", "at least one pair is needed"));
        }
        options.initial.check()?;
        options.curvature.check()?;
        Ok(Self { options, pairs: VecDeque::new(), shares: Vec::new(), change: Vec::new() })
    }

    /// How many pairs are kept.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    fn gamma(&self) -> f64 {
        match (self.options.initial, self.pairs.back()) {
            (InitialMatrix::Scaled, Some(newest)) => newest.sy / dot(&newest.y, &newest.y),
            (initial, _) => initial.before_pairs(),
        }
    }
}

fn add<T: Scalar>(q: &mut [T], share: f64, x: &[T]) {
    q.iter_mut().zip(x).for_each(|(q, &x)| *q += T::of(share) * x);
}

impl<T: Scalar, O: Objective<T> + ?Sized> Direction<T, O> for LbfgsDirection<T> {
    fn direction(
        &mut self,
        _ctx: &Ctx<T>,
        _objective: &O,
        _batch: &O::Batch,
        _theta: &[T],
        gradient: &[T],
        out: &mut [T],
    ) -> Result<DirectionReport> {
        if let Some(pair) = self.pairs.back() {
            check_len("gradient of an optimizer in use", pair.s.len(), gradient.len())?;
        }
        out.iter_mut().zip(gradient).for_each(|(q, &g)| *q = -g);
        self.shares.clear();
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.s, out) / pair.sy;
            self.shares.push(share);
            add(out, -share, &pair.y);
        }
        let gamma = T::of(self.gamma());
        out.iter_mut().for_each(|q| *q *= gamma);
        for (pair, share) in self.pairs.iter().zip(self.shares.iter().rev()) {
            add(out, share - dot(&pair.y, out) / pair.sy, &pair.s);
        }
        Ok(DirectionReport::default())
    }

    fn accepted(&mut self, _ctx: &Ctx<T>, taken: AcceptedStep<'_, T>) -> Result<()> {
        let mut y = std::mem::take(&mut self.change);
        if let Some(sy) = self.options.curvature.admit(&taken, &mut y) {
            // the oldest pair gives its memory to the newest
            let full = self.pairs.len() == self.options.memory;
            let old = if full { self.pairs.pop_front() } else { None };
            let mut pair = old.unwrap_or(Pair { s: Vec::new(), y: Vec::new(), sy });
            pair.s.clear();
            pair.s.extend_from_slice(taken.step);
            std::mem::swap(&mut pair.y, &mut y);
            pair.sy = sy;
            self.pairs.push_back(pair);
        }
        self.change = y;
        Ok(())
    }

    fn reset(&mut self) {
        self.pairs.clear();
    }

    fn minimizes_model(&self) -> bool {
        !self.pairs.is_empty() || matches!(self.options.initial, InitialMatrix::Fixed(_))
    }
}
