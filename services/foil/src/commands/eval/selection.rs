//! `foil eval selection`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use foil_eval::data::Prepared;
use foil_eval::selection::attribution::Split;
use foil_eval::selection::plan::Plan;
use foil_eval::selection::vectors::Vectors;
use foil_eval::selection::{self, Options, Report, report};
use foil_runtime::config::{ConfigError, Faults, TelemetryConfig};
use foil_runtime::telemetry;

use crate::cli::Global;
use crate::cli::eval::{SelectionArgs, SplitArg};
use crate::config::{FoilConfig, load};
use crate::out;

pub async fn run(global: &Global, args: &SelectionArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let config = load(global)?;
    let mut faults = Faults::default();
    faults.section("embed", &config.embed);
    let faults = faults.into_list();
    if !faults.is_empty() {
        return Err(ConfigError { faults }.into());
    }
    let quiet = TelemetryConfig {
        level: "error".to_owned(),
        otlp_endpoint: None,
        ..config.telemetry.clone()
    };
    telemetry::init(&quiet, "eval")?;
    let prepared = super::data(global, &args.data)?;
    let folder = super::out_folder(&config, args.out.as_ref());
    let measured = tokio::select! {
        measured = measure(&config, args, prepared, &folder) => measured?,
        // What was embedded is kept.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    let (report, embedded) = measured;
    write(&folder, &report)?;
    if global.json {
        let json = serde_json::to_string_pretty(&report::json(&report))?;
        say!("{}", out::json(&json));
    } else {
        out::text(&report::table(&report));
    }
    note!(
        "{:.0} s, {embedded} texts embedded, the others known; table, figures and plot are in {}",
        started.elapsed().as_secs_f64(),
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The report, and how many texts were embedded for it.
async fn measure(
    config: &FoilConfig,
    args: &SelectionArgs,
    prepared: Prepared,
    folder: &Path,
) -> Result<(Report, usize)> {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let options = Options {
        seed: args.seed,
        split: match args.split {
            SplitArg::Random => Split::Random,
            SplitArg::Time => Split::Time,
        },
        splits: count(args.splits),
        records_min: count(args.records_min),
        limit: args.limit.map(count),
        ..Options::default()
    };
    let mut known = Vectors::open(&config.embed, folder).await?;
    let corpus = &prepared.corpus;
    let needed = Plan::new(corpus, &options, config.selector.max_candidates).needed();
    let texts: Vec<&str> = needed
        .iter()
        .map(|&at| corpus.records()[at].text.as_str())
        .collect();
    let found = known.of(&texts).await?;
    let mut vectors = vec![Vec::new(); corpus.records().len()];
    for (at, vector) in needed.into_iter().zip(found) {
        vectors[at] = vector;
    }
    let (selector, model) = (config.selector.clone(), known.model().to_owned());
    let measured = tokio::task::spawn_blocking(move || {
        selection::measure(&prepared, &vectors, &options, &selector, &model)
    });
    Ok((measured.await??, known.embedded()))
}

fn write(folder: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(&report::json(report))? + "\n";
    let mut files = vec![
        ("selection.json", json),
        ("selection.md", report::table(report)),
        ("selection.csv", report::csv(report)?),
    ];
    files.extend(report::svg(report)?.map(|svg| ("selection.svg", svg)));
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
