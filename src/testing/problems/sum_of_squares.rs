//! [`SumOfSquares`]: the objective ½‖r(x)‖² of a formula for r, with exact J, Gauss-Newton matrix and Hessian.
//!
//! ```text
//! h = ½ Σ r_i²      ∇h = Jᵀr      G = JᵀJ      H = JᵀJ + Σ r_i ∇²r_i
//! ```
//! The literature of test problems states f = Σ r_i² = 2 h.
//!
//! Cost        r once for the loss, ⌈n/2⌉ times in [`Jet`]s for the gradient or J, n(n+1)/2 times for H; m n numbers.
//! Laws        tests/problems.rs, tests/nist.rs, tests/more_garbow_hillstrom.rs (J, ∇h, G, H against differences).
//! Reference   J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., section 10.1, doi 10.1007/978-0-387-40065-5.

use std::fmt::Debug;

use super::{Jet, Number};
use crate::backend::{Ctx, check};
use crate::curvature::DenseJacobian;
use crate::error::{Error, Result, check_len};
use crate::linop::{SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatRef, Op};
use crate::optim::{
    CurvatureMatrix, CurvatureObjective, Linearization, Objective, ParamLayout, ResidualObjective, SubsetObjective,
};

/// Residuals r(x), written once for every [`Number`].
pub trait Formula: Debug + Send + Sync {
    /// (m, n): how many residuals of how many parameters.
    fn shape(&self) -> (usize, usize);

    /// r ← r(x), with n numbers in x and m in r.
    fn residuals<N: Number>(&self, x: &[N], r: &mut [N]);
}

/// A [`Formula`] behind a pointer.
trait Evaluate: Debug + Send + Sync {
    fn values(&self, x: &[f64], r: &mut [f64]);
    fn jets(&self, x: &[Jet], r: &mut [Jet]);
}

impl<F: Formula> Evaluate for F {
    fn values(&self, x: &[f64], r: &mut [f64]) {
        self.residuals(x, r);
    }

    fn jets(&self, x: &[Jet], r: &mut [Jet]) {
        self.residuals(x, r);
    }
}

/// ½‖r(x)‖² of any [`Formula`]; all of them are one type, so that one list of optimizers serves every problem.
///
/// ```
/// use pullback::Ctx;
/// use pullback::optim::Objective;
/// use pullback::testing::problems::{Formula, Number, SumOfSquares};
/// #[derive(Debug)]
/// struct Rosenbrock;
/// impl Formula for Rosenbrock {
///     fn shape(&self) -> (usize, usize) {
///         (2, 2)
///     }
///     fn residuals<N: Number>(&self, x: &[N], r: &mut [N]) {
///         r[0] = (x[1] - x[0].square()) * 10.0;
///         r[1] = -x[0] + 1.0;
///     }
/// }
/// let (h, mut gradient) = (SumOfSquares::new(Rosenbrock), [0.0; 2]);
/// assert_eq!(h.loss_grad(&Ctx::default(), &[0.0, 1.0], &(), &mut gradient)?, 50.5);
/// assert_eq!(gradient, [-1.0, 100.0]);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug)]
pub struct SumOfSquares {
    layout: ParamLayout,
    rows: usize,
    formula: Box<dyn Evaluate>,
}

fn half_squares(r: impl Iterator<Item = f64>) -> f64 {
    0.5 * r.map(|r| r * r).sum::<f64>()
}

impl SumOfSquares {
    /// The objective of a formula.
    pub fn new(formula: impl Formula + 'static) -> Self {
        let (rows, columns) = formula.shape();
        Self { layout: ParamLayout::new([(columns, 1)]), rows, formula: Box::new(formula) }
    }

