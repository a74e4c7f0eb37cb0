//! One trace from a producer's update to the event, one from a request to its last token.

use foil_proto::names::header;
use foil_proto::token;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::collector::{Seen, Trace};
use crate::rig::{ITEM, Rig, SPAN, TENANT, USER, context, trace_id};

const TEXT: &str = "I measured it: 1.7 litres in 240 seconds, 61 decibels.";
const SCHEMA: &str = "https://opentelemetry.io/schemas/";

fn expect(seen: &Seen, kind: SpanKind, attributes: &[(&str, &str)]) {
    assert_eq!(seen.kind(), kind, "{seen:#?}");
    for (key, value) in attributes {
        let found = seen.attribute(key);
        assert_eq!(
            found.as_deref(),
            Some(*value),
            "{key} of {}",
            seen.span.name
        );
    }
}

fn only<'a>(spans: &[&'a Seen], name: &str) -> &'a Seen {
    let named: Vec<_> = spans.iter().filter(|s| s.span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} among {spans:#?}");
    named[0]
}

/// The spans of work on one message: the stage's own, and what it calls.
fn check_stage(trace: &Trace, seen: &Seen, stage: &str) {
    let template = seen.span.name.strip_prefix("process ").unwrap();
    expect(
        seen,
        SpanKind::Consumer,
        &[
            ("messaging.system", "nats"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.template", template),
            ("messaging.consumer.group.name", stage),
            ("foil.stage", stage),
            ("foil.outcome", "ok"),
            ("foil.delivered", "1"),
        ],
    );
    let children = trace.children(seen);
    let calls: Vec<_> = children
        .iter()
        .filter(|child| child.attribute("db.system.name").is_some())
        .collect();
    assert!(
        !calls.is_empty(),
        "{stage} calls no store:\n{}",
        trace.tree()
    );
    for call in calls {
        expect(call, SpanKind::Client, &[("db.system.name", "qdrant")]);
        let part = |key: &str| call.attribute(key).unwrap();
        let name = format!(
            "{} {}",
            part("db.operation.name"),
            part("db.collection.name")
        );
        assert_eq!(call.span.name, name);
    }
}

fn check_chat(chat: &Seen, output: &str) {
    expect(
        chat,
        SpanKind::Client,
        &[
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "stub"),
            ("gen_ai.output.type", output),
            ("gen_ai.response.finish_reasons", "stop"),
        ],
    );
    check_tokens(chat);
}

fn check_tokens(chat: &Seen) {
    let operation = chat.attribute("gen_ai.operation.name");
    assert_eq!(operation.as_deref(), Some("chat"));
    for counted in [
        "gen_ai.request.max_tokens",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
    ] {
        let tokens: u32 = chat.attribute(counted).unwrap().parse().unwrap();
        assert!(tokens > 0, "{counted}");
    }
    let first = chat.attribute("gen_ai.response.time_to_first_chunk");
    let first: f64 = first.unwrap().parse().unwrap();
    assert!(first > 0.0 && first * 1e3 <= chat.millis(), "{first}");
}

