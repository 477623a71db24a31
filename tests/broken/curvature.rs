//! Faulty curvatures: damping added twice, an inverse with a stale λ, a form off by a factor, and the rest.

use std::sync::Mutex;

use super::*;
use pullback::curvature::{Definiteness, Fidelity, SolveReport};
use pullback::factor::Cholesky;
use pullback::testing::{Claim, curvature};
use pullback::{Curvature, DampedSolver, Damping, LinearOperator, MatRef, Op, Preconditioner, SelfAdjoint};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    HalfForm,
    ClaimsSemidefinite,
    FormOfAnyShape,
    RefusesSmallDamping,
    KeepsTheDamping,
    DampsTwice,
    StaleDamping,
    MisstatesDamping,
    MisstatesFidelity,
    IteratesInSecret,
    DampsWithJitter,
    SolvesWithJitter,
    ReadsX,
    SpoilsPadding,
    FavoursAColumn,
    NoShapeCheck,
    RefusesNoColumn,
    LeaksScratch,
    HalvesTheSolution,
    AppliesAnotherMap,
}

struct Faulty {
    a: Mat<f64>,
    fault: Fault,
    calls: Calls,
    /// The first λ, and the λ's added so far: what a sound curvature does not keep.
    first: Mutex<Option<Damping<f64>>>,
    kept: Mutex<f64>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let a = if fault == Fault::ClaimsSemidefinite { indefinite() } else { spd() };
        Self { a, fault, calls: Calls::default(), first: Mutex::new(None), kept: Mutex::new(0.0) }
    }
}

fn indefinite() -> Mat<f64> {
    gallery::with_spectrum(&[-1.0, 1.0, 2.0, -3.0, 0.5, 0.1], 5)
}

impl LinearOperator<f64> for Faulty {
    fn shape(&self) -> (usize, usize) {
        self.a.shape()
    }

    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, mut y: MatMut<'_, f64>) -> Result<()> {
        ctx.gemm(1.0, self.a.as_ref(), Op::No, x, Op::No, 0.0, y.rb_mut())?;
        let kept = *self.kept.lock().unwrap();
        if kept > 0.0 {
            y.cols_mut().zip(x.cols()).for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += kept * x));
        }
        Ok(())
    }
}

impl SelfAdjoint<f64> for Faulty {}

impl Curvature<f64> for Faulty {
    type Solver = FaultySolver;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    fn damped(&self, ctx: &Ctx<f64>, lambda: Damping<f64>) -> Result<FaultySolver> {
        let first = *self.first.lock().unwrap().get_or_insert(lambda);
        let shift = match self.fault {
            Fault::DampsTwice => 2.0 * lambda.get(),
            Fault::StaleDamping => first.get(),
            Fault::DampsWithJitter => lambda.get() * (1.0 + 4.0 * (self.calls.jitter() - 1.0)),
            Fault::RefusesSmallDamping if lambda.get() < 0.1 => return Err(refusal()),
            _ => lambda.get(),
        };
        if self.fault == Fault::KeepsTheDamping {
            *self.kept.lock().unwrap() += lambda.get();
        }
        let mut m = self.a.clone();
        (0..N).for_each(|i| m[(i, i)] += shift);
        Ok(FaultySolver { factor: Cholesky::new(ctx, m)?, lambda, fault: self.fault, calls: Calls::default() })
    }

    fn quadratic_form(&self, ctx: &Ctx<f64>, v: MatRef<'_, f64>, out: &mut [f64]) -> Result<()> {
        if self.fault == Fault::FormOfAnyShape && (v.nrows() != N || out.len() != v.ncols()) {
            return Ok(());
        }
        pullback::error::check_len("quadratic_form", v.ncols(), out.len())?;
        let mut cv = Mat::zeros(v.nrows(), v.ncols());
        self.apply(ctx, v, cv.as_mut())?;
        let factor = if self.fault == Fault::HalfForm { 0.5 } else { 1.0 };
        for (k, out) in out.iter_mut().enumerate() {
            *out = factor * v.col(k).iter().zip(cv.as_ref().col(k)).map(|(v, cv)| v * cv).sum::<f64>();
        }
        Ok(())
    }
}

struct FaultySolver {
    factor: Cholesky<f64>,
    lambda: Damping<f64>,
    fault: Fault,
    calls: Calls,
}

impl LinearOperator<f64> for FaultySolver {
    fn shape(&self) -> (usize, usize) {
        (N, N)
    }

    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, mut y: MatMut<'_, f64>) -> Result<()> {
        y.copy_from(x)?;
        self.factor.solve_in_place(ctx, y.rb_mut())?;
        if self.fault == Fault::AppliesAnotherMap {
            scale(y, 1.0 + 4.0 * f64::EPSILON);
        }
        Ok(())
    }
}

impl SelfAdjoint<f64> for FaultySolver {}
impl Preconditioner<f64> for FaultySolver {}

