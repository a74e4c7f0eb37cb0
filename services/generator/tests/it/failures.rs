//! Every failure is told to the caller, before the deadline, and kills no message.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use foil_llm::stub::Mode;
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{GenerateReply, GenerateRequest};
use futures::StreamExt as _;
use prost::Message as _;

use foil_rig::eventually;

use crate::support::*;

#[tokio::test]
async fn an_invalid_request_is_told_the_field() {
    let (rig, _stub) = Rig::start().await;
    let wrong = GenerateRequest {
        strategy: "magic".into(),
        max_tokens: 99_999,
        ..request()
    };
    let parts = rig.ask(wrong).await;
    let failure = failure(&parts);
    assert_eq!(failure.code, "invalid");
    for field in ["strategy:", "max_tokens:"] {
        assert!(failure.message.contains(field), "{}", failure.message);
    }
    assert_eq!(rig.count("FOIL_DEAD", "foil.v1.dead.>").await, 0);
}

/// Publishes past the library.
async fn publish(
    client: &async_nats::Client,
    subject: &str,
    inbox: Option<&str>,
    request: &GenerateRequest,
) {
    let mut headers = HeaderMap::new();
    if let Some(inbox) = inbox {
        headers.insert("Foil-Reply-To", inbox);
    }
    let jetstream = async_nats::jetstream::new(client.clone());
    let payload = request.encode_to_vec().into();
    let sent = jetstream.publish_with_headers(subject.to_owned(), headers, payload);
    sent.await.unwrap().await.unwrap();
}

async fn raw_reply(rig: &Rig, subject: &str, request: &GenerateRequest) -> Part {
    let client = rig.nats.client().await;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    // On the same connection, so that the subscription stands first.
    publish(&client, subject, Some(&inbox), request).await;
    let message = tokio::time::timeout(PATIENCE, replies.next()).await;
    let reply = GenerateReply::decode(message.unwrap().unwrap().payload).unwrap();
    reply.part.unwrap()
}

fn in_ms(ms: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap() + ms
}

#[tokio::test]
async fn a_deadline_that_passed_is_told() {
    let (rig, stub) = Rig::start().await;
    let late = GenerateRequest {
        deadline_ms: in_ms(-1_000),
        ..request()
    };
    let part = raw_reply(&rig, "foil.v1.generate.acme.interactive", &late).await;
    assert_eq!(failure(&[part]).code, "deadline");
    assert_eq!(stub.calls(), 0);
}

#[tokio::test]
async fn the_subject_decides_the_tenant() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    let crossing = GenerateRequest {
        deadline_ms: in_ms(10_000),
        ..context_request()
    };
    let part = raw_reply(&rig, "foil.v1.generate.other.interactive", &crossing).await;
    let told = [part];
    assert_eq!(failure(&told).code, "invalid");
    assert!(failure(&told).message.starts_with("tenant:"));
}

#[tokio::test]
async fn a_request_without_an_inbox_is_a_dead_letter() {
    let (rig, _stub) = Rig::start().await;
    let asked = GenerateRequest {
        deadline_ms: in_ms(10_000),
        ..request()
    };
    let subject = "foil.v1.generate.acme.interactive";
    let client = rig.nats.client().await;
    publish(&client, subject, None, &asked).await;
    publish(&client, subject, Some("foil.v1.update.acme.mara"), &asked).await;
    eventually("two dead letters", || async {
        let jetstream = async_nats::jetstream::new(rig.nats.client().await);
        let dead = jetstream.get_stream("FOIL_DEAD").await.unwrap();
        dead.cached_info().state.messages == 2
    })
    .await;
    assert_eq!(rig.count("FOIL_UPDATES", "foil.v1.update.>").await, 0);
}

#[tokio::test]
async fn a_model_that_hangs_is_cancelled_at_the_deadline() {
    let (rig, stub) = Rig::start().await;
    rig.context(context_request()).await;
    stub.set_mode(Mode::Hang);
    let parts = rig.ask_within(request(), Duration::from_secs(3)).await;
    assert!(matches!(parts[0], Part::Context(_)));
    assert_eq!(failure(&parts).code, "deadline");
    eventually("the cancellation", || async { stub.disconnects() == 1 }).await;
}

#[tokio::test]
async fn a_model_that_fails_is_told_after_the_context() {
    let (rig, stub) = Rig::start().await;
    put_history(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    for mode in [Mode::Status(500), Mode::CutMidStream, Mode::EndEarly] {
        stub.set_mode(mode);
        let parts = rig.ask(request()).await;
        match &parts[0] {
            Part::Context(context) => {
                assert_eq!(context.profile_version, 1);
                assert!(context.profile_age_ms > 0);
            }
            other => panic!("{mode:?}: {other:?}"),
        }
        assert_eq!(failure(&parts).code, "engine_unavailable", "{mode:?}");
    }
    assert_eq!(rig.count("FOIL_DEAD", "foil.v1.dead.>").await, 0);
    stub.set_mode(Mode::Ok);
    assert_eq!(done(&rig.ask(request()).await).llm_calls, 1);
}

#[tokio::test]
async fn without_a_model_contexts_are_served() {
    let (rig, mut stub) = Rig::start().await;
    put_history(&rig.store).await;
    stub.stop();
    assert_eq!(rig.context(context_request()).await.degraded, "no_peers");
    assert_eq!(
        failure(&rig.ask(request()).await).code,
        "engine_unavailable"
    );
}

#[tokio::test]
async fn without_a_store_nothing_dies_and_it_comes_back() {
    let (mut rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    rig.context(context_request()).await;
    rig.servers.qdrant.stop().await;
    let short = Duration::from_secs(3);
    let replies = rig.caller.generate(context_request(), short).await.unwrap();
    let replies: Vec<_> = replies.collect().await;
    let context = |r: &Result<Part, _>| matches!(r, Ok(Part::Context(_) | Part::Done(_)));
    assert!(!replies.iter().any(context), "{replies:?}");
    rig.servers.qdrant.restart().await;
    assert_eq!(rig.context(context_request()).await.degraded, "no_peers");
    assert_eq!(rig.count("FOIL_DEAD", "foil.v1.dead.>").await, 0);
}
