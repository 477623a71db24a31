//! Preconditioned conjugate gradient for A X = B, A symmetric positive definite, several right-hand sides at once.
//!
//! Problem     minimize φ(x) = ½ xᵀA x - bᵀx for every column b of B, seeing A only through products.
//! Recurrence  z = M⁻¹r, β = rᵀz / (rᵀz)_old, p = z + β p, α = rᵀz / pᵀA p, x += α p, r -= α A p.
//! Deviations  Columns advance in lockstep, one block product an iteration; each has its own α and β and leaves the
//!             block when it stops. b is scaled by a power of two and inner products are summed in f64, so that a
//!             scale of A or b within the range of T changes no digit. A step is taken only when the new x and r are
//!             finite. Convergence is judged by the running residual; the report holds the true one.
//! Cost        one product and about 14n flops a column and iteration (16n with M, and one product with M⁻¹; 4n for the
//!             stall rule); one product more at the end, one for a warm start. Scratch: 3 n-vectors a column, 4 with M.
//!             On demand beside them: the iterates kept, and α and β of every step.
//! Laws        tests/pcg.rs, tests/pcg_stops.rs, tests/pcg_gains.rs, tests/pcg_allocations.rs.
//! Reference   M. R. Hestenes, E. Stiefel, J. Res. Nat. Bur. Standards 49 (1952) 409-436; Y. Saad, Iterative Methods
//!             for Sparse Linear Systems, 2nd ed., algorithm 9.1 (with the preconditioner).

use super::{CgColumn, CgOptions, CgReport, CgStart, CgStop, KeepIterates, NegativeCurvature};
use crate::backend::sums::dot;
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Result, check_shape};
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Solves A X = B by preconditioned conjugate gradient, from the X given (or from zero: [`CgStart`]).
///
/// Whatever the reason why a column stops, X holds its last iterate, which is finite and never worse in φ than the
/// start. A column of X that is not finite on entry is set to zero; a column with b = 0 gets x = 0 at once.
///
/// ```
/// use pullback::krylov::{CgOptions, CgStop, pcg};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 4.0]))?;
/// let b = Mat::from_fn(2, 1, |_, _| 8.0);
/// let mut x = Mat::zeros(2, 1);
/// let report = pcg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default())?;
/// assert_eq!(report.stop(), CgStop::Converged);
/// assert_eq!(report.iterations(), 2); // two distinct eigenvalues
/// assert!((x[(1, 0)] - 2.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape), [`Error::InvalidParameter`](crate::Error::InvalidParameter) for the options,
/// and those of the operators. Everything else is a [`CgStop`].
pub fn pcg<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: MatRef<'_, T>,
    x: MatMut<'_, T>,
    opts: &CgOptions<T>,
) -> Result<CgReport<T>> {
    let mut report = CgReport::default();
    pcg_into(ctx, a, m_inv, b, x, opts, &mut report)?;
    Ok(report)
}

/// [`pcg`] into a report whose memory is reused: with scratch from the context's pool, nothing is allocated after a
/// first call of the same size.
///
/// # Errors
/// As [`pcg`].
pub fn pcg_into<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: MatRef<'_, T>,
    x: MatMut<'_, T>,
    opts: &CgOptions<T>,
    report: &mut CgReport<T>,
) -> Result<()> {
    let (n, k) = b.shape();
    opts.check()?;
    check_shape("pcg: A", (n, n), a.shape())?;
    check_shape("pcg: X", (n, k), x.shape())?;
    if let Some(m_inv) = m_inv {
        check_shape("pcg: preconditioner", (n, n), m_inv.shape())?;
    }
    let (r, p, ap) = (ctx.scratch(n, k), ctx.scratch(n, k), ctx.scratch(n, k));
    let z = m_inv.map(|m_inv| (m_inv, ctx.scratch(n, k)));
    let mut run = Run { ctx, a, b, x, opts, report, r, p, ap, z, active: 0 };
    run.start()?;
    let mut first = true;
    while run.active > 0 {
        run.directions(first)?;
        run.steps()?;
        first = false;
    }
    run.true_residuals()
}

