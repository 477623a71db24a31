//! (A ⊗ B ± C ⊗ D)⁻¹ against the formed matrix: both signs, sizes, scales, ranks; its root, its log-determinant, and what
//! happens at and beyond the edge of definiteness.
//!
//! The oracle forms the matrix in f64 from the very entries that the code under test holds. A residual may be
//! `tolerance(n, κ)` of the right-hand side, κ being the condition of A ⊗ B over the smallest relative eigenvalue: the
//! two triangular solves see the conditions of A and of B, the division that of the rest.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

use curvature_support::*;
use pullback::curvature::sample_normal;
use pullback::factor::{Cholesky, SymEigen};
use pullback::kronecker::{KroneckerPairInverse, KroneckerProduct, PairSign};
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, Preconditioner, Result, Scalar};

const SIGNS: [PairSign; 2] = [PairSign::Plus, PairSign::Minus];
/// What the four matrices promise to a user in f64.
const PROMISED: f64 = 1e-12;

/// A, B and C, D of one case.
struct Pair<T> {
    name: String,
    /// Condition of A ⊗ B.
    kappa: f64,
    first: (Mat<T>, Mat<T>),
    second: (Mat<T>, Mat<T>),
}

impl<T: Scalar> Pair<T> {
    fn formed(&self, sign: PairSign) -> Mat<f64> {
        let (ab, cd) = (kron(&self.first.0, &self.first.1), kron(&self.second.0, &self.second.1));
        let s = if sign == PairSign::Plus { 1.0 } else { -1.0 };
        Mat::from_fn(ab.nrows(), ab.ncols(), |i, j| ab[(i, j)] + s * cd[(i, j)])
    }

    fn inverse(&self, ctx: &Ctx<T>, sign: PairSign) -> Result<KroneckerPairInverse<T>> {
        let first = (self.first.0.as_ref(), self.first.1.as_ref());
        let second = (self.second.0.as_ref(), self.second.1.as_ref());
        KroneckerPairInverse::new(ctx, first, second, sign)
    }
}

fn times_scalar<T: Scalar>(m: &Mat<T>, x: f64) -> Mat<T> {
    m.map(|v| T::of(v.f64() * x))
}

/// Orders that straddle the blocks of the backends, every rank of C and D, scales from 2⁻⁴⁰ to 2⁴⁰.
fn cases<T: Scalar>() -> Vec<Pair<T>> {
    let mut all = Vec::new();
    for (na, nb) in
        [(0, 3), (3, 0), (1, 1), (1, 33), (33, 1), (2, 3), (5, 4), (31, 2), (3, 32), (11, 12), (64, 2), (129, 1)]
    {
        cases_of(na, nb, 10.0, &mut all);
    }
    for (na, nb) in [(5, 4), (33, 3)] {
        cases_of(na, nb, T::EPS.f64().powf(-0.25), &mut all);
    }
    all
}

/// The cases of one pair of orders, A and B each of condition κ.
fn cases_of<T: Scalar>(na: usize, nb: usize, kappa: f64, all: &mut Vec<Pair<T>>) {
    let (a, b) = (spd::<T>(na, kappa, 1), spd::<T>(nb, kappa, 2));
    // ‖C‖ is below the smallest eigenvalue of A, and D likewise: relative eigenvalues from 0.19 to 1.81
    let part = |n: usize, rank: usize, seed| {
        let m = low_rank::<T>(n, rank, seed);
        let size = norm(&m);
        times_scalar(&m, if size > 0.0 { 0.9 / kappa / size } else { 0.0 })
    };
    let mut push = |what: &str, c: Mat<T>, d: Mat<T>| {
        let scales: &[i32] = if na * nb < 64 { &[0, -40, 40] } else { &[0] };
        for &e in scales {
            let scaled = |m: &Mat<T>| gallery::scaled(m, e);
            all.push(Pair {
                name: format!("{what} C and D, orders {na} and {nb}, κ {kappa:e}, scale 2^{e}, {}", T::NAME),
                kappa: kappa * kappa,
                first: (scaled(&a), b.clone()),
                second: (scaled(&c), d.clone()),
            });
        }
    };
    push("full", part(na, na, 3), part(nb, nb, 4));
    push("rank-deficient", part(na, na.div_ceil(3), 5), part(nb, nb.div_ceil(2), 6));
    push("zero", Mat::zeros(na, na), part(nb, nb, 7));
    push("nearly equal", times_scalar(&a, 0.99), b.clone());
}

