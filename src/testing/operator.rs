//! The laws of [`LinearOperator`] and [`SelfAdjoint`], for any implementor.
//!
//! ```text
//! linear        A(αx + βy) = α A x + β A y             adds      apply_add: Y + α A X
//! column-wise   A [x y] = [A x, A y]                   views     any leading dimension, padding left alone
//! dense         A I is the matrix                      adjoint   ⟨A x, y⟩ = ⟨x, A y⟩
//! ```
//! Bounds are `tolerance(n, condition)` times ‖A‖_F and the norms of the operands; errors are Frobenius norms.
//!
//! Cost        about 20 applications to three columns and one to the identity, for each context.
//! Laws        tests/broken_implementors.rs (each law rejects an implementor that breaks it).

use super::dense::{differing, distance, dot, norm, times};
use super::{Claim, Measure, Padded, Recorder, Report, Setup, gallery, tolerance};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::linop::{LinearOperator, SelfAdjoint};
use crate::mat::Mat;
use crate::scalar::Scalar;

/// What [`check`] measures; "equals the claimed matrix" only where a matrix is claimed.
pub const LAWS: [&str; 15] = [
    "builds",
    "has the claimed shape",
    "equals the claimed matrix",
    "is linear",
    "applies a block column by column",
    "adds in apply_add",
    "has its matrix in to_dense",
    "reads no old contents",
    "keeps to padded views",
    "refuses wrong shapes",
    "repeats bit for bit",
    "keeps a NaN in its column",
    "serves no right-hand side",
    "returns its scratch",
    "agrees on two threads",
];

/// What [`check_self_adjoint`] measures beside [`LAWS`].
pub const SELF_ADJOINT_LAWS: [&str; 1] = ["is self-adjoint"];

const COLUMNS: usize = 3;

/// Holds the operator that `make` builds on a context to [`LAWS`].
///
/// ```
/// use pullback::{Mat, linop::DenseOperator, testing::{Claim, Setup, operator}};
/// let a = Mat::from_fn(2, 3, |i, j| (i + j) as f64);
/// let report = operator::check(&Setup::default(), &Claim::exact("dense", a.clone()), |_| Ok(DenseOperator::new(a.clone())));
/// report.assert_passed();
/// ```
pub fn check<T: Scalar, A: LinearOperator<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
) -> Report {
    let mut r = Recorder::new("operator", setup.seed);
    for ctx in &setup.contexts {
        if let Some(a) = r.build(&claim.name, || make(ctx)) {
            Subject::new(ctx, claim, &a, setup.seed).measure(&mut r);
        }
    }
    r.into()
}

/// Holds the operator to [`LAWS`] and [`SELF_ADJOINT_LAWS`].
pub fn check_self_adjoint<T: Scalar, A: SelfAdjoint<T>>(
    setup: &Setup<T>,
    claim: &Claim<'_, T>,
    make: impl Fn(&Ctx<T>) -> Result<A>,
) -> Report {
    let mut r = Recorder::new("operator", setup.seed);
    for ctx in &setup.contexts {
        if let Some(a) = r.build(&claim.name, || make(ctx)) {
            let subject = Subject::new(ctx, claim, &a, setup.seed);
            subject.measure(&mut r);
            subject.measure_adjoint(&mut r, a.dim());
        }
    }
    r.into()
}

/// An operator with the operands of its laws.
///
/// The operator is a trait object, so that the laws are compiled once for each scalar and not for each implementor.
struct Subject<'a, T> {
    ctx: &'a Ctx<T>,
    claim: &'a Claim<'a, T>,
    a: &'a dyn LinearOperator<T>,
    place: String,
    shape: (usize, usize),
    /// The matrix: claimed, or else what `to_dense` says; empty where that fails.
    matrix: Mat<f64>,
    x: Mat<T>,
    other: Mat<T>,
}

