//! Erasures that take more than one attempt: how far each came is kept between them, in memory. After
//! a restart, or on another instance, what is removed is removed still, and the rest is looked through
//! again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foil_store::Progress;

/// More are forgotten, oldest first.
const ERASURES_MAX: usize = 64;
/// Part of an attempt's time after which an erasure stops, so that it can end what it is at and what
/// comes after.
const BUDGET: f64 = 0.5;

/// By sequence of the erasing update.
#[derive(Debug, Default)]
pub(crate) struct Erasures(Mutex<BTreeMap<u64, Progress>>);

impl Erasures {
    /// What an attempt that may take `timeout` begins with.
    pub(crate) fn resume(&self, sequence: u64, timeout: Duration) -> Progress {
        let mut progress = self.map().remove(&sequence).unwrap_or_default();
        progress.allow(timeout.mul_f64(BUDGET));
        progress
    }

    /// Keeps it for the next attempt, if this one has failed or ran out of time.
    pub(crate) fn note<T, E>(&self, sequence: u64, progress: Progress, result: &Result<T, E>) {
        if result.is_ok() {
            return;
        }
        let mut map = self.map();
        map.insert(sequence, progress);
        if map.len() > ERASURES_MAX {
            map.pop_first();
        }
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<u64, Progress>> {
        // Single map operations only: no half-done state behind a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_is_unfinished_and_is_bounded() {
        let erasures = Erasures::default();
        let timeout = Duration::from_secs(60);
        let note = |sequence, result: Result<(), ()>| {
            let progress = erasures.resume(sequence, timeout);
            erasures.note(sequence, progress, &result);
        };
        note(7, Err(()));
        assert!(erasures.map().contains_key(&7));
        note(7, Ok(()));
        assert!(erasures.map().is_empty());
        for sequence in 0..ERASURES_MAX as u64 + 10 {
            note(sequence, Err(()));
        }
        assert_eq!(erasures.map().len(), ERASURES_MAX);
        assert!(!erasures.map().contains_key(&9));
        assert!(erasures.map().contains_key(&10));
    }
}
