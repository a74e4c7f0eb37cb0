//! How fresh profiles are.

use std::sync::LazyLock;

use foil_runtime::metrics::{Counter, Histogram, KeyValue, Kind, Metric, counter, histogram};

use crate::gather;

const FRESHNESS: Metric = Metric::new(
    Kind::Histogram,
    "foil_freshness_seconds",
    &["strategy"],
    "seconds from an update to the stored profile that holds it",
);
const VERSIONS: Metric = Metric::new(
    Kind::Counter,
    "foil_profile_versions_total",
    &["strategy"],
    "profile versions stored",
);

/// Of this crate.
pub const ALL: &[Metric] = &[FRESHNESS, VERSIONS];

/// From a debounce of seconds to a backlog of a day.
const SECONDS: [f64; 15] = [
    1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0,
    43_200.0, 86_400.0,
];

fn versions() -> &'static Counter<u64> {
    static VERSIONS_STORED: LazyLock<Counter<u64>> = LazyLock::new(|| counter(&VERSIONS));
    &VERSIONS_STORED
}

/// Says that this process stores versions of each kind, none so far.
pub(crate) fn start_at_zero() {
    for strategy in gather::STRATEGIES {
        versions().add(0, &[KeyValue::new("strategy", strategy)]);
    }
}

/// Notes a version that was stored now, for an update of that time; milliseconds since 1970.
pub(crate) fn stored(strategy: &str, updated_at_ms: i64, now_ms: i64) {
    static AGES: LazyLock<Histogram<f64>> = LazyLock::new(|| histogram(&FRESHNESS, &SECONDS));
    let labels = [KeyValue::new("strategy", strategy.to_owned())];
    versions().add(1, &labels);
    let age_ms = now_ms.saturating_sub(updated_at_ms).max(0);
    AGES.record(age_ms as f64 / 1_000.0, &labels);
}
