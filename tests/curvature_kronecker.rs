//! Laws of Kronecker damping alone: Eq 24 as an order, π, a new λ without a factorization, counts of kernel calls, and
//! the building blocks that K-FAC joins by itself.

mod curvature_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use curvature_support::conformance::{damping, factored_system};
use curvature_support::*;
use pullback::curvature::{
    FactorInverse, Fidelity, HasLogDeterminant, Kronecker, KroneckerDamping, KroneckerInverse, PiRule,
};
use pullback::factor::SymEigen;
use pullback::kronecker::{KroneckerEigen, semidefinite_gap};
use pullback::testing::{contexts, tolerance};
use pullback::{
    Backend, Ctx, Curvature, DampedSolver, Error, LinearOperator, Mat, MatMut, MatRef, Op, Result, Scalar, Side,
};

const RULES: [PiRule<f64>; 3] = [PiRule::Trace, PiRule::Frobenius, PiRule::Fixed(3.0)];

fn kronecker<T: Scalar>(a: &Mat<T>, s: &Mat<T>, rule: Option<PiRule<T>>) -> Kronecker<T> {
    let damping = rule.map_or(KroneckerDamping::Exact, |pi| KroneckerDamping::Factored { pi });
    Kronecker::new(a.clone(), s.clone(), damping).unwrap()
}

/// The reference loops, counting what is called.
#[derive(Debug, Default)]
struct Counting {
    products: AtomicUsize,
    factorizations: AtomicUsize,
}

impl Counting {
    fn counts(&self) -> (usize, usize) {
        (self.products.swap(0, Ordering::Relaxed), self.factorizations.swap(0, Ordering::Relaxed))
    }
}

/// The same, shared with the context.
#[derive(Debug, Clone, Default)]
struct Counted(Arc<Counting>);

impl<T: Scalar> Backend<T> for Counted {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn gemm(
        &self,
        threads: usize,
        alpha: T,
        a: MatRef<'_, T>,
        ta: Op,
        b: MatRef<'_, T>,
        tb: Op,
        beta: T,
        c: MatMut<'_, T>,
    ) -> Result<()> {
        self.0.products.fetch_add(1, Ordering::Relaxed);
        pullback::backend::Reference.gemm(threads, alpha, a, ta, b, tb, beta, c)
    }
    fn syrk_lower(&self, threads: usize, alpha: T, a: MatRef<'_, T>, ta: Op, beta: T, c: MatMut<'_, T>) -> Result<()> {
        pullback::backend::Reference.syrk_lower(threads, alpha, a, ta, beta, c)
    }
    fn trsm(&self, threads: usize, side: Side, l: MatRef<'_, T>, tl: Op, b: MatMut<'_, T>) -> Result<()> {
        pullback::backend::Reference.trsm(threads, side, l, tl, b)
    }
    fn potrf(&self, threads: usize, a: MatMut<'_, T>) -> Result<()> {
        self.0.factorizations.fetch_add(1, Ordering::Relaxed);
        pullback::backend::Reference.potrf(threads, a)
    }
    fn syevd(&self, threads: usize, a: MatMut<'_, T>, w: &mut [T]) -> Result<()> {
        self.0.factorizations.fetch_add(1, Ordering::Relaxed);
        pullback::backend::Reference.syevd(threads, a, w)
    }
}

fn redamp_equals_damped<T: Scalar>() {
    let (a, s, b) = (spd::<T>(6, 50.0, 1), low_rank::<T>(5, 2, 2), random::<T>(30, 3, 3));
    let c = kronecker(&a, &s, None);
    for ctx in contexts::<T>() {
        let first = c.damped(&ctx, damping(1.0)).unwrap();
        for lambda in [1e-3, 0.1, 1.0, 1e4] {
            let again = first.redamp(damping(lambda)).unwrap();
            let fresh = c.damped(&ctx, damping(lambda)).unwrap();
            let (mut x, mut y) = (Mat::zeros(30, 3), Mat::zeros(30, 3));
            again.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
            fresh.solve(&ctx, b.as_ref(), y.as_mut()).unwrap();
            assert_eq!(x, y, "lambda {lambda} on {} in {}", ctx.backend().name(), T::NAME);
            assert_eq!((again.damping(), again.log_determinant()), (fresh.damping(), fresh.log_determinant()));
        }
    }
}

