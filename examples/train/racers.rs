//! Who can take part: one variant for each kind of state, one line in [`racer`] for each name.

use pullback::nn::{Batch, Mlp, Workspace};
use pullback::optim::{
    Adam, Kfac, KfacBlocks, KfacOptions, LayerStructure, MomentumKind, Optimizer, Sgd, Spring, SpringOptions,
    StepReport,
};
use pullback::{Ctx, Error, Scalar};
use serde::{Deserialize, Serialize};

use crate::args::Kind;

/// An optimizer as a value that can be saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "T: Scalar")]
pub enum Racer<T> {
    Sgd(Sgd<T>),
    Adam(Adam<T>),
    Kfac(Box<Kfac<T, Workspace<T>>>),
    Spring(Spring<T>),
}

impl<T: Scalar> Racer<T> {
    pub fn step(
        &mut self,
        ctx: &Ctx<T>,
        net: &Mlp<T>,
        theta: &mut [T],
        batch: &Batch<T>,
    ) -> Result<StepReport<T>, Error> {
        match self {
            Racer::Sgd(optimizer) => optimizer.step(ctx, net, theta, batch),
            Racer::Adam(optimizer) => optimizer.step(ctx, net, theta, batch),
            Racer::Kfac(optimizer) => optimizer.step(ctx, net, theta, batch),
            Racer::Spring(optimizer) => optimizer.step(ctx, net, theta, batch),
        }
    }
}

/// The numbers that the command line or the defaults of the task give.
pub struct Tuned {
    /// Rate and momentum.
    pub sgd: (f64, f64),
    pub adam: f64,
    /// λ that the K-FAC family starts from.
    pub damping: f64,
    pub seed: u64,
}

/// The optimizer behind a name.
pub fn racer<T: Scalar>(kind: Kind, tuned: &Tuned) -> Result<Racer<T>, Error> {
    let (rate, momentum) = (T::of(tuned.sgd.0), T::of(tuned.sgd.1));
    let base = KfacOptions { lambda: tuned.damping, seed: tuned.seed, ..KfacOptions::default() };
    let kfac = |options| Ok(Racer::Kfac(Box::new(Kfac::new(options)?)));
    match kind {
        Kind::Sgd => Ok(Racer::Sgd(Sgd::new(rate, momentum, MomentumKind::Nesterov)?)),
        Kind::HeavyBall => Ok(Racer::Sgd(Sgd::new(rate, momentum, MomentumKind::HeavyBall)?)),
        Kind::Adam => Ok(Racer::Adam(Adam::new(T::of(tuned.adam))?)),
        Kind::Kfac => kfac(base),
        Kind::Ekfac => kfac(KfacOptions { structure: LayerStructure::EigenKronecker, ..base }),
        Kind::KfacTridiagonal => kfac(KfacOptions { blocks: KfacBlocks::Tridiagonal, ..base }),
        Kind::Spring => Ok(Racer::Spring(Spring::new(SpringOptions::default())?)),
    }
}
