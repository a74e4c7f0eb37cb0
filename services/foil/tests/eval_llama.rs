//! `foil eval` as a user runs it, on the sample corpus and the real embedding model.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn eval(arguments: &[&str]) -> Output {
    let model = std::env::var_os("FOIL_TEST_EMBED_MODEL").expect("FOIL_TEST_EMBED_MODEL is set");
    Command::new(env!("CARGO_BIN_EXE_foil"))
        .env("FOIL_EMBED__MODEL", model)
        .arg("eval")
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

fn prepare(folder: &Path, more: &[&str]) -> Output {
    let file = |name: &str| corpus().join(name).display().to_string();
    let files = ["users-1", "users-2", "users-3"].map(|name| file(&format!("{name}.ndjson")));
    let (items, out) = (file("items.ndjson"), folder.display().to_string());
    let mut arguments = vec!["prepare", "--json", "--meta", &items, "--out", &out];
    arguments.extend(files.iter().flat_map(|file| ["--reviews", file]));
    eval(&[&arguments[..], more].concat())
}

#[test]
fn prepared_data_can_be_measured_and_measuring_again_embeds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let found = json(&prepare(&data, &["--preset", "small"]));
    let statistics = &found["statistics"];
    assert_eq!(statistics["read"]["records"], 251);
    // Of 25 users 8 have fewer than the nine records that the preset asks for.
    assert_eq!(statistics["target_users"], 17);
    assert_eq!(
        (&found["faults"], &found["other_tenants"]),
        (&0.into(), &0.into())
    );

    let (data, out) = (data.display().to_string(), folder.path().join("out"));
    let results = out.display().to_string();
    let arguments = ["selection", "--data", &data, "--out", &results, "--json"];
    let first = eval(&arguments);
    let report = json(&first);
    assert!(
        said(&first).contains("251 texts embedded"),
        "{}",
        said(&first)
    );
    // Telling users apart asks for four records only.
    assert_eq!(report["users"], 25);
    let chance = report["chance"]["top1"].as_f64().expect("a number");
    assert!((chance - 0.04).abs() < 1e-6);
    // The corpus was written so that people are told apart: far above chance by every method that
    // reads them.
    let methods = report["methods"].as_object().expect("an object");
    assert!(methods.contains_key("items"));
    for (name, method) in methods.iter().filter(|(name, _)| *name != "items") {
        for key in ["top1", "mrr"] {
            let value = method[key].as_f64().expect("a number");
            assert!(value > 10.0 * chance, "{name} {key}: {value}");
        }
    }
    for name in [
        "selection.json",
        "selection.md",
        "selection.csv",
        "selection.svg",
    ] {
        assert!(out.join(name).is_file(), "{name} is written");
    }

    let second = eval(&arguments);
    assert!(
        said(&second).contains("0 texts embedded"),
        "{}",
        said(&second)
    );
    assert_eq!(
        json(&second),
        report,
        "the same seed gives the same figures"
    );
}

#[test]
fn the_defaults_are_the_papers_and_another_tenants_lines_stay_out() {
    let folder = tempfile::tempdir().expect("a folder");
    // 14 items: nobody has 18 records.
    let found = json(&prepare(folder.path(), &[]));
    assert_eq!(found["filters"]["user_records_min"], 18);
    assert_eq!(found["statistics"]["targets"], 0);
    let output = prepare(folder.path(), &["--tenant", "shop-7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no records in it"),
        "{}",
        said(&output)
    );
}

#[test]
fn bad_lines_are_named_and_too_many_end_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("reviews.jsonl");
    let good = r#"{"reviewerID":"u","asin":"i","reviewText":"It sings.","overall":4,"unixReviewTime":1158019200}"#;
    let bad = good.replace("4,", "\"four\",");
    std::fs::write(&file, format!("{good}\n{bad}\n")).expect("it can be written");
    let (file, out) = (
        file.display().to_string(),
        folder.path().display().to_string(),
    );
    let arguments = ["prepare", "--reviews", &file, "--out", &out];
    let output = eval(&arguments);
    let named = format!("{file} line 2: overall: is no number");
    assert!(said(&output).contains(&named), "{}", said(&output));
    // The other line is read, but one short text is not enough to hold anything out.
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("text_chars_min"),
        "{}",
        said(&output)
    );
    let output = eval(&[&arguments[..], &["--faults-max", "0"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&named), "{}", said(&output));
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let output = eval(&["selection", "--data", &out, "--out", &out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("neither prepared data"),
        "{}",
        said(&output)
    );
    let output = eval(&["selection", "--set", "embed.model=", "--out", &out]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("embed.model"), "{}", said(&output));
}
