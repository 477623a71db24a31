//! What directions learn from a step that is handed to them, formula by formula, and what `Descent` does with what a search
//! says: the first α, what is taken, what is refused and forgotten.

use std::sync::Mutex;

use pullback::optim::line_search::{LineSearch, SearchReport, SearchStart, SearchStop};
use pullback::optim::{
    AcceptedStep, BfgsDirection, BfgsOptions, CgFormula, ConjugateDirection, CurvatureRule, Descent, Direction,
    DirectionReport, InitialMatrix, LbfgsDirection, LbfgsOptions, LineFunction, NonlinearCgOptions, Objective,
    Optimizer, ParamLayout, SteepestDescent,
};
use pullback::testing::{gallery, tolerance};
use pullback::{Ctx, Result};

const N: usize = 6;

/// ½ w ‖θ‖², infinite beyond a wall.
struct Bowl {
    layout: ParamLayout,
    weight: f64,
    wall: f64,
}

impl Bowl {
    fn new(n: usize, weight: f64) -> Self {
        Self { layout: ParamLayout::new([(n, 1)]), weight, wall: f64::INFINITY }
    }
}

impl Objective<f64> for Bowl {
    type Batch = ();

    fn layout(&self) -> &ParamLayout {
        &self.layout
    }

    fn loss(&self, _: &Ctx<f64>, theta: &[f64], _: &()) -> Result<f64> {
        Ok(0.5 * self.weight * dot(theta, theta))
    }

    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &(), grad: &mut [f64]) -> Result<f64> {
        let beyond = theta.iter().any(|w| w.abs() >= self.wall);
        grad.iter_mut().zip(theta).for_each(|(g, w)| *g = if beyond { f64::INFINITY } else { self.weight * w });
        self.loss(ctx, theta, batch)
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

fn vector(seed: u64) -> Vec<f64> {
    gallery::uniform::<f64>(N, 1, seed).into_vec()
}

fn sum(a: f64, x: &[f64], b: f64, y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| a * x + b * y).collect()
}

fn near(x: &[f64], y: &[f64], condition: f64) -> bool {
    norm(&sum(1.0, x, -1.0, y)) <= tolerance::<f64>(N, condition) * norm(y)
}

fn ask<D: Direction<f64, Bowl>>(d: &mut D, gradient: &[f64]) -> (Vec<f64>, DirectionReport) {
    let (h, mut out) = (Bowl::new(gradient.len(), 1.0), vec![f64::NAN; gradient.len()]);
    let theta = vec![0.0; gradient.len()];
    let report = d.direction(&Ctx::reference(), &h, &(), &theta, gradient, &mut out).unwrap();
    (out, report)
}

/// The direction hears of a step αp from a point with gradient g, over which the gradient changed by y.
fn tell<D: Direction<f64, Bowl>>(d: &mut D, alpha: f64, p: &[f64], g: &[f64], y: &[f64]) {
    let step = sum(alpha, p, 0.0, p);
    let taken = AcceptedStep { alpha, direction: p, gradient: g, step: &step, change: y };
    d.accepted(&Ctx::reference(), taken).unwrap();
}

fn conjugate(options: NonlinearCgOptions) -> ConjugateDirection<f64> {
    ConjugateDirection::new(options).unwrap()
}

