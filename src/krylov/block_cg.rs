//! Block conjugate gradient: A X = B for many right-hand sides from one block Krylov space, deflated where it loses rank.
//!
//! The residuals are kept as an orthonormal block times small coefficients, R = Q C, so that nothing depends on how small
//! or how dependent the residuals have become:
//!
//! ```text
//! B - A X_0 = Q C,  Z = M⁻¹Q,  P = Z
//! α = (PᵀA P)⁻¹ PᵀQ,   X += P α C,   Q - A P α = Q' S,   C ← S C,   β = -(PᵀA P)⁻¹ (A P)ᵀZ',   P ← Z' + P β
//! ```
//! Every column of X minimizes its model over the Krylov spaces of all right-hand sides together: where few eigenvalues lie
//! apart from the rest, k right-hand sides find k of them at once, and the bound of conjugate gradient holds with
//! κ = λ_n / λ_{k+1}.
//!
//! Deflation   A column of Q - A P α of which 8 √n ε (1 + ‖·‖) or less is left beside those before it is dropped, and Q, Z
//!             and P go on with a column fewer: equal or dependent right-hand sides cost one, and nothing breaks down while
//!             A and M⁻¹ are positive definite. What is dropped is rounding of the residual it belongs to. Where PᵀA P has
//!             a pivot that is zero to rounding, as at conditions far above 1/√ε, the run starts afresh from the X reached;
//!             where it has one at once, the columns from there on are dropped.
//! Replacement n/r iterations span everything in exact arithmetic. Where the largest relative residual has not fallen for
//!             twice as many, rounding has taken the conjugacy of the blocks: the run takes its residuals anew, by a
//!             product, and starts afresh from the X reached. No cure: above 1/√ε a block may still need more than a column.
//! Deviations  Columns of B are scaled by powers of two. ‖b - A x‖ is the norm of a column of C: Euclidean, with and without
//!             M. A column that has converged goes on moving with the others, to whom its direction is as good as any; its
//!             iterations are those after which it met the tolerance first. The sums of gemm are those of the scalar.
//! Cost        one product with A and one with M⁻¹ on r columns an iteration, r <= k the rank, and about 16nrk flops by
//!             matrix products; one product more at the end, one for a warm start. Scratch: 4 n-vectors a column, and six
//!             k x k matrices. The report allocates.
//! Laws        tests/block_cg.rs.
//! Reference   D. P. O'Leary, The block conjugate gradient algorithm and related methods, Linear Algebra Appl. 29 (1980)
//!             293-322, doi 10.1016/0024-3795(80)90247-5; A. A. Dubrulle, Retooling the method of block conjugate
//!             gradients, ETNA 12 (2001) 216-233 (R = Q C); H. Ji, Y. Li, A breakdown-free block conjugate gradient
//!             method, BIT 57 (2017) 379-403, doi 10.1007/s10543-016-0631-z (deflation).

