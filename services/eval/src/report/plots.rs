//! The plots of a run, as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::table::{METRICS, Metric, Row, Table, metric};
use crate::plot::{self, Chart, Series};
use crate::run::Sample;
use crate::stats::{Interval, interval};

const FONT: &str = "sans-serif";
const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (380, 96);
/// Height of a strategy's line in a panel.
const LINE: u32 = 22;
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(225, 225, 225);
/// Fewest texts behind a point of a curve.
const TEXTS_MIN: usize = 5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A file of its own.
pub struct Plot {
    pub file: &'static str,
    pub title: &'static str,
    pub svg: String,
}

/// Every plot for which there are figures.
///
/// # Errors
/// When drawing fails.
pub fn draw(table: &Table, samples: &[Sample], seed: u64) -> Result<Vec<Plot>> {
    let mut plots = vec![Plot {
        file: "strategies.svg",
        title: "Strategies by metric, with 95 % intervals",
        svg: strategies(table)?,
    }];
    plots.push(Plot {
        file: "cost.svg",
        title: "Quality against tokens spent on a text, those spent ahead included",
        svg: cost(table)?,
    });
    let charts = curves(table, samples, seed);
    if !charts.is_empty() {
        let title =
            "Attribution by what is measured of style and by embedding, against history length";
        plots.push(Plot {
            file: "attribution.svg",
            title,
            svg: plot::lines(title, &charts)?,
        });
    }
    Ok(plots)
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("plot: {error}")
}

