//! How full a stream is, and how much of it is work that waits.

use std::time::Duration;

use async_nats::jetstream::stream::Info;
use foil_proto::names::{bucket, stream};

use crate::lag::Lag;

/// Every stream of Foil's, the buckets' among them.
pub(crate) fn streams() -> Vec<String> {
    let buckets = [bucket::PROFILES, bucket::ACTIVE];
    let streams = stream::ALL.into_iter().map(str::to_owned);
    let buckets = buckets.into_iter().map(|name| format!("KV_{name}"));
    streams.chain(buckets).collect()
}

/// What a stream holds, and may hold; no limit is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) max_messages: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age: Option<Duration>,
}

impl From<&Info> for Room {
    fn from(info: &Info) -> Self {
        // NATS writes no limit as -1, or as 0.
        let limit = |set: i64| u64::try_from(set).ok().filter(|set| *set > 0);
        Self {
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_messages: limit(info.config.max_messages),
            max_bytes: limit(info.config.max_bytes),
            max_age: Some(info.config.max_age).filter(|age| !age.is_zero()),
        }
    }
}

impl Room {
    /// The largest share of a limit that is taken, 1 of a full stream; none without a limit.
    pub(crate) fn fill(&self) -> Option<f64> {
        self.taken(1.0)
    }

    /// The same of what `lag` takes alone, and of how old its oldest may become: where it reaches 1,
    /// what nobody has read goes, or new work is refused.
    pub(crate) fn fill_by(&self, lag: &Lag) -> Option<f64> {
        // Both were asked for one after the other, so it may seem to be more than all.
        let share = lag.messages as f64 / self.messages.max(1) as f64;
        let age = self
            .max_age
            .map(|most| lag.age().as_secs_f64() / most.as_secs_f64());
        largest([self.taken(share.min(1.0)), age])
    }

    /// As if its messages were all of one size.
    fn taken(&self, share: f64) -> Option<f64> {
        let part =
            |held: u64, most: Option<u64>| most.map(|most| share * held as f64 / most as f64);
        largest([
            part(self.messages, self.max_messages),
            part(self.bytes, self.max_bytes),
        ])
    }
}

fn largest(ratios: [Option<f64>; 2]) -> Option<f64> {
    ratios.into_iter().flatten().reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-6)
    }

    fn waiting(messages: u64, seconds: u64) -> Lag {
        let oldest = SystemTime::now() - Duration::from_secs(seconds);
        Lag {
            messages,
            oldest: Some(oldest),
        }
    }

    #[test]
    fn the_limit_that_is_nearest_counts() {
        let room = Room {
            messages: 30,
            bytes: 800,
            max_messages: Some(100),
            max_bytes: Some(1_000),
            max_age: None,
        };
        assert!(near(room.fill(), 0.8));
        let by_messages = Room {
            max_bytes: None,
            ..room
        };
        assert!(near(by_messages.fill(), 0.3));
        let endless = Room {
            max_messages: None,
            ..by_messages
        };
        assert_eq!(endless.fill(), None);
        assert_eq!(endless.fill_by(&waiting(30, 9)), None);
    }

    #[test]
    fn a_full_log_that_is_read_is_no_danger_and_an_unread_one_is() {
        let full = Room {
            messages: 100,
            bytes: 1_000,
            max_messages: None,
            max_bytes: Some(1_000),
            max_age: Some(Duration::from_secs(1_000_000)),
        };
        assert!(near(full.fill(), 1.0));
        assert!(near(full.fill_by(&Lag::default()), 0.0));
        assert!(near(full.fill_by(&waiting(5, 10)), 0.05));
        assert!(near(full.fill_by(&waiting(90, 10)), 0.9));
        let more_than_all = full.fill_by(&waiting(101, 10));
        assert!(near(more_than_all, 1.0));
        // Few, and old.
        let old = full.fill_by(&waiting(5, 600_000));
        assert!(old.is_some_and(|old| (0.6..0.61).contains(&old)), "{old:?}");
    }
}
