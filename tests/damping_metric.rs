//! Damping in a metric: metrics by their factors, C + λM against the dense matrix, and what a metric is for.
//!
//! A bound is `tolerance(n, κ)` times norms, κ being that of C + λM or of M.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use std::sync::Arc;

use curvature_support::conformance::{Claim, conforms, damping, diagonal_agrees, factored_system};
use curvature_support::*;
use pullback::curvature::{
    AnyCapable, AnyCurvature, BlockDiagonal, Congruence, Definiteness, Dense, Diagonal, Fidelity, HasFrobeniusNorm,
    HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, InMetric, Kronecker, KroneckerDamping,
    MatrixFree, OnFailure, PiRule, Recovery, SolveReport, certified_solve,
};
use pullback::factor::SymEigen;
use pullback::kronecker::KroneckerMetric;
use pullback::krylov::CgOptions;
use pullback::linop::{
    BlockMetric, DenseMetric, DiagonalMetric, Identity, Metric, MetricInverse, SymmetricDense, whitened,
};
use pullback::testing::{contexts, tolerance};
use pullback::{
    Ctx, Curvature, DampedInverse, DampedSolver, Error, HasDiagonal, LinearOperator, Mat, Scalar, SelfAdjoint,
};

/// Condition of every random metric here.
const KAPPA_M: f64 = 20.0;

fn diagonal_metric<T: Scalar>(n: usize, seed: u64) -> DiagonalMetric<T> {
    DiagonalMetric::new(random::<T>(n, 1, seed).as_slice().iter().map(|x| x.abs() + T::of(0.1)).collect()).unwrap()
}

fn dense_metric<T: Scalar>(ctx: &Ctx<T>, n: usize, seed: u64) -> DenseMetric<T> {
    DenseMetric::new(ctx, spd::<T>(n, KAPPA_M, seed)).unwrap()
}

fn kronecker_metric<T: Scalar>(ctx: &Ctx<T>, d_in: usize, d_out: usize) -> KroneckerMetric<T> {
    KroneckerMetric::new(ctx, spd::<T>(d_in, 4.0, 1), spd::<T>(d_out, 5.0, 2)).unwrap()
}

/// M by its products, F⁻¹ and F⁻ᵀ transposes of one another with F⁻¹ M F⁻ᵀ = I, and log det M.
fn metric_laws<T: Scalar, M: Metric<T>>(place: &str, ctx: &Ctx<T>, metric: &M, want: &Mat<f64>) {
    let n = want.nrows();
    let place = format!("{place} of order {n} on {} in {}", ctx.backend().name(), T::NAME);
    let matrix = metric.to_dense(ctx).unwrap();
    assert!(distance(&matrix, want) <= tolerance::<T>(n, 1.0) * norm(want), "{place}: M");
    let (mut left, mut right) = (Mat::<T>::identity(n), Mat::<T>::identity(n));
    metric.whiten(ctx, left.as_mut()).unwrap();
    metric.whiten_transposed(ctx, right.as_mut()).unwrap();
    let (left, limit): (Mat<f64>, f64) = (left.cast(), tolerance::<T>(n, KAPPA_M) * (n as f64).sqrt());
    assert!(distance(&right, &left.transposed()) <= limit * norm(&left), "{place}: not transposes");
    let identity = times(&times(&left, want), &left.transposed());
    assert!(distance(&identity, &Mat::identity(n)) <= limit, "{place}: {:e}", distance(&identity, &Mat::identity(n)));
    let log: f64 = SymEigen::new(&Ctx::default(), want.clone()).unwrap().values().iter().map(|w| w.ln()).sum();
    let got = metric.log_determinant().f64();
    assert!((got - log).abs() <= limit + tolerance::<T>(n, 1.0) * log.abs(), "{place}: log det {got:e}, {log:e}");
}

