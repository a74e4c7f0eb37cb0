//! Everything `foil status` knows, gathered.

use std::net::SocketAddr;

use async_nats::jetstream::Context as JetStream;
use foil_proto::names::{stage, stream};
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
    pub state: Result<StreamState, String>,
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
    pub lag: Result<Lag, String>,
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
    result: &Result<T, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match result {
        Ok(value) => value.serialize(serializer),
        Err(error) => serde_json::json!({ "error": error }).serialize(serializer),
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

/// Asks everyone. What does not answer is part of the picture, not an error.
pub async fn look(session: &Session, args: &StatusArgs) -> Status {
    let mut streams = Vec::new();
    for name in stream::ALL {
        let state = stream_state(&session.jetstream, name).await;
        streams.push(StreamStatus { name, state });
    }
    let mut consumers = Vec::new();
    for (stage, stream) in CONSUMERS {
        let lag = lag(&session.jetstream, stage, stream).await;
        consumers.push(ConsumerStatus { stage, lag });
    }
    let admin = session.config.admin.listen;
    let stages = async {
        match args.stages_elsewhere {
            true => Readiness::NotAsked,
            false => probe::readiness(admin).await,
        }
    };
    let (stages, qdrant) = tokio::join!(stages, session.store.ready());
    let qdrant = qdrant.map_err(|error| error.to_string());
    let found = |name: &str| streams.iter().find(|s| s.name == name)?.state.as_ref().ok();
    let healthy = streams.iter().all(|s| s.state.is_ok())
        && consumers.iter().all(|c| c.lag.is_ok())
        && qdrant.is_ok()
        && matches!(stages, Readiness::Ready { .. } | Readiness::NotAsked);
    let away = match qdrant {
        Ok(()) => "",
        Err(_) => "; but Qdrant does not answer",
    };
    Status {
        admin,
        dead: found(stream::DEAD).map(|state| state.messages),
        words: words(
            &consumers,
            found(stream::PROFILE).map(|state| state.messages),
        ) + away,
        healthy,
        stages,
        qdrant,
        streams,
        consumers,
    }
}

async fn stream_state(jetstream: &JetStream, name: &str) -> Result<StreamState, String> {
    let stream = jetstream
        .get_stream(name)
        .await
        .map_err(|e| e.to_string())?;
    let state = &stream.cached_info().state;
    let oldest = state.first_timestamp.unix_timestamp_nanos() / 1_000_000;
    let oldest = i64::try_from(oldest).unwrap_or_default();
    Ok(StreamState {
        messages: state.messages,
        bytes: state.bytes,
        oldest_ms: (state.messages > 0).then(|| (render::now_ms() - oldest).max(0)),
    })
}

async fn lag(jetstream: &JetStream, stage: &str, stream: &str) -> Result<Lag, String> {
    let stream = jetstream.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let info = stream
        .consumer_info(stage)
        .await
        .map_err(|e| e.to_string())?;
    Ok(Lag {
        waiting: info.num_pending,
        in_work: info.num_ack_pending as u64,
        redelivered: info.num_redelivered as u64,
    })
}

/// `in_profile`: messages in FOIL_PROFILE, where those that wait for a user's burst to end count too.
pub(super) fn words(consumers: &[ConsumerStatus], in_profile: Option<u64>) -> String {
    if consumers.iter().any(|consumer| consumer.lag.is_err()) {
        return "not provisioned, or the server does not answer: `foil provision`".to_owned();
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
