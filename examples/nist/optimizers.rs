//! The optimizers by name, one line each, with the settings that are tried on every problem alike.

use std::fmt;

use pullback::Result;
use pullback::optim::{Adam, Marquardt, MarquardtOptions, Optimizer, Spring, SpringOptions};
use pullback::testing::problems::SumOfSquares;

pub type Racer = Box<dyn Optimizer<f64, SumOfSquares>>;

/// A name and how to make the optimizer.
pub struct Entry {
    pub name: &'static str,
    pub make: fn() -> Result<Racer>,
}

static ALL: [Entry; 3] = [
    Entry { name: "adam", make: || Ok(Box::new(Adam::new(0.1)?)) },
    Entry { name: "spring", make: || Ok(Box::new(Spring::new(spring())?)) },
    Entry { name: "marquardt", make: || Ok(Box::new(Marquardt::new(MarquardtOptions::default())?)) },
];

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
