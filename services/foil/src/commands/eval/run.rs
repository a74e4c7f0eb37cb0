//! `foil eval run`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use foil_eval::report::{self, About, Data};
use foil_eval::run::{self, Engine, Options, Outcome, Parts, Settings, Variant};
use foil_eval::selection::vectors::Vectors;
use foil_llm::{EngineConfig, EngineKind};
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
    let (outcome, data) = tokio::select! {
        written = write(global, args, &config, &folder) => written?,
        // What was asked is kept.
        _ = tokio::signal::ctrl_c() => bail!("interrupted; the same command goes on from here"),
    };
    let about = About {
        command: command(global, args),
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        foil: env!("CARGO_PKG_VERSION").to_owned(),
        data,
        engine: named(config.llm.engine),
        set: global.set.clone(),
    };
    report::write(&outcome, args.seed, &about, &folder)?;
    let about = details(&about, &config, &outcome, started);
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
) -> Result<(Outcome, Data)> {
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
    let data = Data::of(&prepared, &args.data);
    // First: it refuses to work beside another process, and a model takes its time to load.
    let vectors = Vectors::open(&config.embed, folder).await?;
    let judge = match judge(args) {
        Some(judge) => Some(Engine::load(&judge).await?),
        None => None,
    };
    let parts = Parts {
        model: Engine::load(&config.llm).await?,
        judge,
        vectors,
        settings: Settings {
            selector: config.selector.clone(),
            extractor: config.extractor.clone(),
            profiler: config.profiler.clone(),
            generator: config.generator.clone(),
        },
    };
    Ok((run::run(&prepared, &options, parts).await?, data))
}

/// As in the configuration.
fn named(engine: EngineKind) -> String {
    let name = match engine {
        EngineKind::LlamaCpp => "llama-cpp",
        EngineKind::Mistralrs => "mistralrs",
        EngineKind::Openai => "openai",
    };
    name.to_owned()
}

/// What was typed, but for where the results and the judge's key are. No secret is in it: none is taken
/// from a command line.
fn command(global: &Global, args: &RunArgs) -> String {
    let mut words = vec!["foil eval run".to_owned()];
    let mut flag = |name: &str, value: &str| words.push(format!("--{name} {}", quoted(value)));
    if let Some(config) = &global.config {
        flag("config", &config.to_string_lossy());
    }
    if let Some(tenant) = &global.tenant {
        flag("tenant", tenant);
    }
    flag("data", &args.data.to_string_lossy());
    flag("strategies", &args.strategies);
    if let Some(limit) = args.limit {
        flag("limit", &limit.to_string());
    }
    flag("seed", &args.seed.to_string());
    if let Some(engine) = &args.engine {
        flag("engine", engine);
    }
    for (key, value) in &global.set {
        flag("set", &format!("{key}={value}"));
    }
    flag("parallel", &args.parallel.to_string());
    if let (Some(url), Some(model)) = (&args.judge_url, &args.judge_model) {
        flag("judge-url", url);
        flag("judge-model", model);
        flag("judgements", &args.judgements.to_string());
    }
    if args.later_peers {
        words.push("--later-peers".to_owned());
    }
    words.join(" ")
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn details(
    about: &About,
    config: &FoilConfig,
    outcome: &Outcome,
    started: Instant,
) -> serde_json::Value {
    json!({
        "command": about.command,
        "foil": about.foil,
        "finished_at": jiff::Timestamp::now().to_string(),
        "seconds": started.elapsed().as_secs_f64(),
        "data": about.data,
        "targets": outcome.targets,
        "texts": outcome.samples.len(),
        "engine": about.engine,
        "model": outcome.model,
        "judge": outcome.judge,
        "embedder": outcome.embedder,
        "calls": outcome.calls,
        "cache_hits": outcome.hits,
        "set": about.set,
        "context_tokens": config.llm.context_tokens,
        "selector": config.selector,
        "extractor": config.extractor,
        "profiler": config.profiler,
        "generator": config.generator,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        for (word, expected) in [
            ("dpl:k=2,rag", "dpl:k=2,rag"),
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
            ("my data", "'my data'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
