//! Claim: the preconditioners built from diagonals, sparsity patterns and products are fixed symmetric positive
//! definite maps; exact where theory says so (full pattern, rank below the sketch); within the bounds on the condition
//! number; and they bring the iterations of conjugate gradient down on ill-conditioned matrices.

use std::sync::Arc;

use pullback::curvature::precondition::{IncompleteCholesky, Jacobi, Nystrom, PivotedCholesky, SparseLower};
use pullback::curvature::{Definiteness, MatrixFree};
use pullback::factor::{Cholesky, SymEigen};
use pullback::krylov::{Budget, CgOptions, CgReport, CgStop, pcg};
use pullback::linop::{FnOperator, Identity, Shifted, SymmetricDense};
use pullback::testing::{contexts, gallery, relative_error, tolerance};
use pullback::{Ctx, Curvature, Damping, Error, HasDiagonal, LinearOperator, Mat, Op, Preconditioner, Scalar};

fn operator<T: Scalar>(a: &Mat<T>) -> SymmetricDense<T> {
    SymmetricDense::new(a.clone()).unwrap()
}

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

fn times(a: &Mat<f64>, ta: Op, b: &Mat<f64>) -> Mat<f64> {
    let mut c = Mat::zeros(ta.shape(a.shape()).0, b.ncols());
    Ctx::reference().gemm(1.0, a.as_ref(), ta, b.as_ref(), Op::No, 0.0, c.as_mut()).unwrap();
    c
}

fn shifted(c: &Mat<f64>, lambda: f64) -> Mat<f64> {
    Mat::from_fn(c.nrows(), c.ncols(), |i, j| c[(i, j)] + if i == j { lambda } else { 0.0 })
}

fn eigenvalues(a: &Mat<f64>) -> Vec<f64> {
    SymEigen::new(&Ctx::reference(), a.clone()).unwrap().values().to_vec()
}

/// 1, decay, decay², ...
fn geometric(n: usize, decay: f64) -> Vec<f64> {
    (0..n).map(|i| decay.powi(i as i32)).collect()
}

/// The eigenvalues of M⁻¹(C + λI): those of LᵀM⁻¹L with L Lᵀ = C + λI.
fn preconditioned(c: &Mat<f64>, lambda: f64, m_inv: &Mat<f64>) -> Vec<f64> {
    let factor = Cholesky::new(&Ctx::reference(), shifted(c, lambda)).unwrap();
    let l = Mat::from_fn(c.nrows(), c.nrows(), |i, j| if i >= j { factor.l().at(i, j) } else { 0.0 });
    eigenvalues(&times(&l, Op::Transpose, &times(m_inv, Op::No, &l)))
}

fn condition(w: &[f64]) -> f64 {
    w.last().unwrap_or(&1.0) / w.first().unwrap_or(&1.0)
}

/// Symmetric to rounding, positive definite, linear over blocks, the same at every call.
fn is_a_fixed_spd_map<T: Scalar>(name: &str, ctx: &Ctx<T>, m: &dyn Preconditioner<T>, n: usize) {
    let name = format!("{name}<{}> n {n}", T::NAME);
    assert_eq!(m.shape(), (n, n), "{name}");
    let dense = m.to_dense(ctx).unwrap();
    let wide: Mat<f64> = dense.cast();
    assert!(relative_error(wide.transposed().as_ref(), wide.as_ref()) <= tolerance::<T>(n, 1.0), "{name}: symmetric");
    assert!(eigenvalues(&wide).first().is_none_or(|&w| w > 0.0), "{name}: positive definite");
    assert_eq!(dense, m.to_dense(ctx).unwrap(), "{name}: fixed");
    let x = gallery::uniform::<T>(n, 3, 5);
    let mut together = Mat::zeros(n, 3);
    m.apply(ctx, x.as_ref(), together.as_mut()).unwrap();
    let by_matrix = times(&wide, Op::No, &x.cast());
    let limit = tolerance::<T>(n, 1.0) * wide.as_slice().iter().fold(0.0, |m: f64, x| m.max(x.abs())) * n as f64;
    for (a, b) in together.as_slice().iter().zip(by_matrix.as_slice()) {
        assert!((a.f64() - b).abs() <= limit, "{name}: linear, {a} for {b}");
    }
}

