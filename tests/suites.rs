//! The conformance suites on our own operators, preconditioners, solvers, averages and optimizers. Curvatures:
//! curvatures.rs; backends: backends.rs.

use pullback::curvature::{Dense, Diagonal, KroneckerDamping};
use pullback::error::check_shape;
use pullback::factor::SymEigen;
use pullback::kronecker::KroneckerProduct;
use pullback::krylov::{CgOptions, CgStart, CgStop, pcg};
use pullback::linop::{DenseOperator, FnOperator, Identity, Scaled, Shifted, Sum, SymmetricDense};
use pullback::optim::{Adam, IterateAverage, Kfac, KfacOptions, MomentumKind, Objective, Rejection, Sgd};
use pullback::stats::KroneckerFactors;
use pullback::testing::dense::{kron, shifted};
use pullback::testing::krylov::{Domain, Outcome};
use pullback::testing::optimizer::Goal;
use pullback::testing::{
    self, Claim, LeastSquares, Regression, average, capability, gallery, operator, optimizer, preconditioner, tolerance,
};
use pullback::{Ctx, Curvature, Damping, LinearOperator, Mat, Op, Scalar, conformance};

const ORDERS: [usize; 8] = [0, 1, 2, 3, 31, 32, 33, 129];

/// gemv as a closure, on the textbook loops.
fn products<T: Scalar>(a: Mat<T>) -> FnOperator<T, impl Fn(&[T], &mut [T]) -> pullback::Result<()> + Send + Sync> {
    FnOperator::new(a.nrows(), move |v: &[T], out: &mut [T]| {
        Ctx::reference().gemv(T::ONE, a.as_ref(), Op::No, v, T::ZERO, out)
    })
}

conformance! {
    fn general_operators<T>(setup) {
        let shapes = [(0, 3), (3, 0), (1, 1), (2, 5), (33, 31), (64, 129)];
        let dense = shapes.into_iter().flat_map(|(m, n)| {
            let a = gallery::uniform::<T>(m, n, 3);
            let (double, sum) = (a.map(|x| x + x).cast(), a.map(|x| x + T::ONE).cast());
            let ones = Mat::from_fn(m, n, |_, _| T::ONE);
            let plain = || DenseOperator::new(a.clone());
            [
                operator::check(setup, &Claim::exact("dense", a.cast()), |_| Ok(plain())),
                operator::check(setup, &Claim::exact("scaled", double), |_| Ok(Scaled::new(plain(), T::of(2.0)))),
                operator::check(setup, &Claim::exact("sum", sum), |_| Sum::new(plain(), DenseOperator::new(ones.clone()))),
            ]
        });
        let sides = [((1, 1), (1, 1)), ((2, 3), (4, 1)), ((5, 4), (3, 7)), ((0, 2), (3, 3)), ((33, 3), (2, 5))];
        let products = sides.into_iter().map(|(left, right)| {
            let (a, b) = (gallery::uniform::<T>(left.0, left.1, 4), gallery::uniform::<T>(right.0, right.1, 5));
            let claim = Claim::exact("Kronecker product", kron(&a, &b));
            operator::check(setup, &claim, |_| KroneckerProduct::new(a.clone(), b.clone()))
        });
        dense.chain(products).collect()
    }

    fn self_adjoint_operators<T>(setup) {
        ORDERS.into_iter().flat_map(|n| {
            let a = gallery::spd::<T>(n, 10.0, 6);
            let exact = |name: &str, matrix: Mat<f64>| Claim::exact(name, matrix);
            let moved = shifted(&a.cast(), -0.5);
            let symmetric = |_: &Ctx<T>| SymmetricDense::new(a.clone());
            [
                operator::check_self_adjoint(setup, &exact("symmetric", a.cast()), symmetric),
                operator::check_self_adjoint(setup, &exact("closure", a.cast()), |_| Ok(products(a.clone()))),
                operator::check_self_adjoint(setup, &exact("identity", Mat::identity(n)), |_| Ok(Identity::new(n))),
                operator::check_self_adjoint(setup, &exact("boxed", a.cast()), |ctx| symmetric(ctx).map(Box::new)),
                operator::check_self_adjoint(setup, &exact("shifted", moved.clone()), |ctx| {
                    Ok(Shifted::new(symmetric(ctx)?, T::of(-0.5)))
                }),
                capability::check_diagonal(setup, &exact("symmetric", a.cast()), symmetric),
                capability::check_diagonal(setup, &exact("identity", Mat::identity(n)), |_| Ok(Identity::new(n))),
                capability::check_diagonal(setup, &exact("shifted", moved), |ctx| {
                    Ok(Shifted::new(symmetric(ctx)?, T::of(-0.5)))
                }),
            ]
        }).collect()
    }

    fn preconditioners<T>(setup) {
        let lambda = |value: f64| Damping::try_from(value);
        ORDERS.into_iter().flat_map(|n| {
            let d: Vec<T> = (0..n).map(|i| T::of(1.0 + (i % 5) as f64)).collect();
            let inverse: Vec<f64> = d.iter().map(|d| 1.0 / (d.f64() + 1.0)).collect();
            let a = gallery::spd::<T>(n, 10.0, 7);
            let jacobi = Claim::exact("Jacobi", Mat::from_diagonal(&inverse));
            let dense = Claim::unknown("dense inverse").with_condition(10.0);
            [
                preconditioner::check(setup, &Claim::exact("identity", Mat::identity(n)), |_| Ok(Identity::new(n))),
                preconditioner::check(setup, &jacobi, |ctx| Diagonal::new(d.clone())?.damped(ctx, lambda(1.0)?)),
                preconditioner::check(setup, &dense, |ctx| Dense::new(a.clone())?.damped(ctx, lambda(0.1)?)),
            ]
        }).collect()
    }

    fn conjugate_gradient<T>(setup) {
        let starts = [("pcg", CgStart::Given), ("pcg from zero", CgStart::Zero)];
        starts.into_iter().map(|(name, start)| {
            testing::krylov::check(setup, name, Domain::PositiveDefinite, |ctx, a, b, x, relative_tolerance| {
                let options = CgOptions { relative_tolerance, start, ..CgOptions::default() };
                let report = pcg(ctx, a, None, b, x, &options)?;
                let converged = report.stop() == CgStop::Converged;
                Ok(Outcome { converged, relative_residual: report.relative_residual(), iterations: report.iterations() })
            })
        }).collect()
    }

    fn averages<T>(setup) {
        let factors = average::check(setup, "the activations' factor", |decay| {
            let mut factors = KroneckerFactors::<T>::new(1, 5, decay);
            move |x: &[T]| {
                let ctx = Ctx::reference();
                let roots = Mat::from_fn(5, 1, |i, _| x[i].sqrt());
                factors.begin();
                factors.add_activations(&ctx, roots.as_ref(), T::ONE)?;
                factors.add_gradients(&ctx, Mat::identity(1).as_ref(), T::ONE)?;
                let snapshot = factors.snapshot(KroneckerDamping::Exact)?.expect("one update was made");
                let dense = snapshot.to_dense(&ctx)?;
                Ok((0..5).map(|i| dense[(i, i)]).collect())
            }
        });
        let iterates = average::check(setup, "averaged iterates", |decay| {
            let mut average = IterateAverage::<T>::new(decay, 1);
            move |x: &[T]| {
                average.update(x);
                Ok(average.get().map(<[T]>::to_vec).unwrap_or_default())
            }
        });
        [factors, iterates].into_iter().collect()
    }

    fn optimizers<T>(setup) {
        let kfac = |rejection| move || Kfac::<T, Mat<T>>::new(KfacOptions { rejection, ..KfacOptions::default() });
        let sgd = |kind| move || Sgd::new(T::of(0.3), T::of(0.5), kind);
        [
            optimizer::check(setup, "heavy ball", Goal { steps: 50, share: 0.1 }, sgd(MomentumKind::HeavyBall)),
            optimizer::check(setup, "Nesterov", Goal { steps: 50, share: 0.1 }, sgd(MomentumKind::Nesterov)),
            optimizer::check(setup, "Adam", Goal::default(), || Adam::new(T::of(0.1))),
            optimizer::check(setup, "K-FAC", Goal { steps: 30, share: 0.05 }, kfac(Rejection::EveryStep)),
            optimizer::check(setup, "K-FAC that never rejects", Goal { steps: 30, share: 0.05 }, kfac(Rejection::Never)),
        ].into_iter().collect()
    }
}

