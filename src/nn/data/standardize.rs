//! Standardization: every feature to mean 0 and variance 1, by constants fitted on the training part only.
//!
//! ```text
//! x ← (x - mean) / scale,   mean = 1/N Σ x,   scale = sqrt(1/N Σ (x - mean)²),  scale = 1 for a constant feature
//! ```
//! A constant feature therefore becomes exactly 0 and comes back exactly. Sums are taken in f64 and scaled by the
//! largest deviation, so that no intermediate square overflows.
//!
//! Cost        3 passes to fit, 2 flops an element to apply.
//! Laws        tests/data_sets.rs.

use crate::error::{Error, Result, check_shape};
use crate::mat::{MatMut, MatRef};
use crate::scalar::Scalar;

/// Mean and scale of each row of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling<T> {
    mean: Vec<T>,
    scale: Vec<T>,
}

impl<T: Scalar> Scaling<T> {
    /// Fits every row of a d x N matrix; with N = 0 the scaling is the identity.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a value is NaN or infinite, or a mean or scale overflows.
    pub fn fit(x: MatRef<'_, T>) -> Result<Self> {
        let (d, n) = x.shape();
        // a running mean is exact for a constant feature, whose largest deviation is then exactly 0
        let mut mean = vec![0f64; d];
        for (k, column) in x.cols().enumerate() {
            mean.iter_mut().zip(column).for_each(|(m, &value)| *m += (value.f64() - *m) / (k + 1) as f64);
        }
        let mut largest = vec![0f64; d];
        for column in x.cols() {
            for ((l, m), &value) in largest.iter_mut().zip(&mean).zip(column) {
                *l = l.max((value.f64() - m).abs());
            }
        }
        let mut squares = vec![0f64; d];
        for column in x.cols() {
            for (((s, l), m), &value) in squares.iter_mut().zip(&largest).zip(&mean).zip(column) {
                if *l > 0.0 {
                    *s += ((value.f64() - m) / l).powi(2);
                }
            }
        }
        let scale = |(s, l): (&f64, &f64)| T::of((s / n.max(1) as f64).sqrt() * l);
        let scale: Vec<T> = squares.iter().zip(&largest).map(scale).collect();
        let mean: Vec<T> = mean.into_iter().map(T::of).collect();
        if !x.is_finite() || !mean.iter().chain(&scale).all(|v| v.is_finite()) {
            return Err(Error::not_finite("Scaling::fit"));
        }
        Ok(Self { mean, scale: scale.into_iter().map(|s| if s > T::ZERO { s } else { T::ONE }).collect() })
    }

    /// Subtracted from each row.
    pub fn mean(&self) -> &[T] {
        &self.mean
    }

    /// Divides each row, after the mean is subtracted.
    pub fn scale(&self) -> &[T] {
        &self.scale
    }

    /// X ← (X - mean) / scale.
    ///
    /// # Errors
    /// [`Error::Shape`] when the rows differ in number.
    pub fn apply(&self, x: MatMut<'_, T>) -> Result<()> {
        self.each(x, |x, mean, scale| (x - mean) / scale)
    }

    /// X ← X · scale + mean, back to the original units.
    ///
    /// # Errors
    /// [`Error::Shape`] when the rows differ in number.
    pub fn invert(&self, x: MatMut<'_, T>) -> Result<()> {
        self.each(x, |x, mean, scale| x * scale + mean)
    }

    fn each(&self, mut x: MatMut<'_, T>, f: impl Fn(T, T, T) -> T) -> Result<()> {
        check_shape("Scaling", (self.mean.len(), x.ncols()), x.shape())?;
        for column in x.cols_mut() {
            for ((x, &mean), &scale) in column.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = f(*x, mean, scale);
            }
        }
        Ok(())
    }
}

/// The scaling of a data set's inputs and, where its targets are values, of its targets.
///
/// ```
/// use pullback::{Mat, nn::data::{Dataset, Targets}};
/// let inputs = Mat::from_fn(1, 4, |_, j| j as f64);
/// let set = Dataset::new("ramp", inputs, Targets::Values(Mat::from_fn(1, 4, |_, j| 10.0 * j as f64)))?;
/// let (train, test) = set.split(0.25, 1)?;
/// let fitted = train.standardization()?; // never sees the test part
/// let (train, test) = (train.standardized(&fitted)?, test.standardized(&fitted)?);
/// let mean: f64 = train.inputs().as_slice().iter().sum::<f64>() / 3.0;
/// assert!(mean.abs() < 1e-15 && test.len() == 1);
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Standardization<T> {
    /// Of the inputs.
    pub inputs: Scaling<T>,
    /// Of the targets, where they are values.
    pub targets: Option<Scaling<T>>,
}
