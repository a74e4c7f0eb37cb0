//! The generator: builds the context of a request and streams personal text.
//!
//! A context costs no LLM call, a text one. [`client::Caller`] is the other side: it asks and reads
//! the streamed reply.

mod activation;
mod answer;
pub mod bm25;
pub mod client;
pub mod config;
pub mod context;
mod evidence;
mod history;
mod prompt;
mod reply;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use foil_llm::LanguageModel;
use foil_proto::names::{stage as names, stream};
use foil_runtime::{HealthCheck, RunError, Service, Shutdown, StageSpec, run_stage};
use foil_store::Store;

pub use client::{CallError, Caller};
pub use config::{Config, GeneratorConfig};
use stage::Generator;

/// How often the store is looked at.
const PROBE: Duration = Duration::from_secs(5);
/// How soon again while it does not answer.
const PROBE_DOWN: Duration = Duration::from_millis(500);

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
    let scope = service.stage(names::GENERATOR);
    // The model was loaded before this: an engine that fails later fails requests, each with a
    // clear answer, and contexts go on being served.
    scope.health.register("model").set(true);
    let probe = probe(
        store.clone(),
        scope.health.register("store"),
        scope.shutdown.clone(),
    );
    let probe = tokio::spawn(probe);
    let generator = Generator::new(config.clone(), store, model).map_err(RunError::other)?;
    let spec = StageSpec::new(names::GENERATOR, stream::GENERATE)
        .with_dead_event(foil_store::events::dead);
    let result = run_stage(Arc::new(generator), spec, config.worker.clone(), service).await;
    probe.abort();
    result
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

async fn probe(store: Store, check: HealthCheck, shutdown: Shutdown) {
    let mut up = None;
    loop {
        let now = store.ready().await;
        if up != Some(now.is_ok()) {
            match &now {
                Ok(()) => tracing::info!("the store answers"),
                Err(error) => tracing::warn!(%error, "the store is not ready"),
            }
        }
        up = Some(now.is_ok());
        check.set(now.is_ok());
        let pause = if now.is_ok() { PROBE } else { PROBE_DOWN };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