impl<'a, T: Scalar> Subject<'a, T> {
    fn new(ctx: &'a Ctx<T>, claim: &'a Claim<'a, T>, a: &'a dyn LinearOperator<T>, seed: u64) -> Self {
        let shape = a.shape();
        let dense = || a.to_dense(ctx).map(|m| m.cast()).unwrap_or_else(|_| Mat::zeros(0, 0));
        let matrix = claim.matrix.clone().unwrap_or_else(dense);
        let operand = |index| gallery::uniform(shape.1, COLUMNS, seed.wrapping_mul(8).wrapping_add(index));
        Self { ctx, claim, a, place: claim.place(ctx, shape), shape, matrix, x: operand(1), other: operand(2) }
    }

    /// A X into old contents that would spread if they were read.
    fn apply(&self, x: &Mat<T>) -> Result<Mat<T>> {
        let mut y = Mat::from_fn(self.shape.0, x.ncols(), |_, _| T::nan());
        self.a.apply(self.ctx, x.as_ref(), y.as_mut())?;
        Ok(y)
    }

    /// What rounding may cost a product with operands of this norm.
    fn bound(&self, operand: f64) -> f64 {
        let n = self.shape.0.max(self.shape.1);
        tolerance::<T>(n, self.claim.condition) * norm(&self.matrix) * operand
    }

    fn measure(&self, r: &mut Recorder) {
        self.shape_and_matrix(r);
        self.linearity(r);
        self.views(r);
        self.repetition(r);
    }

    fn shape_and_matrix(&self, r: &mut Recorder) {
        let Self { ctx, a, place, shape, x, .. } = self;
        let claimed = self.claim.matrix.as_ref().map_or(*shape, Mat::shape);
        r.holds("has the claimed shape", place, || Ok(claimed == *shape && a.to_dense(ctx)?.shape() == *shape));
        if let Some(matrix) = &self.claim.matrix {
            r.bound("equals the claimed matrix", place, || {
                Ok((distance(&self.apply(x)?, &times(matrix, &x.cast())?), self.bound(norm(x))))
            });
        }
        r.bound("has its matrix in to_dense", place, || {
            let dense: Mat<f64> = a.to_dense(ctx)?.cast();
            Ok((distance(&self.apply(x)?, &times(&dense, &x.cast())?), self.bound(norm(x))))
        });
        r.holds("refuses wrong shapes", place, || {
            let (m, n) = *shape;
            let refused = |x: (usize, usize), y: (usize, usize)| {
                let (x, mut y) = (Mat::zeros(x.0, x.1), Mat::zeros(y.0, y.1));
                let apply = a.apply(ctx, x.as_ref(), y.as_mut());
                let add = a.apply_add(ctx, T::ONE, x.as_ref(), y.as_mut());
                matches!((apply, add), (Err(Error::Shape { .. }), Err(Error::Shape { .. })))
            };
            Ok(refused((n + 1, 2), (m, 2)) && refused((n, 2), (m + 1, 2)) && refused((n, 3), (m, 2)))
        });
        r.holds("serves no right-hand side", place, || {
            a.apply(ctx, Mat::zeros(shape.1, 0).as_ref(), Mat::zeros(shape.0, 0).as_mut()).map(|()| true)
        });
    }

