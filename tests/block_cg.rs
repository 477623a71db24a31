//! Claim: block conjugate gradient solves A X = B as dense algebra does; it is never worse than conjugate gradient column by
//! column, better where few eigenvalues lie apart, and dependent right-hand sides cost nothing.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod cg_support;

use cg_support::*;
use pullback::factor::SymEigen;
use pullback::krylov::{
    BlockCgReport, CgOptions, CgStart, CgStop, KeepIterates, NegativeCurvature, StallRule, block_cg, pcg,
};
use pullback::linop::{FnOperator, Identity, SymmetricDense};
use pullback::testing::gallery::{self, Sign};
use pullback::testing::krylov::{Domain, Outcome};
use pullback::testing::{self, contexts, relative_error, tolerance};
use pullback::{Ctx, Error, Mat, Preconditioner, Scalar, SelfAdjoint, conformance};

fn solve<T: Scalar>(
    ctx: &Ctx<T>,
    a: &dyn SelfAdjoint<T>,
    m_inv: Option<&dyn Preconditioner<T>>,
    b: &Mat<T>,
    options: &CgOptions<T>,
) -> (Mat<T>, BlockCgReport) {
    let mut x = Mat::zeros(b.nrows(), b.ncols());
    let report = block_cg(ctx, a, m_inv, b.as_ref(), x.as_mut(), options).unwrap();
    assert!(x.as_ref().is_finite(), "{report:?}");
    (x, report)
}

fn tight<T: Scalar>(tolerance: f64) -> CgOptions<T> {
    CgOptions { relative_tolerance: T::of(tolerance), ..CgOptions::default() }
}

fn jacobi<T: Scalar>(a: &Mat<T>) -> Trusted<SymmetricDense<T>> {
    let n = a.nrows();
    let inverse = Mat::from_fn(n, n, |i, j| if i == j { T::ONE / a[(i, i)] } else { T::ZERO });
    Trusted(SymmetricDense::new(inverse).unwrap())
}

conformance! {
    fn suite<T>(setup) {
        let check = |name: &str, preconditioned: bool, start: CgStart<T>| {
            testing::krylov::check(setup, name, Domain::PositiveDefinite, |ctx, a, b, x, relative_tolerance| {
                let options = CgOptions { relative_tolerance, start, ..CgOptions::default() };
                let identity = Identity::new(b.nrows());
                let m_inv = preconditioned.then_some(&identity as &dyn Preconditioner<T>);
                let report = block_cg(ctx, a, m_inv, b, x, &options)?;
                let (converged, iterations) = (report.stop() == CgStop::Converged, report.iterations());
                Ok(Outcome { converged, relative_residual: report.relative_residual(), iterations })
            })
        };
        [
            check("block_cg", false, CgStart::Given),
            check("block_cg from zero", false, CgStart::Zero),
            check("block_cg with a preconditioner", true, CgStart::Given),
        ].into_iter().collect()
    }
}

fn agrees_with_dense<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, k) in [(1, 1), (2, 3), (3, 5), (31, 4), (33, 40), (64, 8), (129, 3)] {
            for kappa in [1.0, 30.0, 300.0] {
                let a: Mat<T> = with_spectrum(&graded(n, kappa), 91).cast();
                let b: Mat<T> = random(n, k, 92).cast();
                let want = dense_solve(&a.cast(), &b.cast());
                for m_inv in [None, Some(&jacobi(&a) as &dyn Preconditioner<T>)] {
                    let options = tight(tolerance::<T>(n, 4.0));
                    let (x, report) = solve(&ctx, &operator::<T>(&a.cast()), m_inv, &b, &options);
                    let place = format!("{n} x {k}, condition {kappa} on {} in {}", ctx.backend().name(), T::NAME);
                    assert_eq!(report.stop(), CgStop::Converged, "{place}: {report:?}");
                    let error = relative_error(x.cast::<f64>().as_ref(), want.as_ref());
                    // a residual of n ε, times the condition; the largest entry of a column against the largest of all
                    let limit = 8.0 * tolerance::<T>(n, kappa) * (n as f64).sqrt();
                    assert!(error <= limit, "{place}: {error:e} above {limit:e}");
                    assert!(report.widths().is_sorted_by(|a, b| a >= b) && report.widths()[0] <= n.min(k), "{place}");
                    assert_eq!(report.products(), report.iterations() + 1);
                }
            }
        }
    }
}

