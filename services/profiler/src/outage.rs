//! What the stage needs and may miss: Qdrant and the model. While one is away nothing is pulled, so
//! that an outage costs no attempts.

use std::sync::Arc;
use std::time::Duration;

use foil_llm::{ChatRequest, EngineError, LanguageModel, Message, Role, collect};
use foil_runtime::{HealthCheck, Shutdown};
use foil_store::Store;
use tokio::sync::Notify;

/// Between two looks at Qdrant while it answers.
const STORE_PERIOD: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Looks after Qdrant until the shutdown.
pub(crate) async fn watch_store(store: Store, check: HealthCheck, shutdown: Shutdown) {
    let mut pause = PAUSE_FIRST;
    loop {
        let ready = store.ready().await;
        check.set(ready.is_ok());
        let wait = match ready {
            Ok(()) => {
                pause = PAUSE_FIRST;
                STORE_PERIOD
            }
            Err(error) => {
                tracing::warn!(%error, "the store is not ready");
                let wait = pause;
                pause = (pause * 2).min(PAUSE_MAX);
                wait
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Whether the model answers. Inputs tell of failures; a probe finds the end of an outage, because
/// no input comes meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct ModelHealth {
    check: HealthCheck,
    failed: Arc<Notify>,
}

impl ModelHealth {
    /// Up: a model that was loaded answers until the first failure.
    pub(crate) fn new(check: HealthCheck) -> Self {
        check.set(true);
        Self {
            check,
            failed: Arc::default(),
        }
    }

    /// Notes a failed request. A full queue is no outage: the engine is at work.
    pub(crate) fn note(&self, error: &EngineError) {
        if error.is_transient() && !matches!(error, EngineError::Busy { .. }) {
            self.check.set(false);
            self.failed.notify_one();
        }
    }

    /// Probes after each failure until the model answers again.
    pub(crate) async fn watch(self, model: Arc<dyn LanguageModel>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.failed.notified() => {}
            }
            let mut pause = PAUSE_FIRST;
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                match probe(&*model).await {
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
