//! The three networks and what they learn from.

use std::path::Path;
use std::str::FromStr;

use pullback::nn::data::{Dataset, Targets, digits, idx};
use pullback::nn::{Activation, Batch, Init, Loss, Mlp};
use pullback::{Ctx, Mat};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Digits,
    Mnist,
    Regression,
}

impl Name {
    pub const ALL: [Name; 3] = [Name::Digits, Name::Mnist, Name::Regression];

    pub fn name(self) -> &'static str {
        match self {
            Name::Digits => "digits",
            Name::Mnist => "mnist",
            Name::Regression => "regression",
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Name::ALL.into_iter().find(|name| name.name() == text);
        found.ok_or_else(|| format!("{text}: expected digits, mnist or regression"))
    }
}

/// A network, its cases, and how it is run where nothing is asked for.
pub struct Network {
    pub name: Name,
    pub net: Mlp<f32>,
    pub train: Dataset<f32>,
    pub batch: usize,
    pub init: Init,
    pub seconds: f64,
    /// Learning rate and momentum of SGD, those of `train`.
    pub sgd: (f32, f32),
}

/// η and the initial λ, those of `train`.
const L2: f32 = 1e-5;
pub const DAMPING: f64 = 0.1;

impl Network {
    /// `None` where the files of MNIST are needed and not named.
    pub fn load(name: Name, mnist: Option<&Path>) -> Result<Option<Self>, Failure> {
        let autoencoder = |widths: &[usize]| Mlp::<f32>::autoencoder(widths, Activation::Tanh).l2(L2).build();
        Ok(Some(match name {
            Name::Digits => Self {
                name,
                net: autoencoder(&[64, 200, 100, 50, 10])?,
                train: digits::load()?.into_reconstruction().split(0.2, 1)?.0,
                batch: 256,
                init: Init::sparse(),
                seconds: 3.0,
                sgd: (0.003, 0.99),
            },
            Name::Mnist => {
                let Some(folder) = mnist else { return Ok(None) };
                Self {
                    name,
                    net: autoencoder(&[784, 1000, 500, 250, 30])?,
                    train: idx::read_directory(folder)?.0.into_reconstruction(),
                    batch: 512,
                    init: Init::sparse(),
                    seconds: 10.0,
                    sgd: (0.001, 0.9),
                }
            }
            Name::Regression => Self {
                name,
                net: regression(100)?,
                train: taught()?,
                batch: 256,
                init: Init::GlorotUniform,
                seconds: 1.5,
                sgd: (0.1, 0.9),
            },
        }))
    }

    /// Mean loss over the training cases, the first 10 000 of them at most.
    pub fn loss(&self, ctx: &Ctx<f32>, theta: &[f32]) -> Result<f64, Failure> {
        const PART: usize = 2500;
        let cases = self.train.len().min(10_000);
        let (mut sum, mut batch) = (0.0, self.first_case()?);
        for first in (0..cases).step_by(PART) {
            let part: Vec<usize> = (first..(first + PART).min(cases)).collect();
            self.select(&mut batch, &part)?;
            sum += self.net.evaluate(ctx, theta, &batch)?.loss * part.len() as f64;
        }
        Ok(sum / cases as f64)
    }

    /// A batch to be refilled.
    pub fn first_case(&self) -> pullback::Result<Batch<f32>> {
        let part = self.train.select(&[0])?;
        part.target_matrix().map_or(Batch::autoencoder(part.inputs()), |targets| Batch::new(part.inputs(), targets))
    }

    /// Refills a batch with these cases.
    pub fn select(&self, batch: &mut Batch<f32>, cases: &[usize]) -> pullback::Result<()> {
        batch.select(self.train.inputs(), self.train.target_matrix(), cases)
    }
}

fn regression(hidden: usize) -> pullback::Result<Mlp<f32>> {
    let builder = Mlp::<f32>::builder(20).layer(hidden, Activation::Tanh).layer(1, Activation::Identity);
    builder.loss(Loss::SquaredError).l2(L2).build()
}

/// What a smaller network of the same kind says of random inputs, with noise.
fn taught() -> Result<Dataset<f32>, Failure> {
    const CASES: usize = 5000;
    let mut rng = Pcg64::seed_from_u64(7);
    let inputs = Mat::from_fn(20, CASES, |_, _| rng.random_range(-1.5f32..1.5));
    let teacher = regression(30)?;
    let theta: Vec<f32> = teacher.init(Init::GlorotUniform, 7).iter().map(|w| 3.0 * w).collect();
    let unseen = Batch::new(inputs.as_ref(), Mat::zeros(1, CASES).as_ref())?;
    let mut targets = teacher.predict(&Ctx::default(), &theta, &unseen)?;
    targets.as_mut_slice().iter_mut().for_each(|t| *t += 0.1 * rng.random_range(-1.0f32..1.0));
    Ok(Dataset::new("taught", inputs, Targets::Values(targets))?)
}
