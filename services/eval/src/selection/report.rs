//! The report: a table for people, JSON, CSV, and the plot.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Chance, Curve, Found, Method, Report};
use crate::plot::{self, Chart, Series};
use crate::stats::{Interval, Paired, probability};

/// One object: `users`, `records`, `chance`, `methods` by name with `top1` and `mrr`, the `curve`.
pub fn json(report: &Report) -> Value {
    let curve = report.curve.as_ref().map(|curve| {
        let steps = curve
            .steps
            .iter()
            .map(|step| json!({ "records": step.records, "methods": methods(&step.methods) }));
        json!({
            "users": curve.users,
            "chance": chance(curve.chance),
            "steps": steps.collect::<Vec<Value>>(),
        })
    });
    json!({
        "users": report.users,
        "records": report.records,
        "chance": chance(report.chance),
        "methods": methods(&report.methods),
        "curve": curve,
        "split": report.split,
        "splits": report.splits,
        "seed": report.seed,
        "model": report.model,
    })
}

fn chance(chance: Chance) -> Value {
    json!({ "top1": round(chance.top1), "mrr": round(chance.mrr) })
}

fn methods(found: &[Found]) -> Map<String, Value> {
    let entry = |found: &Found| {
        let score = &found.score;
        let value = json!({
            "label": found.method.label(),
            "top1": round(score.top1.mean),
            "top1_interval": [round(score.top1.low), round(score.top1.high)],
            "top1_gain": score.top1_gain.as_ref().map(gain),
            "mrr": round(score.mrr.mean),
            "mrr_interval": [round(score.mrr.low), round(score.mrr.high)],
            "mrr_gain": score.mrr_gain.as_ref().map(gain),
        });
        (found.method.as_str().to_owned(), value)
    };
    found.iter().map(entry).collect()
}

fn gain(gain: &Paired) -> Value {
    let Interval { mean, low, high } = gain.difference;
    json!({ "over": "mean", "difference": round(mean), "interval": [round(low), round(high)], "p": gain.p })
}

fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The table, in Markdown that a terminal shows as well.
pub fn table(report: &Report) -> String {
    let mut out = format!(
        "{} users, {} records, {}; embedded by {}.\n\n",
        report.users,
        report.records,
        match report.split {
            super::Split::Random =>
                format!("{} random splits, seed {}", report.splits, report.seed),
            super::Split::Time => "the earlier half against the later one".to_owned(),
        },
        report.model,
    );
    rows(&mut out, &report.methods, report.chance);
    if let Some(curve) = &report.curve {
        out.push_str(&format!(
            "\nTop-1 by records in each half ({} users with {} or more records; chance {:.3}):\n\n",
            curve.users,
            curve.steps.last().map_or(0, |step| 2 * step.records),
            curve.chance.top1,
        ));
        steps(&mut out, curve);
    }
    out
}

fn rows(out: &mut String, found: &[Found], chance: Chance) {
    let head = ["", "top-1", "95 %", "MRR", "95 %", "top-1 over (a)", "p"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let between = |i: Interval| format!("{:.3} to {:.3}", i.low, i.high);
    for found in found {
        let score = &found.score;
        let gain = score.top1_gain.map(|gain| {
            let Interval { mean, low, high } = gain.difference;
            (
                format!("{mean:+.3} ({low:+.3} to {high:+.3})"),
                probability(gain.p),
            )
        });
        let (gain, p) = gain.unwrap_or_default();
        lines.push(vec![
            found.method.label().to_owned(),
            format!("{:.3}", score.top1.mean),
            between(score.top1),
            format!("{:.3}", score.mrr.mean),
            between(score.mrr),
            gain,
            p,
        ]);
    }
    let mut last = vec![String::new(); head.len()];
    last[0] = "chance".to_owned();
    last[1] = format!("{:.3}", chance.top1);
    last[3] = format!("{:.3}", chance.mrr);
    lines.push(last);
    aligned(out, &lines);
}

fn steps(out: &mut String, curve: &Curve) {
    let mut head = vec![String::new()];
    head.extend(curve.steps.iter().map(|step| step.records.to_string()));
    let mut lines = vec![head];
    for (at, method) in Method::ALL.iter().enumerate() {
        let mut line = vec![method.label().to_owned()];
        let value = |step: &super::Step| format!("{:.3}", step.methods[at].score.top1.mean);
        line.extend(curve.steps.iter().map(value));
        lines.push(line);
    }
    aligned(out, &lines);
}

/// A Markdown table whose columns stand below each other; the first is text, the others figures.
fn aligned(out: &mut String, lines: &[Vec<String>]) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            out.push_str(&match column {
                0 => format!("| {cell:<width$} |"),
                _ => format!(" {cell:>width$} |"),
            });
        }
        out.push('\n');
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(*width);
                out.push_str(&match column {
                    0 => format!("| {dashes} |"),
                    _ => format!(" {}: |", &dashes[1..]),
                });
            }
            out.push('\n');
        }
    }
}

/// A line for each method, and for each of the curve's steps: `records` is empty for whole halves.
///
/// # Errors
/// When the writer fails, which memory does not.
pub fn csv(report: &Report) -> Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([
        "records",
        "users",
        "method",
        "top1",
        "top1_low",
        "top1_high",
        "mrr",
        "mrr_low",
        "mrr_high",
        "top1_gain",
        "top1_gain_low",
        "top1_gain_high",
        "top1_p",
    ])?;
    let mut add = |records: String, users: usize, found: &Found| -> Result<()> {
        let score = &found.score;
        let mut line = vec![records, users.to_string(), found.method.as_str().to_owned()];
        let mut three =
            |i: Interval| line.extend([i.mean, i.low, i.high].map(|x| format!("{x:.6}")));
        three(score.top1);
        three(score.mrr);
        match &score.top1_gain {
            Some(gain) => {
                three(gain.difference);
                line.push(format!("{:.6}", gain.p));
            }
            None => line.extend(vec![String::new(); 4]),
        }
        Ok(out.write_record(line)?)
    };
    for found in &report.methods {
        add(String::new(), report.users, found)?;
    }
    if let Some(curve) = &report.curve {
        for step in &curve.steps {
            for found in &step.methods {
                add(step.records.to_string(), curve.users, found)?;
            }
        }
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

/// Attribution against history length, as SVG; none without a curve of two steps.
///
/// # Errors
/// When it cannot be drawn.
pub fn svg(report: &Report) -> Result<Option<String>> {
    let Some(curve) = report.curve.as_ref().filter(|curve| curve.steps.len() > 1) else {
        return Ok(None);
    };
    let series = |of: fn(&Found) -> Interval| -> Vec<Series> {
        let line = |(at, method): (usize, &Method)| Series {
            label: method.label().to_owned(),
            points: curve
                .steps
                .iter()
                .map(|step| (step.records as f64, of(&step.methods[at])))
                .collect(),
        };
        Method::ALL.iter().enumerate().map(line).collect()
    };
    let chart = |y_label: &str, series, chance| Chart {
        title: format!("{y_label}, {} users", curve.users),
        x_label: "records in each half of a user's history".to_owned(),
        series,
        chance: Some(chance),
    };
    let charts = [
        chart(
            "Found at first (top-1)",
            series(|f| f.score.top1),
            curve.chance.top1,
        ),
        chart(
            "Mean reciprocal rank",
            series(|f| f.score.mrr),
            curve.chance.mrr,
        ),
    ];
    plot::lines(
        "One half of a user's records, found from the other (bars: 95 % intervals)",
        &charts,
    )
    .map(Some)
}
