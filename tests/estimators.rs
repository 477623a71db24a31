//! Claim: the stochastic estimates are exact where theory says so, unbiased, honest about their standard errors, and
//! determined by their seed. Statistical claims are tested without assuming a distribution, each with a false-alarm
//! rate of 1e-6 (tests/statistics_support), and each with a control: an estimator that is off by a few percent is
//! rejected.

mod statistics_support;

use pullback::krylov::{
    Budget, Estimate, diagonal_estimate, frobenius_norm_estimate, hutch_plus_plus, hutchinson,
    log_determinant_estimate, spectral_sum, xtrace,
};
use pullback::linop::{FnOperator, Identity, SymmetricDense};
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Error, LinearOperator, Mat, MatMut, MatRef, Result, Scalar, SelfAdjoint};
use statistics_support::Mean;
use std::sync::atomic::{AtomicUsize, Ordering};

type Trace<T> = fn(&Ctx<T>, &SymmetricDense<T>, Budget) -> Result<Estimate>;

fn traces<T: Scalar>() -> [(&'static str, Trace<T>); 3] {
    [("Hutchinson", hutchinson), ("Hutch++", hutch_plus_plus), ("XTrace", xtrace)]
}

fn operator<T: Scalar>(a: Mat<T>) -> SymmetricDense<T> {
    SymmetricDense::new(a).unwrap()
}

fn diagonal_matrices_are_exact<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [0, 1, 2, 3, 31, 33, 64, 129, 257] {
            let d: Vec<f64> = (0..n).map(|i| f64::from((i % 7) as u8) - 2.0).collect();
            let a = operator(Mat::from_diagonal(&d).cast::<T>());
            let limit = tolerance::<T>(n, 1.0) * n as f64;
            let trace = hutchinson(&ctx, &a, Budget::new(5, 3)).unwrap();
            assert!((trace.value - d.iter().sum::<f64>()).abs() <= limit && trace.standard_error <= limit);
            assert_eq!((trace.samples, trace.products), (5, 5));
            let diagonal = diagonal_estimate(&ctx, &a, Budget::new(5, 3)).unwrap();
            assert_eq!((diagonal.values, diagonal.products), (d.clone(), 5), "small integers: exact to the bit");
            assert!(diagonal.standard_errors.iter().all(|&e| e == 0.0));
            let norm = frobenius_norm_estimate(&ctx, &a, Budget::new(5, 3)).unwrap();
            let exact = d.iter().map(|d| d * d).sum::<f64>().sqrt();
            assert!((norm.value - exact).abs() <= limit && norm.standard_error <= limit);
        }
    }
}

#[test]
fn hutchinson_is_exact_on_diagonal_matrices() {
    diagonal_matrices_are_exact::<f64>();
    diagonal_matrices_are_exact::<f32>();
}

fn low_rank_is_exact<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, products) in [(31, 12), (64, 12), (129, 30), (257, 30)] {
            // rank at most a third of the products for Hutch++, below half of them for XTrace
            for (name, estimate, rank) in [
                ("Hutch++", hutch_plus_plus as Trace<T>, products / 3),
                ("XTrace", xtrace as Trace<T>, products / 2 - 1),
                ("Hutch++", hutch_plus_plus, 0),
                ("XTrace", xtrace, 0),
                ("XTrace", xtrace, 1),
            ] {
                let exact_of = |rank: usize, seed| {
                    let w: Vec<f64> = (0..n).map(|i| if i < rank { 1.0 / (1.0 + i as f64) } else { 0.0 }).collect();
                    let a = operator(gallery::with_spectrum::<T>(&w, seed));
                    (estimate(&ctx, &a, Budget::new(products, seed)).unwrap(), w.iter().sum::<f64>())
                };
                let (found, trace) = exact_of(rank, 5);
                let limit = tolerance::<T>(n, trace);
                let error = (found.value - trace).abs();
                assert!(error <= limit, "{name}<{}> n {n} rank {rank}: off by {error:e} of {limit:e}", T::NAME);
                assert!(found.standard_error <= limit && found.products <= products, "{name} {found:?}");
                // control: of a rank beyond the sketch there is an error, and it is admitted
                let (found, trace) = exact_of(n, 5);
                assert!((found.value - trace).abs() > limit && found.standard_error > limit, "{name} n {n}");
            }
        }
        // as many products as the order: unit vectors, exact
        for n in [1, 2, 4, 9] {
            let a = gallery::spd::<T>(n, 10.0, 2);
            let trace: f64 = (0..n).map(|i| a[(i, i)].f64()).sum();
            for (name, estimate) in [("Hutch++", hutch_plus_plus as Trace<T>), ("XTrace", xtrace)] {
                let found = estimate(&ctx, &operator(a.clone()), Budget::new(n.max(4), 1)).unwrap();
                assert!((found.value - trace).abs() <= tolerance::<T>(n, trace), "{name} n {n}");
                assert_eq!((found.standard_error, found.products), (0.0, n), "{name} n {n}");
            }
        }
    }
}

