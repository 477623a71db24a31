//! Every error and every stop reason of conjugate gradient comes from a call that a caller can make, and every message
//! is one clear paragraph. New variants without a case here fail the tests.

use pullback::backend::{Backend, Reference};
use pullback::curvature::KroneckerDamping;
use pullback::factor::{Cholesky, Lu, SymEigen};
use pullback::kronecker::{KroneckerPairInverse, PairSign};
use pullback::krylov::{CgOptions, CgStop, MinresOptions, MinresStop, StallRule, minres, pcg, steihaug};
use pullback::linop::{FnOperator, SymmetricDense};
use pullback::optim::{CaptureSink, KfacPreconditioner, ParamLayout, PreconditionerOptions};
use pullback::{
    Ctx, Damping, Error, LinearOperator, Mat, MatMut, MatRef, Op, Preconditioner, Result, SelfAdjoint, Side,
};

fn diagonal(d: &[f64]) -> Mat<f64> {
    Mat::from_diagonal(d)
}

/// A user's backend whose LAPACK gives up, and which can say that it is not there.
#[derive(Debug)]
struct Unwell {
    missing: bool,
}

impl Backend<f64> for Unwell {
    fn name(&self) -> &'static str {
        "unwell"
    }
    fn gemm(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        b: MatRef<'_, f64>,
        tb: Op,
        beta: f64,
        c: MatMut<'_, f64>,
    ) -> Result<()> {
        Reference.gemm(threads, alpha, a, ta, b, tb, beta, c)
    }
    fn syrk_lower(
        &self,
        threads: usize,
        alpha: f64,
        a: MatRef<'_, f64>,
        ta: Op,
        beta: f64,
        c: MatMut<'_, f64>,
    ) -> Result<()> {
        Reference.syrk_lower(threads, alpha, a, ta, beta, c)
    }
    fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, f64>, tl: Op, b: MatMut<'_, f64>) -> Result<()> {
        Reference.trsm(threads, side, l, tl, b)
    }
    fn potrf(&self, threads: usize, a: MatMut<'_, f64>) -> Result<()> {
        Reference.potrf(threads, a)
    }
    fn syevd(&self, _threads: usize, _a: MatMut<'_, f64>, _w: &mut [f64]) -> Result<()> {
        if self.missing {
            return Err(Error::BackendUnavailable {
                backend: "unwell",
                reason: "this build has no eigensolver; install one",
            });
        }
        Err(Error::NoConvergence { op: "syevd" })
    }
}

fn failing_refresh() -> Error {
    let ctx = Ctx::<f64>::default();
    let options = PreconditionerOptions {
        damping: KroneckerDamping::Exact,
        tolerated_failures: 1,
        ..PreconditionerOptions::default()
    };
    let mut kfac = KfacPreconditioner::new(&ParamLayout::new([(1, 1)]), options).unwrap();
    let lambda = Damping::try_from(1.0).unwrap();
    let mut feed = |value: f64| {
        kfac.begin_update();
        kfac.activations(&ctx, 0, diagonal(&[1.0]).as_ref(), 1.0).unwrap();
        kfac.gradients(&ctx, 0, diagonal(&[value]).as_ref(), 1.0).unwrap();
        kfac.refresh(&ctx, lambda)
    };
    feed(1.0).unwrap();
    feed(f64::NAN).unwrap();
    feed(f64::NAN).unwrap_err()
}

