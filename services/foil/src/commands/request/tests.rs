use std::time::Instant;

use clap::Parser as _;
use foil_proto::names::subject;
use foil_store::provision::{self, Change};

use super::*;
use crate::cli::{Cli, Verb};
use crate::commands::ingest::tests::provisioned;

fn args(words: &[&str]) -> RequestArgs {
    let all = ["foil", "context", "mara"].iter().chain(words);
    match Cli::try_parse_from(all).expect("valid").verb {
        Verb::Context(args) => args,
        other => panic!("{other:?}"),
    }
}

fn context_of(version: u64) -> v1::Context {
    v1::Context {
        profile_version: version,
        ..v1::Context::default()
    }
}

#[test]
fn a_version_that_did_not_come_is_said_and_fails() {
    let wanted = args(&["--item", "kettle", "--min-version", "99"]);
    let words = missed(&wanted, &context_of(2)).expect("words");
    assert_eq!(words, "version 99 was not reached: this is version 2");
    assert_eq!(code(&wanted, &context_of(2)), ExitCode::FAILURE);
    assert!(missed(&wanted, &context_of(0)).is_some());
    assert_eq!(missed(&wanted, &context_of(99)), None);
    assert_eq!(code(&wanted, &context_of(100)), ExitCode::SUCCESS);
    let any = args(&["--item", "kettle"]);
    assert_eq!(missed(&any, &context_of(0)), None);
    let without = args(&["--min-version", "9", "--strategy", "non-perso"]);
    assert_eq!(missed(&without, &context_of(0)), None);
}

#[test]
fn what_is_less_than_asked_for_is_said_as_it_is() {
    for (strategy, degraded, words) in [
        ("dpl", "", "[dpl · no profile]"),
        (
            "intsum",
            "no_peers",
            "[intsum · no profile · not compared with others yet; that has been started]",
        ),
        (
            "rag",
            "no_peers",
            "[rag · no profile · nobody else's text on the same things is known; served by rag]",
        ),
        (
            "rag",
            "no_summary",
            "[rag · no profile · no summary of their texts was made; served by rag]",
        ),
    ] {
        let context = v1::Context {
            strategy: strategy.to_owned(),
            degraded: degraded.to_owned(),
            ..v1::Context::default()
        };
        assert_eq!(headline(&context), words);
    }
}

#[tokio::test]
async fn a_request_about_nothing_is_not_sent() {
    let test = provisioned().await;
    let error = context(&test.session, &args(&[])).await;
    let words = error.expect_err("no item").to_string();
    assert_eq!(words, "give --item, or --item-title / --item-description");
}

#[test]
fn an_unknown_item_cannot_steer_the_terminal() {
    let words = unknown_item("nosuch\u{1b}[2J");
    assert!(words.starts_with("item nosuch"), "{words}");
    assert!(
        words.contains("--item-title") && !words.contains('\u{1b}'),
        "{words}"
    );
}

#[tokio::test]
async fn a_full_queue_says_busy_at_once() {
    let test = provisioned().await;
    let session = &test.session;
    let mut one = session.config.provision.clone();
    one.generate.max_messages = Some(1);
    let report = provision::provision(&session.store, &one).await;
    assert_eq!(report.expect("provisioned").count(Change::Updated), 1);
    // Nobody works here: what waits stays.
    let to = subject::generate("demo", subject::CLASS_INTERACTIVE);
    let sent = session.jetstream.publish(to, "waits".into()).await;
    sent.expect("sent").await.expect("stored");
    let started = Instant::now();
    for ask in [false, true] {
        let args = args(&["--item", "kettle"]);
        let refused = match ask {
            true => context(session, &args).await,
            false => generate(session, &args).await,
        };
        let words = refused.expect_err("the queue is full").to_string();
        assert!(words.starts_with("busy: "), "{words}");
    }
    // Of a deadline of two minutes.
    assert!(started.elapsed() < Duration::from_secs(10));
}
