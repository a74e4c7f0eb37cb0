//! Between the callers and the engine's thread: a bounded queue, and each request's stream.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::{StreamExt as _, stream};
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;

use super::sample::Sampler;
use super::text::TextGate;
use crate::chat::{ChatEvent, ChatStream, EngineError};

type Event = Result<ChatEvent, EngineError>;

/// One request, ready for the engine. Dropped before its end, its stream fails with
/// [`EngineError::Died`].
pub(super) struct Job {
    pub(super) prompt: Vec<LlamaToken>,
    pub(super) max_tokens: u32,
    pub(super) sampler: Sampler,
    pub(super) text: TextGate,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) submitted: Instant,
    pub(super) deadline: Instant,
}

impl Job {
    /// Whether nobody reads the answer any more.
    pub(super) fn abandoned(&self) -> bool {
        self.events.is_closed()
    }

    pub(super) fn send(&self, event: Event) {
        // The channel has room for every token; what fails here is a reader that has gone.
        let _ = self.events.try_send(event);
    }
}

/// A channel with room for a whole answer, so that a slow reader never stalls the engine.
pub(super) fn channel(max_tokens: u32) -> (mpsc::Sender<Event>, ChatStream) {
    let (sender, receiver) = mpsc::channel(max_tokens as usize + 2);
    let stream = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        Some(match receiver.recv().await {
            Some(Ok(delta @ ChatEvent::Delta(_))) => (Ok(delta), Some(receiver)),
            Some(last) => (last, None),
            None => {
                let cause = "the engine's thread ended during the request";
                (Err(EngineError::Died(cause.into())), None)
            }
        })
    });
    (sender, stream.boxed())
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// The owner has gone: finish.
    stop: bool,
    /// The thread has ended: nothing is accepted.
    dead: bool,
    crash: bool,
}

/// Requests that wait for the engine's thread.
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
    wake: Condvar,
}

/// Why a job was not taken; it is given back where another queue may take it.
pub(super) enum Refused {
    Busy { limit: usize },
    Dead(Box<Job>),
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.dead {
            return Err(Refused::Dead(Box::new(job)));
        }
        if state.waiting.len() >= self.limit {
            state.waiting.retain(|job| !job.abandoned());
        }
        if state.waiting.len() >= self.limit {
            return Err(Refused::Busy { limit: self.limit });
        }
        state.waiting.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// Up to `room` jobs, oldest first; waits for one when the engine is `idle`. `None` when the
    /// engine is to end.
    pub(super) fn take(&self, room: usize, idle: bool) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            assert!(
                !state.crash,
                "the engine's thread was told to crash, for a test"
            );
            if state.stop {
                return None;
            }
            state.waiting.retain(|job| !job.abandoned());
            if !idle || !state.waiting.is_empty() {
                let count = room.min(state.waiting.len());
                return Some(state.waiting.drain(..count).collect());
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }

    pub(super) fn crash(&self) {
        self.lock().crash = true;
        self.wake.notify_all();
    }

    /// No more jobs; those that wait fail.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.dead = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}
