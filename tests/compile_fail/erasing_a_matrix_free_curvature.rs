//! error E0277: MatrixFreeSolver
//! An erased curvature may always precondition, so only one with a direct solver can be erased.

use pullback::curvature::{AnyCurvature, Definiteness, Dense, MatrixFree};
use pullback::linop::SymmetricDense;
use pullback::{Mat, Result};

fn main() -> Result<()> {
    let a = SymmetricDense::new(Mat::<f64>::identity(2))?;
    #[cfg(not(fixed))]
    AnyCurvature::new(MatrixFree::new(a, Definiteness::PositiveSemidefinite));
    #[cfg(fixed)]
    AnyCurvature::new(Dense::new(a.matrix().clone())?);
    let _ = (Dense::<f64>::new, MatrixFree::<f64, SymmetricDense<f64>>::new, Definiteness::Indefinite);
    Ok(())
}
