//! One text by the real model, end to end.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

use foil_llm::EngineConfig;
use foil_proto::v1::GenerateRequest;

use support::*;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn test_model() -> String {
    std::env::var("FOIL_TEST_LLM_MODEL")
        .expect("FOIL_TEST_LLM_MODEL must name a GGUF chat model; `tests/run` sets it")
}

#[tokio::test]
async fn a_real_model_writes_a_text() {
    let config = EngineConfig {
        model: test_model(),
        ..EngineConfig::default()
    };
    let rig = Rig::over(foil_llm::load(&config).await.unwrap()).await;
    put_history(&rig.store).await;
    put_difference(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    let asked = GenerateRequest {
        max_tokens: 60,
        seed: 7,
        ..request()
    };
    let parts = rig
        .ask_within(asked, std::time::Duration::from_secs(110))
        .await;
    let done = done(&parts);
    assert_eq!(done.llm_calls, 1);
    assert!(done.model.starts_with("llama-cpp/"), "{}", done.model);
    assert!(done.prompt_tokens > 100 && done.completion_tokens <= 60);
    assert!(text(&parts).split_whitespace().count() >= 3, "{parts:?}");
    assert!(parts.len() >= 4, "it did not stream: {parts:?}");
    rig.stop().await.unwrap();
}
