//! One layer of the K-FAC preconditioner: its statistics, its damped inverse, and what it does when a refresh fails.
//!
//! ```text
//! structure        statistics                           inverse                            free between refreshes
//! Kronecker        A, S                                 exact or factored damping, the     -
//!                                                       latter by inverses or by solves
//! EigenKronecker   A, S, S* of pairs                    two rotations and S* + λ           S*, λ
//! ThreeFactor      A_o, A_i, S                          exact or factored damping          -
//! Diagonal         E[ā²], E[g²], or E[g² ā²] of pairs   elementwise                        d, λ
//! ```
//! Laws        tests/kfac_preconditioner.rs, tests/layer_structure.rs, tests/layer_structure_kfac.rs.

use super::costs::LayerShape;
use super::layer_structure::LayerStructure;
use super::objective::ParamBlock;
use super::preconditioner::PreconditionerOptions;
use crate::backend::Ctx;
use crate::curvature::{
    BlockDiagonalInverse, Curvature, DampedInverse, Damping, DiagonalInverse, EigenKroneckerInverse, KroneckerCholesky,
    KroneckerDamping, KroneckerInverse, KroneckerNInverse, batch_factors_are_cheaper, form_product,
};
use crate::error::{Error, Result};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;
use crate::stats::{DiagonalMoments, EigenKroneckerMoments, KroneckerFactors, SplitFactors};

/// The statistics of a layer.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) enum Statistics<T> {
    Kronecker(KroneckerFactors<T>),
    EigenKronecker(EigenKroneckerMoments<T>),
    ThreeFactor(SplitFactors<T>),
    Diagonal(DiagonalMoments<T>),
}

/// The damped inverse of a layer.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
enum Inverse<T> {
    Kronecker(KroneckerInverse<T>),
    Cholesky(KroneckerCholesky<T>),
    EigenKronecker(EigenKroneckerInverse<T>),
    ThreeFactor(BlockDiagonalInverse<T, KroneckerNInverse<T>>),
    Diagonal(DiagonalInverse<T>),
}

/// A layer: statistics, and an inverse that survives some failures to renew it.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) struct LayerBlock<T> {
    pub(super) index: usize,
    pub(super) structure: LayerStructure,
    pub(super) statistics: Statistics<T>,
    /// Flops of a refresh.
    pub(super) cost: f64,
    inverse: Option<Inverse<T>>,
    /// Updates of the statistics when the inverse was made.
    made_at: u64,
    failures: usize,
    /// Told once, in the report of the refresh.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) last_failure: Option<Error>,
}

impl<T: Scalar> LayerBlock<T> {
    /// Without statistics yet; `structure` is no `Auto`.
    pub(super) fn new(
        index: usize,
        block: &ParamBlock,
        structure: LayerStructure,
        cost: f64,
        options: &PreconditionerOptions<T>,
    ) -> Result<Self> {
        let (rows, columns, decay) = (block.rows, block.cols, options.decay);
        let statistics = match structure {
            LayerStructure::Kronecker | LayerStructure::Auto { .. } => {
                Statistics::Kronecker(KroneckerFactors::new(rows, columns, decay))
            }
            LayerStructure::EigenKronecker => {
                Statistics::EigenKronecker(EigenKroneckerMoments::new(rows, columns, decay))
            }
            LayerStructure::ThreeFactor { split } => Statistics::ThreeFactor(SplitFactors::new(rows, split, decay)?),
            LayerStructure::Diagonal { rule } => Statistics::Diagonal(DiagonalMoments::new(rows, columns, rule, decay)),
        };
        Ok(Self { index, structure, statistics, cost, inverse: None, made_at: 0, failures: 0, last_failure: None })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.inverse.is_some()
    }

    pub(super) fn inverse(&self) -> Option<&dyn DampedInverse<T>> {
        Some(match self.inverse.as_ref()? {
            Inverse::Kronecker(inverse) => inverse,
            Inverse::Cholesky(inverse) => inverse,
            Inverse::EigenKronecker(inverse) => inverse,
            Inverse::ThreeFactor(inverse) => inverse,
            Inverse::Diagonal(inverse) => inverse,
        })
    }

    /// U ← the damped inverse applied to V, both d_out x d_in.
    pub(super) fn precondition(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, mut u: MatMut<'_, T>) -> Result<()> {
        match &self.inverse {
            None => Err(Error::invalid("precondition", "no inverse yet: call refresh first")),
            Some(Inverse::Kronecker(inverse)) => inverse.precondition_matrix(ctx, v, u),
            Some(Inverse::Cholesky(inverse)) => inverse.precondition_matrix(ctx, v, u),
            Some(Inverse::EigenKronecker(inverse)) => inverse.precondition_matrix(ctx, v, u),
            Some(Inverse::ThreeFactor(_) | Inverse::Diagonal(_)) => {
                // these know vec V alone
                let Some(inverse) = self.inverse() else { return Ok(()) };
                let (mut stacked, mut solved) = (ctx.scratch(v.nrows(), v.ncols()), ctx.scratch(v.nrows(), v.ncols()));
                stacked.as_mut().copy_from(v)?;
                let x = MatMut::from_column(solved.as_mut_slice());
                inverse.precondition(ctx, MatRef::from_column(stacked.as_slice()), x)?;
                u.copy_from(solved.as_ref())
            }
        }
    }

