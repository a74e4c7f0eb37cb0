//! Erasing, as messages: what a restore publishes again brings nothing back, and leaves no text in the
//! log.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use foil_embedder::EmbedderConfig;
use foil_llm::stub::Mode;
use foil_proto::names::{header, stream, subject};
use foil_proto::v1::{self, event::Kind, update::Change};
use foil_store::{RecordKey, RecordWrite, Written};
use prost::Message as _;

use support::{Rig, TENANT, eventually, text};

const MARKER: &str = "quetzalmarker";

fn marked(user: &str, item: &str) -> Change {
    let mut record = text(user, item, 1);
    record.text = format!("{MARKER} on {item}");
    Change::RecordUpsert(record)
}

/// Subject and payload of every message of a stream, oldest first.
async fn messages(rig: &Rig, name: &str) -> Vec<(String, Vec<u8>)> {
    let stream = rig.jetstream.get_stream(name).await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut found = Vec::new();
    for sequence in 1..=last {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            found.push((message.subject.to_string(), message.payload.to_vec()));
        }
    }
    found
}

async fn with_marker(rig: &Rig) -> Vec<String> {
    let mut found = Vec::new();
    for name in [
        stream::UPDATES,
        stream::SELECT,
        stream::PROFILE,
        stream::EVENTS,
        stream::DEAD,
    ] {
        let held = messages(rig, name).await.into_iter();
        let held = held.filter(|(_, payload)| holds(payload));
        found.extend(held.map(|(subject, _)| format!("{name} {subject}")));
    }
    found
}

fn holds(payload: &[u8]) -> bool {
    let word = MARKER.as_bytes();
    payload.windows(word.len()).any(|window| window == word)
}

/// Publishes all of it again, as a restore of the log would, and waits for the end.
async fn restore(rig: &Rig, snapshot: &[(String, Vec<u8>)]) {
    for (subject, payload) in snapshot {
        let sent = rig
            .jetstream
            .publish(subject.clone(), payload.clone().into());
        sent.await.unwrap().await.unwrap();
    }
    rig.settled().await;
}

