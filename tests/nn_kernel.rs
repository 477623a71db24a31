//! Claim: the Jacobian of a network with the output Hessian's root in it is the one of the definition (JᵀJ is the
//! Gauss-Newton matrix, Jᵀr the gradient), its kernel by layers is J Jᵀ formed row by row, and a damped solve through
//! that kernel is the dense one - while no N x P array is made.
#![cfg(feature = "nn")]

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod nn_fixture;

use nn_fixture::{Case, LOSSES, Random, case, zoo};
use pullback::curvature::{
    Dense, DirectPath, HasInverseSquareRoot, HasTrace, JacobianSource, SampleSpace, SampleSpaceOptions,
    SampleSpacePath, SolvePath,
};
use pullback::factor::SymEigen;
use pullback::linop::TransposeOperator;
use pullback::nn::{Activation, Batch, GgnOperator, Loss, MlpJacobian, Reduction};
use pullback::optim::{Objective, ResidualObjective};
use pullback::testing::{contexts, relative_error, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, HasDiagonal, LinearOperator, Mat, Op, Scalar};

fn jacobian<'c, T: Scalar>(ctx: &Ctx<T>, c: &'c Case<T>) -> MlpJacobian<'c, T> {
    MlpJacobian::new(ctx, &c.net, &c.theta, &c.batch).unwrap()
}

/// Row by row: Jᵀe_i for each row i, as columns of a P x N matrix.
fn rows<T: Scalar>(ctx: &Ctx<T>, j: &MlpJacobian<'_, T>) -> Mat<T> {
    let (n, p) = j.shape();
    let mut rows = Mat::zeros(p, n);
    for i in 0..n {
        let unit = Mat::from_fn(n, 1, |k, _| if k == i { T::ONE } else { T::ZERO });
        j.apply_transpose(ctx, unit.as_ref(), rows.as_mut().submatrix(0, i, p, 1).unwrap()).unwrap();
    }
    rows
}

fn product<T: Scalar>(a: &Mat<T>, ta: Op, b: &Mat<T>, tb: Op) -> Mat<f64> {
    let (a, b) = (a.cast::<f64>(), b.cast::<f64>());
    let mut c = Mat::zeros(ta.shape(a.shape()).0, tb.shape(b.shape()).1);
    Ctx::reference().gemm(1.0, a.as_ref(), ta, b.as_ref(), tb, 0.0, c.as_mut()).unwrap();
    c
}

/// Largest widths plus cases: the length of the sums; one per layer of rounding by the activations.
fn size<T: Scalar>(c: &Case<T>) -> usize {
    c.net.layers().len() * (c.net.layers().iter().map(|l| l.inputs + l.width).max().unwrap() + c.batch.cases())
}

fn larger<T: Scalar>() -> Vec<Case<T>> {
    let mut all = zoo::<T>();
    for loss in LOSSES {
        for (widths, cases) in [(&[5, 33, 1][..], 32), (&[4, 17, 8, 3], 33), (&[3, 1], 64), (&[7, 6, 5, 4], 1)] {
            let seed = 2000 + all.len() as u64;
            all.push(case(widths, Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.1, cases, seed));
        }
    }
    all
}

fn equals_the_definition<T: Scalar>() {
    for c in larger::<T>() {
        for ctx in contexts::<T>() {
            let place = format!("{} on {}", c.name, ctx.backend().name());
            let j = jacobian(&ctx, &c);
            let limit = tolerance::<T>(size(&c), 1.0);
            let rows = rows(&ctx, &j);
            // ‖a - b‖ beside the largest entry of J Jᵀ or JᵀJ, which the largest row or column bounds
            let scale = |m: &Mat<f64>| m.as_slice().iter().fold(0.0, |s: f64, x| s.max(x.abs()));
            let near = |what: &str, got: &Mat<T>, want: &Mat<f64>| {
                let error = relative_error(got.cast().as_ref(), want.as_ref());
                assert!(error <= limit || scale(want) == 0.0, "{place}: {what} off by {error:e}, limit {limit:e}");
            };
            near("J", &j.to_dense(&ctx).unwrap(), &rows.transposed().cast());
            let kernel = j.kernel(&ctx).unwrap();
            near("J J' by layers", &kernel, &product(&rows, Op::Transpose, &rows, Op::No));
            assert_eq!(kernel, kernel.transposed(), "{place}: not symmetric");
            let gram = product(&rows, Op::No, &rows, Op::Transpose);
            near("J'J", &j.gram(&ctx).unwrap(), &gram);
            let ggn = GgnOperator::new(&ctx, &c.net, &c.theta, &c.batch).unwrap().to_dense(&ctx).unwrap();
            near("J'J against G", &ggn, &gram);

            let space = SampleSpace::new(&j);
            let mut diagonal = Mat::from_fn(c.theta.len(), 1, |_, _| T::nan());
            space.diagonal(&ctx, diagonal.as_mut_slice()).unwrap();
            near("diagonal", &diagonal, &Mat::from_fn(c.theta.len(), 1, |i, _| gram[(i, i)]));
            let trace: f64 = (0..gram.nrows()).map(|i| gram[(i, i)]).sum();
            assert!((space.trace(&ctx).unwrap().f64() - trace).abs() <= limit * trace, "{place}: trace");
        }
    }
}

