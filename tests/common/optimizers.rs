//! Every optimizer that runs on a network, boxed: what one law about all of them goes through.

#![allow(dead_code)] // each test file uses its part

use pullback::curvature::precondition::{IncompleteCholesky, Jacobi, SparseLower};
use pullback::curvature::{KroneckerDamping, PiRule, SampleSpaceOptions, SampleSpacePath};
use pullback::krylov::CgOptions;
use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::checkpoint::Run;
use pullback::optim::line_search::{Armijo, GridSearch, HagerZhang, SecantStep};
use pullback::optim::{
    Acktr, AcktrOptions, Adam, Bfgs, BfgsOptions, CgFormula, CgModel, CurvatureMatrix, CurvatureObjective,
    DampedNewton, DampingMetric, DampingRule, DenseModel, DiagonalSource, Divergence, FisherKind, GammaRule,
    GaussNewton, GradientDescent, HessianFree, HessianFreeOptions, Indefinite, InnerMinimizer, KernelModel, Kfac,
    KfacBlocks, KfacOptions, KroneckerInner, KroneckerInnerOptions, KroneckerModel, LayerStructure, LayeredObjective,
    Lbfgs, LbfgsOptions, LevenbergMarquardt, LevenbergMarquardtMethod, LossOrder, MartensDiagonal, ModelDamping,
    MomentumKind, NaturalGradient, Newton, NoPreconditioner, NonlinearCg, NonlinearCgOptions, Objective, Optimizer,
    OutputDistance, OutputProximity, PreconditionedGradient, Proximal, ProximalModel, ProximalModelOptions,
    ProximalOptions, QrModel, RegionSolver, Rejection, ResidualObjective, Sgd, Spring, SpringOptions, StepRule,
    SubsetObjective, TrustRegionNewton, TrustRegionOptions,
};
use pullback::stats::{Decay, DiagonalRule};
use pullback::testing::gallery;
use pullback::{Damping, Mat, Scalar};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A network 4-5-3 with a bias each, and three batches.
pub fn problem<T: Scalar>() -> (Mlp<T>, Vec<T>, Vec<Batch<T>>) {
    let builder = Mlp::builder(4).layer(5, Activation::Tanh).layer(3, Activation::Identity);
    let net = builder.l2(T::of(1e-3)).build().unwrap();
    let theta = net.init(Init::GlorotUniform, 3);
    let batch = |seed| {
        let (x, t): (Mat<T>, Mat<T>) = (gallery::uniform(4, 12, seed), gallery::uniform(3, 12, seed + 100));
        net.batch(x.as_ref(), t.as_ref()).unwrap()
    };
    let batches = (0..3).map(batch).collect();
    (net, theta, batches)
}

/// What a network can be asked.
pub trait Network<T: Scalar>:
    LayeredObjective<T, Workspace: Default + 'static>
    + CurvatureObjective<T>
    + ResidualObjective<T>
    + SubsetObjective<T>
    + OutputProximity<T>
    + Objective<T, Batch: Sized>
{
}

impl<T: Scalar, O> Network<T> for O where
    O: LayeredObjective<T, Workspace: Default + 'static>
        + CurvatureObjective<T>
        + ResidualObjective<T>
        + SubsetObjective<T>
        + OutputProximity<T>
        + Objective<T, Batch: Sized>
{
}

/// An optimizer whose state can be looked at, saved and loaded.
pub trait Saved<T: Scalar, O: Objective<T>>: Optimizer<T, O> {
    fn state(&self) -> serde_json::Value;
    fn save(&self, run: &Run<'_>) -> Vec<u8>;
    fn load(&self, run: &Run<'_>, bytes: &[u8]) -> Box<dyn Saved<T, O>>;
}

impl<T, O, P> Saved<T, O> for P
where
    T: Scalar,
    O: Objective<T>,
    P: Optimizer<T, O> + Serialize + DeserializeOwned + 'static,
{
    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap()
    }

    fn save(&self, run: &Run<'_>) -> Vec<u8> {
        run.to_bytes::<T, _>(self).unwrap()
    }

    fn load(&self, run: &Run<'_>, bytes: &[u8]) -> Box<dyn Saved<T, O>> {
        Box::new(run.from_bytes::<T, P>(bytes, "memory").unwrap())
    }
}

/// A way to make an optimizer, under a name.
pub struct Entry<T, O> {
    pub name: &'static str,
    pub make: Box<dyn Fn() -> Box<dyn Saved<T, O>>>,
}

struct List<T, O>(Vec<Entry<T, O>>);

impl<T: Scalar, O: Objective<T> + 'static> List<T, O> {
    fn add<P>(&mut self, name: &'static str, make: impl Fn() -> pullback::Result<P> + 'static)
    where
        P: Optimizer<T, O> + Serialize + DeserializeOwned + 'static,
    {
        let make = move || Box::new(make().unwrap()) as Box<dyn Saved<T, O>>;
        self.0.push(Entry { name, make: Box::new(make) });
    }
}