/// One solve. Slots 0..active of r, p, Ap, z hold the columns that still run; `report.slots` says which.
struct Run<'r, 'm, T: Scalar> {
    ctx: &'r Ctx<T>,
    a: &'r dyn SelfAdjoint<T>,
    b: MatRef<'m, T>,
    x: MatMut<'m, T>,
    opts: &'r CgOptions<T>,
    report: &'r mut CgReport<T>,
    r: Scratch<'r, T>,
    p: Scratch<'r, T>,
    ap: Scratch<'r, T>,
    z: Option<(&'r dyn Preconditioner<T>, Scratch<'r, T>)>,
    active: usize,
}

impl<T: Scalar> Run<'_, '_, T> {
    /// Residuals at the start; the columns that have something to do become active.
    fn start(&mut self) -> Result<()> {
        let (n, k) = self.b.shape();
        let CgReport { columns, slots, products } = &mut *self.report;
        columns.resize_with(k, CgColumn::default);
        columns.iter_mut().for_each(|column| column.reset(self.opts.coefficients));
        slots.clear();
        *products = 0;
        let mut warm = false;
        for (j, column) in columns.iter_mut().enumerate() {
            let (b, x) = (self.b.col(j), self.x.col_mut(j));
            if self.opts.start == CgStart::Zero || b.iter().all(|&b| b == T::ZERO) {
                x.fill(T::ZERO);
            } else if check::finite_slice("pcg", x).is_err() {
                x.fill(T::ZERO);
                column.stop = CgStop::Breakdown;
            } else if let CgStart::Decayed(decay) = self.opts.start {
                x.iter_mut().for_each(|x| *x *= decay);
            }
            warm |= x.iter().any(|&x| x != T::ZERO);
        }
        if warm {
            self.a.apply(self.ctx, self.x.rb(), self.ap.as_mut())?;
            *products += 1;
        } else {
            self.ap.as_mut().fill(T::ZERO);
        }
        for (j, column) in columns.iter_mut().enumerate() {
            let r = slot_mut(&mut self.r, n, self.active);
            if column.enter(self.b.col(j), slot(&self.ap, n, j), self.x.col(j), r, self.opts) {
                slots.push(j);
                self.active += 1;
            }
        }
        Ok(())
    }

    /// p ← M⁻¹ r + β p for every active column.
    fn directions(&mut self, first: bool) -> Result<()> {
        let n = self.b.nrows();
        if let Some((m_inv, z)) = &mut self.z {
            m_inv.apply(self.ctx, head(&self.r, n, self.active)?, head_mut(z, n, self.active)?)?;
        }
        // downwards: a column that leaves is replaced by the last one, which has been dealt with
        for s in (0..self.active).rev() {
            let column = &mut self.report.columns[self.report.slots[s]];
            let r = slot(&self.r, n, s);
            let (z, rz) = match &self.z {
                Some((_, z)) => (slot(z, n, s), dot(r, slot(z, n, s))),
                None => (r, column.rr),
            };
            if !rz.is_finite() {
                self.leave(s, CgStop::Breakdown);
            } else if rz <= 0.0 {
                self.leave(s, CgStop::PreconditionerNotPositive);
            } else {
                column.beta = rz / column.rz;
                let beta = T::of(column.beta);
                column.rz = rz;
                let p = slot_mut(&mut self.p, n, s);
                if first {
                    p.copy_from_slice(z);
                } else {
                    p.iter_mut().zip(z).for_each(|(p, &z)| *p = z + beta * *p);
                }
            }
        }
        Ok(())
    }

    /// Ap ← A p, then x and r move along p in every active column.
    fn steps(&mut self) -> Result<()> {
        let n = self.b.nrows();
        if self.active == 0 {
            return Ok(());
        }
        self.a.apply(self.ctx, head(&self.p, n, self.active)?, head_mut(&mut self.ap, n, self.active)?)?;
        self.report.products += 1;
        for s in (0..self.active).rev() {
            let j = self.report.slots[s];
            let (r, p, ap) = (slot_mut(&mut self.r, n, s), slot(&self.p, n, s), slot(&self.ap, n, s));
            if let Some(stop) = self.report.columns[j].step(self.b.col(j), self.x.col_mut(j), r, p, ap, self.opts) {
                self.leave(s, stop);
            }
        }
        Ok(())
    }

