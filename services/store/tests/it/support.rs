//! Servers, and values to store.

use std::collections::BTreeSet;

use foil_edge::{Edge, EdgeConfig};
use foil_proto::v1;
use foil_runtime::testing::NatsServer;
use foil_store::{
    Erasure, ProvisionConfig, Record, RecordKey, RecordWrite, Store, StoreConfig, provision,
};
use prost::Message as _;
use qdrant_client::Qdrant;
use tempfile::TempDir;

pub const TENANT: &str = "acme";
pub const DIMENSION: u32 = 4;

/// Real servers with everything provisioned. They end with it.
pub struct Rig {
    pub store: Store,
    pub config: StoreConfig,
    pub nats: NatsServer,
    pub edge: Option<Edge>,
    pub directory: TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        let rig = Self::bare().await;
        let done = provision(&rig.store, &ProvisionConfig::default()).await;
        done.expect("provisioned");
        rig
    }

    /// Nothing provisioned yet.
    pub async fn bare() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let edge = start_edge(&directory, 0).await;
        let nats = directory.path().join("nats");
        std::fs::create_dir(&nats).expect("a directory");
        let nats = NatsServer::start(Some(&nats));
        let config = StoreConfig {
            qdrant_url: format!("http://{}", edge.address()),
            dimension: DIMENSION,
            ..StoreConfig::default()
        };
        let store = Store::connect(&config, nats.client().await).await;
        Self {
            store: store.expect("a store"),
            config,
            nats,
            edge: Some(edge),
            directory,
        }
    }

    /// A second handle with another configuration.
    pub async fn with(&self, change: impl FnOnce(&mut StoreConfig)) -> Store {
        let mut config = self.config.clone();
        change(&mut config);
        let store = Store::connect(&config, self.nats.client().await).await;
        store.expect("a store")
    }

    /// Qdrant itself, past the store.
    pub fn qdrant(&self) -> Qdrant {
        let builder = Qdrant::from_url(&self.config.qdrant_url);
        builder
            .skip_compatibility_check()
            .build()
            .expect("a client")
    }

    /// Waits until Qdrant has rewritten its files without what was removed.
    pub async fn compacted(&self) {
        let since = self.store.compactions().await.expect("an answer");
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let now = self.store.compactions().await.expect("an answer");
            if since
                .iter()
                .zip(&now)
                .all(|(since, now)| now.reaches(since))
            {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "never compacted: {now:?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Files of either server that hold the word.
    pub fn files_with(&self, word: &str) -> Vec<std::path::PathBuf> {
        foil_runtime::testing::files_with(self.directory.path(), word)
    }

    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.nats.client().await)
    }
}

pub async fn start_edge(directory: &TempDir, port: u16) -> Edge {
    let edge = foil_edge::start(EdgeConfig {
        data_dir: directory.path().join("qdrant"),
        listen: ([127, 0, 0, 1], port).into(),
    });
    edge.await.expect("an embedded qdrant")
}

/// A record that says which revision it is.
pub fn record(user: &str, item: &str, revision: u64) -> RecordWrite {
    RecordWrite {
        key: RecordKey::new(TENANT, user, item),
        text: format!("{user} on {item}, revision {revision}"),
        title: format!("{item}!"),
        rating: Some(4.0),
        occurred_at_ms: 1_700_000_000_000,
        revision,
        updated_at_ms: 1_700_000_000_500,
        sequence: 7,
        vector: vec![3.0, 0.0, 4.0, 0.0],
    }
}

/// An erasing message older than every record's own time: its place alone decides.
pub fn at(sequence: u64) -> Erasure {
    Erasure {
        sequence,
        at_ms: 1_650_000_000_000,
    }
}

/// A difference of `target` that rests on `representatives`.
pub fn difference(target: &Record, representatives: &[&Record]) -> v1::Difference {
    v1::Difference {
        findings: vec![v1::Finding {
            criterion: "writing".to_owned(),
            statement: "writes in short sentences".to_owned(),
            confidence: 0.75,
        }],
        evidence: vec![v1::Evidence {
            feature: "words_per_sentence".to_owned(),
            value: 7.25,
            peers_mean: 14.5,
            item_mean: 12.1,
            z_score: -1.7,
        }],
        provenance: Some(v1::DifferenceProvenance {
            revision: target.revision,
            representatives: representatives.iter().map(|r| r.id.to_string()).collect(),
            selection: Some(v1::Selection {
                strategy: "kmeans".to_owned(),
                records: 5,
                fingerprint: "chosen-1".to_owned(),
            }),
            model: "test/none".to_owned(),
            prompt_version: "difference.v1".to_owned(),
            created_at_ms: 1_700_000_001_000,
            prompt_tokens: 620,
            completion_tokens: 80,
        }),
    }
}

/// An update as it stands in the log, with a text that the user wrote at that time.
pub fn update(user: &str, occurred_at_ms: i64) -> Vec<u8> {
    let record = v1::RecordUpsert {
        user: user.to_owned(),
        item: "kettle".to_owned(),
        text: format!("{user} on it"),
        occurred_at_ms,
        revision: 1,
        ..v1::RecordUpsert::default()
    };
    let update = v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(v1::update::Change::RecordUpsert(record)),
    };
    update.encode_to_vec()
}

pub fn profile(user: &str, version: u64) -> v1::Profile {
    v1::Profile {
        tenant: TENANT.to_owned(),
        user: user.to_owned(),
        version,
        summary: format!("{user} writes in short sentences ({version})"),
        strategy: "dpl".to_owned(),
        evidence: Vec::new(),
        provenance: Some(v1::ProfileProvenance::default()),
    }
}

/// Stores a record of each user on the item and gives what is stored, in the order of `users`.
pub async fn item_of(store: &Store, item: &str, users: &[&str]) -> Vec<Record> {
    let mut records = Vec::new();
    for user in users {
        let write = record(user, item, 1);
        store.put_record(&write).await.expect("stored");
        let stored = store.record(&write.key).await.expect("read");
        records.push(stored.expect("there"));
    }
    records
}

pub fn users_of(keys: &[RecordKey]) -> BTreeSet<&str> {
    keys.iter().map(|key| key.user.as_str()).collect()
}