/// All of them, for a network of so many parameters.
pub fn all<T: Scalar, O: Network<T> + 'static>(parameters: usize) -> Vec<Entry<T, O>> {
    let mut list = List(Vec::new());
    first_order(&mut list, parameters);
    kfac(&mut list);
    hessian_free(&mut list);
    second_order(&mut list);
    by_jacobian(&mut list);
    list.0
}

fn first_order<T: Scalar, O: Network<T> + 'static>(list: &mut List<T, O>, n: usize) {
    for (name, kind) in [("sgd", MomentumKind::HeavyBall), ("sgd, Nesterov", MomentumKind::Nesterov)] {
        list.add(name, move || Sgd::new(T::of(0.05), T::of(0.9), kind));
    }
    list.add("adam", || Adam::new(T::of(0.01)));
    list.add("gradient descent, fixed", || GradientDescent::fixed(0.1));
    list.add("gradient descent, strong Wolfe", || Ok(GradientDescent::new()));
    list.add("gradient descent, Armijo", || Ok(GradientDescent::new().with_search(Armijo::default())));
    list.add("gradient descent, Hager-Zhang", || Ok(GradientDescent::new().with_search(HagerZhang::default())));
    list.add("gradient descent, grid", || Ok(GradientDescent::new().with_search(GridSearch::default())));
    list.add("gradient descent, secant", || Ok(GradientDescent::new().with_search(SecantStep)));
    let diagonal = move |i: usize| T::of(1.0 + (i % 3) as f64);
    list.add("gradient by Jacobi", move || {
        let jacobi = Jacobi::from_diagonal((0..n).map(diagonal).collect(), Damping::try_from(0.5)?)?;
        Ok(PreconditionedGradient::new(jacobi))
    });
    list.add("gradient by incomplete Cholesky", move || {
        let below = (1..n).map(|i| (i, i - 1, T::of(0.5)));
        let matrix = SparseLower::from_entries(n, (0..n).map(|i| (i, i, diagonal(i))).chain(below))?;
        PreconditionedGradient::fixed(IncompleteCholesky::new(&matrix, Damping::try_from(0.5)?)?, 0.1)
    });
    for (name, formula) in [
        ("conjugate gradient, Fletcher-Reeves", CgFormula::FletcherReeves),
        ("conjugate gradient, Polak-Ribiere", CgFormula::PolakRibierePlus),
        ("conjugate gradient, Hestenes-Stiefel", CgFormula::HestenesStiefel),
        ("conjugate gradient, Hager-Zhang", CgFormula::HagerZhang),
    ] {
        list.add(name, move || NonlinearCg::new(NonlinearCgOptions { formula, ..NonlinearCgOptions::default() }));
    }
    list.add("bfgs", || Bfgs::new(BfgsOptions::default()));
    list.add("lbfgs", || Lbfgs::new(LbfgsOptions { memory: 3, ..LbfgsOptions::default() }));
}