impl DampedSolver<f64> for FaultySolver {
    fn dim(&self) -> usize {
        N
    }

    fn damping(&self) -> Damping<f64> {
        match self.fault {
            Fault::MisstatesDamping => Damping::new(2.0 * self.lambda.get()).unwrap(),
            _ => self.lambda,
        }
    }

    fn fidelity(&self) -> Fidelity {
        match self.fault {
            Fault::MisstatesFidelity => Fidelity::Factored,
            Fault::IteratesInSecret => Fidelity::Iterative,
            _ => Fidelity::Exact,
        }
    }

    fn solve_into(&self, ctx: &Ctx<f64>, b: MatRef<'_, f64>, mut x: MatMut<'_, f64>) -> Result<SolveReport> {
        let old = x.rb().to_owned();
        x.copy_from(b)?;
        self.factor.solve_in_place(ctx, x.rb_mut())?;
        match self.fault {
            Fault::SolvesWithJitter => scale(x, self.calls.jitter()),
            Fault::ReadsX => {
                x.cols_mut().zip(old.as_ref().cols()).for_each(|(x, o)| x.iter_mut().zip(o).for_each(|(x, o)| *x += o));
            }
            Fault::SpoilsPadding => spoil_padding(x),
            Fault::FavoursAColumn => favour_a_column(x),
            Fault::RefusesNoColumn if b.ncols() == 0 => return Err(refusal()),
            Fault::LeaksScratch => leak(ctx)?,
            Fault::HalvesTheSolution => scale(x, 0.5),
            _ => {}
        }
        Ok(SolveReport::Direct)
    }

    fn solve(&self, ctx: &Ctx<f64>, b: MatRef<'_, f64>, x: MatMut<'_, f64>) -> Result<SolveReport> {
        if self.fault == Fault::NoShapeCheck && (b.nrows() != N || x.shape() != b.shape()) {
            return Ok(SolveReport::Direct);
        }
        pullback::error::check_shape("solve: B", (N, b.ncols()), b.shape())?;
        pullback::error::check_shape("solve: X", b.shape(), x.shape())?;
        self.solve_into(ctx, b, x)
    }
}

fn report(fault: Fault) -> Report {
    let matrix = if fault == Fault::ClaimsSemidefinite { indefinite() } else { spd() };
    curvature::check_direct(&setup(), &Claim::exact("faulty", matrix), |_| Ok(Faulty::new(fault)))
}

pub fn sound() -> Report {
    report(Fault::None)
}

pub fn all() -> Vec<Broken> {
    let faulty =
        |name, fault, laws: &[&'static str]| Broken { name, report: report(fault), breaks: of("curvature", laws) };
    let unbuilt = curvature::check_direct::<f64, Faulty>(&setup(), &Claim::unknown("unbuilt"), |_| Err(refusal()));
    vec![
        Broken { name: "no curvature at all", report: unbuilt, breaks: of("curvature", &["builds"]) },
        faulty("half the form", Fault::HalfForm, &["has the quadratic form of its product"]),
        faulty("indefinite", Fault::ClaimsSemidefinite, &["is semidefinite where it says so"]),
        faulty("forms of any shape", Fault::FormOfAnyShape, &["refuses wrong shapes in quadratic_form"]),
        faulty("refuses a small damping", Fault::RefusesSmallDamping, &["damps"]),
        faulty("damping stays inside", Fault::KeepsTheDamping, &["is not changed by damping"]),
        faulty("damping added twice", Fault::DampsTwice, &["solves its system"]),
        faulty("stale lambda", Fault::StaleDamping, &["solves its system", "shrinks as the damping grows"]),
        faulty("another lambda stated", Fault::MisstatesDamping, &["states order, damping and fidelity"]),
        faulty("another fidelity stated", Fault::MisstatesFidelity, &["states order, damping and fidelity"]),
        faulty("iterative in secret", Fault::IteratesInSecret, &["reports as its fidelity says"]),
        faulty("never damped alike", Fault::DampsWithJitter, &["damps repeatably"]),
        faulty("never solved alike", Fault::SolvesWithJitter, &["solves repeatably"]),
        faulty("adds to X", Fault::ReadsX, &["solve reads no old contents"]),
        faulty("writes the padding", Fault::SpoilsPadding, &["solve keeps to padded views"]),
        faulty("one column scaled", Fault::FavoursAColumn, &["solves a block column by column"]),
        faulty("accepts every shape", Fault::NoShapeCheck, &["solve refuses wrong shapes"]),
        faulty("refuses an empty block", Fault::RefusesNoColumn, &["solves no right-hand side"]),
        faulty("keeps its scratch", Fault::LeaksScratch, &["solve returns its scratch"]),
        faulty("half the solution", Fault::HalvesTheSolution, &["tends to b over lambda"]),
        faulty("apply is not solve", Fault::AppliesAnotherMap, &["solve, apply and precondition are one map"]),
    ]
}
