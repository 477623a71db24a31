//! Accumulated second moments in a Kronecker eigenbasis: the S* of [`EigenKronecker`] (EKFAC).
//!
//! ```text
//! S* ← ε_k S* + (1 - ε_k) Σ_calls weight · (U_Sᵀ G)∘² ((U_Aᵀ Ā)∘²)ᵀ,     S*_ij = E[(U_Sᵀ g)_i² (U_Aᵀ ā)_j²]
//! ```
//! with Ā and G of the *same* cases, one a column: S* is the diagonal, in the basis, of the block E[(ā āᵀ) ⊗ (g gᵀ)]
//! itself, where A ⊗ S factors the expectation. With sampled pseudo-gradients that block is an estimate of the Fisher
//! matrix's; with all output directions (one call each) it is the Gauss-Newton block of the batch exactly.
//!
//! The basis comes from the averages of A and S, at [`refresh_basis`](EigenKroneckerMoments::refresh_basis), which takes
//! the S* gathered so far along: the diagonal of the old operator in the new basis. Before the first refresh there is no
//! basis to gather in; from it until the first pairs, S* is that of A ⊗ S. The first pairs are taken whole, and S* has its
//! own burn-in.
//!
//! Cost        a batch of n cases: 2n (d_in² + d_out² + d_in d_out) flops beside the factors' own n (d_in² + d_out²); a
//!             refresh about 9 (d_in³ + d_out³), and the taking along. Twice d_in² + d_out² numbers, and d_in d_out.
//! Deviations  the paper's running average uses the gradients of batches; this one uses those of cases.
//! Laws        tests/eigen_kronecker.rs (trace and distance to the exact block, optimality), and
//!             tests/eigen_kronecker_moments.rs (moving average, carrying over).
//! Reference   T. George et al., Fast approximate natural gradient descent in a Kronecker-factored eigenbasis, 2018,
//!             arXiv:1806.03884, section 3.

use super::{Decay, KroneckerFactors, MovingAverage};
use crate::backend::Ctx;
use crate::curvature::EigenKronecker;
use crate::error::{Error, Result, check_shape};
use crate::factor::Tracking;
use crate::kronecker::KroneckerEigen;
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// Moving averages of A, S and of the second moments in their eigenbasis.
///
/// ```
/// use pullback::{Ctx, Mat, stats::{Decay, EigenKroneckerMoments}};
/// let ctx = Ctx::<f64>::default();
/// let mut moments = EigenKroneckerMoments::new(1, 2, Decay::DEFAULT);
/// let activations = Mat::from_diagonal(&[2.0, 1.0]); // two cases
/// let gradients = Mat::from_vec(vec![3.0, 0.0], 1, 2)?;
/// for _ in 0..2 {
///     moments.begin();
///     moments.factors_mut().add_activations(&ctx, activations.as_ref(), 0.5)?;
///     moments.factors_mut().add_gradients(&ctx, gradients.as_ref(), 0.5)?;
///     moments.add_pairs(&ctx, activations.as_ref(), gradients.as_ref(), 0.5)?;
///     moments.refresh_basis(&ctx)?; // the first pairs find no basis yet
/// }
/// // g is not zero where ā is along the first axis only: A ⊗ S spreads that over both
/// let values = moments.snapshot()?.map(|c| c.values().clone());
/// assert_eq!(values, Some(Mat::from_vec(vec![0.0, 18.0], 1, 2)?));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct EigenKroneckerMoments<T> {
    factors: KroneckerFactors<T>,
    basis: Option<KroneckerEigen<T>>,
    /// `factors.updates()` at which the basis was made.
    basis_at: u64,
    /// S*, d_out x d_in.
    values: Mat<T>,
    average: MovingAverage,
    /// Whether pairs came since the last `begin`; ε_k of S* is applied by the first ones.
    paired: bool,
    share: f64,
}

impl<T: Scalar> EigenKroneckerMoments<T> {
    /// Of a layer with `d_out` outputs and `d_in` inputs (the bias counted), one decay for all averages.
    pub fn new(d_out: usize, d_in: usize, decay: Decay) -> Self {
        Self {
            factors: KroneckerFactors::new(d_out, d_in, decay),
            basis: None,
            basis_at: 0,
            values: Mat::zeros(d_out, d_in),
            average: MovingAverage::new(decay),
            paired: false,
            share: 1.0,
        }
    }

    /// Begins an update: what is added until the next `begin` is one batch.
    pub fn begin(&mut self) {
        self.factors.begin();
        self.paired = false;
    }

    /// A and S.
    pub fn factors(&self) -> &KroneckerFactors<T> {
        &self.factors
    }

    /// A and S, to add activations and gradients to; [`EigenKroneckerMoments::begin`] begins their updates too.
    pub fn factors_mut(&mut self) -> &mut KroneckerFactors<T> {
        &mut self.factors
    }

