//! Trees of curvatures (blocks within blocks; dense, diagonal and Kronecker leaves) with entries of any bit pattern: no
//! panic; a typed error, or products, diagonal order, damped solves and new dampings that keep their laws.

use super::Bytes;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Dense, Diagonal, Fidelity, Kronecker, KroneckerDamping, PiRule, SolveReport,
};
use pullback::testing::{contexts, tolerance};
use pullback::{
    Ctx, Curvature, DampedInverse, DampedSolver, Damping, Error, LinearOperator, Mat, Op, Result, Scalar, SelfAdjoint,
};

/// A tree, the dense matrix that it should be, and what may be asked of it.
struct Tree<T: Scalar> {
    curvature: AnyCurvature<T>,
    dense: Mat<f64>,
    /// Every leaf is positive semidefinite by construction and its entries are moderate: damping must succeed.
    tame: bool,
    /// No leaf replaces C + λI by a nearby matrix.
    exact: bool,
    /// A λ below this may be lost in rounding beside C, or √λ beside one of its factors.
    lost_below: f64,
}

pub fn run(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    if input.byte() % 2 == 0 { check::<f64>(input) } else { check::<f32>(input) }
}

/// Constructors may refuse what is not finite, and nothing else that is made here.
fn made<C>(result: Result<C>, finite: bool) -> Option<C> {
    match result {
        Ok(made) => {
            assert!(finite, "NaN or infinity was accepted");
            Some(made)
        }
        Err(Error::NotFinite { .. }) => {
            assert!(!finite, "finite entries were refused");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// An n x n matrix: raw bits, ordinary numbers, or a Gram matrix of ordinary numbers; whether it is the last.
fn square<T: Scalar>(input: &mut Bytes<'_>, n: usize) -> (Mat<T>, bool) {
    let kind = input.byte() % 4;
    let mut a = Mat::from_fn(n, n, |_, _| if kind == 0 { input.scalar() } else { input.ordinary() });
    if kind >= 2 {
        let g = a.clone();
        Ctx::reference().syrk(T::ONE, g.as_ref(), Op::No, T::ZERO, a.as_mut()).expect("shapes fit");
    }
    (a, kind >= 2)
}

/// The symmetric part in f64, from halves as the curvature takes it in T.
fn symmetric<T: Scalar>(a: &Mat<T>) -> Mat<f64> {
    let half = T::of(0.5);
    Mat::from_fn(a.nrows(), a.nrows(), |i, j| {
        if i == j { a[(i, i)].f64() } else { (half * a[(i.max(j), i.min(j))] + half * a[(i.min(j), i.max(j))]).f64() }
    })
}

fn leaf<T: Scalar>(input: &mut Bytes<'_>) -> Tree<T> {
    let kind = input.byte();
    let n = input.upto(6);
    let nothing = || Tree {
        curvature: AnyCurvature::new(zeros(0)),
        dense: Mat::zeros(0, 0),
        tame: true,
        exact: true,
        lost_below: 0.0,
    };
    match kind % 3 {
        0 => {
            let raw = input.byte().is_multiple_of(4);
            let d: Vec<T> = (0..n).map(|_| if raw { input.scalar() } else { input.ordinary() }).collect();
            let dense = Mat::from_diagonal(&d.iter().map(|d| d.f64()).collect::<Vec<_>>());
            let tame = !raw && d.iter().all(|&d| d >= T::ZERO);
            let finite = d.iter().all(|d| d.is_finite());
            match made(Diagonal::new(d), finite) {
                Some(c) => {
                    let lost_below = rounding::<T>(&dense);
                    Tree { curvature: AnyCurvature::new(c), dense, tame, exact: true, lost_below }
                }
                None => nothing(),
            }
        }
        1 => {
            let (a, tame) = square::<T>(input, n);
            let dense = symmetric(&a);
            match made(Dense::new(a), dense.as_ref().is_finite()) {
                Some(c) => {
                    let lost_below = rounding::<T>(&dense);
                    Tree { curvature: AnyCurvature::new(c), dense, tame, exact: true, lost_below }
                }
                None => nothing(),
            }
        }
        _ => {
            let ((a, tame_a), (s, tame_s)) = (square::<T>(input, n), square::<T>(input, kind as usize / 3 % 5));
            let damping = match input.byte() % 4 {
                0 => KroneckerDamping::Factored { pi: PiRule::Trace },
                1 => KroneckerDamping::Factored { pi: PiRule::Frobenius },
                _ => KroneckerDamping::Exact,
            };
            let (da, ds) = (symmetric(&a), symmetric(&s));
            let d = ds.nrows();
            let dense = Mat::from_fn(n * d, n * d, |i, j| da[(i / d, j / d)] * ds[(i % d, j % d)]);
            let exact = damping == KroneckerDamping::Exact;
            let finite = da.as_ref().is_finite() && ds.as_ref().is_finite();
            match made(Kronecker::new(a, s, damping), finite) {
                Some(c) => {
                    let factors = rounding::<T>(&da).max(rounding::<T>(&ds)).powi(2);
                    let lost_below = rounding::<T>(&dense).max(if exact { 0.0 } else { factors });
                    Tree { curvature: AnyCurvature::new(c), dense, tame: tame_a && tame_s, exact, lost_below }
                }
                None => nothing(),
            }
        }
    }
}

fn zeros<T: Scalar>(n: usize) -> Diagonal<T> {
    Diagonal::new(vec![T::ZERO; n]).expect("zeros are finite")
}

fn tree<T: Scalar>(input: &mut Bytes<'_>, depth: usize) -> Tree<T> {
    if depth == 0 || input.byte().is_multiple_of(3) {
        return leaf(input);
    }
    let parts: Vec<Tree<T>> = (0..input.upto(3)).map(|_| tree(input, depth - 1)).collect();
    let n = parts.iter().map(|part| part.dense.nrows()).sum();
    let mut dense = Mat::zeros(n, n);
    let (mut start, mut tame, mut exact, mut lost_below) = (0, true, true, 0f64);
    for part in &parts {
        let order = part.dense.nrows();
        for (i, j) in (0..order).flat_map(|j| (0..order).map(move |i| (i, j))) {
            dense[(start + i, start + j)] = part.dense[(i, j)];
        }
        (start, tame, exact) = (start + order, tame && part.tame, exact && part.exact);
        lost_below = lost_below.max(part.lost_below);
    }
    let blocks = BlockDiagonal::new(parts.into_iter().map(|part| part.curvature).collect());
    Tree { curvature: AnyCurvature::new(blocks), dense, tame, exact, lost_below }
}

/// What a factorization of the matrix may lose.
fn rounding<T: Scalar>(a: &Mat<f64>) -> f64 {
    tolerance::<T>(a.nrows(), 1.0) * largest(a) * a.nrows() as f64
}

fn largest(a: &Mat<f64>) -> f64 {
    a.as_slice().iter().fold(0.0, |m, x| if x.is_nan() { f64::INFINITY } else { x.abs().max(m) })
}

fn check<T: Scalar>(mut input: Bytes<'_>) {
    let depth = input.upto(3);
    let flags = input.byte();
    let raw_lambda: T = input.scalar();
    let (raw_b, k) = (flags & 1 != 0, 1 + usize::from(flags >> 1) % 3);
    let tree = tree::<T>(&mut input, depth);
    let n = tree.dense.nrows();
    let lambda = if flags & 8 != 0 { raw_lambda } else { T::of(2.0).powi(i32::from(flags >> 4) - 8) };
    let Some(lambda) = Damping::new(lambda) else {
        return assert!(!(lambda.is_finite() && lambda > T::ZERO), "a positive λ was refused");
    };
    let b = Mat::<T>::from_fn(n, k, |_, _| if raw_b { input.scalar() } else { input.ordinary() });
    for ctx in contexts::<T>() {
        assert_eq!(tree.curvature.shape(), (n, n));
        products(&ctx, &tree);
        let solver = match tree.curvature.damped(&ctx, lambda) {
            Ok(solver) => solver,
            Err(Error::NotPositiveDefinite { .. } | Error::NotFinite { .. } | Error::NoConvergence { .. }) => {
                let huge = lambda.get().f64() > T::max_value().f64().sqrt();
                // lost beside C or its factors, or without a finite inverse
                let tiny = lambda.get().f64() < tree.lost_below || !(T::ONE / lambda.get()).is_finite();
                assert!(!tree.tame || huge || tiny, "positive semidefinite, moderate, damped by {}", lambda.get());
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!((DampedSolver::dim(&solver), solver.damping()), (n, lambda));
        assert!(solver.fidelity() == Fidelity::Exact || !tree.exact);
        solves(&ctx, &tree, &*solver, &b);
    }
}

/// C I is the dense matrix, block for block.
fn products<T: Scalar>(ctx: &Ctx<T>, tree: &Tree<T>) {
    let n = tree.curvature.dim();
    let size = largest(&tree.dense);
    if size > T::max_value().f64().sqrt() || (size > 0.0 && size < T::min_positive_value().f64().sqrt()) {
        // entries beyond the range of products: only no panic
        let _ = tree.curvature.to_dense(ctx);
        return;
    }
    let found: Mat<f64> = tree.curvature.to_dense(ctx).expect("finite products").cast();
    let underflow = n as f64 * T::min_positive_value().f64().sqrt();
    for (found, exact) in found.as_slice().iter().zip(tree.dense.as_slice()) {
        // an entry of a Kronecker product is one product of two factors' entries
        let wild = !tree.tame && !found.is_finite();
        assert!(wild || (found - exact).abs() <= tolerance::<T>(n, 1.0) * size + underflow, "{found:e} for {exact:e}");
    }
}

fn solves<T: Scalar>(ctx: &Ctx<T>, tree: &Tree<T>, solver: &dyn DampedInverse<T>, b: &Mat<T>) {
    let (n, k) = b.shape();
    let mut x = Mat::from_fn(n, k, |_, _| T::nan()); // its old contents must not be read
    let report = solver.solve(ctx, b.as_ref(), x.as_mut()).expect("shapes fit");
    assert_eq!(report, SolveReport::Direct);
    let mut again = Mat::zeros(n, k);
    solver.precondition(ctx, b.as_ref(), again.as_mut()).expect("shapes fit");
    let bits = |m: &Mat<T>| m.as_slice().iter().map(|x| x.f64().to_bits()).collect::<Vec<_>>();
    // NaN has many bit patterns: compare where there is none
    assert!(!x.as_ref().is_finite() || bits(&x) == bits(&again), "two solves, two answers");
    let (b, x): (Mat<f64>, Mat<f64>) = (b.cast(), x.cast());
    let (size, lambda) = (largest(&tree.dense), solver.damping().get().f64());
    let moderate = |x: f64| x < T::max_value().f64().powf(0.2) && (x == 0.0 || x > T::max_value().f64().powf(-0.2));
    if !(tree.tame && moderate(size) && moderate(lambda) && moderate(largest(&b))) {
        return;
    }
    assert!(x.as_ref().is_finite(), "a solve with moderate numbers is finite");
    for j in 0..k {
        let along: f64 = b.as_ref().col(j).iter().zip(x.as_ref().col(j)).map(|(b, x)| b * x).sum();
        let rounding = tolerance::<T>(n, 1.0) * n as f64 * largest(&b).powi(2) / lambda;
        assert!(along >= -rounding, "bᵀ(C + λI)⁻¹b = {along:e}: not positive definite");
    }
    if tree.exact {
        // eigenvectors leave errors of size ε ‖b‖/λ in x, so ε (‖C‖ + λ) ‖b‖/λ in the residual
        let limit = tolerance::<T>(n, 1.0) * (n * n) as f64 * (size + lambda) * (largest(&x) + largest(&b) / lambda);
        for (i, j) in (0..k).flat_map(|j| (0..n).map(move |i| (i, j))) {
            let ax: f64 = (0..n).map(|p| tree.dense[(i, p)] * x[(p, j)]).sum::<f64>() + lambda * x[(i, j)];
            let residual = (b[(i, j)] - ax).abs();
            assert!(residual <= limit, "residual {residual:e} of {limit:e}");
        }
    }
}
