//! The whole way with real models, for one user: update, difference, profile, text; and a restart
//! that keeps it all.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use foil_store::RecordKey;
use foil_tests::corpus::Corpus;
use foil_tests::{Output, Place};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::SHORT_DEBOUNCE;

const TENANT: &str = "demo";
const USER: &str = "mara";
const ITEMS: [&str; 2] = ["cafe-lantern-yard", "film-night-ferry"];
const CRITERIA: [&str; 3] = ["writing", "emotion", "semantics"];
/// Ids that are words which anybody may use.
const WORDS: [&str; 1] = ["violet"];
const MODEL_LIMIT: Duration = Duration::from_secs(150);

/// Ids that no output may name: other users', and their records'.
struct Others {
    users: BTreeSet<String>,
    records: Vec<String>,
}

impl Others {
    fn of(corpus: &Corpus) -> Self {
        let others = corpus.records.iter().filter(|record| record.user != USER);
        let id = |record: &foil_tests::corpus::Record| {
            let key = RecordKey::new(&record.tenant, &record.user, &record.item);
            key.id().to_string()
        };
        Self {
            records: others.clone().map(id).collect(),
            users: others
                .map(|record| record.user.clone())
                .filter(|user| !WORDS.contains(&user.as_str()))
                .collect(),
        }
    }

    fn check(&self, output: &Output) {
        for text in [&output.stdout, &output.stderr] {
            let text = text.to_lowercase();
            let mut words = text.split(|c: char| !c.is_alphanumeric());
            let user = words.find(|word| self.users.contains(*word));
            assert_eq!(user, None, "another user is named: {output:#?}");
            let record = self.records.iter().find(|id| text.contains(*id));
            assert_eq!(record, None, "another's record is named: {output:#?}");
        }
    }

