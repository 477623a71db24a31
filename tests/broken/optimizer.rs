//! Gradient descent that takes a step back when the loss rose, with faults: above all one that moves θ all the same.

use super::*;
use pullback::optim::{Objective, Optimizer, Passes, StepReport};
use pullback::testing::optimizer::{Goal, check};
use pullback::testing::{LeastSquares, Regression};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    StandsStill,
    DriftsAtRest,
    MovesOnRejection,
    AcceptsAnyLoss,
    AcceptsAnyGradient,
    AcceptsAnyLength,
    Jitters,
    LossOfAnotherTheta,
    LossAfterIsLossBefore,
    CountsNoForward,
}

struct Descent {
    fault: Fault,
    calls: Arc<Calls>,
}

impl Optimizer<f64, LeastSquares<f64>> for Descent {
    fn step(
        &mut self,
        ctx: &Ctx<f64>,
        h: &LeastSquares<f64>,
        theta: &mut [f64],
        batch: &Regression<f64>,
    ) -> Result<StepReport<f64>> {
        const RATE: f64 = 0.3;
        let n = h.layout().len();
        if self.fault == Fault::AcceptsAnyLength && theta.len() != n {
            return Ok(StepReport::default());
        }
        pullback::error::check_len("theta", n, theta.len())?;
        let mut gradient = vec![0.0; n];
        let loss = h.loss_grad(ctx, theta, batch, &mut gradient)?;
        if !loss.is_finite() && self.fault != Fault::AcceptsAnyLoss {
            return Err(Error::not_finite("loss"));
        }
        if self.fault != Fault::AcceptsAnyGradient {
            pullback::backend::check::finite_slice("gradient", &gradient)?;
        }
        let start = theta.to_vec();
        let rate = match self.fault {
            Fault::StandsStill => 0.0,
            Fault::Jitters => RATE * self.calls.jitter(),
            _ => RATE,
        };
        let drift = if self.fault == Fault::DriftsAtRest { 1e-3 } else { 0.0 };
        theta.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= rate * g + drift);
        let after = h.loss(ctx, theta, batch)?;
        let rejected = after > loss && self.fault != Fault::DriftsAtRest;
        if rejected && self.fault != Fault::MovesOnRejection {
            theta.copy_from_slice(&start);
        }
        Ok(StepReport {
            loss_before: if self.fault == Fault::LossOfAnotherTheta { after } else { loss },
            loss_after: Some(if self.fault == Fault::LossAfterIsLossBefore { loss } else { after }),
            rejected,
            passes: Passes {
                forward: if self.fault == Fault::CountsNoForward { 0 } else { 2 },
                backward: 1,
                ..Passes::default()
            },
            ..StepReport::default()
        })
    }
}

fn report(fault: Fault) -> Report {
    let calls = Arc::new(Calls::default());
    check(&setup(), "faulty", Goal { steps: 50, share: 0.1 }, || Ok(Descent { fault, calls: Arc::clone(&calls) }))
}

pub fn sound() -> Report {
    report(Fault::None)
}

pub fn all() -> Vec<Broken> {
    let faulty = |name, fault, law| Broken { name, report: report(fault), breaks: of("optimizer", &[law]) };
    let unbuilt = check::<f64, Descent>(&setup(), "unbuilt", Goal::default(), || Err(refusal()));
    vec![
        Broken { name: "no optimizer at all", report: unbuilt, breaks: of("optimizer", &["builds"]) },
        faulty("stands still", Fault::StandsStill, "descends on a quadratic"),
        faulty("drifts at rest", Fault::DriftsAtRest, "moves nothing where the gradient is zero"),
        faulty("moves on a rejected step", Fault::MovesOnRejection, "leaves theta where it rejects"),
        faulty("takes any loss", Fault::AcceptsAnyLoss, "a loss that is not finite is a typed error"),
        faulty("takes any gradient", Fault::AcceptsAnyGradient, "a gradient that is not finite is a typed error"),
        faulty("takes any length", Fault::AcceptsAnyLength, "refuses theta of another length"),
        faulty("last bit changes", Fault::Jitters, "repeats bit for bit"),
        faulty("loss of another theta", Fault::LossOfAnotherTheta, "reports the loss before"),
        faulty("loss that never falls", Fault::LossAfterIsLossBefore, "reports the loss after"),
        faulty("counts no forward pass", Fault::CountsNoForward, "counts its passes"),
    ]
}
