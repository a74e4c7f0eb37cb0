//! Keeps inputs from being redelivered while they are worked on: one task for all of a worker's.
//!
//! It is a task of its own so that a handler which hogs its thread does not stop the beat; what
//! bounds such a handler is the ceiling, after which the server may give the input to another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, Subject};
use tokio::task::AbortHandle;

const PROGRESS: &[u8] = b"+WPI";

/// The beat of one worker; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    held: Arc<Mutex<Held>>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Held {
    next_key: u64,
    inputs: HashMap<u64, Input>,
}

#[derive(Debug)]
struct Input {
    reply: Subject,
    stream_sequence: u64,
    since: Instant,
}

/// One input is kept as long as this lives, up to the ceiling.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Arc<Mutex<Held>>,
    key: u64,
}

impl Heartbeat {
    /// `ceiling`: no input is kept longer.
    pub(crate) fn start(client: Client, ack_wait: Duration, ceiling: Duration) -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        // Beats come on shared ticks, every second tick at the latest: so no gap is longer than a
        // third of the ack wait.
        let tick = (ack_wait / 6).max(Duration::from_millis(10));
        let task = tokio::spawn(beat(client, held.clone(), tick, ceiling));
        Self {
            held,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn hold(&self, reply: Subject, stream_sequence: u64) -> Hold {
        let mut held = lock(&self.held);
        let key = held.next_key;
        held.next_key += 1;
        let since = Instant::now();
        held.inputs.insert(
            key,
            Input {
                reply,
                stream_sequence,
                since,
            },
        );
        Hold {
            held: self.held.clone(),
            key,
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.held).inputs.remove(&self.key);
    }
}

async fn beat(client: Client, held: Arc<Mutex<Held>>, tick: Duration, ceiling: Duration) {
    let mut interval = tokio::time::interval(tick);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        for reply in due(&held, tick, ceiling) {
            if let Err(error) = client.publish(reply, PROGRESS.into()).await {
                tracing::warn!(%error, "heartbeat not sent");
            }
        }
    }
}

/// Who needs a beat. Young inputs do not; those past the ceiling get none any more.
fn due(held: &Mutex<Held>, tick: Duration, ceiling: Duration) -> Vec<Subject> {
    let mut replies = Vec::new();
    lock(held).inputs.retain(|_, input| {
        let age = input.since.elapsed();
        if age > ceiling {
            let stream_sequence = input.stream_sequence;
            tracing::warn!(stream_sequence, ?ceiling, "held past the ceiling: let go");
            return false;
        }
        // Half a tick of slack: an input delivered just after a tick must not wait for the third.
        if age >= tick / 2 {
            replies.push(input.reply.clone());
        }
        true
    });
    replies
}

fn lock(held: &Mutex<Held>) -> std::sync::MutexGuard<'_, Held> {
    // Single map operations only: no half-done state behind a panic.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_old_enough_and_below_the_ceiling() {
        let tick = Duration::from_secs(10);
        let ceiling = Duration::from_secs(60);
        let now = Instant::now();
        let mut held = Held::default();
        for (key, age) in [(0, 1), (1, 9), (2, 59), (3, 61)] {
            let input = Input {
                reply: format!("reply.{key}").into(),
                stream_sequence: key,
                since: now - Duration::from_secs(age),
            };
            held.inputs.insert(key, input);
        }
        let held = Mutex::new(held);
        let mut replies = due(&held, tick, ceiling);
        replies.sort();
        assert_eq!(replies, ["reply.1".into(), Subject::from("reply.2")]);
        assert_eq!(
            lock(&held).inputs.len(),
            3,
            "the one past the ceiling is let go"
        );
    }
}
