//! Claim: JᵀJ of every giver of J is the dense matrix, and every path to (JᵀJ + λI)⁻¹ equals the dense solve.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use curvature_support::conformance::{Claim, conforms, conforms_borrowing, damping, diagonal_agrees};
use curvature_support::*;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Definiteness, Dense, DenseJacobian, DirectPath, DirectSampleSpace, Fidelity,
    HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot, HasTrace, JacobianSource, JvpVjp,
    MatrixFree, Recovery, RowChunks, SampleSpace, SampleSpaceOptions, SampleSpacePath, SolveReport,
};
use pullback::krylov::{CgOptions, CgStop};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, MatMut, Scalar};

const DIRECT: [DirectPath; 2] = [DirectPath::Primal, DirectPath::Kernel];
const PATHS: [SampleSpacePath; 4] =
    [SampleSpacePath::Primal, SampleSpacePath::Kernel, SampleSpacePath::ConjugateGradient, SampleSpacePath::Lsmr];

fn chunks<T: Scalar>(j: &Mat<T>, rows: usize) -> impl JacobianSource<T> + Clone + '_ {
    let fill = move |range: Range<usize>, mut out: MatMut<'_, T>| {
        out.copy_from(j.as_ref().submatrix(range.start, 0, range.len(), j.ncols()).unwrap()).unwrap();
        Ok::<(), Infallible>(())
    };
    std::sync::Arc::new(RowChunks::new(j.nrows(), j.ncols(), rows, fill).unwrap())
}

fn closures<T: Scalar>(j: &Mat<T>) -> impl JacobianSource<T> + Clone + '_ {
    let jvp = move |v: &[T], out: &mut [T]| {
        out.iter_mut().enumerate().for_each(|(i, out)| *out = (0..j.ncols()).map(|p| j[(i, p)] * v[p]).sum());
        Ok::<(), Infallible>(())
    };
    let vjp = move |u: &[T], out: &mut [T]| {
        out.iter_mut().enumerate().for_each(|(p, out)| *out = (0..j.nrows()).map(|i| j[(i, p)] * u[i]).sum());
        Ok::<(), Infallible>(())
    };
    std::sync::Arc::new(JvpVjp::new(j.nrows(), j.ncols(), jvp, vjp))
}

fn gram(j: &Mat<f64>) -> Mat<f64> {
    times(&j.transposed(), j)
}

const SHAPES: [(usize, usize); 11] =
    [(0, 0), (0, 3), (3, 0), (1, 1), (2, 5), (5, 2), (31, 33), (33, 32), (64, 17), (7, 65), (40, 40)];

/// Of rank at most half of the smaller side, for every other shape.
fn matrices<T: Scalar>() -> Vec<Mat<T>> {
    let deficient = |n: usize, p: usize| {
        let rank = n.min(p) / 2;
        times(&random(n, rank, 72), &random(rank, p, 73)).cast::<T>()
    };
    let full = SHAPES.iter().map(|&(n, p)| random(n, p, 71));
    full.chain([(9, 6), (6, 9), (33, 40)].map(|(n, p)| deficient(n, p))).chain([Mat::zeros(4, 5)]).collect()
}

fn products_of<T: Scalar>(place: &str, source: &impl JacobianSource<T>, j: &Mat<T>) {
    let (n, p) = j.shape();
    let wide = j.cast::<f64>();
    let square = norm(&wide).powi(2) * tolerance::<T>(n.max(p), 1.0);
    for ctx in contexts::<T>() {
        assert_eq!(source.shape(), (n, p), "{place}");
        let error = distance(&source.to_dense(&ctx).unwrap(), &wide);
        assert!(error <= tolerance::<T>(1, 1.0) * norm(&wide), "{place}: J is off by {error:e}");
        let mut back = Mat::from_fn(p, n, |_, _| T::nan());
        source.apply_transpose(&ctx, Mat::identity(n).as_ref(), back.as_mut()).unwrap();
        let error = distance(&back, &wide.transposed());
        assert!(error <= tolerance::<T>(1, 1.0) * norm(&wide), "{place}: J' is off by {error:e}");

        let kernel = source.kernel(&ctx).unwrap();
        let error = distance(&kernel, &gram(&wide.transposed()));
        assert!(error <= square, "{place}: J J' is off by {error:e}, limit {square:e}");
        assert_eq!(kernel, kernel.transposed(), "{place}: J J' is symmetric");
        let c = source.gram(&ctx).unwrap();
        let error = distance(&c, &gram(&wide));
        assert!(error <= square, "{place}: J'J is off by {error:e}, limit {square:e}");
        assert_eq!(c, c.transposed(), "{place}: J'J is symmetric");
        let mut squares = vec![T::nan(); p];
        source.column_squares(&ctx, &mut squares).unwrap();
        for (k, s) in squares.iter().enumerate() {
            let want = wide.as_ref().col(k).iter().map(|x| x * x).sum::<f64>();
            assert!((s.f64() - want).abs() <= square, "{place}: column {k}");
        }
        assert!(matches!(source.column_squares(&ctx, &mut vec![T::ZERO; p + 1]), Err(Error::Shape { .. })));
    }
}

