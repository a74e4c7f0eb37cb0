//! The embedder: takes producers' updates in, embeds what users wrote and keeps the store in step.
//!
//! [`TextEmbedder`] is the port; [`llama_cpp`] and [`openai`] are its adapters.

use std::sync::Arc;

use foil_proto::names::{stage as stages, stream};
use foil_runtime::{RunError, Service, StageSpec, run_stage};
use foil_store::{Store, events};

pub mod config;
pub mod embed;
mod erasures;
pub mod llama_cpp;
pub mod metrics;
pub mod openai;
mod stage;
mod trace;

pub use config::{Config, EmbedConfig, EmbedEngine, EmbedderConfig};
pub use embed::{EmbedError, TextEmbedder, load};
pub use stage::Embedder;

/// An embedding of one word tells whether the model is there.
const PROBE_TEXT: &str = "ready";

/// Runs the stage over shared parts until the shutdown.
///
/// # Errors
/// [`RunError::Other`] when the model's vectors are of another length than the store's; others are
/// those of [`run_stage`].
pub async fn run(
    config: &EmbedderConfig,
    store: Store,
    embedder: Arc<dyn TextEmbedder>,
    service: &Service,
) -> Result<(), RunError> {
    check_dimension(embedder.dimension(), store.config().dimension)?;
    let scope = service.stage(stages::EMBEDDER);
    let qdrant = scope.health.register("store");
    let model = scope.health.register("model");
    let stage = Arc::new(Embedder::new(config, store.clone(), Arc::clone(&embedder)));
    let spec = StageSpec::new(stages::EMBEDDER, stream::UPDATES).with_dead_event(events::dead);
    let probe = || async {
        let vectors = embedder.embed(vec![PROBE_TEXT.to_owned()]).await;
        vectors.map(drop)
    };
    tokio::select! {
        result = run_stage(stage, spec, config.worker.clone(), service) => result,
        never = qdrant.follow(|| store.ready()) => match never {},
        never = model.follow(probe) => match never {},
    }
}

/// Runs the stage as a process of its own: connects the store and loads the model.
///
/// # Errors
/// [`RunError::Other`] with what the store's or the model's set-up says; others as [`run`].
pub async fn main_run(config: Config, service: Service) -> Result<(), RunError> {
    let store = Store::connect(&config.store, service.nats.clone()).await;
    let store = store.map_err(RunError::other)?;
    let embedder = load(&config.embed).await.map_err(RunError::other)?;
    run(&config.embedder, store, embedder, &service).await
}

fn check_dimension(model: usize, store: u32) -> Result<(), RunError> {
    if u32::try_from(model) == Ok(store) {
        return Ok(());
    }
    Err(RunError::other(format!(
        "embed.model: makes vectors of {model}, but store.dimension is {store}"
    )))
}
