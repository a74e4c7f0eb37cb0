//! Real servers and a running stage; the vectors come from foil-llm's stub.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use foil_embedder::openai::OpenAiEmbedder;
use foil_embedder::{EmbedConfig, EmbedEngine, EmbedderConfig, run};
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_rig::{DIMENSION, Servers};
use foil_runtime::RunError;
use prost::Message as _;
use tokio::task::JoinHandle;
use v1::update::Change;

pub use foil_rig::{TENANT, eventually};

pub struct Rig {
    servers: Servers,
    pub model: StubServer,
    running: JoinHandle<Result<(), RunError>>,
}

impl Deref for Rig {
    type Target = Servers;

    fn deref(&self) -> &Servers {
        &self.servers
    }
}

impl Rig {
    pub async fn start(config: EmbedderConfig) -> Self {
        let servers = Servers::start().await;
        let model = StubServer::start(StubConfig {
            dimensions: DIMENSION as usize,
            ..StubConfig::default()
        });
        let model = model.unwrap();
        let embedder = OpenAiEmbedder::new(&EmbedConfig {
            engine: EmbedEngine::Openai,
            model: "stub".to_owned(),
            dimension: DIMENSION,
            base_url: Some(model.base_url()),
            timeout: Duration::from_secs(1),
            ..EmbedConfig::default()
        });
        let embedder = Arc::new(embedder.unwrap());
        let (store, service) = (servers.store.clone(), servers.service.clone());
        let running = tokio::spawn(async move { run(&config, store, embedder, &service).await });
        Self {
            servers,
            model,
            running,
        }
    }

    pub async fn stop_qdrant(&mut self) {
        self.servers.qdrant.stop().await;
    }

    pub async fn start_qdrant(&mut self) {
        self.servers.qdrant.restart().await;
    }

    pub async fn publish(&self, subject: String, update: &v1::Update) -> u64 {
        self.publish_bytes(subject, update.encode_to_vec()).await
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
        self.servers.stop(self.running).await;
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