type Built<T> = (&'static str, Box<dyn Preconditioner<T>>);

/// Every kind, for one matrix.
fn all_of<T: Scalar>(ctx: &Ctx<T>, c: &Mat<T>, lambda: f64) -> Vec<Built<T>> {
    let (op, lambda, n) = (operator(c), damping::<T>(lambda), c.nrows());
    let budget = Budget::new((n / 3).max(2), 3);
    let sparse = SparseLower::from_dense(c.as_ref(), T::of(0.05)).unwrap();
    vec![
        ("Jacobi", Box::new(Jacobi::new(ctx, &op, lambda).unwrap()) as Box<dyn Preconditioner<T>>),
        ("estimated Jacobi", Box::new(Jacobi::estimated(ctx, &op, lambda, budget).unwrap())),
        ("IC(0)", Box::new(IncompleteCholesky::new(&sparse, lambda).unwrap())),
        ("Nyström", Box::new(Nystrom::new(ctx, &op, lambda, budget).unwrap())),
        ("adaptive Nyström", Box::new(Nystrom::adaptive(ctx, &op, lambda, 1.0, budget).unwrap())),
        ("pivoted Cholesky", Box::new(PivotedCholesky::new(ctx, &op, lambda, n / 3).unwrap())),
    ]
}

fn all_are_fixed_spd_maps<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [0, 1, 2, 3, 31, 33, 64] {
            let matrices = [
                gallery::spd::<T>(n, 1e3, 1),
                gallery::rank_deficient(n, n / 2, 2),
                gallery::graded(n, 1e-3, 3),
                Mat::zeros(n, n),
                Mat::from_fn(n, n, |_, _| T::ONE),
            ];
            for c in &matrices {
                for (name, m) in all_of(&ctx, c, 1e-2) {
                    is_a_fixed_spd_map(name, &ctx, &*m, n);
                }
            }
            // scales far from 1, λ with them
            for e in [-60, 60] {
                let c = gallery::scaled(&gallery::spd::<T>(n, 1e2, 4), e);
                for (name, m) in all_of(&ctx, &c, 1e-2 * 2f64.powi(e)) {
                    is_a_fixed_spd_map(name, &ctx, &*m, n);
                }
            }
        }
    }
}

#[test]
fn all_are_fixed_symmetric_positive_definite_maps() {
    all_are_fixed_spd_maps::<f64>();
    all_are_fixed_spd_maps::<f32>();
}

#[test]
fn jacobi_divides_by_the_floored_damped_diagonal() {
    let ctx = Ctx::<f64>::reference();
    let c = operator(&Mat::from_fn(3, 3, |i, j| if i == j { [4.0, -1.0, 0.0][i] } else { 0.5 }));
    let jacobi = Jacobi::new(&ctx, &c, damping(0.25)).unwrap();
    assert_eq!(jacobi.to_dense(&ctx).unwrap(), Mat::from_diagonal(&[1.0 / 4.25, 4.0, 4.0]));
    assert_eq!((jacobi.floored(), jacobi.damping()), (1, damping(0.25)));
    let harder = jacobi.redamp(damping(1.0)).unwrap();
    assert_eq!(harder.to_dense(&ctx).unwrap(), Mat::from_diagonal(&[0.2, 1.0, 1.0]));
    let mut diagonal = [0.0; 3];
    harder.diagonal(&ctx, &mut diagonal).unwrap();
    assert_eq!(diagonal, [0.2, 1.0, 1.0]);
    // products alone: exact on a diagonal matrix, close with many probes elsewhere
    let plain = operator(&Mat::from_diagonal(&[4.0, 1.0, 0.0]));
    let estimated = Jacobi::estimated(&ctx, &plain, damping(0.25), Budget::new(2, 1)).unwrap();
    assert_eq!(estimated.to_dense(&ctx).unwrap(), Mat::from_diagonal(&[1.0 / 4.25, 0.8, 4.0]));
}

/// A five-point Laplacian on a k x k grid.
fn laplacian<T: Scalar>(k: usize) -> SparseLower<T> {
    let at = |x: usize, y: usize| x + k * y;
    let mut entries = Vec::new();
    for (x, y) in (0..k).flat_map(|y| (0..k).map(move |x| (x, y))) {
        entries.push((at(x, y), at(x, y), T::of(4.0)));
        if x + 1 < k {
            entries.push((at(x + 1, y), at(x, y), -T::ONE));
        }
        if y + 1 < k {
            entries.push((at(x, y + 1), at(x, y), -T::ONE));
        }
    }
    SparseLower::from_entries(k * k, entries).unwrap()
}