#[test]
fn hutch_plus_plus_and_xtrace_are_exact_below_the_rank_of_their_sketch() {
    low_rank_is_exact::<f64>();
    low_rank_is_exact::<f32>();
}

fn quadrature_is_exact<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [0, 1, 2, 3, 33, 64, 129] {
            let limit = tolerance::<T>(n, 1.0) * n as f64;
            for c in [0.0, 0.25, 3.0] {
                let a = operator(Mat::from_diagonal(&vec![T::of(c); n]));
                let found = log_determinant_estimate(&ctx, &a, 0.5, 4, Budget::new(12, 1)).unwrap();
                let exact = n as f64 * (c + 0.5).ln();
                assert!((found.value - exact).abs() <= limit && found.standard_error <= limit, "{c} I of order {n}");
                assert_eq!((found.samples, found.products), (3, if n == 0 { 0 } else { 3 }), "one step each");
            }
            // diagonal with three distinct eigenvalues: the weights are the multiplicities whatever the signs
            let d: Vec<f64> = (0..n).map(|i| [1.0, 2.0, 5.0][i % 3]).collect();
            let a = operator(Mat::from_diagonal(&d).cast::<T>());
            let found = log_determinant_estimate(&ctx, &a, 0.5, 3, Budget::new(12, 1)).unwrap();
            let exact: f64 = d.iter().map(|d| (d + 0.5).ln()).sum();
            assert!((found.value - exact).abs() <= limit, "{} n {n}: {} for {exact}", T::NAME, found.value);
            let root = spectral_sum(&ctx, &a, f64::sqrt, 3, Budget::new(12, 1)).unwrap();
            assert!((root.value - d.iter().map(|d| d.sqrt()).sum::<f64>()).abs() <= limit);
        }
    }
}

#[test]
fn lanczos_quadrature_is_exact_with_as_many_steps_as_distinct_eigenvalues() {
    quadrature_is_exact::<f64>();
    quadrature_is_exact::<f32>();
}

#[test]
fn the_quadrature_of_a_logarithm_falls_to_its_limit_as_steps_grow() {
    let ctx = Ctx::<f64>::reference();
    let n = 40;
    let a = operator(gallery::spd::<f64>(n, 1e4, 3));
    let of = |steps: usize| {
        let budget = Budget::new(10 * steps, 7);
        log_determinant_estimate(&ctx, &a, 1e-3, steps, budget).unwrap().value
    };
    let limit = of(n);
    let values: Vec<f64> = [1, 2, 4, 8, 16, 30].map(of).to_vec();
    for pair in values.windows(2) {
        assert!(pair[1] <= pair[0] + tolerance::<f64>(n, limit.abs()), "{values:?}");
    }
    assert!(values[0] > limit + 1.0, "one step is not enough: {} for {limit}", values[0]);
    assert!((values[5] - limit).abs() <= 1e-3 * limit.abs(), "{} for {limit}", values[5]);
}

const N: usize = 10;
const RUNS: usize = 20_000;

/// Eigenvalues 0.1, 0.2, ..., 1.
fn spectrum() -> Vec<f64> {
    (1..=N).map(|i| i as f64 / N as f64).collect()
}

fn matrix() -> Mat<f64> {
    gallery::with_spectrum(&spectrum(), 12)
}