    /// Runs a verb that must succeed and name nobody else.
    async fn run(&self, place: &Place, arguments: &[&str]) -> Output {
        let output = place.run_within(MODEL_LIMIT, arguments).await.succeeded();
        self.check(&output);
        output
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_compared_described_written_for_and_kept_over_a_restart() {
    let corpus = Corpus::read();
    let others = Others::of(&corpus);
    let place = Place::new();
    let up = place.up(&SHORT_DEBOUNCE).await;
    let lines: Vec<&str> = corpus.lines_on(&ITEMS).collect();
    let file = place.file("slice.ndjson", lines.join("\n"));
    let ingested = place.ingest(&[file], Duration::from_secs(60)).await;
    assert_eq!(ingested.succeeded().json()["published"], lines.len());

    // Nobody asked for this user: nothing was compared.
    let rows = others.run(&place, &["differences", USER, "--json"]).await;
    let rows = rows.json();
    assert_eq!(rows.as_array().unwrap().len(), ITEMS.len());
    assert!(
        rows.as_array()
            .unwrap()
            .iter()
            .all(|row| row["difference"].is_null())
    );
    assert_eq!(place.run(["profile", USER]).await.code(), Some(1));

    check_context(&others, &place).await;
    let nothing = place.file("nothing.ndjson", "");
    place.ingest(&[nothing], MODEL_LIMIT).await.succeeded();
    check_differences(&others, &place).await;
    check_profile(&others, &place).await;
    check_text(&others, &place).await;

    let before = kept(&place).await;
    assert!(up.terminate().await.success(), "it was not stopped cleanly");
    let _up = place.up(&SHORT_DEBOUNCE).await;
    assert_eq!(kept(&place).await, before);
}

async fn check_context(others: &Others, place: &Place) {
    let asked = [
        "context",
        USER,
        "--item",
        ITEMS[0],
        "--wait",
        "--json",
        "--timeout=140s",
    ];
    let context = others.run(place, &asked).await.json();
    assert_eq!(context["context"]["strategy"], "dpl", "{context}");
    assert_eq!(context["context"]["degraded"], "", "{context}");
    assert!(
        context["context"]["profile_version"].as_u64() >= Some(1),
        "{context}"
    );
    assert_eq!(context["done"]["llm_calls"], 0);
    let block = context["context"]["block"].as_str().unwrap();
    for part in ["<profile>", "<differences", "<past_text"] {
        assert!(block.contains(part), "{part} is not in {block}");
    }
    let words = others
        .run(place, &["context", USER, "--item", ITEMS[0]])
        .await;
    assert!(words.stderr.contains("dpl · profile version"), "{words:#?}");
}

/// A feature's value and its peers' mean.
fn feature(evidence: &Value, name: &str) -> (f64, f64) {
    let evidence = evidence.as_array().unwrap();
    let found = evidence.iter().find(|e| e["feature"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {evidence:?}"));
    let number = |key: &str| found[key].as_f64().unwrap();
    (number("value"), number("peers_mean"))
}

fn check_evidence(evidence: &Value) {
    let list = evidence.as_array().unwrap();
    assert!(list.len() >= 9, "{list:?}");
    for measured in list {
        for key in ["value", "peers_mean", "item_mean", "z_score"] {
            // JSON has no way to write NaN: it would be null.
            let value = measured[key].as_f64();
            assert!(value.is_some_and(f64::is_finite), "{key} of {measured}");
        }
    }
    // What the corpus says of this user: short fragments, never "I".
    let (own, theirs) = feature(evidence, "words_per_sentence");
    assert!(own < theirs, "{own} words a sentence, theirs {theirs}");
    let (own, _) = feature(evidence, "first_person");
    assert_eq!(own, 0.0, "first-person words");
}

async fn check_differences(others: &Others, place: &Place) {
    let rows = others
        .run(place, &["differences", USER, "--json"])
        .await
        .json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), ITEMS.len());
    for row in rows {
        let difference = &row["difference"];
        let findings = difference["findings"].as_array().unwrap();
        let named: Vec<_> = findings
            .iter()
            .map(|f| f["criterion"].as_str().unwrap())
            .collect();
        assert_eq!(named, CRITERIA);
        for finding in findings {
            assert!(
                finding["statement"].as_str().is_some_and(|s| s.len() > 10),
                "{finding}"
            );
            let confidence = finding["confidence"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&confidence), "{finding}");
        }
        check_evidence(&difference["evidence"]);
    }
    let chart = others
        .run(place, &["differences", USER, "--item", ITEMS[0]])
        .await;
    assert!(
        chart.stdout.contains('█') && chart.stdout.contains("rating"),
        "{chart:#?}"
    );
}

async fn check_profile(others: &Others, place: &Place) {
    let profile = others.run(place, &["profile", USER, "--json"]).await.json();
    assert_eq!(profile["user"], USER);
    assert_eq!(profile["strategy"], "dpl");
    assert!(!profile["summary"].as_str().unwrap().trim().is_empty());
    check_evidence(&profile["evidence"]);
    let shown = others.run(place, &["profile", USER]).await.stdout;
    assert!(shown.contains("2 of 2 records compared"), "{shown}");
}

/// The text comes bit by bit.
async fn check_text(others: &Others, place: &Place) {
    let mut command = place.command([
        "generate",
        USER,
        "--item-title=A folding camp stove",
        "--max-tokens=40",
        "--seed=1",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut text, mut pieces) = (Vec::new(), 0);
    let read = async {
        let mut buffer = [0; 4096];
        loop {
            match stdout.read(&mut buffer).await.unwrap() {
                0 => return,
                count => text.extend_from_slice(&buffer[..count]),
            }
            pieces += 1;
        }
    };
    tokio::time::timeout(MODEL_LIMIT, read)
        .await
        .expect("the text ends");
    assert!(child.wait().await.unwrap().success());
    let text = String::from_utf8(text).unwrap();
    assert!(text.split_whitespace().count() >= 3, "{text:?}");
    assert!(pieces >= 3, "{pieces} pieces: {text:?}");

    let asked = [
        "generate",
        USER,
        "--item",
        ITEMS[0],
        "--max-tokens=30",
        "--json",
    ];
    let answer = others.run(place, &asked).await.json();
    assert!(
        !answer["text"].as_str().unwrap().trim().is_empty(),
        "{answer}"
    );
    assert_eq!(answer["context"]["strategy"], "dpl");
    assert_eq!(answer["done"]["llm_calls"], 1);
}

/// What a restart must not change: the queues and logs, the profile, the differences, the records.
async fn kept(place: &Place) -> Vec<Value> {
    let mut status = place.run(["status", "--json"]).await.succeeded().json();
    for stream in status["streams"].as_array_mut().unwrap() {
        // Its age goes on.
        assert!(
            stream["state"]
                .as_object_mut()
                .unwrap()
                .remove("oldest_ms")
                .is_some()
        );
    }
    let parts = ["streams", "consumers", "dead", "healthy", "words"].map(|key| status[key].take());
    let mut kept = parts.to_vec();
    for verb in ["profile", "differences"] {
        kept.push(place.run([verb, USER, "--json"]).await.succeeded().json());
    }
    let look = place.look().await;
    for item in ITEMS {
        let count = look.store.count_item_records(TENANT, item).await.unwrap();
        assert!(count >= 8, "{item}: {count}");
        kept.push(count.into());
    }
    kept
}