fn metrics<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [0, 1, 2, 31, 33] {
            metric_laws("identity", &ctx, &Identity::new(n), &Mat::identity(n));
            let diagonal = diagonal_metric::<T>(n, 3);
            metric_laws("diagonal", &ctx, &diagonal, &Mat::from_diagonal(diagonal.entries()).cast());
            let dense = dense_metric::<T>(&ctx, n, 4);
            metric_laws("dense", &ctx, &dense, &dense.matrix().cast());
            let blocks = BlockMetric::new(vec![dense.clone(), dense_metric(&ctx, 2, 5)]);
            let want = assembled(&[dense.matrix().cast(), spd::<T>(2, KAPPA_M, 5).cast()]);
            metric_laws("blocks", &ctx, &blocks, &want);
            let inverse: Mat<f64> = MetricInverse(dense.clone()).to_dense(&ctx).unwrap().cast();
            let error = distance(&times(&dense.matrix().cast(), &inverse), &Mat::identity(n));
            assert!(error <= tolerance::<T>(n, KAPPA_M) * (n as f64).sqrt(), "M M^-1 - I is {error:e}");
        }
        for (d_in, d_out) in [(0, 2), (1, 1), (2, 3), (7, 5), (1, 33)] {
            let metric = kronecker_metric::<T>(&ctx, d_in, d_out);
            let (a, s) = metric.factors();
            metric_laws("Kronecker", &ctx, &metric, &kron(a.matrix(), s.matrix()));
        }
    }
}

/// Everything that a curvature in a metric promises, `system(λ)` being the matrix that it solves with.
fn laws<T: Scalar, C, M>(place: &str, ctx: &Ctx<T>, c: &InMetric<T, C, M>, system: impl Fn(T) -> Mat<f64>)
where
    C: Congruence<T, M>,
    C::Transformed: Curvature<T>,
    M: Metric<T> + Clone,
    <C::Transformed as Curvature<T>>::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T>,
{
    let (n, b) = (c.dim(), random::<T>(c.dim(), 3, 6));
    let matrix: Mat<f64> = c.curvature().to_dense(ctx).unwrap().cast();
    let metric: Mat<f64> = c.metric().to_dense(ctx).unwrap().cast();
    assert!(c.to_dense(ctx).unwrap().cast::<f64>() == matrix, "{place}: the product is that of C");
    for lambda in [1e-2, 1.0, 1e3] {
        let lambda = damping::<T>(lambda);
        let place = format!("{place}, lambda {:e} on {} in {}", lambda.get(), ctx.backend().name(), T::NAME);
        let mut added = b.clone();
        c.add_damping(ctx, lambda, b.as_ref(), added.as_mut()).unwrap();
        let scaled = shifted(&metric.map(|m| lambda.get().f64() * m), 1.0);
        let limit = tolerance::<T>(n, 1.0) * norm(&scaled) * norm(&b);
        assert!(distance(&added, &times(&scaled, &b.cast())) <= limit, "{place}: add_damping");

        let solver = c.damped(ctx, lambda).unwrap();
        assert_eq!((DampedSolver::dim(&solver), solver.damping()), (n, lambda));
        let system = system(lambda.get());
        let (least, largest) = extremes(&system);
        let limit = tolerance::<T>(n, largest / least * KAPPA_M);
        let mut x = Mat::from_fn(n, 3, |_, _| T::nan());
        assert_eq!(solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap(), SolveReport::Direct);
        let error = distance(&b, &times(&system, &x.cast()));
        assert!(error <= limit * norm(&b), "{place}: residual {error:e}");
        let mut again = Mat::zeros(n, 3);
        solver.precondition(ctx, b.as_ref(), again.as_mut()).unwrap();
        assert_eq!(x, again, "{place}");
        let root: Mat<f64> = solver.inverse_square_root(ctx).unwrap().to_dense(ctx).unwrap().cast();
        let identity = times(&system, &times(&root, &root.transposed()));
        let error = distance(&identity, &Mat::identity(n));
        assert!(error <= limit * (n as f64).sqrt(), "{place}: M R R' - I is {error:e}");
        let logs = SymEigen::new(&Ctx::default(), system).unwrap();
        let (want, sizes) =
            logs.values().iter().fold((0.0, 0.0), |(sum, sizes), w| (sum + w.ln(), sizes + w.ln().abs()));
        let got = solver.log_determinant().f64();
        assert!((got - want).abs() <= limit * n as f64 + tolerance::<T>(n, 1.0) * sizes, "{place}: {got:e}, {want:e}");
    }
}

