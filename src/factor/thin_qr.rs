//! Thin QR factorization Y = Q R of a tall n x k matrix, with columns dropped that depend on those before them.
//!
//! ```text
//! q_j = (I - Q Qᵀ) y_j / ‖(I - Q Qᵀ) y_j‖,   dropped where ‖(I - Q Qᵀ) y_j‖ <= 8 √n ε ‖y_j‖
//! Q n x r with QᵀQ = I,   R r x k in row echelon form,   Y = Q R up to the dropped remainders
//! ```
//! The projection is repeated until a pass no longer halves the norm ("twice is enough", Kahan and Parlett), so Q is
//! orthonormal to rounding whatever the condition of Y.
//!
//! Cost        about 8nrk flops by products with blocks of one column; r (n + k) numbers.
//! Deviations  no pivoting: the rank found is that of a generic Y, such as a random sketch, not of every matrix.
//! Laws        tests/lanczos.rs (residual, orthogonality, rank, scale equivariance).
//! Reference   L. Giraud, J. Langou, M. Rozložník, Comput. Math. Appl. 50 (2005) 1069-1075,
//!             doi 10.1016/j.camwa.2005.08.009; B. N. Parlett, The Symmetric Eigenvalue Problem, 1998, section 6.9.

use crate::backend::sums::norm;
use crate::backend::{Ctx, check};
use crate::error::Result;
use crate::mat::{Mat, MatRef, Op};
use crate::scalar::Scalar;

/// Passes of the projection; the third is needed only by remainders at rounding level.
const PASSES: usize = 4;

/// Y = Q R with orthonormal columns in Q, one for each column of Y that is independent of those before it.
///
/// ```
/// use pullback::{Ctx, Mat, factor::ThinQr};
/// let y = Mat::from_vec(vec![3.0, 4.0, 0.0, 6.0, 8.0, 0.0, 0.0, 0.0, 5.0], 3, 3)?; // column 1 is twice column 0
/// let qr = ThinQr::new(&Ctx::<f64>::default(), y.as_ref())?;
/// assert_eq!(qr.rank(), 2);
/// assert_eq!(qr.kept(), [0, 2]);
/// assert_eq!(qr.r()[(0, 1)], 10.0);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ThinQr<T> {
    q: Mat<T>,
    r: Mat<T>,
    kept: Vec<usize>,
}

impl<T: Scalar> ThinQr<T> {
    /// Factors Y.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn new(ctx: &Ctx<T>, y: MatRef<'_, T>) -> Result<Self> {
        check::finite("ThinQr", y)?;
        let (n, k) = y.shape();
        let most = n.min(k);
        let (mut q, mut r) = (Mat::zeros(n, most), Mat::zeros(most, k));
        let mut kept = Vec::with_capacity(most);
        let mut column = vec![T::ZERO; n];
        let mut coefficients = vec![T::ZERO; most];
        for j in 0..k {
            let rank = kept.len();
            // at the scale of 1, so that neither squares nor products leave the range
            let scale = check::power_of_two_scale(y.submatrix(0, j, n, 1)?);
            column.iter_mut().zip(y.col(j)).for_each(|(c, &y)| *c = scale.scale(y));
            let whole = norm(&column);
            let mut now = whole;
            for _ in 0..PASSES {
                let basis = q.as_ref().submatrix(0, 0, n, rank)?;
                ctx.gemv(T::ONE, basis, Op::Transpose, &column, T::ZERO, &mut coefficients[..rank])?;
                ctx.gemv(-T::ONE, basis, Op::No, &coefficients[..rank], T::ONE, &mut column)?;
                for (r, &c) in r.as_mut().col_mut(j).iter_mut().zip(&coefficients[..rank]) {
                    *r += scale.unscale(c);
                }
                let before = std::mem::replace(&mut now, norm(&column));
                if now > 0.5 * before || now == 0.0 {
                    break;
                }
            }
            let independent = now > 8.0 * (n as f64).sqrt() * T::EPS.f64() * whole;
            if rank == most || !independent {
                continue;
            }
            let inverse = T::of(1.0 / now);
            q.as_mut().col_mut(rank).iter_mut().zip(&column).for_each(|(q, &c)| *q = c * inverse);
            r[(rank, j)] = scale.unscale(T::of(now));
            kept.push(j);
        }
        let rank = kept.len();
        let q = Mat::from_vec(q.as_slice()[..n * rank].to_vec(), n, rank)?;
        let r = r.as_ref().submatrix(0, 0, rank, k)?.to_owned();
        check::finite("ThinQr", r.as_ref())?;
        Ok(Self { q, r, kept })
    }

    /// r, the number of columns of Q.
    pub fn rank(&self) -> usize {
        self.kept.len()
    }

    /// Q (n x r).
    pub fn q(&self) -> &Mat<T> {
        &self.q
    }

    /// R (r x k); row i begins at column `kept()[i]`.
    pub fn r(&self) -> &Mat<T> {
        &self.r
    }

    /// The columns of Y that gave a column of Q, ascending.
    pub fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Q, owned.
    pub fn into_q(self) -> Mat<T> {
        self.q
    }
}
