//! Capabilities against the dense matrix: trace, Frobenius norm, diagonal, roots, log-determinants, samples; and the
//! promise that all representations of one matrix agree.
//!
//! A bound is `tolerance(n, κ)` times the norm of what is compared, κ being that of the damped matrix at hand.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use std::sync::Arc;

use curvature_support::conformance::{damping, diagonal_agrees, factored_system};
use curvature_support::*;
use pullback::curvature::{
    AnyCapable, BlockDiagonal, Definiteness, Dense, Diagonal, HasFrobeniusNorm, HasInverseSquareRoot,
    HasLogDeterminant, HasSquareRoot, HasTrace, Kronecker, KroneckerDamping, MatrixFree, PiRule, sample_normal,
};
use pullback::factor::SymEigen;
use pullback::linop::{DenseOperator, SymmetricDense};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedInverse, DampedSolver, Error, HasDiagonal, LinearOperator, Mat, Scalar};

/// R Rᵀ in f64.
fn gram<T: Scalar>(ctx: &Ctx<T>, root: &(impl LinearOperator<T> + ?Sized)) -> Mat<f64> {
    let root: Mat<f64> = root.to_dense(ctx).unwrap().cast();
    times(&root, &root.transposed())
}

/// Trace, norm, diagonal and root of a curvature whose dense matrix is known.
fn curvature_laws<T: Scalar, C>(place: &str, c: &C, matrix: &Mat<f64>)
where
    C: HasTrace<T> + HasFrobeniusNorm<T> + HasSquareRoot<T> + HasDiagonal<T>,
{
    let n = matrix.nrows();
    let size = norm(matrix);
    diagonal_agrees(c);
    for ctx in contexts::<T>() {
        let place = format!("{place} of order {n} on {} in {}", ctx.backend().name(), T::NAME);
        let limit = tolerance::<T>(n, 1.0) * size;
        let want: f64 = (0..n).map(|i| matrix[(i, i)]).sum();
        let got = c.trace(&ctx).unwrap().f64();
        assert!((got - want).abs() <= limit, "{place}: trace {got:e}, dense {want:e}");
        let got = c.frobenius_norm(&ctx).unwrap().f64();
        assert!((got - size).abs() <= limit, "{place}: Frobenius norm {got:e}, dense {size:e}");
        let root = c.square_root(&ctx).unwrap();
        assert_eq!(root.shape().0, n, "{place}");
        let error = distance(&gram(&ctx, &root), matrix);
        assert!(error <= limit, "{place}: R R' is off by {error:e}, limit {limit:e}");
    }
}

/// Log-determinant and inverse root of every damped solver, `system(λ)` being the matrix that it inverts.
fn solver_laws<T: Scalar, C>(place: &str, c: &C, size: f64, system: impl Fn(T) -> Mat<f64>)
where
    C: Curvature<T>,
    C::Solver: HasLogDeterminant<T> + HasInverseSquareRoot<T>,
{
    let (n, size) = (c.dim(), if size > 0.0 { size } else { 1.0 });
    for ctx in contexts::<T>() {
        for relative in [1e-2, 1.0, 1e3] {
            let lambda = damping::<T>(relative * size);
            let place = format!("{place} of order {n}, lambda {relative:e} |C| on {}", ctx.backend().name());
            let solver = c.damped(&ctx, lambda).unwrap();
            let system = system(lambda.get());
            let kappa = row_sum_norm(&system) / lambda.get().f64();
            let eigen = SymEigen::new(&Ctx::<f64>::default(), system.clone()).unwrap();
            let logs = || eigen.values().iter().map(|w| w.ln());
            let (got, want): (f64, f64) = (solver.log_determinant().f64(), logs().sum());
            // each of the n eigenvalues may be off by tolerance(n, κ), relative to itself
            let limit =
                tolerance::<T>(n, kappa) * n as f64 + tolerance::<T>(1, 1.0) * logs().map(f64::abs).sum::<f64>();
            assert!((got - want).abs() <= limit, "{place}: log det {got:e}, dense {want:e}, limit {limit:e}");
            let root = solver.inverse_square_root(&ctx).unwrap();
            let product = times(&system, &gram(&ctx, &root));
            let error = distance(&product, &Mat::identity(n));
            let limit = tolerance::<T>(n, kappa) * (n as f64).sqrt();
            assert!(error <= limit, "{place}: M R R' - I is {error:e}, limit {limit:e}");
        }
    }
}

