//! Accumulated diagonal of one layer's block, for layers whose factors are too large to hold.
//!
//! ```text
//! exact      d_ij ← ε_k d_ij + (1 - ε_k) Σ_calls weight · Σ_cases g_i² ā_j²       = diagonal of E[(ā āᵀ) ⊗ (g gᵀ)]
//! factored   d_ij = E[g_i²] E[ā_j²]                                              = diagonal of A ⊗ S
//! ```
//! The exact one needs activations and gradients of the same cases, as pairs; the factored one needs neither pairs nor more
//! than d_in + d_out numbers. Both are those of the block and of A ⊗ S at the same weights.
//!
//! Cost        exact 2n d_in d_out flops for n cases and d_in d_out numbers; factored 2n (d_in + d_out) and d_in + d_out.
//! Laws        tests/diagonal_moments.rs (the diagonals of the exact block and of A ⊗ S, moving averages).
//! Reference   S. Becker, Y. LeCun, Improving the convergence of back-propagation learning with second-order methods,
//!             1988.

use super::{Decay, MovingAverage};
use crate::backend::Ctx;
use crate::curvature::Diagonal;
use crate::error::{Error, Result, check_shape};
use crate::mat::{Mat, MatRef, Op};
use crate::scalar::Scalar;

/// Which diagonal is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DiagonalRule {
    /// The diagonal of A ⊗ S, a product of means, from what every objective sends.
    #[default]
    Factored,
    /// The diagonal of the block itself, a mean of products, from pairs.
    Exact,
}

/// Moving average of the diagonal of one layer's block.
///
/// ```
/// use pullback::{Ctx, Mat, stats::{Decay, DiagonalMoments, DiagonalRule}};
/// let ctx = Ctx::<f64>::default();
/// let mut moments = DiagonalMoments::new(1, 2, DiagonalRule::Factored, Decay::DEFAULT);
/// moments.begin();
/// moments.add_activations(Mat::from_diagonal(&[2.0, 1.0]).as_ref(), 0.5)?; // two cases
/// moments.add_gradients(Mat::from_vec(vec![3.0, 1.0], 1, 2)?.as_ref(), 0.5)?;
/// assert_eq!(moments.snapshot()?.unwrap().entries(), [5.0 * 2.0, 5.0 * 0.5]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct DiagonalMoments<T> {
    rule: DiagonalRule,
    average: MovingAverage,
    /// Means of ā² and of g² as columns (factored), or of g² ā² alone, d_out x d_in (exact).
    parts: Vec<Part<T>>,
    shape: (usize, usize),
    paired: bool,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
struct Part<T> {
    moment: Mat<T>,
    pending: Option<f64>,
    share: f64,
}

impl<T: Scalar> Part<T> {
    fn new(rows: usize, columns: usize) -> Self {
        Self { moment: Mat::zeros(rows, columns), pending: None, share: 0.0 }
    }

    /// (weight in the average, ε of the old moment) of the next addition.
    fn mixing(&mut self, weight: T) -> Result<(T, T)> {
        if self.share == 0.0 {
            return Err(Error::invalid("update", "call begin() before adding to the statistics"));
        }
        Ok((T::of(self.share) * weight, T::of(self.pending.take().unwrap_or(1.0))))
    }

    /// Adds weight · Σ over the columns of x∘².
    fn add(&mut self, op: &'static str, x: MatRef<'_, T>, weight: T) -> Result<()> {
        check_shape(op, (self.moment.nrows(), x.ncols()), x.shape())?;
        let (alpha, beta) = self.mixing(weight)?;
        let moment = self.moment.as_mut().into_slice();
        moment.iter_mut().for_each(|m| *m *= beta);
        for x in x.cols() {
            moment.iter_mut().zip(x).for_each(|(m, &x)| *m += alpha * x * x);
        }
        Ok(())
    }
}

impl<T: Scalar> DiagonalMoments<T> {
    /// Of a layer with `d_out` outputs and `d_in` inputs (the bias counted).
    pub fn new(d_out: usize, d_in: usize, rule: DiagonalRule, decay: Decay) -> Self {
        let parts = match rule {
            DiagonalRule::Factored => vec![Part::new(d_in, 1), Part::new(d_out, 1)],
            DiagonalRule::Exact => vec![Part::new(d_out, d_in)],
        };
        Self { rule, average: MovingAverage::new(decay), parts, shape: (d_out, d_in), paired: true }
    }

    /// Which diagonal.
    pub fn rule(&self) -> DiagonalRule {
        self.rule
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.average.updates()
    }

