//! One `EdgeShard`, with its traps fenced off: what panics becomes an error, what a crash left half
//! done is done again, its log is kept from growing for ever, and operation numbers never go back.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use qdrant_edge::{
    CreateIndex, DEFAULT_VECTOR_NAME, EdgeConfig, EdgeOptimizersConfig, EdgeShard,
    EdgeVectorParams, FieldIndexOperations, OperationError, OperationResult, PayloadFieldSchema,
    PointId, PointOperations, Record, ScrollRequest, UpdateOperation, WalOptions,
};
use uuid::Uuid;

use crate::convert::schema::VectorSpec;
use crate::error::breaks_the_shard;
use crate::journal::Journal;
use crate::limits;
use crate::resolve::{removes, resolve};
use crate::shard::free_bytes;

/// Where a collection's first shard is; those that compaction makes are `shard-<uuid>`.
const SHARD_DIR: &str = "shard";
/// Names the shard that counts. None: an earlier version made the collection.
const CURRENT_FILE: &str = "current";
/// In a shard's directory, from before the first write that removes something.
const DIRTY_FILE: &str = "dirty";
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
        drop(Self::make(&dir.join(SHARD_DIR), config.build())?);
        point_at(dir, SHARD_DIR)?;
        Ok(())
    }

    fn make(path: &Path, config: EdgeConfig) -> OperationResult<Self> {
        fs::create_dir(path)?;
        let shard = guarded("create", || EdgeShard::new(path, config))??;
        Ok(Self {
            shard: Some(shard),
            path: path.to_owned(),
        })
    }

    /// An empty one of the same shape beside this one. It counts for nothing until
    /// [`Engine::succeed`]; the next open removes it.
    pub(crate) fn sibling(&self, dir: &Path) -> OperationResult<Self> {
        let path = dir.join(format!("{SHARD_DIR}-{}", Uuid::new_v4()));
        let config = self.shard().config().clone();
        let new = Self::make(&path, config)?;
        for (field_name, index) in self.shard().info().payload_schema {
            let field_schema =
                PayloadFieldSchema::try_from(index).map_err(OperationError::service_error_light)?;
            new.update(UpdateOperation::FieldIndexOperation(
                FieldIndexOperations::CreateIndex(CreateIndex {
                    field_name,
                    field_schema: Some(field_schema),
                }),
            ))?;
        }
        Ok(new)
    }

    /// From here on this is the collection's shard, after a crash too. It holds all that the one
    /// before held, and the journal is empty.
    pub(crate) fn succeed(&self, dir: &Path) -> OperationResult<()> {
        self.flush()?;
        sync_tree(&self.path)?;
        let name = self.path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| OperationError::service_error_light("shard has no name"))?;
        Ok(point_at(dir, name)?)
    }

    /// Whether it is the one that the next open takes.
    pub(crate) fn is_current(&self, dir: &Path) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| current(dir).is_ok_and(|current| current == name))
    }

    /// Removes what an earlier compaction left.
    pub(crate) fn remove_others(&self, dir: &Path) -> std::io::Result<()> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        remove_others(dir, name.unwrap_or_default())
    }

    /// Whether a write may have removed something since the shard was made.
    pub(crate) fn is_dirty(&self, dir: &Path) -> bool {
        self.path.join(DIRTY_FILE).exists() || !dir.join(CURRENT_FILE).exists()
    }

    /// Notes, on disk, that the next write may remove something.
    pub(crate) fn set_dirty(&self) -> std::io::Result<()> {
        File::create(self.path.join(DIRTY_FILE))?;
        sync_dir(&self.path)
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> std::io::Result<u64> {
        let mut bytes = 0;
        walk(&self.path, &mut |entry| {
            // Its files are sparse.
            bytes += 512 * entry.metadata()?.blocks();
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Closes it and removes its files.
    pub(crate) fn discard(self) -> std::io::Result<()> {
        let path = self.path.clone();
        drop(self);
        fs::remove_dir_all(path)
    }

    /// With everything done that the journal says, which comes back empty.
    pub(crate) fn open(dir: &Path) -> OperationResult<(Self, Journal)> {
        let name = current(dir)?;
        let path = dir.join(&name);
        remove_others(dir, &name)?;
        let (mut journal, operations) = Journal::open(&dir.join(JOURNAL_FILE))?;
        check_room(dir, journal.len())?;
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

    /// See [`removes`].
    pub(crate) fn removes(&self, operation: &UpdateOperation) -> OperationResult<bool> {
        guarded("look", || removes(self.shard(), operation))?
    }

    pub(crate) fn scroll(
        &self,
        request: ScrollRequest,
    ) -> OperationResult<(Vec<Record>, Option<PointId>)> {
        guarded("scroll", || self.shard().scroll(request))?
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

/// Opening writes: what the journal says, and new files of the engine's log. See
/// [`limits::FREE_BYTES`] for what would happen without room.
fn check_room(dir: &Path, journal: u64) -> OperationResult<()> {
    let needed = limits::OPEN_BYTES + 2 * journal;
    let free = free_bytes(dir)?;
    if free < needed {
        let text = format!("the disk is full: {free} bytes are free, opening needs {needed}");
        return Err(OperationError::service_error_light(text));
    }
    Ok(())
}

/// Name of the shard that counts.
fn current(dir: &Path) -> std::io::Result<String> {
    match fs::read_to_string(dir.join(CURRENT_FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(SHARD_DIR.to_owned()),
        read => read,
    }
}

/// Which shard counts, changed at one moment.
fn point_at(dir: &Path, name: &str) -> std::io::Result<()> {
    let new = dir.join("current.new");
    let mut file = File::create(&new)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, dir.join(CURRENT_FILE))?;
    sync_dir(dir)
}

/// What a compaction left that did not come to its end, or the shard that it replaced.
fn remove_others(dir: &Path, current: &str) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_shard = name
            .to_str()
            .is_some_and(|name| name.starts_with(SHARD_DIR));
        if is_shard && name != current && dir.join(current).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Every file of a shard survives a power cut from here on. Its own files only: a sync of the file
/// system would wait for everybody's.
fn sync_tree(path: &Path) -> std::io::Result<()> {
    walk(path, &mut |entry| File::open(entry.path())?.sync_all())?;
    File::open(path)?.sync_all()
}

fn walk(
    path: &Path,
    visit: &mut impl FnMut(&fs::DirEntry) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), visit)?;
        }
        visit(&entry)?;
    }
    Ok(())
}

/// A rename or a new file survives a power cut once its directory is synced.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
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
