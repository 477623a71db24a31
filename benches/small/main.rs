//! Small problems: what do checks, reports and structure cost beside the arithmetic?
//!
//! `cargo bench --bench small [--features openblas-system] [-- --quick]`
//!
//! ```text
//! damped solves   C + λI = L Lᵀ and one right-hand side, n = 4, 16, 64: ours against the library called directly
//! K-FAC steps     on a 10-20-1 network: the optimizer against the same arithmetic by bare calls of the backend
//! ```
//! One thread. The two sides take turns, round after round; each figure is a median over the rounds, the ratio and the
//! difference being taken within each round, so that a busy machine disturbs both sides alike.

mod arithmetic;
mod damped;
mod kfac;
mod turns;

use pullback::Result;

use turns::Turns;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
    let turns = if quick { Turns { rounds: 5, seconds: 2e-5 } } else { Turns { rounds: 301, seconds: 2e-4 } };
    damped::table(&turns)?;
    println!();
    kfac::table(&turns)
}
