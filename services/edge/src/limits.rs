//! Every limit of the server in one place.

use std::time::Duration;

/// Largest message, either way.
pub(crate) const MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Most points in one upsert, ids in one call, and values in one list of a filter.
pub(crate) const IDS_PER_CALL: usize = 16_384;
/// Most points in one page, and values in one facet.
pub(crate) const PAGE: usize = 16_384;
/// Page when the caller names none; Qdrant's own default.
pub(crate) const DEFAULT_PAGE: usize = 10;
/// Most conditions in one filter, nested ones included.
pub(crate) const CONDITIONS: usize = 1_024;
/// Longest vector.
pub(crate) const DIMENSION: u64 = 65_536;
/// Most collections in a data directory.
pub(crate) const COLLECTIONS: usize = 64;
/// Writes that wait for one collection's writer.
pub(crate) const QUEUE: usize = 1_024;
/// How long a write waits for a place in that queue.
pub(crate) const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// Writes that share one sync.
pub(crate) const BATCH: usize = 256;
/// Bytes of writes that share one sync; a larger write is a batch of its own.
pub(crate) const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Reads of one collection that run at once; the others wait in order.
pub(crate) const READS: usize = 16;
/// Space that must stay free: the engine writes through sparse memory-mapped files, and running out
/// there is not an error but a signal that ends the process.
pub(crate) const FREE_BYTES: u64 = 128 * 1024 * 1024;
/// Space that opening a collection needs, beside twice its journal: two files of the engine's log.
pub(crate) const OPEN_BYTES: u64 = 2 * LOG_FILE_BYTES as u64;
/// Operations in the journal that make the engine flush: what a start after a crash does again.
pub(crate) const JOURNAL_ENTRIES: usize = 2_048;
/// Bytes in the journal that make the engine flush.
pub(crate) const JOURNAL_BYTES: u64 = 32 * 1024 * 1024;
/// Size of one file of the engine's log.
pub(crate) const LOG_FILE_BYTES: usize = 16 * 1024 * 1024;
/// A collection is compacted once nothing was written to it for this long,
pub(crate) const COMPACT_QUIET: Duration = Duration::from_secs(2);
/// or this long after something was first removed from it, which then holds writes up;
pub(crate) const COMPACT_LATEST: Duration = Duration::from_secs(20);
/// and never before this many times what the last compaction took are over, nor, after one that
/// failed, before [`COMPACT_LATEST`].
pub(crate) const COMPACT_REST: u32 = 20;
/// Points that a compaction copies at once.
pub(crate) const COMPACT_PAGE: usize = 256;
/// How long a shutdown waits for calls in progress.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
