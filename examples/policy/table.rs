//! The closing table, at most 80 columns wide.

use crate::race::{Race, median};

pub fn table(races: &[Race]) -> String {
    let header = ["task", "algorithm", "random", "median", "least", "most", "steps", "s/run"].map(str::to_owned);
    let mut text = row(header);
    text += &format!("{}\n", "-".repeat(text.trim_end().len()));
    for race in races {
        let lasts = race.lasts();
        let seconds = race.runs.iter().map(|run| run.seconds).sum::<f64>() / race.runs.len().max(1) as f64;
        let [first, last] = [lasts.first(), lasts.last()].map(|x| x.map_or("-".to_owned(), |x| format!("{x:.1}")));
        text += &row([
            race.task.name().to_owned(),
            race.algorithm.name().to_owned(),
            format!("{:.1}", race.random),
            format!("{:.1}", median(&lasts)),
            first,
            last,
            race.steps().to_string(),
            format!("{seconds:.1}"),
        ]);
    }
    let seeds = races.first().map_or(0, |race| race.runs.len());
    text + &format!("mean returns of 20 new episodes; median, least and most over {seeds} seed(s)\n")
}

fn row([task, algorithm, random, median, least, most, steps, seconds]: [String; 8]) -> String {
    format!("{task:<10} {algorithm:<9} {random:>8} {median:>8} {least:>8} {most:>8} {steps:>8} {seconds:>7}\n")
}
