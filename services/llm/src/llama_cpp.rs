//! GGUF files in this process, by llama.cpp: the default engine on a CPU.
//!
//! A thread of its own owns the context and decodes all running requests in one batch; prompts are
//! read in chunks between the tokens of those that write. Prompts that begin the same share their
//! part of the KV cache, and the prompts of requests that have ended are kept for a while.
//!
//! Control tokens come from the model's chat template only: a message's content is always plain
//! text to the tokenizer. What a model makes of plain text that looks like an instruction is not
//! decided here; see [`crate::prompt::neutralise`].
//!
//! A failed assertion inside llama.cpp ends the process; everything before it is checked here.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::chat::{ChatRequest, ChatStream, EngineError, LanguageModel, ModelInfo};
use crate::config::EngineConfig;
use crate::metrics::Batches;

mod answer;
mod backend;
mod bare;
mod engine;
mod grammar;
mod model;
mod queue;
mod sample;
mod shelf;
mod slots;
mod text;

pub use backend::backend;
pub use bare::BareLoop;
#[cfg(feature = "mistralrs")]
pub(crate) use grammar::spaced;
pub use model::{GgufKind, inspect};
pub(crate) use text::TextGate;

use engine::Shape;
use grammar::Grammars;
use model::{ChatModel, load_error};
use queue::{Job, Queue, Refused};
use sample::Sampler;

/// How to run a model file.
#[derive(Clone, Debug)]
pub struct LlamaCppConfig {
    /// A GGUF file of a chat model.
    pub model: PathBuf,
    /// Tokens one request may use, prompt and answer; never more than the model was made for.
    pub context_tokens: u32,
    /// Requests that run at once.
    pub parallel: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// All cores by default.
    pub threads: Option<usize>,
    pub gpu_layers: u32,
    /// Longest wait for a whole answer, queueing included.
    pub timeout: Duration,
}

impl LlamaCppConfig {
    /// The defaults of [`EngineConfig`] for this file.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        let config = EngineConfig::default();
        Self {
            model: model.into(),
            ..Self::from(&config)
        }
    }
}

impl From<&EngineConfig> for LlamaCppConfig {
    fn from(config: &EngineConfig) -> Self {
        Self {
            model: PathBuf::from(&config.model),
            context_tokens: config.context_tokens,
            parallel: config.parallel,
            queue: config.queue,
            threads: config.threads,
            gpu_layers: config.gpu_layers,
            timeout: config.timeout,
        }
    }
}

/// The adapter. Its thread ends with it.
pub struct LlamaCpp(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    model: ChatModel,
    grammars: Grammars,
    shape: Shape,
    queue_limit: usize,
    timeout: Duration,
    batches: Batches,
    engine: Mutex<Engine>,
}

/// The thread, and the way to it.
struct Engine {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl LlamaCpp {
    /// Loads the model and starts its thread. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file is missing, truncated, no GGUF file or no chat model,
    /// or when its context does not fit into memory.
    pub fn load(config: LlamaCppConfig) -> Result<Arc<Self>, EngineError> {
        let model = ChatModel::load(&config.model, config.gpu_layers)?;
        let trained = model.weights.n_ctx_train();
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let threads = config.threads.unwrap_or_else(cores);
        let shape = Shape {
            context_tokens: config.context_tokens.min(trained).max(1),
            // llama.cpp has at most 256 sequences.
            parallel: config.parallel.clamp(1, 256),
            threads: i32::try_from(threads).unwrap_or(i32::MAX),
        };
        let name = config.model.file_stem().unwrap_or(config.model.as_os_str());
        let info = ModelInfo {
            provider: "llama-cpp",
            model: name.to_string_lossy().into_owned(),
            context_tokens: shape.context_tokens,
        };
        let batches = Batches::of(&info);
        let engine = Engine::start(&model, shape, config.queue, &batches)
            .map_err(|cause| load_error(&config.model, cause))?;
        Ok(Arc::new(Self(Arc::new(Inner {
            info,
            grammars: Grammars::new(Arc::clone(&model.weights)),
            model,
            shape,
            queue_limit: config.queue,
            timeout: config.timeout,
            batches,
            engine: Mutex::new(engine),
        }))))
    }

