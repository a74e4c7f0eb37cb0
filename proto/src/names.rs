//! Every subject, stream, consumer, bucket and header name: here and nowhere else.

use crate::token::encode;

/// Streams.
pub mod stream {
    pub const UPDATES: &str = "FOIL_UPDATES";
    pub const SELECT: &str = "FOIL_SELECT";
    pub const EXTRACT: &str = "FOIL_EXTRACT";
    pub const PROFILE: &str = "FOIL_PROFILE";
    pub const GENERATE: &str = "FOIL_GENERATE";
    pub const EVENTS: &str = "FOIL_EVENTS";
    pub const DEAD: &str = "FOIL_DEAD";
    /// What NATS says of messages that it gave up.
    pub const ADVISORIES: &str = "FOIL_ADVISORIES";
    /// In the order of the flow, then what is beside it; the buckets' streams are not among them.
    pub const ALL: [&str; 8] = [
        UPDATES, SELECT, EXTRACT, PROFILE, GENERATE, EVENTS, DEAD, ADVISORIES,
    ];
}

/// Stages; each one's durable consumer, binary (`foil-<stage>`) and configuration carry its name.
pub mod stage {
    use super::stream;

    pub const EMBEDDER: &str = "embedder";
    pub const SELECTOR: &str = "selector";
    pub const EXTRACTOR: &str = "extractor";
    pub const PROFILER: &str = "profiler";
    pub const GENERATOR: &str = "generator";
    /// Beside the flow: brings what NATS gave up to the dead letters.
    pub const MOVER: &str = "mover";
    /// In the order of the flow, then the one beside it.
    pub const ALL: [&str; 6] = [EMBEDDER, SELECTOR, EXTRACTOR, PROFILER, GENERATOR, MOVER];
    /// Those of the flow, each with the stream that it works on.
    pub const INPUTS: [(&str, &str); 5] = [
        (EMBEDDER, stream::UPDATES),
        (SELECTOR, stream::SELECT),
        (EXTRACTOR, stream::EXTRACT),
        (PROFILER, stream::PROFILE),
        (GENERATOR, stream::GENERATE),
    ];
}

/// Key-value buckets.
pub mod bucket {
    /// `<t>.<u>`: profile versions with history.
    pub const PROFILES: &str = "FOIL_PROFILES";
    /// `<t>.<u>`: who was asked for lately, with a time to live.
    pub const ACTIVE: &str = "FOIL_ACTIVE";
}

/// Qdrant collections.
pub mod collection {
    /// Records with vectors and differences.
    pub const RECORDS: &str = "foil_records";
    /// Items: title and description.
    pub const ITEMS: &str = "foil_items";
    /// What is known of users beside their records: opt-outs and erasures.
    pub const USERS: &str = "foil_users";
}

/// Message headers.
pub mod header {
    /// Inbox a generation reply streams to.
    pub const REPLY_TO: &str = "Foil-Reply-To";
    /// When the update behind this work was published: milliseconds since 1970, decimal.
    pub const UPDATED_AT: &str = "Foil-Updated-At";
    /// On dead letters: why, of the closed set of reasons.
    pub const DEAD_REASON: &str = "Foil-Dead-Reason";
    /// On dead letters: the error's text, for a person.
    pub const DEAD_ERROR: &str = "Foil-Dead-Error";
    /// On dead letters: the stage that gave up.
    pub const DEAD_STAGE: &str = "Foil-Dead-Stage";
    /// On dead letters: the original subject.
    pub const DEAD_SUBJECT: &str = "Foil-Dead-Subject";
    /// On dead letters: the original stream.
    pub const DEAD_STREAM: &str = "Foil-Dead-Stream";
    /// On dead letters: the original sequence.
    pub const DEAD_SEQUENCE: &str = "Foil-Dead-Sequence";
    /// On dead letters: how often it was delivered.
    pub const DEAD_DELIVERIES: &str = "Foil-Dead-Deliveries";
    /// On dead letters: when, RFC 3339.
    pub const DEAD_AT: &str = "Foil-Dead-At";
    /// On dead letters: version of the service.
    pub const DEAD_VERSION: &str = "Foil-Dead-Version";
    /// On dead letters: the original `Nats-Msg-Id`.
    pub const DEAD_MESSAGE_ID: &str = "Foil-Dead-Message-Id";

