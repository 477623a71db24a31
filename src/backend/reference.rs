//! The oracle: textbook loops without blocking, always compiled. Cholesky by columns, eigenvalues by cyclic Jacobi.
//!
//! Cost        gemm 2mnk flops at scalar speed; syevd about 6 sweeps of 4n³ flops. For tests and small problems.
//! Reference   G. H. Golub, C. F. Van Loan, Matrix Computations, 4th ed., algorithms 4.2.1 and 8.5.3; H. Rutishauser,
//!             The Jacobi method for real symmetric matrices, Numer. Math. 9 (1966), doi:10.1007/BF02165223.

use super::{Backend, check};
use crate::error::{Error, Result};
use crate::mat::{MatMut, MatRef, Op, Side};
use crate::scalar::Scalar;

/// Textbook loops: the backend that every other backend is tested against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

fn read<T: Scalar>(a: MatRef<'_, T>, op: Op, i: usize, j: usize) -> T {
    match op {
        Op::No => a.at(i, j),
        Op::Transpose => a.at(j, i),
    }
}

/// `y ← y + s x`.
fn axpy<T: Scalar>(s: T, x: &[T], y: &mut [T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}

fn dot<T: Scalar>(x: &[T], y: &[T]) -> T {
    x.iter().zip(y).map(|(&x, &y)| x * y).sum()
}

/// `y ← β y`, without reading y when β = 0.
pub(super) fn scale<T: Scalar>(beta: T, y: &mut [T]) {
    if beta == T::ZERO {
        y.fill(T::ZERO);
    } else if beta != T::ONE {
        y.iter_mut().for_each(|y| *y *= beta);
    }
}

impl<T: Scalar> Backend<T> for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn details(&self) -> String {
        "textbook loops, 1 thread".to_owned()
    }

    fn gemm(
        &self,
        _threads: usize,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        b: MatRef<'_, T>,
        tb: Op,
        beta: T,
        mut c: MatMut<'_, T>,
    ) -> Result<()> {
        let (m, n, k) = check::gemm(a, ta, b, tb, c.rb())?;
        for j in 0..n {
            let cj = c.col_mut(j);
            scale(beta, cj);
            if alpha == T::ZERO {
                continue;
            }
            match ta {
                Op::No => (0..k).for_each(|p| axpy(alpha * read(b, tb, p, j), a.col(p), cj)),
                Op::Transpose if tb == Op::No => {
                    (0..m).for_each(|i| cj[i] += alpha * dot(a.col(i), b.col(j)));
                }
                Op::Transpose => (0..m).for_each(|i| {
                    cj[i] += alpha * (0..k).map(|p| a.at(p, i) * b.at(j, p)).sum::<T>();
                }),
            }
        }
        Ok(())
    }

    fn syrk_lower(
        &self,
        _threads: usize,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        beta: T,
        mut c: MatMut<'_, T>,
    ) -> Result<()> {
        let (n, k) = check::syrk(a, ta, c.rb())?;
        for j in 0..n {
            let cj = &mut c.col_mut(j)[j..];
            scale(beta, cj);
            if alpha == T::ZERO {
                continue;
            }
            match ta {
                Op::No => (j..n).for_each(|i| cj[i - j] += alpha * dot(a.col(i), a.col(j))),
                Op::Transpose => (0..k).for_each(|p| axpy(alpha * a.at(j, p), &a.col(p)[j..], cj)),
            }
        }
        Ok(())
    }

    fn trsm(&self, _threads: usize, side: Side, l: MatRef<'_, T>, tl: Op, mut b: MatMut<'_, T>) -> Result<()> {
        let n = check::trsm(side, l, b.rb())?;
        match (side, tl) {
            (Side::Left, Op::No) => b.cols_mut().for_each(|x| {
                for j in 0..n {
                    x[j] /= l.at(j, j);
                    let xj = x[j];
                    axpy(-xj, &l.col(j)[j + 1..], &mut x[j + 1..]);
                }
            }),
            (Side::Left, Op::Transpose) => b.cols_mut().for_each(|x| {
                for j in (0..n).rev() {
                    x[j] = (x[j] - dot(&l.col(j)[j + 1..], &x[j + 1..])) / l.at(j, j);
                }
            }),
            // X L = B: columns from the last; X Lᵀ = B: columns from the first
            (Side::Right, Op::No) => (0..n).rev().for_each(|j| {
                let (mut head, mut tail) = b.rb_mut().split_at_col(j + 1);
                let xj = head.col_mut(j);
                (j + 1..n).for_each(|i| axpy(-l.at(i, j), tail.col_mut(i - j - 1), xj));
                xj.iter_mut().for_each(|x| *x /= l.at(j, j));
            }),
            (Side::Right, Op::Transpose) => (0..n).for_each(|j| {
                let (head, mut tail) = b.rb_mut().split_at_col(j);
                let xj = tail.col_mut(0);
                (0..j).for_each(|i| axpy(-l.at(j, i), head.col(i), xj));
                xj.iter_mut().for_each(|x| *x /= l.at(j, j));
            }),
        }
        Ok(())
    }

    fn potrf(&self, _threads: usize, mut a: MatMut<'_, T>) -> Result<()> {
        let n = check::potrf(a.rb())?;
        for j in 0..n {
            let (head, mut tail) = a.rb_mut().split_at_col(j);
            let aj = &mut tail.col_mut(0)[j..];
            (0..j).for_each(|p| {
                let lp = &head.col(p)[j..];
                axpy(-lp[0], lp, aj);
            });
            // a NaN pivot (an overflow on the way) is not positive either
            if aj[0].is_nan() || aj[0] <= T::ZERO {
                return Err(Error::NotPositiveDefinite { op: "potrf", pivot: j });
            }
            let d = aj[0].sqrt();
            aj[0] = d;
            aj[1..].iter_mut().for_each(|x| *x /= d);
        }
        check::finite_lower("potrf", a.rb())
    }

    fn syevd(&self, _threads: usize, mut a: MatMut<'_, T>, w: &mut [T]) -> Result<()> {
        let n = check::syevd(a.rb(), w)?;
        let scale = check::power_of_two_scale(a.rb());
        let mut s = crate::mat::Mat::from_fn(n, n, |i, j| scale.scale(a.at(i.max(j), i.min(j))));
        let q = jacobi(&mut s)?;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&i, &j| s[(i, i)].f64().total_cmp(&s[(j, j)].f64()));
        for (to, &from) in order.iter().enumerate() {
            w[to] = scale.unscale(s[(from, from)]);
            a.col_mut(to).copy_from_slice(q.as_ref().col(from));
        }
        check::finite_slice("syevd", w)
    }
}

