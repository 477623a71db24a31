//! What each phase of a [`Kfac`](super::Kfac) step costs, in flops by formula or in seconds by the clock.
//!
//! ```text
//! gradient    forward, weights, back to the inputs                pass        4 P, one update of P parameters
//! statistics  d sampled backward passes of c cases, moments       d = 1, or the outputs for the exact Fisher matrix
//! refresh     inverses or eigenbases of every layer               solve       direction, and a J v for each direction of M
//! probe       the loss after the update, where it is measured
//! ```
//! A phase that was never run is priced by its flops at the rate of the nearest one that was.
//!
//! Laws        tests/overhead_budget.rs.

use super::costs::{self, LayerShape};
use super::{
    DampingPath, DampingPathCosts, FisherKind, KfacBlocks, KfacOptions, KfacPlan, LayerStructure, PlanCosts, Rejection,
    StepRule,
};
use crate::curvature::{KroneckerDamping, PiRule};
use crate::scalar::Scalar;

const SHARES: usize = KfacPlan::SHARES.len();

/// A number for each phase; statistics by share of the cases, refresh and solve by path, inverses first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Phases<X> {
    pub(super) gradient: X,
    pub(super) pass: X,
    pub(super) statistics: [X; SHARES],
    pub(super) refresh: [X; 2],
    pub(super) solve: [X; 2],
    pub(super) probe: X,
}

impl DampingPath {
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// The damping of this path, π as asked for where the options have one.
    pub(super) fn damping<T: Scalar>(self, asked: KroneckerDamping<T>) -> KroneckerDamping<T> {
        match (self, asked) {
            (DampingPath::Eigenbases, _) => KroneckerDamping::Exact,
            (DampingPath::Inverses, KroneckerDamping::Exact) => KroneckerDamping::Factored { pi: PiRule::Trace },
            (DampingPath::Inverses, factored) => factored,
        }
    }
}

impl Phases<f64> {
    /// Flops on a batch of so many cases. Infinite where a share has no case or a path is closed.
    pub(super) fn flops<T: Scalar>(
        options: &KfacOptions<T>,
        layers: &[(LayerShape, LayerStructure)],
        cases: usize,
    ) -> Self {
        let shapes: Vec<LayerShape> = layers.iter().map(|&(shape, _)| shape).collect();
        let forward: f64 = shapes.iter().map(|l| l.product(cases)).sum();
        let parameters: f64 = shapes.iter().map(|l| (l.d_in * l.d_out) as f64).sum();
        let tridiagonal = options.blocks == KfacBlocks::Tridiagonal;
        let draws = match options.fisher {
            FisherKind::Exact => shapes.last().map_or(0.0, |l| l.d_out as f64),
            FisherKind::MonteCarlo | FisherKind::Empirical => 1.0,
            FisherKind::Recursive => 0.0,
        };
        let statistics = KfacPlan::SHARES.map(|share| match cases / share {
            0 => f64::INFINITY,
            used => {
                let moments: f64 = layers.iter().map(|&(shape, structure)| moments(shape, structure, used)).sum();
                let cross = if tridiagonal { costs::cross_statistics(&shapes, used) } else { 0.0 };
                draws * (costs::backward(&shapes, used) + cross) + moments
            }
        });
        let jvp = forward + costs::backward(&shapes, cases);
        let model = match options.step {
            StepRule::QuadraticModel { momentum } => jvp * if momentum { 2.0 } else { 1.0 },
            StepRule::Fixed { .. } => 0.0,
        };
        let by_path = |path: DampingPath| {
            let damping = path.damping(options.damping);
            let (refresh, direction) = if tridiagonal {
                (costs::tridiagonal_refresh(&shapes), costs::tridiagonal_update(&shapes))
            } else {
                let refresh = layers.iter().map(|(shape, structure)| structure.cost(*shape, damping).flops).sum();
                (refresh, layers.iter().map(|&(shape, structure)| direction(shape, structure, path)).sum())
            };
            // block-tridiagonal inverses have factored damping only
            let open = !(tridiagonal && path == DampingPath::Eigenbases);
            if open { (refresh, direction + model) } else { (f64::INFINITY, f64::INFINITY) }
        };
        let paths = [by_path(DampingPath::Inverses), by_path(DampingPath::Eigenbases)];
        Self {
            gradient: costs::gradient(&shapes, cases),
            pass: 4.0 * parameters,
            statistics,
            refresh: paths.map(|(refresh, _)| refresh),
            solve: paths.map(|(_, solve)| solve),
            probe: forward,
        }
    }

    /// From phases to what a plan is priced by; `probes` is the share of updates after which the loss is measured, and
    /// without `exact` the path of exact damping is closed.
    pub(super) fn plan_costs(&self, probes: f64, exact: bool) -> PlanCosts {
        let path =
            |i: usize| DampingPathCosts { refresh: self.refresh[i], update: self.solve[i] + probes * self.probe };
        let eigenbases = if exact { path(DampingPath::Eigenbases.index()) } else { DampingPathCosts::CLOSED };
        PlanCosts {
            gradient: self.gradient + self.pass,
            statistics: self.statistics,
            inverses: path(DampingPath::Inverses.index()),
            eigenbases,
        }
    }
}

/// Share of the mean eigenvalue of the blocks from which λ + η lets exact damping be chosen. Below it exact damping leaves
/// nearly undamped what factored damping holds back by √λ, and there the moments are mostly noise (docs/damping.md).
const EXACT_FROM: f64 = 0.01;

/// Whether exact damping at λ + η is as safe as factored damping, for blocks of this mean eigenvalue, if that is known yet.
pub(super) fn takes_exact_damping(damping: f64, mean_eigenvalue: Option<f64>) -> bool {
    mean_eigenvalue.is_none_or(|mean| damping >= EXACT_FROM * mean)
}

/// Share of the updates after which the loss is measured.
pub(super) fn probes<T>(options: &KfacOptions<T>) -> f64 {
    match (options.rejection, options.adaptation) {
        (Rejection::EveryStep, _) => 1.0,
        (_, Some(adaptation)) => 1.0 / adaptation.interval as f64,
        (_, None) => 0.0,
    }
}

/// Flops of a layer's second moments.
fn moments(shape: LayerShape, structure: LayerStructure, cases: usize) -> f64 {
    match structure {
        LayerStructure::Kronecker | LayerStructure::Auto { .. } => shape.statistics(cases),
        // pairs are rotated, squared and multiplied
        LayerStructure::EigenKronecker => 3.0 * shape.statistics(cases) + shape.product(cases),
        LayerStructure::ThreeFactor { split } => {
            let squares = (split.outer * split.outer + split.inner * split.inner + shape.d_out * shape.d_out) as f64;
            squares * cases as f64
        }
        LayerStructure::Diagonal { .. } => shape.product(cases),
    }
}

/// Flops of a layer's direction.
fn direction(shape: LayerShape, structure: LayerStructure, path: DampingPath) -> f64 {
    match (structure, path) {
        (LayerStructure::EigenKronecker, _) | (_, DampingPath::Eigenbases) => shape.update_by_eigenbases(),
        (LayerStructure::Diagonal { .. }, _) => (shape.d_in * shape.d_out) as f64,
        _ => shape.update_by_inverses(),
    }
}
