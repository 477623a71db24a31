//! Line searches: their conditions at what they accept, on the functions of Moré and Thuente; regions that are not finite;
//! the noise floor; values for what is no descent.

use pullback::Result;
use pullback::optim::LineFunction;
use pullback::optim::line_search::{
    Armijo, FixedStep, GridSearch, HagerZhang, LineSearch, SearchReport, SearchStart, SearchStop, SecantStep,
    StrongWolfe,
};
use pullback::testing::tolerance;

/// φ with a count of its evaluations.
struct Counted<F> {
    phi: F,
    count: usize,
    resolution: f64,
}

impl<F: Fn(f64) -> (f64, f64)> LineFunction for Counted<F> {
    fn value(&mut self, alpha: f64) -> Result<f64> {
        self.count += 1;
        Ok((self.phi)(alpha).0)
    }

    fn value_and_slope(&mut self, alpha: f64) -> Result<(f64, f64)> {
        self.count += 1;
        Ok((self.phi)(alpha))
    }

    fn resolution(&self) -> f64 {
        self.resolution
    }
}

/// Runs a search; what it says of α is what φ is there, and it counts right.
fn run<F: Fn(f64) -> (f64, f64)>(search: &dyn LineSearch, phi: F, initial: f64, resolution: f64) -> SearchReport {
    let (value, slope) = phi(0.0);
    let mut line = Counted { phi, count: 0, resolution };
    let found = search.search(&mut line, SearchStart { value, slope, initial }).unwrap();
    assert_eq!(found.evaluations, line.count, "{search:?}");
    let there = (line.phi)(found.alpha);
    assert!(found.value.is_none_or(|v| v == there.0), "{search:?}: {found:?} but {there:?}");
    assert!(found.slope.is_none_or(|s| s == there.1), "{search:?}: {found:?} but {there:?}");
    found
}

/// Yanai's functions, 4 to 6 of the six.
fn yanai(b1: f64, b2: f64) -> impl Fn(f64) -> (f64, f64) {
    let gamma = |b: f64| (1.0 + b * b).sqrt() - b;
    let (g1, g2) = (gamma(b1), gamma(b2));
    move |a| {
        let (u, v) = (((1.0 - a).powi(2) + b2 * b2).sqrt(), (a * a + b1 * b1).sqrt());
        (g1 * u + g2 * v, g1 * (a - 1.0) / u + g2 * a / v)
    }
}

type Phi = Box<dyn Fn(f64) -> (f64, f64)>;

/// The six functions, with c₁, c₂ and the evaluations that the paper's tables I to VI give for 10⁻³, 10⁻¹, 10, 10³.
fn published() -> Vec<(Phi, f64, f64, [usize; 4])> {
    let first = |a: f64| (-a / (a * a + 2.0), (a * a - 2.0) / (a * a + 2.0).powi(2));
    let second = |a: f64| {
        let t = a + 0.004;
        (t.powi(5) - 2.0 * t.powi(4), 5.0 * t.powi(4) - 8.0 * t.powi(3))
    };
    let third = |a: f64| {
        let (beta, l) = (0.01, 39.0);
        let (base, slope) = if a <= 1.0 - beta {
            (1.0 - a, -1.0)
        } else if a >= 1.0 + beta {
            (a - 1.0, 1.0)
        } else {
            ((a - 1.0).powi(2) / (2.0 * beta) + beta / 2.0, (a - 1.0) / beta)
        };
        let wave = l * std::f64::consts::FRAC_PI_2;
        let share = 2.0 * (1.0 - beta) / (l * std::f64::consts::PI);
        (base + share * (wave * a).sin(), slope + (1.0 - beta) * (wave * a).cos())
    };
    vec![
        (Box::new(first), 1e-3, 0.1, [6, 3, 1, 4]),
        (Box::new(second), 0.1, 0.1 + 1e-9, [12, 8, 8, 11]),
        (Box::new(third), 0.1, 0.1 + 1e-9, [12, 12, 10, 13]),
        (Box::new(yanai(1e-3, 1e-3)), 1e-3, 1e-3 + 1e-9, [4, 1, 3, 4]),
        (Box::new(yanai(1e-2, 1e-3)), 1e-3, 1e-3 + 1e-9, [6, 3, 7, 8]),
        (Box::new(yanai(1e-3, 1e-2)), 1e-3, 1e-3 + 1e-9, [13, 11, 8, 11]),
    ]
}