fn sum(c: &Mat<f64>, m: &Mat<f64>, lambda: f64) -> Mat<f64> {
    Mat::from_fn(c.nrows(), c.ncols(), |i, j| c[(i, j)] + lambda * m[(i, j)])
}

fn exact<T: Scalar, C, M>(place: &str, ctx: &Ctx<T>, c: C, metric: M)
where
    C: Congruence<T, M>,
    M: Metric<T> + Clone,
    <C::Transformed as Curvature<T>>::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T>,
{
    let (dense, m) = (c.to_dense(ctx).unwrap().cast(), metric.to_dense(ctx).unwrap().cast());
    let c = InMetric::new(ctx, c, metric).unwrap();
    laws(place, ctx, &c, |lambda| sum(&dense, &m, lambda.f64()));
}

fn curvatures<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [0, 1, 2, 31, 33] {
            for m in [spd::<T>(n, 100.0, 7), low_rank(n, n / 3, 8), Mat::zeros(n, n)] {
                let dense = || Dense::new(m.clone()).unwrap();
                exact("dense in identity", &ctx, dense(), Identity::new(n));
                exact("dense in diagonal", &ctx, dense(), diagonal_metric(n, 9));
                exact("dense in dense", &ctx, dense(), dense_metric(&ctx, n, 10));
            }
            let d: Vec<T> = random::<T>(n, 1, 11).as_slice().iter().map(|x| x.abs()).collect();
            exact("diagonal", &ctx, Diagonal::new(d.clone()).unwrap(), diagonal_metric(n, 12));
            exact("diagonal in identity", &ctx, Diagonal::new(d).unwrap(), Identity::new(n));
        }
        for (d_in, d_out) in [(1, 1), (2, 3), (7, 5)] {
            let (a, s) = (spd::<T>(d_in, 10.0, 13), low_rank::<T>(d_out, d_out.div_ceil(2), 14));
            let c = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
            exact("Kronecker", &ctx, c.clone(), kronecker_metric(&ctx, d_in, d_out));
            let scaling = KroneckerMetric::marquardt(&ctx, a.as_ref(), s.as_ref(), T::of(0.1)).unwrap();
            exact("Kronecker by Marquardt", &ctx, c, scaling);
        }
        let block = |seed| Dense::new(spd::<T>(5, 50.0, seed)).unwrap();
        let blocks = || BlockDiagonal::new(vec![block(15), block(16)]);
        let metrics = BlockMetric::new(vec![dense_metric(&ctx, 5, 17), dense_metric(&ctx, 5, 18)]);
        exact("blocks", &ctx, blocks(), metrics);
        exact("blocks in one diagonal", &ctx, blocks(), diagonal_metric(10, 19));
    }
}

/// Factored damping of A' ⊗ S' in the new variables, taken back.
fn factored<T: Scalar>() {
    let (a, s) = (spd::<T>(4, 10.0, 20), spd::<T>(3, 10.0, 21));
    for ctx in contexts::<T>() {
        let kind = KroneckerDamping::Factored { pi: PiRule::Trace };
        let metric = kronecker_metric::<T>(&ctx, 4, 3);
        let c = InMetric::new(&ctx, Kronecker::new(a.clone(), s.clone(), kind).unwrap(), metric.clone()).unwrap();
        let (inner_a, inner_s) = (c.transformed().a().clone(), c.transformed().s().clone());
        let mut f = Mat::<T>::identity(12);
        metric.whiten(&ctx, f.as_mut()).unwrap();
        // F from F⁻¹ = L⁻¹: M F⁻ᵀ = F
        let f = times(&metric.to_dense(&ctx).unwrap().cast(), &f.cast().transposed());
        laws("factored Kronecker", &ctx, &c, |lambda| {
            let inner = factored_system(&inner_a, &inner_s, PiRule::Trace, lambda);
            times(&times(&f, &inner), &f.transposed())
        });
        assert_eq!(c.damped(&ctx, damping(0.1)).unwrap().fidelity(), Fidelity::Factored);
    }
}