#[test]
fn redamp_equals_damped_bit_for_bit() {
    redamp_equals_damped::<f32>();
    redamp_equals_damped::<f64>();
}

#[test]
fn kernel_calls_are_those_of_the_equations() {
    let counted = Counted::default();
    let ctx = Ctx::<f64>::new(counted.clone());
    let (a, s) = (spd::<f64>(6, 50.0, 1), spd::<f64>(5, 50.0, 2));
    let (b, mut x) = (random::<f64>(30, 1, 3), Mat::zeros(30, 1));

    let exact = kronecker(&a, &s, None).damped(&ctx, damping(1.0)).unwrap();
    assert_eq!(counted.0.counts(), (0, 2), "two eigendecompositions");
    let softer = exact.redamp(damping(0.5)).unwrap();
    assert_eq!(counted.0.counts(), (0, 0), "a new lambda on the eigenbases");
    softer.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    assert_eq!(counted.0.counts(), (4, 0), "the four products of Eq 23");

    let factored = kronecker(&a, &s, Some(PiRule::Trace)).damped(&ctx, damping(1.0)).unwrap();
    assert_eq!(counted.0.counts(), (0, 2), "two Cholesky factorizations");
    factored.solve(&ctx, b.as_ref(), x.as_mut()).unwrap();
    assert_eq!(counted.0.counts(), (2, 0), "the two products of Eq 22");
    assert!(matches!(factored.redamp(damping(0.5)), Err(Error::InvalidParameter { .. })));
    let v = Mat::from_vec(b.into_vec(), 5, 6).unwrap();
    factored.precondition_matrix(&ctx, v.as_ref(), Mat::zeros(5, 6).as_mut()).unwrap();
    assert_eq!(counted.0.counts(), (2, 0));
}

/// Ã ⊗ S̃ ⪰ A ⊗ S + λI (Eq 24), and along each eigenvector of A ⊗ S the exact update is at least as long.
#[test]
fn factored_damping_is_the_more_conservative() {
    let ctx = Ctx::<f64>::default();
    let pairs = [
        (spd::<f64>(5, 1e3, 4), spd::<f64>(4, 1e3, 5)),
        (low_rank(5, 2, 6), low_rank(4, 1, 7)),
        (spd(1, 1.0, 8), spd(7, 10.0, 9)),
        (Mat::zeros(3, 3), spd(3, 10.0, 10)),
    ];
    for (a, s) in &pairs {
        let (plain, n) = (kron(a, s), a.nrows() * s.nrows());
        for rule in RULES {
            for lambda in [1e-4, 1e-2, 1.0, 1e3] {
                let factored = factored_system(a, s, rule, lambda);
                let exact = shifted(&plain, lambda);
                let gap = semidefinite_gap(&ctx, factored.as_ref(), exact.as_ref()).unwrap();
                let limit = tolerance::<f64>(n, 1.0) * norm(&factored);
                assert!(gap >= -limit, "{rule:?}, lambda {lambda:e}: {gap:e} below -{limit:e}");

                let vectors = SymEigen::new(&ctx, plain.clone()).unwrap().vectors().to_owned();
                let along = |c: Kronecker<f64>| {
                    let mut x = Mat::zeros(n, n);
                    c.damped(&ctx, damping(lambda)).unwrap().solve(&ctx, vectors.as_ref(), x.as_mut()).unwrap();
                    times(&vectors.transposed(), &x)
                };
                let (long, short) = (along(kronecker(a, s, None)), along(kronecker(a, s, Some(rule))));
                for k in 0..n {
                    let limit = tolerance::<f64>(n, norm(&factored) / lambda) * long[(k, k)];
                    assert!(long[(k, k)] >= short[(k, k)] - limit, "{rule:?}, lambda {lambda:e}, eigenvector {k}");
                }
            }
        }
    }
}