fn sparse_matches_dense<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [0, 1, 2, 33] {
            let c = gallery::spd::<T>(n, 10.0, 2);
            let sparse = SparseLower::from_dense(c.as_ref(), T::ZERO).unwrap();
            assert_eq!(sparse.to_dense(&ctx).unwrap(), c);
            assert_eq!(sparse.stored(), n * (n + 1) / 2);
            let (mut mine, mut theirs) = (vec![T::ZERO; n], vec![T::ZERO; n]);
            sparse.diagonal(&ctx, &mut mine).unwrap();
            operator(&c).diagonal(&ctx, &mut theirs).unwrap();
            assert_eq!(mine, theirs);
            let only_diagonal = SparseLower::from_dense(c.as_ref(), T::of(2.0)).unwrap();
            assert_eq!((only_diagonal.stored(), only_diagonal.shape()), (n, (n, n)));
        }
        let k = laplacian::<T>(4).to_dense(&ctx).unwrap();
        assert_eq!((k[(5, 4)], k[(1, 5)], k[(3, 4)], k[(7, 7)]), (-T::ONE, -T::ONE, T::ZERO, T::of(4.0)));
    }
    let twice = SparseLower::from_entries(1, [(0, 0, 1.5), (0, 0, 2.0)]).unwrap();
    assert_eq!(twice.column(0), (&[0][..], &[3.5][..]));
}

#[test]
fn a_sparse_matrix_is_its_dense_self() {
    sparse_matches_dense::<f64>();
    sparse_matches_dense::<f32>();
}

fn full_pattern_is_cholesky<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 3, 31, 33, 64] {
            for (kappa, e) in [(1e2, 0), (1e3, 40), (1e2, -40)] {
                let lambda = 1e-3 * 2f64.powi(e);
                let c = gallery::scaled(&gallery::spd::<T>(n, kappa, 6), e);
                let full = SparseLower::from_dense(c.as_ref(), T::ZERO).unwrap();
                let ic = IncompleteCholesky::new(&full, damping(lambda)).unwrap();
                assert_eq!((ic.shift(), ic.attempts()), (0.0, 1), "{} n {n}", T::NAME);
                let a: Mat<f64> = shifted(&c.cast(), damping::<T>(lambda).get().f64());
                let exact = Cholesky::new(&Ctx::reference(), a.clone()).unwrap().inverse(&Ctx::reference()).unwrap();
                let found: Mat<f64> = ic.to_dense(&ctx).unwrap().cast();
                let error = relative_error(found.as_ref(), exact.as_ref());
                let limit = tolerance::<T>(n, kappa);
                assert!(error <= limit, "{} n {n} κ {kappa}: {error:e} of {limit:e}", T::NAME);
            }
        }
    }
}

#[test]
fn incomplete_cholesky_with_a_full_pattern_is_cholesky() {
    full_pattern_is_cholesky::<f64>();
    full_pattern_is_cholesky::<f32>();
}

/// (L Lᵀ)_ij = ĉ_ij + α δ_ij on the pattern.
fn product_on_the_pattern<T: Scalar>(c: &SparseLower<T>, lambda: f64) -> IncompleteCholesky<T> {
    let ctx = Ctx::reference();
    let n = c.shape().0;
    let ic = IncompleteCholesky::new(c, damping(lambda)).unwrap();
    let l = Mat::from_fn(n, n, |i, j| {
        let (rows, values) = ic.factor().column(j);
        rows.iter().position(|&row| row == i).map_or(0.0, |at| values[at].f64())
    });
    let product = times(&l, Op::No, &l.transposed());
    let dense: Mat<f64> = c.to_dense(&ctx).unwrap().cast();
    for j in 0..n {
        for &i in c.column(j).0 {
            let damped = dense[(i, j)] + if i == j { lambda } else { 0.0 };
            let scaled = damped * ic.scale()[i].f64() * ic.scale()[j].f64() + if i == j { ic.shift() } else { 0.0 };
            let error = (product[(i, j)] - scaled).abs();
            assert!(error <= tolerance::<T>(n, 1.0), "({i}, {j}): {} for {scaled}", product[(i, j)]);
        }
    }
    ic
}