/// The transformed curvature is a curvature like any other, and the capabilities of C are its own.
fn contract<T: Scalar>() {
    let ctx = Ctx::<T>::default();
    let m = spd::<T>(9, 50.0, 22);
    let metric = dense_metric(&ctx, 9, 23);
    let c = InMetric::new(&ctx, Dense::new(m.clone()).unwrap(), metric.clone()).unwrap();
    let transformed = whitened(&ctx, &m, &metric).unwrap();
    conforms(&Claim::exact("transformed", transformed.cast()), c.transformed());
    let plain = Dense::new(m).unwrap();
    diagonal_agrees(&c);
    assert_eq!(c.trace(&ctx).unwrap(), plain.trace(&ctx).unwrap());
    assert_eq!(c.frobenius_norm(&ctx).unwrap(), plain.frobenius_norm(&ctx).unwrap());
    let roots = (c.square_root(&ctx).unwrap(), plain.square_root(&ctx).unwrap());
    assert_eq!(roots.0.to_dense(&ctx).unwrap(), roots.1.to_dense(&ctx).unwrap());
    assert_eq!(c.definiteness(), Definiteness::PositiveSemidefinite);
    // M = I is plain damping, bit for bit
    let identity = InMetric::new(&ctx, plain.clone(), Identity::new(9)).unwrap().damped(&ctx, damping(0.1)).unwrap();
    assert_eq!(identity.to_dense(&ctx).unwrap(), plain.damped(&ctx, damping(0.1)).unwrap().to_dense(&ctx).unwrap());
    // what C does on failure it does in the metric
    let below = -T::of(8.0) * T::EPS;
    let failing = Dense::new(Mat::from_diagonal(&[T::ONE, below])).unwrap();
    let tiny = damping::<T>(0.5 * T::EPS.f64());
    let one = DiagonalMetric::new(vec![T::ONE; 2]).unwrap();
    let refused = InMetric::new(&ctx, failing.clone(), one.clone()).unwrap().damped(&ctx, tiny);
    assert!(matches!(refused.map(|_| ()), Err(Error::NotPositiveDefinite { .. })));
    let recovering = InMetric::new(&ctx, failing.with_on_failure(OnFailure::Recover), one).unwrap();
    assert!(matches!(recovering.damped(&ctx, tiny).unwrap().recovery(), Recovery::ClippedSpectrum { count: 1, .. }));
}

/// Marquardt: x ↦ D x changes the step to D⁻¹ times the step, whatever λ; and M = C shortens the Newton step alone.
fn purpose<T: Scalar>() {
    let (m, b) = (spd::<T>(8, 30.0, 24), random::<T>(8, 1, 25));
    // powers of two, so that scaling itself rounds nothing, over a range that the floor does not cut
    let d: Vec<T> = (0..8).map(|i| T::of(2.0).powi(i - 4)).collect();
    let scaled = Mat::from_fn(8, 8, |i, j| d[i] * m[(i, j)] * d[j]);
    for ctx in contexts::<T>() {
        let step = |m: &Mat<T>, b: &Mat<T>| {
            let c = Dense::new(m.clone()).unwrap();
            let mut diagonal = vec![T::ZERO; 8];
            c.diagonal(&ctx, &mut diagonal).unwrap();
            let scaling = DiagonalMetric::marquardt(&diagonal, T::EPS).unwrap();
            let solver = InMetric::new(&ctx, c, scaling).unwrap().damped(&ctx, damping(0.3)).unwrap();
            let mut x = Mat::zeros(8, 1);
            solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            x
        };
        let (one, other) = (step(&m, &b), step(&scaled, &Mat::from_fn(8, 1, |i, _| d[i] * b[(i, 0)])));
        let taken_back = Mat::from_fn(8, 1, |i, _| d[i] * other[(i, 0)]);
        let error = distance(&taken_back, &one.cast());
        assert!(error <= tolerance::<T>(8, 30.0) * norm(&one), "rescaling changed the step by {error:e}");

        let own = DenseMetric::new(&ctx, m.clone()).unwrap();
        let c = InMetric::new(&ctx, Dense::new(m.clone()).unwrap(), own).unwrap();
        let mut x = Mat::zeros(8, 1);
        c.damped(&ctx, damping(3.0)).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        let error = distance(&b, &times(&m.cast(), &x.map(|x| T::of(4.0) * x).cast()));
        assert!(error <= tolerance::<T>(8, 30.0) * norm(&b), "C + 3 C is not 4 C by {error:e}");
    }
}

