//! R6: damping is pure, additive, and solves as the dense matrix. R7: one matrix, many representations.

use pullback::curvature::{
    AnyCapable, AnyCurvature, BlockDiagonal, Definiteness, Dense, DenseJacobian, Diagonal, DirectPath,
    DirectSampleSpace, EigenKronecker, HasFrobeniusNorm, HasLogDeterminant, HasTrace, InMetric, Kronecker,
    KroneckerDamping, KroneckerN, LowRank, MatrixFree, Permuted, Restricted, ScaledIdentity, SolveReport,
};
use pullback::factor::SymEigen;
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::linop::{DiagonalMetric, Scaled, Shifted, SymmetricDense};
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
        damps(ctx, "erased", &AnyCurvature::new(dense.clone()), 1.0);
        damping_of_structures(ctx, &dense);
        let basis = KroneckerEigen::new(ctx, gallery::spd(order_a, 20.0, 4), gallery::spd(order_s, 20.0, 5));
        damps(ctx, "EKFAC", &EigenKronecker::uncorrected(basis.expect("finite")).expect("finite"), 1.0);
    }
    let three = vec![gallery::spd(3, 5.0, 6), gallery::spd(2, 5.0, 7), gallery::rank_deficient(4, 2, 8)];
    damps(ctx, "three factors", &KroneckerN::new(three, KroneckerDamping::Exact).expect("finite"), 1.0);
}

/// The kinds that are made of another one, of rows, or of nothing: of the order of `dense`, which has norm 1.
fn damping_of_structures<T: Scalar>(ctx: &Ctx<T>, dense: &Dense<T>) {
    let n = LinearOperator::<T>::shape(dense).0;
    let rows = gallery::uniform::<T>(5, n, 9);
    let size = norm(&rows).powi(2);
    damps(ctx, "low rank", &LowRank::from_factor(rows.clone().transposed()).expect("finite"), size);
    for path in [DirectPath::Primal, DirectPath::Kernel] {
        let j = DenseJacobian::new(rows.clone()).expect("finite");
        damps(ctx, "sample space", &DirectSampleSpace::new(j, path), size);
    }
    damps(ctx, "scaled identity", &ScaledIdentity::new(n, T::ONE).expect("positive"), 1.0);
    damps(ctx, "scaled", &Scaled::new(dense.clone(), T::of(2.0)), 2.0);
    damps(ctx, "shifted", &Shifted::new(dense.clone(), T::ONE), 2.0);
    damps(ctx, "permuted", &Permuted::new(dense.clone(), (0..n).rev().collect()).expect("an order"), 1.0);
    damps(ctx, "restricted", &Restricted::new(dense.clone(), (0..n.div_ceil(2)).collect()).expect("rows"), 1.0);
    damps(ctx, "erased with capabilities", &AnyCapable::new(dense.clone()), 1.0);
    let ones = DiagonalMetric::new(vec![T::ONE; n]).expect("positive");
    damps(ctx, "metric I", &InMetric::new(ctx, dense.clone(), ones).expect("orders"), 1.0);
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
        structures(
            ctx,
            (&a, &s),
            &formed,
            &Facts {
                x: &x,
                product: &product,
                b: &b,
                solution: &solution,
                lambda,
                kappa,
                log_determinant: oracle.log_determinant(),
            },
        );
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

/// What every representation must give, from the formed matrix.
struct Facts<'a, T> {
    x: &'a Mat<T>,
    product: &'a Mat<f64>,
    b: &'a Mat<T>,
    solution: &'a Mat<f64>,
    lambda: f64,
    kappa: f64,
    log_determinant: f64,
}

