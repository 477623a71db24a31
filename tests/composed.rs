//! Curvatures made of curvatures: scaled, shifted, permuted, restricted, summed, and the scaled identity. Each keeps the
//! contract of its solver, agrees with a dense oracle, and passes on every capability of what it is made of.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use curvature_support::conformance::{Claim, conforms, damping, diagonal_agrees, factored_system};
use curvature_support::*;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Definiteness, Dense, DenseInverse, Diagonal, Fidelity, HasFrobeniusNorm,
    HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, Kronecker, KroneckerDamping, MatrixFree,
    Permuted, PiRule, Recovery, Restricted, ScaledIdentity, SolvePath, SolveReport, SumCurvature, SumPreconditioner,
};
use pullback::factor::Cholesky;
use pullback::krylov::{CgOptions, CgStop};
use pullback::linop::{Beside, DenseOperator, Scaled, Shifted, Sum, SymmetricDense};
use pullback::random::Draws;
use pullback::testing::{contexts, tolerance};
use pullback::{
    Ctx, Curvature, DampedInverse, DampedSolver, Damping, Error, HasDiagonal, LinearOperator, Mat, MatMut, MatRef,
    Preconditioner, Result, Scalar, SelfAdjoint,
};

const SIZES: [usize; 8] = [0, 1, 2, 3, 31, 33, 64, 129];

/// s M in f64, s being a number of T.
fn scaled_dense<T: Scalar>(m: &Mat<T>, s: f64) -> Mat<f64> {
    m.cast::<f64>().map(|x| x * T::of(s).f64())
}

fn order(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Draws::new(seed, 0).shuffle(&mut order);
    order
}

/// The rows and columns `rows` of M.
fn selected<T: Scalar>(m: &Mat<T>, rows: &[usize]) -> Mat<f64> {
    Mat::from_fn(rows.len(), rows.len(), |i, j| m[(rows[i], rows[j])].f64())
}

fn plus(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] + b[(i, j)])
}

/// X Xᵀ with the root X, n x m: a test's own curvature that knows all that can be known of it.
struct Gram<T> {
    root: Mat<T>,
    dense: Dense<T>,
}

impl<T: Scalar> Gram<T> {
    fn new(n: usize, m: usize, seed: u64) -> Self {
        let root = random::<T>(n, m, seed);
        let dense = times(&root.cast(), &root.transposed().cast());
        Self { root, dense: Dense::new(dense.cast()).unwrap() }
    }
}

impl<T: Scalar> LinearOperator<T> for Gram<T> {
    fn shape(&self) -> (usize, usize) {
        self.dense.shape()
    }
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.dense.apply_into(ctx, x, y)
    }
}
impl<T: Scalar> SelfAdjoint<T> for Gram<T> {}
impl<T: Scalar> HasDiagonal<T> for Gram<T> {
    fn diagonal(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        self.dense.diagonal(ctx, out)
    }
}
impl<T: Scalar> HasTrace<T> for Gram<T> {
    fn trace(&self, _: &Ctx<T>) -> Result<T> {
        Ok(T::of(self.root.as_slice().iter().map(|x| x.f64().powi(2)).sum()))
    }
}
impl<T: Scalar> HasFrobeniusNorm<T> for Gram<T> {
    fn frobenius_norm(&self, _: &Ctx<T>) -> Result<T> {
        Ok(T::of(norm(self.dense.matrix())))
    }
}
impl<T: Scalar> HasSquareRoot<T> for Gram<T> {
    type Root<'a> = DenseOperator<T>;
    fn square_root(&self, _: &Ctx<T>) -> Result<DenseOperator<T>> {
        Ok(DenseOperator::new(self.root.clone()))
    }
}
impl<T: Scalar> Curvature<T> for Gram<T> {
    type Solver = GramInverse<T>;
    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<GramInverse<T>> {
        Ok(GramInverse(self.dense.damped(ctx, lambda)?))
    }
}

/// As if its factorization had needed help, to see whether that is passed on.
struct GramInverse<T>(DenseInverse<T>);

