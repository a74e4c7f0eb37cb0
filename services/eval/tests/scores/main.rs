//! The metrics against the Python packages that define them.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use foil_eval::metrics::bleu::Counts;
use foil_eval::metrics::meteor::meteor;
use foil_eval::metrics::rouge::rouge;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const PAIRS: usize = 500;
const TOLERANCE: f64 = 1e-6;

/// Texts of the sample corpus.
fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/");
    let texts = ["users-1", "users-2", "users-3"].map(|name| {
        let file = std::fs::read_to_string(format!("{folder}{name}.ndjson")).unwrap();
        let text = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["text"].as_str().map(str::to_owned)
        };
        file.lines().filter_map(text).collect::<Vec<_>>()
    });
    texts.concat()
}

/// What breaks tokenisers.
const ODD: [&str; 28] = [
    "",
    " ",
    "\n",
    "-\n",
    "...",
    "3.50,",
    "1-2",
    "a-b",
    "&amp;",
    "&quot;quoted&quot;",
    "<skipped>",
    "don't",
    "won’t",
    "naïve",
    "cafe\u{301}",
    "ÉCOLE",
    "Ünïcödé",
    "日本語",
    "🙂",
    "Привет",
    "\u{a0}",
    "\u{1c}",
    "snake_case",
    "x²",
    "½",
    "a\u{200d}b",
    "नमस्ते",
    "The THE the",
];

/// A text with words left out, put in, repeated and moved.
fn edited(text: &str, corpus: &[String], rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for _ in 0..rng.random_range(0..40) {
        if words.is_empty() {
            break;
        }
        let at = rng.random_range(0..words.len());
        match rng.random_range(0..6) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => words.insert(at, (*ODD.choose(rng).unwrap()).to_owned()),
            3 => words[at].push_str(["s", "ing", "ed", "ly", "!", "'s"].choose(rng).unwrap()),
            4 => {
                let other = rng.random_range(0..words.len());
                words.swap(at, other);
            }
            _ => {
                let other = corpus.choose(rng).unwrap();
                let other: Vec<&str> = other.split(' ').collect();
                words[at] = (*other.choose(rng).unwrap()).to_owned();
            }
        }
    }
    words.join(" ")
}

fn pairs() -> Vec<(String, String)> {
    let corpus = corpus();
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_123);
    let mut pairs: Vec<(String, String)> = ODD
        .iter()
        .flat_map(|odd| {
            let plain = "It costs 3.50, or so.".to_owned();
            [
                ((*odd).to_owned(), plain.clone()),
                (plain, (*odd).to_owned()),
            ]
        })
        .collect();
    pairs.push(("word ".repeat(300), "word".to_owned()));
    while pairs.len() < PAIRS {
        let reference = corpus.choose(&mut rng).unwrap();
        let from = if rng.random_bool(0.3) {
            corpus.choose(&mut rng).unwrap()
        } else {
            reference
        };
        pairs.push((edited(from, &corpus, &mut rng), reference.clone()));
    }
    pairs
}

/// What the packages print for `input`, a line each.
fn asked(script: &str, input: &str) -> Vec<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests find the real programs by these"
    )]
    let python =
        std::env::var_os("FOIL_TEST_PYTHON").expect("FOIL_TEST_PYTHON: see deploy/local/env.sh");
    let mut child = Command::new(python)
        .arg(format!(
            "{}/tests/scores/{script}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{script}: {}", output.status);
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn every_metric_equals_its_reference_implementation() {
    let pairs = pairs();
    assert_eq!(pairs.len(), PAIRS);
    let input: String = pairs
        .iter()
        .map(|pair| serde_json::to_string(pair).unwrap() + "\n")
        .collect();
    let lines = asked("reference.py", &input);
    assert_eq!(lines.len(), PAIRS + 1);
    let mut spread = [0.0_f64; 4];
    for ((text, reference), line) in pairs.iter().zip(&lines) {
        let expected: [f64; 4] = serde_json::from_str(line).unwrap();
        let rouge = rouge(text, reference);
        let bleu = Counts::of(text, reference).sentence();
        let found = [rouge.one, rouge.l, meteor(text, reference), bleu];
        for (metric, (found, expected)) in found.iter().zip(expected).enumerate() {
            let difference = (found - expected).abs();
            assert!(
                difference < TOLERANCE,
                "metric {metric}: {found}, not {expected}, for {text:?} against {reference:?}"
            );
            spread[metric] += expected;
        }
    }
    // Had every pair nothing in common, all of this would hold of anything.
    assert!(
        spread.iter().all(|sum| *sum > 0.1 * PAIRS as f64),
        "{spread:?}"
    );
    let counts: Vec<Counts> = pairs.iter().map(|(t, r)| Counts::of(t, r)).collect();
    let expected: f64 = serde_json::from_str(&lines[PAIRS]).unwrap();
    assert!((Counts::corpus(&counts) - expected).abs() < TOLERANCE);
}
