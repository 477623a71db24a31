//! Descent and what is assembled from it: gradient descent, preconditioned, conjugate gradients, BFGS, L-BFGS.
#![cfg(feature = "nn")]

use pullback::curvature::precondition::{IncompleteCholesky, Jacobi, SparseLower};
use pullback::krylov::{CgOptions, pcg};
use pullback::linop::{Identity, SymmetricDense};
use pullback::nn::{Activation, Init, Mlp};
use pullback::optim::line_search::{Armijo, FixedStep, GridSearch, HagerZhang, SecantStep};
use pullback::optim::*;
use pullback::testing::optimizer::{Goal, check};
use pullback::testing::{Setup, gallery, tolerance};
use pullback::{Ctx, Damping, LinearOperator, Mat, MatMut, MatRef, Op, Result, Scalar};

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;

/// h(θ) = ½ θᵀAθ - bᵀθ with b the batch.
struct Quadratic<T> {
    a: Mat<T>,
    layout: ParamLayout,
}

impl<T: Scalar> Quadratic<T> {
    fn new(a: Mat<T>) -> Self {
        let layout = ParamLayout::new([(a.nrows(), 1)]);
        Self { a, layout }
    }

    /// Q diag(1..κ) Qᵀ.
    fn random(n: usize, kappa: f64, seed: u64) -> Self {
        let r: Mat<T> = gallery::uniform(n, n, seed);
        let d = |i: usize| kappa.powf(i as f64 / (n - 1).max(1) as f64);
        let mut q: Vec<Vec<f64>> = Vec::new();
        for j in 0..n {
            let mut v: Vec<f64> = (0..n).map(|i| r[(i, j)].f64()).collect();
            for _ in 0..2 {
                for u in &q {
                    let c: f64 = u.iter().zip(&v).map(|(u, v)| u * v).sum();
                    v.iter_mut().zip(u).for_each(|(v, u)| *v -= c * u);
                }
            }
            let l = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            q.push(v.iter().map(|v| v / l).collect());
        }
        let entry = |i: usize, j: usize| (0..n).map(|k| q[k][i] * d(k) * q[k][j]).sum::<f64>();
        Self::new(Mat::from_fn(n, n, |i, j| T::of(entry(i.max(j), i.min(j)))))
    }
}

impl<T: Scalar> Objective<T> for Quadratic<T> {
    type Batch = [T];

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn loss(&self, ctx: &Ctx<T>, theta: &[T], b: &[T]) -> Result<T> {
        self.loss_grad(ctx, theta, b, &mut vec![T::ZERO; theta.len()])
    }

    fn loss_grad(&self, ctx: &Ctx<T>, theta: &[T], b: &[T], grad: &mut [T]) -> Result<T> {
        ctx.gemv(T::ONE, self.a.as_ref(), Op::No, theta, T::ZERO, grad)?;
        let loss: f64 = (0..b.len()).map(|i| theta[i].f64() * (0.5 * grad[i].f64() - b[i].f64())).sum();
        grad.iter_mut().zip(b).for_each(|(g, &b)| *g -= b);
        Ok(T::of(loss))
    }
}

/// A function of two variables: Rosenbrock's, Beale's, or a badly scaled quartic.
struct Plane {
    layout: ParamLayout,
    f: fn(f64, f64) -> (f64, [f64; 2]),
}

impl Plane {
    fn all() -> [(&'static str, Self, [f64; 2]); 3] {
        let rosenbrock = |x: f64, y: f64| {
            let (u, v) = (y - x * x, 1.0 - x);
            (100.0 * u * u + v * v, [-400.0 * u * x - 2.0 * v, 200.0 * u])
        };
        let beale = |x: f64, y: f64| {
            let r = [1.5 - x + x * y, 2.25 - x + x * y * y, 2.625 - x + x * y * y * y];
            let (dx, dy) = ([y - 1.0, y * y - 1.0, y.powi(3) - 1.0], [x, 2.0 * x * y, 3.0 * x * y * y]);
            let sum = |d: [f64; 3]| 2.0 * (0..3).map(|i| r[i] * d[i]).sum::<f64>();
            (r.iter().map(|r| r * r).sum(), [sum(dx), sum(dy)])
        };
        let scaled = |x: f64, y: f64| {
            let (u, v) = (1e3 * x - 1.0, 1e-1 * y - 1.0);
            (u * u + u.powi(4) + v * v, [1e3 * (2.0 * u + 4.0 * u.powi(3)), 0.2 * v])
        };
        let plane = |f| Self { layout: ParamLayout::new([(2, 1)]), f };
        [
            ("Rosenbrock", plane(rosenbrock), [-1.2, 1.0]),
            ("Beale", plane(beale), [1.0, 1.0]),
            ("badly scaled", plane(scaled), [0.0, 0.0]),
        ]
    }
}

impl Objective<f64> for Plane {
    type Batch = ();

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn loss(&self, _ctx: &Ctx<f64>, theta: &[f64], _batch: &()) -> Result<f64> {
        Ok((self.f)(theta[0], theta[1]).0)
    }

