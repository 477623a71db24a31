//! The numbers of the figure: a network fitted to two clusters, and proximal updates on one example of a batch of one.
//!
//! ```text
//! w(λ) = argmin ½ (f(x*, w) - t*)² + λ_F ½ E_data (f(x, w) - f(x, w₀))² + λ_W/2 ‖w - w₀‖²        (chapter Eq 10)
//! ```
//! for λ_W = λ alone, λ_F = λ alone, and both. The expectation is the mean over the training data.

use pullback::nn::{Activation, Batch, Init, Mlp};
use pullback::optim::{InnerMinimizer, Optimizer, OutputDistance, Proximal, ProximalOptions};
use pullback::random::Draws;
use pullback::{Ctx, Mat, Result};

/// Cases of each of the clusters [-2, -1] and [1, 2].
const CLUSTER: usize = 15;
/// Standard deviation of the targets around the curve.
const NOISE: f64 = 0.03;
/// Half the length of the axis.
pub const EDGE: f64 = 2.6;
/// The example of the batch: within the right cluster.
const EXAMPLE: f64 = 1.5;
/// Its target lies so far above the current prediction.
pub const SURPRISE: f64 = 1.0;

/// Which proximities there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proximity {
    Weights,
    Functions,
    Both,
}

impl Proximity {
    pub const ALL: [Proximity; 3] = [Proximity::Weights, Proximity::Functions, Proximity::Both];

    /// (λ_W, λ_F) of one weight. What is compared are updates that move the example alike; a squared distance of weights
    /// is larger than the squared distance of outputs that it makes, hence the ratio of both.
    fn weights(self, lambda: f64) -> (f64, f64) {
        match self {
            Proximity::Weights => (lambda, 0.0),
            Proximity::Functions => (0.0, lambda),
            Proximity::Both => (0.01 * lambda, lambda),
        }
    }

    /// From large to small.
    pub fn lambdas(self, count: usize) -> Vec<f64> {
        let (first, last) = match self {
            Proximity::Weights => (100.0, 0.1),
            Proximity::Functions => (300.0, 0.3),
            Proximity::Both => (100.0, 0.1),
        };
        let share = |i: usize| i as f64 / count.max(2).saturating_sub(1) as f64;
        (0..count).map(|i| first * f64::powf(last / first, share(i))).collect()
    }
}

/// A function on the grid, after the update of one weight.
#[derive(Debug, Clone)]
pub struct Curve {
    pub lambda: f64,
    pub values: Vec<f64>,
    /// At the training inputs.
    pub at_data: Vec<f64>,
    /// At the example.
    pub at_example: f64,
}

/// The current model, its data, and the example.
pub struct Figure {
    ctx: Ctx<f64>,
    net: Mlp<f64>,
    theta: Vec<f64>,
    data: Batch<f64>,
    pub xs: Vec<f64>,
    pub ts: Vec<f64>,
    pub grid: Vec<f64>,
    pub current: Curve,
    pub example: (f64, f64),
    iterations: usize,
}

fn row(x: &[f64]) -> Mat<f64> {
    Mat::from_fn(1, x.len(), |_, j| x[j])
}

impl Figure {
    /// Fits the network to data of that seed, with so many iterations at most; later updates have as many.
    pub fn new(seed: u64, points: usize, iterations: usize) -> Result<Self> {
        let ctx = Ctx::reference(); // small, and the same digits in every build
        let hidden = 12;
        let net = Mlp::builder(1)
            .layer(hidden, Activation::Tanh)
            .layer(hidden, Activation::Tanh)
            .layer(1, Activation::Identity)
            .build()?;
        let mut draws = Draws::new(seed, 0);
        let mut xs: Vec<f64> = (0..2 * CLUSTER).map(|i| 1.0 + (i / 2) as f64 / (CLUSTER - 1) as f64).collect();
        xs.iter_mut().step_by(2).for_each(|x| *x = -*x);
        xs.sort_by(f64::total_cmp);
        let ts: Vec<f64> = xs.iter().map(|x| 0.6 * (1.5 * x).sin() + NOISE * draws.normal()).collect();
        let data = net.batch(row(&xs).as_ref(), row(&ts).as_ref())?;
        let mut theta = net.init(Init::GlorotUniform, seed);
        // a little weight-space proximity to where it starts, then none: the plain fit
        for weight_space in [1e-3, 1e-4] {
            let inner = InnerMinimizer::Bfgs { max_iterations: iterations, tolerance: 1e-6 };
            let options = ProximalOptions { weight_space, inner, ..ProximalOptions::default() };
            Proximal::new(options)?.step(&ctx, &net, &mut theta, &data)?;
        }
        let grid: Vec<f64> = (0..points).map(|i| EDGE * (2.0 * i as f64 / (points - 1) as f64 - 1.0)).collect();
        let current = Curve { lambda: f64::INFINITY, values: Vec::new(), at_data: Vec::new(), at_example: 0.0 };
        let mut figure = Self { ctx, net, theta, data, xs, ts, grid, current, example: (EXAMPLE, 0.0), iterations };
        figure.current = figure.curve(f64::INFINITY, &figure.theta)?;
        figure.example.1 = figure.current.at_example + SURPRISE;
        Ok(figure)
    }