    fn linearity(&self, r: &mut Recorder) {
        let Self { ctx, a, place, shape, x, other, .. } = self;
        let (alpha, beta) = (T::of(1.5), T::of(-0.75));
        let twice = self.bound(2.0 * (norm(x) + norm(other)));
        r.bound("is linear", place, || {
            let combined = Mat::from_fn(shape.1, COLUMNS, |i, j| alpha * x[(i, j)] + beta * other[(i, j)]);
            let (ax, ay) = (self.apply(x)?, self.apply(other)?);
            let sum =
                Mat::from_fn(shape.0, COLUMNS, |i, j| alpha.f64() * ax[(i, j)].f64() + beta.f64() * ay[(i, j)].f64());
            Ok((distance(&self.apply(&combined)?, &sum), twice))
        });
        r.bound("applies a block column by column", place, || {
            let together = self.apply(x)?;
            let mut alone = Mat::zeros(shape.0, COLUMNS);
            for j in 0..COLUMNS {
                let column = Mat::from_fn(shape.1, 1, |i, _| x[(i, j)]);
                alone.as_mut().col_mut(j).copy_from_slice(self.apply(&column)?.as_slice());
            }
            Ok((distance(&alone, &together), self.bound(norm(x))))
        });
        r.bound("adds in apply_add", place, || {
            let y0: Mat<T> = gallery::uniform(shape.0, COLUMNS, 5);
            let (ax, mut added) = (self.apply(x)?, y0.clone());
            a.apply_add(ctx, alpha, x.as_ref(), added.as_mut())?;
            let want = Mat::from_fn(shape.0, COLUMNS, |i, j| y0[(i, j)].f64() + alpha.f64() * ax[(i, j)].f64());
            Ok((distance(&added, &want), twice + tolerance::<T>(1, 1.0) * norm(&y0)))
        });
        r.law("keeps a NaN in its column", place, || {
            let spoiled = Mat::from_fn(shape.1, COLUMNS, |i, j| if j == 1 { T::nan() } else { x[(i, j)] });
            let y = self.apply(&spoiled)?;
            let not_finite = |j: usize| y.as_ref().col(j).iter().filter(|y| !y.is_finite()).count();
            Ok(Measure::count(not_finite(0) + not_finite(2)))
        });
    }

    fn views(&self, r: &mut Recorder) {
        let Self { ctx, a, place, shape, x, .. } = self;
        r.law("reads no old contents", place, || {
            let mut y = gallery::uniform::<T>(shape.0, COLUMNS, 6);
            a.apply(ctx, x.as_ref(), y.as_mut())?;
            let not_finite = self.apply(x)?.as_slice().iter().filter(|y| !y.is_finite()).count();
            Ok(Measure::count(differing(&y, &self.apply(x)?) + not_finite))
        });
        r.law("keeps to padded views", place, || {
            let old = Mat::from_fn(shape.0, COLUMNS, |_, _| T::nan());
            let (px, mut py) = (Padded::new(x, 2), Padded::new(&old, 3));
            a.apply(ctx, px.view(), py.view_mut())?;
            let error = distance(&py.view().to_owned(), &self.apply(x)?);
            let ratio = Measure::ratio(error, self.bound(norm(x)));
            Ok(ratio.worse(Measure::count(py.spoiled())))
        });
    }

    fn repetition(&self, r: &mut Recorder) {
        let Self { ctx, a, place, shape, x, .. } = self;
        r.law("repeats bit for bit", place, || {
            // at once, and after another operand: a state of any short period shows
            let (first, again) = (self.apply(x)?, self.apply(x)?);
            self.apply(&self.other)?;
            Ok(Measure::count(differing(&first, &again) + differing(&first, &self.apply(x)?)))
        });
        r.holds("returns its scratch", place, || {
            self.apply(x)?;
            let high = ctx.high_water();
            self.apply(x)?;
            self.apply(x)?;
            Ok(ctx.high_water() == high)
        });
        r.bound("agrees on two threads", place, || {
            let mut y = Mat::zeros(shape.0, COLUMNS);
            a.apply(&ctx.with_threads(2), x.as_ref(), y.as_mut())?;
            Ok((distance(&y, &self.apply(x)?), self.bound(norm(x))))
        });
    }

    fn measure_adjoint(&self, r: &mut Recorder, dim: usize) {
        let (x, y) = (&self.x, &self.other);
        r.law("is self-adjoint", &self.place, || {
            let (ax, ay) = (self.apply(x)?, self.apply(y)?);
            let worst = (0..COLUMNS).map(|j| {
                let left = dot(ax.as_ref().col(j), y.as_ref().col(j));
                let right = dot(x.as_ref().col(j), ay.as_ref().col(j));
                Measure::ratio((left - right).abs(), self.bound(norm(x) * norm(y)))
            });
            Ok(worst.fold(Measure::holds(dim == self.shape.1), Measure::worse))
        });
    }
}
