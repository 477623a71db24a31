//! Law 1 of the crate: the identities of the Kronecker product (Eq 15-21 and 24), each against the formed matrix.
//!
//! The oracle forms A ⊗ B by its definition (Eq 15) in f64 from the very entries that the code under test holds.
//! A bound is `tolerance` of the inner dimension times the norms of the operands: what no backward-stable sum exceeds.
//! Negative controls run the same checks with a wrong product and must fail.

use proptest::prelude::*;
use pullback::factor::{Lu, SymEigen};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct, semidefinite_gap};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatMut, MatRef, Op, Scalar, linop::Sum};

type Checked = Result<(), TestCaseError>;

/// A ⊗ B block by block (Eq 15).
fn formed<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows() * b.nrows(), a.ncols() * b.ncols());
    for j in 0..a.ncols() {
        for i in 0..a.nrows() {
            for q in 0..b.ncols() {
                for p in 0..b.nrows() {
                    out[(i * b.nrows() + p, j * b.ncols() + q)] = a[(i, j)].f64() * b[(p, q)].f64();
                }
            }
        }
    }
    out
}

/// A B in f64 on the textbook loops.
fn times(a: &Mat<f64>, b: &Mat<f64>) -> Mat<f64> {
    let mut c = Mat::zeros(a.nrows(), b.ncols());
    Ctx::reference().gemm(1.0, a.as_ref(), Op::No, b.as_ref(), Op::No, 0.0, c.as_mut()).unwrap();
    c
}

fn norm<T: Scalar>(m: &Mat<T>) -> f64 {
    m.as_slice().iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

/// max |got - want|; NaN when the shapes differ.
fn distance<T: Scalar>(got: &Mat<T>, want: &Mat<f64>) -> f64 {
    if got.shape() != want.shape() {
        return f64::NAN;
    }
    let pairs = got.as_slice().iter().zip(want.as_slice());
    pairs.map(|(g, w)| (g.f64() - w).abs()).fold(0.0, worse)
}

/// The larger of two errors, NaN above all.
fn worse(m: f64, d: f64) -> f64 {
    if m.is_nan() || d <= m { m } else { d }
}

fn close<T: Scalar>(what: &str, got: &Mat<T>, want: &Mat<f64>, limit: f64) -> Checked {
    let error = distance(got, want);
    prop_assert!(error <= limit, "{what} in {}: error {error:e} above {limit:e}", T::NAME);
    Ok(())
}

/// vec X as a column.
fn vec<T: Scalar>(x: &Mat<T>) -> Mat<T> {
    let n = x.nrows() * x.ncols();
    Mat::from_vec(x.clone().into_vec(), n, 1).unwrap()
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1usize..6, 1 => Just(0usize), 1 => 6usize..14]
}

fn square_size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1usize..5, 1 => Just(0usize), 1 => 5usize..9]
}

fn matrix(m: usize, n: usize) -> impl Strategy<Value = Mat<f64>> {
    prop::collection::vec(-1.0..1.0f64, m * n).prop_map(move |v| Mat::from_vec(v, m, n).unwrap())
}

fn rectangular() -> impl Strategy<Value = Mat<f64>> {
    (size(), size()).prop_flat_map(|(m, n)| matrix(m, n))
}

fn square() -> impl Strategy<Value = Mat<f64>> {
    square_size().prop_flat_map(|n| matrix(n, n))
}

fn symmetric() -> impl Strategy<Value = Mat<f64>> {
    square().prop_map(|m| Mat::from_fn(m.nrows(), m.ncols(), |i, j| m[(i.max(j), i.min(j))]))
}

/// M M ᵀ / n with M n x r, so of rank at most r: exactly symmetric, in the precision of T.
fn gram<T: Scalar>(m: &Mat<f64>) -> Mat<T> {
    let mut g = Mat::<f64>::zeros(m.nrows(), m.nrows());
    Ctx::reference().syrk(1.0 / m.nrows().max(1) as f64, m.as_ref(), Op::Transpose, 0.0, g.as_mut()).unwrap();
    g.cast()
}

