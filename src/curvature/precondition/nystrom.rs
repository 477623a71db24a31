//! [`Nystrom`]: the randomized Nyström preconditioner, from products with C alone.
//!
//! ```text
//! Y = C Ω + νΩ,  Ω orthonormal n x ℓ (of a Gaussian matrix),  ν = √n ε ‖C Ω‖_F
//! Ĉ = Y (ΩᵀY)⁻¹ Yᵀ - νI = U diag(ŵ) Uᵀ  (negative ŵ set to 0)
//! M⁻¹ = U diag(1/(ŵ_i + λ)) Uᵀ + 1/(ŵ_ℓ + λ) (I - U Uᵀ)
//! κ(M⁻¹(C + λI)) <= (ŵ_ℓ + λ + ‖E‖) / λ,   E = C - Ĉ, positive semidefinite        (Proposition 5.3)
//! ℓ = 2⌈1.5 d⌉ + 1  gives  E[κ] < 28,   d = tr C (C + λI)⁻¹                         (Theorem 1.1)
//! ```
//! The shift ν keeps ΩᵀY positive definite where C has less rank than ℓ; it is taken back from the eigenvalues. C of
//! rank below ℓ is met to rounding, which the sketch amplifies by 1/σ_min(UᵀΩ)², U its range: take ℓ about twice the
//! rank. A new λ is free: only ŵ and U are kept.
//!
//! Cost        ℓ products in blocks, 8nℓ² flops, 9ℓ³; 8nℓk flops for k columns; nℓ numbers. An error estimate costs its
//!             steps in products.
//! Deviations  M⁻¹ is that of the paper divided by ŵ_ℓ + λ, so that it approximates (C + λI)⁻¹ itself. ‖E‖ is estimated
//!             by Lanczos steps where the paper takes powers: with q steps it is below (1 - δ) ‖E‖ with probability at
//!             most 1.65 √n exp(-√δ (2q - 1)).
//! Laws        tests/built_preconditioners.rs.
//! Reference   Z. Frangella, J. A. Tropp, M. Udell, SIAM J. Matrix Anal. Appl. 44 (2023) 718-752,
//!             doi 10.1137/21M1466244, arXiv:2110.02820; J. Kuczyński, H. Woźniakowski, SIAM J. Matrix Anal. Appl. 13
//!             (1992) 1094-1122, doi 10.1137/0613066 (the Lanczos bound).

use super::deflation::Deflation;
use crate::backend::{Ctx, check};
use crate::curvature::Damping;
use crate::error::{Error, Result};
use crate::factor::ThinQr;
use crate::krylov::{Budget, LanczosOptions, lanczos};
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op, Side};
use crate::random::Draws;
use crate::scalar::Scalar;

/// Times that ν is multiplied by 10 before ΩᵀC Ω counts as indefinite.
const SHIFTS: usize = 4;
/// Columns of the first sketch when the rank adapts.
const FIRST_RANK: usize = 8;
/// Lanczos steps of an error estimate when the rank adapts.
const ERROR_STEPS: usize = 6;

/// A preconditioner for C + λI, C positive semidefinite, that knows the largest eigenvalues of C.
///
/// ```
/// use pullback::curvature::precondition::Nystrom;
/// use pullback::krylov::{Budget, CgOptions, pcg};
/// use pullback::linop::{Shifted, SymmetricDense};
/// use pullback::{Ctx, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = SymmetricDense::new(Mat::from_fn(60, 60, |i, j| if i == j && i < 4 { 10f64.powi(i as i32) } else { 0.0 }))?;
/// let nystrom = Nystrom::new(&ctx, &c, Damping::try_from(1e-3)?, Budget::new(6, 1))?;
/// let (b, mut x) = (Mat::from_fn(60, 1, |_, _| 1.0), Mat::zeros(60, 1));
/// let a = Shifted::new(&c, 1e-3);
/// let report = pcg(&ctx, &a, Some(&nystrom), b.as_ref(), x.as_mut(), &CgOptions::default())?;
/// assert!(report.iterations() <= 2); // rank 4 is below the sketch
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Nystrom<T> {
    spectrum: Deflation<T>,
    lambda: Damping<T>,
    error: Option<f64>,
    products: usize,
}

impl<T: Scalar> Nystrom<T> {
    /// From a sketch of min(`budget.products`, n) columns.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for the budget, [`Error::NotPositiveDefinite`] where C is indefinite beyond
    /// rounding, [`Error::NotFinite`], those of the operator.
    pub fn new(ctx: &Ctx<T>, c: &(impl SelfAdjoint<T> + ?Sized), lambda: Damping<T>, budget: Budget) -> Result<Self> {
        let mut sketch = Sketch::new(c.dim(), budget)?;
        sketch.grow(ctx, c, budget.products)?;
        Ok(Self { spectrum: sketch.spectrum(ctx)?, lambda, error: None, products: sketch.omega.ncols() })
    }

