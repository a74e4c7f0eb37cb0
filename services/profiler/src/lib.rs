//! The profiler: writes the difference-aware summary of a user, version by version.
//!
//! A token names a user. The stage reads their newest records and differences ([`gather`]), waits
//! while comparisons are under way, has the model sum them up ([`summary`]), and stores the next
//! version by compare-and-swap. Inputs that did not change cost no call of the model.

pub mod config;
pub mod gather;
pub mod metrics;
pub mod stage;
pub mod summary;

use std::sync::Arc;

use foil_llm::{Asker, LanguageModel, ModelHealth};
use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};

pub use config::{Config, ProfilerConfig, TenantConfig};
pub use stage::Profiler;

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
    let scope = service.stage(stages::PROFILER);
    let qdrant = scope.health.register("store");
    let health = ModelHealth::new(scope.health.register("model"));
    let asker = Asker {
        model: Arc::clone(&model),
        health: health.clone(),
        temperature: config.temperature,
        outage_delay: config.outage_delay,
        stage: stages::PROFILER,
    };
    metrics::start_at_zero();
    let stage = Profiler::new(config, store.clone(), asker).map_err(RunError::other)?;
    let spec = StageSpec::new(stages::PROFILER, stream::PROFILE).with_dead_event(events::dead);
    tokio::select! {
        result = run_stage(Arc::new(stage), spec, config.worker.clone(), service) => result,
        never = qdrant.follow(|| store.ready()) => match never {},
        never = health.watch(&*model) => match never {},
    }
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
