//! The numbers that every program works on, as raw little-endian files: matrices, images, initial parameters, an order of
//! cases. Whoever writes them first decides; the peers read them.

use std::path::Path;

use pullback::nn::data::{Minibatches, Partial};
use pullback::nn::{Activation, Init, Mlp};
use pullback::testing::gallery;
use pullback::{Ctx, Mat, Op, Scalar};

use crate::Failure;

/// The encoder; the decoder is its mirror image.
pub const WIDTHS: [usize; 5] = [784, 1000, 500, 250, 30];
/// Cases of a batch.
pub const BATCH: usize = 512;
/// Orders of the symmetric positive definite matrices.
pub const ORDERS: [usize; 5] = [512, 785, 1000, 1024, 2048];
/// Training images of MNIST, and how often the order of cases goes through them.
const CASES: usize = 60_000;
const EPOCHS: usize = 40;

/// Shape and loss of the network; the data term alone, without L2.
pub fn network() -> pullback::Result<Mlp<f32>> {
    Mlp::autoencoder(&WIDTHS, Activation::Tanh).build()
}

/// Second moments of 2n cases, and 10⁻³ on the diagonal: X Xᵀ / 2n + 10⁻³ I.
fn definite(n: usize) -> Result<Mat<f64>, Failure> {
    let x = gallery::uniform::<f64>(n, 2 * n, n as u64);
    let mut a = Mat::zeros(n, n);
    Ctx::<f64>::default().syrk(0.5 / n as f64, x.as_ref(), Op::Transpose, 0.0, a.as_mut())?;
    (0..n).for_each(|i| a[(i, i)] += 1e-3);
    Ok(a)
}

/// A matrix that every program can make for itself: ((7i + 13j) mod 31)/31 - 1/2.
pub fn pattern<T: Scalar>(nrows: usize, ncols: usize) -> Mat<T> {
    Mat::from_fn(nrows, ncols, |i, j| T::of(((7 * i + 13 * j) % 31) as f64 / 31.0 - 0.5))
}

/// Images of smooth blobs in [0, 1], one a column, many pixels near the border zero: for timing only.
fn images(cases: usize) -> Mat<f32> {
    let spots = gallery::uniform::<f32>(4, cases, 11);
    Mat::from_fn(784, cases, |pixel, case| {
        let (y, x) = ((pixel / 28) as f32, (pixel % 28) as f32);
        let at = |k: usize| 14.0 + 7.0 * spots[(k, case)];
        let blob = |cy: f32, cx: f32| (-((y - cy).powi(2) + (x - cx).powi(2)) / 12.0).exp();
        (blob(at(0), at(1)) + blob(at(2), at(3))).min(1.0)
    })
}

fn save<T>(folder: &Path, name: &str, numbers: &[T], bytes: impl Fn(&T) -> Vec<u8>) -> Result<(), Failure> {
    let all: Vec<u8> = numbers.iter().flat_map(bytes).collect();
    std::fs::write(folder.join(name), all).map_err(|e| format!("{name}: {e}").into())
}

/// θ as a file: for each layer the columns of (W, b), d_out numbers each.
pub fn save_parameters(folder: &Path, name: &str, theta: &[f32]) -> Result<(), Failure> {
    save(folder, name, theta, |x| x.to_le_bytes().to_vec())
}

/// Writes all of them.
pub fn write(folder: &Path) -> Result<(), Failure> {
    for n in ORDERS {
        save(folder, &format!("definite_{n}.f64"), definite(n)?.as_slice(), |x| x.to_le_bytes().to_vec())?;
    }
    save(folder, "images.f32", images(BATCH).as_slice(), |x| x.to_le_bytes().to_vec())?;
    save_parameters(folder, "start.f32", &network()?.init(Init::GlorotUniform, 1))?;
    let mut batches = Minibatches::new(CASES, BATCH, 1, Partial::Drop)?;
    let mut order = Vec::new();
    for _ in 0..EPOCHS * batches.per_epoch() {
        order.extend(batches.next_batch().iter().map(|&case| case as u32));
    }
    save(folder, "order.u32", &order, |x| x.to_le_bytes().to_vec())
}

fn read<const N: usize, T>(folder: &Path, name: &str, number: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Failure> {
    let bytes = std::fs::read(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
    Ok(bytes.as_chunks::<N>().0.iter().map(|&b| number(b)).collect())
}

/// The definite matrix of order n.
pub fn read_definite<T: Scalar>(folder: &Path, n: usize) -> Result<Mat<T>, Failure> {
    let numbers = read(folder, &format!("definite_{n}.f64"), f64::from_le_bytes)?;
    Ok(Mat::from_vec(numbers.into_iter().map(T::of).collect(), n, n)?)
}

/// The images, one a column.
pub fn read_images(folder: &Path) -> Result<Mat<f32>, Failure> {
    Ok(Mat::from_vec(read(folder, "images.f32", f32::from_le_bytes)?, WIDTHS[0], BATCH)?)
}

/// θ from which everybody starts.
pub fn read_start(folder: &Path) -> Result<Vec<f32>, Failure> {
    read(folder, "start.f32", f32::from_le_bytes)
}

/// The cases of all batches, one batch after the other.
pub fn read_order(folder: &Path) -> Result<Vec<usize>, Failure> {
    read(folder, "order.u32", |b| u32::from_le_bytes(b) as usize)
}
