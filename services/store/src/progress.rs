//! How far an erasure came. One that is larger than what an attempt has time for ends in several of
//! them, and what was looked through and stays is not looked through again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use foil_proto::names::stream;
use foil_proto::v1;

use crate::StoreError;

/// Calls of NATS at once.
pub(crate) const IN_FLIGHT: usize = 32;
/// Messages of a part that are looked through before its rest waits its turn again.
pub(crate) const SHARE: u64 = 64;

/// How far an erasure came, for the attempts to come; and how long the present one may go on. It holds
/// the names of profiles, and no text.
#[derive(Debug, Default)]
pub struct Progress {
    until: Until,
    scans: BTreeMap<&'static str, Scan>,
    /// What else was removed from streams; see [`Progress::removed`].
    pub(crate) purged: v1::Removed,
    pub(crate) records: u64,
    pub(crate) items: u64,
    pub(crate) profiles: u64,
    /// Profiles that are to go, and those that are gone.
    pub(crate) keys: BTreeSet<String>,
    pub(crate) keys_gone: HashSet<String>,
    /// The bucket of profiles is looked through before this revision.
    pub(crate) keys_seen: u64,
}

impl Progress {
    /// Lets the next call go on for about `budget`, then it gives [`StoreError::Unfinished`]. However
    /// short that is, each call gets on.
    pub fn allow(&mut self, budget: Duration) {
        self.until = Until(Some(Instant::now() + budget));
    }

    pub(crate) fn until(&self) -> Until {
        self.until
    }

    /// # Errors
    /// When the time is over.
    pub(crate) fn check(&self, operation: &'static str) -> Result<(), StoreError> {
        match self.until.is_over() {
            true => Err(StoreError::Unfinished { operation }),
            false => Ok(()),
        }
    }

    pub(crate) fn scan(&mut self, name: &'static str) -> &mut Scan {
        self.scans.entry(name).or_default()
    }

    /// What all attempts together removed from streams.
    pub(crate) fn removed(&self) -> v1::Removed {
        let of = |name| self.scans.get(name).map_or((0, 0), Scan::counts);
        let (dead_letters, originals) = of(stream::DEAD);
        v1::Removed {
            log: of(stream::UPDATES).0 + originals,
            queued: self.purged.queued + of(stream::GENERATE).0,
            dead_letters,
            ..self.purged
        }
    }
}

/// When an attempt shall stop; without one it may go on.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Until(Option<Instant>);

impl Until {
    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|until| Instant::now() >= until)
    }
}

/// First and last sequence.
pub(crate) type Part = (u64, u64);

/// Of one stream.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Parts up to here were taken in.
    seen: u64,
    waiting: Vec<Part>,
    removed: u64,
    originals: u64,
}

impl Scan {
    /// Where messages begin that it does not know of.
    pub(crate) fn next(&self) -> u64 {
        self.seen + 1
    }

    /// Takes in messages from `first` to `last`, in parts of about the same length.
    pub(crate) fn take_in(&mut self, first: u64, last: u64) {
        let length = (last.saturating_sub(first) / IN_FLIGHT as u64 + 1).max(SHARE);
        let mut from = first;
        while from <= last {
            let to = last.min(from.saturating_add(length - 1));
            self.waiting.push((from, to));
            from = to + 1;
        }
        self.seen = self.seen.max(last);
    }

    pub(crate) fn pop(&mut self) -> Option<Part> {
        self.waiting.pop()
    }

    pub(crate) fn give_back(&mut self, part: Part) {
        self.waiting.push(part);
    }

    /// Of a part that was worked on.
    pub(crate) fn note(&mut self, walked: &Walked) {
        self.removed += walked.removed;
        self.originals += walked.originals;
        let Some((first, last)) = walked.rest else {
            return;
        };
        // Where few parts are left, their messages shall not be worked on one by one.
        let middle = first + (last - first) / 2;
        if self.waiting.len() < IN_FLIGHT && last - first >= SHARE {
            self.waiting.extend([(first, middle), (middle + 1, last)]);
        } else {
            self.waiting.push((first, last));
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages that were removed, and updates behind removed dead letters.
    fn counts(&self) -> (u64, u64) {
        (self.removed, self.originals)
    }
}

/// What became of a part.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) removed: u64,
    /// Updates of the log behind removed dead letters.
    pub(crate) originals: u64,
    pub(crate) rest: Option<Part>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorted, without a gap or an overlap.
    fn is_whole(scan: &Scan, (first, last): Part) -> bool {
        let mut parts = scan.waiting.clone();
        parts.sort_unstable();
        let joined = parts.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0);
        joined && parts[0].0 == first && parts[parts.len() - 1].1 == last
    }

    #[test]
    fn parts_cover_what_was_taken_in() {
        for (first, last) in [(1, 1), (1, 64), (7, 71), (100, 100_000), (3, 10_000_019)] {
            let mut scan = Scan::default();
            scan.take_in(first, last);
            assert!(is_whole(&scan, (first, last)), "{first} {last}");
            assert!(scan.waiting.len() <= IN_FLIGHT);
            assert_eq!(scan.next(), last + 1);
        }
    }

    #[test]
    fn a_rest_waits_in_halves_and_is_not_lost() {
        let mut scan = Scan::default();
        scan.take_in(1, 64);
        assert_eq!(scan.pop(), Some((1, 64)));
        assert!(scan.is_done());
        let rest = |part| Walked {
            removed: 2,
            originals: 1,
            rest: Some(part),
        };
        scan.note(&rest((1, 1_000)));
        assert_eq!(scan.waiting, [(1, 500), (501, 1_000)]);
        scan.note(&rest((1_001, 1_003)));
        assert!(is_whole(&scan, (1, 1_003)));
        assert_eq!(scan.waiting.len(), 3);
        scan.note(&Walked::default());
        assert_eq!(scan.counts(), (4, 2));
    }

    #[test]
    fn without_a_limit_it_is_never_over() {
        let mut progress = Progress::default();
        assert!(progress.check("x").is_ok());
        progress.allow(Duration::ZERO);
        assert!(progress.check("x").is_err());
        progress.allow(Duration::from_secs(600));
        assert!(progress.check("x").is_ok());
    }
}
