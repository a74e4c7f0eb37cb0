//! Publishes the updates of a schedule, each until NATS has it: what a producer has to do.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context as JetStream;
use foil_proto::names::header;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::updates::Update;

/// Of one attempt.
const ACK_LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
/// NATS is never away for longer in a schedule.
const PATIENCE: Duration = Duration::from_secs(90);

/// Publishes all of `updates`, each at its time after `start` or as soon as NATS takes it. Gives how
/// many NATS knew already.
///
/// # Panics
/// When NATS does not take one for 90 s.
pub async fn run(jetstream: &JetStream, updates: &[Update], start: Instant) -> u64 {
    let mut known = 0;
    for update in updates {
        sleep_until(start + update.at).await;
        known += u64::from(publish(jetstream, update).await);
    }
    known
}

/// Publishes one update. Gives whether NATS knew it already.
///
/// # Panics
/// When NATS does not take it for 90 s.
pub async fn publish(jetstream: &JetStream, update: &Update) -> bool {
    let until = Instant::now() + PATIENCE;
    let payload = update.payload();
    loop {
        let mut headers = HeaderMap::new();
        headers.insert(header::MESSAGE_ID, update.message_id.as_str());
        let attempt = async {
            let sent =
                jetstream.publish_with_headers(update.subject(), headers, payload.clone().into());
            sent.await.ok()?.await.ok()
        };
        if let Ok(Some(ack)) = timeout(ACK_LIMIT, attempt).await {
            return ack.duplicate;
        }
        let id = &update.message_id;
        assert!(
            Instant::now() < until,
            "NATS did not take {id} for {PATIENCE:?}"
        );
        sleep(PAUSE).await;
    }
}
