//! From the command line to a running service, and back to an exit code.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::admin::{self, AdminError};
use crate::config::{self, ConfigError, ServiceConfig, Sources};
use crate::error::BoxError;
use crate::health::Health;
use crate::nats::{self, NatsError};
use crate::shutdown::Shutdown;
use crate::telemetry::{self, TelemetryError};

/// What a stage runs in; clones share it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Checks registered here belong to this stage.
    pub health: Health,
    pub nats: async_nats::Client,
    pub shutdown: Shutdown,
}

impl Service {
    /// The same for one of several stages in a process.
    #[must_use]
    pub fn stage(&self, name: &str) -> Self {
        Self {
            health: self.health.scoped(name),
            nats: self.nats.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// Why a service ended other than cleanly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration does not hold.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A stage cannot serve.
    #[error("{stage}: {cause}")]
    Fatal {
        stage: &'static str,
        #[source]
        cause: BoxError,
    },
    /// Work would not stop, or could not be given back, in time: it comes again after the ack wait.
    #[error("{stage}: the shutdown deadline passed with {unfinished} inputs at work")]
    DeadlinePassed {
        stage: &'static str,
        unfinished: usize,
    },
    /// The connection to NATS cannot even be tried.
    #[error("{0}")]
    Nats(#[from] NatsError),
    /// The admin port cannot be had.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// Logs or traces cannot be set up.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// Whatever a service's own set-up meets.
    #[error("{0}")]
    Other(BoxError),
}

impl RunError {
    /// Wraps an error of a service's own set-up.
    pub fn other(cause: impl Into<BoxError>) -> Self {
        Self::Other(cause.into())
    }

    /// 1 failed, 64 bad configuration, 70 shutdown deadline passed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::DeadlinePassed { .. } => 70,
            _ => 1,
        }
    }
}

#[derive(Debug, Parser)]
struct Flags {
    /// A TOML file; environment variables FOIL_SECTION__KEY go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one configuration key, before everything else; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Checks the configuration and ends
    #[arg(long)]
    check_config: bool,
    /// Prints the configuration as TOML, secrets hidden, and ends
    #[arg(long)]
    dump_config: bool,
}

/// Splits `section.key=value`.
///
/// # Errors
/// When there is no `=`, or no section.
pub fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must look like section.key=value".to_owned()),
    }
}

/// The whole of a stage's binary: flags, configuration, telemetry, admin port, signals, connection,
/// then `run`, then the flush. `name` is the stage's, as in `names::stage`.
///
/// Exit codes: 0 clean, 1 failed, 2 usage, 64 bad configuration, 70 shutdown deadline passed.
pub fn main_with<C, F>(name: &'static str, run: impl FnOnce(C, Service) -> F) -> ExitCode
where
    C: ServiceConfig,
    F: Future<Output = Result<(), RunError>>,
{
    // On a bad command line this prints the usage and exits with 2.
    let matches = <Flags as clap::CommandFactory>::command()
        .display_name(format!("foil-{name}"))
        .bin_name(format!("foil-{name}"))
        .version(env!("CARGO_PKG_VERSION"))
        .get_matches();
    let flags = match <Flags as clap::FromArgMatches>::from_arg_matches(&matches) {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    };
    let sources = Sources::of_process(flags.config, flags.set);
    let config: C = match config::load(&sources) {
        Ok(config) => config,
        Err(error) => return failed(name, &RunError::Config(error)),
    };
    if flags.dump_config {
        return match config::dump(&config) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => failed(name, &RunError::other(error)),
        };
    }
    if flags.check_config {
        println!("the configuration holds");
        return ExitCode::SUCCESS;
    }
    match block_on(name, config, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(name, &error),
    }
}

fn failed(name: &str, error: &RunError) -> ExitCode {
    eprintln!("foil-{name}: {error}");
    ExitCode::from(error.exit_code())
}

fn block_on<C, F>(
    name: &'static str,
    config: C,
    run: impl FnOnce(C, Service) -> F,
) -> Result<(), RunError>
where
    C: ServiceConfig,
    F: Future<Output = Result<(), RunError>>,
{
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::other)?;
    let shutdown = Shutdown::new(config.common().shutdown.deadline);
    let result = runtime.block_on(async {
        let service = start(name, &config, &shutdown).await?;
        let result = run(config, service).await;
        // Whoever ended first, the rest of the process ends with it.
        shutdown.trigger();
        result
    });
    let left = shutdown.remaining().max(Duration::from_millis(100));
    telemetry::flush(left.min(Duration::from_secs(5)));
    // A handler that blocks its thread must not keep the process.
    runtime.shutdown_timeout(shutdown.remaining().max(Duration::from_millis(100)));
    result
}

async fn start<C: ServiceConfig>(
    name: &'static str,
    config: &C,
    shutdown: &Shutdown,
) -> Result<Service, RunError> {
    let common = config.common();
    telemetry::init(common.telemetry, name)?;
    telemetry::install_panic_hook();
    shutdown.listen_to_signals().map_err(RunError::other)?;
    let health = Health::new();
    // Until its stage runs: models load between.
    health.starting();
    admin::serve(common.admin, &health, shutdown).await?;
    let nats = nats::connect_watched(common.nats, &format!("foil-{name}"), &health).await?;
    Ok(Service {
        health: health.scoped(name),
        nats,
        shutdown: shutdown.clone(),
    })
}

/// ring is the one TLS provider of this workspace; with several in the build none is the default.
/// Further calls change nothing.
pub fn install_tls_provider() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
