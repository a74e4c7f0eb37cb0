//! The command: every stage in one process for one machine, and the operator's verbs.

#[macro_use]
mod out;

mod bench;
mod cli;
mod commands;
mod config;
mod nats_child;
mod ndjson;
mod render;
mod roles;
mod session;
mod up;

#[cfg(test)]
#[path = "../../../tests/hostile/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "../../../tests/hostile/fuzz.rs"]
mod random;

use std::process::ExitCode;

use foil_runtime::{ConfigError, RunError};

fn main() -> ExitCode {
    let cli = match cli::Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    foil_runtime::install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            note!("foil: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::run(cli));
    // A handler that blocks its thread must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    if let Some(fault) = out::fault() {
        note!("foil: cannot write the answer: {fault}");
        return ExitCode::FAILURE;
    }
    match result {
        Ok(code) => code,
        Err(error) => {
            note!("foil: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 1 failed, 64 bad configuration, 70 shutdown deadline passed.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<RunError>() {
        return error.exit_code();
    }
    if error.is::<ConfigError>() { 64 } else { 1 }
}
