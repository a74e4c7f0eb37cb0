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

/// Provisions with the change, and gives what stands in the way.
async fn refusal(rig: &Rig, change: impl FnOnce(&mut ProvisionConfig)) -> String {
    let mut config = ProvisionConfig::default();
    // Comes before the stream that is refused.
    config.select.max_messages = Some(77);
    change(&mut config);
    match provision(&rig.store, &config).await {
        Err(error @ StoreError::Incompatible { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_limit_below_what_is_stored_is_refused_before_anything_is_changed() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    for n in 0..5 {
        let subject = format!("foil.v1.event.acme.{n}");
        let sent = js.publish(subject, "an event".into()).await;
        sent.unwrap().await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let state = async |name: &str| js.get_stream(name).await.unwrap().cached_info().clone();
    let before = (
        state(stream::SELECT).await.config,
        state(stream::EVENTS).await,
    );

    let words = "stream FOIL_EVENTS: it holds 5 messages, and max_messages is 4";
    let told = refusal(&rig, |config| config.events.max_messages = Some(4)).await;
    assert!(told.starts_with(words), "{told}");
    assert!(told.contains("provision.drop_excess=true"), "{told}");
    let bytes = before.1.state.bytes;
    let told = refusal(&rig, |config| config.events.max_bytes = Some(bytes - 1)).await;
    let words = format!("it holds {bytes} bytes, and max_bytes is {}", bytes - 1);
    assert!(told.contains(&words), "{told}");
    let short = Duration::from_secs(1);
    let told = refusal(&rig, |config| {
        config.duplicate_window = short;
        config.events.max_age = Some(short);
    });
    let told = told.await;
    assert!(told.contains("ago, and max_age is 1s"), "{told}");
    let after = (
        state(stream::SELECT).await.config,
        state(stream::EVENTS).await,
    );
    assert_eq!(after.0, before.0);
    assert_eq!(after.1.config, before.1.config);
    assert_eq!(after.1.state.messages, 5);

    // What fits goes through, and what does not goes through for whoever asks for it.
    let mut config = ProvisionConfig::default();
    config.events.max_messages = Some(5);
    let report = provision(&rig.store, &config).await.unwrap();
    let told = "updated   stream FOIL_EVENTS: max_msgs 10000000 -> 5\n";
    assert!(report.to_string().contains(told), "{report}");
    assert_eq!(state(stream::EVENTS).await.state.messages, 5);
    config.events.max_messages = Some(2);
    config.drop_excess = true;
    provision(&rig.store, &config).await.unwrap();
    assert_eq!(state(stream::EVENTS).await.state.messages, 2);
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
