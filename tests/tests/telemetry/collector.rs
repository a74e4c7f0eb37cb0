//! A collector: takes spans and metrics by OTLP over gRPC, and shows a trace as a tree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server as metrics_server;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server as trace_server;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span, and who sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub service: String,
    pub schema_url: String,
    pub span: Span,
}

/// A metric as it came: its kind, and the attributes of each of its series.
#[derive(Clone, Debug)]
pub struct SeenMetric {
    pub kind: &'static str,
    pub series: Vec<BTreeMap<String, String>>,
}

#[derive(Clone, Default)]
struct Store {
    spans: Arc<Mutex<Vec<Seen>>>,
    metrics: Arc<Mutex<BTreeMap<String, SeenMetric>>>,
}

/// A running collector; it ends with the test.
pub struct Collector {
    store: Store,
    address: SocketAddr,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Store::default();
        let serving = tonic::transport::Server::builder()
            .add_service(trace_server::TraceServiceServer::new(store.clone()))
            .add_service(metrics_server::MetricsServiceServer::new(store.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(async move { serving.await.unwrap() });
        Self { store, address }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Of one trace, in the order of their starts.
    pub fn trace(&self, id: &str) -> Trace {
        let spans = self.store.spans.lock().unwrap();
        let of_trace = spans.iter().filter(|seen| hex(&seen.span.trace_id) == id);
        let mut spans: Vec<Seen> = of_trace.cloned().collect();
        spans.sort_by_key(|seen| seen.span.start_time_unix_nano);
        Trace(spans)
    }

    /// Every trace's spans.
    pub fn spans(&self) -> Vec<Seen> {
        self.store.spans.lock().unwrap().clone()
    }

    /// By name, the newest of each.
    pub fn metrics(&self) -> BTreeMap<String, SeenMetric> {
        self.store.metrics.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl trace_server::TraceService for Store {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = attribute(&attributes, "service.name").unwrap_or_default();
            for scope in resource.scope_spans {
                let seen = scope.spans.into_iter().map(|span| Seen {
                    service: service.clone(),
                    schema_url: scope.schema_url.clone(),
                    span,
                });
                self.spans.lock().unwrap().extend(seen);
            }
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl metrics_server::MetricsService for Store {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let all = |points: Vec<Vec<KeyValue>>| points.iter().map(|p| labels(p)).collect();
            let attributes = |kind, points| SeenMetric {
                kind,
                series: all(points),
            };
            let seen = match metric.data.unwrap() {
                Data::Gauge(gauge) => {
                    let points = gauge.data_points.into_iter().map(|p| p.attributes);
                    attributes("gauge", points.collect())
                }
                Data::Sum(sum) => {
                    let kind = if sum.is_monotonic { "counter" } else { "gauge" };
                    let points = sum.data_points.into_iter().map(|p| p.attributes);
                    attributes(kind, points.collect())
                }
                Data::Histogram(histogram) => {
                    let points = histogram.data_points.into_iter().map(|p| p.attributes);
                    attributes("histogram", points.collect())
                }
                other => panic!("{}: {other:?}", metric.name),
            };
            self.metrics.lock().unwrap().insert(metric.name, seen);
        }
        Ok(Response::new(Default::default()))
    }
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let label = |pair: &KeyValue| {
        let value = attribute(attributes, &pair.key).unwrap_or_default();
        (pair.key.clone(), value)
    };
    attributes.iter().map(label).collect()
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

impl Seen {
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub fn kind(&self) -> SpanKind {
        self.span.kind()
    }

    pub fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }

    pub fn millis(&self) -> f64 {
        let span = &self.span;
        (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e6
    }

    /// What the tree says beside the name and the times.
    fn notes(&self) -> String {
        let kind = self.kind().as_str_name().trim_start_matches("SPAN_KIND_");
        let mut notes = vec![kind.to_lowercase()];
        notes.extend(self.attribute("foil.stage"));
        let attribute = |key: &str| self.attribute(key);
        if let Some(written) = attribute("gen_ai.usage.output_tokens") {
            let read = attribute("gen_ai.usage.input_tokens").unwrap_or_default();
            let cached = attribute("gen_ai.usage.cache_read.input_tokens").unwrap_or_default();
            let first = attribute("gen_ai.response.time_to_first_chunk");
            let first: f64 = first.unwrap_or_default().parse().unwrap();
            notes.push(format!("{read} tokens in ({cached} cached), {written} out"));
            notes.push(format!("the first after {:.1} ms", first * 1e3));
        }
        if !self.span.links.is_empty() {
            notes.push(format!("{} links", self.span.links.len()));
        }
        format!("[{}]", notes.join(", "))
    }
}

/// The spans of one trace.
pub struct Trace(pub Vec<Seen>);

impl Trace {
    pub fn with_id(&self, id: &str) -> &Seen {
        let found = self.0.iter().find(|seen| seen.id() == id);
        found.unwrap_or_else(|| panic!("no span {id} in\n{}", self.tree()))
    }

    pub fn named(&self, name: &str) -> Vec<&Seen> {
        self.0
            .iter()
            .filter(|seen| seen.span.name == name)
            .collect()
    }

    pub fn children(&self, parent: &Seen) -> Vec<&Seen> {
        let id = parent.id();
        self.0.iter().filter(|seen| seen.parent() == id).collect()
    }

    /// From a span up to the one whose parent is in no process of Foil, and that parent.
    pub fn ancestry(&self, id: &str) -> (Vec<&Seen>, String) {
        let mut path = vec![self.with_id(id)];
        loop {
            let parent = path.last().unwrap().parent();
            match self.0.iter().find(|seen| seen.id() == parent) {
                Some(seen) => path.push(seen),
                None => return (path, parent),
            }
        }
    }

    /// As a tree: when each span began, how long it took, and what tells it from its like.
    pub fn tree(&self) -> String {
        let begin = self.0.first().map_or(0, |s| s.span.start_time_unix_nano);
        let mut text = String::from("   start ms       ms\n");
        let is_root = |seen: &&Seen| !self.0.iter().any(|other| other.id() == seen.parent());
        for root in self.0.iter().filter(is_root) {
            self.branch(root, begin, 0, &mut text);
        }
        text
    }

    fn branch(&self, seen: &Seen, begin: u64, depth: usize, text: &mut String) {
        let start = (seen.span.start_time_unix_nano - begin) as f64 / 1e6;
        let (indent, name) = ("  ".repeat(depth), &seen.span.name);
        let (millis, notes) = (seen.millis(), seen.notes());
        writeln!(text, "{start:>11.1} {millis:>8.1}  {indent}{name}  {notes}").unwrap();
        for child in self.children(seen) {
            self.branch(child, begin, depth + 1, text);
        }
    }
}