/// A square matrix with condition below 3 by diagonal dominance, and a determinant of either sign.
fn well_conditioned<T: Scalar>(m: &Mat<f64>) -> Mat<T> {
    let n = m.nrows();
    let sign = |j: usize| if j == 0 && m[(0, 0)] < 0.0 { -1.0 } else { 1.0 };
    Mat::from_fn(n, n, |i, j| T::of(sign(j) * (m[(i, j)] / (2 * n) as f64 + if i == j { 1.0 } else { 0.0 })))
}

/// An orthogonal matrix: the eigenvectors of a symmetric one.
fn orthogonal<T: Scalar>(m: &Mat<f64>) -> Mat<T> {
    SymEigen::new(&Ctx::<T>::reference(), m.cast()).unwrap().vectors().to_owned()
}

/// Largest error of (P(Bᵀ, A)) vec X = vec(A X B) over the backends, relative to the norms; P makes the product.
fn vec_identity_error<T: Scalar>(
    a: &Mat<f64>,
    x: &Mat<f64>,
    b: &Mat<f64>,
    product: impl Fn(Mat<T>, Mat<T>) -> KroneckerProduct<T>,
) -> f64 {
    let (at, xt, bt): (Mat<T>, Mat<T>, Mat<T>) = (a.cast(), x.cast(), b.cast());
    let want = vec(&times(&times(&at.cast(), &xt.cast()), &bt.cast()));
    let scale = norm(&at) * norm(&xt) * norm(&bt);
    let operator = product(bt.transposed(), at);
    contexts::<T>().iter().fold(0.0, |worst: f64, ctx| {
        let mut y = Mat::zeros(operator.shape().0, 1);
        operator.apply(ctx, vec(&xt).as_ref(), y.as_mut()).unwrap();
        let error = distance(&y, &want);
        if error == 0.0 { worst } else { worse(worst, error / scale) }
    })
}

fn new<T: Scalar>(a: Mat<T>, b: Mat<T>) -> KroneckerProduct<T> {
    KroneckerProduct::new(a, b).unwrap()
}

fn definition_and_vec_identity<T: Scalar>(a: &Mat<f64>, x: &Mat<f64>, b: &Mat<f64>) -> Checked {
    let (at, bt): (Mat<T>, Mat<T>) = (a.cast(), b.cast());
    let want = formed(&at, &bt);
    let product = new(at.clone(), bt.clone());
    let limit = tolerance::<T>(1, 1.0) * norm(&at) * norm(&bt);
    for ctx in contexts::<T>() {
        close("Eq 15", &product.to_dense(&ctx)?, &want, limit)?;
        let mut applied = Mat::zeros(want.nrows(), want.ncols());
        product.apply(&ctx, Mat::identity(want.ncols()).as_ref(), applied.as_mut())?;
        let limit = tolerance::<T>(at.ncols() + bt.ncols(), 1.0) * norm(&at) * norm(&bt);
        close("(A x B) I", &applied, &want, limit)?;
    }
    let error = vec_identity_error::<T>(a, x, b, new);
    let limit = tolerance::<T>(x.nrows() + x.ncols(), 1.0);
    prop_assert!(error <= limit, "Eq 16 in {}: {error:e} above {limit:e}", T::NAME);
    Ok(())
}

