//! What values keep on the heap.

use super::*;

/// Bytes on the heap that belong to the value `make` returns.
fn kept<V>(make: impl FnOnce() -> V) -> usize {
    let before = counting_allocator::live();
    let value = make();
    let bytes = counting_allocator::live() - before;
    drop(value);
    usize::try_from(bytes).expect("a value holds no negative memory")
}

fn assert_kept<V>(name: &str, expected: usize, make: impl FnOnce() -> V) {
    let bytes = kept(make);
    assert!(bytes >= expected && bytes <= expected + SMALL, "{name} keeps {bytes} bytes, {expected} are stated");
}

fn kept_row<V>(name: &str, n: usize, make: impl FnOnce() -> V) {
    let counts = stated(name, 2);
    assert_kept(name, (counts[0] * n * n + counts[1] * n) * F64, make);
}

/// h(θ) = ½ ‖θ‖².
struct Bowl(ParamLayout);

impl Objective<f64> for Bowl {
    type Batch = ();
    fn layout(&self) -> &ParamLayout {
        &self.0
    }
    fn loss(&self, _: &Ctx<f64>, theta: &[f64], _: &()) -> Result<f64> {
        Ok(theta.iter().map(|x| 0.5 * x * x).sum())
    }
    fn loss_grad(&self, ctx: &Ctx<f64>, theta: &[f64], batch: &(), grad: &mut [f64]) -> Result<f64> {
        grad.copy_from_slice(theta);
        self.loss(ctx, theta, batch)
    }
}

impl ResidualObjective<f64> for Bowl {
    type Jacobian<'a> = DenseJacobian<f64>;
    fn linearize<'a>(
        &'a self,
        ctx: &Ctx<f64>,
        theta: &'a [f64],
        batch: &'a (),
    ) -> Result<Linearization<f64, DenseJacobian<f64>>> {
        let jacobian = DenseJacobian::new(Mat::identity(theta.len()))?;
        Ok(Linearization { loss: self.loss(ctx, theta, batch)?, jacobian, residual: theta.to_vec() })
    }
}

/// As [`assert_kept`], for the row's numbers weighted by `sizes`.
fn kept_sizes<V, const C: usize>(name: &str, sizes: [usize; C], make: impl Fn() -> V) {
    drop(make()); // fills the pool
    let numbers: usize = stated(name, C).iter().zip(sizes).map(|(count, size)| count * size).sum();
    assert_kept(name, numbers * F64, make);
}

#[test]
fn what_the_other_kinds_keep() {
    let (n, k, ctx) = (200, 10, Ctx::<f64>::reference());
    let sizes = [n * k, n, k * k];
    let low_rank = LowRank::scaled_identity(1.0, random(n, k, 2)).unwrap();
    kept_sizes("LowRank damped inverse", sizes, || low_rank.damped(&ctx, lambda()).unwrap());
    let dense = Dense::new(spd(n)).unwrap();
    kept_sizes("Nystrom", sizes, || Nystrom::new(&ctx, &dense, lambda(), Budget::new(k, 3)).unwrap());
    kept_sizes("PivotedCholesky", sizes, || PivotedCholesky::new(&ctx, &dense, lambda(), k).unwrap());
    let start = vec![1.0; n];
    for (name, reorthogonalization) in [
        ("Lanczos of k steps with its basis", Reorthogonalization::Full),
        ("Lanczos of k steps with its basis", Reorthogonalization::Selective),
        ("Lanczos of k steps without", Reorthogonalization::None),
    ] {
        let options = LanczosOptions { reorthogonalization, ..LanczosOptions::steps(k) };
        kept_sizes(name, sizes, || lanczos(&ctx, &dense, &start, options).unwrap());
    }

    let (rows, p) = (60, 90);
    let j = DenseJacobian::new(random(rows, p, 4)).unwrap();
    let (c, sizes) = (SampleSpace::new(&j), [rows * rows, p * p, rows, p]);
    for (path, name) in [(DirectPath::Kernel, "kernel"), (DirectPath::Primal, "primal")] {
        let (inverse, spectrum) = (format!("SampleSpace inverse, {name}"), format!("SampleSpace spectrum, {name}"));
        kept_sizes(&inverse, sizes, || c.direct(&ctx, lambda(), path).unwrap());
        kept_sizes(&spectrum, sizes, || c.spectrum(&ctx, path).unwrap());
    }

    let sparse = SparseLower::from_dense(dense.matrix().as_ref(), 0.0).unwrap();
    let (entries, index) = (sparse.stored(), size_of::<usize>());
    let numbers: usize = stated("IncompleteCholesky", 2).iter().zip([entries, n]).map(|(a, b)| a * b).sum();
    let indices = (entries + n + 1) * index;
    assert_kept("IncompleteCholesky", numbers * F64 + indices, || IncompleteCholesky::new(&sparse, lambda()).unwrap());

    let orders = [30, 20];
    let (squares, sum, n) = (orders.map(|n| n * n).iter().sum(), orders.iter().sum(), orders.iter().product());
    let snapshot = || EigenKronecker::uncorrected(KroneckerEigen::new(&ctx, spd(30), spd(20)).unwrap()).unwrap();
    kept_sizes("EKFAC snapshot", [squares, sum, n], snapshot);
    let held = snapshot();
    kept_sizes("EKFAC damped inverse of a snapshot", [squares, sum, n], || held.damped(&ctx, lambda()).unwrap());
    for (name, damping) in [
        ("KroneckerN damped inverse, exact", KroneckerDamping::Exact),
        ("KroneckerN damped inverse, factored", KroneckerDamping::Factored { pi: PiRule::Trace }),
    ] {
        let product = KroneckerN::new(vec![spd(30), spd(20)], damping).unwrap();
        kept_sizes(name, [squares, sum, n], || product.damped(&ctx, lambda()).unwrap());
    }
}

