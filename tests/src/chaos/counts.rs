//! What the stages' own metrics say, summed over all the lives of each process: a killed one takes
//! its counters with it, so they are read once a second and right before each blow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::fleet::Process;

/// Sums of a process, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Inputs that were delivered more than once.
    pub redelivered: u64,
    /// Updates that the store had already, or had newer.
    pub repeated: u64,
}

/// By the name of the process: what its earlier lives counted, and the present one.
#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<String, (Sums, Sums)>>);

impl Counts {
    /// Reads the counters of a process that answers.
    pub fn read(&self, process: &Process) {
        if let Some(text) = process.metrics() {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(process.name.clone()).or_default().1 = parse(&text);
        }
    }

    /// Its life ends: the next one counts from 0.
    pub fn close(&self, process: &Process) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (earlier, present) = all.entry(process.name.clone()).or_default();
        earlier.redelivered += present.redelivered;
        earlier.repeated += present.repeated;
        *present = Sums::default();
    }

    /// Of all processes.
    pub fn total(&self) -> Sums {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let both = all
            .values()
            .flat_map(|(earlier, present)| [earlier, present]);
        both.fold(Sums::default(), |sum, more| Sums {
            redelivered: sum.redelivered + more.redelivered,
            repeated: sum.repeated + more.repeated,
        })
    }
}

fn parse(text: &str) -> Sums {
    let sum = |name: &str, labels: &[&str]| {
        let lines = text.lines().filter(|line| {
            line.starts_with(&format!("{name}{{")) && labels.iter().all(|l| line.contains(l))
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    };
    Sums {
        redelivered: sum("foil_redeliveries_total", &[]),
        repeated: sum(
            "foil_messages_total",
            &["stage=\"embedder\"", "reason=\"stale\""],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_text_of_prometheus() {
        let text = "# TYPE foil_messages_total counter\n\
            foil_messages_total{outcome=\"skip\",reason=\"stale\",stage=\"embedder\"} 12\n\
            foil_messages_total{outcome=\"ok\",reason=\"\",stage=\"embedder\"} 99\n\
            foil_redeliveries_total{stage=\"embedder\"} 7\n";
        let sums = Sums {
            redelivered: 7,
            repeated: 12,
        };
        assert_eq!(parse(text), sums);
    }
}
