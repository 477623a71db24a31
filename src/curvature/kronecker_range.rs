//! [`Range`]: (A ⊗ S + λI)⁻¹ through those eigenpairs of A and S that λ can tell from zero.
//!
//! ```text
//! P V = V/λ - Q_S (E ∘ (Q_Sᵀ V Q_A)) Q_Aᵀ,   E_ij = w / (λ (w + λ)),   w = a_j s_i             (Eq 23, less 1/λ)
//! ```
//! with the k_A and k_S eigenvectors that have some w > ε λ: beside a smaller w, w + λ rounds to λ. Nothing else is left out:
//! an eigenvalue that is only rounding of its factor damps nevertheless where λ is smaller still. Statistics of few cases, of
//! inputs that lie near a subspace, and a large λ have a small range.
//!
//! Cost        4 min(k_A d_out (d_in + k_S), k_S d_in (d_out + k_A)) flops a d_out x d_in matrix, in place of
//!             4 d_in d_out (d_in + d_out).
//! Laws        the tests below; tests/kronecker_range.rs.

use super::Damping;
use super::kronecker_inverse::damped_reciprocal;
use crate::backend::Ctx;
use crate::backend::reduce::vectorized;
use crate::error::Result;
use crate::factor::SymEigen;
use crate::kronecker::KroneckerEigen;
use crate::mat::{MatMut, MatRef, Op};
use crate::scalar::Scalar;

/// The part of A ⊗ S that a damped inverse is different from I/λ on.
#[derive(Debug)]
pub(super) struct Range<'e, T> {
    eigen: &'e KroneckerEigen<T>,
    lambda: Damping<T>,
    /// (k_A, k_S).
    ranks: (usize, usize),
}

/// Flops of the whole way: every eigenpair.
fn whole(d_in: usize, d_out: usize) -> f64 {
    let (m, n) = (d_in as f64, d_out as f64);
    4.0 * m * n * (m + n)
}

/// How many eigenvalues of one factor, the largest, make a positive product above ε λ with one of the other; all of them
/// where two negative ones do.
fn rank<T: Scalar>(values: &[T], other: &[T], lambda: Damping<T>) -> usize {
    let ends = |w: &[T]| Some((w.first()?.f64(), w.last()?.f64()));
    let (Some((least, _)), Some((other_least, other_most))) = (ends(values), ends(other)) else { return 0 };
    let threshold = T::EPS.f64() * lambda.get().f64();
    if least < 0.0 && least * other_least > threshold {
        return values.len();
    }
    values.len() - values.partition_point(|&w| !(w > T::ZERO && w.f64() * other_most > threshold))
}

/// The eigenvectors of the k largest eigenvalues, and these.
fn upper<T: Scalar>(eigen: &SymEigen<T>, k: usize) -> Result<(MatRef<'_, T>, &[T])> {
    let n = eigen.dim();
    Ok((eigen.vectors().submatrix(0, n - k, n, k)?, &eigen.values()[n - k..]))
}

impl<'e, T: Scalar> Range<'e, T> {
    /// The range of A ⊗ S beside λ; `None` where it is no cheaper than the whole.
    pub(super) fn of(eigen: &'e KroneckerEigen<T>, lambda: Damping<T>) -> Option<Self> {
        let (a, s) = (eigen.left().values(), eigen.right().values());
        let range = Self { eigen, lambda, ranks: (rank(a, s, lambda), rank(s, a, lambda)) };
        (range.flops() < whole(a.len(), s.len())).then_some(range)
    }

    /// Flops with the input side first, and with the output side first.
    fn each_way(&self) -> [f64; 2] {
        let (d_in, d_out) = (self.eigen.left().dim() as f64, self.eigen.right().dim() as f64);
        let (k_a, k_s) = (self.ranks.0 as f64, self.ranks.1 as f64);
        [4.0 * k_a * d_out * (d_in + k_s), 4.0 * k_s * d_in * (d_out + k_a)]
    }

    /// Of [`Range::solve_in_place`].
    pub(super) fn flops(&self) -> f64 {
        let [input_first, output_first] = self.each_way();
        input_first.min(output_first)
    }

