//! The public proptest strategies: what they draw has the promised property, equal seeds draw equal values, and a failure
//! shrinks to the smallest case there is.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use pullback::factor::SymEigen;
use pullback::testing::strategies::{self, Drawn};
use pullback::testing::{Claim, Setup, curvature, tolerance};
use pullback::{Ctx, Mat};

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn runner(seed: u8) -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(config(1), rng)
}

fn smallest_eigenvalue(a: &Mat<f64>) -> f64 {
    let eigen = SymEigen::new(&Ctx::reference(), a.clone()).unwrap();
    eigen.values().first().copied().unwrap_or(0.0)
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn spd_is_symmetric_and_positive_definite(a in strategies::spd::<f64>(24, 1e4)) {
        prop_assert_eq!(&a.matrix, &a.matrix.transposed());
        let limit = tolerance::<f64>(a.matrix.nrows(), 1.0);
        prop_assert!(a.matrix.nrows() == 0 || smallest_eigenvalue(&a.matrix) >= 1e-4 - limit, "{}", a.label);
    }

    #[test]
    fn other_matrices_are_symmetric_and_finite(
        free in strategies::with_spectrum::<f32>(12), po in strategies::po::<f32>(12),
        sep in strategies::sep::<f64>(12), named in strategies::named::<f64>(12),
    ) {
        for matrix in [free.matrix.cast::<f64>(), po.matrix.cast(), sep.matrix, named.matrix] {
            prop_assert_eq!(&matrix, &matrix.transposed());
            prop_assert!(matrix.as_ref().is_finite());
        }
    }

    #[test]
    fn kronecker_pairs_conform(pair in strategies::kronecker_pair::<f64>(4)) {
        use pullback::curvature::{Kronecker, KroneckerDamping};
        let (a, s) = (&pair.0.matrix, &pair.1.matrix);
        prop_assert!(smallest_eigenvalue(a) >= -tolerance::<f64>(a.nrows(), 1.0));
        let claim = Claim::exact(format!("{pair:?}"), pullback::testing::dense::kron(a, s));
        let make = |_: &Ctx<f64>| Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact);
        let report = curvature::check_direct(&Setup::on(Ctx::reference()), &claim, make);
        prop_assert!(report.passed(), "{report}");
    }

    #[test]
    fn batches_have_their_shape(batch in strategies::batch::<f32>(5, 9)) {
        prop_assert_eq!(batch.matrix.nrows(), 5);
        prop_assert!((1..=9).contains(&batch.matrix.ncols()));
    }
}

#[cfg(feature = "nn")]
proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn networks_have_a_finite_loss_and_a_semidefinite_gauss_newton_matrix(
        drawn in strategies::network::<f64>(3, 4, 6)
    ) {
        use pullback::nn::GgnOperator;
        use pullback::testing::dense::{norm, shifted};
        use pullback::optim::Objective;
        let ctx = Ctx::reference();
        prop_assert!(drawn.net.loss(&ctx, &drawn.theta, &drawn.batch).unwrap().is_finite());
        let ggn = GgnOperator::new(&ctx, &drawn.net, &drawn.theta, &drawn.batch).unwrap();
        let dense: Mat<f64> = pullback::LinearOperator::to_dense(&ggn, &ctx).unwrap();
        let floor = -tolerance::<f64>(dense.nrows(), 1.0) * norm(&dense);
        prop_assert!(smallest_eigenvalue(&dense) >= floor, "{drawn:?}");
        prop_assert!(smallest_eigenvalue(&shifted(&dense, 1.0)) >= 1.0 + floor);
    }
}

#[test]
fn equal_seeds_draw_equal_matrices() {
    let draw = |seed| strategies::sep::<f64>(40).new_tree(&mut runner(seed)).unwrap().current();
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}

/// The smallest case for which the property still fails.
fn shrunk<S: Strategy<Value = Drawn<f64>>>(strategy: S, fails: impl Fn(&Drawn<f64>) -> bool) -> Drawn<f64> {
    let mut runner = runner(1);
    let mut tree =
        (0..1000).map(|_| strategy.new_tree(&mut runner).unwrap()).find(|tree| fails(&tree.current())).unwrap();
    let mut smallest = tree.current();
    while tree.simplify() {
        while !fails(&tree.current()) {
            if !tree.complicate() {
                return smallest;
            }
        }
        smallest = tree.current();
    }
    smallest
}

#[test]
fn a_failure_shrinks_to_the_smallest_order_and_the_first_type() {
    // every matrix of order 3 or more "fails"
    let at_least_3 = |a: &Drawn<f64>| a.matrix.nrows() >= 3;
    let po = shrunk(strategies::po::<f64>(129), at_least_3);
    assert_eq!((po.matrix.nrows(), po.label.as_str()), (3, "lapack::po_type(PoType::ALL[0], 3, 0)"));
    let sep = shrunk(strategies::sep::<f64>(129), at_least_3);
    assert_eq!((sep.matrix.nrows(), sep.label.as_str()), (3, "lapack::sep_type(SepType::ALL[0], 3, 0)"));
    assert_eq!(shrunk(strategies::spd::<f64>(129, 1e8), at_least_3).label, "gallery::spd(3, 1e0, 0)");
    assert_eq!(shrunk(strategies::with_spectrum::<f64>(50), at_least_3).matrix.nrows(), 3);
    assert_eq!(shrunk(strategies::batch::<f64>(2, 50), |b| b.matrix.ncols() > 1).matrix.ncols(), 2);
    let named = shrunk(strategies::named::<f64>(50), at_least_3);
    assert_eq!(named.label, "gallery::named: zero of order 3");
}
