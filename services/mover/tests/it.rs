//! The stage on a real nats-server that gives messages up.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use foil_proto::names::{event, header, stage, stream, subject};
use foil_runtime::metrics;
use foil_store::{Limits, ProvisionConfig};
use support::{DELIVERIES, Rig, TENANT, eventually, provision_config, text};

const PAYLOAD: &[u8] = b"\x00 what was sent \xff";

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, "producer-7");
    headers.insert("X-Mine", "kept");
    headers
}

#[tokio::test]
async fn what_nats_gives_up_ends_among_the_dead_letters_once() {
    let rig = Rig::start().await;
    let to = subject::extract(TENANT, "mara", "kettle");
    rig.give_up(stage::EXTRACTOR, stream::EXTRACT, &to, PAYLOAD, headers())
        .await;
    // Without a mover it lies there, waiting for nobody.
    let lag = rig.consumer_info(stream::EXTRACT, stage::EXTRACTOR).await;
    assert_eq!((lag.num_pending, lag.num_ack_pending), (0, 0));
    assert_eq!(rig.count(stream::EXTRACT).await, 1);

    let mover = rig.run().await;
    eventually("it is gone", async || rig.count(stream::EXTRACT).await == 0).await;
    let letter = rig.only_letter().await;
    assert_eq!(
        letter.subject.as_str(),
        subject::dead(stage::EXTRACTOR, TENANT)
    );
    assert_eq!(letter.payload, PAYLOAD);
    for (name, value) in [
        (header::DEAD_REASON, "given_up"),
        (header::DEAD_STAGE, stage::EXTRACTOR),
        (header::DEAD_SUBJECT, &to),
        (header::DEAD_STREAM, stream::EXTRACT),
        (header::DEAD_SEQUENCE, "1"),
        (header::DEAD_MESSAGE_ID, "producer-7"),
        ("X-Mine", "kept"),
    ] {
        assert_eq!(text(&letter, name), value, "{name}");
    }
    let deliveries: u64 = text(&letter, header::DEAD_DELIVERIES).parse().unwrap();
    assert!(deliveries >= u64::from(DELIVERIES), "{deliveries}");
    let told = rig.messages(stream::EVENTS).await;
    let about = subject::event(event::DEAD, TENANT, "mara");
    assert_eq!(told[0].subject.as_str(), about);
    eventually("it is counted", async || {
        let line = "foil_dead_letters_total{reason=\"given_up\",stage=\"extractor\"} 1";
        metrics::text().unwrap().contains(line)
    })
    .await;
    mover.stop().await;
}

#[tokio::test]
async fn the_log_of_updates_keeps_what_is_copied() {
    let rig = Rig::start().await;
    let to = subject::update(TENANT, "mara");
    rig.give_up(stage::EMBEDDER, stream::UPDATES, &to, PAYLOAD, headers())
        .await;
    let mover = rig.run().await;
    eventually("it is copied", async || rig.count(stream::DEAD).await == 1).await;
    rig.moved().await;
    mover.stop().await;
    assert_eq!(rig.only_letter().await.payload, PAYLOAD);
    assert_eq!(rig.count(stream::UPDATES).await, 1);
    // Whoever waits for the embedder must not wait for this one.
    let info = rig.consumer_info(stream::UPDATES, stage::EMBEDDER).await;
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0));
}

#[tokio::test]
async fn another_s_consumer_is_its_own_affair() {
    let rig = Rig::start().await;
    let updates = rig.jetstream.get_stream(stream::UPDATES).await.unwrap();
    let theirs = pull::Config {
        durable_name: Some("theirs".to_owned()),
        max_deliver: 1,
        ack_wait: Duration::from_secs(1),
        ..pull::Config::default()
    };
    updates.create_consumer(theirs).await.unwrap();
    let heard = rig.nats.client().await;
    let advisories = subject::given_up(stream::UPDATES, "theirs");
    let mut heard = heard.subscribe(advisories).await.unwrap();
    rig.publish(&subject::update(TENANT, "mara"), PAYLOAD, headers())
        .await;
    let mover = rig.run().await;
    let told = rig.deliver_until(stream::UPDATES, "theirs", async || {
        futures::FutureExt::now_or_never(futures::StreamExt::next(&mut heard)).is_some()
    });
    told.await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    mover.stop().await;
    assert_eq!(rig.count(stream::ADVISORIES).await, 0);
    assert_eq!(rig.count(stream::DEAD).await, 0);
}

#[tokio::test]
async fn what_is_gone_meanwhile_is_passed_over() {
    let rig = Rig::start().await;
    let to = subject::select(TENANT, "kettle");
    rig.give_up(stage::SELECTOR, stream::SELECT, &to, PAYLOAD, headers())
        .await;
    let stream_ = rig.jetstream.get_stream(stream::SELECT).await.unwrap();
    stream_.purge().await.unwrap();
    let mover = rig.run().await;
    rig.moved().await;
    mover.stop().await;
    assert_eq!(rig.count(stream::DEAD).await, 0);
}

#[tokio::test]
async fn a_full_foil_dead_is_waited_for() {
    let one = Limits {
        max_messages: Some(1),
        ..Limits::default()
    };
    let config = ProvisionConfig {
        dead: one,
        ..provision_config()
    };
    let rig = Rig::with("", &config).await;
    rig.publish(
        &subject::dead(stage::EMBEDDER, TENANT),
        b"earlier",
        headers(),
    )
    .await;
    let to = subject::select(TENANT, "kettle");
    rig.give_up(stage::SELECTOR, stream::SELECT, &to, PAYLOAD, headers())
        .await;
    let mover = rig.run().await;
    eventually("it was tried twice", async || {
        let info = rig.consumer_info(stream::ADVISORIES, stage::MOVER).await;
        info.delivered.consumer_sequence >= 2
    })
    .await;
    assert_eq!(rig.count(stream::SELECT).await, 1, "no copy, so no end");
    let dead = rig.jetstream.get_stream(stream::DEAD).await.unwrap();
    dead.purge().await.unwrap();
    eventually("it is gone", async || rig.count(stream::SELECT).await == 0).await;
    assert_eq!(rig.only_letter().await.payload, PAYLOAD);
    mover.stop().await;
}

/// The process is killed while its order to remove the original goes nowhere.
#[tokio::test]
async fn killed_between_the_copy_and_the_end_it_makes_no_second_copy() {
    let rig = Rig::with(support::USERS, &provision_config()).await;
    let to = subject::select(TENANT, "kettle");
    rig.give_up(stage::SELECTOR, stream::SELECT, &to, PAYLOAD, headers())
        .await;
    let mut first = rig.process("may_not_delete");
    eventually("it is copied", async || rig.count(stream::DEAD).await == 1).await;
    first.start_kill().unwrap();
    first.wait().await.unwrap();
    assert_eq!(rig.count(stream::SELECT).await, 1, "killed too late");

    let mut second = rig.process("admin");
    eventually("it is gone", async || rig.count(stream::SELECT).await == 0).await;
    rig.moved().await;
    assert_eq!(rig.only_letter().await.payload, PAYLOAD);
    let pid = second.id().unwrap().to_string();
    let sent = std::process::Command::new("kill").arg(pid).status();
    assert!(sent.unwrap().success());
    assert_eq!(second.wait().await.unwrap().code(), Some(0));
}
