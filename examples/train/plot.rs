//! The plot: loss against seconds and against steps, one colour for each optimizer. Where there are more optimizers than
//! colours: training loss only, against seconds and passes, colours again with other dashes, the legend beside.

use std::io::Write;

use plotters::prelude::*;

use crate::Failure;
use crate::axis::Axis;
use crate::log::Step;
use crate::output::Output;

const SIZE: (u32, u32) = (1120, 480);
const CROWDED: (u32, u32) = (1320, 640);
const LEGEND: u32 = 230;

/// Told apart by readers with any colour vision: blue, orange, green first; then purple, sky, red, brown, grey, black.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 130, 90),
    RGBColor(170, 80, 150),
    RGBColor(86, 180, 233),
    RGBColor(213, 60, 0),
    RGBColor(120, 80, 40),
    RGBColor(130, 130, 130),
    RGBColor(0, 0, 0),
];

/// (dash, gap) in pixels of the first nine curves, the second nine, ...
const DASHES: [(u32, u32); 4] = [(1, 0), (7, 3), (2, 3), (14, 4)];

/// Beyond these ratios of largest to smallest an axis is logarithmic.
const LOSS_SPAN: f64 = 3.0;
const STEP_SPAN: f64 = 8.0;

/// Draws the points of all optimizers; training loss solid, test loss dashed.
pub fn plot(title: &str, steps: &[Step], mut output: Output) -> Result<std::path::PathBuf, Failure> {
    let mut svg = String::new();
    draw(title, steps, &mut svg).map_err(|e| format!("the plot could not be drawn: {e}"))?;
    output.write_all(svg.as_bytes())?;
    output.finish()
}

/// One optimizer's line.
struct Curve<'a> {
    name: &'a str,
    colour: RGBColor,
    /// (dash, gap).
    dash: (u32, u32),
    points: Vec<&'a Step>,
}

type Draw<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn draw(title: &str, steps: &[Step], svg: &mut String) -> Draw {
    let mut names: Vec<&str> = Vec::new();
    for step in steps {
        if !names.contains(&step.optimizer) {
            names.push(step.optimizer);
        }
    }
    let curves: Vec<Curve<'_>> = names.into_iter().enumerate().map(|(i, name)| curve(i, name, steps)).collect();
    let crowded = curves.len() > COLOURS.len();
    let size = if crowded { CROWDED } else { SIZE };
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 20))?;
    let width = size.0 - if crowded { LEGEND } else { 0 };
    let (panels, beside) = root.split_horizontally(width);
    let (left, right) = panels.split_horizontally(width / 2);
    panel(&left, "seconds", &curves, crowded, |step| step.seconds)?;
    if crowded {
        panel(&right, "passes", &curves, crowded, |step| step.passes as f64)?;
        legend(&beside, &curves)?;
    } else {
        panel(&right, "steps", &curves, crowded, |step| step.step as f64)?;
    }
    root.present()?;
    Ok(())
}

fn curve<'a>(index: usize, name: &'a str, steps: &'a [Step]) -> Curve<'a> {
    let (round, place) = (index / COLOURS.len(), index % COLOURS.len());
    let points = steps.iter().filter(|step| step.optimizer == name).collect();
    Curve { name, colour: COLOURS[place], dash: DASHES[round % DASHES.len()], points }
}

/// Names from top to bottom, each beside a piece of its line.
fn legend(area: &Area<'_>, curves: &[Curve<'_>]) -> Draw {
    const ROW: i32 = 18;
    const LINE: i32 = 36;
    for (i, curve) in curves.iter().enumerate() {
        let y = 24 + ROW * i as i32;
        let (dash, gap) = curve.dash;
        let pieces = if gap == 0 {
            vec![(0, LINE)]
        } else {
            (0..LINE).step_by((dash + gap) as usize).map(|x| (x, (x + dash as i32).min(LINE))).collect()
        };
        for (from, to) in pieces {
            area.draw(&PathElement::new([(from, y), (to, y)], curve.colour.stroke_width(2)))?;
        }
        area.draw(&Text::new(curve.name, (LINE + 8, y - 7), ("sans-serif", 14)))?;
    }
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, unit: &str, curves: &[Curve<'_>], crowded: bool, x: fn(&Step) -> f64) -> Draw {
    let points = || curves.iter().flat_map(|c| c.points.iter());
    let losses = points().flat_map(|s| [s.train_loss, if crowded { s.train_loss } else { s.test_loss }]);
    let (bottom, mut top) = range(losses.filter(|y| y.is_finite()));
    if crowded && let Some(start) = points().next() {
        // one that diverges must not flatten the others
        top = top.min(1.2 * start.train_loss);
    }
    let (first, last) = range(curves.iter().filter_map(|c| c.points.last()).map(|s| x(s)));
    // the start, x = 0, has no place on a logarithmic axis
    let log_x = last > 0.0 && (crowded || last > STEP_SPAN * first && first > 0.0);
    let log_y = bottom > 0.0 && top > LOSS_SPAN * bottom;
    let right = if last > 0.0 { last * 1.03 } else { 1.0 };
    let left = if log_x { range(points().map(|s| x(s)).filter(|&x| x > 0.0)).0 } else { 0.0 };
    let horizontal = if log_x { Axis::log(left..right) } else { Axis::linear(left..right) };
    let vertical = if log_y {
        let margin = (top / bottom).powf(0.04);
        Axis::log(bottom / margin..top * margin)
    } else {
        let margin = 0.04 * (top - bottom).max(1e-3);
        Axis::linear(bottom - margin..top + margin)
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(horizontal, vertical)?;
    chart
        .configure_mesh()
        .x_desc(unit)
        .y_desc(if crowded { "training loss" } else { "loss (solid: training, dashed: test)" })
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 13))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for curve in curves {
        let colour = curve.colour;
        let line = |loss: fn(&Step) -> f64| {
            let seen = curve.points.iter().filter(|s| loss(s).is_finite() && (!log_x || x(s) > 0.0));
            seen.map(|s| (x(s), if crowded { loss(s).min(top) } else { loss(s) })).collect::<Vec<_>>()
        };
        if crowded {
            let points = line(|s| s.train_loss);
            if curve.dash.1 == 0 {
                chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            } else {
                chart.draw_series(DashedLineSeries::new(points, curve.dash.0, curve.dash.1, colour.stroke_width(2)))?;
            }
            continue;
        }
        chart
            .draw_series(LineSeries::new(line(|s| s.train_loss), colour.stroke_width(2)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        chart.draw_series(DashedLineSeries::new(line(|s| s.test_loss), 5, 4, colour.stroke_width(1)))?;
    }
    if crowded {
        return Ok(());
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(32)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}

/// (smallest, largest); (0, 1) of nothing.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold(None, |r: Option<(f64, f64)>, x| Some(r.map_or((x, x), |(a, b)| (a.min(x), b.max(x)))))
        .unwrap_or((0.0, 1.0))
}