    /// On a marker in FOIL_PROFILES: the version after which counting goes on.
    pub const LAST_VERSION: &str = "Foil-Last-Version";

    /// On events: CloudEvents' attributes, as its binding for NATS has them in binary mode.
    pub const CE_SPECVERSION: &str = "ce-specversion";
    /// The same as [`MESSAGE_ID`]: of two events with one id one is a duplicate.
    pub const CE_ID: &str = "ce-id";
    pub const CE_SOURCE: &str = "ce-source";
    pub const CE_TYPE: &str = "ce-type";
    pub const CE_TIME: &str = "ce-time";
    pub const CE_SUBJECT: &str = "ce-subject";
    pub const CE_DATACONTENTTYPE: &str = "ce-datacontenttype";

    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    pub const TTL: &str = "Nats-TTL";
    pub const SCHEDULE: &str = "Nats-Schedule";
    pub const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    pub const TRACESTATE: &str = "tracestate";
}

/// Subjects; ids go in raw and come out as tokens.
pub mod subject {
    use super::encode;

    pub const UPDATE_ALL: &str = "foil.v1.update.>";
    pub const SELECT_ALL: &str = "foil.v1.select.>";
    pub const EXTRACT_ALL: &str = "foil.v1.extract.>";
    pub const PROFILE_ALL: &str = "foil.v1.profile.>";
    pub const PROFILE_SCHEDULE_ALL: &str = "foil.v1.schedule.profile.>";
    pub const GENERATE_ALL: &str = "foil.v1.generate.>";
    pub const EVENT_ALL: &str = "foil.v1.event.>";
    pub const DEAD_ALL: &str = "foil.v1.dead.>";
    const FOIL: &str = "foil.v1.";

    /// The class a person waits for.
    pub const CLASS_INTERACTIVE: &str = "interactive";

    pub fn update(tenant: &str, user: &str) -> String {
        format!("foil.v1.update.{}.{}", encode(tenant), encode(user))
    }
    pub fn select(tenant: &str, item: &str) -> String {
        format!("foil.v1.select.{}.{}", encode(tenant), encode(item))
    }
    pub fn extract(tenant: &str, user: &str, item: &str) -> String {
        let (t, u, i) = (encode(tenant), encode(user), encode(item));
        format!("foil.v1.extract.{t}.{u}.{i}")
    }
    pub fn profile(tenant: &str, user: &str) -> String {
        format!("foil.v1.profile.{}.{}", encode(tenant), encode(user))
    }
    pub fn profile_schedule(tenant: &str, user: &str) -> String {
        let (t, u) = (encode(tenant), encode(user));
        format!("foil.v1.schedule.profile.{t}.{u}")
    }
    pub fn generate(tenant: &str, class: &str) -> String {
        format!("foil.v1.generate.{}.{}", encode(tenant), encode(class))
    }
    /// `kind`: one of [`super::event`]'s, as subject tokens.
    pub fn event(kind: &str, tenant: &str, user: &str) -> String {
        format!("foil.v1.event.{kind}.{}.{}", encode(tenant), encode(user))
    }
    /// `tenant` of a message whose tenant cannot be read is empty.
    pub fn dead(stage: &str, tenant: &str) -> String {
        format!("foil.v1.dead.{}.{}", encode(stage), encode(tenant))
    }
    /// Where NATS tells that a stage's consumer gave a message up.
    pub fn given_up(stream: &str, stage: &str) -> String {
        format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.{stage}")
    }
    /// The tenant's token stands after the kind in every subject of Foil's; none in another's.
    pub fn tenant_token(subject: &str) -> Option<&str> {
        subject.strip_prefix(FOIL)?.split('.').nth(1)
    }
}

/// Kinds of events, as they stand in subjects and in CloudEvents' `ce-type` (after `foil.`).
pub mod event {
    pub const PROFILE_UPDATED: &str = "profile.updated";
    pub const DIFFERENCE_STORED: &str = "difference.stored";
    pub const USER_ERASED: &str = "user.erased";
    pub const RECORD_ERASED: &str = "record.erased";
    pub const TENANT_ERASED: &str = "tenant.erased";
    pub const DEAD: &str = "dead";
}

/// A bucket's key for a user.
pub fn user_key(tenant: &str, user: &str) -> String {
    format!("{}.{}", encode(tenant), encode(user))
}
