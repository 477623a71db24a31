//! The plot: returns against steps, a panel for each task, one colour for each algorithm; the median of the seeds as a line,
//! their range as a band.

use std::io::Write;

use plotters::prelude::*;

use crate::Failure;
use crate::axis::Axis;
use crate::control::Task;
use crate::output::Output;
use crate::race::{Race, median};

const SIZE: (u32, u32) = (1120, 480);

/// Told apart by readers with any colour vision: blue, orange, green.
const COLOURS: [(&str, RGBColor); 3] =
    [("trpo", RGBColor(0, 114, 178)), ("acktr", RGBColor(230, 159, 0)), ("ppo", RGBColor(0, 130, 90))];

pub fn plot(races: &[Race], mut output: Output) -> Result<std::path::PathBuf, Failure> {
    let mut svg = String::new();
    draw(races, &mut svg).map_err(|e| format!("the plot could not be drawn: {e}"))?;
    output.write_all(svg.as_bytes())?;
    output.finish()
}

type Draw<T = ()> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// (steps, least, median, most) where every seed has a return.
fn curve(race: &Race) -> Vec<(f64, [f64; 3])> {
    let length = race.runs.iter().map(|run| run.updates.len()).min().unwrap_or(0);
    let at = |i: usize| {
        let returns: Option<Vec<f64>> = race.runs.iter().map(|run| run.updates[i].mean_return).collect();
        let mut returns = returns?;
        returns.sort_by(f64::total_cmp);
        let steps = race.runs.first()?.updates[i].steps as f64;
        Some((steps, [*returns.first()?, median(&returns), *returns.last()?]))
    };
    (0..length).filter_map(at).collect()
}

fn draw(races: &[Race], svg: &mut String) -> Draw {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut tasks: Vec<Task> = Vec::new();
    races.iter().for_each(|race| {
        if !tasks.contains(&race.task) {
            tasks.push(race.task);
        }
    });
    for (area, task) in root.split_evenly((1, tasks.len().max(1))).iter().zip(&tasks) {
        let of_task: Vec<&Race> = races.iter().filter(|race| race.task == *task).collect();
        panel(area, *task, &of_task)?;
    }
    root.present()?;
    Ok(())
}

fn panel(area: &Area<'_>, task: Task, races: &[&Race]) -> Draw {
    let curves: Vec<_> = races.iter().map(|race| curve(race)).collect();
    let random = races.first().map_or(0.0, |race| race.random);
    let points = || curves.iter().flatten();
    let (bottom, top) =
        points().flat_map(|(_, returns)| *returns).fold((random, random), |(low, high), y| (low.min(y), high.max(y)));
    let right = points().fold(1.0, |most: f64, (steps, _)| most.max(*steps));
    let margin = 0.04 * (top - bottom).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(task.name(), ("sans-serif", 18))
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(Axis::linear(0.0..right * 1.03), Axis::linear(bottom - margin..top + margin))?;
    chart
        .configure_mesh()
        .x_desc("steps of the environment")
        .y_desc("return of the last 20 episodes")
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 13))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (race, points) in races.iter().zip(&curves) {
        let name = race.algorithm.name();
        let colour = COLOURS.iter().find(|(of, _)| *of == name).map_or(BLACK, |(_, colour)| *colour);
        let ring = points.iter().map(|(x, y)| (*x, y[0])).chain(points.iter().rev().map(|(x, y)| (*x, y[2])));
        chart.draw_series([Polygon::new(ring.collect::<Vec<_>>(), colour.mix(0.15).filled())])?;
        chart
            .draw_series(LineSeries::new(points.iter().map(|(x, y)| (*x, y[1])), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
    }
    let grey = RGBColor(110, 110, 110);
    let level = DashedLineSeries::new([(0.0, random), (right, random)], 5, 4, grey.stroke_width(1));
    chart
        .draw_series(level)?
        .label("random")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], grey.stroke_width(1)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .legend_area_size(32)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}
