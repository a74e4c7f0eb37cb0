//! How far each stage is behind, and how full the streams are.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::RawMessageErrorKind;
use foil_proto::names::{stage, stream};
use foil_runtime::BoxError;
use futures::future::{join, join_all};

use crate::metrics;
use crate::room::{Room, streams};

/// Of the flow, and this stage's own.
pub(crate) const CONSUMERS: [(&str, &str); 6] = {
    let [embedder, selector, extractor, profiler, generator] = stage::INPUTS;
    let mover = (stage::MOVER, stream::ADVISORIES);
    [embedder, selector, extractor, profiler, generator, mover]
};

/// Messages that a consumer has before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Waiting, or delivered and not acknowledged.
    pub messages: u64,
    /// When the oldest of them was stored; none without one.
    pub oldest: Option<SystemTime>,
}

impl Lag {
    /// Of the oldest; zero without one.
    pub fn age(&self) -> Duration {
        let age = self.oldest.map(|at| at.elapsed().unwrap_or_default());
        age.unwrap_or_default()
    }
}

/// What was seen last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By stage; none for a consumer that does not answer.
    pub(crate) lags: BTreeMap<&'static str, Option<Lag>>,
    /// By stream; without those that do not answer.
    pub(crate) rooms: BTreeMap<String, Room>,
}

/// Asks NATS for it, from time to time.
pub(crate) struct LagWatch {
    jetstream: jetstream::Context,
    seen: Arc<Mutex<Seen>>,
}

impl LagWatch {
    /// `timeout`: the longest wait for one answer of the server.
    pub(crate) fn new(nats: Client, timeout: Duration) -> Self {
        let jetstream = ContextBuilder::new().timeout(timeout).build(nats);
        let seen = Arc::default();
        metrics::export(&seen);
        Self { jetstream, seen }
    }

    /// For ever.
    pub(crate) async fn run(&self, every: Duration) -> Infallible {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let seen = self.look().await;
            // A single assignment: no half-done state behind a panic.
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    async fn look(&self) -> Seen {
        let lags = CONSUMERS.map(|(stage, stream)| self.lag(stage, stream));
        let rooms = streams().into_iter().map(|stream| self.room(stream));
        let (lags, rooms) = join(join_all(lags), join_all(rooms)).await;
        Seen {
            lags: lags.into_iter().collect(),
            rooms: rooms.into_iter().flatten().collect(),
        }
    }

    async fn lag(&self, stage: &'static str, stream: &str) -> (&'static str, Option<Lag>) {
        let lag = lag(&self.jetstream, stage, stream).await;
        if let Err(error) = &lag {
            tracing::debug!(%error, stage, "its lag is not known");
        }
        (stage, lag.ok())
    }

    async fn room(&self, stream: String) -> Option<(String, Room)> {
        let found = self.jetstream.get_stream(&stream).await;
        match found {
            Ok(found) => Some((stream, Room::from(found.cached_info()))),
            Err(error) => {
                tracing::debug!(%error, stream, "how full it is is not known");
                None
            }
        }
    }
}

/// The lag of one consumer. What NATS gave up is no part of it: nobody will ever take it.
///
/// # Errors
/// When the consumer, or its stream's leader, does not answer.
pub async fn lag(
    jetstream: &jetstream::Context,
    consumer: &str,
    stream: &str,
) -> Result<Lag, BoxError> {
    let found: PullConsumer = jetstream.get_consumer_from_stream(consumer, stream).await?;
    let info = found.cached_info();
    let messages = info.num_pending + info.num_ack_pending as u64;
    if messages == 0 {
        return Ok(Lag::default());
    }
    let from = info.ack_floor.stream_sequence + 1;
    let subject = match info.config.filter_subject.as_str() {
        "" => ">",
        filter => filter,
    };
    let stream = jetstream.get_stream_no_info(stream).await?;
    let oldest = match stream.get_first_raw_message_by_subject(subject, from).await {
        Ok(message) => Some(SystemTime::from(message.time)),
        // Settled between the two questions.
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Lag { messages, oldest })
}