    /// The column in slot s stops; the last active column takes its slot.
    fn leave(&mut self, s: usize, stop: CgStop) {
        let n = self.b.nrows();
        let j = self.report.slots[s];
        let column = &mut self.report.columns[j];
        column.stop = stop;
        column.model = model(self.x.col(j), self.b.col(j), slot(&self.r, n, s), column.scale);
        if self.opts.keep != KeepIterates::None && column.iterations > 0 {
            column.keep(self.x.col(j), column.model);
        }
        self.active -= 1;
        if s < self.active {
            let last = self.active * n..(self.active + 1) * n;
            self.r.as_mut_slice().copy_within(last.clone(), s * n);
            self.p.as_mut_slice().copy_within(last, s * n);
            self.report.slots[s] = self.report.slots[self.active];
        }
    }

    /// ‖b - A x‖ / ‖b‖ by one more product, for the columns that have moved.
    fn true_residuals(&mut self) -> Result<()> {
        if self.report.columns.iter().all(|c| c.iterations == 0) {
            return Ok(()); // the residual at the start was the true one
        }
        self.a.apply(self.ctx, self.x.rb(), self.ap.as_mut())?;
        self.report.products += 1;
        let n = self.b.nrows();
        for (j, column) in self.report.columns.iter_mut().enumerate().filter(|(_, c)| c.iterations > 0) {
            let scale = T::of(column.scale);
            let r = slot_mut(&mut self.r, n, j);
            residual(self.b.col(j), slot(&self.ap, n, j), scale, r);
            let norm_r = dot(r, r).sqrt();
            column.relative_residual = finite_or_infinite(norm_r / column.norm_b);
            if !norm_r.is_finite() && column.curvature.is_none() {
                column.stop = CgStop::Breakdown; // whatever the recurrence believed
            }
        }
        Ok(())
    }
}

impl<T: Scalar> CgColumn<T> {
    /// Sets up scales, the residual r at the start, tolerances. Whether the column has something to do.
    fn enter(&mut self, b: &[T], ax: &[T], x: &[T], r: &mut [T], opts: &CgOptions<T>) -> bool {
        if b.iter().all(|&b| b == T::ZERO) {
            return false; // x = 0 is exact, even where A holds NaN
        }
        residual(b, ax, T::ONE, r);
        let scale_b = check::power_of_two_scale(MatRef::from_column(b)).factor();
        let scale = scale_b.min(check::power_of_two_scale(MatRef::from_column(r)).factor());
        r.iter_mut().for_each(|r| *r *= scale);
        self.scale = scale.f64();
        // ‖b‖ by its own scale, so that its squares neither overflow nor vanish
        let norm_b = b.iter().map(|&b| (b * scale_b).f64().powi(2)).sum::<f64>().sqrt();
        self.norm_b = norm_b / scale_b.f64() * self.scale;
        self.threshold = (opts.relative_tolerance.f64() * self.norm_b).max(opts.absolute_tolerance.f64() * self.scale);
        self.rr = dot(r, r);
        self.rz = self.rr;
        self.model = model(x, b, r, self.scale);
        let norm_r = self.rr.sqrt();
        self.relative_residual = finite_or_infinite(norm_r / self.norm_b);
        if opts.stall.is_some() {
            self.models.push(self.model);
        }
        if self.stop == CgStop::Breakdown || !norm_r.is_finite() {
            self.stop = CgStop::Breakdown;
            return false;
        }
        if norm_r > self.threshold && opts.max_iterations == 0 {
            self.stop = CgStop::IterationLimit;
        }
        norm_r > self.threshold && opts.max_iterations > 0
    }

