//! Every row of the settlement table, on a real server.

mod support;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Config;
use foil_proto::names::header as h;
use foil_runtime::{Classify, DeadLetter, Emit, Outcome, Reason, RunError, StageError};
use support::{DEAD, IN, INPUT, OUT, World, config, header, note, output, spec, stage, until};

type Handled = Result<Outcome, StageError>;

fn retry(text: &str) -> Handled {
    Err::<Outcome, _>(text.to_owned()).retry()
}

#[tokio::test]
async fn ok_stores_the_outputs_then_acks() {
    let world = World::new().await;
    let stage = stage(async |input, _, _| {
        let texts = [1, 2, 3].map(|n| output(&format!("{} {n}", input.text)));
        Ok(Outcome::Emit(texts.into()))
    });
    let running = world.run(&stage, config());
    let mut headers = HeaderMap::new();
    headers.insert(h::UPDATED_AT, "1700000000123");
    world.send_with("a", headers).await;
    until("the outputs are there", async || {
        world.count(OUT).await == 3
    })
    .await;
    world.settled().await;
    assert_eq!(world.texts(OUT).await, ["a 1", "a 2", "a 3"]);
    assert_eq!(world.count(IN).await, 0);
    let outputs = world.messages(OUT).await;
    let id = format!("tester.IN.1.{}.2", support::OUTPUT);
    assert_eq!(header(&outputs[2], h::MESSAGE_ID), id);
    assert_eq!(header(&outputs[2], h::UPDATED_AT), "1700000000123");
    world.stop(running).await.expect("a clean end");
    assert_eq!(stage.calls(), 1);
}

#[tokio::test]
async fn the_first_stage_dates_the_update_by_its_own_storing() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x")])));
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the output is there", async || world.count(OUT).await == 1).await;
    let outputs = world.messages(OUT).await;
    let at: i64 = header(&outputs[0], h::UPDATED_AT)
        .parse()
        .expect("milliseconds");
    let stored = i64::try_from(outputs[0].time.unix_timestamp_nanos() / 1_000_000).expect("now");
    assert!(
        (0..10_000).contains(&(stored - at)),
        "{at} against {stored}"
    );
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn skip_acks() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("stale")));
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.count(OUT).await + world.count(DEAD).await, 0);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn retry_comes_again_after_the_delay_it_asked_for() {
    let world = World::new().await;
    let stage = stage(async |_, cx, call| {
        assert_eq!(cx.delivered, call as u64);
        match call {
            1 => Err::<Outcome, _>("busy").retry_after(Duration::from_millis(700)),
            _ => Ok(Outcome::Emit(vec![output("done")])),
        }
    });
    let running = world.run(&stage, config());
    let started = std::time::Instant::now();
    world.send("a").await;
    until("the output is there", async || world.count(OUT).await == 1).await;
    assert!(started.elapsed() >= Duration::from_millis(700));
    world.settled().await;
    world.stop(running).await.expect("a clean end");
    assert_eq!((stage.calls(), world.count(DEAD).await), (2, 0));
}

