//! A span for each request, whatever the adapter: `chat {model}`, by OpenTelemetry's `gen_ai`
//! conventions. It holds sizes and times, never text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use foil_runtime::telemetry::semconv::{ERROR_TYPE, FOIL_QUEUED_SECONDS, gen_ai};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::chat::{ChatEvent, ChatRequest, ChatStream, EngineError, LanguageModel, ModelInfo};
use crate::metrics::{self, Batches, EngineMetrics};

/// A model whose requests are traced and measured.
pub(crate) struct Traced<M> {
    model: Arc<M>,
    metrics: EngineMetrics,
    /// Of an engine whose own steps cannot be seen from here.
    batches: Option<Batches>,
    running: Arc<AtomicUsize>,
}

/// One request; what was not noted when it is dropped was cancelled.
struct Request {
    span: Span,
    metrics: EngineMetrics,
    submitted: Instant,
    running: Arc<AtomicUsize>,
    ended: bool,
}

impl<M: LanguageModel> Traced<M> {
    /// Of an engine that notes its batches itself.
    pub(crate) fn new(model: Arc<M>) -> Self {
        Self {
            metrics: EngineMetrics::of(model.info()),
            batches: None,
            running: Arc::default(),
            model,
        }
    }

    /// Of one that does not: what is under way at once stands for them.
    pub(crate) fn counting(model: Arc<M>) -> Self {
        Self {
            batches: Some(Batches::of(model.info())),
            ..Self::new(model)
        }
    }

    fn span(&self, request: &ChatRequest) -> Span {
        let info = self.model.info();
        // A model in this process is no other system.
        let kind = match info.provider {
            "openai" => "client",
            _ => "internal",
        };
        tracing::info_span!(
            "chat",
            otel.name = format!("chat {}", info.model),
            otel.kind = kind,
            otel.status_code = Empty,
            { ERROR_TYPE } = Empty,
            { gen_ai::OPERATION_NAME } = gen_ai::CHAT,
            { gen_ai::PROVIDER_NAME } = info.provider,
            { gen_ai::REQUEST_MODEL } = info.model,
            { gen_ai::REQUEST_MAX_TOKENS } = request.max_tokens,
            { gen_ai::REQUEST_TEMPERATURE } = f64::from(request.temperature),
            { gen_ai::OUTPUT_TYPE } = if request.schema.is_some() {
                "json"
            } else {
                "text"
            },
            { gen_ai::USAGE_INPUT_TOKENS } = Empty,
            { gen_ai::USAGE_OUTPUT_TOKENS } = Empty,
            { gen_ai::USAGE_CACHE_READ_INPUT_TOKENS } = Empty,
            { gen_ai::RESPONSE_FINISH_REASONS } = Empty,
            { gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK } = Empty,
            { FOIL_QUEUED_SECONDS } = Empty,
        )
    }

    fn begin(&self, request: &ChatRequest) -> Request {
        self.metrics.submitted();
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(batches) = &self.batches {
            batches.note(running);
        }
        Request {
            span: self.span(request),
            metrics: self.metrics.clone(),
            submitted: Instant::now(),
            running: self.running.clone(),
            ended: false,
        }
    }
}

impl<M: LanguageModel> LanguageModel for Traced<M> {
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
        let mut begun = self.begin(&request);
        let asked = self.model.chat(request).instrument(begun.span.clone());
        Box::pin(async move {
            match asked.await {
                // The span ends when the stream is dropped.
                Ok(stream) => Ok(stream.inspect(move |event| begun.note(event)).boxed()),
                Err(error) => {
                    begun.fail(&error);
                    Err(error)
                }
            }
        })
    }
}

impl Request {
    fn note(&mut self, event: &Result<ChatEvent, EngineError>) {
        let (finish, usage) = match event {
            Ok(ChatEvent::Delta(_)) => return,
            Ok(ChatEvent::Done { finish, usage }) => (*finish, usage),
            Err(error) => return self.fail(error),
        };
        let span = &self.span;
        span.record(gen_ai::USAGE_INPUT_TOKENS, usage.prompt_tokens);
        span.record(gen_ai::USAGE_OUTPUT_TOKENS, usage.completion_tokens);
        span.record(gen_ai::USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_tokens);
        span.record(gen_ai::RESPONSE_FINISH_REASONS, metrics::finished(finish));
        let first = usage.first_token.as_secs_f64();
        span.record(gen_ai::RESPONSE_TIME_TO_FIRST_CHUNK, first);
        span.record(FOIL_QUEUED_SECONDS, usage.queued.as_secs_f64());
        self.metrics.answered(usage, self.submitted.elapsed());
        self.end(metrics::finished(finish));
    }

    fn fail(&mut self, error: &EngineError) {
        let kind = metrics::outcome(error);
        self.span.record("otel.status_code", "ERROR");
        self.span.record(ERROR_TYPE, kind);
        self.end(kind);
    }

    fn end(&mut self, outcome: &'static str) {
        if !std::mem::replace(&mut self.ended, true) {
            // A span ends where it was left last, and nobody was in this one since the submission.
            self.span.in_scope(|| {});
            self.running.fetch_sub(1, Ordering::Relaxed);
            self.metrics.ended(outcome);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::time::Duration;

    use futures::stream;
    use tracing_subscriber::fmt::format::FmtSpan;

    use super::*;
    use crate::chat::{Finish, Message, Role, Usage, collect};

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

    fn parrot(name: &str) -> Traced<Parrot> {
        Traced::counting(Arc::new(Parrot(ModelInfo {
            provider: "openai",
            model: name.into(),
            context_tokens: 100,
        })))
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
        let model = parrot("parrot");
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

    #[test]
    fn every_request_is_counted_with_its_end_and_its_tokens() {
        let model = parrot("counted");
        let ask = |max_tokens| {
            let message = Message {
                role: Role::User,
                content: "a".into(),
            };
            let request = ChatRequest::new(vec![message], max_tokens);
            futures::executor::block_on(model.chat(request))
        };
        let whole = ask(5).unwrap();
        let dropped = ask(5).unwrap();
        futures::executor::block_on(collect(whole)).unwrap();
        drop(dropped);
        ask(7).err().unwrap();
        let exported = foil_runtime::metrics::text().unwrap();
        let labels = r#"engine="openai",model="counted""#;
        for (name, further, value) in [
            ("requests_total", r#",outcome="length""#, "1"),
            ("requests_total", r#",outcome="cancelled""#, "1"),
            ("requests_total", r#",outcome="busy""#, "1"),
            ("inflight", "", "0"),
            ("input_tokens_total", "", "41"),
            ("cached_tokens_total", "", "12"),
            ("output_tokens_total", "", "5"),
            ("duration_seconds_count", "", "1"),
            ("queue_duration_seconds_sum", "", "0.25"),
            ("time_to_first_token_seconds_sum", "", "0.5"),
            ("time_per_output_token_seconds_count", "", "1"),
            // Two were under way at once, and the third began after them.
            ("batch_size_sum", "", "4"),
        ] {
            let line = format!("foil_llm_{name}{{{labels}{further}}} {value}\n");
            assert!(exported.contains(&line), "{line} in {exported}");
        }
    }
}
