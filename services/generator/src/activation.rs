//! The first request for an inactive user starts the comparison of what they wrote.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream;
use foil_proto::names::{header, subject};
use foil_proto::v1::{ProfileWork, SelectWork};
use foil_runtime::Emit;
use foil_runtime::telemetry::propagation::inject;
use futures::{StreamExt as _, TryStreamExt as _, stream};

/// Publications awaiting their acks at once.
const PARALLEL: usize = 32;

/// One select token per item, and a look at the profile `delay` later.
pub(crate) fn work(tenant: &str, user: &str, items: &[&str], delay: Duration) -> Vec<Emit> {
    let select = |item: &&str| {
        let work = SelectWork {
            tenant: tenant.to_owned(),
            item: (*item).to_owned(),
        };
        Emit::new(subject::select(tenant, item), &work)
    };
    let profile = ProfileWork {
        tenant: tenant.to_owned(),
        user: user.to_owned(),
    };
    let profile = Emit::new(subject::profile(tenant, user), &profile).scheduled(
        subject::profile_schedule(tenant, user),
        SystemTime::now() + delay,
    );
    let mut work: Vec<Emit> = items.iter().map(select).collect();
    work.push(profile);
    work
}

/// Publishes before the request is done: one that waits for what follows from this work would wait
/// in vain for outputs that go out with its own end.
///
/// # Errors
/// When a stream does not take it.
pub(crate) async fn publish_now(
    client: &async_nats::Client,
    work: Vec<Emit>,
) -> Result<(), jetstream::context::PublishError> {
    let jetstream = jetstream::new(client.clone());
    let publish = |emit: Emit| {
        let jetstream = jetstream.clone();
        async move {
            let mut headers = HeaderMap::new();
            inject(&mut headers);
            let mut to = emit.subject.clone();
            if let Some(schedule) = &emit.schedule
                && let Ok(at) = jiff::Timestamp::try_from(schedule.at)
            {
                headers.insert(header::SCHEDULE, format!("@at {at}").as_str());
                headers.insert(header::SCHEDULE_TARGET, emit.subject.as_str());
                to.clone_from(&schedule.subject);
            }
            let ack = jetstream.publish_with_headers(to, headers, emit.payload);
            ack.await?.await.map(|_| ())
        }
    };
    stream::iter(work.into_iter().map(publish))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}
