//! Key samples and clustering against the Python packages that everybody knows: rank-bm25 and
//! scikit-learn, which FOIL_TEST_PYTHON has. Vectors are those of the real MiniLM
//! (FOIL_TEST_EMBED_MODEL).
//!
//! The data are the reviews in ../shared/data/digital-music beside the repository where they are
//! there, the sample corpus elsewhere; key samples are looked at in the sample corpus in any case.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use foil_embedder::EmbedConfig;
use foil_eval::data::read::Ndjson;
use foil_eval::data::{self, Corpus, Prepared};
use foil_generator::bm25::{self, Words};
use foil_generator::history::{Sample, Topic, key_samples};
use foil_proto::{check, v1};
use foil_selector::SelectorConfig;
use foil_selector::cluster::{Clustering, Gram, kmeans};
use foil_store::{Item, Record, RecordKey};
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const QUERIES: usize = 200;
const KEY_SAMPLES: usize = 8;
const ITEMS: usize = 100;
/// K + 1, as the selector clusters.
const CLUSTERS: usize = 5;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sample corpus, and the reviews where they are.
fn folders() -> Vec<PathBuf> {
    let shared = repository().join("../shared/data/digital-music");
    let sample = repository().join("tests/corpus");
    let all = [sample, shared].into_iter();
    all.filter(|folder| folder.exists()).collect()
}

fn corpus(folder: &Path) -> Corpus {
    println!("data: {}", folder.display());
    let ndjson = Ndjson {
        parse: &parse,
        tenant: "demo",
    };
    Prepared::read(folder, ndjson).unwrap().corpus
}

/// A line of the sample corpus.
fn parse(line: &[u8]) -> Result<v1::Update, check::Faults> {
    use v1::update::Change;
    let line: Value = serde_json::from_slice(line).unwrap();
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let change = match line["type"].as_str() {
        Some("item") => Change::ItemUpsert(v1::ItemUpsert {
            item: text("id"),
            title: text("title"),
            description: text("description"),
            revision: 0,
        }),
        _ => Change::RecordUpsert(v1::RecordUpsert {
            user: text("user"),
            item: text("item"),
            text: text("text"),
            title: text("title"),
            rating: line["rating"].as_f64(),
            occurred_at_ms: text("occurred_at")
                .parse::<jiff::Timestamp>()
                .unwrap()
                .as_millisecond(),
            revision: 1,
        }),
    };
    Ok(v1::Update {
        tenant: text("tenant"),
        change: Some(change),
    })
}

/// The answer of `reference.py`.
fn reference(task: &str, cases: &Value) -> Value {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests find the real programs by these"
    )]
    let python =
        std::env::var_os("FOIL_TEST_PYTHON").expect("FOIL_TEST_PYTHON: see deploy/local/env.sh");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity_llama/reference.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg(task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(cases.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{task}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|number| number.as_f64().unwrap()).collect()
}

/// What the generator is asked, and the same for rank-bm25.
struct Case {
    topic: Topic,
    /// Newest first.
    history: Vec<Record>,
    query: String,
    /// Of the history, without the text on the topic's own item.
    documents: Vec<String>,
}

impl Case {
    /// For the record at `target`, among these records.
    fn new(corpus: &Corpus, target: usize, history: &[usize]) -> Self {
        let target = &corpus.records()[target];
        let item = |id: &str| corpus.item(id).cloned().unwrap_or_default();
        let about = item(&target.item);
        let topic = Topic {
            item: target.item.clone(),
            item_title: about.title,
            item_description: about.description,
            title: target.title.clone(),
        };
        let newest = history.iter().rev().map(|&at| &corpus.records()[at]);
        let past = newest.clone().filter(|record| record.item != target.item);
        let document = |record: &data::Record| {
            let data::Item {
                title, description, ..
            } = item(&record.item);
            format!("{} {title} {description}", record.title)
        };
        let about = match topic.item_description.as_str() {
            "" => &topic.item_title,
            _ => &topic.item_description,
        };
        Self {
            query: format!("{} {about}", topic.title),
            documents: past.map(document).collect(),
            history: newest.map(record).collect(),
            topic,
        }
    }

