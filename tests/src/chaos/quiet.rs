//! Whether any work is left.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use foil_proto::names::{stage, stream};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in a row that must find nothing: between a message's end and its successor's storing there
/// is none, but a look takes its time.
const LOOKS: u32 = 4;
const SAY_EVERY: Duration = Duration::from_secs(10);
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

/// What is left now; none when NATS does not say.
pub async fn look(jetstream: &JetStream) -> Option<Left> {
    let mut left = Left::new();
    let mut add = |what: String, count: u64| {
        if count > 0 {
            left.insert(what, count);
        }
    };
    let updates = jetstream.get_stream(stream::UPDATES).await.ok()?;
    let last = updates.cached_info().state.last_sequence;
    let embedder = updates.consumer_info(stage::EMBEDDER).await.ok()?;
    let floor = embedder.ack_floor.stream_sequence;
    add(
        format!("{} behind", stream::UPDATES),
        last.saturating_sub(floor),
    );
    for (name, stage) in QUEUES {
        let queue = jetstream.get_stream(name).await.ok()?;
        add(
            format!("{name} messages"),
            queue.cached_info().state.messages,
        );
        let consumer = queue.consumer_info(stage).await.ok()?;
        add(format!("{name} pending"), consumer.num_pending);
        add(format!("{name} unacked"), consumer.num_ack_pending as u64);
    }
    Some(left)
}

/// The subjects of messages in the queues, at most `limit` of each.
pub async fn subjects(jetstream: &JetStream, limit: u64) -> Vec<String> {
    let mut found = Vec::new();
    for (name, _) in QUEUES {
        let Ok(queue) = jetstream.get_stream(name).await else {
            continue;
        };
        let state = &queue.cached_info().state;
        for sequence in (state.first_sequence..=state.last_sequence).take(limit as usize) {
            if let Ok(message) = queue.get_raw_message(sequence).await {
                found.push(format!("{name} {sequence}: {}", message.subject));
            }
        }
    }
    found
}
