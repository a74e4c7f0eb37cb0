//! `foil bench`: what Foil costs. Every figure is a count, or a ratio of two measurements of one
//! run, so that a slow machine does not look like a slow program.

mod bus;
mod calls;
mod embed;
mod engine;
pub mod figures;
mod memory;
mod overhead;
mod rig;
mod selection;
mod texts;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use foil_embedder::EmbedEngine;
use foil_llm::EngineKind;
use foil_runtime::config::{ConfigError, Faults, TelemetryConfig};
use foil_runtime::telemetry;
use serde_json::{Map, Value};

use crate::cli::{BenchArgs, Global};
use crate::config::{FoilConfig, load};
use crate::{out, render};
use figures::{Figure, Group};

/// One measured figure.
#[derive(Debug)]
pub struct Reading {
    pub key: &'static str,
    pub value: f64,
    /// What was measured, in a line.
    pub note: String,
}

/// Measures and prints. Exit code 1 when something could not be measured.
///
/// # Errors
/// When the configuration names no server or model that a figure needs, or when interrupted.
pub async fn run(global: &Global, args: &BenchArgs) -> Result<ExitCode> {
    let config = load(global)?;
    let wanted = figures::wanted(&args.names);
    let groups = figures::groups(&wanted);
    missing(&config, &groups)?;
    if groups.contains(&Group::Memory) {
        memory::corpus_files(&args.corpus)?;
    }
    // Spans are made as in service, but the log would tear the table apart.
    let quiet = TelemetryConfig {
        level: "error,qdrant_edge=off".to_owned(),
        otlp_endpoint: None,
        ..config.telemetry.clone()
    };
    telemetry::init(&quiet, "bench")?;
    let mut readings = Vec::new();
    let mut failed = false;
    for group in groups {
        let keys: Vec<&str> = wanted
            .iter()
            .filter(|figure| figure.group == group)
            .map(|figure| figure.key)
            .collect();
        let keys = keys.join(", ");
        note!("bench: {keys} ...");
        let started = Instant::now();
        let result = tokio::select! {
            result = measure(group, global, &config, args) => result,
            // Dropped, a measurement ends the servers that it started.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        };
        match result {
            Ok(found) => readings.extend(found),
            Err(error) => {
                failed = true;
                note!("bench: {keys}: {error:#}");
            }
        }
        note!("bench: {keys}: {:.0} s", started.elapsed().as_secs_f64());
    }
    if global.json {
        say!(
            "{}",
            serde_json::to_string_pretty(&object(&wanted, &readings))?
        );
    } else {
        out::text(&text(&wanted, &readings));
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn measure(
    group: Group,
    global: &Global,
    config: &FoilConfig,
    args: &BenchArgs,
) -> Result<Vec<Reading>> {
    match group {
        Group::Overhead => overhead::measure(config).await,
        Group::Bus => bus::measure(config).await,
        Group::Selection => selection::measure().await,
        Group::Engine => engine::measure(&config.llm).await,
        Group::Embed => embed::measure(&config.embed).await,
        Group::Calls => calls::measure(config).await,
        Group::Memory => memory::measure(global, &args.corpus).await,
    }
}

/// Everything that the configuration lacks, before anything is measured.
fn missing(config: &FoilConfig, groups: &[Group]) -> Result<(), ConfigError> {
    use Group::{Bus, Calls, Embed, Engine, Memory, Overhead};
    let any = |needing: &[Group]| groups.iter().any(|group| needing.contains(group));
    let mut faults = Faults::default();
    if any(&[Overhead, Bus, Calls, Memory]) && config.up.nats_server.is_none() {
        faults.add(
            "up.nats_server",
            "is missing: a server is started to measure",
        );
    }
    if any(&[Overhead, Calls, Embed, Memory]) {
        faults.section("embed", &config.embed);
    }
    if any(&[Engine, Memory]) {
        faults.section("llm", &config.llm);
    }
    if any(&[Embed]) && config.embed.engine != EmbedEngine::LlamaCpp {
        faults.add("embed.engine", "only \"llama-cpp\" is measured");
    }
    if any(&[Engine]) && config.llm.engine != EngineKind::LlamaCpp {
        faults.add("llm.engine", "only \"llama-cpp\" is measured");
    }
    let faults = faults.into_list();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(ConfigError { faults }),
    }
}

fn find<'a>(readings: &'a [Reading], figure: &Figure) -> Option<&'a Reading> {
    readings.iter().find(|reading| reading.key == figure.key)
}

/// The wanted figures by key; `null` for one that could not be measured.
fn object(wanted: &[&Figure], readings: &[Reading]) -> Map<String, Value> {
    let entry = |figure: &&Figure| {
        let value = find(readings, figure).map(|reading| (reading.value * 1e4).round() / 1e4);
        (figure.key.to_owned(), value.into())
    };
    wanted.iter().map(entry).collect()
}

/// A line for each figure, and one with what was measured.
fn text(wanted: &[&Figure], readings: &[Reading]) -> String {
    let mut out = format!("{:<22}{:>8}   {:<14}\n", "name", "figure", "target");
    for figure in wanted {
        let (value, verdict, note) = match find(readings, figure) {
            Some(reading) => {
                let holds = figure.target.holds(reading.value);
                let verdict = if holds { "met" } else { "MISSED" };
                (number(reading.value), verdict, reading.note.as_str())
            }
            None => ("-".to_owned(), "not measured", figure.meaning),
        };
        let target = figure.target.to_string();
        out.push_str(&format!(
            "{:<22}{value:>8}   {target:<14}{verdict}\n",
            figure.key
        ));
        out.push_str(&render::wrapped(note, 4));
        out.push('\n');
    }
    out
}

fn number(value: f64) -> String {
    let digits = match value {
        value if value.fract() == 0.0 || value >= 100.0 => 0,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// The middle one; the upper of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests;
