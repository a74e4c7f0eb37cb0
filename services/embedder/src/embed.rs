//! The port to an embedding model.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::config::{EmbedConfig, EmbedEngine};
use crate::llama_cpp::{self, LlamaEmbedder};
use crate::openai::{self, OpenAiEmbedder};
use crate::trace::Traced;

/// Turns texts into vectors. Callers may run at once; an adapter batches across them.
pub trait TextEmbedder: Send + Sync {
    /// Length of every vector.
    fn dimension(&self) -> usize;

    /// The model's name, as in provenance and telemetry.
    fn model(&self) -> &str;

    /// One vector of length 1 for each text, in their order. A text beyond the model's limit counts
    /// with its beginning only. Dropping the future gives the place in the queue back.
    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EmbedError>>;
}

/// Why there is no vector. No variant holds a text.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The model file cannot be used. Names the key and the file.
    #[error(
        "embed.model: cannot load model {file}: {cause}; name a GGUF file of an embedding model"
    )]
    Load { file: String, cause: String },
    /// The configuration cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The queue is full.
    #[error("{limit} texts wait already")]
    Busy { limit: usize },
    /// No answer within the time limit.
    #[error("no embedding within the time limit")]
    Timeout,
    /// The engine or its server fails.
    #[error("the embedding model is unavailable: {0}")]
    Unavailable(String),
    /// What came is no vector of the expected length.
    #[error("bad embedding: {0}")]
    BadOutput(String),
}

/// Loads or connects what `config` names.
///
/// # Errors
/// [`EmbedError::Load`] for a model file, [`EmbedError::Invalid`] for the configuration.
pub async fn load(config: &EmbedConfig) -> Result<Arc<dyn TextEmbedder>, EmbedError> {
    match config.engine {
        EmbedEngine::LlamaCpp => {
            let config = config.clone();
            let loaded = tokio::task::spawn_blocking(move || LlamaEmbedder::load(&config)).await;
            let model = loaded.map_err(|error| EmbedError::Unavailable(error.to_string()))??;
            Ok(Arc::new(Traced::new(model, llama_cpp::ENGINE)))
        }
        EmbedEngine::Openai => {
            let model = OpenAiEmbedder::new(config)?;
            Ok(Arc::new(Traced::new(model, openai::ENGINE)))
        }
    }
}

/// Scales to length 1.
///
/// # Errors
/// [`EmbedError::BadOutput`] for a vector that is not finite, is zero or of another length.
pub(crate) fn normalised(mut vector: Vec<f32>, dimension: usize) -> Result<Vec<f32>, EmbedError> {
    if vector.len() != dimension {
        let length = vector.len();
        let problem = format!("a vector of {length}, not {dimension}");
        return Err(EmbedError::BadOutput(problem));
    }
    let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let length = length.sqrt();
    if !length.is_finite() || length == 0.0 {
        return Err(EmbedError::BadOutput("a vector without direction".into()));
    }
    for x in &mut vector {
        *x = (f64::from(*x) / length) as f32;
    }
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_length_one_and_bad_ones_are_refused() {
        assert_eq!(normalised(vec![3.0, 4.0], 2).unwrap(), [0.6, 0.8]);
        for bad in [vec![], vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![1.0; 3]] {
            assert!(matches!(normalised(bad, 2), Err(EmbedError::BadOutput(_))));
        }
    }
}
