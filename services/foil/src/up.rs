//! `foil up`: the servers that are not named, then every stage, in this one process.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use foil_edge::{Edge, EdgeConfig, EdgeError};
use foil_embedder::TextEmbedder;
use foil_llm::LanguageModel;
use foil_proto::names::stage;
use foil_runtime::{
    Health, HealthCheck, RunError, Service, ServiceConfig as _, Shutdown, admin, nats, telemetry,
};
use foil_store::{Store, provision};
use tokio::task::JoinSet;

use crate::config::{FoilConfig, UpConfig};
use crate::nats_child::NatsChild;

/// Runs until a signal, or until something that cannot be done without ends.
///
/// # Errors
/// What kept it from starting, or ended it.
pub async fn run(mut config: FoilConfig) -> Result<()> {
    let shutdown = Shutdown::new(config.shutdown.deadline);
    // The engine behind the embedded Qdrant warns of things that it decides itself.
    config.telemetry.level.push_str(",qdrant_edge=error");
    telemetry::init(config.common().telemetry, "foil")?;
    telemetry::install_panic_hook();
    shutdown.listen_to_signals()?;
    let result = serve(config, &shutdown).await;
    shutdown.trigger();
    telemetry::flush(shutdown.remaining().min(std::time::Duration::from_secs(5)));
    result
}

async fn serve(mut config: FoilConfig, shutdown: &Shutdown) -> Result<()> {
    let data = config.up.data_dir.clone();
    let lock = hold(&data)?;
    let health = Health::new();
    // Down until everything is provisioned and loaded: before that nobody should publish.
    let started = health.register("started");
    let admin = admin::serve(&config.admin, &health, shutdown)
        .await
        .map_err(|error| anyhow!("{error}; name a free port"))?;
    let mut edge = start_edge(&mut config, &data).await?;
    let mut child = start_nats(&config, &data).await?;

    let result = tokio::select! {
        result = stages(&config, &health, &started, shutdown, admin) => result,
        words = async { child.as_mut().expect("checked by the branch").ended().await },
            if child.is_some() => Err(anyhow!(words)),
        () = async { edge.as_mut().expect("checked by the branch").failed().await },
            if edge.is_some() => Err(anyhow!("the embedded Qdrant stopped by itself")),
    };
    if let Some(edge) = edge {
        edge.shutdown().await;
    }
    if let Some(child) = child {
        child.stop().await;
    }
    drop(lock);
    result
}

/// Takes the data directory for this process.
fn hold(data: &Path) -> Result<std::fs::File> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let path = data.join("foil.lock");
    let file =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(anyhow!(
            "up.data_dir: {} is held by another process; stop that `foil up`, or name another \
             directory",
            data.display()
        )),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Starts the embedded Qdrant where `store.qdrant_url` says, unless it is not wanted, and notes there
/// where it listens.
///
/// # Errors
/// When the address is none or in use, or the data cannot be opened.
pub async fn start_edge(config: &mut FoilConfig, data: &Path) -> Result<Option<Edge>> {
    if !config.up.embedded_qdrant {
        return Ok(None);
    }
    let listen = UpConfig::qdrant_address(&config.store.qdrant_url)
        .context("store.qdrant_url is no address to listen on")?;
    let data_dir = data.join("qdrant");
    let edge = foil_edge::start(EdgeConfig { data_dir, listen })
        .await
        .map_err(|error| match error {
            EdgeError::Listen { .. } => anyhow!(
                "store.qdrant_url: the embedded Qdrant {error}; name a free port, or set \
                 up.embedded_qdrant=false to use the Qdrant that runs there"
            ),
            other => anyhow!(other).context("embedded Qdrant (up.data_dir)"),
        })?;
    config.store.qdrant_url = format!("http://{}", edge.address());
    Ok(Some(edge))
}

async fn start_nats(config: &FoilConfig, data: &Path) -> Result<Option<NatsChild>> {
    let Some(program) = &config.up.nats_server else {
        return Ok(None);
    };
    let addresses = nats::addresses(&config.nats.url)?;
    let [address] = &addresses[..] else {
        anyhow::bail!("nats.url names several servers, and up.nats_server would start one");
    };
    NatsChild::start(program, address, data).await.map(Some)
}

async fn stages(
    config: &FoilConfig,
    health: &Health,
    started: &HealthCheck,
    shutdown: &Shutdown,
    admin: std::net::SocketAddr,
) -> Result<()> {
    let nats = nats::connect_watched(&config.nats, "foil-up", health).await?;
    let store = Store::connect(&config.store, nats.clone()).await?;
    let report = provision::provision(&store, &config.provision).await?;
    tracing::info!(
        created = report.count(provision::Change::Created),
        updated = report.count(provision::Change::Updated),
        "provisioned"
    );
    let service = Service {
        health: health.clone(),
        nats,
        shutdown: shutdown.clone(),
    };
    let embedder = foil_embedder::load(&config.embed).await?;
    // One model serves three stages: it is the largest thing in memory.
    let model = foil_llm::load(&config.llm).await?;
    tracing::info!(
        admin = %admin,
        nats = %config.nats.url,
        qdrant = %config.store.qdrant_url,
        llm = %model.info().model,
        embedder = %embedder.model(),
        "ready"
    );
    let mut running = spawn(config, &store, &service, embedder, model);
    started.set(true);
    let mut first = Ok(());
    while let Some(ended) = running.join_next().await {
        // Whichever ends first, by error or by signal, the others drain with it.
        shutdown.trigger();
        let ended = ended.unwrap_or_else(|panic| Err(RunError::other(panic)));
        if first.is_ok() {
            first = ended;
        }
    }
    first.map_err(Into::into)
}

/// Starts the stages, in the order of the flow, and the mover.
pub fn spawn(
    config: &FoilConfig,
    store: &Store,
    service: &Service,
    embedder: Arc<dyn TextEmbedder>,
    model: Arc<dyn LanguageModel>,
) -> JoinSet<Result<(), RunError>> {
    let mut running = JoinSet::new();
    let parts = |name| (store.clone(), Arc::clone(&model), service.stage(name));
    let (section, (store, _, service)) = (config.embedder.clone(), parts(stage::EMBEDDER));
    running.spawn(async move { foil_embedder::run(&section, store, embedder, &service).await });
    let (section, (store, _, service)) = (config.selector.clone(), parts(stage::SELECTOR));
    running.spawn(async move { foil_selector::run(&section, store, &service).await });
    let (section, (store, model_, service)) = (config.extractor.clone(), parts(stage::EXTRACTOR));
    running.spawn(async move { foil_extractor::run(&section, store, model_, &service).await });
    let (section, (store, model_, service)) = (config.profiler.clone(), parts(stage::PROFILER));
    running.spawn(async move { foil_profiler::run(&section, store, model_, &service).await });
    let (section, (store, model_, service)) = (config.generator.clone(), parts(stage::GENERATOR));
    running.spawn(async move { foil_generator::run(&section, store, model_, &service).await });
    let (section, (_, _, service)) = (config.mover.clone(), parts(stage::MOVER));
    running.spawn(async move { foil_mover::run(&section, &service).await });
    running
}
