//! The factored damped inverse by Cholesky factors: the suite of every direct solver, and the map of the inverses.

mod curvature_support;

use curvature_support::conformance::factored_system;
use curvature_support::{kron, low_rank, random, spd};
use pullback::curvature::{
    Definiteness, HasLogDeterminant, Kronecker, KroneckerCholesky, KroneckerDamping, KroneckerInverse, PiRule,
};
use pullback::optim::costs::LayerShape;
use pullback::optim::{CaptureSink, KfacPreconditioner, ParamLayout, PreconditionerOptions};
use pullback::testing::{Claim, contexts, curvature, relative_error, tolerance};
use pullback::{
    Ctx, Curvature, DampedSolver, Damping, Error, LinearOperator, Mat, MatMut, MatRef, Result, Scalar, SelfAdjoint,
    conformance,
};

/// A ⊗ S, damped into Cholesky factors.
struct BySolves<T> {
    product: Kronecker<T>,
    rule: PiRule<T>,
}

impl<T: Scalar> LinearOperator<T> for BySolves<T> {
    fn shape(&self) -> (usize, usize) {
        self.product.shape()
    }

    fn apply_into(&self, ctx: &Ctx<T>, x: MatRef<'_, T>, y: MatMut<'_, T>) -> Result<()> {
        self.product.apply_into(ctx, x, y)
    }
}

impl<T: Scalar> SelfAdjoint<T> for BySolves<T> {}

impl<T: Scalar> Curvature<T> for BySolves<T> {
    type Solver = KroneckerCholesky<T>;

    fn definiteness(&self) -> Definiteness {
        self.product.definiteness()
    }

    fn damped(&self, ctx: &Ctx<T>, lambda: Damping<T>) -> Result<KroneckerCholesky<T>> {
        KroneckerCholesky::new(ctx, self.product.a().as_ref(), self.product.s().as_ref(), self.rule, lambda)
    }
}

/// Factors A and S, of full and of low rank.
fn pairs<T: Scalar>() -> Vec<(Mat<T>, Mat<T>)> {
    let shapes = [(0, 3), (1, 1), (3, 2), (2, 17), (11, 3)];
    let full = shapes.map(|(d_in, d_out)| (spd(d_in, 10.0, 3), spd(d_out, 10.0, 4)));
    let low = shapes.map(|(d_in, d_out)| (low_rank(d_in, d_in / 2, 5), low_rank(d_out, d_out / 2, 6)));
    full.into_iter().chain(low).collect()
}

conformance! {
    fn solver<T>(setup) {
        let rules = [PiRule::Trace, PiRule::Fixed(T::of(0.5))];
        pairs::<T>().iter().flat_map(|(a, s)| rules.map(|rule| {
            let claim = Claim::exact(format!("Cholesky factors by {rule:?}"), kron(a, s));
            let claim = claim.factored(|lambda| factored_system(a, s, rule, lambda));
            curvature::check_direct(setup, &claim, |_| {
                Ok(BySolves { product: Kronecker::new(a.clone(), s.clone(), KroneckerDamping::Exact)?, rule })
            })
        })).collect()
    }
}

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

fn the_map_of_the_inverses<T: Scalar>() {
    for ctx in contexts::<T>() {
        for (d_in, d_out) in [(1, 1), (3, 2), (33, 31), (64, 127), (129, 2)] {
            let (a, s) = (spd::<T>(d_in, 10.0, 1), spd::<T>(d_out, 10.0, 2));
            let lower =
                |m: &Mat<T>| Mat::from_fn(m.nrows(), m.ncols(), |i, j| if i >= j { m[(i, j)] } else { T::nan() });
            let (a, s) = (lower(&a), lower(&s));
            let rule = PiRule::Trace;
            let solves = KroneckerCholesky::new(&ctx, a.as_ref(), s.as_ref(), rule, damping(0.1)).unwrap();
            let kind = KroneckerDamping::Factored { pi: rule };
            let inverses = KroneckerInverse::new(&ctx, a.as_ref(), s.as_ref(), kind, damping(0.1)).unwrap();
            assert_eq!((solves.factor_dims(), Some(solves.pi())), (inverses.factor_dims(), inverses.pi()));
            assert_eq!((solves.fidelity(), solves.path()), (inverses.fidelity(), inverses.path()));
            // eigenvalues of the factors lie in [0.1, 1] up to a factor, those of the damped ones above √0.1 of the largest
            let limit = tolerance::<T>(d_in + d_out, 100.0);
            let close = |got: MatRef<'_, T>, want: MatRef<'_, T>| {
                let error = relative_error(got, want);
                assert!(error <= limit, "{d_in}x{d_out} on {}: {error:e} > {limit:e}", ctx.backend().name());
            };
            let v = random::<T>(d_out, d_in, 3);
            let (mut got, mut want) = (Mat::zeros(d_out, d_in), Mat::zeros(d_out, d_in));
            solves.precondition_matrix(&ctx, v.as_ref(), got.as_mut()).unwrap();
            inverses.precondition_matrix(&ctx, v.as_ref(), want.as_mut()).unwrap();
            close(got.as_ref(), want.as_ref());
            let mut in_place = v.clone();
            solves.precondition_in_place(&ctx, in_place.as_mut()).unwrap();
            assert_eq!(in_place, got);
            for cases in [0, 1, 40, 200] {
                let (g, x) = (random::<T>(d_out, cases, 4), random::<T>(d_in, cases, 5));
                solves.precondition_product(&ctx, T::of(2.0), g.as_ref(), x.as_ref(), got.as_mut()).unwrap();
                inverses.precondition_product(&ctx, T::of(2.0), g.as_ref(), x.as_ref(), want.as_mut()).unwrap();
                close(got.as_ref(), want.as_ref());
            }
            let (got, want) = (solves.log_determinant().f64(), inverses.log_determinant().f64());
            assert!((got - want).abs() <= limit * (1.0 + want.abs()), "{got} {want}");
        }
    }
}