/// Jᵀr is the gradient without the L2 term.
fn residual_gives_the_gradient<T: Scalar>() {
    for c in larger::<T>() {
        for ctx in contexts::<T>() {
            let place = format!("{} on {}", c.name, ctx.backend().name());
            let p = c.theta.len();
            let mut gradient = vec![T::ZERO; p];
            let loss = c.net.loss_grad(&ctx, &c.theta, &c.batch, &mut gradient).unwrap();
            let eta = c.net.l2();
            gradient.iter_mut().zip(&c.theta).for_each(|(g, &w)| *g -= eta * w);
            let linearization = c.net.linearize(&ctx, &c.theta, &c.batch).unwrap();
            assert_eq!(linearization.loss, linearization.jacobian.loss());
            let gap = (linearization.loss.f64() - loss.f64()).abs();
            assert!(gap <= tolerance::<T>(size(&c), 1.0) * loss.f64().abs(), "{place}: loss");
            let r = Mat::from_vec(linearization.residual, linearization.jacobian.shape().0, 1).unwrap();
            let mut got = Mat::zeros(p, 1);
            linearization.jacobian.apply_transpose(&ctx, r.as_ref(), got.as_mut()).unwrap();
            let largest = gradient.iter().chain(&c.theta).fold(0.0, |m: f64, g| m.max(g.f64().abs()));
            let error = got.as_slice().iter().zip(&gradient).fold(0.0, |m: f64, (a, b)| {
                let gap = (a.f64() - b.f64()).abs();
                if gap <= m { m } else { gap }
            });
            // S S⁺ costs the digits of r beside its product with S
            let stretch = r.as_slice().iter().fold(1.0, |m: f64, r| m.max(r.f64().abs()));
            let limit = tolerance::<T>(size(&c), stretch) * largest.max(1.0);
            assert!(error <= limit, "{place}: gradient off by {error:e}, limit {limit:e}");
        }
    }
}

/// Damped solves in sample space are those with (G + λI), to κ ε; and so is the root.
fn damped_solves_equal_the_dense_ones<T: Scalar>() {
    for loss in LOSSES {
        for (widths, cases) in [(&[3, 6, 3][..], 4), (&[4, 5, 2], 31), (&[2, 3], 33)] {
            let c = case::<T>(widths, Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, cases, 90);
            let p = c.theta.len();
            let g = Mat::from_vec(Random::new(91).vector::<T>(p, 1.0), p, 1).unwrap();
            for ctx in contexts::<T>() {
                let place = format!("{} on {}", c.name, ctx.backend().name());
                let j = jacobian(&ctx, &c);
                let rows = rows(&ctx, &j);
                let ggn = product(&rows, Op::No, &rows, Op::Transpose);
                let wide = Ctx::<f64>::reference();
                let largest = *SymEigen::new(&wide, ggn.clone()).unwrap().values().last().unwrap();
                for relative in [1.0, 1e-2, 1e-4] {
                    let lambda = T::of(relative * largest);
                    let (l, kappa) = (lambda.f64(), 1.0 + 1.0 / relative);
                    let mut want = Mat::zeros(p, 1);
                    let dense = Dense::new(ggn.clone()).unwrap().damped(&wide, Damping::new(l).unwrap()).unwrap();
                    dense.solve(&wide, g.cast().as_ref(), want.as_mut()).unwrap();
                    // rounding in J by layers, then the solve; ‖x‖ <= ‖g‖/λ
                    let limit = tolerance::<T>(size(&c), kappa) * (p as f64).sqrt() / l;
                    for path in [DirectPath::Primal, DirectPath::Kernel] {
                        let solver = SampleSpace::new(&j).direct(&ctx, Damping::new(lambda).unwrap(), path).unwrap();
                        let mut x = Mat::from_fn(p, 1, |_, _| T::nan());
                        solver.solve(&ctx, g.as_ref(), x.as_mut()).unwrap();
                        let error = x.as_slice().iter().zip(want.as_slice()).fold(0.0, |m: f64, (a, b)| {
                            let gap = (a.f64() - b).abs();
                            if gap <= m { m } else { gap }
                        });
                        assert!(error <= limit, "{place}, {path:?}, {relative:e}: off by {error:e}, limit {limit:e}");
                        let root = solver.inverse_square_root(&ctx).unwrap().to_dense(&ctx).unwrap();
                        let inverse = product(&root, Op::No, &root, Op::Transpose);
                        let r =
                            Mat::from_fn(p, 1, |i, _| (0..p).map(|k| inverse[(i, k)] * g[(k, 0)].f64()).sum::<f64>());
                        let gap =
                            r.as_slice().iter().zip(want.as_slice()).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
                        assert!(gap <= limit, "{place}, {path:?}: root off by {gap:e}, limit {limit:e}");
                    }
                }
            }
        }
    }
}

