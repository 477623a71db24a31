//! A stream of updates of Kronecker factors, with entries and weights of any bit pattern: no panic; errors where the
//! rules say so; the moving averages of the formula, positive semidefinite snapshots that can be damped.

use super::Bytes;
use pullback::curvature::{KroneckerDamping, PiRule};
use pullback::stats::{Decay, KroneckerFactors, MovingAverage};
use pullback::testing::{contexts, tolerance};
use pullback::{Ctx, Curvature, DampedSolver, Damping, Error, Mat, MatRef, Scalar};

pub fn run(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    if input.byte() % 2 == 0 { stream::<f64>(input) } else { stream::<f32>(input) }
}

/// One factor by the formula: ε_k M + (1 - ε_k) weight X Xᵀ, in f64.
struct Oracle {
    moment: Mat<f64>,
    /// Sum of magnitudes that went in, to which rounding is relative.
    size: f64,
    pending: Option<f64>,
    share: f64,
}

impl Oracle {
    fn new(n: usize) -> Self {
        Self { moment: Mat::zeros(n, n), size: 0.0, pending: None, share: 0.0 }
    }

    fn begin(&mut self, epsilon: f64) {
        (self.pending, self.share) = (Some(epsilon), 1.0 - epsilon);
    }

    fn add<T: Scalar>(&mut self, x: &Mat<T>, weight: T) {
        let beta = self.pending.take().unwrap_or(1.0);
        let n = self.moment.nrows();
        let mut largest = 0f64;
        for j in 0..n {
            for i in j..n {
                let terms = (0..x.ncols()).map(|p| x[(i, p)].f64() * x[(j, p)].f64());
                largest = largest.max(terms.clone().map(f64::abs).sum());
                let sum: f64 = terms.sum();
                self.moment[(i, j)] = beta * self.moment[(i, j)] + self.share * weight.f64() * sum;
            }
        }
        self.size = beta * self.size + (self.share * weight.f64()).abs() * largest;
    }

    fn compare<T: Scalar>(&self, found: MatRef<'_, T>, updates: usize, what: &str) {
        // ordinary numbers are below 8, their products below 64: a factor that underflows costs no more than this
        let underflow = 1024.0 * (updates + 8) as f64 * T::min_positive_value().f64();
        let limit = tolerance::<T>(updates + 8, 1.0) * self.size + underflow;
        for j in 0..found.ncols() {
            for i in j..found.nrows() {
                let (found, exact) = (found.at(i, j).f64(), self.moment[(i, j)]);
                assert!((found - exact).abs() <= limit, "{what} ({i}, {j}) is {found:e}, not {exact:e}");
            }
        }
    }
}

/// The stream on every backend, each with its own copy of the state.
fn stream<T: Scalar>(input: Bytes<'_>) {
    for ctx in contexts::<T>() {
        one::<T>(&ctx, Bytes(input.0));
    }
}

fn decay(input: &mut Bytes<'_>) -> Decay {
    let epsilon =
        if input.byte().is_multiple_of(8) { f64::from_bits(input.bits(8)) } else { f64::from(input.byte()) / 256.0 };
    match Decay::new(epsilon) {
        Ok(decay) => {
            assert!((0.0..1.0).contains(&epsilon) && decay.get() == epsilon);
            decay
        }
        Err(Error::InvalidParameter { name: "decay", .. }) => {
            assert!(!(0.0..1.0).contains(&epsilon));
            Decay::DEFAULT
        }
        Err(other) => panic!("{other}"),
    }
}

