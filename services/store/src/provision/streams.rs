//! The streams, their consumers and the buckets, as they shall be.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use foil_proto::names::{bucket, stage, stream, subject};

use super::config::{Limits, ProvisionConfig};
use crate::check_input::PROFILE_BYTES_MAX;
use crate::profiles::HISTORY;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A stream, and the stage that works on it.
pub(super) struct Spec {
    pub(super) stream: Config,
    pub(super) consumer: Option<Consumer>,
}

/// A durable pull consumer: it is named as its stage.
pub(super) struct Consumer {
    pub(super) stage: &'static str,
    /// Empty: everything in the stream.
    pub(super) filter: &'static str,
    /// -1 for no end.
    pub(super) max_deliver: i64,
}

/// Every stream, in the order of the flow, then the buckets.
pub(super) fn specs(config: &ProvisionConfig) -> Vec<Spec> {
    let consumed = |stream, stage, filter, max_deliver| {
        let consumer = Consumer {
            stage,
            filter,
            max_deliver,
        };
        let consumer = Some(consumer);
        Spec { stream, consumer }
    };
    let staged =
        |stream, stage, filter| consumed(stream, stage, filter, i64::from(config.max_deliver));
    let plain = |stream| Spec {
        stream,
        consumer: None,
    };
    vec![
        staged(updates(config), stage::EMBEDDER, subject::UPDATE_ALL),
        staged(select(config), stage::SELECTOR, subject::SELECT_ALL),
        staged(extract(config), stage::EXTRACTOR, subject::EXTRACT_ALL),
        // Without the schedules: one that waits to fire is no work.
        staged(profile(config), stage::PROFILER, subject::PROFILE_ALL),
        staged(generate(config), stage::GENERATOR, subject::GENERATE_ALL),
        plain(events(config)),
        plain(dead(config)),
        // Nobody would move what is given up here.
        consumed(advisories(config), stage::MOVER, "", -1),
        plain(profiles(config)),
        plain(active(config)),
    ]
}

/// A stream's defaults.
struct Plan<'a> {
    name: &'a str,
    subjects: &'a [&'a str],
    /// On disk.
    bytes: u64,
    messages: u64,
    age: Duration,
    /// Largest message with its headers, bytes.
    message: u64,
}

impl Plan<'_> {
    /// A log: when it is full its oldest messages go.
    fn log(&self, config: &ProvisionConfig, limits: Limits) -> Config {
        Config {
            name: self.name.to_owned(),
            subjects: self.subjects.iter().map(|s| (*s).to_owned()).collect(),
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_bytes: signed(limits.max_bytes.unwrap_or(self.bytes)),
            max_messages: signed(limits.max_messages.unwrap_or(self.messages)),
            max_messages_per_subject: -1,
            max_age: limits.max_age.unwrap_or(self.age),
            max_message_size: i32::try_from(self.message).unwrap_or(i32::MAX),
            max_consumers: -1,
            storage: StorageType::File,
            num_replicas: usize::from(config.replicas),
            duplicate_window: config.duplicate_window,
            allow_direct: true,
            ..Config::default()
        }
    }

    /// A queue with one message a subject: a newer one takes the place of a waiting one. When it is
    /// full, what is new is refused, since dropping what is old would lose work.
    fn work(&self, config: &ProvisionConfig, limits: Limits) -> Config {
        Config {
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_messages_per_subject: 1,
            ..self.log(config, limits)
        }
    }

    /// As a NATS client makes a key-value bucket, with a time to live for each key.
    fn key_value(&self, config: &ProvisionConfig, limits: Limits, history: usize) -> Config {
        Config {
            discard: DiscardPolicy::New,
            max_messages_per_subject: signed(history as u64),
            allow_rollup: true,
            deny_delete: true,
            allow_message_ttl: true,
            ..self.log(config, limits)
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn updates(config: &ProvisionConfig) -> Config {
    let plan = Plan {
        name: stream::UPDATES,
        subjects: &[subject::UPDATE_ALL],
        bytes: 1_024 * MIB,
        messages: 10_000_000,
        age: 7 * DAY,
        // Larger than any valid update, so that an oversized one is dead-lettered with a reason; and
        // small enough that its copy, with the reason in its headers, fits the server's 1 MiB.
        message: 992 * KIB,
    };
    plan.log(config, config.updates)
}

/// A queue of keys.
fn tokens<'a>(name: &'a str, subjects: &'a [&'a str], bytes: u64) -> Plan<'a> {
    Plan {
        name,
        subjects,
        bytes,
        messages: 1_000_000,
        age: 30 * DAY,
        message: 16 * KIB,
    }
}

