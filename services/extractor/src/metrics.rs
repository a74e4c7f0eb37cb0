//! What was found.

use std::sync::LazyLock;

use foil_proto::v1;
use foil_runtime::metrics::{Counter, KeyValue, Kind, Metric, counter};

const DIFFERENCES: Metric = Metric::new(
    Kind::Counter,
    "foil_differences_total",
    &["criterion"],
    "findings of stored differences",
);

/// Of this crate.
pub const ALL: &[Metric] = &[DIFFERENCES];

/// Notes a difference that was stored.
pub(crate) fn stored(difference: &v1::Difference) {
    static FINDINGS: LazyLock<Counter<u64>> = LazyLock::new(|| counter(&DIFFERENCES));
    for finding in &difference.findings {
        let criterion = KeyValue::new("criterion", finding.criterion.clone());
        FINDINGS.add(1, &[criterion]);
    }
}