fn equals_the_dense_solve<T: Scalar>() {
    const COLUMNS: usize = 3;
    for case in cases::<T>() {
        for sign in SIGNS {
            let matrix = case.formed(sign);
            let n = matrix.nrows();
            let b = random::<T>(n, COLUMNS, 11);
            for ctx in contexts::<T>() {
                let place = format!("{} {sign:?} on {}", case.name, ctx.backend().name());
                let pair = case.inverse(&ctx, sign).unwrap();
                assert_eq!((pair.dim(), pair.floored(), pair.sign()), (n, 0, sign), "{place}");
                let smallest = pair.spectrum().fold(1.0, |low, g| g.f64().min(low));
                let kappa = case.kappa / smallest;

                let mut x = Mat::from_fn(n, COLUMNS, |_, _| T::nan());
                pair.apply(&ctx, b.as_ref(), x.as_mut()).unwrap();
                let error = distance(&b, &times(&matrix, &x.cast())) / norm(&b).max(f64::MIN_POSITIVE);
                let limit = tolerance::<T>(n, kappa);
                assert!(error <= limit, "{place}: residual {error:e}, limit {limit:e}");
                assert!(T::NAME == "f32" || case.kappa > 1e3 || error <= PROMISED, "{place}: residual {error:e}");

                // one column as a matrix with padding
                let (na, nb) = pair.factor_dims();
                if n > 0 {
                    let v = Mat::from_fn(nb + 1, na, |i, j| if i < nb { b[(i + j * nb, 0)] } else { T::nan() });
                    let mut out = Mat::from_fn(nb + 2, na, |_, _| T::nan());
                    let view = v.as_ref().submatrix(0, 0, nb, na).unwrap();
                    pair.apply_to_matrix(&ctx, view, out.as_mut().submatrix(0, 0, nb, na).unwrap()).unwrap();
                    let got = Mat::from_fn(n, 1, |i, _| out[(i % nb, i / nb)]);
                    let want = Mat::from_fn(n, 1, |i, _| x[(i, 0)].f64());
                    let error = distance(&got, &want);
                    assert!(error <= limit * norm(&want), "{place}: as a matrix {error:e}");
                    assert!((0..na).all(|j| out[(nb, j)].is_nan() && out[(nb + 1, j)].is_nan()), "{place}: padding");
                }
            }
        }
    }
}

fn root_and_log_determinant<T: Scalar>() {
    for case in cases::<T>() {
        for sign in SIGNS {
            let matrix = case.formed(sign);
            let n = matrix.nrows();
            for ctx in contexts::<T>() {
                let place = format!("{} {sign:?} on {}", case.name, ctx.backend().name());
                let pair = case.inverse(&ctx, sign).unwrap();
                let smallest = pair.spectrum().fold(1.0, |low, g| g.f64().min(low));
                let limit = tolerance::<T>(n, case.kappa / smallest);

                let want = Cholesky::new(&Ctx::reference(), matrix.clone()).unwrap().log_determinant();
                let error = (pair.log_determinant().f64() - want).abs();
                // a relative error of each of n eigenvalues, and the rounding of the result
                let limit_log = n as f64 * limit + tolerance::<T>(1, 1.0) * want.abs();
                assert!(error <= limit_log, "{place}: log det off by {error:e}, limit {limit_log:e}");

                // R Rᵀ M = I
                let root: Mat<f64> = pair.inverse_root().to_dense(&ctx).unwrap().cast();
                let product = times(&times(&root, &root.transposed()), &matrix);
                let error = distance(&product, &Mat::identity(n));
                let limit = limit * (n as f64).sqrt();
                assert!(error <= limit, "{place}: R R' M - I is {error:e}, limit {limit:e}");
            }
        }
    }
}

/// Without a second term the inverse is the Kronecker product of the inverses.
fn zero_reduces_to_kronecker<T: Scalar>() {
    for (na, nb) in [(1, 1), (4, 3), (3, 33)] {
        let (a, b) = (spd::<T>(na, 10.0, 1), spd::<T>(nb, 10.0, 2));
        for (c, d) in [(Mat::zeros(na, na), spd(nb, 10.0, 3)), (spd(na, 10.0, 4), Mat::zeros(nb, nb))] {
            let case = Pair { name: String::new(), kappa: 1.0, first: (a.clone(), b.clone()), second: (c, d) };
            for (ctx, sign) in contexts::<T>().into_iter().flat_map(|ctx| SIGNS.map(|sign| (ctx.clone(), sign))) {
                let pair = case.inverse(&ctx, sign).unwrap();
                assert!(pair.spectrum().all(|g| g == T::ONE));
                let want = KroneckerProduct::new(a.clone(), b.clone()).unwrap().inverse(&ctx).unwrap();
                let want: Mat<f64> = want.to_dense(&ctx).unwrap().cast();
                let error = distance(&pair.to_dense(&ctx).unwrap(), &want);
                assert!(error <= tolerance::<T>(na * nb, 100.0) * norm(&want), "{na} {nb}: {error:e}");
            }
        }
    }
}

