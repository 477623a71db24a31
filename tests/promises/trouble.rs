//! R4: NaN, infinity, subnormal, huge, empty, 1 x 1, rank deficient, duplicate eigenvalues, permuted, graded.
//! R5: the failing pivot.

use pullback::curvature::{Dense, Diagonal, Kronecker, KroneckerDamping};
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::{CgOptions, CgStop, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::lapack::{PoType, SIZES, po_type};
use pullback::testing::{gallery, ratios};
use pullback::{Ctx, Curvature, DampedSolver, Error, Mat, Scalar};

use super::{damping, place};

/// What a matrix must give: `Ok` where the law has to hold, or the error.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Lawful,
    NotFinite,
    NotPositiveDefinite(usize),
    Other,
}

fn outcome<V>(result: Result<V, Error>) -> (Outcome, Option<V>) {
    match result {
        Ok(value) => (Outcome::Lawful, Some(value)),
        Err(Error::NotFinite { .. }) => (Outcome::NotFinite, None),
        Err(Error::NotPositiveDefinite { pivot, .. }) => (Outcome::NotPositiveDefinite(pivot), None),
        Err(_) => (Outcome::Other, None),
    }
}

struct Case<T> {
    name: &'static str,
    matrix: Mat<T>,
    factor: Outcome,
    inverse: Outcome,
    eigen: Outcome,
}

/// Matrices of order n with what a factorization, the inverse and an eigendecomposition owe, the same on every backend.
fn cases<T: Scalar>(n: usize) -> Vec<Case<T>> {
    use Outcome::{Lawful, NotFinite, NotPositiveDefinite};
    let case = |name, matrix, [factor, inverse, eigen]: [Outcome; 3]| Case { name, matrix, factor, inverse, eigen };
    let spd = gallery::spd::<T>(n, 4.0, 1);
    let with = |i: usize, j: usize, x: T| {
        let mut a = spd.clone();
        a[(i, j)] = x;
        a
    };
    let (lawful, refused) = ([Lawful; 3], [NotFinite; 3]);
    let mut cases = vec![case("well conditioned", spd.clone(), lawful)];
    if n == 0 {
        return cases;
    }
    let (tiny, huge) = (T::min_positive_value(), T::max_value() / T::of(8.0 * n as f64));
    for bad in [T::nan(), T::infinity(), T::neg_infinity()] {
        cases.push(case("not finite first", with(0, 0, bad), refused));
        cases.push(case("not finite last", with(n - 1, n - 1, bad), refused));
        cases.push(case("not finite corner", with(n - 1, 0, bad), refused));
        if n > 1 {
            cases.push(case("not finite above the diagonal, which is not read", with(0, n - 1, bad), lawful));
        }
    }
    let ones = Mat::from_fn(n, n, |_, _| T::ONE);
    let pivot = if n > 1 { [NotPositiveDefinite(1), NotPositiveDefinite(1), Lawful] } else { lawful };
    cases.push(case("rank 1", ones.clone(), pivot));
    cases.push(case("zero", Mat::zeros(n, n), [NotPositiveDefinite(0), NotPositiveDefinite(0), Lawful]));
    cases.push(case("negative", spd.map(|x| -x), [NotPositiveDefinite(0), NotPositiveDefinite(0), Lawful]));
    // J + I: eigenvalue 1 n-1 times
    let double = Mat::from_fn(n, n, |i, j| if i == j { T::of(2.0) } else { T::ONE });
    cases.push(case("duplicate eigenvalues", double.clone(), lawful));
    cases.push(case("identity", Mat::identity(n), lawful));
    cases.push(case("permuted", Mat::from_fn(n, n, |i, j| spd[((i + n / 2) % n, (j + n / 2) % n)]), lawful));
    cases.push(case("graded", gallery::graded(n, 1e-3, 2), lawful));
    cases.push(case(
        "graded upwards",
        {
            let g = gallery::graded::<T>(n, 1e-3, 2);
            Mat::from_fn(n, n, |i, j| g[(n - 1 - i, n - 1 - j)])
        },
        lawful,
    ));
    cases.push(case("huge", double.map(|x| x * huge), lawful));
    cases.push(case("near underflow", double.map(|x| x * tiny * T::of(1024.0)), lawful));
    // exact in multiples of the smallest number; its inverse is beyond the largest
    let step = tiny * T::EPS;
    cases.push(case("subnormal", Mat::identity(n).map(|x| x * step * T::of(4.0)), [Lawful, NotFinite, Lawful]));
    cases
}

