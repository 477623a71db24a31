//! Rows to a file, and from rows the tables of docs/budget.md.

use std::fmt::Write;
use std::fs::OpenOptions;
use std::path::Path;

use crate::Failure;
use crate::contest::Row;
use crate::networks::Name;

pub fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    Ok(csv::Reader::from_path(path)?.into_deserialize().collect::<Result<_, _>>()?)
}

/// Adds rows to a file, with a header where it is new.
pub fn append(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    let new = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut writer = csv::WriterBuilder::new().has_headers(new).from_writer(file);
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    Ok(writer.flush()?)
}

/// One setting over its seeds.
struct Setting<'a>(Vec<&'a Row>);

impl Setting<'_> {
    fn sorted(&self, of: impl Fn(&Row) -> Option<f64>) -> Vec<f64> {
        let mut numbers: Vec<f64> = self.0.iter().filter_map(|row| of(row)).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    }

    fn median(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        let sorted = self.sorted(of);
        sorted.get(sorted.len() / 2).copied()
    }

    fn overhead(&self) -> f64 {
        self.median(|row| Some(row.overhead)).unwrap_or(f64::NAN)
    }

    fn loss(&self) -> f64 {
        self.median(|row| Some(row.loss)).unwrap_or(f64::NAN)
    }

    /// The cells of its line.
    fn cells(&self) -> String {
        let first = self.0[0];
        let name = match first.limit {
            Some(limit) => format!("budget {limit}"),
            None => first.kind.clone(),
        };
        // the plan of the median overhead
        let mut order = self.0.clone();
        order.sort_by(|a, b| a.overhead.total_cmp(&b.overhead));
        let middle = order[order.len() / 2];
        let plan = [middle.update_interval, middle.statistics_interval, middle.refresh_interval];
        let plan = plan.map(|x| x.map_or(String::new(), |x| x.to_string()));
        let share = middle.statistics_share.filter(|_| first.limit.is_some()).map_or(String::new(), |s| match s {
            1 => "all".to_owned(),
            s => format!("1/{s}"),
        });
        let predicted = middle.predicted.map_or(String::new(), |p| format!("{p:.2}"));
        let losses = self.sorted(|row| Some(row.loss));
        let (low, high) = (losses[0], losses[losses.len() - 1]);
        format!(
            "| {name} | {} | {} | {share} | {} | {} | {predicted} | {:.2} | {} | {} ({} to {}) |\n",
            plan[0],
            plan[1],
            plan[2],
            middle.path,
            self.overhead(),
            middle.batches,
            short(self.loss()),
            short(low),
            short(high),
        )
    }
}

/// Four digits.
fn short(x: f64) -> String {
    let digits = 3 - x.abs().max(1e-300).log10().floor() as i32;
    format!("{x:.*}", digits.clamp(0, 8) as usize)
}

/// A table for each network and number of threads, and a line on each budget.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    for network in Name::ALL {
        for threads in 1..=64 {
            let here = |row: &&Row| row.network == network.name() && row.threads == threads;
            let rows: Vec<&Row> = rows.iter().filter(here).collect();
            if !rows.is_empty() {
                text += &one(&rows);
            }
        }
    }
    text
}

fn one(rows: &[&Row]) -> String {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    // intervals tell fixed settings apart, not budgets, which choose theirs
    let key = |row: &Row| {
        let intervals = [row.update_interval, row.statistics_interval, row.refresh_interval];
        (row.kind.clone(), row.limit.map(f64::to_bits), (row.kind == "fixed").then_some(intervals))
    };
    for &row in rows {
        match settings.iter_mut().find(|setting| key(setting.0[0]) == key(row)) {
            Some(setting) => setting.0.push(row),
            None => settings.push(Setting(vec![row])),
        }
    }
    let first = rows[0];
    let seeds = settings[0].0.len();
    let mut text = format!(
        "\n**{}**, B = {}, {} thread(s), {}: {:.1} s each, {seeds} seeds\n\n",
        first.network, first.batch, first.threads, first.backend, first.seconds
    );
    text +=
        "| setting | k | Iₛ | cases | Iᵣ | path | predicted | overhead | batches | loss: median (least to most) |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|\n";
    settings.iter().for_each(|setting| text += &setting.cells());
    text.push('\n');
    let best = |least: f64, most: f64| {
        let fixed = settings.iter().filter(|s| s.0[0].kind == "fixed" && (least..=most).contains(&s.overhead()));
        fixed.min_by(|a, b| a.loss().total_cmp(&b.loss()))
    };
    for setting in settings.iter().filter(|s| s.0[0].kind == "budget") {
        let limit = setting.0[0].limit.unwrap_or(f64::NAN);
        let _ = write!(text, "- budget {limit}: overhead {:+.0} %", 100.0 * (setting.overhead() / limit - 1.0));
        let about = (0.85 * limit, 1.15 * limit);
        for (what, (least, most)) in [("at this cost", about), ("of all", (0.0, f64::INFINITY))] {
            match best(least, most) {
                Some(best) => {
                    let losses = |setting: &Setting<'_>| setting.sorted(|row| Some(row.loss));
                    let (mine, theirs) = (setting.loss(), best.loss());
                    let verdict = if mine <= theirs {
                        "no worse".to_owned()
                    } else if losses(setting).first() <= losses(best).last() {
                        "within the seeds".to_owned()
                    } else {
                        format!("worse by {:.1} %", 100.0 * (mine / theirs - 1.0))
                    };
                    let _ = write!(text, "; best fixed {what} {}: {verdict}", short(theirs));
                }
                None => {
                    let _ = write!(text, "; no fixed setting {what}");
                }
            }
        }
        text.push('\n');
    }
    text
}
