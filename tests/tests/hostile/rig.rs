//! Every stage at work over servers of its own.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use foil_embedder::openai::OpenAiEmbedder;
use foil_embedder::{EmbedConfig, EmbedEngine, EmbedderConfig};
use foil_extractor::ExtractorConfig;
use foil_generator::{Caller, GeneratorConfig};
use foil_llm::LanguageModel;
use foil_llm::stub::{StubConfig, StubServer};
use foil_profiler::ProfilerConfig;
use foil_proto::names::{stage, stream, subject};
use foil_proto::v1::{self, update::Change};
use foil_rig::{DIMENSION, Servers};
use foil_runtime::{RunError, Service, WorkerConfig};
use foil_selector::{Compare, SelectorConfig};
use foil_store::Store;
use futures::StreamExt as _;
use prost::Message as _;
use tokio::task::JoinSet;

const DEBOUNCE: Duration = Duration::from_secs(1);
const IDLE_LIMIT: Duration = Duration::from_secs(240);
/// Nothing is left when so many looks in a row find nothing.
const IDLE_LOOKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(60);
/// Messages that are kept of what was published; the tests publish a few thousand.
const SEEN_MAX: usize = 200_000;

/// One message on the wire, as a subscriber sees it.
pub struct Seen {
    pub subject: String,
    /// Headers and payload.
    pub bytes: Vec<u8>,
}

pub struct Rig {
    pub store: Store,
    pub jetstream: jetstream::Context,
    pub caller: Caller,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    running: JoinSet<Result<(), RunError>>,
    service: Service,
    _embedder: StubServer,
    _servers: Servers,
}

fn worker(permits: usize) -> WorkerConfig {
    WorkerConfig {
        permits,
        timeout: Duration::from_secs(20),
        max_deliveries: 3,
        backoff_base: Duration::from_millis(20),
        backoff_cap: Duration::from_millis(60),
        pull_expiry: Duration::from_secs(2),
        ..WorkerConfig::default()
    }
}

impl Rig {
    pub async fn start(model: Arc<dyn LanguageModel>) -> Self {
        let servers = Servers::start().await;
        let (store, service) = (servers.store.clone(), servers.service.clone());
        let embedder = StubServer::start(StubConfig {
            dimensions: DIMENSION as usize,
            ..StubConfig::default()
        });
        let embedder = embedder.unwrap();
        let seen = Arc::default();
        listen(&servers.nats.client().await, &seen).await;
        let running = spawn(&store, &service, &embedder, model);
        Self {
            jetstream: servers.jetstream.clone(),
            caller: Caller::new(servers.nats.client().await),
            store,
            seen,
            running,
            service,
            _embedder: embedder,
            _servers: servers,
        }
    }

    /// Publishes for `user`, as any producer does.
    pub async fn publish(&self, tenant: &str, user: &str, change: Change) {
        let update = v1::Update {
            tenant: tenant.to_owned(),
            change: Some(change),
        };
        let to = subject::update(tenant, user);
        self.publish_bytes(to, update.encode_to_vec()).await;
    }

    pub async fn publish_bytes(&self, to: String, bytes: Vec<u8>) {
        let sent = self.jetstream.publish(to, bytes.into()).await.unwrap();
        sent.await.unwrap();
    }

    /// Waits until nothing is left to do.
    pub async fn idle(&mut self) {
        let until = Instant::now() + IDLE_LIMIT;
        let mut looks = 0;
        while looks < IDLE_LOOKS {
            let ended = self.running.try_join_next();
            assert!(ended.is_none(), "a stage ended: {ended:?}");
            let left = self.left().await;
            looks = if left == 0 { looks + 1 } else { 0 };
            assert!(Instant::now() < until, "{left} messages are left");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn left(&self) -> u64 {
        let updates = self.jetstream.get_stream(stream::UPDATES).await.unwrap();
        let last = updates.cached_info().state.last_sequence;
        let consumer = updates.consumer_info(stage::EMBEDDER).await.unwrap();
        let mut left = last.saturating_sub(consumer.ack_floor.stream_sequence);
        for name in [
            stream::SELECT,
            stream::EXTRACT,
            stream::PROFILE,
            stream::GENERATE,
        ] {
            left += self.messages(name).await;
        }
        left
    }

    /// Messages in a stream.
    pub async fn messages(&self, name: &str) -> u64 {
        let stream = self.jetstream.get_stream(name).await.unwrap();
        stream.cached_info().state.messages
    }

    /// Stops every stage; none may have failed.
    pub async fn stop(mut self) {
        self.service.shutdown.trigger();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no stage panics").expect("a clean end");
        }
    }
}

/// Keeps what anybody publishes on Foil's subjects.
async fn listen(client: &async_nats::Client, seen: &Arc<Mutex<Vec<Seen>>>) {
    let mut messages = client.subscribe("foil.v1.>").await.unwrap();
    client.flush().await.unwrap();
    let (client, seen) = (client.clone(), Arc::clone(seen));
    tokio::spawn(async move {
        // The subscription ends with its client.
        let _client = client;
        while let Some(message) = messages.next().await {
            let headers = format!("{:?}\n", message.headers);
            let bytes = [headers.as_bytes(), &message.payload].concat();
            let subject = message.subject.to_string();
            let mut seen = seen.lock().unwrap();
            assert!(
                seen.len() < SEEN_MAX,
                "more messages than any test publishes"
            );
            seen.push(Seen { subject, bytes });
        }
    });
}

fn spawn(
    store: &Store,
    service: &Service,
    embedder: &StubServer,
    model: Arc<dyn LanguageModel>,
) -> JoinSet<Result<(), RunError>> {
    let vectors = OpenAiEmbedder::new(&EmbedConfig {
        engine: EmbedEngine::Openai,
        model: "stub".to_owned(),
        dimension: DIMENSION,
        base_url: Some(embedder.base_url()),
        ..EmbedConfig::default()
    });
    let vectors = Arc::new(vectors.unwrap());
    let mut running = JoinSet::new();
    let (parts, own) = (store.clone(), service.clone());
    running.spawn(async move {
        let config = EmbedderConfig {
            worker: worker(16),
            eager: true,
            profile_debounce: DEBOUNCE,
        };
        foil_embedder::run(&config, parts, vectors, &own).await
    });
    let (parts, own) = (store.clone(), service.clone());
    running.spawn(async move {
        let config = SelectorConfig {
            worker: worker(4),
            compare: Compare::Eager,
            profile_debounce: DEBOUNCE,
            ..SelectorConfig::default()
        };
        foil_selector::run(&config, parts, &own).await
    });
    let (parts, own, llm) = (store.clone(), service.clone(), Arc::clone(&model));
    running.spawn(async move {
        let config = ExtractorConfig {
            worker: worker(8),
            profile_debounce: DEBOUNCE,
            ..ExtractorConfig::default()
        };
        foil_extractor::run(&config, parts, llm, &own).await
    });
    let (parts, own, llm) = (store.clone(), service.clone(), Arc::clone(&model));
    running.spawn(async move {
        let config = ProfilerConfig {
            worker: worker(4),
            debounce: DEBOUNCE,
            max_wait: 2 * DEBOUNCE,
            ..ProfilerConfig::default()
        };
        foil_profiler::run(&config, parts, llm, &own).await
    });
    let (parts, own) = (store.clone(), service.clone());
    running.spawn(async move {
        let config = GeneratorConfig {
            worker: worker(8),
            poll: Duration::from_millis(20),
            wait_reserve: Duration::from_secs(1),
            ..GeneratorConfig::default()
        };
        foil_generator::run(&config, parts, model, &own).await
    });
    running
}
