//! docs/choosing.md against the races that it draws from (docs/race_*.csv): its tables are those of the data, and each of
//! its statements is checked on them. `PULLBACK_WRITE=1 cargo test --test choosing` writes the tables anew after a race.
#![cfg(feature = "nn")]

use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// A race: a row for each optimizer and seed, cells by column.
struct Race {
    headers: csv::StringRecord,
    rows: Vec<csv::StringRecord>,
}

impl Race {
    fn read(name: &str) -> Self {
        let path = docs().join(name);
        let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let headers = reader.headers().unwrap().clone();
        let rows = reader.records().map(|row| row.unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
        Self { headers, rows }
    }

    fn cell<'a>(&self, row: &'a csv::StringRecord, column: &str) -> &'a str {
        let place = self.headers.iter().position(|h| h == column).unwrap_or_else(|| panic!("no column {column}"));
        &row[place]
    }

    fn number(&self, row: &csv::StringRecord, column: &str) -> Option<f64> {
        let text = self.cell(row, column);
        (!text.is_empty()).then(|| text.parse().unwrap_or_else(|_| panic!("{column}: {text}")))
    }

    /// Cells of one optimizer, a number for each seed that has one.
    fn of(&self, optimizer: &str, column: &str) -> Vec<f64> {
        let rows = self.rows.iter().filter(|row| self.cell(row, "optimizer") == optimizer);
        rows.filter_map(|row| self.number(row, column)).collect()
    }

    fn one(&self, optimizer: &str, column: &str) -> f64 {
        let found = self.of(optimizer, column);
        assert_eq!(found.len(), 1, "{optimizer}, {column}");
        found[0]
    }

    /// Those that ran, without those left out.
    fn runs(&self) -> impl Iterator<Item = &csv::StringRecord> {
        self.rows.iter().filter(|row| !self.cell(row, "steps").is_empty())
    }

    /// Names by the best training loss.
    fn ranking(&self) -> Vec<String> {
        let mut runs: Vec<(f64, String)> = self
            .runs()
            .map(|row| {
                let best = self.number(row, "best_train_loss").unwrap_or(f64::INFINITY);
                (best, self.cell(row, "optimizer").to_owned())
            })
            .collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        runs.into_iter().map(|(_, name)| name).collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

/// Four significant digits.
fn short(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    format!("{x:.*}", (3 - x.abs().log10().floor() as i32).clamp(0, 6) as usize)
}

/// One race of the family: a line each, in the order of the best.
fn table(race: &Race) -> String {
    let Some(first) = race.runs().next() else { return String::new() };
    let targets: Vec<f64> = (1..=3).filter_map(|k| race.number(first, &format!("target_{k}"))).collect();
    let mut text = "| optimizer | cases | steps | ms a step | best training loss | test loss |".to_owned();
    targets.iter().for_each(|&t| text += &format!(" to {}: s | passes |", short(t)));
    text += &format!("\n|---|---|---|---|---|---|{}\n", "---|---|".repeat(targets.len()));
    for name in race.ranking() {
        let row = race.runs().find(|row| race.cell(row, "optimizer") == name).unwrap();
        let number = |column: &str| race.number(row, column);
        let show = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), short);
        let pace = number("seconds").zip(number("steps")).map(|(s, n)| 1e3 * s / n.max(1.0));
        text += &format!(
            "| `{name}` | {} | {} | {} | {} | {} |",
            race.cell(row, "cases"),
            race.cell(row, "steps"),
            show(pace),
            show(number("best_train_loss")),
            show(number("test_loss")),
        );
        for k in 1..=targets.len() {
            let passes = race.cell(row, &format!("passes_{k}"));
            let seconds = number(&format!("seconds_{k}"));
            text += &format!(" {} | {} |", show(seconds), if passes.is_empty() { "-" } else { passes });
        }
        text.push('\n');
    }
    text
}

/// Several seeds: median, and in brackets the smallest and largest.
fn spread(race: &Race) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in race.runs() {
        let name = race.cell(row, "optimizer");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let first = race.runs().next().expect("a run");
    let targets: Vec<f64> = (1..=3).filter_map(|k| race.number(first, &format!("target_{k}"))).collect();
    let mut text = "| optimizer | seeds | training loss | test loss |".to_owned();
    targets.iter().for_each(|&t| text += &format!(" s to {} | passes |", short(t)));
    text += &format!("\n|---|---|---|---|{}\n", "---|---|".repeat(targets.len()));
    for name in names {
        let seeds = race.of(name, "train_loss").len();
        let cell = |column: &str| {
            let values = race.of(name, column);
            // one that did not come so far in most runs has no median
            if 2 * values.len() <= seeds {
                return "-".to_owned();
            }
            let (low, high) = range(&values);
            format!("{} ({} to {})", short(median(values)), short(low), short(high))
        };
        text += &format!("| `{name}` | {seeds} | {} | {} |", cell("best_train_loss"), cell("test_loss"));
        for k in 1..=targets.len() {
            text += &format!(" {} | {} |", cell(&format!("seconds_{k}")), cell(&format!("passes_{k}")));
        }
        text.push('\n');
    }
    text
}

