//! [`KroneckerN`]: curvature C = F_1 ⊗ ... ⊗ F_k of any number of factors; not closed under + λI for k > 1.
//!
//! Three factors serve a layer whose inputs form a matrix, so many that their second moment cannot be held: with input
//! j = (o, i), o the slow index and i the fast one (channel and location, or location and channel),
//! ```text
//! A ≈ A_o ⊗ A_i,      C = A_o ⊗ A_i ⊗ S
//! exact      (Q_1 ⊗ ... ⊗ Q_k)(D_1 ⊗ ... ⊗ D_k + λI)⁻¹(Q_1 ⊗ ... ⊗ Q_k)ᵀ
//! factored   ⊗ (F_i + s_i I)⁻¹,      s_i = λ^{1/k} c_i / (Π c_j)^{1/k},      Π s_i = λ
//! ```
//! with c_i the size of F_i by a [`PiRule`]. For k = 2 the shifts are those of Eq 24, s_1 = π √λ and s_2 = √λ/π, and for any
//! k the law of Eq 24 holds, since every dropped term is positive semidefinite: ⊗ (F_i + s_i I) ⪰ C + λI.
//!
//! A bias is no entry of that matrix of inputs: it is a block of its own. [`SplitFactors`](crate::stats::SplitFactors)
//! has the convention and the statistics.
//!
//! Cost        apply 2 n Σ n_i flops, n = Π n_i; `damped` about 9 Σ n_i³ exact, Σ n_i³ factored; Σ n_i² numbers.
//! Deviations  the factors are positive semidefinite by promise: eigenvalue products below zero count as 0 on the exact
//!             path, a pivot that damping does not cover fails on the factored one. A fixed π has no meaning but for two
//!             factors.
//! Laws        tests/kronecker3.rs.
//! Reference   J. Ba, R. Grosse, J. Martens, Distributed second-order optimization using Kronecker-factored
//!             approximations, ICLR 2017, appendix (very wide layers: A as a Kronecker product of channels and locations).