fn one<T: Scalar>(ctx: &Ctx<T>, mut input: Bytes<'_>) {
    let (d_out, d_in) = (input.upto(5), input.upto(6));
    let decay = decay(&mut input);
    let mut factors = KroneckerFactors::<T>::new(d_out, d_in, decay);
    let mut average = MovingAverage::new(decay);
    let (mut a, mut s) = (Oracle::new(d_in), Oracle::new(d_out));
    // wild: a raw number went in, so only the absence of panics and the kinds of errors are known
    let (mut wild, mut signed, mut additions) = (false, false, 0);
    while !input.0.is_empty() && additions < 200 {
        match input.byte() % 8 {
            0 | 1 => {
                factors.begin();
                let epsilon = average.advance();
                let k = average.updates();
                assert!((0.0..1.0).contains(&epsilon) && (k > 1 || epsilon == 0.0) && epsilon <= decay.get());
                assert!(epsilon == decay.get() || epsilon == 1.0 - 1.0 / k as f64);
                a.begin(epsilon);
                s.begin(epsilon);
            }
            kind @ 2..=5 => {
                let (rows, raw) = (if kind % 2 == 0 { d_in } else { d_out }, kind >= 4);
                let odd = input.byte();
                let rows_given = if odd % 16 == 1 { rows + 1 } else { rows };
                let cases = usize::from(odd / 16) % 5;
                let x =
                    Mat::<T>::from_fn(rows_given, cases, |_, _| if raw { input.scalar() } else { input.ordinary() });
                let weight: T = match input.byte() {
                    255 => input.scalar(),
                    byte => T::of(f64::from(byte as i8) / 16.0).abs(),
                };
                let activations = kind % 2 == 0;
                let result = if activations {
                    factors.add_activations(ctx, x.as_ref(), weight)
                } else {
                    factors.add_gradients(ctx, x.as_ref(), weight)
                };
                additions += 1;
                match result {
                    Ok(()) => {
                        assert!(rows_given == rows && average.updates() > 0);
                        wild |= raw || !weight.is_finite() || weight.abs() > T::of(16.0);
                        signed |= weight < T::ZERO;
                        if activations { a.add(&x, weight) } else { s.add(&x, weight) }
                    }
                    Err(Error::Shape { .. }) => assert_ne!(rows_given, rows),
                    Err(Error::InvalidParameter { name: "update", .. }) => assert_eq!(average.updates(), 0),
                    Err(other) => panic!("{other}"),
                }
            }
            _ => snapshot(ctx, &factors, &mut input, wild || signed),
        }
        assert_eq!(factors.updates(), average.updates());
        if !wild {
            a.compare(factors.a(), additions, "A");
            s.compare(factors.s(), additions, "S");
        }
    }
    snapshot(ctx, &factors, &mut input, wild || signed);
}

/// The lower triangle holds no NaN or infinity.
fn finite<T: Scalar>(m: MatRef<'_, T>) -> bool {
    (0..m.ncols()).all(|j| (j..m.nrows()).all(|i| m.at(i, j).is_finite()))
}

fn snapshot<T: Scalar>(ctx: &Ctx<T>, factors: &KroneckerFactors<T>, input: &mut Bytes<'_>, lawless: bool) {
    let damping = match input.byte() % 3 {
        0 => KroneckerDamping::Exact,
        1 => KroneckerDamping::Factored { pi: PiRule::Trace },
        _ => KroneckerDamping::Factored { pi: PiRule::Frobenius },
    };
    let block = match factors.snapshot(damping) {
        Ok(None) => return assert_eq!(factors.updates(), 0),
        Err(Error::NotFinite { .. }) => {
            return assert!(!(finite(factors.a()) && finite(factors.s())), "finite, and refused");
        }
        Err(other) => panic!("{other}"),
        Ok(Some(block)) => block,
    };
    assert!(factors.updates() > 0 && block.a().as_ref().is_finite() && block.s().as_ref().is_finite());
    for (snapshot, moment) in [(block.a(), factors.a()), (block.s(), factors.s())] {
        // halves are added, so the last bit of a subnormal number may be lost
        let smallest = 2.0 * (T::min_positive_value() * T::EPS).f64();
        let same = (0..moment.ncols()).all(|j| {
            (j..moment.nrows()).all(|i| {
                let off = (snapshot[(i, j)].f64() - moment.at(i, j).f64()).abs();
                snapshot[(i, j)] == snapshot[(j, i)] && off <= smallest
            })
        });
        assert!(same, "a snapshot is the moments, symmetric");
        assert!(lawless || (0..moment.nrows()).all(|i| moment.at(i, i) >= T::ZERO), "a second moment is not negative");
    }
    let size = block.a().as_slice().iter().chain(block.s().as_slice()).fold(1.0, |m: f64, x| m.max(x.f64().abs()));
    let lambda = Damping::new(T::of(1e-2 * size * size)).filter(|_| !lawless && size < 1e15);
    let Some(lambda) = lambda else {
        // whatever the numbers: no panic
        let _ = block.damped(ctx, Damping::new(T::ONE).expect("positive"));
        return;
    };
    let solver = block.damped(ctx, lambda).expect("positive semidefinite and damped");
    let n = DampedSolver::dim(&solver);
    let (b, mut x) = (Mat::from_fn(n, 1, |_, _| T::ONE), Mat::zeros(n, 1));
    solver.solve(ctx, b.as_ref(), x.as_mut()).expect("shapes fit");
    let along: f64 = x.as_slice().iter().map(|x| x.f64()).sum();
    let most = n as f64 / lambda.get().f64() * (1.0 + tolerance::<T>(n, 1.0) * n as f64);
    assert!(x.as_ref().is_finite() && (n == 0 || along > 0.0) && along <= most, "bᵀ(C + λI)⁻¹b is {along:e}");
}
