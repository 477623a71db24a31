//! From the arguments to a problem: data, network, initial parameters.

use std::path::Path;

use pullback::Scalar;
use pullback::nn::data::{Dataset, Minibatches, Partial, Targets, csv, curves, diabetes, digits, idx};
use pullback::nn::{Activation, Init, Loss, Mlp};

use crate::args::{Arch, Args, Task};
use crate::kinds::{Cases, Kind};
use crate::{Failure, defaults};

/// Everything that the optimizers share.
pub struct Problem<T> {
    pub train: Dataset<T>,
    pub test: Dataset<T>,
    pub net: Mlp<T>,
    pub arch: Arch,
    pub batch: usize,
    /// θ that each optimizer starts from.
    pub start: Vec<T>,
    /// From squared errors as the network sees them to the target's own unit.
    pub error_unit: f64,
}

const TEST_FRACTION: f64 = 0.2;

impl<T: Scalar> Problem<T> {
    pub fn load(args: &Args) -> Result<Self, Failure> {
        let source = Source::of(args)?;
        let (train, test) = source.read::<T>(args)?;
        let batch = args.batch.unwrap_or(defaults::batch(train.len()));
        Minibatches::new(train.len(), batch, args.seed, Partial::Drop)?; // an error here is one before any training
        let arch = architecture(args, &source, train.d_in(), train.d_out())?;
        let net = network(args.task(), &source, &arch)?;
        let init = if args.task() == Task::Autoencoder { Init::sparse() } else { Init::GlorotUniform };
        let start = net.init(init, args.seed);
        let unit = train.standardized_by().and_then(|s| s.targets.as_ref()).map_or(1.0, |t| t.scale()[0].f64());
        Ok(Self { train, test, net, arch, batch, start, error_unit: unit * unit })
    }
}

impl<T: Scalar> Problem<T> {
    /// Cases that a step of this optimizer looks at.
    pub fn cases(&self, kind: Kind) -> usize {
        let most = match kind.cases() {
            Cases::Minibatch => self.batch,
            Cases::Kernel => self.batch.min((defaults::KERNEL / self.net.outputs()).max(1)),
            Cases::Large => defaults::LARGE,
            Cases::Full => defaults::FULL,
        };
        most.min(self.train.len())
    }
}

