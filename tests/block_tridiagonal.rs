//! The block-tridiagonal K-FAC inverse: the contract of every curvature, the dense matrix that it stands for, its zero
//! blocks, its special cases, its capabilities and its refusals.
//!
//! The oracle builds the matrix in f64 from the factors as the code under test holds them: diagonal blocks Ã ⊗ S̃, first
//! off-diagonal blocks from the cross moments, further ones as products with *dense* Ψ.

#[path = "common/for_both.rs"]
#[macro_use]
mod for_both;
mod curvature_support;

#[path = "common/chains.rs"]
mod chains;

use chains::{Chain, chain};
use curvature_support::conformance::{Claim, conforms, damping, diagonal_agrees};
use curvature_support::{distance, extremes, norm, random, times};
use pullback::curvature::{
    BlockDiagonal, BlockTridiagonal, BlockTridiagonalInverse, FactorPair, Fidelity, HasFrobeniusNorm,
    HasInverseSquareRoot, HasLogDeterminant, HasTrace, Kronecker, KroneckerDamping, PiRule, Recovery, SolvePath,
};
use pullback::factor::Cholesky;
use pullback::kronecker::KroneckerProduct;
use pullback::testing::{contexts, gallery, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, Scalar};

/// What a user is promised in f64 at moderate damping.
const PROMISED: f64 = 1e-12;

fn built<T: Scalar>(ctx: &Ctx<T>, c: &Chain<T>, pi: PiRule<T>) -> BlockTridiagonal<T> {
    let (diagonal, cross) = c.products();
    BlockTridiagonal::new(ctx, diagonal, cross, pi).unwrap()
}

/// No layer, one, many; orders of 1 and across the blocks of the backends; more and fewer cases than inputs.
fn chains_to_try<T: Scalar>() -> Vec<Chain<T>> {
    let mut all = vec![
        chain(&[], 5, 0.5, 0),
        chain(&[(3, 2)], 20, 0.5, 1),
        chain(&[(0, 2), (3, 2), (2, 0), (2, 2)], 20, 0.5, 2),
        chain(&[(1, 1), (1, 1)], 20, 0.5, 3),
        chain(&[(3, 2), (4, 3)], 40, 0.7, 4),
        chain(&[(2, 3), (4, 2), (3, 4)], 60, 0.7, 5),
        chain(&[(4, 3), (3, 2), (2, 3), (4, 2), (3, 1)], 60, 0.9, 6),
        chain(&[(33, 2), (3, 31), (32, 1)], 80, 0.5, 7),
        // rank-deficient factors: 3 cases
        chain(&[(5, 4), (6, 2), (3, 5)], 3, 0.6, 8),
        chain(&[(5, 4), (6, 2), (3, 5)], 0, 0.6, 8),
    ];
    all.last_mut().unwrap().zero();
    all
}

impl<T: Scalar> Chain<T> {
    /// All moments zero (those of no case at all would be 0/0).
    fn zero(&mut self) {
        let clear = |m: &mut Mat<T>| m.as_mut().fill(T::ZERO);
        self.diagonal.iter_mut().chain(&mut self.cross).for_each(|(a, s)| {
            clear(a);
            clear(s);
        });
        self.name = format!("zero moments, {}", T::NAME);
    }

    /// Activations times 2^e, gradients times 2^f.
    fn scaled(&self, e: i32, f: i32) -> Self {
        let scale = |pairs: &[(Mat<T>, Mat<T>)]| {
            pairs.iter().map(|(a, s)| (gallery::scaled(a, 2 * e), gallery::scaled(s, 2 * f))).collect()
        };
        let name = format!("{}, scales 2^{e}, 2^{f}", self.name);
        Self { name, diagonal: scale(&self.diagonal), cross: scale(&self.cross) }
    }

    fn without_cross(&self) -> Self {
        let zero = |m: &Mat<T>| Mat::zeros(m.nrows(), m.ncols());
        Self { cross: self.cross.iter().map(|(a, s)| (zero(a), zero(s))).collect(), ..self.clone() }
    }
}

/// The suite takes λ for the smallest eigenvalue of the damped matrix. That is a theorem for one or two layers; in a
/// longer chain an implied block can cost some of it (F̂ - λI keeps what damping the outer layers adds), less than the
/// room that the suite's tolerances leave.
fn keeps_the_contract<T: Scalar>() {
    for c in chains_to_try::<T>() {
        for rule in [PiRule::Trace, PiRule::Fixed(T::of(0.5))] {
            let claim = Claim::factored(&c.name, c.matrix(), |lambda| c.damped_matrix(rule, lambda));
            let curvature = built(&Ctx::reference(), &c, rule);
            conforms(&claim, &curvature);
            diagonal_agrees(&curvature);
        }
    }
}