/// As deploy/events.md promises.
fn check_cloud_event(message: &async_nats::Message) {
    let headers = message.headers.as_ref().unwrap();
    let get = |name: &str| headers.get(name).unwrap().as_str();
    assert_eq!(get(header::CE_ID), get(header::MESSAGE_ID));
    for (name, value) in [
        (header::CE_SPECVERSION, "1.0"),
        (header::CE_TYPE, "foil.v1.profile.updated"),
        (header::CE_SOURCE, "/foil/acme"),
        (header::CE_SUBJECT, &token::encode(USER)),
        (header::CE_DATACONTENTTYPE, "application/protobuf"),
    ] {
        assert_eq!(get(name), value, "{name}");
    }
    assert!(get(header::CE_TIME).parse::<jiff::Timestamp>().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_update_is_one_tree_of_spans_up_to_the_event() {
    let rig = Rig::start(&[]).await;
    rig.peers(ITEM).await;
    let id = trace_id(1);
    let told = rig
        .profile_after(1, async || {
            rig.publish(USER, ITEM, TEXT, Some(&id)).await;
        })
        .await;
    let (_, collector) = rig.stop().await;
    let trace = collector.trace(&id);
    println!("{}", trace.tree());

    check_cloud_event(&told);
    let (of_event, sent) = context(&told);
    assert_eq!(of_event, id);
    let (path, producer) = trace.ancestry(&sent);
    assert_eq!(
        producer, SPAN,
        "the producer's span is the first one's parent"
    );
    let names: Vec<&str> = path.iter().map(|seen| seen.span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "send foil.v1.event.>",
            "process foil.v1.profile.>",
            "send foil.v1.schedule.>",
            "process foil.v1.extract.>",
            "send foil.v1.extract.>",
            "process foil.v1.select.>",
            "send foil.v1.select.>",
            "process foil.v1.update.>",
        ],
        "{}",
        trace.tree()
    );
    for (at, stage) in [
        (7, "embedder"),
        (5, "selector"),
        (3, "extractor"),
        (1, "profiler"),
    ] {
        check_stage(&trace, path[at], stage);
    }
    for sent in path.iter().step_by(2) {
        // To the stream's ack, and not only as long as it takes to make a message.
        assert!(sent.millis() > 0.03, "{sent:#?}");
        expect(
            sent,
            SpanKind::Producer,
            &[
                ("messaging.system", "nats"),
                ("messaging.operation.type", "send"),
            ],
        );
    }
    let embedded = trace.children(path[7]);
    let model = embedded
        .iter()
        .find(|s| s.span.name.starts_with("embeddings "));
    let model = model.unwrap();
    expect(
        model,
        SpanKind::Internal,
        &[
            ("gen_ai.operation.name", "embeddings"),
            ("gen_ai.provider.name", "llama-cpp"),
            ("gen_ai.embeddings.dimension.count", "384"),
        ],
    );
    let batch = only(&trace.children(model), "embed batch");
    assert_eq!(batch.attribute("foil.batch.texts").as_deref(), Some("1"));
    check_chat(only(&trace.children(path[3]), "chat stub"), "json");
    check_chat(only(&trace.children(path[1]), "chat stub"), "json");

    // Sampling is 0: what the peers' producers did not ask for was not recorded.
    for seen in collector.spans() {
        assert_eq!(crate::collector::hex(&seen.span.trace_id), id);
        assert_eq!(seen.service, "foil");
        assert!(seen.schema_url.starts_with(SCHEMA), "{}", seen.schema_url);
        let said = format!("{seen:?}");
        assert!(
            !said.contains("noor") && !said.contains("decibels"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_one_trace_to_its_last_token() {
    let rig = Rig::start(&[]).await;
    rig.peers(ITEM).await;
    rig.profile_after(1, async || rig.publish(USER, ITEM, TEXT, None).await)
        .await;
    let id = trace_id(2);
    let done = rig.generate(&id).await;
    let (_, collector) = rig.stop().await;
    let trace = collector.trace(&id);
    println!("{}", trace.tree());
    let process = only(
        &trace.named("process foil.v1.generate.>"),
        "process foil.v1.generate.>",
    );
    assert_eq!(process.parent(), SPAN, "the caller's span is its parent");
    check_stage(&trace, process, "generator");
    let chat = only(&trace.children(process), "chat stub");
    check_chat(chat, "text");
    let written = chat.attribute("gen_ai.usage.output_tokens");
    assert_eq!(written, Some(done.completion_tokens.to_string()));
    // To the last token: the model's span ends where the reply does, and the work after it.
    let (chat, process) = (&chat.span, &process.span);
    assert!(chat.start_time_unix_nano >= process.start_time_unix_nano);
    assert!(chat.end_time_unix_nano <= process.end_time_unix_nano);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_in_the_process_are_in_the_traces() {
    let rig = Rig::start_embedded().await;
    rig.peers(ITEM).await;
    // Nobody is compared before somebody asks.
    let asked = ["context", USER, "--tenant", TENANT, "--item", ITEM];
    rig.place.run(asked).await.succeeded();
    let [update, request] = [trace_id(4), trace_id(5)];
    rig.profile_after(1, async || {
        rig.publish(USER, ITEM, TEXT, Some(&update)).await;
    })
    .await;
    let done = rig.generate(&request).await;
    let (_, collector) = rig.stop().await;
    let [update, request] = [update, request].map(|id| collector.trace(&id));
    println!("{}\n{}", update.tree(), request.tree());
    let chat = |trace: &Trace, by: &str| {
        let stage = only(&trace.named(by), by).clone();
        let inner = trace.children(&stage).into_iter();
        let mut chat = inner.filter(|seen| seen.span.name.starts_with("chat "));
        let chat = chat
            .next_back()
            .unwrap_or_else(|| panic!("{}", trace.tree()));
        expect(
            chat,
            SpanKind::Internal,
            &[("gen_ai.provider.name", "llama-cpp")],
        );
        check_tokens(chat);
        chat.clone()
    };
    chat(&update, "process foil.v1.extract.>");
    let written = chat(&request, "process foil.v1.generate.>");
    let tokens = written.attribute("gen_ai.usage.output_tokens");
    assert_eq!(tokens, Some(done.completion_tokens.to_string()));
}