#[test]
fn what_a_chain_keeps() {
    let (layers, d_in, d_out, ctx) = (3, 60, 40, Ctx::<f64>::reference());
    let layer = |name: &str| {
        let counts = stated(&format!("BlockTridiagonal damped inverse, {name}"), 2);
        (counts[0] * (d_in * d_in + d_out * d_out) + counts[1] * (d_in + d_out)) * F64
    };
    let expected = (layers - 1) * layer("a layer but the last") + layer("the last layer");
    let joined = chain(layers, d_in, d_out);
    drop(joined.damped(&ctx, lambda()).unwrap());
    let bytes = kept(|| joined.damped(&ctx, lambda()).unwrap());
    // each layer has its own bookkeeping
    let limit = expected + layers * SMALL;
    assert!(bytes >= expected && bytes <= limit, "a chain keeps {bytes} bytes, {expected} are stated");
}

#[test]
fn what_is_kept() {
    let (n, ctx) = (200, Ctx::<f64>::reference());
    let (a, theta) = (spd(n), vec![1.0; n]);
    let bowl = Bowl(ParamLayout::new([(n, 1)]));
    // one first solve each, so that the pool's own growth is not counted
    drop(Cholesky::new(&ctx, a.clone()).unwrap());
    kept_row("Cholesky", n, || Cholesky::new(&ctx, a.clone()).unwrap());
    kept_row("SymEigen", n, || SymEigen::new(&ctx, a.clone()).unwrap());
    let dense = Dense::new(a.clone()).unwrap();
    kept_row("Dense damped inverse", n, || dense.damped(&ctx, lambda()).unwrap());
    let diagonal = Diagonal::new(theta.clone()).unwrap();
    kept_row("Diagonal damped inverse", n, || diagonal.damped(&ctx, lambda()).unwrap());
    fn steps<O: Optimizer<f64, Bowl>>(mut optimizer: O, bowl: &Bowl, theta: &[f64]) -> O {
        let mut theta = theta.to_vec();
        for _ in 0..3 {
            optimizer.step(&Ctx::reference(), bowl, &mut theta, &()).unwrap();
        }
        optimizer
    }
    kept_row("Sgd", n, || steps(Sgd::new(0.1, 0.9, MomentumKind::HeavyBall).unwrap(), &bowl, &theta));
    kept_row("Adam", n, || steps(Adam::new(0.1).unwrap(), &bowl, &theta));
    kept_row("Spring", n, || steps(Spring::new(SpringOptions::default()).unwrap(), &bowl, &theta));
    let identity = ScaledIdentity::new(n, 1.0).unwrap();
    kept_row("ScaledIdentity damped inverse", n, || identity.damped(&ctx, lambda()).unwrap());
    kept_row("DenseSweep", n, || dense.sweep(&ctx).unwrap());
    kept_row("IterateAverage", n, || {
        let mut average = IterateAverage::new(Decay::DEFAULT, 1);
        average.update(&theta);
        average
    });
}

#[test]
fn what_a_kfac_layer_keeps() {
    let (d_in, d_out, ctx) = (90, 70, Ctx::<f64>::reference());
    let pair = (d_in * d_in + d_out * d_out) * F64;
    let row = |name: &str| stated(name, 1)[0] * pair;
    let (activations, gradients) = (random(d_in, 100, 1), random(d_out, 100, 2));
    let statistics = || {
        let mut factors = KroneckerFactors::new(d_out, d_in, Decay::DEFAULT);
        for _ in 0..2 {
            factors.begin();
            factors.add_activations(&ctx, activations.as_ref(), 0.01).unwrap();
            factors.add_gradients(&ctx, gradients.as_ref(), 0.01).unwrap();
        }
        factors
    };
    assert_kept("statistics", row("statistics"), statistics);
    let factors = statistics();
    let (exact, factored) = (KroneckerDamping::Exact, KroneckerDamping::Factored { pi: PiRule::Trace });
    let snapshot = |damping| factors.snapshot(damping).unwrap().expect("data was added");
    assert_kept("snapshot", row("snapshot"), || snapshot(exact));
    let inverse = |damping| snapshot(damping).damped(&ctx, lambda()).unwrap();
    drop(inverse(factored)); // fills the pool
    assert_kept("factored", row("inverse, factored damping"), || inverse(factored));
    drop(inverse(exact));
    assert_kept("exact", row("inverse, exact damping") + (d_in + d_out) * F64, || inverse(exact));
}