    /// Places among the documents of the key samples that the generator picks.
    fn picked(&self, items: &HashMap<String, Item>, words: Words) -> Vec<usize> {
        let history = self.history.clone();
        let picked = key_samples(&self.topic, history, items, KEY_SAMPLES, words);
        let mut past = self.history.clone();
        past.retain(|record| record.key.item != self.topic.item);
        let place = |sample: &Sample| past.iter().position(|r| r.id == sample.record.id);
        let places: Option<Vec<usize>> = picked.iter().map(place).collect();
        places.unwrap()
    }
}

/// As it stands in the store.
fn record(record: &data::Record) -> Record {
    let key = RecordKey::new("eval", &record.user, &record.item);
    Record {
        title: record.title.clone(),
        ..Record::new(key, record.text.as_str())
    }
}

/// As the paper asks: the title of the text to write and the item's description, among the titles
/// and descriptions of the user's other records. Where there are too few such targets, they are asked
/// for among other users' records as well.
fn bm25_cases(corpus: &Corpus) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let histories = corpus.users().map(|(_, records)| records);
    let histories: Vec<&[usize]> = histories.filter(|r| r.len() > KEY_SAMPLES).collect();
    let mut own: Vec<(usize, &[usize])> = Vec::new();
    let mut others = Vec::new();
    for (number, history) in histories.iter().enumerate() {
        let next = histories[(number + 1) % histories.len()];
        own.extend(history.iter().map(|&at| (at, *history)));
        others.extend(history.iter().map(|&at| (at, next)));
    }
    own.shuffle(&mut rng);
    others.shuffle(&mut rng);
    own.into_iter()
        .chain(others)
        .take(QUERIES)
        .map(|(target, history)| Case::new(corpus, target, history))
        .collect()
}

#[test]
fn key_samples_are_those_of_rank_bm25() {
    let folders = folders();
    assert!(!folders.is_empty());
    for folder in folders {
        key_samples_are_equal(&corpus(&folder));
    }
}

fn key_samples_are_equal(corpus: &Corpus) {
    let cases = bm25_cases(corpus);
    assert_eq!(cases.len(), QUERIES);
    let items: HashMap<String, Item> = corpus.items().iter().map(item).collect();
    let asked = cases
        .iter()
        .map(|case| json!({ "query": case.query, "documents": case.documents }));
    let answers = reference("bm25", &asked.collect());
    let mut differs_from_ours = 0;
    for (number, case) in cases.iter().enumerate() {
        let theirs = numbers(&answers[number]);
        let words = Words::Whitespace;
        let documents: Vec<Vec<String>> = case.documents.iter().map(|d| words.of(d)).collect();
        let scores = bm25::scores(&words.of(&case.query), &documents);
        assert_eq!(scores.len(), theirs.len());
        for (ours, theirs) in scores.iter().zip(&theirs) {
            assert!(
                (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0),
                "query {number}: {ours} {theirs}"
            );
        }
        // Rank-bm25 leaves the order of equal scores open; ours is the newer one first.
        let mut order: Vec<usize> = (0..theirs.len()).collect();
        order.sort_by(|&a, &b| theirs[b].total_cmp(&theirs[a]));
        let alike =
            |a: usize, b: usize| (theirs[a] - theirs[b]).abs() <= 1e-9 * theirs[a].abs().max(1.0);
        let picked = case.picked(&items, words);
        let same = picked
            .iter()
            .zip(&order)
            .all(|(&ours, &theirs)| alike(ours, theirs));
        assert!(
            same && picked.len() == KEY_SAMPLES,
            "query {number}: {picked:?}, not {order:?}"
        );
        differs_from_ours += usize::from(case.picked(&items, Words::default()) != picked);
    }
    // The setting does something: production's own words often choose others.
    assert!(differs_from_ours > QUERIES / 20, "{differs_from_ours}");
    println!(
        "{QUERIES} queries; with production's words {differs_from_ours} of them choose others"
    );
}

