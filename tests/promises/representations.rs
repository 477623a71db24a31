//! R6: damping is pure, additive, and solves as the dense matrix. R7: one matrix, many representations.

use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Definiteness, Dense, Diagonal, Kronecker, KroneckerDamping, MatrixFree, SolveReport,
};
use pullback::kronecker::KroneckerProduct;
use pullback::linop::SymmetricDense;
use pullback::testing::{gallery, relative_error, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, HasDiagonal, LinearOperator, Mat, Scalar};

use super::{damping, kron, norm, place, shifted, times};

const COLUMNS: usize = 2;

fn solved<T: Scalar, C: Curvature<T>>(ctx: &Ctx<T>, c: &C, lambda: f64, b: &Mat<T>) -> Mat<T> {
    let mut x = b.map(|_| T::nan());
    c.damped(ctx, damping(lambda)).expect("definite").solve(ctx, b.as_ref(), x.as_mut()).expect("shapes");
    x
}

/// `damped` leaves C as it was, gives the same bits each time, and λ₁ + λ₂ at once is λ₁, then λ₂.
fn damps<T: Scalar, C: Curvature<T>>(ctx: &Ctx<T>, name: &str, c: &C, norm_c: f64) {
    let what = format!("{name} on {}", place(ctx));
    let b = gallery::uniform::<T>(c.dim(), COLUMNS, 1);
    let before = c.to_dense(ctx).expect("products");
    for relative in [1e-2, 1.0, 1e3] {
        let (first, second) = (0.25 * relative * norm_c, 0.75 * relative * norm_c);
        let x = solved(ctx, c, first + second, &b);
        assert_eq!(x, solved(ctx, c, first + second, &b), "{what}: damping twice");
        assert_eq!(c.to_dense(ctx).expect("products"), before, "{what}: damping changed the curvature");
        let stepwise = solved(ctx, &Dense::new(shifted(&before, first)).expect("finite"), second, &b);
        let limit = tolerance::<T>(c.dim(), 1.0 + 1.0 / relative);
        let error = relative_error(x.as_ref(), stepwise.as_ref());
        assert!(error <= limit, "{what}: λ₁ then λ₂ is off by {error:e}, limit {limit:e}");
        // the residual against the dense matrix: κ ε backward
        let system = shifted(&before.cast::<f64>(), first + second);
        let error = relative_error(times(&system, &x.cast()).as_ref(), b.cast::<f64>().as_ref());
        assert!(error <= limit, "{what}: residual {error:e}, limit {limit:e}");
    }
}

pub fn damping_laws<T: Scalar>(ctx: &Ctx<T>) {
    for (order_a, order_s) in [(1, 1), (3, 2), (9, 7), (4, 33)] {
        let n = order_a * order_s;
        let (a, s) = (gallery::rank_deficient::<T>(order_a, 2, 2), gallery::spd::<T>(order_s, 20.0, 3));
        let formed = kron(&a, &s);
        let entries: Vec<T> = (0..n).map(|i| formed[(i, i)].abs()).collect();
        let dense = Dense::new(formed.clone()).expect("finite");
        // both factors have norm 1
        damps(ctx, "dense", &dense, 1.0);
        damps(ctx, "diagonal", &Diagonal::new(entries).expect("finite"), 1.0);
        damps(ctx, "Kronecker", &Kronecker::new(a, s, KroneckerDamping::Exact).expect("finite"), 1.0);
        damps(ctx, "blocks", &BlockDiagonal::new(vec![dense.clone(), dense.clone()]), 1.0);
        damps(ctx, "erased", &AnyCurvature::new(dense), 1.0);
    }
}

