//! proptest strategies: matrices by spectrum, by LAPACK's types and by name, Kronecker pairs, batches, networks.
//!
//! A strategy draws the *arguments* of a generator (type, order, condition, seed) and applies it, so that a failure shrinks
//! to a small order and to an early type, and its label is the call that makes the same matrix again. Randomness comes
//! from the strategy alone: proptest stores the seed of a failure, and `PROPTEST_RNG_SEED` fixes all of them.
//!
//! ```
//! use proptest::prelude::*;
//! use pullback::testing::{ratios, strategies};
//! use pullback::Ctx;
//! proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) }, |(a in strategies::spd::<f64>(40, 1e6))| {
//!     let mut l = a.matrix.clone();
//!     prop_assert!(Ctx::<f64>::reference().potrf(l.as_mut()).is_ok());
//!     prop_assert!(a.matrix.nrows() == 0 || ratios::cholesky(a.matrix.as_ref(), l.as_ref()) < ratios::THRESHOLD);
//! });
//! ```
//!
//! Laws        tests/strategies.rs.

use std::fmt::{Debug, Formatter};

use proptest::prelude::*;
use proptest::sample::select;

use super::gallery;
use super::lapack::{PoType, SepType, po_type, sep_type};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// A matrix with the call that made it; shown by that label.
#[derive(Clone, PartialEq)]
pub struct Drawn<T> {
    /// The generator and its arguments.
    pub label: String,
    /// The matrix.
    pub matrix: Mat<T>,
}

impl<T> Debug for Drawn<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

/// Orders from 0 to `largest`: mostly small, sometimes on either side of a block boundary; shrinks to 0.
pub fn order(largest: usize) -> impl Strategy<Value = usize> + Clone {
    let straddling: Vec<usize> =
        [0, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257].into_iter().filter(|&n| n <= largest).collect();
    prop_oneof![6 => 0..=largest.min(8), 2 => 0..=largest, 1 => select(straddling)]
}

/// [`gallery::spd`] of an order up to `largest` and a condition up to `condition`.
pub fn spd<T: Scalar>(largest: usize, condition: f64) -> impl Strategy<Value = Drawn<T>> + Clone {
    (order(largest), 0.0..=condition.max(1.0).log10(), any::<u64>()).prop_map(|(n, exponent, seed)| {
        let condition = 10f64.powf(exponent);
        let label = format!("gallery::spd({n}, {condition:e}, {seed})");
        Drawn { label, matrix: gallery::spd(n, condition, seed) }
    })
}

/// [`gallery::with_spectrum`] of up to `largest` eigenvalues in [-1, 1]; shrinks by leaving eigenvalues out.
pub fn with_spectrum<T: Scalar>(largest: usize) -> impl Strategy<Value = Drawn<T>> + Clone {
    (prop::collection::vec(-1.0..=1.0f64, 0..=largest), any::<u64>()).prop_map(|(w, seed)| {
        let label = format!("gallery::with_spectrum(&{w:?}, {seed})");
        Drawn { label, matrix: gallery::with_spectrum(&w, seed) }
    })
}

/// LAPACK's positive definite types 1 to 9; shrinks to type 1.
pub fn po<T: Scalar>(largest: usize) -> impl Strategy<Value = Drawn<T>> + Clone {
    (select(PoType::ALL.to_vec()), order(largest), any::<u64>()).prop_map(|(kind, n, seed)| {
        let label = format!("lapack::po_type(PoType::ALL[{}], {n}, {seed})", kind.number() - 1);
        Drawn { label, matrix: po_type(kind, n, seed).matrix }
    })
}

/// LAPACK's symmetric eigenvalue types 1 to 18; shrinks to type 1.
pub fn sep<T: Scalar>(largest: usize) -> impl Strategy<Value = Drawn<T>> + Clone {
    (select(SepType::ALL.to_vec()), order(largest), any::<u64>()).prop_map(|(kind, n, seed)| {
        let label = format!("lapack::sep_type(SepType::ALL[{}], {n}, {seed})", kind.number() - 1);
        Drawn { label, matrix: sep_type(kind, n, seed).matrix }
    })
}

/// The gallery's named matrices; shrinks to the first ones.
pub fn named<T: Scalar>(largest: usize) -> impl Strategy<Value = Drawn<T>> + Clone {
    let families: Vec<gallery::Named> = gallery::named().collect();
    (0..families.len(), order(largest)).prop_map(move |(index, n)| {
        let family = families[index];
        Drawn { label: format!("gallery::named: {} of order {n}", family.name), matrix: family.matrix(n) }
    })
}

/// Two semidefinite factors of orders up to `largest`, each well conditioned, or of half rank, or zero.
pub fn kronecker_pair<T: Scalar>(largest: usize) -> impl Strategy<Value = (Drawn<T>, Drawn<T>)> + Clone {
    (factor(largest), factor(largest))
}