    fn predict(&self, theta: &[f64], x: &[f64]) -> Result<Vec<f64>> {
        let x = row(x);
        let batch = Batch::new(x.as_ref(), x.as_ref())?;
        Ok(self.net.predict(&self.ctx, theta, &batch)?.into_vec())
    }

    fn curve(&self, lambda: f64, theta: &[f64]) -> Result<Curve> {
        let (values, at_data) = (self.predict(theta, &self.grid)?, self.predict(theta, &self.xs)?);
        Ok(Curve { lambda, values, at_data, at_example: self.predict(theta, &[self.example.0])?[0] })
    }

    /// The update of each weight, from large to small.
    pub fn curves(&self, proximity: Proximity, lambdas: &[f64]) -> Result<Vec<Curve>> {
        let batch = self.net.batch(row(&[self.example.0]).as_ref(), row(&[self.example.1]).as_ref())?;
        let update = |&lambda: &f64| {
            let (weight_space, function_space) = proximity.weights(lambda);
            let inner = InnerMinimizer::Bfgs { max_iterations: self.iterations, tolerance: 1e-6 };
            let distance = OutputDistance::Squared;
            let options = ProximalOptions { weight_space, function_space, distance, inner };
            let mut theta = self.theta.clone();
            Proximal::new(options)?.step_on(&self.ctx, &self.net, &mut theta, &batch, &self.data)?;
            self.curve(lambda, &theta)
        };
        lambdas.iter().map(update).collect()
    }
}

/// What an update did, relative to what it did at the example.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// At the example, as a share of the surprise.
    pub example: f64,
    /// Root mean square over the training inputs farther than 0.3 from the example.
    pub data: f64,
    /// The same over the other cluster.
    pub far: f64,
    /// Largest over the gap, |x| < 0.8.
    pub gap: f64,
    /// Largest second difference quotient of the change in the example's cluster.
    pub bend: f64,
}

impl Figure {
    /// The change from the current model to a curve.
    pub fn change(&self, curve: &Curve) -> Change {
        let example = curve.at_example - self.current.at_example;
        let relative = |now: &f64, before: &f64| ((now - before) / example).abs();
        let rms = |near: &dyn Fn(f64) -> bool| {
            let pairs = self.xs.iter().zip(curve.at_data.iter().zip(&self.current.at_data));
            let squares: Vec<f64> =
                pairs.filter(|(x, _)| near(**x)).map(|(_, (now, before))| relative(now, before).powi(2)).collect();
            (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
        };
        let on_grid: Vec<f64> =
            curve.values.iter().zip(&self.current.values).map(|(now, before)| (now - before) / example).collect();
        let at = |inside: &dyn Fn(f64) -> bool, value: &dyn Fn(usize) -> f64| {
            let inner = 1..self.grid.len() - 1;
            inner.filter(|&i| inside(self.grid[i])).map(value).fold(0.0, f64::max)
        };
        let step = self.grid[1] - self.grid[0];
        let bend = |i: usize| ((on_grid[i - 1] - 2.0 * on_grid[i] + on_grid[i + 1]) / (step * step)).abs();
        Change {
            example: example / SURPRISE,
            data: rms(&|x| (x - self.example.0).abs() > 0.3),
            far: rms(&|x| x < 0.0),
            gap: at(&|x| x.abs() < 0.8, &|i| on_grid[i].abs()),
            bend: at(&|x| (1.0..2.0).contains(&x), &bend),
        }
    }
}
