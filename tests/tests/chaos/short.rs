//! A short run of `tests/chaos`.

use std::process::Stdio;

use tokio::process::Command;

#[tokio::test]
async fn a_minute_of_chaos_loses_doubles_and_leaves_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foil-chaos"));
    // What the driver publishes when it is not told: 3,000 updates at least.
    let arguments = ["--minutes", "1", "--seed", "1", "--json"];
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    print!("{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{report}");
    let count = |key: &str| {
        report[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {report}"))
    };
    for key in [
        "lost",
        "doubled",
        "stale",
        "left",
        "unexplained_dead",
        "fell",
    ] {
        assert_eq!(count(key), 0, "{key}: {told}");
    }
    // What whoever reads the JSON relies on.
    for key in [
        "updates",
        "kills",
        "redelivered",
        "lost",
        "doubled",
        "stale",
        "left",
        "dead",
    ] {
        count(key);
    }
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(count("updates"), 3_000);
    // Each of the ten processes at least once.
    assert!(count("kills") >= 10, "{report}");
    assert!(
        count("redelivered") > 0 && count("repeated") > 0,
        "{report}"
    );
    assert!(
        count("dead") > 0,
        "the messages that can never be worked on"
    );
}
