//! Cholesky, inverse, eigenvalues, LU and thin QR of any bit patterns, up to order 64, with any leading dimension and
//! anything at all in the triangle that is not read: no panic; an error, or ratios below LAPACK's limits; every backend
//! agrees with the reference on what is clearly definite, clearly not, or not finite.

use super::Bytes;
use pullback::factor::{Lu, ThinQr};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Error, Mat, MatMut, Op, Scalar};

pub fn run(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    if input.byte() % 2 == 0 { matrix::<f64>(input) } else { matrix::<f32>(input) }
}

/// The leading dimension, and what fills the padding and the strict upper triangle.
type Layout<T> = (usize, T);

/// A column-major n x n matrix with padding; the strict upper triangle and the padding are marked.
struct Padded<T> {
    data: Vec<T>,
    n: usize,
    ld: usize,
    mark: T,
}

const MARK: f64 = -77.0;

impl<T: Scalar> Padded<T> {
    fn new(lower: &Mat<T>, (ld, mark): Layout<T>) -> Self {
        let n = lower.nrows();
        let mut data = vec![mark; ld * n];
        for j in 0..n {
            data[j * ld + j..j * ld + n].copy_from_slice(&lower.as_ref().col(j)[j..]);
        }
        Self { data, n, ld, mark }
    }

    fn view(&mut self) -> MatMut<'_, T> {
        MatMut::from_slice(&mut self.data, self.n, self.n, self.ld).expect("fits")
    }

    /// Padding as it was; with `triangle`, the strict upper triangle too.
    fn assert_untouched(&self, triangle: bool) {
        for (index, &x) in self.data.iter().enumerate() {
            let (i, j) = (index % self.ld, index / self.ld);
            let marked = x == self.mark || x.is_nan() && self.mark.is_nan();
            assert!(!(i >= self.n || triangle && i < j) || marked, "({i}, {j}) was written");
        }
    }
}

fn matrix<T: Scalar>(mut input: Bytes<'_>) {
    let n = input.upto(64);
    let ld = (n + input.upto(6)).max(1);
    let kind = input.byte();
    // what is not read may be NaN
    let layout = (ld, if kind & 64 == 0 { T::of(MARK) } else { T::nan() });
    let general = kind & 128 != 0;
    let kind = kind % 4;
    let shift = T::of(f64::from(input.byte()) / 16.0);
    let mut a = Mat::<T>::from_fn(n, n, |_, _| if kind == 0 { input.scalar() } else { input.ordinary() });
    if kind >= 2 {
        // positive semidefinite of any rank, plus a shift; kind 3 at any scale
        let scale = if kind == 3 { T::of(2.0).powi(i32::from(input.byte() as i8) / 2) } else { T::ONE };
        let g = a.map(|x| x * scale);
        Ctx::reference().syrk(T::ONE, g.as_ref(), Op::No, T::ZERO, a.as_mut()).expect("shapes fit");
        (0..n).for_each(|i| a[(i, i)] += shift * scale * scale);
    }
    if general {
        contexts::<T>().iter().for_each(|ctx| lu_and_qr(ctx, &a));
        return;
    }
    // the lower triangle is the matrix
    let a = Mat::from_fn(n, n, |i, j| a[(i.max(j), i.min(j))]);
    let eigenvalues: Vec<Option<Vec<f64>>> = contexts::<T>().iter().map(|ctx| eigen(ctx, &a, layout)).collect();
    let definite: Vec<bool> = contexts::<T>().iter().map(|ctx| cholesky(ctx, &a, layout)).collect();
    agree::<T>(&a, &eigenvalues, &definite);
}

fn largest<T: Scalar>(a: &Mat<T>) -> f64 {
    a.as_slice().iter().fold(0.0, |m, x| x.f64().abs().max(m))
}

/// Absolute error that underflow alone may cause, for entries of size up to `size`.
fn underflow<T: Scalar>(n: usize, size: f64) -> f64 {
    16.0 * n as f64 * T::min_positive_value().f64() * (1.0 + size.sqrt())
}

