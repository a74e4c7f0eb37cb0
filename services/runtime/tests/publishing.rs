//! Outputs before acks: full streams, duplicates, schedules, traces.

mod support;

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use foil_proto::names::header as h;
use foil_runtime::config::TelemetryConfig;
use foil_runtime::{Emit, Outcome, telemetry};
use futures::StreamExt;
use support::{DEAD, IN, OUT, OUTPUT, World, config, header, note, output, stage, until};

async fn limit_output(world: &World, max_messages: i64) {
    let config = Config {
        name: OUT.to_owned(),
        subjects: vec!["foil.v1.out.>".to_owned()],
        discard: DiscardPolicy::New,
        allow_direct: true,
        max_messages,
        ..Config::default()
    };
    world
        .jetstream
        .update_stream(config)
        .await
        .expect("updated");
}

/// Whether the stage says that its outputs are stored.
fn outputs_are_stored(world: &World) -> bool {
    world.service.health.checks()["tester.outputs"]
}

#[tokio::test]
async fn a_full_output_stream_stops_the_pulling_until_there_is_room() {
    let world = World::new().await;
    limit_output(&world, 1).await;
    let stage = stage(async |input, _, _| Ok(Outcome::Emit(vec![output(&input.text)])));
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the stream is full", async || world.count(OUT).await == 1).await;
    world.send("b").await;
    until("readiness is off", async || !outputs_are_stored(&world)).await;
    assert!(!world.service.health.ready());
    let calls = stage.calls();
    // Much longer than all the delays between the deliveries that an input has.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.calls(), calls, "worked on for nothing");
    assert_eq!((world.count(IN).await, world.count(DEAD).await), (1, 0));
    limit_output(&world, 10).await;
    until("readiness is back", async || world.service.health.ready()).await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.texts(OUT).await, ["a", "b"]);
    assert_eq!(world.count(DEAD).await, 0);
    world.stop(running).await.expect("a clean end");
}

/// There is room for one output each time that it is looked for, and never for those of an input.
#[tokio::test]
async fn a_shortage_that_comes_and_goes_is_not_the_input_s_fault() {
    let world = World::new().await;
    limit_output(&world, 1).await;
    let stage = stage(async |input, _, call| {
        let to = |n| Emit::new(format!("foil.v1.out.acme.u{call}-{n}"), &input);
        Ok(Outcome::Emit(vec![to(1), to(2)]))
    });
    let running = world.run(&stage, config());
    world.send("a").await;
    let out = world.jetstream.get_stream(OUT).await.expect("it is there");
    // More often than `max_deliveries`.
    until("it was tried many times", async || {
        if !outputs_are_stored(&world) {
            out.purge().await.expect("purged");
        }
        stage.calls() >= 7
    })
    .await;
    assert_eq!((world.count(IN).await, world.count(DEAD).await), (1, 0));
    limit_output(&world, 100).await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.count(DEAD).await, 0);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn patience_waits_out_a_short_shortage_in_one_attempt() {
    let world = World::new().await;
    world.jetstream.delete_stream(OUT).await.expect("deleted");
    let stage = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x")])));
    let mut config = config();
    config.publish_patience = Duration::from_secs(15);
    let running = world.run(&stage, config);
    world.send("a").await;
    until("it was handled", async || stage.calls() == 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.count(IN).await, 1);
    world
        .stream(Config {
            name: OUT.to_owned(),
            subjects: vec!["foil.v1.out.>".to_owned()],
            ..Config::default()
        })
        .await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!((stage.calls(), world.count(OUT).await), (1, 1));
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn outputs_stored_by_an_earlier_attempt_count_as_stored() {
    let world = World::new().await;
    let mut headers = HeaderMap::new();
    headers.insert(h::MESSAGE_ID, format!("tester.IN.1.{OUTPUT}"));
    let earlier = world
        .jetstream
        .publish_with_headers(
            OUTPUT,
            headers,
            prost::Message::encode_to_vec(&note("x")).into(),
        )
        .await
        .expect("sent");
    earlier.await.expect("stored");
    let stage = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x"), output("y")])));
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.texts(OUT).await, ["x", "y"]);
    world.stop(running).await.expect("a clean end");
}