fn patterns_are_met<T: Scalar>() {
    for k in [1, 2, 5, 9] {
        let ic = product_on_the_pattern(&laplacian::<T>(k), 1e-3);
        assert_eq!((ic.shift(), ic.factor().stored()), (0.0, laplacian::<T>(k).stored()), "an M-matrix needs no shift");
    }
    for threshold in [0.01, 0.1, 0.5] {
        let c = gallery::spd::<T>(40, 50.0, 9);
        let ic = product_on_the_pattern(&SparseLower::from_dense(c.as_ref(), T::of(threshold)).unwrap(), 1e-2);
        is_a_fixed_spd_map("IC(0)", &Ctx::reference(), &ic, 40);
    }
}

#[test]
fn the_product_of_the_incomplete_factor_is_the_matrix_on_its_pattern() {
    patterns_are_met::<f64>();
    patterns_are_met::<f32>();
}

/// Kershaw's matrix is positive definite, but IC(0) of it has a negative pivot.
#[test]
fn a_failed_pivot_is_repaired_by_a_reported_shift() {
    let kershaw = [[3.0, -2.0, 0.0, 2.0], [-2.0, 3.0, -2.0, 0.0], [0.0, -2.0, 3.0, -2.0], [2.0, 0.0, -2.0, 3.0]];
    let dense = Mat::from_fn(4, 4, |i, j| kershaw[i][j]);
    assert!(eigenvalues(&dense)[0] > 0.0);
    let sparse = SparseLower::from_dense(dense.as_ref(), 0.0).unwrap();
    assert_eq!(sparse.stored(), 8);
    let ic = product_on_the_pattern(&sparse, 1e-6);
    assert!(ic.shift() > 0.0 && ic.attempts() > 2, "shift {}, {} attempts", ic.shift(), ic.attempts());
    // the smallest of the doubled shifts that works: half of it does not
    assert_eq!(ic.shift(), 1e-3 * 2f64.powi(ic.attempts() as i32 - 2));
    assert!(ic.shift() <= 2.0, "{}", ic.shift());
    is_a_fixed_spd_map("shifted IC(0)", &Ctx::reference(), &ic, 4);
    // enough damping needs no shift
    assert_eq!(IncompleteCholesky::new(&sparse, damping(3.0)).unwrap().shift(), 0.0);
}

fn iterations<T: Scalar>(ctx: &Ctx<T>, c: &Mat<T>, lambda: f64, m: Option<&dyn Preconditioner<T>>) -> CgReport<T> {
    let n = c.nrows();
    let (b, mut x) = (gallery::uniform::<T>(n, 1, 8), Mat::zeros(n, 1));
    let a = Shifted::new(operator(c), T::of(lambda));
    let options = CgOptions { max_iterations: 5000, ..CgOptions::from_zero() };
    let report = pcg(ctx, &a, m, b.as_ref(), x.as_mut(), &options).unwrap();
    assert_eq!(report.stop(), CgStop::Converged);
    report
}

fn low_rank_is_exact<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [2, 3, 31, 64, 129] {
            for rank in [0, 1, n / 4] {
                let w: Vec<f64> = (0..n).map(|i| if i < rank { 1.0 + i as f64 } else { 0.0 }).collect();
                let c = gallery::with_spectrum::<T>(&w, 3);
                let sketch = 2 * rank + 3;
                // rounding grows by 1/σ_min(UᵀΩ)², about n / (√ℓ - √rank)² = n / 0.17 rank for ℓ twice the rank
                let norm = rank.max(1) as f64 * 6.0 * n as f64 / (rank + 1) as f64;
                let lambda = 0.5;
                let exact = shifted(&c.cast(), lambda);
                let op = operator(&c);
                let nystrom = Nystrom::new(&ctx, &op, damping(lambda), Budget::new(sketch, 7)).unwrap();
                let pivoted = PivotedCholesky::new(&ctx, &op, damping(lambda), rank + 3).unwrap();
                assert!(nystrom.tail().f64() <= tolerance::<T>(n, norm) && nystrom.eigenvalues().len() <= sketch);
                for (w, exact) in nystrom.eigenvalues().iter().zip((0..rank).map(|i| (rank - i) as f64)) {
                    assert!((w.f64() - exact).abs() <= tolerance::<T>(n, norm), "{w} for {exact}");
                }
                for (name, m) in [("Nyström", &nystrom as &dyn Preconditioner<T>), ("pivoted Cholesky", &pivoted)] {
                    let product = times(&m.to_dense(&ctx).unwrap().cast(), Op::No, &exact);
                    let error = relative_error(product.as_ref(), Mat::identity(n).as_ref());
                    let limit = tolerance::<T>(n, norm / lambda);
                    assert!(error <= limit, "{name}<{}> n {n} rank {rank}: {error:e} of {limit:e}", T::NAME);
                    assert!(iterations(&ctx, &c, lambda, Some(m)).iterations() <= 2, "{name}: CG in two steps");
                }
            }
        }
    }
}