/// A panel for each metric, a line for each strategy.
fn strategies(table: &Table) -> Result<String> {
    let known = |metric: &&Metric| {
        metric.scores()
            && table
                .rows
                .iter()
                .any(|row| row.figure(metric.key).is_some())
    };
    let metrics: Vec<&Metric> = METRICS.iter().filter(known).collect();
    let rows = metrics.len().div_ceil(COLUMNS).max(1);
    let height = PANEL.1 + LINE * table.rows.len() as u32;
    let size = (PANEL.0 * COLUMNS as u32, height * rows as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        for (area, metric) in area.split_evenly((rows, COLUMNS)).iter().zip(metrics) {
            panel(area, &table.rows, metric)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

fn panel(area: &Area<'_>, rows: &[Row], metric: &Metric) -> Result<()> {
    let found: Vec<Option<Interval>> = rows.iter().map(|row| row.figure(metric.key)).collect();
    let (low, high) = span(found.iter().flatten());
    let count = rows.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(metric.label, (FONT, 16))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(130)
        .build_cartesian_2d(low..high, -0.5..count - 0.5)
        .map_err(drawing)?;
    let name = |at: &f64| {
        // The first strategy is on top.
        let at = count - 1.0 - at.round();
        rows.get(at as usize)
            .map_or(String::new(), |row| row.strategy.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(GREY)
        .light_line_style(WHITE)
        .x_labels(5)
        .y_labels(rows.len().max(2) * 2)
        .x_label_formatter(&|x| format!("{x:.3}"))
        .y_label_formatter(&|y| {
            if (y - y.round()).abs() < 1e-6 {
                name(y)
            } else {
                String::new()
            }
        })
        .label_style((FONT, 12))
        .draw()
        .map_err(drawing)?;
    for (at, found) in found.iter().enumerate() {
        let Some(found) = found else { continue };
        let y = count - 1.0 - at as f64;
        let bar = PathElement::new(vec![(found.low, y), (found.high, y)], BLUE.stroke_width(2));
        chart.draw_series([bar]).map_err(drawing)?;
        let dot = Circle::new((found.mean, y), 4, BLUE.filled());
        chart.draw_series([dot]).map_err(drawing)?;
    }
    Ok(())
}

/// From a little below the lowest to a little above the highest.
fn span<'a>(found: impl Iterator<Item = &'a Interval>) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for interval in found {
        low = low.min(interval.low);
        high = high.max(interval.high);
    }
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    let edge = ((high - low) * 0.08).max(1e-3);
    (low - edge, high + edge)
}

/// METEOR and top-1 by style against all tokens of a text.
fn cost(table: &Table) -> Result<String> {
    let mut svg = String::new();
    {
        let size = (2 * PANEL.0 * COLUMNS as u32 / 2, 460);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let metrics = [metric("meteor"), metric("style_top_1")];
        for (area, metric) in area.split_evenly((1, 2)).iter().zip(metrics) {
            scatter(area, &table.rows, metric)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

fn tokens(row: &Row) -> f64 {
    let keys = [
        "tokens_in",
        "tokens_out",
        "ahead_tokens_in",
        "ahead_tokens_out",
    ];
    let means = keys.iter().filter_map(|key| row.figure(key));
    means.map(|found| found.mean).sum()
}

fn scatter(area: &Area<'_>, rows: &[Row], metric: &Metric) -> Result<()> {
    let points: Vec<(f64, Interval, &str)> = rows
        .iter()
        .filter_map(|row| Some((tokens(row), row.figure(metric.key)?, row.strategy.as_str())))
        .collect();
    let most = points.iter().map(|point| point.0).fold(1.0, f64::max);
    let (low, high) = span(points.iter().map(|point| &point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(metric.label, (FONT, 16))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..most * 1.25, low..high)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .bold_line_style(GREY)
        .light_line_style(WHITE)
        .x_desc("tokens read and written for a text")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 13))
        .draw()
        .map_err(drawing)?;
    for (x, found, name) in points {
        let colour = if name == "dpl" { ORANGE } else { BLUE };
        let bar = PathElement::new(
            vec![(x, found.low), (x, found.high)],
            colour.mix(0.5).stroke_width(1),
        );
        chart.draw_series([bar]).map_err(drawing)?;
        let dot = Circle::new((x, found.mean), 4, colour.filled());
        chart.draw_series([dot]).map_err(drawing)?;
        let label = Text::new(
            name.to_owned(),
            (x + most * 0.015, found.mean),
            (FONT, 12).into_font().color(&colour),
        );
        chart.draw_series([label]).map_err(drawing)?;
    }
    Ok(())
}

/// Top-1 against the number of records before the target, in steps that double; none where fewer than
/// two steps have enough texts.
fn curves(table: &Table, samples: &[Sample], seed: u64) -> Vec<Chart> {
    let charts = ["style_top_1", "embedding_top_1"].map(|key| {
        let metric = metric(key);
        let rows = table.rows.iter().filter(|row| !row.strategy.contains(':'));
        let series = rows.map(|row| Series {
            label: row.strategy.clone(),
            points: steps(metric, &row.strategy, samples, seed),
        });
        let chance = samples.iter().find_map(|sample| sample.scores.attribution);
        Chart {
            title: metric.label.to_owned(),
            x_label: "records before the target".to_owned(),
            series: series.collect(),
            chance: chance.map(|found| found.style.chance_top_1),
        }
    });
    let enough = |chart: &Chart| {
        let xs = chart.series.iter().flat_map(|series| &series.points);
        let xs: Vec<f64> = xs.map(|point| point.0).collect();
        let tops = chart.series.iter().flat_map(|series| &series.points);
        xs.iter().any(|x| *x != xs[0]) && tops.map(|(_, y)| y.high).fold(0.0, f64::max) > 0.0
    };
    charts.into_iter().filter(enough).collect()
}

fn steps(metric: &Metric, strategy: &str, samples: &[Sample], seed: u64) -> Vec<(f64, Interval)> {
    let own: Vec<&Sample> = samples.iter().filter(|s| s.strategy == strategy).collect();
    let step = |power: u32| {
        let within = 2_usize.pow(power)..2_usize.pow(power + 1);
        let texts = own.iter().filter(|s| within.contains(&s.history));
        let values: Vec<f64> = texts.filter_map(|s| (metric.of)(s)).collect();
        let found = interval(&values, seed).filter(|_| values.len() >= TEXTS_MIN)?;
        Some((within.start as f64, found))
    };
    (0..16).filter_map(step).collect()
}
