//! `foil eval run`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use foil_eval::report;
use foil_eval::run::{self, Options, Outcome, Parts, Settings, Variant};
use foil_eval::selection::vectors::Vectors;
use foil_llm::{EngineConfig, EngineKind, LanguageModel};
use foil_runtime::config::{ConfigError, Faults, TelemetryConfig};
use foil_runtime::telemetry;
use serde_json::json;

use crate::cli::Global;
use crate::cli::eval::run::RunArgs;
use crate::config::{FoilConfig, load};
use crate::out;

/// Written beside the report: how it was made.
const ABOUT: &str = "run.json";

pub async fn run(global: &Global, args: &RunArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let config = configured(global, args)?;
    let quiet = TelemetryConfig {
        level: "error".to_owned(),
        otlp_endpoint: None,
        ..config.telemetry.clone()
    };
    telemetry::init(&quiet, "eval")?;
    let folder = super::out_folder(&config, args.out.as_ref());
    let outcome = tokio::select! {
        outcome = write(global, args, &config, &folder) => outcome?,
        // What was asked is kept.
        _ = tokio::signal::ctrl_c() => bail!("interrupted; the same command goes on from here"),
    };
    report::write(&outcome, args.seed, &command(args), &folder)?;
    let about = about(args, &config, &outcome, started);
    let about = serde_json::to_string_pretty(&about)?;
    let path = folder.join(ABOUT);
    std::fs::write(&path, format!("{about}\n")).with_context(|| path.display().to_string())?;
    if global.json {
        say!("{}", out::json(&about));
    } else {
        let path = folder.join("report.md");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        out::text(&text);
    }
    note!(
        "{:.0} s, {} calls of the model, {} answers known; report, samples and plots are in {}",
        started.elapsed().as_secs_f64(),
        outcome.calls,
        outcome.hits,
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn configured(global: &Global, args: &RunArgs) -> Result<FoilConfig> {
    let mut global = Global {
        config: global.config.clone(),
        set: global.set.clone(),
        tenant: global.tenant.clone(),
        json: global.json,
    };
    if let Some(engine) = &args.engine {
        global.set.push(("llm.engine".to_owned(), engine.clone()));
    }
    let config = load(&global)?;
    let mut faults = Faults::default();
    faults.section("embed", &config.embed);
    faults.section("llm", &config.llm);
    if let Some(judge) = judge(args) {
        faults.section("judge", &judge);
    }
    let faults = faults.into_list();
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { faults }.into())
    }
}

fn judge(args: &RunArgs) -> Option<EngineConfig> {
    Some(EngineConfig {
        engine: EngineKind::Openai,
        model: args.judge_model.clone()?,
        base_url: Some(args.judge_url.clone()?),
        api_key_file: args.judge_key_file.clone(),
        context_tokens: 8_192,
        ..EngineConfig::default()
    })
}

async fn write(
    global: &Global,
    args: &RunArgs,
    config: &FoilConfig,
    folder: &Path,
) -> Result<Outcome> {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let options = Options {
        variants: Variant::list(&args.strategies)?,
        limit: args.limit.map(count),
        seed: args.seed,
        peers_before: !args.later_peers,
        parallel: count(args.parallel),
        judgements: count(args.judgements),
        out: folder.to_owned(),
    };
    let prepared = super::data(global, &args.data)?;
    let judge: Option<Arc<dyn LanguageModel>> = match judge(args) {
        Some(judge) => Some(foil_llm::load(&judge).await?),
        None => None,
    };
    let parts = Parts {
        model: foil_llm::load(&config.llm).await?,
        judge,
        vectors: Vectors::open(&config.embed, folder).await?,
        settings: Settings {
            selector: config.selector.clone(),
            extractor: config.extractor.clone(),
            profiler: config.profiler.clone(),
            generator: config.generator.clone(),
        },
    };
    run::run(&prepared, &options, parts).await
}

/// What shows in the report: paths would differ from machine to machine.
fn command(args: &RunArgs) -> String {
    let mut command = format!(
        "foil eval run --strategies {} --seed {}",
        args.strategies, args.seed
    );
    if let Some(limit) = args.limit {
        command += &format!(" --limit {limit}");
    }
    if args.later_peers {
        command += " --later-peers";
    }
    if let Some(judge) = &args.judge_model {
        command += &format!(" --judge-model {judge} --judgements {}", args.judgements);
    }
    command
}

fn about(
    args: &RunArgs,
    config: &FoilConfig,
    outcome: &Outcome,
    started: Instant,
) -> serde_json::Value {
    json!({
        "command": command(args),
        "finished_at": jiff::Timestamp::now().to_string(),
        "seconds": started.elapsed().as_secs_f64(),
        "targets": outcome.targets,
        "texts": outcome.samples.len(),
        "model": outcome.model,
        "judge": outcome.judge,
        "calls": outcome.calls,
        "cache_hits": outcome.hits,
        "context_tokens": config.llm.context_tokens,
        "selector": config.selector,
        "extractor": config.extractor,
        "profiler": config.profiler,
        "generator": config.generator,
    })
}
