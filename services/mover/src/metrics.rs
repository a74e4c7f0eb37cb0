//! Lag, of every stage: seen from here, a stage that is down or scaled to zero has one too. And the
//! fill of every stream.

use std::sync::{Arc, Mutex, PoisonError};

use foil_proto::names::stream;
use foil_runtime::metrics::{KeyValue, Kind, Metric, observed};

use crate::lag::{CONSUMERS, Lag, Seen};

const LAG: Metric = Metric::new(
    Kind::Gauge,
    "foil_consumer_lag",
    &["stage"],
    "messages of a stage's consumer that wait or are delivered and not acknowledged",
);
const AGE: Metric = Metric::new(
    Kind::Gauge,
    "foil_consumer_lag_age_seconds",
    &["stage"],
    "age of the oldest of them",
);
const LIMIT: Metric = Metric::new(
    Kind::Gauge,
    "foil_consumer_lag_limit_ratio",
    &["stage"],
    "the largest share that they take of their stream's limits, age among them",
);
const FOUND: Metric = Metric::new(
    Kind::Gauge,
    "foil_consumer_found",
    &["stage"],
    "1 while a stage's consumer answers",
);
const FILL: Metric = Metric::new(
    Kind::Gauge,
    "foil_stream_fill_ratio",
    &["stream"],
    "the larger of bytes and messages of a stream over their limits",
);
const DEAD_STORED: Metric = Metric::new(
    Kind::Gauge,
    "foil_dead_letters_stored",
    &[],
    "dead letters that are kept now",
);

/// Of this crate.
pub const ALL: &[Metric] = &[LAG, AGE, LIMIT, FOUND, FILL, DEAD_STORED];

/// Tells what a metric has to tell of what was seen.
type Values = fn(&Seen, &mut dyn FnMut(f64, &[KeyValue]));

/// Exports what `seen` holds, whatever that is when somebody asks. So what is not known is told as
/// nothing, not as what it was last.
pub(crate) fn export(seen: &Arc<Mutex<Seen>>) {
    let each = |metric: &Metric, values: Values| {
        let seen = Arc::clone(seen);
        observed(metric, move |tell| {
            values(&seen.lock().unwrap_or_else(PoisonError::into_inner), tell);
        });
    };
    each(&LAG, |seen, tell| {
        for (stage, lag) in known(seen) {
            tell(lag.messages as f64, &[stage]);
        }
    });
    each(&AGE, |seen, tell| {
        for (stage, lag) in known(seen) {
            tell(lag.age().as_secs_f64(), &[stage]);
        }
    });
    each(&LIMIT, |seen, tell| {
        for (stage, stream) in CONSUMERS {
            let lag = seen.lags.get(stage).copied().flatten();
            let room = seen.rooms.get(stream);
            let taken = lag.zip(room).and_then(|(lag, room)| room.fill_by(&lag));
            if let Some(taken) = taken {
                tell(taken, &[KeyValue::new("stage", stage)]);
            }
        }
    });
    each(&FOUND, |seen, tell| {
        for (stage, lag) in &seen.lags {
            tell(f64::from(lag.is_some()), &[KeyValue::new("stage", *stage)]);
        }
    });
    each(&FILL, |seen, tell| {
        for (stream, room) in &seen.rooms {
            if let Some(fill) = room.fill() {
                tell(fill, &[KeyValue::new("stream", stream.clone())]);
            }
        }
    });
    each(&DEAD_STORED, |seen, tell| {
        if let Some(room) = seen.rooms.get(stream::DEAD) {
            tell(room.messages as f64, &[]);
        }
    });
}

fn known(seen: &Seen) -> impl Iterator<Item = (KeyValue, Lag)> {
    let lags = seen.lags.iter();
    lags.filter_map(|(stage, lag)| Some((KeyValue::new("stage", *stage), (*lag)?)))
}
