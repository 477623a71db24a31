//! CURVES-like images: 28 x 28 pixels, each a smooth curve through three random points, pixels in [0, 1].
//!
//! The set of the classic autoencoder experiments was distributed as a file whose exact recipe was not published. This
//! generator has its dimension (six numbers make an image), its size and about its spectrum, but not its images: compare
//! methods on it, never errors with published ones.
//!
//! ```text
//! 1  p0, p1, p2 ~ U[3, 24]², pixel centres at the integers 0..27
//! 2  c = |p1-p0| / (|p1-p0| + |p2-p1|) clamped to [0.15, 0.85];  t = 0, 1/100, ..., 1
//!    q(t) = p0 (t-c)(t-1)/c + p1 t(t-1)/(c(c-1)) + p2 t(t-c)/(1-c)         so q(0) = p0, q(c) = p1, q(1) = p2
//! 3  m + 1 points evenly spaced by arc length S along the polygon of 2, m = max(2, ⌈2S⌉), those in [-3, 30)² kept
//! 4  each adds ink 1/2, bilinearly, to the four pixels around it on a 34 x 34 canvas (border 3)
//! 5  twice [1/4, 1/2, 1/4] along x and along y;  the 28 x 28 centre times 2.08, clipped to [0, 1]
//! ```
//! Image i of a seed is a function of (seed, i) alone: give training and test sets different seeds, or take ranges.
//!
//! Cost        about 10⁴ flops an image, one 34 x 34 scratch canvas a call.
//! Laws        tests/data_sets.rs (statistics of 20,000 images; the slow one: `cargo test --release --test data_sets -- --ignored`).

use super::{Dataset, Targets};
use crate::error::{Result, check_len};
use crate::mat::Mat;
use crate::random::Draws;
use crate::scalar::Scalar;

/// Width and height of an image.
pub const SIDE: usize = 28;

const BORDER: usize = 3;
const CANVAS: usize = SIDE + 2 * BORDER;
const SEGMENTS: usize = 100;
const INK: f64 = 0.5;
const GAIN: f64 = 2.08;

type Point = [f64; 2];
type Canvas = [f64; CANVAS * CANVAS];

/// `count` images of a seed, as an autoencoder's data set.
///
/// ```
/// let curves = pullback::nn::data::curves::generate::<f32>(10, 1)?;
/// assert_eq!(curves.inputs().shape(), (784, 10));
/// # Ok::<(), pullback::Error>(())
/// ```
///
/// # Errors
/// None; the type is that of every reader.
pub fn generate<T: Scalar>(count: usize, seed: u64) -> Result<Dataset<T>> {
    let mut images = Mat::zeros(SIDE * SIDE, count);
    for (i, column) in images.as_mut().cols_mut().enumerate() {
        image(seed, i as u64, column)?;
    }
    Dataset::new("curves", images, Targets::Reconstruction)
}

/// Draws image `index` of a seed into 784 pixels, row by row.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) unless there are 784.
pub fn image<T: Scalar>(seed: u64, index: u64, pixels: &mut [T]) -> Result<()> {
    check_len("curves::image", SIDE * SIDE, pixels.len())?;
    let mut draws = Draws::new(seed, index);
    let mut coordinate = || 3.0 + 21.0 * draws.unit();
    let points = [(); 3].map(|()| [coordinate(), coordinate()]);
    let mut canvas = [0.0; CANVAS * CANVAS];
    ink(&polygon(points), &mut canvas);
    for stride in [1, CANVAS, 1, CANVAS] {
        blur(&mut canvas, stride);
    }
    for (row, pixels) in pixels.chunks_mut(SIDE).enumerate() {
        let start = (row + BORDER) * CANVAS + BORDER;
        for (pixel, value) in pixels.iter_mut().zip(&canvas[start..]) {
            *pixel = T::of((GAIN * value).clamp(0.0, 1.0));
        }
    }
    Ok(())
}

fn distance(a: Point, b: Point) -> f64 {
    // sqrt is correctly rounded everywhere; hypot is not
    ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt()
}

/// The quadratic through three points with a chord-length parameter, at t = 0, 1/100, ..., 1.
fn polygon([p0, p1, p2]: [Point; 3]) -> [Point; SEGMENTS + 1] {
    let (first, second) = (distance(p0, p1), distance(p1, p2));
    let chords = first + second;
    let c = if chords > 0.0 { (first / chords).clamp(0.15, 0.85) } else { 0.5 };
    std::array::from_fn(|k| {
        let t = k as f64 / SEGMENTS as f64;
        let weights = [(t - c) * (t - 1.0) / c, t * (t - 1.0) / (c * (c - 1.0)), t * (t - c) / (1.0 - c)];
        std::array::from_fn(|axis| weights[0] * p0[axis] + weights[1] * p1[axis] + weights[2] * p2[axis])
    })
}

/// Drops ink evenly along the polygon.
fn ink(polygon: &[Point], canvas: &mut Canvas) {
    let length: f64 = polygon.windows(2).map(|ends| distance(ends[0], ends[1])).sum();
    let intervals = (2.0 * length).ceil().max(2.0) as usize;
    let (mut segment, mut before) = (0, 0.0); // length of the segments before `segment`
    for k in 0..=intervals {
        let along = length * k as f64 / intervals as f64;
        let mut span = distance(polygon[segment], polygon[segment + 1]);
        while segment + 2 < polygon.len() && before + span < along {
            before += span;
            segment += 1;
            span = distance(polygon[segment], polygon[segment + 1]);
        }
        let part = if span > 0.0 { ((along - before) / span).clamp(0.0, 1.0) } else { 0.0 };
        let (from, to) = (polygon[segment], polygon[segment + 1]);
        drop_ink([from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])], canvas);
    }
}

/// Spreads one drop over the four pixels around it.
fn drop_ink(point: Point, canvas: &mut Canvas) {
    let (low, high) = (-(BORDER as f64), (SIDE + BORDER - 1) as f64);
    if point.iter().any(|&x| !(x >= low && x < high)) {
        return;
    }
    let cell = point.map(|x| (x + BORDER as f64).floor());
    let [fx, fy] = [point[0] + BORDER as f64 - cell[0], point[1] + BORDER as f64 - cell[1]];
    let at = cell[1] as usize * CANVAS + cell[0] as usize;
    canvas[at] += INK * (1.0 - fx) * (1.0 - fy);
    canvas[at + 1] += INK * fx * (1.0 - fy);
    canvas[at + CANVAS] += INK * (1.0 - fx) * fy;
    canvas[at + CANVAS + 1] += INK * fx * fy;
}

/// [1/4, 1/2, 1/4] along every line of the given stride, with zeros outside.
fn blur(canvas: &mut Canvas, stride: usize) {
    let across = if stride == 1 { CANVAS } else { 1 };
    for line in 0..CANVAS {
        let mut previous = 0.0;
        for k in 0..CANVAS {
            let at = line * across + k * stride;
            let next = if k + 1 < CANVAS { canvas[at + stride] } else { 0.0 };
            let here = canvas[at];
            canvas[at] = 0.25 * previous + 0.5 * here + 0.25 * next;
            previous = here;
        }
    }
}