    fn loss_grad(&self, _ctx: &Ctx<f64>, theta: &[f64], _batch: &(), grad: &mut [f64]) -> Result<f64> {
        let (loss, g) = (self.f)(theta[0], theta[1]);
        grad.copy_from_slice(&g);
        Ok(loss)
    }
}

const FORMULAS: [CgFormula; 4] =
    [CgFormula::FletcherReeves, CgFormula::PolakRibierePlus, CgFormula::HestenesStiefel, CgFormula::HagerZhang];

fn cg<T: Scalar>(formula: CgFormula) -> NonlinearCg<T> {
    NonlinearCg::new(NonlinearCgOptions { formula, ..NonlinearCgOptions::default() }).unwrap()
}

fn vector<T: Scalar>(n: usize, seed: u64) -> Vec<T> {
    gallery::uniform::<T>(n, 1, seed).into_vec()
}

fn norm<T: Scalar>(x: &[T]) -> f64 {
    x.iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}

fn distance<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a.f64() - b.f64()).powi(2)).sum::<f64>().sqrt()
}

fn the_public_suite_holds<T: Scalar>() {
    let setup = Setup::<T>::default();
    let goal = |steps, share| Goal { steps, share };
    check(&setup, "gradient descent", goal(50, 0.05), || Ok(GradientDescent::new())).assert_passed();
    check(&setup, "gradient descent, fixed", goal(50, 0.2), || GradientDescent::fixed(0.3)).assert_passed();
    check(&setup, "gradient descent, grid, fixed batch", goal(50, 0.05), || {
        Ok(GradientDescent::new().with_search(GridSearch::default()).with_batches(Batches::Fixed))
    })
    .assert_passed();
    check(&setup, "preconditioned", goal(50, 0.05), || Ok(PreconditionedGradient::new(Identity::new(15))))
        .assert_passed();
    for formula in FORMULAS {
        check(&setup, "conjugate gradients", goal(30, 1e-2), || Ok(cg(formula))).assert_passed();
        check(&setup, "conjugate gradients by Hager and Zhang's search", goal(30, 1e-2), || {
            Ok(cg(formula).with_search(HagerZhang::default()).with_batches(Batches::Fixed))
        })
        .assert_passed();
    }
    for curvature in [CurvatureRule::default(), CurvatureRule::Damp(0.2)] {
        for batches in [Batches::Changing, Batches::Fixed] {
            let bfgs = || Ok(Bfgs::new(BfgsOptions { curvature, ..BfgsOptions::default() })?.with_batches(batches));
            check(&setup, "BFGS", goal(30, 1e-3), bfgs).assert_passed();
            let lbfgs = || Ok(Lbfgs::new(LbfgsOptions { curvature, ..LbfgsOptions::default() })?.with_batches(batches));
            check(&setup, "L-BFGS", goal(30, 1e-3), lbfgs).assert_passed();
            check(&setup, "L-BFGS, Armijo", goal(30, 1e-3), || Ok(lbfgs()?.with_search(Armijo::default())))
                .assert_passed();
        }
    }
}