    /// The basis; `None` before the first refresh.
    pub fn basis(&self) -> Option<&KroneckerEigen<T>> {
        self.basis.as_ref()
    }

    /// Updates of S* so far: batches whose pairs found a basis.
    pub fn updates(&self) -> u64 {
        self.average.updates()
    }

    /// Adds Σ weight · (U_Sᵀ g)∘² ((U_Aᵀ ā)∘²)ᵀ over the cases, the columns of Ā (d_in x cases) and G (d_out x cases) to
    /// this update's S*. Without a basis nothing is gathered.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_pairs(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        let (d_out, d_in) = self.values.shape();
        check_shape("EigenKroneckerMoments::add_pairs: activations", (d_in, g.ncols()), a.shape())?;
        check_shape("EigenKroneckerMoments::add_pairs: gradients", (d_out, g.ncols()), g.shape())?;
        if self.factors.updates() == 0 {
            return Err(Error::invalid("update", "call begin() before adding to the statistics"));
        }
        let Some(basis) = &self.basis else { return Ok(()) };
        let (mut squares_a, mut squares_g) = (ctx.scratch(d_in, a.ncols()), ctx.scratch(d_out, g.ncols()));
        rotated_squares(ctx, basis.left().vectors(), a, squares_a.as_mut())?;
        rotated_squares(ctx, basis.right().vectors(), g, squares_g.as_mut())?;
        let beta = if self.paired {
            T::ONE
        } else {
            let epsilon = self.average.advance();
            self.share = 1.0 - epsilon;
            T::of(epsilon)
        };
        self.paired = true;
        let (a, g) = (squares_a.as_ref(), squares_g.as_ref());
        ctx.gemm(T::of(self.share) * weight, g, Op::No, a, Op::Transpose, beta, self.values.as_mut())
    }

    /// Whether the last update brought what S* needs: true before there is a basis, and right after a refresh. A source
    /// that never sends pairs would leave S* at what it was, without another sign of it.
    pub fn is_paired(&self) -> bool {
        self.paired || self.basis.is_none() || self.factors.updates() == self.basis_at
    }

    /// Decomposes the averages of A and S anew and takes S* to the new basis; the first time S* is that of A ⊗ S.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] without statistics, [`Error::NotFinite`], [`Error::NoConvergence`]; basis and S* are
    /// then what they were.
    pub fn refresh_basis(&mut self, ctx: &Ctx<T>) -> Result<()> {
        if self.factors.updates() == 0 {
            return Err(Error::invalid("refresh", "no statistics yet: begin an update and add a batch"));
        }
        let basis = KroneckerEigen::new(ctx, self.factors.a().to_owned(), self.factors.s().to_owned())?;
        self.rebase(ctx, basis)
    }

    /// [`EigenKroneckerMoments::refresh_basis`] for the factors whose present basis is no longer within the tolerance
    /// ([`KroneckerEigen::track`]), and what was done for A and for S; `None` the first time, when there is none to keep.
    /// Where both are kept, nothing changes.
    ///
    /// # Errors
    /// As [`EigenKroneckerMoments::refresh_basis`] and [`KroneckerEigen::track`].
    pub fn track_basis(&mut self, ctx: &Ctx<T>, tolerance: f64) -> Result<Option<[Tracking; 2]>> {
        let Some(old) = &self.basis else { return self.refresh_basis(ctx).map(|()| None) };
        let (basis, how) = old.track(ctx, self.factors.a(), self.factors.s(), tolerance)?;
        if let [Tracking::Kept { .. }, Tracking::Kept { .. }] = how {
            self.basis_at = self.factors.updates();
        } else {
            self.rebase(ctx, basis)?;
        }
        Ok(Some(how))
    }

    fn rebase(&mut self, ctx: &Ctx<T>, basis: KroneckerEigen<T>) -> Result<()> {
        let renewed = match self.snapshot()? {
            Some(old) => old.rebased(ctx, &basis)?,
            None => EigenKronecker::uncorrected(basis.clone())?,
        };
        self.values.as_mut().copy_from(renewed.values().as_ref())?;
        self.basis = Some(basis);
        self.basis_at = self.factors.updates();
        Ok(())
    }

    /// The immutable curvature of now, which shares the basis; `None` before the first refresh.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a NaN or an infinity was accumulated.
    pub fn snapshot(&self) -> Result<Option<EigenKronecker<T>>> {
        self.basis.clone().map(|basis| EigenKronecker::new(basis, self.values.clone())).transpose()
    }
}

/// out ← (Uᵀ X)∘².
fn rotated_squares<T: Scalar>(ctx: &Ctx<T>, u: MatRef<'_, T>, x: MatRef<'_, T>, mut out: MatMut<'_, T>) -> Result<()> {
    ctx.gemm(T::ONE, u, Op::Transpose, x, Op::No, T::ZERO, out.rb_mut())?;
    out.cols_mut().flatten().for_each(|x| *x *= *x);
    Ok(())
}