#[test]
fn pi_rules_by_their_definitions() {
    let (a, s) = (spd::<f64>(6, 20.0, 11), spd::<f64>(3, 5.0, 12).map(|x| 7.0 * x));
    let trace = |m: &Mat<f64>| (0..m.nrows()).map(|i| m[(i, i)]).sum::<f64>();
    let limit = tolerance::<f64>(6, 1.0);
    let near = |x: f64, y: f64| (x - y).abs() <= limit * y;
    let by_trace = ((trace(&a) / 6.0) / (trace(&s) / 3.0)).sqrt();
    let by_norm = ((norm(&a) / 6f64.sqrt()) / (norm(&s) / 3f64.sqrt())).sqrt();
    assert!(near(PiRule::Trace.pi(a.as_ref(), s.as_ref()), by_trace));
    assert!(near(PiRule::Frobenius.pi(a.as_ref(), s.as_ref()), by_norm));
    assert_eq!(PiRule::Fixed(3.0).pi(a.as_ref(), s.as_ref()), 3.0);

    // the trace rule minimizes the trace of the two terms that Eq 24 drops
    let dropped = |pi: f64| pi * 6.0 * trace(&s) + 3.0 * trace(&a) / pi;
    for factor in [0.9, 0.99, 1.01, 1.1] {
        assert!(dropped(by_trace) < dropped(factor * by_trace), "at {factor} pi");
    }

    // both rules follow the scales, also where the squares would overflow or underflow
    for k in [-400, -6, 6, 400] {
        let scaled = a.map(|x| x * 4f64.powi(k));
        for rule in [PiRule::Trace, PiRule::Frobenius] {
            let want = rule.pi(a.as_ref(), s.as_ref()) * 2f64.powi(k);
            let got = rule.pi(scaled.as_ref(), s.as_ref());
            assert!(near(got, want), "{rule:?} at 4^{k}: {got:e} and {want:e}");
        }
    }

    // by definition 1 where a rule has no answer
    let zero = Mat::zeros(3, 3);
    let nan = Mat::from_diagonal(&[f64::NAN, 1.0]);
    let infinite = Mat::from_diagonal(&[f64::INFINITY, 1.0]);
    let empty = Mat::zeros(0, 0);
    for rule in [PiRule::Trace, PiRule::Frobenius] {
        for bad in [&zero, &nan, &infinite, &empty] {
            assert_eq!(rule.pi(a.as_ref(), bad.as_ref()), 1.0, "{rule:?} {bad:?}");
            assert_eq!(rule.pi(bad.as_ref(), s.as_ref()), 1.0, "{rule:?} {bad:?}");
        }
    }
    let negative = Mat::from_diagonal(&[-1.0, -2.0]);
    assert_eq!(PiRule::Trace.pi(a.as_ref(), negative.as_ref()), 1.0);
    assert_eq!(PiRule::Fixed(f64::NAN).pi(a.as_ref(), s.as_ref()), 1.0);
    // rank-deficient factors have a norm, so π is that of the rule
    assert!(PiRule::Trace.pi(low_rank::<f64>(6, 1, 13).as_ref(), s.as_ref()) != 1.0);
}

/// Scaling (A, λ) by 4^k scales both damped inverses by 4^-k, digit for digit.
fn scales_change_no_digit<T: Scalar>() {
    let (a, s, b) = (spd::<T>(5, 50.0, 14), low_rank::<T>(4, 2, 15), random::<T>(20, 1, 16));
    for rule in [None, Some(PiRule::Trace)] {
        for ctx in contexts::<T>() {
            for k in [-20, 20] {
                let factor = T::of(4.0).powi(k);
                let solve = |a: &Mat<T>, lambda: f64| {
                    let mut x = Mat::zeros(20, 1);
                    kronecker(a, &s, rule)
                        .damped(&ctx, damping(lambda))
                        .unwrap()
                        .solve(&ctx, b.as_ref(), x.as_mut())
                        .unwrap();
                    x
                };
                let scaled = solve(&a.map(|x| x * factor), 0.25 * factor.f64()).map(|x| x * factor);
                assert_eq!(scaled, solve(&a, 0.25), "{rule:?} 4^{k} on {} in {}", ctx.backend().name(), T::NAME);
            }
        }
    }
}

#[test]
fn scales_cancel() {
    scales_change_no_digit::<f32>();
    scales_change_no_digit::<f64>();
}

