//! What an engine does and costs, whatever the adapter.

use std::sync::LazyLock;
use std::time::Duration;

use foil_runtime::metrics::{
    Counter, Histogram, KeyValue, Kind, Metric, SECONDS, UpDownCounter, counter, histogram, level,
    tenant_label,
};

use crate::chat::{EngineError, Finish, ModelInfo, Usage};

const ENGINE: &[&str] = &["engine", "model"];
const REQUESTS: Metric = Metric::new(
    Kind::Counter,
    "foil_llm_requests_total",
    &["engine", "model", "outcome"],
    "finished requests",
);
const INFLIGHT: Metric = Metric::new(
    Kind::Gauge,
    "foil_llm_inflight",
    ENGINE,
    "requests under way, queued ones among them",
);
const INPUT_TOKENS: Metric = Metric::new(
    Kind::Counter,
    "foil_llm_input_tokens_total",
    ENGINE,
    "tokens of prompts",
);
const CACHED_TOKENS: Metric = Metric::new(
    Kind::Counter,
    "foil_llm_cached_tokens_total",
    ENGINE,
    "tokens of prompts that came from a prefix cache",
);
const OUTPUT_TOKENS: Metric = Metric::new(
    Kind::Counter,
    "foil_llm_output_tokens_total",
    ENGINE,
    "generated tokens",
);
const DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_llm_duration_seconds",
    ENGINE,
    "seconds from submission to the end of a whole answer",
);
const QUEUE_DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_llm_queue_duration_seconds",
    ENGINE,
    "seconds of waiting for a place in the engine",
);
const TIME_TO_FIRST_TOKEN: Metric = Metric::new(
    Kind::Histogram,
    "foil_llm_time_to_first_token_seconds",
    ENGINE,
    "seconds from submission to the first token",
);
const TIME_PER_OUTPUT_TOKEN: Metric = Metric::new(
    Kind::Histogram,
    "foil_llm_time_per_output_token_seconds",
    ENGINE,
    "seconds for each token after the first, mean of a request",
);
const BATCH_SIZE: Metric = Metric::new(
    Kind::Histogram,
    "foil_llm_batch_size",
    ENGINE,
    "requests in one step of the engine",
);
const ANSWERS_REFUSED: Metric = Metric::new(
    Kind::Counter,
    "foil_llm_answers_refused_total",
    ENGINE,
    "whole answers that did not hold",
);
const TENANT_CALLS: Metric = Metric::new(
    Kind::Counter,
    "foil_tenant_calls_total",
    &["tenant", "stage"],
    "answers of the llm",
);
const TENANT_TOKENS: Metric = Metric::new(
    Kind::Counter,
    "foil_tenant_tokens_total",
    &["tenant", "stage", "direction"],
    "tokens of the llm",
);

/// Of this crate.
pub const ALL: &[Metric] = &[
    REQUESTS,
    INFLIGHT,
    INPUT_TOKENS,
    CACHED_TOKENS,
    OUTPUT_TOKENS,
    DURATION,
    QUEUE_DURATION,
    TIME_TO_FIRST_TOKEN,
    TIME_PER_OUTPUT_TOKEN,
    BATCH_SIZE,
    ANSWERS_REFUSED,
    TENANT_CALLS,
    TENANT_TOKENS,
];

/// From a fast GPU to a large model on a CPU.
const TOKEN_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
];
/// An engine has at most 256 places.
const BATCHES: [f64; 12] = [
    1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0, 256.0,
];

/// Sizes of an engine's batches.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    labels: [KeyValue; 2],
    sizes: Histogram<f64>,
}

impl Batches {
    pub(crate) fn of(info: &ModelInfo) -> Self {
        Self {
            labels: labels(info),
            sizes: histogram(&BATCH_SIZE, &BATCHES),
        }
    }

    pub(crate) fn note(&self, requests: usize) {
        self.sizes.record(requests as f64, &self.labels);
    }
}

fn labels(info: &ModelInfo) -> [KeyValue; 2] {
    [
        KeyValue::new("engine", info.provider),
        KeyValue::new("model", info.model.clone()),
    ]
}

/// One engine's instruments.
#[derive(Clone, Debug)]
pub(crate) struct EngineMetrics {
    labels: [KeyValue; 2],
    requests: Counter<u64>,
    inflight: UpDownCounter<i64>,
    input_tokens: Counter<u64>,
    cached_tokens: Counter<u64>,
    output_tokens: Counter<u64>,
    duration: Histogram<f64>,
    queue_duration: Histogram<f64>,
    time_to_first_token: Histogram<f64>,
    time_per_output_token: Histogram<f64>,
}

