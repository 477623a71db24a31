//! The page that a person reads, at most 80 columns wide.

use pullback::optim::costs::KfacCosts;

use super::measure::{Layer, Measured, Timing};

/// Three significant digits or so.
fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 0.1 || a == 0.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

type Column = (&'static str, fn(&Layer) -> Timing);

const COLUMNS: [Column; 7] = [
    ("stats", |l| l.statistics),
    ("inverse", |l| l.inverses),
    ("eigen", |l| l.eigenbases),
    ("upd inv", |l| l.update_by_inverses),
    ("upd eig", |l| l.update_by_eigenbases),
    ("λ inv", |l| l.new_damping_by_inverses),
    ("λ eig", |l| l.new_damping_by_eigenbases),
];

fn row(label: &str, unit: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|c| format!("{c:>9}")).collect();
    println!("{label:<9} {unit:<6}{cells}");
}

fn rows(label: &str, roof: f64, timings: &[Timing]) {
    row(label, "ms", timings.iter().map(|t| short(t.seconds * 1e3)));
    row("", "GF/s", timings.iter().map(|t| short(t.gflops())));
    row("", "% roof", timings.iter().map(|t| short(100.0 * t.gflops() / roof)));
}

fn kfac_row(label: &str, costs: &KfacCosts) {
    let in_gradients = |seconds: f64| short(seconds / costs.gradient);
    let overhead = |interval: usize| format!("{}x", short(costs.overhead(interval, interval)));
    println!(
        "{label:<15}{:>8}{:>9}{:>8}{:>12}{:>10}{:>10}",
        in_gradients(costs.statistics),
        in_gradients(costs.refresh),
        in_gradients(costs.update),
        overhead(1),
        overhead(20),
        overhead(100),
    );
}

/// When the overhead falls to `limit`, or why it cannot.
fn interval(label: &str, costs: &KfacCosts, batch: usize, limit: f64) {
    match costs.common_interval(limit) {
        Some(n) => println!("{label}: {limit}x SGD from a refresh (statistics too) every {n} steps on"),
        None => {
            // the update does not grow with the batch, the gradient does
            let needed = batch as f64 * costs.update / ((limit - 1.0) * costs.gradient);
            println!("{label}: {limit}x SGD is out of reach at batch {batch}: the update alone, at every");
            println!(
                "    step, costs {} gradients; a batch above {:.0} makes room",
                short(costs.update / costs.gradient),
                needed
            );
        }
    }
}

/// Prints one backend.
pub fn print(m: &Measured) {
    println!("{}, {}, {} thread(s), batch {}; roof {:.1} GFLOP/s", m.backend, m.dtype, m.threads, m.batch, m.roof);
    println!("stats: syrk of both factors; upd: update of one gradient; λ: another damping");
    println!("eigen: nominal 9n³ flops; deflation skips some, so it may pass the roof");
    row("layer", "", COLUMNS.iter().map(|(name, _)| (*name).to_owned()));
    for l in &m.layers {
        let timings: Vec<Timing> = COLUMNS.iter().map(|(_, part)| part(l)).collect();
        rows(&format!("{}x{}", l.d_in, l.d_out), m.roof, &timings);
    }
    let totals: Vec<Timing> = COLUMNS.iter().map(|(_, part)| m.total(part)).collect();
    rows("all", m.roof, &totals);
    println!();
    let one = |what: &str, t: Timing| {
        println!(
            "{what:<40}{:>9} ms{:>9} GF/s{:>5.0} % roof",
            short(t.seconds * 1e3),
            short(t.gflops()),
            100.0 * t.gflops() / m.roof
        );
    };
    one("gradient (its products)", m.gradient);
    one("all inverses, factors side by side", m.refresh_by_inverses);
    one("all eigenbases, factors side by side", m.refresh_by_eigenbases);
    println!();
    println!("K-FAC beside SGD, in gradients         statistics and refresh every");
    println!(
        "{:<15}{:>8}{:>9}{:>8}{:>12}{:>10}{:>10}",
        "", "stats", "refresh", "update", "step", "20 steps", "100 steps"
    );
    let (inverses, eigenbases) = (m.kfac_by_inverses(), m.kfac_by_eigenbases());
    kfac_row("by inverses", &inverses);
    kfac_row("by eigenbases", &eigenbases);
    const LIMIT: f64 = 1.5;
    interval("by inverses", &inverses, m.batch, LIMIT);
    interval("by eigenbases", &eigenbases, m.batch, LIMIT);
    println!(
        "an update through the batch, (S⁻¹ DZ)(A⁻¹ Y)ᵀ, takes {} gradients of flops",
        short(m.update_through_batch_flops / m.gradient.flops)
    );
    let damping = m.damping();
    let pays = |steps: usize| damping.break_even(steps).map_or("never".to_owned(), |c| c.to_string());
    println!("eigenbases pay from this many changes of λ per refresh on:");
    println!("    {} with 1 step per refresh, {} with 20, {} with 100", pays(1), pays(20), pays(100));
    println!();
}