/// ½ eᵀA e of every column, against a dense solution.
fn energies(a: &Mat<f64>, x: &Mat<f64>, want: &Mat<f64>) -> Vec<f64> {
    let e = Mat::from_fn(x.nrows(), x.ncols(), |i, j| x[(i, j)] - want[(i, j)]);
    let image = product(a, &e);
    (0..x.ncols()).map(|j| (0..x.nrows()).map(|i| e[(i, j)] * image[(i, j)]).sum::<f64>().max(0.0).sqrt()).collect()
}

/// After every number of steps the error of each column, in the norm of A, is at most that of conjugate gradient alone, and so
/// within its bound 2 ((√κ-1)/(√κ+1))^i.
#[test]
fn the_energy_error_is_at_most_that_of_each_column_and_within_the_bound() {
    let (n, k) = (64, 4);
    for ctx in contexts::<f64>() {
        for kappa in [10.0f64, 1000.0] {
            let a = with_spectrum(&graded(n, kappa), 93);
            let b = random(n, k, 94);
            let want = dense_solve(&a, &b);
            let at_start = energies(&a, &Mat::zeros(n, k), &want);
            let rate = (kappa.sqrt() - 1.0) / (kappa.sqrt() + 1.0);
            for m_inv in [None, Some(&jacobi(&a) as &dyn Preconditioner<f64>)] {
                for i in [0, 1, 2, 3, 5, 8, 13] {
                    let options = CgOptions { max_iterations: i, ..tight(0.0) };
                    let (x, report) = solve(&ctx, &operator(&a), m_inv, &b, &options);
                    assert_eq!((report.iterations(), report.stop()), (i, CgStop::IterationLimit));
                    let mut single = Mat::zeros(n, k);
                    pcg(&ctx, &operator(&a), m_inv, b.as_ref(), single.as_mut(), &options).unwrap();
                    let (block, columns) = (energies(&a, &x, &want), energies(&a, &single, &want));
                    for j in 0..k {
                        let rounding = tolerance::<f64>(n, kappa) * at_start[j];
                        assert!(block[j] <= columns[j] + rounding, "step {i}: {:e}, alone {:e}", block[j], columns[j]);
                        let bound = 2.0 * rate.powi(i as i32) * at_start[j] + rounding;
                        assert!(m_inv.is_some() || block[j] <= bound, "step {i}: {:e} of {bound:e}", block[j]);
                    }
                    let better = block.iter().zip(&columns).all(|(block, alone)| block < &(0.9 * alone));
                    assert!(
                        better || i < 8 || kappa < 100.0,
                        "step {i}: {block:?} is no better than alone {columns:?}"
                    );
                }
            }
        }
    }
}

