//! One conformance function for every direct curvature: the laws of `LinearOperator`, `Curvature` and `DampedInverse`.
#![allow(dead_code)] // each test file uses its own part

use pullback::curvature::{Definiteness, Fidelity, PiRule, SolveReport};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedInverse, DampedSolver, Damping, Error, HasDiagonal, LinearOperator, Mat, Scalar};

use super::{distance, kron, norm, random, row_sum_norm, shifted, times};

pub fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

/// What a curvature claims to be: its matrix, the matrix that λ turns it into, and how that is solved.
pub struct Claim<'a, T> {
    name: String,
    matrix: Mat<f64>,
    system: Box<dyn Fn(T) -> Mat<f64> + 'a>,
    fidelity: Fidelity,
}

impl<'a, T: Scalar> Claim<'a, T> {
    pub fn exact(name: impl Into<String>, matrix: Mat<f64>) -> Self {
        let system = {
            let matrix = matrix.clone();
            move |lambda: T| shifted(&matrix, lambda.f64())
        };
        Self { name: name.into(), matrix, system: Box::new(system), fidelity: Fidelity::Exact }
    }

    pub fn factored(name: impl Into<String>, matrix: Mat<f64>, system: impl Fn(T) -> Mat<f64> + 'a) -> Self {
        Self { name: name.into(), matrix, system: Box::new(system), fidelity: Fidelity::Factored }
    }
}

/// (A + π √λ I) ⊗ (S + (√λ/π) I), formed.
pub fn factored_system<T: Scalar>(a: &Mat<T>, s: &Mat<T>, rule: PiRule<T>, lambda: T) -> Mat<f64> {
    let pi = rule.pi(a.as_ref(), s.as_ref());
    let (shift_a, shift_s) = PiRule::shifts(pi, Damping::new(lambda).unwrap());
    kron(&shifted(&a.cast(), shift_a.f64()), &shifted(&s.cast(), shift_s.f64()))
}

/// Every law of the contract, on every backend.
pub fn conforms<T: Scalar, C>(claim: &Claim<'_, T>, c: &C)
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    for ctx in contexts::<T>() {
        let place = format!("{} of order {} on {} in {}", claim.name, c.dim(), ctx.backend().name(), T::NAME);
        operator_laws(&place, &ctx, claim, c);
        solver_laws(&place, &ctx, claim, c);
        shape_laws(&place, &ctx, c);
    }
}

