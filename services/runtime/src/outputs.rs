//! Whether outputs can be stored: behind the check `outputs`. A stage whose outputs go nowhere takes
//! up nothing more, for it would work on the same inputs again and again, and use their deliveries
//! up: the server counts them all.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use async_nats::jetstream::Context as JetStream;
use tracing::Span;

use crate::health::HealthCheck;
use crate::publish::{Outgoing, PublishFault, store};

/// What could not be stored, of one stage.
#[derive(Debug)]
pub(crate) struct Outputs {
    check: HealthCheck,
    refused: Mutex<Option<Outgoing>>,
}

impl Outputs {
    /// Nothing was refused yet.
    pub(crate) fn new(check: HealthCheck) -> Self {
        check.set(true);
        let refused = Mutex::default();
        Self { check, refused }
    }

    /// Notes one that was not stored for as long as the patience lasted.
    pub(crate) fn note(&self, mut message: Outgoing) {
        // Its input's attempt is over.
        message.span = Span::none();
        *self.held() = Some(message);
        self.check.set(false);
    }

    /// Tries the newest of them again until it is stored, which is what its input would bring about
    /// sooner or later: stored twice, it is a duplicate.
    pub(crate) async fn follow(&self, jetstream: &JetStream) -> Infallible {
        self.check.follow(|| self.try_again(jetstream)).await
    }

    async fn try_again(&self, jetstream: &JetStream) -> Result<(), PublishFault> {
        let held = self.held().clone();
        if let Some(message) = held {
            match store(jetstream, &message).await {
                Err(fault @ PublishFault::NotStored { .. }) => return Err(fault),
                // What never can be stored says nothing of the others.
                Ok(_) | Err(PublishFault::Unpublishable { .. }) => *self.held() = None,
            }
        }
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Outgoing>> {
        // Single assignments only: no half-done state behind a panic.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
