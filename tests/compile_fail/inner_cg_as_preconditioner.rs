//! error E0277: MatrixFreeSolver
//! A truncated conjugate gradient is not linear in its right-hand side: it may not precondition.

use pullback::curvature::{Definiteness, Dense, MatrixFree};
use pullback::krylov::{CgOptions, pcg};
use pullback::linop::SymmetricDense;
use pullback::{Ctx, Curvature, Damping, Mat, Result};

fn main() -> Result<()> {
    let ctx = Ctx::<f64>::reference();
    let a = SymmetricDense::new(Mat::identity(2))?;
    #[cfg(not(fixed))]
    let inner = MatrixFree::new(&a, Definiteness::PositiveSemidefinite).damped(&ctx, Damping::try_from(1.0)?)?;
    #[cfg(fixed)]
    let inner = Dense::new(a.matrix().clone())?.damped(&ctx, Damping::try_from(1.0)?)?;
    let (b, mut x) = (Mat::zeros(2, 1), Mat::zeros(2, 1));
    pcg(&ctx, &a, Some(&inner), b.as_ref(), x.as_mut(), &CgOptions::default())?;
    let _ = (Dense::<f64>::new, MatrixFree::<f64, &SymmetricDense<f64>>::new, Definiteness::Indefinite);
    Ok(())
}
