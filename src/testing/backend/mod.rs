//! The contract of [`Backend`](crate::Backend) (its module documentation), held against any implementor, with plain loops
//! in `f64` as the oracle.
//!
//! ```text
//! values      each entry within tolerance(k, 1) of Σ|α a b| + |β c|;  factorizations by LAPACK's ratios
//! memory      padding and the unread triangle keep their sentinels;  β = 0 reads no C, α = 0 no A and B
//! failures    wrong shapes, NaN, infinity, overflow, the exact failing pivot: one error on every backend
//! threads     the same bits for the same count, alone or side by side;  two threads within a bound of one
//! ```
//! Sizes lie on both sides of 16, 32, 64 and 128, where kernels change their blocks.
//!
//! Cost        about 2 seconds a context at optimization level 1, most of it in the oracle.
//! Laws        tests/broken_implementors.rs (each law rejects a backend that breaks it).
//! Reference   E. Anderson et al., LAPACK Working Note 41, sections on testing (matrix types, ratios).

mod contract;
mod factorizations;
mod products;
mod threads;

use super::{Recorder, Report, Setup, gallery};
use crate::backend::Ctx;
use crate::mat::{Mat, Op};
use crate::scalar::Scalar;

/// What [`check`] measures.
pub const LAWS: [&str; 25] = [
    "gemm is the product",
    "syrk is the Gram product",
    "gemv is the product",
    "trsm solves",
    "beta 0 reads no C",
    "alpha 0 reads no A and B",
    "leaves the padding alone",
    "leaves the upper triangle alone",
    "potrf is the Cholesky factor",
    "potri is the inverse",
    "potrs solves",
    "syevd has the eigenvalues",
    "syevd has the eigenvectors",
    "syevd is equivariant under powers of two",
    "serves zero sizes",
    "propagates NaN and infinity",
    "a zero pivot of trsm gives infinity",
    "factorizations refuse what is not finite",
    "names the failing pivot",
    "overflow is a typed error",
    "refuses wrong shapes",
    "repeats bit for bit",
    "concurrent calls equal lone ones",
    "two threads agree with one",
    "a huge leading dimension gives no lie",
];

/// Holds the backend of each of the setup's contexts to the contract.
///
/// ```no_run
/// use pullback::{Ctx, backend::Reference, testing::{Setup, backend}};
/// backend::check(&Setup::on(Ctx::<f32>::new(Reference))).assert_passed(); // Reference stands for your own
/// ```
pub fn check<T: Scalar>(setup: &Setup<T>) -> Report {
    let parts = [check_products, check_factorizations, check_failures, check_threads];
    parts.into_iter().map(|part| part(setup)).collect()
}

/// The part of [`check`] on gemm, syrk, gemv and trsm.
pub fn check_products<T: Scalar>(setup: &Setup<T>) -> Report {
    each(setup, products::measure)
}

/// The part of [`check`] on potrf, potri, potrs and syevd.
pub fn check_factorizations<T: Scalar>(setup: &Setup<T>) -> Report {
    each(setup, factorizations::measure)
}

/// The part of [`check`] on zero sizes, NaN, failing pivots, overflow and wrong shapes.
pub fn check_failures<T: Scalar>(setup: &Setup<T>) -> Report {
    each(setup, contract::measure)
}

/// The part of [`check`] on determinism.
pub fn check_threads<T: Scalar>(setup: &Setup<T>) -> Report {
    each(setup, threads::measure)
}

fn each<T: Scalar>(setup: &Setup<T>, part: impl Fn(&mut Recorder, &Subject<'_, T>)) -> Report {
    let mut r = Recorder::new("backend", setup.seed);
    for ctx in &setup.contexts {
        let place = format!("{} in {}", ctx.backend().name(), T::NAME);
        part(&mut r, &Subject { ctx, place, seed: setup.seed });
    }
    r.into()
}

/// A backend with the place and the random input of its laws.
struct Subject<'a, T> {
    ctx: &'a Ctx<T>,
    place: String,
    seed: u64,
}

const OPS: [Op; 2] = [Op::No, Op::Transpose];

impl<T: Scalar> Subject<'_, T> {
    fn at(&self, what: std::fmt::Arguments<'_>) -> String {
        format!("{}: {what}", self.place)
    }

    /// Entries uniform in [-1, 1); `index` tells the operands of a law apart.
    fn uniform(&self, m: usize, n: usize, index: u64) -> Mat<T> {
        gallery::uniform(m, n, self.seed.wrapping_mul(64).wrapping_add(index))
    }

    /// An M such that op(M) has the shape asked for.
    fn stored(&self, op: Op, m: usize, n: usize, index: u64) -> Mat<T> {
        let (m, n) = op.shape((m, n));
        self.uniform(m, n, index)
    }

    /// A well-conditioned lower triangle.
    fn triangle(&self, n: usize, index: u64) -> Mat<T> {
        let a = self.uniform(n, n, index);
        Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
            std::cmp::Ordering::Less => T::ZERO,
            std::cmp::Ordering::Equal => T::ONE + a[(i, j)].abs(),
            std::cmp::Ordering::Greater => a[(i, j)] / T::of(n as f64),
        })
    }

    fn spd(&self, n: usize, condition: f64, index: u64) -> Mat<T> {
        gallery::spd(n, condition, self.seed.wrapping_mul(64).wrapping_add(index))
    }
}

/// A matrix of NaN: what must be overwritten.
fn nan<T: Scalar>(m: usize, n: usize) -> Mat<T> {
    Mat::from_fn(m, n, |_, _| T::nan())
}