fn operator_laws<T: Scalar, C: Curvature<T>>(place: &str, ctx: &Ctx<T>, claim: &Claim<'_, T>, c: &C) {
    const COLUMNS: usize = 3;
    let n = claim.matrix.nrows();
    assert_eq!(c.shape(), (n, n), "{place}: shape");
    let (x, y0) = (random::<T>(n, COLUMNS, 1), random::<T>(n, COLUMNS, 2));
    let limit = tolerance::<T>(n, 1.0) * norm(&claim.matrix) * norm(&x);
    let want = times(&claim.matrix, &x.cast());

    let mut y = Mat::from_fn(n, COLUMNS, |_, _| T::nan());
    c.apply(ctx, x.as_ref(), y.as_mut()).unwrap();
    let error = distance(&y, &want);
    assert!(error <= limit, "{place}: apply is off by {error:e}, limit {limit:e}");
    for k in 0..COLUMNS {
        let mut column = Mat::zeros(n, 1);
        c.apply(ctx, x.as_ref().submatrix(0, k, n, 1).unwrap(), column.as_mut()).unwrap();
        let batched = y.as_ref().submatrix(0, k, n, 1).unwrap().to_owned().cast();
        let error = distance(&column, &batched);
        assert!(error <= limit, "{place}: column {k} of a block is off by {error:e}, limit {limit:e}");
    }
    let (alpha, beta) = (T::of(1.5), T::of(-0.75));
    let combined = Mat::from_fn(n, COLUMNS, |i, j| alpha * x[(i, j)] + beta * y0[(i, j)]);
    let (mut left, mut right) = (Mat::zeros(n, COLUMNS), Mat::zeros(n, COLUMNS));
    c.apply(ctx, combined.as_ref(), left.as_mut()).unwrap();
    c.apply(ctx, y0.as_ref(), right.as_mut()).unwrap();
    let sum = Mat::from_fn(n, COLUMNS, |i, j| alpha.f64() * y[(i, j)].f64() + beta.f64() * right[(i, j)].f64());
    let twice = tolerance::<T>(n, 1.0) * norm(&claim.matrix) * 2.0 * (norm(&x) + norm(&y0));
    let error = distance(&left, &sum);
    assert!(error <= twice, "{place}: not linear by {error:e}, limit {twice:e}");

    let mut added = y0.clone();
    c.apply_add(ctx, alpha, x.as_ref(), added.as_mut()).unwrap();
    let axpy = Mat::from_fn(n, COLUMNS, |i, j| y0[(i, j)].f64() + alpha.f64() * y[(i, j)].f64());
    let error = distance(&added, &axpy);
    let limit_add = twice + tolerance::<T>(1, 1.0) * norm(&y0);
    assert!(error <= limit_add, "{place}: apply_add is off by {error:e}, limit {limit_add:e}");

    let dense = c.to_dense(ctx).unwrap();
    let error = distance(&dense, &dense.transposed().cast());
    let limit = tolerance::<T>(n, 1.0) * norm(&claim.matrix);
    assert!(error <= limit, "{place}: not symmetric by {error:e}, limit {limit:e}");

    let mut forms = [T::nan(); COLUMNS];
    c.quadratic_form(ctx, x.as_ref(), &mut forms).unwrap();
    for (k, form) in forms.iter().enumerate() {
        let want: f64 = (0..n).map(|i| x[(i, k)].f64() * want[(i, k)]).sum();
        let limit = limit * norm(&x).powi(2);
        assert!((form.f64() - want).abs() <= limit, "{place}: quadratic form {form:e}, dense {want:e}");
        if c.definiteness() == Definiteness::PositiveSemidefinite {
            assert!(form.f64() >= -limit, "{place}: quadratic form {form:e} of a semidefinite matrix");
        }
    }
}

fn solver_laws<T: Scalar, C>(place: &str, ctx: &Ctx<T>, claim: &Claim<'_, T>, c: &C)
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    const COLUMNS: usize = 2;
    let n = claim.matrix.nrows();
    let (b, size) = (random::<T>(n, COLUMNS, 3), norm(&claim.matrix));
    let size = if size > 0.0 { size } else { 1.0 };
    let mut last = f64::INFINITY;
    for relative in [1e-2, 1.0, 1e2, 1e4] {
        let lambda = damping::<T>(relative * size);
        let solver = c.damped(ctx, lambda).unwrap();
        assert_eq!(DampedSolver::dim(&solver), n, "{place}");
        assert_eq!(solver.damping(), lambda, "{place}");
        assert!(solver.fidelity() == claim.fidelity || n == 0, "{place}: {:?}", solver.fidelity());

        let mut x = Mat::from_fn(n, COLUMNS, |_, _| T::nan());
        assert_eq!(solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap(), SolveReport::Direct, "{place}");
        let system = (claim.system)(lambda.get());
        // M ⪰ λI bounds the smallest eigenvalue, the largest row sum the largest
        let kappa = row_sum_norm(&system) / lambda.get().f64();
        let error = distance(&b, &times(&system, &x.cast()));
        let limit = tolerance::<T>(n, kappa) * norm(&b);
        assert!(error <= limit, "{place}, lambda {relative:e}: residual {error:e}, limit {limit:e}");

        // one map under three names, and the same bits each time it is built
        let (mut applied, mut preconditioned, mut again) = (x.clone(), x.clone(), x.clone());
        solver.apply(ctx, b.as_ref(), applied.as_mut()).unwrap();
        solver.precondition(ctx, b.as_ref(), preconditioned.as_mut()).unwrap();
        c.damped(ctx, lambda).unwrap().solve(ctx, b.as_ref(), again.as_mut()).unwrap();
        assert!(x == applied && x == preconditioned && x == again, "{place}: solve, apply, precondition, damped again");

        // padded views
        let padded_b = Mat::from_fn(n + 2, COLUMNS, |i, j| if i < n { b[(i, j)] } else { T::nan() });
        let mut padded_x = Mat::from_fn(n + 2, COLUMNS, |_, _| T::nan());
        let rows = padded_b.as_ref().submatrix(0, 0, n, COLUMNS).unwrap();
        solver.solve(ctx, rows, padded_x.as_mut().submatrix(0, 0, n, COLUMNS).unwrap()).unwrap();
        let error = distance(&padded_x.as_ref().submatrix(0, 0, n, COLUMNS).unwrap().to_owned(), &x.cast());
        let limit = tolerance::<T>(n, kappa) * norm(&x);
        assert!(error <= limit, "{place}: padded views are off by {error:e}, limit {limit:e}");
        assert!((0..COLUMNS).all(|j| (n..n + 2).all(|i| padded_x[(i, j)].is_nan())), "{place}: padding written");

        for k in 0..COLUMNS {
            let dot: f64 = (0..n).map(|i| b[(i, k)].f64() * x[(i, k)].f64()).sum();
            assert!(dot > 0.0 || n == 0, "{place}: r' M^-1 r = {dot:e}");
        }
        assert!(norm(&x) < last || n == 0, "{place}: the solution must shrink as lambda grows");
        last = norm(&x);
        // ‖λ M⁻¹ - I‖ <= ‖M - λI‖ / λ for M ⪰ λI
        let drift = norm(&shifted(&system, -lambda.get().f64())) / lambda.get().f64();
        let scaled = x.map(|v| lambda.get() * v);
        let limit = (drift + tolerance::<T>(n, kappa)) * norm(&b);
        assert!(distance(&scaled, &b.cast()) <= limit, "{place}: lambda x tends to b");
    }
    // damping left the curvature alone
    let (mut before, mut after) = (Mat::zeros(n, COLUMNS), Mat::zeros(n, COLUMNS));
    c.apply(ctx, b.as_ref(), before.as_mut()).unwrap();
    c.damped(ctx, damping(size)).unwrap();
    c.apply(ctx, b.as_ref(), after.as_mut()).unwrap();
    assert_eq!(before, after, "{place}: damped is pure");
}

