//! What an optimizer needs to know of a problem: flat parameters θ, a loss and its gradient on a batch; for K-FAC
//! also the layers, their captured activations and pseudo-gradients, and Gauss-Newton forms from forward products.

use crate::backend::Ctx;
use crate::error::{Error, Result};
use crate::factor::SymEigen;
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

use super::Passes;

/// One weight matrix W (rows x cols, bias as the last column) inside flat θ, stored as vec(W) by columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamBlock {
    /// Where vec(W) starts in θ.
    pub offset: usize,
    /// d_out.
    pub rows: usize,
    /// d_in + 1 with a bias, d_in without.
    pub cols: usize,
}

impl ParamBlock {
    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether the block holds no parameter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The block's range in θ.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// W as a view into θ.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when θ is too short.
    pub fn view<'a, T: Scalar>(&self, theta: &'a [T]) -> Result<MatRef<'a, T>> {
        MatRef::from_slice(theta.get(self.range()).unwrap_or(&[]), self.rows, self.cols, self.rows.max(1))
    }

    /// W as a mutable view into θ.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when θ is too short.
    pub fn view_mut<'a, T: Scalar>(&self, theta: &'a mut [T]) -> Result<MatMut<'a, T>> {
        MatMut::from_slice(theta.get_mut(self.range()).unwrap_or(&mut []), self.rows, self.cols, self.rows.max(1))
    }
}

/// The weight matrices of flat θ, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(into = "Vec<(usize, usize)>", try_from = "Vec<(usize, usize)>")
)]
pub struct ParamLayout {
    blocks: Vec<ParamBlock>,
    len: usize,
}

impl From<ParamLayout> for Vec<(usize, usize)> {
    /// The shapes.
    fn from(layout: ParamLayout) -> Self {
        layout.blocks.iter().map(|b| (b.rows, b.cols)).collect()
    }
}

impl TryFrom<Vec<(usize, usize)>> for ParamLayout {
    type Error = Error;

    /// Blocks of these shapes, whose number of parameters must not overflow.
    fn try_from(shapes: Vec<(usize, usize)>) -> Result<Self> {
        let len = shapes.iter().try_fold(0usize, |n, &(rows, cols)| n.checked_add(rows.checked_mul(cols)?));
        len.map(|_| Self::new(shapes)).ok_or_else(|| Error::invalid("layout", "the number of parameters overflows"))
    }
}

