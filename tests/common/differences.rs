//! Derivatives of a sum of squares against central differences.

use pullback::optim::{CurvatureMatrix, CurvatureObjective, Objective, ResidualObjective};
use pullback::testing::problems::SumOfSquares;
use pullback::testing::{relative_error, tolerance};
use pullback::{Ctx, LinearOperator, Mat, Op};

/// Half of the digits: what a central difference keeps where its step suits the function.
fn limit() -> f64 {
    tolerance::<f64>(1, 1.0).sqrt()
}

/// The least error, over steps of many sizes, of the central difference by x_j: a derivative that is wrong is not met at
/// any size, one that is right is met at some, whatever the scale of x_j.
fn difference_error(f: &dyn Fn(&[f64]) -> Vec<f64>, x: &[f64], j: usize, derivative: &[f64]) -> f64 {
    let scale = derivative.iter().fold(0f64, |max, d| max.max(d.abs()));
    let error = |step: f64| {
        let at = |sign: f64| {
            let mut moved = x.to_vec();
            moved[j] += sign * step;
            f(&moved)
        };
        let (above, below) = (at(1.0), at(-1.0));
        let difference = |i: usize| (above[i] - below[i]) / (2.0 * step);
        let worst = (0..derivative.len()).map(|i| (difference(i) - derivative[i]).abs());
        worst.fold(0.0, |max: f64, e| if e.is_nan() { f64::INFINITY } else { max.max(e) })
    };
    let unit = if x[j] == 0.0 { 1.0 } else { x[j].abs() };
    let least = (3..36).map(|k| error(unit * 0.5f64.powi(k))).fold(f64::INFINITY, f64::min);
    if scale > 0.0 { least / scale } else { least }
}

/// J and ∇h are what differences of r and h say, G is JᵀJ, and H what differences of ∇h say.
pub fn derivatives_hold(name: &str, h: &SumOfSquares, x: &[f64]) {
    let ctx = Ctx::<f64>::reference();
    let gradient = |x: &[f64]| {
        let mut gradient = vec![0.0; x.len()];
        h.loss_grad(&ctx, x, &(), &mut gradient).unwrap();
        gradient
    };
    let line = h.linearize(&ctx, x, &()).unwrap();
    let (j, r) = (line.jacobian.matrix(), &line.residual);
    assert_eq!(*r, h.residuals(x).unwrap(), "{name}: r");
    let half = 0.5 * r.iter().map(|r| r * r).sum::<f64>();
    for loss in [line.loss, h.loss(&ctx, x, &()).unwrap()] {
        assert!((loss - half).abs() <= tolerance::<f64>(r.len(), 1.0) * half, "{name}: ½‖r‖² is {half}, loss {loss}");
    }
    let by_r = |k: usize| j.as_ref().col(k).iter().zip(r).map(|(j, r)| j * r).sum::<f64>();
    let found = gradient(x);
    // sums that cancel are as exact as their terms are large
    let terms = |k: usize| j.as_ref().col(k).iter().zip(r).map(|(j, r)| (j * r).abs()).sum::<f64>();
    for (k, found) in found.iter().enumerate() {
        let error = (found - by_r(k)).abs();
        assert!(error <= tolerance::<f64>(r.len(), 1.0) * terms(k), "{name}: gradient {k}, {error:e}");
    }
    let matrix = |kind| h.curvature(&ctx, kind, x, &()).unwrap().to_dense(&ctx).unwrap();
    let (gauss_newton, hessian) = (matrix(CurvatureMatrix::GaussNewton), matrix(CurvatureMatrix::Hessian));
    let mut gram = Mat::zeros(x.len(), x.len());
    ctx.gemm(1.0, j.as_ref(), Op::Transpose, j.as_ref(), Op::No, 0.0, gram.as_mut()).unwrap();
    let error = relative_error(gauss_newton.as_ref(), gram.as_ref());
    assert!(error <= tolerance::<f64>(r.len(), 1.0), "{name}: G differs from JᵀJ by {error:e}");
    for k in 0..x.len() {
        let error = difference_error(&|x| h.residuals(x).unwrap(), x, k, j.as_ref().col(k));
        assert!(error <= limit(), "{name}: column {k} of J at {x:?} is off by {error:e}");
        let error = difference_error(&gradient, x, k, hessian.as_ref().col(k));
        assert!(error <= limit(), "{name}: column {k} of H at {x:?} is off by {error:e}");
    }
}
