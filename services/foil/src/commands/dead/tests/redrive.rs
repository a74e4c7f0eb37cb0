//! Ages, the pace, what NATS gave up, and what happens meanwhile.

use std::time::Instant;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::AckKind;
use foil_runtime::{Health, Service, Shutdown};
use foil_store::provision::provision;
use futures::StreamExt as _;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds))
}

#[tokio::test]
async fn an_age_takes_the_older_or_the_younger_ones() {
    let test = provisioned().await;
    let old = update(&test, "demo", "a").await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let young = update(&test, "demo", "b").await;
    let older = DeadFilter {
        older_than: seconds(2.0),
        ..EVERYTHING
    };
    assert_eq!(sequences(&test, &older).await, [old]);
    let newer = || DeadFilter {
        newer_than: seconds(2.0),
        ..EVERYTHING
    };
    assert_eq!(sequences(&test, &newer()).await, [young]);
    let args = redrive_args(newer(), None, false);
    run(&test.session, &DeadVerb::Redrive(args))
        .await
        .expect("it ran");
    assert_eq!(sequences(&test, &EVERYTHING).await, [old]);
}

#[tokio::test]
async fn no_more_than_the_rate_are_redriven_a_second() {
    let test = provisioned().await;
    for number in 0..6 {
        update(&test, "demo", &format!("u{number}")).await;
    }
    let args = |dry_run| RedriveArgs {
        rate: 5,
        ..redrive_args(all(), None, dry_run)
    };
    let started = Instant::now();
    run(&test.session, &DeadVerb::Redrive(args(true)))
        .await
        .expect("it ran");
    // Nothing is sent, so nothing is waited for.
    assert!(started.elapsed() < Duration::from_millis(900));
    run(&test.session, &DeadVerb::Redrive(args(false)))
        .await
        .expect("it ran");
    let updates = test.session.jetstream.get_stream(stream::UPDATES).await;
    let updates = updates.expect("a stream");
    let mut stored = Vec::new();
    for sequence in 1..=6 {
        stored.push(updates.direct_get(sequence).await.expect("redriven").time);
    }
    let whole = (stored[5] - stored[0]).as_seconds_f64();
    // Five pauses of 200 ms.
    assert!((0.9..5.0).contains(&whole), "{whole} s");
    for bad in [0, 10_001] {
        let args = RedriveArgs {
            rate: bad,
            ..redrive_args(all(), None, true)
        };
        let refused = run(&test.session, &DeadVerb::Redrive(args)).await;
        let words = refused.expect_err("no rate").to_string();
        assert!(words.starts_with("--rate: "), "{words}");
    }
}

#[tokio::test]
async fn what_is_purged_meanwhile_does_not_come_back() {
    let test = provisioned().await;
    let (first, second, third) = (
        update(&test, "demo", "a").await,
        update(&test, "demo", "b").await,
        update(&test, "demo", "c").await,
    );
    let args = RedriveArgs {
        rate: 1,
        ..redrive_args(all(), None, false)
    };
    let verb = DeadVerb::Redrive(args);
    let redriving = run(&test.session, &verb);
    let erasing = async {
        // The first one goes at once, the second a second later.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let deleted = dead(&test).await.delete_message(second).await;
        deleted.expect("deleted");
    };
    let (code, ()) = tokio::join!(redriving, erasing);
    assert_eq!(code.expect("it ran"), ExitCode::SUCCESS);
    assert!(sequences(&test, &EVERYTHING).await.is_empty());
    let updates = test.session.jetstream.get_stream(stream::UPDATES).await;
    let state = updates.expect("a stream").cached_info().state.clone();
    assert_eq!(state.messages, 2, "{first} and {third}");
}

/// Delivers until NATS gives up, as to a process that is killed each time.
async fn give_up(test: &Test) {
    let jetstream = &test.session.jetstream;
    let select = jetstream.get_stream(stream::SELECT).await.expect("there");
    let consumer: PullConsumer = select.get_consumer(stage::SELECTOR).await.expect("there");
    let end = Instant::now() + LIMIT;
    loop {
        let pull = consumer.batch().max_messages(1);
        let pull = pull.expires(Duration::from_millis(200)).messages().await;
        let mut messages = pull.expect("a batch");
        while let Some(message) = messages.next().await {
            let message = message.expect("a message");
            message.ack_with(AckKind::Nak(None)).await.expect("sent");
        }
        let told = jetstream.get_stream(stream::ADVISORIES).await;
        if told.expect("there").cached_info().state.messages > 0 {
            return;
        }
        assert!(Instant::now() < end, "NATS did not give up");
    }
}

#[tokio::test]
async fn what_nats_gave_up_can_be_redriven() {
    let test = provisioned().await;
    let session = &test.session;
    let mut soon = session.config.provision.clone();
    soon.max_deliver = 2;
    provision(&session.store, &soon).await.expect("provisioned");
    let to = subject::select("demo", "kettle");
    let publish = session.jetstream.publish(to.clone(), "a token".into());
    publish.await.expect("sent").await.expect("stored");
    give_up(&test).await;
    let service = Service {
        health: Health::new(),
        nats: session.nats.clone(),
        shutdown: Shutdown::new(Duration::from_secs(5)),
    };
    let config = foil_mover::MoverConfig::default();
    let mover = foil_mover::run(&config, &service);
    let given_up = || DeadFilter {
        reason: Some("given_up".into()),
        stage: Some("selector".into()),
        ..EVERYTHING
    };
    let moved = async {
        let end = Instant::now() + LIMIT;
        while sequences(&test, &given_up()).await.len() != 1 {
            assert!(Instant::now() < end, "it was not moved");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        service.shutdown.trigger();
    };
    let (ended, ()) = tokio::join!(mover, moved);
    ended.expect("a clean end");
    let args = redrive_args(given_up(), None, false);
    let code = run(session, &DeadVerb::Redrive(args))
        .await
        .expect("it ran");
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(sequences(&test, &EVERYTHING).await.is_empty());

    let select = session.jetstream.get_stream(stream::SELECT).await;
    let consumer: PullConsumer = select
        .expect("there")
        .get_consumer(stage::SELECTOR)
        .await
        .expect("there");
    let mut again = consumer
        .batch()
        .max_messages(1)
        .messages()
        .await
        .expect("a batch");
    let again = again.next().await.expect("it comes").expect("a message");
    assert_eq!(again.subject.as_str(), to);
    assert_eq!(again.payload, "a token");
    assert_eq!(again.info().expect("of a stream").delivered, 1);
}
