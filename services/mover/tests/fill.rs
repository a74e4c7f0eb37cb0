//! How full the streams are, as a real nats-server tells it.

#![allow(clippy::unwrap_used)]

// What the other tests of this crate use of it.
#[allow(dead_code)]
mod support;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use foil_proto::names::{stage, stream, subject};
use foil_runtime::metrics;
use foil_store::{Limits, ProvisionConfig};
use futures::StreamExt as _;
use support::{Rig, TENANT, eventually, provision_config};

const STREAMS: [&str; 10] = [
    "FOIL_UPDATES",
    "FOIL_SELECT",
    "FOIL_EXTRACT",
    "FOIL_PROFILE",
    "FOIL_GENERATE",
    "FOIL_EVENTS",
    "FOIL_DEAD",
    "FOIL_ADVISORIES",
    "KV_FOIL_PROFILES",
    "KV_FOIL_ACTIVE",
];

async fn exported(line: &str) {
    eventually(line, async || metrics::text().unwrap().contains(line)).await;
}

#[tokio::test]
async fn every_streams_fill_is_exported_and_what_is_read_is_no_part_of_a_stages() {
    let four = Limits {
        max_messages: Some(4),
        ..Limits::default()
    };
    let config = ProvisionConfig {
        updates: four,
        ..provision_config()
    };
    let rig = Rig::with("", &config).await;
    let mover = rig.run().await;
    for name in STREAMS {
        exported(&format!("foil_stream_fill_ratio{{stream=\"{name}\"}} 0\n")).await;
    }
    exported("foil_consumer_lag_limit_ratio{stage=\"embedder\"} 0\n").await;

    for user in ["mara", "noor", "ole"] {
        rig.publish(&subject::update(TENANT, user), b"", HeaderMap::new())
            .await;
    }
    exported("foil_stream_fill_ratio{stream=\"FOIL_UPDATES\"} 0.75\n").await;
    exported("foil_consumer_lag_limit_ratio{stage=\"embedder\"} 0.75\n").await;

    let updates = rig.jetstream.get_stream(stream::UPDATES).await.unwrap();
    let consumer: PullConsumer = updates.get_consumer(stage::EMBEDDER).await.unwrap();
    let mut pulled = consumer.fetch().max_messages(2).messages().await.unwrap();
    while let Some(message) = pulled.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
    exported("foil_consumer_lag_limit_ratio{stage=\"embedder\"} 0.25\n").await;
    exported("foil_stream_fill_ratio{stream=\"FOIL_UPDATES\"} 0.75\n").await;
    mover.stop().await;
}