type Render = fn(&Race) -> String;

const TABLES: [(&str, Render); 6] = [
    ("race_digits.csv", table),
    ("race_curves.csv", table),
    ("race_diabetes.csv", table),
    ("race_seeds.csv", spread),
    ("race_momentum_256.csv", spread),
    ("race_momentum_full.csv", spread),
];

#[test]
fn the_tables_are_those_of_the_races() {
    let path = docs().join("choosing.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    for (name, render) in TABLES {
        let (begin, end) = (format!("<!-- {name} -->\n"), "<!-- end -->");
        let from = page.find(&begin).unwrap_or_else(|| panic!("no table of {name}")) + begin.len();
        let to = from + page[from..].find(end).unwrap_or_else(|| panic!("the table of {name} does not end"));
        let made = format!("\n{}\n", render(&Race::read(name)));
        if std::env::var_os("PULLBACK_WRITE").is_some() {
            page.replace_range(from..to, &made);
        } else {
            assert_eq!(page[from..to], made, "the table of {name} is not that of the data");
        }
    }
    if std::env::var_os("PULLBACK_WRITE").is_some() {
        std::fs::write(path, page).unwrap();
    }
}

/// Updates until the k-th loss: passes come evenly with steps.
fn updates(race: &Race, optimizer: &str, k: usize) -> Vec<f64> {
    let passes = race.of(optimizer, &format!("passes_{k}"));
    let a_step = race.of(optimizer, "passes").into_iter().zip(race.of(optimizer, "steps")).map(|(p, s)| p / s);
    passes.into_iter().zip(a_step).map(|(p, each)| p / each).collect()
}

const KFAC: [&str; 4] = ["kfac", "kfac-no-momentum", "ekfac", "kfac-tridiagonal"];
const HF_KRONECKER: [&str; 3] = ["hf-kfac", "hf-ekfac", "hf-tridiagonal"];

fn smallest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// "K-FAC is first at every loss of the digits, and at all but the first of the curves"
#[test]
fn kfac_is_first_on_autoencoders() {
    for (file, losses) in [("race_digits.csv", 1..=3), ("race_curves.csv", 2..=3)] {
        let race = Race::read(file);
        for k in losses {
            let seconds = format!("seconds_{k}");
            let kfac = smallest(KFAC.iter().flat_map(|name| race.of(name, &seconds)));
            for row in race.runs() {
                let name = race.cell(row, "optimizer");
                if let Some(other) = race.number(row, &seconds)
                    && !KFAC.contains(&name)
                {
                    assert!(kfac <= other, "{file}: {name} reaches loss {k} in {other} s, K-FAC in {kfac}");
                }
            }
        }
    }
}

/// "Adam comes next after the kinds of K-FAC on both autoencoders"
#[test]
fn adam_comes_next() {
    for file in ["race_digits.csv", "race_curves.csv"] {
        let ranking = Race::read(file).ranking();
        let kronecker = |name: &String| KFAC.contains(&name.as_str()) || HF_KRONECKER.contains(&name.as_str());
        assert_eq!(ranking.iter().find(|name| !kronecker(name)).map(String::as_str), Some("adam"), "{file}");
    }
}

/// "What needs all cases in each step has made few steps on the curves"
#[test]
fn full_batches_are_slow_on_many_cases() {
    let race = Race::read("race_curves.csv");
    let adam = race.one("adam", "best_train_loss");
    for row in race.runs().filter(|row| race.number(row, "cases") >= Some(20_000.0)) {
        let (steps, best) = (race.number(row, "steps"), race.number(row, "best_train_loss"));
        assert!(steps <= Some(30.0) && best > Some(1.4 * adam), "{row:?}");
    }
}

/// "On some hundred parameters K-FAC is no better than sgd with momentum"
#[test]
fn kfac_does_not_pay_on_a_small_network() {
    let race = Race::read("race_diabetes.csv");
    let sgd = race.one("sgd", "best_train_loss");
    assert!(KFAC.iter().all(|name| race.one(name, "best_train_loss") > sgd));
}

/// "the last loss of the digits three times as soon as Adam, six times as soon as sgd, at a seventh and a tenth of their
/// updates at most"
#[test]
fn kfac_needs_few_updates() {
    let race = Race::read("race_digits.csv");
    let (kfac, adam, sgd) =
        (race.one("kfac", "seconds_3"), race.one("adam", "seconds_3"), race.one("sgd", "seconds_3"));
    assert!(3.0 * kfac <= adam && 6.0 * kfac <= sgd, "{kfac} {adam} {sgd}");
    for k in 2..=3 {
        let [kfac, adam, sgd] = ["kfac", "adam", "sgd"].map(|name| updates(&race, name, k)[0]);
        assert!(kfac <= 0.15 * adam && kfac <= 0.1 * sgd, "loss {k}: {kfac} {adam} {sgd}");
    }
    // seed by seed, at the losses of the second table
    let seeds = Race::read("race_seeds.csv");
    for k in 1..=3 {
        let [kfac, sgd] = ["kfac", "sgd"].map(|name| updates(&seeds, name, k));
        assert_eq!((kfac.len(), sgd.len()), (5, 5), "loss {k}");
        assert!(range(&kfac).1 <= 0.15 * range(&sgd).0, "{kfac:?} {sgd:?}");
    }
}

