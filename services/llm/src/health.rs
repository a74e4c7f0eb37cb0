//! Whether a model answers. While it does not a stage pulls nothing, so that an outage costs waiting,
//! not attempts.

use std::convert::Infallible;
use std::sync::Arc;

use foil_runtime::HealthCheck;
use foil_runtime::health::{PAUSE_FIRST, PAUSE_MAX};
use tokio::sync::Notify;

use crate::chat::{ChatRequest, EngineError, LanguageModel, Message, Role, collect};

/// A check that goes down with a failed request and up by a probe, because no input comes meanwhile.
/// A model that works is never probed: its time is for requests.
#[derive(Clone, Debug)]
pub struct ModelHealth {
    check: HealthCheck,
    failed: Arc<Notify>,
}

impl ModelHealth {
    /// Up: a model that was loaded answers until the first failure.
    pub fn new(check: HealthCheck) -> Self {
        check.set(true);
        Self {
            check,
            failed: Arc::default(),
        }
    }

    /// Notes a failed request. A full queue is no outage: the engine is at work.
    pub fn note(&self, error: &EngineError) {
        if error.is_transient() && !matches!(error, EngineError::Busy { .. }) {
            self.check.set(false);
            self.failed.notify_one();
        }
    }

    /// Probes after each failure until the model answers again, for ever.
    pub async fn watch(&self, model: &dyn LanguageModel) -> Infallible {
        loop {
            self.failed.notified().await;
            let mut pause = PAUSE_FIRST;
            loop {
                tokio::time::sleep(pause).await;
                match probe(model).await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%error, "the model does not answer"),
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            self.check.set(true);
        }
    }
}

async fn probe(model: &dyn LanguageModel) -> Result<(), EngineError> {
    let message = Message {
        role: Role::User,
        content: "Say yes.".to_owned(),
    };
    let answer = match model.chat(ChatRequest::new(vec![message], 1)).await {
        Ok(stream) => collect(stream).await,
        Err(error) => Err(error),
    };
    match answer {
        // Even a refusal is an answer.
        Err(error) if error.is_transient() => Err(error),
        _ => Ok(()),
    }
}