fn select(config: &ProvisionConfig) -> Config {
    let subjects = [subject::SELECT_ALL];
    tokens(stream::SELECT, &subjects, 128 * MIB).work(config, config.select)
}

fn extract(config: &ProvisionConfig) -> Config {
    let subjects = [subject::EXTRACT_ALL];
    tokens(stream::EXTRACT, &subjects, 256 * MIB).work(config, config.extract)
}

fn profile(config: &ProvisionConfig) -> Config {
    let subjects = [subject::PROFILE_ALL, subject::PROFILE_SCHEDULE_ALL];
    let plan = tokens(stream::PROFILE, &subjects, 128 * MIB);
    Config {
        allow_message_schedules: true,
        allow_message_ttl: true,
        allow_rollup: true, // the server asks for it with schedules
        // The server allows no other one with schedules. A user whose work goes that way is
        // profiled at their next update.
        discard: DiscardPolicy::Old,
        max_messages: signed(config.profile.max_messages.unwrap_or(10_000_000)),
        ..plan.work(config, config.profile)
    }
}

fn generate(config: &ProvisionConfig) -> Config {
    let plan = Plan {
        name: stream::GENERATE,
        subjects: &[subject::GENERATE_ALL],
        bytes: 64 * MIB,
        messages: 10_000,
        age: HOUR,
        message: 64 * KIB,
    };
    Config {
        max_messages_per_subject: -1, // requests of one tenant are not one piece of work
        allow_message_ttl: true,
        ..plan.work(config, config.generate)
    }
}

fn events(config: &ProvisionConfig) -> Config {
    let plan = Plan {
        name: stream::EVENTS,
        subjects: &[subject::EVENT_ALL],
        bytes: 256 * MIB,
        messages: 10_000_000,
        age: 7 * DAY,
        message: 16 * KIB,
    };
    plan.log(config, config.events)
}

fn dead(config: &ProvisionConfig) -> Config {
    let plan = Plan {
        name: stream::DEAD,
        subjects: &[subject::DEAD_ALL],
        bytes: 256 * MIB,
        messages: 1_000_000,
        age: 30 * DAY,
        message: MIB,
    };
    let log = plan.log(config, config.dead);
    // So that who is killed between the copy and the end of its input, and comes back within the
    // hour, makes no second copy.
    let window = HOUR.min(log.max_age).max(config.duplicate_window);
    Config {
        discard: DiscardPolicy::New, // no dead letter goes to make room for another
        duplicate_window: window,
        ..log
    }
}

/// Of Foil's own consumers: what another's gives up is that one's affair.
fn advisories(config: &ProvisionConfig) -> Config {
    let subjects = stage::INPUTS.map(|(stage, stream)| subject::given_up(stream, stage));
    let plan = Plan {
        name: stream::ADVISORIES,
        subjects: &subjects.each_ref().map(String::as_str),
        bytes: 16 * MIB,
        messages: 100_000,
        age: 7 * DAY,
        message: 16 * KIB,
    };
    plan.log(config, config.advisories)
}

fn profiles(config: &ProvisionConfig) -> Config {
    let plan = Plan {
        name: &format!("KV_{}", bucket::PROFILES),
        subjects: &[&format!("$KV.{}.>", bucket::PROFILES)],
        bytes: 512 * MIB,
        messages: 100_000_000,
        age: Duration::ZERO, // a profile stays until its user is erased
        message: PROFILE_BYTES_MAX as u64 + 4 * KIB,
    };
    Config {
        deny_delete: false, // an erasure overwrites version by version
        ..plan.key_value(config, config.profiles, HISTORY)
    }
}

fn active(config: &ProvisionConfig) -> Config {
    let plan = Plan {
        name: &format!("KV_{}", bucket::ACTIVE),
        subjects: &[&format!("$KV.{}.>", bucket::ACTIVE)],
        bytes: 64 * MIB,
        messages: 10_000_000,
        age: 30 * DAY,
        message: 2 * KIB,
    };
    plan.key_value(config, config.active, 1)
}