/// The law of the matter: solves, blocks of the inverse, log-determinant and root against the dense matrix.
fn equals_the_dense_matrix<T: Scalar>() {
    for c in chains_to_try::<T>().iter().flat_map(|c| [c.clone(), c.scaled(20, -7), c.scaled(-13, 0)]) {
        let undamped = c.matrix();
        let (n, size) = (c.len(), norm(&undamped));
        let size = if size > 0.0 { size } else { 1.0 };
        for ctx in contexts::<T>() {
            for relative in [1e-3, 1e-1] {
                let place = format!("{} on {}, λ {relative:e}", c.name, ctx.backend().name());
                let lambda = damping::<T>(relative * size);
                let solver = built(&ctx, &c, PiRule::Trace).damped(&ctx, lambda).unwrap();
                let system = c.damped_matrix(PiRule::Trace, lambda.get());
                let (low, high) = extremes(&system);
                assert!(low > 0.0, "{place}: smallest eigenvalue {low:e}");
                let limit = tolerance::<T>(n, high / low);
                assert_eq!(solver.recovery(), Recovery::None, "{place}");
                assert_eq!((solver.path(), solver.fidelity()), (SolvePath::Tridiagonal, Fidelity::Factored), "{place}");

                let b = random::<T>(n, 3, 21);
                let mut x = Mat::from_fn(n, 3, |_, _| T::nan());
                solver.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
                let factor = Cholesky::new(&Ctx::reference(), system.clone()).unwrap();
                let mut want: Mat<f64> = b.cast();
                factor.solve_in_place(&Ctx::reference(), want.as_mut()).unwrap();
                let error = distance(&x, &want) / norm(&want).max(f64::MIN_POSITIVE);
                assert!(error <= limit, "{place}: {error:e}, limit {limit:e}");
                assert!(T::NAME == "f32" || error <= PROMISED, "{place}: {error:e}");

                let want = factor.log_determinant();
                let error = (solver.log_determinant().f64() - want).abs();
                let limit_log = n as f64 * limit + tolerance::<T>(1, 1.0) * want.abs();
                assert!(error <= limit_log, "{place}: log det off by {error:e}, limit {limit_log:e}");

                let root: Mat<f64> = solver.inverse_square_root(&ctx).unwrap().to_dense(&ctx).unwrap().cast();
                let error = distance(&times(&times(&root, &root.transposed()), &system), &Mat::identity(n));
                assert!(error <= limit * (n as f64).sqrt(), "{place}: R R' M - I is {error:e}");
                distant_blocks_vanish(&place, &c, &solver.to_dense(&ctx).unwrap(), 0.0);
                // the dense inverse knows nothing of a chain: its distant blocks vanish to rounding only
                let mut inverse = Mat::identity(n);
                factor.solve_in_place(&Ctx::reference(), inverse.as_mut()).unwrap();
                distant_blocks_vanish(&place, &c, &inverse, tolerance::<f64>(n, high / low) / low);
            }
        }
    }
}

/// Blocks more than one apart hold nothing above the limit.
fn distant_blocks_vanish<T: Scalar>(place: &str, c: &Chain<T>, inverse: &Mat<impl Scalar>, limit: f64) {
    let layer = |row: usize| {
        let ends = c.diagonal.iter().scan(0, |end, (a, s)| {
            *end += a.nrows() * s.nrows();
            Some(*end)
        });
        ends.take_while(|&end| end <= row).count()
    };
    let layers: Vec<usize> = (0..inverse.nrows()).map(layer).collect();
    for j in 0..inverse.ncols() {
        for i in 0..inverse.nrows() {
            let x = inverse[(i, j)].f64().abs();
            assert!(layers[i].abs_diff(layers[j]) <= 1 || x <= limit, "{place}: ({i}, {j}) of the inverse is {x:e}");
        }
    }
}

