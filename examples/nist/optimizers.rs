//! The optimizers by name, one line each, with the settings that are tried on every problem alike.

use std::fmt;

use pullback::Result;
use pullback::optim::line_search::Armijo;
use pullback::optim::{
    Adam, Batches, Bfgs, BfgsOptions, CgFormula, GaussNewton, GradientDescent, HessianFree, HessianFreeOptions,
    Indefinite, Lbfgs, LbfgsOptions, LevenbergMarquardtMethod, Newton, NoPreconditioner, NonlinearCg,
    NonlinearCgOptions, Optimizer, RegionSolver, Spring, SpringOptions, TrustRegionNewton, TrustRegionOptions,
};
use pullback::testing::problems::SumOfSquares;

pub type Racer = Box<dyn Optimizer<f64, SumOfSquares>>;

/// A name and how to make the optimizer.
pub struct Entry {
    pub name: &'static str,
    pub make: fn() -> Result<Racer>,
}

static ALL: [Entry; 16] = [
    Entry { name: "adam", make: || Ok(Box::new(Adam::new(0.1)?)) },
    Entry { name: "gradient-descent", make: || Ok(Box::new(GradientDescent::new().with_batches(Batches::Fixed))) },
    Entry { name: "cg-fletcher-reeves", make: || conjugate(CgFormula::FletcherReeves) },
    Entry { name: "cg-polak-ribiere", make: || conjugate(CgFormula::PolakRibierePlus) },
    Entry { name: "cg-hestenes-stiefel", make: || conjugate(CgFormula::HestenesStiefel) },
    Entry { name: "cg-hager-zhang", make: || conjugate(CgFormula::HagerZhang) },
    Entry { name: "bfgs", make: || Ok(Box::new(Bfgs::new(BfgsOptions::default())?.with_batches(Batches::Fixed))) },
    Entry { name: "lbfgs", make: || Ok(Box::new(Lbfgs::new(LbfgsOptions::default())?.with_batches(Batches::Fixed))) },
    Entry { name: "spring", make: || Ok(Box::new(Spring::new(spring())?)) },
    Entry {
        name: "hessian-free",
        make: || Ok(Box::new(HessianFree::new(HessianFreeOptions::default(), NoPreconditioner)?)),
    },
    Entry { name: "newton", make: || Ok(Box::new(newton()?.with_search(Armijo::default()))) },
    Entry { name: "gauss-newton", make: || Ok(Box::new(GaussNewton::new(0.0)?.with_search(Armijo::default()))) },
    Entry { name: "trust-region", make: || region(RegionSolver::Steihaug) },
    Entry { name: "trust-region-gltr", make: || region(RegionSolver::Gltr) },
    Entry { name: "levenberg-marquardt", make: || Ok(Box::new(LevenbergMarquardtMethod::marquardt(1e-3)?)) },
    Entry { name: "levenberg-marquardt-qr", make: || Ok(Box::new(LevenbergMarquardtMethod::by_qr(1e-3)?)) },
];

fn conjugate(formula: CgFormula) -> Result<Racer> {
    let options = NonlinearCgOptions { formula, ..NonlinearCgOptions::default() };
    Ok(Box::new(NonlinearCg::new(options)?.with_batches(Batches::Fixed)))
}

/// By |H| where H is indefinite, so that every direction descends.
fn newton() -> Result<Newton<f64>> {
    Newton::with_indefinite(0.0, Indefinite::Absolute)
}

fn region(solver: RegionSolver) -> Result<Racer> {
    Ok(Box::new(TrustRegionNewton::new(TrustRegionOptions { solver, ..TrustRegionOptions::default() })?))
}

/// A damped Gauss-Newton step without momentum: on squares, natural gradient descent.
fn spring() -> SpringOptions<f64> {
    SpringOptions { learning_rate: 0.5, momentum: 0.0, max_squared_norm: None, ..SpringOptions::default() }
}

/// A name that is not in a list.
#[derive(Debug)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unknown {}

/// All of them.
pub fn all() -> Vec<&'static Entry> {
    ALL.iter().collect()
}

/// The entry of this name.
pub fn named(name: &str) -> Result<&'static Entry, Unknown> {
    let names = || ALL.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|entry| entry.name == name).ok_or_else(|| Unknown(format!("no optimizer `{name}`: {}", names())))
}
