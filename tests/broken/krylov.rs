//! Conjugate gradient with faults: above all one that says "converged" with a large residual.

use super::*;
use pullback::curvature::Diagonal;
use pullback::krylov::{CgOptions, CgStart, CgStop, pcg};
use pullback::testing::krylov::{Domain, Outcome, check};
use pullback::{Curvature, Damping, Preconditioner};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    GivesUpAtOnce,
    BoastsOfItsResidual,
    AlwaysConverges,
    UnrelatedPreconditioner,
    AddsToTheStart,
    AbsoluteTolerance,
    NonzeroForZero,
    BreakdownIsAnError,
    Jitters,
    SpoilsPadding,
    FavoursAColumn,
    AcceptsEveryShape,
    RefusesEmptiness,
}

fn report(fault: Fault) -> Report {
    let calls = Calls::default();
    check::<f64>(&setup(), "faulty", Domain::PositiveDefinite, |ctx, a, b, mut x, tolerance| {
        if fault == Fault::AcceptsEveryShape && (b.nrows() != a.dim() || x.shape() != b.shape()) {
            return Ok(Outcome { converged: false, relative_residual: 1.0, iterations: 0 });
        }
        if fault == Fault::RefusesEmptiness && a.dim() * b.ncols() == 0 {
            return Err(refusal());
        }
        let unrelated = Diagonal::new((0..a.dim()).map(|i| 1.0 + 50.0 * (i % 9) as f64).collect())?;
        let unrelated = unrelated.damped(ctx, Damping::try_from(1.0)?)?;
        let m_inv = (fault == Fault::UnrelatedPreconditioner).then_some(&unrelated as &dyn Preconditioner<f64>);
        let options = CgOptions {
            relative_tolerance: tolerance,
            absolute_tolerance: if fault == Fault::AbsoluteTolerance { 1e-3 } else { 0.0 },
            max_iterations: match fault {
                Fault::GivesUpAtOnce => 0,
                Fault::AlwaysConverges => 1,
                _ => 1000,
            },
            start: if fault == Fault::AddsToTheStart { CgStart::Zero } else { CgStart::Given },
            ..CgOptions::default()
        };
        let start = x.rb().to_owned();
        let report = pcg(ctx, a, m_inv, b, x.rb_mut(), &options)?;
        let mut outcome = Outcome {
            converged: report.stop() == CgStop::Converged,
            relative_residual: report.relative_residual(),
            iterations: report.iterations(),
        };
        match fault {
            Fault::BoastsOfItsResidual => outcome.relative_residual *= 0.1,
            Fault::AlwaysConverges => outcome.converged = true,
            Fault::AddsToTheStart => x
                .cols_mut()
                .zip(start.as_ref().cols())
                .for_each(|(x, s)| x.iter_mut().zip(s).for_each(|(x, s)| *x += s)),
            Fault::NonzeroForZero => x.cols_mut().for_each(|x| x.iter_mut().for_each(|x| *x += 1e-30)),
            Fault::BreakdownIsAnError if report.stop() == CgStop::Breakdown => return Err(refusal()),
            Fault::Jitters => scale(x, calls.jitter()),
            Fault::SpoilsPadding => spoil_padding(x),
            Fault::FavoursAColumn => favour_a_column(x),
            _ => {}
        }
        Ok(outcome)
    })
}

pub fn sound() -> Report {
    report(Fault::None)
}

pub fn all() -> Vec<Broken> {
    let faulty = |name, fault, law| Broken { name, report: report(fault), breaks: of("krylov", &[law]) };
    vec![
        faulty("no iteration", Fault::GivesUpAtOnce, "converges"),
        faulty("a tenth of the residual", Fault::BoastsOfItsResidual, "reports the true residual"),
        faulty("converged after one step", Fault::AlwaysConverges, "converged means a small residual"),
        faulty("unrelated metric", Fault::UnrelatedPreconditioner, "terminates with the distinct eigenvalues"),
        faulty("start stays in X", Fault::AddsToTheStart, "does not depend on the start"),
        faulty("absolute tolerance", Fault::AbsoluteTolerance, "scales with b"),
        faulty("a little beside zero", Fault::NonzeroForZero, "a zero right-hand side gives zero"),
        faulty("breakdown as an error", Fault::BreakdownIsAnError, "a breakdown is a value"),
        faulty("last bit changes", Fault::Jitters, "repeats bit for bit"),
        faulty("writes the padding", Fault::SpoilsPadding, "keeps to padded views"),
        faulty("one column scaled", Fault::FavoursAColumn, "solves a block column by column"),
        faulty("accepts every shape", Fault::AcceptsEveryShape, "refuses wrong shapes"),
        faulty("refuses emptiness", Fault::RefusesEmptiness, "serves zero sizes"),
    ]
}