impl<T: Scalar> LinearOperator<T> for GramInverse<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}
impl<T: Scalar> SelfAdjoint<T> for GramInverse<T> {}
impl<T: Scalar> Preconditioner<T> for GramInverse<T> {}
impl<T: Scalar> DampedSolver<T> for GramInverse<T> {
    fn dim(&self) -> usize {
        DampedSolver::dim(&self.0)
    }
    fn damping(&self) -> Damping<T> {
        self.0.damping()
    }
    fn fidelity(&self) -> Fidelity {
        self.0.fidelity()
    }
    fn path(&self) -> SolvePath {
        self.0.path()
    }
    fn recovery(&self) -> Recovery {
        Recovery::ClippedSpectrum { count: 2, floor: 0.5 }
    }
    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.0.solve_into(ctx, b, x)
    }
}
impl<T: Scalar> HasLogDeterminant<T> for GramInverse<T> {
    fn log_determinant(&self) -> T {
        self.0.log_determinant()
    }
}
impl<T: Scalar> HasInverseSquareRoot<T> for GramInverse<T> {
    type Root<'a> = DenseOperator<T>;
    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<DenseOperator<T>> {
        // the Cholesky factor of the inverse
        let factor = Cholesky::new(ctx, self.0.to_dense(ctx)?)?;
        let n = factor.dim();
        Ok(DenseOperator::new(Mat::from_fn(n, n, |i, j| if i >= j { factor.l().at(i, j) } else { T::ZERO })))
    }
}

fn split<T>() -> KroneckerDamping<T> {
    KroneckerDamping::Factored { pi: PiRule::Trace }
}

fn identities<T: Scalar>() {
    for n in SIZES {
        for sigma in [0.0, 1.0, 3e-3, 2f64.powi(40)] {
            let c = ScaledIdentity::new(n, T::of(sigma)).unwrap();
            assert_eq!(c.sigma(), T::of(sigma));
            conforms(&Claim::exact("scaled identity", scaled_dense(&Mat::<T>::identity(n), sigma)), &c);
            diagonal_agrees(&c);
        }
    }
}

fn scaled_and_shifted<T: Scalar>() {
    for n in SIZES {
        let m = spd::<T>(n, 100.0, 1);
        let dense = || Dense::new(m.clone()).unwrap();
        for s in [0.3, 1.0, 7.0, 2f64.powi(-30), 2f64.powi(30)] {
            let c = Scaled::new(dense(), T::of(s));
            conforms(&Claim::exact(format!("{s} C"), scaled_dense(&m, s)), &c);
            diagonal_agrees(&c);
            let c = Shifted::new(dense(), T::of(s));
            conforms(&Claim::exact(format!("C + {s} I"), shifted(&m.cast(), T::of(s).f64())), &c);
            diagonal_agrees(&c);
        }
    }
    // a factored kind stays factored: the system is s (Ã ⊗ S̃) at λ/s, or that of λ + μ
    let (a, s) = (spd::<T>(5, 10.0, 2), spd::<T>(4, 10.0, 3));
    let kronecker = || Kronecker::new(a.clone(), s.clone(), split()).unwrap();
    let factor = T::of(3.0);
    let system = |lambda: T| scaled_dense(&factored_system(&a, &s, PiRule::Trace, lambda / factor), factor.f64());
    conforms(
        &Claim::factored("3 (A x S)", scaled_dense(&kron(&a, &s), 3.0), system),
        &Scaled::new(kronecker(), factor),
    );
    let system = |lambda: T| factored_system(&a, &s, PiRule::Trace, lambda + factor);
    let matrix = shifted(&kron(&a, &s), 3.0);
    conforms(&Claim::factored("A x S + 3 I", matrix, system), &Shifted::new(kronecker(), factor));
}

