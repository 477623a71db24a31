//! The diagonal of a layer's block: of the exact block and of A ⊗ S, on networks; its moving averages and refusals.
#![cfg(feature = "nn")]

#[path = "common/nets.rs"]
mod nets;

use nets::{Spec, block_of, dense_ggn, problem};
use pullback::curvature::KroneckerDamping;
use pullback::nn::{Activation, Loss, Reduction};
use pullback::optim::{
    CaptureSink, FisherKind, KfacPreconditioner, LayerStructure, LayeredObjective, Objective, PreconditionerOptions,
};
use pullback::stats::{Decay, DiagonalMoments, DiagonalRule};
use pullback::testing::gallery::uniform;
use pullback::testing::{relative_error, tolerance};
use pullback::{Ctx, Damping, Error, HasDiagonal, Mat, MatRef, Scalar};

fn damping<T: Scalar>(lambda: f64) -> Damping<T> {
    Damping::try_from(lambda).unwrap()
}

#[test]
fn diagonals_are_those_of_the_exact_block_and_of_the_kronecker_product() {
    let ctx = Ctx::<f64>::default();
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let (widths, loss) = (vec![4, 5, 3], Loss::SoftmaxCrossEntropy);
        let p = problem(&Spec { widths, activation: Activation::Tanh, loss, reduction, cases: 15 }, 3);
        let ggn = dense_ggn(&ctx, &p);
        for rule in [DiagonalRule::Exact, DiagonalRule::Factored] {
            let structure = LayerStructure::Diagonal { rule };
            let options = PreconditionerOptions { structure, ..PreconditionerOptions::default() };
            let mut kfac = KfacPreconditioner::new(p.net.layout(), options).unwrap();
            let mut ws = p.net.workspace();
            p.net.forward(&ctx, &p.theta, &p.batch, &mut ws).unwrap();
            let mut capture = |sink: &mut dyn CaptureSink<f64>| {
                p.net.capture(&ctx, &p.theta, &p.batch, &mut ws, FisherKind::Exact, usize::MAX, 0, sink).unwrap();
            };
            kfac.begin_update();
            capture(&mut kfac);
            kfac.refresh(&ctx, damping(0.5)).unwrap();
            let factors = nets::factors(&ctx, &p.net, &p.theta, &p.batch, FisherKind::Exact, 0..1);
            for l in 0..2 {
                let block = block_of(&ggn, &p.net, l);
                let want: Vec<f64> = match rule {
                    DiagonalRule::Exact => (0..block.nrows()).map(|i| block[(i, i)]).collect(),
                    DiagonalRule::Factored => {
                        let mut d = vec![0.0; block.nrows()];
                        let snapshot = factors.0[l].snapshot(KroneckerDamping::Exact).unwrap().unwrap();
                        snapshot.diagonal(&ctx, &mut d).unwrap();
                        d
                    }
                };
                // of the inverse: 1/(d + 1/2) on the diagonal, nothing beside it
                let inverse = kfac.inverse(l).unwrap().to_dense(&ctx).unwrap();
                let want = Mat::from_diagonal(&want.iter().map(|d| 1.0 / (d + 0.5)).collect::<Vec<_>>());
                let error = relative_error(inverse.as_ref(), want.as_ref());
                assert!(error <= tolerance::<f64>(15, 10.0), "{rule:?} {reduction:?} layer {l}: {error:e}");
            }
        }
    }
}

#[test]
fn diagonal_moments_are_moving_averages_and_refuse_misuse() {
    let ctx = Ctx::<f64>::default();
    for rule in [DiagonalRule::Exact, DiagonalRule::Factored] {
        let mut moments = DiagonalMoments::<f64>::new(2, 3, rule, Decay::new(0.5).unwrap());
        assert!(moments.snapshot().unwrap().is_none());
        let (a, g) = (uniform::<f64>(3, 4, 1), uniform::<f64>(2, 4, 2));
        let early = [
            moments.add_activations(a.as_ref(), 1.0),
            moments.add_gradients(g.as_ref(), 1.0),
            moments.add_pairs(&ctx, a.as_ref(), g.as_ref(), 1.0),
        ];
        let refused = early.iter().filter(|r| matches!(r, Err(Error::InvalidParameter { .. }))).count();
        assert_eq!(refused, if rule == DiagonalRule::Exact { 1 } else { 2 });
        let (mut want_a, mut want_g, mut want) = (vec![0.0; 3], vec![0.0; 2], vec![0.0; 6]);
        for k in 1..=5 {
            let (a, g) = (uniform::<f64>(3, 4, 10 + k), uniform::<f64>(2, 4, 20 + k));
            let epsilon = (1.0 - 1.0 / k as f64).min(0.5);
            moments.begin();
            assert_eq!(moments.is_paired(), rule == DiagonalRule::Factored);
            moments.add_activations(a.as_ref(), 0.25).unwrap();
            // two halves of one batch; for the factored one, the second as a matrix
            for half in [0, 2] {
                let (a, g) =
                    (a.as_ref().submatrix(0, half, 3, 2).unwrap(), g.as_ref().submatrix(0, half, 2, 2).unwrap());
                if half == 0 {
                    moments.add_gradients(g, 0.25).unwrap();
                } else {
                    let mut m = Mat::zeros(2, 2);
                    ctx.syrk(1.0, g, pullback::Op::Transpose, 0.0, m.as_mut()).unwrap();
                    moments.add_gradient_moment(m.as_ref(), 0.25).unwrap();
                }
                moments.add_pairs(&ctx, a, g, 0.25).unwrap();
            }
            assert!(moments.is_paired());
            let mean = |f: &dyn Fn(usize) -> f64| 0.25 * (0..4).map(f).sum::<f64>();
            let mix = |old: &mut f64, new: f64| *old = epsilon * *old + (1.0 - epsilon) * new;
            (0..3).for_each(|j| mix(&mut want_a[j], mean(&|c| a[(j, c)].powi(2))));
            (0..2).for_each(|i| mix(&mut want_g[i], mean(&|c| g[(i, c)].powi(2))));
            (0..6).for_each(|e| mix(&mut want[e], mean(&|c| (a[(e / 2, c)] * g[(e % 2, c)]).powi(2))));
            let expected: Vec<f64> = match rule {
                DiagonalRule::Exact => want.clone(),
                DiagonalRule::Factored => (0..6).map(|e| want_a[e / 2] * want_g[e % 2]).collect(),
            };
            let got = moments.snapshot().unwrap().unwrap();
            let error = relative_error(MatRef::from_column(got.entries()), MatRef::from_column(&expected));
            assert!(error <= tolerance::<f64>(8, 1.0), "{rule:?} update {k}: {error:e}");
        }
        assert_eq!((moments.updates(), moments.rule()), (5, rule));
        assert!(matches!(moments.add_activations(g.as_ref(), 1.0), Err(Error::Shape { .. })));
        assert!(matches!(moments.add_gradients(a.as_ref(), 1.0), Err(Error::Shape { .. })));
        assert!(matches!(moments.add_pairs(&ctx, a.as_ref(), a.as_ref(), 1.0), Err(Error::Shape { .. })));
        assert!(matches!(moments.add_gradient_moment(a.as_ref(), 1.0), Err(Error::Shape { .. })));
        moments.begin();
        moments.add_activations(a.map(|x| x * f64::NAN).as_ref(), 1.0).unwrap();
        moments.add_pairs(&ctx, a.map(|x| x * f64::NAN).as_ref(), g.as_ref(), 1.0).unwrap();
        assert!(matches!(moments.snapshot(), Err(Error::NotFinite { .. })));
    }
}
