//! Deliveries that failed for no fault of the input do not count towards its limit, or a full stream
//! downstream would empty this one into the dead letters.
//!
//! The server counts every delivery; what is excused is kept here, in memory: outputs or a dead letter
//! that could not be stored, and what was given back before a handler saw it. After a restart, or on
//! another instance, the server's count stands. So there is nothing to excuse in a delivery that a
//! shutdown cut, and an input that as many shutdowns cut as there are attempts is taken for poison, as
//! is one that as many instances gave back: nobody can tell it from one that killed them, and that one
//! must end among the dead letters. Nothing is lost by it; it can be published again from there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// More inputs are forgotten, oldest first.
const INPUTS_MAX: usize = 8192;

/// How many deliveries are excused, by stream sequence.
#[derive(Debug, Default)]
pub(crate) struct Excused(Mutex<BTreeMap<u64, u64>>);

impl Excused {
    pub(crate) fn count(&self, sequence: u64) -> u64 {
        self.map().get(&sequence).copied().unwrap_or(0)
    }

    pub(crate) fn add(&self, sequence: u64) {
        let mut map = self.map();
        *map.entry(sequence).or_insert(0) += 1;
        if map.len() > INPUTS_MAX {
            map.pop_first();
        }
    }

    pub(crate) fn forget(&self, sequence: u64) {
        self.map().remove(&sequence);
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        // Single map operations only: no half-done state behind a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_per_input_and_is_bounded() {
        let excused = Excused::default();
        excused.add(7);
        excused.add(7);
        assert_eq!((excused.count(7), excused.count(8)), (2, 0));
        excused.forget(7);
        assert_eq!(excused.count(7), 0);
        for sequence in 0..INPUTS_MAX as u64 + 10 {
            excused.add(sequence);
        }
        assert_eq!(excused.map().len(), INPUTS_MAX);
        assert_eq!((excused.count(9), excused.count(10)), (0, 1));
    }
}
