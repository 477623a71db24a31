//! EKFAC: the curvature in a Kronecker eigenbasis by the contract of all direct curvatures; and, on networks, that its
//! eigenvalues are the diagonal of the exact block in that basis - the same trace, never farther than K-FAC, optimal -
//! and are carried over when the basis changes.
#![cfg(feature = "nn")]

#[path = "common/capability_laws.rs"]
mod capability_laws;
mod curvature_support;
#[path = "common/nets.rs"]
mod nets;

use capability_laws::capabilities_agree;
use curvature_support::conformance::{Claim, conforms, damping};
use curvature_support::*;
use nets::{Problem, Spec, block_of, dense_ggn, problem};
use pullback::curvature::{
    Definiteness, EigenKronecker, HasSquareRoot, HasTrace, Kronecker, KroneckerDamping, SolvePath,
};
use pullback::factor::SymEigen;
use pullback::kronecker::KroneckerEigen;
use pullback::nn::{Activation, Loss, Reduction};
use pullback::optim::{CaptureSink, FisherKind, LayeredObjective, Objective};
use pullback::stats::{Decay, EigenKroneckerMoments};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, MatRef, Result, Scalar};

const SHAPES: [(usize, usize); 9] = [(0, 3), (3, 0), (1, 1), (1, 33), (33, 1), (2, 3), (5, 4), (31, 2), (11, 12)];

fn basis<T: Scalar>(d_in: usize, d_out: usize, seed: u64) -> KroneckerEigen<T> {
    KroneckerEigen::new(&Ctx::reference(), spd(d_in, 10.0, seed), spd(d_out, 10.0, seed + 1)).unwrap()
}

/// (U_A ⊗ U_S) diag(vec S*) (U_A ⊗ U_S)ᵀ, formed.
fn formed<T: Scalar>(basis: &KroneckerEigen<T>, values: &Mat<f64>) -> Mat<f64> {
    let u = kron(&basis.left().vectors().to_owned(), &basis.right().vectors().to_owned());
    let scaled = Mat::from_fn(u.nrows(), u.ncols(), |i, j| u[(i, j)] * values.as_slice()[j]);
    times(&scaled, &u.transposed())
}

fn keeps_the_contract<T: Scalar>() {
    for (d_in, d_out) in SHAPES {
        let full = random::<T>(d_out, d_in, 3).map(|x| x.abs() + T::of(0.1));
        let flat = Mat::from_fn(d_out, d_in, |i, j| if (i + j) % 2 == 0 { T::ZERO } else { full[(i, j)] });
        let graded = Mat::from_fn(d_out, d_in, |i, j| T::of(2f64.powi(-((i + 2 * j) as i32))));
        for values in [full, flat, graded, Mat::zeros(d_out, d_in)] {
            let basis = basis::<T>(d_in, d_out, 1);
            let matrix = formed(&basis, &values.cast());
            let c = EigenKronecker::new(basis, values).unwrap();
            conforms(&Claim::exact("EKFAC", matrix.clone()), &c);
            capabilities_agree("EKFAC", &c, &matrix, |lambda| shifted(&matrix, lambda));
            assert_eq!(c.definiteness(), Definiteness::PositiveSemidefinite);
        }
    }
}

fn uncorrected_is_the_kronecker_product<T: Scalar>() {
    for (d_in, d_out) in SHAPES {
        for (a, s) in [
            (spd::<T>(d_in, 10.0, 8), spd::<T>(d_out, 10.0, 9)),
            (low_rank(d_in, d_in.div_ceil(2), 8), low_rank(d_out, d_out.div_ceil(2), 9)),
        ] {
            let eigen = KroneckerEigen::new(&Ctx::reference(), a.clone(), s.clone()).unwrap();
            conforms(&Claim::exact("uncorrected", kron(&a, &s)), &EigenKronecker::uncorrected(eigen).unwrap());
        }
    }
}

