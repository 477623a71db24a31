//! Accumulated factors of a very wide layer, whose inputs form a matrix: A ≈ A_o ⊗ A_i, three factors in all.
//!
//! Input j of a case is entry (i, o) of a matrix X (inner x outer) with j = o · inner + i: channels outside and locations
//! inside, or the other way round, as the data lie in memory. With M_i = E[X Xᵀ], M_o = E[Xᵀ X] and t = E‖X‖²_F = tr M_i = tr M_o,
//! ```text
//! A_i = M_i / √t,      A_o = M_o / √t,      C = A_o ⊗ A_i ⊗ S
//! ```
//! which is A ⊗ S where A is a Kronecker product of the two orders, and has the trace of A ⊗ S always.
//!
//! The bias, whose constant input has no place in X, is a block of its own, m ⊗ S with m = E[1²]: C is block diagonal,
//! first the weights of the inputs, then the bias, which is the order of vec [W b]. The moments E[x] · 1 between the
//! two are dropped; they are zero for centred inputs.
//!
//! Cost        a batch of n cases: n · inner · outer · (inner + outer) flops against n (inner · outer)² for A, and two copies of
//!             the inputs as scratch; inner² + outer² + d_out² numbers.
//! Deviations  the partial traces M_i and M_o rather than the nearest Kronecker product in the Frobenius norm, whose
//!             computation needs A.
//! Laws        tests/kronecker3.rs (exact for products, trace kept, moving average, bias).
//! Reference   J. Ba, R. Grosse, J. Martens, Distributed second-order optimization using Kronecker-factored
//!             approximations, ICLR 2017.

use super::kronecker::Factor;
use super::{Decay, MovingAverage};
use crate::backend::Ctx;
use crate::curvature::{BlockDiagonal, KroneckerDamping, KroneckerN};
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatMut, MatRef};
use crate::scalar::Scalar;

/// How the inputs of a layer form a matrix: input `o * inner + i` is its entry (i, o).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InputSplit {
    /// Range of the slow index: channels in a channel-by-channel layout.
    pub outer: usize,
    /// Range of the fast index: locations in a channel-by-channel layout.
    pub inner: usize,
    /// Whether one more input, the last, is the constant of the bias.
    pub bias: bool,
}

impl InputSplit {
    /// d_in: the rows of Ā.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when it overflows.
    pub fn inputs(self) -> Result<usize> {
        let inputs = self.outer.checked_mul(self.inner).and_then(|n| n.checked_add(usize::from(self.bias)));
        inputs.ok_or_else(|| Error::invalid("split", "outer times inner overflows"))
    }
}

/// Moving averages of the three Kronecker factors of one layer, and of the bias' own.
///
/// ```
/// use pullback::{Ctx, LinearOperator, Mat, curvature::KroneckerDamping, stats::{Decay, InputSplit, SplitFactors}};
/// let ctx = Ctx::<f64>::default();
/// let split = InputSplit { outer: 2, inner: 2, bias: true };
/// let mut factors = SplitFactors::new(1, split, Decay::DEFAULT)?;
/// factors.begin();
/// // one case: X = [1; 2] [1 1], and the constant
/// factors.add_activations(&ctx, Mat::from_vec(vec![1.0, 2.0, 1.0, 2.0, 1.0], 5, 1)?.as_ref(), 1.0)?;
/// factors.add_gradients(&ctx, Mat::identity(1).as_ref(), 1.0)?;
/// let block = factors.snapshot(KroneckerDamping::Exact)?.unwrap().to_dense(&ctx)?;
/// assert!((block[(0, 3)] - 2.0).abs() < 1e-14); // x_0 x_3
/// assert!((block[(4, 4)] - 1.0).abs() < 1e-14 && block[(0, 4)] == 0.0); // the bias apart
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct SplitFactors<T> {
    split: InputSplit,
    outer: Factor<T>,
    inner: Factor<T>,
    constant: Factor<T>,
    s: Factor<T>,
    average: MovingAverage,
}

impl<T: Scalar> SplitFactors<T> {
    /// Of a layer with `d_out` outputs.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the number of inputs overflows.
    pub fn new(d_out: usize, split: InputSplit, decay: Decay) -> Result<Self> {
        split.inputs()?;
        Ok(Self {
            split,
            outer: Factor::new(split.outer),
            inner: Factor::new(split.inner),
            constant: Factor::new(usize::from(split.bias)),
            s: Factor::new(d_out),
            average: MovingAverage::new(decay),
        })
    }

