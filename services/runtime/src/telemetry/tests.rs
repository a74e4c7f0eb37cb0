//! Which traces are recorded, and what links them.

use async_nats::HeaderMap;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const TRACES: usize = 2_000;

fn with_sampling<T>(share: f64, work: impl FnOnce() -> T) -> T {
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler(share))
        .build();
    let tracer = provider.tracer("test");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, work)
}

fn is_recorded(parent: Option<&str>) -> bool {
    let span = tracing::info_span!("work");
    if let Some(parent) = parent {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", parent);
        span.set_parent(extract(&headers)).expect("a tracer");
    }
    span.context().span().span_context().is_sampled()
}

#[test]
fn the_configured_share_of_new_traces_is_recorded() {
    for (share, least, most) in [(0.0, 0, 0), (0.1, 120, 290), (1.0, TRACES, TRACES)] {
        let recorded = with_sampling(share, || (0..TRACES).filter(|_| is_recorded(None)).count());
        assert!((least..=most).contains(&recorded), "{recorded} of {TRACES}");
    }
}

#[test]
fn a_parents_decision_holds_whatever_the_share() {
    let parent =
        |flags: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    with_sampling(0.0, || assert!(is_recorded(Some(&parent("01")))));
    with_sampling(1.0, || assert!(!is_recorded(Some(&parent("00")))));
}

#[test]
fn what_is_not_recorded_is_not_kept_for_links() {
    with_sampling(0.0, || {
        let _span = tracing::info_span!("work").entered();
        assert_eq!(traceparent(), None);
    });
    with_sampling(1.0, || {
        let _span = tracing::info_span!("work").entered();
        let kept = traceparent().expect("it is recorded");
        let id = current_trace_id().expect("it has one");
        assert!(
            kept.starts_with(&format!("00-{id}-")) && kept.ends_with("-01"),
            "{kept}"
        );
    });
}

#[test]
fn work_for_several_is_the_child_of_the_first_that_is_recorded() {
    let two = || [tracing::info_span!("one"), tracing::info_span!("two")];
    let trace = |span: &tracing::Span| span.context().span().span_context().trace_id();
    with_sampling(1.0, || {
        let inputs = two();
        let span = joint(&inputs, || tracing::info_span!("batch"));
        assert_eq!(trace(&span), trace(&inputs[0]));
        assert_ne!(trace(&span), trace(&inputs[1]));
    });
    with_sampling(0.0, || {
        assert!(joint(&two(), || tracing::info_span!("batch")).is_none());
    });
}

#[test]
fn a_service_is_named_once() {
    assert_eq!(service_name("foil"), "foil");
    assert_eq!(service_name("embedder"), "foil-embedder");
}

#[test]
fn all_that_a_process_exports_is_of_one_instance() {
    let key = Key::from_static_str(semconv::SERVICE_INSTANCE_ID);
    let instance = |service| resource(service).get(&key).expect("it has one").to_string();
    let first = instance("embedder");
    assert_eq!(instance("embedder"), first);
    assert!(uuid::Uuid::parse_str(&first).is_ok(), "{first}");
}

#[tokio::test]
async fn an_endpoint_may_ask_for_tls() {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    let exporter = to("https://collector:4317", exporter).build();
    exporter.expect("TLS is built in, and this machine has root certificates");
}