/// Products, solves, traces and log-determinants of A ⊗ S as every kind that can hold it.
pub fn agreement<T: Scalar>(ctx: &Ctx<T>) {
    // diagonal factors, so that a diagonal can hold the product too; then full ones
    let diagonal = |w: &[f64]| Mat::<T>::from_diagonal(&w.iter().map(|&w| T::of(w)).collect::<Vec<_>>());
    let spread = [1.0, 0.5, 0.25, 0.125, 0.0];
    for (a, s, is_diagonal) in [
        (diagonal(&spread), diagonal(&spread[..3]), true),
        (gallery::spd(5, 8.0, 4), gallery::spd(3, 8.0, 5), false),
        (gallery::rank_deficient(12, 5, 6), gallery::spd(11, 8.0, 7), false),
    ] {
        let n = a.nrows() * s.nrows();
        let (formed, lambda) = (kron(&a, &s), 0.125);
        let system = shifted(&formed, lambda);
        let kappa = 64.0 + 1.0 / lambda;
        let (x, b) = (gallery::uniform::<T>(n, COLUMNS, 8), gallery::uniform::<T>(n, COLUMNS, 9));
        let product = times(&formed, &x);
        let trace: f64 = (0..n).map(|i| formed[(i, i)].f64()).sum();
        let oracle = pullback::factor::Cholesky::new(&Ctx::reference(), system.cast::<f64>()).expect("definite");
        let mut solution = b.cast::<f64>();
        oracle.solve_in_place(&Ctx::reference(), solution.as_mut()).expect("shapes");

        let close = |got: &Mat<T>, want: &Mat<f64>, kappa: f64, name: &str| {
            let error = relative_error(got.cast::<f64>().as_ref(), want.as_ref());
            let limit = tolerance::<T>(n, kappa);
            assert!(error <= limit, "{name} on {}: off by {error:e}, limit {limit:e}", place(ctx));
        };
        let applies = |name: &str, operator: &dyn LinearOperator<T>| {
            let mut y = x.map(|_| T::nan());
            operator.apply(ctx, x.as_ref(), y.as_mut()).expect("shapes");
            close(&y, &product, 1.0, name);
        };
        let traces = |name: &str, c: &dyn HasDiagonal<T>| {
            let mut d = vec![T::nan(); n];
            c.diagonal(ctx, &mut d).expect("n entries");
            let got: f64 = d.iter().map(|d| d.f64()).sum();
            assert!((got - trace).abs() <= tolerance::<T>(n, trace.abs()), "{name}: trace {got} for {trace}");
        };
        let log_det = |name: &str, got: T| {
            let (got, want) = (got.f64(), oracle.log_determinant());
            let limit = tolerance::<T>(n, kappa + want.abs());
            assert!((got - want).abs() <= limit, "{name} on {}: log det {got} for {want}", place(ctx));
        };

        let dense = Dense::new(formed.clone()).expect("finite");
        let kronecker = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).expect("finite");
        let one_block = BlockDiagonal::new(vec![dense.clone()]);
        let symmetric = SymmetricDense::new(formed.clone()).expect("square");
        let free = MatrixFree::new(&symmetric, Definiteness::PositiveSemidefinite);
        let pair = KroneckerProduct::new(a.clone(), s.clone()).expect("fits");
        applies("dense", &dense);
        applies("Kronecker", &kronecker);
        applies("blocks", &one_block);
        applies("matrix-free", &free);
        applies("Kronecker product", &pair);
        traces("dense", &dense);
        traces("Kronecker", &kronecker);
        traces("blocks", &one_block);
        let got = pair.trace().expect("square").f64();
        assert!((got - trace).abs() <= tolerance::<T>(n, trace.abs()), "Kronecker product: trace {got} for {trace}");
        close(&solved(ctx, &dense, lambda, &b), &solution, kappa, "dense solve");
        close(&solved(ctx, &kronecker, lambda, &b), &solution, kappa, "Kronecker solve");
        close(&solved(ctx, &one_block, lambda, &b), &solution, kappa, "block solve");
        log_det("dense", dense.damped(ctx, damping(lambda)).expect("definite").log_determinant());
        log_det("Kronecker", kronecker.damped(ctx, damping(lambda)).expect("definite").log_determinant());
        if is_diagonal {
            let entries = Diagonal::new((0..n).map(|i| formed[(i, i)]).collect()).expect("finite");
            applies("diagonal", &entries);
            traces("diagonal", &entries);
            close(&solved(ctx, &entries, lambda, &b), &solution, kappa, "diagonal solve");
            log_det("diagonal", entries.damped(ctx, damping(lambda)).expect("definite").log_determinant());
        }
        // an iterative solution is as good as the residual it reports: ‖x - x*‖ <= κ ‖r‖/‖b‖ ‖x*‖
        let solver = free.damped(ctx, damping(lambda)).expect("definite");
        let mut iterated = b.map(|_| T::ZERO);
        let report = solver.solve(ctx, b.as_ref(), iterated.as_mut()).expect("shapes");
        let SolveReport::Iterative { relative_residual, .. } = report else { panic!("{report:?} of an iteration") };
        let difference = Mat::from_fn(n, COLUMNS, |i, j| iterated[(i, j)].f64() - solution[(i, j)]);
        let limit = (tolerance::<T>(n, kappa) + kappa * relative_residual) * norm(&solution);
        assert!(norm(&difference) <= limit, "matrix-free on {}: {:e}", place(ctx), norm(&difference));
    }
}