#[test]
fn nystrom_and_pivoted_cholesky_are_exact_below_their_rank() {
    low_rank_is_exact::<f64>();
    low_rank_is_exact::<f32>();
}

/// ‖E‖ = ‖C - Ĉ‖ by a dense eigendecomposition, and E >= 0 up to the shift.
fn true_error(c: &Mat<f64>, m: &Nystrom<f64>) -> f64 {
    let u = m.eigenvectors().to_owned();
    let scaled = Mat::from_fn(u.nrows(), u.ncols(), |i, j| u[(i, j)] * m.eigenvalues()[j]);
    let approximation = times(&scaled, Op::No, &u.transposed());
    let e = eigenvalues(&Mat::from_fn(c.nrows(), c.nrows(), |i, j| c[(i, j)] - approximation[(i, j)]));
    let norm = eigenvalues(c).last().copied().unwrap_or(0.0);
    assert!(e[0] >= -tolerance::<f64>(c.nrows(), norm) * (c.nrows() as f64).sqrt(), "Ĉ <= C: {:e}", e[0]);
    e[e.len() - 1].max(-e[0])
}

#[test]
fn the_condition_number_is_below_the_bound_of_the_error() {
    let ctx = Ctx::<f64>::reference();
    let n = 60;
    for (spectrum, decay) in [("geometric", 0.6f64), ("slow", 0.9)] {
        let c = gallery::with_spectrum::<f64>(&geometric(n, decay), 5);
        for rank in [1, 5, 20, 60] {
            for lambda in [1e-1, 1e-4, 1e-7] {
                for seed in 0..4 {
                    let m = Nystrom::new(&ctx, &operator(&c), damping(lambda), Budget::new(rank, seed)).unwrap();
                    let error = true_error(&c, &m);
                    let w = preconditioned(&c, lambda, &m.to_dense(&ctx).unwrap());
                    let (kappa, bound) = (condition(&w), m.condition_bound(error));
                    let slack = 1.0 + tolerance::<f64>(n, 1.0 / lambda);
                    assert!(kappa <= bound * slack, "{spectrum}, rank {rank}, λ {lambda:e}: {kappa} of {bound}");
                    let pivoted = PivotedCholesky::new(&ctx, &operator(&c), damping(lambda), rank).unwrap();
                    let w = preconditioned(&c, lambda, &pivoted.to_dense(&ctx).unwrap());
                    let bound = pivoted.condition_bound();
                    assert!(condition(&w) <= bound * slack, "pivoted, rank {rank}, λ {lambda:e}: {w:?} of {bound}");
                }
            }
        }
    }
}

/// Theorem 1.1: with ℓ = 2⌈1.5 d⌉ + 1 columns E[κ] < 28, so by Markov κ >= 280 has probability at most 0.1, and all of
/// six independent sketches reach it with probability at most 1e-6. A sketch of one column is the control.
#[test]
fn a_sketch_of_the_effective_dimension_is_enough() {
    let ctx = Ctx::<f64>::reference();
    let n = 100;
    let w = geometric(n, 0.5);
    let c = gallery::with_spectrum::<f64>(&w, 2);
    for lambda in [1e-2, 1e-4, 1e-6] {
        let effective: f64 = w.iter().map(|w| w / (w + lambda)).sum();
        let rank = 2 * (1.5 * effective).ceil() as usize + 1;
        assert!(rank < n, "the law is about sketches smaller than the matrix: {rank}");
        let kappa = |rank: usize, seed| {
            let m = Nystrom::new(&ctx, &operator(&c), damping(lambda), Budget::new(rank, seed)).unwrap();
            condition(&preconditioned(&c, lambda, &m.to_dense(&ctx).unwrap()))
        };
        let best = (0..6).map(|seed| kappa(rank, seed)).fold(f64::INFINITY, f64::min);
        assert!(best < 280.0, "λ {lambda:e}, rank {rank}: κ is {best} at best");
        assert!(lambda > 1e-3 || kappa(1, 0) > 280.0, "one column is not enough: {}", kappa(1, 0));
    }
}