/// Five far eigenvalues at the lower end and a cluster: six right-hand sides find them together, and the bound is that of the
/// cluster, κ = λ_n / λ_{k+1}.
fn few_outliers<T: Scalar>() {
    let (n, k) = (96, 6);
    for ctx in contexts::<T>() {
        let w: Vec<f64> =
            (0..n).map(|i| if i < 5 { 1e-3 * (1 + i) as f64 } else { 1.0 + i as f64 / n as f64 }).collect();
        let a: Mat<T> = with_spectrum(&w, 95).cast();
        let b: Mat<T> = random(n, k, 96).cast();
        let options = CgOptions::default();
        let (_, block) = solve(&ctx, &operator::<T>(&a.cast()), None, &b, &options);
        let mut x = Mat::zeros(n, k);
        let single = pcg(&ctx, &operator::<T>(&a.cast()), None, b.as_ref(), x.as_mut(), &options).unwrap();
        assert_eq!((block.stop(), single.stop()), (CgStop::Converged, CgStop::Converged));
        let (together, alone) = (block.iterations(), single.iterations());
        assert!(4 * together <= 3 * alone, "{together} iterations together, {alone} alone in {}", T::NAME);
        // κ of the spectrum without the outliers is 2: its rate is (√2-1)/(√2+1), after a start that finds them
        let rate = (2f64.sqrt() - 1.0) / (2f64.sqrt() + 1.0);
        let due = (2e3 / T::EPS.f64().sqrt()).ln() / -rate.ln();
        assert!(together as f64 <= due.ceil() + 2.0, "{together} iterations where {due} are due in {}", T::NAME);
    }
}

/// Why the block stopped, its iterations, and those of the hardest column alone; `None` where that one is beyond the
/// precision of T.
fn together_and_alone<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, b: &Mat<T>) -> Option<(CgStop, usize, usize)> {
    let operator = SymmetricDense::new(a.clone()).unwrap();
    let mut x = Mat::zeros(b.nrows(), b.ncols());
    let single = pcg(ctx, &operator, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
    if single.stop() != CgStop::Converged || single.relative_residual() > 4.0 * T::EPS.f64().sqrt() {
        return None;
    }
    let (_, block) = solve(ctx, &operator, None, b, &CgOptions::default());
    Some((block.stop(), block.iterations(), single.iterations()))
}

/// Never more iterations than the hardest column alone, over the gallery, for κ up to 1/√ε, where rounding leaves the block of
/// search directions its rank. Above, it may need more: Moler's matrix of order 8 in `f32` took 17 with OpenBLAS, 9 alone.
fn never_more_iterations<T: Scalar>() {
    for ctx in [Ctx::<T>::reference(), Ctx::default()] {
        let (mut seen, mut more) = (0, Vec::new());
        for (named, n) in gallery::named().flat_map(|named| [8, 33, 64].map(|n| (named, n))) {
            if named.sign != Sign::Positive {
                continue;
            }
            let a = named.matrix::<T>(n);
            let eigen = SymEigen::new(&Ctx::<f64>::reference(), a.cast()).unwrap();
            if !(eigen.values()[n - 1] * T::EPS.f64().sqrt() <= eigen.values()[0]) {
                continue;
            }
            for k in [2, 5] {
                let Some((stop, together, alone)) = together_and_alone(&ctx, &a, &random(n, k, 97).cast()) else {
                    continue;
                };
                if stop != CgStop::Converged || together > alone {
                    more.push(format!("{} {n}, {k} columns: {stop:?}, {together} together, {alone} alone", named.name));
                }
                seen += 1;
            }
        }
        assert!(more.is_empty(), "{} in {}", more.join("\n"), T::NAME);
        assert!(seen >= 16, "{seen} systems");
    }
}

/// Spectra without gaps at conditions above 1/√ε, where a block that never takes its residuals anew goes astray for hundreds of
/// iterations: all systems together take fewer than their hardest columns alone. Single ones may take more, and in one of
/// twenty a pivot of rounding may look like negative curvature.
fn a_block_that_stalls_starts_afresh<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    let (mut seen, mut astray, mut sums) = (0, 0, (0, 0));
    for (n, power) in [8, 12, 24].into_iter().flat_map(|n| [-0.52, -0.6, -0.7].map(|power| (n, power))) {
        for (seed, k) in (1..7).flat_map(|seed| [2, 3, 5].map(|k| (seed, k))) {
            let a = gallery::spd::<T>(n, T::EPS.f64().powf(power), seed);
            match together_and_alone(&ctx, &a, &random(n, k, 200 + seed).cast()) {
                Some((CgStop::Converged, together, alone)) => sums = (sums.0 + together, sums.1 + alone),
                Some(_) => astray += 1,
                None => continue,
            }
            seen += 1;
        }
    }
    assert!(sums.0 <= sums.1 && 20 * astray <= seen, "{sums:?} in {}, {astray} of {seen} astray", T::NAME);
    assert!(seen >= 40, "{seen}");
}

