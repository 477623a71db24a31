//! error E0423: Damping
//! A damping is finite and positive by construction.

use pullback::Damping;

fn main() {
    #[cfg(not(fixed))]
    let lambda = Damping(-1.0);
    #[cfg(fixed)]
    let lambda = Damping::new(-1.0);
    let _ = lambda;
}
