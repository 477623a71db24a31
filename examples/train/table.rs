//! The closing table, at most 80 columns wide.

use crate::log::End;

/// One line for each optimizer, under a header.
pub fn table(ends: &[End]) -> String {
    let classify = ends.iter().any(|end| end.accuracy.is_some());
    let last = if classify { ["test error", "accuracy"] } else { ["train error", "test error"] };
    let mut text = row(["optimizer", "steps", "seconds", "passes", "train loss", "test loss", last[0], last[1]]);
    text += &format!("{}\n", "-".repeat(text.trim_end().len()));
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
        if let Some(error) = &end.error {
            text += &format!("{} stopped early: {error}\n", end.optimizer);
        }
    }
    text
}

fn row(cells: [&str; 8]) -> String {
    let [optimizer, steps, seconds, passes, train, test, first, second] = cells;
    format!("{optimizer:<11.11} {steps:>7} {seconds:>7} {passes:>7} {train:>10} {test:>10} {first:>11} {second:>10}\n")
}

/// Five significant digits in at most 10 characters.
fn number(x: f64) -> String {
    if !x.is_finite() {
        return "-".to_owned();
    }
    let digits = 4 - (x.abs().max(1e-300).log10().floor() as i32).clamp(-3, 4);
    if x != 0.0 && !(1e-3..1e5).contains(&x.abs()) { format!("{x:.3e}") } else { format!("{x:.*}", digits as usize) }
}
