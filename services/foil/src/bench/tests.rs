use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};

use super::figures::{FIGURES, Target};
use super::*;
use crate::cli::{Cli, Verb};

/// As the contract of `foil bench --json` names them.
const KEYS: [&str; 13] = [
    "overhead",
    "bus",
    "selection_ms",
    "engine_prompt",
    "engine_decode",
    "engine_parallel",
    "prefix",
    "embed",
    "calls_context",
    "calls_generate",
    "calls_per_difference",
    "profile_calls_burst",
    "rss_mb",
];

fn readings() -> Vec<Reading> {
    let reading = |key: &&'static str| Reading {
        key,
        value: 0.123_456,
        note: "measured somehow".to_owned(),
    };
    KEYS.iter().map(reading).collect()
}

#[test]
fn the_object_has_exactly_the_keys() {
    let all = figures::wanted(&[]);
    let object = object(&all, &readings());
    let keys: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS.into());
    assert_eq!(object["bus"], 0.1235);
    let one = figures::wanted(&["prefix".to_owned()]);
    let one = super::object(&one, &readings());
    assert_eq!(one.keys().collect::<Vec<_>>(), ["prefix"]);
}

#[test]
fn what_could_not_be_measured_is_null_and_said() {
    let all = figures::wanted(&[]);
    let readings = &readings()[1..];
    assert_eq!(object(&all, readings)["overhead"], Value::Null);
    let text = text(&all, readings);
    assert_eq!(text.matches("not measured").count(), 1);
    assert_eq!(text.matches("measured somehow").count(), 12);
}

#[test]
fn the_readme_lists_every_figure_with_its_target() {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("## Benchmarks").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let rows: Vec<&str> = section.lines().filter(|l| l.starts_with("| `")).collect();
    let expected: Vec<String> = FIGURES
        .iter()
        .map(|f| format!("| `{}` | {} | {} |", f.key, f.meaning, f.target))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_help_lists_every_figure_and_an_unknown_one_is_a_usage_error() {
    let mut command = Cli::command();
    let bench = command.find_subcommand_mut("bench").expect("the verb");
    let help = bench.render_long_help().to_string();
    for key in KEYS {
        assert!(help.contains(&format!("- {key}:")), "{key}: {help}");
    }
    let error = Cli::try_parse_from(["foil", "bench", "speed"]).expect_err("no such figure");
    assert_eq!(error.exit_code(), 2);
    let words = error.to_string();
    for key in KEYS {
        assert!(words.contains(key), "{key}: {words}");
    }
    let cli = Cli::try_parse_from(["foil", "bench", "bus", "prefix"]).expect("two names");
    assert!(matches!(cli.verb, Verb::Bench(args) if args.names == ["bus", "prefix"]));
}

#[test]
fn a_run_serves_all_its_figures_and_happens_once() {
    let names = ["prefix", "bus", "engine_decode"].map(str::to_owned);
    let wanted = figures::wanted(&names);
    assert_eq!(figures::groups(&wanted), [Group::Engine, Group::Bus]);
    assert_eq!(figures::groups(&figures::wanted(&[])).len(), 7);
}

#[test]
fn targets_hold_on_their_side() {
    assert!(Target::AtMost(1.15).holds(1.15) && !Target::AtMost(1.15).holds(1.151));
    assert!(Target::AtLeast(0.5).holds(0.5) && !Target::AtLeast(0.5).holds(0.499));
    assert!(Target::Exactly(1.0).holds(1.0) && !Target::Exactly(1.0).holds(0.8));
    for target in FIGURES.map(|figure| figure.target) {
        assert!(!target.holds(f64::NAN), "{target}");
    }
}

#[test]
fn all_that_is_missing_is_named_before_anything_runs() {
    let groups = figures::groups(&figures::wanted(&[]));
    let error = missing(&FoilConfig::default(), &groups).expect_err("nothing is configured");
    let keys: Vec<&str> = error
        .faults
        .iter()
        .map(|fault| fault.key.as_str())
        .collect();
    assert_eq!(keys, ["up.nats_server", "embed.model", "llm.model"]);
    missing(&FoilConfig::default(), &[Group::Selection]).expect("it needs nothing");
}

#[test]
fn a_folder_without_a_corpus_is_named() {
    let empty = tempfile::tempdir().expect("a directory");
    let error = memory::corpus_files(empty.path()).expect_err("it is empty");
    assert!(
        error.to_string().contains("--corpus: no .ndjson file in"),
        "{error}"
    );
    let error = memory::corpus_files(&empty.path().join("none")).expect_err("it is absent");
    assert!(
        error.to_string().contains("--corpus: cannot read"),
        "{error}"
    );
}
