use std::time::Duration;

use async_nats::HeaderMap;
use foil_proto::names::{header, subject};
use foil_proto::v1;
use foil_proto::v1::update::Change;
use prost::Message as _;

mod one;
mod redrive;

use super::*;
use crate::cli::dead::{RedriveArgs, ShowArgs};
use crate::commands::ingest::tests::{Test, provisioned};

const EVERYTHING: DeadFilter = DeadFilter {
    stage: None,
    reason: None,
    this_tenant: false,
    older_than: None,
    newer_than: None,
    limit: 1_000,
};

fn all() -> DeadFilter {
    DeadFilter {
        older_than: Some(Duration::ZERO),
        ..EVERYTHING
    }
}

fn show_verb(sequence: u64, filter: DeadFilter) -> DeadVerb {
    DeadVerb::Show(ShowArgs { filter, sequence })
}

fn record(tenant: &str, user: &str, text: &str) -> v1::Update {
    let record = v1::RecordUpsert {
        user: user.into(),
        item: "kettle".into(),
        text: text.into(),
        revision: 1,
        ..v1::RecordUpsert::default()
    };
    let change = Some(Change::RecordUpsert(record));
    v1::Update {
        tenant: tenant.into(),
        change,
    }
}

/// Stores a copy as the runtime does; gives its sequence.
async fn store(
    test: &Test,
    stage: &str,
    reason: &str,
    tenant: &str,
    original: &str,
    payload: Vec<u8>,
) -> u64 {
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, format!("dead.{original}.{reason}"));
    headers.insert(
        header::TRACEPARENT,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    headers.insert(header::DEAD_STAGE, stage);
    headers.insert(header::DEAD_REASON, reason);
    headers.insert(header::DEAD_ERROR, "text: is blank");
    headers.insert(header::DEAD_SUBJECT, original);
    headers.insert(header::DEAD_MESSAGE_ID, "original");
    let jetstream = &test.session.jetstream;
    let ack = jetstream
        .publish_with_headers(subject::dead(stage, tenant), headers, payload.into())
        .await;
    ack.expect("sent").await.expect("stored").sequence
}

async fn update(test: &Test, tenant: &str, user: &str) -> u64 {
    let payload = record(tenant, user, "Good.").encode_to_vec();
    store(
        test,
        "embedder",
        "invalid",
        tenant,
        &subject::update(tenant, user),
        payload,
    )
    .await
}

async fn dead(test: &Test) -> Stream {
    test.session
        .jetstream
        .get_stream(stream::DEAD)
        .await
        .expect("a stream")
}

async fn sequences(test: &Test, filter: &DeadFilter) -> Vec<u64> {
    let found = find(&test.session, &dead(test).await, filter)
        .await
        .expect("found");
    found.letters.iter().map(|letter| letter.sequence).collect()
}

fn redrive_args(filter: DeadFilter, sequence: Option<u64>, dry_run: bool) -> RedriveArgs {
    RedriveArgs {
        filter,
        sequence,
        dry_run,
        rate: 1_000,
    }
}

