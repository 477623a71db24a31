//! The bundled diabetes study: ten baseline measurements of 442 patients and how far the disease had gone a year later.
//!
//! ```text
//! inputs   age, sex, bmi, bp, s1 .. s6   10 x 442, raw: years, 1 or 2, kg/m², mm Hg, blood serum (data/README.md)
//! target   disease progression           1 x 442, 25 to 346
//! ```
//! Raw values: [`Dataset::standardization`] brings them to one scale.
//!
//! Laws        tests/data_sets.rs (shape, means and ranges, the published least squares coefficients).
//! Reference   B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, Least Angle Regression, Ann. Statist. 32 (2004) 407-499,
//!             doi 10.1214/009053604000000067.

use super::{Dataset, csv};
use crate::error::Result;
use crate::scalar::Scalar;

static BYTES: &[u8] = include_bytes!("../../../data/diabetes.csv.gz");

/// The raw measurements with the progression of the disease as the value to predict.
///
/// ```
/// let diabetes = pullback::nn::data::diabetes::load::<f64>()?;
/// assert_eq!((diabetes.inputs().shape(), diabetes.d_out()), ((10, 442), 1));
/// assert_eq!(diabetes.feature_names()[..4], ["age", "sex", "bmi", "bp"]);
/// let standard = diabetes.standardized(&diabetes.standardization()?)?; // every feature: mean 0, variance 1
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// None for the bundled file; the type is that of every reader.
pub fn load<T: Scalar>() -> Result<Dataset<T>> {
    csv::parse("diabetes", BYTES, Some("target"))?.into_values()
}
