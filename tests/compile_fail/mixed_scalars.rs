//! error E0308: f32
//! An f32 operator has no meaning in an f64 context: precision changes by an explicit cast.

use pullback::linop::SymmetricDense;
use pullback::{Ctx, LinearOperator, Mat, Result};

fn main() -> Result<()> {
    #[cfg(not(fixed))]
    let ctx = Ctx::<f64>::reference();
    #[cfg(fixed)]
    let ctx = Ctx::<f32>::reference();
    let a = SymmetricDense::new(Mat::<f32>::identity(2))?;
    a.to_dense(&ctx)?;
    Ok(())
}
