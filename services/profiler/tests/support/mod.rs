//! Real servers, a running stage, and values to work on.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::stub::{Mode, StubConfig, StubServer};
use foil_llm::{LanguageModel, load};
use foil_profiler::ProfilerConfig;
use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_rig::{Servers, worker};
use foil_runtime::RunError;
use foil_store::{Due, Record, RecordKey, Written};
use prost::Message as _;
use tokio::task::JoinHandle;

pub use foil_rig::{TENANT, eventually};

pub const CHOSEN: &str = "chosen-1";

/// Servers, and what a test does with the stage.
pub struct Rig {
    servers: Servers,
}

impl Deref for Rig {
    type Target = Servers;

    fn deref(&self) -> &Servers {
        &self.servers
    }
}

impl Rig {
    pub async fn start() -> Self {
        let servers = Servers::start().await;
        Self { servers }
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

    pub async fn until_idle(&self) {
        self.until_empty(stream::PROFILE).await;
    }
}

/// Short waits all over.
pub fn config() -> ProfilerConfig {
    ProfilerConfig {
        worker: worker(),
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
