//! Lanczos tridiagonalization of a self-adjoint operator, several starting vectors in lockstep.
//!
//! ```text
//! A V_k = V_k T_k + β_k v_{k+1} e_kᵀ,   V_kᵀV_k = I,   T_k = tridiag(β_{j-1}, α_j, β_j)
//! w = A v_j - β_{j-1} v_{j-1},   α_j = v_jᵀw,   w -= α_j v_j,   β_j = ‖w‖,   v_{j+1} = w / β_j
//! T_k = S diag(θ) Sᵀ:   some eigenvalue of A lies within |β_k s_{ki}| of θ_i
//! ```
//! β_j <= 16 √n ε max_i ‖A v_i‖ (and j = n with reorthogonalization) means that the Krylov space is invariant: the
//! recursion ends there with exact eigenvalues. That is an outcome, [`LanczosEnd::InvariantSubspace`], not an error.
//!
//! Cost        one product a step and column, 6n flops a step; full reorthogonalization adds 8nj flops at step j and
//!             keeps the n x k basis (two columns without it); selective adds 8n flops a step, 8nj at the few steps that
//!             need it, and 7j for the estimate. One block product a step for all columns.
//! Deviations  Reorthogonalization is by two passes over the whole basis; the selective kind decides by Simon's recurrence
//!             when (see [`Reorthogonalization`]). Without it V loses orthogonality once a Ritz value has converged, and T
//!             holds copies of it; the residual bounds stay true. Inner products in f64.
//! Laws        tests/lanczos.rs.
//! Reference   C. Lanczos, J. Res. Nat. Bur. Standards 45 (1950) 255-282, doi 10.6028/jres.045.026; B. N. Parlett, The
//!             Symmetric Eigenvalue Problem, 1998, chapter 13; C. C. Paige, IMA J. Appl. Math. 10 (1972) 373-381,
//!             doi 10.1093/imamat/10.3.373.

use super::Reorthogonalization;
use super::cg::axpy;
use super::orthogonality::{Guard, Step};
use super::ritz::Ritz;
use crate::backend::sums::{dot, norm};
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_shape};
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Settings of [`lanczos`].
///
/// ```
/// use pullback::krylov::LanczosOptions;
/// use pullback::krylov::Reorthogonalization;
/// assert_eq!(LanczosOptions::steps(20).reorthogonalization, Reorthogonalization::Full);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanczosOptions {
    /// Most steps, at least 1; with reorthogonalization the order of the operator caps them.
    pub steps: usize,
    /// When a new vector is orthogonalized against the whole basis.
    pub reorthogonalization: Reorthogonalization,
}

impl LanczosOptions {
    /// That many steps with full reorthogonalization.
    pub fn steps(steps: usize) -> Self {
        Self { steps, reorthogonalization: Reorthogonalization::Full }
    }
}

/// Why the recursion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanczosEnd {
    /// After the steps asked for.
    StepLimit,
    /// The Krylov space is invariant to rounding: every Ritz value is an eigenvalue.
    InvariantSubspace,
}

/// The coefficients of one tridiagonalization, and its basis where it was kept.
///
/// ```
/// use pullback::krylov::{LanczosEnd, LanczosOptions, lanczos};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let ctx = Ctx::<f64>::default();
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 4.0, 4.0]))?;
/// let run = lanczos(&ctx, &a, &[1.0, 1.0, 1.0], LanczosOptions::steps(3))?;
/// assert_eq!((run.steps(), run.end()), (2, LanczosEnd::InvariantSubspace)); // two distinct eigenvalues
/// let ritz = run.ritz(&ctx)?;
/// assert!((ritz.largest() - 4.0).abs() < 1e-13 && (ritz.smallest() - 1.0).abs() < 1e-13);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lanczos<T> {
    alphas: Vec<f64>,
    betas: Vec<f64>,
    start_norm: f64,
    end: LanczosEnd,
    reorthogonalizations: usize,
    basis: Option<Mat<T>>,
}

impl<T: Scalar> Lanczos<T> {
    /// k, the order of T_k.
    pub fn steps(&self) -> usize {
        self.alphas.len()
    }

    /// α_1, ..., α_k: the diagonal of T_k.
    pub fn alphas(&self) -> &[f64] {
        &self.alphas
    }

    /// β_1, ..., β_k: the off-diagonal of T_k, and last the β_k that couples it to the rest (0 when invariant).
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// ‖v‖ of the starting vector.
    pub fn start_norm(&self) -> f64 {
        self.start_norm
    }

