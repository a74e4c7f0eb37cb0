//! What the embedding engine does and costs, whatever the adapter.

use std::sync::LazyLock;
use std::time::Duration;

use foil_runtime::metrics::{
    Counter, Histogram, KeyValue, Kind, Metric, SECONDS, counter, histogram,
};

const ENGINE: &[&str] = &["engine", "model"];
const TEXTS: Metric = Metric::new(
    Kind::Counter,
    "foil_embed_texts_total",
    &["engine", "model", "outcome"],
    "texts",
);
const TOKENS: Metric = Metric::new(
    Kind::Counter,
    "foil_embed_tokens_total",
    ENGINE,
    "tokens read",
);
const DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_embed_duration_seconds",
    ENGINE,
    "seconds from a text's submission to its vector",
);
const QUEUE_DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_embed_queue_duration_seconds",
    ENGINE,
    "seconds from a text's submission to the start of its batch",
);
const BATCH_SIZE: Metric = Metric::new(
    Kind::Histogram,
    "foil_embed_batch_size",
    ENGINE,
    "texts of one micro-batch",
);

/// Of this crate.
pub const ALL: &[Metric] = &[TEXTS, TOKENS, DURATION, QUEUE_DURATION, BATCH_SIZE];

/// A micro-batch has at most 64 texts.
const BATCHES: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 48.0, 64.0];

struct Instruments {
    texts: Counter<u64>,
    tokens: Counter<u64>,
    duration: Histogram<f64>,
    queue_duration: Histogram<f64>,
    batch_size: Histogram<f64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| Instruments {
    texts: counter(&TEXTS),
    tokens: counter(&TOKENS),
    duration: histogram(&DURATION, &SECONDS),
    queue_duration: histogram(&QUEUE_DURATION, &SECONDS),
    batch_size: histogram(&BATCH_SIZE, &BATCHES),
});

/// Whose figures they are.
#[derive(Clone, Debug)]
pub(crate) struct EngineLabels([KeyValue; 2]);

impl EngineLabels {
    pub(crate) fn new(engine: &'static str, model: &str) -> Self {
        Self([
            KeyValue::new("engine", engine),
            KeyValue::new("model", model.to_owned()),
        ])
    }

    /// What became of `texts` that came together.
    pub(crate) fn ended(&self, texts: usize, outcome: &'static str, took: Duration) {
        let [engine, model] = self.0.clone();
        let outcome_label = KeyValue::new("outcome", outcome);
        let all = &*INSTRUMENTS;
        all.texts.add(texts as u64, &[engine, model, outcome_label]);
        if outcome == "ok" {
            all.duration.record(took.as_secs_f64(), &self.0);
        }
    }

    /// A micro-batch begins: how long each of its texts has waited.
    pub(crate) fn batch(&self, waited: impl ExactSizeIterator<Item = Duration>, tokens: usize) {
        let all = &*INSTRUMENTS;
        all.batch_size.record(waited.len() as f64, &self.0);
        for waited in waited {
            all.queue_duration.record(waited.as_secs_f64(), &self.0);
        }
        self.tokens(tokens);
    }

    /// A request to a server, with as many tokens as it told of.
    pub(crate) fn request(&self, texts: usize, tokens: usize) {
        INSTRUMENTS.batch_size.record(texts as f64, &self.0);
        self.tokens(tokens);
    }

    fn tokens(&self, tokens: usize) {
        if tokens > 0 {
            INSTRUMENTS.tokens.add(tokens as u64, &self.0);
        }
    }
}
