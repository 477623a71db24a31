//! Conjugate gradient for many shifts at once: (A + σ_k I) X_k = B, or (A + σ_k M) X_k = B, from one Krylov space.
//!
//! The Krylov spaces of A + σI and b are the same for every σ, and from a zero start so are the directions of the
//! residuals: r^σ = ζ r with r that of the smallest shift σ_0. With α, β of the run for σ_0, δ = σ - σ_0, and ρ = ζ_+ / ζ:
//!
//! ```text
//! 1/ρ = 1 + δ α + (α β_- / α_-)(1 - ρ_-)         (0 < ρ <= 1: every other residual falls faster than that of σ_0)
//! x^σ += ρ α p^σ,   ζ ← ρ ζ,   p^σ ← ζ r + ρ² β p^σ
//! ```
//! In a metric M = F Fᵀ the same holds of F⁻¹A F⁻ᵀ and F⁻¹b. In the variables given this is conjugate gradient
//! preconditioned by M⁻¹: z = M⁻¹r takes the place of r in the directions, and q = M p comes without a product with M, by
//! q ← r + β q. So a preconditioner and many shifts go together where the shifts multiply the preconditioner's matrix, and
//! only there: with σI beside M⁻¹ ≠ I the Krylov spaces of two shifts differ. The types keep to it: without a metric there
//! is no place for a preconditioner, with one there is none but the metric's own inverse.
//!
//! Deviations  ζ by its quotient ρ, which cannot underflow into 0/0; b is scaled by a power of two and inner products
//!             are summed in f64, as in [`pcg`](super::pcg). Convergence is judged by ‖r‖, with and without a metric.
//! Cost        one product an iteration whatever the number m of shifts, as many iterations as σ_0 needs, and 4nm flops
//!             beside them; m products at the end for the true residuals. Scratch: (m + 4) n-vectors a column. In a metric
//!             one F⁻¹ and one F⁻ᵀ an iteration, m products with M at the end, and one n-vector a column more.
//! Laws        tests/damping_sweep.rs.
//! Reference   A. Frommer, BiCGStab(ℓ) for families of shifted linear systems, Computing 70 (2003),
//!             doi:10.1007/s00607-003-1472-6; J. van den Eshof, G. L. G. Sleijpen, Accurate conjugate gradient methods
//!             for families of shifted systems, Appl. Numer. Math. 49 (2004), doi:10.1016/j.apnum.2003.11.010.

