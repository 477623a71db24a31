//! Krylov methods, one a file. They see an operator only through its products.

mod stop;

pub use stop::CgStop;