fn shape_laws<T: Scalar, C: Curvature<T>>(place: &str, ctx: &Ctx<T>, c: &C) {
    let n = c.dim();
    let solver = c.damped(ctx, damping(1.0)).unwrap();
    let wrong = |r: Result<(), Error>| assert!(matches!(r, Err(Error::Shape { .. })), "{place}: {r:?}");
    for (rows, columns) in [(n + 1, 2), (n, 3)] {
        let (x, mut y) = (Mat::zeros(rows, columns), Mat::zeros(n, 2));
        wrong(c.apply(ctx, x.as_ref(), y.as_mut()));
        wrong(c.apply_add(ctx, T::ONE, x.as_ref(), y.as_mut()));
        wrong(solver.solve(ctx, x.as_ref(), y.as_mut()).map(|_| ()));
        wrong(solver.solve(ctx, y.as_ref(), Mat::zeros(rows, columns).as_mut()).map(|_| ()));
    }
    wrong(c.quadratic_form(ctx, Mat::zeros(n, 2).as_ref(), &mut [T::ZERO; 3]));
    wrong(c.quadratic_form(ctx, Mat::zeros(n + 1, 2).as_ref(), &mut [T::ZERO; 2]));
}

pub fn diagonal_agrees<T: Scalar, C: HasDiagonal<T>>(c: &C) {
    let (ctx, n) = (Ctx::<T>::default(), c.dim());
    let mut d = vec![T::nan(); n];
    c.diagonal(&ctx, &mut d).unwrap();
    let dense: Mat<f64> = c.to_dense(&ctx).unwrap().cast();
    let want = Mat::from_fn(n, 1, |i, _| dense[(i, i)]);
    let error = distance(&Mat::from_vec(d, n, 1).unwrap(), &want);
    let limit = tolerance::<T>(n, 1.0) * norm(&dense);
    assert!(error <= limit, "diagonal off by {error:e}, limit {limit:e}");
    assert!(matches!(c.diagonal(&ctx, &mut vec![T::ZERO; n + 1]), Err(Error::Shape { .. })));
}