fn conjugate_gradients_are_linear_ones_on_quadratics<T: Scalar>() {
    let (n, kappa, steps) = (12, 10.0, 6);
    let (h, b, ctx) = (Quadratic::<T>::random(n, kappa, 3), vector::<T>(n, 4), Ctx::reference());
    let operator = SymmetricDense::new(h.a.clone()).unwrap();
    for formula in FORMULAS {
        let (mut ours, mut theta) = (cg::<T>(formula).with_search(SecantStep), vec![T::ZERO; n]);
        for k in 1..=steps {
            ours.step(&ctx, &h, &mut theta, &b).unwrap();
            let mut x = vec![T::ZERO; n];
            let options = CgOptions { max_iterations: k, relative_tolerance: T::ZERO, ..CgOptions::from_zero() };
            pcg(&ctx, &operator, None, MatRef::from_column(&b), MatMut::from_column(&mut x), &options).unwrap();
            // each step hands its rounding on, at most κ-fold; the curvature along p is a difference of slopes
            let tol = tolerance::<T>(n * k, kappa * kappa) * norm(&x);
            assert!(
                distance(&theta, &x) <= tol,
                "{formula:?}, step {k}, {}: {:e}",
                T::NAME,
                distance(&theta, &x) / tol
            );
        }
    }
}

/// H of BFGS, checked for symmetry.
fn inverse<T: Scalar>(direction: &BfgsDirection<T>, n: usize) -> Mat<f64> {
    let m = Mat::from_vec(direction.inverse().unwrap().to_vec(), n, n).unwrap();
    assert_eq!(m, m.transposed());
    m.cast()
}

fn bfgs_meets_the_secant_equation_stays_positive_definite_and_ends_in_n_steps<T: Scalar>() {
    let (n, kappa) = (8, 20.0);
    let (h, b, ctx) = (Quadratic::<T>::random(n, kappa, 5), vector::<T>(n, 6), Ctx::reference());
    let gradient = |theta: &[T]| {
        let mut g = vec![T::ZERO; n];
        h.loss_grad(&ctx, theta, &b, &mut g).unwrap();
        g
    };
    let options = BfgsOptions { initial: InitialMatrix::Fixed(1.0), ..BfgsOptions::default() };
    let (mut bfgs, mut theta) = (Bfgs::<T>::new(options).unwrap().with_search(SecantStep), vec![T::ZERO; n]);
    let first = norm(&gradient(&theta));
    for k in 1..=n {
        let (before, old) = (theta.clone(), gradient(&theta));
        let report = bfgs.step(&ctx, &h, &mut theta, &b).unwrap();
        assert!(!report.rejected && report.search.is_some_and(|s| s.accepted()), "{report:?}");
        let m = inverse(bfgs.direction(), n);
        let s: Vec<f64> = theta.iter().zip(&before).map(|(a, b)| (*a - *b).f64()).collect();
        let y: Vec<f64> = gradient(&theta).iter().zip(&old).map(|(a, b)| (*a - *b).f64()).collect();
        let mut hy = vec![0.0; n];
        Ctx::reference().gemv(1.0, m.as_ref(), Op::No, &y, 0.0, &mut hy).unwrap();
        let size = m.as_slice().iter().map(|x| x * x).sum::<f64>().sqrt() * norm(&y);
        assert!(distance(&hy, &s) <= tolerance::<T>(n * k, kappa) * size, "step {k}: H y is not s");
        assert!(pullback::factor::Cholesky::new(&Ctx::reference(), m).is_ok(), "step {k}: H is not positive definite");
    }
    let left = norm(&gradient(&theta)) / first;
    assert!(left <= tolerance::<T>(n * n, kappa * kappa), "after {n} steps the gradient is {left:e} of the first");
}

