//! Memory: views, scratch and every kernel of every backend on slices that end exactly where the view ends, small enough
//! for Miri, AddressSanitizer and valgrind (`.ci/memory` runs those).
//!
//! A slice is a heap block of its own, so that a kernel that reads or writes one element too far leaves it; padding
//! between the columns holds a sentinel, so that one that strays inside is seen without any tool.

use pullback::testing::lapack::{PoType, SepType, check_po, check_sep, eigenvalues, po_type, sep_type};
use pullback::testing::{contexts, gallery, relative_error, tolerance};
use pullback::{Ctx, Mat, MatMut, MatRef, Op, Scalar, Side};

const SENTINEL: f64 = -777.0;
const OPS: [Op; 2] = [Op::No, Op::Transpose];

/// Orders of the kernels: past the blocks of the libraries where that is affordable.
fn orders<T: Scalar>(ctx: &Ctx<T>) -> &'static [usize] {
    match (cfg!(miri), ctx.backend().name()) {
        (true, _) => &[0, 1, 2, 3],
        (_, "reference") => &[0, 1, 2, 3, 5, 17, 33],
        _ => &[0, 1, 2, 3, 5, 8, 17, 33, 65, 129, 150],
    }
}

/// A matrix in a heap block of exactly (columns - 1) ld + rows elements.
struct Exact<T> {
    data: Box<[T]>,
    shape: (usize, usize),
    ld: usize,
}

impl<T: Scalar> Exact<T> {
    fn new(a: &Mat<T>, padding: usize) -> Self {
        let (m, n) = a.shape();
        let ld = (m + padding).max(1);
        let length = if m == 0 || n == 0 { 0 } else { (n - 1) * ld + m };
        let element = |at: usize| if at % ld < m { a[(at % ld, at / ld)] } else { T::of(SENTINEL) };
        Self { data: (0..length).map(element).collect(), shape: (m, n), ld }
    }

    fn view(&self) -> MatRef<'_, T> {
        MatRef::from_slice(&self.data, self.shape.0, self.shape.1, self.ld).expect("the length fits")
    }

    fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::from_slice(&mut self.data, self.shape.0, self.shape.1, self.ld).expect("the length fits")
    }

    /// The elements, after a look at the padding.
    fn intact(&self, what: &str) -> Mat<T> {
        let padding = self.data.iter().enumerate().filter(|(at, _)| at % self.ld >= self.shape.0);
        padding.for_each(|(at, &x)| assert!(x == T::of(SENTINEL), "{what}: padding {at} became {x}"));
        self.view().to_owned()
    }
}

fn element(op: Op, a: &Mat<f64>, i: usize, j: usize) -> f64 {
    match op {
        Op::No => a[(i, j)],
        Op::Transpose => a[(j, i)],
    }
}

/// op(A) op(B) by the definition.
fn product<T: Scalar>(a: &Mat<T>, ta: Op, b: &Mat<T>, tb: Op) -> Mat<f64> {
    let (m, k, n) = (ta.shape(a.shape()).0, ta.shape(a.shape()).1, tb.shape(b.shape()).1);
    let (a, b) = (a.cast::<f64>(), b.cast::<f64>());
    Mat::from_fn(m, n, |i, j| (0..k).map(|p| element(ta, &a, i, p) * element(tb, &b, p, j)).sum())
}

fn assert_close<T: Scalar>(got: &Mat<T>, want: &Mat<f64>, kappa: f64, what: &str) {
    let error = relative_error(got.cast::<f64>().as_ref(), want.as_ref());
    let limit = tolerance::<T>(want.nrows().max(want.ncols()), kappa);
    assert!(error <= limit, "{what}: error {error:e}, limit {limit:e}");
}

fn of_shape<T: Scalar>(op: Op, m: usize, n: usize, seed: u64) -> Mat<T> {
    let (rows, columns) = op.shape((m, n));
    gallery::uniform(rows, columns, seed)
}

