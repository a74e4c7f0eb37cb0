//! What the stage needs is away, and comes back.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use foil_embedder::EmbedderConfig;
use foil_llm::stub::Mode;
use foil_proto::names::stream;
use foil_proto::v1::update::Change;
use foil_store::RecordKey;

use support::{Rig, TENANT, eventually, text};

const USERS: [&str; 5] = ["mara", "noor", "nils", "tilly", "ugo"];

/// A second failed attempt is the end of an input.
fn config() -> EmbedderConfig {
    let mut config = EmbedderConfig::default();
    config.worker.max_deliveries = 2;
    // Longer than a probe of a model that hangs.
    config.worker.backoff_base = Duration::from_secs(4);
    config.worker.timeout = Duration::from_secs(20);
    config
}

async fn put_all(rig: &Rig, item: &str) {
    for user in USERS {
        rig.put(user, Change::RecordUpsert(text(user, item, 1)))
            .await;
    }
}

/// Every text on the item is stored, once compared, and nothing was given up.
async fn check_stored(rig: &Rig, item: &str) {
    let records = rig.store.item_records(TENANT, item, 9).await.unwrap();
    assert_eq!(records.len(), USERS.len());
    for user in USERS {
        let key = RecordKey::new(TENANT, user, item);
        let record = rig.store.record(&key).await.unwrap().unwrap();
        assert_eq!(record.text, format!("{user} on {item}, 1"));
    }
    assert_eq!(rig.count(stream::DEAD).await, 0);
}

async fn until_ready(rig: &Rig, ready: bool) {
    let what = if ready { "readiness" } else { "its end" };
    eventually(what, async || rig.service.health.ready() == ready).await;
}

/// What comes now waits: it is not even delivered.
async fn check_waiting(rig: &Rig, item: &str) {
    // Time to withdraw what was asked for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let delivered = rig.consumer().await.delivered.consumer_sequence;
    put_all(rig, item).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.consumer().await.delivered.consumer_sequence, delivered);
    assert!(!rig.service.health.ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_model_costs_waiting_and_nothing_else() {
    let mut rig = Rig::start(config()).await;
    until_ready(&rig, true).await;
    for (round, mode) in [None, Some(Mode::Status(503)), Some(Mode::Hang)]
        .into_iter()
        .enumerate()
    {
        let (first, second) = (format!("first {round}"), format!("second {round}"));
        match mode {
            None => rig.model.stop(),
            Some(mode) => rig.model.set_mode(mode),
        }
        // These find it out; their next attempt is their last.
        put_all(&rig, &first).await;
        until_ready(&rig, false).await;
        check_waiting(&rig, &second).await;
        match mode {
            None => rig.model.restart().unwrap(),
            Some(_) => rig.model.set_mode(Mode::Ok),
        }
        rig.settled().await;
        check_stored(&rig, &first).await;
        check_stored(&rig, &second).await;
        until_ready(&rig, true).await;
    }
    assert_eq!(rig.count(stream::SELECT).await, 6);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_qdrant_costs_waiting_and_nothing_else() {
    let mut rig = Rig::start(config()).await;
    until_ready(&rig, true).await;
    put_all(&rig, "before").await;
    rig.settled().await;
    rig.stop_qdrant().await;
    put_all(&rig, "first").await;
    until_ready(&rig, false).await;
    check_waiting(&rig, "second").await;
    rig.start_qdrant().await;
    rig.settled().await;
    for item in ["before", "first", "second"] {
        check_stored(&rig, item).await;
    }
    assert_eq!(rig.count(stream::SELECT).await, 3);
    until_ready(&rig, true).await;
    rig.end().await;
}
