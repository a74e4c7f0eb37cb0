//! The generator: builds the context of a request and streams personal text.
//!
//! A context costs no LLM call, a text one; the strategies of comparison that have the LLM sum up what
//! no profile holds cost more ([`summary`]). [`client::Caller`] is the other side: it asks and reads
//! the streamed reply.

mod activation;
mod answer;
pub mod bm25;
pub mod client;
pub mod config;
pub mod context;
mod evidence;
pub mod guard;
pub mod history;
mod metered;
pub mod metrics;
pub mod others;
pub mod prompt;
mod reply;
mod stage;
pub mod strategy;
pub mod summary;

use std::sync::Arc;

use foil_llm::LanguageModel;
use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};

pub use client::{CallError, Caller};
pub use config::{Config, GeneratorConfig, TenantConfig};
use stage::Generator;
pub use strategy::{Known, Strategy, Summary};

/// Runs the stage until the shutdown, with parts that others may share.
///
/// # Errors
/// As [`run_stage`].
pub async fn run(
    config: &GeneratorConfig,
    store: Store,
    model: Arc<dyn LanguageModel>,
    service: &Service,
) -> Result<(), RunError> {
    let scope = service.stage(stages::GENERATOR);
    let qdrant = scope.health.register("store");
    // The model was loaded before this: an engine that fails later fails requests, each with a
    // clear answer, and contexts go on being served.
    scope.health.register("model").set(true);
    let stage = Generator::new(config.clone(), store.clone(), model).map_err(RunError::other)?;
    let spec = StageSpec::new(stages::GENERATOR, stream::GENERATE).with_dead_event(events::dead);
    tokio::select! {
        result = run_stage(Arc::new(stage), spec, config.worker.clone(), service) => result,
        never = qdrant.follow(|| store.ready()) => match never {},
    }
}

/// The whole service: connects the store and loads the model first.
///
/// # Errors
/// When either cannot be had, and as [`run`].
pub async fn main_run(config: Config, service: Service) -> Result<(), RunError> {
    let store = Store::connect(&config.store, service.nats.clone()).await;
    let store = store.map_err(RunError::other)?;
    let model = foil_llm::load(&config.llm).await.map_err(RunError::other)?;
    run(&config.generator, store, model, &service).await
}
