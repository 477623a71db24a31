//! The progress line: optimizer, bar, loss, lambda, time left. On a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What the line shows.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Part of the budget that is spent.
    pub fraction: f64,
    pub loss: f64,
    pub lambda: Option<f64>,
    /// `None` before the first step.
    pub seconds_left: Option<f64>,
}

const REDRAWS_A_SECOND: u8 = 10;
const POSITIONS: u64 = 1000;

/// One optimizer's line.
pub struct Line(ProgressBar);

impl Line {
    pub fn new(optimizer: &str, quiet: bool) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            // hides itself where standard error is no terminal
            false => ProgressDrawTarget::stderr_with_hz(REDRAWS_A_SECOND),
        };
        let bar = ProgressBar::with_draw_target(Some(POSITIONS), target);
        // with a message of at most 46 characters all of it has 79
        let width = 29usize.saturating_sub(optimizer.len()).max(4);
        if let Ok(style) = ProgressStyle::with_template(&format!("{{prefix}} [{{bar:{width}}}] {{msg}}")) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(optimizer.to_owned());
        Self(bar)
    }

    pub fn show(&self, progress: &Progress) {
        if !self.0.is_hidden() {
            self.0.set_message(text(progress));
            self.0.set_position((progress.fraction.clamp(0.0, 1.0) * POSITIONS as f64) as u64);
        }
    }

    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// At most 46 characters.
fn text(progress: &Progress) -> String {
    let lambda = progress.lambda.map(|l| format!("  lambda {l:.1e}")).unwrap_or_default();
    let left = progress.seconds_left.map(|s| {
        let s = Duration::from_secs_f64(s.clamp(0.0, 359_999.0).ceil()).as_secs();
        if s < 100 { format!("  {s} s left") } else { format!("  {}:{:02} min left", s / 60, s % 60) }
    });
    format!("loss {:<9}{lambda}{}", Short(progress.loss), left.unwrap_or_default())
}

/// A number in at most 9 characters.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text =
            if (1e-3..1e4).contains(&self.0.abs()) { format!("{:.4}", self.0) } else { format!("{:.2e}", self.0) };
        f.pad(&text)
    }
}