fn every_door_to_the_solver_is_the_same<T: Scalar>() {
    for ctx in contexts::<T>() {
        let (d_in, d_out) = (7, 5);
        let values = random::<T>(d_out, d_in, 4).map(|x| x.abs());
        let c = EigenKronecker::new(basis(d_in, d_out, 5), values).unwrap();
        let inverse = c.damped(&ctx, damping(0.25)).unwrap();
        assert_eq!((inverse.path(), inverse.damping()), (SolvePath::Eigen, damping(0.25)));
        let v = random::<T>(d_out, d_in, 6);
        let solved = |inverse: &pullback::curvature::EigenKroneckerInverse<T>| {
            let mut x = Mat::zeros(d_out * d_in, 1);
            inverse.solve(&ctx, MatRef::from_column(v.as_slice()), x.as_mut()).unwrap();
            Mat::from_vec(x.into_vec(), d_out, d_in).unwrap()
        };
        let want = solved(&inverse);
        // padded, out of place and in place
        let padded = Mat::from_fn(d_out + 3, d_in, |i, j| if i < d_out { v[(i, j)] } else { T::nan() });
        let view = padded.as_ref().submatrix(0, 0, d_out, d_in).unwrap();
        let mut out = Mat::zeros(d_out, d_in);
        inverse.precondition_matrix(&ctx, view, out.as_mut()).unwrap();
        let limit = tolerance::<T>(d_in, 5.0) * norm(&want);
        assert!(distance(&out, &want.cast()) <= limit);
        let mut place = padded.clone();
        inverse.precondition_in_place(&ctx, place.as_mut().submatrix(0, 0, d_out, d_in).unwrap()).unwrap();
        assert!(distance(&place.as_ref().submatrix(0, 0, d_out, d_in).unwrap().to_owned(), &want.cast()) <= limit);
        // another λ from the same parts is what damping the curvature at it gives, to the bit
        let other = c.damped(&ctx, damping(3.0)).unwrap();
        assert_eq!(solved(&inverse.redamp(damping(3.0)).unwrap()), solved(&other));
        assert!(distance(&want, &solved(&other).cast()) > 0.1 * norm(&want), "λ matters");
    }
}

#[test]
fn contract_and_capabilities() {
    keeps_the_contract::<f32>();
    keeps_the_contract::<f64>();
}

#[test]
fn with_the_eigenvalues_of_a_kronecker_product_it_is_that_product() {
    uncorrected_is_the_kronecker_product::<f32>();
    uncorrected_is_the_kronecker_product::<f64>();
}

#[test]
fn solve_precondition_in_place_and_redamp_are_one_map() {
    every_door_to_the_solver_is_the_same::<f32>();
    every_door_to_the_solver_is_the_same::<f64>();
}

