//! What adapters share that run each request in a task of its own: places in a bounded queue, and
//! the channel between the task and the caller's stream.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::chat::{ChatEvent, ChatStream, EngineError, Finish, Usage};

/// Bounds how many requests run at once, and how many wait for that.
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
    queue: usize,
}

/// A request that was let in: it runs or waits. Dropped, it leaves.
pub(crate) struct Place {
    running: Arc<Semaphore>,
    place: OwnedSemaphorePermit,
}

/// A request that may run; hold it until the engine has let go of the request.
pub(crate) struct Turn {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
    /// How long it waited.
    pub(crate) queued: Duration,
}

impl Gate {
    pub(crate) fn new(concurrent: usize, queue: usize) -> Self {
        let concurrent = concurrent.max(1);
        Self {
            running: Arc::new(Semaphore::new(concurrent)),
            places: Arc::new(Semaphore::new(concurrent.saturating_add(queue))),
            queue,
        }
    }

    /// # Errors
    /// [`EngineError::Busy`] when as many requests wait as may.
    pub(crate) fn enter(&self) -> Result<Place, EngineError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| EngineError::Busy { limit: self.queue })?;
        let running = Arc::clone(&self.running);
        Ok(Place { running, place })
    }
}

impl Place {
    /// Waits for a turn, first come first served.
    pub(crate) async fn turn(self) -> Result<Turn, EngineError> {
        let start = Instant::now();
        let running = self
            .running
            .acquire_owned()
            .await
            .map_err(|_| EngineError::Unavailable("the adapter is shut down".into()))?;
        Ok(Turn {
            _running: running,
            _place: self.place,
            queued: start.elapsed(),
        })
    }
}

/// The task's end of the channel.
pub(crate) struct Output(mpsc::Sender<Result<ChatEvent, EngineError>>);

impl Output {
    /// Passes text on; waits when the caller has left a whole channel unread.
    pub(crate) async fn delta(&self, text: String) {
        if !text.is_empty() {
            // A closed channel cancels this future where it stands: see `spawn`.
            let _ = self.0.send(Ok(ChatEvent::Delta(text))).await;
        }
    }
}

/// Runs `work` in a task and gives its output as a stream that ends with `Done` or one error.
///
/// `work` is dropped when the stream is dropped, and at the deadline, `limit` from now. The channel
/// holds `capacity` deltas, so that a slow reader does not stall an engine.
pub(crate) fn spawn<F, W>(capacity: usize, limit: Duration, work: F) -> ChatStream
where
    F: FnOnce(Output) -> W,
    W: Future<Output = Result<(Finish, Usage), EngineError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let work = work(Output(sender.clone()));
    let deadline = tokio::time::Instant::now() + limit;
    let task = async move {
        let result = tokio::select! {
            biased;
            () = sender.closed() => return,
            result = timeout_at(deadline, work) => result,
        };
        let last = match result {
            Ok(Ok((finish, usage))) => Ok(ChatEvent::Done { finish, usage }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Unavailable(format!(
                "no whole answer within {} ms",
                limit.as_millis()
            ))),
        };
        // The receiver is gone when this fails, and with it whoever would care.
        let _ = sender.send(last).await;
    };
    tokio::spawn(task.in_current_span());
    stream::unfold(Some(receiver), read).boxed()
}

type Receiver = mpsc::Receiver<Result<ChatEvent, EngineError>>;

/// The next event; nothing after `Done` or an error. A task that panicked sent neither.
async fn read(
    state: Option<Receiver>,
) -> Option<(Result<ChatEvent, EngineError>, Option<Receiver>)> {
    let mut receiver = state?;
    match receiver.recv().await {
        Some(Ok(ChatEvent::Delta(text))) => Some((Ok(ChatEvent::Delta(text)), Some(receiver))),
        Some(last) => Some((last, None)),
        None => Some((
            Err(EngineError::Died("the request's task ended early".into())),
            None,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::collect;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn queue_is_bounded_and_freed() {
        let gate = Gate::new(1, 1);
        let first = gate.enter().unwrap();
        let second = gate.enter().unwrap();
        assert!(matches!(gate.enter(), Err(EngineError::Busy { limit: 1 })));
        let turn = first.turn().await.unwrap();
        assert!(
            matches!(gate.enter(), Err(EngineError::Busy { .. })),
            "a running request keeps its place"
        );
        let waiting = tokio::spawn(second.turn());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(turn);
        waiting.await.unwrap().unwrap();
        gate.enter().unwrap();
    }

    #[tokio::test]
    async fn events_come_in_order_and_end_with_done() {
        let stream = spawn(4, LONG, |output| async move {
            output.delta("one ".into()).await;
            output.delta(String::new()).await;
            output.delta("two".into()).await;
            Ok((Finish::Stop, Usage::default()))
        });
        let events: Vec<_> = stream.map(Result::unwrap).collect().await;
        assert_eq!(events.len(), 3, "empty deltas are left out: {events:?}");
        assert!(matches!(events[2], ChatEvent::Done { .. }));
    }

    #[tokio::test]
    async fn a_dropped_stream_drops_the_work() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let stream = spawn(1, LONG, |_output| async move {
            let _alive = alive;
            std::future::pending().await
        });
        drop(stream);
        assert!(gone.await.is_err(), "the work's sender was dropped");
    }

    #[tokio::test]
    async fn a_deadline_ends_the_work_even_with_nobody_reading() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let stream = spawn(1, Duration::from_millis(20), |output| async move {
            let _alive = alive;
            loop {
                output.delta("x".into()).await;
            }
        });
        assert!(gone.await.is_err(), "the work's sender was dropped");
        let error = collect(stream).await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable(_)), "{error}");
    }

    #[tokio::test]
    async fn a_panic_in_the_work_is_an_engine_death() {
        let stream = spawn(1, LONG, |_output| async move {
            panic!("on purpose, for this test")
        });
        assert!(matches!(collect(stream).await, Err(EngineError::Died(_))));
    }
}