/// log det of the factored matrix, and fidelity and π as reported.
#[test]
fn factored_inverse_reports_its_system() {
    let (a, s) = (spd::<f64>(5, 20.0, 17), spd::<f64>(4, 20.0, 18));
    for ctx in contexts::<f64>() {
        for rule in RULES {
            let inverse = kronecker(&a, &s, Some(rule)).damped(&ctx, damping(0.3)).unwrap();
            let system = factored_system(&a, &s, rule, 0.3);
            let want: f64 = SymEigen::new(&ctx, system).unwrap().values().iter().map(|w| w.ln()).sum();
            let limit = tolerance::<f64>(20, 20.0) * (1.0 + want.abs());
            assert!((inverse.log_determinant() - want).abs() <= limit);
            assert_eq!(inverse.fidelity(), Fidelity::Factored);
            assert_eq!(inverse.pi(), Some(rule.pi(a.as_ref(), s.as_ref())));
        }
        let exact = kronecker(&a, &s, None).damped(&ctx, damping(0.3)).unwrap();
        assert_eq!((exact.fidelity(), exact.pi(), exact.factor_dims()), (Fidelity::Exact, None, (5, 4)));
    }
}

/// Factors inverted or decomposed outside, in parallel, join to the very inverse that `damped` gives.
#[test]
fn building_blocks_join_to_the_same_inverse() {
    // of unlike sizes, so that π is never 1 and exchanged factors are seen
    let twice = |m: Mat<f64>| m.map(|x| 2.0 * x);
    let layers: Vec<_> = (0..4).map(|l| (spd(7 - l, 30.0, 19), twice(spd(3 + l, 30.0, 20)))).collect();
    let lambda = damping::<f64>(0.2);
    let ctx = Ctx::reference().with_threads(2);
    // (index 2 layer + side, factor, shift, the result), the largest first
    let mut items = Vec::new();
    for (l, (a, s)) in layers.iter().enumerate() {
        let (shift_a, shift_s) = PiRule::shifts(PiRule::Trace.pi(a.as_ref(), s.as_ref()), lambda);
        items.push((2 * l, a, shift_a, None));
        items.push((2 * l + 1, s, shift_s, None));
    }
    items.sort_by_key(|(_, factor, ..)| std::cmp::Reverse(factor.nrows()));
    ctx.for_each(&mut items, |ctx, (_, factor, shift, inverse)| {
        *inverse = Some(FactorInverse::new(ctx, factor.as_ref(), *shift)?);
        Ok(())
    })
    .unwrap();
    items.sort_by_key(|&(index, ..)| index);
    let mut inverses = items.into_iter().map(|(.., inverse)| inverse.unwrap());
    for (a, s) in &layers {
        let pi = PiRule::Trace.pi(a.as_ref(), s.as_ref());
        let (left, right) = (inverses.next().unwrap(), inverses.next().unwrap());
        let joined = KroneckerInverse::from_inverses(left.clone(), right.clone(), lambda, pi).unwrap();
        let damped = kronecker(a, s, Some(PiRule::Trace)).damped(&ctx, lambda).unwrap();
        assert_eq!(joined.to_dense(&ctx).unwrap(), damped.to_dense(&ctx).unwrap());
        // the wrong λ, the wrong π, or exchanged factors cannot be joined
        let refused = |r: Result<KroneckerInverse<f64>>| assert!(matches!(r, Err(Error::InvalidParameter { .. })));
        refused(KroneckerInverse::from_inverses(left.clone(), right.clone(), damping(0.3), pi));
        refused(KroneckerInverse::from_inverses(left.clone(), right.clone(), lambda, 1.1 * pi));
        refused(KroneckerInverse::from_inverses(left.clone(), right.clone(), lambda, f64::NAN));
        refused(KroneckerInverse::from_inverses(right, left, lambda, pi));

        let (qa, qs) = (SymEigen::new(&ctx, a.clone()).unwrap(), SymEigen::new(&ctx, s.clone()).unwrap());
        let joined = KroneckerInverse::from_eigen(KroneckerEigen::from_parts(qa, qs), lambda).unwrap();
        let damped = kronecker(a, s, None).damped(&ctx, lambda).unwrap();
        assert_eq!(joined.to_dense(&ctx).unwrap(), damped.to_dense(&ctx).unwrap());
    }
}

