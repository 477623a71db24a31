//! The networks, and the parts of a K-FAC step on one of them, each a column of a table.

use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::nn::{Activation, Batch, Init, Loss, Mlp, Workspace};
use pullback::optim::costs::{self, LayerShape};
use pullback::optim::{
    FisherKind, KfacPreconditioner, LayerStructure, LayeredObjective, Objective, PreconditionerOptions,
};
use pullback::stats::DiagonalRule;
use pullback::testing::gallery;
use pullback::{Ctx, Damping, Mat, Result};

/// A network with a batch and initial parameters.
pub struct Network {
    pub net: Mlp<f32>,
    pub batch: Batch<f32>,
    pub theta: Vec<f32>,
    pub layers: Vec<LayerShape>,
}

impl Network {
    /// `depth` layers from `width` to `width`, for squared errors.
    pub fn square(width: usize, depth: usize, cases: usize) -> Result<Self> {
        let targets = gallery::uniform(width, cases, 2);
        Self::new(&vec![width; depth + 1], Loss::SquaredError, &targets)
    }

    /// Two hidden layers and so many classes.
    pub fn classifier(width: usize, classes: usize, cases: usize) -> Result<Self> {
        let targets = Mat::from_fn(classes, cases, |i, j| if i == j % classes { 1.0 } else { 0.0 });
        Self::new(&[width, width, width, classes], Loss::SoftmaxCrossEntropy, &targets)
    }

    fn new(widths: &[usize], loss: Loss, targets: &Mat<f32>) -> Result<Self> {
        let mut builder = Mlp::builder(widths[0]).loss(loss);
        for (l, &width) in widths.iter().enumerate().skip(1) {
            let hidden = l + 1 < widths.len();
            builder = builder.layer(width, if hidden { Activation::Tanh } else { Activation::Identity });
        }
        let net = builder.build()?;
        let inputs = gallery::uniform(widths[0], targets.ncols(), 1);
        let (batch, theta) = (net.batch(inputs.as_ref(), targets.as_ref())?, net.init(Init::GlorotUniform, 3));
        Ok(Self { net, batch, theta, layers: costs::layers(widths) })
    }

    pub fn cases(&self) -> usize {
        self.batch.cases()
    }
}

/// A part of a step: its title, flops by count, and the work.
pub struct Part {
    pub title: &'static str,
    pub flops: fn(&Network) -> f64,
    work: fn(&mut Rig) -> Result<()>,
}

fn over_layers(network: &Network, flops: impl Fn(&LayerShape) -> f64) -> f64 {
    network.layers.iter().map(flops).sum()
}

pub const GRADIENT: Part =
    Part { title: "gradient", flops: |n| costs::gradient(&n.layers, n.cases()), work: |rig| rig.gradient() };

/// The sampled backward pass, A and S.
pub const STATISTICS: Part = Part {
    title: "statistics",
    flops: |n| costs::statistics(&n.layers, n.cases(), 1),
    work: |rig| rig.capture(Way::Inverses, FisherKind::MonteCarlo),
};

/// The same for all output directions: a backward pass each.
pub const EXACT_STATISTICS: Part = Part {
    title: "exact stat.",
    flops: |n| costs::statistics(&n.layers, n.cases(), n.net.outputs()),
    work: |rig| rig.capture(Way::Inverses, FisherKind::Exact),
};

pub const INVERSES: Part =
    Part { title: "inverses", flops: |n| over_layers(n, |l| l.inverses()), work: |rig| rig.refresh(Way::Inverses) };

pub const UPDATE: Part = Part {
    title: "update",
    flops: |n| over_layers(n, |l| l.update_by_inverses()),
    work: |rig| rig.update(Way::Inverses),
};

pub const EIGENBASES: Part = Part {
    title: "eigenbases",
    flops: |n| over_layers(n, |l| l.eigenbases()),
    work: |rig| rig.refresh(Way::Eigenbases),
};