for_both!(equals_the_dense_solve, root_and_log_determinant, zero_reduces_to_kronecker);

#[test]
fn the_spectrum_is_that_of_the_pencil() {
    // eigenvalues of (A ⊗ B)^{-1/2} (A ⊗ B - C ⊗ D) (A ⊗ B)^{-1/2}, by dense roots
    let ctx = Ctx::<f64>::default();
    let (a, b) = (spd::<f64>(4, 10.0, 1), spd::<f64>(3, 10.0, 2));
    let (c, d) = (times_scalar(&spd::<f64>(4, 10.0, 3), 0.09), times_scalar(&spd::<f64>(3, 10.0, 4), 0.09));
    let case = Pair { name: String::new(), kappa: 1.0, first: (a.clone(), b.clone()), second: (c, d) };
    let root = KroneckerProduct::new(a, b).unwrap().inverse_sqrt(&ctx).unwrap().to_dense(&ctx).unwrap();
    for sign in SIGNS {
        let relative = times(&times(&root, &case.formed(sign)), &root);
        let want = SymEigen::new(&ctx, relative).unwrap();
        let mut got: Vec<f64> = case.inverse(&ctx, sign).unwrap().spectrum().collect();
        got.sort_by(f64::total_cmp);
        for (got, want) in got.iter().zip(want.values()) {
            assert!((got - want).abs() <= tolerance::<f64>(12, 100.0), "{got} {want}");
        }
    }
}

#[test]
fn only_lower_triangles_are_read() {
    let ctx = Ctx::<f64>::default();
    let whole = [spd::<f64>(5, 10.0, 1), spd(4, 10.0, 2), spd(5, 10.0, 3), times_scalar(&spd(4, 10.0, 4), 0.009)];
    let lower =
        whole.clone().map(|m| Mat::from_fn(m.nrows(), m.ncols(), |i, j| if i < j { f64::NAN } else { m[(i, j)] }));
    let dense = |m: &[Mat<f64>; 4]| {
        let (first, second) = ((m[0].as_ref(), m[1].as_ref()), (m[2].as_ref(), m[3].as_ref()));
        KroneckerPairInverse::new(&ctx, first, second, PairSign::Minus).unwrap().to_dense(&ctx).unwrap()
    };
    assert_eq!(dense(&whole), dense(&lower));
}

#[test]
fn samples_from_the_root_repeat_with_their_seed() {
    fn precondition_with<T: Scalar>(_: &impl Preconditioner<T>) {}
    let ctx = Ctx::<f64>::default();
    let (two, one) = (Mat::from_diagonal(&[2.0, 8.0]), Mat::identity(1));
    let case =
        Pair { name: String::new(), kappa: 1.0, first: (two.clone(), one.clone()), second: (Mat::zeros(2, 2), one) };
    let pair = case.inverse(&ctx, PairSign::Plus).unwrap();
    precondition_with(&pair);
    let (mut once, mut again) = (Mat::zeros(2, 4), Mat::zeros(2, 4));
    sample_normal(&ctx, &pair.inverse_root(), 7, once.as_mut()).unwrap();
    sample_normal(&ctx, &pair.inverse_root(), 7, again.as_mut()).unwrap();
    assert!(once == again && norm(&once) > 0.0);
}