    /// x ← x + α p, r ← r - α A p, unless that is impossible. The reason to stop, if there is one.
    fn step(&mut self, b: &[T], x: &mut [T], r: &mut [T], p: &[T], ap: &[T], opts: &CgOptions<T>) -> Option<CgStop> {
        let curvature = dot(p, ap);
        if !curvature.is_finite() {
            return Some(CgStop::Breakdown);
        }
        if curvature <= 0.0 {
            self.curvature = Some(curvature);
            self.direction.extend_from_slice(p);
            let along = T::of(1.0 / self.scale);
            let follow = opts.negative_curvature == NegativeCurvature::FollowDirection && self.iterations == 0;
            if follow && stays_finite(x, along, p) && stays_finite(r, -T::ONE, ap) {
                axpy(along, p, x);
                axpy(-T::ONE, ap, r);
                self.iterations = 1;
            }
            return Some(CgStop::NonPositiveCurvature);
        }
        let alpha = self.rz / curvature;
        let (alpha_x, alpha_r) = (T::of(alpha / self.scale), -T::of(alpha));
        if !stays_finite(x, alpha_x, p) || !stays_finite(r, alpha_r, ap) {
            return Some(CgStop::Breakdown);
        }
        axpy(alpha_x, p, x);
        axpy(alpha_r, ap, r);
        self.iterations += 1;
        self.rr = dot(r, r);
        if let Some(lanczos) = &mut self.lanczos {
            lanczos.push(alpha, self.beta);
        }
        if opts.keep.keeps(self.iterations) {
            self.keep(x, model(x, b, r, self.scale));
        }
        if let Some(rule) = opts.stall {
            self.models.push(model(x, b, r, self.scale));
            if self.rr.sqrt() > self.threshold && rule.stalled(&self.models) {
                return Some(CgStop::ModelStalled);
            }
        }
        if self.rr.sqrt() <= self.threshold {
            Some(CgStop::Converged)
        } else if self.iterations >= opts.max_iterations {
            Some(CgStop::IterationLimit)
        } else {
            None
        }
    }
}

fn slot<'s, T: Scalar>(block: &'s Scratch<'_, T>, n: usize, s: usize) -> &'s [T] {
    &block.as_slice()[s * n..(s + 1) * n]
}

fn slot_mut<'s, T: Scalar>(block: &'s mut Scratch<'_, T>, n: usize, s: usize) -> &'s mut [T] {
    &mut block.as_mut_slice()[s * n..(s + 1) * n]
}

/// The first k slots as a matrix.
fn head<'s, T: Scalar>(block: &'s Scratch<'_, T>, n: usize, k: usize) -> Result<MatRef<'s, T>> {
    MatRef::from_slice(block.as_slice(), n, k, n.max(1))
}

/// The first k slots as a matrix, to write.
fn head_mut<'s, T: Scalar>(block: &'s mut Scratch<'_, T>, n: usize, k: usize) -> Result<MatMut<'s, T>> {
    MatMut::from_slice(block.as_mut_slice(), n, k, n.max(1))
}

/// r ← s b - s A x.
fn residual<T: Scalar>(b: &[T], ax: &[T], scale: T, r: &mut [T]) {
    for ((r, &b), &ax) in r.iter_mut().zip(b).zip(ax) {
        *r = scale * b - scale * ax;
    }
}

/// φ(x) = ½ xᵀ(-b - r), r being scaled.
pub(super) fn model<T: Scalar>(x: &[T], b: &[T], r: &[T], scale: f64) -> f64 {
    let sum: f64 = x.iter().zip(b).zip(r).map(|((&x, &b), &r)| x.f64() * (scale * b.f64() + r.f64())).sum();
    -0.5 * sum / scale
}

/// y ← y + s x.
pub(super) fn axpy<T: Scalar>(s: T, x: &[T], y: &mut [T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += s * x);
}

/// Whether y + s x is finite in every element.
pub(super) fn stays_finite<T: Scalar>(y: &[T], s: T, x: &[T]) -> bool {
    let sum = y.iter().zip(x).fold(T::ZERO, |acc, (&y, &x)| {
        let moved = y + s * x;
        acc + T::ZERO * moved // 0, or NaN
    });
    sum == T::ZERO
}

fn finite_or_infinite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::INFINITY }
}
