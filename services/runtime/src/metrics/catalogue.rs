//! What is exported: each crate has one such list, and deploy/metrics.md is all of them.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum` and `_count` on `/metrics`.
    Histogram,
}

impl Kind {
    /// As in Prometheus' `# TYPE` lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric, under its name on `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// Every label of every series, of closed sets: never a user, never a text.
    pub labels: &'static [&'static str],
    /// Its help line.
    pub about: &'static str,
}

impl Metric {
    /// Of this kind.
    pub const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            about,
        }
    }
}

/// Of the process.
pub const START_TIME: Metric = Metric::new(
    Kind::Gauge,
    "foil_start_time_seconds",
    &["service", "version"],
    "when this process started, seconds since 1970",
);
/// Of the process.
pub const CHECK_UP: Metric = Metric::new(
    Kind::Gauge,
    "foil_check_up",
    &["check"],
    "1 while a check of readyz is up",
);
/// Throughput.
pub const MESSAGES: Metric = Metric::new(
    Kind::Counter,
    "foil_messages_total",
    &["stage", "outcome", "reason"],
    "settled inputs",
);
/// From pull to settlement.
pub const HANDLE_DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_handle_duration_seconds",
    &["stage", "outcome"],
    "seconds from the pull of an input to its settlement",
);
/// Before the pull.
pub const WAIT_DURATION: Metric = Metric::new(
    Kind::Histogram,
    "foil_wait_duration_seconds",
    &["stage"],
    "seconds from an input's storage in its stream to its first start",
);
/// Of [`PERMITS`].
pub const INFLIGHT: Metric = Metric::new(
    Kind::Gauge,
    "foil_inflight",
    &["stage"],
    "inputs being worked on",
);
/// The most that [`INFLIGHT`] can be.
pub const PERMITS: Metric = Metric::new(
    Kind::Gauge,
    "foil_permits",
    &["stage"],
    "inputs worked on at once, at most",
);
/// Inputs that came again.
pub const REDELIVERIES: Metric = Metric::new(
    Kind::Counter,
    "foil_redeliveries_total",
    &["stage"],
    "inputs delivered more than once",
);
/// Inputs that were given up.
pub const DEAD_LETTERS: Metric = Metric::new(
    Kind::Counter,
    "foil_dead_letters_total",
    &["stage", "reason"],
    "inputs copied to the dead letters",
);
/// Outputs.
pub const PUBLISHED: Metric = Metric::new(
    Kind::Counter,
    "foil_published_total",
    &["stage"],
    "stored outputs",
);
/// Trouble with the consumer.
pub const PULL_ERRORS: Metric = Metric::new(
    Kind::Counter,
    "foil_pull_errors_total",
    &["stage"],
    "failed pull requests and look-ups of the consumer",
);

/// The runtime's own.
pub const ALL: &[Metric] = &[
    START_TIME,
    CHECK_UP,
    MESSAGES,
    HANDLE_DURATION,
    WAIT_DURATION,
    INFLIGHT,
    PERMITS,
    REDELIVERIES,
    DEAD_LETTERS,
    PUBLISHED,
    PULL_ERRORS,
];