/// Unbiased: the mean over seeds may be `exact`, and a value 3 % off may not. Honest: the mean of (value - exact)² -
/// se² may be 0, and with standard errors 30 % too small it may not. Values lie in [low, high], samples in an interval
/// of width `sample`.
fn unbiased_and_honest(
    name: &str,
    exact: f64,
    (low, high): (f64, f64),
    sample: f64,
    exact_error: bool,
    estimate: impl Fn(u64) -> Estimate,
) {
    let runs: Vec<Estimate> = (0..RUNS as u64).map(estimate).collect();
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    let mean = Mean::of(&values, high - low);
    assert!(mean.may_be(exact), "{name}: {mean:?} for {exact}");
    let biased: Vec<f64> = values.iter().map(|x| 1.03 * x).collect();
    let biased = Mean::of(&biased, 1.03 * (high - low));
    assert!(!biased.may_be(exact), "{name}: 3 % of bias pass unseen, {biased:?} for {exact}");

    let largest = (high - exact).max(exact - low);
    let excess = |under: f64, share: f64| {
        let gaps: Vec<f64> =
            runs.iter().map(|run| (run.value - exact).powi(2) - under * (share * run.standard_error).powi(2)).collect();
        Mean::of(&gaps, largest.powi(2) + under * sample.powi(2) / 4.0)
    };
    if exact_error {
        assert!(excess(1.0, 1.0).may_be(0.0), "{name}: errors² - se² {:?}", excess(1.0, 1.0));
        assert!(!excess(1.0, 0.7).may_be(0.0), "{name}: se 30 % too small pass unseen, {:?}", excess(1.0, 0.7));
    } else {
        // within a factor 2 of the variance; half of that standard error is rejected
        assert!(excess(2.0, 1.0).may_be_at_most_zero(), "{name}: se too small, {:?}", excess(2.0, 1.0));
        assert!(!excess(2.0, 0.5).may_be_at_most_zero(), "{name}: half of se pass unseen, {:?}", excess(2.0, 0.5));
        let least = excess(0.5, 1.0);
        assert!(least.mean >= -least.limit, "{name}: se too large, {least:?}");
    }
}

#[test]
fn hutchinson_is_unbiased_with_honest_standard_errors() {
    let (ctx, a, n) = (Ctx::<f64>::reference(), operator(matrix()), N as f64);
    let trace: f64 = spectrum().iter().sum();
    // 0 <= vᵀA v <= ‖v‖² λ_max = n
    unbiased_and_honest("Hutchinson", trace, (0.0, n), n, true, |seed| {
        hutchinson(&ctx, &a, Budget::new(4, seed)).unwrap()
    });
}

#[test]
fn hutch_plus_plus_is_unbiased_with_honest_standard_errors() {
    let (ctx, a, n) = (Ctx::<f64>::reference(), operator(matrix()), N as f64);
    let trace: f64 = spectrum().iter().sum();
    // the sketch of rank 2 holds at most λ_1 + λ_2 = 1.9, the remainder at most n λ_max
    unbiased_and_honest("Hutch++", trace, (0.0, 1.9 + n), n, true, |seed| {
        hutch_plus_plus(&ctx, &a, Budget::new(6, seed)).unwrap()
    });
}

#[test]
fn xtrace_is_unbiased_with_standard_errors_near_the_truth() {
    let (ctx, a, n) = (Ctx::<f64>::reference(), operator(matrix()), N as f64);
    let trace: f64 = spectrum().iter().sum();
    // k = 3: at most λ_1 + λ_2 on the range of the other two, and (n - 2) λ_max on the remainder
    unbiased_and_honest("XTrace", trace, (0.0, 1.9 + n - 2.0), 1.9 + n - 2.0, false, |seed| {
        xtrace(&ctx, &a, Budget::new(6, seed)).unwrap()
    });
}

#[test]
fn the_square_of_the_frobenius_norm_is_unbiased_with_honest_standard_errors() {
    let (ctx, a, n) = (Ctx::<f64>::reference(), operator(matrix()), N as f64);
    let exact: f64 = spectrum().iter().map(|w| w * w).sum();
    // 0 <= ‖A v‖² <= n λ_max²; the standard error of the square is 2 value times that of the value
    unbiased_and_honest("Frobenius", exact, (0.0, n), n, true, |seed| {
        let norm = frobenius_norm_estimate(&ctx, &a, Budget::new(4, seed)).unwrap();
        Estimate { value: norm.value.powi(2), standard_error: 2.0 * norm.value * norm.standard_error, ..norm }
    });
}

