//! The plot: four panels, the current model and the updates with each kind of proximity.

use std::io::Write;
use std::path::PathBuf;

use plotters::prelude::*;

use crate::Failure;
use crate::figure::{Curve, EDGE, Figure, Proximity};
use crate::output::Output;

const SIZE: (u32, u32) = (1360, 400);
/// Predictions beyond are cut off by the frame.
const HEIGHT: std::ops::Range<f64> = -1.6..2.2;

type Draw<T = ()> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// What a panel is called.
pub fn title(proximity: Proximity) -> &'static str {
    match proximity {
        Proximity::Weights => "only WSP",
        Proximity::Functions => "only FSP",
        Proximity::Both => "WSP and FSP",
    }
}

/// Draws the current model and the panels, one curve a weight from green (large) to red (small).
pub fn plot(figure: &Figure, panels: &[(Proximity, Vec<Curve>)], mut output: Output) -> Result<PathBuf, Failure> {
    let mut svg = String::new();
    draw(figure, panels, &mut svg).map_err(|e| format!("the plot could not be drawn: {e}"))?;
    output.write_all(svg.as_bytes())?;
    output.finish()
}

fn draw(figure: &Figure, panels: &[(Proximity, Vec<Curve>)], svg: &mut String) -> Draw {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((1, 1 + panels.len()));
    if let Some(area) = areas.first() {
        panel(area, "current model", figure, &[])?;
    }
    for (area, (proximity, curves)) in areas.iter().skip(1).zip(panels) {
        panel(area, title(*proximity), figure, curves)?;
    }
    root.present()?;
    Ok(())
}

/// From green over yellow to red.
fn colour(share: f64) -> RGBColor {
    let part = |x: f64| (200.0 * x.clamp(0.0, 1.0)) as u8;
    RGBColor(part(2.0 * share), part(2.0 - 2.0 * share), 0)
}

fn panel(area: &Area<'_>, name: &str, figure: &Figure, curves: &[Curve]) -> Draw {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(name, ("sans-serif", 18))
        .x_label_area_size(30)
        .y_label_area_size(36)
        .build_cartesian_2d(-EDGE..EDGE, HEIGHT)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(5)
        .label_style(("sans-serif", 12))
        .bold_line_style(BLACK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let points = |curve: &Curve| figure.grid.iter().copied().zip(curve.values.iter().copied()).collect::<Vec<_>>();
    let last = curves.len().saturating_sub(1).max(1) as f64;
    for (i, curve) in curves.iter().enumerate() {
        chart.draw_series(pieces(points(curve)).map(|piece| PathElement::new(piece, colour(i as f64 / last))))?;
    }
    chart.draw_series(pieces(points(&figure.current)).map(|piece| PathElement::new(piece, BLACK.stroke_width(2))))?;
    let data = figure.xs.iter().zip(&figure.ts);
    chart.draw_series(data.map(|(&x, &t)| Circle::new((x, t), 2, RGBColor(60, 60, 160).filled())))?;
    chart.draw_series([Circle::new(figure.example, 5, RED.filled())])?;
    Ok(())
}

/// The parts of a curve within the frame, cut where it leaves.
fn pieces(points: Vec<(f64, f64)>) -> impl Iterator<Item = Vec<(f64, f64)>> {
    let (low, high) = (HEIGHT.start, HEIGHT.end);
    let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        // the part of the segment between both edges
        let at = |y: f64| ((y - y0) / (y1 - y0)).clamp(0.0, 1.0);
        let (mut from, mut to) = if y1 == y0 { (0.0, 1.0) } else { (at(low).min(at(high)), at(low).max(at(high))) };
        if y1 == y0 && !(low..=high).contains(&y0) {
            (from, to) = (0.0, 0.0);
        }
        if from >= to {
            pieces.push(Vec::new());
            continue;
        }
        let point = |s: f64| (x0 + s * (x1 - x0), y0 + s * (y1 - y0));
        if let Some(piece) = pieces.last_mut() {
            if piece.is_empty() || from > 0.0 {
                piece.push(point(from));
            }
            piece.push(point(to));
        }
        if to < 1.0 {
            pieces.push(Vec::new());
        }
    }
    pieces.into_iter().filter(|piece| piece.len() > 1)
}
