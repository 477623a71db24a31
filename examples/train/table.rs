//! The closing table, at most 80 columns wide.

use crate::log::{End, Skip, Step};
use crate::targets::{Looks, Reached};

const WIDTH: usize = 80;

/// One line for each optimizer, under a header.
pub fn table(ends: &[End]) -> String {
    let classify = ends.iter().any(|end| end.accuracy.is_some());
    let heads =
        ["", "", "", "", "train", "test", if classify { "test" } else { "train" }, if classify { "" } else { "test" }];
    let last = if classify { ["error", "accuracy"] } else { ["error", "error"] };
    let mut text = format!("{}\n", row(heads).trim_end());
    text += &row(["optimizer", "steps", "seconds", "passes", "loss", "loss", last[0], last[1]]);
    text += &format!("{}\n", "-".repeat(WIDTH));
    for end in ends {
        let last = match end.accuracy {
            Some(accuracy) => [number(end.test_error), format!("{:.2} %", 100.0 * accuracy)],
            None => [number(end.train_error), number(end.test_error)],
        };
        text += &row([
            end.optimizer,
            &end.steps.to_string(),
            &format!("{:.1}", end.seconds),
            &end.passes.to_string(),
            &number(end.train_loss),
            &number(end.test_loss),
            &last[0],
            &last[1],
        ]);
    }
    text += "errors: squared error of a case, summed over its outputs, mean over cases\n";
    for end in ends {
        if let Some(overhead) = &end.overhead {
            text += &format!("{}:\n{overhead}\n", end.optimizer);
        }
    }
    for end in ends {
        if let Some(error) = &end.error {
            text += &format!("{} stopped early: {error}\n", end.optimizer);
        }
    }
    text
}

fn row(cells: [&str; 8]) -> String {
    let [optimizer, steps, seconds, passes, train, test, first, second] = cells;
    format!("{optimizer:<23} {steps:>6} {seconds:>6} {passes:>7} {train:>7} {test:>8} {first:>7} {second:>8}\n")
}

/// When each optimizer reached each loss, in the order of the best.
pub fn targets(steps: &[Step], ends: &[End], targets: &[f64]) -> String {
    let mut text = format!("{:<23} {:>8}", "training loss", "best");
    targets.iter().for_each(|&target| text += &format!(" {:>15}", number(target)));
    text += &format!("\n{:<23} {:>8}", "", "");
    targets.iter().for_each(|_| text += &format!(" {:>7} {:>7}", "seconds", "passes"));
    text += &format!("\n{}\n", "-".repeat(32 + 16 * targets.len()));
    let mut order: Vec<Looks<'_>> = ends.iter().map(|end| Looks(steps, end.optimizer)).collect();
    order.sort_by(|a, b| a.best().total_cmp(&b.best()));
    for looks in order {
        text += &format!("{:<23} {:>8}", looks.1, number(looks.best()));
        for &target in targets {
            text += &match looks.reached(target) {
                Some(Reached { seconds, passes }) => format!(" {seconds:>7.2} {passes:>7}"),
                None => format!(" {:>7} {:>7}", "-", "-"),
            };
        }
        text.push('\n');
    }
    text
}

/// A line for each that did not take part.
pub fn left_out(skips: &[Skip]) -> String {
    skips.iter().map(|skip| format!("left out: {} {}\n", skip.optimizer, skip.reason)).collect()
}

/// Five significant digits, in at most 7 characters; 8 with a sign.
fn number(x: f64) -> String {
    if !x.is_finite() {
        return "-".to_owned();
    }
    let digits = 4 - (x.abs().max(1e-300).log10().floor() as i32).clamp(-1, 4);
    if x != 0.0 && !(1e-3..1e5).contains(&x.abs()) { format!("{x:.1e}") } else { format!("{x:.*}", digits as usize) }
}
