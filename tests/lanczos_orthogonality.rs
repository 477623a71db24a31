//! Claim: full reorthogonalization keeps the basis of Lanczos orthogonal to ε, selective to √ε at a fraction of the cost and
//! with the same Ritz values; without, it is lost on a spectrum with outliers, and converged Ritz values come again.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;

use std::sync::Mutex;

use pullback::krylov::{Lanczos, LanczosEnd, LanczosOptions, Reorthogonalization, lanczos};
use pullback::linop::SymmetricDense;
use pullback::testing::dense::times;
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, LinearOperator, Mat, MatMut, MatRef, Result, Scalar, SelfAdjoint};

/// Strakoš' spectrum: outliers at the upper end, which Lanczos finds long before the rest.
fn outliers(n: usize, kappa: f64, rho: f64) -> Vec<f64> {
    let last = (n - 1) as f64;
    let inner = |i: usize| (i as f64 / last) * (1.0 - 1.0 / kappa) * rho.powi((n - 1 - i) as i32);
    (0..n).map(|i| 1.0 / kappa + inner(i)).collect()
}

/// max|VᵀV - I|.
fn skew(v: &Mat<f64>) -> f64 {
    let gram = times(&v.transposed(), v).unwrap();
    let entries = (0..v.ncols()).flat_map(|j| (0..v.ncols()).map(move |i| (i, j)));
    entries.map(|(i, j)| (gram[(i, j)] - f64::from(u8::from(i == j))).abs()).fold(0.0, f64::max)
}

/// Keeps the vectors that it is applied to: the basis, where the method does not.
struct Watched<T> {
    inner: SymmetricDense<T>,
    seen: Mutex<Vec<T>>,
}

impl<T: Scalar> LinearOperator<T> for Watched<T> {
    fn shape(&self) -> (usize, usize) {
        self.inner.shape()
    }
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.seen.lock().unwrap().extend_from_slice(x.col(0));
        self.inner.apply_into(ctx, x, y)
    }
}
impl<T: Scalar> SelfAdjoint<T> for Watched<T> {}

fn run<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, steps: usize, kind: Reorthogonalization) -> (Lanczos<T>, Mat<f64>) {
    let n = a.nrows();
    let watched = Watched { inner: SymmetricDense::new(a.clone()).unwrap(), seen: Mutex::default() };
    let start = gallery::uniform::<T>(n, 1, 3).into_vec();
    let options = LanczosOptions { steps, reorthogonalization: kind };
    let run = lanczos(ctx, &watched, &start, options).unwrap();
    let seen = watched.seen.into_inner().unwrap();
    let products = seen.len() / n;
    assert_eq!(products, run.steps(), "one product a step");
    (run, Mat::from_vec(seen, n, products).unwrap().cast())
}

fn levels<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (n, kappa, rho) in [(33, 1e3, 0.6), (64, 1e3, 0.7), (129, 1e2, 0.8)] {
            let a = gallery::with_spectrum::<T>(&outliers(n, kappa, rho), 5);
            let of = |kind| run(&ctx, &a, n, kind);
            let (full, basis) = of(Reorthogonalization::Full);
            let place = format!("order {n} on {} in {}", ctx.backend().name(), T::NAME);
            assert!(skew(&basis) <= tolerance::<T>(n, 1.0), "full, {place}: {:e}", skew(&basis));
            assert_eq!(full.reorthogonalizations(), full.steps());
            let (selective, basis) = of(Reorthogonalization::Selective);
            let limit = (n as f64 * T::EPS.f64()).sqrt();
            assert!(skew(&basis) <= limit, "selective, {place}: {:e} above {limit:e}", skew(&basis));
            assert_eq!(selective.basis().unwrap().cast::<f64>(), basis, "{place}");
            let (plain, basis) = of(Reorthogonalization::None);
            assert!(skew(&basis) >= 0.5, "{place}: orthogonality was to be lost, {:e}", skew(&basis));
            assert_eq!((plain.reorthogonalizations(), plain.basis()), (0, None));
        }
    }
}

/// Orders of which f64 needs to orthogonalize every few steps only.
#[test]
fn selective_costs_a_fraction() {
    for ctx in contexts::<f64>() {
        let (n, steps) = (257, 120);
        let a = gallery::with_spectrum::<f64>(&outliers(n, 1e3, 0.9), 6);
        let (selective, _) = run(&ctx, &a, steps, Reorthogonalization::Selective);
        let some = selective.reorthogonalizations();
        assert!(some >= 2 && some <= steps / 2, "{some} of {steps} steps");
        // nothing converges on a spectrum that has no outliers in a few steps: nothing to do
        let flat = gallery::with_spectrum::<f64>(&(0..n).map(|i| 1.0 + i as f64).collect::<Vec<_>>(), 6);
        assert_eq!(run(&ctx, &flat, 12, Reorthogonalization::Selective).0.reorthogonalizations(), 0);
    }
}