fn lbfgs_with_all_pairs_is_bfgs<T: Scalar>() {
    let (n, kappa, steps) = (10, 30.0, 14);
    let (h, b, ctx) = (Quadratic::<T>::random(n, kappa, 7), vector::<T>(n, 8), Ctx::reference());
    let initial = InitialMatrix::Fixed(0.05);
    let search = FixedStep::new(0.5).unwrap(); // no decision that rounding could turn
    let full = BfgsOptions { initial, ..BfgsOptions::default() };
    let mut full = Bfgs::<T>::new(full).unwrap().with_search(search);
    let run = |memory| {
        let options = LbfgsOptions { memory, initial, ..LbfgsOptions::default() };
        let (mut lbfgs, mut theta) = (Lbfgs::<T>::new(options).unwrap().with_search(search), vec![T::ONE; n]);
        let mut all = Vec::new();
        for _ in 0..steps {
            lbfgs.step(&ctx, &h, &mut theta, &b).unwrap();
            all.push(theta.clone());
        }
        assert_eq!(lbfgs.direction().pairs(), memory.min(steps));
        all
    };
    let (whole, short) = (run(steps), run(2));
    let (mut theta, mut differs) = (vec![T::ONE; n], 0.0f64);
    for k in 0..steps {
        full.step(&ctx, &h, &mut theta, &b).unwrap();
        let tol = tolerance::<T>(n * (k + 1), kappa * kappa) * norm(&theta);
        assert!(distance(&theta, &whole[k]) <= tol, "step {k}: {:e} of {tol:e}", distance(&theta, &whole[k]));
        differs = differs.max(distance(&theta, &short[k]) / norm(&theta));
    }
    // the control: with two pairs it is another method
    assert!(differs > tolerance::<T>(n * steps, kappa), "{differs:e}");
}

/// θ = R w̃: the objective in w̃, h̃(w̃) = h(R w̃), with H̃ = Rᵀ A R and b̃ = Rᵀ b (Eq 7-9).
fn transformed(h: &Quadratic<f64>, b: &[f64], r: &Mat<f64>) -> (Quadratic<f64>, Vec<f64>) {
    let (n, ctx) = (b.len(), Ctx::reference());
    let (mut ar, mut rar, mut rb) = (Mat::zeros(n, n), Mat::zeros(n, n), vec![0.0; n]);
    ctx.gemm(1.0, h.a.as_ref(), Op::No, r.as_ref(), Op::No, 0.0, ar.as_mut()).unwrap();
    ctx.gemm(1.0, r.as_ref(), Op::Transpose, ar.as_ref(), Op::No, 0.0, rar.as_mut()).unwrap();
    ctx.gemv(1.0, r.as_ref(), Op::Transpose, b, 0.0, &mut rb).unwrap();
    (Quadratic::new(rar), rb)
}

fn times(r: &Mat<f64>, x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; r.nrows()];
    Ctx::reference().gemv(1.0, r.as_ref(), Op::No, x, 0.0, &mut y).unwrap();
    y
}

#[test]
fn preconditioned_descent_is_descent_in_other_coordinates() {
    let (n, kappa, steps) = (9, 50.0, 10);
    let (h, b, ctx) = (Quadratic::<f64>::random(n, kappa, 9), vector::<f64>(n, 10), Ctx::reference());
    let diagonal: Vec<f64> = (0..n).map(|i| 1.0 + i as f64).collect();
    let jacobi = Jacobi::from_diagonal(diagonal.clone(), Damping::try_from(1.0).unwrap()).unwrap();
    let sparse = SparseLower::from_entries(
        n,
        (0..n).flat_map(|j| (j..n).map(move |i| (i, j))).map(|(i, j)| (i, j, h.a[(i, j)])),
    )
    .unwrap();
    let cholesky = IncompleteCholesky::new(&sparse, Damping::try_from(0.5).unwrap()).unwrap();
    fn root(p: &impl LinearOperator<f64>) -> Mat<f64> {
        let dense = p.to_dense(&Ctx::reference()).unwrap();
        let factor = pullback::factor::Cholesky::new(&Ctx::reference(), dense).unwrap();
        Mat::from_fn(factor.l().nrows(), factor.l().ncols(), |i, j| if i >= j { factor.l().at(i, j) } else { 0.0 })
    }
    fn compare<P: pullback::Preconditioner<f64> + Clone>(
        name: &str,
        p: P,
        r: &Mat<f64>,
        h: &Quadratic<f64>,
        b: &[f64],
        ctx: &Ctx<f64>,
        steps: usize,
        kappa: f64,
    ) {
        let n = b.len();
        let (there, rb) = transformed(h, b, r);
        let mut fixed =
            (PreconditionedGradient::fixed(p.clone(), 0.01).unwrap(), GradientDescent::fixed(0.01).unwrap());
        let mut exact =
            (PreconditionedGradient::new(p).with_search(SecantStep), GradientDescent::new().with_search(SecantStep));
        let (mut w, mut v) = (vec![0.0; n], vec![0.0; n]);
        let (mut w_exact, mut v_exact) = (vec![0.0; n], vec![0.0; n]);
        for k in 1..=steps {
            fixed.0.step(ctx, h, &mut w, b).unwrap();
            fixed.1.step(ctx, &there, &mut v, &rb).unwrap();
            exact.0.step(ctx, h, &mut w_exact, b).unwrap();
            exact.1.step(ctx, &there, &mut v_exact, &rb).unwrap();
            for (w, v) in [(&w, &v), (&w_exact, &v_exact)] {
                let tol = tolerance::<f64>(n * k, kappa) * norm(w);
                assert!(norm(w) > 0.0 && distance(w, &times(r, v)) <= tol, "{name}, step {k}");
            }
        }
    }
    compare("Jacobi", jacobi.clone(), &root(&jacobi), &h, &b, &ctx, steps, kappa);
    compare("incomplete Cholesky", cholesky.clone(), &root(&cholesky), &h, &b, &ctx, steps, kappa);
}

