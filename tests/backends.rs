//! The contract of `Backend` (its module documentation), held against every backend compiled in, with plain loops in
//! `f64` as the oracle: values, padding, the triangle that is not read, β = 0. Errors and threads: backends_contract.rs.

use pullback::backend::Ctx;
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Mat, MatMut, MatRef, Op, Scalar, Side};

const OPS: [Op; 2] = [Op::No, Op::Transpose];

/// Runs a law for both scalars on a context of each backend.
macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        mod f32_laws { $(#[test] fn $law() { super::contexts::<f32>().iter().for_each(super::$law); })+ }
        mod f64_laws { $(#[test] fn $law() { super::contexts::<f64>().iter().for_each(super::$law); })+ }
    };
}

laws!(
    gemm_equals_the_oracle,
    syrk_equals_the_oracle,
    gemv_equals_the_oracle,
    trsm_solves,
    potrf_and_potri_equal_the_reference,
    eigenvalues_equal_the_reference,
);

/// What stands where nothing may be read or written: NaN (would spread when read) and a number (would change).
fn sentinel<T: Scalar>(index: usize) -> T {
    if index.is_multiple_of(2) { T::nan() } else { T::of(-777.0) }
}

fn is_sentinel<T: Scalar>(index: usize, x: T) -> bool {
    if index.is_multiple_of(2) { x.is_nan() } else { x == T::of(-777.0) }
}

/// A matrix inside a larger leading dimension, sentinels in between.
struct Padded<T> {
    data: Vec<T>,
    nrows: usize,
    ncols: usize,
    ld: usize,
}

impl<T: Scalar> Padded<T> {
    fn new(a: &Mat<T>, padding: usize) -> Self {
        let (nrows, ncols) = a.shape();
        let ld = (nrows + padding).max(1);
        let mut data: Vec<T> = (0..ld * ncols).map(sentinel).collect();
        for j in 0..ncols {
            data[j * ld..][..nrows].copy_from_slice(a.as_ref().col(j));
        }
        Self { data, nrows, ncols, ld }
    }

    /// Sentinels in the strict upper triangle too.
    fn lower(a: &Mat<T>, padding: usize) -> Self {
        let mut padded = Self::new(a, padding);
        for j in 0..padded.ncols {
            for i in 0..j.min(padded.nrows) {
                padded.data[i + j * padded.ld] = sentinel(i + j * padded.ld);
            }
        }
        padded
    }

    fn view(&self) -> MatRef<'_, T> {
        MatRef::from_slice(&self.data, self.nrows, self.ncols, self.ld).expect("a view")
    }

    fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::from_slice(&mut self.data, self.nrows, self.ncols, self.ld).expect("a view")
    }

    fn assert_padding(&self, what: &str) {
        for (index, &x) in self.data.iter().enumerate() {
            if index % self.ld >= self.nrows {
                assert!(is_sentinel(index, x), "{what}: padding {index} became {x:e}");
            }
        }
    }

    fn assert_upper(&self, what: &str) {
        for j in 0..self.ncols {
            for i in 0..j.min(self.nrows) {
                let index = i + j * self.ld;
                assert!(is_sentinel(index, self.data[index]), "{what}: upper ({i}, {j}) was written");
            }
        }
    }
}

fn op_at<T: Scalar>(a: &Mat<T>, op: Op, i: usize, j: usize) -> f64 {
    match op {
        Op::No => a[(i, j)].f64(),
        Op::Transpose => a[(j, i)].f64(),
    }
}

/// An m x n matrix M such that op(M) has the shape asked for.
fn stored<T: Scalar>(op: Op, m: usize, n: usize, seed: u64) -> Mat<T> {
    let (m, n) = op.shape((m, n));
    gallery::uniform(m, n, seed)
}

/// Element (i, j) of α op(A) op(B) + β C in f64, and the same with absolute values: the scale of its rounding errors.
struct Oracle {
    value: Mat<f64>,
    scale: Mat<f64>,
}

impl Oracle {
    fn product<T: Scalar>(alpha: T, a: (&Mat<T>, Op), b: (&Mat<T>, Op), beta: T, c: &Mat<T>) -> Self {
        let k = a.1.shape(a.0.shape()).1;
        let (m, n) = c.shape();
        let rows = Mat::from_fn(k, m, |p, i| op_at(a.0, a.1, i, p));
        let cols = Mat::from_fn(k, n, |p, j| op_at(b.0, b.1, p, j));
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let start = |i: usize, j: usize| if beta == T::ZERO { 0.0 } else { beta.f64() * c[(i, j)].f64() };
        let value =
            Mat::from_fn(m, n, |i, j| alpha.f64() * dot(rows.as_ref().col(i), cols.as_ref().col(j)) + start(i, j));
        let (rows, cols) = (rows.map(f64::abs), cols.map(f64::abs));
        let scale = Mat::from_fn(m, n, |i, j| {
            alpha.f64().abs() * dot(rows.as_ref().col(i), cols.as_ref().col(j)) + start(i, j).abs()
        });
        Self { value, scale }
    }

