//! The other side: asks for a text or a context, and reads the streamed reply.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode, message::PublishMessage};
use async_nats::{Client, HeaderMap, Subscriber};
use foil_proto::names::{header, subject};
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{GenerateReply, GenerateRequest};
use foil_runtime::telemetry::propagation::inject;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use prost::Message as _;
use tokio::time::Instant;

/// How long after the deadline the clear failure of a busy service is still waited for.
const GRACE: Duration = Duration::from_millis(250);
/// No request waits longer; the stream keeps none for so long either.
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// Why there is no reply, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The queue of requests is full; a later call may succeed.
    #[error("too many requests are waiting; try again later")]
    Busy,
    /// Nothing keeps requests.
    #[error("there is no stream for requests; run `foil provision`")]
    NotProvisioned,
    /// Nobody answered, or not to the end, in time.
    #[error("the deadline passed")]
    Deadline,
    /// A part of the reply did not arrive.
    #[error("part {expected} of the reply was lost, part {got} came")]
    Lost { expected: u32, got: u32 },
    /// What came is no reply of this service.
    #[error("the reply cannot be read: {0}")]
    Garbled(String),
    /// NATS does not answer or refuses.
    #[error("nats: {0}")]
    Nats(String),
}

/// The parts of one reply, in order, up to and including the last: `Done` or `Failure`. Dropped, it
/// stops listening.
pub type Parts = BoxStream<'static, Result<Part, CallError>>;

/// Asks the generator. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Caller {
    nats: Client,
}

impl Caller {
    /// Over this connection; its user may publish to `foil.v1.generate.<tenant>.>` and subscribe to
    /// its inboxes.
    pub fn new(nats: Client) -> Self {
        Self { nats }
    }

    /// Asks, and gives the reply as it comes. `timeout`, at most an hour, from now to the last part,
    /// becomes the request's deadline.
    ///
    /// # Errors
    /// When the request was not taken. What happens later stands in the stream.
    pub async fn generate(
        &self,
        mut request: GenerateRequest,
        timeout: Duration,
    ) -> Result<Parts, CallError> {
        let timeout = timeout.min(TIMEOUT_MAX);
        let end = Instant::now() + timeout;
        request.deadline_ms = deadline_ms(timeout);
        let inbox = self.nats.new_inbox();
        let listening = self.nats.subscribe(inbox.clone()).await;
        let subscriber = listening.map_err(|error| CallError::Nats(error.to_string()))?;
        let asking = self.publish(&request, &inbox, timeout);
        let asked = tokio::time::timeout_at(end, asking).await;
        asked.map_err(|_| CallError::Deadline)??;
        Ok(parts(subscriber, end + GRACE))
    }

    async fn publish(
        &self,
        request: &GenerateRequest,
        inbox: &str,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::REPLY_TO, inbox);
        // Rounded up: the deadline itself is in the request.
        let seconds = timeout.as_millis().div_ceil(1_000).max(1);
        headers.insert(header::TTL, seconds.to_string().as_str());
        inject(&mut headers);
        let mut jetstream = jetstream::new(self.nats.clone());
        jetstream.set_timeout(timeout);
        let message = PublishMessage::build()
            .headers(headers)
            .payload(request.encode_to_vec().into());
        let to = subject::generate(&request.tenant, subject::CLASS_INTERACTIVE);
        let ack = jetstream.send_publish(to, message).await;
        let ack = ack.map_err(|error| not_taken(&error))?;
        ack.await.map(|_| ()).map_err(|error| not_taken(&error))
    }
}

fn deadline_ms(timeout: Duration) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let deadline = now.unwrap_or_default() + timeout;
    i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX)
}

fn not_taken(error: &PublishError) -> CallError {
    let source = std::error::Error::source(error);
    let refused = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), refused) {
        (PublishErrorKind::StreamNotFound, _) => CallError::NotProvisioned,
        (PublishErrorKind::TimedOut, _) => CallError::Deadline,
        (_, Some(refused)) if is_full(refused) => CallError::Busy,
        (_, Some(refused)) => CallError::Nats(format!("{error}: {refused}")),
        _ => CallError::Nats(error.to_string()),
    }
}

/// Whether that is what the server says to a message for a full stream that discards what is new. A
/// full disk has the same code.
fn is_full(refused: &jetstream::Error) -> bool {
    refused.error_code() == ErrorCode::STREAM_STORE_FAILED
        && refused.to_string().contains("maximum")
}

struct Reading {
    subscriber: Subscriber,
    expected: u32,
    end: Instant,
    over: bool,
}

fn parts(subscriber: Subscriber, end: Instant) -> Parts {
    let reading = Reading {
        subscriber,
        expected: 0,
        end,
        over: false,
    };
    let steps = stream::unfold(reading, |mut reading| async move {
        if reading.over {
            return None;
        }
        let next = reading.next().await;
        reading.over = !matches!(next, Ok(Part::Context(_) | Part::Delta(_)));
        Some((next, reading))
    });
    steps.boxed()
}

impl Reading {
    async fn next(&mut self) -> Result<Part, CallError> {
        let message = tokio::time::timeout_at(self.end, self.subscriber.next()).await;
        let message = message
            .map_err(|_| CallError::Deadline)?
            .ok_or_else(|| CallError::Nats("the connection was closed".to_owned()))?;
        let reply = GenerateReply::decode(message.payload);
        let reply = reply.map_err(|error| CallError::Garbled(error.to_string()))?;
        if reply.sequence != self.expected {
            return Err(CallError::Lost {
                expected: self.expected,
                got: reply.sequence,
            });
        }
        self.expected += 1;
        let unknown = || CallError::Garbled("a part of an unknown kind".to_owned());
        reply.part.ok_or_else(unknown)
    }
}
