//! One table: the parts of a step over one variable, and the exponents of their times beside those of their flops.

use std::time::Instant;

use pullback::{Ctx, Result};

use crate::fit::{PowerLaw, largest_half, power_law};
use crate::network::{Network, Part, Rig};
use crate::support::Times;

/// How long a point is measured: at least so many rounds over all parts, and for at least so many seconds.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub seconds: f64,
}

/// Times of the parts at one value of the variable; `None` for a part that was left out there.
pub struct Point {
    pub x: usize,
    pub times: Vec<Option<Times>>,
    flops: Vec<f64>,
}

impl Point {
    /// Median seconds of a part; infinite where it was left out.
    pub fn seconds(&self, part: usize) -> f64 {
        self.times[part].as_ref().map_or(f64::INFINITY, Times::median)
    }
}

/// Measures the parts, in turn, at one value. The first round is not counted.
pub fn measure(
    ctx: &Ctx<f32>,
    x: usize,
    network: &Network,
    parts: &[Part],
    included: impl Fn(&Part) -> bool,
    effort: Effort,
) -> Result<Point> {
    let mut rig = Rig::new(ctx, network)?;
    let mut times: Vec<Option<Times>> = parts.iter().map(|part| included(part).then(Times::default)).collect();
    let mut start = Instant::now();
    for round in 0.. {
        if round > effort.rounds && start.elapsed().as_secs_f64() >= effort.seconds {
            break;
        }
        for (part, times) in parts.iter().zip(&mut times) {
            match times {
                Some(_) if round == 0 => rig.run(part)?,
                Some(times) => times.time(|| rig.run(part))?,
                None => {}
            }
        }
        if round == 0 {
            start = Instant::now();
        }
    }
    Ok(Point { x, times, flops: parts.iter().map(|part| (part.flops)(network)).collect() })
}

/// Prints the points as a table.
pub fn print(variable: &str, parts: &[Part], points: &[Point]) {
    let row = |first: &str, cells: &mut dyn Iterator<Item = String>| {
        print!("{first:>9}");
        cells.for_each(|cell| print!(" {cell:>14}"));
        println!();
    };
    row(variable, &mut parts.iter().map(|part| part.title.to_owned()));
    for point in points {
        let cell = |times: &Option<Times>| {
            let numbers = |t: &Times| format!("{} ±{:>2.0}%", milliseconds(t.median()), 100.0 * t.spread());
            times.as_ref().map_or("-".to_owned(), numbers)
        };
        row(&point.x.to_string(), &mut point.times.iter().map(cell));
    }
    let laws: Vec<(Option<PowerLaw>, Option<PowerLaw>)> = (0..parts.len()).map(|part| laws(points, part)).collect();
    let exponent = |law: &Option<PowerLaw>| law.map_or("-".to_owned(), |law| format!("{:.2}", law.exponent));
    let with_error = |law: &Option<PowerLaw>| match law.and_then(|law| law.standard_error) {
        Some(error) => format!("{} ±{error:.2}", exponent(law)),
        None => exponent(law),
    };
    // where the theory has no power, a quotient of exponents means nothing
    let ratio = |law: PowerLaw, theory: PowerLaw| (theory.exponent > 0.05).then(|| law.exponent / theory.exponent);
    let ratio = |law: &Option<PowerLaw>, theory: &Option<PowerLaw>| {
        law.zip(*theory).and_then(|(l, t)| ratio(l, t)).map_or("-".to_owned(), |r| format!("{r:.2}"))
    };
    row("exponent", &mut laws.iter().map(|(law, _)| with_error(law)));
    row("by flops", &mut laws.iter().map(|(_, theory)| exponent(theory)));
    row("ratio", &mut laws.iter().map(|(law, theory)| ratio(law, theory)));
    println!();
}

/// Of a part's times, and of its flops at the same points: the largest half of those at which it was measured.
fn laws(points: &[Point], part: usize) -> (Option<PowerLaw>, Option<PowerLaw>) {
    let measured: Vec<&Point> = points.iter().filter(|point| point.times[part].is_some()).collect();
    let half = largest_half(&measured);
    let law = |y: &dyn Fn(&Point) -> f64| power_law(&half.iter().map(|p| (p.x as f64, y(p))).collect::<Vec<_>>());
    (law(&|p| p.seconds(part)), law(&|p| p.flops[part]))
}

/// Three digits.
pub fn milliseconds(seconds: f64) -> String {
    let ms = 1e3 * seconds;
    let decimals = if ms < 10.0 { 2 } else { usize::from(ms < 100.0) };
    format!("{ms:.decimals$}")
}
