//! One input, top to bottom.

mod ending;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::context::Context as JetStream;
use async_nats::jetstream::message;
use async_nats::{Client, HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::FutureExt;
use opentelemetry::trace::TraceContextExt;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::config::WorkerConfig;
use crate::error::{BoxError, Reason, StageError};
use crate::excused::Excused;
use crate::health::Health;
use crate::heartbeat::Heartbeat;
use crate::metrics::StageMetrics;
use crate::outputs::Outputs;
use crate::publish::{Outgoing, PublishFault, prepare, store_all};
use crate::settle::Attempt;
use crate::shutdown::Shutdown;
use crate::stage::{Context, Decode as _, Outcome, Stage};
use crate::telemetry::{self, semconv};
use crate::worker::StageSpec;

/// Between the starts of inputs that came again once, twice, and so on, at most.
const APART: Duration = Duration::from_secs(1);
/// Waiting longer parts nothing more.
const APART_STEPS: u64 = 4;

/// What all inputs of a worker share.
pub(crate) struct Desk<S> {
    pub(crate) stage: Arc<S>,
    pub(crate) spec: StageSpec,
    pub(crate) config: WorkerConfig,
    pub(crate) client: Client,
    pub(crate) jetstream: JetStream,
    pub(crate) health: Health,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: StageMetrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) shared: Arc<Shared>,
    pub(crate) outputs: Arc<Outputs>,
    /// The consumer's filter: as a destination's name it is of low cardinality.
    pub(crate) template: String,
    pub(crate) span_name: String,
}

/// What outlives a lost consumer.
#[derive(Default)]
pub(crate) struct Shared {
    fatal: Mutex<Option<BoxError>>,
    excused: Excused,
}

impl Shared {
    /// Why this process cannot serve. Of several causes the first one is told.
    fn note_fatal(&self, cause: BoxError) {
        self.fatal().get_or_insert(cause);
    }

    /// What was noted, if anything.
    pub(crate) fn take_fatal(&self) -> Option<BoxError> {
        self.fatal().take()
    }

    fn fatal(&self) -> std::sync::MutexGuard<'_, Option<BoxError>> {
        // Single assignments only: no half-done state behind a panic.
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An input as it was delivered.
struct Delivery {
    subject: Subject,
    reply: Subject,
    headers: HeaderMap,
    payload: Bytes,
    stream_sequence: u64,
    /// From 1, excused ones left out.
    delivered: u64,
    /// The same with them: as the server counts.
    counted: u64,
    published_at: SystemTime,
}

/// How an attempt ended, and the error behind it.
struct Verdict {
    attempt: Attempt,
    error: Option<BoxError>,
}

impl From<Attempt> for Verdict {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt,
            error: None,
        }
    }
}

/// Works on one input and settles it. True when the drain cut it.
pub(crate) async fn process<S: Stage>(desk: Arc<Desk<S>>, message: Message) -> bool {
    let Some(delivery) = desk.delivery(message) else {
        return false;
    };
    let started = Instant::now();
    let _hold = desk
        .heartbeat
        .hold(delivery.reply.clone(), delivery.stream_sequence);
    desk.metrics
        .started(delivery.published_at, delivery.delivered > 1);
    let span = desk.span(&delivery);
    async {
        let verdict = desk.attempt(&delivery).await;
        let attempt = desk.settle(&delivery, verdict).await;
        desk.metrics.settled(attempt, started.elapsed());
        tracing::Span::current().set_attribute(semconv::FOIL_OUTCOME, attempt.outcome());
        attempt == Attempt::Cut
    }
    .instrument(span)
    .await
}

impl<S: Stage> Desk<S> {
    fn delivery(&self, message: Message) -> Option<Delivery> {
        let message = message::Message {
            message,
            context: self.jetstream.clone(),
        };
        let (stream_sequence, counted, published_at) = match message.info() {
            Ok(info) => (
                info.stream_sequence,
                u64::try_from(info.delivered).unwrap_or(1),
                SystemTime::from(info.published),
            ),
            Err(error) => {
                tracing::error!(%error, "a message that no stream delivered: left alone");
                return None;
            }
        };
        let message = message.message;
        let excused = self.shared.excused.count(stream_sequence);
        Some(Delivery {
            subject: message.subject,
            reply: message.reply?,
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            stream_sequence,
            delivered: counted.saturating_sub(excused).max(1),
            counted,
            published_at,
        })
    }

    fn span(&self, delivery: &Delivery) -> tracing::Span {
        // Few fields: each is formatted and copied for every input, whether or not it is recorded.
        let span = tracing::info_span!(
            "process",
            otel.name = self.span_name,
            otel.kind = "consumer",
            stage = self.spec.name,
            stream_sequence = delivery.stream_sequence,
            delivered = delivery.delivered,
            trace_id = tracing::field::Empty,
        );
        if span.is_disabled() {
            return span;
        }
        // Fails only without a tracer in this process, and then there is no parent to set.
        let _ = span.set_parent(telemetry::extract(&delivery.headers));
        let context = span.context();
        let recorded = context.span().span_context().clone();
        if recorded.is_valid() {
            // Every log line of this input then shows it.
            span.record("trace_id", tracing::field::display(recorded.trace_id()));
        }
        if recorded.is_sampled() {
            use semconv::messaging as m;
            span.set_attribute(m::SYSTEM, m::NATS);
            span.set_attribute(m::OPERATION_NAME, m::PROCESS);
            span.set_attribute(m::OPERATION_TYPE, m::PROCESS);
            span.set_attribute(m::DESTINATION_TEMPLATE, self.template.clone());
            span.set_attribute(m::CONSUMER_GROUP_NAME, self.spec.consumer);
            let size = i64::try_from(delivery.payload.len()).unwrap_or(i64::MAX);
            span.set_attribute(m::MESSAGE_BODY_SIZE, size);
            span.set_attribute(semconv::FOIL_STAGE, self.spec.name);
            let delivered = i64::try_from(delivery.delivered).unwrap_or(i64::MAX);
            span.set_attribute(semconv::FOIL_DELIVERED, delivered);
        }
        span
    }