fn permuted_and_restricted<T: Scalar>() {
    for n in SIZES {
        let m = spd::<T>(n, 100.0, 4);
        let dense = || Dense::new(m.clone()).unwrap();
        let p = order(n, 5);
        let c = Permuted::new(dense(), p.clone()).unwrap();
        assert_eq!((c.order(), c.inner().matrix()), (&p[..], &m));
        conforms(&Claim::exact("permuted", selected(&m, &p)), &c);
        diagonal_agrees(&c);
        for k in [0, 1, n / 2, n] {
            let rows = p[..k.min(n)].to_vec();
            let c = Restricted::new(dense(), rows.clone()).unwrap();
            assert_eq!((c.rows(), c.inner().matrix()), (&rows[..], &m));
            conforms(&Claim::exact("restricted", selected(&m, &rows)), &c);
            diagonal_agrees(&c);
        }
    }
    let (a, s) = (spd::<T>(5, 10.0, 2), low_rank::<T>(4, 2, 3));
    let kronecker = || Kronecker::new(a.clone(), s.clone(), split()).unwrap();
    let p = order(20, 6);
    let formed = kron(&a, &s);
    let system = |lambda: T| selected(&factored_system(&a, &s, PiRule::Trace, lambda), &p);
    let c = Permuted::new(kronecker(), p.clone()).unwrap();
    conforms(&Claim::factored("permuted A x S", selected(&formed, &p), system), &c);
    // the submatrix is damped exactly, though the whole is by factors
    let rows = p[..7].to_vec();
    let c = Restricted::new(kronecker(), rows.clone()).unwrap();
    conforms(&Claim::exact("restricted A x S", selected(&formed, &rows)), &c);
}

/// Compositions of compositions, through erasure and blocks.
fn nested<T: Scalar>() {
    let m = spd::<T>(9, 10.0, 7);
    let (p, rows) = (order(9, 8), vec![8, 0, 3, 5]);
    let inner = Permuted::new(Dense::new(m.clone()).unwrap(), p.clone()).unwrap();
    let c = Scaled::new(Shifted::new(Restricted::new(inner, rows.clone()).unwrap(), T::of(0.5)), T::of(4.0));
    let matrix = scaled_dense(&shifted(&selected(&selected(&m, &p), &rows), 0.5), 4.0);
    conforms(&Claim::exact("4 (C_RR + I/2)", matrix.clone()), &c);
    let blocks = BlockDiagonal::new(vec![
        AnyCurvature::new(c),
        AnyCurvature::new(ScaledIdentity::new(3, T::of(2.0)).unwrap()),
        AnyCurvature::new(Scaled::new(Diagonal::new(vec![T::ONE, T::ZERO]).unwrap(), T::of(0.5))),
    ]);
    let others = [matrix, scaled_dense(&Mat::<T>::identity(3), 2.0), Mat::from_diagonal(&[0.5, 0.0])];
    conforms(&Claim::exact("blocks of compositions", assembled(&others)), &blocks);
}

/// Every capability of a composition against its dense matrix.
fn capabilities_of<T: Scalar, C>(name: &str, c: &C, matrix: &Mat<f64>)
where
    C: Curvature<T> + HasTrace<T> + HasSquareRoot<T>,
{
    let n = matrix.nrows();
    let limit = tolerance::<T>(4 * n, 1.0) * norm(matrix);
    for ctx in contexts::<T>() {
        let trace: f64 = (0..n).map(|i| matrix[(i, i)]).sum();
        let error = (c.trace(&ctx).unwrap().f64() - trace).abs();
        assert!(error <= limit, "{name}: trace off by {error:e}, limit {limit:e}");
        let root: Mat<f64> = c.square_root(&ctx).unwrap().to_dense(&ctx).unwrap().cast();
        let error = distance(&times(&root, &root.transposed()), matrix);
        assert!(error <= limit, "{name}: R R' off by {error:e}, limit {limit:e}");
    }
}

fn frobenius_of<T: Scalar>(name: &str, c: &impl HasFrobeniusNorm<T>, matrix: &Mat<f64>) {
    let got = c.frobenius_norm(&Ctx::default()).unwrap().f64();
    let limit = tolerance::<T>(matrix.nrows(), 1.0) * norm(matrix);
    assert!((got - norm(matrix)).abs() <= limit, "{name}: {got} {}", norm(matrix));
}