/// Every variant by name, from a call that produces it, with words that its message must hold.
fn produced() -> Vec<(&'static str, Error, Vec<&'static str>)> {
    let ctx = Ctx::<f64>::default();
    let unwell = |missing| {
        let ctx = Ctx::new(Unwell { missing });
        SymEigen::new(&ctx, diagonal(&[1.0])).unwrap_err()
    };
    let (one, two) = (diagonal(&[1.0]), diagonal(&[2.0]));
    let (first, second) = ((one.as_ref(), one.as_ref()), (two.as_ref(), two.as_ref()));
    let outweighed = KroneckerPairInverse::new(&ctx, first, second, PairSign::Minus).unwrap_err();
    let mut c = Mat::zeros(3, 4);
    let shape = ctx.gemm(1.0, c.clone().as_ref(), Op::No, Mat::zeros(5, 4).as_ref(), Op::No, 0.0, c.as_mut());
    let user_code = FnOperator::new(1, |_: &[f64], _: &mut [f64]| Err("twelve".parse::<f64>().unwrap_err()));
    vec![
        ("Shape", shape.unwrap_err(), vec!["gemm", "4x4", "5x4"]),
        (
            "NotPositiveDefinite",
            Cholesky::new(&ctx, diagonal(&[1.0, 2.0, -3.0])).unwrap_err(),
            vec!["potrf", "pivot 2", "damping"],
        ),
        ("NotDominant", outweighed, vec!["KroneckerPairInverse", "-3e0", "damp"]),
        ("Singular", Lu::new(diagonal(&[1.0, 0.0])).unwrap_err(), vec!["Lu", "pivot 1"]),
        ("NoConvergence", unwell(false), vec!["syevd", "converge"]),
        ("NotFinite", Cholesky::new(&ctx, diagonal(&[f64::NAN])).unwrap_err(), vec!["potrf", "NaN"]),
        ("InvalidParameter", Damping::<f64>::try_from(-1.5).unwrap_err(), vec!["damping", "-1.5", "positive"]),
        ("BackendUnavailable", unwell(true), vec!["unwell", "install"]),
        #[cfg(feature = "nn")]
        (
            "Data",
            pullback::nn::data::csv::parse::<f64>("wines.csv", b"1,2\n3\n", None).unwrap_err(),
            vec!["wines.csv", "row 2"],
        ),
        ("RepeatedFailure", failing_refresh(), vec!["K-FAC refresh", "2 times", "NaN"]),
        ("External", user_code.to_dense(&ctx).unwrap_err(), vec!["invalid float literal"]),
    ]
}

/// The variants that the source of the error type declares.
fn declared() -> Vec<&'static str> {
    let source = include_str!("../src/error.rs");
    let body = source.split("pub enum Error {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("the enum");
    let variant = |line: &'static str| {
        let name = line.strip_prefix("    ")?.split([' ', '(', ',']).next()?;
        name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(name)
    };
    body.lines().filter_map(variant).collect()
}

#[test]
fn every_error_is_produced_by_a_call() {
    let produced = produced();
    for (name, error, _) in &produced {
        let debug = format!("{error:?}");
        assert!(debug.starts_with(name), "{debug} is no {name}");
    }
    let names: Vec<&str> = produced.iter().map(|(name, ..)| *name).collect();
    let mut declared = declared();
    assert!(declared.len() >= 10, "{declared:?}");
    declared.retain(|name| cfg!(feature = "nn") || *name != "Data");
    assert_eq!(names, declared);
}

#[test]
fn every_message_is_one_clear_paragraph() {
    for (name, error, words) in produced() {
        let message = error.to_string();
        assert!(message.len() >= 20 && message.len() <= 300, "{name}: {} bytes: {message}", message.len());
        assert!(!message.contains('\n') && !message.contains("  ") && message.trim() == message, "{name}: {message:?}");
        assert!(!message.ends_with('.') && !message.contains(['{', '}', '"']), "{name}: {message}");
        for word in words {
            assert!(message.contains(word), "{name} does not say {word:?}: {message}");
        }
    }
}

#[test]
fn errors_travel() {
    fn assert_portable<E: std::error::Error + Clone + Send + Sync + 'static>(_: &E) {}
    for (_, error, _) in produced() {
        assert_portable(&error);
        assert_eq!(error.clone().to_string(), error.to_string());
    }
}

/// Declared to be positive definite.
struct Claimed(SymmetricDense<f64>);
impl LinearOperator<f64> for Claimed {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}
impl SelfAdjoint<f64> for Claimed {}
impl Preconditioner<f64> for Claimed {}