fn laws<T: Scalar, C>(place: &str, c: &C, matrix: &Mat<f64>)
where
    C: Curvature<T> + HasTrace<T> + HasFrobeniusNorm<T> + HasSquareRoot<T> + HasDiagonal<T>,
    C::Solver: HasLogDeterminant<T> + HasInverseSquareRoot<T>,
{
    curvature_laws(place, c, matrix);
    solver_laws(place, c, norm(matrix), |lambda| shifted(matrix, lambda.f64()));
}

fn plain<T: Scalar>() {
    for n in [0, 1, 2, 3, 31, 33, 64] {
        let d = random::<T>(n, 1, 1).map(|x| x.abs());
        laws("diagonal", &Diagonal::new(d.as_slice().to_vec()).unwrap(), &Mat::from_diagonal(d.as_slice()).cast());
        let kinds =
            [spd::<T>(n, 1e3, 2), low_rank(n, n / 3, 3), Mat::zeros(n, n), random::<T>(n, n, 4).map(|_| T::ONE)];
        for (k, m) in kinds.into_iter().enumerate() {
            laws(&format!("dense {k}"), &Dense::new(m.clone()).unwrap(), &m.cast());
        }
    }
    // by powers of two, far from 1
    for exponent in [-40, -7, 7, 40] {
        let m = spd::<T>(12, 1e2, 5).map(|x| x * T::of(2.0).powi(exponent));
        laws(&format!("dense by 2^{exponent}"), &Dense::new(m.clone()).unwrap(), &m.cast());
    }
}

fn kronecker<T: Scalar>() {
    for (d_in, d_out) in [(0, 3), (1, 1), (1, 33), (2, 3), (7, 5), (31, 2)] {
        let full = (spd::<T>(d_in, 10.0, 6), spd::<T>(d_out, 10.0, 7));
        let flat = (low_rank::<T>(d_in, d_in.div_ceil(2), 8), low_rank::<T>(d_out, d_out.div_ceil(3), 9));
        let zero = (Mat::zeros(d_in, d_in), spd::<T>(d_out, 10.0, 10));
        let scaled = (full.0.map(|x| x * T::of(2.0).powi(30)), full.1.map(|x| x * T::of(2.0).powi(-45)));
        for (a, s) in [full, flat, zero, scaled] {
            let matrix = kron(&a, &s);
            let exact = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
            laws("exact Kronecker", &exact, &matrix);
            let rule = PiRule::Trace;
            let split = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Factored { pi: rule }).unwrap();
            solver_laws("factored Kronecker", &split, norm(&matrix), |lambda| factored_system(&a, &s, rule, lambda));
        }
    }
}

fn blocks<T: Scalar>() {
    let (a, s, m) = (spd::<T>(4, 10.0, 11), low_rank::<T>(3, 2, 12), spd::<T>(5, 10.0, 13));
    let dense = || Dense::new(m.clone()).unwrap();
    laws("no blocks", &BlockDiagonal::<T, Dense<T>>::new(vec![]), &Mat::zeros(0, 0));
    let two = assembled(&[m.cast(), m.cast()]);
    laws("blocks", &BlockDiagonal::new(vec![dense(), dense()]), &two);
    laws(
        "nested",
        &BlockDiagonal::new(vec![BlockDiagonal::new(vec![dense(), dense()]), BlockDiagonal::new(vec![])]),
        &two,
    );
    let mixed = BlockDiagonal::new(vec![
        AnyCapable::new(Diagonal::new(vec![T::ONE, T::ZERO]).unwrap()),
        AnyCapable::new(Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap()),
        AnyCapable::new(BlockDiagonal::new(vec![dense(), dense()])),
    ]);
    laws("mixed", &mixed, &assembled(&[Mat::from_diagonal(&[1.0, 0.0]), kron(&a, &s), two]));
    // behind pointers
    let matrix = m.cast();
    laws("borrowed", &&dense(), &matrix);
    laws("boxed", &Box::new(dense()), &matrix);
    laws("shared", &Arc::new(dense()), &matrix);
}