    /// Why the recursion ended.
    pub fn end(&self) -> LanczosEnd {
        self.end
    }

    /// The steps at which a new vector was orthogonalized against the whole basis: all or none of them, or some.
    pub fn reorthogonalizations(&self) -> usize {
        self.reorthogonalizations
    }

    /// V_k (n x k), kept with reorthogonalization, full or selective.
    pub fn basis(&self) -> Option<&Mat<T>> {
        self.basis.as_ref()
    }

    /// The eigenvalues of T_k with their residual bounds and weights.  About 9k³ flops.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::NoConvergence`].
    pub fn ritz(&self, ctx: &Ctx<T>) -> Result<Ritz<T>> {
        Ritz::new(ctx, &self.alphas, &self.betas)
    }

    /// The Ritz vectors V_k S (n x k), in the order of the Ritz values; `None` where the basis was not kept.
    ///
    /// # Errors
    /// [`Error::Shape`] when `ritz` is not of this run.
    pub fn ritz_vectors(&self, ctx: &Ctx<T>, ritz: &Ritz<T>) -> Result<Option<Mat<T>>> {
        let Some(basis) = &self.basis else { return Ok(None) };
        let mut vectors = Mat::zeros(basis.nrows(), self.steps());
        ctx.gemm(T::ONE, basis.as_ref(), Op::No, ritz.vectors(), Op::No, T::ZERO, vectors.as_mut())?;
        Ok(Some(vectors))
    }
}

/// Tridiagonalizes A from one starting vector.
///
/// # Errors
/// As [`lanczos_block`].
pub fn lanczos<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    start: &[T],
    options: LanczosOptions,
) -> Result<Lanczos<T>> {
    let mut runs = lanczos_block(ctx, a, MatRef::from_column(start), options)?;
    runs.pop().ok_or_else(|| Error::invalid("start", "a starting vector is needed"))
}

/// Tridiagonalizes A from each column of `starts` on its own, with one block product a step for all of them.
///
/// # Errors
/// [`Error::Shape`]; [`Error::InvalidParameter`] for no steps or a starting vector that is zero; [`Error::NotFinite`]
/// for a starting vector or a product that holds NaN or infinity; those of the operator.
pub fn lanczos_block<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    starts: MatRef<'_, T>,
    options: LanczosOptions,
) -> Result<Vec<Lanczos<T>>> {
    let (n, k) = starts.shape();
    check_shape("lanczos: A", (n, n), a.shape())?;
    check::finite("lanczos: start", starts)?;
    if options.steps == 0 {
        return Err(Error::invalid("steps", "at least one step is needed"));
    }
    // without an orthogonal basis, more steps than n still find what is missing
    let keep = options.reorthogonalization != Reorthogonalization::None;
    let steps = if keep { options.steps.min(n.max(1)) } else { options.steps };
    let capacity = if keep { steps } else { steps.min(2) };
    let new = |v| Column::new(v, capacity, options.reorthogonalization);
    let mut columns = starts.cols().map(new).collect::<Result<Vec<_>>>()?;
    let (mut v, mut av) = (ctx.scratch(n, k), ctx.scratch(n, k));
    for step in 0..steps {
        let active: Vec<usize> = (0..k).filter(|&c| columns[c].end.is_none()).collect();
        if active.is_empty() {
            break;
        }
        let block = n * active.len();
        for (slot, &c) in active.iter().enumerate() {
            v.as_mut_slice()[slot * n..][..n].copy_from_slice(columns[c].vector(step));
        }
        let input = MatRef::from_slice(&v.as_slice()[..block], n, active.len(), n.max(1))?;
        let output = MatMut::from_slice(&mut av.as_mut_slice()[..block], n, active.len(), n.max(1))?;
        a.apply(ctx, input, output)?;
        for (slot, &c) in active.iter().enumerate() {
            columns[c].step(ctx, step, steps, &mut av.as_mut_slice()[slot * n..][..n])?;
        }
    }
    Ok(columns.into_iter().map(|column| column.finish(keep)).collect())
}

/// One recursion under way. Vector j lives in column j modulo the capacity of `vectors`.
struct Column<T> {
    vectors: Mat<T>,
    alphas: Vec<f64>,
    betas: Vec<f64>,
    start_norm: f64,
    /// Largest ‖A v_j‖ so far, a lower bound of ‖A‖.
    size: f64,
    end: Option<LanczosEnd>,
    guard: Guard,
    reorthogonalizations: usize,
}

