//! Brings JetStream to what the specs say.

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, FromConsumer, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, ConsumerErrorKind, Info};
use async_nats::jetstream::{Context, ErrorCode, context};

use super::config::ProvisionConfig;
use super::excess::excess;
use super::report::{Change, Difference, ProvisionReport, differences};
use super::streams::{Consumer, Spec, specs};
use crate::StoreError;

pub(super) async fn provision(
    context: &Context,
    config: &ProvisionConfig,
    report: &mut ProvisionReport,
) -> Result<(), StoreError> {
    // All are looked at before one is changed: what is refused leaves the streams as they were.
    let mut plans = Vec::new();
    for Spec { stream, consumer } in specs(config) {
        plans.push((plan(context, &stream, config).await?, stream, consumer));
    }
    for (plan, stream, consumer) in plans {
        let (name, change) = (stream.name.clone(), plan.change());
        let changes = apply(context, plan, stream).await?;
        report.add(format!("stream {name}"), change, changes);
        if let Some(wanted) = consumer {
            let (change, changes) = provision_consumer(context, &name, &wanted, config).await?;
            report.add(format!("consumer {name} {}", wanted.stage), change, changes);
        }
    }
    Ok(())
}

fn unavailable(operation: &'static str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable {
        operation,
        cause: error.to_string(),
    }
}

/// What is to be done to a stream.
enum Plan {
    Create,
    Keep,
    /// From what was found to what it is to become.
    Update(Box<(Config, Config)>),
}

impl Plan {
    fn change(&self) -> Change {
        match self {
            Self::Create => Change::Created,
            Self::Keep => Change::Unchanged,
            Self::Update(_) => Change::Updated,
        }
    }
}

async fn plan(
    context: &Context,
    wanted: &Config,
    config: &ProvisionConfig,
) -> Result<Plan, StoreError> {
    let incompatible = |problem| StoreError::Incompatible {
        what: format!("stream {}", wanted.name),
        problem,
    };
    let found = match context.get_stream(&wanted.name).await {
        Ok(stream) => stream.cached_info().clone(),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                return Ok(Plan::Create);
            }
            _ => return Err(unavailable("read stream", error)),
        },
    };
    let merged = merge(&found, wanted).map_err(incompatible)?;
    if merged == found.config {
        return Ok(Plan::Keep);
    }
    match excess(&found, &merged) {
        Some(excess) if !config.drop_excess => Err(incompatible(format!(
            "{excess}: what is above would be dropped, the oldest first; raise the limit, or set \
             provision.drop_excess=true for this one run"
        ))),
        _ => Ok(Plan::Update(Box::new((found.config, merged)))),
    }
}

async fn apply(
    context: &Context,
    plan: Plan,
    wanted: Config,
) -> Result<Vec<Difference>, StoreError> {
    let what = || format!("stream {}", wanted.name);
    match plan {
        Plan::Keep => Ok(Vec::new()),
        Plan::Create => {
            let created = context.create_stream(wanted.clone()).await;
            created.map_err(|error| refused(what(), &error))?;
            Ok(Vec::new())
        }
        Plan::Update(change) => {
            let (found, merged) = *change;
            let updated = context.update_stream(&merged).await;
            updated.map_err(|error| refused(what(), &error))?;
            Ok(differences(&found, &merged))
        }
    }
}

/// The found stream with the limits it shall have. What Foil has no opinion on (placement, metadata,
/// compression) stays as an administrator set it.
fn merge(found: &Info, wanted: &Config) -> Result<Config, String> {
    let found = &found.config;
    let theirs = "it is another system's, or was made by hand: remove or rename it";
    if found.mirror.is_some() || found.sources.is_some() {
        return Err(format!("it mirrors another stream; {theirs}"));
    }
    if let Some(subject) = found.subjects.iter().find(|s| !wanted.subjects.contains(s)) {
        return Err(format!("it takes messages of {subject:?}; {theirs}"));
    }
    if found.retention != wanted.retention {
        let (is, shall) = (found.retention, wanted.retention);
        return Err(format!("its retention is {is:?}, not {shall:?}; {theirs}"));
    }
    if found.storage != wanted.storage {
        let (is, shall) = (found.storage, wanted.storage);
        return Err(format!("its storage is {is:?}, not {shall:?}; {theirs}"));
    }
    if found.deny_delete && !wanted.deny_delete {
        // The server never takes this back.
        let made = "an earlier version made it: remove it, profiles are made anew";
        return Err(format!(
            "it denies deletes, so nothing in it can be erased; {made}"
        ));
    }
    let mut merged = found.clone();
    merged.subjects.clone_from(&wanted.subjects);
    merged.max_bytes = wanted.max_bytes;
    merged.max_messages = wanted.max_messages;
    merged.max_messages_per_subject = wanted.max_messages_per_subject;
    merged.max_age = wanted.max_age;
    merged.max_message_size = wanted.max_message_size;
    merged.discard = wanted.discard;
    merged.num_replicas = wanted.num_replicas;
    merged.duplicate_window = wanted.duplicate_window;
    merged.allow_direct = wanted.allow_direct;
    merged.allow_rollup = wanted.allow_rollup;
    merged.allow_message_ttl = wanted.allow_message_ttl;
    merged.allow_message_schedules = wanted.allow_message_schedules;
    Ok(merged)
}