#[test]
fn bfgs_is_invariant_to_linear_coordinates_and_gradient_descent_to_rotations_only() {
    let (n, kappa, steps) = (6, 10.0, 5);
    let (h, b, ctx) = (Quadratic::<f64>::random(n, kappa, 11), vector::<f64>(n, 12), Ctx::reference());
    // H₀ = γI there is γ R Rᵀ here: with R orthogonal times a scalar ρ, γ' = γ / ρ²
    let rho = 8.0;
    let reflection = {
        let v = vector::<f64>(n, 14);
        let square = norm(&v).powi(2);
        Mat::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / square)
    };
    let scaled = reflection.map(|x| rho * x);
    let gamma = 0.1;
    let with = |gamma| BfgsOptions { initial: InitialMatrix::Fixed(gamma), ..BfgsOptions::default() };
    let (there, rb) = transformed(&h, &b, &scaled);
    let mut pair = (Bfgs::new(with(gamma)).unwrap(), Bfgs::new(with(gamma / (rho * rho))).unwrap());
    let (mut w, mut v) = (vec![0.0; n], vec![0.0; n]);
    for k in 1..=steps {
        pair.0.step(&ctx, &h, &mut w, &b).unwrap();
        pair.1.step(&ctx, &there, &mut v, &rb).unwrap();
        let tol = tolerance::<f64>(n * k, kappa * kappa) * norm(&w);
        assert!(distance(&w, &times(&scaled, &v)) <= tol, "BFGS, step {k}");
    }
    for (r, same) in [(&reflection, true), (&scaled, false)] {
        let (there, rb) = transformed(&h, &b, r);
        let mut pair = (GradientDescent::fixed(0.001).unwrap(), GradientDescent::fixed(0.001).unwrap());
        let (mut w, mut v) = (vec![0.0; n], vec![0.0; n]);
        for _ in 0..steps {
            pair.0.step(&ctx, &h, &mut w, &b).unwrap();
            pair.1.step(&ctx, &there, &mut v, &rb).unwrap();
        }
        let near = distance(&w, &times(r, &v)) <= tolerance::<f64>(n * steps, kappa) * norm(&w);
        assert_eq!(near, same, "gradient descent");
    }
}

/// Runs until the gradient is at most `tol`, at most `limit` steps; every step lowers the loss or is rejected.
fn minimize<P: Optimizer<f64, Plane>>(name: &str, mut optimizer: P, limit: usize, tol: f64) {
    for (problem, h, start) in Plane::all() {
        let (ctx, mut theta, mut last) = (Ctx::reference(), start.to_vec(), f64::INFINITY);
        for k in 0.. {
            let before = theta.clone();
            let report = optimizer.step(&ctx, &h, &mut theta, &()).unwrap();
            last = report.gradient_norm.unwrap();
            if last <= tol {
                break;
            }
            assert!(k < limit, "{name} on {problem}: gradient {last:e} after {k} steps at {theta:?}");
            let noise = tolerance::<f64>(1, 1.0) * report.loss_before;
            assert!(
                report.loss_after.is_none_or(|loss| loss <= report.loss_before + noise),
                "{name} on {problem}, {k}"
            );
            assert!(!report.rejected || theta == before, "{name} on {problem}");
        }
        assert!(last <= tol);
    }
}