/// At a condition far above 1/√ε the block outgrows what rounding leaves of the space; it goes on with fewer columns, converges in
/// fewer iterations than each column, and its true residual is no worse.
fn a_block_that_outgrows_its_space<T: Scalar>() {
    let ctx = Ctx::<T>::reference();
    for power in [-0.65, -0.7, -0.72] {
        let operator = SymmetricDense::new(gallery::spd::<T>(8, T::EPS.f64().powf(power), 1)).unwrap();
        let b: Mat<T> = random(8, 5, 5).cast();
        let (_, block) = solve(&ctx, &operator, None, &b, &CgOptions::default());
        let mut x = Mat::zeros(8, 5);
        let single = pcg(&ctx, &operator, None, b.as_ref(), x.as_mut(), &CgOptions::default()).unwrap();
        assert_eq!((block.stop(), single.stop()), (CgStop::Converged, CgStop::Converged), "{}: {block:?}", T::NAME);
        assert!(block.iterations() <= single.iterations(), "{} against {}", block.iterations(), single.iterations());
        let limit = 4.0 * (single.relative_residual() + T::EPS.f64().sqrt());
        assert!(block.relative_residual() <= limit, "{:e} of {limit:e}", block.relative_residual());
    }
    // one negative eigenvalue is no rounding, whichever column shows it
    let indefinite = operator::<T>(&with_spectrum(&[3.0, 2.0, 1.0, 1.0, 2.0, -0.5, 1.5, 1.0], 112));
    let (_, report) = solve(&ctx, &indefinite, None, &random(8, 8, 113).cast(), &CgOptions::default());
    assert_eq!((report.stop(), report.iterations()), (CgStop::NonPositiveCurvature, 0));
}

/// Equal, dependent and zero columns: the width is the rank of B, and the iterations are those without them.
fn dependent_columns<T: Scalar>() {
    let n = 48;
    for ctx in contexts::<T>() {
        let a: Mat<T> = with_spectrum(&graded(n, 100.0), 98).cast();
        let base = random(n, 2, 99);
        let operator = operator::<T>(&a.cast());
        let (plain, alone) = solve(&ctx, &operator, None, &base.cast::<T>(), &CgOptions::default());
        let b: Mat<T> = Mat::from_fn(n, 6, |i, j| match j {
            0 | 2 => base[(i, 0)],
            1 => base[(i, 1)],
            3 => 0.0,
            4 => -8.0 * base[(i, 1)],
            _ => base[(i, 0)] + base[(i, 1)],
        })
        .cast();
        let (x, report) = solve(&ctx, &operator, None, &b, &CgOptions::default());
        let place = format!("{} in {}: {report:?}", ctx.backend().name(), T::NAME);
        assert_eq!(report.stop(), CgStop::Converged, "{place}");
        assert!(report.widths().iter().all(|&width| width <= 2), "{place}");
        assert!(report.iterations() <= alone.iterations() + 1, "{place}");
        let want = dense_solve(&a.cast(), &b.cast());
        let limit = 100.0 * (2.0 * T::EPS.f64().sqrt() + tolerance::<T>(n, 100.0)) * (n as f64).sqrt();
        assert!(relative_error(x.cast::<f64>().as_ref(), want.as_ref()) <= limit, "{place}");
        let column = |j| x.as_ref().submatrix(0, j, n, 1).unwrap();
        assert!(relative_error(column(2), column(0)) <= tolerance::<T>(n, 100.0), "equal right-hand sides");
        assert!(x.as_ref().col(3).iter().all(|&x| x == T::ZERO));
        assert!(relative_error(x.as_ref().submatrix(0, 0, n, 2).unwrap(), plain.as_ref()) <= limit);
    }
}