fn every_giver_gives_the_same<T: Scalar>() {
    for j in matrices::<T>() {
        let place = format!("{:?}", j.shape());
        products_of(&format!("dense {place}"), &DenseJacobian::new(j.clone()).unwrap(), &j);
        products_of(&format!("borrowed {place}"), &&DenseJacobian::new(j.clone()).unwrap(), &j);
        for rows in [1, 4, 100] {
            products_of(&format!("{rows} rows a chunk {place}"), &chunks(&j, rows), &j);
        }
        products_of(&format!("closures {place}"), &closures(&j), &j);
    }
}

fn laws<T: Scalar>() {
    for j in matrices::<T>() {
        for path in DIRECT {
            let matrix = gram(&j.cast());
            let dense = DirectSampleSpace::new(DenseJacobian::new(j.clone()).unwrap(), path);
            conforms(&Claim::exact(format!("dense J by {path:?}"), matrix.clone()), &dense);
            diagonal_agrees(&dense);
            if j.nrows() <= 40 && j.ncols() <= 40 {
                conforms_borrowing(
                    &Claim::exact(format!("chunked J by {path:?}"), matrix.clone()),
                    &DirectSampleSpace::new(chunks(&j, 5), path),
                );
                conforms_borrowing(
                    &Claim::exact(format!("closures by {path:?}"), matrix),
                    &DirectSampleSpace::new(closures(&j), path),
                );
            }
        }
    }
}

fn capabilities<T: Scalar>() {
    for j in matrices::<T>() {
        let (matrix, p) = (gram(&j.cast()), j.ncols());
        let limit = tolerance::<T>(j.nrows().max(p), 1.0) * norm(&j).powi(2);
        let c = SampleSpace::new(DenseJacobian::new(j.clone()).unwrap());
        for ctx in contexts::<T>() {
            let trace: f64 = (0..p).map(|i| matrix[(i, i)]).sum();
            assert!((c.trace(&ctx).unwrap().f64() - trace).abs() <= limit);
            assert!((c.frobenius_norm(&ctx).unwrap().f64() - norm(&matrix)).abs() <= limit);
            let r = c.square_root(&ctx).unwrap().to_dense(&ctx).unwrap().cast::<f64>();
            assert!(distance(&times(&r, &r.transposed()), &matrix) <= limit);
            assert_eq!(c.definiteness(), Definiteness::PositiveSemidefinite);
            let v = random::<T>(p, 2, 74);
            let (mut forms, cv) = ([T::nan(); 2], times(&matrix, &v.cast()));
            c.quadratic_form(&ctx, v.as_ref(), &mut forms).unwrap();
            for (k, form) in forms.iter().enumerate() {
                let want: f64 = (0..p).map(|i| v[(i, k)].f64() * cv[(i, k)]).sum();
                assert!((form.f64() - want).abs() <= limit * norm(&v).powi(2));
            }
        }
    }
}

/// (JᵀJ + λI)⁻¹ b in f64.
fn dense_solution(matrix: &Mat<f64>, lambda: f64, b: &Mat<f64>) -> (Mat<f64>, f64) {
    let ctx = Ctx::reference();
    let solver = Dense::new(matrix.clone()).unwrap().damped(&ctx, damping(lambda)).unwrap();
    let mut x = Mat::zeros(b.nrows(), b.ncols());
    solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    (x, solver.log_determinant())
}