#[test]
fn the_log_determinant_is_unbiased_with_honest_standard_errors_once_the_quadrature_is_exact() {
    let (ctx, a, n) = (Ctx::<f64>::reference(), operator(matrix()), N as f64);
    let lambda = 1.5;
    let exact: f64 = spectrum().iter().map(|w| (w + lambda).ln()).sum();
    let (low, high) = (n * (0.1 + lambda).ln(), n * (1.0 + lambda).ln());
    let runs = RUNS / 2;
    let values: Vec<f64> = (0..runs as u64)
        .map(|seed| log_determinant_estimate(&ctx, &a, lambda, N, Budget::new(2 * N, seed)).unwrap())
        .map(|estimate| {
            assert!(estimate.value >= low && estimate.value <= high && estimate.samples == 2);
            estimate.value
        })
        .collect();
    let mean = Mean::of(&values, high - low);
    assert!(mean.may_be(exact), "{mean:?} for {exact}");
    let biased: Vec<f64> = values.iter().map(|x| 1.03 * x).collect();
    assert!(!Mean::of(&biased, 1.03 * (high - low)).may_be(exact), "3 % of bias pass unseen");
    let gaps = |share: f64| {
        let gaps: Vec<f64> = (0..runs as u64)
            .map(|seed| log_determinant_estimate(&ctx, &a, lambda, N, Budget::new(2 * N, seed)).unwrap())
            .map(|run| (run.value - exact).powi(2) - (share * run.standard_error).powi(2))
            .collect();
        Mean::of(&gaps, (high - exact).max(exact - low).powi(2) + (high - low).powi(2) / 4.0)
    };
    assert!(gaps(1.0).may_be(0.0) && !gaps(0.7).may_be(0.0), "{:?}, {:?}", gaps(1.0), gaps(0.7));
}

#[test]
fn the_diagonal_is_unbiased_with_honest_standard_errors() {
    let (ctx, a, dense) = (Ctx::<f64>::reference(), operator(matrix()), matrix());
    let runs: Vec<_> =
        (0..RUNS as u64).map(|seed| diagonal_estimate(&ctx, &a, Budget::new(4, seed)).unwrap()).collect();
    for i in 0..N {
        let exact = dense[(i, i)];
        // |(v ∘ A v)_i - a_ii| <= Σ_{j≠i} |a_ij|
        let radius: f64 = (0..N).filter(|&j| j != i).map(|j| dense[(i, j)].abs()).sum();
        let of = |f: &dyn Fn(f64, f64) -> f64, width: f64| {
            Mean::of(&runs.iter().map(|run| f(run.values[i], run.standard_errors[i])).collect::<Vec<_>>(), width)
        };
        let mean = of(&|value, _| value, 2.0 * radius);
        assert!(mean.may_be(exact), "entry {i}: {mean:?} for {exact}");
        assert!(!of(&|value, _| 1.03 * value, 2.06 * radius).may_be(exact), "entry {i}: 3 % of bias pass unseen");
        let gap = of(&|value, se| (value - exact).powi(2) - se.powi(2), 2.0 * radius.powi(2));
        assert!(gap.may_be(0.0), "entry {i}: {gap:?}");
        let low = of(&|value, se| (value - exact).powi(2) - (0.7 * se).powi(2), 2.0 * radius.powi(2));
        assert!(!low.may_be(0.0), "entry {i}: se 30 % too small pass unseen, {low:?}");
    }
}

/// With equal budgets on a decaying spectrum: XTrace below Hutch++ below Hutchinson, each by a wide margin.
#[test]
fn the_better_methods_have_smaller_errors() {
    let ctx = Ctx::<f64>::reference();
    let w: Vec<f64> = (0..60).map(|i| 0.6f64.powi(i)).collect();
    let (a, trace) = (operator(gallery::with_spectrum::<f64>(&w, 4)), w.iter().sum::<f64>());
    let rms = |estimate: Trace<f64>| {
        let squares = (0..40).map(|seed| (estimate(&ctx, &a, Budget::new(30, seed)).unwrap().value - trace).powi(2));
        (squares.sum::<f64>() / 40.0).sqrt()
    };
    let [plain, plus, cross] = [hutchinson as Trace<f64>, hutch_plus_plus, xtrace].map(rms);
    assert!(plus < plain / 3.0 && cross < plus / 2.0, "Hutchinson {plain:e}, Hutch++ {plus:e}, XTrace {cross:e}");
}

