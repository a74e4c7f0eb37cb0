//! A collection at work: reads run side by side, writes go through one writer that shares a sync
//! among all that wait.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use qdrant_edge::{EdgeShard, OperationError, OperationResult, UpdateOperation};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::Status;

use crate::compact::{Schedule, Upkeep};
use crate::convert::schema::VectorSpec;
use crate::engine::Engine;
use crate::error::status;
use crate::limits;
use crate::writer::{Job, Write, Writer};

/// Where the writer puts the engine and readers find it. Readers share it; the writer takes it for
/// itself for each operation, so that a page of a scroll never shows half of one, and to reopen it.
/// Empty after a failure until it is open again, and when closed.
pub(crate) type Slot = RwLock<Option<Engine>>;

/// A collection.
pub(crate) struct Shard {
    name: String,
    spec: Option<VectorSpec>,
    slot: Arc<Slot>,
    reads: Semaphore,
    queue: mpsc::Sender<Job>,
    upkeep: Arc<Upkeep>,
    /// The writer's, which may sleep until a compaction is due.
    thread: Thread,
    /// None once closed.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Shard {
    pub(crate) fn open(
        name: &str,
        spec: Option<VectorSpec>,
        dir: PathBuf,
        free_bytes: u64,
    ) -> OperationResult<Arc<Self>> {
        let (engine, journal) = Engine::open(&dir)?;
        let dirty = engine.is_dirty(&dir);
        let upkeep = Arc::new(Upkeep::new(dirty));
        let slot = Arc::new(RwLock::new(Some(engine)));
        let (queue, jobs) = mpsc::channel(limits::QUEUE);
        let writer = Writer {
            dir,
            slot: Arc::clone(&slot),
            journal: Some(journal),
            free_bytes,
            upkeep: Arc::clone(&upkeep),
            schedule: Schedule::new(dirty),
        };
        let thread = std::thread::Builder::new()
            .name("foil-edge-writer".to_owned())
            .spawn(move || writer.run(jobs))?;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            spec,
            slot,
            reads: Semaphore::new(limits::READS),
            queue,
            upkeep,
            thread: thread.thread().clone(),
            writer: Mutex::new(Some(thread)),
        }))
    }

    pub(crate) fn spec(&self) -> Option<VectorSpec> {
        self.spec
    }

    pub(crate) fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    /// Answers once the operation is on disk. `bytes`: its size on the wire.
    pub(crate) async fn write(
        &self,
        operation: UpdateOperation,
        bytes: usize,
    ) -> Result<(), Status> {
        let (reply, answer) = oneshot::channel();
        let write = Box::new(Write {
            operation,
            bytes,
            reply,
        });
        let sent = self
            .queue
            .send_timeout(Job::Write(write), limits::QUEUE_WAIT);
        match sent.await {
            Ok(()) => {
                self.thread.unpark();
                answer.await.map_err(|_| self.closed())?
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(self.closed()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let most = limits::QUEUE;
                let text = format!("queue: {most} writes to `{}` wait already", self.name);
                Err(Status::resource_exhausted(text))
            }
        }
    }

    /// Runs a read beside others. What it sees changes in no way while it runs.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&EdgeShard) -> OperationResult<T> + Send + 'static,
    ) -> Result<T, Status> {
        let _permit = self.reads.acquire().await.map_err(|_| self.closed())?;
        let slot = Arc::clone(&self.slot);
        let work = move || {
            let engine = slot.read().unwrap_or_else(PoisonError::into_inner);
            engine.as_ref().map(|engine| read(engine.shard()))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Some(result)) => result.map_err(|error: OperationError| status(&error)),
            Ok(None) => Err(self.closed()),
            Err(_) => Err(Status::internal("the read failed inside the engine")),
        }
    }

    /// Finishes the writes that wait, flushes and closes the files. Blocks meanwhile.
    pub(crate) fn close(&self) {
        let Some(writer) = lock(&self.writer).take() else {
            return;
        };
        // The writer works through a full queue, so this finds a place; nobody can wait for one
        // here, since the runtime's own threads may be what calls this.
        while let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(Job::Close) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.thread.unpark();
        if writer.join().is_err() {
            tracing::error!(collection = self.name, "the writer panicked");
        }
    }

    fn closed(&self) -> Status {
        Status::unavailable(format!("collection `{}` is closed", self.name))
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("name", &self.name).finish()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that can still be written below `path`.
pub(crate) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests;
