//! What is published, and what is asked of a fleet.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foil_proto::names::{stage, stream, subject};
use foil_proto::v1;
use foil_proto::v1::update::Change;
use foil_tests::fleet::{Fleet, Signal};
use foil_tests::{Look, SmallDisk};
use futures::StreamExt as _;
use prost::Message as _;

pub const TENANT: &str = "acme";
const USERS: usize = 200;
/// Publications that wait for their ack.
const UNACKED: usize = 256;

/// Update number `number`: 200 users, each on items of their own order, every one another record.
pub fn update(number: usize) -> v1::Update {
    update_of(number, 0)
}

/// The same with a text of at least so many bytes.
pub fn update_of(number: usize, bytes: usize) -> v1::Update {
    let (user, item) = (number % USERS, number / USERS);
    let sentence = format!("Number {number}: it boils fast, and it howls all the way.");
    let times = (bytes / (sentence.len() + 1)).max(1);
    let record = v1::RecordUpsert {
        user: format!("user-{user}"),
        item: format!("item-{item}"),
        text: vec![sentence; times].join(" "),
        revision: 1,
        ..v1::RecordUpsert::default()
    };
    v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(Change::RecordUpsert(record)),
    }
}

/// Publishes update number `number`; gives its sequence once it is stored.
pub async fn publish(look: &Look, number: usize) -> Result<u64, String> {
    send(look, number, update(number)).await
}

async fn send(look: &Look, number: usize, update: v1::Update) -> Result<u64, String> {
    let to = subject::update(TENANT, &format!("user-{}", number % USERS));
    let sent = look.jetstream.publish(to, update.encode_to_vec().into());
    let ack = sent.await.map_err(|error| error.to_string())?;
    let words = |error: async_nats::jetstream::context::PublishError| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    Ok(ack.await.map_err(words)?.sequence)
}

/// Publishes them all, and waits until they are stored.
pub async fn publish_all(look: &Look, numbers: std::ops::Range<usize>) {
    publish_all_of(look, numbers, 0).await;
}

/// The same with texts of at least so many bytes.
pub async fn publish_all_of(look: &Look, numbers: std::ops::Range<usize>, bytes: usize) {
    let mut stored = futures::stream::iter(numbers)
        .map(|number| send(look, number, update_of(number, bytes)))
        .buffer_unordered(UNACKED);
    while let Some(stored) = stored.next().await {
        stored.unwrap();
    }
}

/// Every record of the updates `0..count`, counted by item.
pub async fn records(look: &Look, count: usize) -> u64 {
    let mut records = 0;
    for item in 0..count.div_ceil(USERS) {
        let item = format!("item-{item}");
        records += asked(async || look.store.count_item_records(TENANT, &item).await).await;
    }
    records
}

/// A server on a busy machine may answer late, and one that was just started not yet: it is asked
/// again.
pub async fn asked<T, E: std::fmt::Display>(ask: impl AsyncFn() -> Result<T, E>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Messages in a stream.
pub async fn messages(look: &Look, name: &str) -> u64 {
    let stream = asked(async || look.jetstream.get_stream(name).await).await;
    stream.cached_info().state.messages
}

/// Updates that the embedder has finished, and those that were published.
pub async fn updates_done(look: &Look) -> (u64, u64) {
    let stream = asked(async || look.jetstream.get_stream(stream::UPDATES).await).await;
    let consumer = asked(async || stream.consumer_info(stage::EMBEDDER).await).await;
    let published = stream.cached_info().state.last_sequence;
    (consumer.ack_floor.stream_sequence, published)
}

/// Waits until the embedder has finished all that was published.
pub async fn all_embedded(look: &Look, limit: Duration) {
    let until = Instant::now() + limit;
    loop {
        let (done, published) = updates_done(look).await;
        if done >= published {
            return;
        }
        assert!(
            Instant::now() < until,
            "{done} of {published} after {limit:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The folder `name` of a fleet's directory is on this disk.
pub fn put_on(disk: &SmallDisk, directory: &Path, name: &str) {
    let folder = directory.join(name);
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(disk.path(), folder).unwrap();
}

async fn readiness(fleet: &Fleet, stage: &str) -> Option<(u16, String)> {
    fleet.replica(stage, 0).process.lock().await.readiness()
}

/// Waits until a stage is not ready, and says so of this check.
pub async fn until_down(fleet: &Fleet, stage: &str, check: &str) {
    let name = format!("{stage}.{check}");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = readiness(fleet, stage).await;
        if let Some((503, text)) = &found {
            let told: serde_json::Value = serde_json::from_str(text).unwrap();
            let checks = told["checks"].as_array().unwrap();
            if checks
                .iter()
                .any(|check| check["name"] == *name && check["up"] == false)
            {
                return;
            }
        }
        assert!(Instant::now() < until, "{name} is not down: {found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ends a stage as an operator does.
pub async fn stop(fleet: &Arc<Fleet>, stage: &str) {
    let mut process = fleet.replica(stage, 0).process.lock().await;
    process.signal(Signal::Terminate);
    let ended = process.wait(Duration::from_secs(20));
    assert!(
        ended.is_some_and(|status| status.success()),
        "{stage}: {ended:?}"
    );
}