#[test]
fn a_seed_determines_the_bits_and_the_block_size_only_the_rounding() {
    for ctx in contexts::<f64>() {
        let n = 50;
        let a = gallery::spd::<f64>(n, 1e3, 9);
        let op = operator(a.clone());
        for (name, estimate) in traces::<f64>() {
            let one = estimate(&ctx, &op, Budget::new(20, 5)).unwrap();
            assert_eq!(one, estimate(&ctx, &op, Budget::new(20, 5)).unwrap(), "{name}");
            assert_ne!(one.value, estimate(&ctx, &op, Budget::new(20, 6)).unwrap().value, "{name}: another seed");
            for block in [1, 3, 20, 1000] {
                let other = estimate(&ctx, &op, Budget { block, ..Budget::new(20, 5) }).unwrap();
                assert!((one.value - other.value).abs() <= tolerance::<f64>(n, n as f64), "{name}, block {block}");
            }
            // powers of two change no digit
            for e in [-300, 300] {
                let scaled = operator(gallery::scaled(&a, e));
                let other = estimate(&ctx, &scaled, Budget::new(20, 5)).unwrap();
                assert_eq!(one.value * 2f64.powi(e), other.value, "{name}, 2^{e}");
                assert_eq!(one.standard_error * 2f64.powi(e), other.standard_error, "{name}, 2^{e}");
            }
        }
        let of = |block, seed| {
            let budget = Budget { block, ..Budget::new(60, seed) };
            log_determinant_estimate(&ctx, &op, 0.1, 6, budget).unwrap()
        };
        assert_eq!(of(32, 1), of(32, 1));
        assert_ne!(of(32, 1).value, of(32, 2).value);
        assert!((of(32, 1).value - of(1, 1).value).abs() <= tolerance::<f64>(n, n as f64));
        assert_eq!(of(32, 1).products, 60);
    }
}

/// Every product is counted, and none beyond the budget is spent.
#[test]
fn products_are_counted_and_come_in_blocks() {
    let ctx = Ctx::<f64>::reference();
    let n = 40;
    for rank in [2, 7, n] {
        let w: Vec<f64> = (0..n).map(|i| if i < rank { 1.0 + (i % 5) as f64 } else { 0.0 }).collect();
        let inner = operator(gallery::with_spectrum::<f64>(&w, 3));
        for (products, block) in [(8, 3), (20, 32), (24, 1), (39, 7), (40, 7), (90, 50)] {
            let budget = Budget { block, ..Budget::new(products, 1) };
            let counted = |estimate: &dyn Fn(&Counting<'_>) -> Estimate| {
                let op = Counting { inner: &inner, columns: AtomicUsize::new(0), widest: AtomicUsize::new(0) };
                let found = estimate(&op);
                let spent = op.columns.load(Ordering::Relaxed);
                assert_eq!(found.products, spent, "{budget:?} rank {rank}: {found:?}");
                assert!(spent <= products, "{budget:?} rank {rank}: {found:?}");
                assert!(op.widest.load(Ordering::Relaxed) <= block, "{budget:?}: a block too wide");
            };
            counted(&|op| hutchinson(&ctx, op, budget).unwrap());
            counted(&|op| frobenius_norm_estimate(&ctx, op, budget).unwrap());
            counted(&|op| hutch_plus_plus(&ctx, op, budget).unwrap());
            counted(&|op| xtrace(&ctx, op, budget).unwrap());
            counted(&|op| log_determinant_estimate(&ctx, op, 0.5, 4, budget).unwrap());
            counted(&|op| spectral_sum(&ctx, op, |x| x * x, 3, budget).unwrap());
        }
    }
}

/// Counts the columns it is applied to.
struct Counting<'a> {
    inner: &'a SymmetricDense<f64>,
    columns: AtomicUsize,
    widest: AtomicUsize,
}