async fn event(rig: &Rig, kind: &str, user: &str) -> Kind {
    let events = rig.jetstream.get_stream(stream::EVENTS).await.unwrap();
    let subject = subject::event(kind, TENANT, user);
    let event = events.get_last_raw_message_by_subject(&subject).await;
    let event = v1::Event::decode(event.unwrap().payload).unwrap();
    event.kind.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_after_an_erasure_brings_nothing_back() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.put("mara", marked("mara", "i")).await;
    rig.put("mara", marked("mara", "j")).await;
    rig.send("ben", Change::RecordUpsert(text("ben", "i", 1)))
        .await;
    let snapshot = messages(&rig, stream::UPDATES).await;
    assert_eq!(snapshot.len(), 3);
    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    let sequence = rig.send("mara", Change::UserErase(erase)).await;
    let Kind::UserErased(erased) = event(&rig, "user.erased", "mara").await else {
        panic!("another event");
    };
    assert_eq!((erased.sequence, erased.records), (sequence, 2));
    assert_eq!(erased.removed.unwrap().log, 2);
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());

    restore(&rig, &snapshot).await;
    assert_eq!(
        rig.store.count_user_records(TENANT, "mara").await.unwrap(),
        0
    );
    assert_eq!(
        rig.store.count_user_records(TENANT, "ben").await.unwrap(),
        1
    );
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    assert_eq!(rig.count(stream::DEAD).await, 0);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_an_erasure_took_from_a_later_text_is_ordered_again() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.send("mara", marked("mara", "i")).await;
    let mut later = rig.store.record(&RecordKey::new(TENANT, "mara", "i")).await;
    let later = later.as_mut().unwrap().take().unwrap();
    // As another replica stores an update that came after the erasing one.
    let write = RecordWrite {
        key: RecordKey::new(TENANT, "mara", "j"),
        text: "later".to_owned(),
        title: String::new(),
        rating: None,
        occurred_at_ms: i64::MAX >> 12,
        revision: 1,
        updated_at_ms: later.updated_at_ms,
        sequence: 1_000,
        vector: vec![0.5; 4],
    };
    assert_eq!(rig.store.put_record(&write).await.unwrap(), Written::Stored);
    let queued = subject::extract(TENANT, "mara", "j");
    let sent = rig.jetstream.publish(queued, "".into()).await.unwrap();
    sent.await.unwrap();
    rig.clear(stream::SELECT).await;

    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    rig.send("mara", Change::UserErase(erase)).await;
    assert_eq!(rig.count(stream::EXTRACT).await, 0);
    let ordered = messages(&rig, stream::SELECT).await;
    let ordered: Vec<&str> = ordered
        .iter()
        .map(|(subject, _)| subject.as_str())
        .collect();
    assert_eq!(ordered, [subject::select(TENANT, "j")]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_comes_again_after_a_newer_text_is_ended() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.send("mara", marked("mara", "i")).await;
    let key = RecordKey::new(TENANT, "mara", "i");
    // The attempt before deleted it, and was killed; then the newer text came.
    rig.store.delete_record(&key, 1, 1_000).await.unwrap();
    rig.send("mara", Change::RecordUpsert(text("mara", "i", 2)))
        .await;
    let queued = subject::extract(TENANT, "mara", "i");
    let sent = rig.jetstream.publish(queued, "".into()).await.unwrap();
    sent.await.unwrap();
    rig.clear(stream::SELECT).await;

    let delete = v1::RecordDelete {
        user: "mara".to_owned(),
        item: "i".to_owned(),
        revision: 1,
    };
    let sequence = rig.send("mara", Change::RecordDelete(delete)).await;
    let Kind::RecordErased(erased) = event(&rig, "record.erased", "mara").await else {
        panic!("another event");
    };
    assert_eq!(
        (erased.sequence, erased.removed.unwrap().log),
        (sequence, 1)
    );
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    assert_eq!(rig.store.record(&key).await.unwrap().unwrap().revision, 2);
    assert_eq!(rig.count(stream::EXTRACT).await, 0);
    let ordered = messages(&rig, stream::SELECT).await;
    assert_eq!(
        ordered.len(),
        1,
        "what went with the queue is ordered again"
    );
    assert_eq!(ordered[0].0, subject::select(TENANT, "i"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_after_a_delete_brings_the_record_not_back() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.put("mara", marked("mara", "i")).await;
    rig.send("mara", Change::RecordUpsert(text("mara", "j", 1)))
        .await;
    let snapshot = messages(&rig, stream::UPDATES).await;
    let delete = v1::RecordDelete {
        user: "mara".to_owned(),
        item: "i".to_owned(),
        revision: 1,
    };
    let sequence = rig.send("mara", Change::RecordDelete(delete)).await;
    let Kind::RecordErased(erased) = event(&rig, "record.erased", "mara").await else {
        panic!("another event");
    };
    assert_eq!((erased.sequence, erased.item.as_str()), (sequence, "i"));
    assert_eq!((erased.records, erased.removed.unwrap().log), (1, 1));
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    restore(&rig, &snapshot).await;
    let key = |item| RecordKey::new(TENANT, "mara", item);
    assert!(rig.store.record(&key("i")).await.unwrap().is_none());
    assert!(rig.store.record(&key("j")).await.unwrap().is_some());
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_after_a_tenants_erasure_brings_nothing_back() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    let item = v1::ItemUpsert {
        item: "i".to_owned(),
        title: "Tea house".to_owned(),
        description: MARKER.to_owned(),
        revision: 1,
    };
    rig.put("", Change::ItemUpsert(item)).await;
    rig.put("mara", marked("mara", "i")).await;
    rig.send("ben", marked("ben", "i")).await;
    let snapshot = messages(&rig, stream::UPDATES).await;
    let erase = v1::TenantErase {
        tenant: TENANT.to_owned(),
    };
    let sequence = rig.send("", Change::TenantErase(erase)).await;
    let Kind::TenantErased(erased) = event(&rig, "tenant.erased", "").await else {
        panic!("another event");
    };
    assert_eq!(
        (erased.sequence, erased.records, erased.items),
        (sequence, 2, 1)
    );
    assert_eq!(erased.removed.unwrap().log, 3);
    restore(&rig, &snapshot).await;
    assert_eq!(rig.store.count_item_records(TENANT, "i").await.unwrap(), 0);
    assert!(rig.store.item(TENANT, "i").await.unwrap().is_none());
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_not_erased_under_anothers_name() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    rig.send("mara", marked("mara", "i")).await;
    for named in ["", "other"] {
        let erase = v1::TenantErase {
            tenant: named.to_owned(),
        };
        rig.send("", Change::TenantErase(erase)).await;
    }
    assert_eq!(
        rig.store.count_user_records(TENANT, "mara").await.unwrap(),
        1
    );
    assert_eq!(rig.count(stream::DEAD).await, 2);
    rig.end().await;
}

/// As left by updates that failed.
async fn fill_dead_letters(rig: &Rig, user: &str, count: usize) {
    let original = subject::update(TENANT, user);
    let numbers: Vec<usize> = (0..count).collect();
    for some in numbers.chunks(200) {
        let mut acks = Vec::new();
        for n in some {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(header::DEAD_SUBJECT, original.as_str());
            let update = v1::Update {
                tenant: TENANT.to_owned(),
                change: Some(marked(user, &n.to_string())),
            };
            let subject = subject::dead("embedder", TENANT);
            let payload = update.encode_to_vec().into();
            let sent = rig
                .jetstream
                .publish_with_headers(subject, headers, payload);
            acks.push(sent.await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_one_attempt_has_no_time_for_ends() {
    const OF_OTHERS: usize = 4_000;
    let mut config = EmbedderConfig::default();
    config.worker.timeout = Duration::from_millis(800);
    config.worker.max_deliveries = 90;
    config.worker.backoff_base = Duration::from_millis(50);
    config.worker.backoff_cap = Duration::from_millis(200);
    let rig = Rig::start(config).await;
    fill_dead_letters(&rig, "ben", OF_OTHERS).await;
    fill_dead_letters(&rig, "mara", 50).await;
    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    let sequence = rig.send("mara", Change::UserErase(erase)).await;
    let Kind::UserErased(erased) = event(&rig, "user.erased", "mara").await else {
        panic!("another event");
    };
    assert_eq!(erased.sequence, sequence);
    assert_eq!(rig.count(stream::DEAD).await, OF_OTHERS as u64);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_an_erased_user_under_anothers_name_leaves_no_text() {
    let rig = Rig::start(EmbedderConfig::default()).await;
    // Refused, and kept.
    rig.send("theo", marked("mara", "i")).await;
    assert_eq!(with_marker(&rig).await.len(), 2);
    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    rig.send("mara", Change::UserErase(erase)).await;
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    // As from a restore: refused again, and not kept.
    rig.send("theo", marked("mara", "i")).await;
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_fails_while_its_user_is_erased_leaves_no_dead_letter() {
    let mut config = EmbedderConfig::default();
    config.worker.max_deliveries = 1;
    let mut rig = Rig::start(config).await;
    // The first probe must find the model quick.
    let health = rig.service.health.clone();
    eventually("the model", async || {
        let checks = health.checks();
        checks
            .iter()
            .any(|(name, up)| name.ends_with("model") && *up)
    })
    .await;
    // Slow, not silent: a model that seems to be away stops the pulling.
    rig.model.set_mode(Mode::Slow(Duration::from_secs(3)));
    rig.put("mara", marked("mara", "i")).await;
    eventually("the attempt", async || {
        let request = rig.model.last_request().body.to_string();
        request.contains(MARKER)
    })
    .await;
    let erase = v1::UserErase {
        user: "mara".to_owned(),
    };
    let sequence = rig.put("mara", Change::UserErase(erase)).await;
    eventually("the erasure", async || {
        let state = rig.store.user_state(TENANT, "mara").await.unwrap();
        state.erased_sequence == sequence && rig.count(stream::EVENTS).await > 0
    })
    .await;
    // Now the attempt fails, and it was the last one.
    rig.model.restart().unwrap();
    rig.settled().await;
    assert_eq!(rig.count(stream::DEAD).await, 0);
    assert_eq!(with_marker(&rig).await, Vec::<String>::new());
    rig.end().await;
}
