//! From what NATS says to the dead letter.

use std::time::{Duration, SystemTime};

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream as JetStreamStream};
use foil_proto::names::{stage, stream};
use foil_runtime::{
    Classify as _, Context, DeadLetter, Outcome, Reason, Stage, StageError, bury, metrics,
    tenant_of,
};
use foil_store::events;

use crate::advisory::Advisory;

/// The stage.
#[derive(Debug)]
pub struct Mover {
    jetstream: jetstream::Context,
}

impl Mover {
    /// `timeout`: the longest wait for one answer of the server.
    pub fn new(nats: Client, timeout: Duration) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(timeout)
            .ack_timeout(timeout)
            .build(nats);
        for (stage, _) in stage::INPUTS {
            metrics::may_dead_letter(stage, Reason::GivenUp);
        }
        Self { jetstream }
    }
}

impl Stage for Mover {
    type Input = Advisory;

    async fn handle(&self, advisory: Advisory, _cx: &Context) -> Result<Outcome, StageError> {
        let Some(stage) = worker_of(&advisory) else {
            return Ok(Outcome::Skip("not_ours"));
        };
        let stream = self.jetstream.get_stream_no_info(&advisory.stream).await;
        let stream = stream.retry()?;
        // From the leader: a replica may lag behind, and not know of its end.
        let message = match stream.get_raw_message(advisory.stream_seq).await {
            Ok(message) => message,
            // Expired, erased, or replaced by newer work.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                return Ok(Outcome::Skip("gone"));
            }
            Err(error) => return Err(error).retry(),
        };
        let letter = letter(stage, &advisory, message);
        let sequence = bury(&self.jetstream, &letter, Some(events::dead)).await;
        let sequence = sequence.retry()?;
        remove(&stream, &advisory).await?;
        tracing::error!(
            stage,
            stream = advisory.stream,
            stream_sequence = advisory.stream_seq,
            sequence,
            reason = Reason::GivenUp.as_str(),
            "dead-lettered: nats gave it up"
        );
        metrics::dead_lettered(stage, Reason::GivenUp);
        Ok(Outcome::Emit(Vec::new()))
    }
}

/// The stage whose consumer it was; none for another's.
fn worker_of(advisory: &Advisory) -> Option<&'static str> {
    let is =
        |(stage, stream): &&(&str, &str)| *stage == advisory.consumer && *stream == advisory.stream;
    stage::INPUTS.iter().find(is).map(|(stage, _)| *stage)
}

fn letter(stage: &'static str, advisory: &Advisory, message: StreamMessage) -> DeadLetter {
    let deliveries = advisory.deliveries;
    DeadLetter {
        stage,
        stream: advisory.stream.clone(),
        stream_sequence: advisory.stream_seq,
        published_at: SystemTime::from(message.time),
        tenant: tenant_of(&message.subject),
        subject: message.subject.into_string(),
        deliveries,
        reason: Reason::GivenUp,
        error: format!("delivered {deliveries} times, and no worker settled it"),
        headers: message.headers,
        payload: message.payload,
    }
}

/// Only after its copy is stored. FOIL_UPDATES is a log: what is in it stays.
async fn remove(stream: &JetStreamStream<()>, advisory: &Advisory) -> Result<(), StageError> {
    if advisory.stream == stream::UPDATES {
        return Ok(());
    }
    match stream.delete_message(advisory.stream_seq).await {
        Ok(_) => Ok(()),
        Err(error) => match stream.get_raw_message(advisory.stream_seq).await {
            // Somebody else did it, or an answer was lost.
            Err(gone) if gone.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
            _ => Err(error).retry(),
        },
    }
}
