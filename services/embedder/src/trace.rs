//! A span and the figures of each call of the model, whatever the adapter: `embeddings {model}`, by
//! OpenTelemetry's `gen_ai` conventions. It holds sizes and times, never text.

use std::time::Instant;

use foil_runtime::telemetry::semconv::{ERROR_TYPE, FOIL_BATCH_TEXTS, gen_ai};
use futures::future::BoxFuture;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::embed::{EmbedError, TextEmbedder};
use crate::metrics::EngineLabels;

/// A model whose calls are traced and measured.
pub(crate) struct Traced<E> {
    embedder: E,
    engine: &'static str,
    labels: EngineLabels,
}

impl<E: TextEmbedder> Traced<E> {
    pub(crate) fn new(embedder: E, engine: &'static str) -> Self {
        Self {
            labels: EngineLabels::new(engine, embedder.model()),
            embedder,
            engine,
        }
    }

    fn span(&self, texts: usize) -> tracing::Span {
        // A model in this process is no other system.
        let kind = match self.engine {
            "openai" => "client",
            _ => "internal",
        };
        tracing::info_span!(
            "embeddings",
            otel.name = format!("embeddings {}", self.model()),
            otel.kind = kind,
            otel.status_code = Empty,
            { ERROR_TYPE } = Empty,
            { gen_ai::OPERATION_NAME } = gen_ai::EMBEDDINGS,
            { gen_ai::PROVIDER_NAME } = self.engine,
            { gen_ai::REQUEST_MODEL } = self.model(),
            { gen_ai::EMBEDDINGS_DIMENSION_COUNT } = self.dimension(),
            { FOIL_BATCH_TEXTS } = texts,
        )
    }
}

impl<E: TextEmbedder> TextEmbedder for Traced<E> {
    fn dimension(&self) -> usize {
        self.embedder.dimension()
    }

    fn model(&self) -> &str {
        self.embedder.model()
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EmbedError>> {
        let count = texts.len();
        let span = self.span(count);
        let submitted = Instant::now();
        let embedding = async move {
            let result = self.embedder.embed(texts).await;
            let outcome = result.as_ref().err().map_or("ok", outcome);
            if result.is_err() {
                let span = tracing::Span::current();
                span.record("otel.status_code", "ERROR");
                span.record(ERROR_TYPE, outcome);
            }
            self.labels.ended(count, outcome, submitted.elapsed());
            result
        };
        Box::pin(embedding.instrument(span))
    }
}

fn outcome(error: &EmbedError) -> &'static str {
    match error {
        EmbedError::Load { .. } => "load",
        EmbedError::Invalid(_) => "invalid",
        EmbedError::Busy { .. } => "busy",
        EmbedError::Timeout => "timeout",
        EmbedError::Unavailable(_) => "unavailable",
        EmbedError::BadOutput(_) => "bad_output",
    }
}
