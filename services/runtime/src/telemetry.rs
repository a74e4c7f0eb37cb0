//! Logs on the standard error stream, traces and metrics by OTLP where an endpoint is named.

mod log;
pub mod propagation;
pub mod semconv;

use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFormat, TelemetryConfig};
use crate::metrics;

pub use propagation::{current_trace_id, extract, inject, joint, link, traceparent};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Of this process's start: traces and metrics carry the same one.
static INSTANCE: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().to_string());
static TRACES: Mutex<Option<SdkTracerProvider>> = Mutex::new(None);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("telemetry.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter does not take its endpoint.
    #[error("telemetry.otlp_endpoint: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Sets logs, traces and metrics up for the process, inside an async runtime. Further calls, as
/// from several stages of one process or several tests, change nothing.
///
/// # Errors
/// When the configuration does not hold; [`crate::config::load`] finds most of that before.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<(), TelemetryError> {
    let mut traces = TRACES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if traces.is_some() {
        return Ok(());
    }
    let filter: EnvFilter = config.level.parse()?;
    let provider = tracer_provider(config, service)?;
    install_metrics(config, service)?;
    metrics::limit_tenants(config.tenants);
    note_start(service);
    let tracer = provider.tracer_with_scope(scope());
    let subscriber = tracing_subscriber::registry()
        .with(log_layer(config.log, filter, std::io::stderr))
        // Traces have a filter of their own: a quiet log must not lose the spans of a trace.
        .with(
            tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(tracing_subscriber::filter::LevelFilter::INFO),
        );
    // A test, or a program around ours, may have set its own; ours then stays silent.
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was set up before");
    }
    *traces = Some(provider);
    Ok(())
}

fn log_layer<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            let colour = std::io::stderr().is_terminal();
            let layer = layer.fmt_fields(log::TextFields).with_ansi(colour);
            layer.with_writer(writer).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let layer = layer.fmt_fields(log::JsonFields);
            let layer = layer.event_format(log::JsonLines).with_ansi(false);
            layer.with_writer(writer).with_filter(filter).boxed()
        }
    }
}

/// `foil up` is `foil`, a stage's own binary `foil-<stage>`.
fn service_name(service: &str) -> String {
    match service {
        "foil" => service.to_owned(),
        stage => format!("foil-{stage}"),
    }
}

/// What is exported is about. Where `OTEL_RESOURCE_ATTRIBUTES` names the instance, as an orchestrator
/// can by the pod, that holds.
fn resource(service: &'static str) -> Resource {
    let version = KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
    // The SDK reads the environment's attributes by itself.
    let named = Resource::builder().build();
    let instance = named.get(&Key::from_static_str(semconv::SERVICE_INSTANCE_ID));
    let instance = instance.unwrap_or_else(|| INSTANCE.as_str().into());
    Resource::builder()
        .with_service_name(service_name(service))
        .with_attribute(version)
        .with_attribute(KeyValue::new(semconv::SERVICE_INSTANCE_ID, instance))
        .build()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("foil")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(semconv::SCHEMA_URL)
        .build()
}

fn note_start(service: &'static str) {
    let labels = [
        KeyValue::new("service", service_name(service)),
        KeyValue::new("version", env!("CARGO_PKG_VERSION")),
    ];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    metrics::gauge(&metrics::catalogue::START_TIME)
        .record(now.unwrap_or_default().as_secs_f64(), &labels);
}

fn tracer_provider(
    config: &TelemetryConfig,
    service: &'static str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let mut builder = SdkTracerProvider::builder()
        .with_resource(resource(service))
        .with_sampler(sampler(config.sampling));
    if let Some(endpoint) = &config.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        builder = builder.with_batch_exporter(to(endpoint, exporter).build()?);
    }
    Ok(builder.build())
}

/// Over TLS with the system's roots where the endpoint asks for it.
fn to<B: WithTonicConfig + WithExportConfig>(endpoint: &str, exporter: B) -> B {
    let exporter = exporter
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT);
    match endpoint.starts_with("https://") {
        true => exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots()),
        false => exporter,
    }
}

/// A parent's decision holds; of new traces `share` is recorded.
fn sampler(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)))
}

fn install_metrics(config: &TelemetryConfig, service: &'static str) -> Result<(), TelemetryError> {
    let exporter = match &config.otlp_endpoint {
        Some(endpoint) => Some(
            to(
                endpoint,
                opentelemetry_otlp::MetricExporter::builder().with_tonic(),
            )
            .build()?,
        ),
        None => None,
    };
    let provider = metrics::install(resource(service), |builder| match exporter {
        Some(exporter) => builder.with_periodic_exporter(exporter),
        None => builder,
    });
    // For instruments of libraries; ours come from the registry itself.
    opentelemetry::global::set_meter_provider(provider.clone());
    Ok(())
}

/// Sends what is buffered, within `limit`. Blocks: call it outside of async code, or on a thread
/// for blocking work.
pub fn flush(limit: Duration) {
    let traces = TRACES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    let (done, waiting) = std::sync::mpsc::sync_channel(1);
    // On a thread of its own: not every part of it takes a limit.
    std::thread::spawn(move || {
        let traces = traces.map_or(Ok(()), |traces| traces.shutdown_with_timeout(limit));
        let metrics = metrics::flush();
        // Nobody waits any more when this took too long.
        let _ = done.send(traces.and(metrics));
    });
    match waiting.recv_timeout(limit) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "telemetry was not flushed"),
        Err(_) => tracing::warn!(?limit, "telemetry was not flushed in time"),
    }
}

/// Panics go where logs go, with their place; with their text only where that is a literal, for a
/// formatted one may quote a user.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<&'static str>();
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().map(str::to_owned);
        tracing::error!(?place, ?thread, ?text, "panic");
    }));
}

#[cfg(test)]
mod tests;
