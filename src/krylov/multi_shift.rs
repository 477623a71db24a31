//! Conjugate gradient for many shifts at once: (A + σ_k I) X_k = B for all k from one Krylov space.
//!
//! The Krylov spaces of A + σI and b are the same for every σ, and from a zero start so are the directions of the
//! residuals: r^σ = ζ r with r that of the smallest shift σ_0. With α, β of the run for σ_0, δ = σ - σ_0, and ρ = ζ_+ / ζ:
//!
//! ```text
//! 1/ρ = 1 + δ α + (α β_- / α_-)(1 - ρ_-)         (0 < ρ <= 1: every other residual falls faster than that of σ_0)
//! x^σ += ρ α p^σ,   ζ ← ρ ζ,   p^σ ← ζ r + ρ² β p^σ
//! ```
//! Deviations  ζ by its quotient ρ, which cannot underflow into 0/0; b is scaled by a power of two and inner products
//!             are summed in f64, as in [`pcg`](super::pcg). No preconditioner: with one the spaces differ.
//! Cost        one product an iteration whatever the number m of shifts, as many iterations as σ_0 needs, and 4nm flops
//!             beside them; m products at the end for the true residuals. Scratch: (m + 4) n-vectors a column.
//! Laws        tests/damping_sweep.rs.
//! Reference   A. Frommer, BiCGStab(ℓ) for families of shifted linear systems, Computing 70 (2003),
//!             doi:10.1007/s00607-003-1472-6; J. van den Eshof, G. L. G. Sleijpen, Accurate conjugate gradient methods
//!             for families of shifted systems, Appl. Numer. Math. 49 (2004), doi:10.1016/j.apnum.2003.11.010.

use super::{CgOptions, CgStop};
use crate::backend::sums::dot;
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::SelfAdjoint;
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// How the solve for one shift and one right-hand side went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftColumn {
    /// Why it stopped.
    pub stop: CgStop,
    /// How often x moved.
    pub iterations: usize,
    /// ‖b - (A + σI) x‖ / ‖b‖ from a product with that x; 0 for b = 0, infinite where it is not finite.
    pub relative_residual: f64,
}

/// How the solves for every shift went.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiShiftReport {
    shifts: Vec<Vec<ShiftColumn>>,
    products: usize,
}

impl MultiShiftReport {
    /// One entry a right-hand side for the shift of index k; empty where there is no such shift.
    pub fn shift(&self, k: usize) -> &[ShiftColumn] {
        self.shifts.get(k).map_or(&[], Vec::as_slice)
    }

    /// Block products with A, those for the true residuals included.
    pub fn products(&self) -> usize {
        self.products
    }

    /// The worst stop, the most iterations, the largest residual over the right-hand sides of shift k.
    pub fn worst(&self, k: usize) -> ShiftColumn {
        let best = ShiftColumn { stop: CgStop::Converged, iterations: 0, relative_residual: 0.0 };
        self.shift(k).iter().fold(best, |worst, c| ShiftColumn {
            stop: worst.stop.max(c.stop),
            iterations: worst.iterations.max(c.iterations),
            relative_residual: worst.relative_residual.max(c.relative_residual),
        })
    }
}