const STARTS: [f64; 4] = [1e-3, 1e-1, 1e1, 1e3];

#[test]
fn strong_wolfe_conditions_hold_on_the_published_functions_in_about_the_published_evaluations() {
    // two more than published: the paper's bounds on α differ, ours has none
    const MORE: usize = 2;
    for (k, (phi, c1, c2, counts)) in published().into_iter().enumerate() {
        let search = StrongWolfe { sufficient_decrease: c1, curvature: c2, ..StrongWolfe::default() };
        let (value, slope) = phi(0.0);
        for (initial, published) in STARTS.into_iter().zip(counts) {
            let found = run(&search, &phi, initial, f64::EPSILON);
            let place = format!("function {} from {initial:e}: {found:?}", k + 1);
            assert_eq!(found.stop, SearchStop::Accepted, "{place}");
            let (there, steep) = phi(found.alpha);
            assert!(there <= value + c1 * found.alpha * slope, "{place}");
            assert!(steep.abs() <= c2 * slope.abs(), "{place}");
            assert!(found.evaluations <= published + MORE, "{place}, published {published}");
        }
    }
}

#[test]
fn hager_zhang_meets_its_conditions_on_the_published_functions() {
    // brackets grow by 5 and intervals shrink by 0.66 at least: 10⁶ in starting step needs no more than 30
    const MOST: usize = 30;
    for (k, (phi, ..)) in published().into_iter().enumerate() {
        let search = HagerZhang::default();
        let (value, slope) = phi(0.0);
        for initial in STARTS {
            let found = run(&search, &phi, initial, f64::EPSILON);
            let place = format!("function {} from {initial:e}: {found:?}", k + 1);
            let (there, steep) = phi(found.alpha);
            assert!(found.accepted() && found.evaluations <= MOST, "{place}");
            assert!(steep >= search.curvature * slope, "{place}");
            let wolfe = there - value <= search.sufficient_decrease * found.alpha * slope;
            let flat = steep <= (2.0 * search.sufficient_decrease - 1.0) * slope;
            let low = there <= value + search.error * value.abs();
            assert!(if found.stop == SearchStop::Accepted { wolfe } else { flat && low }, "{place}");
        }
    }
}

fn all() -> Vec<Box<dyn LineSearch>> {
    let searches: [Box<dyn LineSearch>; 5] = [
        Box::new(StrongWolfe::default()),
        Box::new(HagerZhang::default()),
        Box::new(GridSearch::default()),
        Box::new(Armijo::default()),
        Box::new(SecantStep),
    ];
    searches.into()
}

#[test]
fn a_wall_of_infinities_or_nans_is_no_obstacle() {
    // the minimum at 0.1 lies before the wall at 0.3
    for wall in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let phi = |a: f64| if a < 0.3 { ((a - 0.1).powi(2), 2.0 * (a - 0.1)) } else { (wall, f64::NAN) };
        for search in all() {
            if format!("{search:?}") == "SecantStep" {
                continue; // one trial: it can only give up
            }
            for initial in [1e-2, 1.0, 1e3] {
                let found = run(&*search, phi, initial, f64::EPSILON);
                let place = format!("{search:?} from {initial}: {found:?}");
                assert!(found.accepted() && found.alpha > 0.0 && found.alpha < 0.3, "{place}");
            }
        }
        assert_eq!(run(&SecantStep, phi, 1.0, f64::EPSILON).alpha, 0.0);
    }
}