impl ParamLayout {
    /// Blocks of the given (rows, cols), laid out in order.
    pub fn new(shapes: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut layout = Self::default();
        for (rows, cols) in shapes {
            layout.blocks.push(ParamBlock { offset: layout.len, rows, cols });
            layout.len += rows * cols;
        }
        layout
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[ParamBlock] {
        &self.blocks
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks of a vector laid out like θ that hold a NaN or an infinity.
    pub fn blocks_not_finite<'a, T: Scalar>(&'a self, x: &'a [T]) -> impl DoubleEndedIterator<Item = usize> + 'a {
        let finite = |b: &ParamBlock| x.get(b.range()).is_some_and(|x| x.iter().all(|x| x.is_finite()));
        (0..self.blocks.len()).filter(move |&l| !finite(&self.blocks[l]))
    }
}

/// A loss over flat parameters, evaluated on batches. Any L2 term is part of it.
pub trait Objective<T: Scalar> {
    /// A batch of cases.
    type Batch: ?Sized;

    /// The weight matrices inside θ.
    fn layout(&self) -> &ParamLayout;

    /// η of the L2 term η/2 ‖θ‖² in h; none unless told.
    fn l2(&self) -> T {
        T::ZERO
    }

    /// h(θ) on the batch.  1 pass.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape). A loss that is not finite is a value, not an error.
    fn loss(&self, ctx: &Ctx<T>, theta: &[T], batch: &Self::Batch) -> Result<T>;

    /// h(θ), and its gradient in `grad`.  2 passes.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], batch: &Self::Batch, grad: &mut [T]) -> Result<T>;

    /// The first layer with a value that is not finite in the computation of h(θ), asked for when h(θ) is not finite: by
    /// default the first whose parameters are not.
    fn first_not_finite(&self, _ctx: &Ctx<T>, theta: &[T], _batch: &Self::Batch) -> Option<usize> {
        self.layout().blocks_not_finite(theta).next()
    }
}

/// How the second moments of output gradients are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FisherKind {
    /// KFLR: all output directions (the columns of a square root of the output Hessian), S = E[Σ_c g_c g_cᵀ] without
    /// sampling noise; one backward pass for each output.
    Exact,
    /// Targets sampled from the model's own predictive distribution: an unbiased estimate of the Fisher matrix.
    #[default]
    MonteCarlo,
    /// The observed targets. This is *not* the Fisher matrix, and it vanishes where the model fits; offered for
    /// comparison.
    Empirical,
    /// KFRA: S goes back through the layers as a matrix, averaged over the cases in each, W_lᵀ S_l W_l ∘ E[φ' φ'ᵀ]: no
    /// sampling noise, at a cost that depends on the number of outputs in the last layer only. Exact for one case, and for
    /// linear hidden layers; no gradients of single cases exist, so nothing is paired.
    Recursive,
}

/// Receives what a capture pass finds, to accumulate second moments.
pub trait CaptureSink<T: Scalar> {
    /// A_layer += weight · Ā Āᵀ, with Ā (cols x cases) the homogeneous input activations of the layer.
    ///
    /// # Errors
    /// Whatever the accumulation can meet.
    fn activations(&mut self, ctx: &Ctx<T>, layer: usize, a: MatRef<'_, T>, weight: T) -> Result<()>;

    /// S_layer += weight · G Gᵀ, with G (rows x cases) the gradients of one case's negative log-likelihood with
    /// respect to the layer's pre-activations.
    ///
    /// # Errors
    /// Whatever the accumulation can meet.
    fn gradients(&mut self, ctx: &Ctx<T>, layer: usize, g: MatRef<'_, T>, weight: T) -> Result<()>;

    /// Whether the two methods below are to be called; they are not unless this says so.
    fn wants_cross_moments(&self) -> bool {
        false
    }

    /// A_{layer,layer+1} += weight · Ā Ā'ᵀ, with Ā' the activations of the next layer in the same cases.
    ///
    /// # Errors
    /// Whatever the accumulation can meet.
    fn cross_activations(
        &mut self,
        _ctx: &Ctx<T>,
        _layer: usize,
        _a: MatRef<'_, T>,
        _next: MatRef<'_, T>,
        _weight: T,
    ) -> Result<()> {
        Ok(())
    }

    /// S_{layer,layer+1} += weight · G G'ᵀ, with G' the gradients of the next layer in the same cases and for the same
    /// targets.
    ///
    /// # Errors
    /// Whatever the accumulation can meet.
    fn cross_gradients(
        &mut self,
        _ctx: &Ctx<T>,
        _layer: usize,
        _g: MatRef<'_, T>,
        _next: MatRef<'_, T>,
        _weight: T,
    ) -> Result<()> {
        Ok(())
    }

    /// The block of the layer += weight · Σ_cases (ā āᵀ) ⊗ (g gᵀ): Ā and G of the same cases, one a column, G being what
    /// `gradients` was just given. Statistics that A and S cannot give are made of these; by default nothing is.
    ///
    /// # Errors
    /// Whatever the accumulation can meet.
    fn pairs(&mut self, _ctx: &Ctx<T>, _layer: usize, _a: MatRef<'_, T>, _g: MatRef<'_, T>, _weight: T) -> Result<()> {
        Ok(())
    }

    /// S_layer += weight · M for a positive semidefinite M (rows x rows, both triangles) that was not made of gradients of
    /// cases. By default the columns of a root of M are sent to `gradients`, about 9 rows³ flops.
    ///
    /// # Errors
    /// Whatever the accumulation can meet; [`Error::NotFinite`](crate::Error::NotFinite).
    fn gradient_moment(&mut self, ctx: &Ctx<T>, layer: usize, m: MatRef<'_, T>, weight: T) -> Result<()> {
        let eigen = SymEigen::new(ctx, m.to_owned())?;
        let (q, w) = (eigen.vectors(), eigen.values());
        let root = Mat::from_fn(m.nrows(), m.nrows(), |i, j| q.at(i, j) * w[j].max(T::ZERO).sqrt());
        self.gradients(ctx, layer, root.as_ref(), weight)
    }
}

/// An objective with dense layers, which K-FAC can look into.
///
/// The Gauss-Newton matrix G = JᵀH_zJ meant here belongs to the *data* term of the loss, with the objective's reduction
/// (mean or sum over cases); the L2 term's η I is reported by [`Objective::l2`] and added by the optimizer.
/// A ⊗ S from a capture approximates the layer's block of that same G: the reduction enters S only.
pub trait LayeredObjective<T: Scalar>: Objective<T> {
    /// Activations and gradients of the last forward and backward pass.
    type Workspace: Send;

    /// An empty workspace; buffers grow on first use and are then reused.
    fn workspace(&self) -> Self::Workspace;

    /// h(θ) keeping the activations in the workspace for the calls below.  1 pass.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn forward(&self, ctx: &Ctx<T>, theta: &[T], batch: &Self::Batch, ws: &mut Self::Workspace) -> Result<T>;

    /// ∇h(θ) (L2 included) after [`LayeredObjective::forward`] at the same θ and batch.  1 pass.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn backward(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Self::Batch,
        ws: &mut Self::Workspace,
        grad: &mut [T],
    ) -> Result<()>;

    /// Sends every layer's activations once, and its pseudo-gradients, to `sink`, after `forward` at the same θ and
    /// batch; after each set of pseudo-gradients the pair of it and the layer's activations. `sample` selects the random
    /// targets: equal numbers, equal targets. At most `cases` of the batch are used (the first ones). Passes:
    /// [`LayeredObjective::capture_passes`].
    ///
    /// # Errors
    /// Those of the sink.
    fn capture(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Self::Batch,
        ws: &mut Self::Workspace,
        kind: FisherKind,
        cases: usize,
        sample: u64,
        sink: &mut dyn CaptureSink<T>,
    ) -> Result<()>;

    /// What a capture costs beside the forward pass before it: by default one backward pass, as many as the last layer has
    /// outputs for [`FisherKind::Exact`], none for [`FisherKind::Recursive`].
    fn capture_passes(&self, kind: FisherKind) -> Passes {
        let outputs = self.layout().blocks().last().map_or(0, |block| block.rows);
        let backward = match kind {
            FisherKind::Exact => outputs as u64,
            FisherKind::MonteCarlo | FisherKind::Empirical => 1,
            FisherKind::Recursive => 0,
        };
        Passes { backward, ..Passes::default() }
    }

    /// gram(i, j) ← v_iᵀ G v_j for vectors of the length of θ, after `forward` at the same θ and batch: one forward
    /// product J v each and no backward pass.  One pass a vector.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape).
    fn ggn_gram(
        &self,
        ctx: &Ctx<T>,
        theta: &[T],
        batch: &Self::Batch,
        ws: &mut Self::Workspace,
        vectors: &[&[T]],
        gram: MatMut<'_, T>,
    ) -> Result<()>;

    /// Cases of the batch, where the gradient of the data term can be had as factors, w G Āᵀ in each layer; `None` (the
    /// default) where the two methods below do not exist.
    fn factored_cases(&self, _batch: &Self::Batch) -> Option<usize> {
        None
    }

    /// Hands `visit` every layer's number, G (rows x cases), Ā (cols x cases) and w, last layer first, after `forward` at
    /// the same θ and batch: ∇h without its L2 term is w G Āᵀ in that layer.  1 pass, without the products of the weight
    /// gradients.
    ///
    /// # Errors
    /// Those of `visit`; [`Error::InvalidParameter`](crate::Error::InvalidParameter) where there are no factors.
    fn gradient_factors(
        &self,
        _ctx: &Ctx<T>,
        _theta: &[T],
        _batch: &Self::Batch,
        _ws: &mut Self::Workspace,
        _visit: FactorVisit<'_, T>,
    ) -> Result<()> {
        Err(Error::invalid("objective", "it has no gradient in factors"))
    }

    /// [`LayeredObjective::ggn_gram`], and slopes_i ← v_iᵀ∇h of the data term from the same products: the derivative of the
    /// loss along v is that by the outputs along J v.
    ///
    /// # Errors
    /// As [`LayeredObjective::ggn_gram`]; [`Error::InvalidParameter`](crate::Error::InvalidParameter) where there are no
    /// factors.
    fn ggn_gram_and_slopes(
        &self,
        _ctx: &Ctx<T>,
        _theta: &[T],
        _batch: &Self::Batch,
        _ws: &mut Self::Workspace,
        _vectors: &[&[T]],
        _gram: MatMut<'_, T>,
        _slopes: &mut [f64],
    ) -> Result<()> {
        Err(Error::invalid("objective", "it has no gradient in factors"))
    }
}

/// Takes a layer's number, G, Ā and w.
pub type FactorVisit<'v, T> = &'v mut dyn FnMut(usize, MatRef<'_, T>, MatRef<'_, T>, T) -> Result<()>;
