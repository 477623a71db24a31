//! LAPACK's own test matrices on every backend: PO types 1-9 and SEP types 1-18, in both scalars, LAPACK's thresholds.
//!
//! Plain `cargo test` runs every type at a few orders. The full sweep over the orders of `lapack::SIZES`, which straddle
//! the blocks of the libraries, takes minutes:
//!
//! ```text
//! cargo test --release --test lapack_types -- --ignored
//! ```

use pullback::testing::contexts;
use pullback::testing::lapack::{
    Measured, PoType, SIZES, SepType, check_po, check_sep, eigenvalues, po_type, sep_type,
};
use pullback::{Ctx, Scalar};

const SEED: u64 = 2024;

/// Orders of the quick run: empty, tiny, past the small blocks, and (not for Jacobi's textbook loops) past the large.
fn quick(backend: &str) -> &'static [usize] {
    if backend == "reference" { &[0, 1, 2, 3, 10, 33] } else { &[0, 1, 2, 3, 10, 33, 129] }
}

fn full(_backend: &str) -> &'static [usize] {
    &SIZES
}

fn assert_all(measured: Vec<Measured>, what: &str) -> usize {
    for m in &measured {
        assert!(m.ratio < m.limit, "{what}: {} has ratio {:e}, limit {}", m.law, m.ratio, m.limit);
    }
    measured.len()
}

/// Every law of every positive definite type; how many were checked.
fn positive_definite<T: Scalar>(contexts: &[Ctx<T>], orders: fn(&str) -> &'static [usize]) -> usize {
    let mut checked = 0;
    for kind in PoType::ALL {
        for n in SIZES {
            let test = po_type::<T>(kind, n, SEED);
            for ctx in contexts.iter().filter(|ctx| orders(ctx.backend().name()).contains(&n)) {
                let what = format!("{} {} PO {} n = {n}", ctx.backend().name(), T::NAME, kind.number());
                checked += assert_all(check_po(ctx, &test), &what);
            }
        }
    }
    checked
}

/// Every law of every symmetric eigenvalue type; how many were checked.
fn symmetric<T: Scalar>(contexts: &[Ctx<T>], orders: fn(&str) -> &'static [usize]) -> usize {
    let mut checked = 0;
    for kind in SepType::ALL {
        for n in SIZES {
            let contexts: Vec<_> = contexts.iter().filter(|ctx| orders(ctx.backend().name()).contains(&n)).collect();
            if contexts.is_empty() {
                continue;
            }
            let test = sep_type::<T>(kind, n, SEED);
            let alone = eigenvalues(test.matrix.as_ref());
            for ctx in contexts {
                let what = format!("{} {} SEP {} n = {n}", ctx.backend().name(), T::NAME, kind.number());
                checked += assert_all(check_sep(ctx, &test, &alone), &what);
            }
        }
    }
    checked
}

macro_rules! sweeps {
    ($module:ident, $t:ty) => {
        mod $module {
            use super::*;

            #[test]
            fn positive_definite_types_at_a_few_orders() {
                let contexts = contexts::<$t>();
                let orders: usize = contexts.iter().map(|ctx| quick(ctx.backend().name()).len()).sum();
                // four laws for six types, the pivot for three (none of them at order 0)
                assert_eq!(positive_definite(&contexts, quick), (4 * 6 + 3) * orders + (4 - 1) * 3 * contexts.len());
            }

            #[test]
            fn symmetric_types_at_a_few_orders() {
                let contexts = contexts::<$t>();
                let orders: usize = contexts.iter().map(|ctx| quick(ctx.backend().name()).len()).sum();
                assert_eq!(symmetric(&contexts, quick), 3 * 18 * orders);
            }

            #[test]
            #[ignore = "minutes: cargo test --release --test lapack_types -- --ignored"]
            fn positive_definite_types_at_all_orders() {
                positive_definite(&contexts::<$t>(), full);
                let two: Vec<_> = contexts::<$t>().iter().map(|ctx| ctx.with_threads(2)).collect();
                positive_definite(&two[1..], full); // the textbook loops know no threads
            }

            #[test]
            #[ignore = "minutes: cargo test --release --test lapack_types -- --ignored"]
            fn symmetric_types_at_all_orders() {
                symmetric(&contexts::<$t>(), full);
                let two: Vec<_> = contexts::<$t>().iter().map(|ctx| ctx.with_threads(2)).collect();
                symmetric(&two[1..], full);
            }
        }
    };
}
sweeps!(single, f32);
sweeps!(double, f64);
