//! What callers get.

use std::sync::LazyLock;
use std::time::SystemTime;

use foil_runtime::metrics::{
    Counter, Histogram, KeyValue, Kind, Metric, SECONDS, counter, histogram,
};

const REPLIES: Metric = Metric::new(
    Kind::Counter,
    "foil_replies_total",
    &["strategy", "degraded", "result"],
    "replies to requests",
);
const DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_reply_duration_seconds",
    &["result"],
    "seconds from a request's storage to the last part of its reply",
);

/// Of this crate.
pub const ALL: &[Metric] = &[REPLIES, DURATION];

/// Notes the end of a reply. `served`: the strategy, and why it is less than what was asked for.
pub(crate) fn replied(served: &(String, String), result: &'static str, asked_at: SystemTime) {
    static COUNTS: LazyLock<Counter<u64>> = LazyLock::new(|| counter(&REPLIES));
    static DURATIONS: LazyLock<Histogram<f64>> = LazyLock::new(|| histogram(&DURATION, &SECONDS));
    let (strategy, degraded) = served;
    let result = KeyValue::new("result", result);
    let took = asked_at.elapsed().unwrap_or_default();
    DURATIONS.record(took.as_secs_f64(), std::slice::from_ref(&result));
    let labels = [
        KeyValue::new("strategy", strategy.clone()),
        KeyValue::new("degraded", degraded.clone()),
        result,
    ];
    COUNTS.add(1, &labels);
}