use super::{
    Curvature, Damping, Definiteness, FreeSweep, HasDampingSweep, HasFrobeniusNorm, HasSquareRoot, HasTrace,
    KroneckerDamping, KroneckerNInverse, PiRule,
};
use crate::backend::{Ctx, check, sums};
use crate::error::{Error, Result, check_len, check_shape};
use crate::factor::SymEigen;
use crate::kronecker::kronecker_factors_apply;
use crate::linop::{HasDiagonal, LinearOperator, SelfAdjoint, SymmetricDense};
use crate::mat::{Mat, MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// C = F_1 ⊗ ... ⊗ F_k, k >= 1, the factors positive semidefinite by promise.
///
/// The last index of a vector runs fastest: for A_o ⊗ A_i ⊗ S a vector is vec V of a d_out x d_in matrix, whose column
/// number is o · (order of A_i) + i.
///
/// ```
/// use pullback::curvature::{KroneckerDamping, KroneckerN};
/// use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat};
/// let ctx = Ctx::<f64>::default();
/// let factors = [[1.0, 2.0].as_slice(), &[1.0, 3.0], &[5.0]].map(Mat::from_diagonal);
/// let c = KroneckerN::new(factors.to_vec(), KroneckerDamping::Exact)?; // diag(5, 15, 10, 30)
/// let solver = c.damped(&ctx, Damping::try_from(1.0)?)?;
/// let mut x = Mat::zeros(4, 1);
/// solver.solve(&ctx, Mat::from_vec(vec![6.0, 16.0, 11.0, 31.0], 4, 1)?.as_ref(), x.as_mut())?;
/// assert!(x.as_slice().iter().all(|x| (x - 1.0).abs() < 1e-14));
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KroneckerN<T> {
    factors: Vec<SymmetricDense<T>>,
    damping: KroneckerDamping<T>,
    dim: usize,
}

impl<T: Scalar> KroneckerN<T> {
    /// Takes the symmetric parts of the factors, the slowest first.
    ///
    /// # Errors
    /// [`Error::Shape`] when a factor is not square, [`Error::NotFinite`]; [`Error::InvalidParameter`] without factors, for
    /// a fixed π with other than two factors or outside its domain, or an order Π n_i that overflows.
    pub fn new(factors: Vec<Mat<T>>, damping: KroneckerDamping<T>) -> Result<Self> {
        if let KroneckerDamping::Factored { pi } = &damping {
            check_rule(*pi, factors.len())?;
        }
        if factors.is_empty() {
            return Err(Error::invalid("factors", "a Kronecker product needs at least one"));
        }
        let overflow = || Error::invalid("factors", "the order of their Kronecker product overflows");
        let dim = factors.iter().try_fold(1usize, |n, f| n.checked_mul(f.nrows())).ok_or_else(overflow)?;
        let symmetric = |f: Mat<T>| {
            let f = SymmetricDense::new(f)?;
            check::finite("KroneckerN", f.matrix().as_ref())?;
            Ok(f)
        };
        let factors = factors.into_iter().map(symmetric).collect::<Result<_>>()?;
        Ok(Self { factors, damping, dim })
    }

    /// The factors, the slowest first.
    pub fn factors(&self) -> impl ExactSizeIterator<Item = &Mat<T>> {
        self.factors.iter().map(SymmetricDense::matrix)
    }

    /// How λ enters.
    pub fn kronecker_damping(&self) -> KroneckerDamping<T> {
        self.damping
    }

    /// s_1, ..., s_k: what factored damping by `rule` adds to the diagonals of the factors at λ, of which only the lower
    /// triangles are read. Where a size is zero, negative or not finite, the factor counts as large as the first one.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a fixed π with other than two factors or outside its domain.
    pub fn shifts(factors: &[MatRef<'_, T>], rule: PiRule<T>, lambda: Damping<T>) -> Result<Vec<T>> {
        check_rule(rule, factors.len())?;
        if let [a, s] = factors {
            let (a, s) = PiRule::shifts(rule.pi(*a, *s), lambda);
            return Ok(vec![a, s]);
        }
        // π² of a factor and the first one is the ratio of their sizes
        let size = |f: &MatRef<'_, T>| 2.0 * rule.pi(*f, factors[0]).f64().ln();
        let sizes: Vec<f64> = factors.iter().map(size).collect();
        let mean = (lambda.get().f64().ln() - sizes.iter().sum::<f64>()) / factors.len() as f64;
        Ok(sizes.iter().map(|size| T::of((size + mean).exp())).collect())
    }
}

fn check_rule<T: Scalar>(rule: PiRule<T>, factors: usize) -> Result<()> {
    rule.check()?;
    if factors != 2 && matches!(rule, PiRule::Fixed(_)) {
        return Err(Error::invalid("pi", format!("a fixed π splits λ between two factors, not {factors}")));
    }
    Ok(())
}

impl<T: Scalar> LinearOperator<T> for KroneckerN<T> {
    fn shape(&self) -> (usize, usize) {
        (self.dim, self.dim)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        kronecker_factors_apply(ctx, self.factors.iter().map(|f| (f.matrix().as_ref(), Op::No)), x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for KroneckerN<T> {}

impl<T: Scalar> HasDiagonal<T> for KroneckerN<T> {
    fn diagonal(&self, _ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        check_len("diagonal", self.dim, out.len())?;
        out.fill(T::ONE);
        let mut period = self.dim;
        for factor in self.factors() {
            // the index of this factor changes every `period` entries
            let n = factor.nrows();
            period /= n.max(1);
            for (chunk, out) in out.chunks_mut(period.max(1)).enumerate() {
                let d = factor[(chunk % n, chunk % n)];
                out.iter_mut().for_each(|out| *out *= d);
            }
        }
        Ok(())
    }
}

impl<T: Scalar> HasTrace<T> for KroneckerN<T> {
    /// Π tr F_i.
    fn trace(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::product(self.factors().map(sums::trace))))
    }
}

impl<T: Scalar> HasFrobeniusNorm<T> for KroneckerN<T> {
    /// Π ‖F_i‖_F.
    fn frobenius_norm(&self, _ctx: &Ctx<T>) -> Result<T> {
        Ok(T::of(sums::product(self.factors().map(sums::frobenius))))
    }
}

impl<T: Scalar> HasSquareRoot<T> for KroneckerN<T> {
    type Root<'a> = KroneckerNRoot<T>;

    /// ⊗ Q_i D_i^{1/2}.  About 9 Σ n_i³ flops.
    fn square_root(&self, ctx: &Ctx<T>) -> Result<KroneckerNRoot<T>> {
        let root = |f: &Mat<T>| {
            let eigen = SymEigen::new(ctx, f.clone())?;
            let largest = eigen.values().iter().fold(T::ZERO, |max, w| max.max(w.abs()));
            let rounding = T::of(16.0 * f.nrows() as f64) * T::EPS * largest;
            if let Some(pivot) = eigen.values().iter().position(|&w| w < -rounding) {
                return Err(Error::NotPositiveDefinite { op: "KroneckerN::square_root", pivot });
            }
            let (q, w) = (eigen.vectors(), eigen.values());
            Ok(Mat::from_fn(f.nrows(), f.nrows(), |i, j| q.at(i, j) * w[j].max(T::ZERO).sqrt()))
        };
        Ok(KroneckerNRoot { factors: self.factors().map(root).collect::<Result<_>>()?, scale: None })
    }
}

impl<T: Scalar> Curvature<T> for KroneckerN<T> {
    type Solver = KroneckerNInverse<T>;

    fn definiteness(&self) -> Definiteness {
        Definiteness::PositiveSemidefinite
    }

    /// Factors every F_i, side by side over the thread budget.
    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<KroneckerNInverse<T>> {
        let factors: Vec<MatRef<'_, T>> = self.factors().map(Mat::as_ref).collect();
        KroneckerNInverse::new(ctx, &factors, self.damping, lambda)
    }
}

impl<T: Scalar> HasDampingSweep<T> for KroneckerN<T> {
    type Sweep<'a> = FreeSweep<'a, T, KroneckerNInverse<T>>;

    /// Exact damping decomposes every F_i here, once; factored damping factors them for each λ.
    fn sweep(&self, ctx: &Ctx<T>) -> Result<Self::Sweep<'_>> {
        if self.damping != KroneckerDamping::Exact {
            return Ok(FreeSweep::new(self.dim, |ctx, lambda| self.damped(ctx, lambda)));
        }
        let any = self.damped(ctx, Damping::try_from(1.0)?)?;
        Ok(FreeSweep::new(self.dim, move |_, lambda| any.redamp(lambda)))
    }
}

/// R = (R_1 ⊗ ... ⊗ R_k) diag(w), a root of a Kronecker product or of a damped inverse of one: R Rᵀ is the matrix.
///
/// ```
/// use pullback::curvature::{HasSquareRoot, KroneckerDamping, KroneckerN};
/// use pullback::{Ctx, LinearOperator, Mat};
/// let ctx = Ctx::<f64>::default();
/// let c = KroneckerN::new(vec![Mat::identity(2), Mat::from_diagonal(&[9.0])], KroneckerDamping::Exact)?;
/// let root = c.square_root(&ctx)?.to_dense(&ctx)?;
/// assert!((root[(0, 0)].abs() - 3.0).abs() < 1e-14); // a root is determined up to signs
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KroneckerNRoot<T> {
    pub(super) factors: Vec<Mat<T>>,
    /// w; ones where absent.
    pub(super) scale: Option<Vec<T>>,
}

impl<T: Scalar> LinearOperator<T> for KroneckerNRoot<T> {
    fn shape(&self) -> (usize, usize) {
        let n = self.factors.iter().map(Mat::nrows).product();
        (n, n)
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        check_shape("KroneckerNRoot: X", (self.shape().1, x.ncols()), x.shape())?;
        let factors = self.factors.iter().map(|f| (f.as_ref(), Op::No));
        let Some(scale) = &self.scale else { return kronecker_factors_apply(ctx, factors, x, y) };
        let mut scaled = ctx.scratch(x.nrows(), x.ncols());
        for (scaled, x) in scaled.as_mut().cols_mut().zip(x.cols()) {
            scaled.iter_mut().zip(x).zip(scale).for_each(|((s, &x), &w)| *s = w * x);
        }
        kronecker_factors_apply(ctx, factors, scaled.as_ref(), y)
    }
}
