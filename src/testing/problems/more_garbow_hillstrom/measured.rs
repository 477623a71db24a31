//! Residuals of the problems that fit a model to a table of measurements; numbers and letters are the paper's.
//!
//! Laws        tests/more_garbow_hillstrom.rs.
//! Reference   doi 10.1145/355934.355936, section 3.

use super::Number;

const BARD: [f64; 15] = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39];

/// (8)
pub fn bard<N: Number>(x: &[N], r: &mut [N]) {
    for ((r, y), i) in r.iter_mut().zip(BARD).zip(1..) {
        let (u, v) = (f64::from(i), f64::from(16 - i));
        *r = -(x[0] + N::of(u) / (x[1] * v + x[2] * u.min(v))) + y;
    }
}

const GAUSSIAN: [f64; 15] = [
    0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989, 0.3521, 0.2420, 0.1295, 0.0540, 0.0175, 0.0044,
    0.0009,
];

/// (9)
pub fn gaussian<N: Number>(x: &[N], r: &mut [N]) {
    for ((r, y), i) in r.iter_mut().zip(GAUSSIAN).zip(1..) {
        let t = f64::from(8 - i) / 2.0;
        *r = x[0] * (-x[1] * (-x[2] + t).square() / 2.0).exp() - y;
    }
}

const MEYER: [f64; 16] = [
    34780.0, 28610.0, 23650.0, 19630.0, 16370.0, 13720.0, 11540.0, 9744.0, 8261.0, 7030.0, 6005.0, 5147.0, 4427.0,
    3820.0, 3307.0, 2872.0,
];

/// (10)
pub fn meyer<N: Number>(x: &[N], r: &mut [N]) {
    for ((r, y), i) in r.iter_mut().zip(MEYER).zip(1..) {
        let t = f64::from(45 + 5 * i);
        *r = x[0] * (x[1] / (x[2] + t)).exp() - y;
    }
}

/// (y, u)
const KOWALIK_OSBORNE: [(f64, f64); 11] = [
    (0.1957, 4.0),
    (0.1947, 2.0),
    (0.1735, 1.0),
    (0.1600, 0.5),
    (0.0844, 0.25),
    (0.0627, 0.167),
    (0.0456, 0.125),
    (0.0342, 0.1),
    (0.0323, 0.0833),
    (0.0235, 0.0714),
    (0.0246, 0.0625),
];

/// (15)
pub fn kowalik_osborne<N: Number>(x: &[N], r: &mut [N]) {
    for (r, (y, u)) in r.iter_mut().zip(KOWALIK_OSBORNE) {
        *r = -(x[0] * (x[1] * u + u * u) / (x[2] * u + x[3] + u * u)) + y;
    }
}

const OSBORNE_1: [f64; 33] = [
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
    0.406,
];

/// (17)
pub fn osborne_1<N: Number>(x: &[N], r: &mut [N]) {
    for ((r, y), i) in r.iter_mut().zip(OSBORNE_1).zip(0..) {
        let t = f64::from(10 * i);
        *r = -(x[0] + x[1] * (-x[3] * t).exp() + x[2] * (-x[4] * t).exp()) + y;
    }
}

const OSBORNE_2: [f64; 65] = [
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606,
    0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423,
    0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668,
    0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098,
    0.054,
];

/// (19)
pub fn osborne_2<N: Number>(x: &[N], r: &mut [N]) {
    for ((r, y), i) in r.iter_mut().zip(OSBORNE_2).zip(0..) {
        let t = f64::from(i) / 10.0;
        let peak = |height: N, place: N, width: N| height * (-(-place + t).square() * width).exp();
        let model =
            x[0] * (-x[4] * t).exp() + peak(x[1], x[8], x[5]) + peak(x[2], x[9], x[6]) + peak(x[3], x[10], x[7]);
        *r = -model + y;
    }
}
