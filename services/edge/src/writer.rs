//! The one thread that changes a collection.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::Instant;

use qdrant_edge::{OperationError, OperationResult, UpdateOperation};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::compact::{self, Schedule, Upkeep};
use crate::engine::Engine;
use crate::error::{breaks_the_shard, status};
use crate::journal::Journal;
use crate::limits;
use crate::shard::{Slot, free_bytes};

/// A write that waits for its turn.
pub(crate) struct Write {
    pub operation: UpdateOperation,
    /// Size on the wire.
    pub bytes: usize,
    /// Answered after the sync.
    pub reply: oneshot::Sender<Result<(), Status>>,
}

pub(crate) struct Writer {
    /// The collection's.
    pub dir: PathBuf,
    pub slot: Arc<Slot>,
    /// There while the slot is full.
    pub journal: Option<Journal>,
    /// Space to leave free.
    pub free_bytes: u64,
    pub upkeep: Arc<Upkeep>,
    pub schedule: Schedule,
}

/// What comes through the queue.
pub(crate) enum Job {
    Write(Box<Write>),
    /// Nothing more is to come: do what waits and end.
    Close,
}

impl Writer {
    /// Ends with everything written and the shard closed: at [`Job::Close`], or once no sender is
    /// left. Whoever sends wakes the thread.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut since_prune = 0;
        let mut carried = None;
        while let Some(first) = carried.take().or_else(|| self.next(&mut queue)) {
            let (batch, bytes) = take_batch(first, &mut queue, &mut carried);
            self.commit(batch, bytes);
            self.schedule.wrote(self.upkeep.is_dirty());
            self.checkpoint(limits::JOURNAL_ENTRIES, limits::JOURNAL_BYTES);
            since_prune += bytes;
            if since_prune >= limits::LOG_FILE_BYTES {
                since_prune = 0;
                self.prune();
            }
        }
        self.checkpoint(1, 1);
        self.close();
    }

    /// Waits for a write; compacts while there is none, and where that can wait no longer.
    fn next(&mut self, queue: &mut mpsc::Receiver<Job>) -> Option<Write> {
        loop {
            let Some((wait, must)) = self.schedule.due() else {
                match queue.blocking_recv()? {
                    Job::Write(write) => return Some(*write),
                    Job::Close => queue.close(),
                }
                continue;
            };
            if wait.is_zero() && (must || queue.is_empty()) {
                self.compact(|| !must && !queue.is_empty());
            }
            match queue.try_recv() {
                Ok(Job::Write(write)) => return Some(*write),
                Ok(Job::Close) => queue.close(),
                Err(TryRecvError::Empty) => std::thread::park_timeout(wait),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }

    fn compact(&mut self, give_up: impl Fn() -> bool) {
        // The journal must hold nothing of the old shard when the new one takes its place.
        self.checkpoint(1, 1);
        if self.journal.as_ref().is_none_or(|j| j.entries() > 0) {
            return self.schedule.failed();
        }
        let started = Instant::now();
        match self.copy(give_up) {
            Ok(Some(new)) => {
                let old = {
                    let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
                    slot.replace(new)
                };
                if let Some(Err(error)) = old.map(Engine::discard) {
                    // Dead bytes are still on disk, until the next compaction or start.
                    tracing::warn!(%error, dir = %self.dir.display(), "an old shard is left");
                    return self.schedule.failed();
                }
                self.upkeep.compacted();
                self.schedule.finished(started.elapsed());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "not compacted");
                self.schedule.failed();
                if !self.tidy() {
                    self.reopen();
                }
            }
        }
    }

    /// Removes what a failed compaction left. False: the disk names another shard than the one at
    /// work.
    fn tidy(&self) -> bool {
        let slot = self.engine();
        let Some(engine) = slot.as_ref().filter(|engine| engine.is_current(&self.dir)) else {
            return false;
        };
        if let Err(error) = engine.remove_others(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "files of a compaction are left");
        }
        true
    }

    fn copy(&self, give_up: impl Fn() -> bool) -> OperationResult<Option<Engine>> {
        let slot = self.engine();
        let old = slot.as_ref().ok_or_else(gone)?;
        old.remove_others(&self.dir)?;
        let needed = self.free_bytes.saturating_add(2 * old.disk_bytes()?);
        let free = free_bytes(&self.dir)?;
        if free < needed {
            let text = format!("the disk is full: {free} bytes are free, it needs {needed}");
            return Err(OperationError::service_error_light(text));
        }
        compact::copy(old, &self.dir, give_up)
    }

    fn commit(&mut self, batch: Vec<Write>, bytes: usize) {
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
        let synced = self.journal.as_ref().map_or(Ok(()), Journal::sync);
        if broken.is_some() || synced.is_err() {
            self.reopen();
        }
        for (reply, result) in results {
            let result = match &synced {
                Err(error) => result.and(Err(Status::internal(format!("journal: {error}")))),
                Ok(()) => result,
            };
            answer(reply, result);
        }
    }

    /// Whether a batch may start: the shard is open and the disk holds more than it can need.
    fn ready(&mut self, bytes: usize) -> Result<(), Status> {
        if self.engine().is_none() {
            self.reopen();
        }
        if self.engine().is_none() {
            return Err(Status::unavailable("the collection cannot be opened"));
        }
        // Journal, log, payload, its indexes and the vector: each at most about twice the size on
        // the wire.
        let needed = self.free_bytes.saturating_add(10 * bytes as u64);
        match free_bytes(&self.dir) {
            Ok(free) if free >= needed => Ok(()),
            Ok(free) => Err(Status::resource_exhausted(format!(
                "data directory: the disk is full: {free} bytes are free, a write needs {needed}"
            ))),
            Err(error) => Err(Status::internal(format!("data directory: {error}"))),
        }
    }

    /// Into the journal first. What then fails is taken back: it may not come up again at each
    /// start.
    fn apply(&mut self, operation: UpdateOperation) -> OperationResult<()> {
        let operation = match self.engine().as_ref() {
            Some(engine) => {
                let operation = engine.resolve(operation)?;
                let dirty = self.upkeep.is_dirty();
                if dirty || engine.removes(&operation)? {
                    if !dirty {
                        engine.set_dirty()?;
                    }
                    self.upkeep.removed();
                }
                operation
            }
            None => return Err(gone()),
        };
        let journal = self.journal.as_mut().ok_or_else(gone)?;
        let mark = journal.len();
        journal.append(&operation)?;
        let updated = {
            let slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
            let engine = slot.as_ref().ok_or_else(gone);
            engine.and_then(|engine| engine.update(operation))
        };
        if updated.is_err() {
            journal.take_back(mark)?;
        }
        updated
    }

    /// Flushes the engine once the journal is that long, and starts the journal anew.
    fn checkpoint(&mut self, entries: usize, bytes: u64) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if journal.entries() < entries && journal.len() < bytes {
            return;
        }
        // Reads go on: only this thread changes anything, and a flush takes what reads take.
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let flushed = match slot.as_ref() {
            Some(engine) => engine.flush(),
            None => Err(gone()),
        };
        drop(slot);
        let cleared = flushed.and_then(|()| Ok(journal.clear()?));
        if let Err(error) = cleared {
            // Nothing is lost: it is all in the journal still.
            tracing::error!(%error, dir = %self.dir.display(), "a flush failed");
            self.reopen();
        }
    }

    fn prune(&self) {
        if let Some(Err(error)) = self.engine().as_ref().map(Engine::prune) {
            tracing::warn!(%error, "the engine's log was not shortened");
        }
    }

    /// The engine refuses every write after a failed one until it is loaded anew.
    fn reopen(&mut self) {
        // Two owners at once are impossible, so the old one goes first.
        self.close();
        match Engine::open(&self.dir) {
            Ok((engine, journal)) => {
                self.journal = Some(journal);
                self.replace(Some(engine));
            }
            Err(error) => {
                tracing::error!(%error, dir = %self.dir.display(), "cannot reopen a collection");
            }
        }
    }

    fn close(&mut self) {
        self.replace(None);
        self.journal = None;
    }

    fn engine(&self) -> RwLockReadGuard<'_, Option<Engine>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, engine: Option<Engine>) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        *slot = engine;
    }
}

/// Takes what came meanwhile with the first one. `carried`: a write too large for this batch.
fn take_batch(
    first: Write,
    queue: &mut mpsc::Receiver<Job>,
    carried: &mut Option<Write>,
) -> (Vec<Write>, usize) {
    let mut bytes = first.bytes;
    let mut batch = vec![first];
    while batch.len() < limits::BATCH {
        match queue.try_recv() {
            Ok(Job::Write(write)) if bytes + write.bytes > limits::BATCH_BYTES => {
                *carried = Some(*write);
                break;
            }
            Ok(Job::Write(write)) => {
                bytes += write.bytes;
                batch.push(*write);
            }
            Ok(Job::Close) => queue.close(),
            Err(_) => break,
        }
    }
    (batch, bytes)
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