/// Erased or not, the same bits.
fn erasure<T: Scalar>() {
    let plain = Kronecker::new(spd::<T>(6, 10.0, 14), spd::<T>(5, 10.0, 15), KroneckerDamping::Exact).unwrap();
    let erased = AnyCapable::new(plain.clone());
    for ctx in contexts::<T>() {
        let (x, y) = (plain.damped(&ctx, damping(0.1)).unwrap(), erased.damped(&ctx, damping(0.1)).unwrap());
        assert_eq!(plain.trace(&ctx).unwrap(), erased.trace(&ctx).unwrap());
        assert_eq!(plain.frobenius_norm(&ctx).unwrap(), erased.frobenius_norm(&ctx).unwrap());
        assert_eq!(x.log_determinant(), y.log_determinant());
        assert_eq!((x.path(), x.fidelity(), x.recovery()), (y.path(), y.fidelity(), y.recovery()));
        let roots = (plain.square_root(&ctx).unwrap(), erased.square_root(&ctx).unwrap());
        assert_eq!(roots.0.to_dense(&ctx).unwrap(), roots.1.to_dense(&ctx).unwrap());
        let roots = (x.inverse_square_root(&ctx).unwrap(), y.inverse_square_root(&ctx).unwrap());
        assert_eq!(roots.0.to_dense(&ctx).unwrap(), roots.1.to_dense(&ctx).unwrap());
        let (b, mut p, mut q) = (random::<T>(30, 2, 16), Mat::zeros(30, 2), Mat::zeros(30, 2));
        x.precondition(&ctx, b.as_ref(), p.as_mut()).unwrap();
        y.precondition(&ctx, b.as_ref(), q.as_mut()).unwrap();
        assert_eq!(p, q);
    }
}

/// One matrix as dense, blocks, Kronecker, diagonal, erased and matrix-free: product, solve, trace, log-determinant.
fn representations_agree<T: Scalar>() {
    let (a, s) = (random::<T>(5, 1, 17).map(|x| x.abs()), random::<T>(7, 1, 18).map(|x| x.abs()));
    let (a, s) = (Mat::from_diagonal(a.as_slice()), Mat::from_diagonal(s.as_slice()));
    let entries: Vec<T> = (0..35).map(|i| a[(i / 7, i / 7)] * s[(i % 7, i % 7)]).collect();
    let matrix: Mat<f64> = Mat::from_diagonal(&entries).cast();
    let block = |j: usize| Dense::new(Mat::from_diagonal(&entries[7 * j..7 * (j + 1)])).unwrap();
    let kinds = || {
        vec![
            ("diagonal", AnyCapable::new(Diagonal::new(entries.clone()).unwrap())),
            ("dense", AnyCapable::new(Dense::new(Mat::from_diagonal(&entries)).unwrap())),
            ("blocks", AnyCapable::new(BlockDiagonal::new((0..5).map(block).collect()))),
            ("Kronecker", AnyCapable::new(Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap())),
        ]
    };
    let (b, lambda) = (random::<T>(35, 3, 19), damping::<T>(0.05));
    let system = shifted(&matrix, lambda.get().f64());
    let kappa = row_sum_norm(&system) / lambda.get().f64();
    for ctx in contexts::<T>() {
        let check = |name: &str, c: &dyn Fn(&mut Mat<T>, &mut Mat<T>)| {
            let (mut y, mut x) = (Mat::zeros(35, 3), Mat::zeros(35, 3));
            c(&mut y, &mut x);
            let limit = tolerance::<T>(35, 1.0) * norm(&matrix) * norm(&b);
            assert!(distance(&y, &times(&matrix, &b.cast())) <= limit, "{name}: product");
            let residual = distance(&b, &times(&system, &x.cast()));
            let limit = tolerance::<T>(35, kappa) * norm(&b);
            assert!(residual <= limit, "{name}: residual {residual:e}, limit {limit:e}");
        };
        let trace: f64 = entries.iter().map(|d| d.f64()).sum();
        let log: f64 = entries.iter().map(|d| (d.f64() + lambda.get().f64()).ln()).sum();
        for (name, c) in kinds() {
            let solver = c.damped(&ctx, lambda).unwrap();
            check(name, &|y, x| {
                c.apply(&ctx, b.as_ref(), y.as_mut()).unwrap();
                solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            });
            let limit = tolerance::<T>(35, 1.0) * trace;
            assert!((c.trace(&ctx).unwrap().f64() - trace).abs() <= limit, "{name}: trace");
            let limit = tolerance::<T>(35, kappa) + tolerance::<T>(1, 1.0) * log.abs();
            assert!((solver.log_determinant().f64() - log).abs() <= limit, "{name}: log det");
        }
        let products = SymmetricDense::new(Mat::from_diagonal(&entries)).unwrap();
        let options = pullback::krylov::CgOptions { relative_tolerance: T::EPS * T::of(64.0), ..Default::default() };
        let free = MatrixFree::new(&products, Definiteness::PositiveSemidefinite).with_options(options).unwrap();
        check("matrix-free", &|y, x| {
            free.apply(&ctx, b.as_ref(), y.as_mut()).unwrap();
            free.damped(&ctx, lambda).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        });
    }
}

