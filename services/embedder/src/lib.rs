//! The embedder: takes producers' updates in, embeds what users wrote and keeps the store in step.
//!
//! [`TextEmbedder`] is the port; [`llama_cpp`] and [`openai`] are its adapters.

use std::sync::Arc;
use std::time::Duration;

use foil_proto::names::{stage as stages, stream};
use foil_runtime::{HealthCheck, RunError, Service, StageSpec, run_stage};
use foil_store::{Store, StoreError, events};

pub mod config;
pub mod embed;
pub mod llama_cpp;
pub mod openai;
mod stage;

pub use config::{Config, EmbedConfig, EmbedEngine, EmbedderConfig};
pub use embed::{EmbedError, TextEmbedder, load};
pub use stage::Embedder;

/// How often the store is looked at while it answers, and while it does not.
const PROBES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];
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
    let scoped = service.stage(stages::EMBEDDER);
    let model = scoped.health.register("model");
    let qdrant = scoped.health.register("qdrant");
    let spec = StageSpec::new(stages::EMBEDDER, stream::UPDATES).with_dead_event(events::dead);
    let stage = Arc::new(Embedder::new(config, store.clone(), Arc::clone(&embedder)));
    tokio::select! {
        result = run_stage(stage, spec, config.worker.clone(), service) => result,
        never = watch(&model, || async {
            embedder.embed(vec![PROBE_TEXT.to_owned()]).await.map(drop)
        }) => match never {},
        never = watch(&qdrant, || store.ready()) => match never {},
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

/// Keeps a check in step with what `probe` finds. A stage pulls only while its checks are up, so an
/// outage costs waiting, not attempts.
async fn watch<E, F>(check: &HealthCheck, probe: impl Fn() -> F) -> std::convert::Infallible
where
    E: std::fmt::Display,
    F: Future<Output = Result<(), E>>,
{
    let mut last = None;
    loop {
        let result = probe().await;
        let up = result.is_ok();
        check.set(up);
        if let Err(error) = result
            && last != Some(false)
        {
            tracing::warn!(%error, "waiting for what this stage needs");
        }
        last = Some(up);
        tokio::time::sleep(PROBES[usize::from(!up)]).await;
    }
}

/// The usual verdict on an error of the store.
fn stored<T>(result: Result<T, StoreError>) -> Result<T, foil_runtime::StageError> {
    result.map_err(StoreError::into_stage)
}
