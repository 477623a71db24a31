//! [`KroneckerNInverse`]: the damped inverse of F_1 ⊗ ... ⊗ F_k.
//!
//! ```text
//! exact      x ↦ (⊗ Q_i) [ (⊗ Q_i)ᵀ x ⊘ (d_1 ⊗ ... ⊗ d_k + λ) ]
//! factored   x ↦ ⊗ (F_i + s_i I)⁻¹ x,      Π s_i = λ
//! log det    exact Σ log(Π d + λ),      factored Σ_i (n / n_i) log det(F_i + s_i I)
//! ```
//! Cost        a solve of one vector of n = Π n_i: exact 4 n Σ n_i flops, factored half of it. A new λ: exact n numbers,
//!             factored Σ n_i³. Σ n_i² numbers, and on the exact path the n eigenvalues.
//! Deviations  eigenvalue products below zero count as 0 (positive semidefinite by promise), so the exact inverse is
//!             positive definite for every λ > 0.
//! Laws        tests/kronecker3.rs.
//! Reference   see [`KroneckerN`](super::KroneckerN).

use std::sync::Arc;

use super::{
    DampedSolver, Damping, FactorInverse, Fidelity, HasInverseSquareRoot, HasLogDeterminant, KroneckerDamping,
    KroneckerN, KroneckerNRoot, SolvePath, SolveReport,
};
use crate::backend::{Ctx, Scratch, check};
use crate::error::{Error, Result, check_shape};
use crate::factor::{Cholesky, SymEigen};
use crate::kronecker::kronecker_factors_apply;
use crate::linop::{LinearOperator, Preconditioner, SelfAdjoint};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// (F_1 ⊗ ... ⊗ F_k + λI)⁻¹ exactly, or the inverse of a factored matrix above it.
///
/// ```
/// use pullback::curvature::{KroneckerDamping, KroneckerN};
/// use pullback::{Ctx, Curvature, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = KroneckerN::new(vec![Mat::identity(2), Mat::identity(2), Mat::identity(3)], KroneckerDamping::Exact)?;
/// let inverse = c.damped(&ctx, Damping::try_from(1.0)?)?.redamp(Damping::try_from(3.0)?)?; // one factorization
/// let (v, mut out) = (Mat::from_fn(3, 4, |_, _| 4.0), Mat::zeros(3, 4));
/// inverse.precondition_matrix(&ctx, v.as_ref(), out.as_mut())?;
/// assert!((out[(2, 3)] - 1.0).abs() < 1e-14);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
pub struct KroneckerNInverse<T> {
    parts: Parts<T>,
    /// n.
    dim: usize,
    lambda: Damping<T>,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(bound = "T: Scalar"))]
enum Parts<T> {
    /// Bases, and the eigenvalue products (not below 0) in the order of a vector.
    Exact(Arc<(Vec<SymEigen<T>>, Vec<T>)>),
    Factored(Vec<FactorInverse<T>>),
}

