//! The one registry behind `/metrics`, and the making of instruments. What there is stands in each
//! crate's list of [`Metric`]s, and in deploy/metrics.md.
//!
//! Labels are of closed sets: stage, outcome, reason. Never a user, never a text.

use std::sync::{LazyLock, OnceLock};

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

pub mod catalogue;
mod stage;
mod tenants;

pub use catalogue::{ALL, Kind, Metric};
pub use opentelemetry::KeyValue;
pub use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
pub(crate) use stage::StageMetrics;
pub use stage::{dead_lettered, may_dead_letter};
pub(crate) use tenants::limit as limit_tenants;
pub use tenants::{OTHER, tenant_label};

/// Bounds in seconds that fit both a no-op and a long generation.
pub const SECONDS: [f64; 15] = [
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

fn meter() -> Meter {
    let resource = || Resource::builder().with_service_name("foil").build();
    let provider = match PROVIDER.get() {
        Some(provider) => provider,
        None => install(resource(), |builder| builder),
    };
    provider.meter("foil")
}

/// To count with.
pub fn counter(metric: &Metric) -> Counter<u64> {
    meter()
        .u64_counter(metric.name)
        .with_description(metric.about)
        .build()
}

/// To measure with; `bounds` are the buckets' upper ones.
pub fn histogram(metric: &Metric, bounds: &[f64]) -> Histogram<f64> {
    meter()
        .f64_histogram(metric.name)
        .with_description(metric.about)
        .with_boundaries(bounds.to_vec())
        .build()
}

/// To set.
pub fn gauge(metric: &Metric) -> Gauge<f64> {
    meter()
        .f64_gauge(metric.name)
        .with_description(metric.about)
        .build()
}

/// A gauge to add to and to take from.
pub fn level(metric: &Metric) -> UpDownCounter<i64> {
    meter()
        .i64_up_down_counter(metric.name)
        .with_description(metric.about)
        .build()
}

/// A gauge that is read when somebody asks; `read` tells each value with its labels.
pub fn observed(
    metric: &Metric,
    read: impl Fn(&mut dyn FnMut(f64, &[KeyValue])) + Send + Sync + 'static,
) {
    meter()
        .f64_observable_gauge(metric.name)
        .with_description(metric.about)
        .with_callback(move |observer| read(&mut |value, labels| observer.observe(value, labels)))
        .build();
}

/// Everything in Prometheus' text format.
///
/// # Errors
/// When two metrics of one name clash.
pub fn text() -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&REGISTRY.gather())
}