#[tokio::test]
async fn filters_and_the_limit() {
    let test = provisioned().await;
    assert!(sequences(&test, &EVERYTHING).await.is_empty());
    let a = update(&test, "demo", "a").await;
    let b = update(&test, "other", "b").await;
    let work = subject::extract("demo", "u", "i");
    let c = store(&test, "extractor", "exhausted", "demo", &work, vec![]).await;
    assert_eq!(sequences(&test, &EVERYTHING).await, [a, b, c]);
    let of_stage = DeadFilter {
        stage: Some("embedder".into()),
        ..EVERYTHING
    };
    assert_eq!(sequences(&test, &of_stage).await, [a, b]);
    assert_eq!(
        sequences(
            &test,
            &DeadFilter {
                this_tenant: true,
                ..EVERYTHING
            }
        )
        .await,
        [a, c]
    );
    let of_reason = DeadFilter {
        reason: Some("exhausted".into()),
        ..EVERYTHING
    };
    assert_eq!(sequences(&test, &of_reason).await, [c]);
    let hour = Some(Duration::from_secs(3_600));
    assert!(
        sequences(
            &test,
            &DeadFilter {
                older_than: hour,
                ..EVERYTHING
            }
        )
        .await
        .is_empty()
    );
    let now = Some(Duration::ZERO);
    assert_eq!(
        sequences(
            &test,
            &DeadFilter {
                older_than: now,
                ..EVERYTHING
            }
        )
        .await,
        [a, b, c]
    );

    let two = DeadFilter {
        limit: 2,
        ..EVERYTHING
    };
    let found = find(&test.session, &dead(&test).await, &two)
        .await
        .expect("found");
    assert_eq!((found.letters.len(), found.more), (2, true));
    let three = DeadFilter {
        limit: 3,
        ..EVERYTHING
    };
    let found = find(&test.session, &dead(&test).await, &three)
        .await
        .expect("found");
    assert_eq!((found.letters.len(), found.more), (3, false));
    let names: Vec<_> = found.letters[1].headers().into_keys().collect();
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(found.letters[1].tenant().as_deref(), Some("other"));
    assert_eq!(found.letters[1].user().as_deref(), Some("b"));
    let no_stage = DeadFilter {
        stage: Some("embeder".into()),
        ..EVERYTHING
    };
    let no_reason = DeadFilter {
        reason: Some("bogus".into()),
        ..EVERYTHING
    };
    for (unknown, words) in [
        (no_stage, "--stage: \"embeder\" is none of embedder, "),
        (
            no_reason,
            "--reason: \"bogus\" is none of undecodable, invalid, ",
        ),
    ] {
        let found = find(&test.session, &dead(&test).await, &unknown).await;
        let error = found.err().expect("an error").to_string();
        assert!(error.starts_with(words), "{error}");
    }
    for verb in [DeadVerb::List(EVERYTHING), show_verb(a, EVERYTHING)] {
        assert_eq!(
            run(&test.session, &verb).await.expect("it ran"),
            ExitCode::SUCCESS
        );
    }
}

#[tokio::test]
async fn redriving_publishes_again_and_removes_the_copy() {
    let test = provisioned().await;
    let session = &test.session;
    // The original: its id is still within the duplicate window.
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, "original");
    let to = subject::update("demo", "a.b");
    let ack = session
        .jetstream
        .publish_with_headers(to.clone(), headers, "x".into())
        .await;
    ack.expect("sent").await.expect("stored");
    let sequence = update(&test, "demo", "a.b").await;

    let args = redrive_args(all(), None, true);
    run(session, &DeadVerb::Redrive(args))
        .await
        .expect("it ran");
    assert_eq!(sequences(&test, &EVERYTHING).await, [sequence]);

    let args = redrive_args(all(), None, false);
    let code = run(session, &DeadVerb::Redrive(args))
        .await
        .expect("it ran");
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(sequences(&test, &EVERYTHING).await.is_empty());
    let updates = session
        .jetstream
        .get_stream(stream::UPDATES)
        .await
        .expect("a stream");
    let message = updates.direct_get(2).await.expect("published again");
    assert_eq!(message.subject.as_str(), to);
    assert_eq!(
        message.payload,
        record("demo", "a.b", "Good.").encode_to_vec()
    );
    let id = message
        .headers
        .get(header::MESSAGE_ID)
        .expect("an id")
        .as_str();
    assert!(id.starts_with(&format!("original~r{sequence}-")), "{id}");
    assert!(message.headers.get(header::TRACEPARENT).is_some());
    assert_eq!(message.headers.get(header::DEAD_REASON), None);
    // What is left beside the server's own: nothing.
    let names = message.headers.iter().map(|(name, _)| name.to_string());
    let others: Vec<_> = names.filter(|name| !name.starts_with("Nats-")).collect();
    assert_eq!(others, [header::TRACEPARENT]);
}

