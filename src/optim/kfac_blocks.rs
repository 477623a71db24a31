//! [`KfacBlocks`]: which blocks K-FAC's preconditioner has, and the preconditioner of either kind behind one type.

use super::costs::LayerShape;
use super::{
    CaptureSink, FisherKind, KfacOptions, KfacPreconditioner, LayerStructure, ParamLayout, PreconditionerOptions,
    RefreshReport, TridiagonalOptions, TridiagonalPreconditioner,
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum KfacBlocks {
    /// One block a layer: layers are independent.
    #[default]
    Diagonal,
    /// Blocks of neighbouring layers too; needs Kronecker-factored layers with factored damping, and an objective whose
    /// layers form a chain and which sends cross moments ([`CaptureSink::cross_gradients`]).
    Tridiagonal,
}

impl KfacBlocks {
    /// `Ok` where the other options allow this one.
    pub(super) fn check<T: Scalar>(self, options: &KfacOptions<T>) -> Result<()> {
        let refuse = |why| Err(Error::invalid("blocks", format!("the block-tridiagonal inverse {why}")));
        if self == KfacBlocks::Diagonal {
            Ok(())
        } else if options.damping == KroneckerDamping::Exact {
            refuse("needs factored damping")
        } else if !matches!(
            options.structure,
            LayerStructure::Auto { corrected: false, .. } | LayerStructure::Kronecker
        ) {
            refuse("needs two Kronecker factors a layer")
        } else if options.fisher == FisherKind::Recursive {
            refuse("needs cross moments, which KFRA does not have")
        } else {
            Ok(())
        }
    }
}

/// A K-FAC preconditioner of either kind.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub(super) enum EitherPreconditioner<T> {
    Diagonal(KfacPreconditioner<T>),
    Tridiagonal(TridiagonalPreconditioner<T>),
}

use EitherPreconditioner::{Diagonal, Tridiagonal};

impl<T: Scalar> EitherPreconditioner<T> {
    pub(super) fn new(
        layout: &ParamLayout,
        options: &KfacOptions<T>,
        structures: Option<&[LayerStructure]>,
    ) -> Result<Self> {
        let &KfacOptions { blocks, decay, damping, eigenbases, tolerated_failures, structure, limit, .. } = options;
        // a tridiagonal structure with exact damping was refused with the options
        if let (KfacBlocks::Tridiagonal, KroneckerDamping::Factored { pi }) = (blocks, damping) {
            let options = TridiagonalOptions { decay, pi, tolerated_failures };
            return Ok(Tridiagonal(TridiagonalPreconditioner::new(layout, options)));
        }
        let updates_per_refresh = options.refresh_interval;
        let options = PreconditionerOptions {
            decay,
            damping,
            eigenbases,
            tolerated_failures,
            structure,
            limit,
            updates_per_refresh,
        };
        let preconditioner = match structures {
            Some(structures) => KfacPreconditioner::with_structures(layout, options, structures)?,
            None => KfacPreconditioner::new(layout, options)?,
        };
        Ok(Diagonal(preconditioner))
    }

    /// `Ok` for the preconditioner of n parameters, with a block for each layer.
    #[cfg(feature = "serde")]
    pub(super) fn check_restored(&self, n: usize) -> Result<()> {
        match self {
            Diagonal(p) => p.check_restored(n),
            Tridiagonal(p) => p.check_restored(n),
        }
    }

    /// The shape and structure of every layer.
    pub(super) fn layers(&self, layout: &ParamLayout) -> Vec<(LayerShape, LayerStructure)> {
        match self {
            Diagonal(p) => p.layers(),
            Tridiagonal(_) => {
                let shapes = layout.blocks().iter().map(|b| LayerShape { d_in: b.cols, d_out: b.rows });
                shapes.map(|shape| (shape, LayerStructure::Kronecker)).collect()
            }
        }
    }

    /// Of the blocks of the layers with two factors; `None` before there are any.
    pub(super) fn mean_eigenvalue(&self) -> Option<f64> {
        match self {
            Diagonal(p) => p.mean_eigenvalue(),
            Tridiagonal(_) => None,
        }
    }

    /// The damping of refreshes to come and the updates that each is to serve, where there is a choice.
    pub(super) fn set_refreshes(&mut self, damping: KroneckerDamping<T>, updates: u64) {
        if let Diagonal(p) = self {
            p.set_refreshes(damping, updates);
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

    /// Without turns where the layers are coupled, which the options refuse.
    pub(super) fn refresh_in_turn(
        &mut self,
        ctx: &Ctx<T>,
        lambda: Damping<T>,
        step: u64,
        interval: u64,
    ) -> Result<RefreshReport> {
        match self {
            Diagonal(p) => p.refresh_in_turn(ctx, lambda, step, interval),
            Tridiagonal(p) => p.refresh(ctx, lambda),
        }
    }

    pub(super) fn follow(&mut self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<()> {
        match self {
            Diagonal(p) => p.follow(ctx, lambda),
            // nothing here can change without a factorization
            Tridiagonal(_) => Ok(()),
        }
    }

    pub(super) fn precondition(&self, ctx: &Ctx<T>, gradient: &[T], out: &mut [T]) -> Result<()> {
        match self {
            Diagonal(p) => p.precondition(ctx, gradient, out),
            Tridiagonal(p) => p.precondition(ctx, gradient, out),
        }
    }
}
