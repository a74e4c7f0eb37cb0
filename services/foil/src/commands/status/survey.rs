//! Everything `foil status` knows, gathered.

use std::fmt;
use std::net::SocketAddr;

use async_nats::jetstream::context::{ConsumerInfoErrorKind, GetStreamErrorKind};
use async_nats::jetstream::{Context as JetStream, ErrorCode};
use foil_proto::names::{stage, stream};
use foil_store::StoreError;
use futures::future::join_all;
use serde::{Serialize, Serializer};

use super::probe::{self, Readiness};
use crate::cli::StatusArgs;
use crate::render;
use crate::session::Session;

/// Each stage's consumer, and the stream it reads.
const CONSUMERS: [(&str, &str); 6] = [
    (stage::EMBEDDER, stream::UPDATES),
    (stage::SELECTOR, stream::SELECT),
    (stage::EXTRACTOR, stream::EXTRACT),
    (stage::PROFILER, stream::PROFILE),
    (stage::GENERATOR, stream::GENERATE),
    (stage::MOVER, stream::ADVISORIES),
];

#[derive(Debug, Serialize)]
pub struct Status {
    pub streams: Vec<StreamStatus>,
    pub consumers: Vec<ConsumerStatus>,
    /// Where the stages are asked whether they are ready.
    pub admin: SocketAddr,
    pub stages: Readiness,
    #[serde(serialize_with = "ready_or_error")]
    pub qdrant: Result<(), String>,
    pub dead: Option<u64>,
    /// All that was asked is there, reachable and ready.
    pub healthy: bool,
    /// Whether it keeps up, in words.
    pub words: String,
}

#[derive(Debug, Serialize)]
pub struct StreamStatus {
    pub name: &'static str,
    #[serde(serialize_with = "ok_or_error")]
    pub state: Result<StreamState, Fault>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    /// Age of the oldest message, milliseconds; none in an empty stream.
    pub oldest_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
pub struct ConsumerStatus {
    pub stage: &'static str,
    #[serde(serialize_with = "ok_or_error")]
    pub lag: Result<Lag, Fault>,
}

/// Why a stream or a consumer is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Missing,
    /// No answer to the question, or none that helps; a right that is missing looks the same.
    NoAnswer(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::NoAnswer(why) => f.write_str(why),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Not delivered yet.
    pub waiting: u64,
    /// Delivered and not finished.
    pub in_work: u64,
    /// Of those, delivered more than once.
    pub redelivered: u64,
}

/// The value itself, or `{"error": ...}`.
fn ok_or_error<T: Serialize, S: Serializer>(
    result: &Result<T, Fault>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match result {
        Ok(value) => value.serialize(serializer),
        Err(fault) => serde_json::json!({ "error": fault.to_string() }).serialize(serializer),
    }
}

/// `{"ready": true}`, or `{"ready": false, "error": ...}`.
fn ready_or_error<S: Serializer>(
    result: &Result<(), String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match result {
        Ok(()) => serde_json::json!({ "ready": true }).serialize(serializer),
        Err(error) => serde_json::json!({ "ready": false, "error": error }).serialize(serializer),
    }
}

/// Asks everyone, all at once: who waits for one answer that does not come waits for all of them. What
/// does not answer is part of the picture, not an error.
pub async fn look(session: &Session, args: &StatusArgs) -> Status {
    let jetstream = &session.jetstream;
    let streams = stream::ALL.map(async |name| StreamStatus {
        name,
        state: stream_state(jetstream, name).await,
    });
    let consumers = CONSUMERS.map(async |(stage, stream)| ConsumerStatus {
        stage,
        lag: lag(jetstream, stage, stream).await,
    });
    let admin = session.config.admin.listen;
    let stages = async {
        match args.stages_elsewhere {
            true => Readiness::NotAsked,
            false => probe::readiness(admin).await,
        }
    };
    let (streams, consumers, stages, qdrant) = tokio::join!(
        join_all(streams),
        join_all(consumers),
        stages,
        session.store.ready()
    );
    let found = |name: &str| streams.iter().find(|s| s.name == name)?.state.as_ref().ok();
    let healthy = streams.iter().all(|s| s.state.is_ok())
        && consumers.iter().all(|c| c.lag.is_ok())
        && qdrant.is_ok()
        && matches!(stages, Readiness::Ready { .. } | Readiness::NotAsked);
    let in_profile = found(stream::PROFILE).map(|state| state.messages);
    Status {
        admin,
        dead: found(stream::DEAD).map(|state| state.messages),
        words: words(&consumers, in_profile) + of_qdrant(&qdrant),
        healthy,
        stages,
        qdrant: qdrant.map_err(|error| error.to_string()),
        streams,
        consumers,
    }
}

fn of_qdrant(qdrant: &Result<(), StoreError>) -> &'static str {
    match qdrant {
        Ok(()) => "",
        Err(StoreError::NotProvisioned { .. }) => {
            "; Qdrant's collections are missing: `foil provision`"
        }
        Err(StoreError::Unavailable { .. }) => "; but Qdrant does not answer",
        Err(_) => "; but Qdrant is not as it must be",
    }
}