/// All that the fallback adds to a gradient: the sampled pass, both diagonals, the division. Elementwise work has no flops
/// in the counts.
pub const DIAGONAL: Part = Part {
    title: "diagonal",
    flops: |n| costs::backward(&n.layers, n.cases()),
    work: |rig| {
        rig.capture(Way::Diagonal, FisherKind::MonteCarlo)?;
        rig.refresh(Way::Diagonal)?;
        rig.update(Way::Diagonal)
    },
};

/// The preconditioners that are compared.
#[derive(Clone, Copy)]
enum Way {
    Inverses,
    Eigenbases,
    Diagonal,
}

/// One network at work.
pub struct Rig<'a> {
    ctx: &'a Ctx<f32>,
    network: &'a Network,
    workspace: Workspace<f32>,
    gradient: Vec<f32>,
    out: Vec<f32>,
    /// One for each way, from when it is needed.
    preconditioners: [Option<KfacPreconditioner<f32>>; 3],
    sample: u64,
}

impl<'a> Rig<'a> {
    /// After a gradient.
    pub fn new(ctx: &'a Ctx<f32>, network: &'a Network) -> Result<Self> {
        let n = network.theta.len();
        let workspace = network.net.workspace();
        let (gradient, out) = (vec![0.0; n], vec![0.0; n]);
        let mut rig = Self { ctx, network, workspace, gradient, out, preconditioners: [None, None, None], sample: 0 };
        rig.gradient()?;
        Ok(rig)
    }

    /// Does one part.
    pub fn run(&mut self, part: &Part) -> Result<()> {
        (part.work)(self)
    }

    fn gradient(&mut self) -> Result<()> {
        let Network { net, batch, theta, .. } = self.network;
        net.forward(self.ctx, theta, batch, &mut self.workspace)?;
        net.backward(self.ctx, theta, batch, &mut self.workspace, &mut self.gradient)
    }

    /// Statistics of the batch into the preconditioner of that way, which is made where there is none.
    fn capture(&mut self, way: Way, fisher: FisherKind) -> Result<()> {
        let Network { net, batch, theta, .. } = self.network;
        let slot = &mut self.preconditioners[way as usize];
        if slot.is_none() {
            *slot = Some(KfacPreconditioner::new(net.layout(), options(way))?);
        }
        let Some(preconditioner) = slot else { return Ok(()) };
        self.sample += 1;
        preconditioner.begin_update();
        net.capture(self.ctx, theta, batch, &mut self.workspace, fisher, batch.cases(), self.sample, preconditioner)
    }

    /// The preconditioner of that way, with statistics.
    fn preconditioner(&mut self, way: Way) -> Result<&mut KfacPreconditioner<f32>> {
        if self.preconditioners[way as usize].is_none() {
            self.capture(way, FisherKind::MonteCarlo)?;
        }
        match &mut self.preconditioners[way as usize] {
            Some(preconditioner) => Ok(preconditioner),
            None => unreachable!("made by the capture"),
        }
    }

    fn refresh(&mut self, way: Way) -> Result<()> {
        let (ctx, lambda) = (self.ctx, Damping::try_from(1.0)?);
        let preconditioner = self.preconditioner(way)?;
        // as if the statistics were new, or eigenbases would be kept
        preconditioner.begin_update();
        preconditioner.refresh(ctx, lambda).map(drop)
    }

    fn update(&mut self, way: Way) -> Result<()> {
        if !self.preconditioner(way)?.is_ready() {
            self.refresh(way)?;
        }
        match &self.preconditioners[way as usize] {
            Some(preconditioner) => preconditioner.precondition(self.ctx, &self.gradient, &mut self.out),
            None => unreachable!("made above"),
        }
    }
}

fn options(way: Way) -> PreconditionerOptions<f32> {
    let (damping, structure) = match way {
        Way::Inverses => (KroneckerDamping::Factored { pi: PiRule::Trace }, LayerStructure::Kronecker),
        Way::Eigenbases => (KroneckerDamping::Exact, LayerStructure::Kronecker),
        Way::Diagonal => {
            let structure = LayerStructure::Diagonal { rule: DiagonalRule::Factored };
            (KroneckerDamping::Factored { pi: PiRule::Trace }, structure)
        }
    };
    PreconditionerOptions { damping, structure, ..PreconditionerOptions::default() }
}
