//! Logs on the standard error stream, traces and metrics by OTLP where an endpoint is named.

pub mod propagation;

use std::sync::Mutex;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFormat, TelemetryConfig};
use crate::metrics;

pub use propagation::{current_trace_id, extract, inject};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

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
    let tracer = provider.tracer("foil");
    let subscriber = tracing_subscriber::registry()
        .with(log_layer(config.log, filter))
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

fn log_layer(format: LogFormat, filter: EnvFilter) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            let colour = std::io::stderr().is_terminal();
            layer.with_ansi(colour).with_filter(filter).boxed()
        }
        LogFormat::Json => layer.json().with_ansi(false).with_filter(filter).boxed(),
    }
}

fn resource(service: &'static str) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder()
        .with_service_name(format!("foil-{service}"))
        .with_attribute(version)
        .build()
}

fn tracer_provider(
    config: &TelemetryConfig,
    service: &'static str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let ratio = Sampler::TraceIdRatioBased(config.sampling);
    let mut builder = SdkTracerProvider::builder()
        .with_resource(resource(service))
        .with_sampler(Sampler::ParentBased(Box::new(ratio)));
    if let Some(endpoint) = &config.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        builder = builder.with_batch_exporter(exporter);
    }
    Ok(builder.build())
}

fn install_metrics(config: &TelemetryConfig, service: &'static str) -> Result<(), TelemetryError> {
    let exporter = match &config.otlp_endpoint {
        Some(endpoint) => Some(
            opentelemetry_otlp::MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_TIMEOUT)
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
