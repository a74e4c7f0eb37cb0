//! Metrics by OTLP and on `/metrics`: the ones of the list, with the labels of the list.

use std::collections::{BTreeMap, BTreeSet};

use crate::rig::{ITEM, Rig, USER, trace_id};

/// What one update and one text for its user must have moved, and what the start sets.
const MOVED: [&str; 35] = [
    "foil_start_time_seconds",
    "foil_check_up",
    "foil_messages_total",
    "foil_handle_duration_seconds",
    "foil_wait_duration_seconds",
    "foil_inflight",
    "foil_permits",
    "foil_redeliveries_total",
    "foil_dead_letters_total",
    "foil_published_total",
    "foil_pull_errors_total",
    "foil_store_duration_seconds",
    "foil_consumer_lag",
    "foil_consumer_lag_age_seconds",
    "foil_consumer_found",
    "foil_dead_letters_stored",
    "foil_llm_requests_total",
    "foil_llm_inflight",
    "foil_llm_input_tokens_total",
    "foil_llm_cached_tokens_total",
    "foil_llm_output_tokens_total",
    "foil_llm_answers_refused_total",
    "foil_llm_duration_seconds",
    "foil_llm_queue_duration_seconds",
    "foil_llm_time_to_first_token_seconds",
    "foil_llm_batch_size",
    "foil_embed_texts_total",
    "foil_embed_tokens_total",
    "foil_embed_batch_size",
    "foil_freshness_seconds",
    "foil_profile_versions_total",
    "foil_differences_total",
    "foil_replies_total",
    "foil_tenant_calls_total",
    "foil_tenant_tokens_total",
];

type Listed = BTreeMap<String, (String, BTreeSet<String>)>;

/// As `foil metrics` lists them: kind and labels.
async fn listed(rig: &Rig) -> Listed {
    let list = rig
        .place
        .run(["metrics", "--json"])
        .await
        .succeeded()
        .json();
    let metric = |entry: &serde_json::Value| {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let labels = entry["labels"].as_array().unwrap().iter().map(text);
        (
            text(&entry["name"]),
            (text(&entry["kind"]), labels.collect()),
        )
    };
    list.as_array().unwrap().iter().map(metric).collect()
}

/// The series of Prometheus' text: metric to its series' labels. Values hold no comma and no brace.
fn series(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let one = |line: &str| {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = match line.contains('{') {
            true => rest.split_once('}').unwrap().0,
            false => "",
        };
        let keys = labels.split(',').filter_map(|pair| pair.split_once('='));
        let keys = keys
            .map(|(key, _)| key.to_owned())
            .filter(|key| key != "le");
        (name.to_owned(), keys.collect())
    };
    lines.map(one).collect()
}

/// The metric that a series belongs to.
fn metric_of<'a>(listed: &'a Listed, series: &'a str) -> &'a str {
    let parts = ["_bucket", "_sum", "_count"];
    let whole = parts.iter().filter_map(|part| series.strip_suffix(part));
    let histogram = |name: &&str| {
        listed
            .get(*name)
            .is_some_and(|(kind, _)| kind == "histogram")
    };
    whole.into_iter().find(histogram).unwrap_or(series)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_what_is_listed() {
    let rig = Rig::start(&["--set=telemetry.tenants=0"]).await;
    rig.peers(ITEM).await;
    let write = async || {
        rig.publish(USER, ITEM, "I measured it: 61 decibels.", None)
            .await
    };
    rig.profile_after(1, write).await;
    rig.generate(&trace_id(3)).await;
    // The mover looks once a second.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let listed = listed(&rig).await;
    let text = rig.scrape();
    assert!(!text.contains("noor") && !text.contains("kettle"), "{text}");

    let mut scraped = BTreeSet::new();
    for (name, labels) in series(&text) {
        let metric = metric_of(&listed, &name);
        let (_, expected) = listed
            .get(metric)
            .unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(&labels, expected, "{name}");
        scraped.insert(metric.to_owned());
    }
    for metric in &scraped {
        let (kind, _) = &listed[metric];
        assert!(
            text.contains(&format!("# TYPE {metric} {kind}\n")),
            "{metric}"
        );
    }
    let missing: Vec<_> = MOVED
        .iter()
        .filter(|name| !scraped.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
    for line in [
        r#"foil_consumer_found{stage="embedder"} 1"#,
        r#"foil_consumer_lag{stage="profiler"} 0"#,
        r#"foil_consumer_lag_age_seconds{stage="profiler"} 0"#,
        r#"foil_dead_letters_stored 0"#,
        r#"foil_dead_letters_total{reason="given_up",stage="embedder"} 0"#,
        r#"foil_dead_letters_total{reason="poison",stage="profiler"} 0"#,
        r#"foil_llm_answers_refused_total{engine="openai",model="stub"} 0"#,
        r#"foil_freshness_seconds_count{strategy="dpl"} "#,
        r#"foil_replies_total{degraded="",result="text",strategy="dpl"} 1"#,
        r#"foil_tenant_calls_total{stage="generator",tenant="other"} 1"#,
        r#"foil_embed_texts_total{engine="llama-cpp","#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }

    let (_, collector) = rig.stop().await;
    let exported = collector.metrics();
    for (name, seen) in exported
        .iter()
        .filter(|(name, _)| name.starts_with("foil_"))
    {
        let (kind, expected) = listed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(seen.kind, kind, "{name}");
        for labels in &seen.series {
            let keys: BTreeSet<String> = labels.keys().cloned().collect();
            assert_eq!(&keys, expected, "{name}");
        }
    }
    let missing: Vec<_> = MOVED
        .iter()
        .filter(|name| !exported.contains_key(**name))
        .collect();
    assert!(missing.is_empty(), "not by OTLP: {missing:?}");
}
