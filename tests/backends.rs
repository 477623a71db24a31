//! The contract of `Backend` (its module documentation), held against every backend compiled in by the public suite.

use pullback::conformance;
use pullback::testing::{backend, contexts};

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
