//! `foil bench` as a user runs it, where it counts: over a real nats-server, the embedded Qdrant and
//! the real embedding model. What it times is measured by itself, on a machine that does nothing else.

use std::process::{Command, Output};

use foil_runtime::testing::server_binary;
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn bench(arguments: &[&str]) -> Output {
    let model = std::env::var_os("FOIL_TEST_EMBED_MODEL").expect("FOIL_TEST_EMBED_MODEL is set");
    Command::new(env!("CARGO_BIN_EXE_foil"))
        .env("FOIL_UP__NATS_SERVER", server_binary())
        .env("FOIL_EMBED__MODEL", model)
        .arg("bench")
        .args(arguments)
        .output()
        .expect("the command runs")
}

#[test]
fn the_counts_of_llm_calls_are_what_they_should_be() {
    let counts = [
        "calls_context",
        "calls_generate",
        "calls_per_difference",
        "profile_calls_burst",
    ];
    let output = bench(&[&counts[..], &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let expected = json!({
        "calls_context": 0.0,
        "calls_generate": 1.0,
        "calls_per_difference": 1.0,
        "profile_calls_burst": 1.0,
    });
    assert_eq!(found, expected, "{errors}");
}

#[test]
fn one_name_gives_one_key_and_an_unknown_one_is_a_usage_error() {
    let output = bench(&["selection_ms", "--json"]);
    assert!(output.status.success());
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let found = found.as_object().expect("an object");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["selection_ms"]);
    assert!(found["selection_ms"].as_f64().is_some_and(|ms| ms > 0.0));

    let output = bench(&["speed"]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    for key in ["overhead", "selection_ms", "rss_mb"] {
        assert!(words.contains(key), "{words}");
    }
    let output = bench(&[
        "rss_mb",
        "--corpus",
        "no/such/folder",
        "--set",
        "llm.model=none.gguf",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("--corpus: cannot read the folder no/such/folder"),
        "{words}"
    );
}
