//! The optimizers by name, one line each, with the settings that are tried on every problem alike.

use std::fmt;

use pullback::Result;
use pullback::optim::{
    Adam, Batches, Bfgs, BfgsOptions, CgFormula, GradientDescent, HessianFree, HessianFreeOptions, Lbfgs, LbfgsOptions,
    Marquardt, MarquardtOptions, NoPreconditioner, NonlinearCg, NonlinearCgOptions, Optimizer, Spring, SpringOptions,
};
use pullback::testing::problems::SumOfSquares;

pub type Racer = Box<dyn Optimizer<f64, SumOfSquares>>;

/// A name and how to make the optimizer.
pub struct Entry {
    pub name: &'static str,
    pub make: fn() -> Result<Racer>,
}

static ALL: [Entry; 11] = [
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
    Entry { name: "marquardt", make: || Ok(Box::new(Marquardt::new(MarquardtOptions::default())?)) },
];

fn conjugate(formula: CgFormula) -> Result<Racer> {
    let options = NonlinearCgOptions { formula, ..NonlinearCgOptions::default() };
    Ok(Box::new(NonlinearCg::new(options)?.with_batches(Batches::Fixed)))
}

/// A damped Gauss-Newton step without momentum.
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
