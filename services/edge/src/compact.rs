//! Compaction: what was deleted or replaced goes from the disk too.
//!
//! The engine keeps the bytes of what is deleted or replaced: in its storage, since its own optimiser
//! rewrites only what is mostly dead, and in its log. So everything that lives is copied to a new
//! shard, which then takes the place of the old one at one moment, and the old one's files are
//! removed. The writer does it, so nothing changes meanwhile; reads go on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use qdrant_edge::{
    OperationError, OperationResult, PointId, PointInsertOperations, PointOperations,
    PointStructPersisted, Record, ScrollRequest, UpdateOperation, VectorStructPersisted,
    WithPayloadInterface, WithVector,
};

use crate::engine::Engine;
use crate::limits;

/// What readers may know of it.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Dead bytes may be on disk.
    dirty: AtomicBool,
    /// Writes that removed something, since the collection was opened.
    removals: AtomicU64,
    /// How many of those are gone from the disk.
    compacted: AtomicU64,
}

impl Upkeep {
    pub(crate) fn new(dirty: bool) -> Self {
        Self {
            dirty: dirty.into(),
            // What was removed before counts as one.
            removals: u64::from(dirty).into(),
            compacted: 0.into(),
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::SeqCst)
    }

    /// Removals, and how many of them are compacted away.
    pub(crate) fn counts(&self) -> (u64, u64) {
        // In this order: what is compacted was removed before.
        let compacted = self.compacted.load(Ordering::SeqCst);
        (self.removals.load(Ordering::SeqCst), compacted)
    }

    pub(crate) fn removed(&self) {
        self.removals.fetch_add(1, Ordering::SeqCst);
        self.dirty.store(true, Ordering::SeqCst);
    }

    pub(crate) fn compacted(&self) {
        let removals = self.removals.load(Ordering::SeqCst);
        self.compacted.store(removals, Ordering::SeqCst);
        self.dirty.store(false, Ordering::SeqCst);
    }
}

/// When the writer compacts.
pub(crate) struct Schedule {
    dirty_since: Option<Instant>,
    last_write: Instant,
    /// Not before.
    rested: Instant,
}

impl Schedule {
    pub(crate) fn new(dirty: bool) -> Self {
        let now = Instant::now();
        Self {
            dirty_since: dirty.then_some(now),
            last_write: now,
            rested: now,
        }
    }

    pub(crate) fn wrote(&mut self, dirty: bool) {
        self.last_write = Instant::now();
        if dirty && self.dirty_since.is_none() {
            self.dirty_since = Some(self.last_write);
        }
    }

    /// How long until a compaction is due if nothing more is written, and whether it then must not be
    /// put off for writes. None: nothing is to be done.
    pub(crate) fn due(&self) -> Option<(Duration, bool)> {
        let latest = self.dirty_since? + limits::COMPACT_LATEST;
        let quiet = self.last_write + limits::COMPACT_QUIET;
        let now = Instant::now();
        let due = latest.min(quiet).max(self.rested);
        Some((due.saturating_duration_since(now), now >= latest))
    }

    pub(crate) fn finished(&mut self, took: Duration) {
        self.dirty_since = None;
        self.rested = Instant::now() + took * limits::COMPACT_REST;
    }

    pub(crate) fn failed(&mut self) {
        self.rested = Instant::now() + limits::COMPACT_LATEST;
    }
}

/// The new shard with all that is in `old`, in place of it on disk; none where `give_up` became true
/// on the way. After an error the disk says which of them counts ([`Engine::is_current`]), and the
/// other one is left there.
pub(crate) fn copy(
    old: &Engine,
    dir: &Path,
    give_up: impl Fn() -> bool,
) -> OperationResult<Option<Engine>> {
    let new = old.sibling(dir)?;
    if copy_points(old, &new, give_up)? {
        new.succeed(dir)?;
        return Ok(Some(new));
    }
    if let Err(error) = new.discard() {
        tracing::warn!(%error, "files of an unfinished compaction are left");
    }
    Ok(None)
}

fn copy_points(old: &Engine, new: &Engine, give_up: impl Fn() -> bool) -> OperationResult<bool> {
    let mut next = None;
    loop {
        if give_up() {
            return Ok(false);
        }
        let (records, offset) = page(old, next)?;
        let points = records.into_iter().map(point).collect();
        new.update(UpdateOperation::PointOperation(
            PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)),
        ))?;
        next = offset;
        if next.is_none() {
            break;
        }
    }
    let (was, is) = (old.shard().info(), new.shard().info());
    if was.points_count != is.points_count {
        let (was, is) = (was.points_count, is.points_count);
        let text = format!("{is} of {was} points were copied");
        return Err(OperationError::service_error_light(text));
    }
    Ok(true)
}

fn page(
    engine: &Engine,
    offset: Option<PointId>,
) -> OperationResult<(Vec<Record>, Option<PointId>)> {
    engine.scroll(ScrollRequest {
        offset,
        limit: Some(limits::COMPACT_PAGE),
        filter: None,
        with_payload: Some(WithPayloadInterface::Bool(true)),
        with_vector: WithVector::Bool(true),
        order_by: None,
    })
}

fn point(record: Record) -> PointStructPersisted {
    PointStructPersisted {
        id: record.id,
        payload: record.payload,
        vector: match record.vector {
            Some(vector) => VectorStructPersisted::from(vector),
            None => VectorStructPersisted::Named(std::collections::HashMap::new()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> Instant {
        Instant::now()
            .checked_sub(Duration::from_secs(seconds))
            .expect("the machine runs for longer")
    }

    fn schedule(dirty: Option<u64>, last_write: u64) -> Schedule {
        Schedule {
            dirty_since: dirty.map(ago),
            last_write: ago(last_write),
            rested: ago(1_000),
        }
    }

    #[test]
    fn it_waits_for_quiet_but_not_for_ever() {
        assert!(schedule(None, 500).due().is_none());
        let (wait, must) = schedule(Some(10), 0).due().unwrap();
        assert!(wait > Duration::ZERO && wait <= limits::COMPACT_QUIET && !must);
        let (wait, must) = schedule(Some(10), 3).due().unwrap();
        assert!(wait.is_zero() && !must);
        let (wait, must) = schedule(Some(61), 0).due().unwrap();
        assert!(wait.is_zero() && must);
    }

    #[test]
    fn it_rests_in_proportion_to_what_it_took() {
        let mut schedule = schedule(Some(500), 500);
        schedule.finished(Duration::from_secs(3));
        schedule.wrote(true);
        let (wait, _) = schedule.due().unwrap();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60));
    }

    #[test]
    fn what_is_removed_after_a_compaction_is_not_counted_as_gone() {
        let upkeep = Upkeep::new(true);
        assert_eq!(upkeep.counts(), (1, 0));
        upkeep.removed();
        upkeep.compacted();
        assert_eq!((upkeep.counts(), upkeep.is_dirty()), ((2, 2), false));
        upkeep.removed();
        assert_eq!((upkeep.counts(), upkeep.is_dirty()), ((3, 2), true));
    }
}
