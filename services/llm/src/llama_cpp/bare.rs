//! The plainest loop over llama.cpp, to compare the adapter with.

use std::sync::Arc;
use std::time::Instant;

use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

use super::engine::{BATCH, Shape};
use super::{Inner, LlamaCpp};
use crate::bench::Rates;
use crate::chat::{ChatRequest, EngineError};

/// One prompt, one sequence, llama.cpp's own greedy sampler, no stream, no queue.
pub struct BareLoop(Arc<Inner>);

impl BareLoop {
    /// Over the same weights and with as many threads as `engine` has.
    pub fn beside(engine: &LlamaCpp) -> Self {
        Self(Arc::clone(&engine.0))
    }

    /// Reads the prompt and generates `max_tokens`, unless the model ends before.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when llama.cpp fails.
    pub fn measure(&self, request: &ChatRequest) -> Result<Rates, EngineError> {
        let tokens = self.0.model.prompt(&request.messages)?;
        self.decode(&tokens, request.max_tokens)
            .map_err(EngineError::Unavailable)
    }

    fn decode(&self, tokens: &[LlamaToken], max_tokens: u32) -> Result<Rates, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let weights = &self.0.model.weights;
        let shape = Shape {
            parallel: 1,
            ..self.0.shape
        };
        let mut context = shape.context(weights)?;
        let mut batch = LlamaBatch::new(BATCH, 1);
        let mut sampler = LlamaSampler::greedy();
        let mut position = 0;
        let since = Instant::now();
        for chunk in tokens.chunks(BATCH) {
            batch.clear();
            for &token in chunk {
                position += 1;
                let last = position as usize == tokens.len();
                batch
                    .add(token, position - 1, &[0], last)
                    .map_err(|error| text(&error))?;
            }
            context.decode(&mut batch).map_err(|error| text(&error))?;
        }
        let mut token = sampler.sample(&context, batch.n_tokens() - 1);
        let reading = since.elapsed();
        let mut generated = 1;
        let mut answer = Vec::new();
        while generated < max_tokens && !weights.vocab().is_eog(token) {
            weights
                .vocab()
                .token_to_piece_into(token, &mut answer, false, None);
            batch.clear();
            batch
                .add(token, position, &[0], true)
                .map_err(|error| text(&error))?;
            position += 1;
            context.decode(&mut batch).map_err(|error| text(&error))?;
            token = sampler.sample(&context, 0);
            generated += 1;
        }
        let writing = since.elapsed() - reading;
        Ok(Rates {
            prompt: tokens.len() as f64 / reading.as_secs_f64(),
            decode: f64::from(generated - 1) / writing.as_secs_f64(),
        })
    }
}