use super::block_qr::{corner, corner_mut, head, head_mut, level, orthonormalize};
use super::block_report::{BlockCgColumn, BlockCgReport, Pivots, Stall};
use super::{CgOptions, CgStart, CgStop};
use crate::backend::sums::{dot, norm};
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Error, Result, check_shape};
use crate::linop::{Preconditioner, SelfAdjoint};
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Solves A X = B by block conjugate gradient, from the X given (or from zero: [`CgStart`]).
///
/// Whatever the reason to stop, X holds the last iterate, which is finite. A column of X that is not finite on entry is set
/// to zero; a column with b = 0 gets x = 0 at once, one with a NaN is left as it was.
///
/// ```
/// use pullback::krylov::{CgOptions, CgStop, block_cg};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 2.0, 3.0, 4.0]))?;
/// let b = Mat::from_fn(4, 2, |i, j| if i % 2 == j { 12.0 } else { 0.0 });
/// let mut x = Mat::zeros(4, 2);
/// let report = block_cg(&ctx, &a, None, b.as_ref(), x.as_mut(), &CgOptions::default())?;
/// assert_eq!((report.stop(), report.iterations()), (CgStop::Converged, 2)); // four eigenvalues, two columns
/// assert!((x[(2, 0)] - 4.0).abs() < 1e-12);
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`], [`Error::InvalidParameter`] for the options, a stall rule, or what else belongs to a column with a
/// run of its own, and those of the operators. Everything else is a [`CgStop`].
pub fn block_cg<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: MatRef<'_, T>,
    x: MatMut<'_, T>,
    opts: &CgOptions<T>,
) -> Result<BlockCgReport> {
    let (n, k) = b.shape();
    opts.check_shared()?;
    check_shape("block_cg: A", (n, n), a.shape())?;
    check_shape("block_cg: X", (n, k), x.shape())?;
    if let Some(m_inv) = m_inv {
        check_shape("block_cg: preconditioner", (n, n), m_inv.shape())?;
    }
    let tall = || ctx.scratch(n, k);
    let small = || ctx.scratch(k, k);
    let mut run = Run {
        ctx,
        a,
        m_inv,
        b,
        x,
        opts,
        q: tall(),
        p: tall(),
        ap: tall(),
        z: tall(),
        factor: small(),
        alpha: small(),
        coefficients: small(),
        next: small(),
        s: small(),
        work: small(),
        rank: 0,
        fresh: true,
        stall: Stall::default(),
        report: BlockCgReport { columns: vec![BlockCgColumn::default(); k], widths: Vec::new(), products: 0 },
        scales: vec![0.0; k],
        norms: vec![(0.0, 0.0); k],
    };
    run.start()?;
    if run.directions(0)? {
        while run.running() && run.step()? {}
    }
    run.true_residuals()?;
    Ok(run.report)
}

/// One solve. The first `rank` columns of Q, P, A P and Z are in use, as are as many rows of the coefficients C.
struct Run<'r, 'm, T: Scalar> {
    ctx: &'r Ctx<T>,
    a: &'r dyn SelfAdjoint<T>,
    m_inv: Option<&'r dyn Preconditioner<T>>,
    b: MatRef<'m, T>,
    x: MatMut<'m, T>,
    opts: &'r CgOptions<T>,
    q: Scratch<'r, T>,
    p: Scratch<'r, T>,
    ap: Scratch<'r, T>,
    z: Scratch<'r, T>,
    /// The Cholesky factor of PᵀA P.
    factor: Scratch<'r, T>,
    /// α, then β.
    alpha: Scratch<'r, T>,
    coefficients: Scratch<'r, T>,
    next: Scratch<'r, T>,
    s: Scratch<'r, T>,
    work: Scratch<'r, T>,
    rank: usize,
    /// Whether no step has been taken since the residuals came from a product.
    fresh: bool,
    stall: Stall,
    report: BlockCgReport,
    /// The power of two by which a column is scaled; 0 where it takes no part.
    scales: Vec<f64>,
    /// ‖b‖ of the scaled column, and the bound for its residual.
    norms: Vec<(f64, f64)>,
}

impl<T: Scalar> Run<'_, '_, T> {
    fn running(&self) -> bool {
        self.report.columns.iter().any(|c| c.stop == CgStop::IterationLimit)
            && self.report.widths.len() < self.opts.max_iterations
    }

    /// Every column that is still under way stops.
    fn stop_all(&mut self, reason: CgStop) {
        let running = self.report.columns.iter_mut().filter(|c| c.stop == CgStop::IterationLimit);
        running.for_each(|c| c.stop = reason);
    }

    /// Scaled residuals of the columns that take part, factored as Q C.
    fn start(&mut self) -> Result<()> {
        let (n, k) = self.b.shape();
        let mut warm = false;
        for j in 0..k {
            let (b, x) = (self.b.col(j), self.x.col_mut(j));
            if self.opts.start == CgStart::Zero || b.iter().all(|&b| b == T::ZERO) {
                x.fill(T::ZERO);
            } else if check::finite_slice("block_cg", x).is_err() {
                x.fill(T::ZERO);
                self.report.columns[j].stop = CgStop::Breakdown;
            } else if let CgStart::Decayed(decay) = self.opts.start {
                x.iter_mut().for_each(|x| *x *= decay);
            }
            warm |= x.iter().any(|&x| x != T::ZERO);
        }
        if warm {
            self.a.apply(self.ctx, self.x.rb(), self.ap.as_mut())?;
            self.report.products += 1;
        } else {
            self.ap.as_mut().fill(T::ZERO);
        }
        for j in 0..k {
            let r = &mut self.q.as_mut_slice()[j * n..(j + 1) * n];
            let ax = &self.ap.as_slice()[j * n..(j + 1) * n];
            let (scale, norms) = self.report.columns[j].enter(self.b.col(j), ax, r, self.opts);
            (self.scales[j], self.norms[j]) = (scale, norms);
        }
        self.factor_residuals()
    }

    /// The scaled residuals in Q become Q C.
    fn factor_residuals(&mut self) -> Result<()> {
        self.rank = orthonormalize(self.ctx, self.q.as_mut(), self.s.as_mut(), self.work.as_mut_slice(), 0.0)?;
        self.coefficients.as_mut_slice().copy_from_slice(self.s.as_slice());
        self.fresh = true;
        self.stall = Stall::default();
        Ok(())
    }

    /// The residuals of the X reached, by one more product.
    fn residuals(&mut self) -> Result<()> {
        let n = self.b.nrows();
        self.a.apply(self.ctx, self.x.rb(), self.ap.as_mut())?;
        self.report.products += 1;
        for (j, column) in self.report.columns.iter_mut().enumerate() {
            let r = &mut self.q.as_mut_slice()[j * n..(j + 1) * n];
            let terms = self.b.col(j).iter().zip(&self.ap.as_slice()[j * n..(j + 1) * n]);
            let scale = T::of(self.scales[j]);
            r.iter_mut().zip(terms).for_each(|(r, (&b, &ax))| *r = scale * b - scale * ax);
            if !column.takes_part || check::finite_slice("block_cg", r).is_err() {
                column.takes_part = false;
                r.fill(T::ZERO);
                if column.stop == CgStop::IterationLimit {
                    column.stop = CgStop::Breakdown;
                }
            }
        }
        self.factor_residuals()
    }

    /// Z ← M⁻¹Q, then P ← Z + P β; `before` is the number of columns of the old P. Whether the run can go on.
    fn directions(&mut self, before: usize) -> Result<bool> {
        let (n, k, r) = (self.b.nrows(), self.b.ncols(), self.rank);
        if r == 0 || !self.running() {
            return Ok(false);
        }
        let q = head(&self.q, n, r)?;
        match self.m_inv {
            None => head_mut(&mut self.z, n, r)?.copy_from(q)?,
            Some(m_inv) => {
                m_inv.apply(self.ctx, q, head_mut(&mut self.z, n, r)?)?;
                let (z, gram) = (head(&self.z, n, r)?, &mut self.work);
                self.ctx.gemm(T::ONE, q, Op::Transpose, z, Op::No, T::ZERO, corner_mut(gram, k, r, r)?)?;
                let reason = match self.ctx.potrf(corner_mut(gram, k, r, r)?) {
                    Ok(()) => None,
                    Err(Error::NotPositiveDefinite { .. }) => Some(CgStop::PreconditionerNotPositive),
                    Err(Error::NotFinite { .. }) => Some(CgStop::Breakdown),
                    Err(other) => return Err(other),
                };
                if let Some(reason) = reason {
                    self.stop_all(reason);
                    return Ok(false);
                }
            }
        }
        if before > 0 {
            let (ap, z) = (head(&self.ap, n, before)?, head(&self.z, n, r)?);
            let beta = corner_mut(&mut self.alpha, k, before, r)?;
            self.ctx.gemm(-T::ONE, ap, Op::Transpose, z, Op::No, T::ZERO, beta)?;
            self.ctx.potrs(corner(&self.factor, k, before, before)?, corner_mut(&mut self.alpha, k, before, r)?)?;
            let (p, beta) = (head(&self.p, n, before)?, corner(&self.alpha, k, before, r)?);
            self.ctx.gemm(T::ONE, p, Op::No, beta, Op::No, T::ONE, head_mut(&mut self.z, n, r)?)?;
        }
        std::mem::swap(&mut self.z, &mut self.p);
        Ok(true)
    }

    /// X moves along P; Q, C and P become those of the new residual. Whether the run can go on.
    fn step(&mut self) -> Result<bool> {
        let (n, k, r) = (self.b.nrows(), self.b.ncols(), self.rank);
        self.a.apply(self.ctx, head(&self.p, n, r)?, head_mut(&mut self.ap, n, r)?)?;
        self.report.products += 1;
        match self.factor_curvature()? {
            Pivots::Positive => self.fresh = false,
            Pivots::Stop(reason) => {
                self.stop_all(reason);
                return Ok(false);
            }
            Pivots::Rounding => return self.afresh(),
        }
        self.report.widths.push(r);
        let r = self.rank;
        let p = head(&self.p, n, r)?;
        let alpha = corner_mut(&mut self.alpha, k, r, r)?;
        self.ctx.gemm(T::ONE, p, Op::Transpose, head(&self.q, n, r)?, Op::No, T::ZERO, alpha)?;
        self.ctx.potrs(corner(&self.factor, k, r, r)?, corner_mut(&mut self.alpha, k, r, r)?)?;
        self.move_x()?;
        let (ap, alpha) = (head(&self.ap, n, r)?, corner(&self.alpha, k, r, r)?);
        self.ctx.gemm(-T::ONE, ap, Op::No, alpha, Op::No, T::ONE, head_mut(&mut self.q, n, r)?)?;
        if check::finite("block_cg", head(&self.q, n, r)?).is_err() {
            self.stop_all(CgStop::Breakdown);
            return Ok(false);
        }
        let s = corner_mut(&mut self.s, k, r, r)?;
        self.rank = orthonormalize(self.ctx, head_mut(&mut self.q, n, r)?, s, self.work.as_mut_slice(), 1.0)?;
        let (s, c) = (corner(&self.s, k, self.rank, r)?, corner(&self.coefficients, k, r, k)?);
        self.ctx.gemm(T::ONE, s, Op::No, c, Op::No, T::ZERO, corner_mut(&mut self.next, k, self.rank, k)?)?;
        std::mem::swap(&mut self.next, &mut self.coefficients);
        let largest = self.judge()?;
        if self.stall.watch(largest, (2 * n).div_ceil(r)) { self.afresh() } else { self.directions(r) }
    }

    /// A new start from the X reached. Whether the run can go on.
    fn afresh(&mut self) -> Result<bool> {
        self.residuals()?;
        self.judge()?;
        self.directions(0)
    }

    /// The Cholesky factor of PᵀA P. Of a fresh block it is that of the leading part where what follows is rounding: P and Q
    /// then lose the columns from there on.
    fn factor_curvature(&mut self) -> Result<Pivots> {
        let (n, k) = (self.b.nrows(), self.b.ncols());
        loop {
            let r = self.rank;
            let (p, ap) = (head(&self.p, n, r)?, head(&self.ap, n, r)?);
            let gram = corner_mut(&mut self.alpha, k, r, r)?;
            self.ctx.gemm(T::ONE, p, Op::Transpose, ap, Op::No, T::ZERO, gram)?;
            let gram = corner(&self.alpha, k, r, r)?;
            corner_mut(&mut self.factor, k, r, r)?.copy_from(gram)?;
            let pivot = match self.ctx.potrf(corner_mut(&mut self.factor, k, r, r)?) {
                Ok(()) => return Ok(Pivots::Positive),
                Err(Error::NotPositiveDefinite { pivot: 0, .. }) => {
                    return Ok(Pivots::Stop(CgStop::NonPositiveCurvature));
                }
                Err(Error::NotPositiveDefinite { pivot, .. }) => pivot,
                Err(Error::NotFinite { .. }) => return Ok(Pivots::Stop(CgStop::Breakdown)),
                Err(other) => return Err(other),
            };
            // what is left of p'Ap beside the columns before, against the rounding of p'(Ap)
            let mut leading = corner_mut(&mut self.factor, k, pivot, pivot)?;
            leading.copy_from(gram.submatrix(0, 0, pivot, pivot)?)?;
            match self.ctx.potrf(leading) {
                Ok(()) => {}
                // another order of sums, another pivot
                Err(_) => return Ok(Pivots::Stop(CgStop::NonPositiveCurvature)),
            }
            let column = &gram.col(pivot)[..pivot];
            let work = &mut self.work.as_mut_slice()[..pivot];
            work.copy_from_slice(column);
            self.ctx.potrs(corner(&self.factor, k, pivot, pivot)?, MatMut::from_column(work))?;
            let left = gram.at(pivot, pivot).f64() - dot(column, work);
            let rounding = level::<T>(n) * norm(p.col(pivot)) * norm(ap.col(pivot));
            if !(left >= -rounding) {
                return Ok(Pivots::Stop(CgStop::NonPositiveCurvature));
            }
            if !self.fresh {
                return Ok(Pivots::Rounding);
            }
            self.rank = pivot;
        }
    }

    /// X ← X + P α C, column by column where the result is finite.
    fn move_x(&mut self) -> Result<()> {
        let (n, k, r) = (self.b.nrows(), self.b.ncols(), self.rank);
        let (alpha, c) = (corner(&self.alpha, k, r, r)?, corner(&self.coefficients, k, r, k)?);
        self.ctx.gemm(T::ONE, alpha, Op::No, c, Op::No, T::ZERO, corner_mut(&mut self.work, k, r, k)?)?;
        let weights = corner(&self.work, k, r, k)?;
        self.ctx.gemm(T::ONE, head(&self.p, n, r)?, Op::No, weights, Op::No, T::ZERO, self.z.as_mut())?;
        let iterations = self.report.widths.len();
        for (j, column) in self.report.columns.iter_mut().enumerate().filter(|(_, c)| c.takes_part) {
            let unscale = T::of(1.0 / self.scales[j]);
            let (x, update) = (self.x.col_mut(j), self.z.as_ref().submatrix(0, j, n, 1)?.col(0));
            if x.iter().zip(update).all(|(&x, &u)| (x + unscale * u).is_finite()) {
                x.iter_mut().zip(update).for_each(|(x, &u)| *x += unscale * u);
                column.moved = true;
            } else {
                (column.stop, column.takes_part) = (CgStop::Breakdown, false);
            }
            if column.stop == CgStop::IterationLimit {
                column.iterations = iterations;
            }
        }
        Ok(())
    }

    /// The columns whose residual meets the tolerance have converged; the largest relative residual of the others.
    fn judge(&mut self) -> Result<f64> {
        let c = corner(&self.coefficients, self.b.ncols(), self.rank, self.b.ncols())?;
        let mut largest = 0.0;
        for (j, column) in self.report.columns.iter_mut().enumerate().filter(|(_, c)| c.stop == CgStop::IterationLimit)
        {
            let (now, (size, bound)) = (norm(c.col(j)), self.norms[j]);
            if now <= bound {
                column.stop = CgStop::Converged;
            } else {
                largest = f64::max(largest, now / size);
            }
        }
        Ok(largest)
    }

    /// ‖b - A x‖ / ‖b‖ by one more product, for the columns that have moved.
    fn true_residuals(&mut self) -> Result<()> {
        if self.report.widths.is_empty() {
            return Ok(()); // the residual at the start was the true one
        }
        self.a.apply(self.ctx, self.x.rb(), self.ap.as_mut())?;
        self.report.products += 1;
        for (j, column) in self.report.columns.iter_mut().enumerate().filter(|(_, c)| c.moved) {
            let ax = self.ap.as_ref().submatrix(0, j, self.b.nrows(), 1)?.col(0);
            let scaled = |x: T| x.f64() * self.scales[j];
            let square = self.b.col(j).iter().zip(ax).map(|(&b, &ax)| (scaled(b) - scaled(ax)).powi(2)).sum::<f64>();
            let relative = square.sqrt() / self.norms[j].0;
            column.relative_residual = if relative.is_finite() { relative } else { f64::INFINITY };
            if !relative.is_finite() {
                column.stop = CgStop::Breakdown; // whatever the recurrence believed
            }
        }
        Ok(())
    }
}