    /// How the inputs are split.
    pub fn split(&self) -> InputSplit {
        self.split
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.average.updates()
    }

    /// Begins an update: what is added until the next `begin` is one batch.
    pub fn begin(&mut self) {
        let epsilon = self.average.advance();
        for factor in [&mut self.outer, &mut self.inner, &mut self.constant, &mut self.s] {
            factor.begin(epsilon);
        }
    }

    /// Adds weight · Σ X Xᵀ and weight · Σ Xᵀ X over the cases, the columns of Ā.
    ///
    /// # Errors
    /// [`Error::Shape`] unless Ā has the rows of the split; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_activations(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, weight: T) -> Result<()> {
        const OP: &str = "SplitFactors::add_activations";
        let (outer, inner, cases) = (self.split.outer, self.split.inner, a.ncols());
        check_shape(OP, (self.split.inputs()?, cases), a.shape())?;
        // every X, side by side; and every Xᵀ
        let mut beside = ctx.scratch(inner, outer * cases);
        for (x, a) in beside.as_mut_slice().chunks_mut((inner * outer).max(1)).zip(a.cols()) {
            x.copy_from_slice(&a[..inner * outer]);
        }
        self.inner.add(ctx, OP, beside.as_ref(), weight)?;
        let mut transposed = ctx.scratch(outer, inner * cases);
        for (case, a) in a.cols().enumerate() {
            let x = MatRef::from_slice(&a[..inner * outer], inner, outer, inner.max(1))?;
            transpose(x, transposed.as_mut().submatrix(0, case * inner, outer, inner)?);
        }
        self.outer.add(ctx, OP, transposed.as_ref(), weight)?;
        let constants = a.submatrix(inner * outer, 0, usize::from(self.split.bias), cases)?;
        self.constant.add(ctx, OP, constants, weight)
    }

    /// Adds weight · G Gᵀ to this update's S.
    ///
    /// # Errors
    /// [`Error::Shape`] unless G has d_out rows; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_gradients(&mut self, ctx: &Ctx<T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        self.s.add(ctx, "SplitFactors::add_gradients", g, weight)
    }

    /// Adds weight · M to this update's S, for a second moment that is known as a matrix; its lower triangle is read.
    ///
    /// # Errors
    /// [`Error::Shape`] unless M is d_out x d_out; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_gradient_moment(&mut self, m: MatRef<'_, T>, weight: T) -> Result<()> {
        self.s.add_moment("SplitFactors::add_gradient_moment", m, weight)
    }

    /// The immutable curvature of now: A_o ⊗ A_i ⊗ S, and m ⊗ S where there is a bias; `None` before any data.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a NaN or an infinity was accumulated; [`Error::InvalidParameter`] for a fixed π, which does
    /// not say how to split λ between three factors.
    pub fn snapshot(&self, damping: KroneckerDamping<T>) -> Result<Option<BlockDiagonal<T, KroneckerN<T>>>> {
        if self.updates() == 0 {
            return Ok(None);
        }
        let t: T = (0..self.split.inner).map(|i| self.inner.moment[(i, i)]).sum();
        // no input was ever different from zero: neither is A
        let scale = if t == T::ZERO { T::ZERO } else { T::ONE / t.sqrt() };
        let scaled = |factor: &Factor<T>| -> Mat<T> { factor.symmetric().map(|x| scale * x) };
        let weights = vec![scaled(&self.outer), scaled(&self.inner), self.s.symmetric()];
        let mut blocks = vec![KroneckerN::new(weights, damping)?];
        if self.split.bias {
            blocks.push(KroneckerN::new(vec![self.constant.symmetric(), self.s.symmetric()], damping)?);
        }
        Ok(Some(BlockDiagonal::new(blocks)))
    }
}

/// out ← Xᵀ.
fn transpose<T: Scalar>(x: MatRef<'_, T>, mut out: MatMut<'_, T>) {
    for (o, x) in x.cols().enumerate() {
        for (i, &x) in x.iter().enumerate() {
            *out.at_mut(o, i) = x;
        }
    }
}
