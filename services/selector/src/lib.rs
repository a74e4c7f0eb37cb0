//! The selector: which peers stand for the rest, and whose difference is due.

use foil_proto::names::{stage as stages, stream};
use foil_runtime::{HealthCheck, RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};
use std::sync::Arc;
use std::time::Duration;

pub mod choose;
pub mod cluster;
pub mod config;
mod plan;
mod stage;

pub use config::{Compare, Config, SelectorConfig};
pub use stage::Selector;

/// How often the store is looked at while it answers, and while it does not.
const PROBES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// Runs the stage over shared parts until the shutdown.
///
/// # Errors
/// Those of [`run_stage`].
pub async fn run(config: &SelectorConfig, store: Store, service: &Service) -> Result<(), RunError> {
    let qdrant = service.stage(stages::SELECTOR).health.register("qdrant");
    let spec = StageSpec::new(stages::SELECTOR, stream::SELECT).with_dead_event(events::dead);
    let stage = Arc::new(Selector::new(config, store.clone()));
    tokio::select! {
        result = run_stage(stage, spec, config.worker.clone(), service) => result,
        never = watch(&qdrant, &store) => match never {},
    }
}

/// Runs the stage as a process of its own.
///
/// # Errors
/// [`RunError::Other`] with what the store's set-up says; others as [`run`].
pub async fn main_run(config: Config, service: Service) -> Result<(), RunError> {
    let store = Store::connect(&config.store, service.nats.clone()).await;
    let store = store.map_err(RunError::other)?;
    run(&config.selector, store, &service).await
}

/// Keeps the check in step with the store: a stage pulls only while its checks are up, so an outage
/// costs waiting, not attempts.
async fn watch(check: &HealthCheck, store: &Store) -> std::convert::Infallible {
    let mut last = None;
    loop {
        let result = store.ready().await;
        let up = result.is_ok();
        check.set(up);
        if let Err(error) = result
            && last != Some(false)
        {
            tracing::warn!(%error, "waiting for the store");
        }
        last = Some(up);
        tokio::time::sleep(PROBES[usize::from(!up)]).await;
    }
}
