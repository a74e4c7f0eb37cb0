//! Real servers, a running stage, and values to work on.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use foil_edge::{Edge, EdgeConfig};
use foil_extractor::ExtractorConfig;
use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::stub::{Mode, StubConfig, StubServer};
use foil_llm::{LanguageModel, load};
use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_runtime::testing::NatsServer;
use foil_runtime::{RunError, Service, WorkerConfig};
use foil_store::{
    Due, Item, ProvisionConfig, Record, RecordKey, RecordWrite, Store, StoreConfig, provision,
};
use futures::StreamExt as _;
use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub const TENANT: &str = "acme";
pub const ITEM: &str = "kettle";
pub const CHOSEN: &str = "chosen-1";

/// Everything provisioned. It ends with this.
pub struct Rig {
    pub store: Store,
    pub service: Service,
    pub nats: NatsServer,
    _edge: Edge,
    _directory: TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let edge = foil_edge::start(EdgeConfig {
            data_dir: directory.path().join("qdrant"),
            listen: ([127, 0, 0, 1], 0).into(),
        });
        let edge = edge.await.expect("an embedded qdrant");
        let nats = NatsServer::start(None);
        let config = StoreConfig {
            qdrant_url: format!("http://{}", edge.address()),
            dimension: 4,
            ..StoreConfig::default()
        };
        let service = nats.service(Duration::from_secs(5)).await;
        let store = Store::connect(&config, service.nats.clone()).await;
        let store = store.expect("a store");
        let done = provision(&store, &ProvisionConfig::default()).await;
        done.expect("provisioned");
        Self {
            store,
            service,
            nats,
            _edge: edge,
            _directory: directory,
        }
    }

    /// Runs the stage until the rig's shutdown.
    pub fn run(
        &self,
        model: Arc<dyn LanguageModel>,
        config: ExtractorConfig,
    ) -> JoinHandle<Result<(), RunError>> {
        let (store, service) = (self.store.clone(), self.service.clone());
        tokio::spawn(async move { foil_extractor::run(&config, store, model, &service).await })
    }

    pub async fn stop(&self, running: JoinHandle<Result<(), RunError>>) {
        self.service.shutdown.trigger();
        running.await.expect("no panic").expect("a clean end");
    }

    /// Stores a record, and gives it.
    pub async fn put(&self, user: &str, item: &str, text: &str) -> Record {
        let key = RecordKey::new(TENANT, user, item);
        let write = RecordWrite {
            key: key.clone(),
            text: text.to_owned(),
            title: format!("what {user} thinks"),
            rating: Some(4.0),
            occurred_at_ms: 1_700_000_000_000,
            revision: 1,
            updated_at_ms: 1_700_000_000_500,
            sequence: 7,
            vector: vec![1.0, 0.0, 0.0, 0.0],
        };
        self.store.put_record(&write).await.expect("stored");
        self.record(&key).await
    }

    pub async fn record(&self, key: &RecordKey) -> Record {
        let record = self.store.record(key).await.expect("read");
        record.expect("there")
    }

    /// An item with mara's record, due, and two others; gives the token for mara's.
    pub async fn kettle(&self) -> v1::ExtractWork {
        let item = Item {
            id: ITEM.to_owned(),
            title: "A kettle".to_owned(),
            description: "A kettle of steel that holds two litres.".to_owned(),
            revision: 1,
        };
        self.store.put_item(TENANT, &item, 1).await.expect("stored");
        let mara = self
            .put("mara", ITEM, "Boils in four minutes. Handle hot.")
            .await;
        let nils = self.put("nils", ITEM, PEER).await;
        let tilly = self
            .put("tilly", ITEM, "SO shiny!!! I love, love, love it!")
            .await;
        let mark = Due {
            id: mara.id,
            fingerprint: CHOSEN.to_owned(),
        };
        self.store.mark_due(TENANT, &[mark]).await.expect("marked");
        work(&mara.key, &[&nils, &tilly])
    }

    pub async fn publish(&self, work: &v1::ExtractWork) {
        let subject = subject::extract(&work.tenant, &work.user, &work.item);
        self.publish_bytes(subject, work.encode_to_vec()).await;
    }

    pub async fn publish_bytes(&self, subject: String, bytes: Vec<u8>) {
        let context = jetstream::new(self.service.nats.clone());
        let ack = context.publish(subject, bytes.into()).await.expect("sent");
        ack.await.expect("stored");
    }

    /// Messages of a stream on these subjects.
    pub async fn count(&self, stream: &str, subjects: &str) -> usize {
        let context = jetstream::new(self.service.nats.clone());
        let stream = context.get_stream(stream).await.expect("the stream");
        let info = stream
            .info_with_subjects(subjects)
            .await
            .expect("its state");
        let counts: Vec<_> = info.collect().await;
        let counts = counts.into_iter().map(|count| count.expect("a count").1);
        counts.sum()
    }

    pub async fn until_idle(&self) {
        eventually("an empty queue", || async {
            self.count(stream::EXTRACT, subject::EXTRACT_ALL).await == 0
        })
        .await;
    }

    pub async fn events(&self, kind: &str) -> usize {
        let subjects = format!("foil.v1.event.{kind}.>");
        self.count(stream::EVENTS, &subjects).await
    }
}

pub const PEER: &str =
    "The kettle sang all morning, and nobody in the house minded it at all, for it was warm.";

pub fn work(target: &RecordKey, representatives: &[&Record]) -> v1::ExtractWork {
    v1::ExtractWork {
        tenant: target.tenant.clone(),
        user: target.user.clone(),
        item: target.item.clone(),
        representatives: representatives.iter().map(|r| r.id.to_string()).collect(),
        selection: Some(v1::Selection {
            strategy: "kmeans".to_owned(),
            records: 3,
            fingerprint: CHOSEN.to_owned(),
        }),
    }
}

/// Short waits all over.
pub fn config() -> ExtractorConfig {
    ExtractorConfig {
        worker: WorkerConfig {
            permits: 4,
            timeout: Duration::from_secs(20),
            max_deliveries: 3,
            backoff_base: Duration::from_millis(50),
            backoff_cap: Duration::from_millis(200),
            pull_expiry: Duration::from_secs(2),
            publish_timeout: Duration::from_secs(2),
            publish_patience: Duration::from_millis(200),
        },
        profile_debounce: Duration::from_secs(1),
        outage_delay: Duration::from_millis(100),
        ..ExtractorConfig::default()
    }
}

pub async fn stub(mode: Mode) -> (StubServer, Arc<dyn LanguageModel>) {
    let stub = StubServer::start(StubConfig {
        mode,
        ..StubConfig::default()
    });
    let stub = stub.expect("a stub");
    let config = EngineConfig {
        engine: EngineKind::Openai,
        model: "stub".to_owned(),
        base_url: Some(stub.base_url()),
        timeout: Duration::from_millis(1500),
        ..EngineConfig::default()
    };
    let model = load(&config).await.expect("a model");
    (stub, model)
}

/// Polls until it holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "{what} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
