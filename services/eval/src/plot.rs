//! Plots as SVG: text stays text, so that a reader can search and enlarge it.

use anyhow::{Result, anyhow};
use plotters::coord::combinators::IntoLogRange as _;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::stats::Interval;

/// Told apart by the colour-blind too (Okabe and Ito); the first is for what others are compared with.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 0, 0),
    RGBColor(140, 140, 140),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(110, 60, 10),
];
const WIDTH: u32 = 1120;
const HEIGHT: u32 = 520;
const LEGEND: u32 = 96;
const FONT: &str = "sans-serif";

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    pub label: String,
    /// Position and value, by position.
    pub points: Vec<(f64, Interval)>,
}

/// One chart; its positions are on a scale where each step doubles.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub series: Vec<Series>,
    /// What guessing gives, as a dashed line.
    pub chance: Option<f64>,
}

/// Charts of the same series side by side, with one legend below and 95 % intervals as bars.
///
/// # Errors
/// When there is nothing to draw, or drawing fails.
pub fn lines(title: &str, charts: &[Chart]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let style = (FONT, 20).into_font().color(&BLACK);
        let area = area.titled(title, style).map_err(drawing)?;
        let height = area.dim_in_pixel().1;
        let (plots, below) = area.split_vertically(height.saturating_sub(LEGEND));
        for (area, chart) in plots.split_evenly((1, charts.len())).iter().zip(charts) {
            draw(area, chart)?;
        }
        legend(&below, charts)?;
        below.present().map_err(drawing)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("plot: {error}")
}

fn draw(area: &Area<'_>, chart: &Chart) -> Result<()> {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let xs = || points().map(|(x, _)| *x);
    let (first, last) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
    let top = points().map(|(_, y)| y.high).fold(0.0, f64::max);
    if !(first > 0.0 && first < last && top > 0.0) {
        return Err(anyhow!("plot: {}: nothing to draw", chart.title));
    }
    let x = (first / 1.15..last * 1.15).log_scale().base(2.0);
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, (FONT, 16))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(48)
        .build_cartesian_2d(x, 0.0..(top * 1.08).min(1.0))
        .map_err(drawing)?;
    context
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(&chart.x_label)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 14))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .draw()
        .map_err(drawing)?;
    if let Some(chance) = chart.chance {
        let ends = [(first / 1.15, chance), (last * 1.15, chance)];
        let dashed = DashedLineSeries::new(ends, 6, 4, CHANCE.stroke_width(1));
        context.draw_series(dashed).map_err(drawing)?;
    }
    for (at, series) in chart.series.iter().enumerate() {
        let colour = colour(at);
        // Side by side, so that no bar hides another.
        let shift = 1.0 + 0.012 * (at as f64 - chart.series.len() as f64 / 2.0);
        let moved = || series.points.iter().map(move |(x, y)| (x * shift, *y));
        let line = LineSeries::new(moved().map(|(x, y)| (x, y.mean)), colour.stroke_width(2));
        context.draw_series(line).map_err(drawing)?;
        let bars = moved().map(|(x, y)| {
            PathElement::new(
                vec![(x, y.low), (x, y.high)],
                colour.mix(0.6).stroke_width(1),
            )
        });
        context.draw_series(bars).map_err(drawing)?;
        let dots = moved().map(|(x, y)| Circle::new((x, y.mean), 3, colour.filled()));
        context.draw_series(dots).map_err(drawing)?;
    }
    Ok(())
}

const CHANCE: RGBColor = RGBColor(110, 110, 110);

fn colour(at: usize) -> RGBColor {
    COLOURS[at % COLOURS.len()]
}

fn legend(area: &Area<'_>, charts: &[Chart]) -> Result<()> {
    const COLUMNS: usize = 4;
    let Some(chart) = charts.first() else {
        return Ok(());
    };
    let labels = chart.series.iter().map(|series| series.label.as_str());
    let chance = chart.chance.map(|_| "chance");
    let style = (FONT, 15)
        .into_font()
        .color(&BLACK)
        .pos(Pos::new(HPos::Left, VPos::Center));
    for (at, label) in labels.chain(chance).enumerate() {
        let x = 24 + (at % COLUMNS) as i32 * (WIDTH as i32 - 40) / COLUMNS as i32;
        let y = 16 + (at / COLUMNS) as i32 * 26;
        let colour = if at < chart.series.len() {
            colour(at)
        } else {
            CHANCE
        };
        // Of chance, dashed as its line is.
        let dashes: &[(i32, i32)] = match at < chart.series.len() {
            true => &[(0, 28)],
            false => &[(0, 7), (10, 17), (20, 27)],
        };
        for &(from, to) in dashes {
            let dash = PathElement::new(vec![(x + from, y), (x + to, y)], colour.stroke_width(3));
            area.draw(&dash).map_err(drawing)?;
        }
        area.draw_text(label, &style, (x + 36, y))
            .map_err(drawing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let interval = |mean: f64| Interval {
            mean,
            low: mean - 0.05,
            high: mean + 0.05,
        };
        let points = points.iter().map(|&(x, y)| (x, interval(y))).collect();
        Chart {
            title: "Found at first".to_owned(),
            x_label: "records".to_owned(),
            series: vec![Series {
                label: "difference & evidence".to_owned(),
                points,
            }],
            chance: Some(0.1),
        }
    }

    #[test]
    fn text_stays_text_and_lines_rise_with_their_values() {
        let svg = lines("All of it", &[chart(&[(1.0, 0.2), (2.0, 0.5), (4.0, 0.8)])]).unwrap();
        for text in [
            "All of it",
            "Found at first",
            "records",
            "difference &amp; evidence",
            "chance",
        ] {
            assert!(svg.contains(text), "{text} is in the plot");
        }
        let heights: Vec<i32> = svg
            .match_indices("<circle cx=")
            .map(|(at, _)| {
                let rest = &svg[at..];
                let from = rest.find("cy=\"").unwrap() + 4;
                rest[from..].split('"').next().unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(heights.len(), 3);
        // In SVG a smaller y is higher up.
        assert!(
            heights[0] > heights[1] && heights[1] > heights[2],
            "{heights:?}"
        );
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        for points in [&[][..], &[(1.0, 0.5)]] {
            assert!(lines("", &[chart(points)]).is_err());
        }
    }
}