pub fn bad_and_extreme_matrices<T: Scalar>(ctx: &Ctx<T>) {
    for n in [0, 1, 2, 5, 33, 130] {
        for case in cases::<T>(n) {
            let (a, what) = (&case.matrix, format!("{} n = {n}, {}", place(ctx), case.name));
            let (got, chol) = outcome(Cholesky::new(ctx, a.clone()));
            assert_eq!(got, case.factor, "{what}: factor");
            if let Some(chol) = &chol {
                let ratio = ratios::cholesky(a.as_ref(), chol.l());
                assert!(ratio < ratios::THRESHOLD, "{what}: factor has ratio {ratio:e}");
                assert!(n == 0 || chol.log_determinant().is_finite(), "{what}: log det");
            }
            let (got, inverse) = outcome(Cholesky::new(ctx, a.clone()).and_then(|chol| chol.into_inverse(ctx)));
            assert_eq!(got, case.inverse, "{what}: inverse");
            if let Some(inverse) = &inverse {
                let ratio = ratios::inverse(a.as_ref(), inverse.as_ref());
                assert!(ratio < ratios::THRESHOLD, "{what}: inverse has ratio {ratio:e}");
            }
            let (got, eigen) = outcome(SymEigen::new(ctx, a.clone()));
            assert_eq!(got, case.eigen, "{what}: eigendecomposition");
            if let Some(eigen) = &eigen {
                let residual = ratios::eigen(a.as_ref(), eigen.vectors(), eigen.values());
                let orthogonality = ratios::orthogonality(eigen.vectors());
                assert!(residual < ratios::THRESHOLD, "{what}: eigen residual has ratio {residual:e}");
                assert!(orthogonality < ratios::THRESHOLD, "{what}: orthogonality has ratio {orthogonality:e}");
            }
        }
    }
    curvatures_refuse_what_is_not_finite(ctx);
}

/// NaN and infinity stop at the constructor; a right-hand side that holds one never gives a finite lie.
fn curvatures_refuse_what_is_not_finite<T: Scalar>(ctx: &Ctx<T>) {
    let what = place(ctx);
    for bad in [T::nan(), T::infinity()] {
        let m = Mat::from_diagonal(&[T::ONE, bad]);
        let exact = KroneckerDamping::Exact;
        assert_eq!(outcome(Dense::new(m.clone())).0, Outcome::NotFinite, "{what}");
        assert_eq!(outcome(Diagonal::new(vec![T::ONE, bad])).0, Outcome::NotFinite, "{what}");
        assert_eq!(outcome(Kronecker::new(m.clone(), Mat::identity(1), exact)).0, Outcome::NotFinite, "{what}");
        assert_eq!(outcome(Kronecker::new(Mat::identity(1), m.clone(), exact)).0, Outcome::NotFinite, "{what}");

        let solver = Dense::new(Mat::identity(2)).and_then(|c| c.damped(ctx, damping(1.0))).expect("definite");
        let (b, mut x) = (Mat::from_fn(2, 1, |i, _| if i == 0 { bad } else { T::ONE }), Mat::zeros(2, 1));
        if solver.solve(ctx, b.as_ref(), x.as_mut()).is_ok() {
            assert!(!x[(0, 0)].is_finite(), "{what}: {bad} went in, {} came out", x[(0, 0)]);
        }
        // an operator or a right-hand side: conjugate gradient says so, and keeps x finite
        let operator = SymmetricDense::new(m).expect("square");
        let identity = SymmetricDense::new(Mat::identity(2)).expect("square");
        let one = Mat::from_fn(2, 1, |_, _| T::ONE);
        for (operator, b) in [(&operator, &one), (&identity, &b)] {
            let mut x = Mat::zeros(2, 1);
            let report = pcg(ctx, operator, None, b.as_ref(), x.as_mut(), &CgOptions::default()).expect("shapes");
            assert_eq!(report.stop(), CgStop::Breakdown, "{what}");
            assert!(x.as_ref().is_finite() && !(report.relative_residual() < 1.0), "{what}");
        }
    }
}

/// LAPACK's types 3 to 5, and a negative pivot before a second bad one.
pub fn failing_pivots<T: Scalar>(ctx: &Ctx<T>) {
    let is_pivot = |a: Mat<T>, k: usize, what: &str| {
        assert_eq!(outcome(Cholesky::new(ctx, a)).0, Outcome::NotPositiveDefinite(k), "{what}");
    };
    for n in SIZES.into_iter().filter(|&n| n > 0) {
        let what = format!("{} n = {n}", place(ctx));
        for kind in &PoType::ALL[2..5] {
            let test = po_type::<T>(*kind, n, 3);
            is_pivot(test.matrix, test.pivot.expect("types 3 to 5"), &what);
        }
        for k in [0, n / 3, n - 1] {
            let mut a = gallery::spd::<T>(n, 10.0, 4);
            (a[(k, k)], a[(n - 1, n - 1)]) = (-T::ONE, -T::ONE);
            is_pivot(a, k, &what);
        }
    }
    // through a curvature, where λ is what is missing
    let c = Dense::new(Mat::from_diagonal(&[T::ONE, T::ONE, T::of(-2.0)])).expect("finite");
    assert_eq!(outcome(c.damped(ctx, damping(1.0))).0, Outcome::NotPositiveDefinite(2), "{}", place(ctx));
    assert_eq!(outcome(c.damped(ctx, damping(3.0))).0, Outcome::Lawful, "{}", place(ctx));
}
