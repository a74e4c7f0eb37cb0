//! Every strategy with a model that says again all that it was shown.

use std::sync::{Arc, Mutex};

use foil_llm::{
    ChatEvent, ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo, Usage,
};
use foil_proto::v1::GenerateRequest;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::support::*;

const PEER: &str = "otto-the-peer";
/// Quotes its user, as a model may.
const PEER_SUMMARY: &str =
    "The author keeps saying that thunderous whistles wake a sleepy household.";

/// Repeats its whole prompt, but where it can only fill a schema.
struct Parrot {
    info: ModelInfo,
    prompts: Mutex<Vec<String>>,
}

impl Parrot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo {
                provider: "script",
                model: "parrot".to_owned(),
                context_tokens: 4096,
            },
            prompts: Mutex::default(),
        })
    }

    fn was_shown(&self, text: &str) -> bool {
        let prompts = self.prompts.lock().unwrap();
        prompts.iter().any(|prompt| prompt.contains(text))
    }
}

fn words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap()
}

impl LanguageModel for Parrot {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        Ok(words(text))
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        u32::try_from(4 * messages).unwrap()
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        let said = request.messages.iter().map(|m| m.content.as_str());
        let prompt = said.collect::<Vec<_>>().join("\n");
        self.prompts.lock().unwrap().push(prompt.clone());
        let answer = match &request.schema {
            Some(schema) => in_schema(schema),
            None => prompt,
        };
        let done = ChatEvent::Done {
            finish: Finish::Stop,
            usage: Usage::default(),
        };
        let events = [Ok(ChatEvent::Delta(answer)), Ok(done)];
        async { Ok(stream::iter(events).boxed()) }.boxed()
    }
}

fn in_schema(schema: &serde_json::Value) -> String {
    let names = schema["required"].as_array().unwrap().iter();
    let filled: serde_json::Map<String, serde_json::Value> = names
        .map(|name| {
            let statement = "The author writes plainly and keeps to the point.";
            (name.as_str().unwrap().to_owned(), statement.into())
        })
        .collect();
    serde_json::Value::Object(filled).to_string()
}

#[tokio::test]
async fn no_strategy_lets_a_model_repeat_another_user() {
    let model = Parrot::new();
    let rig = Rig::over(model.clone()).await;
    put_history(&rig.store).await;
    put_difference(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    put_summary(&rig.store, PEER, 1, "dpl", PEER_SUMMARY.to_owned()).await;
    for (strategy, shows_others) in [
        ("dpl", false),
        ("intsum", false),
        ("llm-trsr", false),
        ("cicl", true),
        ("persona-db", true),
        ("rag", false),
        ("non-perso", false),
    ] {
        let request = GenerateRequest {
            strategy: strategy.into(),
            ..request()
        };
        let parts = rig.ask(request).await;
        let said = text(&parts);
        for theirs in [PEER_TEXT, PEER_SUMMARY] {
            assert!(!said.contains(theirs), "{strategy}: {said}");
        }
        if shows_others {
            assert_eq!(failure(&parts).code, "internal", "{strategy}");
            assert_eq!(said, "", "{strategy}");
        } else {
            assert_eq!(done(&parts).finish, "stop", "{strategy}");
            assert!(said.contains("Travel kettle"), "{strategy}: {said}");
        }
    }
    // There was something to repeat.
    assert!(model.was_shown(PEER_TEXT) && model.was_shown(PEER_SUMMARY));
    rig.stop().await.unwrap();
}
