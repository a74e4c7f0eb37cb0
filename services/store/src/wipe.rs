//! Overwriting the messages of a stream that an erasure removes, many at once, and for as long as an
//! attempt may take.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    DeleteMessageErrorKind, RawMessageError, RawMessageErrorKind, Stream,
};
use foil_proto::names::stream;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::doomed::Doomed;
use crate::progress::{IN_FLIGHT, Part, Progress, SHARE, Until, Walked};
use crate::{Store, StoreError};

/// What all parts of a scan share.
struct Scanned<'a> {
    stream: &'a Stream<()>,
    /// The log: behind a dead letter stands an update.
    updates: &'a Stream<()>,
    /// The stream in an error.
    what: &'a str,
    filter: &'a str,
    doomed: &'a Doomed<'a>,
    until: Until,
}

impl Store {
    /// Overwrites the messages under `filter` that are doomed, up to the one that is the last now.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`] when the time is over; others from NATS. What was looked through is
    /// noted in `progress` all the same.
    pub(crate) async fn wipe(
        &self,
        name: &'static str,
        filter: &str,
        doomed: &Doomed<'_>,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let what = format!("stream {name}");
        let stream = self.stream(name).await?;
        let updates = self.stream(stream::UPDATES).await?;
        let scanned = Scanned {
            stream: &stream,
            updates: &updates,
            what: &what,
            filter,
            doomed,
            until: progress.until(),
        };
        let known = progress.scan(name).next();
        if let Some(first) = next_at_leader(&stream, &what, filter, known).await?
            && let Some(last) = last_at_leader(&stream, &what, filter).await?
        {
            progress.scan(name).take_in(first.sequence, last.sequence);
        }
        let (mut running, mut handed_out, mut failed) = (FuturesUnordered::new(), 0, None);
        loop {
            // However little time there is, each attempt gets on.
            while running.len() < IN_FLIGHT
                && failed.is_none()
                && (handed_out < IN_FLIGHT || !scanned.until.is_over())
                && let Some(part) = progress.scan(name).pop()
            {
                handed_out += 1;
                running.push(walk(&scanned, part));
            }
            match running.next().await {
                Some((_, Ok(walked))) => progress.scan(name).note(&walked),
                Some((part, Err(error))) => {
                    progress.scan(name).give_back(part);
                    failed = Some(error);
                }
                None => break,
            }
        }
        match (failed, progress.scan(name).is_done()) {
            (Some(error), _) => Err(error),
            (None, true) => Ok(()),
            (None, false) => Err(StoreError::Unfinished {
                operation: "wipe messages",
            }),
        }
    }
}

/// Works on the messages of a part, or on the first ones, and gives the part back with what became of
/// it.
async fn walk(scanned: &Scanned<'_>, part: Part) -> (Part, Result<Walked, StoreError>) {
    (part, work_on(scanned, part).await)
}

async fn work_on(scanned: &Scanned<'_>, (first, last): Part) -> Result<Walked, StoreError> {
    let (mut walked, mut next) = (Walked::default(), first);
    for _ in 0..SHARE {
        let found = next_at_leader(scanned.stream, scanned.what, scanned.filter, next).await?;
        let Some(message) = found.filter(|message| message.sequence <= last) else {
            return Ok(walked);
        };
        next = message.sequence.max(next) + 1;
        if scanned.doomed.takes(&message) {
            // First, for nothing but the copy tells of it.
            if let Some(sequence) = scanned.doomed.copied_from(&message) {
                let gone = overwrite_original(scanned.updates, sequence, &message).await?;
                walked.originals += u64::from(gone);
            }
            let gone = overwrite(scanned.stream, message.sequence).await?;
            walked.removed += u64::from(gone);
            // Removing takes the server far longer than reading.
            if scanned.until.is_over() {
                break;
            }
        }
    }
    walked.rest = (next <= last).then_some((next, last));
    Ok(walked)
}

/// Removes the update that `copy` was made from. False where another message stands in its place, as
/// after a restore of the log.
async fn overwrite_original(
    updates: &Stream<()>,
    sequence: u64,
    copy: &StreamMessage,
) -> Result<bool, StoreError> {
    match updates.get_raw_message(sequence).await {
        Ok(message) if message.payload == copy.payload => overwrite(updates, sequence).await,
        Ok(_) => Ok(false),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
        Err(error) => Err(unavailable("read messages", &error)),
    }
}

/// The first message at or after `from` that `filter` lets through, as the stream's leader has it: a
/// replica that lags would hide what is to be removed. `what` names the stream in an error.
pub(crate) async fn next_at_leader(
    stream: &Stream<()>,
    what: &str,
    filter: &str,
    from: u64,
) -> Result<Option<StreamMessage>, StoreError> {
    let message = stream.get_first_raw_message_by_subject(filter, from).await;
    found(message, what)
}

/// The last message that `filter` lets through, likewise.
async fn last_at_leader(
    stream: &Stream<()>,
    what: &str,
    filter: &str,
) -> Result<Option<StreamMessage>, StoreError> {
    let message = stream.get_last_raw_message_by_subject(filter).await;
    found(message, what)
}

fn found(
    message: Result<StreamMessage, RawMessageError>,
    what: &str,
) -> Result<Option<StreamMessage>, StoreError> {
    message.map(Some).or_else(|error| match error.kind() {
        RawMessageErrorKind::NoMessageFound => Ok(None),
        RawMessageErrorKind::JetStream(cause)
            if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            let what = what.to_owned();
            Err(StoreError::NotProvisioned { what })
        }
        _ => Err(unavailable("read messages", &error)),
    })
}

/// Removes one message, its bytes overwritten on disk. False: it was gone already.
pub(crate) async fn overwrite(stream: &Stream<()>, sequence: u64) -> Result<bool, StoreError> {
    let deleted = stream.delete_message(sequence).await;
    let Err(error) = deleted else {
        return Ok(true);
    };
    if let DeleteMessageErrorKind::JetStream(cause) = error.kind() {
        // The server has no code of its own for this.
        let there = stream.get_raw_message(sequence).await;
        let gone = there.is_err_and(|e| e.kind() == RawMessageErrorKind::NoMessageFound);
        if gone || cause.error_code() == ErrorCode::SEQUENCE_NOT_FOUND {
            return Ok(false);
        }
    }
    Err(unavailable("delete message", &error))
}

pub(crate) fn unavailable(operation: &'static str, error: &impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable {
        operation,
        cause: error.to_string(),
    }
}
