//! The measurements: each kernel on the shapes of the network, medians of several runs.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use pullback::optim::costs::{self, DampingCosts, KfacCosts, LayerShape};
use pullback::testing::gallery;
use pullback::{Ctx, Mat, MatMut, MatRef, Op, Result, Scalar};
use serde::Serialize;

/// Seconds, and the flops done in them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Timing {
    pub seconds: f64,
    pub flops: f64,
}

impl Timing {
    pub fn gflops(&self) -> f64 {
        self.flops / self.seconds / 1e9
    }

    fn plus(self, other: Self) -> Self {
        Self { seconds: self.seconds + other.seconds, flops: self.flops + other.flops }
    }
}

/// One layer; every entry counts both of its factors.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    pub d_in: usize,
    pub d_out: usize,
    pub statistics: Timing,
    pub inverses: Timing,
    pub eigenbases: Timing,
    pub update_by_inverses: Timing,
    pub update_by_eigenbases: Timing,
    pub new_damping_by_inverses: Timing,
    pub new_damping_by_eigenbases: Timing,
}

/// Everything about one backend.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub backend: String,
    pub details: String,
    pub dtype: &'static str,
    pub threads: usize,
    pub batch: usize,
    /// GFLOP/s of a large product.
    pub roof: f64,
    pub layers: Vec<Layer>,
    /// The products of a gradient.
    pub gradient: Timing,
    /// The products of one more backward pass.
    pub backward: Timing,
    /// All inverses, factors side by side.
    pub refresh_by_inverses: Timing,
    /// All eigenbases, factors side by side.
    pub refresh_by_eigenbases: Timing,
    /// The update through the batch (S⁻¹ DZ)(A⁻¹ Y)ᵀ, in flops.
    pub update_through_batch_flops: f64,
}

impl Measured {
    pub fn total(&self, part: impl Fn(&Layer) -> Timing) -> Timing {
        self.layers.iter().map(part).fold(Timing { seconds: 0.0, flops: 0.0 }, Timing::plus)
    }

    fn kfac(&self, refresh: Timing, update: Timing) -> KfacCosts {
        KfacCosts {
            gradient: self.gradient.seconds,
            statistics: self.total(|l| l.statistics).seconds + self.backward.seconds,
            refresh: refresh.seconds,
            update: update.seconds,
        }
    }

    pub fn kfac_by_inverses(&self) -> KfacCosts {
        self.kfac(self.refresh_by_inverses, self.total(|l| l.update_by_inverses))
    }

    pub fn kfac_by_eigenbases(&self) -> KfacCosts {
        self.kfac(self.refresh_by_eigenbases, self.total(|l| l.update_by_eigenbases))
    }

    pub fn damping(&self) -> DampingCosts {
        DampingCosts {
            inverses: self.refresh_by_inverses.seconds,
            update_by_inverses: self.total(|l| l.update_by_inverses).seconds,
            eigenbases: self.refresh_by_eigenbases.seconds,
            new_damping: self.total(|l| l.new_damping_by_eigenbases).seconds,
            update_by_eigenbases: self.total(|l| l.update_by_eigenbases).seconds,
        }
    }
}