fn kfac<T: Scalar, O: Network<T> + 'static>(list: &mut List<T, O>) {
    let base = KfacOptions::<T> { lambda: 0.5, ..KfacOptions::default() };
    let exact = KroneckerDamping::Exact;
    let fisher = |fisher| KfacOptions { fisher, ..base };
    let fixed = |momentum, norm_constraint| StepRule::Fixed { learning_rate: 0.05, momentum, norm_constraint };
    let search = GammaRule::Search { interval: 3, omega: 0.8, max: 10.0 };
    let diagonal = LayerStructure::Diagonal { rule: DiagonalRule::Exact };
    for (name, options) in [
        ("kfac", base),
        ("kfac, exact Fisher", fisher(FisherKind::Exact)),
        ("kfac, empirical Fisher", fisher(FisherKind::Empirical)),
        ("kfac, recursive Fisher", fisher(FisherKind::Recursive)),
        ("kfac, exact damping", KfacOptions { damping: exact, ..base }),
        ("ekfac", KfacOptions { structure: LayerStructure::EigenKronecker, damping: exact, ..base }),
        ("kfac, diagonal", KfacOptions { structure: diagonal, ..base }),
        ("kfac, tridiagonal", KfacOptions { blocks: KfacBlocks::Tridiagonal, ..base }),
        ("kfac, searched gamma", KfacOptions { gamma: search, ..base }),
        ("kfac, every step judged", KfacOptions { rejection: Rejection::EveryStep, ..base }),
        ("kfac, never rejected", KfacOptions { rejection: Rejection::Never, adaptation: None, ..base }),
        ("kfac, fixed rate", KfacOptions { step: fixed(0.0, None), ..base }),
        ("kfac, fixed rate, constrained", KfacOptions { step: fixed(0.5, Some(1e-3)), ..base }),
        ("kfac, rare statistics", KfacOptions { statistics_interval: 3, statistics_cases: Some(5), ..base }),
        ("kfac, averaged", KfacOptions { averaging: Some((Decay::DEFAULT, 1)), ..base }),
    ] {
        list.add(name, move || Kfac::<T, O::Workspace>::new(options));
    }
    let warm = AcktrOptions { cold_steps: 1, ..AcktrOptions::default() };
    for (name, options) in [
        ("acktr", warm),
        ("acktr, exact", AcktrOptions { divergence: Divergence::Exact, fisher: FisherKind::Exact, ..warm }),
    ] {
        list.add(name, move || Acktr::<T, O::Workspace>::new(options));
    }
}

fn hessian_free<T: Scalar, O: Network<T> + 'static>(list: &mut List<T, O>) {
    let base = HessianFreeOptions::<T> { lambda: 0.1, ..HessianFreeOptions::default() };
    list.add("hessian-free", move || HessianFree::new(base, NoPreconditioner));
    let part = HessianFreeOptions { curvature_cases: Some(6), warm_start: None, ..base };
    list.add("hessian-free on parts", move || HessianFree::new(part, NoPreconditioner));
    list.add("hessian-free by Martens' diagonal", move || HessianFree::new(base, MartensDiagonal::<T>::default()));
    let inner = KroneckerInnerOptions::<T>::default();
    let damping = KroneckerDamping::Exact;
    for (name, options, inner) in [
        ("hessian-free by kfac", base, inner),
        (
            "hessian-free by ekfac",
            base,
            KroneckerInnerOptions { structure: LayerStructure::EigenKronecker, damping, ..inner },
        ),
        (
            "hessian-free by tridiagonal kfac",
            base,
            KroneckerInnerOptions { blocks: KfacBlocks::Tridiagonal, statistics_interval: 2, ..inner },
        ),
        ("hessian-free by kfac, rescaled only", HessianFreeOptions { cg_iterations: 0, ..base }, inner),
    ] {
        list.add(name, move || HessianFree::new(options, KroneckerInner::<T, O::Workspace>::new(inner)?));
    }
}