#[test]
fn curved_valleys_and_bad_scales_are_minimized() {
    // gradients are known to ε times the curvature 10⁶ of the badly scaled function
    let tol = tolerance::<f64>(1, 1e6);
    for batches in [Batches::Changing, Batches::Fixed] {
        minimize("BFGS", Bfgs::new(BfgsOptions::default()).unwrap().with_batches(batches), 150, tol);
        let damped = BfgsOptions { curvature: CurvatureRule::Damp(0.2), ..BfgsOptions::default() };
        minimize("BFGS, damped", Bfgs::new(damped).unwrap().with_batches(batches), 150, tol);
        minimize("L-BFGS", Lbfgs::new(LbfgsOptions::default()).unwrap().with_batches(batches), 150, tol);
        for formula in FORMULAS {
            let options = NonlinearCgOptions { formula, restart_every: Some(20), ..NonlinearCgOptions::default() };
            minimize(&format!("{formula:?}"), NonlinearCg::new(options).unwrap().with_batches(batches), 2000, tol);
        }
    }
}

#[test]
fn a_fixed_batch_costs_no_gradient_twice_and_a_changed_theta_is_seen() {
    let (h, b, ctx) = (Quadratic::<f64>::random(7, 10.0, 15), vector::<f64>(7, 16), Ctx::reference());
    let run = |batches, disturb: bool| {
        let (mut bfgs, mut theta) = (Bfgs::new(BfgsOptions::default()).unwrap().with_batches(batches), vec![1.0; 7]);
        let (mut passes, mut all) = (Passes::default(), Vec::new());
        for k in 0..6 {
            if disturb && k == 3 {
                theta[0] += 0.25;
            }
            let report = bfgs.step(&ctx, &h, &mut theta, &b).unwrap();
            assert_eq!(report.passes.forward, report.passes.backward);
            let evaluations = report.search.unwrap().evaluations as u64;
            let fresh = u64::from(k == 0 || batches == Batches::Changing || (disturb && k == 3));
            assert_eq!(report.passes.forward, evaluations + fresh, "step {k}");
            passes += report.passes;
            all.push(theta.clone());
        }
        (all, passes)
    };
    for disturb in [false, true] {
        let ((changing, more), (fixed, less)) = (run(Batches::Changing, disturb), run(Batches::Fixed, disturb));
        assert_eq!(changing, fixed);
        assert!(less.total() < more.total());
    }
}

/// A direction that goes uphill until it is reset.
struct Uphill(bool);

impl<O: Objective<f64> + ?Sized> Direction<f64, O> for Uphill {
    fn direction(
        &mut self,
        _: &Ctx<f64>,
        _: &O,
        _: &O::Batch,
        _: &[f64],
        gradient: &[f64],
        out: &mut [f64],
    ) -> Result<DirectionReport> {
        let sign = if self.0 { 1.0 } else { f64::NAN };
        out.iter_mut().zip(gradient).for_each(|(p, g)| *p = sign * g);
        Ok(DirectionReport::default())
    }

    fn accepted(&mut self, _: &Ctx<f64>, step: AcceptedStep<'_, f64>) -> Result<()> {
        assert!(step.direction.iter().zip(step.gradient).all(|(p, g)| *p == -g));
        Ok(())
    }

    fn reset(&mut self) {
        self.0 = false;
    }
}

#[test]
fn a_direction_that_does_not_descend_becomes_the_gradient_and_is_reported() {
    let (h, b, ctx) = (Quadratic::<f64>::random(5, 10.0, 17), vector::<f64>(5, 18), Ctx::reference());
    let (mut descent, mut theta) = (Descent::assemble(Uphill(true), Armijo::default()), vec![1.0; 5]);
    let report = descent.step(&ctx, &h, &mut theta, &b).unwrap();
    assert!(report.restarted && !report.rejected && report.loss_after.unwrap() < report.loss_before, "{report:?}");
}