#[tokio::test]
async fn a_request_for_text_is_not_redriven() {
    let test = provisioned().await;
    let original = subject::generate("demo", subject::CLASS_INTERACTIVE);
    let request = store(&test, "generator", "invalid", "demo", &original, vec![]).await;
    let strange = store(
        &test,
        "generator",
        "invalid",
        "demo",
        "$JS.API.STREAM.DELETE.X",
        vec![],
    )
    .await;
    let good = update(&test, "demo", "a").await;
    let one = |sequence| DeadVerb::Redrive(redrive_args(EVERYTHING, Some(sequence), false));
    for sequence in [request, strange] {
        let code = run(&test.session, &one(sequence)).await.expect("it ran");
        assert_eq!(code, ExitCode::FAILURE);
    }
    let whole = DeadVerb::Redrive(redrive_args(all(), None, false));
    assert_eq!(
        run(&test.session, &whole).await.expect("it ran"),
        ExitCode::SUCCESS
    );
    assert_eq!(sequences(&test, &EVERYTHING).await, [request, strange]);
    assert!(run(&test.session, &one(good)).await.is_err());
}

#[tokio::test]
async fn a_copy_stays_when_its_stream_does_not_take_it() {
    let test = provisioned().await;
    let sequence = update(&test, "demo", "a").await;
    test.session
        .jetstream
        .delete_stream(stream::UPDATES)
        .await
        .expect("deleted");
    let whole = DeadVerb::Redrive(redrive_args(all(), None, false));
    assert_eq!(
        run(&test.session, &whole).await.expect("it ran"),
        ExitCode::FAILURE
    );
    assert_eq!(sequences(&test, &EVERYTHING).await, [sequence]);
}

#[tokio::test]
async fn purging_needs_to_be_told_what() {
    let test = provisioned().await;
    let a = update(&test, "demo", "a").await;
    let b = update(&test, "other", "b").await;
    let purge = |filter, sequence, dry_run| {
        DeadVerb::Purge(PurgeArgs {
            filter,
            sequence,
            dry_run,
        })
    };
    assert!(
        run(&test.session, &purge(EVERYTHING, None, false))
            .await
            .is_err()
    );
    let mine = || DeadFilter {
        this_tenant: true,
        ..EVERYTHING
    };
    run(&test.session, &purge(mine(), None, true))
        .await
        .expect("it ran");
    assert_eq!(sequences(&test, &EVERYTHING).await, [a, b]);
    run(&test.session, &purge(mine(), None, false))
        .await
        .expect("it ran");
    assert_eq!(sequences(&test, &EVERYTHING).await, [b]);
    run(&test.session, &purge(EVERYTHING, Some(b), false))
        .await
        .expect("it ran");
    assert!(sequences(&test, &EVERYTHING).await.is_empty());
}

#[test]
fn json_has_the_message_s_own_values() {
    let mut update = record("demo", "u", &"long ".repeat(100));
    let fields = |update: &v1::Update| {
        let fields = payload::fields("foil.v1.update.demo.u", &update.encode_to_vec());
        fields.expect("it decodes")
    };
    if let Some(Change::RecordUpsert(record)) = &mut update.change {
        record.revision = 1_773_512_400_000;
    }
    let shown: Vec<_> = fields(&update).list().collect();
    let revision = "1773512400000 (2026-03-14 18:20 UTC)".to_owned();
    assert!(shown.contains(&("revision", revision)), "{shown:?}");
    assert!(shown.contains(&("rating", "none".to_owned())), "{shown:?}");
    let value = fields(&update).into_json();
    assert_eq!(value["title"], "");
    assert_eq!(value["rating"], serde_json::Value::Null);
    assert_eq!(value["occurred_at_ms"], 0);
    assert_eq!(value["revision"], 1_773_512_400_000_u64);
    assert_eq!(value["text"], "long ".repeat(100));
    if let Some(Change::RecordUpsert(record)) = &mut update.change {
        record.rating = Some(2.5);
    }
    assert_eq!(fields(&update).into_json()["rating"], 2.5);
}

#[test]
fn texts_are_cut_short_and_rubbish_is_named() {
    let update = record("demo", "u", &"long ".repeat(100));
    let fields = payload::fields("foil.v1.update.demo.u", &update.encode_to_vec());
    let fields = fields.expect("it decodes");
    let text = fields
        .list()
        .find(|(name, _)| *name == "text")
        .expect("a text")
        .1;
    assert!(
        text.ends_with("… (500 bytes)") && text.chars().count() < 100,
        "{text}"
    );
    let error = payload::fields("foil.v1.update.demo.u", b"\xff\xff").expect_err("rubbish");
    assert!(error.starts_with("does not decode: "), "{error}");
    assert!(payload::fields("else", b"").is_err());
}
