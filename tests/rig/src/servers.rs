use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use foil_proto::names::stream;
use foil_runtime::testing::{NatsServer, files_with};
use foil_runtime::{RunError, Service};
use foil_store::{ProvisionConfig, Record, RecordKey, Store, StoreConfig, provision};
use futures::TryStreamExt as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{Qdrant, eventually, record};

/// Both servers, and a store over them. What a client drops first stands first.
pub struct Servers {
    pub store: Store,
    pub config: StoreConfig,
    pub jetstream: JetStream,
    pub service: Service,
    pub nats: NatsServer,
    pub qdrant: Qdrant,
    directory: TempDir,
}

impl Servers {
    /// Servers with everything provisioned.
    ///
    /// # Panics
    /// When a server does not come up, like all that follow.
    pub async fn start() -> Self {
        Self::provisioned(&ProvisionConfig::default()).await
    }

    pub async fn provisioned(config: &ProvisionConfig) -> Self {
        let servers = Self::bare(|_| ()).await;
        let done = provision(&servers.store, config).await;
        done.expect("provisioned");
        servers
    }

    /// Nothing provisioned yet; `change` is made to the configuration of the store.
    pub async fn bare(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let qdrant = Qdrant::start(directory.path()).await;
        let files = directory.path().join("nats");
        std::fs::create_dir(&files).expect("a directory");
        let nats = NatsServer::start(Some(&files));
        let service = nats.service(Duration::from_secs(10)).await;
        let mut config = qdrant.config();
        change(&mut config);
        let store = Store::connect(&config, service.nats.clone()).await;
        Self {
            store: store.expect("a store"),
            config,
            jetstream: async_nats::jetstream::new(service.nats.clone()),
            service,
            nats,
            qdrant,
            directory,
        }
    }

    /// Where both keep their files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Files of either server that hold the word.
    pub fn files_with(&self, word: &str) -> Vec<PathBuf> {
        files_with(self.directory(), word)
    }

    /// Stores a record, and gives it.
    pub async fn put(&self, user: &str, item: &str, text: &str) -> Record {
        let write = record(user, item, text);
        self.store.put_record(&write).await.expect("stored");
        self.record(&write.key).await
    }

    pub async fn record(&self, key: &RecordKey) -> Record {
        let record = self.store.record(key).await.expect("read");
        record.expect("there")
    }

    /// Publishes, and gives the sequence once it is stored.
    pub async fn publish_bytes(&self, subject: String, payload: Vec<u8>) -> u64 {
        let sent = self.jetstream.publish(subject, payload.into()).await;
        let stored = sent.expect("sent").await;
        stored.expect("stored").sequence
    }

    /// Messages of a stream on these subjects.
    pub async fn count(&self, stream: &str, subjects: &str) -> usize {
        let found = self.jetstream.get_stream_no_info(stream).await;
        let found = found.expect("the stream");
        let counts = found.info_with_subjects(subjects).await.expect("its state");
        let counts: Vec<(String, usize)> = counts.try_collect().await.expect("all counts");
        counts.iter().map(|(_, count)| count).sum()
    }

    pub async fn until_empty(&self, stream: &str) {
        eventually("an empty queue", async || {
            self.count(stream, ">").await == 0
        })
        .await;
    }

    pub async fn events(&self, kind: &str) -> usize {
        let subjects = format!("foil.v1.event.{kind}.>");
        self.count(stream::EVENTS, &subjects).await
    }

    /// Stops the stage that runs in `service`, as a signal does.
    pub async fn stop(&self, running: JoinHandle<Result<(), RunError>>) {
        self.service.shutdown.trigger();
        running.await.expect("no panic").expect("a clean end");
    }
}
