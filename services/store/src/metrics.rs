//! What calls of Qdrant take.

use std::sync::LazyLock;
use std::time::Duration;

use foil_runtime::metrics::{Histogram, KeyValue, Kind, Metric, SECONDS, histogram};

const DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_store_duration_seconds",
    &["operation", "collection", "outcome"],
    "seconds that a call of qdrant takes",
);

/// Of this crate.
pub const ALL: &[Metric] = &[DURATION];

pub(crate) fn called(
    operation: &'static str,
    collection: &'static str,
    outcome: &'static str,
    took: Duration,
) {
    static DURATIONS: LazyLock<Histogram<f64>> = LazyLock::new(|| histogram(&DURATION, &SECONDS));
    let labels = [
        KeyValue::new("operation", operation),
        KeyValue::new("collection", collection),
        KeyValue::new("outcome", outcome),
    ];
    DURATIONS.record(took.as_secs_f64(), &labels);
}
