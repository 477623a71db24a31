//! Every kind of curvature that ships, through the public suites: the contract, and each capability that it has. One
//! test for each (kind, scalar, backend); this is the table of the README as code.

mod curvature_support;

use std::sync::Arc;

use curvature_support::conformance::{conforms_direct, factored_system};
use curvature_support::{assembled, kron, low_rank, random, shifted, spd, times};
use pullback::curvature::{
    AnyCapable, BlockDiagonal, BlockTridiagonal, Definiteness, Dense, DenseJacobian, Diagonal, DirectPath,
    DirectSampleSpace, EigenKronecker, HasFrobeniusNorm, HasInverseSquareRoot, HasLogDeterminant, HasSquareRoot,
    HasTrace, InMetric, Kronecker, KroneckerDamping, KroneckerN, LowRank, MatrixFree, Permuted, PiRule, Restricted,
    SampleSpace, SampleSpaceOptions, SampleSpacePath, ScaledIdentity, SumCurvature,
};
use pullback::kronecker::{KroneckerEigen, KroneckerProduct};
use pullback::linop::{DiagonalMetric, Scaled, Shifted, SymmetricDense};
use pullback::testing::{Claim, Report, Setup, capability, curvature};
use pullback::{Ctx, Curvature, DampedInverse, HasDiagonal, Mat, Result, Scalar, conformance};

fn factored<T>() -> KroneckerDamping<T> {
    KroneckerDamping::Factored { pi: PiRule::Trace }
}