#[test]
fn misuse_is_a_typed_error() {
    let ctx = Ctx::<f64>::default();
    let make = |values: Vec<f64>| EigenKronecker::new(basis(2, 1, 1), Mat::from_vec(values, 1, 2).unwrap());
    assert!(matches!(EigenKronecker::new(basis::<f64>(2, 3, 1), Mat::zeros(2, 3)), Err(Error::Shape { .. })));
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(make(vec![1.0, bad]), Err(Error::NotFinite { .. })));
    }
    let indefinite = make(vec![1.0, -2.0]).unwrap();
    assert_eq!(indefinite.definiteness(), Definiteness::Indefinite);
    assert!(matches!(indefinite.damped(&ctx, damping(2.0)), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
    assert!(indefinite.damped(&ctx, damping(2.5)).is_ok());
    assert!(matches!(indefinite.square_root(&ctx), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
    assert!(matches!(make(vec![f64::MAX, 0.0]).unwrap().damped(&ctx, damping(f64::MAX)), Err(Error::NotFinite { .. })));
    let tiny = f64::from_bits(1);
    assert!(matches!(make(vec![1.0, 0.0]).unwrap().damped(&ctx, damping(tiny)), Err(Error::NotFinite { .. })));
    assert!(matches!(indefinite.rebased(&ctx, &basis(1, 2, 1)), Err(Error::Shape { .. })));
}

fn rebasing_is_the_diagonal_of_the_operator_in_the_new_basis<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (d_in, d_out) in [(1, 1), (2, 3), (7, 4), (12, 33)] {
            let values = random::<T>(d_out, d_in, 7).map(|x| x.abs());
            let (old_basis, new_basis) = (basis::<T>(d_in, d_out, 10), basis::<T>(d_in, d_out, 20));
            let old = EigenKronecker::new(old_basis.clone(), values.clone()).unwrap();
            let new = old.rebased(&ctx, &new_basis).unwrap();
            let dense = formed(&old_basis, &values.cast());
            let u = kron(&new_basis.left().vectors().to_owned(), &new_basis.right().vectors().to_owned());
            let rotated = times(&u.transposed(), &times(&dense, &u));
            let want = Mat::from_fn(d_out, d_in, |i, j| rotated[(j * d_out + i, j * d_out + i)]);
            let limit = tolerance::<T>(d_in * d_out, 1.0) * norm(&values);
            assert!(distance(new.values(), &want) <= limit, "({d_in}, {d_out})");
            let error = (new.trace(&ctx).unwrap() - old.trace(&ctx).unwrap()).f64().abs();
            assert!(error <= limit * ((d_in * d_out) as f64).sqrt(), "trace moved by {error:e}");
            // an unchanged basis changes nothing: not a bit where it is shared, rounding where it is equal
            assert_eq!(old.rebased(&ctx, &old_basis).unwrap().values(), old.values());
            let copy = KroneckerEigen::from_parts(old_basis.left().clone(), old_basis.right().clone());
            assert!(!copy.shares_with(&old_basis));
            assert!(distance(old.rebased(&ctx, &copy).unwrap().values(), &values.cast()) <= limit);
        }
    }
}

#[test]
fn carried_over_eigenvalues_are_the_old_operator_in_the_new_basis() {
    rebasing_is_the_diagonal_of_the_operator_in_the_new_basis::<f32>();
    rebasing_is_the_diagonal_of_the_operator_in_the_new_basis::<f64>();
}

#[test]
fn a_permuted_and_reflected_basis_carries_the_eigenvalues_along_exactly() {
    let ctx = Ctx::<f64>::default();
    let identity = |order: &[usize], sign: f64| {
        // eigenvalues that sort the axes into `order`
        let mut d = vec![0.0; order.len()];
        order.iter().enumerate().for_each(|(rank, &axis)| d[axis] = sign + rank as f64);
        SymEigen::new(&ctx, Mat::from_diagonal(&d)).unwrap()
    };
    let old = KroneckerEigen::from_parts(identity(&[0, 1, 2], 1.0), identity(&[0, 1], 1.0));
    let new = KroneckerEigen::from_parts(identity(&[2, 0, 1], -7.0), identity(&[1, 0], -7.0));
    let c = EigenKronecker::new(old, Mat::from_fn(2, 3, |i, j| (10 * i + j) as f64)).unwrap();
    let moved = c.rebased(&ctx, &new).unwrap();
    let want = Mat::from_fn(2, 3, |i, j| (10 * [1, 0][i] + [2, 0, 1][j]) as f64);
    assert_eq!(moved.values(), &want);
    assert!(
        distance(&moved.to_dense(&ctx).unwrap(), &c.to_dense(&ctx).unwrap()) <= tolerance::<f64>(6, 1.0) * norm(&want)
    );
}

/// Gathers EKFAC's moments and, from the same pairs, the exact blocks.
struct Gathering {
    moments: Vec<EigenKroneckerMoments<f64>>,
    blocks: Vec<Mat<f64>>,
}

impl Gathering {
    fn new(p: &Problem, decay: Decay) -> Self {
        let blocks = p.net.layout().blocks();
        Self {
            moments: blocks.iter().map(|b| EigenKroneckerMoments::new(b.rows, b.cols, decay)).collect(),
            blocks: blocks.iter().map(|b| Mat::zeros(b.len(), b.len())).collect(),
        }
    }

    fn capture(&mut self, ctx: &Ctx<f64>, p: &Problem, kind: FisherKind, sample: u64) {
        let mut ws = p.net.workspace();
        p.net.forward(ctx, &p.theta, &p.batch, &mut ws).unwrap();
        self.moments.iter_mut().for_each(EigenKroneckerMoments::begin);
        self.blocks.iter_mut().for_each(|block| *block = Mat::zeros(block.nrows(), block.nrows()));
        p.net.capture(ctx, &p.theta, &p.batch, &mut ws, kind, usize::MAX, sample, self).unwrap();
    }

    fn refresh(&mut self, ctx: &Ctx<f64>) {
        self.moments.iter_mut().for_each(|m| m.refresh_basis(ctx).unwrap());
    }

    fn ekfac(&self, layer: usize) -> EigenKronecker<f64> {
        self.moments[layer].snapshot().unwrap().unwrap()
    }
}

impl CaptureSink<f64> for Gathering {
    fn activations(&mut self, ctx: &Ctx<f64>, layer: usize, a: MatRef<'_, f64>, weight: f64) -> Result<()> {
        self.moments[layer].factors_mut().add_activations(ctx, a, weight)
    }

    fn gradients(&mut self, ctx: &Ctx<f64>, layer: usize, g: MatRef<'_, f64>, weight: f64) -> Result<()> {
        self.moments[layer].factors_mut().add_gradients(ctx, g, weight)
    }

    fn pairs(&mut self, ctx: &Ctx<f64>, l: usize, a: MatRef<'_, f64>, g: MatRef<'_, f64>, weight: f64) -> Result<()> {
        for (a, g) in a.cols().zip(g.cols()) {
            let v: Vec<f64> = a.iter().flat_map(|&a| g.iter().map(move |&g| a * g)).collect();
            for (j, column) in self.blocks[l].as_mut().cols_mut().enumerate() {
                column.iter_mut().zip(&v).for_each(|(b, &x)| *b += weight * x * v[j]);
            }
        }
        self.moments[l].add_pairs(ctx, a, g, weight)
    }
}

fn networks() -> Vec<Problem> {
    let mut all = Vec::new();
    let losses = [Loss::SquaredError, Loss::BernoulliCrossEntropy, Loss::SoftmaxCrossEntropy];
    let activations = [Activation::Tanh, Activation::Relu, Activation::Softplus, Activation::Logistic];
    for (seed, widths) in [vec![3, 4, 2], vec![2, 5, 4, 3], vec![6, 1, 3], vec![1, 2]].into_iter().enumerate() {
        for loss in losses {
            for (k, activation) in activations.into_iter().enumerate() {
                let reduction = if k % 2 == 0 { Reduction::Mean } else { Reduction::Sum };
                let spec =
                    Spec { widths: widths.clone(), activation, loss, reduction, cases: [1, 3, 20][(seed + k) % 3] };
                all.push(problem(&spec, 100 * seed as u64 + k as u64));
            }
        }
    }
    all
}

#[test]
fn on_the_same_examples_the_trace_is_the_blocks_and_the_distance_at_most_that_of_kfac() {
    let ctx = Ctx::default();
    let (mut strictly, mut total) = (0, 0);
    for p in networks() {
        let ggn = dense_ggn(&ctx, &p);
        for kind in [FisherKind::Exact, FisherKind::MonteCarlo, FisherKind::Empirical] {
            let mut sink = Gathering::new(&p, Decay::DEFAULT);
            sink.capture(&ctx, &p, kind, 1);
            sink.refresh(&ctx);
            sink.capture(&ctx, &p, kind, 1);
            for l in 0..p.net.layers().len() {
                let block = &sink.blocks[l];
                let n = block.nrows();
                if kind == FisherKind::Exact {
                    let want = block_of(&ggn, &p.net, l);
                    let error = distance(block, &want);
                    assert!(error <= tolerance::<f64>(n, 10.0) * norm(&want), "pairs make the Gauss-Newton block");
                }
                let ekfac = sink.ekfac(l);
                let trace: f64 = (0..n).map(|i| block[(i, i)]).sum();
                let error = (ekfac.trace(&ctx).unwrap() - trace).abs();
                assert!(error <= tolerance::<f64>(n, 1.0) * trace, "{kind:?} layer {l}: trace is off by {error:e}");
                let kfac = sink.moments[l].factors().snapshot(KroneckerDamping::Exact).unwrap().unwrap();
                let (near, far) =
                    (distance(&ekfac.to_dense(&ctx).unwrap(), block), distance(&kfac.to_dense(&ctx).unwrap(), block));
                let rounding = tolerance::<f64>(n, 1.0) * norm(block);
                assert!(near <= far + rounding, "{kind:?} layer {l}: EKFAC {near:e}, K-FAC {far:e}");
                total += 1;
                strictly += usize::from(near < 0.99 * far - rounding);
            }
        }
    }
    assert!(strictly * 4 > total, "strictly nearer in {strictly} of {total}: the law would hold for K-FAC itself");
}

#[test]
fn no_other_diagonal_in_the_basis_is_nearer() {
    let ctx = Ctx::default();
    let spec = Spec {
        widths: vec![3, 3, 2],
        activation: Activation::Tanh,
        loss: Loss::SoftmaxCrossEntropy,
        reduction: Reduction::Mean,
        cases: 12,
    };
    let p = problem(&spec, 5);
    let mut sink = Gathering::new(&p, Decay::DEFAULT);
    sink.capture(&ctx, &p, FisherKind::Exact, 0);
    sink.refresh(&ctx);
    sink.capture(&ctx, &p, FisherKind::Exact, 0);
    for l in 0..2 {
        let (block, best) = (&sink.blocks[l], sink.ekfac(l));
        let squared = |c: &EigenKronecker<f64>| distance(&c.to_dense(&ctx).unwrap(), block).powi(2);
        let (least, size) = (squared(&best), norm(block));
        for index in 0..best.values().as_slice().len() {
            for h in [-0.01 * size, 0.01 * size] {
                let mut values = best.values().clone();
                values.as_mut().into_slice()[index] += h;
                let moved = squared(&EigenKronecker::new(best.basis().clone(), values).unwrap());
                // by Pythagoras the squared distance grows by h²
                let error = (moved - least - h * h).abs();
                assert!(error <= tolerance::<f64>(block.nrows(), 10.0) * size * size, "entry {index}: {error:e}");
                assert!(moved > least, "entry {index}: a perturbation by {h:e} came nearer");
            }
        }
    }
}

#[test]
fn it_solves_like_the_dense_matrix_of_the_network() {
    // one case: the block is u uᵀ ⊗ v vᵀ, and EKFAC is exact
    let ctx = Ctx::default();
    let spec = Spec {
        widths: vec![3, 4, 2],
        activation: Activation::Tanh,
        loss: Loss::SquaredError,
        reduction: Reduction::Mean,
        cases: 1,
    };
    let p = problem(&spec, 9);
    let mut sink = Gathering::new(&p, Decay::DEFAULT);
    sink.capture(&ctx, &p, FisherKind::Exact, 0);
    sink.refresh(&ctx);
    sink.capture(&ctx, &p, FisherKind::Exact, 0);
    let ggn = dense_ggn(&ctx, &p);
    for l in 0..2 {
        let block = block_of(&ggn, &p.net, l);
        let lambda = 0.1 * norm(&block);
        let b = random::<f64>(block.nrows(), 1, 3);
        let mut x = Mat::zeros(block.nrows(), 1);
        sink.ekfac(l).damped(&ctx, damping(lambda)).unwrap().solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
        let residual = distance(&times(&shifted(&block, lambda), &x), &b);
        assert!(residual <= tolerance::<f64>(block.nrows(), 10.0) * norm(&b), "layer {l}: {residual:e}");
        // K-FAC is exact here too, so the two agree
        let kfac: Kronecker<f64> = sink.moments[l].factors().snapshot(KroneckerDamping::Exact).unwrap().unwrap();
        assert!(distance(&kfac.to_dense(&ctx).unwrap(), &block) <= tolerance::<f64>(block.nrows(), 1.0) * norm(&block));
    }
}