impl<T: Scalar> KroneckerNInverse<T> {
    /// The damped inverse of the product of the factors (slowest first), of which only the lower triangles are read. They
    /// are treated side by side over the thread budget, the largest first.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] with the pivot, [`Error::NotFinite`], [`Error::NoConvergence`], [`Error::Shape`],
    /// [`Error::InvalidParameter`] as [`KroneckerN::new`].
    pub fn new(
        ctx: &Ctx<T>,
        factors: &[MatRef<'_, T>],
        damping: KroneckerDamping<T>,
        lambda: Damping<T>,
    ) -> Result<Self> {
        match damping {
            KroneckerDamping::Exact => {
                let bases = for_each_factor(ctx, factors, |ctx, _, f| SymEigen::new(ctx, f.to_owned()))?;
                let mut values = vec![T::ONE];
                for basis in &bases {
                    let mut products = Vec::with_capacity(values.len() * basis.dim());
                    values.iter().for_each(|&v| products.extend(basis.values().iter().map(|&w| v * w)));
                    values = products;
                }
                check::finite_slice("KroneckerNInverse", &values)?;
                values.iter_mut().for_each(|w| *w = w.max(T::ZERO));
                Self::from_bases(Arc::new((bases, values)), lambda)
            }
            KroneckerDamping::Factored { pi } => {
                let shifts = KroneckerN::shifts(factors, pi, lambda)?;
                let inverses = for_each_factor(ctx, factors, |ctx, i, f| FactorInverse::new(ctx, f, shifts[i]))?;
                Ok(Self { parts: Parts::Factored(inverses), dim: factors.iter().map(MatRef::nrows).product(), lambda })
            }
        }
    }

    fn from_bases(parts: Arc<(Vec<SymEigen<T>>, Vec<T>)>, lambda: Damping<T>) -> Result<Self> {
        let largest = parts.1.iter().fold(T::ZERO, |max, &w| max.max(w));
        let smallest = parts.1.iter().fold(largest, |min, &w| min.min(w));
        // the inverse of the smallest: a λ near underflow has no finite reciprocal
        check::finite_slice("KroneckerNInverse", &[largest + lambda.get(), T::ONE / (smallest + lambda.get())])?;
        let dim = parts.1.len();
        Ok(Self { parts: Parts::Exact(parts), dim, lambda })
    }

    /// The inverse for another λ from the same eigenbases, which the two share.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] on the factored path, whose inverses hold one λ: damp the curvature again there.
    /// [`Error::NotFinite`] when the inverse overflows.
    pub fn redamp(&self, lambda: Damping<T>) -> Result<Self> {
        match &self.parts {
            Parts::Exact(parts) => Self::from_bases(Arc::clone(parts), lambda),
            Parts::Factored(_) => {
                Err(Error::invalid("redamp", "a factored inverse holds one damping; damp the curvature again"))
            }
        }
    }

    /// s_1, ..., s_k; `None` on the exact path.
    pub fn shifts(&self) -> Option<Vec<T>> {
        match &self.parts {
            Parts::Exact(_) => None,
            Parts::Factored(inverses) => Some(inverses.iter().map(FactorInverse::shift).collect()),
        }
    }

    /// n_k, the order of the fastest factor.
    fn fastest(&self) -> usize {
        match &self.parts {
            Parts::Exact(parts) => parts.0.last().map_or(1, SymEigen::dim),
            Parts::Factored(inverses) => inverses.last().map_or(1, |f| f.matrix().nrows()),
        }
    }

    /// The preconditioned matrix of one layer, d_out x n / d_out with d_out the order of the last factor; both views may
    /// have any leading dimension.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn precondition_matrix(&self, ctx: &Ctx<T>, v: MatRef<'_, T>, mut out: MatMut<'_, T>) -> Result<()> {
        check_shape("precondition_matrix: out", v.shape(), out.shape())?;
        out.copy_from(self.preconditioned(ctx, v)?.as_ref())
    }

    /// [`KroneckerNInverse::precondition_matrix`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn precondition_in_place(&self, ctx: &Ctx<T>, mut v: MatMut<'_, T>) -> Result<()> {
        let solved = self.preconditioned(ctx, v.rb())?;
        v.copy_from(solved.as_ref())
    }

    fn preconditioned<'c>(&self, ctx: &'c Ctx<T>, v: MatRef<'_, T>) -> Result<Scratch<'c, T>> {
        let d_out = self.fastest();
        let columns = self.dim.checked_div(d_out).unwrap_or(v.ncols());
        check_shape("precondition_matrix: V", (d_out, columns), v.shape())?;
        let mut stacked = ctx.scratch(v.nrows(), v.ncols());
        stacked.as_mut().copy_from(v)?;
        let mut solved = ctx.scratch(v.nrows(), v.ncols());
        self.apply(ctx, MatRef::from_column(stacked.as_slice()), MatMut::from_column(solved.as_mut_slice()))?;
        Ok(solved)
    }
}