/// Whether A is positive definite, as this backend sees it.
fn cholesky<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, layout: Layout<T>) -> bool {
    let n = a.nrows();
    let mut l = Padded::new(a, layout);
    let result = ctx.potrf(l.view());
    l.assert_untouched(true);
    match result {
        Ok(()) => {}
        Err(Error::NotPositiveDefinite { pivot, .. }) => {
            assert!(pivot < n && a.as_ref().is_finite());
            return false;
        }
        // not finite on entry, or overflow on the way, which needs entries that are huge
        Err(Error::NotFinite { .. }) => {
            assert!(!a.as_ref().is_finite() || largest(a) > T::max_value().f64() * 1e-4);
            return false;
        }
        Err(other) => panic!("{other}"),
    }
    assert!(a.as_ref().is_finite(), "a finite answer to a question that is not");
    let factor = Mat::from_fn(n, n, |i, j| if i >= j { l.view().at(i, j).f64() } else { 0.0 });
    let size = largest(a);
    for j in 0..n {
        for i in j..n {
            let entry: f64 = (0..=j).map(|p| factor[(i, p)] * factor[(j, p)]).sum();
            let error = (entry - a[(i, j)].f64()).abs();
            assert!(error <= tolerance::<T>(n, 1.0) * size + underflow::<T>(n, size), "L Lᵀ off by {error:e}");
        }
    }
    inverse(ctx, a, l);
    true
}

/// ‖I - A A⁻¹‖ <= c n ε ‖A‖ ‖A⁻¹‖, and A⁻¹ symmetric, or an overflow.
fn inverse<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, mut l: Padded<T>) {
    let n = a.nrows();
    let result = ctx.potri(l.view());
    l.assert_untouched(false);
    let inverse = match result {
        Ok(()) => Mat::from_fn(n, n, |i, j| l.view().at(i, j).f64()),
        Err(Error::NotFinite { .. }) => {
            // its largest entry is at least 1 / (smallest diagonal entry of A): overflow needs a small one, or many
            return;
        }
        Err(other) => panic!("{other}"),
    };
    assert!(inverse.as_ref().is_finite());
    let (size, inverse_size) = (largest(a), largest(&inverse));
    // entries that underflow have no relative accuracy: leave those matrices out
    if size < T::min_positive_value().f64() / T::EPS.f64()
        || inverse_size < T::min_positive_value().f64() / T::EPS.f64()
    {
        return;
    }
    let limit = tolerance::<T>(n, 1.0) * (n * n) as f64;
    for j in 0..n {
        for i in 0..n {
            assert!(inverse[(i, j)] == inverse[(j, i)]);
            let unit = f64::from(u8::from(i == j)) / size / inverse_size;
            let entry: f64 = (0..n).map(|p| (a[(i, p)].f64() / size) * (inverse[(p, j)] / inverse_size)).sum();
            assert!((entry - unit).abs() <= limit, "A A⁻¹ off by {:e} of {limit:e}", (entry - unit).abs());
        }
    }
}

/// The eigenvalues in units of max|a_ij|, where there are any.
fn eigen<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, layout: Layout<T>) -> Option<Vec<f64>> {
    let n = a.nrows();
    let (mut q, mut w) = (Padded::new(a, layout), vec![T::nan(); n]);
    let result = ctx.syevd(q.view(), &mut w);
    q.assert_untouched(false);
    let size = largest(a);
    match result {
        Ok(()) => {}
        // an eigenvalue is at most n times the largest entry
        Err(Error::NotFinite { .. }) => {
            assert!(!a.as_ref().is_finite() || size > T::max_value().f64() / (2.0 * n as f64));
            return None;
        }
        Err(other) => panic!("{other}"),
    }
    assert!(a.as_ref().is_finite(), "a finite answer to a question that is not");
    let unit = if size > 0.0 { size } else { 1.0 };
    let w: Vec<f64> = w.iter().map(|w| w.f64() / unit).collect();
    assert!(w.is_sorted(), "{w:?}");
    let q = Mat::from_fn(n, n, |i, j| q.view().at(i, j).f64());
    let limit = tolerance::<T>(n, 1.0);
    let rounding = limit * n as f64 + n as f64 * (T::min_positive_value() * T::EPS).f64() / unit;
    for j in 0..n {
        for i in 0..n {
            let dot: f64 = (0..n).map(|p| q[(p, i)] * q[(p, j)]).sum();
            let unit_entry = f64::from(u8::from(i == j));
            assert!((dot - unit_entry).abs() <= limit, "QᵀQ off by {:e}", (dot - unit_entry).abs());
            let entry: f64 = (0..n).map(|p| q[(i, p)] * w[p] * q[(j, p)]).sum();
            let error = (entry - a[(i, j)].f64() / unit).abs();
            assert!(error <= rounding, "Q diag(w) Qᵀ off by {error:e} of {rounding:e}");
        }
    }
    Some(w)
}

