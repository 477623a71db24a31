//! Conjugate gradient on any bit patterns: no panic, no garbage; X is finite, the report says what happened.

use super::Bytes;
use pullback::krylov::{CgOptions, CgStart, CgStop, StallRule, pcg};
use pullback::linop::SymmetricDense;
use pullback::testing::contexts;
use pullback::{Ctx, LinearOperator, Mat, MatMut, MatRef, Op, Preconditioner, Result, Scalar, SelfAdjoint};

/// A preconditioner that promises what it may not keep.
struct Claimed<T>(SymmetricDense<T>);
impl<T: Scalar> LinearOperator<T> for Claimed<T> {
    fn shape(&self) -> (usize, usize) {
        self.0.shape()
    }
    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.0.apply_into(ctx, x, y)
    }
}
impl<T: Scalar> SelfAdjoint<T> for Claimed<T> {}
impl<T: Scalar> Preconditioner<T> for Claimed<T> {}

pub fn run(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    if input.byte() % 2 == 0 { solve::<f64>(input) } else { solve::<f32>(input) }
}

fn square<T: Scalar>(input: &mut Bytes<'_>, n: usize) -> Mat<T> {
    let kind = input.byte() % 3;
    let mut a = Mat::from_fn(n, n, |_, _| if kind == 0 { input.scalar() } else { input.ordinary() });
    if kind == 2 {
        let g = a.clone();
        Ctx::reference().syrk(T::ONE, g.as_ref(), Op::No, T::ZERO, a.as_mut()).expect("shapes fit");
    }
    a
}

fn solve<T: Scalar>(mut input: Bytes<'_>) {
    let (n, k) = (input.upto(12), input.upto(3));
    let flags = input.byte();
    let tolerance = if flags & 1 == 0 { T::EPS.sqrt() } else { input.scalar() };
    let options = CgOptions {
        relative_tolerance: tolerance,
        absolute_tolerance: if flags & 2 == 0 { T::ZERO } else { input.scalar() },
        max_iterations: input.upto(30),
        start: if flags & 4 == 0 { CgStart::Given } else { CgStart::Zero },
        stall: (flags & 8 != 0).then(StallRule::default),
        ..CgOptions::default()
    };
    let a = SymmetricDense::new(square(&mut input, n)).expect("square");
    let m_inv = (flags & 16 != 0).then(|| Claimed(SymmetricDense::new(square(&mut input, n)).expect("square")));
    let raw = flags & 32 != 0;
    let mut block = || Mat::<T>::from_fn(n, k, |_, _| if raw { input.scalar() } else { input.ordinary() });
    let (b, start) = (block(), block());
    for ctx in contexts::<T>() {
        let mut x = start.clone();
        let m = m_inv.as_ref().map(|m| m as &dyn Preconditioner<T>);
        let report = match pcg(&ctx, &a, m, b.as_ref(), x.as_mut(), &options) {
            Ok(report) => report,
            Err(_) => return assert!(options.check().is_err()),
        };
        assert!(x.as_ref().is_finite(), "{report:?}");
        assert!(report.products() <= report.iterations() + 3, "{report:?}");
        for (j, column) in report.columns().iter().enumerate() {
            assert!(column.iterations <= options.max_iterations);
            assert!(column.relative_residual >= 0.0, "never NaN");
            let zero_b = b.as_ref().col(j).iter().all(|&b| b == T::ZERO);
            assert!(!zero_b || x.as_ref().col(j).iter().all(|&x| x == T::ZERO));
            match (column.stop, column.negative_curvature()) {
                (CgStop::NonPositiveCurvature, Some((p, curvature))) => {
                    assert!(curvature <= 0.0 && p.len() == n && p.iter().all(|p| p.is_finite()));
                }
                (CgStop::NonPositiveCurvature, None) | (_, Some(_)) | (CgStop::TrustRegionBoundary, _) => {
                    panic!("{column:?}")
                }
                (CgStop::IterationLimit, _) => assert_eq!(column.iterations, options.max_iterations),
                (CgStop::ModelStalled, _) => assert!(options.stall.is_some() && column.iterations > 10),
                (CgStop::PreconditionerNotPositive, _) => assert!(m.is_some()),
                // convergence speaks of the running residual; far from b the true one may be any multiple of b
                (CgStop::Converged | CgStop::Breakdown, _) => {}
            }
            if column.stop != CgStop::Breakdown {
                assert!(b.as_ref().col(j).iter().all(|b| b.is_finite()), "not finite, and not noticed");
                assert!(column.model.is_finite() || !in_range(&a, &b, &x), "{column:?}");
            }
        }
    }
}

/// Whether xᵀA x and bᵀx are far from overflow in f64.
fn in_range<T: Scalar>(a: &SymmetricDense<T>, b: &Mat<T>, x: &Mat<T>) -> bool {
    let log = |m: &Mat<T>| m.as_slice().iter().fold(0.0, |l: f64, v| l.max(v.f64().abs())).max(1.0).log2();
    2.0 * log(x) + log(a.matrix()) < 900.0 && log(x) + log(b) < 900.0
}