/// Solves (A + σ_k I) X_k = B for every shift; all X_k start from zero, whatever they hold. The smallest shift must make
/// A + σ_0 I positive definite, else the columns stop with [`CgStop::NonPositiveCurvature`].
///
/// Of the options, the start is not read (it is zero).
///
/// ```
/// use pullback::krylov::{CgOptions, multi_shift_cg};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[0.0, 2.0]))?;
/// let b = Mat::from_fn(2, 1, |_, _| 6.0);
/// let (mut one, mut four) = (Mat::zeros(2, 1), Mat::zeros(2, 1));
/// let mut x = [one.as_mut(), four.as_mut()];
/// let report = multi_shift_cg(&ctx, &a, &[1.0, 4.0], b.as_ref(), &mut x, &CgOptions::default())?;
/// assert_eq!(report.products(), 2 + 2); // two steps for both shifts, two true residuals
/// assert!((one[(1, 0)] - 2.0).abs() < 1e-12 && (four[(1, 0)] - 1.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`], [`Error::InvalidParameter`] for the options, a stall rule, or a shift that is not finite, and those
/// of the operator. Everything else is a [`CgStop`].
pub fn multi_shift_cg<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    shifts: &[T],
    b: MatRef<'_, T>,
    x: &mut [MatMut<'_, T>],
    opts: &CgOptions<T>,
) -> Result<MultiShiftReport> {
    let (n, k) = b.shape();
    opts.check()?;
    if opts.stall.is_some() {
        return Err(Error::invalid("stall", "the shifts have no common model that could stall"));
    }
    check_shape("multi_shift_cg: A", (n, n), a.shape())?;
    check_len("multi_shift_cg: X", shifts.len(), x.len())?;
    for x in x.iter_mut() {
        check_shape("multi_shift_cg: X", (n, k), x.shape())?;
        x.cols_mut().for_each(|x| x.fill(T::ZERO));
    }
    if let Some(shift) = shifts.iter().find(|shift| !shift.is_finite()) {
        return Err(Error::invalid("shifts", format!("{shift} must be finite")));
    }
    let base = shifts.iter().copied().fold(T::infinity(), T::min);
    let m = shifts.len();
    let (mut r, mut p, mut directions) = (ctx.scratch(n, k), ctx.scratch(n, k), ctx.scratch(n, k * m));
    let (mut packed, mut image) = (ctx.scratch(n, k), ctx.scratch(n, k));
    let mut columns: Vec<Column> = (0..k).map(|j| Column::new(b.col(j), shifts, base, opts)).collect();
    for (j, column) in columns.iter().enumerate() {
        let scale = T::of(column.scale);
        let start = part_mut(r.as_mut_slice(), n, j);
        start.iter_mut().zip(b.col(j)).for_each(|(r, &b)| *r = scale * b);
        part_mut(p.as_mut_slice(), n, j).copy_from_slice(part(r.as_slice(), n, j));
        for s in 0..m {
            part_mut(directions.as_mut_slice(), n, j * m + s).copy_from_slice(part(r.as_slice(), n, j));
        }
    }
    let mut products = 0;
    loop {
        let active: Vec<usize> = (0..k).filter(|&j| columns[j].is_active()).collect();
        if active.is_empty() {
            break;
        }
        for (slot, &j) in active.iter().enumerate() {
            part_mut(packed.as_mut_slice(), n, slot).copy_from_slice(part(p.as_slice(), n, j));
        }
        let width = active.len();
        let images = MatMut::from_slice(image.as_mut_slice(), n, width, n.max(1))?;
        a.apply(ctx, MatRef::from_slice(packed.as_slice(), n, width, n.max(1))?, images)?;
        products += 1;
        for (slot, &j) in active.iter().enumerate() {
            let ap = part_mut(image.as_mut_slice(), n, slot);
            ap.iter_mut().zip(part(p.as_slice(), n, j)).for_each(|(ap, &p)| *ap += base * p);
            let (r, p) = (part_mut(r.as_mut_slice(), n, j), part_mut(p.as_mut_slice(), n, j));
            let directions = &mut directions.as_mut_slice()[j * m * n..(j + 1) * m * n];
            columns[j].step(j, r, p, ap, directions, x, opts);
        }
    }
    true_residuals(ctx, a, (shifts, &columns), b, x, image, products)
}

/// The report, by one product for each shift whose X has moved.
fn true_residuals<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    (shifts, columns): (&[T], &[Column]),
    b: MatRef<'_, T>,
    x: &[MatMut<'_, T>],
    mut image: Scratch<'_, T>,
    products: usize,
) -> Result<MultiShiftReport> {
    let (n, k) = b.shape();
    let mut report = MultiShiftReport { shifts: vec![Vec::with_capacity(k); shifts.len()], products };
    for (s, (&shift, x)) in shifts.iter().zip(x).enumerate() {
        if columns.iter().any(|c| c.shifts[s].iterations > 0) {
            a.apply(ctx, x.rb(), image.as_mut())?;
            report.products += 1;
        } else {
            image.as_mut_slice().fill(T::ZERO);
        }
        for (j, column) in columns.iter().enumerate() {
            let entry = column.entry(s, b.col(j), x.col(j), part(image.as_slice(), n, j), shift);
            report.shifts[s].push(entry);
        }
    }
    Ok(report)
}

/// One right-hand side: the run for the smallest shift.
struct Column {
    /// The power of two by which b is scaled.
    scale: f64,
    /// Norm of the scaled b, and the bound for that of the scaled residual.
    norm_b: f64,
    threshold: f64,
    rr: f64,
    /// α and β of the step before.
    alpha: f64,
    beta: f64,
    shifts: Vec<Shift>,
}

/// What one shift adds to it.
struct Shift {
    delta: f64,
    zeta: f64,
    /// ρ of the step before.
    ratio: f64,
    iterations: usize,
    stop: Option<CgStop>,
}

