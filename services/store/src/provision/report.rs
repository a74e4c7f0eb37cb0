//! What `provision` did.

use std::fmt;
use std::time::Duration;

use humantime::format_duration;
use serde::Serialize;
use serde_json::{Map, Value};

/// What was done to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Created,
    /// Its limits were others than the configured ones.
    Updated,
    Unchanged,
}

/// What was done, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProvisionReport {
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Kind and name: "stream FOIL_UPDATES".
    pub what: String,
    pub change: Change,
    /// Settings that were changed; none of what was created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// A setting as NATS names it, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub setting: String,
    pub from: String,
    pub to: String,
}

impl ProvisionReport {
    pub(super) fn add(&mut self, what: String, change: Change, differences: Vec<Difference>) {
        self.entries.push(Entry {
            what,
            change,
            differences,
        });
    }

    /// How many things had this change.
    pub fn count(&self, change: Change) -> usize {
        self.entries.iter().filter(|e| e.change == change).count()
    }
}

impl fmt::Display for ProvisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let change = match entry.change {
                Change::Created => "created",
                Change::Updated => "updated",
                Change::Unchanged => "unchanged",
            };
            write!(f, "{change:9} {}", entry.what)?;
            for (n, Difference { setting, from, to }) in entry.differences.iter().enumerate() {
                let before = if n == 0 { ": " } else { ", " };
                write!(f, "{before}{setting} {from} -> {to}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Settings in which two configurations of one kind differ.
pub(super) fn differences<T: Serialize>(found: &T, merged: &T) -> Vec<Difference> {
    let (found, merged) = (settings(found), settings(merged));
    let mut names: Vec<&String> = found.keys().chain(merged.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let differ = |name: &&String| found.get(*name) != merged.get(*name);
    let difference = |name: &String| Difference {
        setting: name.clone(),
        from: written(name, found.get(name)),
        to: written(name, merged.get(name)),
    };
    names.into_iter().filter(differ).map(difference).collect()
}

fn settings<T: Serialize>(config: &T) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(settings)) => settings,
        // Both are structures that go to the server as objects.
        _ => Map::new(),
    }
}

/// NATS has times in nanoseconds.
fn written(name: &str, value: Option<&Value>) -> String {
    let is_time = ["max_age", "duplicate_window", "ack_wait"].contains(&name);
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => match value.as_u64().filter(|_| is_time) {
            Some(0) => "none".to_owned(),
            Some(nanos) => format_duration(Duration::from_nanos(nanos)).to_string(),
            None => value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::Config;

    use super::*;

    #[test]
    fn a_change_is_told_with_what_was_before() {
        let found = Config {
            max_bytes: 1_024,
            max_age: Duration::from_secs(3_600),
            ..Config::default()
        };
        let merged = Config {
            max_bytes: 2_048,
            max_age: Duration::ZERO,
            ..found.clone()
        };
        let mut report = ProvisionReport::default();
        let told = differences(&found, &merged);
        report.add("stream A".to_owned(), Change::Updated, told);
        report.add("stream B".to_owned(), Change::Unchanged, Vec::new());
        let expected = "updated   stream A: max_age 1h -> none, max_bytes 1024 -> 2048\n\
                        unchanged stream B\n";
        assert_eq!(report.to_string(), expected);
    }
}
