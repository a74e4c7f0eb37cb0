//! One module a verb.

mod dead;
mod differences;
mod erase;
mod eval;
pub mod ingest;
mod metrics;
mod nats_auth;
mod profile;
mod provision;
mod request;
pub mod status;

use std::process::ExitCode;

use anyhow::Result;
use foil_runtime::ConfigError;

use crate::bench;
use crate::cli::{Cli, Global, UpArgs, Verb};
use crate::config::{dump, file_faults, load, model_faults};
use crate::session::Session;
use crate::{nats_child, out, up};

/// Runs one verb.
///
/// # Errors
/// What it met; `main` makes an exit code of it.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    let global = cli.global;
    match cli.verb {
        Verb::Up(args) => run_up(global, args).await,
        Verb::Provision(args) => provision::run(&global, &args).await,
        Verb::Ingest(args) => ingest::run(&Session::open(&global).await?, &args).await,
        Verb::Profile(args) => profile::run(&Session::open(&global).await?, &args).await,
        Verb::Differences(args) => differences::run(&Session::open(&global).await?, &args).await,
        Verb::Context(args) => request::context(&Session::open(&global).await?, &args).await,
        Verb::Generate(args) => request::generate(&Session::open(&global).await?, &args).await,
        Verb::Dead(verb) => {
            let verb = verb.within(global.tenant.is_some());
            dead::run(&Session::open(&global).await?, &verb).await
        }
        Verb::Erase(args) => erase::run(&Session::open(&global).await?, &args).await,
        Verb::Bench(args) => bench::run(&global, &args).await,
        Verb::Eval(verb) => eval::run(&global, &verb).await,
        Verb::Status(args) => status::run(&Session::open(&global).await?, &args).await,
        Verb::Metrics => metrics::run(global.json).map(|()| ExitCode::SUCCESS),
        Verb::NatsAuth(args) => nats_auth::run(global.json, &args),
        Verb::NatsServer(args) => match nats_child::become_server(&args)? {},
    }
}

async fn run_up(mut global: Global, args: UpArgs) -> Result<ExitCode> {
    if let Some(directory) = args.data_dir {
        let value = directory.to_string_lossy().into_owned();
        global.set.push(("up.data_dir".into(), value));
    }
    let config = load(&global)?;
    if args.dump_config {
        out::text(&dump(config)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut faults = model_faults(&config);
    // Nothing to look for yet where the name itself is at fault.
    if args.check_config && faults.is_empty() {
        faults = file_faults(&config);
    }
    if !faults.is_empty() {
        return Err(ConfigError { faults }.into());
    }
    if args.check_config {
        say!("the configuration holds, and its files are there; servers were not tried");
        return Ok(ExitCode::SUCCESS);
    }
    up::run(config).await?;
    Ok(ExitCode::SUCCESS)
}
