//! One way to stop, with one deadline.
//!
//! Once triggered: readiness off, nothing new is pulled, what runs may finish. Shortly before the
//! deadline ([`Shutdown::cut`]) what still runs is dropped and given back.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// A handle on the end of the process, or of one worker; clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    token: CancellationToken,
    triggered_at: OnceLock<Instant>,
    deadline: Duration,
    parent: Option<Shutdown>,
}

impl Shutdown {
    /// `deadline`: from the trigger to the end of everything.
    pub fn new(deadline: Duration) -> Self {
        Self::build(CancellationToken::new(), deadline, None)
    }

    fn build(token: CancellationToken, deadline: Duration, parent: Option<Shutdown>) -> Self {
        Self {
            inner: Arc::new(Inner {
                token,
                triggered_at: OnceLock::new(),
                deadline,
                parent,
            }),
        }
    }

    /// A part that stops with the whole, and may stop alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let token = self.inner.token.child_token();
        Self::build(token, self.inner.deadline, Some(self.clone()))
    }

    /// Starts the end. Further calls change nothing.
    pub fn trigger(&self) {
        self.inner.triggered_at.get_or_init(Instant::now);
        self.inner.token.cancel();
    }

    /// Whether the end has begun.
    pub fn is_triggered(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// Waits until the end begins.
    pub async fn cancelled(&self) {
        self.inner.token.cancelled().await;
    }

    /// Waits until what still runs must be given back.
    pub async fn cut(&self) {
        self.cancelled().await;
        // What is cut must still be given back, and logs and traces flushed.
        let reserve = (self.inner.deadline / 10).min(Duration::from_secs(3));
        let left = self.remaining().saturating_sub(reserve);
        tokio::time::sleep(left).await;
    }

    /// Time left until the deadline; all of it while nothing was triggered.
    pub fn remaining(&self) -> Duration {
        match self.triggered_at() {
            Some(at) => self.inner.deadline.saturating_sub(at.elapsed()),
            None => self.inner.deadline,
        }
    }

    fn triggered_at(&self) -> Option<Instant> {
        let own = self.inner.triggered_at.get().copied();
        let parent = self.inner.parent.as_ref().and_then(Self::triggered_at);
        match (own, parent) {
            (Some(own), Some(parent)) => Some(own.min(parent)),
            (own, parent) => own.or(parent),
        }
    }

    /// Triggers on SIGTERM or SIGINT; a second one ends the process at once, with code 1.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen_to_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            for first in [true, false] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if first {
                    tracing::info!(signal = name, deadline = ?shutdown.inner.deadline, "stopping");
                    shutdown.trigger();
                } else {
                    tracing::warn!(signal = name, "second signal: leaving at once");
                    std::process::exit(1);
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_stops_with_the_whole_and_alone() {
        let whole = Shutdown::new(Duration::from_secs(30));
        let (one, two) = (whole.child(), whole.child());
        one.trigger();
        assert!(one.is_triggered() && !whole.is_triggered() && !two.is_triggered());
        whole.trigger();
        two.cancelled().await;
        assert!(two.remaining() <= whole.inner.deadline);
    }

    #[tokio::test]
    async fn the_cut_leaves_a_reserve() {
        let shutdown = Shutdown::new(Duration::from_millis(500));
        shutdown.trigger();
        shutdown.cut().await;
        let left = shutdown.remaining();
        assert!(
            left > Duration::ZERO && left <= Duration::from_millis(50),
            "{left:?}"
        );
    }
}
