//! [`KfacBlocks`]: which blocks K-FAC's preconditioner has, and the preconditioner of either kind behind one type.

use super::{
    CaptureSink, KfacOptions, KfacPreconditioner, ParamLayout, PreconditionerOptions, RefreshReport,
    TridiagonalOptions, TridiagonalPreconditioner,
};
use crate::backend::Ctx;
use crate::curvature::{Damping, KroneckerDamping};
use crate::error::{Error, Result};
use crate::scalar::Scalar;

/// Which blocks of the inverse Fisher matrix a [`Kfac`](super::Kfac) models.
///
/// ```
/// use pullback::curvature::KroneckerDamping;
/// use pullback::optim::{Kfac, KfacOptions, KfacBlocks};
/// let options = KfacOptions::<f64> { blocks: KfacBlocks::Tridiagonal, ..KfacOptions::default() };
/// assert!(Kfac::<f64, ()>::new(options).is_ok());
/// let exact = KfacOptions { damping: KroneckerDamping::Exact, ..options }; // has no such inverse
/// assert!(Kfac::<f64, ()>::new(exact).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KfacBlocks {
    /// One block a layer: layers are independent.
    #[default]
    Diagonal,
    /// Blocks of neighbouring layers too; needs factored damping and an objective whose layers form a chain and which
    /// sends cross moments ([`CaptureSink::cross_gradients`]).
    Tridiagonal,
}

impl KfacBlocks {
    /// `Ok` where these blocks can be damped in this way.
    pub(super) fn check<T: Scalar>(self, damping: &KroneckerDamping<T>) -> Result<()> {
        match (self, damping) {
            (KfacBlocks::Tridiagonal, KroneckerDamping::Exact) => {
                Err(Error::invalid("blocks", "the block-tridiagonal inverse needs factored damping"))
            }
            _ => Ok(()),
        }
    }
}

/// A K-FAC preconditioner of either kind.
#[derive(Debug)]
pub(super) enum EitherPreconditioner<T> {
    Diagonal(KfacPreconditioner<T>),
    Tridiagonal(TridiagonalPreconditioner<T>),
}

use EitherPreconditioner::{Diagonal, Tridiagonal};

impl<T: Scalar> EitherPreconditioner<T> {
    pub(super) fn new(layout: &ParamLayout, options: &KfacOptions<T>) -> Self {
        let &KfacOptions { blocks, decay, damping, tolerated_failures, .. } = options;
        match (blocks, damping) {
            (KfacBlocks::Tridiagonal, KroneckerDamping::Factored { pi }) => Tridiagonal(
                TridiagonalPreconditioner::new(layout, TridiagonalOptions { decay, pi, tolerated_failures }),
            ),
            // tridiagonal blocks with exact damping was refused with the options
            _ => {
                Diagonal(KfacPreconditioner::new(layout, PreconditionerOptions { decay, damping, tolerated_failures }))
            }
        }
    }

    pub(super) fn begin_update(&mut self) {
        match self {
            Diagonal(p) => p.begin_update(),
            Tridiagonal(p) => p.begin_update(),
        }
    }

    pub(super) fn sink(&mut self) -> &mut dyn CaptureSink<T> {
        match self {
            Diagonal(p) => p,
            Tridiagonal(p) => p,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        match self {
            Diagonal(p) => p.is_ready(),
            Tridiagonal(p) => p.is_ready(),
        }
    }

    pub(super) fn refresh(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<RefreshReport> {
        match self {
            Diagonal(p) => p.refresh(ctx, lambda),
            Tridiagonal(p) => p.refresh(ctx, lambda),
        }
    }

    pub(super) fn precondition(&self, ctx: &Ctx<T>, gradient: &[T], out: &mut [T]) -> Result<()> {
        match self {
            Diagonal(p) => p.precondition(ctx, gradient, out),
            Tridiagonal(p) => p.precondition(ctx, gradient, out),
        }
    }
}
