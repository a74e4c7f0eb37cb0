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
