//! The optimizers behind the names: one variant for each kind of state, one arm in [`racer`] for each name.

use pullback::curvature::precondition::{IncompleteCholesky, Jacobi, SparseLower};
use pullback::krylov::{Budget, CgOptions, NegativeCurvature, StallRule, diagonal_estimate};
use pullback::linop::LinearOperator;
use pullback::nn::{Batch, Loss, Mlp, Workspace};
use pullback::optim::line_search::Armijo;
use pullback::optim::{
    Adam, Batches, Bfgs, BfgsOptions, CgFormula, CgModel, CurvatureMatrix, CurvatureObjective, DenseModel, GaussNewton,
    GradientDescent, HessianFree, HessianFreeOptions, Indefinite, InnerMinimizer, KernelModel, Kfac, KfacBlocks,
    KfacOptions, KroneckerInner, KroneckerInnerOptions, LayerStructure, Lbfgs, LbfgsOptions, LevenbergMarquardt,
    LevenbergMarquardtMethod, MartensDiagonal, ModelDamping, MomentumKind, NaturalGradient, Newton, NoPreconditioner,
    NonlinearCg, NonlinearCgOptions, Objective, Optimizer, OverheadBudget, OverheadReport, PreconditionedGradient,
    Proximal, ProximalOptions, QrModel, Sgd, Spring, SpringOptions, StepReport, StepRule, TrustRegionNewton,
    TrustRegionOptions,
};
use pullback::{Ctx, Damping, Error, Scalar};
use serde::{Deserialize, Serialize};

use crate::defaults;
use crate::kinds::Kind;

macro_rules! racers {
    ($($name:ident($type:ty))*) => {
        /// An optimizer as a value that can be saved.
        #[derive(Debug, Serialize, Deserialize)]
        #[serde(bound = "T: Scalar")]
        pub enum Racer<T: Scalar> { $($name($type)),* }

        impl<T: Scalar> Racer<T> {
            pub fn step(
                &mut self,
                ctx: &Ctx<T>,
                net: &Mlp<T>,
                theta: &mut [T],
                batch: &Batch<T>,
            ) -> Result<StepReport<T>, Error> {
                match self { $(Racer::$name(optimizer) => optimizer.step(ctx, net, theta, batch)),* }
            }
        }
    };
}

racers! {
    Sgd(Sgd<T>)
    Adam(Adam<T>)
    Kfac(Box<Kfac<T, Workspace<T>>>)
    Spring(Spring<T>)
    NaturalGradient(NaturalGradient<T, CgModel<T>>)
    Proximal(Proximal<T>)
    GradientDescent(GradientDescent<T>)
    Preconditioned(PreconditionedGradient<T, Jacobi<T>>)
    IncompleteCholesky(PreconditionedGradient<T, IncompleteCholesky<T>>)
    NonlinearCg(NonlinearCg<T>)
    Bfgs(Bfgs<T>)
    Lbfgs(Lbfgs<T>)
    NewtonDense(Newton<T, DenseModel<T>, Armijo>)
    NewtonCg(Newton<T, CgModel<T>, Armijo>)
    GaussNewtonDense(GaussNewton<T, DenseModel<T>, Armijo>)
    GaussNewtonCg(GaussNewton<T, CgModel<T>, Armijo>)
    LevenbergMarquardtKernel(LevenbergMarquardtMethod<T, KernelModel<T>>)
    LevenbergMarquardtCg(LevenbergMarquardtMethod<T, CgModel<T>>)
    Marquardt(LevenbergMarquardtMethod<T, QrModel<T>>)
    TrustRegion(TrustRegionNewton)
    Hf(Box<HessianFree<T, NoPreconditioner>>)
    HfMartens(Box<HessianFree<T, MartensDiagonal<T>>>)
    HfKronecker(Box<HessianFree<T, KroneckerInner<T, Workspace<T>>>>)
}

impl<T: Scalar> Racer<T> {
    /// What an overhead budget has chosen and cost, for those that have one.
    pub fn overhead(&self) -> Option<OverheadReport> {
        match self {
            Racer::Kfac(kfac) => kfac.overhead(),
            _ => None,
        }
    }