    /// From sketches of 8, 16, 32, ... columns, until ‖E‖ is estimated at `tolerance` λ or less, so that
    /// κ <= 1 + ŵ_ℓ/λ + `tolerance`, or until n columns, or while `budget.products` lasts (error estimates included).
    ///
    /// # Errors
    /// As [`Nystrom::new`]; [`Error::InvalidParameter`] unless `tolerance` is positive.
    pub fn adaptive(
        ctx: &Ctx<T>,
        c: &(impl SelfAdjoint<T> + ?Sized),
        lambda: Damping<T>,
        tolerance: f64,
        budget: Budget,
    ) -> Result<Self> {
        if !(tolerance > 0.0) {
            return Err(Error::invalid("tolerance", format!("{tolerance} must be positive")));
        }
        let n = c.dim();
        let mut sketch = Sketch::new(n, budget)?;
        let (mut rank, mut spent) = (FIRST_RANK.min(budget.products), 0);
        loop {
            spent += sketch.grow(ctx, c, rank)?;
            let mut found = Self { spectrum: sketch.spectrum(ctx)?, lambda, error: None, products: spent };
            if sketch.omega.ncols() == n {
                found.error = Some(0.0); // Ĉ = C up to ν
                return Ok(found);
            }
            if spent + ERROR_STEPS > budget.products {
                return Ok(found);
            }
            let error = found.error_estimate(ctx, c, ERROR_STEPS, budget.seed)?;
            spent += ERROR_STEPS;
            (found.error, found.products) = (Some(error), spent);
            if error <= tolerance * lambda.get().f64() || spent >= budget.products {
                return Ok(found);
            }
            // what is left after doubling pays the next error estimate, or the rank takes it all
            rank = (2 * rank).min(rank + budget.products - spent);
        }
    }

    /// The same sketch with another λ, in O(1). The error estimate, which does not depend on λ, is kept.
    pub fn redamp(&self, lambda: Damping<T>) -> Self {
        Self { lambda, ..self.clone() }
    }

    /// λ.
    pub fn damping(&self) -> Damping<T> {
        self.lambda
    }

    /// ŵ, descending and positive; at most as many as the sketch has columns.
    pub fn eigenvalues(&self) -> &[T] {
        self.spectrum.values()
    }

    /// U, one approximate eigenvector a column.
    pub fn eigenvectors(&self) -> MatRef<'_, T> {
        self.spectrum.u().as_ref()
    }

    /// ŵ_ℓ, which stands for all eigenvalues outside U: 0 where the sketch found less than its columns.
    pub fn tail(&self) -> T {
        self.spectrum.tail
    }

    /// Products with C that were spent.
    pub fn products(&self) -> usize {
        self.products
    }

    /// ‖E‖ as estimated by [`Nystrom::adaptive`]; `None` where no estimate was made.
    pub fn error(&self) -> Option<f64> {
        self.error
    }

    /// ‖C - Ĉ‖ from below, by Lanczos steps from a random vector.  `steps` products.
    ///
    /// # Errors
    /// Those of [`lanczos`].
    pub fn error_estimate(
        &self,
        ctx: &Ctx<T>,
        c: &(impl SelfAdjoint<T> + ?Sized),
        steps: usize,
        seed: u64,
    ) -> Result<f64> {
        let n = self.spectrum.dim();
        if n == 0 {
            return Ok(0.0);
        }
        // a stream of its own, beyond the columns of any sketch
        let mut draws = Draws::new(seed, u64::MAX);
        let start: Vec<T> = (0..n).map(|_| T::of(draws.normal())).collect();
        let rest = Remainder { c, spectrum: &self.spectrum };
        let ritz = lanczos(ctx, &rest, &start, LanczosOptions::steps(steps))?.ritz(ctx)?;
        Ok(ritz.largest().max(-ritz.smallest()).max(0.0))
    }

    /// (ŵ_ℓ + λ + ‖E‖) / λ: no condition number of the preconditioned matrix is larger, if ‖E‖ is not.
    pub fn condition_bound(&self, error: f64) -> f64 {
        let lambda = self.lambda.get().f64();
        (self.tail().f64() + lambda + error) / lambda
    }
}