/// The floor is 16 (n_a + n_b) ε: at 1 and within it of 1 the products are floored and counted, above it the difference
/// is an error that says by how much.
#[test]
fn the_edge_of_definiteness() {
    let ctx = Ctx::<f64>::default();
    let (na, nb) = (3, 2);
    let floor = 16.0 * (na + nb) as f64 * f64::EPSILON;
    let subtract = |factor: f64| {
        let second = (times_scalar(&Mat::identity(na), factor), Mat::identity(nb));
        Pair { name: String::new(), kappa: 1.0, first: (Mat::identity(na), Mat::identity(nb)), second }
    };
    for (factor, floored) in [(1.0, 6), (1.0 + floor / 2.0, 6), (1.0 - floor / 2.0, 6), (1.0 - 2.0 * floor, 0)] {
        let pair = subtract(factor).inverse(&ctx, PairSign::Minus).unwrap();
        assert_eq!((pair.floored(), pair.floor()), (floored, floor), "{factor}");
        assert!(pair.spectrum().all(|g| g >= floor));
        assert!(pair.log_determinant().is_finite());
        // positive definite all the same: the map divides by the floor
        let (b, mut x) = (random::<f64>(6, 1, 1), Mat::zeros(6, 1));
        pair.apply(&ctx, b.as_ref(), x.as_mut()).unwrap();
        let used = pair.spectrum().next().unwrap();
        let error = distance(&x, &b.map(|b| b / used));
        assert!(error <= tolerance::<f64>(6, 1.0) * norm(&x), "{factor}: {error:e}");
    }
    for excess in [3.0 * floor, 1e-3, 5.0] {
        match subtract(1.0 + excess).inverse(&ctx, PairSign::Minus) {
            Err(Error::NotDominant { op: "KroneckerPairInverse", smallest }) => {
                assert!((smallest + excess).abs() <= tolerance::<f64>(1, 1.0 + excess), "{smallest:e} for {excess:e}");
            }
            other => panic!("{excess:e}: {other:?}"),
        }
        assert!(subtract(1.0 + excess).inverse(&ctx, PairSign::Plus).is_ok());
        // the sign of C turns the tables
        let negative = subtract(-1.0 - excess);
        assert!(negative.inverse(&ctx, PairSign::Minus).is_ok());
        assert!(matches!(negative.inverse(&ctx, PairSign::Plus), Err(Error::NotDominant { .. })));
    }
    // dense matrices with the same factors: the products are 1 up to rounding, which is no error
    let same = (spd::<f64>(33, 10.0, 1), spd::<f64>(5, 10.0, 2));
    let pair = Pair { name: String::new(), kappa: 1.0, first: same.clone(), second: same };
    assert_eq!(pair.inverse(&ctx, PairSign::Minus).unwrap().floored(), 33 * 5);
}

#[test]
fn bad_matrices_are_typed_errors() {
    let ctx = Ctx::<f64>::default();
    let good = || [Mat::<f64>::identity(2), Mat::identity(3), Mat::zeros(2, 2), Mat::identity(3)];
    let build = |m: &[Mat<f64>; 4]| {
        let (first, second) = ((m[0].as_ref(), m[1].as_ref()), (m[2].as_ref(), m[3].as_ref()));
        KroneckerPairInverse::new(&ctx, first, second, PairSign::Minus)
    };
    assert!(build(&good()).is_ok());
    for position in 0..4 {
        for bad in [f64::NAN, f64::INFINITY] {
            let mut m = good();
            m[position][(1, 0)] = bad;
            assert!(matches!(build(&m), Err(Error::NotFinite { .. })), "{position} {bad}: {:?}", build(&m));
        }
        let mut m = good();
        m[position] = Mat::zeros(2, 3);
        assert!(matches!(build(&m), Err(Error::Shape { .. })), "{position}");
        let mut m = good();
        m[position] = Mat::identity(5);
        // A and B fix the orders that C and D must have
        assert!(matches!(build(&m), Err(Error::Shape { .. })), "{position}");
        let mut m = good();
        m[position][(1, 1)] = -1.0;
        let refused = matches!(build(&m), Err(Error::NotPositiveDefinite { pivot: 1, .. }));
        assert_eq!(refused, position < 2, "{position}: C and D may have any sign");
    }
    // eigenvalues of the pencil that overflow
    let (tiny, huge) = (Mat::from_diagonal(&[1e-200]), Mat::from_diagonal(&[1e200]));
    let overflow = build(&[tiny, Mat::identity(1), huge, Mat::identity(1)]);
    assert!(matches!(overflow, Err(Error::NotFinite { .. })), "{overflow:?}");

    let pair = build(&good()).unwrap();
    let (wrong, mut out) = (Mat::zeros(5, 2), Mat::zeros(6, 2));
    assert!(matches!(pair.apply(&ctx, wrong.as_ref(), out.as_mut()), Err(Error::Shape { .. })));
    assert!(matches!(pair.apply_to_matrix(&ctx, wrong.as_ref(), out.as_mut()), Err(Error::Shape { .. })));
}