fn solver_capabilities_of<T: Scalar, C>(name: &str, c: &C, matrix: &Mat<f64>)
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T>,
{
    let n = matrix.nrows();
    for ctx in contexts::<T>() {
        let lambda = damping::<T>(0.25 * norm(matrix));
        let solver = c.damped(&ctx, lambda).unwrap();
        let system = shifted(matrix, lambda.get().f64());
        let limit = tolerance::<T>(n, row_sum_norm(&system) / lambda.get().f64());
        let want = Cholesky::new(&Ctx::reference(), system.clone()).unwrap().log_determinant();
        let error = (solver.log_determinant().f64() - want).abs();
        let limit_log = n as f64 * limit + tolerance::<T>(1, 1.0) * want.abs();
        assert!(error <= limit_log, "{name}: log det off by {error:e}, limit {limit_log:e}");
        let root: Mat<f64> = solver.inverse_square_root(&ctx).unwrap().to_dense(&ctx).unwrap().cast();
        let error = distance(&times(&times(&root, &root.transposed()), &system), &Mat::identity(n));
        assert!(error <= limit * (n as f64).sqrt(), "{name}: R R' M - I is {error:e}");
    }
}

fn capabilities<T: Scalar>() {
    for (n, m) in [(1, 1), (6, 9), (33, 4)] {
        let gram = || Gram::<T>::new(n, m, 9);
        let matrix: Mat<f64> = gram().dense.matrix().cast();
        let (p, s) = (order(n, 10), 3.5);
        let rows = p[..n.div_ceil(2)].to_vec();

        let c = ScaledIdentity::new(n, T::of(s)).unwrap();
        let want = scaled_dense(&Mat::<T>::identity(n), s);
        capabilities_of("scaled identity", &c, &want);
        frobenius_of("scaled identity", &c, &want);
        solver_capabilities_of("scaled identity", &c, &want);

        let (c, want) = (Scaled::new(gram(), T::of(s)), scaled_dense(&matrix, s));
        capabilities_of("scaled", &c, &want);
        frobenius_of("scaled", &c, &want);
        solver_capabilities_of("scaled", &c, &want);

        let (c, want) = (Shifted::new(gram(), T::of(s)), shifted(&matrix, s));
        capabilities_of("shifted", &c, &want);
        frobenius_of("shifted", &c, &want);
        solver_capabilities_of("shifted", &c, &want);

        let (c, want) = (Permuted::new(gram(), p.clone()).unwrap(), selected(&matrix, &p));
        capabilities_of("permuted", &c, &want);
        frobenius_of("permuted", &c, &want);
        solver_capabilities_of("permuted", &c, &want);

        let (c, want) = (Restricted::new(gram(), rows.clone()).unwrap(), selected(&matrix, &rows));
        capabilities_of("restricted", &c, &want);

        let identity = ScaledIdentity::new(n, T::of(s)).unwrap();
        let c = SumCurvature::new(gram(), Scaled::new(Gram::<T>::new(n, 2, 11), T::of(s))).unwrap();
        let other = scaled_dense(Gram::<T>::new(n, 2, 11).dense.matrix(), s);
        capabilities_of("sum", &c, &plus(&matrix, &other));
        diagonal_agrees(&c);
        capabilities_of("sum with an identity", &SumCurvature::new(gram(), identity).unwrap(), &shifted(&matrix, s));
    }
}