/// `task` on every factor, the largest first, the results in the order of the factors.
fn for_each_factor<T: Scalar, R: Send>(
    ctx: &Ctx<T>,
    factors: &[MatRef<'_, T>],
    task: impl Fn(&Ctx<T>, usize, MatRef<'_, T>) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut items: Vec<(usize, Option<R>)> = (0..factors.len()).map(|i| (i, None)).collect();
    items.sort_by_key(|&(i, _)| std::cmp::Reverse(factors[i].nrows()));
    ctx.for_each(&mut items, |ctx, (i, result)| {
        *result = Some(task(ctx, *i, factors[*i])?);
        Ok(())
    })?;
    items.sort_by_key(|&(i, _)| i);
    Ok(items.into_iter().filter_map(|(_, result)| result).collect())
}

impl<T: Scalar> LinearOperator<T> for KroneckerNInverse<T> {
    fn shape(&self) -> (usize, usize) {
        (self.dim, self.dim)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        let (bases, values) = match &self.parts {
            Parts::Exact(parts) => (&parts.0, &parts.1),
            Parts::Factored(inverses) => {
                let factors = inverses.iter().map(|f| (f.matrix().as_ref(), Op::No));
                return kronecker_factors_apply(ctx, factors, x, y);
            }
        };
        let read = |op: Op| bases.iter().map(move |basis| (basis.vectors(), op));
        let lambda = self.lambda.get();
        let mut rotated = ctx.scratch(x.nrows(), x.ncols());
        kronecker_factors_apply(ctx, read(Op::Transpose), x, rotated.as_mut())?;
        for column in rotated.as_mut().cols_mut() {
            column.iter_mut().zip(values).for_each(|(v, &w)| *v /= w + lambda);
        }
        kronecker_factors_apply(ctx, read(Op::No), rotated.as_ref(), y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for KroneckerNInverse<T> {}
impl<T: Scalar> Preconditioner<T> for KroneckerNInverse<T> {}

impl<T: Scalar> DampedSolver<T> for KroneckerNInverse<T> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn damping(&self) -> Damping<T> {
        self.lambda
    }

    fn fidelity(&self) -> Fidelity {
        match self.parts {
            Parts::Exact(_) => Fidelity::Exact,
            Parts::Factored(_) => Fidelity::Factored,
        }
    }

    fn path(&self) -> SolvePath {
        match self.parts {
            Parts::Exact(_) => SolvePath::Eigen,
            Parts::Factored(_) => SolvePath::FactoredCholesky,
        }
    }

    fn solve_into(&self, ctx: &Ctx<T>, b: MatRef<'_, T>, x: MatMut<'_, T>) -> Result<SolveReport> {
        self.apply_into(ctx, b, x)?;
        Ok(SolveReport::Direct)
    }
}

impl<T: Scalar> HasLogDeterminant<T> for KroneckerNInverse<T> {
    fn log_determinant(&self) -> T {
        match &self.parts {
            Parts::Exact(parts) => {
                let lambda = self.lambda.get().f64();
                T::of(parts.1.iter().map(|w| (w.f64() + lambda).ln()).sum())
            }
            Parts::Factored(inverses) => {
                // log det(X ⊗ Y) = n_Y log det X + n_X log det Y, one factor after the other
                let join = |(order, sum): (f64, f64), f: &FactorInverse<T>| {
                    let n = f.matrix().nrows() as f64;
                    (order * n, sum * n + order * f.log_determinant().f64())
                };
                T::of(inverses.iter().fold((1.0, 0.0), join).1)
            }
        }
    }
}

impl<T: Scalar> HasInverseSquareRoot<T> for KroneckerNInverse<T> {
    type Root<'a> = KroneckerNRoot<T>;

    /// Exact: ⊗ Q_i with the eigenvalues to the power -1/2. Factored: the Cholesky factors of the factors' inverses.
    fn inverse_square_root(&self, ctx: &Ctx<T>) -> Result<KroneckerNRoot<T>> {
        match &self.parts {
            Parts::Exact(parts) => {
                let lambda = self.lambda.get();
                let scale = parts.1.iter().map(|&w| T::ONE / (w + lambda).sqrt()).collect();
                let factors = parts.0.iter().map(|basis| basis.vectors().to_owned()).collect();
                Ok(KroneckerNRoot { factors, scale: Some(scale) })
            }
            Parts::Factored(inverses) => {
                let root = |f: &FactorInverse<T>| {
                    let factor = Cholesky::new(ctx, f.matrix().clone())?;
                    let l = factor.l();
                    Ok(Mat::from_fn(l.nrows(), l.nrows(), |i, j| if i >= j { l.at(i, j) } else { T::ZERO }))
                };
                Ok(KroneckerNRoot { factors: inverses.iter().map(root).collect::<Result<_>>()?, scale: None })
            }
        }
    }
}