    /// Begins an update: what is added until the next `begin` is one batch.
    pub fn begin(&mut self) {
        let epsilon = self.average.advance();
        for part in &mut self.parts {
            (part.pending, part.share) = (Some(epsilon), 1.0 - epsilon);
        }
        self.paired = self.rule == DiagonalRule::Factored;
    }

    /// Whether the current update brought what the diagonal needs: pairs, for the exact one.
    pub fn is_paired(&self) -> bool {
        self.paired
    }

    /// Adds weight · ā² of every case; the exact diagonal takes no note of it.
    ///
    /// # Errors
    /// [`Error::Shape`] unless Ā has d_in rows; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_activations(&mut self, a: MatRef<'_, T>, weight: T) -> Result<()> {
        match (self.rule, &mut self.parts[..]) {
            (DiagonalRule::Factored, [squares, _]) => squares.add("DiagonalMoments::add_activations", a, weight),
            _ => check_shape("DiagonalMoments::add_activations", (self.shape.1, a.ncols()), a.shape()),
        }
    }

    /// Adds weight · g² of every case; the exact diagonal takes no note of it.
    ///
    /// # Errors
    /// [`Error::Shape`] unless G has d_out rows; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_gradients(&mut self, g: MatRef<'_, T>, weight: T) -> Result<()> {
        match (self.rule, &mut self.parts[..]) {
            (DiagonalRule::Factored, [_, squares]) => squares.add("DiagonalMoments::add_gradients", g, weight),
            _ => check_shape("DiagonalMoments::add_gradients", (self.shape.0, g.ncols()), g.shape()),
        }
    }

    /// Adds weight · diag M, for a second moment of gradients that is known as a matrix; the exact diagonal takes no note
    /// of it.
    ///
    /// # Errors
    /// [`Error::Shape`] unless M is d_out x d_out; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_gradient_moment(&mut self, m: MatRef<'_, T>, weight: T) -> Result<()> {
        check_shape("DiagonalMoments::add_gradient_moment", (self.shape.0, self.shape.0), m.shape())?;
        if let (DiagonalRule::Factored, [_, squares]) = (self.rule, &mut self.parts[..]) {
            let (alpha, beta) = squares.mixing(weight)?;
            let moment = squares.moment.as_mut().into_slice();
            moment.iter_mut().enumerate().for_each(|(i, s)| *s = beta * *s + alpha * m.at(i, i));
        }
        Ok(())
    }

    /// Adds weight · g_i² ā_j² of every case, Ā and G being of the same cases; the factored diagonal takes no note of it.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::InvalidParameter`] before the first `begin`.
    pub fn add_pairs(&mut self, ctx: &Ctx<T>, a: MatRef<'_, T>, g: MatRef<'_, T>, weight: T) -> Result<()> {
        check_shape("DiagonalMoments::add_pairs: activations", (self.shape.1, g.ncols()), a.shape())?;
        check_shape("DiagonalMoments::add_pairs: gradients", (self.shape.0, g.ncols()), g.shape())?;
        if let (DiagonalRule::Exact, [part]) = (self.rule, &mut self.parts[..]) {
            let (alpha, beta) = part.mixing(weight)?;
            let square = |mut out: crate::mat::MatMut<'_, T>, x: MatRef<'_, T>| {
                for (out, x) in out.cols_mut().zip(x.cols()) {
                    out.iter_mut().zip(x).for_each(|(out, &x)| *out = x * x);
                }
            };
            let (mut squares_a, mut squares_g) = (ctx.scratch(a.nrows(), a.ncols()), ctx.scratch(g.nrows(), g.ncols()));
            square(squares_a.as_mut(), a);
            square(squares_g.as_mut(), g);
            let (a, g) = (squares_a.as_ref(), squares_g.as_ref());
            ctx.gemm(alpha, g, Op::No, a, Op::Transpose, beta, part.moment.as_mut())?;
            self.paired = true;
        }
        Ok(())
    }

    /// The immutable diagonal of now, in the order of vec of a d_out x d_in matrix; `None` before any data.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a NaN or an infinity was accumulated, or a product overflows.
    pub fn snapshot(&self) -> Result<Option<Diagonal<T>>> {
        if self.updates() == 0 {
            return Ok(None);
        }
        let entries = match &self.parts[..] {
            [a, g] => {
                let (a, g) = (a.moment.as_slice(), g.moment.as_slice());
                a.iter().flat_map(|&a| g.iter().map(move |&g| a * g)).collect()
            }
            parts => parts.iter().flat_map(|part| part.moment.as_slice()).copied().collect(),
        };
        Diagonal::new(entries).map(Some)
    }
}