#[test]
fn beta_is_what_the_formula_says() {
    use CgFormula::*;
    let mut negative = [false; 2];
    for seed in 0..60 {
        // gradients of size 1 and below the 0.01 of Hager and Zhang's bound
        let size = if seed % 2 == 0 { 1.0 } else { 1e-3 };
        let (old, fresh) = (sum(size, &vector(3 * seed), 0.0, &vector(0)), vector(3 * seed + 1));
        // a third of them short and along the last one, where gᵀy is negative
        let new = if seed % 3 == 0 { sum(0.2 * size, &fresh, 0.3, &old) } else { sum(size, &fresh, 0.0, &old) };
        let (p, y) = (sum(-1.0, &old, 0.3 * size, &vector(3 * seed + 2)), sum(1.0, &new, -1.0, &old));
        for formula in [FletcherReeves, PolakRibierePlus, HestenesStiefel, HagerZhang] {
            let (gy, py, square) = (dot(&new, &y), dot(&p, &y), dot(&old, &old));
            let beta = match formula {
                FletcherReeves => dot(&new, &new) / square,
                PolakRibierePlus => {
                    negative[seed as usize % 2] |= gy < 0.0;
                    f64::max(0.0, gy / square)
                }
                HestenesStiefel => gy / py,
                HagerZhang => {
                    let floor = -1.0 / (norm(&p) * f64::min(0.01, norm(&old)));
                    let plain = (gy - 2.0 * dot(&y, &y) * dot(&p, &new) / py) / py;
                    plain.max(floor)
                }
            };
            let mut cg = conjugate(NonlinearCgOptions { formula, ..NonlinearCgOptions::default() });
            tell(&mut cg, 0.7, &p, &old, &y);
            let (out, report) = ask(&mut cg, &new);
            let error = (report.momentum.unwrap() - beta).abs();
            let condition = norm(&new) * norm(&y) / gy.abs().min(py.abs());
            assert!(error <= tolerance::<f64>(N, condition * condition) * beta.abs().max(1.0), "{formula:?}: {beta}");
            assert!(near(&out, &sum(-1.0, &new, report.momentum.unwrap(), &p), 1.0 + beta.abs()), "{formula:?}");
        }
    }
    assert!(negative == [true; 2], "no case made the formula of Polak and Ribière negative");
    // so small a β needs a step with hardly any curvature
    let (p, new) = (vec![-1.0, 0.0], vec![-1.0, 1.0]);
    for old in [vec![1.0, 0.0], vec![1e-3, 0.0]] {
        let formula = HagerZhang;
        let mut cg = conjugate(NonlinearCgOptions { formula, ..NonlinearCgOptions::default() });
        tell(&mut cg, 1.0, &p, &old, &[1e-3, -1.0]);
        let beta = ask(&mut cg, &new).1.momentum.unwrap();
        let floor = -1.0 / f64::min(0.01, norm(&old));
        assert!((beta - floor).abs() <= tolerance::<f64>(2, 1.0) * floor.abs(), "{beta} for the floor {floor}");
    }
}

#[test]
fn conjugate_directions_begin_anew_where_they_are_told() {
    let (g, y) = (vector(1), vector(2));
    let fresh = |out: &[f64], g: &[f64]| out.iter().zip(g).all(|(p, g)| *p == -g);
    let mut cg = conjugate(NonlinearCgOptions { restart_every: Some(2), ..NonlinearCgOptions::default() });
    let restarts: Vec<bool> = (0..7)
        .map(|_| {
            let (p, report) = ask(&mut cg, &g);
            assert_eq!(report.restarted || report.momentum.is_none(), fresh(&p, &g));
            tell(&mut cg, 0.5, &p, &g, &y);
            report.restarted
        })
        .collect();
    assert_eq!(restarts, [false, false, true, false, true, false, true]);
    // Powell's test, on either side of orthogonality: g₋ = g - y
    for (share, restarts) in [(0.3, true), (-0.3, true), (0.1, false), (-0.1, false)] {
        let mut cg = conjugate(NonlinearCgOptions { orthogonality: Some(0.2), ..NonlinearCgOptions::default() });
        let old = sum(share, &g, 0.0, &g);
        tell(&mut cg, 1.0, &sum(-1.0, &old, 0.0, &g), &old, &sum(1.0, &g, -1.0, &old));
        assert_eq!(ask(&mut cg, &g).1.restarted, restarts, "{share}");
    }
    // 0/0 is no share
    let formula = CgFormula::HestenesStiefel;
    let mut cg = conjugate(NonlinearCgOptions { formula, ..NonlinearCgOptions::default() });
    tell(&mut cg, 1.0, &sum(-1.0, &g, 0.0, &g), &g, &[0.0; N]);
    let (out, report) = ask(&mut cg, &g);
    assert!(report.restarted && fresh(&out, &g));
    tell(&mut cg, 1.0, &y, &g, &y);
    Direction::<f64, Bowl>::reset(&mut cg);
    let (out, report) = ask(&mut cg, &g);
    assert!(!report.restarted && report.momentum.is_none() && fresh(&out, &g));
}