#[test]
fn what_does_not_descend_and_what_never_falls_are_values() {
    for search in all() {
        for slope in [0.0, 1.0, f64::NAN] {
            let mut line = Counted { phi: |a: f64| (a, 1.0), count: 0, resolution: f64::EPSILON };
            let found = search.search(&mut line, SearchStart { value: 0.0, slope, initial: 1.0 }).unwrap();
            assert_eq!((found.alpha, found.stop, line.count), (0.0, SearchStop::NotDescent, 0), "{search:?}");
        }
        // a slope that lies: every α > 0 is higher
        let mut line = Counted {
            phi: |a: f64| if a > 0.0 { (2.0 + a, 1.0) } else { (1.0, -1.0) },
            count: 0,
            resolution: f64::EPSILON,
        };
        let found = search.search(&mut line, SearchStart { value: 1.0, slope: -1.0, initial: 1.0 }).unwrap();
        assert!(found.alpha == 0.0 && !found.accepted() && found.value == Some(1.0), "{search:?}: {found:?}");
        assert!(found.evaluations == line.count && line.count <= 60, "{search:?}: {found:?}");
        // no minimum: some decrease, within the evaluations allowed
        let found = run(&*search, |a| (-a, -1.0), 1.0, f64::EPSILON);
        assert!(found.evaluations <= 60, "{search:?}: {found:?}");
        assert!(found.alpha > 0.0 || found.stop == SearchStop::Unbounded, "{search:?}: {found:?}");
    }
    assert_eq!(run(&FixedStep::new(0.5).unwrap(), |a| (a, 1.0), 1.0, f64::EPSILON).alpha, 0.5);
}

#[test]
fn at_the_noise_floor_slopes_decide() {
    // values of size 1 in the roundings of a scalar; the whole decrease is a tenth of one rounding
    for resolution in [f64::EPSILON, f64::from(f32::EPSILON)] {
        let scale = 0.1 * resolution;
        let phi = |a: f64| {
            let noise = ((a * 12.9898).sin() * 43758.5453).fract() * resolution;
            (1.0 + if a > 0.0 { noise } else { 0.0 } + scale * ((a - 1.0).powi(2) - 1.0), 2.0 * scale * (a - 1.0))
        };
        let searches: [&dyn LineSearch; 2] = [
            &StrongWolfe { curvature: 0.1, ..StrongWolfe::default() },
            &HagerZhang { curvature: 0.2, ..HagerZhang::default() },
        ];
        for search in searches {
            for initial in [1e-2, 1.0 + 1.0 / 16.0, 50.0] {
                let found = run(search, phi, initial, resolution);
                let place = format!("{search:?} from {initial}, ε = {resolution:e}: {found:?}");
                assert!(found.accepted() && (found.alpha - 1.0).abs() <= 0.8 + tolerance::<f64>(1, 1.0), "{place}");
            }
        }
    }
}

#[test]
fn the_grid_is_the_best_of_all_its_points_and_the_secant_is_exact_on_parabolas() {
    for minimum in [3.0, 0.3, 1e-3, 1e-8] {
        let phi = |a: f64| ((a - minimum).powi(2), 2.0 * (a - minimum));
        let found = run(&GridSearch::default(), phi, 7.0, f64::EPSILON);
        let best = (0..=30).map(|k| 0.5f64.powi(k)).min_by(|a, b| phi(*a).0.total_cmp(&phi(*b).0)).unwrap();
        assert_eq!((found.alpha, found.evaluations), (best, 31));
        let exact = run(&SecantStep, phi, 0.7, f64::EPSILON);
        assert!((exact.alpha - minimum).abs() <= tolerance::<f64>(1, 1.0 / minimum) * minimum, "{exact:?}");
    }
    assert_eq!(run(&SecantStep, |a| (-a - a * a, -1.0 - 2.0 * a), 1.0, f64::EPSILON).stop, SearchStop::Unbounded);
}

#[test]
fn options_outside_their_domain_are_errors() {
    let mut line = Counted { phi: |a: f64| (a, 1.0), count: 0, resolution: f64::EPSILON };
    let start = SearchStart { value: 0.0, slope: -1.0, initial: 1.0 };
    for (c1, c2) in [(0.0, 0.9), (0.5, 0.4), (0.6, 0.9), (0.1, 1.0), (f64::NAN, 0.9)] {
        let strong = StrongWolfe { sufficient_decrease: c1, curvature: c2, ..StrongWolfe::default() };
        let hager = HagerZhang { sufficient_decrease: c1, curvature: c2, ..HagerZhang::default() };
        assert!(strong.search(&mut line, start).is_err() && hager.search(&mut line, start).is_err(), "{c1} {c2}");
    }
    assert!(StrongWolfe { max_evaluations: 0, ..StrongWolfe::default() }.check().is_err());
    assert!(HagerZhang { error: -1.0, ..HagerZhang::default() }.check().is_err());
}
