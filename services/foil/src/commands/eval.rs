//! `foil eval`: does it personalise?

mod prepare;
mod run;
mod selection;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use foil_eval::data::Prepared;
use foil_eval::data::read::Ndjson;

use crate::cli::Global;
use crate::cli::eval::EvalVerb;
use crate::config::FoilConfig;
use crate::{ndjson, render};

/// Runs one of its verbs.
///
/// # Errors
/// What it met; faults of the configuration as such.
pub async fn run(global: &Global, verb: &EvalVerb) -> Result<ExitCode> {
    match verb {
        EvalVerb::Prepare(args) => prepare::run(global, args),
        EvalVerb::Selection(args) => selection::run(global, args).await,
        EvalVerb::Run(args) => run::run(global, args).await,
    }
}

/// Reads with the reader of `foil ingest`, for the global tenant.
fn with_ndjson<T>(global: &Global, read: impl FnOnce(Ndjson<'_>) -> T) -> T {
    let now_ms = render::now_ms();
    let parse = |line: &[u8]| ndjson::parse(line, global.tenant(), now_ms);
    read(Ndjson {
        parse: &parse,
        tenant: global.tenant(),
    })
}

/// What `--data` names.
fn data(global: &Global, folder: &Path) -> Result<Prepared> {
    let read = with_ndjson(global, |ndjson| Prepared::read(folder, ndjson));
    read.with_context(|| format!("--data {}", folder.display()))
}

/// Where results go when `--out` names no folder.
fn out_folder(config: &FoilConfig, out: Option<&PathBuf>) -> PathBuf {
    out.cloned()
        .unwrap_or_else(|| config.up.data_dir.join("eval"))
}
