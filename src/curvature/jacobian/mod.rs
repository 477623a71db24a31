//! Curvature C = JᵀJ of a Jacobian J (N x P): rows are residuals, or cases times outputs scaled by the square root of
//! the output Hessian. This module: what a giver of J must know ([`JacobianSource`]), and what each product costs.
//!
//! ```text
//! K = J Jᵀ (N x N)      the kernel, in sample space
//! C = JᵀJ  (P x P)      the Gauss-Newton matrix, in parameter space
//! ```
//! | giver | J is | K costs | C costs |
//! |---|---|---|---|
//! | [`DenseJacobian`] | held | N² P | N P² |
//! | [`RowChunks`] | made chunk by chunk, two held at once | N² P, c/2 makings of J from c chunks | N P², one making |
//! | [`JvpVjp`] | two closures | N products each way | P products each way |
//! | `nn::MlpJacobian` | a network on a batch | layer by layer, no J | P products each way |
//!
//! Laws        tests/sample_space.rs, tests/nn_kernel.rs.
//! Reference   Y. Ren, D. Goldfarb, Efficient subsampled Gauss-Newton and natural gradient methods for training neural
//!             networks, 2019, arXiv:1906.02353; A. Chen, M. Heyl, Empowering deep neural quantum states through
//!             efficient optimization, 2023, arXiv:2302.01941.

mod inverse;
mod plan;
mod sample_space;
mod solver;
mod sources;

pub use inverse::{SampleSpaceInverse, SampleSpaceInverseRoot, SampleSpaceSpectrum};
pub use plan::{DirectPath, PathCosts, PathPlan, SampleSpaceOptions, SampleSpacePath, kernel_crossover};
pub use sample_space::{DirectSampleSpace, SampleSpace};
pub use solver::SampleSpaceSolver;
pub use sources::{DenseJacobian, JvpVjp, RowChunks};

use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::error::{Error, Result, check_len};
use crate::linop::TransposeOperator;
use crate::mat::{Mat, MatMut};
use crate::random::Draws;
use crate::scalar::Scalar;

/// Unit vectors that the default methods push through the products at a time.
const BLOCK: usize = 32;

/// Flops of what a [`JacobianSource`] offers, and the products that it is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JacobianCosts {
    /// One J v, or one Jᵀu.
    pub product: f64,
    /// K = J Jᵀ.
    pub kernel: f64,
    /// C = JᵀJ.
    pub gram: f64,
    /// Products with J, and as many with Jᵀ, that K takes; 0 where the structure of J gives it without.
    pub kernel_products: u64,
    /// The same of C.
    pub gram_products: u64,
    /// Products with Jᵀ that the diagonal of C takes; 0 where the structure of J gives it without.
    pub diagonal_products: u64,
    /// Products with J that J as a matrix takes; 0 where it is there.
    pub matrix_products: u64,
}

impl JacobianCosts {
    /// Of a dense N x P matrix: 2NP, N²P, NP², and nothing is made of products.
    pub fn dense(n: usize, p: usize) -> Self {
        let (n, p) = (n as f64, p as f64);
        Self {
            product: 2.0 * n * p,
            kernel: n * n * p,
            gram: n * p * p,
            kernel_products: 0,
            gram_products: 0,
            diagonal_products: 0,
            matrix_products: 0,
        }
    }

    /// Of an N x P matrix known by its products: K takes N of them each way, C takes P, its diagonal N with Jᵀ, J
    /// itself P.
    pub fn products(n: usize, p: usize, product: f64) -> Self {
        let (rows, columns) = (n as u64, p as u64);
        Self {
            product,
            kernel: 2.0 * n as f64 * product,
            gram: 2.0 * p as f64 * product,
            kernel_products: rows,
            gram_products: columns,
            diagonal_products: rows,
            matrix_products: columns,
        }
    }
}

