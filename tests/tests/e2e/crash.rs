//! `kill -9` of `foil up`, half-way through an ingest.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use foil_proto::names::stream;
use foil_tests::corpus::Corpus;
use foil_tests::{Look, Place};
use tokio::io::AsyncWriteExt as _;

use crate::{ONE_CRITERION, SHORT_DEBOUNCE};

/// Asked for before anything is there: the comparisons of this user are at work when it is killed.
const READER: &str = "reader";
const READ: [&str; 2] = ["cafe-lantern-yard", "film-night-ferry"];
const TENANT: &str = "demo";

fn reader_line(item: &str) -> String {
    format!(
        r#"{{"type":"record","user":"{READER}","item":"{item}","revision":1,"text":"I came for {item}, I stayed an hour, and I would bring my sister."}}"#
    )
}

/// The records that must be there in the end, by user.
fn wanted(corpus: &Corpus) -> BTreeMap<String, BTreeSet<(String, u64, String)>> {
    let mut wanted = BTreeMap::<String, BTreeSet<_>>::new();
    for record in &corpus.records {
        let is_new = wanted.entry(record.user.clone()).or_default().insert((
            record.item.clone(),
            record.revision,
            record.text.clone(),
        ));
        assert!(is_new);
    }
    for item in READ {
        let line: serde_json::Value = serde_json::from_str(&reader_line(item)).unwrap();
        let text = line["text"].as_str().unwrap().to_owned();
        wanted
            .entry(READER.to_owned())
            .or_default()
            .insert((item.to_owned(), 1, text));
    }
    wanted
}

async fn stored(look: &Look, corpus: &Corpus) -> u64 {
    let mut stored = 0;
    for item in &corpus.items {
        let count = look.store.count_item_records(TENANT, &item.id).await;
        stored += count.unwrap();
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_half_way_through_an_ingest_everything_is_there_once() {
    let corpus = Corpus::read();
    let place = Place::new();
    let config = place.file("foil.toml", ONE_CRITERION);
    let config = format!("--config={}", config.display());
    // What the killed process held is delivered again after this time.
    let settings = [
        &[&config, "--set=provision.ack_wait=5s"],
        &SHORT_DEBOUNCE[..],
    ]
    .concat();
    let mut lines = corpus.lines.clone();
    let early = corpus.items.len() + 20;
    lines.splice(early..early, READ.map(reader_line));
    let file = place.file("all.ndjson", lines.join("\n"));
    let (first, second) = lines.split_at(lines.len() / 2);

    let up = place.up(&settings).await;
    let look = place.look().await;
    let asked = ["context", READER, "--item", READ[0]];
    place.run(asked).await.succeeded();
    let mut ingest = place
        .command(["ingest", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = ingest.stdin.take().unwrap();
    let text = first.join("\n") + "\n";
    input.write_all(text.as_bytes()).await.unwrap();
    let some = early as u64 + 10;
    look.until("some are stored", Duration::from_secs(30), async || {
        look.updates_done().await.0 >= some
    })
    .await;
    let there = stored(&look, &corpus).await;
    let left = look.messages(stream::EXTRACT).await;
    println!("killed with {there} records stored and {left} comparisons left");
    assert!((1..corpus.records.len() as u64).contains(&there));
    up.kill().await;
    // The producer is still there, and rides it out.
    let text = second.join("\n") + "\n";
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);

    let _up = place.up(&settings).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), ingest.wait_with_output()).await;
    let ended = ended.expect("the first ingest ends").unwrap();
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{told}");

    let again = place.ingest(&[file], Duration::from_secs(150)).await;
    let again = again.succeeded().json();
    let count = |key: &str| again[key].as_u64().unwrap();
    assert_eq!(
        count("published") + count("duplicates"),
        lines.len() as u64,
        "{again}"
    );
    check_the_end(&place, &corpus).await;
}

async fn check_the_end(place: &Place, corpus: &Corpus) {
    let look = place.look().await;
    let wanted = wanted(corpus);
    for (user, records) in &wanted {
        assert_eq!(look.records(TENANT, user).await, *records, "{user}");
    }
    let total: usize = wanted.values().map(BTreeSet::len).sum();
    assert_eq!(stored(&look, corpus).await, total as u64);
    for queue in [
        stream::SELECT,
        stream::EXTRACT,
        stream::PROFILE,
        stream::GENERATE,
        stream::DEAD,
    ] {
        assert_eq!(look.messages(queue).await, 0, "{queue}");
    }
    let (done, published) = look.updates_done().await;
    assert_eq!(done, published);
    let differences = place.run(["differences", READER, "--json"]).await;
    let differences = differences.succeeded().json();
    let differences = differences.as_array().unwrap();
    assert_eq!(differences.len(), READ.len());
    for difference in differences {
        assert!(difference["difference"].is_object(), "{difference}");
        assert_eq!(difference["due"], false);
    }
    let profile = place.run(["profile", READER, "--json"]).await;
    assert_eq!(profile.succeeded().json()["strategy"], "dpl");
}