impl EngineMetrics {
    pub(crate) fn of(info: &ModelInfo) -> Self {
        let metrics = Self {
            labels: labels(info),
            requests: counter(&REQUESTS),
            inflight: level(&INFLIGHT),
            input_tokens: counter(&INPUT_TOKENS),
            cached_tokens: counter(&CACHED_TOKENS),
            output_tokens: counter(&OUTPUT_TOKENS),
            duration: histogram(&DURATION, &SECONDS),
            queue_duration: histogram(&QUEUE_DURATION, &SECONDS),
            time_to_first_token: histogram(&TIME_TO_FIRST_TOKEN, &SECONDS),
            time_per_output_token: histogram(&TIME_PER_OUTPUT_TOKEN, &TOKEN_SECONDS),
        };
        // Prometheus sees how much a counter grew, not what it began with.
        let tokens = [
            &metrics.input_tokens,
            &metrics.cached_tokens,
            &metrics.output_tokens,
        ];
        for counter in tokens.into_iter().chain([answers_refused()]) {
            counter.add(0, &metrics.labels);
        }
        metrics
    }

    pub(crate) fn submitted(&self) {
        self.inflight.add(1, &self.labels);
    }

    /// However it ended.
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.inflight.add(-1, &self.labels);
        let [engine, model] = self.labels.clone();
        self.requests
            .add(1, &[engine, model, KeyValue::new("outcome", outcome)]);
    }

    /// A whole answer. `took`: from submission to its end.
    pub(crate) fn answered(&self, usage: &Usage, took: Duration) {
        let labels = &self.labels;
        self.input_tokens.add(usage.prompt_tokens.into(), labels);
        self.cached_tokens.add(usage.cached_tokens.into(), labels);
        self.output_tokens
            .add(usage.completion_tokens.into(), labels);
        self.duration.record(took.as_secs_f64(), labels);
        self.queue_duration
            .record(usage.queued.as_secs_f64(), labels);
        self.time_to_first_token
            .record(usage.first_token.as_secs_f64(), labels);
        if let Some(further) = usage.completion_tokens.checked_sub(1).filter(|n| *n > 0) {
            let writing = took.saturating_sub(usage.first_token);
            self.time_per_output_token
                .record(writing.as_secs_f64() / f64::from(further), labels);
        }
    }
}

/// As in the `outcome` label, and in `error.type` of spans.
pub(crate) fn outcome(error: &EngineError) -> &'static str {
    match error {
        EngineError::Busy { .. } => "busy",
        EngineError::PromptTooLong { .. } => "prompt_too_long",
        EngineError::Invalid(_) => "invalid",
        EngineError::Unavailable(_) => "unavailable",
        EngineError::Died(_) => "died",
        EngineError::Load { .. } => "load",
    }
}

/// As in the `outcome` label, and in the finish reasons of spans.
pub(crate) fn finished(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

fn answers_refused() -> &'static Counter<u64> {
    static REFUSED: LazyLock<Counter<u64>> = LazyLock::new(|| counter(&ANSWERS_REFUSED));
    &REFUSED
}

/// Counts a whole answer that did not hold.
pub fn refused(info: &ModelInfo) {
    answers_refused().add(1, &labels(info));
}

/// What answers of a model cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub calls: u32,
    pub input_tokens: u32,
    pub output_tokens: u32,
}

/// Puts answers to their tenant's account. `subject`: of the message that asked for them.
pub fn charge(subject: &str, stage: &'static str, cost: Cost) {
    static CALLS: LazyLock<Counter<u64>> = LazyLock::new(|| counter(&TENANT_CALLS));
    static TOKENS: LazyLock<Counter<u64>> = LazyLock::new(|| counter(&TENANT_TOKENS));
    if cost.calls == 0 {
        return;
    }
    let labels = [tenant_label(subject), KeyValue::new("stage", stage)];
    CALLS.add(cost.calls.into(), &labels);
    for (direction, tokens) in [("input", cost.input_tokens), ("output", cost.output_tokens)] {
        let [tenant, stage] = labels.clone();
        let direction = KeyValue::new("direction", direction);
        TOKENS.add(tokens.into(), &[tenant, stage, direction]);
    }
}