impl<T: Scalar> Facts<'_, T> {
    /// Products, traces, norms, solves and log-determinants of C.
    fn hold<C>(&self, ctx: &Ctx<T>, name: &str, c: &C, formed: &Mat<T>)
    where
        C: Curvature<T> + HasDiagonal<T> + HasTrace<T> + HasFrobeniusNorm<T>,
        C::Solver: HasLogDeterminant<T>,
    {
        let (n, what) = (c.dim(), format!("{name} on {}", place(ctx)));
        let near = |law: &str, got: &Mat<T>, want: &Mat<f64>, kappa: f64| {
            let (error, limit) = (relative_error(got.cast::<f64>().as_ref(), want.as_ref()), tolerance::<T>(n, kappa));
            assert!(error <= limit, "{what}: {law} is off by {error:e}, limit {limit:e}");
        };
        let mut y = self.x.map(|_| T::nan());
        c.apply(ctx, self.x.as_ref(), y.as_mut()).expect("shapes");
        near("product", &y, self.product, 1.0);
        let mut d = Mat::zeros(n, 1);
        c.diagonal(ctx, d.as_mut_slice()).expect("n entries");
        near("diagonal", &d, &Mat::from_fn(n, 1, |i, _| formed[(i, i)].f64()), 1.0);
        let trace: f64 = (0..n).map(|i| formed[(i, i)].f64()).sum();
        near("trace", &Mat::from_diagonal(&[c.trace(ctx).expect("finite")]), &Mat::from_diagonal(&[trace]), 1.0);
        let size = Mat::from_diagonal(&[c.frobenius_norm(ctx).expect("finite")]);
        near("Frobenius norm", &size, &Mat::from_diagonal(&[norm(formed)]), 1.0);
        near("solve", &solved(ctx, c, self.lambda, self.b), self.solution, self.kappa);
        let got = c.damped(ctx, damping(self.lambda)).expect("definite").log_determinant().f64();
        let (want, limit) = (self.log_determinant, tolerance::<T>(n, self.kappa + self.log_determinant.abs()));
        assert!((got - want).abs() <= limit, "{what}: log det {got} for {want}, limit {limit:e}");
    }
}

/// A ⊗ S, `formed`, as every kind that is made of rows, of an eigenbasis, of factors, or of another kind.
fn structures<T: Scalar>(ctx: &Ctx<T>, (a, s): (&Mat<T>, &Mat<T>), formed: &Mat<T>, facts: &Facts<'_, T>) {
    let n = formed.nrows();
    // C = R R, R = C^½ in f64: full-rank rows even where C is deficient
    let eigen = SymEigen::new(&Ctx::reference(), formed.cast::<f64>()).expect("finite");
    let root = eigen.map_to_dense(&Ctx::reference(), |w| w.max(0.0).sqrt()).expect("clipped").cast::<T>();
    let dense = Dense::new(formed.clone()).expect("finite");
    facts.hold(ctx, "low rank", &LowRank::from_factor(root.clone()).expect("finite"), formed);
    for path in [DirectPath::Primal, DirectPath::Kernel] {
        let j = DenseJacobian::new(root.clone()).expect("finite");
        facts.hold(ctx, "sample space", &DirectSampleSpace::new(j, path), formed);
    }
    let basis = KroneckerEigen::new(ctx, a.clone(), s.clone()).expect("finite");
    facts.hold(ctx, "EKFAC", &EigenKronecker::uncorrected(basis).expect("finite"), formed);
    let factors = vec![Mat::identity(1), a.clone(), s.clone()];
    facts.hold(ctx, "three factors", &KroneckerN::new(factors, KroneckerDamping::Exact).expect("finite"), formed);
    let kronecker = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).expect("finite");
    facts.hold(ctx, "one block", &BlockDiagonal::new(vec![kronecker.clone()]), formed);
    facts.hold(ctx, "permuted", &Permuted::new(kronecker.clone(), (0..n).collect()).expect("an order"), formed);
    // powers of two, so that the other scale is exact
    let doubled = Kronecker::new(a.map(|x| T::of(2.0) * x), s.clone(), KroneckerDamping::Exact).expect("finite");
    facts.hold(ctx, "scaled", &Scaled::new(doubled, T::of(0.5)), formed);
    facts.hold(ctx, "shifted by 0", &Shifted::new(kronecker.clone(), T::ZERO), formed);
    facts.hold(ctx, "erased", &AnyCapable::new(kronecker), formed);
    let ones = DiagonalMetric::new(vec![T::ONE; n]).expect("positive");
    facts.hold(ctx, "metric I", &InMetric::new(ctx, dense, ones).expect("orders"), formed);
}