/// "Hessian-free with K-FAC inside ends lowest of all on the digits"
#[test]
fn hessian_free_with_kfac_ends_lowest() {
    let race = Race::read("race_digits.csv");
    let mut first = race.ranking();
    first.truncate(3);
    first.sort();
    let mut expected = HF_KRONECKER.map(str::to_owned);
    expected.sort();
    assert_eq!(first, expected);
    let seeds = Race::read("race_seeds.csv");
    let (_, worst) = range(&seeds.of("hf-kfac", "best_train_loss"));
    for name in ["sgd", "kfac", "hf-martens"] {
        assert!(worst < range(&seeds.of(name, "best_train_loss")).0, "{name}");
    }
}

/// "With momentum K-FAC takes half of the updates on all cases, and no fewer than nine tenths on minibatches of 256"
#[test]
fn momentum_pays_where_there_is_little_noise() {
    let (full, mini) = (Race::read("race_momentum_full.csv"), Race::read("race_momentum_256.csv"));
    let (with, without) = (updates(&full, "kfac", 3), updates(&full, "kfac-no-momentum", 3));
    assert_eq!((with.len(), without.len()), (5, 5));
    assert!(range(&with).1 < range(&without).0, "{with:?} {without:?}");
    assert!(median(with.clone()) <= 0.55 * median(without.clone()), "{with:?} {without:?}");
    let (with, without) = (updates(&mini, "kfac", 3), updates(&mini, "kfac-no-momentum", 3));
    let share = median(with) / median(without);
    assert!((0.85..=1.0).contains(&share), "{share}");
}

/// "The lowest training losses are not the lowest test losses"
#[test]
fn a_low_training_loss_is_not_a_low_test_loss() {
    let race = Race::read("race_digits.csv");
    let tests: Vec<f64> = race.ranking().iter().map(|name| race.one(name, "test_loss")).collect();
    let middle = median(tests.clone());
    assert!(tests[..8].iter().all(|&loss| loss > middle), "{tests:?}");
    let lowest = smallest(HF_KRONECKER.map(|name| race.one(name, "test_loss")));
    let others = race.ranking().into_iter().filter(|name| !HF_KRONECKER.contains(&name.as_str()));
    assert!(others.map(|name| race.one(&name, "test_loss")).all(|loss| 1.5 * loss < lowest), "by far the highest");
    let diabetes = Race::read("race_diabetes.csv");
    for name in diabetes.ranking() {
        let (train, test) = (diabetes.one(&name, "train_loss"), diabetes.one(&name, "test_loss"));
        assert!(test > 10.0 * train, "{name} overfits: {train}, {test}");
    }
}

/// "Methods that multiply by a matrix of all cases without a good preconditioner are behind Adam at every loss"
#[test]
fn plain_truncated_newton_is_slow_on_the_digits() {
    let race = Race::read("race_digits.csv");
    for name in ["hf", "newton", "gauss-newton", "trust-region", "levenberg-marquardt", "natural-gradient"] {
        for k in 1..=3 {
            let adam = race.one("adam", &format!("seconds_{k}"));
            let own = race.of(name, &format!("seconds_{k}"));
            assert!(own.iter().all(|&s| s > 3.0 * adam), "{name}, loss {k}: {own:?}, adam {adam}");
        }
    }
}

/// "A network of some hundred parameters: trust region, Newton and Levenberg-Marquardt end lowest"
#[test]
fn dense_methods_win_on_a_small_network() {
    let race = Race::read("race_diabetes.csv");
    let mut first = race.ranking();
    first.truncate(4);
    first.sort();
    assert_eq!(first, ["levenberg-marquardt", "newton", "newton-absolute", "trust-region"]);
}

/// "Hessian-free with Martens' preconditioner ends below tuned sgd after equal seconds, on four of five seeds"
#[test]
fn martens_hessian_free_ends_below_sgd() {
    let race = Race::read("race_seeds.csv");
    let [hf, sgd] = ["hf-martens", "sgd"].map(|name| race.of(name, "best_train_loss"));
    assert!(hf.len() == 5 && hf.iter().zip(&sgd).filter(|(hf, sgd)| hf < sgd).count() >= 4, "{hf:?} {sgd:?}");
    assert!(median(hf) < median(sgd));
    let one = Race::read("race_digits.csv");
    assert!(one.one("hf", "best_train_loss") > one.one("sgd", "best_train_loss"), "without a preconditioner");
}