for_both!(equals_the_definition, residual_gives_the_gradient, damped_solves_equal_the_dense_ones);

/// A step through the kernel holds far fewer than N P numbers of scratch, with many parameters and few cases.
#[test]
fn no_jacobian_is_made() {
    for loss in LOSSES {
        let c =
            case::<f64>(&[20, 60, 60, 3], Activation::Tanh, Activation::Identity, loss, Reduction::Mean, 0.0, 8, 92);
        let ctx = Ctx::<f64>::reference();
        let j = jacobian(&ctx, &c);
        let (n, p) = j.shape();
        let solver = SampleSpace::new(&j).direct(&ctx, Damping::try_from(0.1).unwrap(), DirectPath::Kernel).unwrap();
        let mut x = Mat::zeros(p, 1);
        solver.solve(&ctx, Mat::from_fn(p, 1, |_, _| 1.0).as_ref(), x.as_mut()).unwrap();
        solver.solve_residual(&ctx, Mat::from_fn(n, 1, |_, _| 1.0).as_ref(), x.as_mut()).unwrap();
        let numbers = ctx.high_water() / size_of::<f64>();
        assert!(numbers < n * p / 10, "{loss:?}: {numbers} numbers of scratch, N P = {}", n * p);
    }
}

#[test]
fn few_cases_choose_the_kernel_and_its_cost_is_that_of_the_layers() {
    let ctx = Ctx::<f64>::default();
    let c = case::<f64>(
        &[10, 40, 2],
        Activation::Tanh,
        Activation::Identity,
        Loss::SquaredError,
        Reduction::Mean,
        0.0,
        6,
        93,
    );
    let j = jacobian(&ctx, &c);
    let (n, p) = (12.0, (40 * 11 + 2 * 41) as f64);
    let costs = j.costs();
    assert_eq!(costs.product, (4.0 * p - 2.0 * 440.0) * 6.0);
    let layers = n * n * (40.0 + 2.0) + 36.0 * 11.0 + n * n * (2.0 + 2.0) + 36.0 * 41.0;
    assert_eq!(costs.kernel, layers + 2.0 * (p - 440.0) * n);
    assert!(costs.kernel < n * n * p);
    let solver = SampleSpace::new(&j).damped(&ctx, Damping::try_from(1e-6).unwrap()).unwrap();
    assert_eq!(solver.path(), SolvePath::Kernel);
    let options = SampleSpaceOptions { path: SampleSpacePath::Lsmr, ..SampleSpaceOptions::default() };
    let solver = SampleSpace::new(&j).with_options(options).unwrap().damped(&ctx, Damping::try_from(1e-6).unwrap());
    assert_eq!(solver.unwrap().path(), SolvePath::Lsmr);
}

#[test]
fn bad_arguments_are_typed_errors() {
    let ctx = Ctx::<f32>::default();
    let c = case::<f32>(
        &[2, 2],
        Activation::Tanh,
        Activation::Identity,
        Loss::BernoulliCrossEntropy,
        Reduction::Sum,
        0.0,
        2,
        94,
    );
    assert!(matches!(MlpJacobian::new(&ctx, &c.net, &c.theta[1..], &c.batch).map(|_| ()), Err(Error::Shape { .. })));
    let j = jacobian(&ctx, &c);
    assert!(matches!(j.residual(&ctx, &mut [0.0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(j.column_squares(&ctx, &mut [0.0; 3]), Err(Error::Shape { .. })));
    // certain and wrong: p underflows to 0 where t = 1
    let x = Mat::from_fn(2, 1, |_, _| 1.0f32);
    let batch = Batch::new(x.as_ref(), Mat::from_fn(2, 1, |_, _| 1.0f32).as_ref()).unwrap();
    let theta = [-400.0f32; 6];
    let j = MlpJacobian::new(&ctx, &c.net, &theta, &batch).unwrap();
    assert!(matches!(j.residual(&ctx, &mut [0.0; 2]), Err(Error::NotFinite { op: "residual", .. })));
    // certain and right
    let batch = Batch::new(x.as_ref(), Mat::zeros(2, 1).as_ref()).unwrap();
    let j = MlpJacobian::new(&ctx, &c.net, &theta, &batch).unwrap();
    let mut r = [1.0f32; 2];
    j.residual(&ctx, &mut r).unwrap();
    assert_eq!(r, [0.0, 0.0]);
}