    /// U ← α times the damped inverse applied to G Āᵀ, G d_out x cases and Ā d_in x cases.
    pub(super) fn precondition_product(
        &self,
        ctx: &Ctx<T>,
        alpha: T,
        g: MatRef<'_, T>,
        a: MatRef<'_, T>,
        u: MatMut<'_, T>,
    ) -> Result<()> {
        match &self.inverse {
            Some(Inverse::Kronecker(inverse)) => inverse.precondition_product(ctx, alpha, g, a, u),
            Some(Inverse::Cholesky(inverse)) => inverse.precondition_product(ctx, alpha, g, a, u),
            Some(Inverse::EigenKronecker(inverse)) => inverse.precondition_product(ctx, alpha, g, a, u),
            _ => form_product(ctx, alpha, g, a, |v| self.precondition(ctx, v, u)),
        }
    }

    /// Whether a batch of so many cases is cheaper to precondition through its factors than as a gradient.
    pub(super) fn prefers_factors(&self, cases: usize, block: &ParamBlock) -> bool {
        matches!(self.structure, LayerStructure::Kronecker | LayerStructure::EigenKronecker)
            && batch_factors_are_cheaper(cases, block.cols, block.rows)
    }

    /// A new inverse at λ: from what was decomposed where only λ has changed, else from the statistics.
    fn renew(&mut self, ctx: &Ctx<T>, options: &PreconditionerOptions<T>, lambda: Damping<T>) -> Result<()> {
        let damping = options.damping;
        let updates = self.statistics.updates();
        if updates == 0 {
            return Err(Error::invalid("refresh", "no statistics yet: call begin_update and add a batch"));
        }
        let current = self.made_at == updates;
        let inverse = match (&mut self.statistics, &self.inverse) {
            (Statistics::Kronecker(factors), inverse) => {
                let redamped = match inverse {
                    Some(Inverse::Kronecker(inverse)) if current => inverse.redamp(lambda).ok(),
                    _ => None,
                };
                // straight from the accumulators, without the copies of a snapshot
                let (a, s) = (factors.a(), factors.s());
                let shape = LayerShape { d_in: a.nrows(), d_out: s.nrows() };
                match (redamped, damping) {
                    (Some(inverse), _) => Inverse::Kronecker(inverse),
                    (None, KroneckerDamping::Factored { pi })
                        if shape.prefers_cholesky(options.updates_per_refresh) =>
                    {
                        Inverse::Cholesky(KroneckerCholesky::new(ctx, a, s, pi, lambda)?)
                    }
                    (None, _) => Inverse::Kronecker(KroneckerInverse::new(ctx, a, s, damping, lambda)?),
                }
            }
            (Statistics::EigenKronecker(moments), _) => {
                check_pairs(moments.is_paired())?;
                if !current {
                    moments.refresh_basis(ctx)?;
                }
                eigenvalues(moments, lambda)?
            }
            (Statistics::ThreeFactor(factors), inverse) => {
                let redamped = match inverse {
                    Some(Inverse::ThreeFactor(inverse)) if current => {
                        inverse.redamped(lambda, KroneckerNInverse::redamp).ok()
                    }
                    _ => None,
                };
                match redamped {
                    Some(inverse) => Inverse::ThreeFactor(inverse),
                    None => {
                        let Some(curvature) = factors.snapshot(damping)? else { return Ok(()) };
                        Inverse::ThreeFactor(curvature.damped(ctx, lambda)?)
                    }
                }
            }
            (Statistics::Diagonal(moments), _) => diagonal(ctx, moments, lambda)?,
        };
        self.inverse = Some(inverse);
        self.made_at = updates;
        Ok(())
    }

    /// A new inverse at λ, or the old one and a count of failures.
    pub(super) fn refresh(
        &mut self,
        ctx: &Ctx<T>,
        options: &PreconditionerOptions<T>,
        lambda: Damping<T>,
    ) -> Result<()> {
        let outcome = self.renew(ctx, options, lambda);
        self.judge(outcome, options.tolerated_failures)
    }

