//! `provision`, and what it makes.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use foil_proto::names::{stage, stream, subject};
use foil_store::{Change, Limits, ProvisionConfig, StoreError, provision};
use futures::StreamExt;

use crate::support::Rig;

const STREAMS: [(&str, &str); 6] = [
    (stream::UPDATES, stage::EMBEDDER),
    (stream::SELECT, stage::SELECTOR),
    (stream::EXTRACT, stage::EXTRACTOR),
    (stream::PROFILE, stage::PROFILER),
    (stream::GENERATE, stage::GENERATOR),
    (stream::ADVISORIES, stage::MOVER),
];

#[tokio::test]
async fn the_second_run_changes_nothing() {
    let rig = Rig::bare().await;
    assert!(matches!(
        rig.store.ready().await,
        Err(StoreError::NotProvisioned { .. })
    ));
    let config = ProvisionConfig::default();
    let first = provision(&rig.store, &config).await.unwrap();
    // 3 collections, 8 streams, 2 buckets, 6 consumers.
    assert_eq!(first.entries.len(), 19);
    assert_eq!(first.count(Change::Created), 19);
    rig.store.ready().await.unwrap();
    let second = provision(&rig.store, &config).await.unwrap();
    assert_eq!(second.count(Change::Unchanged), 19, "{second}");
}

#[tokio::test]
async fn everything_has_limits() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let names = [
        stream::EVENTS,
        stream::DEAD,
        "KV_FOIL_PROFILES",
        "KV_FOIL_ACTIVE",
    ];
    for name in STREAMS.map(|(name, _)| name).iter().chain(&names) {
        let found = js.get_stream(*name).await.unwrap();
        let config = &found.cached_info().config;
        assert!(config.max_bytes > 0, "{name}");
        assert!(config.max_messages > 0, "{name}");
        assert!(config.max_message_size > 0, "{name}");
        let window = match *name {
            stream::DEAD => 3_600,
            _ => 120,
        };
        assert_eq!(
            config.duplicate_window,
            Duration::from_secs(window),
            "{name}"
        );
        // A profile stays until its user is erased.
        assert_eq!(
            config.max_age.is_zero(),
            *name == "KV_FOIL_PROFILES",
            "{name}"
        );
    }
    for (name, stage) in STREAMS {
        let found = js.get_stream(name).await.unwrap();
        let consumer = found.consumer_info(stage).await.unwrap().config;
        assert_eq!(consumer.ack_policy, AckPolicy::Explicit);
        assert_eq!(consumer.ack_wait, Duration::from_secs(60));
        // What is given up is moved; who moves it gives nothing up.
        let most = if stage == stage::MOVER { -1 } else { 100 };
        assert_eq!(consumer.max_deliver, most, "{stage}");
        assert!(consumer.max_ack_pending > 0);
    }
}

#[tokio::test]
async fn changed_limits_are_applied_and_others_left() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let found = js.get_stream(stream::EVENTS).await.unwrap();
    let mut theirs = found.cached_info().config.clone();
    theirs
        .metadata
        .insert("owner".to_owned(), "team-a".to_owned());
    js.update_stream(&theirs).await.unwrap();

    let mut config = ProvisionConfig::default();
    config.events.max_bytes = Some(8 << 20);
    config.ack_wait = Duration::from_secs(30);
    let report = provision(&rig.store, &config).await.unwrap();
    assert_eq!(report.count(Change::Updated), 7, "{report}"); // one stream, six consumers
    let found = js.get_stream(stream::EVENTS).await.unwrap();
    let config_now = &found.cached_info().config;
    assert_eq!(config_now.max_bytes, 8 << 20);
    assert_eq!(config_now.metadata["owner"], "team-a");
    let again = provision(&rig.store, &config).await.unwrap();
    assert_eq!(again.count(Change::Unchanged), 19, "{again}");
}