/// By products alone: the same system, and with M⁻¹ as the preconditioner the steps of the transformed problem.
fn matrix_free<T: Scalar>() {
    let (m, b) = (spd::<T>(33, 50.0, 26), random::<T>(33, 2, 27));
    let products = SymmetricDense::new(m.clone()).unwrap();
    for ctx in contexts::<T>() {
        let metric = dense_metric::<T>(&ctx, 33, 28);
        let options = CgOptions { relative_tolerance: T::EPS.sqrt(), ..CgOptions::default() };
        let free = || MatrixFree::new(&products, Definiteness::PositiveSemidefinite).with_options(options).unwrap();
        let c = free().in_metric(metric.clone()).unwrap();
        for lambda in [1e-2, 1.0, 1e2] {
            let (solver, mut x) = (c.damped(&ctx, damping(lambda)).unwrap(), Mat::zeros(33, 2));
            assert_eq!(solver.damping().get(), T::of(lambda));
            solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            let system = sum(&m.cast(), &metric.matrix().cast(), T::of(lambda).f64());
            let error = distance(&b, &times(&system, &x.cast()));
            let limit = 2.0 * T::EPS.f64().sqrt() + tolerance::<T>(33, 50.0 * KAPPA_M);
            assert!(error <= limit * norm(&b), "lambda {lambda:e}: residual {error:e}");
            let certificate = certified_solve(&ctx, &c, &solver, b.as_ref(), x.as_mut()).unwrap();
            assert!(certificate.relative_residual <= limit, "{certificate}");
        }
        // M = C, preconditioned by M: one step
        let own = DenseMetric::new(&ctx, m.clone()).unwrap();
        let inverse = Arc::new(MetricInverse(own.clone()));
        let solver =
            free().with_preconditioner(inverse).unwrap().in_metric(own).unwrap().damped(&ctx, damping(0.5)).unwrap();
        let report = solver.solve(&ctx, b.as_ref(), Mat::zeros(33, 2).as_mut()).unwrap();
        assert!(matches!(report, SolveReport::Iterative { iterations: 1, .. }), "{report:?}");
        let wrong = free().in_metric(dense_metric::<T>(&ctx, 32, 29));
        assert!(matches!(wrong.map(|_| ()), Err(Error::Shape { .. })));
    }
}

/// Certificates, blocks and erasure know the metric of each curvature.
fn the_metric_is_never_lost<T: Scalar>() {
    let (m, b) = (spd::<T>(6, 50.0, 30), random::<T>(12, 2, 31));
    for ctx in contexts::<T>() {
        let one = |seed| InMetric::new(&ctx, Dense::new(m.clone()).unwrap(), dense_metric(&ctx, 6, seed)).unwrap();
        fn check<T: Scalar, C: Curvature<T>>(place: &str, ctx: &Ctx<T>, c: &C, b: &Mat<T>) {
            let solver = c.damped(ctx, damping(0.5)).unwrap();
            let mut x = Mat::zeros(b.nrows(), b.ncols());
            let certificate = certified_solve(ctx, c, &solver, b.as_ref(), x.as_mut()).unwrap();
            assert!(certificate.is_backward_stable(), "{place}: {certificate}");
            assert!(certificate.condition > 1.5 && certificate.condition < 2e3, "{place}: {certificate}");
        }
        let blocks = || BlockDiagonal::new(vec![one(32), one(33)]);
        check("blocks", &ctx, &blocks(), &b);
        check("borrowed", &ctx, &&blocks(), &b);
        check("shared", &ctx, &Arc::new(blocks()), &b);
        check("erased", &ctx, &AnyCurvature::new(blocks()), &b);
        check("erased, capable", &ctx, &AnyCapable::new(blocks()), &b);
        // the same solve, judged without the metric, is seen to be of another system
        let plain = BlockDiagonal::new(vec![Dense::new(m.clone()).unwrap(), Dense::new(m.clone()).unwrap()]);
        let solver = blocks().damped(&ctx, damping(0.5)).unwrap();
        let certificate = certified_solve(&ctx, &plain, &solver, b.as_ref(), Mat::zeros(12, 2).as_mut()).unwrap();
        assert!(!certificate.is_backward_stable(), "{certificate}");
    }
}