fn both(initial: InitialMatrix, curvature: CurvatureRule) -> (BfgsDirection<f64>, LbfgsDirection<f64>) {
    (
        BfgsDirection::new(BfgsOptions { initial, curvature }).unwrap(),
        LbfgsDirection::new(LbfgsOptions { initial, curvature, memory: 5 }).unwrap(),
    )
}

/// H v, from the direction at the gradient v.
fn inverse_times(direction: &mut impl Direction<f64, Bowl>, v: &[f64]) -> Vec<f64> {
    sum(-1.0, &ask(direction, v).0, 0.0, v)
}

/// Each of the two quasi-Newton directions after a pair: H y = s, and on what is orthogonal to s and y the first matrix.
fn first_pair<D: Direction<f64, Bowl>>(mut d: D, initial: InitialMatrix) {
    let (p, v) = (vector(11), vector(13));
    let y = sum(1.0, &p, 0.3, &vector(12));
    let before = match initial {
        InitialMatrix::Fixed(gamma) => gamma,
        InitialMatrix::Scaled => 1.0,
    };
    assert!(near(&inverse_times(&mut d, &v), &sum(before, &v, 0.0, &v), 1.0), "{initial:?}");
    assert_eq!(d.minimizes_model(), initial != InitialMatrix::Scaled);
    let s = sum(0.5, &p, 0.0, &p);
    tell(&mut d, 0.5, &p, &vector(14), &y);
    assert!(d.minimizes_model());
    let gamma = if initial == InitialMatrix::Scaled { dot(&s, &y) / dot(&y, &y) } else { before };
    assert!(near(&inverse_times(&mut d, &y), &s, 1e2), "{initial:?}: H y is not s");
    // v less its parts along y and along what is left of s
    let t = sum(1.0, &s, -dot(&s, &y) / dot(&y, &y), &y);
    let v = sum(1.0, &v, -dot(&v, &y) / dot(&y, &y), &y);
    let v = sum(1.0, &v, -dot(&v, &t) / dot(&t, &t), &t);
    assert!(near(&inverse_times(&mut d, &v), &sum(gamma, &v, 0.0, &v), 1e2), "{initial:?}: off the pair");
    d.reset();
    assert!(near(&inverse_times(&mut d, &v), &sum(before, &v, 0.0, &v), 1.0), "{initial:?}: not forgotten");
    assert_eq!(d.minimizes_model(), initial != InitialMatrix::Scaled);
}

#[test]
fn quasi_newton_directions_begin_from_their_first_matrix() {
    for initial in [InitialMatrix::Scaled, InitialMatrix::Fixed(0.3)] {
        let (bfgs, lbfgs) = both(initial, CurvatureRule::default());
        first_pair(bfgs, initial);
        first_pair(lbfgs, initial);
    }
    // L-BFGS scales by the newest pair
    let (_, mut lbfgs) = both(InitialMatrix::Scaled, CurvatureRule::default());
    let unit = |j: usize, size: f64| (0..N).map(|i| if i == j { size } else { 0.0 }).collect::<Vec<f64>>();
    tell(&mut lbfgs, 1.0, &unit(0, 1.0), &unit(0, -1.0), &unit(0, 4.0));
    tell(&mut lbfgs, 1.0, &unit(1, 1.0), &unit(1, -1.0), &unit(1, 10.0));
    assert!(near(&inverse_times(&mut lbfgs, &unit(2, 1.0)), &unit(2, 0.1), 1.0));
}

