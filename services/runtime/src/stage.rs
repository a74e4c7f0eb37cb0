//! What a stage is: one async function from a decoded message to what shall be published.

use std::future::Future;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::{BoxError, StageError};

/// One stage. Level-triggered: it looks at the state, not at the message, and doing the same input
/// twice changes nothing.
pub trait Stage: Send + Sync + 'static {
    /// The input. Decoded by the runtime; bytes that are none are dead-lettered.
    type Input: Decode;

    /// Works on one input. It must be cancel-safe: a timeout drops the future.
    ///
    /// # Errors
    /// [`StageError`] says what shall become of the input.
    fn handle(
        &self,
        input: Self::Input,
        cx: &Context,
    ) -> impl Future<Output = Result<Outcome, StageError>> + Send;

    /// Whether an input that was given up, whatever for, may be kept as a dead letter; asked just
    /// before each copy. After a no the input ends without one. `payload` may be no message, or the
    /// one that kills the handler: a look at the state is all that belongs here.
    ///
    /// # Errors
    /// When it is not known now: nothing ends, and the input is given back.
    fn may_be_kept(
        &self,
        payload: &[u8],
        cx: &Context,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = (payload, cx);
        std::future::ready(Ok(true))
    }
}

/// What a stage can take: every protobuf message, and what is decoded otherwise.
pub trait Decode: Sized + Send + 'static {
    /// From a message's bytes.
    ///
    /// # Errors
    /// Says what is wrong with them, without quoting them.
    fn decode(bytes: Bytes) -> Result<Self, BoxError>;
}

impl<M: prost::Message + Default + 'static> Decode for M {
    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        Ok(<M as prost::Message>::decode(bytes)?)
    }
}

/// What a successful attempt gives.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Stored before the input is acked, in this order.
    Emit(Vec<Emit>),
    /// Nothing to do; the word says why and may stand in a metric label.
    Skip(&'static str),
}

/// One message to publish. Its `Nats-Msg-Id` is derived from the input and its own subject, and from
/// its place among outputs of that subject; so a redelivered input publishes nothing twice within the
/// duplicate window, and what it finds to do then is not taken for what an earlier attempt published.
/// [`Emit::anew`] is for what an attempt must publish though an earlier one did.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    pub subject: String,
    pub payload: Bytes,
    /// Further headers. Values with control characters are refused at publishing.
    pub headers: Vec<(&'static str, String)>,
    pub schedule: Option<Schedule>,
    /// Whether every attempt publishes it, under an id of its own.
    pub anew: bool,
}

/// Delivery later: published to `subject` of the schedule, where it replaces a pending one, and
/// delivered by the server to the emit's own subject. So a burst folds into one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The schedule's own subject, in the same stream.
    pub subject: String,
    pub at: SystemTime,
}

impl Emit {
    /// A message to publish at once.
    pub fn new(subject: String, message: &impl prost::Message) -> Self {
        Self {
            subject,
            payload: message.encode_to_vec().into(),
            headers: Vec::new(),
            schedule: None,
            anew: false,
        }
    }

    /// The same, later.
    #[must_use]
    pub fn scheduled(mut self, subject: String, at: SystemTime) -> Self {
        self.schedule = Some(Schedule { subject, at });
        self
    }

    /// The same, published by this attempt even if an earlier one published it within the duplicate
    /// window: for work that every attempt removes from its queue and has to put there again.
    #[must_use]
    pub fn anew(mut self) -> Self {
        self.anew = true;
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// What a stage may know about the input beside its content, and its way out for streamed replies.
#[derive(Clone, Debug)]
pub struct Context {
    pub subject: String,
    /// Sequence in the input stream.
    pub stream_sequence: u64,
    /// 1 on the first delivery.
    pub delivered: u64,
    /// Whether a failure now is final: the input will be dead-lettered, not redelivered.
    pub last_attempt: bool,
    /// When the input was stored.
    pub published_at: SystemTime,
    /// The input's headers.
    pub headers: async_nats::HeaderMap,
    /// Time left for this attempt.
    pub timeout: Duration,
    /// For what cannot wait until the input is done: a streamed reply (core NATS, no ack).
    pub client: async_nats::Client,
}

impl Context {
    /// When the update behind this input was published, milliseconds since 1970: carried from stage
    /// to stage in a header; for the first stage, when the input itself was stored.
    pub fn updated_at_ms(&self) -> i64 {
        let carried = self
            .headers
            .get(foil_proto::names::header::UPDATED_AT)
            .and_then(|value| value.as_str().parse().ok());
        carried.unwrap_or_else(|| {
            self.published_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
        })
    }
}
