//! A model that is asked, with patience.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use foil_llm::{ChatRequest, Completion, EngineConfig, EngineError, LanguageModel, collect};

use crate::fingerprint;

/// Tries with one question while the model is away.
const TRIES: u32 = 3;
/// After the first try; twice as long after the second.
const PAUSE: Duration = Duration::from_secs(5);

/// A model, and what tells it from others of its name.
#[derive(Clone)]
pub struct Engine {
    pub model: Arc<dyn LanguageModel>,
    /// Equal where the same questions get the same answers, as far as is known.
    pub identity: String,
    /// Between two tries.
    pub pause: Duration,
}

impl Engine {
    /// Loads or connects what `config` names.
    ///
    /// # Errors
    /// When that fails.
    pub async fn load(config: &EngineConfig) -> Result<Self> {
        Ok(Self {
            model: foil_llm::load(config).await?,
            identity: fingerprint::of_model(config)?,
            pause: PAUSE,
        })
    }

    /// The whole answer. A model that is away or busy is asked up to three times.
    pub(super) async fn ask(&self, request: &ChatRequest) -> Result<Completion, EngineError> {
        let mut tries = 1;
        loop {
            match self.once(request.clone()).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tracing::warn!(%error, tries, "the model is asked again");
                    tokio::time::sleep(self.pause * tries).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn once(&self, request: ChatRequest) -> Result<Completion, EngineError> {
        collect(self.model.chat(request).await?).await
    }
}

/// Whether the engine refuses this one question, and may well take another.
pub(super) fn refuses(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::PromptTooLong { .. } | EngineError::Invalid(_)
    )
}
