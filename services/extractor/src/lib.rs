//! The extractor: compares a record with its representatives and stores what it found.
//!
//! A token names a record and its representatives. The stage reads them, measures how the record
//! differs ([`evidence`]), has the model say it in a fixed schema ([`findings`]), refuses what
//! repeats a peer ([`leak`]), and stores it fenced by the record's revision. One call of the model
//! for each stored difference, none for a token whose work is done.

pub mod compare;
pub mod config;
pub mod evidence;
pub mod findings;
pub mod metrics;
pub mod stage;

#[cfg(test)]
#[path = "../../../tests/hostile/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "../../../tests/hostile/fuzz.rs"]
mod random;

use std::sync::Arc;

use foil_llm::{Asker, LanguageModel, ModelHealth};
use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};

pub use config::{Config, Criterion, ExtractorConfig, TenantConfig};
pub use foil_llm::leak;
pub use stage::Extractor;

/// Runs the stage until the shutdown, on a store and a model that others may use too.
///
/// # Errors
/// Those of [`run_stage`].
pub async fn run(
    config: &ExtractorConfig,
    store: Store,
    model: Arc<dyn LanguageModel>,
    service: &Service,
) -> Result<(), RunError> {
    let scope = service.stage(stages::EXTRACTOR);
    let qdrant = scope.health.register("store");
    let health = ModelHealth::new(scope.health.register("model"));
    let asker = Asker {
        model: Arc::clone(&model),
        health: health.clone(),
        temperature: config.temperature,
        outage_delay: config.outage_delay,
        stage: stages::EXTRACTOR,
    };
    let stage = Extractor::new(config, store.clone(), asker).map_err(RunError::other)?;
    let spec = StageSpec::new(stages::EXTRACTOR, stream::EXTRACT).with_dead_event(events::dead);
    tokio::select! {
        result = run_stage(Arc::new(stage), spec, config.worker.clone(), service) => result,
        never = qdrant.follow(|| store.ready()) => match never {},
        never = health.watch(&*model) => match never {},
    }
}

/// The whole of `foil-extractor`: connects the store, loads the model, runs the stage.
///
/// # Errors
/// When the store's configuration or the model is at fault, and those of [`run`].
pub async fn main_run(config: Config, service: Service) -> Result<(), RunError> {
    let store = Store::connect(&config.store, service.nats.clone()).await;
    let store = store.map_err(RunError::other)?;
    let model = foil_llm::load(&config.llm).await.map_err(RunError::other)?;
    run(&config.extractor, store, model, &service).await
}
