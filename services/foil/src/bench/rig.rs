//! The pipeline in this process, over servers of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::{self, Context as JetStream};
use foil_edge::Edge;
use foil_llm::EngineKind;
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::stream;
use foil_proto::v1;
use foil_runtime::{Health, NatsConfig, RunError, Service, Shutdown, nats};
use foil_store::{Store, provision};
use futures::TryStreamExt as _;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::texts::TENANT;
use crate::commands::ingest::publisher::Publisher;
use crate::commands::ingest::wait;
use crate::config::FoilConfig;
use crate::nats_child::NatsChild;
use crate::session::Session;
use crate::up;

const POLL_EVERY: Duration = Duration::from_millis(100);
/// The queues are empty when this many looks in a row find nothing.
const IDLE_LOOKS: u32 = 10;
const SAY_EVERY: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);

/// A loopback port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// A nats-server child with its data in a directory that goes with it.
pub struct Nats {
    pub config: NatsConfig,
    pub directory: TempDir,
    child: NatsChild,
}

impl Nats {
    /// Starts the one that `up.nats_server` names.
    ///
    /// # Errors
    /// When none is named, or it does not start.
    pub async fn start(config: &FoilConfig) -> Result<Self> {
        let program = config.up.nats_server.as_deref();
        let program = program.context("up.nats_server: is missing")?;
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let config = NatsConfig {
            url: format!("nats://127.0.0.1:{}", free_port()?),
            ..NatsConfig::default()
        };
        let addresses = nats::addresses(&config.url)?;
        let address = addresses.first().context("nats.url: is empty")?;
        let child = NatsChild::start(program, address, directory.path()).await?;
        Ok(Self {
            config,
            directory,
            child,
        })
    }

    /// What stages run in, over a connection of its own.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn service(&self) -> Result<Service> {
        let health = Health::new();
        let nats = nats::connect_watched(&self.config, "foil-bench", &health).await?;
        nats.flush().await.context("nats-server does not answer")?;
        Ok(Service {
            health,
            nats,
            shutdown: Shutdown::new(DRAIN),
        })
    }

    /// Ends it.
    pub async fn stop(self) {
        self.child.stop().await;
    }
}

/// Every stage at work, with a stub for the language model.
pub struct Rig {
    pub session: Session,
    pub stub: StubServer,
    running: JoinSet<Result<(), RunError>>,
    service: Service,
    edge: Edge,
    nats: Nats,
}

impl Rig {
    /// Starts servers and stages with the embedding model of `base`. `adjust` has the last word on
    /// the configuration.
    ///
    /// # Errors
    /// What does not start.
    pub async fn start(
        base: &FoilConfig,
        stub: StubConfig,
        adjust: impl FnOnce(&mut FoilConfig),
    ) -> Result<Self> {
        let stub = StubServer::start(stub).context("the stub does not start")?;
        let nats = Nats::start(base).await?;
        let mut config = FoilConfig {
            nats: nats.config.clone(),
            embed: base.embed.clone(),
            ..FoilConfig::default()
        };
        config.store.dimension = base.store.dimension;
        config.store.qdrant_url = "http://127.0.0.1:0".to_owned();
        config.llm.engine = EngineKind::Openai;
        config.llm.model = "stub".to_owned();
        config.llm.base_url = Some(stub.base_url());
        adjust(&mut config);
        let directory: &Path = nats.directory.path();
        let edge = up::start_edge(&mut config, directory).await?;
        let edge = edge.context("up.embedded_qdrant: is off")?;
        let service = nats.service().await?;
        let store = Store::connect(&config.store, service.nats.clone()).await?;
        provision::provision(&store, &config.provision).await?;
        let embedder = foil_embedder::load(&config.embed).await?;
        let model = foil_llm::load(&config.llm).await?;
        let running = up::spawn(&config, &store, &service, embedder, model);
        Ok(Self {
            session: Session {
                jetstream: jetstream::new(service.nats.clone()),
                nats: service.nats.clone(),
                store,
                tenant: TENANT.to_owned(),
                json: false,
                config,
            },
            stub,
            running,
            service,
            edge,
            nats,
        })
    }

    /// Publishes as `foil ingest` does, until all is stored.
    ///
    /// # Errors
    /// When one is not stored.
    pub async fn publish(&self, updates: impl IntoIterator<Item = v1::Update>) -> Result<()> {
        let mut publisher = Publisher::new(self.session.jetstream.clone());
        for (number, update) in updates.into_iter().enumerate() {
            let place = || format!("update {number}");
            publisher.publish(&update, place).await?;
        }
        publisher.drain().await
    }

    /// Waits until no work is left, and tells when that was.
    ///
    /// # Errors
    /// When there is some after `limit`, a stage ended, or there is a dead letter.
    pub async fn idle(&mut self, limit: Duration) -> Result<Instant> {
        let started = Instant::now();
        let mut said = started;
        let (mut since, mut looks) = (None, 0);
        loop {
            if let Some(ended) = self.running.try_join_next() {
                ended??;
                bail!("a stage ended");
            }
            let left = wait::left(&self.session.jetstream).await?;
            let now = Instant::now();
            if left.total() > 0 {
                (since, looks) = (None, 0);
            } else {
                looks += 1;
                let first = *since.get_or_insert(now);
                if looks == IDLE_LOOKS {
                    let dead = wait::dead_sequence(&self.session).await?;
                    ensure!(dead == 0, "{dead} dead letters");
                    return Ok(first);
                }
            }
            ensure!(started.elapsed() < limit, "not done in time: {left}");
            if said.elapsed() >= SAY_EVERY {
                said = now;
                let seconds = started.elapsed().as_secs_f64();
                note!(
                    "bench:   {seconds:.0} s, {} LLM calls, {left}",
                    self.stub.calls()
                );
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Ends stages and servers.
    pub async fn stop(mut self) {
        self.service.shutdown.trigger();
        while self.running.join_next().await.is_some() {}
        self.edge.shutdown().await;
        self.nats.stop().await;
    }
}

/// Events of one kind so far.
///
/// # Errors
/// When NATS does not answer.
pub async fn events(jetstream: &JetStream, kind: &str) -> Result<usize> {
    let stream = jetstream.get_stream(stream::EVENTS).await?;
    let subject = format!("foil.v1.event.{kind}.>");
    let counts = stream.info_with_subjects(subject).await?;
    let counts: Vec<(String, usize)> = counts.try_collect().await?;
    Ok(counts.iter().map(|(_, count)| count).sum())
}