/// Direct solvers, from Cholesky and from eigenvalues: solution, residual form, log-determinant, root.
fn direct_solvers_equal_the_dense_one<T: Scalar>() {
    for j in matrices::<T>().into_iter().filter(|j| j.nrows() > 0 && j.ncols() > 0) {
        let (n, p) = j.shape();
        let (b, r) = (random::<T>(p, 2, 75), random::<T>(n, 2, 76));
        let (wide, size) = (j.cast::<f64>(), norm(&j).powi(2).max(1.0));
        let matrix = gram(&wide);
        let c = SampleSpace::new(DenseJacobian::new(j).unwrap());
        for relative in [1e2, 1.0, 1e-2, 1e-3] {
            let lambda = T::of(relative * size);
            let (l, kappa) = (lambda.f64(), 1.0 + 1.0 / relative);
            let (x_want, log_det) = dense_solution(&matrix, l, &b.cast());
            let (phi_want, _) = dense_solution(&matrix, l, &times(&wide.transposed(), &r.cast()));
            let unit = tolerance::<T>(n.max(p), kappa);
            for ctx in contexts::<T>() {
                for path in DIRECT {
                    let lambda = pullback::Damping::new(lambda).unwrap();
                    let place = format!("{n} x {p} {path:?}, {relative:e}, {} {}", ctx.backend().name(), T::NAME);
                    let by_eigen = c.spectrum(&ctx, path).unwrap().damped(lambda).unwrap();
                    for solver in [c.direct(&ctx, lambda, path).unwrap(), by_eigen] {
                        let mut x = Mat::from_fn(p, 2, |_, _| T::nan());
                        assert_eq!(solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap(), SolveReport::Direct);
                        let (error, limit) = (distance(&x, &x_want), unit * norm(&b) / l);
                        assert!(error <= limit, "{place}: off by {error:e}, limit {limit:e}");
                        let mut phi = Mat::from_fn(p, 2, |_, _| T::nan());
                        solver.solve_residual(&ctx, r.as_ref(), phi.as_mut()).unwrap();
                        // ‖(JᵀJ + λ)⁻¹Jᵀ‖ <= 1 / 2√λ
                        let (error, limit) = (distance(&phi, &phi_want), unit * norm(&r) / l.sqrt());
                        assert!(error <= limit, "{place}: residual form off by {error:e}, limit {limit:e}");
                        let got = solver.log_determinant().f64();
                        let limit = unit + tolerance::<T>(1, 1.0) * log_det.abs().max((p + n) as f64 * l.ln().abs());
                        assert!((got - log_det).abs() <= limit, "{place}: log det {got}, dense {log_det}");
                        let root = solver.inverse_square_root(&ctx).unwrap().to_dense(&ctx).unwrap().cast::<f64>();
                        let system = shifted(&matrix, l);
                        let identity = times(&times(&root.transposed(), &system), &root);
                        let error = distance(&identity, &Mat::identity(p));
                        let limit = unit * (p as f64).sqrt();
                        assert!(error <= limit, "{place}: R' A R is off by {error:e}, limit {limit:e}");
                        assert_eq!((solver.fidelity(), solver.direct_path()), (Fidelity::Exact, path));
                    }
                }
            }
        }
    }
}