/// Blocks of vectors with padding, accumulation and the transpose agree with the formed matrix.
fn blocks_with_padding<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>, columns: usize, pad: usize, alpha: f64) -> Checked {
    let (at, bt): (Mat<T>, Mat<T>) = (a.cast(), b.cast());
    let (product, dense) = (new(at.clone(), bt.clone()), formed(&at, &bt));
    let (m, n) = dense.shape();
    let entry = |i: usize, j: usize| T::of((((i * 7 + j * 13 + 3) % 17) as f64 - 8.0) / 8.0);
    let x = Mat::from_fn(n + pad, columns, |i, j| if i < n { entry(i, j) } else { T::nan() });
    let inner = x.as_ref().submatrix(0, 0, n, columns)?;
    let limit =
        tolerance::<T>(at.ncols() + bt.ncols() + 2, 1.0) * (norm(&at) * norm(&bt) * norm(&inner.to_owned()) + 1.0);
    let ax = times(&dense, &inner.to_owned().cast());
    for ctx in contexts::<T>() {
        let mut y = Mat::from_fn(m + pad, columns, |_, _| T::nan());
        product.apply(&ctx, inner, y.as_mut().submatrix(0, 0, m, columns)?)?;
        close("A X", &y.as_ref().submatrix(0, 0, m, columns)?.to_owned(), &ax, limit)?;
        let padding_kept = (m..m + pad).all(|i| (0..columns).all(|j| y[(i, j)].is_nan()));
        prop_assert!(padding_kept, "padding was written");

        let mut sum = Mat::from_fn(m, columns, entry);
        let want = Mat::from_fn(m, columns, |i, j| entry(i, j).f64() + T::of(alpha).f64() * ax[(i, j)]);
        product.apply_add(&ctx, T::of(alpha), inner, sum.as_mut())?;
        close("Y + alpha A X", &sum, &want, limit * (1.0 + alpha.abs()))?;

        let (z, mut back) = (Mat::from_fn(m, columns, entry), Mat::zeros(n, columns));
        product.apply_transposed(&ctx, z.as_ref(), back.as_mut())?;
        let limit = tolerance::<T>(at.nrows() + bt.nrows(), 1.0) * norm(&at) * norm(&bt) * norm(&z);
        close("Eq 18 applied", &back, &times(&dense.transposed(), &z.cast()), limit)?;
    }
    close("Eq 18", &new(at, bt).transposed().to_dense(&Ctx::reference())?, &dense.transposed(), 0.5 * limit)
}

fn product_rule<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>, c: &Mat<f64>, d: &Mat<f64>) -> Checked {
    let [a, b, c, d]: [Mat<T>; 4] = [a.cast(), b.cast(), c.cast(), d.cast()];
    let want = times(&formed(&a, &b), &formed(&c, &d));
    let limit = tolerance::<T>(a.ncols() + b.ncols(), 1.0) * norm(&a) * norm(&b) * norm(&c) * norm(&d);
    for ctx in contexts::<T>() {
        let got = new(a.clone(), b.clone()).compose(&ctx, &new(c.clone(), d.clone()))?.to_dense(&ctx)?;
        close("Eq 17", &got, &want, limit)?;
    }
    Ok(())
}

fn inverse_and_determinants<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>) -> Checked {
    const KAPPA: f64 = 9.0; // 3 for each factor
    let (at, bt) = (well_conditioned::<T>(a), well_conditioned::<T>(b));
    let (product, dense) = (new(at.clone(), bt.clone()), formed(&at, &bt));
    let n = dense.nrows();
    for ctx in contexts::<T>() {
        let inverse = product.inverse(&ctx)?.to_dense(&ctx)?;
        let limit = tolerance::<T>(at.nrows() + bt.nrows(), KAPPA);
        close("Eq 19", &inverse, &Lu::new(dense.clone())?.inverse(&Ctx::reference())?, limit)?;
    }
    let (sign, log) = product.log_determinant()?;
    let (want_sign, want_log) = Lu::new(dense.clone())?.log_determinant();
    let limit = tolerance::<T>(n, KAPPA) * (1.0 + want_log.abs());
    prop_assert_eq!(sign.f64(), want_sign);
    prop_assert!((log.f64() - want_log).abs() <= limit, "log det {log:e}, formed {want_log:e}");
    let (det, want) = (product.determinant()?.f64(), Lu::new(dense.clone())?.determinant());
    prop_assert!((det - want).abs() <= limit * want.abs(), "det {det:e}, formed {want:e}");
    let trace: f64 = (0..n).map(|i| dense[(i, i)]).sum();
    let (got, limit) = (product.trace()?.f64(), tolerance::<T>(n, 1.0) * n as f64 * 4.0);
    prop_assert!((got - trace).abs() <= limit, "trace {got:e}, formed {trace:e}");
    Ok(())
}

