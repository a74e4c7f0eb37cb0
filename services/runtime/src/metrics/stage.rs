//! One stage's instruments.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

use super::catalogue as list;
use super::{SECONDS, counter, gauge, histogram, observed};
use crate::error::Reason;
use crate::settle::Attempt;

/// Longer than an attempt takes: inputs wait for a stage that is scaled to zero.
const WAIT_SECONDS: [f64; 16] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0,
    86_400.0,
];

#[derive(Clone, Debug)]
pub(crate) struct StageMetrics {
    stage: KeyValue,
    messages: Counter<u64>,
    duration: Histogram<f64>,
    wait: Histogram<f64>,
    inflight: Arc<AtomicI64>,
    redeliveries: Counter<u64>,
    dead_letters: Counter<u64>,
    published: Counter<u64>,
    pull_errors: Counter<u64>,
}

impl StageMetrics {
    pub(crate) fn new(stage: &'static str, permits: usize) -> Self {
        let label = KeyValue::new("stage", stage);
        gauge(&list::PERMITS).record(permits as f64, std::slice::from_ref(&label));
        let metrics = Self {
            stage: label,
            messages: counter(&list::MESSAGES),
            duration: histogram(&list::HANDLE_DURATION, &SECONDS),
            wait: histogram(&list::WAIT_DURATION, &WAIT_SECONDS),
            inflight: inflight(stage),
            redeliveries: counter(&list::REDELIVERIES),
            dead_letters: counter(&list::DEAD_LETTERS),
            published: counter(&list::PUBLISHED),
            pull_errors: counter(&list::PULL_ERRORS),
        };
        metrics.start_at_zero(stage);
        metrics
    }

    /// Prometheus sees how much a counter grew, not what it began with: what should never happen would
    /// else be missed the first time.
    fn start_at_zero(&self, stage: &'static str) {
        let label = std::slice::from_ref(&self.stage);
        for counter in [&self.redeliveries, &self.published, &self.pull_errors] {
            counter.add(0, label);
        }
        for reason in Reason::ALL {
            // By whom it is counted.
            if reason != Reason::GivenUp {
                may_dead_letter(stage, reason);
            }
        }
    }

    /// `published_at`: when the input's stream stored it.
    pub(crate) fn started(&self, published_at: SystemTime, redelivered: bool) {
        self.inflight.fetch_add(1, Ordering::Relaxed);
        let stage = std::slice::from_ref(&self.stage);
        if redelivered {
            self.redeliveries.add(1, stage);
            return;
        }
        // Two machines' clocks: what was stored in the future waited not at all.
        let waited = published_at.elapsed().unwrap_or_default();
        self.wait.record(waited.as_secs_f64(), stage);
    }

    pub(crate) fn settled(&self, attempt: Attempt, took: Duration) {
        let outcome = KeyValue::new("outcome", attempt.outcome());
        let reason = KeyValue::new("reason", attempt.reason());
        let labels = [self.stage.clone(), outcome, reason];
        self.messages.add(1, &labels);
        self.duration.record(took.as_secs_f64(), &labels[..2]);
        self.inflight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn dead(&self, reason: &'static str) {
        let labels = [self.stage.clone(), KeyValue::new("reason", reason)];
        self.dead_letters.add(1, &labels);
    }

    pub(crate) fn published(&self, count: u64) {
        self.published.add(count, std::slice::from_ref(&self.stage));
    }

    pub(crate) fn pull_error(&self) {
        self.pull_errors.add(1, std::slice::from_ref(&self.stage));
    }
}

/// Counts a dead letter that another than its own stage's worker buried.
pub fn dead_lettered(stage: &'static str, reason: Reason) {
    add_dead_letters(stage, reason, 1);
}

/// Says that this process counts dead letters of the kind, none so far.
pub fn may_dead_letter(stage: &'static str, reason: Reason) {
    add_dead_letters(stage, reason, 0);
}

fn add_dead_letters(stage: &'static str, reason: Reason, count: u64) {
    let labels = [
        KeyValue::new("stage", stage),
        KeyValue::new("reason", reason.as_str()),
    ];
    counter(&list::DEAD_LETTERS).add(count, &labels);
}

/// Read when it is asked for, and not written twice for every input.
fn inflight(stage: &'static str) -> Arc<AtomicI64> {
    let inflight = Arc::new(AtomicI64::new(0));
    let read = inflight.clone();
    let labels = [KeyValue::new("stage", stage)];
    observed(&list::INFLIGHT, move |tell| {
        tell(read.load(Ordering::Relaxed) as f64, &labels);
    });
    inflight
}
