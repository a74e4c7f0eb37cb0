//! Tables for programs.

use anyhow::{Result, anyhow};

use super::table::{Figure, METRICS, Table};

/// A line for each strategy and metric: the texts that have it, mean and 95 % interval.
///
/// # Errors
/// Never, but for want of memory.
pub fn scores(table: &Table) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["strategy", "metric", "texts", "mean", "low", "high"])?;
    for row in &table.rows {
        for (metric, figure) in METRICS.iter().zip(&row.figures) {
            let Some(Figure { texts, interval }) = figure else {
                continue;
            };
            let numbers = [interval.mean, interval.low, interval.high].map(|n| n.to_string());
            let head = [
                row.strategy.clone(),
                metric.key.to_owned(),
                texts.to_string(),
            ];
            csv.write_record(head.into_iter().chain(numbers))?;
        }
    }
    text(csv)
}

/// A line for each paired test.
///
/// # Errors
/// As [`scores`].
pub fn paired(table: &Table) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "metric",
        "first",
        "second",
        "difference",
        "low",
        "high",
        "p",
    ])?;
    for found in table.best.iter().chain(&table.against) {
        let difference = found.paired.difference;
        let numbers = [
            difference.mean,
            difference.low,
            difference.high,
            found.paired.p,
        ];
        let head = [found.metric.key, &found.first, &found.second].map(str::to_owned);
        csv.write_record(head.into_iter().chain(numbers.map(|n| n.to_string())))?;
    }
    text(csv)
}

fn text(csv: csv::Writer<Vec<u8>>) -> Result<String> {
    let bytes = csv.into_inner().map_err(|error| anyhow!("csv: {error}"))?;
    Ok(String::from_utf8(bytes)?)
}
