//! The section `[provision]`.

use std::time::Duration;

use foil_runtime::config::{Faults, Validate};
use serde::{Deserialize, Serialize};

/// Limits of what is provisioned. Section `[provision]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisionConfig {
    /// Copies of each stream and bucket: 1, 3 or 5.
    pub replicas: u8,
    /// How long a delivered message waits for its ack or heartbeat before it is delivered again.
    #[serde(with = "humantime_serde")]
    pub ack_wait: Duration,
    /// Deliveries of one message after which NATS gives it up and the mover takes it to the dead
    /// letters. For messages that kill a worker before it counts deliveries itself; so far above
    /// `worker.max_deliveries`, since waiting for a full stream costs deliveries too.
    pub max_deliver: u32,
    /// Most messages of a stage in progress at once, over all its workers.
    pub max_ack_pending: u32,
    /// How long a `Nats-Msg-Id` is remembered.
    #[serde(with = "humantime_serde")]
    pub duplicate_window: Duration,
    /// Whether a limit may become smaller than what is stored. What is above it then goes at once, the
    /// oldest first; so this is for one run.
    pub drop_excess: bool,
    /// The log of updates. When it is full its oldest messages go, so it must hold more than the
    /// embedder may lag behind.
    pub updates: Limits,
    /// Work queues; when one is full, publishing to it fails and the stage before it waits. Only
    /// `profile` makes room for what is new: the server allows nothing else with schedules.
    pub select: Limits,
    pub extract: Limits,
    pub profile: Limits,
    pub generate: Limits,
    /// The log of events; when it is full its oldest messages go.
    pub events: Limits,
    /// Dead letters; when it is full, what should go there is delivered again until there is room.
    pub dead: Limits,
    /// The log of what NATS gave up; when it is full its oldest messages go, and what they tell of
    /// stays in its stream.
    pub advisories: Limits,
    /// The bucket of profile versions.
    pub profiles: Limits,
    /// The bucket of users asked for lately; `max_age` is the longest window a worker may use.
    pub active: Limits,
    /// Copies of each Qdrant collection.
    pub qdrant_replicas: u32,
    /// Shards of each Qdrant collection.
    pub qdrant_shards: u32,
}

/// Limits of one stream or bucket; what is absent has Foil's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes on disk.
    pub max_bytes: Option<u64>,
    pub max_messages: Option<u64>,
    #[serde(with = "humantime_serde::option")]
    pub max_age: Option<Duration>,
}

impl Default for ProvisionConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            ack_wait: Duration::from_secs(60),
            max_deliver: 100,
            max_ack_pending: 1_024,
            duplicate_window: Duration::from_secs(120),
            drop_excess: false,
            updates: Limits::default(),
            select: Limits::default(),
            extract: Limits::default(),
            profile: Limits::default(),
            generate: Limits::default(),
            events: Limits::default(),
            dead: Limits::default(),
            advisories: Limits::default(),
            profiles: Limits::default(),
            active: Limits::default(),
            qdrant_replicas: 1,
            qdrant_shards: 1,
        }
    }
}

impl ProvisionConfig {
    /// With Foil's default in the place of each limit that is absent; one that is absent still is
    /// no limit at all.
    #[must_use]
    pub fn effective(&self) -> Self {
        let mut all = super::streams::specs(self).into_iter().map(|spec| Limits {
            max_bytes: u64::try_from(spec.stream.max_bytes).ok(),
            max_messages: u64::try_from(spec.stream.max_messages).ok(),
            max_age: Some(spec.stream.max_age).filter(|age| !age.is_zero()),
        });
        let mut next = || all.next().expect("there are as many specs as limits");
        Self {
            updates: next(),
            select: next(),
            extract: next(),
            profile: next(),
            generate: next(),
            events: next(),
            dead: next(),
            advisories: next(),
            profiles: next(),
            active: next(),
            ..self.clone()
        }
    }
}

impl Validate for ProvisionConfig {
    fn validate(&self, faults: &mut Faults) {
        let odd = [1, 3, 5].contains(&self.replicas);
        faults.require(odd, "replicas", "is none of 1, 3, 5");
        let seconds = Duration::from_secs;
        faults.require(
            (seconds(1)..=seconds(3_600)).contains(&self.ack_wait),
            "ack_wait",
            "is not within 1 s and 1 h",
        );
        faults.require(
            (2..=100_000).contains(&self.max_deliver),
            "max_deliver",
            "is not within 2 and 100000",
        );
        faults.require(
            (1..=100_000).contains(&self.max_ack_pending),
            "max_ack_pending",
            "is not within 1 and 100000",
        );
        faults.require(
            (seconds(1)..=seconds(3_600)).contains(&self.duplicate_window),
            "duplicate_window",
            "is not within 1 s and 1 h",
        );
        for (name, limits) in [
            ("updates", &self.updates),
            ("select", &self.select),
            ("extract", &self.extract),
            ("profile", &self.profile),
            ("generate", &self.generate),
            ("events", &self.events),
            ("dead", &self.dead),
            ("advisories", &self.advisories),
            ("profiles", &self.profiles),
            ("active", &self.active),
        ] {
            let mut section = |ok: bool, key: &str, problem: &str| {
                faults.require(ok, &format!("{name}.{key}"), problem);
            };
            let bytes = limits.max_bytes.unwrap_or(1 << 30);
            let most = i64::MAX.unsigned_abs();
            let fits = (1 << 20..=most).contains(&bytes);
            section(fits, "max_bytes", "is not within 1 MiB and 8 EiB");
            let messages = limits.max_messages.unwrap_or(1);
            let fits = (1..=most).contains(&messages);
            section(fits, "max_messages", "is not at least 1");
            let age = limits.max_age.unwrap_or(seconds(3_600));
            let fits = age >= self.duplicate_window;
            section(
                fits,
                "max_age",
                "is shorter than provision.duplicate_window",
            );
        }
        faults.require(
            (1..=16).contains(&self.qdrant_replicas),
            "qdrant_replicas",
            "is not within 1 and 16",
        );
        faults.require(
            (1..=256).contains(&self.qdrant_shards),
            "qdrant_shards",
            "is not within 1 and 256",
        );
    }
}
