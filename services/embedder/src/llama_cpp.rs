//! GGUF encoders in this process, by llama.cpp. A thread of its own owns the context and embeds the
//! texts of all callers in micro-batches; after a panic it starts with a new context.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use foil_llm::EngineError;
use foil_llm::llama_cpp::{backend, inspect};
use futures::future::{BoxFuture, try_join_all};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::oneshot;

use crate::config::EmbedConfig;
use crate::embed::{EmbedError, TextEmbedder, normalised};
use crate::metrics::EngineLabels;

mod thread;

use thread::{Job, failed};

/// As in telemetry.
pub(crate) const ENGINE: &str = "llama-cpp";
/// Texts of one micro-batch; each is a sequence of its own.
const TEXTS_MAX: usize = 64;
/// No vocabulary has tokens of this many bytes on average: what lies behind is cut off anyway, and
/// tokenizers take more than linear time.
const BYTES_PER_TOKEN: usize = 32;

/// The adapter. Its thread ends with it.
pub struct LlamaEmbedder {
    weights: Arc<LlamaModel>,
    name: String,
    dimension: usize,
    max_tokens: usize,
    queue: usize,
    timeout: Duration,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What a context is made with.
#[derive(Clone, Copy)]
struct Shape {
    batch_tokens: usize,
    threads: i32,
    dimension: usize,
    /// It keeps a cache between batches, as decoders do.
    causal: bool,
}

impl LlamaEmbedder {
    /// Loads the model and starts its thread. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`EmbedError::Load`]: missing, truncated, no GGUF file, or no embedding model.
    pub fn load(config: &EmbedConfig) -> Result<Self, EmbedError> {
        let path = Path::new(&config.model);
        let (weights, shape) = open(path, config)?;
        let (jobs, inbox) = sync_channel(config.queue);
        let (ready, made) = sync_channel(1);
        let served = Arc::clone(&weights);
        let queue = config.queue;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy().into_owned();
        let labels = EngineLabels::new(ENGINE, &name);
        let thread = Builder::new()
            .name("llama-embed".into())
            .spawn(move || thread::run(&served, shape, &labels, (&inbox, queue), ready))
            .map_err(|error| load_error(path, error))?;
        match made.recv() {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Err(load_error(path, cause)),
            Err(_) => return Err(load_error(path, "its thread ended")),
        }
        let limit = weights.n_ctx_train().min(config.max_tokens);
        Ok(Self {
            name,
            dimension: shape.dimension,
            max_tokens: limit as usize,
            queue,
            timeout: config.timeout,
            weights,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    async fn one(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        let tokens = tokens(&self.weights, text, self.max_tokens);
        let (reply, answer) = oneshot::channel();
        self.submit(Job::new(tokens, reply))?;
        // Dropped unanswered: the engine failed under it.
        answer.await.unwrap_or_else(|_| Err(failed()))
    }

    fn submit(&self, job: Job) -> Result<(), EmbedError> {
        let jobs = self.jobs.as_ref().ok_or_else(failed)?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => EmbedError::Busy { limit: self.queue },
            TrySendError::Disconnected(_) => failed(),
        })
    }
}

impl TextEmbedder for LlamaEmbedder {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn model(&self) -> &str {
        &self.name
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            let all = try_join_all(texts.iter().map(|text| self.one(text)));
            let answer = tokio::time::timeout(self.timeout, all).await;
            answer.unwrap_or(Err(EmbedError::Timeout))
        })
    }
}

impl Drop for LlamaEmbedder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A process that exits while llama.cpp computes may crash.
            let _ = thread.join();
        }
    }
}

/// Texts a second of the plainest loop over llama.cpp: one text, one batch, no queue. For comparison
/// with the adapter; the model is loaded before the clock starts.
///
/// # Errors
/// As [`LlamaEmbedder::load`], and [`EmbedError::Unavailable`] when llama.cpp fails.
pub fn bare_loop(config: &EmbedConfig, texts: &[String]) -> Result<f64, EmbedError> {
    let path = Path::new(&config.model);
    let (weights, shape) = open(path, config)?;
    let mut context = shape
        .context(&weights)
        .map_err(|cause| load_error(path, cause))?;
    let mut batch = LlamaBatch::new(shape.batch_tokens, 1);
    let limit = weights.n_ctx_train().min(config.max_tokens) as usize;
    let since = Instant::now();
    for text in texts {
        let tokens = tokens(&weights, text, limit);
        shape
            .compute(&mut context, &mut batch, &[&tokens])
            .map_err(EmbedError::Unavailable)?;
    }
    Ok(texts.len() as f64 / since.elapsed().as_secs_f64())
}