fn norm_and_bilinearity<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>, alpha: f64) -> Checked {
    let (at, bt): (Mat<T>, Mat<T>) = (a.cast(), b.cast());
    let other = Mat::from_fn(at.nrows(), at.ncols(), |i, j| T::of(((i + 2 * j) % 5) as f64 / 4.0));
    let sum = Mat::from_fn(at.nrows(), at.ncols(), |i, j| at[(i, j)] + other[(i, j)]);
    let dense = formed(&at, &bt);
    let (got, want) = (new(at.clone(), bt.clone()).frobenius_norm().f64(), norm(&dense));
    prop_assert!((got - want).abs() <= tolerance::<T>(dense.nrows() + dense.ncols(), 1.0) * want, "{got:e} {want:e}");
    let scale = (norm(&at) + norm(&other)) * norm(&bt) * (1.0 + alpha.abs());
    let limit = tolerance::<T>(at.ncols() + bt.ncols(), 1.0) * scale;
    for ctx in contexts::<T>() {
        let parts = Sum::new(new(at.clone(), bt.clone()), new(other.clone(), bt.clone()))?;
        close("left sum", &parts.to_dense(&ctx)?, &formed(&sum, &bt), limit)?;
        let parts = Sum::new(new(bt.clone(), at.clone()), new(bt.clone(), other.clone()))?;
        close("right sum", &parts.to_dense(&ctx)?, &formed(&bt, &sum), limit)?;
        let scaled = dense.map(|x| T::of(alpha).f64() * x);
        close("scaled", &new(at.clone(), bt.clone()).scaled(T::of(alpha)).to_dense(&ctx)?, &scaled, limit)?;
    }
    Ok(())
}

/// vec(u vᵀ) = v ⊗ u (Eq 20), bit for bit.
fn outer_product<T: Scalar>(u: &[f64], v: &[f64]) -> Checked {
    let (u, v): (Vec<T>, Vec<T>) = (u.iter().map(|&x| T::of(x)).collect(), v.iter().map(|&x| T::of(x)).collect());
    let outer = Mat::from_fn(u.len(), v.len(), |i, j| u[i] * v[j]);
    let (nu, nv) = (u.len(), v.len());
    let kron = new(Mat::from_vec(v, nv, 1)?, Mat::from_vec(u, nu, 1)?).to_dense(&Ctx::reference())?;
    prop_assert_eq!(kron, vec(&outer));
    Ok(())
}

/// Orthogonal, diagonal, symmetric and positive semidefinite factors give a product of that kind.
fn closure<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>) -> Checked {
    let n = a.nrows() * b.nrows();
    let ctx = Ctx::<T>::reference();
    let q = formed(&orthogonal::<T>(a), &orthogonal::<T>(b));
    close("orthogonal", &times(&q.transposed(), &q), &Mat::identity(n), tolerance::<T>(a.nrows() + b.nrows(), 1.0))?;
    let diagonal =
        |m: &Mat<f64>| Mat::from_fn(m.nrows(), m.nrows(), |i, j| T::of(if i == j { m[(i, j)] } else { 0.0 }));
    let d = new(diagonal(a), diagonal(b)).to_dense(&ctx)?;
    prop_assert!((0..n).all(|j| (0..n).all(|i| i == j || d[(i, j)] == T::ZERO)), "diagonal");
    let s = new(a.cast::<T>(), b.cast()).to_dense(&ctx)?;
    prop_assert_eq!(&s, &s.transposed());
    let (pa, pb) = (gram::<T>(a), gram::<T>(b));
    let p = new(pa.clone(), pb.clone()).to_dense(&ctx)?;
    for ctx in contexts::<T>() {
        let gap = semidefinite_gap(&ctx, p.as_ref(), Mat::zeros(n, n).as_ref())?.f64();
        prop_assert!(gap >= -tolerance::<T>(n, 1.0) * norm(&p), "positive semidefinite: {gap:e}");
    }
    Ok(())
}