#[test]
fn the_error_estimate_is_close_from_below_and_the_adaptive_rank_stops_where_it_is_small() {
    for ctx in contexts::<f64>() {
        let n = 80;
        let c = gallery::with_spectrum::<f64>(&geometric(n, 0.6), 5);
        let op = operator(&c);
        for rank in [4, 16] {
            let m = Nystrom::new(&ctx, &op, damping(1e-3), Budget::new(rank, 3)).unwrap();
            let (exact, found) = (true_error(&c, &m), m.error_estimate(&ctx, &op, 16, 9).unwrap());
            // below half with probability at most 1.65 √80 exp(-√0.5 · 31) < 1e-8
            assert!(found <= exact * (1.0 + tolerance::<f64>(n, 1.0 / exact)), "{found:e} of {exact:e}");
            assert!(found >= 0.5 * exact, "{found:e} of {exact:e}");
            assert_eq!((m.error(), m.products()), (None, rank));
        }
        let mut last = 0;
        for lambda in [1e-1, 1e-3, 1e-5] {
            let m = Nystrom::adaptive(&ctx, &op, damping(lambda), 1.0, Budget::new(500, 4)).unwrap();
            assert!(m.error().unwrap() <= lambda, "λ {lambda:e}: {:?}", m.error());
            assert!(m.products() <= 500 && m.eigenvalues().len() >= last, "a smaller λ asks for more");
            last = m.eigenvalues().len();
            let kappa = condition(&preconditioned(&c, lambda, &m.to_dense(&ctx).unwrap()));
            assert!(kappa <= m.condition_bound(2.0 * lambda), "λ {lambda:e}: κ {kappa}");
        }
        assert!(last > 8 && last < n, "adapted: {last}");
        // a budget that ends first is respected, and says so
        for products in 1..40 {
            let m = Nystrom::adaptive(&ctx, &op, damping(1e-12), 1.0, Budget::new(products, 4)).unwrap();
            assert!(m.products() <= products && m.eigenvalues().len() <= products, "{products}");
            assert!(m.error().is_none_or(|error| error > 1e-12));
        }
        let whole = Nystrom::adaptive(&ctx, &op, damping(1e-18), 1.0, Budget::new(1000, 4)).unwrap();
        assert!(whole.error() == Some(0.0) && whole.products() < 3 * n, "n columns are all there are: {whole:?}");
    }
}

#[test]
fn a_new_damping_is_free_and_the_same_as_building_anew() {
    let ctx = Ctx::<f64>::reference();
    let op = operator(&gallery::spd::<f64>(30, 1e4, 5));
    let dense = |m: &dyn LinearOperator<f64>| m.to_dense(&ctx).unwrap();
    for lambda in [1e-6, 1e2] {
        let built = Nystrom::new(&ctx, &op, damping(lambda), Budget::new(9, 1)).unwrap();
        let redamped = Nystrom::new(&ctx, &op, damping(1.0), Budget::new(9, 1)).unwrap().redamp(damping(lambda));
        assert_eq!((dense(&built), built.damping()), (dense(&redamped), redamped.damping()));
        let built = PivotedCholesky::new(&ctx, &op, damping(lambda), 9).unwrap();
        let redamped = PivotedCholesky::new(&ctx, &op, damping(1.0), 9).unwrap().redamp(damping(lambda));
        assert_eq!((dense(&built), built.damping()), (dense(&redamped), redamped.damping()));
        assert_ne!(dense(&built), dense(&redamped.redamp(damping(3.0))));
    }
}

