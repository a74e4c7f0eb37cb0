//! Whether any work is left.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use foil_proto::names::{header, stage, stream, subject};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in a row that must find nothing: between a message's end and its successor's storing there
/// is none, but a look takes its time.
const LOOKS: u32 = 4;
const SAY_EVERY: Duration = Duration::from_secs(10);
/// A server that runs fires a schedule at its time; one that was just killed may take a while.
const OVERDUE_SECONDS: i64 = 20;
const QUEUES: [(&str, &str); 3] = [
    (stream::SELECT, stage::SELECTOR),
    (stream::EXTRACT, stage::EXTRACTOR),
    (stream::PROFILE, stage::PROFILER),
];

/// What is left, by where it is; nothing when it is empty.
pub type Left = BTreeMap<String, u64>;

/// Waits until nothing is left, at most `limit`. Gives what is.
pub async fn wait(jetstream: &JetStream, limit: Duration) -> Left {
    let start = Instant::now();
    let (mut quiet, mut said) = (0, start);
    let mut last = Left::from([("NATS does not answer".to_owned(), 1)]);
    while start.elapsed() < limit {
        if let Some(left) = look(jetstream).await {
            quiet = if left.is_empty() { quiet + 1 } else { 0 };
            last = left;
        }
        if quiet == LOOKS {
            return Left::new();
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            eprintln!(
                "chaos: waiting for {} s, left: {last:?}",
                start.elapsed().as_secs()
            );
        }
        sleep(LOOK_EVERY).await;
    }
    last
}

/// What is left now; none when NATS does not say. Messages that their consumer has behind it are no
/// work: see [`brought_back`].
pub async fn look(jetstream: &JetStream) -> Option<Left> {
    let mut left = Left::new();
    let mut add = |what: String, count: u64| {
        if count > 0 {
            left.insert(what, count);
        }
    };
    // Not up to the log's last message: a deleted record's text that stood behind its delete is gone
    // before anybody read it.
    let updates = jetstream.get_stream_no_info(stream::UPDATES).await.ok()?;
    let embedder = updates.consumer_info(stage::EMBEDDER).await.ok()?;
    let behind = embedder.num_pending + embedder.num_ack_pending as u64;
    add(format!("{} behind", stream::UPDATES), behind);
    for (name, stage) in QUEUES {
        let queue = jetstream.get_stream_no_info(name).await.ok()?;
        let consumer = queue.consumer_info(stage).await.ok()?;
        add(format!("{name} pending"), consumer.num_pending);
        add(format!("{name} unacked"), consumer.num_ack_pending as u64);
    }
    let schedules = schedules(jetstream).await?;
    add(format!("{} scheduled", stream::PROFILE), schedules.waiting);
    Some(left)
}

/// Messages in the queues that are no work any more: a nats-server (2.15.1) that is killed may bring
/// back messages that were acked, which their consumer does not deliver again, and schedules that it
/// fired, which it does not fire again. They lie there until their subject gets a new message.
pub async fn brought_back(jetstream: &JetStream) -> Option<u64> {
    let mut count = schedules(jetstream).await?.overdue;
    for (name, stage) in QUEUES {
        let queue = jetstream.get_stream_no_info(name).await.ok()?;
        let floor = queue.consumer_info(stage).await.ok()?.ack_floor;
        let filter = queue.consumer_info(stage).await.ok()?.config.filter_subject;
        let mut from = 1;
        while let Ok(message) = next(&queue, &filter, from).await {
            from = message.sequence + 1;
            count += u64::from(message.sequence <= floor.stream_sequence);
        }
    }
    Some(count)
}

/// Profiles that are to be written later.
#[derive(Default)]
struct Schedules {
    waiting: u64,
    /// Their time has long come.
    overdue: u64,
}

async fn schedules(jetstream: &JetStream) -> Option<Schedules> {
    let queue = jetstream.get_stream_no_info(stream::PROFILE).await.ok()?;
    let mut found = Schedules::default();
    let mut from = 1;
    loop {
        let filter = subject::PROFILE_SCHEDULE_ALL;
        let message = match next(&queue, filter, from).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                return Some(found);
            }
            Err(_) => return None,
        };
        from = message.sequence + 1;
        let at = message.headers.get(header::SCHEDULE)?.as_str();
        let at: Timestamp = at.strip_prefix("@at ")?.parse().ok()?;
        let late = Timestamp::now().duration_since(at);
        match late > SignedDuration::from_secs(OVERDUE_SECONDS) {
            true => found.overdue += 1,
            false => found.waiting += 1,
        }
    }
}

async fn next(
    queue: &Stream<()>,
    filter: &str,
    from: u64,
) -> Result<StreamMessage, RawMessageError> {
    let ask = queue.raw_message_builder().sequence(from);
    ask.next_by_subject(filter).send().await
}