/// The matrix forms on padded views and in place are `solve` on vec V.
fn matrix_forms<T: Scalar>() {
    for (d_in, d_out) in [(1, 1), (7, 3), (3, 33), (64, 31), (0, 2)] {
        let (a, s) = (spd::<T>(d_in, 10.0, 21), spd::<T>(d_out, 10.0, 22));
        for rule in [None, Some(PiRule::Frobenius)] {
            for ctx in contexts::<T>() {
                let inverse = kronecker(&a, &s, rule).damped(&ctx, damping(0.1)).unwrap();
                let v = random::<T>(d_out + 3, d_in, 23);
                let view = v.as_ref().submatrix(2, 0, d_out, d_in).unwrap();
                let (b, n) = (view.to_owned().into_vec(), d_in * d_out);
                let mut x = Mat::zeros(n, 1);
                inverse.solve(&ctx, MatRef::from_column(&b), x.as_mut()).unwrap();
                let (want, limit) = (Mat::from_vec(x.into_vec(), d_out, d_in).unwrap(), tolerance::<T>(n, 100.0));
                let want: Mat<f64> = want.cast();

                let mut padded = Mat::from_fn(d_out + 3, d_in, |_, _| T::nan());
                let out = padded.as_mut().submatrix(2, 0, d_out, d_in).unwrap();
                inverse.precondition_matrix(&ctx, view, out).unwrap();
                let got = padded.as_ref().submatrix(2, 0, d_out, d_in).unwrap().to_owned();
                assert!(distance(&got, &want) <= limit * norm(&want), "into padded views");
                assert!((0..d_in).all(|j| [0, 1, d_out + 2].iter().all(|&i| padded[(i, j)].is_nan())), "padding");

                let mut in_place = v.clone();
                inverse.precondition_in_place(&ctx, in_place.as_mut().submatrix(2, 0, d_out, d_in).unwrap()).unwrap();
                let got = in_place.as_ref().submatrix(2, 0, d_out, d_in).unwrap().to_owned();
                assert!(distance(&got, &want) <= limit * norm(&want), "in place");
                let wrong = Mat::zeros(d_in + 1, d_out + 2);
                let error = inverse.precondition_matrix(&ctx, wrong.as_ref(), Mat::zeros(d_out, d_in).as_mut());
                assert!(matches!(error, Err(Error::Shape { .. })));
                let error = inverse.precondition_in_place(&ctx, Mat::zeros(d_in + 1, d_out + 2).as_mut());
                assert!(matches!(error, Err(Error::Shape { .. })));
            }
        }
    }
}

#[test]
fn matrix_forms_are_solves_of_vec() {
    matrix_forms::<f32>();
    matrix_forms::<f64>();
}

/// Rounding that leaves an eigenvalue slightly negative cannot make the exact inverse indefinite.
#[test]
fn slightly_negative_eigenvalues_count_as_zero() {
    let (a, s) = (Mat::from_diagonal(&[1.0, -1e-17]), Mat::from_diagonal(&[1.0, 1e6]));
    for ctx in contexts::<f64>() {
        let inverse = kronecker(&a, &s, None).damped(&ctx, damping(1e-12)).unwrap();
        let dense = inverse.to_dense(&ctx).unwrap();
        let limit = tolerance::<f64>(4, 1.0) * 1e12;
        for i in [2, 3] {
            // without clipping entry 3 would be 1/(1e-12 - 1e-11) < 0
            assert!((dense[(i, i)] - 1e12).abs() <= limit, "{}", dense[(i, i)]);
        }
    }
}

/// `KroneckerInverse::new` is `damped` of the curvature, and never reads what lies above the diagonals.
#[test]
fn inverse_of_lower_triangles() {
    let (a, s) = (spd::<f64>(6, 20.0, 24), spd::<f64>(5, 20.0, 25));
    let lower = |m: &Mat<f64>| Mat::from_fn(m.nrows(), m.ncols(), |i, j| if i >= j { m[(i, j)] } else { f64::NAN });
    for ctx in contexts::<f64>() {
        for rule in [None, Some(PiRule::Trace), Some(PiRule::Frobenius)] {
            let c = kronecker(&a, &s, rule);
            let want = c.damped(&ctx, damping(0.1)).unwrap().to_dense(&ctx).unwrap();
            let (a, s) = (lower(&a), lower(&s));
            let got = KroneckerInverse::new(&ctx, a.as_ref(), s.as_ref(), c.kronecker_damping(), damping(0.1)).unwrap();
            assert_eq!(got.to_dense(&ctx).unwrap(), want, "{rule:?} on {}", ctx.backend().name());
        }
    }
}