#[test]
fn pairs_without_curvature_are_left_out() {
    // cos of the angle of s and y on either side of c, and negative
    let (c, p) = (0.05, vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    for (cosine, learns) in [(0.06, true), (0.04, false), (-0.5, false), (-1.0, false)] {
        let y = [cosine, f64::sqrt(1.0 - cosine * cosine), 0.0, 0.0, 0.0, 0.0].map(|y| 7.0 * y);
        let (mut bfgs, mut lbfgs) = both(InitialMatrix::Fixed(1.0), CurvatureRule::Skip(c));
        tell(&mut bfgs, 0.1, &p, &sum(-1.0, &p, 0.0, &p), &y);
        tell(&mut lbfgs, 0.1, &p, &sum(-1.0, &p, 0.0, &p), &y);
        assert_eq!((bfgs.inverse().is_some(), lbfgs.pairs()), (learns, usize::from(learns)), "{cosine}");
    }
}

/// Powell: ŷ = ϑ y + (1 - ϑ) B s with sᵀŷ = c sᵀBs, and H ŷ = s; B s = -α ∇h.
#[test]
fn damped_pairs_have_the_curvature_that_powell_gives_them() {
    let c = 0.2;
    let g = vector(21);
    for (alpha, along) in [(0.5, -2.0), (0.5, 0.05), (2.0, -0.3), (2.0, 0.6), (0.1, 0.0)] {
        let (mut bfgs, mut lbfgs) = both(InitialMatrix::Fixed(1.0), CurvatureRule::Damp(c));
        let p = sum(-1.0, &g, 0.0, &g);
        let (s, bs) = (sum(alpha, &p, 0.0, &p), sum(-alpha, &g, 0.0, &g));
        let sbs = dot(&s, &bs);
        // sᵀy = along · sᵀBs, and a part across s
        let across = vector(22);
        let across = sum(1.0, &across, -dot(&across, &s) / dot(&s, &s), &s);
        let y = sum(along, &bs, 0.4, &across);
        let share = if along < c { (1.0 - c) / (1.0 - along) } else { 1.0 };
        let damped = sum(share, &y, 1.0 - share, &bs);
        assert!((dot(&s, &damped) - along.max(c) * sbs).abs() <= tolerance::<f64>(N, 10.0) * sbs);
        tell(&mut bfgs, alpha, &p, &g, &y);
        tell(&mut lbfgs, alpha, &p, &g, &y);
        assert!(near(&inverse_times(&mut bfgs, &damped), &s, 1e2), "BFGS, α = {alpha}, sᵀy = {along} sᵀBs");
        assert!(near(&inverse_times(&mut lbfgs, &damped), &s, 1e2), "L-BFGS, α = {alpha}, sᵀy = {along} sᵀBs");
        // the matrix stays positive definite
        for seed in 30..40 {
            let v = vector(seed);
            assert!(dot(&v, &inverse_times(&mut bfgs, &v)) > 0.0);
        }
    }
}

/// Takes notes of where it starts; goes where it is told, and says of it what it is told.
#[derive(Debug)]
struct Scripted {
    starts: Mutex<Vec<SearchStart>>,
    /// α, whether it is accepted, and a value to claim there.
    says: (f64, bool, Option<f64>),
}

impl Scripted {
    fn new(alpha: f64, accepted: bool, value: Option<f64>) -> Self {
        Self { starts: Mutex::default(), says: (alpha, accepted, value) }
    }
}

impl LineSearch for Scripted {
    fn search(&self, _: &mut dyn LineFunction, start: SearchStart) -> Result<SearchReport> {
        self.starts.lock().unwrap().push(start);
        let (alpha, accepted, value) = self.says;
        let stop = if accepted { SearchStop::Accepted } else { SearchStop::EvaluationLimit };
        Ok(SearchReport { alpha, value, slope: None, evaluations: 0, stop })
    }
}

#[test]
fn the_first_alpha_promises_what_the_last_step_did() {
    for weight in [0.01, 4.0] {
        let (ctx, h, mut theta) = (Ctx::reference(), Bowl::new(N, weight), vector(41));
        let alpha = 0.3 / weight;
        let mut descent = Descent::assemble(SteepestDescent, Scripted::new(alpha, true, None));
        let slopes: Vec<f64> = (0..3)
            .map(|_| {
                let slope = -(weight * norm(&theta)).powi(2);
                descent.step(&ctx, &h, &mut theta, &()).unwrap();
                slope
            })
            .collect();
        let starts = descent.search().starts.lock().unwrap().clone();
        let first = f64::min(1.0, 1.0 / (-slopes[0]).sqrt());
        let expected = [first, alpha * slopes[0] / slopes[1], alpha * slopes[1] / slopes[2]];
        for (start, want) in starts.iter().zip(expected) {
            assert!((start.initial - want).abs() <= tolerance::<f64>(N, 10.0) * want, "{} for {want}", start.initial);
        }
    }
}

/// Counts what it forgets.
struct Forgetful(usize, f64);

impl Direction<f64, Bowl> for Forgetful {
    fn direction(
        &mut self,
        _: &Ctx<f64>,
        _: &Bowl,
        _: &(),
        _: &[f64],
        gradient: &[f64],
        out: &mut [f64],
    ) -> Result<DirectionReport> {
        out.iter_mut().zip(gradient).for_each(|(p, g)| *p = self.1 * g);
        Ok(DirectionReport::default())
    }

    fn accepted(&mut self, _: &Ctx<f64>, _: AcceptedStep<'_, f64>) -> Result<()> {
        Ok(())
    }

    fn reset(&mut self) {
        self.0 += 1;
    }
}

#[test]
fn what_a_search_says_is_taken_only_where_it_helps() {
    let ctx = Ctx::reference();
    let h = Bowl { wall: 2.0, ..Bowl::new(N, 1.0) };
    let start = vec![0.5; N];
    let at_start = h.loss(&ctx, &start, &()).unwrap();
    let take = |alpha, accepted, value| {
        let mut theta = start.clone();
        let mut descent = Descent::assemble(Forgetful(0, -1.0), Scripted::new(alpha, accepted, value));
        let report = descent.step(&ctx, &h, &mut theta, &()).unwrap();
        assert_eq!(report.rejected, theta == start, "{report:?}");
        // what was refused is forgotten
        assert_eq!(descent.direction().0, usize::from(report.rejected), "{report:?}");
        !report.rejected
    };
    assert!(take(0.5, true, None) && take(0.5, true, Some(0.1)));
    assert!(take(0.5, false, Some(0.5 * at_start)), "lower, if not low enough");
    assert!(!take(0.5, false, Some(at_start)) && !take(0.5, false, Some(2.0 * at_start)), "no lower");
    assert!(!take(0.0, true, None) && !take(1e-30, true, Some(0.1)), "does not move θ");
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!take(0.5, true, Some(value)), "{value}");
    }
    assert!(!take(f64::INFINITY, true, Some(0.1)), "θ is not finite");
    assert!(!take(7.0, true, Some(0.1)), "the gradient is not finite there");
    // a direction without an end, and one that climbs, give way to the gradient after one chance to forget
    for factor in [f64::NEG_INFINITY, 1.0, f64::NAN] {
        let mut theta = start.clone();
        let mut descent = Descent::assemble(Forgetful(0, factor), Scripted::new(0.5, true, None));
        let report = descent.step(&ctx, &h, &mut theta, &()).unwrap();
        assert!(report.restarted && !report.rejected && descent.direction().0 == 1, "{factor}: {report:?}");
        assert_eq!(theta, vec![0.25; N]);
    }
}

#[test]
fn a_stationary_point_is_no_rejection_and_a_model_predicts() {
    let (ctx, h) = (Ctx::reference(), Bowl::new(N, 1.0));
    let mut descent = Descent::assemble(SteepestDescent, Scripted::new(0.5, true, None));
    let mut theta = vec![0.0; N];
    let report = descent.step(&ctx, &h, &mut theta, &()).unwrap();
    assert!(!report.rejected && report.step_norm == Some(0.0) && report.loss_after == Some(0.0), "{report:?}");
    // H = I is the Hessian: the model is h, wherever the step ends
    for alpha in [0.25, 1.0, 1.5] {
        let (bfgs, _) = both(InitialMatrix::Fixed(1.0), CurvatureRule::default());
        let mut descent = Descent::assemble(bfgs, Scripted::new(alpha, true, None));
        let mut theta = vector(51);
        let report = descent.step(&ctx, &h, &mut theta, &()).unwrap();
        let change = h.loss(&ctx, &theta, &()).unwrap() - report.loss_before;
        let error = (report.predicted_change.unwrap() - change).abs();
        assert!(error <= tolerance::<f64>(N, 10.0) * report.loss_before, "{report:?}");
    }
}