    /// What a new inverse takes without a factorization, for the structures that have such a thing.
    pub(super) fn follow(
        &mut self,
        ctx: &Ctx<T>,
        options: &PreconditionerOptions<T>,
        lambda: Damping<T>,
    ) -> Result<()> {
        let inverse = match (&self.statistics, &self.inverse) {
            (_, None) | (Statistics::Kronecker(_) | Statistics::ThreeFactor(_), _) => return Ok(()),
            (Statistics::EigenKronecker(moments), _) => {
                check_pairs(moments.is_paired()).and_then(|()| eigenvalues(moments, lambda))
            }
            (Statistics::Diagonal(moments), _) => diagonal(ctx, moments, lambda),
        };
        let outcome = inverse.map(|inverse| self.inverse = Some(inverse));
        self.judge(outcome, options.tolerated_failures)
    }

    fn judge(&mut self, outcome: Result<()>, tolerated: usize) -> Result<()> {
        let Err(error) = outcome else {
            (self.failures, self.last_failure) = (0, None);
            return Ok(());
        };
        self.failures += 1;
        self.last_failure = Some(error.clone());
        if self.inverse.is_none() {
            Err(error)
        } else if self.failures > tolerated {
            Err(Error::RepeatedFailure { op: "K-FAC refresh", failures: self.failures, last: Box::new(error) })
        } else {
            Ok(())
        }
    }
}

/// Statistics of pairs that never came are no statistics: better an error than a curvature that stands still.
fn check_pairs(paired: bool) -> Result<()> {
    let reason = "the last update brought no pairs of activations and gradients (CaptureSink::pairs), which this structure \
                  is made of; FisherKind::Recursive has none";
    if paired { Ok(()) } else { Err(Error::invalid("refresh", reason)) }
}

fn eigenvalues<T: Scalar>(moments: &EigenKroneckerMoments<T>, lambda: Damping<T>) -> Result<Inverse<T>> {
    let curvature = moments.snapshot()?.ok_or_else(|| Error::invalid("refresh", "no eigenbasis yet"))?;
    Ok(Inverse::EigenKronecker(curvature.into_damped(lambda)?))
}

fn diagonal<T: Scalar>(ctx: &Ctx<T>, moments: &DiagonalMoments<T>, lambda: Damping<T>) -> Result<Inverse<T>> {
    check_pairs(moments.is_paired())?;
    let curvature = moments.snapshot()?.ok_or_else(|| Error::invalid("refresh", "no statistics yet"))?;
    Ok(Inverse::Diagonal(curvature.damped(ctx, lambda)?))
}

impl<T: Scalar> Statistics<T> {
    pub(super) fn updates(&self) -> u64 {
        match self {
            Statistics::Kronecker(factors) => factors.updates(),
            Statistics::EigenKronecker(moments) => moments.factors().updates(),
            Statistics::ThreeFactor(factors) => factors.updates(),
            Statistics::Diagonal(moments) => moments.updates(),
        }
    }

    pub(super) fn begin(&mut self) {
        match self {
            Statistics::Kronecker(factors) => factors.begin(),
            Statistics::EigenKronecker(moments) => moments.begin(),
            Statistics::ThreeFactor(factors) => factors.begin(),
            Statistics::Diagonal(moments) => moments.begin(),
        }
    }

    pub(super) fn activations(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, weight: T) -> Result<()> {
        match self {
            Statistics::Kronecker(factors) => factors.add_activations(ctx, a, weight),
            Statistics::EigenKronecker(moments) => moments.factors_mut().add_activations(ctx, a, weight),
            Statistics::ThreeFactor(factors) => factors.add_activations(ctx, a, weight),
            Statistics::Diagonal(moments) => moments.add_activations(a, weight),
        }
    }

    pub(super) fn gradients(&mut self, ctx: &Ctx<T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        match self {
            Statistics::Kronecker(factors) => factors.add_gradients(ctx, g, weight),
            Statistics::EigenKronecker(moments) => moments.factors_mut().add_gradients(ctx, g, weight),
            Statistics::ThreeFactor(factors) => factors.add_gradients(ctx, g, weight),
            Statistics::Diagonal(moments) => moments.add_gradients(g, weight),
        }
    }

    pub(super) fn pairs(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        match self {
            Statistics::Kronecker(_) | Statistics::ThreeFactor(_) => Ok(()),
            Statistics::EigenKronecker(moments) => moments.add_pairs(ctx, a, g, weight),
            Statistics::Diagonal(moments) => moments.add_pairs(ctx, a, g, weight),
        }
    }

    pub(super) fn gradient_moment(&mut self, m: MatRef<'_, T>, weight: T) -> Result<()> {
        match self {
            Statistics::Kronecker(factors) => factors.add_gradient_moment(m, weight),
            Statistics::EigenKronecker(moments) => moments.factors_mut().add_gradient_moment(m, weight),
            Statistics::ThreeFactor(factors) => factors.add_gradient_moment(m, weight),
            Statistics::Diagonal(moments) => moments.add_gradient_moment(m, weight),
        }
    }
}
