//! All contenders on one network, in slices of time.

use std::time::Instant;

use pullback::nn::data::{Minibatches, Partial};
use pullback::nn::{Batch, Mlp, Workspace};
use pullback::optim::{
    Kfac, KfacOptions, KfacPlan, LayeredObjective, Objective, Optimizer, OverheadBudget, OverheadReport,
};
use pullback::{Ctx, Result};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::networks::{DAMPING, Network};

pub const BUDGETS: [f64; 4] = [1.2, 1.5, 2.0, 4.0];

/// Batches an update, updates between statistics, updates between refreshes.
const GRID: [(u64, u64, u64); 7] = [(1, 1, 1), (1, 1, 5), (1, 5, 20), (3, 1, 5), (4, 5, 20), (8, 2, 5), (16, 5, 20)];

/// Turns that each contender gets.
const SLICES: u32 = 40;

/// What one contender did with one seed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub network: String,
    pub batch: usize,
    pub threads: usize,
    pub backend: String,
    pub seed: u64,
    /// `sgd`, `budget` or `fixed`.
    pub kind: String,
    pub limit: Option<f64>,
    pub update_interval: Option<u64>,
    pub statistics_interval: Option<u64>,
    pub statistics_share: Option<usize>,
    pub refresh_interval: Option<u64>,
    pub path: String,
    /// Of the plan in force at the end.
    pub predicted: Option<f64>,
    /// By the optimizer itself.
    pub measured: Option<f64>,
    /// Against SGD in this contest.
    pub overhead: f64,
    pub batches: u64,
    pub seconds: f64,
    pub loss: f64,
}

enum Racer {
    Sgd(Box<Sgd>),
    Kfac(Box<Kfac<f32, Workspace<f32>>>),
}

/// Nesterov's momentum on passes that reuse their memory, as K-FAC's do.
struct Sgd {
    rate: f32,
    momentum: f32,
    workspace: Workspace<f32>,
    gradient: Vec<f32>,
    velocity: Vec<f32>,
}

impl Sgd {
    fn step(&mut self, ctx: &Ctx<f32>, net: &Mlp<f32>, theta: &mut [f32], batch: &Batch<f32>) -> Result<()> {
        net.forward(ctx, theta, batch, &mut self.workspace)?;
        net.backward(ctx, theta, batch, &mut self.workspace, &mut self.gradient)?;
        for ((w, v), &g) in theta.iter_mut().zip(&mut self.velocity).zip(&self.gradient) {
            *v = self.momentum * *v - self.rate * g;
            *w += self.momentum * *v - self.rate * g;
        }
        Ok(())
    }
}

struct Contender {
    limit: Option<f64>,
    fixed: Option<(u64, u64, u64)>,
    racer: Racer,
    theta: Vec<f32>,
    order: Minibatches,
    failed: bool,
    seconds: f64,
    batches: u64,
    /// Seconds and batches after a tenth of the whole.
    late: (f64, u64),
}

impl Contender {
    fn new(network: &Network, seed: u64, racer: Racer) -> Result<Self> {
        Ok(Self {
            limit: None,
            fixed: None,
            racer,
            theta: network.net.init(network.init, seed),
            order: Minibatches::new(network.train.len(), network.batch, seed, Partial::Drop)?,
            failed: false,
            seconds: 0.0,
            batches: 0,
            late: (0.0, 0),
        })
    }

    fn kfac(network: &Network, seed: u64, options: KfacOptions<f32>) -> Result<Self> {
        let options = KfacOptions { lambda: DAMPING, seed, ..options };
        Self::new(network, seed, Racer::Kfac(Box::new(Kfac::new(options)?)))
    }

    fn step(&mut self, ctx: &Ctx<f32>, net: &Mlp<f32>, batch: &Batch<f32>, whole: f64) {
        let start = Instant::now();
        let done = match &mut self.racer {
            Racer::Sgd(sgd) => sgd.step(ctx, net, &mut self.theta, batch),
            Racer::Kfac(kfac) => kfac.step(ctx, net, &mut self.theta, batch).map(|_| ()),
        };
        let seconds = start.elapsed().as_secs_f64();
        self.failed |= done.is_err();
        if self.seconds > 0.1 * whole {
            self.late.0 += seconds;
            self.late.1 += 1;
        }
        self.seconds += seconds;
        self.batches += 1;
    }

    fn mean_step(&self) -> f64 {
        self.late.0 / self.late.1 as f64
    }

    fn report(&self) -> Option<OverheadReport> {
        match &self.racer {
            Racer::Sgd(_) => None,
            Racer::Kfac(kfac) => kfac.overhead(),
        }
    }

    fn row(&self, ctx: &Ctx<f32>, network: &Network, seed: u64, sgd: f64) -> std::result::Result<Row, Failure> {
        let report = self.report();
        let plan = report.map(|r| r.plan);
        let intervals = plan.map(|p| (p.update_interval, p.statistics_interval, p.refresh_interval)).or(self.fixed);
        let kind = match (&self.racer, self.limit) {
            (Racer::Sgd(_), _) => "sgd",
            (_, Some(_)) => "budget",
            (_, None) => "fixed",
        };
        Ok(Row {
            network: network.name.name().into(),
            batch: network.batch,
            threads: ctx.threads(),
            backend: ctx.backend().name().into(),
            seed,
            kind: kind.into(),
            limit: self.limit,
            update_interval: intervals.map(|i| i.0),
            statistics_interval: intervals.map(|i| i.1),
            statistics_share: plan.map(|p: KfacPlan| p.statistics_share),
            refresh_interval: intervals.map(|i| i.2),
            path: plan.map_or(String::new(), |p| format!("{:?}", p.path).to_lowercase()),
            predicted: report.map(|r| r.predicted),
            measured: report.and_then(|r| r.measured),
            overhead: self.mean_step() / sgd,
            batches: self.batches,
            seconds: self.seconds,
            loss: if self.failed { f64::NAN } else { network.loss(ctx, &self.theta)? },
        })
    }
}

/// Trains all of them for the same seconds; a row each, SGD's first.
pub fn contest(ctx: &Ctx<f32>, network: &Network, seconds: f64, seed: u64) -> std::result::Result<Vec<Row>, Failure> {
    let zeros = vec![0.0; network.net.layout().len()];
    let (rate, momentum) = network.sgd;
    let sgd = Sgd { rate, momentum, workspace: network.net.workspace(), gradient: zeros.clone(), velocity: zeros };
    let mut contenders = vec![Contender::new(network, seed, Racer::Sgd(Box::new(sgd)))?];
    for limit in BUDGETS {
        let options = KfacOptions { budget: Some(OverheadBudget::seconds(limit)), ..KfacOptions::default() };
        contenders.push(Contender { limit: Some(limit), ..Contender::kfac(network, seed, options)? });
    }
    for fixed in GRID {
        let (update_interval, statistics_interval, refresh_interval) = fixed;
        let options = KfacOptions { update_interval, statistics_interval, refresh_interval, ..KfacOptions::default() };
        contenders.push(Contender { fixed: Some(fixed), ..Contender::kfac(network, seed, options)? });
    }
    let mut batch = network.first_case()?;
    for slice in 1..=SLICES {
        let until = seconds * f64::from(slice) / f64::from(SLICES);
        for contender in &mut contenders {
            while contender.seconds < until && !contender.failed {
                network.select(&mut batch, contender.order.next_batch())?;
                contender.step(ctx, &network.net, &batch, seconds);
            }
        }
    }
    let sgd = contenders[0].mean_step();
    contenders.iter().map(|contender| contender.row(ctx, network, seed, sgd)).collect()
}
