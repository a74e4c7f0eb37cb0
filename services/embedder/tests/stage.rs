//! The stage on a real nats-server and the embedded Qdrant; the vectors come from foil-llm's stub.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use foil_edge::{Edge, EdgeConfig};
use foil_embedder::openai::OpenAiEmbedder;
use foil_embedder::{EmbedConfig, EmbedEngine, EmbedderConfig, run};
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::names::{header, stream, subject};
use foil_proto::v1;
use foil_runtime::testing::NatsServer;
use foil_runtime::{RunError, Service};
use foil_store::{ProvisionConfig, RecordKey, Store, StoreConfig, provision};
use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use v1::update::Change;

const TENANT: &str = "acme";
const DIMENSION: usize = 4;

/// Real servers and a running stage.
struct Rig {
    store: Store,
    jetstream: jetstream::Context,
    service: Service,
    running: JoinHandle<Result<(), RunError>>,
    model: StubServer,
    _nats: NatsServer,
    _edge: Edge,
    _directory: TempDir,
}

impl Rig {
    async fn start(config: EmbedderConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let edge = foil_edge::start(EdgeConfig {
            data_dir: directory.path().join("qdrant"),
            listen: ([127, 0, 0, 1], 0).into(),
        });
        let edge = edge.await.unwrap();
        let nats = NatsServer::start(None);
        let service = nats.service(Duration::from_secs(10)).await;
        let store = StoreConfig {
            qdrant_url: format!("http://{}", edge.address()),
            dimension: DIMENSION as u32,
            ..StoreConfig::default()
        };
        let store = Store::connect(&store, service.nats.clone()).await.unwrap();
        provision(&store, &ProvisionConfig::default())
            .await
            .unwrap();
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
            ..EmbedConfig::default()
        });
        let embedder = Arc::new(embedder.unwrap());
        let (part, scope) = (store.clone(), service.clone());
        let running = tokio::spawn(async move { run(&config, part, embedder, &scope).await });
        Self {
            store,
            jetstream: jetstream::new(service.nats.clone()),
            service,
            running,
            model,
            _nats: nats,
            _edge: edge,
            _directory: directory,
        }
    }

    async fn publish(&self, subject: String, update: &v1::Update) -> u64 {
        let sent = self
            .jetstream
            .publish(subject, update.encode_to_vec().into());
        sent.await.unwrap().await.unwrap().sequence
    }

    /// Publishes for `user` and waits until the stage is done with it.
    async fn send(&self, user: &str, change: Change) -> u64 {
        let update = v1::Update {
            tenant: TENANT.to_owned(),
            change: Some(change),
        };
        let sequence = self.publish(subject::update(TENANT, user), &update).await;
        self.settled().await;
        sequence
    }

    async fn settled(&self) {
        // Not the count of what is pending: it lags behind the publisher's ack.
        let updates = self.jetstream.get_stream(stream::UPDATES).await.unwrap();
        let last = updates.cached_info().state.last_sequence;
        for _ in 0..300 {
            let consumer: jetstream::consumer::PullConsumer = self
                .jetstream
                .get_consumer_from_stream("embedder", stream::UPDATES)
                .await
                .unwrap();
            if consumer.cached_info().ack_floor.stream_sequence >= last {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the stage is not done");
    }

    async fn count(&self, stream: &str) -> u64 {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        stream.cached_info().state.messages
    }

    /// Takes everything off a stream.
    async fn clear(&self, name: &str) {
        let stream = self.jetstream.get_stream(name).await.unwrap();
        stream.purge().await.unwrap();
    }

    async fn end(self) {
        self.service.shutdown.trigger();
        self.running.await.unwrap().unwrap();
    }
}

fn text(user: &str, item: &str, revision: u64) -> v1::RecordUpsert {
    v1::RecordUpsert {
        user: user.to_owned(),
        item: item.to_owned(),
        text: format!("{user} on {item}, {revision}"),
        occurred_at_ms: 1_700_000_000_000,
        revision,
        ..v1::RecordUpsert::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_becomes_a_record_and_a_select_token() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let key = RecordKey::new(TENANT, "mara", "café");
    rig.send("mara", Change::RecordUpsert(text("mara", "café", 2)))
        .await;
    let record = rig.store.record(&key).await.unwrap().unwrap();
    assert_eq!(
        (record.revision, record.text.as_str()),
        (2, "mara on café, 2")
    );
    let tokens = rig.jetstream.get_stream(stream::SELECT).await.unwrap();
    let subject = subject::select(TENANT, "café");
    let token = tokens.get_last_raw_message_by_subject(&subject);
    let token = token.await.unwrap();
    let work = v1::SelectWork::decode(token.payload.clone()).unwrap();
    assert_eq!((work.tenant.as_str(), work.item.as_str()), (TENANT, "café"));
    assert!(token.headers.get(header::UPDATED_AT).is_some());
    // Nobody asked for this user: no profile is made.
    assert_eq!(rig.count(stream::PROFILE).await, 0);
    let before = rig.model.embedding_calls();
    rig.send("mara", Change::RecordUpsert(text("mara", "café", 1)))
        .await;
    let record = rig.store.record(&key).await.unwrap().unwrap();
    assert_eq!(record.revision, 2);
    // At most the health check called the model in between.
    assert!(rig.model.embedding_calls() <= before + 1);
    rig.store.touch_active(TENANT, "mara").await.unwrap();
    rig.send("mara", Change::RecordUpsert(text("mara", "café", 3)))
        .await;
    assert_eq!(rig.count(stream::PROFILE).await, 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_zero_is_the_time() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 0)))
        .await;
    let record = rig.store.record(&RecordKey::new(TENANT, "mara", "i")).await;
    assert_eq!(record.unwrap().unwrap().revision, 1_700_000_000_000);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_and_an_erased_record_stay_away() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let key = |item| RecordKey::new(TENANT, "mara", item);
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 1)))
        .await;
    let delete = v1::RecordDelete {
        user: "mara".to_owned(),
        item: "i".to_owned(),
        revision: 1,
    };
    rig.send("mara", Change::RecordDelete(delete)).await;
    assert!(rig.store.record(&key("i")).await.unwrap().is_none());
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 1)))
        .await;
    assert!(rig.store.record(&key("i")).await.unwrap().is_none());

    rig.send("mara", Change::RecordUpsert(text("mara", "j", 1)))
        .await;
    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    let sequence = rig.send("mara", Change::UserErase(erase)).await;
    assert!(rig.store.record(&key("j")).await.unwrap().is_none());
    let events = rig.jetstream.get_stream(stream::EVENTS).await.unwrap();
    let erased = subject::event("user.erased", TENANT, "mara");
    let event = events
        .get_last_raw_message_by_subject(&erased)
        .await
        .unwrap();
    let event = v1::Event::decode(event.payload).unwrap();
    let Some(v1::event::Kind::UserErased(erased)) = event.kind else {
        panic!("another event");
    };
    assert_eq!((erased.sequence, erased.records), (sequence, 1));
    // What comes later is the user's new beginning.
    rig.send("mara", Change::RecordUpsert(text("mara", "j", 1)))
        .await;
    assert!(rig.store.record(&key("j")).await.unwrap().is_some());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_and_opt_outs_are_kept() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let item = v1::ItemUpsert {
        item: "i".to_owned(),
        title: "Tea house".to_owned(),
        description: "A place for tea".to_owned(),
        revision: 1,
    };
    rig.send("", Change::ItemUpsert(item)).await;
    let item = rig.store.item(TENANT, "i").await.unwrap().unwrap();
    assert_eq!(item.title, "Tea house");
    let choice = v1::PeerOptOut {
        user: "mara".to_owned(),
        opted_out: true,
        revision: 1,
    };
    rig.send("mara", Change::PeerOptOut(choice)).await;
    assert!(
        rig.store
            .user_state(TENANT, "mara")
            .await
            .unwrap()
            .opted_out
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_updates_are_dead_lettered_with_their_field_named() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let good = text("mara", "i", 1);
    let with = |change: fn(&mut v1::RecordUpsert)| {
        let mut record = good.clone();
        change(&mut record);
        Some(Change::RecordUpsert(record))
    };
    let cases: Vec<(&str, &str, Option<Change>)> = vec![
        (
            "text: is blank",
            TENANT,
            with(|r| r.text = " \n".to_owned()),
        ),
        (
            "text: 70000 bytes",
            TENANT,
            with(|r| r.text = "x".repeat(70_000)),
        ),
        ("item: is missing", TENANT, with(|r| r.item.clear())),
        (
            "item: 300 bytes",
            TENANT,
            with(|r| r.item = "x".repeat(300)),
        ),
        ("rating: ", TENANT, with(|r| r.rating = Some(f64::NAN))),
        ("occurred_at_ms: ", TENANT, with(|r| r.occurred_at_ms = -1)),
        (
            "occurred_at_ms: ",
            TENANT,
            with(|r| r.occurred_at_ms = i64::MAX),
        ),
        ("change: ", TENANT, None),
        ("tenant: is not the subject's", "other", with(|_| {})),
        (
            "user: is not the subject's",
            TENANT,
            with(|r| r.user = "noor".to_owned()),
        ),
    ];
    for (fault, tenant, change) in cases {
        rig.clear(stream::DEAD).await;
        let update = v1::Update {
            tenant: tenant.to_owned(),
            change,
        };
        rig.publish(subject::update(TENANT, "mara"), &update).await;
        rig.settled().await;
        let dead = rig.jetstream.get_stream(stream::DEAD).await.unwrap();
        let copy = subject::dead("embedder", TENANT);
        let copy = dead.get_last_raw_message_by_subject(&copy).await.unwrap();
        let error = copy.headers.get(header::DEAD_ERROR).unwrap().as_str();
        assert!(error.contains(fault), "{fault}: {error}");
        let reason = copy.headers.get(header::DEAD_REASON).unwrap().as_str();
        assert_eq!(reason, "invalid", "{fault}");
    }
    assert_eq!(rig.count(stream::SELECT).await, 0);
    assert!(rig.count(stream::EVENTS).await > 0);
    rig.end().await;
}