/// Entries, λ, π and log-determinant of two inverses are the same, bit for bit.
fn assert_same<T: Scalar>(ctx: &Ctx<T>, got: &KroneckerInverse<T>, want: &KroneckerInverse<T>, what: &str) {
    assert_eq!(got.to_dense(ctx).unwrap(), want.to_dense(ctx).unwrap(), "{what}");
    let numbers = |inverse: &KroneckerInverse<T>| (inverse.damping(), inverse.pi(), inverse.log_determinant());
    assert_eq!(numbers(got), numbers(want), "{what}");
}

fn renewal<T: Scalar>() {
    let exact = KroneckerDamping::Exact;
    let factored = KroneckerDamping::Factored { pi: PiRule::Trace };
    let ((a, s), (b, r)) = ((spd(11, 50.0, 31), spd(5, 20.0, 32)), (spd(11, 9.0, 33), spd(5, 90.0, 34)));
    let mut broken: Mat<T> = spd(5, 20.0, 35);
    broken[(3, 2)] = T::nan();
    let huge = Mat::from_fn(11, 11, |i, j| if i == j { T::max_value() } else { T::ZERO });
    let indefinite = spd::<T>(5, 20.0, 36).map(|x| -x);
    for ctx in contexts::<T>().into_iter().flat_map(|ctx| [ctx.with_threads(2), ctx]) {
        for (damping_of, other) in [(exact, factored), (factored, exact)] {
            let what = format!("{damping_of:?} on {} in {}", ctx.backend().name(), T::NAME);
            let new = |a: &Mat<T>, s: &Mat<T>, kind, lambda| {
                KroneckerInverse::new(&ctx, a.as_ref(), s.as_ref(), kind, damping(lambda)).unwrap()
            };
            let (mut inverse, first) = (new(&a, &s, damping_of, 0.5), new(&a, &s, damping_of, 0.5));
            let clone = inverse.clone();
            inverse.renew(&ctx, b.as_ref(), r.as_ref(), damping_of, damping(0.1)).unwrap();
            let second = new(&b, &r, damping_of, 0.1);
            assert_same(&ctx, &inverse, &second, &what);
            assert_same(&ctx, &clone, &first, &format!("a clone: {what}"));
            // one factor alone is good: nothing changes
            let bad_pairs = [(&a, &broken), (&huge, &r), (&a, &indefinite)];
            for (bad_a, bad_s) in bad_pairs {
                let renewed = inverse.renew(&ctx, bad_a.as_ref(), bad_s.as_ref(), damping_of, damping(1e-3));
                let fresh = KroneckerInverse::new(&ctx, bad_a.as_ref(), bad_s.as_ref(), damping_of, damping(1e-3));
                match (renewed, fresh) {
                    (Err(renewed), Err(fresh)) => {
                        assert_eq!(renewed.to_string(), fresh.to_string(), "{what}");
                        assert_same(&ctx, &inverse, &second, &format!("after a failure: {what}"));
                    }
                    // an indefinite factor is clipped by the exact path
                    (Ok(()), Ok(fresh)) => {
                        assert_same(&ctx, &inverse, &fresh, &what);
                        inverse.renew(&ctx, b.as_ref(), r.as_ref(), damping_of, damping(0.1)).unwrap();
                    }
                    (renewed, fresh) => panic!("{what}: {renewed:?}, but {:?}", fresh.map(drop)),
                }
            }
            // other orders, another kind of damping
            inverse.renew(&ctx, r.as_ref(), b.as_ref(), damping_of, damping(2.0)).unwrap();
            assert_same(&ctx, &inverse, &new(&r, &b, damping_of, 2.0), &format!("other orders: {what}"));
            inverse.renew(&ctx, a.as_ref(), s.as_ref(), other, damping(2.0)).unwrap();
            assert_same(&ctx, &inverse, &new(&a, &s, other, 2.0), &format!("then another kind: {what}"));
        }
    }
}

#[test]
fn renewed_is_new_bit_for_bit_and_unchanged_where_new_fails() {
    renewal::<f32>();
    renewal::<f64>();
}