/// Same verdicts, same eigenvalues, wherever rounding cannot decide.
fn agree<T: Scalar>(a: &Mat<T>, eigenvalues: &[Option<Vec<f64>>], definite: &[bool]) {
    let (n, size) = (a.nrows(), largest(a));
    let huge = size > T::max_value().f64() * 1e-4;
    let tiny = size < T::min_positive_value().f64() / T::EPS.f64();
    if !a.as_ref().is_finite() {
        assert!(eigenvalues.iter().all(Option::is_none) && definite.iter().all(|d| !d));
        return;
    }
    let limit = tolerance::<T>(n, 1.0) * n as f64;
    let Some(reference) = &eigenvalues[0] else { return assert!(huge) };
    for other in eigenvalues.iter().flatten() {
        for (w, v) in reference.iter().zip(other) {
            assert!((w - v).abs() <= limit || tiny, "eigenvalues {w} and {v} (in units of the largest entry)");
        }
    }
    if huge || tiny {
        return;
    }
    let smallest = reference.first().copied().unwrap_or(1.0);
    if smallest > limit {
        assert!(definite.iter().all(|&d| d), "positive definite, smallest eigenvalue {smallest:e}: {definite:?}");
    } else if smallest < -limit {
        assert!(definite.iter().all(|&d| !d), "indefinite, smallest eigenvalue {smallest:e}: {definite:?}");
    }
}

/// Of a general matrix: LU with a small residual, thin QR with an orthonormal Q and A = Q R, or a reason why not.
fn lu_and_qr<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>) {
    let (n, size, finite) = (a.nrows(), largest(a), a.as_ref().is_finite());
    let extreme = size > T::max_value().f64() * 1e-4 || size < T::min_positive_value().f64() / T::EPS.f64();
    match Lu::new(a.clone()) {
        Ok(lu) => {
            assert!(finite, "a finite answer to a question that is not");
            let (sign, log) = lu.log_determinant();
            assert!(sign.abs() == T::ONE && !log.is_nan());
            let b = |i: usize| (i % 5) as f64 - 1.0;
            let mut x = Mat::from_fn(n, 1, |i, _| T::of(b(i)));
            lu.solve_in_place(ctx, x.as_mut()).expect("shapes fit");
            let x: Mat<f64> = x.cast();
            if !extreme && largest(&x) < T::max_value().f64() / T::EPS.f64().recip() / size.max(1.0) {
                // partial pivoting lets entries of U grow by at most 2^(n-1)
                let growth = 2f64.powi(n as i32 - 1);
                let limit = tolerance::<T>(n, growth) * n as f64 * (1.0 + size * largest(&x));
                for i in 0..n {
                    let ax: f64 = (0..n).map(|p| a[(i, p)].f64() * x[(p, 0)]).sum();
                    let residual = (b(i) - ax).abs();
                    assert!(residual <= limit, "row {i} of A x - b is {residual:e} of {limit:e}");
                }
            }
        }
        Err(Error::Singular { pivot, .. }) => assert!(finite && pivot < n),
        Err(Error::NotFinite { .. }) => assert!(!finite || extreme || n > 1),
        Err(other) => panic!("{other}"),
    }
    let qr = match ThinQr::new(ctx, a.as_ref()) {
        Ok(qr) => qr,
        Err(Error::NotFinite { .. }) => return assert!(!finite || size > T::max_value().f64() / (2.0 * n as f64)),
        Err(other) => panic!("{other}"),
    };
    assert!(finite && qr.rank() <= n && qr.kept().is_sorted() && qr.kept().len() == qr.rank());
    let (q, r): (Mat<f64>, Mat<f64>) = (qr.q().cast(), qr.r().cast());
    let limit = tolerance::<T>(n, 1.0);
    for j in 0..n {
        for i in 0..qr.rank() {
            let dot: f64 = (0..n).map(|p| q[(p, i)] * q.as_ref().get(p, j).unwrap_or(0.0)).sum();
            let unit = f64::from(u8::from(i == j));
            assert!(j >= qr.rank() || (dot - unit).abs() <= limit, "QᵀQ off by {:e}", (dot - unit).abs());
        }
        let column = a.as_ref().col(j).iter().fold(0.0, |m: f64, x| m.max(x.f64().abs()));
        let rounding = limit * n as f64 * column + n as f64 * T::min_positive_value().f64();
        for i in 0..n {
            let entry: f64 = (0..qr.rank()).map(|p| q[(i, p)] * r[(p, j)]).sum();
            let error = (entry - a[(i, j)].f64()).abs();
            assert!(error <= rounding, "Q R off by {error:e} of {rounding:e}");
        }
    }
}