fn factor<T: Scalar>(largest: usize) -> impl Strategy<Value = Drawn<T>> + Clone {
    (0..3u8, 0..=largest, any::<u64>()).prop_map(|(kind, n, seed)| match kind {
        0 => Drawn { label: format!("gallery::spd({n}, 10.0, {seed})"), matrix: gallery::spd(n, 10.0, seed) },
        1 => {
            let rank = n.div_ceil(2);
            let label = format!("gallery::rank_deficient({n}, {rank}, {seed})");
            Drawn { label, matrix: gallery::rank_deficient(n, rank, seed) }
        }
        _ => Drawn { label: format!("Mat::zeros({n}, {n})"), matrix: Mat::zeros(n, n) },
    })
}

/// A batch of 1 to `most` cases, one a column, entries uniform in [-1, 1); shrinks to one case.
pub fn batch<T: Scalar>(rows: usize, most: usize) -> impl Strategy<Value = Drawn<T>> + Clone {
    (1..=most.max(1), any::<u64>()).prop_map(move |(cases, seed)| {
        let label = format!("gallery::uniform({rows}, {cases}, {seed})");
        Drawn { label, matrix: gallery::uniform(rows, cases, seed) }
    })
}

#[cfg(feature = "nn")]
pub use networks::{Network, network};

#[cfg(feature = "nn")]
mod networks {
    use super::*;
    use crate::nn::{Activation, Batch, Init, Loss, Mlp, Reduction};

    /// A network at some parameters, with data that its loss accepts.
    #[derive(Clone)]
    pub struct Network<T: Scalar> {
        /// Widths, activation, loss, reduction, cases and seed.
        pub label: String,
        /// The network.
        pub net: Mlp<T>,
        /// Inputs and targets.
        pub batch: Batch<T>,
        /// θ.
        pub theta: Vec<T>,
    }

    impl<T: Scalar> Debug for Network<T> {
        fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.label)
        }
    }

    const ACTIVATIONS: [Activation; 5] =
        [Activation::Identity, Activation::Tanh, Activation::Logistic, Activation::Softplus, Activation::Relu];
    const LOSSES: [Loss; 3] = [Loss::SquaredError, Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy];

    /// A multilayer perceptron of 1 to `layers` layers of widths up to `widest`, on 1 to `cases` cases. Shrinks to one
    /// linear layer of width 1 under the squared error.
    pub fn network<T: Scalar>(layers: usize, widest: usize, cases: usize) -> impl Strategy<Value = Network<T>> + Clone {
        let widths = prop::collection::vec(1..=widest.max(1), 2..=layers.max(1) + 1);
        let kinds = (0..ACTIVATIONS.len(), 0..LOSSES.len(), any::<bool>());
        (widths, kinds, 1..=cases.max(1), any::<u64>()).prop_filter_map("a network", |(widths, kinds, cases, seed)| {
            let reduction = if kinds.2 { Reduction::Sum } else { Reduction::Mean };
            build(&widths, ACTIVATIONS[kinds.0], LOSSES[kinds.1], reduction, cases, seed)
        })
    }

    fn build<T: Scalar>(
        widths: &[usize],
        activation: Activation,
        loss: Loss,
        reduction: Reduction,
        cases: usize,
        seed: u64,
    ) -> Option<Network<T>> {
        let label = format!("{widths:?} {activation:?} {loss:?} {reduction:?}, {cases} cases, seed {seed}");
        let mut builder = Mlp::builder(widths[0]).loss(loss).reduction(reduction);
        for (i, &width) in widths.iter().enumerate().skip(1) {
            builder = builder.layer(width, if i + 1 == widths.len() { Activation::Identity } else { activation });
        }
        let net = builder.build().ok()?;
        let x = gallery::uniform::<T>(net.inputs(), cases, seed);
        let free = gallery::uniform::<T>(net.outputs(), cases, seed ^ 1);
        let target = |i: usize, j: usize| match loss {
            Loss::SquaredError => free[(i, j)],
            Loss::BernoulliCrossEntropy => T::of(0.5) + T::of(0.5) * free[(i, j)],
            Loss::SoftmaxCrossEntropy => T::of(f64::from(u8::from(j % net.outputs() == i))),
        };
        let targets = Mat::from_fn(net.outputs(), cases, target);
        let batch = net.batch(x.as_ref(), targets.as_ref()).ok()?;
        let mut theta = net.init(Init::GlorotUniform, seed);
        let moved = gallery::uniform::<T>(theta.len(), 1, seed ^ 2);
        theta.iter_mut().zip(moved.as_slice()).for_each(|(w, &d)| *w += T::of(0.25) * d);
        Some(Network { label, net, batch, theta })
    }
}
