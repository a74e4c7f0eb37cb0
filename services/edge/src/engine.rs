//! One `EdgeShard`, with its traps fenced off: what panics becomes an error, what a crash left half
//! done is done again, its log is kept from growing for ever, and operation numbers never go back.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use qdrant_edge::{
    DEFAULT_VECTOR_NAME, EdgeConfig, EdgeOptimizersConfig, EdgeShard, EdgeVectorParams,
    OperationError, OperationResult, PointOperations, UpdateOperation, WalOptions,
};

use crate::convert::schema::VectorSpec;
use crate::error::breaks_the_shard;
use crate::journal::Journal;
use crate::limits;
use crate::resolve::resolve;

const SHARD_DIR: &str = "shard";
const JOURNAL_FILE: &str = "journal";

/// An open shard. Closing it is dropping it.
pub(crate) struct Engine {
    /// Always there, but for the moment of the drop.
    shard: Option<EdgeShard>,
    path: PathBuf,
}

impl Engine {
    /// Makes the files of an empty collection in `dir`, which is there and empty.
    pub(crate) fn create(dir: &Path, spec: Option<VectorSpec>) -> OperationResult<()> {
        let mut config = EdgeConfig::builder()
            .optimizers(EdgeOptimizersConfig {
                // An indexed segment is immutable: a point changed afterwards is copied to another
                // segment, and a crash between the two would leave both. Foil reads by payload
                // filter, so no index is missed.
                indexing_threshold: Some(0),
                ..Default::default()
            })
            .wal_options(WalOptions {
                segment_capacity: limits::LOG_FILE_BYTES,
                ..Default::default()
            });
        if let Some(spec) = spec {
            let params = EdgeVectorParams::builder(spec.size, spec.distance).build();
            config = config.vector(DEFAULT_VECTOR_NAME, params);
        }
        let config = config.build();
        let path = dir.join(SHARD_DIR);
        fs::create_dir(&path)?;
        let shard = guarded("create", || EdgeShard::new(&path, config))??;
        drop(Self {
            shard: Some(shard),
            path,
        });
        Ok(())
    }

    /// With everything done that the journal says, which comes back empty.
    pub(crate) fn open(dir: &Path) -> OperationResult<(Self, Journal)> {
        let path = dir.join(SHARD_DIR);
        let (mut journal, operations) = Journal::open(&dir.join(JOURNAL_FILE))?;
        prune_log(&path)?;
        let shard = guarded("open", || EdgeShard::load(&path, None))??;
        let engine = Self {
            shard: Some(shard),
            path,
        };
        engine.skip_numbers()?;
        let again = !operations.is_empty();
        for operation in operations {
            match engine.update(operation) {
                Err(error) if breaks_the_shard(&error) => return Err(error),
                // A payload for a point that a later operation deleted, say.
                Ok(()) | Err(_) => {}
            }
        }
        if again {
            engine.flush()?;
            journal.clear()?;
        }
        Ok((engine, journal))
    }

    pub(crate) fn shard(&self) -> &EdgeShard {
        self.shard.as_ref().expect("only the drop takes it")
    }

    /// See [`resolve`].
    pub(crate) fn resolve(&self, operation: UpdateOperation) -> OperationResult<UpdateOperation> {
        guarded("resolve", || resolve(self.shard(), operation))?
    }

    pub(crate) fn update(&self, operation: UpdateOperation) -> OperationResult<()> {
        guarded("update", || self.shard().update(operation))?
    }

    /// Makes everything applied so far durable. No update may run at the same time.
    pub(crate) fn flush(&self) -> OperationResult<()> {
        guarded("flush", || self.shard().flush())
    }

    /// Removes files of the engine's log that no open will read.
    pub(crate) fn prune(&self) -> OperationResult<()> {
        prune_log(&self.path)
    }

    /// After a power cut the log may have lost its tail while pages of the segments that were
    /// written later did reach the disk. Their operation numbers would then come up a second time,
    /// and the engine skips an operation whose number a point has seen already. So numbers that a
    /// lost tail may have used are passed over.
    fn skip_numbers(&self) -> OperationResult<()> {
        for _ in 0..limits::JOURNAL_ENTRIES + limits::BATCH {
            let nothing = PointOperations::DeletePoints { ids: Vec::new() };
            self.update(UpdateOperation::PointOperation(nothing))?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Dropping a shard flushes it, and that panics when it fails.
        let shard = self.shard.take();
        if guarded("close", move || drop(shard)).is_err() {
            tracing::error!(shard = %self.path.display(), "shard closed without a flush");
        }
    }
}

/// The engine's locks do not poison, and after an error of this kind the shard is reopened anyway.
fn guarded<T>(what: &str, work: impl FnOnce() -> T) -> OperationResult<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let cause = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown cause");
        OperationError::service_error_light(format!("{what} failed: {cause}"))
    })
}

/// The engine appends every operation to a log, reads none of them back, and never shortens it. The
/// newest closed file has to stay, since it holds the number that the open one starts at.
fn prune_log(shard: &Path) -> OperationResult<()> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(shard.join("wal"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let start = name.and_then(|name| name.strip_prefix("closed-"));
        if let Some(start) = start.and_then(|start| start.parse::<u64>().ok()) {
            closed.push((start, path));
        }
    }
    closed.sort_unstable();
    closed.pop();
    // Oldest first: what is left is contiguous at any moment.
    for (_, path) in closed {
        // The running engine maps the file until it is closed, so removing the name alone would
        // free nothing.
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)?;
        fs::remove_file(&path)?;
    }
    Ok(())
}