fn open(path: &Path, config: &EmbedConfig) -> Result<(Arc<LlamaModel>, Shape), EmbedError> {
    let engine = |error: EngineError| match error {
        EngineError::Load { file, cause } => EmbedError::Load { file, cause },
        other => load_error(path, other),
    };
    let kind = inspect(path).map_err(engine)?;
    if !kind.encoder {
        let architecture = kind.architecture;
        let cause = format!("is no embedding model (architecture {architecture})");
        return Err(load_error(path, cause));
    }
    let params = LlamaModelParams::default();
    let weights = LlamaModel::load_from_file(backend().map_err(engine)?, path, &params)
        .map_err(|error| load_error(path, format!("is truncated or damaged: {error}")))?;
    let cores = || available_parallelism().map_or(1, usize::from);
    let threads = config
        .threads
        .map_or_else(cores, |threads| threads as usize);
    let shape = Shape {
        batch_tokens: config.batch_tokens.max(config.max_tokens) as usize,
        threads: i32::try_from(threads).unwrap_or(i32::MAX),
        dimension: usize::try_from(weights.n_embd_out()).unwrap_or(0),
        causal: !kind.architecture.contains("bert"),
    };
    Ok((Arc::new(weights), shape))
}

fn load_error(path: &Path, cause: impl ToString) -> EmbedError {
    EmbedError::Load {
        file: path.display().to_string(),
        cause: cause.to_string(),
    }
}

/// The text's tokens with the model's own first and last one, at most `limit`.
fn tokens(model: &LlamaModel, text: &str, limit: usize) -> Vec<LlamaToken> {
    let vocab = model.vocab();
    let text = &text[..text.floor_char_boundary(limit * BYTES_PER_TOKEN)];
    let mut tokens = vocab.tokenize(text.as_bytes(), true, false);
    if tokens.len() > limit {
        let last = tokens.last().copied();
        let closing = last.filter(|last| [vocab.sep(), vocab.eos()].contains(last));
        tokens.truncate(limit);
        if let (Some(closing), Some(end)) = (closing, tokens.last_mut()) {
            *end = closing;
        }
    }
    tokens
}

impl Shape {
    fn context(self, model: &LlamaModel) -> Result<LlamaContext<'_>, String> {
        let size = u32::try_from(self.batch_tokens).unwrap_or(u32::MAX);
        let params = LlamaContextParams::default()
            .with_embeddings(true)
            .with_n_ctx(NonZeroU32::new(size))
            .with_n_batch(size)
            .with_n_ubatch(size)
            .with_n_seq_max(TEXTS_MAX as u32)
            .with_kv_unified(true)
            .with_n_threads(self.threads)
            .with_n_threads_batch(self.threads);
        let backend = backend().map_err(|error| error.to_string())?;
        let context = model.new_context(backend, params);
        context.map_err(|error| error.to_string())
    }

    /// Embeds one batch of texts.
    fn compute(
        self,
        context: &mut LlamaContext<'_>,
        batch: &mut LlamaBatch,
        texts: &[&Vec<LlamaToken>],
    ) -> Result<Vec<Result<Vec<f32>, EmbedError>>, String> {
        batch.clear();
        for (sequence, tokens) in (0..).zip(texts) {
            let added = batch.add_sequence(tokens, sequence, true);
            added.map_err(|error| error.to_string())?;
        }
        if self.causal {
            context.clear_kv_cache();
            context.decode(batch).map_err(|error| error.to_string())?;
        } else {
            context.encode(batch).map_err(|error| error.to_string())?;
        }
        let vectors = (0..).zip(texts).map(|(sequence, _)| {
            let vector = context.embeddings_seq_ith(sequence);
            let vector = vector.map_err(|error| error.to_string())?;
            Ok(normalised(vector.to_vec(), self.dimension))
        });
        vectors.collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