impl<T: Scalar> Column<T> {
    fn new(start: &[T], capacity: usize, kind: Reorthogonalization) -> Result<Self> {
        let scale = check::power_of_two_scale(MatRef::from_column(start));
        let mut vectors = Mat::zeros(start.len(), capacity);
        let first = vectors.as_mut_slice().get_mut(..start.len()).unwrap_or_default();
        first.iter_mut().zip(start).for_each(|(v, &s)| *v = scale.scale(s));
        let norm = dot(first, first).sqrt();
        if norm == 0.0 {
            return Err(Error::invalid("start", "the starting vector is zero"));
        }
        let inverse = T::of(1.0 / norm);
        first.iter_mut().for_each(|v| *v *= inverse);
        let start_norm = norm / scale.scale(T::ONE).f64();
        Ok(Self {
            vectors,
            alphas: Vec::new(),
            betas: Vec::new(),
            start_norm,
            size: 0.0,
            end: None,
            guard: Guard::new(kind),
            reorthogonalizations: 0,
        })
    }

    fn vector(&self, j: usize) -> &[T] {
        let n = self.vectors.nrows();
        &self.vectors.as_slice()[j % self.vectors.ncols() * n..][..n]
    }

    /// Step j (from 0): w holds A v_j on entry.
    fn step(&mut self, ctx: &Ctx<T>, j: usize, steps: usize, w: &mut [T]) -> Result<()> {
        check::finite_slice("lanczos: product", w)?;
        let n = w.len();
        self.size = self.size.max(norm(w));
        if j > 0 {
            axpy(T::of(-self.betas[j - 1]), self.vector(j - 1), w);
        }
        let alpha = dot(self.vector(j), w);
        axpy(T::of(-alpha), self.vector(j), w);
        if self.must_reorthogonalize(j, alpha, w) {
            self.reorthogonalizations += 1;
            let mut coefficients = ctx.scratch(j + 1, 1);
            let basis = self.vectors.as_ref().submatrix(0, 0, n, j + 1)?;
            for _ in 0..2 {
                ctx.gemv(T::ONE, basis, Op::Transpose, w, T::ZERO, coefficients.as_mut_slice())?;
                ctx.gemv(-T::ONE, basis, Op::No, coefficients.as_slice(), T::ONE, w)?;
            }
        }
        let beta = norm(w);
        if !(alpha.is_finite() && beta.is_finite() && self.size.is_finite()) {
            return Err(Error::not_finite("lanczos: product"));
        }
        self.alphas.push(alpha);
        if beta <= 16.0 * (n as f64).sqrt() * T::EPS.f64() * self.size || (self.guard.keeps() && j + 1 == n) {
            self.betas.push(0.0);
            self.end = Some(LanczosEnd::InvariantSubspace);
            return Ok(());
        }
        self.betas.push(beta);
        if j + 1 == steps {
            self.end = Some(LanczosEnd::StepLimit);
            return Ok(());
        }
        let next = (j + 1) % self.vectors.ncols();
        let inverse = T::of(1.0 / beta);
        self.vectors.as_mut().col_mut(next).iter_mut().zip(&*w).for_each(|(v, &w)| *v = w * inverse);
        Ok(())
    }

    /// Whether w, which is to become v_{j+1}, must be orthogonalized against the whole basis. With selective
    /// reorthogonalization w is first made orthogonal to v_j and v_{j-1} to rounding.
    fn must_reorthogonalize(&mut self, j: usize, alpha: f64, w: &mut [T]) -> bool {
        if let Guard::Selective(_) = self.guard {
            for neighbour in [j.checked_sub(1), Some(j)].into_iter().flatten() {
                let left = dot(self.vector(neighbour), w);
                axpy(T::of(-left), self.vector(neighbour), w);
            }
        }
        match &mut self.guard {
            Guard::Never => false,
            Guard::Always => true,
            Guard::Selective(estimate) => {
                let level = (w.len() as f64).sqrt() * T::EPS.f64();
                let step = Step { alphas: &self.alphas, betas: &self.betas, alpha, beta: norm(w), size: self.size };
                estimate.advance(&step, level, T::EPS.f64().sqrt())
            }
        }
    }

    fn finish(self, keep: bool) -> Lanczos<T> {
        let (n, k) = (self.vectors.nrows(), self.alphas.len());
        let basis = keep.then(|| Mat::from_fn(n, k, |i, j| self.vectors[(i, j)]));
        let end = self.end.unwrap_or(LanczosEnd::StepLimit);
        Lanczos {
            alphas: self.alphas,
            betas: self.betas,
            start_norm: self.start_norm,
            end,
            reorthogonalizations: self.reorthogonalizations,
            basis,
        }
    }
}
