//! Law 3 of the crate: every damped direction d = -(C + λI)⁻¹ g from a positive semidefinite curvature descends, and by
//! at least what the largest eigenvalue M of the damped matrix allows.
//!
//! ```text
//! gᵀd <= -‖g‖² / M < 0  for g ≠ 0
//! ```
//! Negative controls: an indefinite curvature without enough damping must break the law for some seed, and must be
//! refused by `damped` where the damped matrix would be indefinite.

mod curvature_support;

use curvature_support::conformance::damping;
use curvature_support::*;
use proptest::prelude::*;
use pullback::curvature::{
    AnyCurvature, BlockDiagonal, Definiteness, Dense, Diagonal, Kronecker, KroneckerDamping, PiRule,
};
use pullback::factor::Lu;
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedInverse, DampedSolver, Error, LinearOperator, Mat, Scalar};

/// gᵀd / ‖g‖² for d = -(C + λI)⁻¹ g.
fn slope<T: Scalar, C>(ctx: &Ctx<T>, c: &C, lambda: f64, g: &Mat<T>) -> f64
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    assert_eq!(c.definiteness(), Definiteness::PositiveSemidefinite);
    let mut d = Mat::zeros(g.nrows(), 1);
    c.damped(ctx, damping(lambda)).unwrap().solve(ctx, g.as_ref(), d.as_mut()).unwrap();
    let dot: f64 = g.as_slice().iter().zip(d.as_slice()).map(|(g, d)| -g.f64() * d.f64()).sum();
    dot / norm(g).powi(2)
}

/// The law for one curvature whose damped matrix has the largest eigenvalue at most `largest`.
fn descends<T: Scalar, C>(name: &str, c: &C, lambda: f64, largest: f64, g: &[f64]) -> Result<(), TestCaseError>
where
    C: Curvature<T>,
    C::Solver: DampedInverse<T>,
{
    let n = c.dim();
    let g = Mat::from_fn(n, 1, |i, _| T::of(g[i]));
    for ctx in contexts::<T>() {
        let (slope, limit) = (slope(&ctx, c, lambda, &g), -1.0 / largest);
        let place = format!("{name} on {} in {}, lambda {lambda:e}", ctx.backend().name(), T::NAME);
        prop_assert!(slope < 0.0, "{place}: the direction ascends by {slope:e}");
        // what rounding of a solution of norm at most ‖g‖/λ may take
        let rounding = tolerance::<T>(n, largest / lambda) / lambda;
        prop_assert!(slope <= limit + rounding, "{place}: descends by {slope:e} only, bound {limit:e}");
    }
    Ok(())
}

const D_IN: usize = 4;
const D_OUT: usize = 3;
const DIM: usize = D_IN * D_OUT;

/// Every kind, alone and in blocks, from factors of the given ranks.
fn every_kind<T: Scalar>(seed: u64, ranks: (usize, usize), lambda: f64, g: &[f64]) -> Result<(), TestCaseError> {
    let (a, s) = (low_rank::<T>(D_IN, ranks.0, seed), low_rank::<T>(D_OUT, ranks.1, seed + 1));
    let m = low_rank::<T>(DIM, ranks.0 * ranks.1, seed + 2);
    let entries: Vec<T> = random::<T>(DIM, 1, seed + 3).into_vec().into_iter().map(T::abs).collect();
    let plain = norm(&a) * norm(&s);
    let exact = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact).unwrap();
    let dense = Dense::new(m.clone()).unwrap();
    let diagonal = Diagonal::new(entries).unwrap();
    descends("diagonal", &diagonal, lambda, 1.0 + lambda, g)?;
    descends("dense", &dense, lambda, norm(&m) + lambda, g)?;
    descends("exact Kronecker", &exact, lambda, plain + lambda, g)?;
    let mut worst = (plain + lambda).max(norm(&m) + lambda).max(1.0 + lambda);
    let mut blocks = vec![AnyCurvature::new(exact), AnyCurvature::new(dense), AnyCurvature::new(diagonal)];
    for rule in [PiRule::Trace, PiRule::Frobenius, PiRule::Fixed(T::of(2.0))] {
        let c = Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Factored { pi: rule }).unwrap();
        let pi = rule.pi(a.as_ref(), s.as_ref()).f64();
        let largest = (norm(&a) + pi * lambda.sqrt()) * (norm(&s) + lambda.sqrt() / pi);
        descends("factored Kronecker", &c, lambda, largest, g)?;
        worst = worst.max(largest);
        blocks.push(AnyCurvature::new(BlockDiagonal::new(vec![c])));
    }
    descends("blocks of every kind", &BlockDiagonal::new(blocks), lambda, worst, g)
}

/// A non-zero gradient for all blocks, its entries over several orders of magnitude.
fn gradient() -> impl Strategy<Value = Vec<f64>> {
    let entry = (-1.0..1.0f64, -3..4i32).prop_map(|(x, e)| x * 10f64.powi(e));
    prop::collection::vec(entry, 6 * DIM)
        .prop_filter("a gradient that is zero in a block has no direction there", |g| {
            g[..DIM].iter().map(|x| x * x).sum::<f64>() > 1e-6
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_damped_direction_descends(
        seed in 0u64..1 << 32, rank_a in 0..=D_IN, rank_s in 0..=D_OUT, exponent in -2.0..3.0f64, g in gradient(),
    ) {
        let lambda = 10f64.powf(exponent);
        every_kind::<f32>(seed, (rank_a, rank_s), lambda, &g)?;
        every_kind::<f64>(seed, (rank_a, rank_s), lambda, &g)?;
    }

    /// Enough damping makes an indefinite curvature descend; too little is refused, never solved.
    #[test]
    fn indefinite_curvature_is_damped_or_refused(d in prop::collection::vec(-1.0..1.0f64, 2..9), lambda in 0.01..2.0f64) {
        let least = d.iter().copied().fold(f64::INFINITY, f64::min);
        for ctx in contexts::<f64>() {
            let damped = Diagonal::new(d.clone())?.damped(&ctx, damping(lambda));
            match damped {
                Ok(inverse) => {
                    prop_assert!(least + lambda > 0.0);
                    let dense = inverse.to_dense(&ctx)?;
                    prop_assert!((0..d.len()).all(|i| dense[(i, i)] > 0.0));
                }
                Err(Error::NotPositiveDefinite { .. }) => prop_assert!(least + lambda <= 0.0),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}

/// Negative control: the undamped Newton direction -H⁻¹g of a nonconvex quadratic ascends for some gradient.
#[test]
fn undamped_newton_direction_of_a_nonconvex_quadratic_ascends_for_some_seed() {
    const SEEDS: u64 = 64;
    let h = with_spectrum::<f64>(&[-1.0, -0.5, 0.5, 1.0, 2.0], 1);
    let lu = Lu::new(h.clone()).unwrap();
    let slope = |seed: u64| {
        let g = random::<f64>(5, 1, seed);
        let mut d = g.clone();
        lu.solve_in_place(&Ctx::default(), d.as_mut()).unwrap();
        -(0..5).map(|i| g[(i, 0)] * d[(i, 0)]).sum::<f64>()
    };
    let ascending = (0..SEEDS).filter(|&seed| slope(seed) > 0.0).count();
    assert!(ascending > 0, "the law held without its hypothesis on {SEEDS} seeds: it would say nothing");
    let refused = Dense::new(h).unwrap().damped(&Ctx::default(), damping(0.9));
    assert!(matches!(refused, Err(Error::NotPositiveDefinite { .. })));
}