#[tokio::test]
async fn what_another_system_made_is_left_alone() {
    let foreign = |name: &str, subjects: &[&str], retention| Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
        retention,
        ..Config::default()
    };
    let cases = [
        // Our name, their subjects.
        foreign("FOIL_UPDATES", &["orders.>"], RetentionPolicy::Limits),
        // Our name and subjects, but of another kind.
        foreign(
            "FOIL_SELECT",
            &[subject::SELECT_ALL],
            RetentionPolicy::Interest,
        ),
        // Our subjects under another name.
        foreign("OTHER", &["foil.v1.update.>"], RetentionPolicy::Limits),
    ];
    for theirs in cases {
        let rig = Rig::bare().await;
        let js = rig.jetstream().await;
        let made = js.create_stream(theirs.clone()).await.unwrap();
        let before = made.cached_info().config.clone();
        let refused = provision(&rig.store, &ProvisionConfig::default())
            .await
            .unwrap_err();
        let StoreError::Incompatible { what, problem } = &refused else {
            panic!("{refused}");
        };
        assert!(what.starts_with("stream FOIL_"), "{refused}");
        assert!(!problem.is_empty() && !refused.is_transient());
        let after = js.get_stream(&theirs.name).await.unwrap();
        assert_eq!(after.cached_info().config, before);
    }
}

#[tokio::test]
async fn another_embedding_model_is_an_error() {
    let rig = Rig::start().await;
    let other = rig.with(|config| config.dimension = 768).await;
    for refused in [
        provision(&other, &ProvisionConfig::default())
            .await
            .map(drop),
        other.ready().await,
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, StoreError::Incompatible { .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("768"), "{refused}");
    }
}

#[tokio::test]
async fn a_full_work_queue_refuses_new_work_but_folds_what_waits() {
    let rig = Rig::bare().await;
    let config = ProvisionConfig {
        select: Limits {
            max_messages: Some(2),
            ..Limits::default()
        },
        ..ProvisionConfig::default()
    };
    provision(&rig.store, &config).await.unwrap();
    let js = rig.jetstream().await;
    let publish = async |item: &str| {
        let sent = js
            .publish(subject::select("acme", item), "key".into())
            .await;
        sent.unwrap().await.map_err(|error| error.kind())
    };
    publish("kettle").await.unwrap();
    publish("lamp").await.unwrap();
    let refused = publish("mug").await.unwrap_err();
    assert_eq!(refused, PublishErrorKind::Other);
    publish("kettle").await.unwrap();
    let found = js.get_stream(stream::SELECT).await.unwrap();
    let info = found.cached_info();
    assert_eq!(info.state.messages, 2);
    assert_eq!(info.config.discard, DiscardPolicy::New);
}

#[tokio::test]
async fn a_schedule_is_no_work_until_it_fires() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let target = subject::profile("acme", "mara");
    let at = jiff::Timestamp::now() + Duration::from_secs(2);
    for _ in 0..3 {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Schedule", format!("@at {at}").as_str());
        headers.insert("Nats-Schedule-Target", target.as_str());
        let schedule = subject::profile_schedule("acme", "mara");
        let sent = js
            .publish_with_headers(schedule, headers, "key".into())
            .await;
        sent.unwrap().await.unwrap();
    }
    let stream = js.get_stream(stream::PROFILE).await.unwrap();
    let waiting = stream.consumer_info(stage::PROFILER).await.unwrap();
    assert_eq!(waiting.num_pending, 0);
    let consumer: async_nats::jetstream::consumer::Consumer<pull::Config> =
        stream.get_consumer(stage::PROFILER).await.unwrap();
    let batch = consumer
        .batch()
        .max_messages(5)
        .expires(Duration::from_secs(4));
    let messages: Vec<_> = batch.messages().await.unwrap().collect().await;
    assert_eq!(messages.len(), 1, "a burst folds into one");
    assert_eq!(messages[0].as_ref().unwrap().subject.as_str(), target);
}
