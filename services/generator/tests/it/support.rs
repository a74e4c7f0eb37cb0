//! A running generator, and what it reads.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use foil_generator::{Caller, GeneratorConfig};
use foil_llm::stub::{StubConfig, StubServer};
use foil_llm::{EngineConfig, EngineKind, LanguageModel};
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{self, GenerateRequest};
use foil_rig::{Servers, record};
use foil_runtime::RunError;
use foil_store::{Item, ProvisionConfig, RecordKey, Store, Written, provision};
use futures::StreamExt as _;
use tokio::task::JoinHandle;

pub use foil_rig::TENANT;

pub const USER: &str = "mara";
pub const PEER_TEXT: &str = "Gloriously thunderous kettle whistles wake my sleepy household.";
/// Longer than a loopback answer takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Servers, somebody who asks, and perhaps a generator.
pub struct Rig {
    pub servers: Servers,
    pub caller: Caller,
    running: Option<JoinHandle<Result<(), RunError>>>,
}

impl Deref for Rig {
    type Target = Servers;

    fn deref(&self) -> &Servers {
        &self.servers
    }
}

impl Rig {
    /// Servers without a generator.
    pub async fn bare(config: ProvisionConfig) -> Self {
        let servers = Servers::bare(|store| store.timeout = Duration::from_secs(2)).await;
        provision(&servers.store, &config).await.unwrap();
        Self {
            caller: Caller::new(servers.nats.client().await),
            servers,
            running: None,
        }
    }

    /// Servers and a generator over `model`.
    pub async fn over(model: Arc<dyn LanguageModel>) -> Self {
        Self::with(model, GeneratorConfig::default()).await
    }

    /// A generator with this configuration, but with short waits.
    pub async fn with(model: Arc<dyn LanguageModel>, config: GeneratorConfig) -> Self {
        let mut rig = Self::bare(ProvisionConfig::default()).await;
        let (store, service) = (rig.store.clone(), rig.service.clone());
        rig.running = Some(tokio::spawn(async move {
            let config = GeneratorConfig {
                poll: Duration::from_millis(20),
                wait_reserve: Duration::from_secs(1),
                ..config
            };
            foil_generator::run(&config, store, model, &service).await
        }));
        rig
    }

    pub async fn start() -> (Self, StubServer) {
        let stub = StubServer::start(StubConfig::default()).unwrap();
        (Self::over(model(&stub).await).await, stub)
    }

    /// The parts of a whole reply.
    pub async fn ask(&self, request: GenerateRequest) -> Vec<Part> {
        self.ask_within(request, PATIENCE).await
    }

    pub async fn ask_within(&self, request: GenerateRequest, timeout: Duration) -> Vec<Part> {
        let parts = self.caller.generate(request, timeout).await.unwrap();
        let parts: Vec<_> = parts.collect().await;
        parts.into_iter().map(Result::unwrap).collect()
    }

    pub async fn context(&self, request: GenerateRequest) -> v1::Context {
        let mut parts = self.ask(request).await;
        match parts.remove(0) {
            Part::Context(context) => context,
            other => panic!("no context: {other:?}"),
        }
    }

    /// Stops the generator as a signal does, and gives how it ended.
    pub async fn stop(mut self) -> Result<(), RunError> {
        self.service.shutdown.trigger();
        self.running.take().unwrap().await.unwrap()
    }
}

pub async fn model(stub: &StubServer) -> Arc<dyn LanguageModel> {
    let config = EngineConfig {
        engine: EngineKind::Openai,
        model: "stub".into(),
        base_url: Some(stub.base_url()),
        ..EngineConfig::default()
    };
    foil_llm::load(&config).await.unwrap()
}

/// Asks for a text about a kettle that is not in the store.
pub fn request() -> GenerateRequest {
    GenerateRequest {
        tenant: TENANT.into(),
        user: USER.into(),
        item_title: "Travel kettle".into(),
        item_description: "A small electric kettle that folds flat.".into(),
        title: "For the road".into(),
        rating: Some(4.0),
        ..GenerateRequest::default()
    }
}

pub fn context_request() -> GenerateRequest {
    GenerateRequest {
        context_only: true,
        ..request()
    }
}

pub async fn put_record(store: &Store, user: &str, item: &str, text: &str) -> RecordKey {
    let write = record(user, item, text);
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stored);
    write.key
}

/// Two records of the user, on a kettle and a lamp, and a peer's on the kettle.
pub async fn put_history(store: &Store) {
    for (item, description) in [
        ("kettle", "An electric kettle for water."),
        ("lamp", "A lamp for a desk."),
    ] {
        let item = Item {
            id: item.into(),
            title: format!("The {item}"),
            description: description.into(),
            revision: 1,
        };
        store.put_item(TENANT, &item, 1).await.unwrap();
    }
    put_record(store, USER, "lamp", "Lights. Too bright at night.").await;
    put_record(store, USER, "kettle", "It boils. It stops. Good.").await;
    put_record(store, "otto-the-peer", "kettle", PEER_TEXT).await;
}

pub async fn put_difference(store: &Store) {
    let key = RecordKey::new(TENANT, USER, "kettle");
    let peer = RecordKey::new(TENANT, "otto-the-peer", "kettle");
    let difference = v1::Difference {
        findings: vec![v1::Finding {
            criterion: "writing".into(),
            statement: "Writes far shorter sentences than the others.".into(),
            confidence: 0.8,
        }],
        evidence: vec![shorter_sentences()],
        provenance: Some(v1::DifferenceProvenance {
            revision: 1,
            representatives: vec![peer.id().to_string()],
            selection: Some(v1::Selection {
                strategy: "kmeans".into(),
                records: 2,
                fingerprint: "f".into(),
            }),
            model: "test/none".into(),
            prompt_version: "difference.v1".into(),
            created_at_ms: 1_700_000_001_000,
            prompt_tokens: 1,
            completion_tokens: 1,
        }),
    };
    let written = store.put_difference(&key, 1, &difference).await.unwrap();
    assert_eq!(written, Written::Stored);
}

fn shorter_sentences() -> v1::Evidence {
    v1::Evidence {
        feature: "words_per_sentence".into(),
        value: 2.0,
        peers_mean: 8.0,
        item_mean: 5.0,
        z_score: -1.7,
    }
}

pub async fn put_profile(store: &Store, version: u64, strategy: &str) {
    let summary = format!("Dry and terse, version {version}.");
    put_summary(store, USER, version, strategy, summary).await;
}

pub async fn put_summary(store: &Store, user: &str, version: u64, strategy: &str, summary: String) {
    let slot = store.profile_slot(TENANT, user).await.unwrap();
    let profile = v1::Profile {
        tenant: TENANT.into(),
        user: user.into(),
        version,
        summary,
        strategy: strategy.into(),
        evidence: vec![shorter_sentences()],
        provenance: Some(v1::ProfileProvenance {
            created_at_ms: 1_700_000_002_000,
            ..v1::ProfileProvenance::default()
        }),
    };
    let written = store.put_profile(&profile, slot.kv_revision).await.unwrap();
    assert_eq!(written, Written::Stored);
}

pub fn done(parts: &[Part]) -> &v1::Done {
    match parts.last() {
        Some(Part::Done(done)) => done,
        other => panic!("not done: {other:?}"),
    }
}

pub fn failure(parts: &[Part]) -> &v1::Failure {
    match parts.last() {
        Some(Part::Failure(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

pub fn text(parts: &[Part]) -> String {
    let delta = |part: &Part| match part {
        Part::Delta(delta) => Some(delta.clone()),
        _ => None,
    };
    parts.iter().filter_map(delta).collect()
}
