//! W3C trace context in NATS headers.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // A producer's tracestate comes back here: unlike `From`, these conversions do not panic.
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            self.0.insert(name, value);
        }
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let name = key.parse::<HeaderName>().ok()?;
        self.0.get(name).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

/// Writes the current span's context; nothing when there is none.
pub fn inject(headers: &mut HeaderMap) {
    let context = tracing::Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Outgoing(headers));
    }
}

/// The context a message carries; an empty one when it carries none, or none that is valid.
pub fn extract(headers: &HeaderMap) -> opentelemetry::Context {
    let empty = opentelemetry::Context::new();
    TraceContextPropagator::new().extract_with_context(&empty, &Incoming(headers))
}

/// The current span's trace id, 32 hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    let context = tracing::Span::current().context();
    let id = context.span().span_context().trace_id();
    (id != TraceId::INVALID).then(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_becomes_a_context() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", PARENT);
        let context = extract(&headers);
        let span = context.span().span_context().clone();
        assert_eq!(
            span.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert!(span.is_remote() && span.is_sampled());
    }

    #[test]
    fn rubbish_is_no_context() {
        for value in [
            "",
            "00-zz",
            "00-00000000000000000000000000000000-0000000000000000-00",
            "é",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value);
            assert!(
                !extract(&headers).span().span_context().is_valid(),
                "{value:?}"
            );
        }
        assert!(!extract(&HeaderMap::new()).span().span_context().is_valid());
    }

    #[test]
    fn a_value_that_no_header_may_hold_is_left_out() {
        let mut headers = HeaderMap::new();
        Outgoing(&mut headers).set("tracestate", "a\r\nb".to_owned());
        assert!(headers.is_empty());
    }

    #[test]
    fn outside_a_span_nothing_is_written() {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty());
        assert_eq!(current_trace_id(), None);
    }
}