fn spectrum<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>) -> Checked {
    let (at, bt): (Mat<T>, Mat<T>) = (a.cast(), b.cast());
    let dense = formed(&at, &bt);
    let (n, scale) = (dense.nrows(), norm(&at) * norm(&bt));
    let limit = tolerance::<T>(at.nrows() + bt.nrows(), 1.0) * scale;
    let want = SymEigen::new(&Ctx::reference(), dense.clone())?;
    for ctx in contexts::<T>() {
        let eigen = new(at.clone(), bt.clone()).eigen(&ctx)?;
        let mut values: Vec<f64> = eigen.values().map(Scalar::f64).collect();
        let unsorted = values.clone();
        values.sort_by(f64::total_cmp);
        let (got, wanted) = (Mat::from_vec(values, n, 1)?, Mat::from_vec(want.values().to_vec(), n, 1)?);
        close("eigenvalues", &got, &wanted, limit)?;
        let mut q = Mat::<T>::zeros(n, n);
        (0..n).try_for_each(|k| eigen.vector(k, q.as_mut().col_mut(k)))?;
        let q: Mat<f64> = q.cast();
        let scaled = Mat::from_fn(n, n, |i, k| q[(i, k)] * unsorted[k]);
        close("eigenvectors", &times(&dense, &q), &scaled, limit)?;
        let mut mapped = Mat::zeros(n, n);
        eigen.map_apply(&ctx, |x, y| x * y, Mat::identity(n).as_ref(), mapped.as_mut())?;
        close("Eq 21", &mapped, &dense, limit)?;
    }
    Ok(())
}

fn roots<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>) -> Checked {
    let (at, bt) = (gram::<T>(a), gram::<T>(b));
    let dense = formed(&at, &bt);
    let n = dense.nrows();
    let limit = tolerance::<T>(at.nrows() + bt.nrows(), 1.0) * norm(&at) * norm(&bt);
    for ctx in contexts::<T>() {
        let root = new(at.clone(), bt.clone()).sqrt(&ctx)?;
        let dense_root: Mat<f64> = root.to_dense(&ctx)?.cast();
        prop_assert_eq!(&dense_root, &dense_root.transposed());
        close("root squared", &times(&dense_root, &dense_root), &dense, limit)?;
        let gap = semidefinite_gap(&Ctx::reference(), dense_root.as_ref(), Mat::zeros(n, n).as_ref())?;
        prop_assert!(gap >= -limit.sqrt(), "the root is positive semidefinite: {gap:e}");

        // eigenvalues in [1, 2] for each factor, so a condition of at most 4
        let shift =
            |m: &Mat<T>| Mat::from_fn(m.nrows(), m.nrows(), |i, j| m[(i, j)] + if i == j { T::ONE } else { T::ZERO });
        let (at, bt) = (shift(&at), shift(&bt));
        let dense = formed(&at, &bt);
        let inverse_root: Mat<f64> = new(at.clone(), bt.clone()).inverse_sqrt(&ctx)?.to_dense(&ctx)?.cast();
        let got = times(&times(&inverse_root, &dense), &inverse_root);
        let kappa = 4.0 * norm(&at) * norm(&bt);
        close("R C R = I", &got, &Mat::identity(n), tolerance::<T>(at.nrows() + bt.nrows(), kappa))?;
    }
    Ok(())
}