fn item(item: &data::Item) -> (String, Item) {
    let stored = Item {
        id: item.id.clone(),
        title: item.title.clone(),
        description: item.description.clone(),
        revision: 1,
    };
    (item.id.clone(), stored)
}

/// Records of 100 items of any size from 8 records, at most as many of each as the selector looks at.
/// Where there are not so many items, the others are seeded samples of all records: as large, and less
/// alike.
fn groups(corpus: &Corpus) -> Vec<Vec<usize>> {
    let candidates = SelectorConfig::default().max_candidates;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut groups: Vec<Vec<usize>> = corpus.written_about().map(|(_, r)| r.to_vec()).collect();
    groups.retain(|records| records.len() >= 8);
    groups.shuffle(&mut rng);
    groups.truncate(ITEMS);
    for records in &mut groups {
        records.truncate(candidates);
    }
    let all: Vec<usize> = (0..corpus.records().len()).collect();
    while groups.len() < ITEMS {
        let size = rng.random_range(8..=60);
        groups.push(all.sample(&mut rng, size).copied().collect());
    }
    groups
}

/// By the real model; the beginnings of the texts do, and are quicker.
async fn vectors(corpus: &Corpus, groups: &[Vec<usize>]) -> Vec<Vec<Vec<f32>>> {
    const CHARS: usize = 200;
    #[expect(
        clippy::disallowed_methods,
        reason = "tests find the real models by these"
    )]
    let model = std::env::var("FOIL_TEST_EMBED_MODEL").expect("FOIL_TEST_EMBED_MODEL is set");
    let config = EmbedConfig {
        model,
        timeout: std::time::Duration::from_secs(300),
        ..EmbedConfig::default()
    };
    let embedder = foil_embedder::load(&config).await.unwrap();
    let mut unique: Vec<usize> = groups.concat();
    unique.sort_unstable();
    unique.dedup();
    let beginning = |&at: &usize| corpus.records()[at].text.chars().take(CHARS).collect();
    let mut found = Vec::new();
    for batch in unique.chunks(64) {
        found.extend(
            embedder
                .embed(batch.iter().map(beginning).collect())
                .await
                .unwrap(),
        );
    }
    println!("{} texts embedded", unique.len());
    let vector = |at: &usize| found[unique.binary_search(at).unwrap()].clone();
    let group = |records: &Vec<usize>| records.iter().map(vector).collect();
    groups.iter().map(group).collect()
}

fn clustered(points: &[Vec<f32>], number: usize) -> Clustering {
    let views: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
    let seed = Sha256::digest(number.to_le_bytes()).into();
    kmeans(&Gram::of(&views), CLUSTERS, seed)
}

#[tokio::test]
async fn the_clusters_are_as_tight_as_scikit_learns_and_always_the_same() {
    let corpus = corpus(folders().last().unwrap());
    let items = vectors(&corpus, &groups(&corpus)).await;
    assert_eq!(items.len(), ITEMS);
    let ours: Vec<Clustering> = items
        .iter()
        .zip(0..)
        .map(|(p, n)| clustered(p, n))
        .collect();
    let asked = items
        .iter()
        .zip(&ours)
        .map(|(points, ours)| json!({ "points": points, "clusters": ours.clusters }));
    let theirs = numbers(&reference("kmeans", &asked.collect()));
    let mut worst: f64 = 0.0;
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let ratio = ours.inertia / theirs;
        worst = worst.max(ratio);
        assert!(
            ratio <= 1.02,
            "item {number}: {} against {theirs}",
            ours.inertia
        );
        // As tight as theirs, but by a sum over other clusters than it says, would be no parity.
        assert!(
            ratio >= 0.9,
            "item {number}: {} against {theirs}",
            ours.inertia
        );
        assert_eq!(clustered(&items[number], number), *ours, "item {number}");
    }
    let total: f64 = ours.iter().map(|c| c.inertia).sum::<f64>() / theirs.iter().sum::<f64>();
    println!("inertia of ours over theirs: {worst:.4} at worst, {total:.4} in all");
}
