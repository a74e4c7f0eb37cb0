//! The selector: which peers stand for the rest, and whose difference is due.

use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};
use std::sync::Arc;

pub mod choose;
pub mod cluster;
pub mod config;
mod plan;
mod stage;

pub use config::{Compare, Config, SelectorConfig, TenantConfig};
pub use stage::Selector;

/// Runs the stage over shared parts until the shutdown.
///
/// # Errors
/// Those of [`run_stage`].
pub async fn run(config: &SelectorConfig, store: Store, service: &Service) -> Result<(), RunError> {
    let qdrant = service.stage(stages::SELECTOR).health.register("store");
    let spec = StageSpec::new(stages::SELECTOR, stream::SELECT).with_dead_event(events::dead);
    let stage = Arc::new(Selector::new(config, store.clone()));
    tokio::select! {
        result = run_stage(stage, spec, config.worker.clone(), service) => result,
        never = qdrant.follow(|| store.ready()) => match never {},
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