/// In f32 with (w_1 + λ)/(ŵ_ℓ + λ) near 1e9: what rounding leaves of u_1 outside U must not outweigh 1/(w_1 + λ).
#[test]
fn positive_definite_even_where_the_spectrum_is_wider_than_the_precision() {
    for ctx in contexts::<f32>() {
        let n = 60;
        let w: Vec<f64> = (0..n).map(|i| if i < 5 { 1.0 } else { 0.0 }).collect();
        let op = operator(&gallery::with_spectrum::<f32>(&w, 5));
        let nystrom = Nystrom::new(&ctx, &op, damping(1e-9), Budget::new(8, 1)).unwrap();
        let pivoted = PivotedCholesky::new(&ctx, &op, damping(1e-9), 5).unwrap();
        let eigen = SymEigen::new(&Ctx::<f64>::reference(), op.matrix().cast()).unwrap();
        for (name, m) in [("Nyström", &nystrom as &dyn Preconditioner<f32>), ("pivoted Cholesky", &pivoted)] {
            for i in 0..5 {
                let u: Mat<f32> = Mat::from_fn(n, 1, |p, _| eigen.vectors().at(p, n - 1 - i) as f32);
                let mut out = Mat::zeros(n, 1);
                m.apply(&ctx, u.as_ref(), out.as_mut()).unwrap();
                let form: f64 = out.as_slice().iter().zip(u.as_slice()).map(|(a, b)| a.f64() * b.f64()).sum();
                // u itself leaves the computed U by rounding, of relative size 16 ε: that squared over λ comes on top
                let outside = (16.0 * f32::EPSILON.f64()).powi(2) / 1e-9;
                assert!(form > 0.5 && form < 2.0 + outside, "{name}: uᵀM⁻¹u is {form}, not 1");
            }
        }
    }
}

#[test]
fn conjugate_gradient_needs_fewer_iterations() {
    for ctx in contexts::<f64>() {
        let n = 129;
        let lambda = 1e-4;
        let plain = |c: &Mat<f64>| iterations(&ctx, c, lambda, None).iterations();
        // rows of very different scale: Jacobi
        let scaled = gallery::graded::<f64>(n, 1e-4, 3);
        let jacobi = Jacobi::new(&ctx, &operator(&scaled), damping(lambda)).unwrap();
        let (with, without) = (iterations(&ctx, &scaled, lambda, Some(&jacobi)).iterations(), plain(&scaled));
        assert!(3 * with <= without, "Jacobi: {with} of {without}");
        // ... its diagonal estimated from products with a diagonally dominant matrix
        let dominant = Mat::from_fn(n, n, |i, j| {
            let root = |i: usize| 10f64.powf(-3.0 * i as f64 / n as f64);
            root(i) * root(j) * if i == j { 1.0 } else { 0.1 / n as f64 }
        });
        let jacobi = Jacobi::estimated(&ctx, &operator(&dominant), damping(lambda), Budget::new(40, 1)).unwrap();
        let (with, without) = (iterations(&ctx, &dominant, lambda, Some(&jacobi)).iterations(), plain(&dominant));
        assert!(3 * with <= without, "estimated Jacobi: {with} of {without}");
        // local couplings: incomplete Cholesky
        let grid = laplacian::<f64>(20);
        let dense = grid.to_dense(&ctx).unwrap();
        let ic = IncompleteCholesky::new(&grid, damping(lambda)).unwrap();
        let (with, without) = (iterations(&ctx, &dense, lambda, Some(&ic)).iterations(), plain(&dense));
        assert!(2 * with <= without, "IC(0): {with} of {without}");
        // few large eigenvalues: Nyström and pivoted Cholesky
        let w: Vec<f64> = (0..n).map(|i| if i < 20 { 10f64.powf(2.0 - i as f64 / 4.0) } else { 1e-4 }).collect();
        let outliers = gallery::with_spectrum::<f64>(&w, 6);
        let op = operator(&outliers);
        let nystrom = Nystrom::new(&ctx, &op, damping(lambda), Budget::new(26, 1)).unwrap();
        let pivoted = PivotedCholesky::new(&ctx, &op, damping(lambda), 40).unwrap();
        for (name, m) in [("Nyström", &nystrom as &dyn Preconditioner<f64>), ("pivoted Cholesky", &pivoted)] {
            let (with, without) = (iterations(&ctx, &outliers, lambda, Some(m)).iterations(), plain(&outliers));
            assert!(3 * with <= without, "{name}: {with} of {without}");
        }
    }
}