/// Right-hand sides that lie in few eigenspaces lose rank on the way: the block grows narrower, and ends.
fn rank_is_lost_on_the_way<T: Scalar>() {
    let n = 40;
    let q = orthogonal(n, 100);
    let w = clustered(n, 4);
    let a: Mat<T> = product(&product(&q, &Mat::from_diagonal(&w)), &q.transposed()).cast();
    // column j lies in j + 1 eigenspaces
    let free = random(n, 4, 101);
    let b: Mat<T> =
        Mat::<f64>::from_fn(n, 4, |i, j| (0..n).filter(|e| e % 4 <= j).map(|e| q[(i, e)] * (1.0 + free[(e, j)])).sum())
            .cast();
    for ctx in contexts::<T>() {
        let operator = operator::<T>(&a.cast());
        let (_, report) = solve(&ctx, &operator, None, &b, &tight(tolerance::<T>(n, 4.0)));
        assert_eq!(report.stop(), CgStop::Converged, "{report:?}");
        // the first column is an eigenvector: one step; the last needs four at most
        assert_eq!(report.columns()[0].iterations, 1, "{report:?}");
        assert!(report.iterations() <= 4 && report.widths()[0] == 4, "{report:?}");
        assert!(report.widths().last().unwrap() < &4, "{report:?}");
    }
}

/// M⁻¹ = A⁻¹ needs one step; the identity changes nothing beyond rounding; the block is that of the whitened system.
fn preconditioners<T: Scalar>() {
    let (n, kappa) = (33, 50.0);
    for ctx in contexts::<T>() {
        let a = with_spectrum(&graded(n, kappa), 102);
        let b: Mat<T> = random(n, 3, 103).cast();
        let inverse = Trusted(operator::<T>(&dense_solve(&a, &Mat::identity(n))));
        let (_, report) = solve(&ctx, &operator::<T>(&a), Some(&inverse), &b, &tight(tolerance::<T>(n, 16.0 * kappa)));
        assert_eq!((report.stop(), report.iterations()), (CgStop::Converged, 1), "{report:?}");
        let (x, plain) = solve(&ctx, &operator::<T>(&a), None, &b, &CgOptions::default());
        let (y, with) = solve(&ctx, &operator::<T>(&a), Some(&Identity::new(n)), &b, &CgOptions::default());
        assert_eq!((x, plain.iterations()), (y, with.iterations()));
        // powers of two: the change of variables is exact
        let root = |i: usize| T::of([1.0, 2.0, 0.5][i % 3]);
        let scaled = Mat::from_fn(n, n, |i, j| T::of(a[(i, j)]) * root(i) * root(j));
        let inverse = Mat::from_fn(n, n, |i, j| if i == j { T::ONE / (root(i) * root(i)) } else { T::ZERO });
        let options = CgOptions { max_iterations: 4, ..tight(0.0) };
        let rhs = Mat::from_fn(n, 3, |i, j| b[(i, j)] * root(i));
        let m_inv = Trusted(SymmetricDense::new(inverse).unwrap());
        let (x, _) = solve(&ctx, &SymmetricDense::new(scaled).unwrap(), Some(&m_inv), &rhs, &options);
        let (y, _) = solve(&ctx, &operator::<T>(&a), None, &b, &options);
        let back = Mat::from_fn(n, 3, |i, j| x[(i, j)] * root(i));
        assert!(relative_error(back.as_ref(), y.as_ref()) <= tolerance::<T>(n, 16.0 * kappa));
    }
}

