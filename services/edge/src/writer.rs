//! The one thread that changes a collection.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use qdrant_edge::{OperationError, OperationResult, UpdateOperation};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::engine::Engine;
use crate::error::{breaks_the_shard, status};
use crate::limits;
use crate::shard::{Slot, free_bytes};

/// A write that waits for its turn.
pub(crate) struct Write {
    pub operation: UpdateOperation,
    /// Size on the wire.
    pub bytes: usize,
    /// Answered after the flush.
    pub reply: oneshot::Sender<Result<(), Status>>,
}

pub(crate) struct Writer {
    pub path: PathBuf,
    pub slot: Arc<Slot>,
    /// Space to leave free.
    pub free_bytes: u64,
}

impl Writer {
    /// Ends when no sender is left, with everything written and the shard closed.
    pub(crate) fn run(self, mut writes: mpsc::Receiver<Write>) {
        let mut carried = None;
        let mut since_prune = 0;
        while let Some(first) = carried.take().or_else(|| writes.blocking_recv()) {
            let mut bytes = first.bytes;
            let mut batch = vec![first];
            while batch.len() < limits::BATCH {
                let Ok(write) = writes.try_recv() else { break };
                if bytes + write.bytes > limits::BATCH_BYTES {
                    carried = Some(write);
                    break;
                }
                bytes += write.bytes;
                batch.push(write);
            }
            self.commit(batch, bytes);
            since_prune += bytes;
            if since_prune >= limits::LOG_FILE_BYTES {
                since_prune = 0;
                self.prune();
            }
        }
        self.replace(None);
    }

    fn commit(&self, batch: Vec<Write>, bytes: usize) {
        if let Err(refusal) = self.ready(bytes) {
            for write in batch {
                answer(write.reply, Err(refusal.clone()));
            }
            return;
        }
        let mut broken: Option<String> = None;
        let mut results = Vec::with_capacity(batch.len());
        for write in batch {
            let result = match &broken {
                Some(cause) => Err(not_attempted(cause)),
                None => self.apply(write.operation).map_err(|error| {
                    if breaks_the_shard(&error) {
                        broken = Some(error.to_string());
                    }
                    status(&error)
                }),
            };
            results.push((write.reply, result));
        }
        let flushed = self.flush();
        if broken.is_some() || flushed.is_err() {
            self.reopen();
        }
        for (reply, result) in results {
            let result = match &flushed {
                Err(error) => result.and(Err(status(error))),
                Ok(()) => result,
            };
            answer(reply, result);
        }
    }

    /// Whether a batch may start: the shard is open and the disk holds more than it can need.
    fn ready(&self, bytes: usize) -> Result<(), Status> {
        if self
            .slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
        {
            self.reopen();
        }
        if self
            .slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
        {
            return Err(Status::unavailable("the collection cannot be opened"));
        }
        // The log, the payload, its indexes and the vector: each at most about the size on the wire.
        let needed = self.free_bytes.saturating_add(8 * bytes as u64);
        match free_bytes(&self.path) {
            Ok(free) if free >= needed => Ok(()),
            Ok(free) => Err(Status::resource_exhausted(format!(
                "data directory: {free} bytes are free, a write needs {needed}"
            ))),
            Err(error) => Err(Status::internal(format!("data directory: {error}"))),
        }
    }

    fn apply(&self, operation: UpdateOperation) -> OperationResult<()> {
        let slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().ok_or_else(gone)?.update(operation)
    }

    fn flush(&self) -> OperationResult<()> {
        // Reads go on: only this thread changes anything, and a flush takes what reads take.
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().ok_or_else(gone)?.flush()
    }

    fn prune(&self) {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = slot.as_ref().map(Engine::prune) {
            tracing::warn!(%error, "the engine's log was not shortened");
        }
    }

    /// The engine refuses every write after a failed one until it is loaded anew.
    fn reopen(&self) {
        // Two owners at once are impossible, so the old one goes first.
        self.replace(None);
        match Engine::open(&self.path) {
            Ok(engine) => self.replace(Some(engine)),
            Err(error) => {
                tracing::error!(%error, shard = %self.path.display(), "cannot reopen a shard");
            }
        }
    }

    fn replace(&self, engine: Option<Engine>) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        *slot = engine;
    }
}

fn answer(reply: oneshot::Sender<Result<(), Status>>, result: Result<(), Status>) {
    // Who asked may have gone; the write is done all the same.
    let _ = reply.send(result);
}

fn gone() -> OperationError {
    OperationError::service_error_light("the collection is closed")
}

fn not_attempted(cause: &str) -> Status {
    Status::unavailable(format!("an earlier write failed: {cause}"))
}