fn products<T: Scalar>(ctx: &Ctx<T>) {
    for &n in orders(ctx) {
        let (m, k) = (n + 1, n + 2);
        for (ta, tb) in OPS.into_iter().flat_map(|ta| OPS.map(|tb| (ta, tb))) {
            let what = format!("{} gemm {ta:?} {tb:?} {n}", ctx.backend().name());
            let (a, b) = (of_shape::<T>(ta, m, k, 1), of_shape::<T>(tb, k, n, 2));
            let mut c = Exact::new(&gallery::uniform(m, n, 3), 3);
            let (padded_a, padded_b) = (Exact::new(&a, 1), Exact::new(&b, 2));
            ctx.gemm(T::ONE, padded_a.view(), ta, padded_b.view(), tb, T::ZERO, c.view_mut()).expect(&what);
            assert_close(&c.intact(&what), &product(&a, ta, &b, tb), k as f64, &what);
        }
        for op in OPS {
            let what = format!("{} syrk, gemv {op:?} {n}", ctx.backend().name());
            let a = of_shape::<T>(op, k, n, 4);
            let padded = Exact::new(&a, 1);
            let mut c = Exact::new(&gallery::uniform(n, n, 5), 2);
            ctx.syrk(T::ONE, padded.view(), op, T::ZERO, c.view_mut()).expect(&what);
            assert_close(&c.intact(&what), &product(&a, op.flipped(), &a, op), k as f64, &what);
            let x = gallery::uniform::<T>(n, 1, 6);
            let mut y = vec![T::nan(); k].into_boxed_slice();
            ctx.gemv(T::ONE, padded.view(), op, x.as_slice(), T::ZERO, &mut y).expect(&what);
            let y = Mat::from_vec(y.into_vec(), k, 1).expect("k elements");
            assert_close(&y, &product(&a, op, &x, Op::No), k as f64, &what);
        }
    }
}

fn triangular_solves<T: Scalar>(ctx: &Ctx<T>) {
    for &n in orders(ctx) {
        let below = gallery::uniform::<T>(n, n, 7);
        let l = Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Less => T::ZERO,
            std::cmp::Ordering::Equal => T::of(2.0),
            std::cmp::Ordering::Greater => below[(i, j)] / T::of(n as f64),
        });
        let padded_l = Exact::new(&l, 1);
        for (side, op) in [Side::Left, Side::Right].into_iter().flat_map(|side| OPS.map(|op| (side, op))) {
            let what = format!("{} trsm {side:?} {op:?} {n}", ctx.backend().name());
            let (m, k) = if side == Side::Left { (n, 3) } else { (3, n) };
            let want = gallery::uniform::<T>(m, k, 8);
            let rhs = match side {
                Side::Left => product(&l, op, &want, Op::No),
                Side::Right => product(&want, Op::No, &l, op),
            };
            let mut b = Exact::new(&rhs.cast::<T>(), 2);
            ctx.trsm(side, padded_l.view(), op, b.view_mut()).expect(&what);
            assert_close(&b.intact(&what), &want.cast(), 10.0, &what);
        }
    }
}

fn factorizations<T: Scalar>(ctx: &Ctx<T>) {
    for &n in orders(ctx) {
        let what = format!("{} factorizations {n}", ctx.backend().name());
        let spd = gallery::spd::<T>(n, 10.0, 9);
        let mut a = Exact::new(&spd, 3);
        ctx.potrf(a.view_mut()).expect(&what);
        let mut x = Exact::new(&Mat::identity(n), 1);
        ctx.potrs(a.view(), x.view_mut()).expect(&what);
        ctx.potri(a.view_mut()).expect(&what);
        let (solved, inverse) = (x.intact(&what), a.intact(&what));
        assert_close(&inverse, &solved.cast(), 10.0 * 10.0, &what);
        let (mut q, mut w) = (Exact::new(&spd, 2), vec![T::nan(); n].into_boxed_slice());
        ctx.syevd(q.view_mut(), &mut w).expect(&what);
        let q = q.intact(&what);
        let scaled = Mat::from_fn(n, n, |i, j| q[(i, j)] * w[j]);
        assert_close(&spd, &product(&scaled, Op::No, &q, Op::Transpose), 1.0, &what);
    }
    // the hardest matrices: near overflow and underflow, singular, clustered, banded
    for &n in orders(ctx).iter().filter(|&&n| n > 1 && n < 40) {
        for kind in PoType::ALL {
            let test = po_type::<T>(kind, n, 1);
            assert!(check_po(ctx, &test).iter().all(|m| m.holds()), "PO {} n = {n}", kind.number());
        }
        for kind in SepType::ALL {
            let test = sep_type::<T>(kind, n, 1);
            let alone = eigenvalues(test.matrix.as_ref());
            assert!(check_sep(ctx, &test, &alone).iter().all(|m| m.holds()), "SEP {} n = {n}", kind.number());
        }
    }
}

/// Each law on every backend, in both scalars.
macro_rules! on_every_backend {
    ($($name:ident = $law:ident),+ $(,)?) => {$(
        #[test]
        fn $name() {
            contexts::<f32>().iter().for_each($law);
            contexts::<f64>().iter().for_each($law);
        }
    )+};
}
on_every_backend!(
    products_stay_inside = products,
    triangular_solves_stay_inside = triangular_solves,
    factorizations_stay_inside = factorizations,
);