    /// Makes the engine's thread panic at its next step.
    #[doc(hidden)]
    pub fn crash_for_test(&self) {
        self.0.lock().queue.crash();
    }
}

impl Engine {
    fn start(
        model: &ChatModel,
        shape: Shape,
        limit: usize,
        batches: &Batches,
    ) -> Result<Self, String> {
        let queue = Arc::new(Queue::new(limit));
        let (ready, made) = sync_channel(1);
        let weights = Arc::clone(&model.weights);
        let served = Arc::clone(&queue);
        let batches = batches.clone();
        let thread = thread::Builder::new()
            .name("llama-cpp".into())
            .spawn(move || {
                // However the thread ends, nobody may wait for it for ever.
                let _close = Close(Arc::clone(&served));
                engine::serve(&weights, shape, (&served, batches), &ready);
            })
            .map_err(|error| error.to_string())?;
        let made = made
            .recv()
            .unwrap_or_else(|_| Err("the engine's thread ended".into()));
        made.map(|()| Self {
            queue,
            thread: Some(thread),
        })
    }
}

struct Close(Arc<Queue>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(thread) = self.thread.take() {
            // At most one batch long. A process that exits while llama.cpp computes may crash.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, request: &ChatRequest) -> Result<ChatStream, EngineError> {
        let submitted = Instant::now();
        request.check()?;
        let prompt = self.model.prompt(&request.messages)?;
        let tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        if tokens.saturating_add(request.max_tokens) > self.shape.context_tokens {
            return Err(EngineError::PromptTooLong {
                tokens,
                max_tokens: request.max_tokens,
                context: self.shape.context_tokens,
            });
        }
        let grammar = request
            .schema
            .as_ref()
            .map(|schema| self.grammars.compile(schema));
        let (events, stream) = queue::channel(request.max_tokens);
        let job = Job {
            prompt,
            max_tokens: request.max_tokens,
            sampler: Sampler::new(
                request.temperature,
                request.top_p,
                request.seed,
                grammar.transpose()?,
            )
            .penalising(request.frequency_penalty),
            text: TextGate::new(request.stop.clone()),
            events,
            submitted,
            deadline: submitted + self.timeout,
        };
        self.enqueue(job)?;
        Ok(stream)
    }

    /// Queues a job; starts the thread again if it has ended.
    fn enqueue(&self, job: Job) -> Result<(), EngineError> {
        let mut engine = self.lock();
        let mut job = job;
        for _ in 0..2 {
            match engine.queue.push(job) {
                Ok(()) => return Ok(()),
                Err(Refused::Busy { limit }) => return Err(EngineError::Busy { limit }),
                Err(Refused::Dead(back)) => job = *back,
            }
            tracing::warn!(
                model = self.info.model,
                "starting the llama.cpp engine again"
            );
            *engine = Engine::start(&self.model, self.shape, self.queue_limit, &self.batches)
                .map_err(EngineError::Unavailable)?;
        }
        Err(EngineError::Unavailable(
            "the engine's thread does not stay up".into(),
        ))
    }
}

impl LanguageModel for LlamaCpp {
    fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        u32::try_from(self.0.model.tokens(text).len())
            .map_err(|_| EngineError::Invalid("text: has more than 2^32 tokens".into()))
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.0.model.template_tokens(messages)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            // Tokenising, compiling a schema and starting a thread all take a while.
            tokio::task::spawn_blocking(move || inner.submit(&request))
                .await
                .unwrap_or_else(|error| Err(EngineError::Died(error.to_string())))
        })
    }
}