    async fn attempt(&self, delivery: &Delivery) -> Verdict {
        if delivery.delivered > self.config.max_deliveries {
            let error = format!(
                "delivered {} times without a verdict: it kills or hangs the process",
                delivery.delivered - 1
            );
            return Verdict {
                attempt: Attempt::Poison,
                error: Some(error.into()),
            };
        }
        let input = match S::Input::decode(delivery.payload.clone()) {
            Ok(input) => input,
            Err(error) => {
                return Verdict {
                    attempt: Attempt::Rejected(Reason::Undecodable),
                    error: Some(error),
                };
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cut() => Attempt::Cut.into(),
            verdict = async {
                self.stand_apart(delivery.delivered).await;
                self.work(delivery, input).await
            } => verdict,
        }
    }

    /// What a killed process held comes again all at once, the input that killed it among the rest;
    /// side by side with it they would be killed again and again, until all are taken for poison. So
    /// what comes again starts later the oftener it came, and at random among its like: the one that
    /// was there each time comes last.
    async fn stand_apart(&self, delivered: u64) {
        if let Some(earlier) = delivered.checked_sub(2) {
            let step = self.config.backoff_base.min(APART);
            let steps = earlier.min(APART_STEPS) as f64 + rand::random::<f64>();
            tokio::time::sleep(step.mul_f64(steps)).await;
        }
    }

    /// `timeout`: what there is for what is asked of the stage.
    fn context(&self, delivery: &Delivery, timeout: Duration) -> Context {
        Context {
            subject: delivery.subject.to_string(),
            stream_sequence: delivery.stream_sequence,
            delivered: delivery.delivered,
            last_attempt: delivery.delivered >= self.config.max_deliveries,
            published_at: delivery.published_at,
            headers: delivery.headers.clone(),
            timeout,
            client: self.client.clone(),
        }
    }

    async fn work(&self, delivery: &Delivery, input: S::Input) -> Verdict {
        let cx = self.context(delivery, self.config.timeout);
        // The call itself may panic too, before there is a future.
        let handled =
            AssertUnwindSafe(async { self.stage.handle(input, &cx).await }).catch_unwind();
        let emits = match tokio::time::timeout(self.config.timeout, handled).await {
            Err(_) => {
                let error = format!("no verdict within {:?}", self.config.timeout);
                return Verdict {
                    attempt: Attempt::TimedOut,
                    error: Some(error.into()),
                };
            }
            Ok(Err(panic)) => return panicked(panic.as_ref()),
            Ok(Ok(Err(error))) => return failed(error),
            Ok(Ok(Ok(Outcome::Skip(why)))) => return Attempt::Skipped(why).into(),
            Ok(Ok(Ok(Outcome::Emit(emits)))) => emits,
        };
        let count = emits.len() as u64;
        let id_stem = format!(
            "{}.{}.{}",
            self.spec.name, self.spec.stream, delivery.stream_sequence
        );
        let stored = match prepare(emits, &id_stem, &cx) {
            Ok(outgoing) => self.store(&outgoing).await,
            Err(fault) => Err(fault),
        };
        match stored {
            Ok(()) => {
                self.metrics.published(count);
                Attempt::Done.into()
            }
            Err(fault) => Verdict {
                attempt: match fault {
                    PublishFault::Unpublishable { .. } => Attempt::Rejected(Reason::BadOutput),
                    PublishFault::NotStored { .. } => Attempt::NotStored,
                },
                error: Some(fault.into()),
            },
        }
    }

    async fn store(&self, outgoing: &[Outgoing]) -> Result<(), PublishFault> {
        let stored = store_all(&self.jetstream, outgoing, self.config.publish_patience).await;
        if let Err(PublishFault::NotStored { index, .. }) = &stored
            && let Some(message) = outgoing.get(*index)
        {
            self.outputs.note(message.clone());
        }
        stored
    }
}

fn failed(error: StageError) -> Verdict {
    let (attempt, cause) = match error {
        StageError::Retry { after, cause } => (Attempt::Retry { after }, cause),
        StageError::Unfinished { after, cause } => (Attempt::Unfinished { after }, cause),
        StageError::Reject { reason, cause } => (Attempt::Rejected(reason), cause),
        StageError::Fatal { cause } => (Attempt::Fatal, cause),
    };
    Verdict {
        attempt,
        error: Some(cause),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Verdict {
    // Only a literal text: a formatted one may quote a user.
    let text = panic.downcast_ref::<&'static str>().copied();
    let error = format!("the handler panicked: {}", text.unwrap_or("see the log"));
    Verdict {
        attempt: Attempt::Panicked,
        error: Some(error.into()),
    }
}