/// Where the data come from.
enum Source<'a> {
    Digits,
    Curves,
    Diabetes,
    Idx(&'a Path),
    Csv(&'a Path),
}

impl<'a> Source<'a> {
    fn of(args: &'a Args) -> Result<Self, Failure> {
        let path = Path::new(&args.data);
        let source = match args.data.as_str() {
            "digits" => Source::Digits,
            "curves" => Source::Curves,
            "diabetes" => Source::Diabetes,
            _ if path.is_dir() => Source::Idx(path),
            _ if path.exists() => Source::Csv(path),
            name => {
                let what = "no such file or folder; --data takes digits, curves, diabetes, a folder of IDX files or a CSV file";
                return Err(format!("{name}: {what}").into());
            }
        };
        let csv = matches!(source, Source::Csv(_));
        let name = &args.data;
        if args.target.is_some() && !csv {
            return Err(format!("--target names a column of a CSV file, and {name} is none").into());
        }
        if args.task() == Task::Regress && !csv && !matches!(source, Source::Diabetes) {
            return Err(format!("--task regress needs a CSV file with a column of numbers, and {name} is none").into());
        }
        if args.task() == Task::Classify && matches!(source, Source::Curves) {
            return Err("the curves have no classes: use --task autoencoder".into());
        }
        if args.task() == Task::Classify && matches!(source, Source::Diabetes) {
            return Err("the diabetes data have no classes: use --task regress".into());
        }
        Ok(source)
    }

    fn read<T: Scalar>(&self, args: &Args) -> Result<(Dataset<T>, Dataset<T>), Failure> {
        let as_asked = |set: Dataset<T>| match args.task() {
            Task::Autoencoder => set.into_reconstruction(),
            Task::Classify | Task::Regress => set,
        };
        match self {
            Source::Digits => Ok(as_asked(digits::load()?).split(TEST_FRACTION, args.seed)?),
            Source::Diabetes => standardized_parts(&as_asked(diabetes::load()?), args),
            Source::Curves => {
                // far apart, so that no --seed makes a test set of another seed's training set
                let test_seed = args.seed ^ (1 << 63);
                Ok((curves::generate(20_000, args.seed)?, curves::generate(10_000, test_seed)?))
            }
            Source::Idx(folder) => {
                let (train, test) = idx::read_directory(folder)?;
                Ok((as_asked(train), as_asked(test)))
            }
            Source::Csv(file) => {
                let table = csv::read::<T>(file, args.target.as_deref())?;
                let set = match args.task() {
                    Task::Autoencoder => table.into_reconstruction()?,
                    Task::Classify => table.into_classes()?,
                    Task::Regress => table.into_values()?,
                };
                standardized_parts(&set, args)
            }
        }
    }
}

/// A training and a test part, in the training part's units.
fn standardized_parts<T: Scalar>(set: &Dataset<T>, args: &Args) -> Result<(Dataset<T>, Dataset<T>), Failure> {
    let (train, test) = set.split(TEST_FRACTION, args.seed)?;
    if test.is_empty() {
        return Err(format!("{}: {} rows are too few to set a test part aside", args.data, set.len()).into());
    }
    let fitted = train.standardization()?;
    Ok((train.standardized(&fitted)?, test.standardized(&fitted)?))
}

/// The widths asked for, or the default ones, checked against the data.
fn architecture(args: &Args, source: &Source<'_>, d_in: usize, d_out: usize) -> Result<Arch, Failure> {
    let autoencoder = args.task() == Task::Autoencoder;
    let Some(arch) = args.arch.clone() else {
        let widths = match (source, autoencoder) {
            (Source::Digits, true) => vec![64, 200, 100, 50, 10],
            (Source::Curves, true) => vec![784, 400, 200, 100, 50, 25, 6],
            (Source::Diabetes, false) => vec![10, 20, 1],
            (_, true) if d_in == 784 => vec![784, 1000, 500, 250, 30],
            (_, true) => vec![d_in, 2 * d_in, d_in, d_in.div_ceil(4)],
            (_, false) => vec![d_in, 100, 50, d_out],
        };
        return Ok(Arch(widths));
    };
    let (first, last) = (arch.0[0], arch.0[arch.0.len() - 1]);
    if first != d_in {
        return Err(format!("--arch {arch} starts with {first}, but {} has {d_in} inputs", args.data).into());
    }
    if !autoencoder && last != d_out {
        return Err(format!("--arch {arch} ends with {last}, but {} has {d_out} outputs", args.data).into());
    }
    Ok(arch)
}

fn network<T: Scalar>(task: Task, source: &Source<'_>, arch: &Arch) -> Result<Mlp<T>, Failure> {
    let pixels = !matches!(source, Source::Csv(_) | Source::Diabetes);
    let builder = match task {
        // pixels are in [0, 1]: Bernoulli; standardized columns are not
        Task::Autoencoder if pixels => Mlp::autoencoder(&arch.0, Activation::Tanh),
        Task::Autoencoder => Mlp::autoencoder(&arch.0, Activation::Tanh).loss(Loss::SquaredError),
        Task::Classify | Task::Regress => {
            let loss = if task == Task::Classify { Loss::SoftmaxCrossEntropy } else { Loss::SquaredError };
            let (last, hidden) = arch.0[1..].split_last().ok_or("--arch needs two widths")?;
            let builder = hidden.iter().fold(Mlp::builder(arch.0[0]), |b, &width| b.layer(width, Activation::Tanh));
            builder.layer(*last, Activation::Identity).loss(loss)
        }
    };
    Ok(builder.l2(T::of(defaults::L2)).build()?)
}

/// One line about a data set.
pub fn describe<T: Scalar>(problem: &Problem<T>) -> String {
    let outputs = match problem.train.targets() {
        Targets::Reconstruction => "rebuilt".to_owned(),
        Targets::Classes { count, .. } => format!("{count} classes"),
        Targets::Values(_) => "1 value".to_owned(),
    };
    let (train, test, d_in) = (problem.train.len(), problem.test.len(), problem.train.d_in());
    format!("{train} training and {test} test cases, {d_in} inputs, {outputs}; {} parameters", problem.start.len())
}