fn scales<T: Scalar>() {
    let n = 33;
    let a: Mat<T> = with_spectrum(&graded(n, 20.0), 104).cast();
    let b: Mat<T> = random(n, 3, 105).cast();
    let largest = if T::NAME == "f32" { 60 } else { 600 };
    for ctx in contexts::<T>() {
        let of = |a: &Mat<T>, b: &Mat<T>| {
            let (x, report) = solve(&ctx, &SymmetricDense::new(a.clone()).unwrap(), None, b, &CgOptions::default());
            (x, report)
        };
        let (x, report) = of(&a, &b);
        for e in [-largest, -3, 3, largest] {
            // every column by another power
            let powers = [e, 0, -e / 2].map(|e| T::of(2.0).powi(e));
            let (scaled, other) = of(&a, &Mat::from_fn(n, 3, |i, j| b[(i, j)] * powers[j]));
            assert_eq!(scaled, Mat::from_fn(n, 3, |i, j| x[(i, j)] * powers[j]), "b, 2^{e} in {}", T::NAME);
            assert_eq!(other, report);
            // the Cholesky factor of PᵀA P takes roots: powers of four
            let power = T::of(4.0).powi(e / 6);
            let (scaled, other) = of(&a.map(|a| a * power), &b);
            assert_eq!(scaled, x.map(|x| x / power), "A, 4^{} in {}", e / 6, T::NAME);
            assert_eq!(other, report);
        }
    }
}

fn warm_starts<T: Scalar>() {
    let n = 40;
    for ctx in contexts::<T>() {
        let a = operator::<T>(&with_spectrum(&graded(n, 10.0), 106));
        let b: Mat<T> = random(n, 3, 107).cast();
        let (mut x, cold) = solve(&ctx, &a, None, &b, &tight(tolerance::<T>(n, 1.0)));
        let solution = x.clone();
        let again = block_cg(&ctx, &a, None, b.as_ref(), x.as_mut(), &tight(4.0 * tolerance::<T>(n, 1.0))).unwrap();
        assert_eq!((again.stop(), again.iterations(), again.products()), (CgStop::Converged, 0, 1));
        assert_eq!(x, solution);
        let mut half = x.map(|x| x + x);
        let decayed = CgOptions { start: CgStart::Decayed(T::of(0.5)), ..tight(4.0 * tolerance::<T>(n, 1.0)) };
        let again = block_cg(&ctx, &a, None, b.as_ref(), half.as_mut(), &decayed).unwrap();
        assert_eq!((again.iterations(), &half), (0, &solution));
        x.as_mut().fill(T::nan());
        let from_zero = CgOptions { start: CgStart::Zero, ..tight(tolerance::<T>(n, 1.0)) };
        let fresh = block_cg(&ctx, &a, None, b.as_ref(), x.as_mut(), &from_zero).unwrap();
        assert_eq!((fresh.iterations(), x), (cold.iterations(), solution));
    }
}

