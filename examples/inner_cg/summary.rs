//! Measurements as CSV and as tables: medians over a run, and by λ.

use std::collections::BTreeMap;

use crate::Failure;

/// What is asked of a preconditioner: that share of plain conjugate gradient's decrease of φ.
pub const SHARES: [f64; 3] = [0.9, 0.99, 1.0];

const HEADER: &str = "step,lambda,loss,preconditioner,to_90,to_99,to_all,ritz_min,ritz_max";

/// One solve of one system.
#[derive(Clone)]
pub struct Row {
    pub step: usize,
    pub lambda: f64,
    pub loss: f64,
    /// [`PLAIN`] for none.
    pub preconditioner: String,
    /// Products until φ has fallen by each of the shares; `None` where it did not within conjugate gradient's limit.
    pub counts: [Option<usize>; 3],
    /// Extreme Ritz values of M⁻¹(G + λI) in that solve.
    pub ritz: (f64, f64),
}

/// The name of plain conjugate gradient.
pub const PLAIN: &str = "none";

pub fn to_csv(rows: &[Row]) -> String {
    let mut text = format!("{HEADER}\n");
    for row in rows {
        let [a, b, c] = row.counts.map(|n| n.map_or_else(String::new, |n| n.to_string()));
        let (low, high) = row.ritz;
        let Row { step, lambda, loss, preconditioner, .. } = row;
        text += &format!("{step},{lambda:.6e},{loss},{preconditioner},{a},{b},{c},{low:.4e},{high:.4e}\n");
    }
    text
}

pub fn from_csv(text: &str) -> Result<Vec<Row>, Failure> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(format!("the first line must be {HEADER}").into());
    }
    let row = |line: &str| -> Result<Row, Failure> {
        let fields: Vec<&str> = line.split(',').collect();
        let &[step, lambda, loss, name, a, b, c, low, high] = &fields[..] else {
            return Err(format!("{line}: 9 fields expected").into());
        };
        let count = |x: &str| (!x.is_empty()).then(|| x.parse()).transpose();
        Ok(Row {
            step: step.parse()?,
            lambda: lambda.parse()?,
            loss: loss.parse()?,
            preconditioner: name.to_owned(),
            counts: [count(a)?, count(b)?, count(c)?],
            ritz: (low.parse()?, high.parse()?),
        })
    };
    lines.map(row).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// ⌊log₁₀ λ⌋, all below 10⁻⁴ together.
fn decade(lambda: f64) -> i32 {
    (lambda.log10().floor() as i32).max(-5)
}

fn name_of(decade: i32) -> String {
    if decade <= -5 { "< 1e-4".to_owned() } else { format!("1e{decade} .. 1e{}", decade + 1) }
}

/// Medians of products as a share of plain conjugate gradient's, as Markdown.
pub fn tables(rows: &[Row]) -> String {
    let plain: BTreeMap<usize, &Row> = rows.iter().filter(|r| r.preconditioner == PLAIN).map(|r| (r.step, r)).collect();
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|r| r.preconditioner != PLAIN) {
        if !names.contains(&row.preconditioner.as_str()) {
            names.push(&row.preconditioner);
        }
    }
    let ratio = |row: &Row, share: usize| {
        let own = plain.get(&row.step)?.counts[share]?.max(1);
        Some(row.counts[share].map_or(f64::INFINITY, |n| n as f64 / own as f64))
    };
    let over = |name: &str, share: usize, keep: &dyn Fn(&Row) -> bool| {
        let kept = rows.iter().filter(|r| r.preconditioner == name && keep(r));
        median(kept.filter_map(|row| ratio(row, share)).collect())
    };
    let mut text = String::new();
    for (share, wanted) in SHARES.iter().enumerate() {
        text += &format!("\nproducts to {:.0} % of plain's decrease, as a share of plain's\n\n", 100.0 * wanted);
        text += "| λ | systems | plain |";
        names.iter().for_each(|name| text += &format!(" {name} |"));
        text += &format!("\n|---|---|---|{}\n", "---|".repeat(names.len()));
        let mut decades: Vec<i32> = plain.values().map(|r| decade(r.lambda)).collect();
        decades.sort_unstable();
        decades.dedup();
        let groups = decades.into_iter().rev().map(Some).chain([None]);
        for group in groups {
            let keep = |row: &Row| group.is_none_or(|d| decade(row.lambda) == d);
            let own: Vec<&&Row> = plain.values().filter(|r| keep(r)).collect();
            let counts = own.iter().filter_map(|r| r.counts[share].map(|n| n as f64)).collect();
            let title = group.map_or_else(|| "all".to_owned(), name_of);
            text += &format!("| {title} | {} | {:.0} |", own.len(), median(counts));
            names.iter().for_each(|name| text += &format!(" {:.2} |", over(name, share, &keep)));
            text.push('\n');
        }
    }
    text
}