#[test]
fn views_split_and_narrow_within_their_slice() {
    for (m, n, padding) in [(0, 0, 0), (0, 3, 2), (3, 0, 1), (1, 1, 0), (1, 4, 2), (4, 3, 0), (5, 4, 3)] {
        let a = Mat::from_fn(m, n, |i, j| (10 * i + j) as f64);
        let mut exact = Exact::new(&a, padding);
        for j in 0..=n {
            let (left, right) = exact.view_mut().split_at_col(j);
            assert_eq!((left.ncols(), right.ncols()), (j, n - j));
            let (left, mut right) = (left.rb().to_owned(), right);
            right.cols_mut().enumerate().for_each(|(k, c)| assert_eq!(c, a.as_ref().col(j + k)));
            assert_eq!(left, a.as_ref().submatrix(0, 0, m, j).unwrap().to_owned());
        }
        for (i, j) in (0..=m).flat_map(|i| (0..=n).map(move |j| (i, j))) {
            let part = exact.view().submatrix(i, j, m - i, n - j).unwrap();
            assert_eq!(part.to_owned(), a.as_ref().submatrix(i, j, m - i, n - j).unwrap().to_owned());
            let mut part = exact.view_mut().submatrix(0, 0, i, j).unwrap();
            part.fill(1.0);
            part.copy_from(a.as_ref().submatrix(0, 0, i, j).unwrap()).unwrap();
            assert!(exact.view().submatrix(i, j, m + 1, n).is_err());
        }
        assert_eq!(exact.intact("views"), a);
        assert!(!format!("{:?} {:?}", exact.view(), a).is_empty());
        assert_eq!(a.transposed().transposed(), a);
    }
}

#[test]
fn mirroring_stays_inside_at_every_tile_boundary() {
    let orders: &[usize] = if cfg!(miri) { &[0, 1, 2, 15, 16, 17] } else { &[0, 1, 2, 15, 16, 17, 31, 32, 33, 50] };
    for &n in orders {
        let a = gallery::uniform::<f64>(n, n, 1);
        let mut exact = Exact::new(&a, 3);
        exact.view_mut().mirror_lower();
        let want = Mat::from_fn(n, n, |i, j| a[(i.max(j), i.min(j))]);
        assert_eq!(exact.intact("mirror"), want);
    }
}

#[test]
fn scratch_lives_grows_and_returns() {
    let ctx = Ctx::<f64>::reference();
    for round in 0..3 {
        let mut held: Vec<_> = (0..4).map(|i| ctx.scratch(i + round, 3)).collect();
        for (i, scratch) in held.iter_mut().enumerate() {
            scratch.as_mut().fill(i as f64);
        }
        drop(held.swap_remove(1)); // out of order
        let extra = ctx.scratch(2, 2);
        assert_eq!(extra.as_ref().shape(), (2, 2));
        for scratch in &held {
            let first = scratch.as_slice().first().copied();
            assert!(scratch.as_slice().iter().all(|&x| Some(x) == first));
        }
    }
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let ctx = &ctx;
            scope.spawn(move || {
                for size in 1..6 {
                    let (mut one, mut two) = (ctx.scratch(size, thread + 1), ctx.scratch(1, size));
                    one.as_mut().fill(thread as f64);
                    two.as_mut().fill(-1.0);
                    assert!(one.as_slice().iter().all(|&x| x == thread as f64));
                }
            });
        }
    });
}

#[test]
fn threads_share_one_context() {
    let threads = if cfg!(miri) { 2 } else { 4 };
    for ctx in contexts::<f64>() {
        let (a, n) = (gallery::spd::<f64>(5, 10.0, 1), 5);
        let lone = {
            let mut l = a.clone();
            ctx.potrf(l.as_mut()).expect("positive definite");
            ctx.potri(l.as_mut()).expect("invertible");
            l
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut scratch = ctx.scratch(n, n);
                    scratch.as_mut().copy_from(a.as_ref()).expect("shapes");
                    ctx.potrf(scratch.as_mut()).expect("positive definite");
                    ctx.potri(scratch.as_mut()).expect("invertible");
                    assert_eq!(scratch.as_ref().to_owned(), lone);
                });
            }
        });
    }
}

/// Miri cannot end while the global thread pool of rayon lives on.
#[test]
#[cfg_attr(miri, ignore = "rayon's global pool outlives the test")]
fn items_are_handed_out_once() {
    let ctx = Ctx::<f64>::reference().with_threads(3);
    let mut items: Vec<(usize, f64)> = (1..20).map(|n| (n, 0.0)).collect();
    ctx.for_each(&mut items, |ctx, (n, sum)| {
        let mut scratch = ctx.scratch(*n, *n);
        scratch.as_mut().fill(1.0);
        *sum += scratch.as_slice().iter().sum::<f64>();
        Ok(())
    })
    .expect("no task fails");
    assert!(items.iter().all(|&(n, sum)| sum == (n * n) as f64));
}