/// The first attempt stores one of its outputs; the second, later, finds only the other one to do.
#[tokio::test]
async fn what_a_later_attempt_finds_is_not_taken_for_what_an_earlier_one_stored() {
    let world = World::new().await;
    limit_output(&world, 1).await;
    let stage = stage(async |_, _, call| {
        let other = Emit::new("foil.v1.out.acme.u2".to_owned(), &note("second"));
        Ok(Outcome::Emit(match call {
            1 => vec![output("first"), other],
            _ => vec![other],
        }))
    });
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the stream is full", async || {
        stage.calls() > 0 && !outputs_are_stored(&world)
    })
    .await;
    limit_output(&world, 10).await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.texts(OUT).await, ["first", "second"]);
    world.stop(running).await.expect("a clean end");
}

/// The first attempt stores one of its outputs, and something takes that off its queue, as an erasure
/// does.
#[tokio::test]
async fn an_attempt_can_store_again_what_an_earlier_one_stored() {
    for (again, expected) in [(false, vec!["other"]), (true, vec!["other", "taken"])] {
        let world = World::new().await;
        limit_output(&world, 1).await;
        let stage = stage(move |_, _, _| async move {
            let taken = match again {
                true => output("taken").anew(),
                false => output("taken"),
            };
            let other = Emit::new("foil.v1.out.acme.u2".to_owned(), &note("other"));
            Ok(Outcome::Emit(vec![taken, other]))
        });
        let running = world.run(&stage, config());
        world.send("a").await;
        until("the stream is full", async || {
            stage.calls() > 0 && !outputs_are_stored(&world)
        })
        .await;
        let out = world.jetstream.get_stream(OUT).await.expect("is there");
        out.purge().await.expect("purged");
        limit_output(&world, 10).await;
        until("the input is gone", async || world.count(IN).await == 0).await;
        // The check of the outputs may store the other one before the attempt comes to it.
        let mut stored = world.texts(OUT).await;
        stored.sort();
        assert_eq!(stored, expected, "again: {again}");
        world.stop(running).await.expect("a clean end");
    }
}