conformance! {
    // one scalar by name, and a solver of symmetric systems of any sign: the pseudo-inverse through eigenvectors
    fn pseudo_inverse(setup: f64) {
        testing::krylov::check(setup, "pseudo-inverse", Domain::Symmetric, |ctx, a, b, mut x, limit| {
            check_shape("pseudo-inverse: B", (a.dim(), b.ncols()), b.shape())?;
            check_shape("pseudo-inverse: X", b.shape(), x.shape())?;
            let failed = Outcome { converged: false, relative_residual: 1.0, iterations: 0 };
            let dense = a.to_dense(ctx)?;
            if !b.is_finite() || !dense.as_ref().is_finite() {
                x.fill(0.0);
                return Ok(failed);
            }
            let eigen = SymEigen::new(ctx, dense)?;
            let largest = eigen.values().iter().fold(0f64, |m, w| m.max(w.abs()));
            let floor = tolerance::<f64>(a.dim(), 1.0) * largest;
            eigen.map_apply(ctx, |w| if w.abs() > floor { 1.0 / w } else { 0.0 }, b, x.rb_mut())?;
            let mut product = Mat::zeros(b.nrows(), b.ncols());
            a.apply(ctx, x.rb(), product.as_mut())?;
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let relative = |j: usize| {
                let pairs = b.col(j).iter().zip(product.as_ref().col(j).to_vec());
                let (error, size) = (norm(&mut pairs.map(|(b, p)| b - p)), norm(&mut b.col(j).iter().copied()));
                if size > 0.0 { error / size } else { error }
            };
            let residual = (0..b.ncols()).map(relative).fold(0.0, f64::max);
            let iterations = usize::from(b.nrows() * b.ncols() > 0);
            Ok(Outcome { converged: residual <= limit, relative_residual: residual, iterations })
        })
    }
}

#[test]
fn the_gradient_of_the_suites_objective_is_that_of_its_loss() {
    let (ctx, h) = (Ctx::<f64>::reference(), LeastSquares::new(2, 3, 0.3));
    let batch = Regression::random(2, 3, 7, 1);
    let theta = gallery::uniform::<f64>(6, 1, 2).into_vec();
    let mut grad = vec![f64::NAN; 6];
    h.loss_grad(&ctx, &theta, &batch, &mut grad).unwrap();
    for i in 0..6 {
        // a quadratic: the central difference is exact up to rounding
        let at = |step: f64| {
            let mut moved = theta.clone();
            moved[i] += step;
            h.loss(&ctx, &moved, &batch).unwrap()
        };
        let difference = (at(0.5) - at(-0.5)) / 1.0;
        assert!((difference - grad[i]).abs() <= tolerance::<f64>(7, 10.0), "{i}: {difference} against {}", grad[i]);
    }
}
