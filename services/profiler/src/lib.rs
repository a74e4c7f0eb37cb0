//! The profiler: writes the difference-aware summary of a user, version by version.
//!
//! A token names a user. The stage reads their newest records and differences ([`gather`]), waits
//! while comparisons are under way, has the model sum them up ([`summary`]), and stores the next
//! version by compare-and-swap. Inputs that did not change cost no call of the model.

pub mod config;
mod flights;
pub mod gather;
mod outage;
pub mod stage;
pub mod summary;

use std::sync::Arc;

use foil_llm::LanguageModel;
use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};
use tokio::task::JoinSet;

pub use config::{Config, ProfilerConfig};
pub use stage::Profiler;

use outage::{ModelHealth, watch_store};

/// Runs the stage until the shutdown, on a store and a model that others may use too.
///
/// # Errors
/// Those of [`run_stage`].
pub async fn run(
    config: &ProfilerConfig,
    store: Store,
    model: Arc<dyn LanguageModel>,
    service: &Service,
) -> Result<(), RunError> {
    let service = service.stage(stages::PROFILER);
    let health = ModelHealth::new(service.health.register("model"));
    // They end with this function.
    let mut watches = JoinSet::new();
    let check = service.health.register("store");
    watches.spawn(watch_store(store.clone(), check, service.shutdown.clone()));
    watches.spawn(
        health
            .clone()
            .watch(model.clone(), service.shutdown.clone()),
    );
    let stage = Profiler::new(config, store, model, health).map_err(RunError::other)?;
    let spec = StageSpec::new(stages::PROFILER, stream::PROFILE).with_dead_event(events::dead);
    run_stage(Arc::new(stage), spec, config.worker.clone(), &service).await
}

/// The whole of `foil-profiler`: connects the store, loads the model, runs the stage.
///
/// # Errors
/// When the store's configuration or the model is at fault, and those of [`run`].
pub async fn main_run(config: Config, service: Service) -> Result<(), RunError> {
    let store = Store::connect(&config.store, service.nats.clone()).await;
    let store = store.map_err(RunError::other)?;
    let model = foil_llm::load(&config.llm).await.map_err(RunError::other)?;
    run(&config.profiler, store, model, &service).await
}