/// Every path of `damped`, forced: the residual that it promises, for general and for residual right-hand sides.
fn every_path_solves<T: Scalar>() {
    let iteration = CgOptions { relative_tolerance: T::EPS.sqrt(), max_iterations: 500, ..CgOptions::from_zero() };
    for j in matrices::<T>().into_iter().filter(|j| j.nrows() > 0 && j.ncols() > 0) {
        let (n, p) = j.shape();
        let wide = j.cast::<f64>();
        let (b, mut r) = (random::<T>(p, 2, 77), random::<T>(n, 2, 78));
        r.as_mut().col_mut(1).fill(T::ZERO); // the solution is zero
        let source = DenseJacobian::new(j).unwrap();
        let lambda = damping::<T>(0.05 * norm(&wide).powi(2).max(1.0));
        let system = shifted(&gram(&wide), lambda.get().f64());
        for path in PATHS {
            let options = SampleSpaceOptions { path, iteration, ..SampleSpaceOptions::default() };
            let c = SampleSpace::new(&source).with_options(options).unwrap();
            for ctx in contexts::<T>() {
                let place = format!("{n} x {p} {path:?}, {} {}", ctx.backend().name(), T::NAME);
                let solver = c.damped(&ctx, lambda).unwrap();
                assert!(solver.plan().is_none(), "{place}: nothing was chosen");
                assert_eq!((solver.dim(), solver.damping(), solver.recovery()), (p, lambda, Recovery::None), "{place}");
                let iterates = matches!(path, SampleSpacePath::ConjugateGradient | SampleSpacePath::Lsmr);
                assert_eq!(solver.fidelity() == Fidelity::Iterative, iterates, "{place}");
                for (rhs, by_residual) in [(b.cast(), false), (times(&wide.transposed(), &r.cast()), true)] {
                    let mut x = Mat::from_fn(p, 2, |_, _| T::nan());
                    let report = if by_residual {
                        solver.solve_residual(&ctx, r.as_ref(), x.as_mut()).unwrap()
                    } else {
                        solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap()
                    };
                    let ax = times(&system, &x.cast());
                    for k in 0..2 {
                        let column = |m: &Mat<f64>| Mat::from_fn(p, 1, |i, _| m[(i, k)]);
                        let (error, size) = (distance(&column(&ax), &column(&rhs)), norm(&column(&rhs)));
                        // λ >= 0.05 ‖J‖²_F: κ is at most 21
                        let rounding = tolerance::<T>(n.max(p), 21.0) * norm(&rhs).max(norm(&r) * norm(&wide));
                        let limit = rounding + if iterates { 1.01 * T::EPS.f64().sqrt() * size } else { 0.0 };
                        assert!(error <= limit, "{place}: residual {error:e}, limit {limit:e}: {report:?}");
                        if let SolveReport::Iterative { relative_residual, stop, .. } = report {
                            assert_eq!(stop, CgStop::Converged, "{place}: {report:?}");
                            assert!(error <= 1.01 * relative_residual * size + rounding, "{place}: {report:?}");
                        }
                    }
                    assert_eq!(matches!(report, SolveReport::Iterative { .. }), iterates, "{place}");
                }
                let wrong = |r: Result<SolveReport, Error>| assert!(matches!(r, Err(Error::Shape { .. })), "{place}");
                wrong(solver.solve_residual(&ctx, Mat::zeros(n + 1, 1).as_ref(), Mat::zeros(p, 1).as_mut()));
                wrong(solver.solve_residual(&ctx, Mat::zeros(n, 1).as_ref(), Mat::zeros(p + 1, 1).as_mut()));
                wrong(solver.solve(&ctx, Mat::zeros(p + 1, 1).as_ref(), Mat::zeros(p, 1).as_mut()));
                assert_eq!(solver.into_direct().is_none(), iterates, "{place}");
            }
        }
    }
}

for_both!(every_giver_gives_the_same, laws, capabilities, direct_solvers_equal_the_dense_one, every_path_solves);

#[test]
fn it_is_a_block_and_can_be_erased() {
    let j = random::<f64>(3, 7, 82);
    let block = || DirectSampleSpace::new(DenseJacobian::new(j.clone()).unwrap(), DirectPath::Kernel);
    let matrix = gram(&j);
    let blocks = BlockDiagonal::new(vec![AnyCurvature::new(block()), AnyCurvature::new(block())]);
    conforms(&Claim::exact("blocks", assembled(&[matrix.clone(), matrix])), &blocks);
}

