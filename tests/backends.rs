//! The contract of `Backend` (its module documentation), held against every backend compiled in by the public suite.

use pullback::testing::{backend, contexts};
use pullback::{Ctx, conformance};

conformance! {
    fn contract<T>(setup) {
        backend::check(setup)
    }
}

#[test]
fn every_backend_describes_itself_in_one_line() {
    for ctx in contexts::<f32>() {
        let details = ctx.backend().details();
        assert!(!details.is_empty() && !details.contains('\n'), "{details:?}");
    }
}

#[test]
fn items_that_run_side_by_side_have_one_thread_each() {
    for ctx in contexts::<f64>() {
        let mut threads = vec![0; 8];
        let look = |ctx: &Ctx<f64>, threads: &mut usize| {
            *threads = ctx.threads();
            Ok(())
        };
        ctx.with_threads(4).for_each(&mut threads, look).unwrap();
        assert_eq!(threads, [1; 8]);
    }
}
