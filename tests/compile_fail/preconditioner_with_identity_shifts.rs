//! error E0277: Metric<f64>
//! Shifts of I beside a preconditioner have no common Krylov space: shifts multiply a metric, whose inverse preconditions.

use pullback::curvature::precondition::Jacobi;
use pullback::krylov::{CgOptions, multi_shift_cg_in_metric};
use pullback::linop::{DiagonalMetric, SymmetricDense};
use pullback::{Ctx, Damping, Mat, Result};

fn main() -> Result<()> {
    let ctx = Ctx::<f64>::reference();
    let a = SymmetricDense::new(Mat::identity(2))?;
    let jacobi = Jacobi::new(&ctx, &a, Damping::try_from(1.0)?)?;
    let metric = DiagonalMetric::new(vec![1.0, 2.0])?;
    let (b, mut x) = (Mat::zeros(2, 1), Mat::zeros(2, 1));
    let mut views = [x.as_mut()];
    #[cfg(not(fixed))]
    multi_shift_cg_in_metric(&ctx, &a, &jacobi, &[1.0], b.as_ref(), &mut views, &CgOptions::default())?;
    #[cfg(fixed)]
    multi_shift_cg_in_metric(&ctx, &a, &metric, &[1.0], b.as_ref(), &mut views, &CgOptions::default())?;
    let _ = (jacobi, metric);
    Ok(())
}