/// Orthogonalization comes in pairs, since two vectors enter the recurrence: where one vector starts anew at ε, so does the
/// next, although the estimate would let it pass.
#[test]
fn selective_orthogonalizes_the_next_vector_too() {
    let mut pairs = 0;
    for ctx in contexts::<f64>() {
        for (n, rho) in [(129, 0.85), (257, 0.9), (257, 0.95)] {
            let a = gallery::with_spectrum::<f64>(&outliers(n, 1e3, rho), 6);
            let (_, basis) = run(&ctx, &a, n / 2, Reorthogonalization::Selective);
            let gram = times(&basis.transposed(), &basis).unwrap();
            let worst = |k: usize| (0..k).map(|i| gram[(i, k)].abs()).fold(0.0, f64::max);
            let anew = tolerance::<f64>(1, (n as f64).sqrt());
            for k in 2..basis.ncols() - 1 {
                if worst(k) <= anew && worst(k - 1) > 100.0 * anew {
                    let next = worst(k + 1);
                    assert!(next <= anew, "order {n} on {}, vector {}: {next:e}", ctx.backend().name(), k + 1);
                    pairs += 1;
                }
            }
        }
    }
    assert!(pairs >= 3, "{pairs} pairs");
}

/// The Ritz values of a semiorthogonal basis are those of the orthogonal one; a converged one comes once.
fn no_copies<T: Scalar>() {
    for ctx in contexts::<T>() {
        let n = 64;
        let w = outliers(n, 1e3, 0.7);
        let a = gallery::with_spectrum::<T>(&w, 7);
        let limit = tolerance::<T>(n, 1.0);
        // Ritz values that stand for the largest eigenvalue, whose neighbour is far away
        let gap = w[n - 1] - w[n - 2];
        let copies = |run: &Lanczos<T>| {
            let ritz = run.ritz(&ctx).unwrap();
            ritz.values().iter().filter(|&&theta| (theta - w[n - 1]).abs() <= 0.25 * gap).count()
        };
        let (full, _) = run(&ctx, &a, n, Reorthogonalization::Full);
        let (selective, _) = run(&ctx, &a, n, Reorthogonalization::Selective);
        assert_eq!((copies(&full), copies(&selective)), (1, 1), "{} in {}", ctx.backend().name(), T::NAME);
        let (plain, _) = run(&ctx, &a, 2 * n, Reorthogonalization::None);
        assert!(copies(&plain) > 1, "negative control: copies in {}", T::NAME);
        assert_eq!(plain.steps(), 2 * n);
        for run in [&full, &selective] {
            assert_eq!(run.end(), LanczosEnd::InvariantSubspace, "n steps span everything");
            // eigenvalues that agree to rounding are one to Lanczos: it may end before n steps
            for theta in run.ritz(&ctx).unwrap().values() {
                let off = w.iter().map(|w| (w - theta).abs()).fold(f64::INFINITY, f64::min);
                assert!(off <= limit, "{theta} is no eigenvalue in {}: {off:e}", T::NAME);
            }
        }
    }
}

/// Selective or full, the scale of A changes no digit of V and none of T but its exponent.
fn scales<T: Scalar>() {
    let n = 33;
    let a = gallery::with_spectrum::<T>(&outliers(n, 1e3, 0.6), 8);
    for ctx in contexts::<T>() {
        for kind in [Reorthogonalization::None, Reorthogonalization::Full, Reorthogonalization::Selective] {
            let (one, basis) = run(&ctx, &a, 20, kind);
            for exponent in [-40, 40] {
                let (other, same) = run(&ctx, &gallery::scaled(&a, exponent), 20, kind);
                assert_eq!(basis, same, "{kind:?} 2^{exponent} in {}", T::NAME);
                let back: Vec<f64> = other.alphas().iter().map(|x| x * 2f64.powi(-exponent)).collect();
                assert_eq!((one.alphas(), one.reorthogonalizations()), (&back[..], other.reorthogonalizations()));
            }
        }
    }
}

/// Small orders and invariant spaces end as with full reorthogonalization.
fn ends<T: Scalar>() {
    for ctx in contexts::<T>() {
        for n in [1, 2, 3, 31, 32] {
            let w: Vec<f64> = (0..n).map(|i| [1.0, 3.0, 7.0][i % 3]).collect();
            let a = gallery::with_spectrum::<T>(&w, 9);
            let (run, basis) = run(&ctx, &a, n + 3, Reorthogonalization::Selective);
            assert_eq!((run.steps(), run.end()), (n.min(3), LanczosEnd::InvariantSubspace), "order {n}");
            assert!(skew(&basis) <= (n as f64 * T::EPS.f64()).sqrt());
        }
    }
}

for_both!(levels, no_copies, scales, ends);
