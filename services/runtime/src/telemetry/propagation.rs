//! W3C trace context in NATS headers.

use std::collections::HashMap;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
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
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Outgoing(headers));
    }
}

/// The context a message carries; an empty one when it carries none, or none that is valid.
pub fn extract(headers: &HeaderMap) -> opentelemetry::Context {
    let empty = opentelemetry::Context::new();
    TraceContextPropagator::new().extract_with_context(&empty, &Incoming(headers))
}

/// The current span's context as a `traceparent`, to be kept with what the span makes; none when it
/// is not recorded, for then nobody could find it.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_sampled() {
        return None;
    }
    let mut kept = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut kept);
    kept.remove("traceparent")
}

/// Links the current span to one whose `traceparent` was kept. Changes nothing when that is none, or
/// of the same trace.
pub fn link(traceparent: &str) {
    let kept = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let empty = opentelemetry::Context::new();
    let other = TraceContextPropagator::new().extract_with_context(&empty, &kept);
    link_spans(&Span::current(), other.span().span_context());
}

fn link_spans(span: &Span, other: &SpanContext) {
    let own = span.context().span().span_context().trace_id();
    if other.is_valid() && other.trace_id() != own {
        span.add_link(other.clone());
    }
}

/// The span of one piece of work for several inputs, each in a trace of its own, done away from their
/// tasks: the child of the first of `inputs` that is recorded, linked with the rest in both
/// directions. `make` makes it, without a parent; it is not called when none is recorded.
pub fn joint(inputs: &[Span], make: impl FnOnce() -> Span) -> Span {
    let recorded = inputs.iter().map(|input| (input, input.context()));
    let mut recorded = recorded.filter(|(_, context)| context.span().span_context().is_sampled());
    let Some((_, first)) = recorded.next() else {
        return Span::none();
    };
    let span = make();
    // Fails only without a tracer in this process, and then nothing is recorded.
    let _ = span.set_parent(first);
    let own = span.context().span().span_context().clone();
    for (input, context) in recorded {
        link_spans(&span, context.span().span_context());
        link_spans(input, &own);
    }
    span
}

/// The current span's trace id, 32 hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    let context = Span::current().context();
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
