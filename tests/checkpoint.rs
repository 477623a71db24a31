//! Checkpoints: every optimizer resumes to the same bits; a save that was killed harms nothing; what does not belong to
//! a run is refused, with the reason.
#![cfg(feature = "nn")]

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::data::{Minibatches, Partial};
use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::checkpoint::Run;
use pullback::optim::{
    Adam, EigenUpdate, FisherKind, GammaRule, IterateAverage, Kfac, KfacBlocks, KfacOptions, LayerStructure,
    LayeredObjective, LevenbergMarquardt, MomentumKind, ParamLayout, RefreshSchedule, Rejection, Sgd, Spring,
    SpringOptions,
};
use pullback::stats::{Decay, DiagonalRule, InputSplit};
use pullback::testing::gallery;
use pullback::{Error, Mat, Scalar};

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
#[path = "common/resumed.rs"]
mod resumed;

use resumed::resumes_bitwise;

/// A network 4-5-3 with a bias each, and three batches.
fn problem<T: Scalar>() -> (Mlp<T>, Vec<T>, Vec<Batch<T>>) {
    let net =
        Mlp::builder(4).layer(5, Activation::Tanh).layer(3, Activation::Identity).l2(T::of(1e-3)).build().unwrap();
    let theta = net.init(Init::GlorotUniform, 3);
    let batch = |seed| {
        let (x, t): (Mat<T>, Mat<T>) = (gallery::uniform(4, 12, seed), gallery::uniform(3, 12, seed + 100));
        net.batch(x.as_ref(), t.as_ref()).unwrap()
    };
    let batches = (0..3).map(batch).collect();
    (net, theta, batches)
}

fn first_order<T: Scalar>() {
    let (net, theta, batches) = problem::<T>();
    for kind in [MomentumKind::HeavyBall, MomentumKind::Nesterov] {
        let make = || Sgd::new(T::of(0.05), T::of(0.9), kind).unwrap();
        resumes_bitwise(&format!("sgd {kind:?}"), make, &net, &theta, &batches, 5);
    }
    resumes_bitwise("adam", || Adam::new(T::of(0.01)).unwrap(), &net, &theta, &batches, 5);
    let options = SpringOptions { learning_rate: 0.3, ..SpringOptions::default() };
    resumes_bitwise("spring", || Spring::new(options).unwrap(), &net, &theta, &batches, 5);
}

/// Every structure, damping and rule, saved between two refreshes (k = 7, T₃ = 5).
fn kfac<T: Scalar>() {
    let (net, theta, batches) = problem::<T>();
    let base = KfacOptions::<T> { averaging: Some((Decay::DEFAULT, 3)), ..KfacOptions::default() };
    let exact = KroneckerDamping::Exact;
    let frobenius = KroneckerDamping::Factored { pi: PiRule::Frobenius };
    let diagonal = |rule| LayerStructure::Diagonal { rule };
    let gamma = GammaRule::Search { interval: 3, omega: 0.8, max: 1.0 };
    let tracked = EigenUpdate::Tracked { tolerance: 0.2 };
    let cases = [
        ("default", base),
        ("exact damping", KfacOptions { damping: exact, ..base }),
        ("frobenius, rejection", KfacOptions { damping: frobenius, rejection: Rejection::EveryStep, ..base }),
        ("eigenvalues", KfacOptions { structure: LayerStructure::EigenKronecker, damping: exact, ..base }),
        ("tracked bases", KfacOptions { damping: exact, eigenbases: tracked, ..base }),
        ("tracked eigenvalues", KfacOptions { structure: LayerStructure::EigenKronecker, eigenbases: tracked, ..base }),
        ("refreshed in turn", KfacOptions { refresh_schedule: RefreshSchedule::InTurn, ..base }),
        ("diagonal", KfacOptions { structure: diagonal(DiagonalRule::Exact), ..base }),
        ("factored diagonal", KfacOptions { structure: diagonal(DiagonalRule::Factored), ..base }),
        ("tridiagonal", KfacOptions { blocks: KfacBlocks::Tridiagonal, ..base }),
        ("searched gamma", KfacOptions { gamma, ..base }),
        ("exact Fisher", KfacOptions { fisher: FisherKind::Exact, ..base }),
    ];
    for (name, options) in cases {
        let make = || Kfac::<T, <Mlp<T> as LayeredObjective<T>>::Workspace>::new(options).unwrap();
        resumes_bitwise(name, make, &net, &theta, &batches, 7);
    }
    for damping in [exact, frobenius] {
        let split = InputSplit { outer: 2, inner: 2, bias: true };
        let structures = vec![LayerStructure::ThreeFactor { split }, LayerStructure::Kronecker];
        let options = KfacOptions { damping, ..base };
        let make = || Kfac::with_structures(options, structures.clone()).unwrap();
        resumes_bitwise::<T, Mlp<T>, Kfac<T, _>>("three factors", make, &net, &theta, &batches, 7);
    }
}
for_both!(first_order, kfac);