use super::{CgOptions, CgStop};
use crate::backend::sums::dot;
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Error, Result, check_len, check_shape};
use crate::linop::{Metric, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// How the solve for one shift and one right-hand side went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftColumn {
    /// Why it stopped.
    pub stop: CgStop,
    /// How often x moved.
    pub iterations: usize,
    /// ‖b - (A + σM) x‖ / ‖b‖ from a product with that x; 0 for b = 0, infinite where it is not finite.
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
/// [`Error::Shape`], [`Error::InvalidParameter`] for the options, a stall rule or what else belongs to
/// a solve with a run of its own, or a shift that is not finite, and those of the operator. Everything else is a [`CgStop`].
pub fn multi_shift_cg<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    shifts: &[T],
    b: MatRef<'_, T>,
    x: &mut [MatMut<'_, T>],
    opts: &CgOptions<T>,
) -> Result<MultiShiftReport> {
    solve(ctx, a, None, shifts, b, x, opts)
}

/// Solves (A + σ_k M) X_k = B for every shift, preconditioned by M⁻¹ = F⁻ᵀF⁻¹; otherwise as [`multi_shift_cg`].
///
/// As many iterations as conjugate gradient needs on F⁻¹A F⁻ᵀ + σ_0 I: the closer M is to A, the fewer.
///
/// ```
/// use pullback::krylov::{CgOptions, multi_shift_cg_in_metric};
/// use pullback::linop::{DiagonalMetric, SymmetricDense};
/// use pullback::{Ctx, Mat};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[2.0, 20.0]))?;
/// let metric = DiagonalMetric::new(vec![1.0, 10.0])?; // A = 2 M
/// let b = Mat::from_fn(2, 1, |_, _| 60.0);
/// let (mut one, mut four) = (Mat::zeros(2, 1), Mat::zeros(2, 1));
/// let mut x = [one.as_mut(), four.as_mut()];
/// let report = multi_shift_cg_in_metric(&ctx, &a, &metric, &[1.0, 4.0], b.as_ref(), &mut x, &CgOptions::default())?;
/// assert_eq!(report.worst(0).iterations, 1);
/// assert!((one[(1, 0)] - 2.0).abs() < 1e-12 && (four[(1, 0)] - 1.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// As [`multi_shift_cg`], and those of the metric.
pub fn multi_shift_cg_in_metric<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    metric: &dyn Metric<T>,
    shifts: &[T],
    b: MatRef<'_, T>,
    x: &mut [MatMut<'_, T>],
    opts: &CgOptions<T>,
) -> Result<MultiShiftReport> {
    check_shape("multi_shift_cg: metric", (b.nrows(), b.nrows()), metric.shape())?;
    solve(ctx, a, Some(metric), shifts, b, x, opts)
}

fn solve<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    metric: Option<&dyn Metric<T>>,
    shifts: &[T],
    b: MatRef<'_, T>,
    x: &mut [MatMut<'_, T>],
    opts: &CgOptions<T>,
) -> Result<MultiShiftReport> {
    let (n, k) = b.shape();
    opts.check_shared()?;
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
    let mut q = metric.map(|_| ctx.scratch(n, k));
    let mut columns: Vec<Column> = (0..k).map(|j| Column::new(b.col(j), shifts, base, opts)).collect();
    for (j, column) in columns.iter().enumerate() {
        let scale = T::of(column.scale);
        let start = part_mut(r.as_mut_slice(), n, j);
        start.iter_mut().zip(b.col(j)).for_each(|(r, &b)| *r = scale * b);
    }
    let mut products = 0;
    loop {
        let active: Vec<usize> = (0..k).filter(|&j| columns[j].is_active()).collect();
        if active.is_empty() {
            break;
        }
        let width = active.len();
        if let Some(metric) = metric {
            for (slot, &j) in active.iter().enumerate() {
                part_mut(packed.as_mut_slice(), n, slot).copy_from_slice(part(r.as_slice(), n, j));
            }
            let mut z = MatMut::from_slice(packed.as_mut_slice(), n, width, n.max(1))?;
            metric.whiten(ctx, z.rb_mut())?;
            metric.whiten_transposed(ctx, z)?;
        }
        for (slot, &j) in active.iter().enumerate() {
            let r = part(r.as_slice(), n, j);
            let z = if metric.is_some() { part(packed.as_slice(), n, slot) } else { r };
            let q = q.as_mut().map(|q| part_mut(q.as_mut_slice(), n, j));
            let p = part_mut(p.as_mut_slice(), n, j);
            columns[j].turn(r, z, p, q, &mut directions.as_mut_slice()[j * m * n..(j + 1) * m * n]);
        }
        for (slot, &j) in active.iter().enumerate() {
            part_mut(packed.as_mut_slice(), n, slot).copy_from_slice(part(p.as_slice(), n, j));
        }
        let images = MatMut::from_slice(image.as_mut_slice(), n, width, n.max(1))?;
        a.apply(ctx, MatRef::from_slice(packed.as_slice(), n, width, n.max(1))?, images)?;
        products += 1;
        for (slot, &j) in active.iter().enumerate() {
            let ap = part_mut(image.as_mut_slice(), n, slot);
            let p = part(p.as_slice(), n, j);
            let metric_p = q.as_ref().map_or(p, |q| part(q.as_slice(), n, j));
            ap.iter_mut().zip(metric_p).for_each(|(ap, &p)| *ap += base * p);
            let directions = &directions.as_slice()[j * m * n..(j + 1) * m * n];
            columns[j].step(j, part_mut(r.as_mut_slice(), n, j), p, ap, directions, x, opts);
        }
    }
    true_residuals(ctx, a, metric, (shifts, &columns), b, x, (image, packed), products)
}

/// The report, by one product for each shift whose X has moved.
fn true_residuals<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    metric: Option<&dyn Metric<T>>,
    (shifts, columns): (&[T], &[Column]),
    b: MatRef<'_, T>,
    x: &[MatMut<'_, T>],
    (mut image, mut scaled): (Scratch<'_, T>, Scratch<'_, T>),
    products: usize,
) -> Result<MultiShiftReport> {
    let (n, k) = b.shape();
    let mut report = MultiShiftReport { shifts: vec![Vec::with_capacity(k); shifts.len()], products };
    for (s, (&shift, x)) in shifts.iter().zip(x).enumerate() {
        if columns.iter().any(|c| c.shifts[s].iterations > 0) {
            a.apply(ctx, x.rb(), image.as_mut())?;
            match metric {
                Some(metric) => metric.apply(ctx, x.rb(), scaled.as_mut())?,
                None => scaled.as_mut().copy_from(x.rb())?,
            }
            report.products += 1;
        } else {
            image.as_mut_slice().fill(T::ZERO);
            scaled.as_mut_slice().fill(T::ZERO);
        }
        for (j, column) in columns.iter().enumerate() {
            let images = (part(image.as_slice(), n, j), part(scaled.as_slice(), n, j));
            report.shifts[s].push(column.entry(s, b.col(j), images, shift));
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
    /// rᵀM⁻¹r; 0 before the first step.
    rz: f64,
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
        Self { scale: scale.f64(), norm_b, threshold, rz: 0.0, alpha: 1.0, beta: 0.0, shifts }
    }

    fn is_active(&self) -> bool {
        self.shifts.iter().any(|s| s.stop.is_none())
    }

    fn stop_all(&mut self, reason: CgStop) {
        self.shifts.iter_mut().filter(|s| s.stop.is_none()).for_each(|s| s.stop = Some(reason));
    }

    /// The new directions from z = M⁻¹r: p, q = M p, and p^σ of every shift.
    fn turn<T: Scalar>(&mut self, r: &[T], z: &[T], p: &mut [T], q: Option<&mut [T]>, directions: &mut [T]) {
        let n = r.len();
        let rz = dot(r, z);
        if self.rz == 0.0 {
            // the start
            p.copy_from_slice(z);
            q.into_iter().for_each(|q| q.copy_from_slice(r));
            (0..self.shifts.len()).for_each(|s| part_mut(directions, n, s).copy_from_slice(z));
        } else {
            self.beta = rz / self.rz;
            for (s, shift) in self.shifts.iter().enumerate().filter(|(_, s)| s.stop.is_none()) {
                let (zeta, beta) = (T::of(shift.zeta), T::of(self.beta * shift.ratio * shift.ratio));
                part_mut(directions, n, s).iter_mut().zip(z).for_each(|(p, &z)| *p = zeta * z + beta * *p);
            }
            let beta = T::of(self.beta);
            let along = |p: &mut [T], z: &[T]| p.iter_mut().zip(z).for_each(|(p, &z)| *p = z + beta * *p);
            along(p, z);
            q.into_iter().for_each(|q| along(q, r));
        }
        self.rz = rz;
    }

    /// One step of column j along its directions.
    fn step<T: Scalar>(
        &mut self,
        j: usize,
        r: &mut [T],
        p: &[T],
        ap: &[T],
        directions: &[T],
        x: &mut [MatMut<'_, T>],
        opts: &CgOptions<T>,
    ) {
        let n = r.len();
        let curvature = dot(p, ap);
        let alpha = self.rz / curvature;
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
        let norm_r = dot(r, r).sqrt();
        if !norm_r.is_finite() {
            return self.stop_all(CgStop::Breakdown);
        }
        self.alpha = alpha;
        for shift in self.shifts.iter_mut().filter(|s| s.stop.is_none()) {
            if shift.zeta.abs() * norm_r <= self.threshold {
                shift.stop = Some(CgStop::Converged);
            } else if shift.iterations >= opts.max_iterations {
                shift.stop = Some(CgStop::IterationLimit);
            }
        }
    }

    /// The report of one shift, from A x and M x.
    fn entry<T: Scalar>(&self, s: usize, b: &[T], (ax, mx): (&[T], &[T]), shift: T) -> ShiftColumn {
        let state = &self.shifts[s];
        let terms = b.iter().zip(mx).zip(ax);
        let square = |((b, mx), ax): ((&T, &T), &T)| {
            let r = b.f64() - ax.f64() - shift.f64() * mx.f64();
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