/// The exact inverse leaves conjugate gradient one step; the one of another λ leaves it fewer than it takes alone.
#[test]
fn direct_solvers_precondition() {
    let j = std::sync::Arc::new(DenseJacobian::new(random::<f64>(12, 30, 83)).unwrap());
    let b = random::<f64>(30, 1, 84);
    let lambda = damping::<f64>(1e-3);
    for ctx in contexts::<f64>() {
        let space = SampleSpace::new(j.clone());
        let iterations = |preconditioner: Option<f64>| {
            let mut free = MatrixFree::new(space.clone(), Definiteness::PositiveSemidefinite);
            if let Some(other) = preconditioner {
                let inverse = space.direct(&ctx, damping(other), DirectPath::Kernel).unwrap();
                free = free.with_preconditioner(std::sync::Arc::new(inverse)).unwrap();
            }
            let mut x = Mat::zeros(30, 1);
            match free.damped(&ctx, lambda).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap() {
                SolveReport::Iterative { iterations, stop: CgStop::Converged, .. } => iterations,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(iterations(Some(1e-3)), 1);
        let (near, alone) = (iterations(Some(2e-3)), iterations(None));
        assert!(near < alone, "{near} iterations with a near inverse, {alone} without");
    }
}

/// At most two chunks at once, and as many makings as the table says.
#[test]
fn chunks_are_never_all_held() {
    let made = AtomicUsize::new(0);
    let fill = |range: Range<usize>, mut out: MatMut<'_, f64>| {
        made.fetch_add(1, Ordering::Relaxed);
        for (p, column) in out.cols_mut().enumerate() {
            column.iter_mut().zip(range.clone()).for_each(|(x, i)| *x = ((i * 31 + p * 17) % 23) as f64);
        }
        Ok::<(), Infallible>(())
    };
    let (n, p, rows) = (60, 500, 6);
    let j = RowChunks::new(n, p, rows, fill).unwrap();
    for ctx in contexts::<f64>() {
        let count = |work: &dyn Fn()| {
            let before = made.load(Ordering::Relaxed);
            work();
            made.load(Ordering::Relaxed) - before
        };
        let c = n / rows;
        assert_eq!(count(&|| drop(j.kernel(&ctx).unwrap())), c * (c + 1) / 2);
        // 2 chunks of 6 x 500 and what the kernels of a backend pack, below N P = 30000 numbers
        assert!(ctx.high_water() < 8 * n * p / 2, "{} bytes of scratch", ctx.high_water());
        assert_eq!(count(&|| drop(j.gram(&ctx).unwrap())), c);
        // one decomposition for every λ: J is not looked at again
        let spectrum = SampleSpace::new(&j).spectrum(&ctx, DirectPath::Kernel).unwrap();
        assert_eq!(count(&|| [0.1, 1.0, 10.0].iter().for_each(|&l| drop(spectrum.damped(damping(l)).unwrap()))), 0);
        let (x, mut y) = (Mat::zeros(p, 3), Mat::zeros(n, 3));
        assert_eq!(count(&|| j.apply(&ctx, x.as_ref(), Mat::zeros(n, 3).as_mut()).unwrap()), c);
        j.apply(&ctx, x.as_ref(), y.as_mut()).unwrap();
        assert_eq!(y, Mat::zeros(n, 3));
    }
}

#[test]
fn bad_arguments_are_typed_errors() {
    let ctx = Ctx::<f64>::default();
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(DenseJacobian::new(Mat::from_diagonal(&[bad])), Err(Error::NotFinite { .. })));
        // closures cannot be looked into: the factorization refuses, and so does the estimate of the norm
        let nan = move |_: &[f64], out: &mut [f64]| {
            out.fill(bad);
            Ok::<(), Infallible>(())
        };
        let c = SampleSpace::new(std::sync::Arc::new(JvpVjp::new(2, 2, nan, nan)));
        assert!(matches!(c.damped(&ctx, damping(1.0)).map(|_| ()), Err(Error::NotFinite { .. })));
        for path in DIRECT {
            assert!(matches!(c.direct(&ctx, damping(1.0), path).map(|_| ()), Err(Error::NotFinite { .. })));
            assert!(matches!(c.spectrum(&ctx, path).map(|_| ()), Err(Error::NotFinite { .. })));
        }
    }
    let huge = SampleSpace::new(DenseJacobian::new(Mat::from_diagonal(&[1e200])).unwrap());
    assert!(matches!(huge.direct(&ctx, damping(1.0), DirectPath::Kernel).map(|_| ()), Err(Error::NotFinite { .. })));
    let no_rows = |_: Range<usize>, _: MatMut<'_, f64>| Ok::<(), Infallible>(());
    assert!(matches!(RowChunks::new(3, 2, 0, no_rows).map(|_| ()), Err(Error::InvalidParameter { .. })));
    // a matrix of order 2⁴⁰ is refused before it is asked for
    let wide = JvpVjp::new(
        1,
        1 << 40,
        |_: &[f64], _: &mut [f64]| Ok::<(), Infallible>(()),
        |_: &[f64], _: &mut [f64]| Ok::<(), Infallible>(()),
    );
    assert!(matches!(JacobianSource::<f64>::gram(&wide, &ctx), Err(Error::InvalidParameter { .. })));
    // an error of the giver is the error of the whole
    let failing = |_: &[f64], _: &mut [f64]| Err(Error::invalid("product", "it failed"));
    let c = SampleSpace::new(std::sync::Arc::new(JvpVjp::new(2, 2, failing, failing)));
    assert!(matches!(c.direct(&ctx, damping(1.0), DirectPath::Primal).map(|_| ()), Err(Error::External(_))));
}
