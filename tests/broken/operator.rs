//! Faulty operators.

use super::*;
use pullback::testing::{Claim, operator};
use pullback::{LinearOperator, MatRef, Op, SelfAdjoint};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    OffByOnePercent,
    Transposed,
    AddsAConstant,
    FavoursAColumn,
    AddsTwice,
    TransposedToDense,
    ReadsY,
    SpoilsPadding,
    NoShapeCheck,
    Jitters,
    SpreadsNan,
    RefusesNoColumn,
    LeaksScratch,
    SplitsWrongly,
}

struct Faulty {
    a: Mat<f64>,
    fault: Fault,
    calls: Calls,
}

impl Faulty {
    fn new(a: Mat<f64>, fault: Fault) -> Self {
        Self { a, fault, calls: Calls::default() }
    }
}

impl LinearOperator<f64> for Faulty {
    fn shape(&self) -> (usize, usize) {
        self.a.shape()
    }

    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, mut y: MatMut<'_, f64>) -> Result<()> {
        let op = if self.fault == Fault::Transposed { Op::Transpose } else { Op::No };
        let beta = if self.fault == Fault::ReadsY { 1.0 } else { 0.0 };
        ctx.gemm(1.0, self.a.as_ref(), op, x, Op::No, beta, y.rb_mut())?;
        match self.fault {
            Fault::OffByOnePercent => scale(y, 1.01),
            Fault::AddsAConstant => y.cols_mut().for_each(|y| y.iter_mut().for_each(|y| *y += 1.0)),
            Fault::FavoursAColumn => favour_a_column(y),
            Fault::SpoilsPadding => spoil_padding(y),
            Fault::Jitters => scale(y, self.calls.jitter()),
            Fault::SpreadsNan if !x.is_finite() => y.fill(f64::NAN),
            Fault::RefusesNoColumn if x.ncols() == 0 => return Err(refusal()),
            Fault::LeaksScratch => leak(ctx)?,
            Fault::SplitsWrongly if ctx.threads() > 1 => scale(y, 1.1),
            _ => {}
        }
        Ok(())
    }

    fn apply(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        if self.fault == Fault::NoShapeCheck
            && (x.nrows() != self.a.ncols() || y.shape() != (self.a.nrows(), x.ncols()))
        {
            return Ok(());
        }
        pullback::error::check_shape("apply: X", (self.a.ncols(), x.ncols()), x.shape())?;
        pullback::error::check_shape("apply: Y", (self.a.nrows(), x.ncols()), y.shape())?;
        self.apply_into(ctx, x, y)
    }

    fn apply_add(&self, ctx: &Ctx<f64>, alpha: f64, x: MatRef<'_, f64>, mut y: MatMut<'_, f64>) -> Result<()> {
        let alpha = if self.fault == Fault::AddsTwice { 2.0 * alpha } else { alpha };
        let mut ax = Mat::zeros(y.nrows(), y.ncols());
        self.apply(ctx, x, ax.as_mut())?;
        let columns = y.cols_mut().zip(ax.as_ref().cols());
        columns.for_each(|(y, ax)| y.iter_mut().zip(ax).for_each(|(y, ax)| *y += alpha * ax));
        Ok(())
    }

    fn to_dense(&self, _: &Ctx<f64>) -> Result<Mat<f64>> {
        Ok(if self.fault == Fault::TransposedToDense { self.a.transposed() } else { self.a.clone() })
    }
}

impl SelfAdjoint<f64> for Faulty {}

fn unsymmetric() -> Mat<f64> {
    gallery::uniform(N, N, 4)
}

fn report(fault: Fault) -> Report {
    operator::check(&setup(), &Claim::exact("faulty", unsymmetric()), |_| Ok(Faulty::new(unsymmetric(), fault)))
}

/// An operator that promises symmetry, and is not symmetric.
pub fn asymmetric(seed: u64) -> Report {
    let claim = Claim::exact("asymmetric", unsymmetric());
    operator::check_self_adjoint(&setup().seeded(seed), &claim, |_| Ok(Faulty::new(unsymmetric(), Fault::None)))
}

pub fn sound() -> Report {
    operator::check_self_adjoint(&setup(), &Claim::exact("sound", spd()), |_| Ok(Faulty::new(spd(), Fault::None)))
}

pub fn all() -> Vec<Broken> {
    let faulty =
        |name, fault, laws: &[&'static str]| Broken { name, report: report(fault), breaks: of("operator", laws) };
    let unbuilt = operator::check::<f64, Faulty>(&setup(), &Claim::unknown("unbuilt"), |_| Err(refusal()));
    let wider = Claim::exact("wider than claimed", Mat::zeros(N, N + 1));
    let wider = operator::check(&setup(), &wider, |_| Ok(Faulty::new(unsymmetric(), Fault::None)));
    vec![
        Broken { name: "no operator at all", report: unbuilt, breaks: of("operator", &["builds"]) },
        Broken { name: "another shape", report: wider, breaks: of("operator", &["has the claimed shape"]) },
        Broken { name: "asymmetric apply", report: asymmetric(1), breaks: of("operator", &["is self-adjoint"]) },
        faulty("one percent too large", Fault::OffByOnePercent, &["equals the claimed matrix"]),
        faulty("wrong transpose", Fault::Transposed, &["equals the claimed matrix", "has its matrix in to_dense"]),
        faulty("affine", Fault::AddsAConstant, &["is linear"]),
        faulty("one column scaled", Fault::FavoursAColumn, &["applies a block column by column"]),
        faulty("adds twice", Fault::AddsTwice, &["adds in apply_add"]),
        faulty("transposed dense copy", Fault::TransposedToDense, &["has its matrix in to_dense"]),
        faulty("beta 1", Fault::ReadsY, &["reads no old contents"]),
        faulty("writes the padding", Fault::SpoilsPadding, &["keeps to padded views"]),
        faulty("accepts every shape", Fault::NoShapeCheck, &["refuses wrong shapes"]),
        faulty("last bit changes", Fault::Jitters, &["repeats bit for bit"]),
        faulty("NaN everywhere", Fault::SpreadsNan, &["keeps a NaN in its column"]),
        faulty("refuses an empty block", Fault::RefusesNoColumn, &["serves no right-hand side"]),
        faulty("keeps its scratch", Fault::LeaksScratch, &["returns its scratch"]),
        faulty("wrong on two threads", Fault::SplitsWrongly, &["agrees on two threads"]),
    ]
}
