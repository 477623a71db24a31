//! The plot: loss against seconds and against steps, one colour for each optimizer.

use std::io::Write;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::Failure;
use crate::log::Step;
use crate::output::Output;

const SIZE: (u32, u32) = (1120, 480);

/// Told apart by readers with any colour vision: blue, orange, green.
const COLOURS: [(&str, RGBColor); 3] =
    [("sgd", RGBColor(0, 114, 178)), ("adam", RGBColor(230, 159, 0)), ("kfac", RGBColor(0, 130, 90))];

/// Beyond this ratio of largest to smallest an axis is logarithmic.
const SPAN: f64 = 8.0;

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
    points: Vec<&'a Step>,
}

type Draw<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn draw(title: &str, steps: &[Step], svg: &mut String) -> Draw {
    let curves: Vec<Curve<'_>> = COLOURS
        .iter()
        .map(|&(name, colour)| Curve { name, colour, points: steps.iter().filter(|s| s.optimizer == name).collect() })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 20))?;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    panel(&left, "seconds", &curves, |step| step.seconds)?;
    panel(&right, "steps", &curves, |step| step.step as f64)?;
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, unit: &str, curves: &[Curve<'_>], x: fn(&Step) -> f64) -> Draw {
    let points = || curves.iter().flat_map(|c| c.points.iter());
    let losses = points().flat_map(|s| [s.train_loss, s.test_loss]);
    let (bottom, top) = range(losses.filter(|y| y.is_finite()));
    let (first, last) = range(curves.iter().filter_map(|c| c.points.last()).map(|s| x(s)));
    // the start, x = 0, has no place on a logarithmic axis
    let log_x = last > SPAN * first && first > 0.0;
    let log_y = bottom > 0.0 && top > SPAN * bottom;
    let right = if last > 0.0 { last * 1.03 } else { 1.0 };
    let left = if log_x { range(points().map(|s| x(s)).filter(|&x| x > 0.0)).0 } else { 0.0 };
    let linear_y = (bottom - 0.04 * (top - bottom).max(1e-3))..(top + 0.04 * (top - bottom).max(1e-3));
    let margin = if log_y { (top / bottom).powf(0.04) } else { 1.0 };
    let log_range = bottom / margin..top * margin;
    let curve_x = move |step: &Step| Some(x(step)).filter(|&x| !log_x || x > 0.0);
    let draw = (unit, curves, &curve_x as &dyn Fn(&Step) -> Option<f64>);
    match (log_x, log_y) {
        (false, false) => axes(area, left..right, linear_y, draw),
        (false, true) => axes(area, left..right, log_range.log_scale(), draw),
        (true, false) => axes(area, (left..right).log_scale(), linear_y, draw),
        (true, true) => axes(area, (left..right).log_scale(), log_range.log_scale(), draw),
    }
}

/// (smallest, largest); (0, 1) of nothing.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold(None, |r: Option<(f64, f64)>, x| Some(r.map_or((x, x), |(a, b)| (a.min(x), b.max(x)))))
        .unwrap_or((0.0, 1.0))
}

fn axes<X, Y>(
    area: &Area<'_>,
    x: X,
    y: Y,
    (unit, curves, curve_x): (&str, &[Curve<'_>], &dyn Fn(&Step) -> Option<f64>),
) -> Draw
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart =
        ChartBuilder::on(area).margin(12).x_label_area_size(44).y_label_area_size(64).build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(unit)
        .y_desc("loss (solid: training, dashed: test)")
        .x_label_formatter(&|x| tick(*x))
        .y_label_formatter(&|y| tick(*y))
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 13))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(BLACK.mix(0.05))
        .draw()?;
    for curve in curves {
        let colour = curve.colour;
        let line = |loss: fn(&Step) -> f64| {
            let points = curve.points.iter().filter_map(move |s| Some((curve_x(s)?, loss(s))));
            points.filter(|(_, y)| y.is_finite()).collect::<Vec<_>>()
        };
        chart
            .draw_series(LineSeries::new(line(|s| s.train_loss), colour.stroke_width(2)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        chart.draw_series(DashedLineSeries::new(line(|s| s.test_loss), 5, 4, colour.mix(0.8).stroke_width(1)))?;
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

/// A number without more digits than it needs.
fn tick(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&x.abs()) {
        return format!("{x:.0e}");
    }
    let digits = (2 - x.abs().log10().floor() as i32).clamp(0, 5) as usize;
    let text = format!("{x:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