/// More often than it has attempts, and after an attempt that does count.
#[tokio::test]
async fn what_is_unfinished_goes_on_and_costs_no_attempt() {
    let world = World::new().await;
    let stage = stage(async |_, cx, call| match call {
        1 => retry("busy"),
        2..=8 => {
            assert_eq!(cx.delivered, 2, "call {call}");
            Err(StageError::Unfinished {
                after: Duration::from_millis(20),
                cause: "half of it is done".into(),
            })
        }
        _ => Ok(Outcome::Emit(vec![output("done")])),
    });
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    world.settled().await;
    assert_eq!((stage.calls(), world.count(DEAD).await), (9, 0));
    assert_eq!(world.texts(OUT).await, ["done"]);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn the_last_attempt_ends_among_the_dead_letters() {
    let world = World::new().await;
    let stage = stage(async |_, cx, call| {
        assert_eq!(cx.last_attempt, call == 3);
        retry("qdrant is away\r\nNats-Rollup: all")
    });
    let running = world.run(&stage, config());
    let mut headers = HeaderMap::new();
    headers.insert(h::MESSAGE_ID, "producer-7");
    headers.insert("X-Mine", "kept");
    world.send_with("a", headers).await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 3));
    let letter = &dead[0];
    assert_eq!(letter.subject.as_str(), "foil.v1.dead.tester.acme");
    assert_eq!(
        letter.payload.as_ref(),
        prost::Message::encode_to_vec(&note("a"))
    );
    assert_eq!(header(letter, h::DEAD_REASON), "exhausted");
    assert_eq!(
        header(letter, h::DEAD_ERROR),
        "qdrant is away Nats-Rollup: all"
    );
    assert_eq!(header(letter, h::DEAD_SUBJECT), INPUT);
    assert_eq!(header(letter, h::DEAD_STREAM), IN);
    assert_eq!(header(letter, h::DEAD_SEQUENCE), "1");
    assert_eq!(header(letter, h::DEAD_DELIVERIES), "3");
    assert_eq!(header(letter, h::DEAD_MESSAGE_ID), "producer-7");
    let id = header(letter, h::MESSAGE_ID);
    assert!(id.starts_with("dead.IN.1."), "{id}");
    assert_eq!(header(letter, "X-Mine"), "kept");
    assert_eq!(header(letter, "Nats-Rollup"), "");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_timeout_is_an_attempt() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Outcome::Skip("never"))
    });
    let mut config = config();
    config.timeout = Duration::from_millis(150);
    config.max_deliveries = 2;
    let running = world.run(&stage, config);
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 2));
    assert_eq!(header(&dead[0], h::DEAD_ERROR), "no verdict within 150ms");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_panic_is_an_attempt_and_the_worker_lives_on() {
    let world = World::new().await;
    let stage = stage(async |input, _, _| match input.text.as_str() {
        "bad" => panic!("the text was {}", input.text),
        _ => Ok(Outcome::Emit(vec![output("fine")])),
    });
    let running = world.run(&stage, config());
    world.send("bad").await;
    world.send("good").await;
    until("both are gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 4));
    assert_eq!(header(&dead[0], h::DEAD_REASON), "exhausted");
    // The panic's text quotes the input, and so stays out.
    assert_eq!(
        header(&dead[0], h::DEAD_ERROR),
        "the handler panicked: see the log"
    );
    assert_eq!(world.texts(OUT).await, ["fine"]);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_rejected_input_is_dead_on_its_first_delivery() {
    let world = World::new().await;
    let stage =
        stage(async |_, _, _| Err::<Outcome, _>("rating is not a number").reject(Reason::Invalid));
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 1));
    assert_eq!(header(&dead[0], h::DEAD_REASON), "invalid");
    assert_eq!(header(&dead[0], h::DEAD_DELIVERIES), "1");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn undecodable_bytes_are_kept_as_they_came() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Skip("never")));
    let running = world.run(&stage, config());
    let inputs: [&[u8]; 3] = [b"\x0a\xff", b"\xff\xff\xff\xff", b"\x0a\x02\xc3\x28"];
    for bytes in inputs {
        world.send_bytes(bytes.to_vec(), HeaderMap::new()).await;
    }
    until("all are gone", async || world.count(IN).await == 0).await;
    let mut dead: Vec<_> = world.messages(DEAD).await;
    dead.sort_by_key(|letter| header(letter, h::DEAD_SEQUENCE).to_owned());
    assert_eq!(dead.len(), 3);
    for (letter, bytes) in dead.iter().zip(inputs) {
        assert_eq!(letter.payload.as_ref(), bytes);
        assert_eq!(header(letter, h::DEAD_REASON), "undecodable");
    }
    assert_eq!(stage.calls(), 0);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn fatal_gives_back_and_ends_the_worker() {
    let world = World::new().await;
    let broken = stage(async |_, _, _| Err::<Outcome, _>("the model is corrupt").fatal());
    let mut config = config();
    config.max_deliveries = 1;
    let running = world.run(&broken, config.clone());
    world.send("a").await;
    let error = support::ended(running).await.expect_err("a fatal end");
    assert!(
        matches!(&error, RunError::Fatal { cause, .. } if cause.to_string().contains("corrupt"))
    );
    assert_eq!(error.exit_code(), 1);
    assert!(!world.service.health.ready());
    assert!(
        !world.service.shutdown.is_triggered(),
        "its own worker only"
    );
    assert_eq!((world.count(IN).await, world.count(DEAD).await), (1, 0));

    let sound = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x")])));
    config.max_deliveries = 2;
    let running = world.run(&sound, config);
    until("another does it", async || world.count(OUT).await == 1).await;
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_message_that_kills_the_process_never_reaches_the_handler_again() {
    let world = World::new().await;
    world.send("a").await;
    world.deliver_in_vain(3).await;
    let stage = stage(async |_, _, _| std::process::abort());
    let running = world.run(&stage, config());
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 0));
    assert_eq!(header(&dead[0], h::DEAD_REASON), "poison");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn nothing_is_terminated_without_a_copy() {
    let world = World::new().await;
    world.jetstream.delete_stream(DEAD).await.expect("deleted");
    let stage = stage(async |_, _, _| Err::<Outcome, _>("no").reject(Reason::Invalid));
    let running = world.run(&stage, config());
    world.send("a").await;
    until("several attempts were made", async || {
        world.consumer_info().await.delivered.consumer_sequence >= 5
    })
    .await;
    assert_eq!(world.count(IN).await, 1);
    world.provision_dead().await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!(dead.len(), 1);
    // The attempts without a copy are more than `max_deliveries`, and still it is no poison.
    assert_eq!(header(&dead[0], h::DEAD_REASON), "invalid");
    assert_eq!(header(&dead[0], h::DEAD_ERROR), "no");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn a_dead_letter_may_be_told_as_an_event() {
    let world = World::new().await;
    // So that the copy's place is not the input's.
    let earlier = world.jetstream.publish(LETTER, "earlier".into()).await;
    earlier.expect("sent").await.expect("stored");
    let stage = stage(async |_, _, _| Err::<Outcome, _>("no").reject(Reason::Invalid));
    let spec = spec().with_dead_event(event);
    let running = support::run_in(&world.service, &stage, spec, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let stored = world.messages(DEAD).await;
    assert_eq!(stored.len(), 3);
    assert_eq!(stored[1].subject.as_str(), LETTER);
    assert_eq!(stored[2].subject.as_str(), "foil.v1.event.dead.acme.u");
    assert_eq!(support::text_of(&stored[2].payload), "invalid, copy 2");
    let id = header(&stored[2], h::MESSAGE_ID);
    assert!(id.starts_with("dead-event.IN.1."), "{id}");
    world.stop(running).await.expect("a clean end");
}

const LETTER: &str = "foil.v1.dead.tester.acme";

fn event(letter: &DeadLetter, sequence: u64) -> Option<Emit> {
    let subject = format!("foil.v1.event.dead.{}.u", letter.tenant);
    let text = format!("{}, copy {sequence}", letter.reason.as_str());
    Some(Emit::new(subject, &note(&text)))
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_now_keeps_the_input_and_costs_no_second_copy() {
    let world = World::new().await;
    let copies = Config {
        name: DEAD.to_owned(),
        subjects: vec!["foil.v1.dead.>".to_owned()],
        ..Config::default()
    };
    world
        .jetstream
        .update_stream(&copies)
        .await
        .expect("updated");
    let stage = stage(async |_, _, _| Err::<Outcome, _>("no").reject(Reason::Invalid));
    let spec = spec().with_dead_event(event);
    let running = support::run_in(&world.service, &stage, spec, config());
    world.send("a").await;
    until("several attempts were made", async || {
        world.consumer_info().await.delivered.consumer_sequence >= 3
    })
    .await;
    assert_eq!((world.count(IN).await, world.count(DEAD).await), (1, 1));
    let told = Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["foil.v1.event.>".to_owned()],
        ..Config::default()
    };
    world.stream(told).await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.count(DEAD).await, 1);
    let events = world.texts("EVENTS").await;
    assert_eq!(events.len(), 1);
    assert!(events[0].ends_with("copy 1"), "{events:?}");
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn an_event_that_never_can_be_published_does_not_hold_the_dead_letter() {
    fn faulty(_: &DeadLetter, _: u64) -> Option<Emit> {
        Some(Emit::new("no subject".to_owned(), &note("never")))
    }
    let world = World::new().await;
    let stage = stage(async |_, _, _| Err::<Outcome, _>("no").reject(Reason::Invalid));
    let spec = spec().with_dead_event(faulty);
    let running = support::run_in(&world.service, &stage, spec, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (1, 1));
    assert_eq!(dead[0].subject.as_str(), LETTER);
    world.stop(running).await.expect("a clean end");
}