/// Eq 24 in the positive semidefinite order, and A ⪰ A', B ⪰ B' ⪰ 0 implies A ⊗ B ⪰ A' ⊗ B'.
fn order<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>, lambda: f64, pi: f64) -> Checked {
    let ctx = Ctx::<f64>::reference();
    let (at, bt) = (gram::<T>(a), gram::<T>(b));
    let (shift_a, shift_b) = (T::of(pi * lambda.sqrt()), T::of(lambda.sqrt() / pi));
    let shifted = new(at.clone(), bt.clone()).shifted(shift_a, shift_b)?.to_dense(&Ctx::reference())?.cast();
    let mut exact = formed(&at, &bt);
    let plain = exact.clone();
    let n = exact.nrows();
    (0..n).for_each(|i| exact[(i, i)] += shift_a.f64() * shift_b.f64());
    let limit = tolerance::<T>(n, 1.0) * (norm::<f64>(&shifted) + lambda);
    for (what, smaller) in [("Eq 24", exact), ("monotone", plain)] {
        let gap = semidefinite_gap(&ctx, shifted.as_ref(), smaller.as_ref())?;
        prop_assert!(gap >= -limit, "{what}: {gap:e} below -{limit:e}");
    }
    Ok(())
}

/// (2^k A ⊗ 2^-k B) X = (A ⊗ B) X, bit for bit on every backend.
fn scales<T: Scalar>(a: &Mat<f64>, b: &Mat<f64>, k: i32) -> Checked {
    let (at, bt): (Mat<T>, Mat<T>) = (a.cast(), b.cast());
    let two = T::of(2.0);
    let scaled = new(at.map(|x| x * two.powi(k)), bt.map(|x| x * two.powi(-k)));
    let plain = new(at, bt);
    let n = plain.shape().1;
    let x = Mat::from_fn(n, 2, |i, j| T::of(((i + 3 * j) % 7) as f64 - 3.0));
    for ctx in contexts::<T>() {
        let (mut y, mut z) = (Mat::zeros(plain.shape().0, 2), Mat::zeros(plain.shape().0, 2));
        plain.apply(&ctx, x.as_ref(), y.as_mut())?;
        scaled.apply(&ctx, x.as_ref(), z.as_mut())?;
        prop_assert_eq!(&y, &z);
    }
    Ok(())
}

/// A, B and two matrices that can follow them in a product.
fn chain() -> impl Strategy<Value = [Mat<f64>; 4]> {
    (size(), size(), size(), size(), 1usize..4, 1usize..4).prop_flat_map(|(ma, na, mb, nb, pc, pd)| {
        (matrix(ma, na), matrix(mb, nb), matrix(na, pc), matrix(nb, pd)).prop_map(|(a, b, c, d)| [a, b, c, d])
    })
}

/// A, X, B with A X B defined.
fn sandwich() -> impl Strategy<Value = [Mat<f64>; 3]> {
    (size(), size(), size(), size())
        .prop_flat_map(|(m, p, q, n)| (matrix(m, p), matrix(p, q), matrix(q, n)).prop_map(|(a, x, b)| [a, x, b]))
}

