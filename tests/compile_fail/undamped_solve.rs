//! error E0599: solve
//! A curvature has products; only what damping yields can solve.

use pullback::curvature::Dense;
use pullback::{Ctx, Curvature, DampedSolver, Damping, Mat, Result};

fn main() -> Result<()> {
    let ctx = Ctx::<f64>::reference();
    let c = Dense::new(Mat::identity(2))?;
    let (b, mut x) = (Mat::zeros(2, 1), Mat::zeros(2, 1));
    #[cfg(fixed)]
    let c = c.damped(&ctx, Damping::try_from(1.0)?)?;
    c.solve(&ctx, b.as_ref(), x.as_mut())?;
    let _ = Damping::new(1.0);
    Ok(())
}