/// A giver of a Jacobian J (N x P) at fixed parameters: products with J and Jᵀ, and what can be made of them.
///
/// `shape`, `apply_into` and `apply_transpose_into` suffice: the other methods then push unit vectors through them,
/// a block at a time, and are there to be overridden where the structure of J allows better.
pub trait JacobianSource<T: Scalar>: TransposeOperator<T> {
    /// Kernel: K(N x N) ← J Jᵀ, both triangles. The shape is already valid.  N products with Jᵀ and N with J.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn kernel_into(&self, ctx: &Ctx<T>, mut k: MatMut<'_, T>) -> Result<()> {
        let (n, p) = self.shape();
        in_blocks(ctx, n, |start, units| {
            let mut rows = ctx.scratch(p, units.ncols());
            self.apply_transpose(ctx, units.rb(), rows.as_mut())?;
            self.apply(ctx, rows.as_ref(), k.rb_mut().submatrix(0, start, n, units.ncols())?)
        })?;
        symmetrize(k);
        Ok(())
    }

    /// Kernel: C(P x P) ← JᵀJ, both triangles. The shape is already valid.  P products with J and P with Jᵀ.
    ///
    /// # Errors
    /// Whatever the computation can meet.
    fn gram_into(&self, ctx: &Ctx<T>, mut c: MatMut<'_, T>) -> Result<()> {
        let (n, p) = self.shape();
        in_blocks(ctx, p, |start, units| {
            let mut columns = ctx.scratch(n, units.ncols());
            self.apply(ctx, units.rb(), columns.as_mut())?;
            self.apply_transpose(ctx, columns.as_ref(), c.rb_mut().submatrix(0, start, p, units.ncols())?)
        })?;
        symmetrize(c);
        Ok(())
    }

    /// out_j ← Σ_i J_ij², the diagonal of JᵀJ.  N products with Jᵀ.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `out` has P entries; whatever the computation can meet.
    fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
        let (n, p) = self.shape();
        check_len("column_squares", p, out.len())?;
        out.fill(T::ZERO);
        in_blocks(ctx, n, |_, units| {
            let mut rows = ctx.scratch(p, units.ncols());
            self.apply_transpose(ctx, units.rb(), rows.as_mut())?;
            for row in rows.as_ref().cols() {
                out.iter_mut().zip(row).for_each(|(out, &x)| *out += x * x);
            }
            Ok(())
        })
    }

    /// What the products cost, for the choice of a path; [`JacobianCosts::products`] with 2NP a product.
    fn costs(&self) -> JacobianCosts {
        let (n, p) = self.shape();
        JacobianCosts::products(n, p, 2.0 * n as f64 * p as f64)
    }

    /// K = J Jᵀ as a matrix.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when N² numbers cannot be addressed; those of `kernel_into`.
    fn kernel(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        let mut k = square("kernel", self.shape().0)?;
        self.kernel_into(ctx, k.as_mut())?;
        Ok(k)
    }

    /// C = JᵀJ as a matrix.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when P² numbers cannot be addressed; those of `gram_into`.
    fn gram(&self, ctx: &Ctx<T>) -> Result<Mat<T>> {
        let mut c = square("gram", self.shape().1)?;
        self.gram_into(ctx, c.as_mut())?;
        Ok(c)
    }
}

/// n x n zeros, or the error that they cannot be addressed.
fn square<T: Scalar>(name: &'static str, n: usize) -> Result<Mat<T>> {
    let bytes = n.checked_mul(n).and_then(|numbers| numbers.checked_mul(size_of::<T>()));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::invalid(name, format!("a matrix of order {n} cannot be addressed")));
    }
    Ok(Mat::zeros(n, n))
}

/// Calls `visit` with the first index and the unit vectors e_i (order x b) of each block of indices.
fn in_blocks<T: Scalar>(
    ctx: &Ctx<T>,
    order: usize,
    mut visit: impl FnMut(usize, MatMut<'_, T>) -> Result<()>,
) -> Result<()> {
    for start in (0..order).step_by(BLOCK) {
        let width = BLOCK.min(order - start);
        let mut units = ctx.scratch(order, width);
        units.as_mut_slice().fill(T::ZERO);
        (0..width).for_each(|j| *units.as_mut().at_mut(start + j, j) = T::ONE);
        visit(start, units.as_mut())?;
    }
    Ok(())
}

/// A ← (A + Aᵀ)/2: products of rounded vectors are symmetric to rounding only.
fn symmetrize<T: Scalar>(mut a: MatMut<'_, T>) {
    let half = T::of(0.5);
    for j in 0..a.ncols() {
        for i in j + 1..a.nrows() {
            let mean = half * a.at(i, j) + half * a.at(j, i);
            *a.at_mut(i, j) = mean;
        }
    }
    a.mirror_lower();
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: Scalar, J: JacobianSource<T> + ?Sized> JacobianSource<T> for $pointer {
            fn kernel_into(&self, ctx: &Ctx<T>, k: MatMut<'_, T>) -> Result<()> {
                (**self).kernel_into(ctx, k)
            }
            fn gram_into(&self, ctx: &Ctx<T>, c: MatMut<'_, T>) -> Result<()> {
                (**self).gram_into(ctx, c)
            }
            fn column_squares(&self, ctx: &Ctx<T>, out: &mut [T]) -> Result<()> {
                (**self).column_squares(ctx, out)
            }
            fn costs(&self) -> JacobianCosts {
                (**self).costs()
            }
        }
    )+};
}
forward!(&J, Box<J>, std::sync::Arc<J>);

/// ‖J‖²: a lower bound from a few steps of the power method on JᵀJ, from signs that are the same in every call.
/// `steps` products each way.
pub(super) fn squared_norm<T: Scalar, J: JacobianSource<T>>(ctx: &Ctx<T>, j: &J, steps: usize) -> Result<f64> {
    let (n, p) = j.shape();
    let (mut v, mut u) = (ctx.scratch(p, 1), ctx.scratch(n, 1));
    let mut draws = Draws::new(0, 0);
    v.as_mut_slice().iter_mut().for_each(|v| *v = T::of(draws.sign()));
    let mut estimate = 0.0f64;
    for _ in 0..steps {
        let length = norm(v.as_slice());
        if length == 0.0 {
            break;
        }
        let divisor = T::of(length);
        v.as_mut_slice().iter_mut().for_each(|v| *v /= divisor);
        j.apply(ctx, v.as_ref(), u.as_mut())?;
        estimate = estimate.max(norm(u.as_slice()).powi(2));
        check::finite_slice("SampleSpace: products with J", u.as_slice())?;
        j.apply_transpose(ctx, u.as_ref(), v.as_mut())?;
    }
    Ok(estimate)
}
