//! How log lines look. Of a span's fields both formats show those of people's interest, such as the
//! stage and the trace; OpenTelemetry's attributes, whose names have dots, are in the traces.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether a log line has it; the rest is in the traces.
fn is_for_people(field: &Field) -> bool {
    !field.name().contains('.')
}

/// `name=value name=value`.
#[derive(Debug)]
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = TextLine {
            writer,
            is_empty: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct TextLine<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Visit for TextLine<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_err() || !is_for_people(field) {
            return;
        }
        let space = if self.is_empty { "" } else { " " };
        self.is_empty = false;
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{value:?}"),
            name => write!(self.writer, "{space}{name}={value:?}"),
        };
    }
}

/// A span's fields as a JSON object.
#[derive(Debug)]
pub(super) struct JsonFields;

impl<'w> FormatFields<'w> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut object = JsonObject::default();
        fields.record(&mut object);
        write!(writer, "{}", Value::Object(object.0))
    }

    fn add_fields(
        &self,
        current: &mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut object = JsonObject(object(&current.fields));
        fields.record(&mut object);
        current.fields = Value::Object(object.0).to_string();
        Ok(())
    }
}

/// What [`JsonFields`] wrote.
fn object(fields: &str) -> Map<String, Value> {
    serde_json::from_str(fields).unwrap_or_default()
}

/// One object a line: `timestamp`, `level`, `target`, `message`, the event's other fields, and those
/// of the spans around it, of which `trace_id` is one.
#[derive(Debug)]
pub(super) struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        cx: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = JsonObject::default();
        for span in cx
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<JsonFields>>() {
                line.0.append(&mut object(&fields.fields));
            }
        }
        event.record(&mut line);
        let metadata = event.metadata();
        let mut set = |name: &str, value: String| line.0.insert(name.to_owned(), value.into());
        set("timestamp", jiff::Timestamp::now().to_string());
        set("level", metadata.level().to_string());
        set("target", metadata.target().to_owned());
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

#[derive(Default)]
struct JsonObject(Map<String, Value>);

impl JsonObject {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        if is_for_people(field) {
            self.0.insert(field.name().to_owned(), value.into());
        }
    }
}

impl Visit for JsonObject {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::{log_layer, semconv};
    use crate::config::LogFormat;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a stage's work on a message leaves in the log.
    fn lines(format: LogFormat) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let filter = "info".parse().expect("a filter");
        let layer = log_layer(format, filter, move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "process",
                otel.kind = "consumer",
                stage = "embedder",
                delivered = 2_u64,
                trace_id = tracing::field::Empty,
            );
            span.record("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736");
            let _entered = span.enter();
            let inner = tracing::info_span!("qdrant", db.system.name = "qdrant").entered();
            tracing::warn!(
                outcome = "retry",
                error = "no \"luck\"",
                tries = 3,
                "given back"
            );
            drop(inner);
            tracing::debug!("is too much");
        });
        let bytes = sink.0.lock().expect("one thread").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_json_line_has_the_trace_and_the_stage_at_its_top() {
        let lines = lines(LogFormat::Json);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        let line: serde_json::Value = serde_json::from_str(&lines).expect("JSON");
        for (key, value) in [
            ("message", "given back"),
            ("level", "WARN"),
            ("stage", "embedder"),
            ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("outcome", "retry"),
            ("error", "no \"luck\""),
        ] {
            assert_eq!(line[key], value, "{key} in {lines}");
        }
        assert_eq!((&line["delivered"], &line["tries"]), (&2.into(), &3.into()));
        let at = line["timestamp"].as_str().expect("a time");
        assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
        assert!(!lines.contains("otel.kind") && !lines.contains(semconv::db::SYSTEM_NAME));
    }

    #[test]
    fn a_text_line_has_the_trace_and_no_attributes() {
        let lines = lines(LogFormat::Text);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        for part in [
            "WARN",
            "stage=\"embedder\" delivered=2 trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"",
            "given back outcome=\"retry\"",
        ] {
            assert!(lines.contains(part), "{part} in {lines}");
        }
        assert!(!lines.contains("otel.kind") && !lines.contains(semconv::db::SYSTEM_NAME));
    }
}
