//! What a request's answers cost, put to its tenant's account.

use foil_llm::metrics::{Cost, charge};
use foil_llm::{ChatEvent, ChatRequest, ChatStream, EngineError, LanguageModel, ModelInfo};
use foil_proto::names::stage;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

/// A model that charges each whole answer as it ends, whatever becomes of the request: a text that is
/// refused, or a deadline that passes between two calls, has cost what it cost. An answer that is cut
/// off tells no tokens and is not charged.
pub(crate) struct Metered<'a> {
    pub(crate) model: &'a dyn LanguageModel,
    /// Of the request.
    pub(crate) subject: &'a str,
}

impl LanguageModel for Metered<'_> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.model.count_tokens(text)
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.model.template_tokens(messages)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        let subject = self.subject.to_owned();
        async move {
            let answer = self.model.chat(request).await?;
            let charged = answer.inspect(move |event| {
                if let Ok(ChatEvent::Done { usage, .. }) = event {
                    let cost = Cost {
                        calls: 1,
                        input_tokens: usage.prompt_tokens,
                        output_tokens: usage.completion_tokens,
                    };
                    charge(&subject, stage::GENERATOR, cost);
                }
            });
            Ok(charged.boxed())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use foil_llm::stub::Scripted;
    use foil_llm::{Message, Role};

    use super::*;
    use crate::guard::Guard;
    use crate::history::Topic;
    use crate::strategy::Known;

    const OTHER: &str = "Gloriously thunderous kettle whistles wake my sleepy household daily.";

    #[tokio::test]
    async fn tries_that_are_refused_are_charged_and_counted() {
        let known = Known {
            similar: vec![OTHER.to_owned()],
            ..Known::default()
        };
        let guard = Guard::of(&known, &Topic::default()).expect("a guard");
        let script = Scripted::always(OTHER.to_owned());
        let model = Metered {
            model: &*script,
            subject: "foil.v1.generate.metered.interactive",
        };
        let message = Message {
            role: Role::User,
            content: "Write.".to_owned(),
        };
        let refused = guard.ask(&model, ChatRequest::new(vec![message], 32)).await;
        assert!(refused.is_err());
        let text = foil_runtime::metrics::text().expect("the metrics");
        for line in [
            r#"foil_tenant_calls_total{stage="generator",tenant="metered"} 2"#,
            r#"foil_llm_answers_refused_total{engine="script",model="script"} "#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
