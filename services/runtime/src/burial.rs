//! What comes before the end of an input that was given up: its copy, and the event about it.

use std::time::SystemTime;

use async_nats::jetstream::Context as JetStream;
use foil_proto::names::header;

use crate::dead_letter::DeadLetter;
use crate::error::BoxError;
use crate::publish::{PublishFault, pass_trace_on, prepare_one, store};
use crate::stage::Emit;

/// Makes an event to publish behind a dead letter, of the letter and the sequence of its stored copy
/// in FOIL_DEAD; none where there is nobody to tell.
pub type DeadEvent = fn(&DeadLetter, u64) -> Option<Emit>;

/// Stores the copy, then the event, and gives the copy's sequence in FOIL_DEAD. The input may end
/// only after this has returned. Done again within FOIL_DEAD's duplicate window it stores no second
/// copy.
///
/// # Errors
/// When the copy or its event is not stored now.
pub async fn bury(
    jetstream: &JetStream,
    letter: &DeadLetter,
    event: Option<DeadEvent>,
) -> Result<u64, BoxError> {
    let mut copy = letter.outgoing();
    if copy.headers.get(header::TRACEPARENT).is_none() {
        pass_trace_on(&letter.headers, &mut copy.headers);
    }
    let sequence = store(jetstream, &copy).await?;
    if let Some(emit) = event.and_then(|event| event(letter, sequence)) {
        tell(jetstream, letter, sequence, emit).await?;
    }
    Ok(sequence)
}

/// Publishes the event behind a dead letter, whose copy is stored as `sequence`.
async fn tell(
    jetstream: &JetStream,
    letter: &DeadLetter,
    sequence: u64,
    emit: Emit,
) -> Result<(), BoxError> {
    let id = format!("dead-event.{}", letter.id());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ms = now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    let told = match prepare_one(emit, id, now_ms, &letter.headers) {
        Ok(event) => store(jetstream, &event).await,
        Err(problem) => Err(PublishFault::Unpublishable { index: 0, problem }),
    };
    match told {
        // It never will be, and its input must not come again for ever: the copy is stored.
        Err(fault @ PublishFault::Unpublishable { .. }) => {
            tracing::error!(%fault, sequence, "no event tells of a dead letter");
            Ok(())
        }
        told => Ok(told.map(drop)?),
    }
}
