//! Two sides timed in turn.

use std::time::Instant;

use pullback::Result;

/// How long to look.
pub struct Turns {
    /// How often each side has its turn.
    pub rounds: usize,
    /// Length of a turn, about.
    pub seconds: f64,
}

/// Medians over the rounds, of one call.
pub struct Medians {
    /// Seconds of ours.
    pub ours: f64,
    /// Seconds of the other side.
    pub direct: f64,
    /// Ours over the other, within a round.
    pub ratio: f64,
    /// Ours less the other, within a round.
    pub difference: f64,
}

fn seconds(calls: usize, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..calls {
        work()?;
    }
    Ok(start.elapsed().as_secs_f64() / calls as f64)
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = of.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl Turns {
    /// Both sides, which are warm after this.
    pub fn time(
        &self,
        ours: &mut dyn FnMut() -> Result<()>,
        direct: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Medians> {
        let calls = |work: &mut dyn FnMut() -> Result<()>| -> Result<usize> {
            seconds(10, work)?;
            Ok((self.seconds / seconds(10, work)?).clamp(1.0, 1e6) as usize)
        };
        let (our_calls, direct_calls) = (calls(ours)?, calls(direct)?);
        let mut rounds = Vec::with_capacity(self.rounds);
        for _ in 0..self.rounds {
            rounds.push((seconds(our_calls, ours)?, seconds(direct_calls, direct)?));
        }
        Ok(Medians {
            ours: median(rounds.iter().map(|r| r.0)),
            direct: median(rounds.iter().map(|r| r.1)),
            ratio: median(rounds.iter().map(|r| r.0 / r.1)),
            difference: median(rounds.iter().map(|r| r.0 - r.1)),
        })
    }
}