    /// (m, n).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.layout.len())
    }

    /// r(x); some of them perhaps not finite.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless there are n numbers in x.
    pub fn residuals(&self, x: &[f64]) -> Result<Vec<f64>> {
        check_len("theta", self.layout.len(), x.len())?;
        let mut r = vec![0.0; self.rows];
        self.formula.values(x, &mut r);
        Ok(r)
    }

    /// r where x moves along unit vectors j and k.
    fn jets(&self, x: &[f64], j: usize, k: usize, r: &mut [Jet]) {
        let unit = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
        let x: Vec<Jet> = x.iter().enumerate().map(|(i, &x)| Jet::new(x, unit(i, j), unit(i, k))).collect();
        self.formula.jets(&x, r);
    }

    /// r(x) and J(x) (m x n); some entries perhaps not finite.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless there are n numbers in x.
    pub fn residuals_and_jacobian(&self, x: &[f64]) -> Result<(Vec<f64>, Mat<f64>)> {
        let (rows, columns) = self.shape();
        let (r, mut jacobian) = (self.residuals(x)?, Mat::zeros(rows, columns));
        let mut jets = vec![Jet::default(); rows];
        for j in (0..columns).step_by(2) {
            self.jets(x, j, j + 1, &mut jets);
            for (i, jet) in jets.iter().enumerate() {
                jacobian[(i, j)] = jet.first();
                if j + 1 < columns {
                    jacobian[(i, j + 1)] = jet.second();
                }
            }
        }
        Ok((r, jacobian))
    }

    /// Σ r_i ∇²r_i is added to a symmetric matrix.
    fn add_residual_curvature(&self, x: &[f64], h: &mut Mat<f64>) {
        let mut jets = vec![Jet::default(); self.rows];
        for j in 0..x.len() {
            for k in 0..=j {
                self.jets(x, j, k, &mut jets);
                let sum = jets.iter().map(|r| r.value() * r.mixed()).sum::<f64>();
                h[(j, k)] += sum;
                if j != k {
                    h[(k, j)] += sum;
                }
            }
        }
    }
}

impl Objective<f64> for SumOfSquares {
    type Batch = ();

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn loss(&self, _ctx: &Ctx<f64>, theta: &[f64], _batch: &()) -> Result<f64> {
        Ok(half_squares(self.residuals(theta)?.into_iter()))
    }

    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], _batch: &(), grad: &mut [f64]) -> Result<f64> {
        check_len("gradient", self.layout.len(), grad.len())?;
        let (r, jacobian) = self.residuals_and_jacobian(theta)?;
        ctx.gemv(1.0, jacobian.as_ref(), Op::Transpose, &r, 0.0, grad)?;
        Ok(half_squares(r.into_iter()))
    }
}

impl ResidualObjective<f64> for SumOfSquares {
    type Jacobian<'a> = DenseJacobian<f64>;

    fn linearize<'a>(
        &'a self,
        _ctx: &Ctx<f64>,
        theta: &'a [f64],
        _batch: &'a (),
    ) -> Result<Linearization<f64, DenseJacobian<f64>>> {
        let (residual, jacobian) = self.residuals_and_jacobian(theta)?;
        let loss = half_squares(residual.iter().copied());
        Ok(Linearization { loss, jacobian: DenseJacobian::new(jacobian)?, residual })
    }
}

impl CurvatureObjective<f64> for SumOfSquares {
    /// The matrix is formed once: products with it are n² flops each.
    fn curvature<'a>(
        &'a self,
        ctx: &Ctx<f64>,
        matrix: CurvatureMatrix,
        theta: &'a [f64],
        _batch: &'a (),
    ) -> Result<Box<dyn SelfAdjoint<f64> + 'a>> {
        let (_, jacobian) = self.residuals_and_jacobian(theta)?;
        let j: MatRef<'_, f64> = jacobian.as_ref();
        let mut c = Mat::zeros(theta.len(), theta.len());
        ctx.gemm(1.0, j, Op::Transpose, j, Op::No, 0.0, c.as_mut())?;
        if matrix == CurvatureMatrix::Hessian {
            self.add_residual_curvature(theta, &mut c);
        }
        check::finite("curvature", c.as_ref())?;
        Ok(Box::new(SymmetricDense::new(c)?))
    }
}

/// The residuals are one case: what a method for minibatches needs to run on a whole problem.
impl SubsetObjective<f64> for SumOfSquares {
    fn cases(&self, _batch: &()) -> usize {
        1
    }

    fn subset(&self, _batch: &(), cases: std::ops::Range<usize>) -> Result<()> {
        if cases == (0..1) { Ok(()) } else { Err(Error::invalid("cases", format!("{cases:?} of the one case"))) }
    }
}
