//! Until the erasure is told of, and until the bytes are gone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use foil_proto::names::{header, stage, stream, subject};
use foil_proto::token::encode;
use foil_proto::v1;
use foil_store::{Compaction, Store};
use prost::Message as _;

use crate::session::Session;

const POLL_EVERY: Duration = Duration::from_millis(200);
/// The embedder's event is stored before its message is settled, so one that is not there by then
/// never comes; a few polls more for a reader behind the stream's leader.
const SETTLED_POLLS: u32 = 10;

/// One stream from where it ended.
struct Tail {
    stream: Stream,
    filter: String,
    next: u64,
}

impl Tail {
    async fn open(session: &Session, name: &'static str, filter: String) -> Result<Self> {
        let stream = session.jetstream.get_stream(name).await;
        let stream = stream.with_context(|| format!("{name} (run `foil provision`)"))?;
        let next = stream.cached_info().state.last_sequence + 1;
        Ok(Self {
            stream,
            filter,
            next,
        })
    }

    async fn next(&mut self) -> Result<Option<StreamMessage>> {
        let filter = self.filter.as_str();
        let found = self
            .stream
            .direct_get_next_for_subject(filter, Some(self.next))
            .await;
        match found {
            Ok(message) => {
                self.next = message.sequence + 1;
                Ok(Some(message))
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("read the events"),
        }
    }
}

/// What comes of an erasing message.
pub struct Watch {
    events: Tail,
    dead: Tail,
    updates: Stream,
}

impl Watch {
    /// From now on. `events`: the subject of the receipt.
    ///
    /// # Errors
    /// When a stream is missing, or NATS does not answer.
    pub async fn open(session: &Session, events: &str) -> Result<Self> {
        let dead = subject::DEAD_ALL.replace('>', &format!("*.{}", encode(&session.tenant)));
        let updates = session.jetstream.get_stream(stream::UPDATES).await;
        Ok(Self {
            events: Tail::open(session, stream::EVENTS, events.to_owned()).await?,
            dead: Tail::open(session, stream::DEAD, dead).await?,
            updates: updates.context(stream::UPDATES)?,
        })
    }

    /// The event that tells of the message `sequence`.
    ///
    /// # Errors
    /// When the message was given up, had no effect, or is not through at `end`.
    pub async fn receipt(mut self, sequence: u64, end: Instant) -> Result<v1::Event> {
        let mut settled = 0;
        loop {
            while let Some(message) = self.events.next().await? {
                let event = v1::Event::decode(message.payload).context("an event")?;
                if sequence_of(&event) == Some(sequence) {
                    return Ok(event);
                }
            }
            if let Some(letter) = self.letter(sequence).await? {
                bail!("it was given up; `foil dead show {letter}` says why");
            }
            if settled >= SETTLED_POLLS {
                bail!("it had no effect: its user was erased since");
            }
            if self.is_settled(sequence).await? {
                settled += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "it waits for the embedder at the end of --timeout, and will be worked on all \
                     the same; `foil status` shows the lag"
                );
            }
            tokio::time::sleep(POLL_EVERY.min(left)).await;
        }
    }

    /// Sequence of the dead letter that the message became.
    async fn letter(&mut self, sequence: u64) -> Result<Option<u64>> {
        while let Some(letter) = self.dead.next().await? {
            let is = |name: &str, value: &str| {
                let found = letter.headers.get(name);
                found.is_some_and(|found| found.as_str() == value)
            };
            if is(header::DEAD_STREAM, stream::UPDATES)
                && is(header::DEAD_SEQUENCE, &sequence.to_string())
            {
                return Ok(Some(letter.sequence));
            }
        }
        Ok(None)
    }

    async fn is_settled(&self, sequence: u64) -> Result<bool> {
        let consumer = self.updates.consumer_info(stage::EMBEDDER).await;
        let consumer = consumer.with_context(|| format!("consumer {}", stage::EMBEDDER))?;
        Ok(consumer.ack_floor.stream_sequence >= sequence)
    }
}

fn sequence_of(event: &v1::Event) -> Option<u64> {
    use v1::event::Kind;
    match event.kind.as_ref()? {
        Kind::UserErased(erased) => Some(erased.sequence),
        Kind::RecordErased(erased) => Some(erased.sequence),
        Kind::TenantErased(erased) => Some(erased.sequence),
        _ => None,
    }
}

/// Waits until what was removed at `since` is gone from the files; names the collections of which
/// that is not so at `end`.
///
/// # Errors
/// When Qdrant does not answer.
pub async fn compacted(
    store: &Store,
    since: &[Compaction],
    end: Instant,
) -> Result<Vec<&'static str>> {
    loop {
        let now = store.compactions().await?;
        let waiting: Vec<_> = since
            .iter()
            .zip(&now)
            .filter(|(since, now)| !now.reaches(since))
            .map(|(since, _)| since.collection)
            .collect();
        let left = end.saturating_duration_since(Instant::now());
        if waiting.is_empty() || left.is_zero() {
            return Ok(waiting);
        }
        tokio::time::sleep(POLL_EVERY.min(left)).await;
    }
}
