//! error E0277: i64
//! Scalars are f32 and f64; the trait is sealed.

use pullback::Scalar;

fn smallest_step<T: Scalar>() -> T {
    T::EPS
}

fn main() {
    #[cfg(not(fixed))]
    let step = smallest_step::<i64>();
    #[cfg(fixed)]
    let step = smallest_step::<f64>();
    let _ = step;
}