    fn assert_near<T: Scalar>(&self, got: MatRef<'_, T>, k: usize, from_row: impl Fn(usize) -> usize, what: &str) {
        let limit = tolerance::<T>(k + 2, 1.0);
        for j in 0..got.ncols() {
            for i in from_row(j)..got.nrows() {
                let error = (got.at(i, j).f64() - self.value[(i, j)]).abs();
                assert!(error <= limit * self.scale[(i, j)], "{what}: ({i}, {j}) is off by {error:e}");
            }
        }
    }
}

const SCALARS: [(f64, f64); 6] = [(1.0, 0.0), (-0.5, 0.0), (1.0, 1.0), (2.0, -0.5), (0.0, 2.0), (0.0, 0.0)];
const SHAPES: [(usize, usize, usize); 16] = [
    (1, 1, 1),
    (2, 3, 1),
    (1, 7, 33),
    (9, 1, 64),
    (3, 2, 0),
    (5, 4, 17),
    (8, 8, 8),
    (16, 31, 15),
    (32, 33, 31),
    (33, 32, 65),
    (63, 64, 2),
    (64, 5, 129),
    (65, 127, 63),
    (127, 65, 16),
    (128, 129, 9),
    (129, 128, 130),
];

fn gemm_equals_the_oracle<T: Scalar>(ctx: &Ctx<T>) {
    let mut turn = 0;
    for (m, n, k) in SHAPES {
        for (ta, tb) in OPS.into_iter().flat_map(|ta| OPS.map(|tb| (ta, tb))) {
            let (a, b) = (stored::<T>(ta, m, k, 1), stored::<T>(tb, k, n, 2));
            let (alpha, beta) = SCALARS[turn % SCALARS.len()];
            turn += 1;
            let (alpha, beta) = (T::of(alpha), T::of(beta));
            let c = if beta == T::ZERO { Mat::from_fn(m, n, |_, _| T::nan()) } else { gallery::uniform(m, n, 3) };
            let what = format!("{} gemm {m}x{n}x{k} {ta:?} {tb:?} {alpha} {beta}", ctx.backend().name());
            let (pa, pb, mut pc) = (Padded::new(&a, 3), Padded::new(&b, 1), Padded::new(&c, turn % 4));
            ctx.gemm(alpha, pa.view(), ta, pb.view(), tb, beta, pc.view_mut()).expect(&what);
            pc.assert_padding(&what);
            Oracle::product(alpha, (&a, ta), (&b, tb), beta, &c).assert_near(pc.view(), k, |_| 0, &what);
        }
    }
}

fn syrk_equals_the_oracle<T: Scalar>(ctx: &Ctx<T>) {
    let mut turn = 0;
    for (n, _, k) in SHAPES {
        for ta in OPS {
            let a = stored::<T>(ta, k, n, 4);
            let (alpha, beta) = SCALARS[turn % SCALARS.len()];
            turn += 1;
            let (alpha, beta) = (T::of(alpha), T::of(beta));
            let what = format!("{} syrk {n}x{k} {ta:?} {alpha} {beta}", ctx.backend().name());
            let mut c = if beta == T::ZERO { Mat::from_fn(n, n, |_, _| T::nan()) } else { gallery::uniform(n, n, 5) };
            c.as_mut().mirror_lower();
            let oracle = Oracle::product(alpha, (&a, ta.flipped()), (&a, ta), beta, &c);
            let (pa, mut pc) = (Padded::new(&a, 2), Padded::lower(&c, turn % 4));
            ctx.syrk_lower(alpha, pa.view(), ta, beta, pc.view_mut()).expect(&what);
            pc.assert_padding(&what);
            pc.assert_upper(&what);
            oracle.assert_near(pc.view(), k, |j| j, &what);

            let mut both = Padded::lower(&c, 1);
            ctx.syrk(alpha, pa.view(), ta, beta, both.view_mut()).expect(&what);
            both.assert_padding(&what);
            oracle.assert_near(both.view(), k, |_| 0, &what);
        }
    }
}