impl Column {
    fn new<T: Scalar>(b: &[T], shifts: &[T], base: T, opts: &CgOptions<T>) -> Self {
        let scale = check::power_of_two_scale(MatRef::from_column(b)).factor();
        let rr: f64 = b.iter().map(|&b| (scale * b).f64().powi(2)).sum();
        let norm_b = rr.sqrt();
        let threshold = (opts.relative_tolerance.f64() * norm_b).max(opts.absolute_tolerance.f64() * scale.f64());
        let stop = if !norm_b.is_finite() {
            Some(CgStop::Breakdown)
        } else if norm_b <= threshold {
            Some(CgStop::Converged)
        } else if opts.max_iterations == 0 {
            Some(CgStop::IterationLimit)
        } else {
            None
        };
        let shift = |&s: &T| Shift { delta: (s - base).f64(), zeta: 1.0, ratio: 1.0, iterations: 0, stop };
        let shifts = shifts.iter().map(shift).collect();
        Self { scale: scale.f64(), norm_b, threshold, rr, alpha: 1.0, beta: 0.0, shifts }
    }

    fn is_active(&self) -> bool {
        self.shifts.iter().any(|s| s.stop.is_none())
    }

    fn stop_all(&mut self, reason: CgStop) {
        self.shifts.iter_mut().filter(|s| s.stop.is_none()).for_each(|s| s.stop = Some(reason));
    }

    /// One iteration of column j; `directions` holds its p^σ.
    fn step<T: Scalar>(
        &mut self,
        j: usize,
        r: &mut [T],
        p: &mut [T],
        ap: &[T],
        directions: &mut [T],
        x: &mut [MatMut<'_, T>],
        opts: &CgOptions<T>,
    ) {
        let n = r.len();
        let curvature = dot(p, ap);
        let alpha = self.rr / curvature;
        if curvature <= 0.0 {
            return self.stop_all(CgStop::NonPositiveCurvature);
        }
        if !alpha.is_finite() || alpha == 0.0 {
            return self.stop_all(CgStop::Breakdown);
        }
        let coupling = alpha * self.beta / self.alpha;
        for (s, shift) in self.shifts.iter_mut().enumerate().filter(|(_, s)| s.stop.is_none()) {
            shift.ratio = 1.0 / (1.0 + shift.delta * alpha + coupling * (1.0 - shift.ratio));
            let along = T::of(alpha * shift.ratio / self.scale);
            let (x, p) = (x[s].col_mut(j), part(directions, n, s));
            if x.iter().zip(p).all(|(&x, &p)| (x + along * p).is_finite()) {
                x.iter_mut().zip(p).for_each(|(x, &p)| *x += along * p);
                shift.iterations += 1;
                shift.zeta *= shift.ratio;
            } else {
                shift.stop = Some(CgStop::Breakdown);
            }
        }
        let backwards = T::of(-alpha);
        r.iter_mut().zip(ap).for_each(|(r, &ap)| *r += backwards * ap);
        let rr = dot(r, r);
        if !rr.is_finite() {
            return self.stop_all(CgStop::Breakdown);
        }
        (self.alpha, self.beta, self.rr) = (alpha, rr / self.rr, rr);
        for (s, shift) in self.shifts.iter_mut().enumerate().filter(|(_, s)| s.stop.is_none()) {
            if shift.zeta.abs() * rr.sqrt() <= self.threshold {
                shift.stop = Some(CgStop::Converged);
            } else if shift.iterations >= opts.max_iterations {
                shift.stop = Some(CgStop::IterationLimit);
            }
            let (zeta, beta) = (T::of(shift.zeta), T::of(self.beta * shift.ratio * shift.ratio));
            part_mut(directions, n, s).iter_mut().zip(&*r).for_each(|(p, &r)| *p = zeta * r + beta * *p);
        }
        let beta = T::of(self.beta);
        p.iter_mut().zip(&*r).for_each(|(p, &r)| *p = r + beta * *p);
    }

    /// The report of one shift, from A x.
    fn entry<T: Scalar>(&self, s: usize, b: &[T], x: &[T], ax: &[T], shift: T) -> ShiftColumn {
        let state = &self.shifts[s];
        let terms = b.iter().zip(x).zip(ax);
        let square = |((b, x), ax): ((&T, &T), &T)| {
            let r = b.f64() - ax.f64() - shift.f64() * x.f64();
            (r * self.scale).powi(2)
        };
        let norm_r = terms.map(square).sum::<f64>().sqrt();
        let relative = if self.norm_b == 0.0 { 0.0 } else { norm_r / self.norm_b };
        ShiftColumn {
            stop: state.stop.unwrap_or(CgStop::IterationLimit),
            iterations: state.iterations,
            relative_residual: if relative.is_finite() { relative } else { f64::INFINITY },
        }
    }
}

fn part<T>(all: &[T], n: usize, index: usize) -> &[T] {
    &all[index * n..(index + 1) * n]
}

fn part_mut<T>(all: &mut [T], n: usize, index: usize) -> &mut [T] {
    &mut all[index * n..(index + 1) * n]
}