/// What a run holds beside its optimizer.
#[test]
fn minibatches_averages_and_rules_go_on_where_they_were() {
    let layout = ParamLayout::new([(2, 2)]);
    let run = Run { kind: "parts", layout: &layout };
    for partial in [Partial::Drop, Partial::Keep] {
        for seen in 0..9 {
            let mut order = Minibatches::new(10, 4, 7, partial).unwrap();
            let mut average = IterateAverage::<f64>::new(Decay::new(0.6).unwrap(), 3);
            let mut rule = LevenbergMarquardt::new(1.0, 0.7, 1e-3, 1e3).unwrap();
            for i in 0..seen {
                order.next_batch();
                average.update(&[i as f64; 4]);
                rule.raise();
            }
            let bytes = run.to_bytes::<f64, _>(&(&order, &average, &rule)).unwrap();
            let (mut order_2, mut average_2, rule_2): (Minibatches, IterateAverage<f64>, LevenbergMarquardt) =
                run.from_bytes::<f64, _>(&bytes, "memory").unwrap();
            assert_eq!(rule, rule_2);
            for i in 0..7 {
                assert_eq!(order.next_batch(), order_2.next_batch(), "batch {i} after {seen}");
                average.update(&[0.5 * i as f64; 4]);
                average_2.update(&[0.5 * i as f64; 4]);
                assert_eq!(average.get(), average_2.get());
                assert_eq!(order.epoch(), order_2.epoch());
            }
        }
    }
}

type State = (Sgd<f64>, Vec<f64>);

fn state() -> State {
    (Sgd::new(0.1, 0.5, MomentumKind::HeavyBall).unwrap(), vec![1.0, -0.0, f64::NAN, f64::MIN_POSITIVE])
}