    /// A learning rate, for those that a schedule may give one.
    pub fn set_rate(&mut self, rate: f64) -> Result<(), Error> {
        match self {
            Racer::Sgd(sgd) => sgd.set_learning_rate(T::of(rate)),
            _ => Ok(()),
        }
    }
}

/// The numbers that the command line or the defaults of the task give.
#[derive(Debug, Clone, Copy)]
pub struct Tuned {
    /// Rate and momentum.
    pub sgd: (f64, f64),
    pub adam: f64,
    /// Learning rate of natural gradient descent.
    pub natural_gradient: f64,
    /// λ from which the K-FAC family and Levenberg-Marquardt start.
    pub damping: f64,
    /// λ from which Hessian-free starts.
    pub hf_damping: f64,
    /// Most that a step of the K-FAC family may cost.
    pub budget: Option<OverheadBudget>,
    /// λ of the Newton family and of natural gradient descent, which stays.
    pub fixed_damping: f64,
    pub seed: u64,
}

/// Up to so many parameters a matrix of them is formed and factored; beyond, conjugate gradient multiplies by it.
const DENSE: usize = 1000;
/// BFGS keeps the square of so many numbers at most.
const BFGS: usize = 4000;
/// Most iterations of conjugate gradient in a step of the Newton family and of Hessian-free.
const ITERATIONS: usize = 50;
/// λ from which Levenberg-Marquardt in Marquardt's metric starts, a pure number.
const MARQUARDT_DAMPING: f64 = 1e-3;
/// Products with random signs for the fixed diagonal.
const PROBES: usize = 32;
/// Entries of G below this share of the geometric mean of their diagonal entries are left out of its incomplete factor.
const DROPPED: f64 = 0.05;
/// λ of fixed preconditioners, as a share of the mean diagonal of G.
const PRECONDITIONER_DAMPING: f64 = 1e-2;

/// Why an optimizer does not fit a network, where it does not.
pub fn misfit<T: Scalar>(kind: Kind, net: &Mlp<T>, cases: usize) -> Option<String> {
    let (parameters, rows) = (net.layout().len(), cases * net.outputs());
    let at_most = |what: &str, have: usize, most: usize| {
        (have > most).then(|| format!("needs at most {most} {what}, there are {have}"))
    };
    match kind {
        Kind::Bfgs => at_most("parameters", parameters, BFGS),
        Kind::NewtonAbsolute | Kind::IncompleteCholesky => at_most("parameters", parameters, DENSE),
        Kind::Marquardt if net.output_loss() != Loss::SquaredError => Some("needs squared errors".to_owned()),
        Kind::Marquardt => at_most("parameters", parameters, DENSE),
        Kind::Spring => at_most("outputs", rows, defaults::KERNEL),
        _ => None,
    }
}