for_both!(metrics, curvatures, factored, contract, purpose, matrix_free, the_metric_is_never_lost);

#[test]
fn the_floor_of_marquardts_scaling() {
    let scaling = |d: &[f64], floor: f64| DiagonalMetric::marquardt(d, floor).map(|m| m.entries().to_vec());
    assert_eq!(scaling(&[4.0, 0.0, 1e-9, -1.0], 0.25).unwrap(), [4.0, 1.0, 1.0, 1.0]);
    assert_eq!(scaling(&[4.0, 2.0], 1e-3).unwrap(), [4.0, 2.0]);
    assert_eq!(scaling(&[0.0, 0.0], 0.5).unwrap(), [1.0, 1.0]);
    assert_eq!(scaling(&[], 0.5).unwrap(), [0.0; 0]);
    for floor in [0.0, -1.0, 1.5, f64::NAN] {
        assert!(matches!(scaling(&[1.0], floor), Err(Error::InvalidParameter { .. })), "{floor}");
    }
    assert!(matches!(scaling(&[1.0, f64::NAN], 0.5), Err(Error::NotFinite { .. })));
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    for bad in [0.0, -1.0] {
        assert!(matches!(DiagonalMetric::new(vec![1.0, bad]), Err(Error::InvalidParameter { .. })));
        let dense = DenseMetric::new(&ctx, Mat::from_diagonal(&[1.0, bad]));
        assert!(matches!(dense, Err(Error::NotPositiveDefinite { pivot: 1, .. })));
        let product = KroneckerMetric::new(&ctx, Mat::identity(2), Mat::from_diagonal(&[bad]));
        assert!(matches!(product, Err(Error::NotPositiveDefinite { .. })));
    }
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(DiagonalMetric::new(vec![bad]), Err(Error::NotFinite { .. })));
        assert!(matches!(DenseMetric::new(&ctx, Mat::from_diagonal(&[bad])), Err(Error::NotFinite { .. })));
    }
    let shape = |r: Result<(), Error>| assert!(matches!(r, Err(Error::Shape { .. })), "{r:?}");
    shape(DenseMetric::new(&ctx, Mat::zeros(2, 3)).map(|_| ()));
    let three = || DiagonalMetric::new(vec![1.0; 3]).unwrap();
    shape(InMetric::new(&ctx, Dense::new(Mat::identity(2)).unwrap(), three()).map(|_| ()));
    shape(InMetric::new(&ctx, Diagonal::new(vec![1.0; 2]).unwrap(), three()).map(|_| ()));
    let product = Kronecker::new(Mat::identity(2), Mat::identity(3), KroneckerDamping::Exact).unwrap();
    // of one order, but its factors are exchanged
    shape(InMetric::new(&ctx, product, kronecker_metric(&ctx, 3, 2)).map(|_| ()));
    let blocks = || BlockDiagonal::new(vec![Diagonal::new(vec![1.0; 2]).unwrap(), Diagonal::new(vec![1.0]).unwrap()]);
    shape(InMetric::new(&ctx, blocks(), BlockMetric::new(vec![three()])).map(|_| ()));
    shape(three().split([1, 1]).map(|_| ()));
    let c = InMetric::new(&ctx, blocks(), three()).unwrap();
    let (x, mut y) = (Mat::zeros(3, 2), Mat::zeros(3, 1));
    shape(c.add_damping(&ctx, damping(1.0), x.as_ref(), y.as_mut()));
    shape(blocks().add_damping(&ctx, damping(1.0), x.as_ref(), y.as_mut()));
}
