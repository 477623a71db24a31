//! Stochastic estimates of what a matrix-free operator cannot tell exactly, each with a standard error.
//!
//! | estimate | of | exact when | relative error of s products |
//! |---|---|---|---|
//! | [`hutchinson`] | tr A | A is diagonal | s^-1/2 |
//! | [`diagonal_estimate`] | diag A | A is diagonal | s^-1/2 |
//! | [`frobenius_norm_estimate`] | ‖A‖_F | AᵀA is diagonal | s^-1/2 |
//! | [`hutch_plus_plus`] | tr A | rank A is at most the sketch, s/3 | s^-1 |
//! | [`xtrace`] | tr A | rank A is below s/2 | s^-1, less where the spectrum decays |
//! | [`log_determinant_estimate`], [`spectral_sum`] | tr f(A) | A = cI | probes^-1/2, and a quadrature error |
//!
//! Every estimator takes a [`Budget`]: how many products may be spent, in what blocks, from what seed. Probe i is
//! stream (seed, i) of [`Draws`], so equal seeds give equal estimates, and the block size changes nothing but rounding.
//!
//! Laws        tests/estimators.rs (exact cases; unbiased, with honest standard errors, by distribution-free bounds).

mod frobenius;
mod hutch_plus_plus;
mod hutchinson;
mod quadrature;
mod xtrace;

pub use frobenius::frobenius_norm_estimate;
pub use hutch_plus_plus::hutch_plus_plus;
pub use hutchinson::{DiagonalEstimate, diagonal_estimate, hutchinson};
pub use quadrature::{log_determinant_estimate, spectral_sum};
pub use xtrace::xtrace;

use crate::backend::sums::dot;
use crate::backend::{Ctx, check};
use crate::error::{Error, Result};
use crate::linop::SelfAdjoint;
use crate::mat::{Mat, MatMut, MatRef};
use crate::random::Draws;
use crate::scalar::Scalar;

/// A number that was estimated from random probes.
///
/// ```
/// use pullback::krylov::{Budget, hutchinson};
/// use pullback::{Ctx, Mat, linop::SymmetricDense};
/// let a = SymmetricDense::new(Mat::from_diagonal(&[1.0, 2.0]))?;
/// let trace = hutchinson(&Ctx::<f64>::default(), &a, Budget::new(8, 1))?;
/// assert_eq!((trace.value, trace.standard_error), (3.0, 0.0)); // exact on diagonal matrices
/// assert_eq!((trace.samples, trace.products), (8, 8));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Estimated standard deviation of `value` over seeds; 0 where the method is exact.
    pub standard_error: f64,
    /// Independent (for XTrace: exchangeable) samples behind the standard error.
    pub samples: usize,
    /// Products with single vectors that were spent.
    pub products: usize,
}

/// What an estimate may spend, and from which seed.
///
/// ```
/// use pullback::krylov::Budget;
/// let budget = Budget { block: 8, ..Budget::new(100, 7) };
/// assert_eq!((budget.products, budget.seed), (100, 7));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most products with single vectors.
    pub products: usize,
    /// Seed of the probes.
    pub seed: u64,
    /// Most vectors in one block product, at least 1: it bounds memory, not the result.
    pub block: usize,
}

impl Budget {
    /// That many products from that seed, in blocks of 32.
    pub fn new(products: usize, seed: u64) -> Self {
        Self { products, seed, block: 32 }
    }

    /// `Ok` when the budget pays at least `least` products.
    fn check(&self, least: usize) -> Result<()> {
        if self.products < least {
            let reason = format!("{} given, but at least {least} are needed for a standard error", self.products);
            return Err(Error::invalid("products", reason));
        }
        if self.block == 0 { Err(Error::invalid("block", "must be at least 1")) } else { Ok(()) }
    }
}

/// The law of a probe; all have E[v vᵀ] = I.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe {
    /// Independent signs.
    Rademacher,
    /// Independent standard normals.
    Gaussian,
}

impl Probe {
    /// Column j ← probe `first + j` of the seed.
    pub(super) fn fill<T: Scalar>(self, seed: u64, first: usize, mut block: MatMut<'_, T>) {
        for (j, column) in block.cols_mut().enumerate() {
            let mut draws = Draws::new(seed, (first + j) as u64);
            for v in column {
                *v = T::of(match self {
                    Probe::Rademacher => draws.sign(),
                    Probe::Gaussian => draws.normal(),
                });
            }
        }
    }
}

/// A X, at most `block` columns at a time; finite, or an error.
fn products<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    x: MatRef<'_, T>,
    block: usize,
) -> Result<Mat<T>> {
    let (n, k) = x.shape();
    let mut y = Mat::zeros(n, k);
    for first in (0..k).step_by(block) {
        let width = block.min(k - first);
        let columns = x.submatrix(0, first, n, width)?;
        a.apply(ctx, columns, y.as_mut().submatrix(0, first, n, width)?)?;
    }
    check::finite("estimate: product", y.as_ref())?;
    Ok(y)
}

/// `visit(v, A v)` for `count` Rademacher probes in order, in blocks.
fn for_each_probe<T: Scalar>(
    ctx: &Ctx<T>,
    a: &(impl SelfAdjoint<T> + ?Sized),
    budget: Budget,
    mut visit: impl FnMut(&[T], &[T]),
) -> Result<()> {
    let (n, width) = (a.dim(), budget.block.min(budget.products));
    let (mut v, mut av) = (ctx.scratch(n, width), ctx.scratch(n, width));
    for first in (0..budget.products).step_by(width) {
        let width = width.min(budget.products - first);
        let mut probes = v.as_mut().submatrix(0, 0, n, width)?;
        Probe::Rademacher.fill(budget.seed, first, probes.rb_mut());
        let mut images = av.as_mut().submatrix(0, 0, n, width)?;
        a.apply(ctx, probes.rb(), images.rb_mut())?;
        check::finite("estimate: product", images.rb())?;
        probes.rb().cols().zip(images.rb().cols()).for_each(|(v, av)| visit(v, av));
    }
    Ok(())
}

/// tr A from n products with the unit vectors, where a budget allows as many.
fn exact_trace<T: Scalar>(ctx: &Ctx<T>, a: &(impl SelfAdjoint<T> + ?Sized), block: usize) -> Result<Estimate> {
    let n = a.dim();
    let columns = products(ctx, a, Mat::identity(n).as_ref(), block)?;
    let value = (0..n).map(|i| columns[(i, i)].f64()).sum();
    Ok(Estimate { value, standard_error: 0.0, samples: n, products: n })
}

/// Mean and sum of squared deviations by Welford's recursion, which never cancels.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    count: usize,
    mean: f64,
    squares: f64,
}

impl Sample {
    fn push(&mut self, x: f64) {
        self.count += 1;
        let before = x - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (x - self.mean);
    }

    /// √(s²/m), s² the unbiased sample variance; NaN for fewer than two.
    fn standard_error(&self) -> f64 {
        let m = self.count as f64;
        (self.squares / (m - 1.0) / m).sqrt()
    }

    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sample = Self::default();
        values.into_iter().for_each(|x| sample.push(x));
        sample
    }

    /// The mean as an estimate, where it is finite.
    fn estimate(&self, products: usize) -> Result<Estimate> {
        let (value, standard_error) = (self.mean, self.standard_error());
        if !(value.is_finite() && standard_error.is_finite()) {
            return Err(Error::not_finite("estimate"));
        }
        Ok(Estimate { value, standard_error, samples: self.count, products })
    }
}