fn refused(what: String, error: &context::CreateStreamError) -> StoreError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(cause) if cause.code() < 500 => StoreError::Incompatible {
            what,
            problem: format!("the server refuses it: {cause}"),
        },
        CreateStreamErrorKind::JetStream(cause) => {
            let problem = format!("the server cannot make it: {cause}");
            StoreError::Incompatible { what, problem }
        }
        _ => unavailable("create stream", error),
    }
}

async fn provision_consumer(
    context: &Context,
    stream: &str,
    wanted: &Consumer,
    config: &ProvisionConfig,
) -> Result<(Change, Vec<Difference>), StoreError> {
    let what = || format!("consumer {stream} {}", wanted.stage);
    let new = pull::Config {
        durable_name: Some(wanted.stage.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        max_deliver: wanted.max_deliver,
        max_ack_pending: i64::from(config.max_ack_pending),
        filter_subject: wanted.filter.to_owned(),
        ..pull::Config::default()
    };
    let handle = context.get_stream_no_info(stream).await;
    let handle = handle.map_err(|error| unavailable("read stream", error))?;
    let (change, changes, merged) = match handle.consumer_info(wanted.stage).await {
        Err(error) if error.kind() == consumer_not_found() => (Change::Created, Vec::new(), new),
        Err(error) => return Err(unavailable("read consumer", error)),
        Ok(found) => {
            let merged = merge_consumer(&found.config, &new);
            let merged = merged.map_err(|problem| StoreError::Incompatible {
                what: what(),
                problem,
            })?;
            if merged == found.config {
                return Ok((Change::Unchanged, Vec::new()));
            }
            let changes = differences(&found.config, &merged);
            let merged = pull::Config::try_from_consumer_config(merged);
            let merged = merged.map_err(|error| unavailable("read consumer", error))?;
            (Change::Updated, changes, merged)
        }
    };
    let made = context.create_consumer_on_stream(merged, stream).await;
    made.map_err(|error| match error.kind() {
        ConsumerErrorKind::JetStream(cause) => StoreError::Incompatible {
            what: what(),
            problem: format!("the server refuses it: {cause}"),
        },
        _ => unavailable("create consumer", error),
    })?;
    Ok((change, changes))
}

fn consumer_not_found() -> context::ConsumerInfoErrorKind {
    context::ConsumerInfoErrorKind::NotFound
}

fn merge_consumer(
    found: &consumer::Config,
    wanted: &pull::Config,
) -> Result<consumer::Config, String> {
    let theirs = "remove it";
    if found.deliver_subject.is_some() {
        return Err(format!("it pushes its messages; {theirs}"));
    }
    if found.ack_policy != wanted.ack_policy {
        let is = found.ack_policy;
        return Err(format!("its ack policy is {is:?}, not explicit; {theirs}"));
    }
    if found.deliver_policy != DeliverPolicy::All {
        return Err(format!("it does not start at the first message; {theirs}"));
    }
    let mut merged = found.clone();
    merged.ack_wait = wanted.ack_wait;
    merged.max_deliver = wanted.max_deliver;
    merged.max_ack_pending = wanted.max_ack_pending;
    merged.filter_subject.clone_from(&wanted.filter_subject);
    merged.filter_subjects.clear();
    merged.backoff.clear(); // it would override the ack wait
    Ok(merged)
}
