//! A damped solve of a dense curvature, against calls of the library alone on memory that is there.

#[cfg(feature = "blas")]
use pullback::Op;
use pullback::curvature::Dense;
use pullback::testing::gallery;
use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, Result, Scalar};

use crate::turns::Turns;

const LAMBDA: f64 = 0.1;

/// A library's own Cholesky: C + λI of one matrix factored, one right-hand side solved with.
trait Direct<T> {
    /// Copies the matrix, adds λ to its diagonal and factors it.
    fn factor(&mut self);
    /// Copies the right-hand side and solves.
    fn solve(&mut self);
    /// x of the last solve.
    fn solution(&self) -> &[T];
}

/// What both sides start from and work in.
struct Problem<T> {
    matrix: Mat<T>,
    rhs: Mat<T>,
    l: Vec<T>,
    x: Vec<T>,
}

impl<T: Scalar> Problem<T> {
    fn new(n: usize) -> Self {
        let (matrix, rhs) = (gallery::spd::<T>(n, 100.0, n as u64), gallery::uniform::<T>(n, 1, 4));
        Self { matrix, rhs, l: vec![T::ZERO; n * n], x: vec![T::ZERO; n] }
    }

    fn copy_damped(&mut self) {
        self.l.copy_from_slice(self.matrix.as_slice());
        self.l.iter_mut().step_by(self.x.len() + 1).for_each(|d| *d += T::of(LAMBDA));
    }
}

#[cfg(feature = "faer")]
mod faer_alone {
    use faer::dyn_stack::{MemBuffer, MemStack};
    use faer::linalg::cholesky::llt::{factor, solve};
    use faer::{MatMut, MatRef, Par, Spec};

    use super::{Direct, Problem, Scalar};

    pub struct Alone<T> {
        problem: Problem<T>,
        memory: MemBuffer,
    }

    impl<T: Scalar + faer::traits::RealField> Alone<T> {
        pub fn new(n: usize) -> Self {
            let need = factor::cholesky_in_place_scratch::<T>(n, Par::Seq, Spec::default());
            Self { problem: Problem::new(n), memory: MemBuffer::new(need) }
        }
    }

    impl<T: Scalar + faer::traits::RealField> Direct<T> for Alone<T> {
        fn factor(&mut self) {
            self.problem.copy_damped();
            let n = self.problem.x.len();
            let l = MatMut::from_column_major_slice_mut(&mut self.problem.l, n, n);
            let stack = MemStack::new(&mut self.memory);
            factor::cholesky_in_place(l, Default::default(), Par::Seq, stack, Spec::default()).expect("definite");
        }

        fn solve(&mut self) {
            let Problem { rhs, l, x, .. } = &mut self.problem;
            x.copy_from_slice(rhs.as_slice());
            let n = x.len();
            let (l, x) = (MatRef::from_column_major_slice(l, n, n), MatMut::from_column_major_slice_mut(x, n, 1));
            solve::solve_in_place(l, x, Par::Seq, MemStack::new(&mut self.memory));
        }

        fn solution(&self) -> &[T] {
            &self.problem.x
        }
    }
}

#[cfg(feature = "blas")]
mod lapack_alone {
    use super::{Direct, Problem};

    pub struct Alone<T>(pub Problem<T>);

    macro_rules! alone {
        ($t:ident, $potrf:ident, $potrs:ident) => {
            impl Direct<$t> for Alone<$t> {
                fn factor(&mut self) {
                    self.0.copy_damped();
                    let (n, mut info) = (self.0.x.len() as i32, 0);
                    // SAFETY: l has n x n elements, n > 0, leading dimension n.
                    unsafe { lapack::$potrf(b'L', n, &mut self.0.l, n, &mut info) };
                    assert_eq!(info, 0, "definite");
                }

                fn solve(&mut self) {
                    self.0.x.copy_from_slice(self.0.rhs.as_slice());
                    let (n, mut info) = (self.0.x.len() as i32, 0);
                    // SAFETY: as above; x has n elements.
                    unsafe { lapack::$potrs(b'L', n, 1, &self.0.l, n, &mut self.0.x, n, &mut info) };
                }

                fn solution(&self) -> &[$t] {
                    &self.0.x
                }
            }
        };
    }
    alone!(f32, spotrf, spotrs);
    alone!(f64, dpotrf, dpotrs);
}

/// Both kinds of solve on one backend against its library.
fn rows<T: Scalar>(turns: &Turns, ctx: &Ctx<T>, n: usize, direct: &mut dyn Direct<T>) -> Result<()> {
    let Problem { matrix, rhs, .. } = Problem::<T>::new(n);
    let (curvature, lambda) = (Dense::new(matrix)?, Damping::try_from(LAMBDA)?);
    let mut x = Mat::zeros(n, 1);
    let print = |what: &str, ours: &mut dyn FnMut() -> Result<()>, alone: &mut dyn FnMut() -> Result<()>| {
        let medians = turns.time(ours, alone)?;
        let (ours, alone) = (1e9 * medians.ours, 1e9 * medians.direct);
        let backend = ctx.backend().name();
        println!("{backend:<8} {:<4} {n:>4}  {what:<16} {ours:>9.0} {alone:>9.0} {:>7.2}", T::NAME, medians.ratio);
        Ok(())
    };
    let new = &mut || curvature.damped(ctx, lambda)?.solve(ctx, rhs.as_ref(), x.as_mut()).map(drop);
    print("factor and solve", new, &mut || {
        direct.factor();
        direct.solve();
        Ok(())
    })?;
    let solver = curvature.damped(ctx, lambda)?;
    let again = &mut || solver.solve(ctx, rhs.as_ref(), x.as_mut()).map(drop);
    print("solve", again, &mut || {
        direct.solve();
        Ok(())
    })?;
    let difference = x.as_slice().iter().zip(direct.solution()).map(|(x, y)| (*x - *y).abs().f64()).fold(0.0, f64::max);
    assert!(difference <= 1e4 * T::EPS.f64(), "both sides solve the same system");
    Ok(())
}

/// Prints every backend, scalar and order.
pub fn table(turns: &Turns) -> Result<()> {
    println!("damped solves, one right-hand side, one thread: ns a call\n");
    println!(
        "{:<8} {:<4} {:>4}  {:<16} {:>9} {:>9} {:>7}",
        "backend", "type", "n", "what", "ours", "directly", "ratio"
    );
    #[cfg(feature = "blas")]
    let one = Mat::identity(1);
    for n in [4, 16, 64] {
        #[cfg(feature = "faer")]
        {
            rows(turns, &Ctx::<f32>::faer(), n, &mut faer_alone::Alone::new(n))?;
            rows(turns, &Ctx::<f64>::faer(), n, &mut faer_alone::Alone::new(n))?;
        }
        #[cfg(feature = "blas")]
        {
            // called directly, the library runs with the thread count of the last call that went through us
            Ctx::<f64>::blas().gemm(1.0, one.as_ref(), Op::No, one.as_ref(), Op::No, 0.0, Mat::zeros(1, 1).as_mut())?;
            rows(turns, &Ctx::<f32>::blas(), n, &mut lapack_alone::Alone(Problem::new(n)))?;
            rows(turns, &Ctx::<f64>::blas(), n, &mut lapack_alone::Alone(Problem::new(n)))?;
        }
    }
    Ok(())
}
