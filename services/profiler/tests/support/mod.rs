//! Real servers, a running stage, and values to work on.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use foil_edge::{Edge, EdgeConfig};
use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::stub::{Mode, StubConfig, StubServer};
use foil_llm::{LanguageModel, load};
use foil_profiler::ProfilerConfig;
use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_runtime::testing::NatsServer;
use foil_runtime::{RunError, Service, WorkerConfig};
use foil_store::{
    Due, ProvisionConfig, Record, RecordKey, RecordWrite, Store, StoreConfig, Written, provision,
};
use futures::StreamExt as _;
use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub const TENANT: &str = "acme";
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
        config: ProfilerConfig,
    ) -> JoinHandle<Result<(), RunError>> {
        let (store, service) = (self.store.clone(), self.service.clone());
        tokio::spawn(async move { foil_profiler::run(&config, store, model, &service).await })
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

    /// A difference on `user`'s record of `item`, resting on another's record.
    pub async fn compare(&self, user: &str, item: &str, fingerprint: &str) {
        let peer = self.put("peer", item, "A text of another one.").await;
        let target = self.record(&RecordKey::new(TENANT, user, item)).await;
        let difference = v1::Difference {
            findings: vec![v1::Finding {
                criterion: "writing".to_owned(),
                statement: "The author writes in short sentences without verbs.".to_owned(),
                confidence: 0.75,
            }],
            evidence: vec![v1::Evidence {
                feature: "words_per_sentence".to_owned(),
                value: 7.25,
                peers_mean: 14.5,
                item_mean: 12.0,
                z_score: -1.5,
            }],
            provenance: Some(v1::DifferenceProvenance {
                revision: target.revision,
                representatives: vec![peer.id.to_string()],
                selection: Some(v1::Selection {
                    strategy: "kmeans".to_owned(),
                    records: 2,
                    fingerprint: fingerprint.to_owned(),
                }),
                model: "test/none".to_owned(),
                prompt_version: "difference.v1".to_owned(),
                created_at_ms: jiff::Timestamp::now().as_millisecond(),
                prompt_tokens: 620,
                completion_tokens: 80,
            }),
        };
        let written = self
            .store
            .put_difference(&target.key, target.revision, &difference);
        assert_eq!(written.await.expect("stored"), Written::Stored);
    }

    pub async fn mark(&self, record: &Record) {
        let mark = Due {
            id: record.id,
            fingerprint: CHOSEN.to_owned(),
        };
        self.store.mark_due(TENANT, &[mark]).await.expect("marked");
    }

    pub async fn profile(&self, user: &str) -> Option<v1::Profile> {
        let stored = self.store.profile(TENANT, user).await.expect("read");
        stored.map(|stored| stored.profile)
    }

    pub async fn until_version(&self, user: &str, version: u64) -> v1::Profile {
        eventually("the profile", || async {
            self.profile(user)
                .await
                .is_some_and(|p| p.version >= version)
        })
        .await;
        self.profile(user).await.expect("there")
    }

    pub async fn publish(&self, user: &str) {
        let work = v1::ProfileWork {
            tenant: TENANT.to_owned(),
            user: user.to_owned(),
        };
        let subject = subject::profile(TENANT, user);
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
            self.count(stream::PROFILE, ">").await == 0
        })
        .await;
    }

    pub async fn events(&self, kind: &str) -> usize {
        let subjects = format!("foil.v1.event.{kind}.>");
        self.count(stream::EVENTS, &subjects).await
    }
}

/// Short waits all over.
pub fn config() -> ProfilerConfig {
    ProfilerConfig {
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
        debounce: Duration::from_secs(1),
        outage_delay: Duration::from_millis(100),
        ..ProfilerConfig::default()
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