/// Fidelity, path and recovery are those of the inner solver; λ is the outer one.
#[test]
fn a_composition_tells_what_its_inner_solver_did() {
    let ctx = Ctx::<f64>::default();
    let lambda = damping::<f64>(0.5);
    let clipped = |floor| Recovery::ClippedSpectrum { count: 2, floor };
    let gram = || Gram::<f64>::new(4, 3, 1);
    let scaled = Scaled::new(gram(), 8.0).damped(&ctx, lambda).unwrap();
    assert_eq!((scaled.recovery(), scaled.path(), scaled.damping()), (clipped(4.0), SolvePath::Cholesky, lambda));
    assert_eq!((scaled.inner().damping().get(), scaled.scale()), (0.5 / 8.0, 8.0));
    let moved = Shifted::new(gram(), 0.25).damped(&ctx, lambda).unwrap();
    assert_eq!((moved.recovery(), moved.path(), moved.damping()), (clipped(0.5), SolvePath::Cholesky, lambda));
    assert_eq!(moved.inner().damping().get(), 0.75);
    let permuted = Permuted::new(gram(), order(4, 1)).unwrap().damped(&ctx, lambda).unwrap();
    assert_eq!((permuted.recovery(), permuted.path(), permuted.damping()), (clipped(0.5), SolvePath::Cholesky, lambda));
    assert_eq!(permuted.inner().damping(), lambda);
    let identity = ScaledIdentity::new(4, 1.0).unwrap().damped(&ctx, lambda).unwrap();
    assert_eq!((identity.path(), identity.fidelity()), (SolvePath::Elementwise, Fidelity::Exact));

    // an iterative solver stays one: it solves, and its report comes through
    let products = SymmetricDense::new(spd::<f64>(12, 10.0, 3)).unwrap();
    let dense = products.matrix().cast::<f64>();
    let free = MatrixFree::new(&products, Definiteness::PositiveSemidefinite);
    let b = random::<f64>(12, 2, 4);
    let p = order(12, 2);
    let check = |solver: &dyn DampedSolver<f64>, system: &Mat<f64>| {
        assert_eq!((solver.fidelity(), solver.path()), (Fidelity::Iterative, SolvePath::ConjugateGradient));
        let mut x = Mat::from_fn(12, 2, |_, _| f64::NAN);
        match solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap() {
            SolveReport::Iterative { iterations, stop: CgStop::Converged, .. } => assert!(iterations > 0),
            other => panic!("{other:?}"),
        }
        let error = distance(&b, &times(system, &x));
        let asked = CgOptions::<f64>::default().relative_tolerance;
        assert!(error <= 2.0 * asked * norm(&b), "{error:e}");
    };
    check(&Scaled::new(free.clone(), 4.0).damped(&ctx, lambda).unwrap(), &shifted(&scaled_dense(&dense, 4.0), 0.5));
    check(&Shifted::new(free.clone(), 1.0).damped(&ctx, lambda).unwrap(), &shifted(&dense, 1.5));
    check(&Permuted::new(free, p.clone()).unwrap().damped(&ctx, lambda).unwrap(), &shifted(&selected(&dense, &p), 0.5));
}

/// A Kronecker block plus a diagonal: the iteration finds the dense solution, and needs fewer steps with the structured
/// preconditioner than with none.
fn sums<T: Scalar>() {
    const COLUMNS: usize = 2;
    for (d_in, d_out) in [(0, 3), (1, 1), (5, 4), (11, 12), (33, 3)] {
        let (a, s) = (spd::<T>(d_in, 1e3, 20), spd::<T>(d_out, 1e2, 21));
        let n = d_in * d_out;
        // up to a tenth of λ: the preconditioned condition is below 1.1
        let small = random::<T>(n, 1, 22).map(|x| T::of(1e-4 * x.f64().abs()));
        let lambda = damping::<T>(1e-3);
        let matrix = plus(&kron(&a, &s), &Mat::from_diagonal(small.as_slice()).cast());
        let b = random::<T>(n, COLUMNS, 23);
        for ctx in contexts::<T>() {
            let block = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
            let diagonal = Diagonal::new(small.as_slice().to_vec()).unwrap();
            let c = SumCurvature::new(block, diagonal).unwrap();
            assert_eq!(c.definiteness(), Definiteness::PositiveSemidefinite);
            let dense = c.to_dense(&ctx).unwrap();
            assert!(distance(&dense, &matrix) <= tolerance::<T>(n, 1.0) * norm(&matrix), "{d_in} {d_out}");
            diagonal_agrees(&c);
            let mut added = b.clone();
            c.apply_add(&ctx, T::of(-2.0), b.as_ref(), added.as_mut()).unwrap();
            let image = times(&matrix, &b.cast());
            let want = Mat::from_fn(n, COLUMNS, |i, j| b[(i, j)].f64() - 2.0 * image[(i, j)]);
            assert!(distance(&added, &want) <= tolerance::<T>(n, 1.0) * norm(&b) * (1.0 + 2.0 * norm(&matrix)));

            let first = c.damped(&ctx, lambda).unwrap();
            assert_eq!((first.fidelity(), first.path()), (Fidelity::Iterative, SolvePath::ConjugateGradient));
            assert_eq!(first.damping(), lambda);
            let plain = c.clone().with_preconditioner(SumPreconditioner::Plain).unwrap().damped(&ctx, lambda).unwrap();
            let inverse = std::sync::Arc::new(c.first().damped(&ctx, lambda).unwrap());
            let given = c.clone().with_preconditioner(SumPreconditioner::Given(inverse)).unwrap();
            let given = given.damped(&ctx, lambda).unwrap();
            let run = |solver: &dyn DampedSolver<T>| {
                let mut x = Mat::from_fn(n, COLUMNS, |_, _| T::nan());
                let SolveReport::Iterative { iterations, stop, .. } =
                    solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap()
                else {
                    panic!("an iterative solve reports itself")
                };
                assert_eq!(stop, CgStop::Converged, "{d_in} {d_out} {}", T::NAME);
                let system = shifted(&matrix, lambda.get().f64());
                let error = distance(&b, &times(&system, &x.cast()));
                let limit = 2.0 * CgOptions::<T>::default().relative_tolerance.f64() * norm(&b);
                assert!(error <= limit, "{d_in} {d_out}: residual {error:e}, limit {limit:e}");
                (x, iterations)
            };
            let ((x, with), (_, without), (same, _)) = (run(&first), run(&plain), run(&given));
            assert!(x == same, "the preconditioner of the rule is that of the first summand at λ");
            // condition 1.1: a factor of 1/40 an iteration
            assert!(with <= 6, "{with} iterations");
            assert!(n < 20 || 2 * with < without, "{d_in} {d_out}: {with} with, {without} without");
        }
    }
}