/// Cyclic Jacobi: overwrites s by a diagonal matrix and returns the rotations.
fn jacobi<T: Scalar>(s: &mut crate::mat::Mat<T>) -> Result<crate::mat::Mat<T>> {
    const MAX_SWEEPS: usize = 60;
    let n = s.nrows();
    let mut q = crate::mat::Mat::identity(n);
    for _ in 0..MAX_SWEEPS {
        let mut rotated = false;
        for p in 0..n {
            for r in p + 1..n {
                let (app, arr, apr) = (s[(p, p)], s[(r, r)], s[(r, p)]);
                if apr.abs() <= T::EPS * T::of(0.125) * (app.abs() * arr.abs()).sqrt() || apr == T::ZERO {
                    continue;
                }
                // below the rounding of the largest eigenvalue a rotation no longer changes the answer
                if apr.abs() < T::EPS * T::EPS {
                    continue;
                }
                rotated = true;
                let theta = (arr - app) / (apr + apr);
                let t = theta.signum() / (theta.abs() + (theta * theta + T::ONE).sqrt());
                let c = T::ONE / (t * t + T::ONE).sqrt();
                let rotation = Rotation { s: t * c, tau: t * c / (T::ONE + c) };
                rotation.columns(s, p, r);
                for i in 0..n {
                    (s[(p, i)], s[(r, i)]) = rotation.pair(s[(p, i)], s[(r, i)]);
                }
                rotation.columns(&mut q, p, r);
                // by differences: the norm would drift by ε a rotation, always the same way
                (s[(p, p)], s[(r, r)]) = (app - t * apr, arr + t * apr);
                (s[(r, p)], s[(p, r)]) = (T::ZERO, T::ZERO);
            }
        }
        if !rotated {
            return Ok(q);
        }
    }
    Err(Error::NoConvergence { op: "syevd" })
}

/// (x, y) ← (c x - s y, s x + c y), written with τ = s / (1 + c) so that small angles make small changes (Rutishauser).
struct Rotation<T> {
    s: T,
    tau: T,
}

impl<T: Scalar> Rotation<T> {
    fn pair(&self, x: T, y: T) -> (T, T) {
        (x - self.s * (y + self.tau * x), y + self.s * (x - self.tau * y))
    }

    /// Columns p < r of m.
    fn columns(&self, m: &mut crate::mat::Mat<T>, p: usize, r: usize) {
        let mut view = m.as_mut();
        let (mut head, mut tail) = view.rb_mut().split_at_col(r);
        for (x, y) in head.col_mut(p).iter_mut().zip(tail.col_mut(0)) {
            (*x, *y) = self.pair(*x, *y);
        }
    }
}
