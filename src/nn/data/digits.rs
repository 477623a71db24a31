//! The bundled digits: 1797 images of 8 x 8 pixels with their labels 0..9, pixels scaled to [0, 1].
//!
//! Laws        tests/data_sets.rs (shape, class counts, mean pixel).
//! Reference   E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
//!             1998, doi 10.24432/C50P49, CC BY 4.0 (data/README.md).

use super::{Dataset, csv};
use crate::error::Result;
use crate::scalar::Scalar;

static BYTES: &[u8] = include_bytes!("../../../data/digits.csv.gz");

/// The digits with one-hot classes; [`Dataset::into_reconstruction`] makes an autoencoder's set of them.
///
/// ```
/// let digits = pullback::nn::data::digits::load::<f32>()?;
/// assert_eq!((digits.inputs().shape(), digits.d_out()), ((64, 1797), 10));
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// None for the bundled file; the type is that of every reader.
pub fn load<T: Scalar>() -> Result<Dataset<T>> {
    let mut digits = csv::parse("digits", BYTES, Some("label"))?.into_classes()?;
    digits.map_inputs(|pixel| pixel / T::of(16.0));
    Ok(digits)
}
