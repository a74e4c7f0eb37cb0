//! What came out of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drive::Sample;
use super::fresh::Update;
use super::rules::Rules;
use super::{Options, Row};

/// Points of the curve of freshness.
const POINTS: usize = 240;
/// Least efficiency of more replicas that holds.
const EFFICIENCY_MIN: f64 = 0.9;
/// More than this of the processors, and the measurement is one of them rather than of replicas.
const PROCESSORS_MAX: f64 = 0.75;

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub options: Options,
    /// The chart's.
    pub rules: Rules,
    pub machine: Machine,
    pub burst: Option<Burst>,
    pub speedup: Vec<Speed>,
    pub wrong: Vec<String>,
}

/// What it ran on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Of the run's end, in UTC.
    pub date: String,
    /// What it calls itself.
    pub processor: String,
    pub cores: usize,
    /// Load over a minute, before and in the end.
    pub load_before: f64,
    pub load_after: f64,
}

/// A measurement beside the one with the fewest replicas.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    #[serde(flatten)]
    pub row: Row,
    pub speedup: f64,
    /// Speed-up for each replica: 1 is linear.
    pub efficiency: f64,
}

/// How the bursts went.
#[derive(Clone, Debug, Serialize)]
pub struct Burst {
    /// When each of them began, seconds.
    pub started: Vec<f64>,
    pub seconds: f64,
    pub moves: BTreeMap<&'static str, Moves>,
    pub freshness: Freshness,
    /// Longest time from SIGTERM to the end of a process, seconds.
    pub slowest_end: f64,
    pub samples: Vec<Sample>,
    pub wrong: Vec<String>,
}

/// How the replicas of a stage changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Moves {
    pub least: u32,
    pub most: u32,
    /// Longest lag.
    pub lag: u64,
    /// When, seconds, and to how many.
    pub changes: Vec<(f64, u32)>,
    /// Changes from more to fewer, or from fewer to more.
    pub turns: usize,
    /// Shortest time from a replica's end to the next one's start, seconds; none: none came after one
    /// had gone.
    pub back: Option<f64>,
}

/// Seconds from publishing an update to the profile that holds its difference.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Freshness {
    pub updates: usize,
    pub median: f64,
    pub p95: f64,
    pub worst: f64,
    pub points: Vec<Point>,
}

/// At one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    /// Seconds since the start.
    pub s: f64,
    /// Updates that a profile holds.
    pub fresh: usize,
    /// Published ones that none holds.
    pub waiting: usize,
    /// Age of the oldest of these, seconds; 0 when there is none.
    pub oldest: f64,
}

impl Report {
    pub(super) fn new(
        options: Options,
        rules: Rules,
        machine: Machine,
        burst: Option<Burst>,
        rows: Vec<Row>,
    ) -> Self {
        let mut wrong: Vec<String> = burst.iter().flat_map(|b| b.wrong.clone()).collect();
        if let Some(burst) = &burst {
            for (stage, moves) in &burst.moves {
                if let Some(rule) = rules.scaled(stage) {
                    let window = rule.down.window_s / options.compression;
                    let flaps = moves.flaps(window).into_iter();
                    wrong.extend(flaps.map(|at| format!("{stage} flaps at {at:.0} s")));
                }
            }
        }
        let one = rows
            .first()
            .map(|row| row.seconds * f64::from(row.replicas));
        let speedup: Vec<Speed> = rows
            .into_iter()
            .map(|row| {
                let speedup = one.unwrap_or_default() / row.seconds;
                let efficiency = speedup / f64::from(row.replicas);
                Speed {
                    row,
                    speedup,
                    efficiency,
                }
            })
            .collect();
        for Speed {
            row, efficiency, ..
        } in &speedup
        {
            let whose = format!("{} replicas", row.replicas);
            wrong.extend(row.wrong.iter().map(|what| format!("{whose}: {what}")));
            if *efficiency < EFFICIENCY_MIN {
                wrong.push(format!("{whose}: efficiency {efficiency:.2}"));
            }
            if row.processors > PROCESSORS_MAX * machine.cores as f64 {
                let used = row.processors;
                wrong.push(format!("{whose}: {used:.1} processors: they are the limit"));
            }
        }
        Self {
            options,
            rules,
            machine,
            burst,
            speedup,
            wrong,
        }
    }

