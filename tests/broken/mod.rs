//! Implementors with one fault each, by suite.

pub mod average;
pub mod backend;
pub mod capability;
pub mod curvature;
pub mod krylov;
pub mod operator;
pub mod optimizer;
pub mod preconditioner;

use std::sync::atomic::{AtomicUsize, Ordering};

use pullback::testing::{Report, Setup, gallery};
use pullback::{Ctx, Error, Mat, MatMut, Result};

/// A faulty implementor, what the suite says of it, and the laws that must reject it.
pub struct Broken {
    pub name: &'static str,
    pub report: Report,
    pub breaks: Vec<(&'static str, &'static str)>,
}

/// The laws of one suite.
pub fn of(suite: &'static str, laws: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    laws.iter().map(|&law| (suite, law)).collect()
}

/// The textbook loops only: faults do not depend on the backend.
pub fn setup() -> Setup<f64> {
    Setup::on(Ctx::reference())
}

pub const N: usize = 6;

/// A symmetric positive definite matrix of norm 1.
pub fn spd() -> Mat<f64> {
    gallery::spd(N, 10.0, 3)
}

pub fn refusal() -> Error {
    Error::invalid("fault", "this implementor refuses")
}

/// Counts calls, to be different from one to the next.
#[derive(Debug, Default)]
pub struct Calls(AtomicUsize);

impl Calls {
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// 1, then 1 + ε, in turn: a change of the last bit.
    pub fn jitter(&self) -> f64 {
        1.0 + (self.next() % 2) as f64 * f64::EPSILON
    }
}

pub fn scale(mut y: MatMut<'_, f64>, factor: f64) {
    y.cols_mut().for_each(|y| y.iter_mut().for_each(|y| *y *= factor));
}

/// Writes below the last row of the first column, where a view has room there.
pub fn spoil_padding(mut y: MatMut<'_, f64>) {
    let (rows, columns) = y.shape();
    if rows > 0 && columns > 1 && y.rb().ld() > rows {
        y.as_mut_slice()[rows] = 0.0;
    }
}

/// Scales the second column alone, where there is one.
pub fn favour_a_column(mut y: MatMut<'_, f64>) {
    if y.ncols() > 1 {
        y.col_mut(1).iter_mut().for_each(|y| *y *= 1.01);
    }
}

/// Takes scratch and never returns it.
pub fn leak(ctx: &Ctx<f64>) -> Result<()> {
    std::mem::forget(ctx.scratch(N, 1));
    Ok(())
}