fn second_order<T: Scalar, O: Network<T> + 'static>(list: &mut List<T, O>) {
    let (hessian, ggn) = (CurvatureMatrix::Hessian, CurvatureMatrix::GaussNewton);
    let dense = move || DenseModel::<T>::new(ggn);
    list.add("newton", || Newton::<T>::damped(0.3));
    list.add("newton, absolute", || Newton::<T>::with_indefinite(0.3, Indefinite::Absolute));
    list.add("newton, Armijo", || Ok(Newton::<T>::damped(0.3)?.with_search(Armijo::default())));
    list.add("newton by conjugate gradient", move || {
        DampedNewton::new(CgModel::<T>::new(hessian).with_jacobi(), DampingRule::Fixed(0.3), Armijo::default())
    });
    list.add("gauss-newton", || GaussNewton::<T>::new(0.3));
    list.add("gauss-newton in its diagonal", move || {
        Ok(GaussNewton::<T>::new(0.3)?.with_source(dense().with_metric(DampingMetric::Diagonal)))
    });
    for (name, metric) in [
        ("gauss-newton by conjugate gradient", DampingMetric::Identity),
        ("gauss-newton by conjugate gradient in its diagonal", DampingMetric::Diagonal),
    ] {
        let diagonal = DiagonalSource::Estimated { products: 4, seed: 3 };
        let source = move || CgModel::<T>::new(ggn).with_diagonal(diagonal).with_metric(metric);
        list.add(name, move || Ok(GaussNewton::<T>::new(0.3)?.with_source(source())));
    }
    let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
    for (name, fisher, damping) in [
        ("gauss-newton by Kronecker blocks", FisherKind::MonteCarlo, KroneckerDamping::Exact),
        ("gauss-newton by exact Kronecker blocks", FisherKind::Exact, factored),
        ("gauss-newton by recursive Kronecker blocks", FisherKind::Recursive, KroneckerDamping::Exact),
    ] {
        list.add(name, move || Ok(GaussNewton::<T>::new(0.3)?.with_source(KroneckerModel::new(fisher, damping))));
    }
    let base = TrustRegionOptions { radius: 0.5, trials: 6, ..TrustRegionOptions::default() };
    for (name, options) in [
        ("trust region", base),
        ("trust region, gltr", TrustRegionOptions { solver: RegionSolver::Gltr, matrix: ggn, ..base }),
        ("trust region by Jacobi", TrustRegionOptions { jacobi: Some(DiagonalSource::Exact), ..base }),
    ] {
        list.add(name, move || TrustRegionNewton::new(options));
    }
    let gradient = InnerMinimizer::Gradient { steps: 3, rate: T::of(0.1) };
    let both = ProximalOptions { function_space: T::ONE, weight_space: T::of(0.5), ..ProximalOptions::default() };
    for (name, options) in [
        ("proximal", ProximalOptions { function_space: T::ZERO, ..both }),
        ("proximal in outputs", ProximalOptions { inner: gradient, ..both }),
        ("proximal in outputs, apart", ProximalOptions { distance: OutputDistance::Squared, ..both }),
    ] {
        list.add(name, move || Proximal::new(options));
    }
    let first = ProximalModelOptions::<T> { weight_space: T::of(5.0), ..ProximalModelOptions::default() };
    for (name, options) in [
        ("proximal model", first),
        ("proximal model in outputs", ProximalModelOptions { function_space: T::ONE, ..first }),
        (
            "proximal model of second order",
            ProximalModelOptions { loss: LossOrder::Second(hessian), function_space: T::ONE, ..first },
        ),
    ] {
        list.add(name, move || ProximalModel::new(options));
    }
}

fn by_jacobian<T: Scalar, O: Network<T> + 'static>(list: &mut List<T, O>) {
    let solve = |path| SampleSpaceOptions::<T> {
        path,
        iteration: CgOptions { relative_tolerance: T::EPS.sqrt(), ..CgOptions::from_zero() },
        ..SampleSpaceOptions::default()
    };
    for (names, path) in [
        (["spring", "gauss-newton by the kernel"], SampleSpacePath::Kernel),
        (["spring, primal", "gauss-newton by JᵀJ"], SampleSpacePath::Primal),
        (["spring by conjugate gradient", "gauss-newton by products"], SampleSpacePath::ConjugateGradient),
        (["spring by lsmr", "gauss-newton by lsmr"], SampleSpacePath::Lsmr),
        (["spring, any path", "gauss-newton, any path"], SampleSpacePath::Auto),
    ] {
        let options = SpringOptions {
            learning_rate: 0.3,
            momentum: 0.5,
            lambda: 0.1,
            solve: solve(path),
            ..SpringOptions::default()
        };
        list.add(names[0], move || Spring::new(options));
        list.add(names[1], move || Ok(GaussNewton::<T>::new(0.3)?.with_source(KernelModel::new(solve(path))?)));
    }
    list.add("natural gradient", || NaturalGradient::<T>::new(0.5, 0.3));
    list.add("levenberg-marquardt", || LevenbergMarquardtMethod::<T>::marquardt(0.1));
    list.add("levenberg-marquardt of the chapter", || {
        let rule = LevenbergMarquardt::new(0.1, 0.7, 1e-6, 1e6)?;
        LevenbergMarquardtMethod::<T>::levenberg(rule, ModelDamping::Excluded)
    });
    list.add("levenberg-marquardt by qr", || LevenbergMarquardtMethod::<T, QrModel<T>>::by_qr(1e-3));
}