/// Without cross moments it is the block-diagonal K-FAC.
fn reduces_to_block_diagonal<T: Scalar>() {
    for c in chains_to_try::<T>() {
        let c = c.without_cross();
        let damped = KroneckerDamping::Factored { pi: PiRule::Trace };
        let blocks = c.diagonal.iter().map(|(a, s)| Kronecker::new(a.clone(), s.clone(), damped).unwrap());
        let blocks = BlockDiagonal::new(blocks.collect());
        let (n, b) = (c.len(), random::<T>(c.len(), 2, 5));
        for ctx in contexts::<T>() {
            let chain = built(&ctx, &c, PiRule::Trace);
            let (mut x, mut y) = (Mat::zeros(n, 2), Mat::zeros(n, 2));
            chain.apply(&ctx, b.as_ref(), x.as_mut()).unwrap();
            blocks.apply(&ctx, b.as_ref(), y.as_mut()).unwrap();
            let limit = tolerance::<T>(n, 1.0) * norm(&c.matrix()) * norm(&b);
            assert!(distance(&x, &y.cast()) <= limit, "{}", c.name);

            let lambda = damping::<T>(0.1);
            chain.damped(&ctx, lambda).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            blocks.damped(&ctx, lambda).unwrap().solve(&ctx, b.as_ref(), y.as_mut()).unwrap();
            let kappa = extremes(&c.damped_matrix(PiRule::Trace, lambda.get())).1 / 0.1;
            assert!(distance(&x, &y.cast()) <= tolerance::<T>(n, kappa) * norm(&y), "{}", c.name);
        }
    }
}

fn trace_and_frobenius_norm<T: Scalar>() {
    for c in chains_to_try::<T>() {
        let matrix = c.matrix();
        let (n, size) = (c.len(), norm(&matrix));
        for ctx in contexts::<T>() {
            let curvature = built(&ctx, &c, PiRule::Trace);
            let want: f64 = (0..n).map(|i| matrix[(i, i)]).sum();
            let trace = curvature.trace(&ctx).unwrap().f64();
            assert!((trace - want).abs() <= tolerance::<T>(n, 1.0) * size, "{}: trace {trace} {want}", c.name);
            let frobenius = curvature.frobenius_norm(&ctx).unwrap().f64();
            assert!((frobenius - size).abs() <= tolerance::<T>(n, 1.0) * size, "{}: {frobenius} {size}", c.name);
        }
    }
}

for_both!(keeps_the_contract, equals_the_dense_matrix, reduces_to_block_diagonal, trace_and_frobenius_norm);

/// Why the curvature is the completion: cut off beyond three block diagonals, moments of data can be indefinite.
#[test]
fn the_completion_is_semidefinite_where_the_truncation_is_not() {
    // four layers of one weight, neighbours correlated by 0.9: 1 + 2 · 0.9 cos(4π/5) is an eigenvalue of the truncation
    let (one, correlation) = (Mat::<f64>::identity(1), Mat::from_diagonal(&[0.9]));
    let c = Chain {
        name: String::new(),
        diagonal: vec![(one.clone(), one.clone()); 4],
        cross: vec![(correlation, one); 3],
    };
    let whole = built(&Ctx::default(), &c, PiRule::Trace).to_dense(&Ctx::default()).unwrap();
    assert!(extremes(&whole).0 > 0.05, "{:?}", extremes(&whole));
    let truncated = Mat::from_fn(4, 4, |i, j| if i.abs_diff(j) > 1 { 0.0 } else { whole[(i, j)] });
    let want = 1.0 + 1.8 * (0.8 * std::f64::consts::PI).cos();
    assert!(want < -0.4 && (extremes(&truncated).0 - want).abs() <= tolerance::<f64>(4, 1.0));
}

#[test]
fn threads_change_rounding_only() {
    let c = chain::<f64>(&[(5, 4), (6, 5), (6, 3), (4, 2)], 40, 0.8, 9);
    let b = random::<f64>(c.len(), 1, 1);
    let solve = |ctx: &Ctx<f64>| {
        let mut x = Mat::zeros(c.len(), 1);
        let solver = built(ctx, &c, PiRule::Trace).damped(ctx, damping(1e-2)).unwrap();
        solver.solve(ctx, b.as_ref(), x.as_mut()).unwrap();
        x
    };
    for ctx in contexts::<f64>() {
        let (one, two) = (solve(&ctx), solve(&ctx.with_threads(2)));
        assert!(distance(&one, &two) <= tolerance::<f64>(c.len(), 1e4) * norm(&one));
    }
}

