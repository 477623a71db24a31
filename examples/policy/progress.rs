//! The progress line: task, algorithm, bar, return. On a terminal only.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const REDRAWS_A_SECOND: u8 = 10;
const POSITIONS: f64 = 10_000.0;

/// One algorithm's line, shared by its seeds.
pub struct Bar {
    bar: ProgressBar,
    done: Mutex<f64>,
}

impl Bar {
    pub fn new(task: &str, algorithm: &str, quiet: bool) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            // hides itself where standard error is no terminal
            false => ProgressDrawTarget::stderr_with_hz(REDRAWS_A_SECOND),
        };
        let bar = ProgressBar::with_draw_target(Some(POSITIONS as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix:15} [{bar:24}] {msg}  {eta} left") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(format!("{task} {algorithm}"));
        Self { bar, done: Mutex::new(0.0) }
    }

    /// Another part of the whole is done.
    pub fn show(&self, part: f64, mean_return: Option<f64>) {
        if let (false, Ok(mut done)) = (self.bar.is_hidden(), self.done.lock()) {
            *done += part;
            self.bar.set_message(mean_return.map_or(String::new(), |mean| format!("return {mean:6.1}")));
            self.bar.set_position((*done * POSITIONS) as u64);
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