for_both!(plain, kronecker, blocks, erasure, representations_agree);

#[test]
fn sizes_that_no_intermediate_may_leave() {
    let ctx = Ctx::<f64>::default();
    let (huge, tiny) = (Mat::from_diagonal(&[1e200, 1e200]), Mat::from_diagonal(&[1e-200, 1e-200]));
    let near = |got: f64, want: f64| (got - want).abs() <= tolerance::<f64>(4, 1.0) * want;
    let c = Kronecker::new(huge.clone(), tiny.clone(), KroneckerDamping::Exact).unwrap();
    assert!(near(c.trace(&ctx).unwrap(), 4.0) && near(c.frobenius_norm(&ctx).unwrap(), 2.0));
    let norm = |m: &Mat<f64>| Dense::new(m.clone()).unwrap().frobenius_norm(&ctx).unwrap();
    assert!(near(norm(&huge), 2f64.sqrt() * 1e200) && near(norm(&tiny), 2f64.sqrt() * 1e-200));
    let blocks = BlockDiagonal::new(vec![Dense::new(huge.clone()).unwrap(), Dense::new(huge).unwrap()]);
    assert!(near(blocks.frobenius_norm(&ctx).unwrap(), 2e200));
}

#[test]
fn indefinite_matrices_have_no_real_root() {
    let ctx = Ctx::<f64>::default();
    let refused = |r: Result<(), Error>| assert!(matches!(r, Err(Error::NotPositiveDefinite { .. })), "{r:?}");
    let d = [1.0, -1e-3];
    refused(Diagonal::new(d.to_vec()).unwrap().square_root(&ctx).map(|_| ()));
    refused(Dense::new(Mat::from_diagonal(&d)).unwrap().square_root(&ctx).map(|_| ()));
    let c = Kronecker::new(Mat::identity(2), Mat::from_diagonal(&d), KroneckerDamping::Exact).unwrap();
    refused(c.square_root(&ctx).map(|_| ()));
    // rounding below zero is none of that
    let rounded = Dense::new(Mat::from_diagonal(&[1.0, -1e-16])).unwrap().square_root(&ctx).unwrap();
    assert!(distance(&gram(&ctx, &rounded), &Mat::from_diagonal(&[1.0, 0.0])) <= tolerance::<f64>(2, 1.0));
}

/// Draws of one direction u: Σ (uᵀx)² / uᵀCu is χ² with K degrees of freedom, whose cube root is normal (Wilson and
/// Hilferty, an error far below the tail probability used here at K = 20 000); Σ uᵀx / √(K uᵀCu) is normal.
fn worst_deviation<T: Scalar>(draws: &Mat<T>, covariance: &Mat<f64>) -> f64 {
    let (n, k) = draws.shape();
    let count = k as f64;
    let mut worst = 0f64;
    // e_i and e_i + e_j determine the covariance
    for (i, j) in (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))) {
        let along = |x: &[T]| if i == j { x[i].f64() } else { x[i].f64() + x[j].f64() };
        let cross = 2.0 * covariance[(i, j)];
        let variance = if i == j { covariance[(i, i)] } else { covariance[(i, i)] + covariance[(j, j)] + cross };
        let (mut sum, mut squares) = (0f64, 0f64);
        for x in draws.as_ref().cols() {
            sum += along(x);
            squares += along(x).powi(2);
        }
        let spread = (2.0 / (9.0 * count)).sqrt();
        let chi = ((squares / variance / count).cbrt() - (1.0 - spread * spread)) / spread;
        worst = worst.max(chi.abs()).max((sum / (count * variance).sqrt()).abs());
    }
    worst
}