macro_rules! for_both {
    ($module:ident, $t:ty) => {
        mod $module {
            use super::*;
            proptest! {
                #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
                #[test]
                fn eq15_and_eq16([a, x, b] in sandwich()) {
                    definition_and_vec_identity::<$t>(&a, &x, &b)?;
                }
                #[test]
                fn eq18_and_blocks(a in rectangular(), b in rectangular(), k in 0usize..4, pad in 0usize..3, s in -2.0..2.0f64) {
                    blocks_with_padding::<$t>(&a, &b, k, pad, s)?;
                }
                #[test]
                fn eq17_product([a, b, c, d] in chain()) {
                    product_rule::<$t>(&a, &b, &c, &d)?;
                }
                #[test]
                fn eq19_inverse_trace_determinant(a in square(), b in square()) {
                    inverse_and_determinants::<$t>(&a, &b)?;
                }
                #[test]
                fn frobenius_and_bilinear(a in rectangular(), b in rectangular(), s in -2.0..2.0f64) {
                    norm_and_bilinearity::<$t>(&a, &b, s)?;
                }
                #[test]
                fn eq20_outer_product(u in prop::collection::vec(-1.0..1.0f64, 0..9), v in prop::collection::vec(-1.0..1.0f64, 0..9)) {
                    outer_product::<$t>(&u, &v)?;
                }
                #[test]
                fn kinds_are_closed(a in symmetric(), b in symmetric()) {
                    closure::<$t>(&a, &b)?;
                }
                #[test]
                fn eq21_spectrum(a in symmetric(), b in symmetric()) {
                    spectrum::<$t>(&a, &b)?;
                }
                #[test]
                fn symmetric_roots(a in rectangular(), b in rectangular()) {
                    roots::<$t>(&a, &b)?;
                }
                #[test]
                fn eq24_order(a in rectangular(), b in rectangular(), lambda in 1e-3..1e3f64, pi in 0.05..20.0f64) {
                    order::<$t>(&a, &b, lambda, pi)?;
                }
                #[test]
                fn scales_cancel(a in rectangular(), b in rectangular(), k in -40i32..41) {
                    scales::<$t>(&a, &b, k)?;
                }
            }
        }
    };
}
for_both!(single, f32);
for_both!(double, f64);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Negative control: B ⊗ A in place of A ⊗ B must break the vec identity wherever it can be asked at all.
    #[test]
    fn swapped_product_violates_the_vec_identity(
        [a, x, b] in (2usize..6).prop_flat_map(|n| (matrix(n, n), matrix(n, n), matrix(n, n))).prop_map(|(a, x, b)| [a, x, b]),
    ) {
        let swapped = |bt, a| new(a, bt);
        let error = vec_identity_error::<f64>(&a, &x, &b, swapped);
        let limit = tolerance::<f64>(2 * x.nrows(), 1.0);
        prop_assert!(error > limit, "the swapped product passed: {error:e} within {limit:e}");
    }

    /// Negative control: forgetting the transpose of B.
    #[test]
    fn untransposed_factor_violates_the_vec_identity(
        [a, x, b] in (2usize..6).prop_flat_map(|n| (matrix(n, n), matrix(n, n), matrix(n, n))).prop_map(|(a, x, b)| [a, x, b]),
    ) {
        let error = vec_identity_error::<f64>(&a, &x, &b, |bt, a| new(bt.transposed(), a));
        let limit = tolerance::<f64>(2 * x.nrows(), 1.0);
        prop_assert!(error > limit, "B in place of its transpose passed: {error:e} within {limit:e}");
    }

    /// Negative control: an indefinite factor must break Eq 24.
    #[test]
    fn indefinite_factor_violates_the_order(d in 0.5..2.0f64, lambda in 0.1..1.0f64) {
        let (a, s) = (Mat::from_diagonal(&[1.0, -4.0 * d]), Mat::from_diagonal(&[2.0, d]));
        let root = lambda.sqrt();
        let larger = formed(&Mat::from_diagonal(&[1.0 + root, -4.0 * d + root]), &Mat::from_diagonal(&[2.0 + root, d + root]));
        let mut smaller = formed(&a, &s);
        (0..4).for_each(|i| smaller[(i, i)] += lambda);
        let gap = semidefinite_gap(&Ctx::reference(), larger.as_ref(), smaller.as_ref())?;
        prop_assert!(gap < -tolerance::<f64>(4, 1.0) * norm(&larger), "an indefinite factor passed: {gap:e}");
    }
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    let wide = new(Mat::zeros(2, 3), Mat::<f64>::identity(2));
    let shape = |r: Result<(), Error>| matches!(r, Err(Error::Shape { .. }));
    let (x, mut y) = (Mat::zeros(5, 1), Mat::zeros(4, 1));
    assert!(shape(wide.apply(&ctx, x.as_ref(), y.as_mut())));
    assert!(shape(wide.apply_transposed(&ctx, x.as_ref(), y.as_mut())));
    assert!(shape(wide.apply_add(&ctx, 1.0, x.as_ref(), y.as_mut())));
    assert!(shape(wide.compose(&ctx, &wide).map(|_| ())));
    assert!(shape(wide.trace().map(|_| ())));
    assert!(shape(wide.inverse(&ctx).map(|_| ())));
    assert!(shape(wide.log_determinant().map(|_| ())));
    assert!(shape(wide.eigen(&ctx).map(|_| ())));
    assert!(shape(wide.shifted(1.0, 1.0).map(|_| ())));

    let singular = new(Mat::from_fn(2, 2, |i, _| i as f64 + 1.0), Mat::identity(3));
    assert!(matches!(singular.inverse(&ctx), Err(Error::Singular { pivot: 1, .. })));
    assert_eq!(singular.determinant().unwrap(), 0.0);
    let unsymmetric = new(Mat::from_fn(2, 2, |i, j| (i + 2 * j) as f64), Mat::identity(2));
    assert!(matches!(unsymmetric.eigen(&ctx), Err(Error::InvalidParameter { .. })));
    let negative = new(Mat::from_diagonal(&[2.0, -1.0]), Mat::identity(2));
    assert!(matches!(negative.sqrt(&ctx), Err(Error::NotPositiveDefinite { pivot: 0, .. })));
    let flat = new(Mat::from_diagonal(&[2.0, 0.0]), Mat::identity(2));
    assert!(flat.sqrt(&ctx).is_ok());
    assert!(matches!(flat.inverse_sqrt(&ctx), Err(Error::NotPositiveDefinite { pivot: 0, .. })));
    let nan = new(Mat::from_diagonal(&[f64::NAN]), Mat::identity(2));
    assert!(matches!(nan.eigen(&ctx), Err(Error::NotFinite { .. })));
    assert!(matches!(nan.inverse(&ctx), Err(Error::NotFinite { .. })));
    assert!(nan.frobenius_norm().is_nan());
    assert!(new(Mat::from_diagonal(&[1.0, f64::NAN, 2.0]), Mat::identity(2)).frobenius_norm().is_nan());

    let eigen = KroneckerEigen::new(&ctx, Mat::identity(2), Mat::identity(2)).unwrap();
    assert!(matches!(eigen.vector(4, &mut [0.0; 4]), Err(Error::InvalidParameter { .. })));
    assert!(shape(eigen.vector(0, &mut [0.0; 3])));
    let (v, mut out) = (Mat::zeros(3, 2), Mat::zeros(2, 2));
    assert!(shape(eigen.map_matrix(&ctx, |a, b| a * b, v.as_ref(), out.as_mut())));
    let bad: Result<MatRef<'_, f64>, Error> = MatRef::from_slice(&[], 1, 1, 1);
    assert!(bad.is_err() && MatMut::<f64>::from_slice(&mut [], 1, 1, 1).is_err());
}

/// A product whose intermediate quantities would overflow if they were formed naively.
#[test]
fn norms_and_determinants_survive_extreme_scales() {
    let (big, small) = (Mat::<f64>::from_diagonal(&[1e200, 1e200]), Mat::from_diagonal(&[1e-200, 1e-200]));
    let product = new(big, small);
    assert!((product.frobenius_norm() - 2.0).abs() <= tolerance::<f64>(4, 1.0));
    let (sign, log) = product.log_determinant().unwrap();
    assert_eq!(sign, 1.0);
    // the two logarithms of size 460 * 4 cancel
    assert!(log.abs() <= tolerance::<f64>(4, 4.0 * 200.0 * std::f64::consts::LN_10));
    let huge = Mat::<f32>::from_diagonal(&[1e30, 1e30]);
    let log = new(huge.clone(), huge).log_determinant().unwrap().1;
    let want = 8.0 * 30.0 * std::f32::consts::LN_10;
    assert!(f64::from((log - want).abs()) <= tolerance::<f32>(4, 1.0) * f64::from(want));
}