/// The optimizer behind a name; fixed preconditioners are those of G at the start, on at most 2048 cases of `batch`.
pub fn racer<T: Scalar>(
    kind: Kind,
    tuned: &Tuned,
    ctx: &Ctx<T>,
    net: &Mlp<T>,
    start: &[T],
    batch: &Batch<T>,
) -> Result<Racer<T>, Error> {
    let (rate, momentum) = (T::of(tuned.sgd.0), T::of(tuned.sgd.1));
    let &Tuned { damping: lambda, seed, budget, .. } = tuned;
    let base = KfacOptions { lambda, seed, budget, ..KfacOptions::default() };
    let kfac = |options| Ok(Racer::Kfac(Box::new(Kfac::new(options)?)));
    let dense = net.layout().len() <= DENSE;
    let fixed = tuned.fixed_damping;
    Ok(match kind {
        Kind::Sgd => Racer::Sgd(Sgd::new(rate, momentum, MomentumKind::Nesterov)?),
        Kind::HeavyBall => Racer::Sgd(Sgd::new(rate, momentum, MomentumKind::HeavyBall)?),
        Kind::Adam => Racer::Adam(Adam::new(T::of(tuned.adam))?),
        Kind::Kfac => kfac(base)?,
        Kind::KfacPlain => kfac(KfacOptions { step: StepRule::QuadraticModel { momentum: false }, ..base })?,
        Kind::Ekfac => kfac(KfacOptions { structure: LayerStructure::EigenKronecker, ..base })?,
        Kind::KfacTridiagonal => kfac(KfacOptions { blocks: KfacBlocks::Tridiagonal, ..base })?,
        Kind::Spring => Racer::Spring(Spring::new(spring())?),
        Kind::NaturalGradient => {
            let method = NaturalGradient::new(tuned.natural_gradient, fixed)?;
            Racer::NaturalGradient(method.with_source(products(CurvatureMatrix::GaussNewton)?))
        }
        Kind::Proximal => Racer::Proximal(Proximal::new(proximal(tuned))?),
        Kind::GradientDescent => Racer::GradientDescent(GradientDescent::new().with_batches(Batches::Fixed)),
        Kind::Preconditioned => {
            let p = jacobi(ctx, net, start, &batch.subset(0..batch.cases().min(defaults::LARGE))?, tuned.seed)?;
            Racer::Preconditioned(PreconditionedGradient::new(p).with_batches(Batches::Fixed))
        }
        Kind::IncompleteCholesky => {
            let p = incomplete(ctx, net, start, &batch.subset(0..batch.cases().min(defaults::LARGE))?)?;
            Racer::IncompleteCholesky(PreconditionedGradient::new(p).with_batches(Batches::Fixed))
        }
        Kind::CgFletcherReeves => conjugate(CgFormula::FletcherReeves)?,
        Kind::CgPolakRibiere => conjugate(CgFormula::PolakRibierePlus)?,
        Kind::CgHestenesStiefel => conjugate(CgFormula::HestenesStiefel)?,
        Kind::CgHagerZhang => conjugate(CgFormula::HagerZhang)?,
        Kind::Bfgs => Racer::Bfgs(Bfgs::new(BfgsOptions::default())?.with_batches(Batches::Fixed)),
        Kind::Lbfgs => Racer::Lbfgs(Lbfgs::new(LbfgsOptions::default())?.with_batches(Batches::Fixed)),
        Kind::Newton if dense => Racer::NewtonDense(Newton::damped(fixed)?.with_search(Armijo::default())),
        Kind::Newton => {
            let method = Newton::damped(fixed)?.with_search(Armijo::default());
            Racer::NewtonCg(method.with_source(products(CurvatureMatrix::Hessian)?))
        }
        Kind::NewtonAbsolute => {
            let method = Newton::with_indefinite(fixed, Indefinite::Absolute)?;
            Racer::NewtonDense(method.with_search(Armijo::default()))
        }
        Kind::GaussNewton if dense => Racer::GaussNewtonDense(GaussNewton::new(fixed)?.with_search(Armijo::default())),
        Kind::GaussNewton => {
            let method = GaussNewton::new(fixed)?.with_search(Armijo::default());
            Racer::GaussNewtonCg(method.with_source(products(CurvatureMatrix::GaussNewton)?))
        }
        Kind::LevenbergMarquardt => {
            let rule = LevenbergMarquardt::new(tuned.damping, 2.0 / 3.0, 1e-12, 1e12)?;
            let method = LevenbergMarquardtMethod::levenberg(rule, ModelDamping::Excluded)?;
            match dense {
                true => Racer::LevenbergMarquardtKernel(method),
                false => Racer::LevenbergMarquardtCg(method.with_source(products(CurvatureMatrix::GaussNewton)?)),
            }
        }
        Kind::Marquardt => Racer::Marquardt(LevenbergMarquardtMethod::by_qr(MARQUARDT_DAMPING)?),
        Kind::TrustRegion => {
            let options = TrustRegionOptions { max_iterations: ITERATIONS, ..TrustRegionOptions::default() };
            Racer::TrustRegion(TrustRegionNewton::new(options)?)
        }
        Kind::Hf => Racer::Hf(Box::new(HessianFree::new(hf(batch, tuned, ITERATIONS), NoPreconditioner)?)),
        Kind::HfMartens => {
            Racer::HfMartens(Box::new(HessianFree::new(hf(batch, tuned, 2 * ITERATIONS), MartensDiagonal::default())?))
        }
        Kind::HfKfac => hf_kronecker(batch, tuned, KroneckerInnerOptions::default())?,
        Kind::HfEkfac => {
            let structure = LayerStructure::EigenKronecker;
            hf_kronecker(batch, tuned, KroneckerInnerOptions { structure, ..KroneckerInnerOptions::default() })?
        }
        Kind::HfTridiagonal => {
            let blocks = KfacBlocks::Tridiagonal;
            hf_kronecker(batch, tuned, KroneckerInnerOptions { blocks, ..KroneckerInnerOptions::default() })?
        }
    })
}

