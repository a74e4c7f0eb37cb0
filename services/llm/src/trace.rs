//! A span for each request, whatever the adapter: `chat {model}`, by OpenTelemetry's `gen_ai`
//! conventions. It holds sizes and times, never text.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::chat::{
    ChatEvent, ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo,
};

/// A model whose requests are traced.
pub(crate) struct Traced<M>(pub(crate) Arc<M>);

impl<M: LanguageModel> Traced<M> {
    fn span(&self, request: &ChatRequest) -> Span {
        let info = self.0.info();
        tracing::info_span!(
            "chat",
            otel.name = format!("chat {}", info.model),
            otel.kind = "client",
            otel.status_code = Empty,
            error.r#type = Empty,
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = info.provider,
            gen_ai.request.model = info.model,
            gen_ai.request.max_tokens = request.max_tokens,
            gen_ai.request.temperature = f64::from(request.temperature),
            gen_ai.output.r#type = if request.schema.is_some() {
                "json"
            } else {
                "text"
            },
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.response.finish_reasons = Empty,
            gen_ai.response.time_to_first_chunk = Empty,
            foil.queued_seconds = Empty,
        )
    }
}

impl<M: LanguageModel> LanguageModel for Traced<M> {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.0.count_tokens(text)
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.0.template_tokens(messages)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        let span = self.span(&request);
        let asked = self.0.chat(request).instrument(span.clone());
        Box::pin(async move {
            match asked.await {
                // The span ends when the stream is dropped.
                Ok(stream) => Ok(stream.inspect(move |event| record(&span, event)).boxed()),
                Err(error) => {
                    fail(&span, &error);
                    Err(error)
                }
            }
        })
    }
}

fn record(span: &Span, event: &Result<ChatEvent, EngineError>) {
    match event {
        Ok(ChatEvent::Delta(_)) => {}
        Ok(ChatEvent::Done { finish, usage }) => {
            let reason = match finish {
                Finish::Stop => "stop",
                Finish::Length => "length",
            };
            span.record("gen_ai.usage.input_tokens", usage.prompt_tokens);
            span.record("gen_ai.usage.output_tokens", usage.completion_tokens);
            span.record("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
            span.record("gen_ai.response.finish_reasons", reason);
            let first = usage.first_token.as_secs_f64();
            span.record("gen_ai.response.time_to_first_chunk", first);
            span.record("foil.queued_seconds", usage.queued.as_secs_f64());
        }
        Err(error) => fail(span, error),
    }
}

fn fail(span: &Span, error: &EngineError) {
    let kind = match error {
        EngineError::Busy { .. } => "busy",
        EngineError::PromptTooLong { .. } => "prompt_too_long",
        EngineError::Invalid(_) => "invalid",
        EngineError::Unavailable(_) => "unavailable",
        EngineError::Died(_) => "died",
        EngineError::Load { .. } => "load",
    };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::time::Duration;

    use futures::stream;
    use tracing_subscriber::fmt::format::FmtSpan;

    use super::*;
    use crate::chat::{Message, Role, Usage, collect};

    struct Parrot(ModelInfo);

    impl LanguageModel for Parrot {
        fn info(&self) -> &ModelInfo {
            &self.0
        }

        fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
            Ok(u32::try_from(text.len()).unwrap())
        }

        fn template_tokens(&self, messages: usize) -> u32 {
            u32::try_from(messages).unwrap()
        }

        fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
            Box::pin(async move {
                if request.max_tokens == 7 {
                    return Err(EngineError::Busy { limit: 3 });
                }
                let done = ChatEvent::Done {
                    finish: Finish::Length,
                    usage: Usage {
                        prompt_tokens: 41,
                        cached_tokens: 12,
                        completion_tokens: 5,
                        queued: Duration::from_millis(250),
                        first_token: Duration::from_millis(500),
                    },
                };
                let text = ChatEvent::Delta(request.messages[0].content.clone());
                Ok(stream::iter([Ok(text), Ok(done)]).boxed())
            })
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that a request's span leaves when it closes.
    fn traced(max_tokens: u32) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(move || writer.clone())
            .finish();
        let model = Traced(Arc::new(Parrot(ModelInfo {
            provider: "openai",
            model: "parrot".into(),
            context_tokens: 100,
        })));
        let message = Message {
            role: Role::User,
            content: "a secret diary".into(),
        };
        tracing::subscriber::with_default(subscriber, || {
            futures::executor::block_on(async {
                let request = ChatRequest::new(vec![message], max_tokens);
                if let Ok(stream) = model.chat(request).await {
                    collect(stream).await.unwrap();
                }
            });
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_span_has_sizes_and_times_and_no_text() {
        let lines = traced(5);
        for field in [
            "otel.name=\"chat parrot\"",
            "gen_ai.provider.name=\"openai\"",
            "gen_ai.request.max_tokens=5",
            "gen_ai.usage.input_tokens=41",
            "gen_ai.usage.output_tokens=5",
            "gen_ai.usage.cache_read.input_tokens=12",
            "gen_ai.response.finish_reasons=\"length\"",
            "gen_ai.response.time_to_first_chunk=0.5",
            "foil.queued_seconds=0.25",
        ] {
            assert!(lines.contains(field), "{field} in {lines}");
        }
        assert!(!lines.contains("secret"), "{lines}");
    }

    #[test]
    fn a_refusal_is_an_error_of_the_span() {
        let lines = traced(7);
        assert!(lines.contains("otel.status_code=\"ERROR\""), "{lines}");
        assert!(lines.contains("error.type=\"busy\""), "{lines}");
    }
}