/// The contract, and every capability. The kind is erased first, which changes no bit and lets the suites be compiled once
/// a scalar instead of once a kind.
fn whole<T: Scalar, C>(setup: &Setup<T>, claim: &Claim<'_, T>, make: impl Fn(&Ctx<T>) -> Result<C>) -> Report
where
    C: Curvature<T> + HasDiagonal<T> + HasTrace<T> + HasFrobeniusNorm<T> + HasSquareRoot<T> + 'static,
    C::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T> + 'static,
{
    let make: &dyn Fn(&Ctx<T>) -> Result<AnyCapable<T>> = &|ctx| make(ctx).map(AnyCapable::new);
    [
        curvature::check_direct(setup, claim, make),
        capability::check_diagonal(setup, claim, make),
        capability::check_trace(setup, claim, make),
        capability::check_frobenius_norm(setup, claim, make),
        capability::check_square_root(setup, claim, make),
        capability::check_log_determinant(setup, claim, make),
        capability::check_inverse_square_root(setup, claim, make),
    ]
    .into_iter()
    .collect()
}

/// The contract of a direct solver, and its capabilities.
fn direct<T: Scalar, C>(setup: &Setup<T>, claim: &Claim<'_, T>, make: impl Fn(&Ctx<T>) -> Result<C>) -> Report
where
    C: Curvature<T> + 'static,
    C::Solver: DampedInverse<T> + HasLogDeterminant<T> + HasInverseSquareRoot<T> + 'static,
{
    [
        conforms_direct(setup, claim, &make),
        capability::check_log_determinant(setup, claim, &make),
        capability::check_inverse_square_root(setup, claim, &make),
    ]
    .into_iter()
    .collect()
}

/// A full and a rank-deficient matrix of each order.
fn matrices<T: Scalar>(orders: impl IntoIterator<Item = usize>) -> impl Iterator<Item = Mat<T>> {
    orders.into_iter().flat_map(|n| [spd(n, 100.0, 1), low_rank(n, n.div_ceil(3), 2)])
}

/// Factors A and S of a few shapes.
fn pairs<T: Scalar>() -> impl Iterator<Item = (Mat<T>, Mat<T>)> {
    let shapes = [(0, 3), (1, 1), (3, 2), (2, 17), (11, 3)];
    shapes.into_iter().flat_map(|(d_in, d_out): (usize, usize)| {
        let half = |n: usize| n.div_ceil(2);
        let full = (spd(d_in, 10.0, 3), spd(d_out, 10.0, 4));
        [full, (low_rank(d_in, half(d_in), 5), low_rank(d_out, half(d_out), 6))]
    })
}

fn exact<T: Scalar>(name: &str, matrix: Mat<f64>) -> Claim<'static, T> {
    Claim::exact(name, matrix)
}

fn ones_and_twos<T: Scalar>(n: usize) -> Vec<T> {
    (0..n).map(|i| T::of(1.0 + (i % 2) as f64)).collect()
}

conformance! {
    fn dense<T>(setup) {
        matrices::<T>([0, 1, 2, 33]).map(|m| whole(setup, &exact("dense", m.cast()), |_| Dense::new(m.clone()))).collect()
    }

    fn diagonal<T>(setup) {
        [0, 1, 2, 33].into_iter().map(|n| {
            let d = ones_and_twos::<T>(n);
            whole(setup, &exact("diagonal", Mat::from_diagonal(&d).cast()), |_| Diagonal::new(d.clone()))
        }).collect()
    }

    fn scaled_identity<T>(setup) {
        [0, 1, 33].into_iter().map(|n| {
            let claim = exact("scaled identity", Mat::identity(n).map(|x: f64| 2.5 * x));
            whole(setup, &claim, |_| ScaledIdentity::new(n, T::of(2.5)))
        }).collect()
    }

    fn block_diagonal<T>(setup) {
        let (a, b) = (spd::<T>(4, 10.0, 7), low_rank::<T>(9, 3, 8));
        let matrix = assembled(&[a.cast(), b.cast()]);
        let blocks = || Ok(vec![Dense::new(a.clone())?, Dense::new(b.clone())?]);
        let capable = || blocks().map(|all| BlockDiagonal::new(all.into_iter().map(AnyCapable::new).collect()));
        [
            whole(setup, &exact("blocks", matrix.clone()), |_| blocks().map(BlockDiagonal::new)),
            whole(setup, &exact("erased blocks", matrix), |_| capable()),
        ].into_iter().collect()
    }

    fn kronecker_exact<T>(setup) {
        pairs::<T>().map(|(a, s)| {
            let make = |_: &Ctx<T>| Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact);
            whole(setup, &exact("exact Kronecker", kron(&a, &s)), make)
        }).collect()
    }

    fn kronecker_factored<T>(setup) {
        pairs::<T>().map(|(a, s)| {
            let claim = exact("factored Kronecker", kron(&a, &s));
            let claim = claim.factored(|lambda| factored_system(&a, &s, PiRule::Trace, lambda));
            whole(setup, &claim, |_| Kronecker::new(a.clone(), s.clone(), factored()))
        }).collect()
    }

    fn kronecker_of_three<T>(setup) {
        let factors = [spd::<T>(3, 5.0, 9), spd(2, 5.0, 10), low_rank(4, 2, 11)];
        let formed = kron(&kron(&factors[0], &factors[1]), &factors[2].cast());
        let exactly = |_: &Ctx<T>| KroneckerN::new(factors.to_vec(), KroneckerDamping::Exact);
        let claim = exact("factored product of three", formed.clone()).factored(|lambda: T| {
            let views = [factors[0].as_ref(), factors[1].as_ref(), factors[2].as_ref()];
            let lambda = pullback::Damping::new(lambda).expect("positive");
            let shifts = KroneckerN::shifts(&views, PiRule::Trace, lambda).expect("three factors");
            let moved: Vec<Mat<f64>> = factors.iter().zip(shifts).map(|(f, s)| shifted(&f.cast(), s.f64())).collect();
            kron(&kron(&moved[0], &moved[1]), &moved[2])
        });
        [
            whole(setup, &exact("exact product of three", formed), exactly),
            whole(setup, &claim, |_| KroneckerN::new(factors.to_vec(), factored())),
        ].into_iter().collect()
    }

    fn eigen_kronecker<T>(setup) {
        pairs::<T>().map(|(a, s)| {
            let reference = Ctx::reference();
            let basis = KroneckerEigen::new(&reference, a.clone(), s.clone()).expect("finite");
            let values = random::<T>(s.nrows(), a.nrows(), 12).map(|x| x.abs());
            let make = |_: &Ctx<T>| EigenKronecker::new(basis.clone(), values.clone());
            // formed from the basis in use, by columns of U_A ⊗ U_S
            let (q, r) = (basis.left().vectors().to_owned(), basis.right().vectors().to_owned());
            let u = kron(&q, &r);
            let scaled = Mat::from_fn(u.nrows(), u.ncols(), |i, j| u[(i, j)] * values.as_slice()[j].f64());
            whole(setup, &exact("EKFAC", times(&scaled, &u.transposed())), make)
        }).collect()
    }

    fn block_tridiagonal<T>(setup) {
        // two layers whose inputs and gradients are correlated; one layer is the Kronecker product
        let (a, s) = (spd::<T>(5, 10.0, 13), spd::<T>(4, 10.0, 14));
        let part = |m: &Mat<T>, i: usize, j: usize, rows: usize, cols: usize| {
            m.as_ref().submatrix(i, j, rows, cols).expect("inside").to_owned()
        };
        let diagonal = [(part(&a, 0, 0, 2, 2), part(&s, 0, 0, 3, 3)), (part(&a, 2, 2, 3, 3), part(&s, 3, 3, 1, 1))];
        let cross = (part(&a, 0, 2, 2, 3), part(&s, 0, 3, 3, 1));
        let product = |(a, s): &(Mat<T>, Mat<T>)| KroneckerProduct::new(a.clone(), s.clone());
        let formed = |shifts: [(f64, f64); 2]| {
            let blocks: Vec<Mat<f64>> = diagonal.iter().zip(shifts).map(|((a, s), (da, ds))| {
                kron(&shifted(&a.cast(), da), &shifted(&s.cast(), ds))
            }).collect();
            let mut matrix = assembled(&blocks);
            let (off, n) = (kron(&cross.0, &cross.1), blocks[0].nrows());
            (0..off.nrows()).for_each(|i| (0..off.ncols()).for_each(|j| {
                matrix[(i, n + j)] = off[(i, j)];
                matrix[(n + j, i)] = off[(i, j)];
            }));
            matrix
        };
        let claim = exact("block-tridiagonal", formed([(0.0, 0.0); 2])).factored(|lambda: T| {
            let lambda = pullback::Damping::new(lambda).expect("positive");
            formed([0, 1].map(|l| {
                let (a, s) = &diagonal[l];
                let (da, ds) = PiRule::shifts(PiRule::Trace.pi(a.as_ref(), s.as_ref()), lambda);
                (da.f64(), ds.f64())
            }))
        });
        let make = |ctx: &Ctx<T>| {
            let blocks = diagonal.iter().map(product).collect::<Result<_>>()?;
            BlockTridiagonal::new(ctx, blocks, vec![product(&cross)?], PiRule::Trace)
        };
        [
            direct(setup, &claim, make),
            capability::check_diagonal(setup, &claim, make),
            capability::check_trace(setup, &claim, make),
            capability::check_frobenius_norm(setup, &claim, make),
        ].into_iter().collect()
    }

    fn low_rank_plus_diagonal<T>(setup) {
        [(1, 1), (5, 2), (33, 4), (6, 9)].into_iter().map(|(n, k)| {
            let (d, u) = (ones_and_twos::<T>(n), random::<T>(n, k, 15));
            let wide: Mat<f64> = u.cast();
            let product = times(&wide, &wide.transposed());
            let formed = Mat::from_fn(n, n, |i, j| product[(i, j)] + if i == j { d[i].f64() } else { 0.0 });
            whole(setup, &exact("low rank", formed), |_| LowRank::new(d.clone(), u.clone()))
        }).collect()
    }

    fn sample_space<T>(setup) {
        [(1, 1), (3, 7), (17, 4), (5, 33)].into_iter().flat_map(|(n, p)| {
            let j = random::<T>(n, p, 16);
            let wide: Mat<f64> = j.cast();
            let gram = times(&wide.transposed(), &wide);
            let source = move || DenseJacobian::new(j.clone());
            let paths = [SampleSpacePath::ConjugateGradient, SampleSpacePath::Lsmr].map(|path| {
                let options = SampleSpaceOptions { path, ..SampleSpaceOptions::default() };
                let claim = exact::<T>(&format!("J'J by {path:?}"), gram.clone()).iterative();
                curvature::check(setup, &claim, |_| SampleSpace::new(source()?).with_options(options))
            });
            let direct = [DirectPath::Primal, DirectPath::Kernel].map(|path| {
                whole(setup, &exact(&format!("J'J by {path:?}"), gram.clone()), |_| Ok(DirectSampleSpace::new(source()?, path)))
            });
            paths.into_iter().chain(direct).collect::<Vec<_>>()
        }).collect()
    }

    fn compositions<T>(setup) {
        let m = spd::<T>(7, 10.0, 17);
        let (wide, half): (Mat<f64>, T) = (m.cast(), T::of(0.5));
        let order = vec![3, 0, 6, 1, 5, 2, 4];
        let kept = vec![1, 2, 5];
        let selected = |rows: &[usize]| Mat::from_fn(rows.len(), rows.len(), |i, j| wide[(rows[i], rows[j])]);
        let inner = || Dense::new(m.clone());
        let restricted = |_: &Ctx<T>| Restricted::new(inner()?, kept.clone());
        [
            whole(setup, &exact("C / 2", wide.map(|x| 0.5 * x)), |_| Ok(Scaled::new(inner()?, half))),
            whole(setup, &exact("C + I / 2", shifted(&wide, 0.5)), |_| Ok(Shifted::new(inner()?, half))),
            whole(setup, &exact("permuted", selected(&order)), |_| Permuted::new(inner()?, order.clone())),
            direct(setup, &exact("restricted", selected(&kept)), restricted),
            capability::check_diagonal(setup, &exact("restricted", selected(&kept)), restricted),
            capability::check_trace(setup, &exact("restricted", selected(&kept)), restricted),
            capability::check_square_root(setup, &exact("restricted", selected(&kept)), restricted),
            whole(setup, &exact("shared", wide.clone()), |_| inner().map(Arc::new)),
        ].into_iter().collect()
    }

    fn in_a_metric<T>(setup) {
        // the suite knows C + λI; a metric of ones is that, and any other has its own laws in damping_metric.rs
        let m = spd::<T>(6, 10.0, 18);
        let make = |ctx: &Ctx<T>| InMetric::new(ctx, Dense::new(m.clone())?, DiagonalMetric::new(vec![T::ONE; 6])?);
        whole(setup, &exact("metric I", m.cast()), make)
    }

    fn iterative_kinds<T>(setup) {
        [0, 1, 2, 33].into_iter().flat_map(|n| {
            let (m, d) = (spd::<T>(n, 100.0, 19), ones_and_twos::<T>(n));
            let sum = Mat::from_fn(n, n, |i, j| m[(i, j)].f64() + if i == j { d[i].f64() } else { 0.0 });
            let sum_of = |_: &Ctx<T>| SumCurvature::new(Dense::new(m.clone())?, Diagonal::new(d.clone())?);
            let claim = exact("sum", sum).iterative();
            [
                curvature::check(setup, &exact("matrix-free", m.cast()).iterative(), |_| {
                    Ok(MatrixFree::new(SymmetricDense::new(m.clone())?, Definiteness::PositiveSemidefinite))
                }),
                curvature::check(setup, &claim, sum_of),
                capability::check_diagonal(setup, &claim, sum_of),
                capability::check_trace(setup, &claim, sum_of),
                capability::check_square_root(setup, &claim, sum_of),
            ]
        }).collect()
    }
}
