use std::time::Duration;

use foil_proto::names::{stage, stream};
use foil_runtime::testing::NatsServer;
use foil_runtime::{AdminConfig, Health, Shutdown, admin};

use super::probe::readiness;
use super::survey::{ConsumerStatus, Fault, Lag, look, words};
use super::*;
use crate::commands::ingest::tests::{provisioned, unprovisioned};

const HERE: StatusArgs = StatusArgs {
    stages_elsewhere: false,
};

fn consumer(stage: &'static str, waiting: u64, in_work: u64) -> ConsumerStatus {
    let lag = Ok(Lag {
        waiting,
        in_work,
        redelivered: 0,
    });
    ConsumerStatus { stage, lag }
}

#[test]
fn whether_it_keeps_up_in_words() {
    let idle = || consumer(stage::SELECTOR, 0, 0);
    assert_eq!(words(&[idle()], Some(0)), "all caught up");
    assert!(words(&[idle()], Some(1)).ends_with("1 profile waits for its user's burst to end"));
    assert!(words(&[idle()], Some(3)).starts_with("all caught up; 3 profiles wait"));
    assert_eq!(
        words(&[consumer(stage::EMBEDDER, 312, 1), idle()], Some(0)),
        "embedder is 312 behind"
    );
    assert_eq!(
        words(&[consumer(stage::EXTRACTOR, 0, 2)], Some(0)),
        "keeping up: nothing waits, 2 in work"
    );
    let without = |fault| ConsumerStatus {
        stage: stage::PROFILER,
        lag: Err(fault),
    };
    let missing = [idle(), without(Fault::Missing)];
    assert_eq!(words(&missing, None), "not provisioned: `foil provision`");
    let silent = [without(Fault::NoAnswer("timed out".to_owned())), idle()];
    let told = words(&silent, None);
    assert!(told.contains("nats.inbox_prefix"), "{told}");
    assert!(!told.contains("provision"), "{told}");
}

#[tokio::test]
async fn the_admin_port_tells_who_is_not_ready() {
    let health = Health::new();
    let check = health.register("embedder.model");
    let shutdown = Shutdown::new(Duration::from_secs(1));
    let config = AdminConfig {
        listen: ([127, 0, 0, 1], 0).into(),
    };
    let address = admin::serve(&config, &health, &shutdown)
        .await
        .expect("a free port");
    let down = vec!["embedder.model".to_owned()];
    assert_eq!(readiness(address).await, Readiness::NotReady { down });
    check.set(true);
    let checks = vec!["embedder.model".to_owned(), "running".to_owned()];
    assert_eq!(readiness(address).await, Readiness::Ready { checks });
}

#[tokio::test]
async fn nobody_or_somebody_else_at_the_admin_port() {
    let server = NatsServer::start(None);
    let port = server
        .url()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let address = ([127, 0, 0, 1], port.expect("a port")).into();
    assert!(matches!(
        readiness(address).await,
        Readiness::Unreachable { .. }
    ));
    drop(server);
    assert!(matches!(
        readiness(address).await,
        Readiness::Unreachable { .. }
    ));
}

#[tokio::test]
async fn a_fresh_foil_is_caught_up_and_one_behind_says_so() {
    let test = provisioned().await;
    let status = look(&test.session, &HERE).await;
    assert_eq!(status.words, "all caught up");
    assert_eq!(status.dead, Some(0));
    assert_eq!(status.qdrant, Ok(()));
    assert!(status.streams.iter().all(|s| s.state.is_ok()));
    // Nobody serves the admin port here.
    assert!(!status.healthy);
    let elsewhere = StatusArgs {
        stages_elsewhere: true,
    };
    let status = look(&test.session, &elsewhere).await;
    assert!(status.healthy && status.stages == Readiness::NotAsked);
    let code = run(&test.session, &elsewhere).await.expect("it ran");
    assert_eq!(code, ExitCode::SUCCESS);

    let jetstream = &test.session.jetstream;
    for user in ["a", "b"] {
        let subject = foil_proto::names::subject::update("demo", user);
        let ack = jetstream.publish(subject, "x".into()).await.expect("sent");
        ack.await.expect("stored");
    }
    let status = look(&test.session, &HERE).await;
    assert_eq!(status.words, "embedder is 2 behind");
    let updates = status.streams.iter().find(|s| s.name == stream::UPDATES);
    let state = updates
        .and_then(|s| s.state.as_ref().ok())
        .expect("a state");
    assert_eq!(state.messages, 2);
    assert!(state.oldest_ms.is_some_and(|age| age < 60_000));
    let json = serde_json::to_value(&status).expect("json");
    assert_eq!(json["streams"][0]["state"]["messages"], 2);
    assert_eq!(json["qdrant"], serde_json::json!({"ready": true}));
    let lag = serde_json::json!({"waiting": 2, "in_work": 0, "redelivered": 0});
    assert_eq!(json["consumers"][0]["lag"], lag);
    assert!(streams(&status.streams).contains("FOIL_UPDATES"));
    assert!(consumers(&status).contains("redelivered"));
}

#[tokio::test]
async fn without_provision_it_says_what_to_do() {
    let test = unprovisioned().await;
    let status = look(&test.session, &HERE).await;
    let told = &status.words;
    assert!(
        told.starts_with("not provisioned: `foil provision`"),
        "{told}"
    );
    let away = "; but Qdrant does not answer"; // nobody serves one here
    assert!(told.ends_with(away), "{told}");
    assert!(!status.healthy && status.dead.is_none() && status.qdrant.is_err());
    let json = serde_json::to_value(&status).expect("json");
    assert_eq!(json["qdrant"]["ready"], false);
    assert!(json["qdrant"]["error"].is_string(), "{json}");
}

#[test]
fn sizes_are_short() {
    assert_eq!(
        [size(0), size(20_480), size(52_428_800)],
        ["0 B", "20 KiB", "50 MiB"]
    );
}