/// A layer that determines the next one leaves no variance of its own: with no damping to speak of the conditional is
/// singular, which is reported; cross moments that no data can have are refused.
#[test]
fn the_edge_of_definiteness_is_reported() {
    let ctx = Ctx::<f64>::default();
    let m = curvature_support::spd::<f64>(3, 10.0, 1);
    let pair = (m.as_ref(), m.as_ref());
    let faint = damping::<f64>(1e-40);
    let inverse = BlockTridiagonalInverse::new(&ctx, &[pair; 3], &[pair; 2], PiRule::Trace, faint).unwrap();
    match inverse.recovery() {
        // nine relative eigenvalues in each of two layers; the floor is that of the pair
        Recovery::ClippedSpectrum { count: 18, floor } => {
            assert_eq!(floor, 16.0 * 6.0 * f64::EPSILON);
        }
        other => panic!("{other:?}"),
    }
    let (b, mut x) = (random::<f64>(27, 1, 1), Mat::zeros(27, 1));
    inverse.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    let form: f64 = b.as_slice().iter().zip(x.as_slice()).map(|(b, x)| b * x).sum();
    assert!(form > 0.0 && x.as_ref().is_finite());

    let twice = m.map(|v| 2.0 * v);
    let cross = (twice.as_ref(), m.as_ref());
    let refused = BlockTridiagonalInverse::new(&ctx, &[pair; 2], &[cross], PiRule::Trace, faint);
    match refused {
        // Σ relative to its first term: 1 - 2²
        Err(Error::NotDominant { smallest, .. }) => {
            assert!((smallest + 3.0).abs() <= tolerance::<f64>(9, 100.0), "{smallest}");
        }
        other => panic!("{other:?}"),
    }
    // enough damping makes up for it
    assert!(BlockTridiagonalInverse::new(&ctx, &[pair; 2], &[cross], PiRule::Trace, damping(10.0)).is_ok());
}

fn views<T: Scalar>(pairs: &[(Mat<T>, Mat<T>)]) -> Vec<FactorPair<'_, T>> {
    pairs.iter().map(|(a, s)| (a.as_ref(), s.as_ref())).collect()
}

#[test]
fn bad_chains_are_typed_errors() {
    let ctx = Ctx::<f64>::default();
    let c = chain::<f64>(&[(3, 2), (4, 3), (2, 2)], 30, 0.5, 1);
    let new = |c: &Chain<f64>, pi| {
        let (diagonal, cross) = c.products();
        BlockTridiagonal::new(&ctx, diagonal, cross, pi)
    };
    assert!(new(&c, PiRule::Trace).is_ok());
    let shape = |c: &Chain<f64>| {
        let refused = new(c, PiRule::Trace);
        assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
    };
    shape(&Chain { cross: c.cross[..1].to_vec(), ..c.clone() });
    shape(&Chain { diagonal: vec![], ..c.clone() });
    shape(&Chain { diagonal: c.diagonal[..2].to_vec(), ..c.clone() });
    let swapped: Vec<_> = c.cross.iter().map(|(a, s)| (a.transposed(), s.transposed())).collect();
    shape(&Chain { cross: swapped, ..c.clone() });
    let mut ragged = c.clone();
    ragged.diagonal[1].1 = Mat::zeros(3, 2);
    shape(&ragged);

    for layer in 0..2 {
        for part in 0..4 {
            let mut bad = c.clone();
            let pair = if part < 2 { &mut bad.diagonal[layer] } else { &mut bad.cross[layer] };
            let m = if part % 2 == 0 { &mut pair.0 } else { &mut pair.1 };
            m[(1, 0)] = f64::NAN;
            assert!(matches!(new(&bad, PiRule::Trace), Err(Error::NotFinite { .. })), "{layer} {part}");
            // the solver made of views checks for itself
            let (diagonal, cross) = (views(&bad.diagonal), views(&bad.cross));
            let direct = BlockTridiagonalInverse::new(&ctx, &diagonal, &cross, PiRule::Trace, damping(0.1));
            assert!(matches!(direct, Err(Error::NotFinite { .. })), "{layer} {part}: {direct:?}");
        }
    }
    for pi in [0.0, f64::NAN] {
        assert!(matches!(new(&c, PiRule::Fixed(pi)), Err(Error::InvalidParameter { name: "pi", .. })));
    }
    // a factor that is negative definite by more than its share of λ
    let mut negative = c.clone();
    negative.diagonal[2].0 = Mat::from_diagonal(&[-1.0, -1.0]);
    let refused = new(&negative, PiRule::Trace).unwrap().damped(&ctx, damping(1e-4));
    assert!(matches!(refused, Err(Error::NotPositiveDefinite { .. })), "{refused:?}");

    let curvature = new(&c, PiRule::Trace).unwrap();
    assert_eq!((curvature.diagonal_blocks().len(), curvature.cross_blocks().len()), (3, 2));
    assert_eq!(curvature.pi_rule(), PiRule::Trace);
    let block: &KroneckerProduct<f64> = &curvature.diagonal_blocks()[0];
    assert_eq!(block.left(), &c.diagonal[0].0);
}
