//! Each number of the configuration: at its ends it holds, beyond them it is a fault that names its key.

use foil_embedder::{EmbedConfig, EmbedderConfig};
use foil_extractor::{Criterion, ExtractorConfig};
use foil_generator::GeneratorConfig;
use foil_llm::EngineConfig;
use foil_profiler::ProfilerConfig;
use foil_runtime::{Faults, Validate, WorkerConfig};
use foil_selector::SelectorConfig;
use foil_store::{ProvisionConfig, StoreConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A key and the least and the most that it may be: numbers, or durations as they are written.
type Range = (&'static str, Value, Value);

/// The keys of the faults with this value at this key.
fn faults<C: Serialize + DeserializeOwned + Validate>(
    base: &C,
    key: &str,
    value: &Value,
) -> Vec<String> {
    let mut config = serde_json::to_value(base).unwrap();
    config[key] = value.clone();
    let read = serde_json::from_value::<C>(config);
    let config = read.unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
    Faults::of(&config)
        .into_iter()
        .map(|fault| fault.key)
        .collect()
}

/// The value next to `value` on this side.
fn next(value: &Value, up: bool) -> Option<Value> {
    if let Some(text) = value.as_str() {
        let at: Vec<&str> = text.split(' ').collect();
        let number: u64 = at[0].parse().unwrap();
        // A millisecond more or less.
        let ms = number * if at[1] == "s" { 1_000 } else { 1 };
        let ms = if up { ms + 1 } else { ms.checked_sub(1)? };
        return Some(json!(format!("{ms} ms")));
    }
    if let Some(number) = value.as_u64() {
        let number = if up {
            number.checked_add(1)
        } else {
            number.checked_sub(1)
        };
        return number.map(Value::from);
    }
    let number = value.as_f64().unwrap();
    Some(json!(if up { number + 0.01 } else { number - 0.01 }))
}

fn check<C: Serialize + DeserializeOwned + Validate>(
    section: &str,
    base: &C,
    ranges: &[Range],
) -> usize {
    assert!(
        Faults::of(base).is_empty(),
        "{section}: {:?}",
        Faults::of(base)
    );
    for (key, least, most) in ranges {
        for value in [least, most] {
            let found = faults(base, key, value);
            assert!(
                !found.iter().any(|fault| fault == key),
                "{section}.{key} = {value}: {found:?}"
            );
        }
        for value in [next(least, false), next(most, true)].into_iter().flatten() {
            let found = faults(base, key, &value);
            assert!(
                found.iter().any(|fault| fault == key),
                "{section}.{key} = {value}: {found:?}"
            );
        }
    }
    ranges.len()
}

fn number(key: &'static str, least: u64, most: u64) -> Range {
    (key, least.into(), most.into())
}

fn share(key: &'static str, least: f64, most: f64) -> Range {
    (key, json!(least), json!(most))
}

fn time(key: &'static str, least: &str, most: &str) -> Range {
    (key, json!(least), json!(most))
}

#[test]
fn every_number_of_the_configuration_has_its_ends() {
    let debounce = || time("profile_debounce", "1 s", "3600 s");
    let engine = EngineConfig {
        model: "m.gguf".to_owned(),
        ..EngineConfig::default()
    };
    let embed = EmbedConfig {
        model: "m.gguf".to_owned(),
        batch_tokens: 65_536,
        ..EmbedConfig::default()
    };
    let mut keys = check(
        "llm",
        &engine,
        &[
            number("context_tokens", 256, 1_048_576),
            number("parallel", 1, 64),
            number("queue", 0, 4_096),
            number("threads", 1, 512),
            time("timeout", "100 ms", "3600 s"),
        ],
    );
    keys += check(
        "embed",
        &embed,
        &[
            number("dimension", 1, 65_536),
            number("max_tokens", 8, 32_768),
            number("queue", 1, 65_536),
            number("threads", 1, 512),
            time("timeout", "100 ms", "3600 s"),
        ],
    );
    keys += check("embedder", &EmbedderConfig::default(), &[debounce()]);
    keys += check(
        "selector",
        &SelectorConfig::default(),
        &[
            number("k", 1, 16),
            number("max_candidates", 2, 4_096),
            share("growth", 1.0, 1_000.0),
            debounce(),
        ],
    );
    keys += check(
        "extractor",
        &ExtractorConfig::default(),
        &[
            number("facts", 0, 8),
            number("max_tokens", 32, 4_096),
            share("temperature", 0.0, 2.0),
            number("item_records", 1, 4_096),
            debounce(),
            time("outage_delay", "100 ms", "600 s"),
        ],
    );
    keys += check(
        "profiler",
        &ProfilerConfig::default(),
        &[
            number("records", 1, 512),
            number("differences", 1, 64),
            number("texts", 0, 64),
            number("facts", 0, 16),
            number("max_tokens", 32, 1_024),
            share("temperature", 0.0, 2.0),
            time("debounce", "1 s", "3600 s"),
            time("outage_delay", "100 ms", "600 s"),
        ],
    );
    keys += check(
        "generator",
        &GeneratorConfig::default(),
        &[
            number("history_max", 1, 8_192),
            number("key_samples", 1, 32),
            number("sample_chars", 1, 8_000),
            number("sample_words_min", 0, 400),
            number("description_chars", 1, 16_384),
            number("activation_items", 1, 4_096),
            number("max_tokens", 1, 2_048),
            share("temperature", 0.0, 2.0),
            share("frequency_penalty", 0.0, 2.0),
            time("poll", "10 ms", "10 s"),
            time("wait_reserve", "0 s", "600 s"),
            time("activation_delay", "0 s", "3600 s"),
        ],
    );
    keys += servers();
    println!("{keys} keys, at and beyond both ends");
    assert!(keys >= 45, "{keys}");
}

fn servers() -> usize {
    let keys = check(
        "store",
        &StoreConfig::default(),
        &[
            time("timeout", "100 ms", "300 s"),
            number("dimension", 1, 65_536),
            number("user_scan_max", 1, 65_536),
        ],
    );
    let provision = ProvisionConfig {
        duplicate_window: std::time::Duration::from_secs(1),
        ..ProvisionConfig::default()
    };
    let keys = keys
        + check(
            "provision",
            &provision,
            &[
                time("ack_wait", "1 s", "3600 s"),
                number("max_deliver", 2, 100_000),
                number("max_ack_pending", 1, 100_000),
                time("duplicate_window", "1 s", "3600 s"),
                number("qdrant_replicas", 1, 16),
                number("qdrant_shards", 1, 256),
            ],
        );
    keys + check(
        "worker",
        &WorkerConfig::default(),
        &[number("permits", 1, 4_096)],
    )
}

#[test]
fn criteria_are_few_and_short() {
    let criterion = |name: String, definition: String| Criterion {
        name,
        definition,
        features: Vec::new(),
    };
    let faults = |criteria: Vec<Criterion>| -> Vec<String> {
        let config = ExtractorConfig {
            criteria,
            ..ExtractorConfig::default()
        };
        Faults::of(&config)
            .into_iter()
            .map(|fault| fault.key)
            .collect()
    };
    let many = |count: usize| {
        (0..count)
            .map(|n| criterion(format!("c{n}"), "x".into()))
            .collect()
    };
    let one = |name: usize, text: usize| vec![criterion("n".repeat(name), "d".repeat(text))];
    for good in [many(1), many(8), one(1, 1), one(32, 1), one(1, 400)] {
        assert_eq!(faults(good), [""; 0]);
    }
    for (bad, key) in [
        (many(0), "criteria"),
        (many(9), "criteria"),
        (one(0, 1), "criteria.name"),
        (one(33, 1), "criteria.name"),
        (one(1, 0), "criteria.definition"),
        (one(1, 401), "criteria.definition"),
    ] {
        assert_eq!(faults(bad), [key]);
    }
}