/// Median over 3 to 9 runs (after a first, uncounted one), fewer when they are slow.
fn time(flops: f64, mut work: impl FnMut() -> Result<()>) -> Result<Timing> {
    const ENOUGH: Duration = Duration::from_millis(120);
    let start = Instant::now();
    work()?;
    let slow = start.elapsed() > 4 * ENOUGH;
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.is_empty() || (!slow && seconds.len() < 3) || (seconds.len() < 9 && start.elapsed() < ENOUGH) {
        let run = Instant::now();
        work()?;
        seconds.push(run.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(Timing { seconds: seconds[seconds.len() / 2], flops })
}

fn product<T: Scalar>(
    ctx: &Ctx<T>,
    a: MatRef<'_, T>,
    ta: Op,
    b: MatRef<'_, T>,
    tb: Op,
    c: MatMut<'_, T>,
) -> Result<()> {
    ctx.gemm(T::ONE, a, ta, b, tb, T::ZERO, c)
}

fn roof<T: Scalar>(ctx: &Ctx<T>, largest: usize) -> Result<f64> {
    let n = largest.min(1024);
    let (a, b, mut c) = (gallery::uniform::<T>(n, n, 1), gallery::uniform::<T>(n, n, 2), Mat::zeros(n, n));
    let mut best = 0f64;
    for _ in 0..3 {
        let timing =
            time(2.0 * (n as f64).powi(3), || product(ctx, a.as_ref(), Op::No, b.as_ref(), Op::No, c.as_mut()))?;
        best = best.max(timing.gflops());
    }
    Ok(best)
}

const DAMPING: f64 = 0.1;

/// One factor: what it takes to accumulate, invert and decompose it, and the results.
struct Factor<T> {
    matrix: Mat<T>,
    inverse: Mat<T>,
    vectors: Mat<T>,
    values: Vec<T>,
    statistics: Timing,
    inverting: Timing,
    decomposing: Timing,
}

fn invert<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, out: &mut Mat<T>) -> Result<()> {
    out.as_mut().copy_from(a.as_ref())?;
    (0..a.nrows()).for_each(|i| out[(i, i)] += T::of(DAMPING));
    ctx.potrf(out.as_mut())?;
    ctx.potri(out.as_mut())
}

fn decompose<T: Scalar>(ctx: &Ctx<T>, a: &Mat<T>, vectors: &mut Mat<T>, values: &mut [T]) -> Result<()> {
    vectors.as_mut().copy_from(a.as_ref())?;
    ctx.syevd(vectors.as_mut(), values)
}

fn factor<T: Scalar>(ctx: &Ctx<T>, n: usize, batch: usize) -> Result<Factor<T>> {
    let cases = gallery::uniform::<T>(n, batch, 3);
    let scale = T::of(1.0 / batch as f64);
    let mut matrix = Mat::zeros(n, n);
    let statistics =
        time((n * n * batch) as f64, || ctx.syrk(scale, cases.as_ref(), Op::Transpose, T::of(0.95), matrix.as_mut()))?;
    let (mut inverse, mut vectors, mut values) = (Mat::zeros(n, n), Mat::zeros(n, n), vec![T::ZERO; n]);
    let inverting = time(costs::cholesky_inverse(n), || invert(ctx, &matrix, &mut inverse))?;
    let decomposing = time(costs::eigendecomposition(n), || decompose(ctx, &matrix, &mut vectors, &mut values))?;
    Ok(Factor { matrix, inverse, vectors, values, statistics, inverting, decomposing })
}

fn layer<T: Scalar>(ctx: &Ctx<T>, shape: LayerShape, a: &Factor<T>, s: &Factor<T>) -> Result<Layer> {
    let (m, n) = (shape.d_in, shape.d_out);
    let gradient = gallery::uniform::<T>(n, m, 4);
    let (mut half, mut out) = (Mat::zeros(n, m), Mat::zeros(n, m));
    let update_by_inverses = time(shape.update_by_inverses(), || {
        product(ctx, s.inverse.as_ref(), Op::No, gradient.as_ref(), Op::No, half.as_mut())?;
        product(ctx, half.as_ref(), Op::No, a.inverse.as_ref(), Op::No, out.as_mut())
    })?;
    let mut divisors = Mat::<T>::zeros(n, m);
    let new_damping_by_eigenbases = time((m * n) as f64, || {
        for (column, &wa) in divisors.as_mut().cols_mut().zip(&a.values) {
            column.iter_mut().zip(&s.values).for_each(|(d, &ws)| *d = (wa * ws + T::of(DAMPING)).recip());
        }
        black_box(divisors.as_slice());
        Ok(())
    })?;
    let update_by_eigenbases = time(shape.update_by_eigenbases(), || {
        product(ctx, s.vectors.as_ref(), Op::Transpose, gradient.as_ref(), Op::No, half.as_mut())?;
        product(ctx, half.as_ref(), Op::No, a.vectors.as_ref(), Op::No, out.as_mut())?;
        out.as_mut_slice().iter_mut().zip(divisors.as_slice()).for_each(|(x, &d)| *x *= d);
        product(ctx, s.vectors.as_ref(), Op::No, out.as_ref(), Op::No, half.as_mut())?;
        product(ctx, half.as_ref(), Op::No, a.vectors.as_ref(), Op::Transpose, out.as_mut())
    })?;
    Ok(Layer {
        d_in: m,
        d_out: n,
        statistics: a.statistics.plus(s.statistics),
        inverses: a.inverting.plus(s.inverting),
        eigenbases: a.decomposing.plus(s.decomposing),
        update_by_inverses,
        update_by_eigenbases,
        // a new λ means new inverses
        new_damping_by_inverses: a.inverting.plus(s.inverting),
        new_damping_by_eigenbases,
    })
}

/// The products of a gradient, (forward and weights, backward), layer by layer.
fn gradient<T: Scalar>(ctx: &Ctx<T>, layers: &[LayerShape], batch: usize) -> Result<(Timing, Timing)> {
    let zero = Timing { seconds: 0.0, flops: 0.0 };
    let (mut rest, mut backward) = (zero, zero);
    for (index, shape) in layers.iter().enumerate() {
        let (m, n) = (shape.d_in, shape.d_out);
        let (w, y) = (gallery::uniform::<T>(n, m, 5), gallery::uniform::<T>(m, batch, 6));
        let (mut z, mut dw, mut dy) = (Mat::zeros(n, batch), Mat::zeros(n, m), Mat::zeros(m, batch));
        let flops = shape.product(batch);
        rest = rest.plus(time(flops, || product(ctx, w.as_ref(), Op::No, y.as_ref(), Op::No, z.as_mut()))?);
        rest = rest.plus(time(flops, || product(ctx, z.as_ref(), Op::No, y.as_ref(), Op::Transpose, dw.as_mut()))?);
        if index > 0 {
            let back = time(flops, || product(ctx, w.as_ref(), Op::Transpose, z.as_ref(), Op::No, dy.as_mut()))?;
            backward = backward.plus(back);
        }
    }
    Ok((rest.plus(backward), backward))
}

/// All factors of the network, the largest first, over the thread budget: (inverses, eigenbases).
fn refresh<T: Scalar>(
    ctx: &Ctx<T>,
    layers: &[LayerShape],
    factors: &BTreeMap<usize, Factor<T>>,
) -> Result<(Timing, Timing)> {
    let mut orders: Vec<usize> = layers.iter().flat_map(|l| [l.d_in, l.d_out]).collect();
    orders.sort_by(|a, b| b.cmp(a));
    let mut work: Vec<_> = orders.iter().map(|&n| (&factors[&n].matrix, Mat::zeros(n, n), vec![T::ZERO; n])).collect();
    let flops = |count: fn(usize) -> f64| orders.iter().map(|&n| count(n)).sum::<f64>();
    let inverses = time(flops(costs::cholesky_inverse), || {
        ctx.for_each(&mut work, |ctx, (matrix, out, _)| invert(ctx, matrix, out))
    })?;
    let eigenbases = time(flops(costs::eigendecomposition), || {
        ctx.for_each(&mut work, |ctx, (matrix, out, values)| decompose(ctx, matrix, out, values))
    })?;
    Ok((inverses, eigenbases))
}

/// Measures one backend. A factor order that occurs several times is measured once.
pub fn measure<T: Scalar>(ctx: &Ctx<T>, layers: &[LayerShape], batch: usize) -> Result<Measured> {
    let mut factors = BTreeMap::new();
    for n in layers.iter().flat_map(|l| [l.d_in, l.d_out]) {
        if let std::collections::btree_map::Entry::Vacant(free) = factors.entry(n) {
            free.insert(factor(ctx, n, batch)?);
        }
    }
    let largest = factors.keys().copied().max().unwrap_or(1);
    let roof = roof(ctx, largest)?;
    let (gradient, backward) = gradient(ctx, layers, batch)?;
    let (refresh_by_inverses, refresh_by_eigenbases) = refresh(ctx, layers, &factors)?;
    let mut measured = Vec::new();
    for &shape in layers {
        measured.push(layer(ctx, shape, &factors[&shape.d_in], &factors[&shape.d_out])?);
    }
    Ok(Measured {
        backend: ctx.backend().name().to_owned(),
        details: ctx.backend().details(),
        dtype: T::NAME,
        threads: ctx.threads(),
        batch,
        roof,
        layers: measured,
        gradient,
        backward,
        refresh_by_inverses,
        refresh_by_eigenbases,
        update_through_batch_flops: layers.iter().map(|l| l.update_through_batch(batch)).sum(),
    })
}
