//! How far behind a stage is, as a real nats-server tells it.

#![allow(clippy::unwrap_used)]

// What the other test of this crate uses of it.
#[allow(dead_code)]
mod support;

use std::time::SystemTime;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use foil_mover::{Lag, lag};
use foil_proto::names::{stage, stream, subject};
use foil_runtime::metrics;
use futures::StreamExt as _;
use support::{Rig, TENANT, eventually};

async fn selectors(rig: &Rig) -> Lag {
    let lag = lag(&rig.jetstream, stage::SELECTOR, stream::SELECT).await;
    lag.unwrap()
}

async fn publish(rig: &Rig, item: &str) {
    rig.publish(&subject::select(TENANT, item), b"", HeaderMap::new())
        .await;
}

async fn stored_at(rig: &Rig, sequence: u64) -> SystemTime {
    let stream = rig.jetstream.get_stream(stream::SELECT).await.unwrap();
    stream.get_raw_message(sequence).await.unwrap().time.into()
}

#[tokio::test]
async fn what_waits_and_what_is_at_work_is_lag_and_the_oldest_has_its_age() {
    let rig = Rig::start().await;
    assert_eq!(selectors(&rig).await, Lag::default());
    for item in ["one", "two", "three"] {
        publish(&rig, item).await;
    }
    let oldest = Some(stored_at(&rig, 1).await);
    let all = Lag {
        messages: 3,
        oldest,
    };
    assert_eq!(selectors(&rig).await, all);

    // At work and not acknowledged: it still is the oldest.
    let stream = rig.jetstream.get_stream(stream::SELECT).await.unwrap();
    let consumer: PullConsumer = stream.get_consumer(stage::SELECTOR).await.unwrap();
    let mut pulled = consumer.fetch().max_messages(1).messages().await.unwrap();
    let first = pulled.next().await.unwrap().unwrap();
    assert_eq!(selectors(&rig).await, all);
    first.double_ack().await.unwrap();
    let oldest = Some(stored_at(&rig, 2).await);
    assert_eq!(
        selectors(&rig).await,
        Lag {
            messages: 2,
            oldest
        }
    );

    // Newer work on one subject replaces the older.
    publish(&rig, "two").await;
    let oldest = Some(stored_at(&rig, 3).await);
    assert_eq!(
        selectors(&rig).await,
        Lag {
            messages: 2,
            oldest
        }
    );
    assert!(lag(&rig.jetstream, "nobody", stream::SELECT).await.is_err());
}

#[tokio::test]
async fn every_stages_lag_is_exported_and_a_consumer_that_went_is_told() {
    let rig = Rig::start().await;
    publish(&rig, "one").await;
    let mover = rig.run().await;
    let exported = |line: &str| metrics::text().unwrap().contains(line);
    eventually("the lag is exported", async || {
        exported("foil_consumer_lag{stage=\"selector\"} 1\n")
    })
    .await;
    for (name, _) in stage::INPUTS {
        let found = format!("foil_consumer_found{{stage=\"{name}\"}} 1\n");
        assert!(exported(&found), "{found}");
    }
    assert!(exported("foil_dead_letters_stored 0\n"));
    eventually("it grows older", async || {
        let text = metrics::text().unwrap();
        let age = "foil_consumer_lag_age_seconds{stage=\"selector\"} ";
        let age = text.lines().find_map(|line| line.strip_prefix(age));
        age.unwrap().parse::<f64>().unwrap() > 1.0
    })
    .await;
    let select = rig.jetstream.get_stream(stream::SELECT).await.unwrap();
    select.delete_consumer(stage::SELECTOR).await.unwrap();
    eventually("it is missed", async || {
        exported("foil_consumer_found{stage=\"selector\"} 0\n")
    })
    .await;
    assert!(!exported("foil_consumer_lag{stage=\"selector\"}"));
    mover.stop().await;
}