    /// Whether all holds.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}

impl Burst {
    pub(super) fn new(
        samples: Vec<Sample>,
        started: &[f64],
        updates: &[Update],
        origin_ms: i64,
        slowest_end: f64,
        wrong: Vec<String>,
    ) -> Self {
        let seconds = samples.last().map_or(0.0, |sample| sample.s);
        let mut moves: BTreeMap<&'static str, Moves> = BTreeMap::new();
        for sample in &samples {
            for (stage, at) in &sample.stages {
                let moves = moves.entry(stage).or_insert_with(|| Moves {
                    least: at.replicas,
                    ..Moves::default()
                });
                moves.take(sample.s, at.replicas, at.lag);
            }
        }
        for moves in moves.values_mut() {
            let after = moves.returns().into_iter().map(|(_, after)| after);
            moves.back = after.min_by(f64::total_cmp);
        }
        Self {
            started: started.to_vec(),
            seconds,
            moves,
            freshness: Freshness::of(updates, origin_ms, seconds),
            slowest_end,
            samples,
            wrong,
        }
    }
}

impl Moves {
    fn take(&mut self, s: f64, replicas: u32, lag: u64) {
        self.least = self.least.min(replicas);
        self.most = self.most.max(replicas);
        self.lag = self.lag.max(lag);
        if self
            .changes
            .last()
            .is_none_or(|(_, last)| *last != replicas)
        {
            self.changes.push((s, replicas));
            if let [.., (_, before), (_, last), (_, now)] = self.changes[..] {
                self.turns += usize::from((before < last) != (last < now));
            }
        }
    }
}

impl Moves {
    /// When a replica came after one had gone, and how many seconds after.
    fn returns(&self) -> Vec<(f64, f64)> {
        let (mut before, mut gone) = (None, None);
        let mut found = Vec::new();
        for &(at, now) in &self.changes {
            let fewer = before.is_some_and(|before| now < before);
            if let (false, Some(gone)) = (fewer, gone) {
                found.push((at, at - gone));
            }
            gone = if fewer { Some(at) } else { gone };
            before = Some(now);
        }
        found
    }

    /// When a replica came within `window` seconds after one had gone: it was let go too early.
    fn flaps(&self, window: f64) -> Vec<f64> {
        let all = self.returns().into_iter();
        let early = all.filter(|(_, after)| *after < window);
        early.map(|(at, _)| at).collect()
    }
}

impl Freshness {
    fn of(updates: &[Update], origin_ms: i64, seconds: f64) -> Self {
        let s = |ms: i64| (ms - origin_ms) as f64 / 1000.0;
        let fresh = updates.iter().filter_map(|update| {
            let took = (update.fresh_ms? - update.published_ms) as f64 / 1000.0;
            Some(took)
        });
        let mut took: Vec<f64> = fresh.collect();
        took.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = took.len().saturating_sub(1) as f64;
            took.get((last * share) as usize).copied().unwrap_or(0.0)
        };
        let points = (0..=POINTS).map(|number| {
            let now = seconds * number as f64 / POINTS as f64;
            let there = updates.iter().filter(|u| s(u.published_ms) <= now);
            let (fresh, waiting): (Vec<&Update>, Vec<&Update>) =
                there.partition(|u| u.fresh_ms.is_some_and(|ms| s(ms) <= now));
            let oldest = waiting.iter().map(|u| u.published_ms).min();
            Point {
                s: now,
                fresh: fresh.len(),
                waiting: waiting.len(),
                oldest: oldest.map_or(0.0, |ms| now - s(ms)),
            }
        });
        Self {
            updates: took.len(),
            median: at(0.5),
            p95: at(0.95),
            worst: at(1.0),
            points: points.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted() {
        let mut moves = Moves::default();
        for (s, replicas) in [2, 2, 4, 8, 8, 7, 6, 7].into_iter().enumerate() {
            moves.take(s as f64, replicas, 0);
        }
        assert_eq!((moves.most, moves.turns), (8, 2));
    }

    #[test]
    fn a_replica_that_is_missed_soon_after_it_went_is_a_flap() {
        let moves = |last: f64| Moves {
            changes: vec![(0.0, 2), (5.0, 4), (40.0, 3), (46.0, 2), (last, 3)],
            ..Moves::default()
        };
        assert_eq!(moves(60.0).flaps(30.0), [60.0]);
        assert_eq!(moves(77.0).flaps(30.0), [0.0; 0]);
    }

    #[test]
    fn an_update_waits_until_a_profile_holds_it() {
        let update = |published_ms, fresh_ms| Update {
            published_ms,
            fresh_ms,
        };
        let updates = [update(1_000, Some(5_000)), update(2_000, None)];
        let fresh = Freshness::of(&updates, 0, 10.0);
        assert_eq!((fresh.updates, fresh.median, fresh.worst), (1, 4.0, 4.0));
        let last = fresh.points.last().unwrap();
        assert_eq!((last.fresh, last.waiting, last.oldest), (1, 1, 8.0));
    }
}