fn reason<X>(outcome: Result<X, Error>) -> String {
    match outcome {
        Err(Error::Data { what, .. }) => what,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_file_cut_or_changed_anywhere_is_refused_with_the_reason() {
    let layout = ParamLayout::new([(2, 2)]);
    let run = Run { kind: "sgd", layout: &layout };
    let bytes = run.to_bytes::<f64, _>(&state()).unwrap();
    let load = |bytes: &[u8]| run.from_bytes::<f64, State>(bytes, "cut");
    let whole = load(&bytes).unwrap();
    assert_eq!(whole.1.map_bits(), state().1.map_bits());
    for length in 0..bytes.len() {
        let what = reason(load(&bytes[..length]));
        assert!(what.contains("truncated") && what.contains(&format!("{length} bytes")), "{length}: {what}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let what = reason(load(&changed));
            let expected: &[&str] = match at {
                0..8 => &["no checkpoint"],
                8..12 => &["format"],
                12..24 => &["truncated", "checksum"],
                _ => &["checksum"],
            };
            assert!(expected.iter().any(|e| what.contains(e)), "byte {at}: {what}");
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(reason(load(&longer)).contains("checksum"));
}

/// The bits of each number.
trait MapBits {
    fn map_bits(&self) -> Vec<u64>;
}

impl MapBits for Vec<f64> {
    fn map_bits(&self) -> Vec<u64> {
        self.iter().map(|w| w.to_bits()).collect()
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_with_the_reason() {
    let layout = ParamLayout::new([(2, 2)]);
    let run = Run { kind: "sgd", layout: &layout };
    let bytes = run.to_bytes::<f64, _>(&state()).unwrap();
    let other_layout = ParamLayout::new([(2, 1), (1, 2)]);
    let other = Run { kind: "sgd", layout: &other_layout };
    let what = reason(other.from_bytes::<f64, State>(&bytes, "file"));
    assert!(what.contains("2x2") && what.contains("2x1 1x2") && what.contains("architecture"), "{what}");
    let what = reason(Run { kind: "adam", ..run }.from_bytes::<f64, State>(&bytes, "file"));
    assert!(what.contains("`sgd`") && what.contains("`adam`"), "{what}");
    let what = reason(run.from_bytes::<f32, (Sgd<f32>, Vec<f32>)>(&bytes, "file"));
    assert!(what.contains("f64") && what.contains("f32"), "{what}");
    // another state under the same name: a shorter one, and a longer one
    let what = reason(run.from_bytes::<f64, Sgd<f64>>(&bytes, "file"));
    assert!(what.contains("none of it"), "{what}");
    let what = reason(run.from_bytes::<f64, (Sgd<f64>, Vec<f64>, Vec<f64>)>(&bytes, "file"));
    assert!(what.contains("no state of this kind"), "{what}");
    // the version of the crate stands first in the header, behind its length
    let mut older = bytes.clone();
    older[29] = b'9';
    let crc = crc32fast::hash(&older[28..]);
    older[24..28].copy_from_slice(&crc.to_le_bytes());
    let what = reason(run.from_bytes::<f64, State>(&older, "file"));
    assert!(what.contains(&format!("this is {}", env!("CARGO_PKG_VERSION"))), "{what}");
    let error = run.load::<f64, State>(std::path::Path::new("no/such/file")).unwrap_err();
    assert!(error.to_string().starts_with("no/such/file: the checkpoint cannot be read"), "{error}");
}

#[test]
fn a_save_killed_on_the_way_leaves_the_old_file() {
    let layout = ParamLayout::new([(2, 2)]);
    let run = Run { kind: "sgd", layout: &layout };
    let folder = tempfile::tempdir().unwrap();
    let (path, partial) = (folder.path().join("run"), folder.path().join("run.partial"));
    run.save::<f64, _>(&path, &state()).unwrap();
    assert!(!partial.exists());
    let old = std::fs::read(&path).unwrap();
    let newer = run.to_bytes::<f64, _>(&(state().0, vec![7.0; 4])).unwrap();
    for length in [0, 1, newer.len() / 2, newer.len()] {
        // as if the power had gone before the rename
        std::fs::write(&partial, &newer[..length]).unwrap();
        let (_, theta): State = run.load::<f64, _>(&path).unwrap();
        assert_eq!(theta.map_bits(), state().1.map_bits());
        assert_eq!(std::fs::read(&path).unwrap(), old);
    }
    // the next save is not hindered by what lies there
    run.save::<f64, _>(&path, &(state().0, vec![7.0; 4])).unwrap();
    assert_eq!(run.load::<f64, State>(&path).unwrap().1, [7.0; 4]);
    assert!(!partial.exists());
    // and one that cannot be made leaves nothing behind
    let nowhere = folder.path().join("missing").join("run");
    assert!(reason(run.save::<f64, _>(&nowhere, &state())).contains("cannot be written"));
    assert!(!nowhere.with_extension("partial").exists());
}

/// Values that no constructor would give are refused when they are read, not used.
#[test]
fn impossible_values_are_refused() {
    let layout = ParamLayout::new([(2, 2)]);
    let run = Run { kind: "values", layout: &layout };
    let matrix = run.to_bytes::<f64, _>(&(vec![1.0f64; 5], 2usize, 3usize)).unwrap();
    assert!(run.from_bytes::<f64, Mat<f64>>(&matrix, "matrix").is_err());
    for decay in [1.0f64, -0.1, f64::NAN] {
        let bytes = run.to_bytes::<f64, _>(&decay).unwrap();
        assert!(run.from_bytes::<f64, Decay>(&bytes, "decay").is_err());
        assert_eq!(run.from_bytes::<f64, pullback::Damping<f64>>(&bytes, "damping").is_ok(), decay == 1.0);
    }
    let huge = run.to_bytes::<f64, _>(&vec![(usize::MAX, 2usize)]).unwrap();
    assert!(run.from_bytes::<f64, ParamLayout>(&huge, "layout").is_err());
    // cases, batch, seed, partial, epoch, position
    for (cases, batch, position) in [(10usize, 0usize, 0usize), (10, 11, 0), (10, 4, 11), (usize::MAX, 1, 0)] {
        let place = (cases, batch, 7u64, Partial::Drop, 0u64, position);
        let bytes = run.to_bytes::<f64, _>(&place).unwrap();
        assert!(run.from_bytes::<f64, Minibatches>(&bytes, "batches").is_err(), "{place:?}");
    }
    let options = KfacOptions::<f64> { refresh_interval: 0, ..KfacOptions::default() };
    let rule = LevenbergMarquardt::new(1.0, 0.5, 0.1, 2.0).unwrap();
    let rest = (None::<f64>, 0u64, 0u64, None::<u8>, None::<u8>, None::<u8>);
    let bytes = run.to_bytes::<f64, _>(&((options, None::<Vec<LayerStructure>>, rule), rest)).unwrap();
    assert!(run.from_bytes::<f64, Kfac<f64, ()>>(&bytes, "kfac").is_err());
    let valid = (KfacOptions::<f64>::default(), None::<Vec<LayerStructure>>, rule);
    let bytes = run.to_bytes::<f64, _>(&(valid, rest)).unwrap();
    assert!(run.from_bytes::<f64, Kfac<f64, ()>>(&bytes, "kfac").is_ok());
}
