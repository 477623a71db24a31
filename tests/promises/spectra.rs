//! R1, R2: LAPACK's ratios on LAPACK's types. R3: powers of two.

use pullback::curvature::{Dense, Diagonal, Kronecker, KroneckerDamping};
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::{CgOptions, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::lapack::{Measured, PoType, SepType, check_po, check_sep, eigenvalues, po_type, sep_type};
use pullback::testing::{gallery, relative_error, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Mat, Op, Scalar};

use super::{damping, place};

/// Empty, scalar, small, and past the block of any library.
const ORDERS: [usize; 6] = [0, 1, 2, 10, 33, 129];
const SEED: u64 = 5;

fn all_hold(measured: &[Measured], what: &str) {
    for m in measured {
        assert!(m.ratio < m.limit, "{what}: {} has ratio {:e}, limit {}", m.law, m.ratio, m.limit);
    }
}

pub fn positive_definite_types<T: Scalar>(ctx: &Ctx<T>) {
    for (kind, n) in PoType::ALL.into_iter().flat_map(|kind| ORDERS.map(|n| (kind, n))) {
        let measured = check_po(ctx, &po_type(kind, n, SEED));
        all_hold(&measured, &format!("{} PO {} n = {n}", place(ctx), kind.number()));
    }
}

pub fn symmetric_types<T: Scalar>(ctx: &Ctx<T>) {
    for (kind, n) in SepType::ALL.into_iter().flat_map(|kind| ORDERS.map(|n| (kind, n))) {
        let test = sep_type::<T>(kind, n, SEED);
        let alone = eigenvalues(test.matrix.as_ref());
        all_hold(&check_sep(ctx, &test, &alone), &format!("{} SEP {} n = {n}", place(ctx), kind.number()));
    }
}

/// Even exponents, so that square roots stay powers of two; the largest keep squares of entries in range.
fn exponents<T: Scalar>() -> [i32; 5] {
    let largest = if T::NAME == "f32" { 40 } else { 400 };
    [-largest, -2, 0, 2, largest]
}

fn scaled<T: Scalar>(a: &Mat<T>, exponent: i32) -> Mat<T> {
    gallery::scaled(a, exponent)
}

/// op(2^k A) = 2^p op(A): bit for bit where no rounding can differ, else to the tolerance of the operation.
pub fn scale_equivariance<T: Scalar>(ctx: &Ctx<T>) {
    for n in [1, 3, 33, 129] {
        let (a, b) = (gallery::spd::<T>(n, 50.0, 1), gallery::uniform::<T>(n, 3, 2));
        let chol = Cholesky::new(ctx, a.clone()).expect("positive definite");
        let (inverse, eigen) = (chol.inverse(ctx).expect("finite"), SymEigen::new(ctx, a.clone()).expect("finite"));
        let product = |a: &Mat<T>, b: &Mat<T>| {
            let mut c = Mat::zeros(a.nrows(), b.ncols());
            ctx.gemm(T::ONE, a.as_ref(), Op::No, b.as_ref(), Op::No, T::ZERO, c.as_mut()).expect("shapes");
            c
        };
        for k in exponents::<T>() {
            let what = format!("{} n = {n}, 2^{k}", place(ctx));
            let big = scaled(&a, k);
            assert_eq!(product(&big, &b), scaled(&product(&a, &b), k), "{what}: product");
            let factor = Cholesky::new(ctx, big.clone()).expect("positive definite");
            for (i, j) in (0..n).flat_map(|j| (j..n).map(move |i| (i, j))) {
                let want = T::of(chol.l().at(i, j).f64() * 2f64.powi(k / 2));
                assert_eq!(factor.l().at(i, j), want, "{what}: L({i}, {j})");
            }
            let error = relative_error(factor.inverse(ctx).expect("finite").as_ref(), scaled(&inverse, -k).as_ref());
            assert!(error <= tolerance::<T>(n, 1.0), "{what}: inverse is off by {error:e}");
            let spectrum = SymEigen::new(ctx, big.clone()).expect("finite");
            assert_eq!(spectrum.vectors().as_slice(), eigen.vectors().as_slice(), "{what}: eigenvectors");
            let values = Mat::from_vec(eigen.values().to_vec(), n, 1).expect("n values");
            assert_eq!(spectrum.values(), scaled(&values, k).as_slice(), "{what}: eigenvalues");
            let log = factor.log_determinant().f64() - f64::from(k) * n as f64 * std::f64::consts::LN_2;
            let want = chol.log_determinant().f64();
            let size = want.abs() + f64::from(k.abs()) * n as f64;
            assert!((log - want).abs() <= tolerance::<T>(n, size), "{what}: log det {log} for {want}");
        }
    }
    damped_solves_and_iterations(ctx);
}

/// (2^k C + 2^k λ I) X = 2^k B has the same X.
fn damped_solves_and_iterations<T: Scalar>(ctx: &Ctx<T>) {
    fn solved<T: Scalar, C: Curvature<T>>(ctx: &Ctx<T>, c: &C, lambda: f64, b: &Mat<T>) -> Mat<T> {
        let mut x = b.map(|_| T::nan());
        c.damped(ctx, damping(lambda)).expect("definite").solve(ctx, b.as_ref(), x.as_mut()).expect("shapes");
        x
    }
    let (a, s, b) =
        (gallery::spd::<T>(4, 9.0, 3), gallery::rank_deficient::<T>(3, 2, 4), gallery::uniform::<T>(12, 2, 5));
    let m = gallery::spd::<T>(12, 9.0, 6);
    let solutions = |k: i32| {
        let (lambda, rhs) = (0.25 * 2f64.powi(k), scaled(&b, k));
        let dense = Dense::new(scaled(&m, k)).expect("finite");
        let diagonal: Vec<T> = (0..12).map(|i| scaled(&m, k)[(i, i)]).collect();
        let product = Kronecker::new(scaled(&a, k), s.clone(), KroneckerDamping::Exact).expect("finite");
        let operator = SymmetricDense::new(scaled(&m, k)).expect("square");
        let mut x = Mat::zeros(12, 2);
        let report = pcg(ctx, &operator, None, rhs.as_ref(), x.as_mut(), &CgOptions::from_zero()).expect("shapes");
        let iterations = report.iterations();
        let direct = [
            solved(ctx, &dense, lambda, &rhs),
            solved(ctx, &Diagonal::new(diagonal).expect("finite"), lambda, &rhs),
            solved(ctx, &product, lambda, &rhs),
        ];
        (direct, x, iterations)
    };
    let (direct, x, iterations) = solutions(0);
    for k in exponents::<T>() {
        let what = format!("{} 2^{k}", place(ctx));
        let (moved, moved_x, moved_iterations) = solutions(k);
        for (name, (got, want)) in ["dense", "diagonal", "Kronecker"].iter().zip(moved.iter().zip(&direct)) {
            let error = relative_error(got.as_ref(), want.as_ref());
            assert!(error <= tolerance::<T>(12, 9.0), "{what}: {name} solution is off by {error:e}");
        }
        assert_eq!((moved_x, moved_iterations), (x.clone(), iterations), "{what}: conjugate gradient");
    }
}
