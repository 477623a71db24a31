//! The laws of [`Optimizer`], on a convex quadratic with the whole batch ([`LeastSquares`]) and with faults to order.
//!
//! ```text
//! descent      the loss falls to a stated share of what it lies above its minimum
//! stationary   a gradient of exact zeros moves nothing
//! rejection    a step that is reported as rejected left every bit of θ as it was
//! failure      a loss or gradient that is not finite is Error::NotFinite, and leaves θ alone
//! report       loss before and after are the objective's; passes are those that it was asked for
//! ```
//!
//! Cost        the goal's number of steps, and about twelve more, for each context.
//! Laws        tests/broken_implementors.rs.

use super::dense::differing;
use super::{Fault, LeastSquares, Measure, Recorder, Regression, Report, Setup, gallery, tolerance};
use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::factor::Cholesky;
use crate::mat::{Mat, Op};
use crate::optim::{Objective, Optimizer, StepReport};
use crate::scalar::Scalar;

/// What [`check`] measures.
pub const LAWS: [&str; 11] = [
    "builds",
    "descends on a quadratic",
    "moves nothing where the gradient is zero",
    "leaves theta where it rejects",
    "a loss that is not finite is a typed error",
    "a gradient that is not finite is a typed error",
    "refuses theta of another length",
    "repeats bit for bit",
    "reports the loss before",
    "reports the loss after",
    "counts its passes",
];

/// How fast an optimizer must be on the quadratic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// After so many steps ...
    pub steps: usize,
    /// ... the loss lies above its minimum by at most this share of what it did at the start.
    pub share: f64,
}

/// Half the way in 50 steps.
impl Default for Goal {
    fn default() -> Self {
        Self { steps: 50, share: 0.5 }
    }
}

const D_OUT: usize = 3;
const D_IN: usize = 5;
const CASES: usize = 40;
const L2: f64 = 0.01;

/// Holds the optimizer that `make` builds to the laws.
///
/// ```
/// use pullback::optim::{MomentumKind, Sgd};
/// use pullback::testing::{Setup, optimizer::{self, Goal}};
/// let make = || Sgd::<f64>::new(0.3, 0.5, MomentumKind::HeavyBall);
/// optimizer::check(&Setup::default(), "sgd", Goal { steps: 50, share: 0.1 }, make).assert_passed();
/// ```
pub fn check<T: Scalar, P: Optimizer<T, LeastSquares<T>>>(
    setup: &Setup<T>,
    name: &str,
    goal: Goal,
    make: impl Fn() -> Result<P>,
) -> Report {
    let mut r = Recorder::new("optimizer", setup.seed);
    for ctx in &setup.contexts {
        let place = format!("{name} on {} in {}", ctx.backend().name(), T::NAME);
        if r.build(&place, &make).is_some() {
            let theta = gallery::uniform::<T>(D_OUT * D_IN, 1, setup.seed.wrapping_mul(4)).into_vec();
            let batch = Regression::random(D_OUT, D_IN, CASES, setup.seed.wrapping_mul(4).wrapping_add(1));
            let subject = Subject { ctx, make: &make, place, theta, batch };
            subject.descent(&mut r, goal);
            subject.failures(&mut r);
            subject.reports(&mut r);
        }
    }
    r.into()
}

struct Subject<'a, T, F> {
    ctx: &'a Ctx<T>,
    make: &'a F,
    place: String,
    theta: Vec<T>,
    batch: Regression<T>,
}

fn sound<T: Scalar>() -> LeastSquares<T> {
    LeastSquares::new(D_OUT, D_IN, T::of(L2))
}

fn column<T: Scalar>(theta: &[T]) -> Mat<T> {
    Mat::from_fn(theta.len(), 1, |i, _| theta[i])
}

