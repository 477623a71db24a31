//! The passes and the optimizer on a 10-20-1 network of 32 cases.

use pullback::Ctx;
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Activation, Batch, Init, Mlp, Workspace};
use pullback::optim::{FisherKind, Kfac, KfacOptions, LayeredObjective, Objective, Optimizer, Rejection, StepRule};
use pullback::testing::gallery;

use crate::Work;
use crate::support::Nothing;

type Named = (&'static str, Box<dyn Fn() -> Work>);

const CASES: usize = 32;

struct Problem {
    ctx: Ctx<f64>,
    net: Mlp<f64>,
    batch: Batch<f64>,
    theta: Vec<f64>,
}

fn problem(ctx: Ctx<f64>) -> Problem {
    let net = Mlp::builder(10).layer(20, Activation::Tanh).layer(1, Activation::Identity).build().expect("a network");
    let (x, t) = (gallery::uniform(10, CASES, 1), gallery::uniform(1, CASES, 2));
    let theta = net.init(Init::GlorotUniform, 3);
    Problem { ctx, batch: Batch::new(x.as_ref(), t.as_ref()).expect("cases"), net, theta }
}

/// All of them on one backend.
pub fn kernels(ctx: &Ctx<f64>) -> Vec<Named> {
    let make = |name: &'static str, f: fn(Problem) -> Work| -> Named {
        let ctx = ctx.clone();
        (name, Box::new(move || f(problem(ctx.clone()))))
    };
    vec![
        make("mlp_gradient_10_20_1", |p| {
            let mut gradient = vec![0.0; p.theta.len()];
            Box::new(move || p.net.loss_grad(&p.ctx, &p.theta, &p.batch, &mut gradient).map(drop))
        }),
        make("gauss_newton_10_20_1", |p| {
            let mut workspace: Workspace<f64> = p.net.workspace();
            p.net.forward(&p.ctx, &p.theta, &p.batch, &mut workspace).expect("finite");
            let mut out = vec![0.0; p.theta.len()];
            Box::new(move || p.net.ggn_product(&p.ctx, &p.theta, &p.batch, &workspace, &p.theta, &mut out))
        }),
        make("capture_10_20_1", |p| {
            let mut workspace: Workspace<f64> = p.net.workspace();
            p.net.forward(&p.ctx, &p.theta, &p.batch, &mut workspace).expect("finite");
            let kind = FisherKind::MonteCarlo;
            Box::new(move || p.net.capture(&p.ctx, &p.theta, &p.batch, &mut workspace, kind, CASES, 1, &mut Nothing))
        }),
        make("kfac_step_10_20_1", |p| kfac(p, 1_000_000, false)),
        make("kfac_step_refresh_10_20_1", |p| kfac(p, 1, false)),
        make("kfac_step_adaptive_10_20_1", |p| kfac(p, 1_000_000, true)),
    ]
}

/// One step after three: with a refresh or without, with a fixed learning rate or the quadratic model.
fn kfac(p: Problem, refresh_interval: u64, adaptive: bool) -> Work {
    let fixed = StepRule::Fixed { learning_rate: 1e-3, momentum: 0.9, norm_constraint: None };
    let options = KfacOptions {
        damping: KroneckerDamping::Factored { pi: PiRule::Trace },
        adaptation: None,
        rejection: Rejection::Never,
        step: if adaptive { StepRule::QuadraticModel { momentum: true } } else { fixed },
        refresh_interval,
        ..KfacOptions::default()
    };
    let mut optimizer: Kfac<f64, Workspace<f64>> = Kfac::new(options).expect("options");
    let Problem { ctx, net, batch, mut theta } = p;
    for _ in 0..3 {
        optimizer.step(&ctx, &net, &mut theta, &batch).expect("a step");
    }
    Box::new(move || optimizer.step(&ctx, &net, &mut theta, &batch).map(drop))
}