#[test]
fn solves_are_the_map_of_the_inverses_and_read_lower_triangles_alone() {
    the_map_of_the_inverses::<f32>();
    the_map_of_the_inverses::<f64>();
}

#[test]
fn what_cannot_be_factored_is_an_error() {
    let ctx = Ctx::<f64>::default();
    let make = |a: &Mat<f64>, s: &Mat<f64>, rule| {
        KroneckerCholesky::new(&ctx, a.as_ref(), s.as_ref(), rule, damping(1e-6)).unwrap_err()
    };
    let good = Mat::identity(2);
    let indefinite = Mat::from_diagonal(&[1.0, -1.0, 1.0]);
    assert!(matches!(make(&indefinite, &good, PiRule::Fixed(1.0)), Error::NotPositiveDefinite { pivot: 1, .. }));
    assert!(matches!(make(&good, &Mat::from_diagonal(&[f64::NAN]), PiRule::Trace), Error::NotFinite { .. }));
    assert!(matches!(make(&Mat::zeros(2, 3), &good, PiRule::Trace), Error::Shape { .. }));
    assert!(matches!(make(&good, &good, PiRule::Fixed(-1.0)), Error::InvalidParameter { .. }));
    let inverse = KroneckerCholesky::new(&ctx, good.as_ref(), good.as_ref(), PiRule::Trace, damping(1.0)).unwrap();
    let mut wrong = Mat::zeros(3, 2);
    assert!(matches!(inverse.precondition_in_place(&ctx, wrong.as_mut()), Err(Error::Shape { .. })));
    assert!(matches!(inverse.precondition_matrix(&ctx, good.as_ref(), wrong.as_mut()), Err(Error::Shape { .. })));
}

#[test]
fn the_preconditioner_takes_them_where_a_refresh_serves_few_updates() {
    let (rows, cols, cases) = (5, 7, 30);
    let shape = LayerShape { d_in: cols, d_out: rows };
    assert!(shape.prefers_cholesky(1) && !shape.prefers_cholesky(50));
    let (ctx, layout) = (Ctx::<f64>::default(), ParamLayout::new([(rows, cols)]));
    let made = [1, 50].map(|updates_per_refresh| {
        let options = PreconditionerOptions { updates_per_refresh, ..PreconditionerOptions::default() };
        let mut kfac = KfacPreconditioner::new(&layout, options).unwrap();
        kfac.begin_update();
        kfac.activations(&ctx, 0, random::<f64>(cols, cases, 6).as_ref(), 1.0 / cases as f64).unwrap();
        kfac.gradients(&ctx, 0, random::<f64>(rows, cases, 7).as_ref(), 1.0 / cases as f64).unwrap();
        kfac.refresh(&ctx, damping(0.1)).unwrap();
        let mut out = Mat::zeros(rows, cols);
        kfac.precondition_layer(&ctx, 0, random::<f64>(rows, cols, 8).as_ref(), out.as_mut()).unwrap();
        out
    });
    assert_ne!(made[0], made[1], "the same code was run");
    assert!(relative_error(made[0].as_ref(), made[1].as_ref()) <= tolerance::<f64>(rows + cols, 100.0));
}