const DRAWS: usize = 20_000;
/// 20 statistics, each beyond 5.6 deviations with probability 2.2e-8: a false alarm in fewer than 5e-7 of all seeds.
const LIMIT: f64 = 5.6;

fn samples<T: Scalar>() {
    let matrix = spd::<T>(4, 50.0, 20);
    let c = Dense::new(matrix.clone()).unwrap();
    let (a, s) = (spd::<T>(2, 5.0, 21), spd::<T>(2, 9.0, 22));
    for ctx in contexts::<T>() {
        let draw = |root: &dyn LinearOperator<T>, seed: u64| {
            let mut out = Mat::zeros(4, DRAWS);
            sample_normal(&ctx, root, seed, out.as_mut()).unwrap();
            out
        };
        let root = c.square_root(&ctx).unwrap();
        let deviation = worst_deviation(&draw(&root, 23), &matrix.cast());
        assert!(deviation <= LIMIT, "N(0, C): {deviation}");

        let inverse = |m: &Mat<f64>| {
            SymEigen::new(&Ctx::reference(), m.clone()).unwrap().map_to_dense(&Ctx::reference(), |w| 1.0 / w).unwrap()
        };
        let solver = c.damped(&ctx, damping(0.1)).unwrap();
        let deviation = worst_deviation(
            &draw(&solver.inverse_square_root(&ctx).unwrap(), 24),
            &inverse(&shifted(&matrix.cast(), 0.1)),
        );
        assert!(deviation <= LIMIT, "N(0, 1/(C + lambda)): {deviation}");
        for pi in [None, Some(PiRule::Trace)] {
            let kind = pi.map_or(KroneckerDamping::Exact, |pi| KroneckerDamping::Factored { pi });
            let solver = Kronecker::new(a.clone(), s.clone(), kind).unwrap().damped(&ctx, damping(0.1)).unwrap();
            let system = match pi {
                None => shifted(&kron(&a, &s), 0.1),
                Some(rule) => factored_system(&a, &s, rule, T::of(0.1)),
            };
            let draws = draw(&solver.inverse_square_root(&ctx).unwrap(), 25);
            let deviation = worst_deviation(&draws, &inverse(&system));
            assert!(deviation <= LIMIT, "{kind:?}: {deviation}");
        }

        // equal seeds, equal draws; other seeds, other draws
        assert_eq!(draw(&root, 26), draw(&root, 26));
        assert_ne!(draw(&root, 26), draw(&root, 27));

        // what the test must see: a root 5 % too large, and Rᵀ in the place of R
        let dense = root.to_dense(&ctx).unwrap();
        let inflated = DenseOperator::new(dense.map(|x| x * T::of(1.05)));
        assert!(worst_deviation(&draw(&inflated, 28), &matrix.cast()) > LIMIT, "blind to a biased scale");
        let transposed = DenseOperator::new(dense.transposed());
        assert!(worst_deviation(&draw(&transposed, 29), &matrix.cast()) > LIMIT, "blind to a transposed root");
    }
}

#[test]
fn samples_have_their_covariance_single() {
    samples::<f32>();
}

#[test]
fn samples_have_their_covariance_double() {
    samples::<f64>();
}

#[test]
fn samples_of_a_wrong_shape_are_refused() {
    let ctx = Ctx::<f64>::default();
    let root = Diagonal::new(vec![1.0, 2.0]).unwrap().square_root(&ctx).unwrap();
    let refused = sample_normal(&ctx, &root, 1, Mat::zeros(3, 1).as_mut());
    assert!(matches!(refused, Err(Error::Shape { .. })));
}
