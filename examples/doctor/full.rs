//! LAPACK's matrix types on every backend: the worst ratio of each type, in both scalars.

use pullback::testing::contexts;
use pullback::testing::lapack::{
    Measured, PoType, SIZES, SepType, check_po, check_sep, eigenvalues, po_type, sep_type,
};
use pullback::testing::ratios::THRESHOLD;
use pullback::{Ctx, Scalar};
use serde::Serialize;

use super::Options;

/// Seed of every matrix, so that two runs can be compared.
const SEED: u64 = 1;

/// The worst measurement of one backend and scalar over all orders.
#[derive(Serialize, Clone)]
struct Cell {
    backend: String,
    dtype: &'static str,
    law: &'static str,
    n: usize,
    /// `null` in JSON where it is not finite.
    ratio: f64,
    limit: f64,
}

impl Cell {
    /// NaN is not below any limit.
    fn is_sound(&self) -> bool {
        self.ratio < self.limit
    }

    /// How much of the limit is used; everything of it where the ratio is NaN.
    fn share(&self) -> f64 {
        if self.ratio.is_nan() { f64::INFINITY } else { self.ratio / self.limit }
    }
}

/// One matrix type under one group of laws.
#[derive(Serialize)]
pub struct Row {
    group: &'static str,
    number: usize,
    label: String,
    cells: Vec<Cell>,
}

impl Row {
    /// Whether every ratio is below its limit.
    pub fn is_sound(&self) -> bool {
        self.cells.iter().all(Cell::is_sound)
    }
}

const FACTOR: &str = "positive definite types (PO): factor, solve, inverse, log det";
const EIGEN: &str = "symmetric types (SEP): residual, orthogonality";
const VALUES: &str = "symmetric types (SEP): eigenvalues by another path";

/// Keeps the worst measurement of a (row, backend, scalar).
struct Table {
    rows: Vec<Row>,
    /// Limits times this.
    lenience: f64,
}

impl Table {
    fn add<T: Scalar>(&mut self, ctx: &Ctx<T>, group: &'static str, number: usize, n: usize, m: &Measured) {
        let row = self.rows.iter_mut().find(|row| row.group == group && row.number == number);
        let Some(row) = row else { return };
        let cell = Cell {
            backend: ctx.backend().name().to_owned(),
            dtype: T::NAME,
            law: m.law,
            n,
            ratio: m.ratio,
            limit: m.limit * self.lenience,
        };
        match row.cells.iter_mut().find(|c| c.backend == cell.backend && c.dtype == cell.dtype) {
            Some(worst) if worst.share() >= cell.share() => {}
            Some(worst) => *worst = cell,
            None => row.cells.push(cell),
        }
    }
}

fn sweep<T: Scalar>(threads: usize, table: &mut Table) {
    let contexts: Vec<Ctx<T>> = contexts().iter().map(|ctx: &Ctx<T>| ctx.with_threads(threads)).collect();
    for n in SIZES {
        for kind in PoType::ALL {
            let test = po_type::<T>(kind, n, SEED);
            for ctx in &contexts {
                check_po(ctx, &test).iter().for_each(|m| table.add(ctx, FACTOR, kind.number(), n, m));
            }
        }
        for kind in SepType::ALL {
            let test = sep_type::<T>(kind, n, SEED);
            let alone = eigenvalues(test.matrix.as_ref());
            for ctx in &contexts {
                for m in check_sep(ctx, &test, &alone) {
                    let group = if m.law == "values" { VALUES } else { EIGEN };
                    table.add(ctx, group, kind.number(), n, &m);
                }
            }
        }
    }
}

/// Every type at every order of [`SIZES`] on every backend.
pub fn examine(options: &Options) -> Vec<Row> {
    let po = PoType::ALL.iter().map(|kind| (FACTOR, kind.number(), kind.label().to_owned()));
    let sep = |group| SepType::ALL.iter().map(move |kind| (group, kind.number(), kind.label()));
    let rows = po.chain(sep(EIGEN)).chain(sep(VALUES));
    let rows = rows.map(|(group, number, label)| Row { group, number, label, cells: Vec::new() }).collect();
    let mut table = Table { rows, lenience: options.threshold / THRESHOLD };
    sweep::<f32>(options.threads, &mut table);
    sweep::<f64>(options.threads, &mut table);
    // a stable sort: f32 stays before f64
    let backends: Vec<String> = contexts::<f64>().iter().map(|ctx| ctx.backend().name().to_owned()).collect();
    let place = |cell: &Cell| backends.iter().position(|name| *name == cell.backend);
    table.rows.iter_mut().for_each(|row| row.cells.sort_by_key(place));
    table.rows
}

/// Columns of the number and the label, and of one ratio.
const LABEL: usize = 30;
const CELL: usize = 7;

fn print_heading(group: &str, cells: &[Cell], threshold: f64) {
    let limit = if group == VALUES {
        format!("max({}, {}n)", 2.0 * threshold, 2.0 * threshold / THRESHOLD)
    } else {
        threshold.to_string()
    };
    println!();
    println!("{group}; limit {limit}");
    // f32 and f64 of a backend are neighbours: its name over both
    let names: String = cells.iter().step_by(2).map(|c| format!("{:>1$}", c.backend, 2 * CELL)).collect();
    println!("{:<LABEL$}{names}", "");
    let scalars: String = cells.iter().map(|c| format!("{:>CELL$}", c.dtype)).collect();
    println!("{:<LABEL$}{scalars}", "type");
}

/// A ratio in at most six characters.
fn short(ratio: f64) -> String {
    if ratio < 1000.0 { format!("{ratio:.2}") } else { format!("{ratio:.0e}") }
}

/// Three tables of at most 80 columns, and a line for each ratio above its limit.
pub fn print(rows: &[Row], threshold: f64) {
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = row.group;
            print_heading(group, &row.cells, threshold);
        }
        let cells: String = row.cells.iter().map(|c| format!("{:>CELL$}", short(c.ratio))).collect();
        let mark = if row.is_sound() { "sound" } else { "UNSOUND" };
        println!("{:>2} {:<27}{cells} {mark}", row.number, row.label);
    }
    let worst = rows.iter().flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
    for (row, c) in worst.filter(|(_, cell)| !cell.is_sound()) {
        println!(
            "  type {} on {} {}: {} has ratio {:.3e} at n = {}, limit {:.0}",
            row.number, c.backend, c.dtype, c.law, c.ratio, c.n, c.limit
        );
    }
}
