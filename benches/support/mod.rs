//! What several benches share: contexts by name, times, a sink.
#![allow(dead_code)] // every bench uses a part

use std::time::Instant;

use pullback::optim::CaptureSink;
use pullback::{Ctx, MatRef, Result, Scalar};

/// The context of a backend by its name: faer, openblas or reference.
///
/// # Errors
/// For a backend that is not compiled in.
pub fn context<T: Scalar>(backend: &str, threads: usize) -> std::result::Result<Ctx<T>, String> {
    let ctx = match backend {
        #[cfg(feature = "faer")]
        "faer" => Ctx::faer(),
        #[cfg(feature = "blas")]
        "openblas" | "blas" => Ctx::blas(),
        "reference" => Ctx::reference(),
        other => return Err(format!("backend {other} is not compiled in (openblas needs --features openblas-system)")),
    };
    Ok(ctx.with_threads(threads))
}

/// CPUs that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Seconds of calls.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// Calls once, timed.
    ///
    /// # Errors
    /// Those of the work.
    pub fn time<E>(&mut self, work: impl FnOnce() -> std::result::Result<(), E>) -> std::result::Result<(), E> {
        let start = Instant::now();
        work()?;
        self.0.push(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The value below which the given share of the times lies.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = share * (sorted.len() as f64 - 1.0);
        let (below, above) = (at.floor() as usize, at.ceil() as usize);
        sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
    }

    /// Their median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half the interquartile range, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / (2.0 * self.median())
    }
}

/// Takes captures and does nothing with them.
pub struct Nothing;

impl<T: Scalar> CaptureSink<T> for Nothing {
    fn activations(&mut self, _: &Ctx<T>, _: usize, _: MatRef<'_, T>, _: T) -> Result<()> {
        Ok(())
    }

    fn gradients(&mut self, _: &Ctx<T>, _: usize, _: MatRef<'_, T>, _: T) -> Result<()> {
        Ok(())
    }
}