fn gemv_equals_the_oracle<T: Scalar>(ctx: &Ctx<T>) {
    for (m, n, _) in SHAPES {
        for ta in OPS {
            for (alpha, beta) in SCALARS.map(|(a, b)| (T::of(a), T::of(b))) {
                let a = stored::<T>(ta, m, n, 6);
                let x = gallery::uniform::<T>(n, 1, 7);
                let y = if beta == T::ZERO { Mat::from_fn(m, 1, |_, _| T::nan()) } else { gallery::uniform(m, 1, 8) };
                let what = format!("{} gemv {m}x{n} {ta:?} {alpha} {beta}", ctx.backend().name());
                let mut got = y.clone();
                ctx.gemv(alpha, Padded::new(&a, 3).view(), ta, x.as_slice(), beta, got.as_mut_slice()).expect(&what);
                Oracle::product(alpha, (&a, ta), (&x, Op::No), beta, &y).assert_near(got.as_ref(), n, |_| 0, &what);
            }
        }
    }
}

/// A well-conditioned lower triangle.
fn triangle<T: Scalar>(n: usize, seed: u64) -> Mat<T> {
    let a = gallery::uniform::<T>(n, n, seed);
    Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Less => T::ZERO,
        std::cmp::Ordering::Equal => T::ONE + a[(i, j)].abs(),
        std::cmp::Ordering::Greater => a[(i, j)] / T::of(n as f64),
    })
}

fn trsm_solves<T: Scalar>(ctx: &Ctx<T>) {
    for (n, k) in
        [(1, 1), (2, 3), (4, 64), (5, 66), (17, 1), (31, 33), (64, 2), (65, 65), (128, 7), (129, 130), (257, 3)]
    {
        for (side, tl) in [Side::Left, Side::Right].into_iter().flat_map(|side| OPS.map(|tl| (side, tl))) {
            let what = format!("{} trsm {n}x{k} {side:?} {tl:?}", ctx.backend().name());
            let l = triangle::<T>(n, 9);
            let b = if side == Side::Left { gallery::uniform(n, k, 10) } else { gallery::uniform::<T>(k, n, 10) };
            let (pl, mut px) = (Padded::lower(&l, 2), Padded::new(&b, 1));
            ctx.trsm(side, pl.view(), tl, px.view_mut()).expect(&what);
            px.assert_padding(&what);
            let x = px.view().to_owned();
            let residual = match side {
                Side::Left => Oracle::product(T::ONE, (&l, tl), (&x, Op::No), -T::ONE, &b),
                Side::Right => Oracle::product(T::ONE, (&x, Op::No), (&l, tl), -T::ONE, &b),
            };
            residual.assert_near(Mat::<T>::zeros(b.nrows(), b.ncols()).as_ref(), n, |_| 0, &what);
        }
    }
}

const ORDERS: [usize; 14] = [1, 2, 3, 4, 5, 16, 17, 31, 32, 33, 64, 127, 128, 129];

fn potrf_and_potri_equal_the_reference<T: Scalar>(ctx: &Ctx<T>) {
    let condition = 10.0;
    for n in ORDERS {
        let what = format!("{} potrf {n}", ctx.backend().name());
        let a = gallery::spd::<T>(n, condition, 11);
        let (mut want, mut got) = (a.clone(), Padded::lower(&a, 3));
        Ctx::reference().potrf(want.as_mut()).expect(&what);
        ctx.potrf(got.view_mut()).expect(&what);
        got.assert_padding(&what);
        got.assert_upper(&what);
        let limit = tolerance::<T>(n, condition);
        for j in 0..n {
            for i in j..n {
                let error = (got.view().at(i, j).f64() - want[(i, j)].f64()).abs();
                assert!(error <= limit, "{what}: L({i}, {j}) is off by {error:e}");
            }
        }
        ctx.potri(got.view_mut()).expect(&what);
        Ctx::reference().potri(want.as_mut()).expect(&what);
        got.assert_padding(&what);
        for j in 0..n {
            for i in 0..n {
                let error = (got.view().at(i, j).f64() - want[(i, j)].f64()).abs();
                assert!(error <= limit * condition, "{what}: inverse ({i}, {j}) is off by {error:e}");
                assert_eq!(got.view().at(i, j), got.view().at(j, i), "{what}: inverse not symmetric at ({i}, {j})");
            }
        }
    }
}

fn eigenvalues_equal_the_reference<T: Scalar>(ctx: &Ctx<T>) {
    for n in [1, 2, 3, 4, 16, 31, 33, 64, 129] {
        let what = format!("{} syevd {n}", ctx.backend().name());
        let exact: Vec<f64> = (0..n).map(|i| i as f64 / n as f64 - 0.3).collect();
        let mut a = Padded::lower(&gallery::with_spectrum::<T>(&exact, 12), 2);
        let mut w = vec![T::nan(); n];
        ctx.syevd(a.view_mut(), &mut w).expect(&what);
        a.assert_padding(&what);
        for (got, want) in w.iter().zip(&exact) {
            assert!((got.f64() - want).abs() <= tolerance::<T>(n, 1.0), "{what}: {got} instead of {want}");
        }
    }
}