impl<T: Scalar> LinearOperator<T> for Nystrom<T> {
    fn shape(&self) -> (usize, usize) {
        (self.spectrum.dim(), self.spectrum.dim())
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.spectrum.apply(ctx, self.lambda.get(), x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for Nystrom<T> {}
impl<T: Scalar> Preconditioner<T> for Nystrom<T> {}

/// E = C - Ĉ.
struct Remainder<'c, T, C: ?Sized> {
    c: &'c C,
    spectrum: &'c Deflation<T>,
}

impl<T: Scalar, C: SelfAdjoint<T> + ?Sized> LinearOperator<T> for Remainder<'_, T, C> {
    fn shape(&self) -> (usize, usize) {
        self.c.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, mut y: MatMut<'_, T>) -> Result<()> {
        self.c.apply_into(ctx, x, y.rb_mut())?;
        self.spectrum.subtract(ctx, x, y)
    }
}

impl<T: Scalar, C: SelfAdjoint<T> + ?Sized> SelfAdjoint<T> for Remainder<'_, T, C> {}

/// Ω and C Ω, to which columns can be added.
struct Sketch<T> {
    omega: Mat<T>,
    image: Mat<T>,
    budget: Budget,
    /// Gaussian columns drawn so far.
    drawn: u64,
}

impl<T: Scalar> Sketch<T> {
    fn new(n: usize, budget: Budget) -> Result<Self> {
        if budget.products == 0 || budget.block == 0 {
            return Err(Error::invalid("budget", "at least one product, in blocks of at least 1, is needed"));
        }
        Ok(Self { omega: Mat::zeros(n, 0), image: Mat::zeros(n, 0), budget, drawn: 0 })
    }

    /// Up to min(rank, n) columns: the old ones are kept, the new ones orthogonal to them. The products spent.
    fn grow(&mut self, ctx: &Ctx<T>, c: &(impl SelfAdjoint<T> + ?Sized), rank: usize) -> Result<usize> {
        let (n, old) = self.omega.shape();
        let rank = rank.min(n);
        while self.omega.ncols() < rank {
            let missing = rank - self.omega.ncols();
            let mut columns = self.omega.as_slice().to_vec();
            for _ in 0..missing {
                let mut draws = Draws::new(self.budget.seed, self.drawn);
                columns.extend((0..n).map(|_| T::of(draws.normal())));
                self.drawn += 1;
            }
            // orthonormal columns pass through unchanged but for rounding; dependent ones (near n) are drawn again
            let whole = Mat::from_vec(columns, n, self.omega.ncols() + missing)?;
            let fresh = ThinQr::new(ctx, whole.as_ref())?.into_q();
            let kept = self.omega.as_slice().len();
            let mut columns = std::mem::take(&mut self.omega).into_vec();
            columns.extend_from_slice(&fresh.as_slice()[kept..]);
            self.omega = Mat::from_vec(columns, n, fresh.ncols())?;
        }
        let mut image = std::mem::take(&mut self.image).into_vec();
        image.resize(n * rank.max(old), T::ZERO);
        self.image = Mat::from_vec(image, n, rank.max(old))?;
        for first in (old..rank).step_by(self.budget.block) {
            let width = self.budget.block.min(rank - first);
            let columns = self.omega.as_ref().submatrix(0, first, n, width)?;
            c.apply(ctx, columns, self.image.as_mut().submatrix(0, first, n, width)?)?;
        }
        check::finite("Nystrom: product", self.image.as_ref())?;
        Ok(self.omega.ncols() - old)
    }

    /// U and ŵ.
    fn spectrum(&self, ctx: &Ctx<T>) -> Result<Deflation<T>> {
        let (n, l) = self.omega.shape();
        let scale = check::power_of_two_scale(MatRef::from_column(self.image.as_slice()));
        let squares: f64 = self.image.as_slice().iter().map(|&y| scale.scale(y).f64().powi(2)).sum();
        if squares == 0.0 {
            return Ok(Deflation::nothing(n));
        }
        let mut shift = scale.unscale(T::of((n as f64).sqrt() * T::EPS.f64() * squares.sqrt()));
        let mut failed = 0;
        for _ in 0..=SHIFTS {
            let mut shifted = self.image.clone();
            for (y, &omega) in shifted.as_mut_slice().iter_mut().zip(self.omega.as_slice()) {
                *y += shift * omega;
            }
            let mut core = Mat::zeros(l, l);
            let omega = self.omega.as_ref();
            ctx.gemm(T::ONE, omega, Op::Transpose, shifted.as_ref(), Op::No, T::ZERO, core.as_mut())?;
            match ctx.potrf(core.as_mut()) {
                Ok(()) => {
                    // F = Y L⁻ᵀ, F Fᵀ = Y (ΩᵀY)⁻¹ Yᵀ
                    ctx.trsm(Side::Right, core.as_ref(), Op::Transpose, shifted.as_mut())?;
                    let mut spectrum = Deflation::of_factor(ctx, shifted.as_ref(), shift)?;
                    let complete = spectrum.values().len() == l;
                    spectrum.tail = spectrum.values().last().copied().filter(|_| complete).unwrap_or(T::ZERO);
                    return Ok(spectrum);
                }
                Err(Error::NotPositiveDefinite { pivot, .. }) => failed = pivot,
                Err(other) => return Err(other),
            }
            shift *= T::of(10.0);
        }
        Err(Error::NotPositiveDefinite { op: "Nystrom", pivot: failed })
    }
}