/// k steps, a round trip through a value of serde, k more steps: the bits of 2k steps.
fn resumes<P>(name: &str, make: impl Fn() -> P)
where
    P: Optimizer<f64, Quadratic<f64>> + serde::Serialize + serde::de::DeserializeOwned,
{
    let (h, b, ctx) = (Quadratic::<f64>::random(6, 30.0, 19), vector::<f64>(6, 20), Ctx::reference());
    let (mut whole, mut theta) = (make(), vec![1.0; 6]);
    for _ in 0..8 {
        whole.step(&ctx, &h, &mut theta, &b).unwrap();
    }
    let (mut part, mut resumed) = (make(), vec![1.0; 6]);
    for _ in 0..4 {
        part.step(&ctx, &h, &mut resumed, &b).unwrap();
    }
    let mut part: P = serde_json::from_value(serde_json::to_value(&part).unwrap()).unwrap();
    for _ in 0..4 {
        part.step(&ctx, &h, &mut resumed, &b).unwrap();
    }
    assert_eq!(theta, resumed, "{name}");
}

#[test]
fn resumed_runs_are_the_same_to_the_bit() {
    for batches in [Batches::Changing, Batches::Fixed] {
        resumes("gradient descent", || GradientDescent::new().with_batches(batches));
        resumes("fixed", || GradientDescent::fixed(0.01).unwrap().with_batches(batches));
        for formula in FORMULAS {
            resumes("conjugate gradients", || cg(formula).with_batches(batches));
        }
        resumes("BFGS", || Bfgs::new(BfgsOptions::default()).unwrap().with_batches(batches));
        let lbfgs = LbfgsOptions { memory: 3, ..LbfgsOptions::default() };
        resumes("L-BFGS", || Lbfgs::new(lbfgs).unwrap().with_search(HagerZhang::default()).with_batches(batches));
    }
}

#[test]
fn a_small_network_is_fitted() {
    let net = Mlp::<f64>::builder(1).layer(8, Activation::Tanh).layer(1, Activation::Identity).build().unwrap();
    let x = Mat::from_fn(1, 24, |_, j| j as f64 / 12.0 - 1.0);
    let batch = net.batch(x.as_ref(), x.map(|x| (3.0 * x).sin()).as_ref()).unwrap();
    let fit = |name: &str, optimizer: &mut dyn Optimizer<f64, Mlp<f64>>, steps: usize, share: f64| {
        let (ctx, mut theta) = (Ctx::reference(), net.init(Init::GlorotUniform, 1));
        let before = net.loss(&ctx, &theta, &batch).unwrap();
        for _ in 0..steps {
            optimizer.step(&ctx, &net, &mut theta, &batch).unwrap();
        }
        let after = net.loss(&ctx, &theta, &batch).unwrap();
        assert!(after <= share * before, "{name}: {after:e} of {before:e}");
    };
    fit("gradient descent", &mut GradientDescent::new(), 100, 0.1);
    let identity = Identity::new(net.layout().len());
    fit("preconditioned", &mut PreconditionedGradient::new(identity), 100, 0.1);
    for formula in FORMULAS {
        fit("conjugate gradients", &mut cg(formula), 100, 0.02);
    }
    fit("BFGS", &mut Bfgs::new(BfgsOptions::default()).unwrap().with_batches(Batches::Fixed), 100, 1e-3);
    fit("L-BFGS", &mut Lbfgs::new(LbfgsOptions::default()).unwrap().with_batches(Batches::Fixed), 100, 1e-3);
}

#[test]
fn options_outside_their_domain_are_errors() {
    assert!(Lbfgs::<f64>::new(LbfgsOptions { memory: 0, ..LbfgsOptions::default() }).is_err());
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let initial = InitialMatrix::Fixed(bad);
        assert!(Bfgs::<f64>::new(BfgsOptions { initial, ..BfgsOptions::default() }).is_err());
        let curvature = CurvatureRule::Damp(bad);
        assert!(Bfgs::<f64>::new(BfgsOptions { curvature, ..BfgsOptions::default() }).is_err());
    }
    let options = NonlinearCgOptions { restart_every: Some(0), ..NonlinearCgOptions::default() };
    assert!(NonlinearCg::<f64>::new(options).is_err());
}

for_both!(
    the_public_suite_holds,
    conjugate_gradients_are_linear_ones_on_quadratics,
    bfgs_meets_the_secant_equation_stays_positive_definite_and_ends_in_n_steps,
    lbfgs_with_all_pairs_is_bfgs,
);