#[tokio::test]
async fn a_patience_without_end_is_none_too_long() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| Ok(Outcome::Emit(vec![output("x")])));
    let mut config = config();
    config.publish_patience = Duration::MAX;
    let running = world.run(&stage, config);
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    assert_eq!(world.texts(OUT).await, ["x"]);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn many_outputs_keep_their_order() {
    let world = World::new().await;
    let stage = stage(async |_, _, _| {
        let emits = (0..300).map(|n| output(&n.to_string())).collect();
        Ok(Outcome::Emit(emits))
    });
    let running = world.run(&stage, config());
    world.send("a").await;
    until("the input is gone", async || world.count(IN).await == 0).await;
    let expected: Vec<String> = (0..300).map(|n: u32| n.to_string()).collect();
    assert_eq!(world.texts(OUT).await, expected);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn an_output_that_no_server_takes_condemns_the_input() {
    let world = World::new().await;
    let stage = stage(async |input, _, _| match input.text.as_str() {
        "large" => Ok(Outcome::Emit(vec![output(&"x".repeat(2 << 20))])),
        "header" => Ok(Outcome::Emit(vec![output("x").header("Foil-X", "a\r\nb")])),
        _ => Ok(Outcome::Emit(vec![Emit::new(
            "no subject".to_owned(),
            &note("x"),
        )])),
    });
    let running = world.run(&stage, config());
    for text in ["large", "header", "subject"] {
        world.send(text).await;
    }
    until("all are gone", async || world.count(IN).await == 0).await;
    let dead = world.messages(DEAD).await;
    assert_eq!((dead.len(), stage.calls()), (3, 3));
    assert!(
        dead.iter()
            .all(|letter| header(letter, h::DEAD_REASON) == "bad_output")
    );
    world.stop(running).await.expect("a clean end");
}

/// The profile stage's shape: a work queue that holds the schedule beside its target, with the
/// consumer filtered off the schedule's subject.
#[tokio::test]
async fn a_burst_of_scheduled_outputs_folds_into_one_delivery() {
    let world = World::new().await;
    let stream = world
        .stream(Config {
            name: "LATER".to_owned(),
            subjects: vec![
                "foil.v1.later.>".to_owned(),
                "foil.v1.schedule.>".to_owned(),
            ],
            retention: RetentionPolicy::WorkQueue,
            max_messages_per_subject: 1,
            allow_message_schedules: true,
            ..Config::default()
        })
        .await;
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("later".to_owned()),
            filter_subject: "foil.v1.later.>".to_owned(),
            ..pull::Config::default()
        })
        .await
        .expect("the consumer is made");
    let stage = stage(async |input, _, _| {
        let at = SystemTime::now() + Duration::from_millis(1500);
        let emit = Emit::new("foil.v1.later.t.u".to_owned(), &input);
        let emit = emit.scheduled("foil.v1.schedule.later.t.u".to_owned(), at);
        Ok(Outcome::Emit(vec![emit]))
    });
    let running = world.run(&stage, config());
    let mut headers = HeaderMap::new();
    headers.insert(h::UPDATED_AT, "1700000000123");
    for burst in ["first", "second"] {
        for n in 0..4 {
            world
                .send_with(&format!("{burst} {n}"), headers.clone())
                .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut batch = consumer
            .batch()
            .max_messages(2)
            .expires(Duration::from_secs(4))
            .messages()
            .await
            .expect("a batch");
        let message = batch.next().await.expect("one comes").expect("a message");
        assert_eq!(message.subject.as_str(), "foil.v1.later.t.u");
        assert_eq!(support::text_of(&message.payload), format!("{burst} 3"));
        let headers = message.headers.clone().unwrap_or_default();
        let value = headers.get(h::UPDATED_AT).map(ToString::to_string);
        assert_eq!(value.as_deref(), Some("1700000000123"));
        message.double_ack().await.expect("acked");
        assert!(batch.next().await.is_none(), "one delivery for a burst");
    }
    assert_eq!(world.count("LATER").await, 0);
    world.stop(running).await.expect("a clean end");
}

#[tokio::test]
async fn one_trace_from_the_producer_through_the_stage() {
    let telemetry = TelemetryConfig {
        level: "off".to_owned(),
        sampling: 1.0,
        ..TelemetryConfig::default()
    };
    telemetry::init(&telemetry, "test").expect("telemetry is set up");
    let world = World::new().await;
    let stage = stage(async |_, _, _| {
        let seen = telemetry::current_trace_id().unwrap_or_default();
        Ok(Outcome::Emit(vec![output(&seen)]))
    });
    let running = world.run(&stage, config());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut headers = HeaderMap::new();
    headers.insert(
        h::TRACEPARENT,
        format!("00-{trace}-00f067aa0ba902b7-01").as_str(),
    );
    headers.insert(h::TRACESTATE, "vendor=1");
    world.send_with("a", headers).await;
    until("the output is there", async || world.count(OUT).await == 1).await;
    let outputs = world.messages(OUT).await;
    assert_eq!(
        support::text_of(&outputs[0].payload),
        trace,
        "inside the handler"
    );
    let parent = header(&outputs[0], h::TRACEPARENT);
    assert!(
        parent.starts_with(&format!("00-{trace}-")) && parent.ends_with("-01"),
        "{parent}"
    );
    assert!(
        !parent.contains("00f067aa0ba902b7"),
        "the stage's own span is the parent"
    );
    assert_eq!(header(&outputs[0], h::TRACESTATE), "vendor=1");

    // Without a context, or with rubbish, a new trace begins.
    let mut rubbish = HeaderMap::new();
    rubbish.insert(h::TRACEPARENT, "00-zz");
    world.send_with("b", rubbish).await;
    until("the output is there", async || world.count(OUT).await == 2).await;
    let outputs = world.messages(OUT).await;
    let fresh = support::text_of(&outputs[1].payload);
    assert!(fresh.len() == 32 && fresh != trace, "{fresh:?}");
    assert!(header(&outputs[1], h::TRACEPARENT).contains(&fresh));
    world.stop(running).await.expect("a clean end");
}
