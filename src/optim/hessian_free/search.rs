//! How far a Hessian-free step goes: backtracking over the iterates of conjugate gradient, then over α.

use crate::backend::Ctx;
use crate::error::Result;
use crate::krylov::KeptIterate;
use crate::optim::line_search::{Armijo, LineSearch, SearchReport, SearchStart};
use crate::optim::{Line, LineFunction, Objective, Passes};
use crate::scalar::Scalar;

/// h(θ + x) on the whole batch.
pub(super) fn loss_at<T: Scalar, O: Objective<T> + ?Sized>(
    ctx: &Ctx<T>,
    objective: &O,
    batch: &O::Batch,
    theta: &[T],
    x: &[T],
    passes: &mut Passes,
) -> Result<f64> {
    let moved: Vec<T> = theta.iter().zip(x).map(|(&w, &x)| w + x).collect();
    passes.forward += 1;
    Ok(objective.loss(ctx, &moved, batch)?.f64())
}

/// The index of the kept iterate that is chosen, and its loss: from the last backwards until the next earlier one is worse.
/// A loss that is not finite is worse than any other.
pub(super) fn backtrack<T>(
    kept: &[KeptIterate<T>],
    mut loss: impl FnMut(&[T]) -> Result<f64>,
) -> Result<Option<(usize, f64)>> {
    let mut best: Option<(usize, f64)> = None;
    for (index, iterate) in kept.iter().enumerate().rev() {
        let value = loss(&iterate.x)?;
        if let Some((_, reached)) = best
            && reached.is_finite()
            && !(value <= reached)
        {
            break;
        }
        best = Some((index, value));
    }
    Ok(best)
}

/// A line whose value at α = 1 is known.
struct Known<'l, L> {
    line: &'l mut L,
    at_one: f64,
}

impl<L: LineFunction> LineFunction for Known<'_, L> {
    fn value(&mut self, alpha: f64) -> Result<f64> {
        if alpha == 1.0 { Ok(self.at_one) } else { self.line.value(alpha) }
    }

    fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
        self.line.value_and_slope(alpha)
    }
}

/// Armijo's search along p from α = 1, where the loss is known.
pub(super) fn along<T: Scalar, O: Objective<T> + ?Sized>(
    ctx: &Ctx<T>,
    objective: &O,
    batch: &O::Batch,
    theta: &[T],
    p: &[T],
    (before, slope, at_one): (f64, f64, f64),
    search: &Armijo,
    passes: &mut Passes,
) -> Result<SearchReport> {
    let mut line = Line::new(ctx, objective, batch, theta, p);
    let start = SearchStart { value: before, slope, initial: 1.0 };
    let report = search.search(&mut Known { line: &mut line, at_one }, start);
    *passes += line.passes();
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(losses: &[f64]) -> (Option<usize>, usize) {
        let kept: Vec<_> =
            (0..losses.len()).map(|i| KeptIterate { iteration: i + 1, model: 0.0, x: vec![i as f64] }).collect();
        let mut asked = 0;
        let best = backtrack(&kept, |x| {
            asked += 1;
            Ok(losses[x[0] as usize])
        });
        (best.unwrap().map(|(index, _)| index), asked)
    }

    #[test]
    fn backtracking_stops_where_the_next_earlier_iterate_is_worse() {
        assert_eq!(chosen(&[]), (None, 0));
        assert_eq!(chosen(&[3.0]), (Some(0), 1));
        assert_eq!(chosen(&[3.0, 2.0, 1.0]), (Some(2), 2));
        // the first is best of all, but lies behind a worse one
        assert_eq!(chosen(&[0.0, 5.0, 2.0, 3.0, 4.0]), (Some(2), 4));
        assert_eq!(chosen(&[1.0, 1.0]), (Some(0), 2), "equally good is not worse");
        assert_eq!(chosen(&[2.0, f64::NAN, f64::INFINITY]), (Some(0), 3));
        assert_eq!(chosen(&[f64::NAN, 2.0]), (Some(1), 2));
    }
}
