//! The promises R1 to R10 of docs/reliability.md, one test each, on every compiled backend and in both scalars.
//!
//! Longer sweeps of the same laws: tests/lapack_types.rs, tests/backends_contract.rs, tests/factorizations.rs.

#[path = "../common/counting_allocator.rs"]
mod counting_allocator;
mod iteration;
mod repetition;
mod representations;
mod spectra;
mod trouble;

use pullback::testing::contexts;
use pullback::{Ctx, Damping, Mat, Op, Scalar};

#[global_allocator]
static ALLOCATOR: counting_allocator::CountingAllocator = counting_allocator::CountingAllocator;

/// One test for a promise: its law in `f32` and `f64`.
macro_rules! promises {
    ($($name:ident = $law:path;)+) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(
        #[test]
        fn $name() {
            contexts::<f32>().iter().for_each($law);
            contexts::<f64>().iter().for_each($law);
        }
        )+
    };
}
promises! {
    r1_cholesky_meets_lapacks_ratios_on_its_types = spectra::positive_definite_types;
    r2_eigendecompositions_meet_lapacks_ratios_on_its_types = spectra::symmetric_types;
    r3_a_power_of_two_changes_the_scale_and_nothing_else = spectra::scale_equivariance;
    r4_bad_and_extreme_matrices_give_laws_or_one_typed_error = trouble::bad_and_extreme_matrices;
    r5_a_failing_pivot_is_named_exactly = trouble::failing_pivots;
    r6_damping_is_pure_and_additive_and_solves_as_dense = representations::damping_laws;
    r7_all_representations_of_one_matrix_agree = representations::agreement;
    r8_conjugate_gradient_tells_the_true_residual_and_negative_curvature = iteration::true_residuals;
    r9_results_repeat_bit_for_bit_and_threads_agree = repetition::determinism;
    r10_nothing_is_allocated_after_a_first_call = repetition::no_allocation;
}

#[test]
fn the_table_of_promises_names_these_tests() {
    let guide = include_str!("../../docs/reliability.md");
    let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with("| R")).collect();
    assert_eq!(rows.len(), NAMES.len());
    for (i, (row, name)) in rows.iter().zip(NAMES).enumerate() {
        assert!(row.starts_with(&format!("| R{} |", i + 1)) && row.contains(&format!("`{name}`")), "{row}: {name}");
    }
}

fn place<T: Scalar>(ctx: &Ctx<T>) -> String {
    format!("{} in {}", ctx.backend().name(), T::NAME)
}

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).expect("positive")
}

/// A B in `f64` on the textbook loops.
fn times<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<f64> {
    let mut c = Mat::zeros(a.nrows(), b.ncols());
    let (a, b) = (a.cast::<f64>(), b.cast::<f64>());
    Ctx::reference().gemm(1.0, a.as_ref(), Op::No, b.as_ref(), Op::No, 0.0, c.as_mut()).expect("shapes");
    c
}

/// M + λI.
fn shifted<T: Scalar>(m: &Mat<T>, lambda: f64) -> Mat<T> {
    let mut out = m.clone();
    (0..m.nrows()).for_each(|i| out[(i, i)] += T::of(lambda));
    out
}

/// A ⊗ S, formed.
fn kron<T: Scalar>(a: &Mat<T>, s: &Mat<T>) -> Mat<T> {
    let n = s.nrows();
    Mat::from_fn(a.nrows() * n, a.nrows() * n, |i, j| a[(i / n, j / n)] * s[(i % n, j % n)])
}

/// Frobenius norm in `f64`.
fn norm<T: Scalar>(a: &Mat<T>) -> f64 {
    a.as_slice().iter().map(|x| x.f64().powi(2)).sum::<f64>().sqrt()
}