#[test]
fn matrix_free_solvers_take_them() {
    let ctx = Ctx::<f64>::reference();
    let n = 64;
    let w: Vec<f64> = (0..n).map(|i| if i < 6 { 1e4 / (1.0 + i as f64) } else { 0.0 }).collect();
    let c = gallery::with_spectrum::<f64>(&w, 6);
    let op = operator(&c);
    let nystrom = Nystrom::new(&ctx, &op, damping(1e-2), Budget::new(8, 1)).unwrap();
    let free = MatrixFree::new(&op, Definiteness::PositiveSemidefinite).with_preconditioner(Arc::new(nystrom)).unwrap();
    let solver = free.damped(&ctx, damping(1e-2)).unwrap();
    let (b, mut x) = (gallery::uniform::<f64>(n, 2, 3), Mat::zeros(n, 2));
    let mut report = CgReport::default();
    solver.solve_reported(&ctx, b.as_ref(), x.as_mut(), &mut report).unwrap();
    assert!(report.iterations() <= 3 && report.stop() == CgStop::Converged, "{} iterations", report.iterations());
}

#[test]
fn bad_input_is_a_typed_error() {
    let ctx = Ctx::<f64>::reference();
    let lambda = damping::<f64>(0.5);
    let nan = FnOperator::new(6, |_: &[f64], out: &mut [f64]| {
        out.fill(f64::NAN);
        Ok::<(), std::convert::Infallible>(())
    });
    assert!(matches!(Jacobi::from_diagonal(vec![f64::NAN], lambda), Err(Error::NotFinite { .. })));
    assert!(matches!(Jacobi::from_diagonal(vec![f64::MAX], damping(f64::MAX)), Err(Error::NotFinite { .. })));
    assert!(matches!(Jacobi::estimated(&ctx, &nan, lambda, Budget::new(4, 1)), Err(Error::NotFinite { .. })));
    assert!(matches!(Nystrom::new(&ctx, &nan, lambda, Budget::new(4, 1)), Err(Error::NotFinite { .. })));
    let identity = Identity::new(6);
    let empty = Nystrom::new(&ctx, &identity, lambda, Budget::new(0, 1));
    assert!(matches!(empty, Err(Error::InvalidParameter { name: "budget", .. })));
    for tolerance in [0.0, -1.0, f64::NAN] {
        let failed = Nystrom::adaptive(&ctx, &identity, lambda, tolerance, Budget::new(9, 1));
        assert!(matches!(failed, Err(Error::InvalidParameter { name: "tolerance", .. })));
    }
    // indefinite beyond rounding
    let indefinite = operator(&Mat::from_diagonal(&[1.0, -1.0, 2.0, 3.0]));
    let failed = Nystrom::new(&ctx, &indefinite, lambda, Budget::new(4, 1));
    assert!(matches!(failed, Err(Error::NotPositiveDefinite { op: "Nystrom", .. })), "{failed:?}");
    let failed = PivotedCholesky::new(&ctx, &indefinite, lambda, 2);
    assert!(matches!(failed, Err(Error::NotPositiveDefinite { pivot: 1, .. })), "{failed:?}");
    let sparse = SparseLower::from_entries(2, [(0, 0, 1.0), (1, 1, -0.5)]).unwrap();
    let failed = IncompleteCholesky::new(&sparse, lambda);
    assert!(matches!(failed, Err(Error::NotPositiveDefinite { pivot: 1, .. })), "{failed:?}");
    let huge = SparseLower::from_entries(2, [(0, 0, f64::MAX), (1, 0, f64::MAX)]).unwrap();
    assert!(IncompleteCholesky::new(&huge, damping(1e-300)).is_err(), "ĉ_10 overflows");
    assert!(matches!(SparseLower::from_entries(2, [(0, 0, f64::NAN)]), Err(Error::NotFinite { .. })));
    for place in [(0, 1), (2, 0), (2, 2)] {
        let failed = SparseLower::from_entries(2, [(place.0, place.1, 1.0)]);
        assert!(matches!(failed, Err(Error::InvalidParameter { name: "entries", .. })), "{place:?}");
    }
    let square = Mat::<f64>::identity(2);
    assert!(matches!(SparseLower::from_dense(Mat::<f64>::zeros(2, 3).as_ref(), 0.0), Err(Error::Shape { .. })));
    for threshold in [-1.0, f64::NAN] {
        let failed = SparseLower::from_dense(square.as_ref(), threshold);
        assert!(matches!(failed, Err(Error::InvalidParameter { name: "threshold", .. })));
    }
    let mut out = Mat::zeros(3, 1);
    let jacobi = Jacobi::from_diagonal(vec![1.0, 2.0], lambda).unwrap();
    assert!(matches!(jacobi.apply(&ctx, Mat::zeros(2, 1).as_ref(), out.as_mut()), Err(Error::Shape { .. })));
}