/// The reasons, each from its cause; columns that have nothing to do with it go on.
fn stops<T: Scalar>() {
    let n = 9;
    for ctx in contexts::<T>() {
        let a = operator::<T>(&with_spectrum(&graded(n, 4.0), 108));
        let b: Mat<T> = random(n, 3, 109).cast();
        let default = CgOptions::default();
        let (_, report) = solve(&ctx, &operator::<T>(&with_spectrum(&vec![-2.0; n], 110)), None, &b, &default);
        assert_eq!((report.stop(), report.iterations()), (CgStop::NonPositiveCurvature, 0));
        let (_, report) = solve(&ctx, &operator::<T>(&Mat::zeros(n, n)), None, &b, &default);
        assert_eq!((report.stop(), report.iterations()), (CgStop::NonPositiveCurvature, 0));
        let negative = Trusted(operator::<T>(&Mat::from_diagonal(&vec![-1.0; n])));
        let (_, report) = solve(&ctx, &a, Some(&negative), &b, &default);
        assert_eq!((report.stop(), report.products()), (CgStop::PreconditionerNotPositive, 0));
        let (_, report) = solve(&ctx, &a, None, &b, &CgOptions { max_iterations: 0, ..default });
        assert_eq!((report.stop(), report.relative_residual()), (CgStop::IterationLimit, 1.0));
        let nan = FnOperator::new(n, |_: &[T], out: &mut [T]| {
            out.fill(T::nan());
            Ok::<(), std::convert::Infallible>(())
        });
        let (x, report) = solve(&ctx, &nan, None, &b, &default);
        assert_eq!((report.stop(), report.iterations(), x), (CgStop::Breakdown, 0, Mat::zeros(n, 3)));
        let (x, report) = solve(&ctx, &a, Some(&Trusted(&nan)), &b, &default);
        assert_eq!((report.stop(), report.iterations(), x), (CgStop::Breakdown, 0, Mat::zeros(n, 3)));
        for bad in [T::nan(), T::infinity()] {
            // bad b in column 0, bad x in column 1, column 2 is fine
            let (mut rhs, mut x) = (b.clone(), Mat::zeros(n, 3));
            rhs[(4, 0)] = bad;
            x[(n - 1, 1)] = bad;
            let report = block_cg(&ctx, &a, None, rhs.as_ref(), x.as_mut(), &default).unwrap();
            let stops: Vec<CgStop> = report.columns().iter().map(|c| c.stop).collect();
            assert_eq!(stops, [CgStop::Breakdown, CgStop::Breakdown, CgStop::Converged]);
            assert!(x.as_ref().is_finite() && report.columns()[0].relative_residual == f64::INFINITY);
            assert_eq!(report.widths()[0], 1);
        }
        let (x, report) = solve(&ctx, &nan, None, &Mat::zeros(n, 2), &default);
        assert_eq!((report.stop(), report.products(), x), (CgStop::Converged, 0, Mat::zeros(n, 2)));
    }
}

#[test]
fn a_last_product_that_belies_the_recurrence_is_a_breakdown() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let once = FnOperator::new(3, |v: &[f64], out: &mut [f64]| {
        out.copy_from_slice(v);
        if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            out[1] = f64::NAN;
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let (_, report) = solve(&Ctx::default(), &once, None, &random(3, 1, 111), &CgOptions::default());
    assert_eq!((report.stop(), report.relative_residual()), (CgStop::Breakdown, f64::INFINITY));
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    let (a, m4) = (Identity::new(3), Identity::new(4));
    let run = |rows: usize, xs: (usize, usize), m: Option<&Identity>, options: &CgOptions<f64>| {
        let (b, mut x) = (Mat::zeros(rows, 2), Mat::zeros(xs.0, xs.1));
        let m = m.map(|m| m as &dyn Preconditioner<f64>);
        block_cg(&ctx, &a, m, b.as_ref(), x.as_mut(), options).map(|_| ())
    };
    let fine = CgOptions::default();
    run(3, (3, 2), Some(&a), &fine).unwrap();
    for (rows, xs, m) in [(4, (4, 2), None), (3, (3, 1), None), (3, (4, 2), None), (3, (3, 2), Some(&m4))] {
        assert!(matches!(run(rows, xs, m, &fine), Err(Error::Shape { .. })), "{rows} {xs:?}");
    }
    for (options, wrong) in [
        (CgOptions { stall: Some(StallRule::default()), ..fine }, "stall"),
        (CgOptions { keep: KeepIterates::martens(), ..fine }, "keep"),
        (CgOptions { coefficients: true, ..fine }, "coefficients"),
        (CgOptions { negative_curvature: NegativeCurvature::FollowDirection, ..fine }, "negative_curvature"),
    ] {
        assert!(matches!(run(3, (3, 2), None, &options), Err(Error::InvalidParameter { name, .. }) if name == wrong));
    }
    let negative = CgOptions { relative_tolerance: -1.0, ..fine };
    assert!(matches!(run(3, (3, 2), None, &negative), Err(Error::InvalidParameter { .. })));
}

for_both!(
    agrees_with_dense,
    few_outliers,
    a_block_that_outgrows_its_space,
    never_more_iterations,
    a_block_that_stalls_starts_afresh,
    dependent_columns,
    rank_is_lost_on_the_way,
    preconditioners,
    scales,
    warm_starts,
    stops,
);