impl LinearOperator<f64> for Counting<'_> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }

    fn apply_into(&self, ctx: &Ctx<f64>, x: MatRef<'_, f64>, y: MatMut<'_, f64>) -> Result<()> {
        self.columns.fetch_add(x.ncols(), Ordering::Relaxed);
        self.widest.fetch_max(x.ncols(), Ordering::Relaxed);
        self.inner.apply_into(ctx, x, y)
    }
}

impl SelfAdjoint<f64> for Counting<'_> {}

fn nan_operator() -> impl SelfAdjoint<f64> {
    FnOperator::new(20, |_: &[f64], out: &mut [f64]| {
        out.fill(f64::NAN);
        Ok::<(), std::convert::Infallible>(())
    })
}

#[test]
fn bad_input_is_a_typed_error() {
    let ctx = Ctx::<f64>::reference();
    let a = Identity::new(20);
    for (least, result) in [
        (2, hutchinson(&ctx, &a, Budget::new(1, 0))),
        (2, frobenius_norm_estimate(&ctx, &a, Budget::new(1, 0))),
        (2, diagonal_estimate(&ctx, &a, Budget::new(0, 0)).map(|_| unreachable!())),
        (4, hutch_plus_plus(&ctx, &a, Budget::new(3, 0))),
        (4, xtrace(&ctx, &a, Budget::new(3, 0))),
        (10, log_determinant_estimate(&ctx, &a, 1.0, 5, Budget::new(9, 0))),
        (2, log_determinant_estimate(&ctx, &a, 1.0, usize::MAX, Budget::new(9, 0))),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::InvalidParameter { name: "products", .. }), "{error}");
        assert!(error.to_string().contains(&least.to_string()) || least == 2, "{error}");
    }
    let no_block = Budget { block: 0, ..Budget::new(8, 0) };
    assert!(matches!(hutchinson(&ctx, &a, no_block), Err(Error::InvalidParameter { name: "block", .. })));
    let no_steps = spectral_sum(&ctx, &a, f64::sqrt, 0, Budget::new(8, 0));
    assert!(matches!(no_steps, Err(Error::InvalidParameter { name: "steps", .. })));
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let found = log_determinant_estimate(&ctx, &a, lambda, 2, Budget::new(8, 0));
        assert!(matches!(found, Err(Error::InvalidParameter { name: "lambda", .. })), "{lambda}");
    }
    let nan = nan_operator();
    for result in [
        hutchinson(&ctx, &nan, Budget::new(8, 0)),
        frobenius_norm_estimate(&ctx, &nan, Budget::new(8, 0)),
        hutch_plus_plus(&ctx, &nan, Budget::new(8, 0)),
        xtrace(&ctx, &nan, Budget::new(8, 0)),
        log_determinant_estimate(&ctx, &nan, 1.0, 2, Budget::new(8, 0)),
        spectral_sum(&ctx, &a, |_| f64::NAN, 2, Budget::new(8, 0)),
        // squares of finite products that overflow
        frobenius_norm_estimate(&ctx, &operator(Mat::from_diagonal(&[1e200; 3])), Budget::new(8, 0)),
    ] {
        assert!(matches!(result, Err(Error::NotFinite { .. })), "{result:?}");
    }
    let indefinite = operator(Mat::from_diagonal(&[1.0, -2.0, 1.0]));
    let found = log_determinant_estimate(&ctx, &indefinite, 1.0, 3, Budget::new(8, 0));
    assert!(matches!(found, Err(Error::NotPositiveDefinite { pivot: 0, .. })), "{found:?}");
}

#[test]
fn the_smallest_orders_and_the_zero_matrix_have_their_exact_values() {
    let ctx = Ctx::<f64>::reference();
    for n in [0, 1, 12] {
        let zero = operator(Mat::zeros(n, n));
        for (name, estimate) in traces::<f64>() {
            let found = estimate(&ctx, &zero, Budget::new(4, 1)).unwrap();
            assert_eq!((found.value, found.standard_error), (0.0, 0.0), "{name} of the zero matrix of order {n}");
        }
        let norm = frobenius_norm_estimate(&ctx, &zero, Budget::new(4, 1)).unwrap();
        assert_eq!((norm.value, norm.standard_error), (0.0, 0.0));
        assert_eq!(diagonal_estimate(&ctx, &zero, Budget::new(4, 1)).unwrap().values, vec![0.0; n]);
    }
}
