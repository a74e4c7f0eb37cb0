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
    pub(super) filter: &'static str,
}

/// What the defaults of one stream are.
struct Default_ {
    bytes: u64,
    messages: u64,
    age: Duration,
    /// Largest message with its headers, bytes.
    message: u64,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn base(
    config: &ProvisionConfig,
    name: &str,
    subjects: &[&str],
    limits: Limits,
    defaults: &Default_,
) -> Config {
    Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
        max_bytes: signed(limits.max_bytes.unwrap_or(defaults.bytes)),
        max_messages: signed(limits.max_messages.unwrap_or(defaults.messages)),
        max_messages_per_subject: -1,
        max_age: limits.max_age.unwrap_or(defaults.age),
        max_message_size: i32::try_from(defaults.message).unwrap_or(i32::MAX),
        storage: StorageType::File,
        num_replicas: usize::from(config.replicas),
        duplicate_window: config.duplicate_window,
        max_consumers: -1,
        allow_direct: true,
        ..Config::default()
    }
}

fn log(stream: Config) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        ..stream
    }
}

/// One message a subject: a newer one takes the place of a waiting one. When it is full, what is new
/// is refused, since dropping what is old would lose work.
fn work(stream: Config) -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        ..stream
    }
}

fn stage_of(stream: Config, stage: &'static str, filter: &'static str) -> Spec {
    Spec {
        stream,
        consumer: Some(Consumer { stage, filter }),
    }
}

/// Every stream, in the order of the flow, then the buckets.
pub(super) fn specs(config: &ProvisionConfig) -> Vec<Spec> {
    let tokens = |bytes| Default_ {
        bytes,
        messages: 1_000_000,
        age: 30 * DAY,
        message: 16 * KIB,
    };
    let updates = Default_ {
        bytes: 1_024 * MIB,
        messages: 10_000_000,
        age: 7 * DAY,
        // Larger than any valid update, so that an oversized one is dead-lettered with a reason; and
        // small enough that its copy, with the reason in its headers, fits the server's 1 MiB.
        message: 960 * KIB,
    };
    let update = subject::UPDATE_ALL;
    let updates = log(base(
        config,
        stream::UPDATES,
        &[update],
        config.updates,
        &updates,
    ));

    let select = subject::SELECT_ALL;
    let selects = work(base(
        config,
        stream::SELECT,
        &[select],
        config.select,
        &tokens(128 * MIB),
    ));
    let extract = subject::EXTRACT_ALL;
    let extracts = tokens(256 * MIB);
    let extracts = work(base(
        config,
        stream::EXTRACT,
        &[extract],
        config.extract,
        &extracts,
    ));

    let profile = [subject::PROFILE_ALL, subject::PROFILE_SCHEDULE_ALL];
    let profiles = Config {
        allow_message_schedules: true,
        allow_message_ttl: true,
        allow_rollup: true, // a schedule that fires replaces what waits on its target
        ..work(base(
            config,
            stream::PROFILE,
            &profile,
            config.profile,
            &tokens(128 * MIB),
        ))
    };

    let requests = Default_ {
        bytes: 64 * MIB,
        messages: 10_000,
        age: HOUR,
        message: 64 * KIB,
    };
    let generate = subject::GENERATE_ALL;
    let generates = base(
        config,
        stream::GENERATE,
        &[generate],
        config.generate,
        &requests,
    );
    let generates = Config {
        max_messages_per_subject: -1, // requests of one tenant are not one piece of work
        allow_message_ttl: true,
        ..work(generates)
    };

    let mut specs = vec![
        stage_of(updates, stage::EMBEDDER, update),
        stage_of(selects, stage::SELECTOR, select),
        stage_of(extracts, stage::EXTRACTOR, extract),
        // A schedule waiting to fire is no work.
        stage_of(profiles, stage::PROFILER, subject::PROFILE_ALL),
        stage_of(generates, stage::GENERATOR, generate),
    ];
    specs.extend(unworked(config).into_iter().map(|stream| Spec {
        stream,
        consumer: None,
    }));
    specs
}

/// What no stage works on.
fn unworked(config: &ProvisionConfig) -> [Config; 4] {
    let events = Default_ {
        bytes: 256 * MIB,
        messages: 10_000_000,
        age: 7 * DAY,
        message: 16 * KIB,
    };
    let dead = Default_ {
        bytes: 256 * MIB,
        messages: 1_000_000,
        age: 30 * DAY,
        message: MIB,
    };
    let dead = base(
        config,
        stream::DEAD,
        &[subject::DEAD_ALL],
        config.dead,
        &dead,
    );
    let profiles = Default_ {
        bytes: 512 * MIB,
        messages: 100_000_000,
        age: Duration::ZERO, // a profile stays until its user is erased
        message: PROFILE_BYTES_MAX as u64 + 4 * KIB,
    };
    let active = Default_ {
        bytes: 64 * MIB,
        messages: 10_000_000,
        age: 30 * DAY,
        message: KIB + 3 * 320, // headers, and a value of one byte
    };
    [
        log(base(
            config,
            stream::EVENTS,
            &[subject::EVENT_ALL],
            config.events,
            &events,
        )),
        Config {
            // No dead letter goes to make room for another.
            discard: DiscardPolicy::New,
            ..log(dead)
        },
        key_value(
            config,
            bucket::PROFILES,
            config.profiles,
            &profiles,
            HISTORY,
        ),
        key_value(config, bucket::ACTIVE, config.active, &active, 1),
    ]
}

/// As a NATS client makes a key-value bucket.
fn key_value(
    config: &ProvisionConfig,
    name: &str,
    limits: Limits,
    defaults: &Default_,
    history: usize,
) -> Config {
    let subjects = format!("$KV.{name}.>");
    Config {
        max_messages_per_subject: signed(history as u64),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_message_ttl: true,
        ..base(
            config,
            &format!("KV_{name}"),
            &[&subjects],
            limits,
            defaults,
        )
    }
}
