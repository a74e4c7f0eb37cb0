//! Storing outputs: every one acked by its stream before the input is settled.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::context::{
    Context as JetStream, PublishAckFuture, PublishError, PublishErrorKind,
};
use async_nats::jetstream::{ErrorCode, message::PublishMessage};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use foil_proto::names::header;
use opentelemetry::trace::TraceContextExt;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::stage::{Context, Emit};
use crate::telemetry::{self, semconv};

/// Publications of one input awaiting their acks.
const UNACKED_MAX: usize = 64;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One message, ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    pub(crate) span: Span,
}

impl Outgoing {
    fn is_stored(&self) {
        // A span ends where it was left last.
        self.span.in_scope(|| {});
    }
}

/// Why an output is not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishFault {
    /// It never will be: the output itself is at fault.
    #[error("output {index} cannot be published: {problem}")]
    Unpublishable { index: usize, problem: String },
    /// Not now: the stream is full or absent, or the server away.
    #[error("output {index} was not stored: {problem}")]
    NotStored { index: usize, problem: String },
}

/// Stores all of `outgoing`, in order. What fails for now is tried again until `patience` ends:
/// the permit that the input holds meanwhile is what slows this stage down to the next one's pace.
pub(crate) async fn store_all(
    jetstream: &JetStream,
    outgoing: &[Outgoing],
    patience: Duration,
) -> Result<(), PublishFault> {
    let started = Instant::now();
    let mut pause = PAUSE_FIRST;
    let mut stored = 0;
    loop {
        let fault = match store_from(jetstream, outgoing, &mut stored).await {
            Ok(()) => return Ok(()),
            Err(fault @ PublishFault::Unpublishable { .. }) => return Err(fault),
            Err(fault) => fault,
        };
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(fault);
        }
        tracing::debug!(%fault, "waiting to publish");
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Goes on after the first `stored`, and counts up. A later one that was stored behind a failed one
/// is published again, and is a duplicate then.
async fn store_from(
    jetstream: &JetStream,
    outgoing: &[Outgoing],
    stored: &mut usize,
) -> Result<(), PublishFault> {
    while *stored < outgoing.len() {
        let first = *stored;
        let mut unacked = Vec::new();
        let mut refused = None;
        for message in outgoing[first..].iter().take(UNACKED_MAX) {
            // One by one: what is sent at once overtakes itself in a full buffer.
            match send(jetstream, message).await {
                Ok(ack) => unacked.push(ack),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        for ack in unacked {
            // A duplicate is stored as well: an earlier attempt of the same input did it.
            ack.await.map_err(|error| fault(*stored, &error))?;
            outgoing[*stored].is_stored();
            *stored += 1;
        }
        if let Some(error) = refused {
            return Err(fault(*stored, &error));
        }
    }
    Ok(())
}

/// Stores one message, without patience, and gives its sequence in its stream: the first one's where
/// it is a duplicate.
pub(crate) async fn store(jetstream: &JetStream, message: &Outgoing) -> Result<u64, PublishFault> {
    let ack = send(jetstream, message)
        .await
        .map_err(|error| fault(0, &error))?;
    let stored = ack.await.map_err(|error| fault(0, &error))?;
    message.is_stored();
    Ok(stored.sequence)
}

async fn send(jetstream: &JetStream, message: &Outgoing) -> Result<PublishAckFuture, PublishError> {
    let publish = PublishMessage::build()
        .headers(message.headers.clone())
        .payload(message.payload.clone());
    jetstream
        .send_publish(message.subject.clone(), publish)
        .await
}

fn fault(index: usize, error: &PublishError) -> PublishFault {
    let source = std::error::Error::source(error);
    let code = source
        .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
        .map(|error| error.error_code());
    let problem = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let too_large = error.kind() == PublishErrorKind::MaxPayloadExceeded
        || matches!(
            code,
            Some(
                ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
                    | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
            )
        );
    if too_large {
        PublishFault::Unpublishable { index, problem }
    } else {
        PublishFault::NotStored { index, problem }
    }
}

/// Makes the outputs of one input ready. `id_stem`: what their `Nats-Msg-Id`s begin with.
pub(crate) fn prepare(
    emits: Vec<Emit>,
    id_stem: &str,
    cx: &Context,
) -> Result<Vec<Outgoing>, PublishFault> {
    let updated_at = cx.updated_at_ms();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let one = |(index, emit): (usize, Emit)| {
        // Not the place in the list: a later attempt may find less to do, and what then stands where
        // another output stood would be dropped as that one's duplicate.
        let mut id = format!("{id_stem}.{}", emit.subject);
        if emit.anew {
            // Not the count of deliveries: that leaves out the excused ones.
            id = format!("{id}.{:016x}", rand::random::<u64>());
        }
        let times = seen.entry(emit.subject.clone()).or_default();
        let id = match std::mem::replace(times, *times + 1) {
            0 => id,
            earlier => format!("{id}.{earlier}"),
        };
        prepare_one(emit, id, updated_at, &cx.headers)
            .map_err(|problem| PublishFault::Unpublishable { index, problem })
    };
    emits.into_iter().enumerate().map(one).collect()
}

pub(crate) fn prepare_one(
    emit: Emit,
    message_id: String,
    updated_at_ms: i64,
    input_headers: &HeaderMap,
) -> Result<Outgoing, String> {
    let mut headers = HeaderMap::new();
    set(&mut headers, header::MESSAGE_ID, &message_id)?;
    set(&mut headers, header::UPDATED_AT, &updated_at_ms.to_string())?;
    for (name, value) in &emit.headers {
        set(&mut headers, name, value)?;
    }
    if headers.get(header::CE_SPECVERSION).is_some() {
        set(&mut headers, header::CE_ID, &message_id)?;
    }
    let mut subject = emit.subject;
    if let Some(schedule) = emit.schedule {
        let at = rfc3339(schedule.at).ok_or("the scheduled time is out of range")?;
        check_subject(&subject)?;
        set(&mut headers, header::SCHEDULE, &format!("@at {at}"))?;
        set(&mut headers, header::SCHEDULE_TARGET, &subject)?;
        subject = schedule.subject;
    }
    check_subject(&subject)?;
    let span = span(&subject, emit.payload.len());
    span.in_scope(|| pass_trace_on(input_headers, &mut headers));
    Ok(Outgoing {
        subject,
        headers,
        payload: emit.payload,
        span,
    })
}

/// Of one publication, up to its stream's ack. Who takes the message goes on from it.
fn span(subject: &str, bytes: usize) -> Span {
    use semconv::messaging as m;
    // What follows in a subject is a tenant, and a user.
    let kind = subject.match_indices('.').nth(2);
    let template = match kind {
        Some((end, _)) => format!("{}.>", &subject[..end]),
        None => subject.to_owned(),
    };
    let span = tracing::info_span!(
        "send",
        otel.name = format!("{} {template}", m::SEND),
        otel.kind = "producer",
    );
    if span.context().span().span_context().is_sampled() {
        span.set_attribute(m::SYSTEM, m::NATS);
        span.set_attribute(m::OPERATION_NAME, m::SEND);
        span.set_attribute(m::OPERATION_TYPE, m::SEND);
        span.set_attribute(m::DESTINATION_TEMPLATE, template);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        span.set_attribute(m::MESSAGE_BODY_SIZE, bytes);
    }
    span
}

/// The current span's context; without one (no tracer in this process) the input's own, as it came.
pub(crate) fn pass_trace_on(input: &HeaderMap, output: &mut HeaderMap) {
    telemetry::inject(output);
    if output.get(header::TRACEPARENT).is_none() {
        for name in [header::TRACEPARENT, header::TRACESTATE] {
            if let Some(value) = input.get(name) {
                output.insert(name, value.clone());
            }
        }
    }
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    // The panicking conversions must not meet what a stage composed.
    let key: HeaderName = name.parse().map_err(|_| format!("header name {name:?}"))?;
    let value: HeaderValue = value
        .parse()
        .map_err(|_| format!("header {name} holds a line break"))?;
    headers.insert(key, value);
    Ok(())
}

fn check_subject(subject: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>';
    if subject.split('.').any(str::is_empty) || subject.contains(bad) {
        return Err("the subject is none to publish to".to_owned());
    }
    Ok(())
}

/// In UTC; none outside of the calendar.
pub(crate) fn rfc3339(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emit() -> Emit {
        Emit::new("foil.v1.select.t.i".to_owned(), &())
    }

    fn prepared(emit: Emit) -> Result<Outgoing, String> {
        prepare_one(emit, "stage.S.7.0".to_owned(), 1234, &HeaderMap::new())
    }

    fn value<'a>(outgoing: &'a Outgoing, name: &str) -> &'a str {
        outgoing
            .headers
            .get(name)
            .expect("the header is set")
            .as_str()
    }

    #[test]
    fn headers_every_output_has() {
        let outgoing = prepared(emit().header("Foil-Reply-To", "inbox")).expect("publishable");
        assert_eq!(value(&outgoing, header::MESSAGE_ID), "stage.S.7.0");
        assert_eq!(value(&outgoing, header::UPDATED_AT), "1234");
        assert_eq!(value(&outgoing, "Foil-Reply-To"), "inbox");
    }

    #[test]
    fn a_stage_may_set_the_update_time_itself() {
        let outgoing = prepared(emit().header(header::UPDATED_AT, 99)).expect("publishable");
        assert_eq!(value(&outgoing, header::UPDATED_AT), "99");
    }

    #[test]
    fn a_scheduled_output_goes_to_its_schedule() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let scheduled = emit().scheduled("foil.v1.schedule.x".to_owned(), at);
        let outgoing = prepared(scheduled).expect("publishable");
        assert_eq!(outgoing.subject, "foil.v1.schedule.x");
        assert_eq!(
            value(&outgoing, header::SCHEDULE),
            "@at 2023-11-14T22:13:20Z"
        );
        assert_eq!(
            value(&outgoing, header::SCHEDULE_TARGET),
            "foil.v1.select.t.i"
        );
    }

    #[test]
    fn what_the_client_would_panic_on_is_an_error() {
        assert!(prepared(emit().header("Foil-X", "a\r\nb")).is_err());
        assert!(prepared(emit().header("bad name:", "a")).is_err());
        for subject in ["", "a..b", "a b", "a.*", "a.>", "a.\n"] {
            let mut faulty = emit();
            faulty.subject = subject.to_owned();
            assert!(prepared(faulty).is_err(), "{subject:?}");
        }
    }

    #[test]
    fn without_a_tracer_the_context_is_passed_on_as_it_came() {
        let mut input = HeaderMap::new();
        input.insert(
            header::TRACEPARENT,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        let mut output = HeaderMap::new();
        pass_trace_on(&input, &mut output);
        assert_eq!(
            output.get(header::TRACEPARENT),
            input.get(header::TRACEPARENT)
        );
    }
}