async fn stream_state(jetstream: &JetStream, name: &str) -> Result<StreamState, Fault> {
    let stream = jetstream.get_stream(name).await;
    let stream = stream.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(cause)
            if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            Fault::Missing
        }
        _ => Fault::NoAnswer(error.to_string()),
    })?;
    let state = &stream.cached_info().state;
    let oldest = state.first_timestamp.unix_timestamp_nanos() / 1_000_000;
    let oldest = i64::try_from(oldest).unwrap_or_default();
    Ok(StreamState {
        messages: state.messages,
        bytes: state.bytes,
        oldest_ms: (state.messages > 0).then(|| (render::now_ms() - oldest).max(0)),
    })
}

async fn lag(jetstream: &JetStream, stage: &str, stream: &str) -> Result<Lag, Fault> {
    let stream = jetstream.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| Fault::NoAnswer(error.to_string()))?;
    let info = stream.consumer_info(stage).await;
    let info = info.map_err(|error| match error.kind() {
        ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => Fault::Missing,
        _ => Fault::NoAnswer(error.to_string()),
    })?;
    Ok(Lag {
        waiting: info.num_pending,
        in_work: info.num_ack_pending as u64,
        redelivered: info.num_redelivered as u64,
    })
}

/// `in_profile`: messages in FOIL_PROFILE, where those that wait for a user's burst to end count too.
pub(super) fn words(consumers: &[ConsumerStatus], in_profile: Option<u64>) -> String {
    let faults = || consumers.iter().filter_map(|c| c.lag.as_ref().err());
    if faults().any(|fault| matches!(fault, Fault::NoAnswer(_))) {
        return "unknown: NATS does not answer what is asked of its streams. JetStream may be away, this \
                account may lack the right, or nats.inbox_prefix may be another's"
            .to_owned();
    }
    if faults().next().is_some() {
        return "not provisioned: `foil provision`".to_owned();
    }
    let lag = |consumer: &ConsumerStatus| consumer.lag.clone().unwrap_or_default();
    let behind: Vec<_> = consumers
        .iter()
        .filter(|consumer| lag(consumer).waiting > 0)
        .map(|consumer| format!("{} is {} behind", consumer.stage, lag(consumer).waiting))
        .collect();
    if !behind.is_empty() {
        return behind.join(", ");
    }
    let in_work: u64 = consumers.iter().map(|consumer| lag(consumer).in_work).sum();
    if in_work > 0 {
        return format!("keeping up: nothing waits, {in_work} in work");
    }
    match in_profile {
        Some(1) => "all caught up; 1 profile waits for its user's burst to end".to_owned(),
        Some(waiting @ 2..) => {
            format!("all caught up; {waiting} profiles wait for their users' bursts to end")
        }
        _ => "all caught up".to_owned(),
    }
}
