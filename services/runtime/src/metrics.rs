//! Every metric's name, and the one registry behind `/metrics`.
//!
//! Labels are of closed sets: stage, outcome, reason. Never a user, never a text.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use crate::error::Reason;
use crate::settle::Attempt;

/// Names as they stand on `/metrics`.
pub mod name {
    /// Settled inputs, by stage, outcome and reason.
    pub const MESSAGES: &str = "foil_messages_total";
    /// From pull to settlement, by stage and outcome.
    pub const HANDLE_DURATION: &str = "foil_handle_duration_seconds";
    /// Inputs being worked on, by stage.
    pub const INFLIGHT: &str = "foil_inflight";
    /// Inputs delivered more than once, by stage.
    pub const REDELIVERIES: &str = "foil_redeliveries_total";
    /// Dead-lettered inputs, by stage and reason.
    pub const DEAD_LETTERS: &str = "foil_dead_letters_total";
    /// Stored outputs, by stage.
    pub const PUBLISHED: &str = "foil_published_total";
    /// Failed pull requests and look-ups of the consumer, by stage.
    pub const PULL_ERRORS: &str = "foil_pull_errors_total";
    /// All of the above.
    pub const ALL: [&str; 7] = [
        MESSAGES,
        HANDLE_DURATION,
        INFLIGHT,
        REDELIVERIES,
        DEAD_LETTERS,
        PUBLISHED,
        PULL_ERRORS,
    ];
}

/// Bounds in seconds that fit both a no-op and a long generation.
const SECONDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0,
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);
static PROVIDER: OnceLock<SdkMeterProvider> = OnceLock::new();

/// Sets the provider up with one more reader, as for OTLP. Only the first call in a process counts.
pub(crate) fn install(
    resource: Resource,
    further: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
) -> &'static SdkMeterProvider {
    PROVIDER.get_or_init(|| {
        let mut builder = SdkMeterProvider::builder().with_resource(resource);
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(REGISTRY.clone())
            .without_counter_suffixes()
            .without_units()
            .without_target_info()
            .scope_info_enabled(false)
            .build();
        match exporter {
            Ok(exporter) => builder = builder.with_reader(exporter),
            Err(error) => tracing::warn!(%error, "no metrics on the admin port"),
        }
        further(builder).build()
    })
}

/// Sends what further readers have buffered.
pub(crate) fn flush() -> OTelSdkResult {
    PROVIDER.get().map_or(Ok(()), SdkMeterProvider::force_flush)
}

/// What every instrument is made with.
pub fn meter() -> Meter {
    let resource = || Resource::builder().with_service_name("foil").build();
    let provider = match PROVIDER.get() {
        Some(provider) => provider,
        None => install(resource(), |builder| builder),
    };
    provider.meter("foil")
}

/// A counter of a stage's own. `name` is as it shall stand on `/metrics`, `_total` included.
pub fn counter(name: &'static str, description: &'static str) -> Counter<u64> {
    meter()
        .u64_counter(name)
        .with_description(description)
        .build()
}

/// A histogram of a stage's own.
pub fn histogram(name: &'static str, description: &'static str, bounds: &[f64]) -> Histogram<f64> {
    meter()
        .f64_histogram(name)
        .with_description(description)
        .with_boundaries(bounds.to_vec())
        .build()
}

/// A gauge of a stage's own.
pub fn gauge(name: &'static str, description: &'static str) -> Gauge<f64> {
    meter()
        .f64_gauge(name)
        .with_description(description)
        .build()
}

/// Counts a dead letter that another than its own stage's worker buried.
pub fn dead_lettered(stage: &'static str, reason: Reason) {
    let labels = [
        KeyValue::new("stage", stage),
        KeyValue::new("reason", reason.as_str()),
    ];
    dead_letters().add(1, &labels);
}

fn dead_letters() -> Counter<u64> {
    counter(name::DEAD_LETTERS, "inputs copied to the dead letters")
}

/// Everything in Prometheus' text format.
///
/// # Errors
/// When two metrics of one name clash.
pub fn text() -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&REGISTRY.gather())
}

/// Read when it is asked for, and not written twice for every input.
fn inflight(stage: &'static str) -> Arc<AtomicI64> {
    let inflight = Arc::new(AtomicI64::new(0));
    let read = inflight.clone();
    let labels = [KeyValue::new("stage", stage)];
    meter()
        .i64_observable_gauge(name::INFLIGHT)
        .with_description("inputs being worked on")
        .with_callback(move |observer| observer.observe(read.load(Ordering::Relaxed), &labels))
        .build();
    inflight
}

/// One stage's instruments.
#[derive(Clone, Debug)]
pub(crate) struct StageMetrics {
    stage: KeyValue,
    messages: Counter<u64>,
    duration: Histogram<f64>,
    inflight: Arc<AtomicI64>,
    redeliveries: Counter<u64>,
    dead_letters: Counter<u64>,
    published: Counter<u64>,
    pull_errors: Counter<u64>,
}

impl StageMetrics {
    pub(crate) fn new(stage: &'static str) -> Self {
        Self {
            stage: KeyValue::new("stage", stage),
            messages: counter(name::MESSAGES, "settled inputs"),
            duration: histogram(
                name::HANDLE_DURATION,
                "seconds from the pull of an input to its settlement",
                &SECONDS,
            ),
            inflight: inflight(stage),
            redeliveries: counter(name::REDELIVERIES, "inputs delivered more than once"),
            dead_letters: dead_letters(),
            published: counter(name::PUBLISHED, "stored outputs"),
            pull_errors: counter(name::PULL_ERRORS, "failed pull requests and look-ups"),
        }
    }

    pub(crate) fn started(&self, redelivered: bool) {
        self.inflight.fetch_add(1, Ordering::Relaxed);
        if redelivered {
            self.redeliveries.add(1, std::slice::from_ref(&self.stage));
        }
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
