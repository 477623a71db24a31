//! error E0596: borrow
//! A snapshot of statistics does not change: its factors are lent, not given.

use pullback::curvature::{Kronecker, KroneckerDamping};
use pullback::{Mat, Result};

fn main() -> Result<()> {
    let snapshot = Kronecker::new(Mat::<f64>::identity(2), Mat::identity(2), KroneckerDamping::Exact)?;
    #[cfg(not(fixed))]
    let a = snapshot.a();
    #[cfg(fixed)]
    let mut a = snapshot.a().clone();
    a.as_mut().fill(0.0);
    Ok(())
}