    /// V ← (A ⊗ S + λI)⁻¹ V for one d_out x d_in matrix.
    pub(super) fn solve_in_place(&self, ctx: &Ctx<T>, v: MatMut<'_, T>) -> Result<()> {
        let ((q_a, a), (q_s, s)) = (upper(self.eigen.left(), self.ranks.0)?, upper(self.eigen.right(), self.ranks.1)?);
        let ((k_a, k_s), reciprocal) = (self.ranks, T::ONE / self.lambda.get());
        let mut inner = ctx.scratch(k_s, k_a);
        let [input_first, output_first] = self.each_way();
        if input_first <= output_first {
            let mut half = ctx.scratch(v.nrows(), k_a);
            ctx.gemm(T::ONE, v.rb(), Op::No, q_a, Op::No, T::ZERO, half.as_mut())?;
            ctx.gemm(T::ONE, q_s, Op::Transpose, half.as_ref(), Op::No, T::ZERO, inner.as_mut())?;
            self.weigh(a, s, inner.as_mut_slice());
            ctx.gemm(T::ONE, q_s, Op::No, inner.as_ref(), Op::No, T::ZERO, half.as_mut())?;
            ctx.gemm(-T::ONE, half.as_ref(), Op::No, q_a, Op::Transpose, reciprocal, v)
        } else {
            let mut half = ctx.scratch(k_s, v.ncols());
            ctx.gemm(T::ONE, q_s, Op::Transpose, v.rb(), Op::No, T::ZERO, half.as_mut())?;
            ctx.gemm(T::ONE, half.as_ref(), Op::No, q_a, Op::No, T::ZERO, inner.as_mut())?;
            self.weigh(a, s, inner.as_mut_slice());
            ctx.gemm(T::ONE, inner.as_ref(), Op::No, q_a, Op::Transpose, T::ZERO, half.as_mut())?;
            ctx.gemm(-T::ONE, q_s, Op::No, half.as_ref(), Op::No, reciprocal, v)
        }
    }

    /// X ← E ∘ X.
    fn weigh(&self, a: &[T], s: &[T], x: &mut [T]) {
        let (lambda, damped) = (self.lambda.get(), damped_reciprocal(self.lambda));
        vectorized(
            #[inline(always)]
            || {
                for (column, &a) in x.chunks_mut(s.len().max(1)).zip(a) {
                    column.iter_mut().zip(s).for_each(|(x, &s)| *x *= (a * s).max(T::ZERO) * damped(a, s) / lambda);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mat::Mat;
    use crate::testing::gallery::{rank_deficient, spd};

    fn range<T: Scalar>(a: Mat<T>, s: Mat<T>, lambda: f64) -> Option<(usize, usize)> {
        let eigen = KroneckerEigen::new(&Ctx::default(), a, s).expect("finite");
        Range::of(&eigen, Damping::try_from(lambda).expect("positive")).map(|range| range.ranks)
    }

    fn found<T: Scalar>() {
        // what rounding leaves of zero eigenvalues is below ε λ here
        assert_eq!(range::<T>(rank_deficient(40, 7, 1), spd(30, 10.0, 2), 1e3), Some((7, 30)));
        assert_eq!(range::<T>(spd(40, 10.0, 1), rank_deficient(30, 7, 2), 1e3), Some((40, 7)));
        assert_eq!(range::<T>(rank_deficient(40, 7, 1), rank_deficient(30, 4, 2), 1e3), Some((7, 4)));
        // a rank that saves nothing, and a λ below which all count
        assert_eq!(range::<T>(spd(40, 10.0, 1), spd(30, 10.0, 2), 0.1), None);
        assert_eq!(range::<T>(Mat::identity(3), Mat::identity(3), 2.0 / T::EPS.f64()), Some((0, 0)));
        assert_eq!(range::<T>(Mat::identity(3), Mat::identity(3), 0.5 / T::EPS.f64()), None);
        // far below the largest, not below λ
        let a = Mat::from_diagonal(&[T::EPS * T::of(0.5), T::EPS, T::ONE]);
        assert_eq!(range::<T>(a, Mat::identity(9), 0.1 * T::EPS.f64()), None);
        // negative ones: alone they are nothing, two of them a positive product
        let a = || Mat::from_diagonal(&[T::of(-1.0), T::ZERO, T::ZERO, T::ONE]);
        assert_eq!(range::<T>(a(), Mat::identity(4), 0.1), Some((1, 4)));
        assert_eq!(range::<T>(a(), a(), 0.1), None);
    }

    #[test]
    fn the_range_is_what_lambda_can_tell_from_zero() {
        found::<f32>();
        found::<f64>();
    }
}
