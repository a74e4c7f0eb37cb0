//! A short run of `tests/scale`: the GPU stages go to none and come back.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

const UPDATES: u64 = 300;

#[tokio::test]
async fn replicas_come_go_to_none_and_come_back_and_nothing_flaps_or_is_lost() {
    let report = run(&[
        "--values=gpu",
        "--updates=300",
        "--bursts=2",
        "--compression=120",
        "--latency-ms=500",
        "--debounce-s=1",
        // Waves of profiles shorter than the window of the scale-down, which is 2.5 s here.
        "--max-wait-s=2",
        "--replicas",
    ])
    .await;
    let burst = &report["burst"];
    assert_eq!(count(&burst["freshness"]["updates"]), 2 * UPDATES);
    for stage in ["extractor", "profiler"] {
        let moves = &burst["moves"][stage];
        let changes: Vec<u64> = moves["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| count(&change[1]))
            .collect();
        // None at the start, between the bursts and in the end.
        let none = changes.iter().filter(|&&replicas| replicas == 0).count();
        assert_eq!(none, 3, "{stage}: {changes:?}");
        assert_eq!((changes.first(), changes.last()), (Some(&0), Some(&0)));
        // Up, to none, up, to none, and perhaps some before the others: never up and down and up.
        assert_eq!(count(&moves["turns"]), 3, "{stage}: {changes:?}");
    }
    assert!(count(&burst["moves"]["extractor"]["most"]) > 1, "{report}");
    assert_eq!(burst["moves"]["embedder"]["most"], 1, "it has no rule");
}

#[tokio::test]
async fn two_replicas_are_nearly_twice_as_fast_as_one() {
    let report = run(&[
        "--updates=0",
        "--records=480",
        "--speedup-latency-ms=1000",
        "--replicas=1,2",
    ])
    .await;
    let row = &report["speedup"][1];
    assert_eq!(row["replicas"], 2);
    assert!(row["efficiency"].as_f64().unwrap() >= 0.9, "{row}");
    // Beside a full queue nobody waits for anything but the model.
    assert!(row["busy"].as_f64().unwrap() > 0.8, "{row}");
}

async fn run(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("scale.json");
    let output = Command::new(env!("CARGO_BIN_EXE_foil-scale"))
        .args(arguments)
        .arg("--limit-s=120")
        .arg("--json")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    print!("{told}");
    assert_eq!(output.status.code(), Some(0), "{told}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["wrong"], serde_json::json!([]));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.ends_with("\nAll holds.\n"), "{table}");
    report
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}