for_both!(identities, scaled_and_shifted, permuted_and_restricted, nested, capabilities, sums);

/// What the second summand adds on average, put into the preconditioner, saves iterations where it is most of the matrix.
#[test]
fn a_mean_shift_helps_where_the_second_summand_is_large() {
    let ctx = Ctx::<f64>::default();
    let (a, s) = (spd::<f64>(8, 1e4, 1), spd::<f64>(6, 1e2, 2));
    let block = || Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
    // 2 I plus a little: the mean is nearly all of it
    let large = || Shifted::new(Scaled::new(Gram::<f64>::new(48, 3, 3), 1e-3), 2.0);
    let c = || SumCurvature::new(block(), large()).unwrap();
    let b = random::<f64>(48, 1, 4);
    type Large = Shifted<f64, Scaled<f64, Gram<f64>>>;
    let iterations = |c: &SumCurvature<f64, Kronecker<f64>, Large>| {
        let mut x = Mat::zeros(48, 1);
        match c.damped(&ctx, damping(1e-3)).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap() {
            SolveReport::Iterative { iterations, stop: CgStop::Converged, .. } => iterations,
            other => panic!("{other:?}"),
        }
    };
    let without = iterations(&c());
    let with = iterations(&c().with_mean_shift(&ctx).unwrap());
    assert!(2 * with < without, "{with} {without}");
    // a budget that is too small is reported, not hidden
    let tight = CgOptions { max_iterations: 1, ..CgOptions::default() };
    let mut x = Mat::zeros(48, 1);
    let stopped = c().with_options(tight).unwrap().damped(&ctx, damping(1e-3)).unwrap();
    match stopped.solve(&ctx, b.as_ref(), x.as_mut()).unwrap() {
        SolveReport::Iterative { stop: CgStop::IterationLimit, iterations: 1, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    let dense = || Dense::new(spd::<f64>(3, 10.0, 1)).unwrap();
    let one = damping::<f64>(1.0);
    let invalid = |r: Result<()>, what: &str| {
        assert!(matches!(&r, Err(Error::InvalidParameter { name, .. }) if *name == what), "{what}: {r:?}");
    };
    for s in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        invalid(Scaled::new(dense(), s).damped(&ctx, one).map(|_| ()), "scale");
    }
    invalid(Scaled::new(dense(), 1e-308).damped(&ctx, damping(1e10)).map(|_| ()), "damping");
    for mu in [-1.0, -2.0, f64::NAN, f64::INFINITY] {
        invalid(Shifted::new(dense(), mu).damped(&ctx, one).map(|_| ()), "damping");
    }
    // a negative shift within λ is fine, and the matrix is what it says
    let low = Shifted::new(dense(), -0.5);
    assert_eq!(low.definiteness(), Definiteness::Indefinite);
    let (b, mut x) = (random::<f64>(3, 1, 2), Mat::zeros(3, 1));
    low.damped(&ctx, one).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    let error = distance(&b, &times(&shifted(dense().matrix(), 0.5), &x));
    assert!(error <= tolerance::<f64>(3, 10.0) * norm(&b));

    assert_eq!(Scaled::new(dense(), -1.0).definiteness(), Definiteness::Indefinite);
    let gram = || Gram::<f64>::new(3, 3, 1);
    let negative = Scaled::new(gram(), -1.0);
    assert!(matches!(negative.square_root(&ctx), Err(Error::NotPositiveDefinite { .. })));
    invalid(Shifted::new(gram(), -0.1).square_root(&ctx).map(|_| ()), "shift");

    let identity = ScaledIdentity::new(3, -2.0).unwrap();
    assert_eq!(identity.definiteness(), Definiteness::Indefinite);
    assert!(matches!(identity.damped(&ctx, damping(2.0)), Err(Error::NotPositiveDefinite { .. })));
    assert!(matches!(identity.square_root(&ctx), Err(Error::NotPositiveDefinite { .. })));
    assert!(identity.damped(&ctx, damping(3.0)).is_ok());
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(ScaledIdentity::new(3, bad), Err(Error::NotFinite { .. })));
    }
    let large = ScaledIdentity::new(1, f64::MAX).unwrap();
    assert!(matches!(large.damped(&ctx, damping(f64::MAX)), Err(Error::NotFinite { .. })));

    assert!(matches!(Permuted::new(dense(), vec![0, 1]), Err(Error::Shape { .. })));
    for order in [vec![0, 1, 1], vec![0, 1, 3]] {
        invalid(Permuted::new(dense(), order).map(|_| ()), "rows");
    }
    for rows in [vec![2, 2], vec![3], vec![usize::MAX]] {
        invalid(Restricted::new(dense(), rows).map(|_| ()), "rows");
    }
    let indefinite = Restricted::new(Diagonal::new(vec![1.0, -5.0, 1.0]).unwrap(), vec![2, 1]).unwrap();
    assert_eq!(indefinite.definiteness(), Definiteness::Indefinite);
    assert!(matches!(indefinite.damped(&ctx, one), Err(Error::NotPositiveDefinite { pivot: 1, .. })));

    let other = Dense::new(spd::<f64>(4, 10.0, 1)).unwrap();
    assert!(matches!(SumCurvature::new(dense(), &other), Err(Error::Shape { .. })));
    assert!(matches!(Sum::new::<f64>(dense(), &other), Err(Error::Shape { .. })));
    assert!(matches!(Beside::new::<f64>(dense(), &other), Err(Error::Shape { .. })));
    let sum = || SumCurvature::new(dense(), Diagonal::new(vec![-1.0; 3]).unwrap()).unwrap();
    assert_eq!(sum().definiteness(), Definiteness::Indefinite);
    for shift in [-1.0, f64::NAN, f64::INFINITY] {
        invalid(sum().with_preconditioner(SumPreconditioner::FirstSummand { shift }).map(|_| ()), "shift");
    }
    let wrong = std::sync::Arc::new(other.damped(&ctx, one).unwrap());
    assert!(matches!(sum().with_preconditioner(SumPreconditioner::Given(wrong)), Err(Error::Shape { .. })));
    let tight = CgOptions { relative_tolerance: -1.0, ..CgOptions::default() };
    invalid(sum().with_options(tight).map(|_| ()), "relative_tolerance");
    // a first summand that cannot be damped is an error at once, not a preconditioner that fails later
    let first = SumCurvature::new(Diagonal::new(vec![-5.0; 3]).unwrap(), dense()).unwrap();
    assert!(matches!(first.damped(&ctx, one), Err(Error::NotPositiveDefinite { .. })));
}