impl<T: Scalar, P: Optimizer<T, LeastSquares<T>>, F: Fn() -> Result<P>> Subject<'_, T, F> {
    /// θ after some steps on an objective, and the reports.
    fn steps(&self, h: &LeastSquares<T>, steps: usize) -> Result<(Vec<T>, Vec<StepReport<T>>)> {
        let (mut optimizer, mut theta) = ((self.make)()?, self.theta.clone());
        let step = |_| optimizer.step(self.ctx, h, &mut theta, &self.batch);
        let reports = (0..steps).map(step).collect::<Result<Vec<_>>>()?;
        Ok((theta, reports))
    }

    /// min h, from the normal equations in `f64`: W (X Xᵀ/N + ηI) = Y Xᵀ/N.
    fn minimum(&self) -> Result<f64> {
        let (ctx, h) = (Ctx::<f64>::reference(), LeastSquares::new(D_OUT, D_IN, T::of(L2).f64()));
        let (x, y): (Mat<f64>, Mat<f64>) = (self.batch.inputs().cast(), self.batch.targets().cast());
        let scale = 1.0 / CASES as f64;
        let (mut a, mut b) = (Mat::zeros(D_IN, D_IN), Mat::zeros(D_IN, D_OUT));
        ctx.syrk(scale, x.as_ref(), Op::Transpose, 0.0, a.as_mut())?;
        ctx.gemm(scale, x.as_ref(), Op::No, y.as_ref(), Op::Transpose, 0.0, b.as_mut())?;
        (0..D_IN).for_each(|i| a[(i, i)] += T::of(L2).f64());
        Cholesky::new(&ctx, a)?.solve_in_place(&ctx, b.as_mut())?;
        h.loss(&ctx, b.transposed().as_slice(), &Regression::new(x, y)?)
    }

    fn descent(&self, r: &mut Recorder, goal: Goal) {
        let (ctx, place) = (self.ctx, &self.place);
        r.law("descends on a quadratic", format!("{place}, {} steps", goal.steps), || {
            let (h, minimum) = (sound(), self.minimum()?);
            let above = |theta: &[T]| h.loss(ctx, theta, &self.batch).map(|loss| loss.f64() - minimum);
            let (theta, _) = self.steps(&h, goal.steps)?;
            Ok(Measure { value: above(&theta)? / above(&self.theta)?, limit: goal.share })
        });
        r.law("moves nothing where the gradient is zero", place, || {
            // θ = 0, Y = 0: the residual and the gradient are exact zeros
            let zeros = vec![T::ZERO; self.theta.len()];
            let batch = Regression::new(self.batch.inputs().clone(), Mat::zeros(D_OUT, CASES))?;
            let (mut optimizer, mut theta) = ((self.make)()?, zeros.clone());
            for _ in 0..3 {
                optimizer.step(ctx, &sound(), &mut theta, &batch)?;
            }
            Ok(Measure::count(differing(&column(&theta), &column(&zeros))))
        });
        r.law("repeats bit for bit", place, || {
            let ((first, reports), (again, others)) = (self.steps(&sound(), 5)?, self.steps(&sound(), 5)?);
            let changed = Measure::count(differing(&column(&first), &column(&again)));
            Ok(changed.worse(Measure::holds(reports == others)))
        });
    }

    fn failures(&self, r: &mut Recorder) {
        let (ctx, place) = (self.ctx, &self.place);
        r.law("leaves theta where it rejects", place, || {
            let cliff = sound().with_fault(Fault::Cliff(self.theta.clone()));
            let (mut optimizer, mut theta, mut moved) = ((self.make)()?, self.theta.clone(), 0);
            for _ in 0..4 {
                let before = column(&theta);
                if optimizer.step(ctx, &cliff, &mut theta, &self.batch)?.rejected {
                    moved += differing(&column(&theta), &before);
                }
            }
            Ok(Measure::count(moved))
        });
        for (law, fault) in [
            ("a loss that is not finite is a typed error", Fault::Loss),
            ("a gradient that is not finite is a typed error", Fault::Gradient),
        ] {
            r.law(law, place, || {
                let (mut optimizer, mut theta) = ((self.make)()?, self.theta.clone());
                let outcome = optimizer.step(ctx, &sound().with_fault(fault), &mut theta, &self.batch);
                let typed = Measure::holds(matches!(outcome, Err(Error::NotFinite { .. })));
                Ok(typed.worse(Measure::count(differing(&column(&theta), &column(&self.theta)))))
            });
        }
        r.holds("refuses theta of another length", place, || {
            let refused = |len: usize| -> Result<bool> {
                let mut theta = vec![T::ZERO; len];
                let outcome = (self.make)()?.step(ctx, &sound(), &mut theta, &self.batch);
                Ok(matches!(outcome, Err(Error::Shape { .. })))
            };
            Ok(refused(self.theta.len() + 1)? && refused(self.theta.len() - 1)? && refused(0)?)
        });
    }

    /// Runs some steps, measuring each against the θ before and after it.
    fn each_step(
        &self,
        measure: impl Fn(&StepReport<T>, &LeastSquares<T>, [&[T]; 2]) -> Result<Measure>,
    ) -> Result<Measure> {
        let (h, mut optimizer, mut theta) = (sound(), (self.make)()?, self.theta.clone());
        let mut worst = Measure::holds(true);
        for _ in 0..6 {
            let before = theta.clone();
            h.take_passes();
            let report = optimizer.step(self.ctx, &h, &mut theta, &self.batch)?;
            worst = worst.worse(measure(&report, &h, [&before, &theta])?);
        }
        Ok(worst)
    }

    fn reports(&self, r: &mut Recorder) {
        let place = &self.place;
        let near = |h: &LeastSquares<T>, theta: &[T], said: T| -> Result<Measure> {
            let loss = h.loss(self.ctx, theta, &self.batch)?.f64();
            Ok(Measure::ratio((said.f64() - loss).abs(), tolerance::<T>(D_IN + CASES, 1.0) * loss.abs()))
        };
        r.law("reports the loss before", place, || {
            self.each_step(|report, h, [before, _]| near(h, before, report.loss_before))
        });
        r.law("reports the loss after", place, || {
            self.each_step(|report, h, [_, after]| match report.loss_after {
                // the loss of a rejected step is that of a θ which was left again
                Some(loss) if !report.rejected => near(h, after, loss),
                _ => Ok(Measure::holds(true)),
            })
        });
        r.law("counts its passes", place, || {
            self.each_step(|report, h, _| Ok(Measure::holds(report.passes == h.take_passes())))
        });
    }
}