fn conjugate<T: Scalar>(formula: CgFormula) -> Result<Racer<T>, Error> {
    let method = NonlinearCg::new(NonlinearCgOptions { formula, ..NonlinearCgOptions::default() })?;
    Ok(Racer::NonlinearCg(method.with_batches(Batches::Fixed)))
}

/// By products alone, to Martens' stop.
fn products<T: Scalar>(matrix: CurvatureMatrix) -> Result<CgModel<T>, Error> {
    CgModel::new(matrix).with_options(CgOptions {
        max_iterations: ITERATIONS,
        stall: Some(StallRule::default()),
        negative_curvature: NegativeCurvature::FollowDirection,
        ..CgOptions::from_zero()
    })
}

/// The curvature on a part of the cases where they are many, another part in each step; λ and K from a sweep, the rest
/// Martens' settings.
fn hf<T: Scalar>(batch: &Batch<T>, tuned: &Tuned, cg_iterations: usize) -> HessianFreeOptions<T> {
    let curvature_cases = Some(defaults::CURVATURE.min(batch.cases()));
    HessianFreeOptions { lambda: tuned.hf_damping, cg_iterations, curvature_cases, ..HessianFreeOptions::default() }
}

fn hf_kronecker<T: Scalar>(
    batch: &Batch<T>,
    tuned: &Tuned,
    options: KroneckerInnerOptions<T>,
) -> Result<Racer<T>, Error> {
    let inner = KroneckerInner::new(KroneckerInnerOptions { seed: tuned.seed, ..options })?;
    Ok(Racer::HfKronecker(Box::new(HessianFree::new(hf(batch, tuned, ITERATIONS), inner)?)))
}

/// Without the default bound on a step, which is in units of wavefunctions, and with the momentum of others.
fn spring<T: Scalar>() -> SpringOptions<T> {
    let (lambda, momentum) = (0.1, 0.9);
    SpringOptions { lambda, momentum, max_squared_norm: None, ..SpringOptions::default() }
}

/// A few gradient steps on the loss and the distance of the outputs, of the rate that momentum brings sgd to.
fn proximal<T: Scalar>(tuned: &Tuned) -> ProximalOptions<T> {
    let rate = T::of(tuned.sgd.0 / (1.0 - tuned.sgd.1));
    ProximalOptions {
        weight_space: T::ZERO,
        function_space: T::ONE,
        inner: InnerMinimizer::Gradient { steps: 4, rate: rate * T::of(0.1) },
        ..ProximalOptions::default()
    }
}

/// diag(G + λI)⁻¹ at the start, estimated.
fn jacobi<T: Scalar>(ctx: &Ctx<T>, net: &Mlp<T>, start: &[T], batch: &Batch<T>, seed: u64) -> Result<Jacobi<T>, Error> {
    let g = net.curvature(ctx, CurvatureMatrix::GaussNewton, start, batch)?;
    let diagonal = diagonal_estimate(ctx, &*g, Budget::new(PROBES, seed))?.values;
    let mean = diagonal.iter().map(|d| d.max(0.0)).sum::<f64>() / start.len() as f64;
    Jacobi::from_diagonal(diagonal.into_iter().map(T::of).collect(), Damping::try_from(PRECONDITIONER_DAMPING * mean)?)
}

/// The incomplete factor of G + λI at the start, on the pattern of its larger entries.
fn incomplete<T: Scalar>(
    ctx: &Ctx<T>,
    net: &Mlp<T>,
    start: &[T],
    batch: &Batch<T>,
) -> Result<IncompleteCholesky<T>, Error> {
    let g = net.curvature(ctx, CurvatureMatrix::GaussNewton, start, batch)?.to_dense(ctx)?;
    let mean = (0..start.len()).map(|i| g[(i, i)].f64()).sum::<f64>() / start.len() as f64;
    let lower = SparseLower::from_dense(g.as_ref(), T::of(DROPPED))?;
    IncompleteCholesky::new(&lower, Damping::try_from(PRECONDITIONER_DAMPING * mean)?)
}