/// A call that stops for this reason. A new reason does not compile until it has one.
fn stop_by(reason: CgStop) -> CgStop {
    let n = 200;
    let graded: Vec<f64> = (0..n).map(|i| 1e6f64.powf(i as f64 / (n - 1) as f64)).collect();
    let all = |value: f64| vec![value; n];
    let options = CgOptions::<f64>::default();
    let stall = Some(StallRule::default());
    let (a, m_inv, options) = match reason {
        CgStop::Converged => (all(2.0), 1.0, options),
        CgStop::TrustRegionBoundary => return boundary_stop(),
        CgStop::ModelStalled => (graded, 1.0, CgOptions { stall, relative_tolerance: 0.0, ..options }),
        CgStop::IterationLimit => (graded, 1.0, CgOptions { max_iterations: 3, ..options }),
        CgStop::NonPositiveCurvature => (all(-2.0), 1.0, options),
        CgStop::PreconditionerNotPositive => (all(2.0), -1.0, options),
        CgStop::Breakdown => (all(f64::NAN), 1.0, options),
    };
    let a = SymmetricDense::new(diagonal(&a)).unwrap();
    let m_inv = Claimed(SymmetricDense::new(diagonal(&all(m_inv))).unwrap());
    let (b, mut x) = (Mat::from_fn(n, 1, |i, _| (i as f64).cos()), Mat::zeros(n, 1));
    let report = pcg(&Ctx::default(), &a, Some(&m_inv), b.as_ref(), x.as_mut(), &options).unwrap();
    assert!(x.as_ref().is_finite());
    report.stop()
}

/// A solution longer than the radius.
fn boundary_stop() -> CgStop {
    let a = SymmetricDense::new(diagonal(&[2.0, 4.0])).unwrap();
    let mut x = [0.0; 2];
    let options = CgOptions::default();
    steihaug(&Ctx::default(), &a, None, &[8.0, 8.0], 0.5, &mut x, &options).unwrap().stop
}

#[test]
fn every_stop_reason_is_produced_by_a_call() {
    let order = [
        CgStop::Converged,
        CgStop::TrustRegionBoundary,
        CgStop::ModelStalled,
        CgStop::IterationLimit,
        CgStop::NonPositiveCurvature,
        CgStop::PreconditionerNotPositive,
        CgStop::Breakdown,
    ];
    assert!(order.is_sorted(), "best first: the worst of several columns is the largest");
    for reason in order {
        assert_eq!(stop_by(reason), reason);
    }
}

/// A call of MINRES that stops for this reason. A new reason does not compile until it has one.
fn minres_stop_by(reason: MinresStop) -> MinresStop {
    let options = MinresOptions::default();
    let (a, m_inv, options) = match reason {
        MinresStop::Converged => ([2.0, -1.0, 3.0], 1.0, options),
        MinresStop::LeastSquares => ([2.0, -1.0, 0.0], 1.0, options),
        MinresStop::IterationLimit => ([2.0, -1.0, 3.0], 1.0, MinresOptions { max_iterations: 2, ..options }),
        MinresStop::PreconditionerNotPositive => ([2.0, -1.0, 3.0], -1.0, options),
        MinresStop::Breakdown => ([2.0, f64::NAN, 3.0], 1.0, options),
    };
    let a = SymmetricDense::new(diagonal(&a)).unwrap();
    let m_inv = Claimed(SymmetricDense::new(diagonal(&[m_inv; 3])).unwrap());
    let mut x = [0.0; 3];
    let report = minres(&Ctx::default(), &a, Some(&m_inv), &[1.0, 2.0, 3.0], &mut x, &options).unwrap();
    assert!(x.iter().all(|x: &f64| x.is_finite()));
    report.stop
}

#[test]
fn every_stop_reason_of_minres_is_produced_by_a_call() {
    let order = [
        MinresStop::Converged,
        MinresStop::LeastSquares,
        MinresStop::IterationLimit,
        MinresStop::PreconditionerNotPositive,
        MinresStop::Breakdown,
    ];
    assert!(order.is_sorted(), "best first");
    for reason in order {
        assert_eq!(minres_stop_by(reason), reason);
    }
}
