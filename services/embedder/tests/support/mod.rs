//! Real servers and a running stage; the vectors come from foil-llm's stub.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use foil_edge::{Edge, EdgeConfig};
use foil_embedder::openai::OpenAiEmbedder;
use foil_embedder::{EmbedConfig, EmbedEngine, EmbedderConfig, run};
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_runtime::testing::NatsServer;
use foil_runtime::{RunError, Service};
use foil_store::{ProvisionConfig, Store, StoreConfig, provision};
use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use v1::update::Change;

pub const TENANT: &str = "acme";
const DIMENSION: usize = 4;

pub struct Rig {
    pub store: Store,
    pub jetstream: jetstream::Context,
    pub service: Service,
    pub model: StubServer,
    running: JoinHandle<Result<(), RunError>>,
    edge: Option<Edge>,
    port: u16,
    _nats: NatsServer,
    directory: TempDir,
}

impl Rig {
    pub async fn start(config: EmbedderConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let edge = start_edge(&directory, 0).await;
        let nats = NatsServer::start(None);
        let service = nats.service(Duration::from_secs(10)).await;
        let store = StoreConfig {
            qdrant_url: format!("http://{}", edge.address()),
            dimension: DIMENSION as u32,
            ..StoreConfig::default()
        };
        let store = Store::connect(&store, service.nats.clone()).await.unwrap();
        let done = provision(&store, &ProvisionConfig::default()).await;
        done.unwrap();
        let model = StubServer::start(StubConfig {
            dimensions: DIMENSION,
            ..StubConfig::default()
        });
        let model = model.unwrap();
        let embedder = OpenAiEmbedder::new(&EmbedConfig {
            engine: EmbedEngine::Openai,
            model: "stub".to_owned(),
            dimension: DIMENSION as u32,
            base_url: Some(model.base_url()),
            timeout: Duration::from_secs(1),
            ..EmbedConfig::default()
        });
        let embedder = Arc::new(embedder.unwrap());
        let (part, scope) = (store.clone(), service.clone());
        let running = tokio::spawn(async move { run(&config, part, embedder, &scope).await });
        Self {
            store,
            jetstream: jetstream::new(service.nats.clone()),
            service,
            model,
            running,
            port: edge.address().port(),
            edge: Some(edge),
            _nats: nats,
            directory,
        }
    }

    pub async fn stop_qdrant(&mut self) {
        self.edge.take().unwrap().shutdown().await;
    }

    /// On the same port and data.
    pub async fn start_qdrant(&mut self) {
        self.edge = Some(start_edge(&self.directory, self.port).await);
    }

    pub async fn publish(&self, subject: String, update: &v1::Update) -> u64 {
        let sent = self
            .jetstream
            .publish(subject, update.encode_to_vec().into());
        sent.await.unwrap().await.unwrap().sequence
    }

    /// Publishes for `user`.
    pub async fn put(&self, user: &str, change: Change) -> u64 {
        let update = v1::Update {
            tenant: TENANT.to_owned(),
            change: Some(change),
        };
        self.publish(subject::update(TENANT, user), &update).await
    }

    /// Publishes for `user` and waits until the stage is done with it.
    pub async fn send(&self, user: &str, change: Change) -> u64 {
        let sequence = self.put(user, change).await;
        self.settled().await;
        sequence
    }

    pub async fn settled(&self) {
        // Not the count of what is pending: it lags behind the publisher's ack.
        let updates = self.jetstream.get_stream(stream::UPDATES).await.unwrap();
        let last = updates.cached_info().state.last_sequence;
        eventually("the end of the stage's work", async || {
            self.consumer().await.ack_floor.stream_sequence >= last
        })
        .await;
    }

    pub async fn consumer(&self) -> jetstream::consumer::Info {
        let consumer: jetstream::consumer::PullConsumer = self
            .jetstream
            .get_consumer_from_stream("embedder", stream::UPDATES)
            .await
            .unwrap();
        consumer.cached_info().clone()
    }

    pub async fn count(&self, stream: &str) -> u64 {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        stream.cached_info().state.messages
    }

    /// Takes everything off a stream.
    pub async fn clear(&self, name: &str) {
        let stream = self.jetstream.get_stream(name).await.unwrap();
        stream.purge().await.unwrap();
    }

    pub async fn end(self) {
        self.service.shutdown.trigger();
        self.running.await.unwrap().unwrap();
    }
}

async fn start_edge(directory: &TempDir, port: u16) -> Edge {
    let edge = foil_edge::start(EdgeConfig {
        data_dir: directory.path().join("qdrant"),
        listen: ([127, 0, 0, 1], port).into(),
    });
    edge.await.unwrap()
}

/// Polls until it holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "{what} never came");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

pub fn text(user: &str, item: &str, revision: u64) -> v1::RecordUpsert {
    v1::RecordUpsert {
        user: user.to_owned(),
        item: item.to_owned(),
        text: format!("{user} on {item}, {revision}"),
        occurred_at_ms: 1_700_000_000_000,
        revision,
        ..v1::RecordUpsert::default()
    }
}
