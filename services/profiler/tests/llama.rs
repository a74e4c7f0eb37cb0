//! The running stage with a real model on the sample corpus.

#![allow(clippy::unwrap_used)]

mod support;

use foil_llm::{EngineConfig, load};
use serde_json::Value;

use support::{CHOSEN, Rig, config};

const CORPUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/corpus/users-1.ndjson"
);

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn model_file() -> String {
    std::env::var("FOIL_TEST_LLM_MODEL")
        .expect("FOIL_TEST_LLM_MODEL is not set: it names a GGUF chat model")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_real_texts_is_two_to_four_sentences() {
    let rig = Rig::start().await;
    let text = std::fs::read_to_string(CORPUS).unwrap();
    let records = text.lines().map(serde_json::from_str::<Value>);
    for record in records.map(Result::unwrap).filter(|r| r["user"] == "mara") {
        let item = record["item"].as_str().unwrap();
        rig.put("mara", item, record["text"].as_str().unwrap())
            .await;
        rig.compare("mara", item, CHOSEN).await;
    }
    let engine = EngineConfig {
        model: model_file(),
        ..EngineConfig::default()
    };
    let model = load(&engine).await.unwrap();
    let mut config = config();
    config.worker.timeout = std::time::Duration::from_secs(240);
    let running = rig.run(model, config);
    rig.publish("mara").await;
    let profile = rig.until_version("mara", 1).await;
    println!("{}", profile.summary);
    assert!(profile.summary.split_whitespace().count() >= 5);
    assert!(profile.summary.ends_with(['.', '!', '?']));
    let provenance = profile.provenance.unwrap();
    assert!(provenance.model.starts_with("llama-cpp/"));
    // Of one try, or of two.
    assert!((1..=2 * 160).contains(&provenance.completion_tokens));
    rig.stop(running).await;
}
