//! The rule by which replicas come and go: KEDA's operator between none and one, and beyond that the
//! HorizontalPodAutoscaler that KEDA makes, both fed with the lag. After kedacore/keda's scale executor
//! and Kubernetes' `podautoscaler` (behaviours of autoscaling/v2); numbers come from the chart.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// `--horizontal-pod-autoscaler-sync-period` of Kubernetes, seconds: its default, which is no value of
/// a chart.
const SYNC_S: f64 = 15.0;
/// `--horizontal-pod-autoscaler-tolerance`, its default: a lag this near to the threshold changes
/// nothing.
const TOLERANCE: f64 = 0.1;

/// What a ScaledObject of the chart says; times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub stream: String,
    pub consumer: String,
    /// Lag of one replica: `lagThreshold`.
    pub threshold: u64,
    /// More than this wakes the first replica.
    pub activation: u64,
    pub min: u32,
    pub max: u32,
    pub polling_s: f64,
    /// Quiet time before zero.
    pub cooldown_s: f64,
    pub up: Direction,
    pub down: Direction,
}

/// How fast replicas come, or go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// `stabilizationWindowSeconds`.
    pub window_s: f64,
    pub policies: Vec<Policy>,
}

/// At most this many within a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub kind: Unit,
    pub value: u32,
    pub period_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Pods,
    Percent,
}

/// Decides about one stage. Times are seconds of the rule, from the start.
#[derive(Debug)]
pub struct Scaler {
    rule: Rule,
    next_poll: f64,
    next_sync: f64,
    last_active: Option<f64>,
    /// What was recommended when, before any smoothing.
    recommended: VecDeque<(f64, u32)>,
    added: VecDeque<(f64, u32)>,
    removed: VecDeque<(f64, u32)>,
}

impl Scaler {
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            next_poll: 0.0,
            next_sync: 0.0,
            last_active: None,
            recommended: VecDeque::new(),
            added: VecDeque::new(),
            removed: VecDeque::new(),
        }
    }

    /// How many replicas there should be at `now`, with `lag` messages waiting or unacknowledged.
    pub fn wanted(&mut self, now: f64, replicas: u32, lag: u64) -> u32 {
        let mut wanted = replicas;
        if now >= self.next_poll {
            self.next_poll = now + self.rule.polling_s;
            wanted = self.poll(now, wanted, lag);
        }
        if now >= self.next_sync {
            self.next_sync = now + SYNC_S;
            wanted = self.sync(now, wanted, lag);
        }
        wanted
    }

    /// KEDA's operator: only from none, and to none.
    fn poll(&mut self, now: f64, replicas: u32, lag: u64) -> u32 {
        let rule = &self.rule;
        if lag > rule.activation {
            self.last_active = Some(now);
            return if replicas == 0 {
                rule.min.max(1)
            } else {
                replicas
            };
        }
        let quiet = self.last_active.map(|at| now - at);
        let cool = quiet.is_none_or(|quiet| quiet > rule.cooldown_s);
        match rule.min {
            0 if cool => 0,
            min => replicas.max(min),
        }
    }

    /// One pass of the HorizontalPodAutoscaler, which is off while there is no replica.
    fn sync(&mut self, now: f64, replicas: u32, lag: u64) -> u32 {
        if replicas == 0 {
            return 0;
        }
        let usage = lag as f64 / (self.rule.threshold as f64 * f64::from(replicas));
        let desired = if (usage - 1.0).abs() <= TOLERANCE {
            replicas
        } else {
            u32::try_from(lag.div_ceil(self.rule.threshold)).unwrap_or(u32::MAX)
        };
        let stable = self.stabilised(now, replicas, desired);
        let wanted = self.limited(now, replicas, stable);
        let changed = |events: &mut VecDeque<_>, count| events.push_back((now, count));
        if wanted > replicas {
            changed(&mut self.added, wanted - replicas);
        } else if wanted < replicas {
            changed(&mut self.removed, replicas - wanted);
        }
        wanted
    }

    /// As few as any recommendation of the window for more asked for, and as many as any of the one for
    /// less.
    fn stabilised(&mut self, now: f64, replicas: u32, desired: u32) -> u32 {
        self.recommended.push_back((now, desired));
        let longest = self.rule.up.window_s.max(self.rule.down.window_s);
        self.recommended.retain(|(at, _)| *at > now - longest - 1.0);
        let within = |window: f64| {
            let all = self.recommended.iter();
            let past = all.filter(move |(at, _)| *at > now - window);
            past.map(|(_, count)| *count).chain([desired])
        };
        let up = within(self.rule.up.window_s).min().unwrap_or(desired);
        let down = within(self.rule.down.window_s).max().unwrap_or(desired);
        replicas.clamp(up, down)
    }

    fn limited(&mut self, now: f64, replicas: u32, wanted: u32) -> u32 {
        let (min, max) = (self.rule.min.max(1), self.rule.max);
        if wanted > replicas {
            let started = |policy: &Policy| replicas - recent(&self.added, now, policy.period_s);
            let limits = self.rule.up.policies.iter().map(|policy| {
                let started = started(policy);
                match policy.kind {
                    Unit::Pods => started + policy.value,
                    Unit::Percent => {
                        let grown = f64::from(started) * (1.0 + f64::from(policy.value) / 100.0);
                        grown.ceil() as u32
                    }
                }
            });
            let limit = limits.max().unwrap_or(max).max(replicas);
            return wanted.min(limit).min(max);
        }
        let started = |policy: &Policy| replicas + recent(&self.removed, now, policy.period_s);
        let limits = self.rule.down.policies.iter().map(|policy| {
            let started = started(policy);
            match policy.kind {
                Unit::Pods => started.saturating_sub(policy.value),
                Unit::Percent => {
                    let kept = f64::from(started) * (1.0 - f64::from(policy.value) / 100.0);
                    kept as u32
                }
            }
        });
        let limit = limits.min().unwrap_or(min).min(replicas);
        wanted.max(limit).max(min)
    }
}

/// How many came, or went, within the last `period` seconds.
fn recent(events: &VecDeque<(f64, u32)>, now: f64, period: f64) -> u32 {
    let recent = events.iter().filter(|(at, _)| *at > now - period);
    recent.map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests;
