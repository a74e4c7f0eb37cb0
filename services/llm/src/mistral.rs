//! GGUF files and safetensors folders in this process, by mistralrs: for GPUs. On a CPU
//! [`llama_cpp`](crate::llama_cpp) is several times faster.
//!
//! What 0.8.1 needs to be kept from, and where: requests are always streamed and drained by a task
//! of their own, because its engine panics when the receiver of a whole answer goes away and stalls
//! behind a reader that is slow; the number of requests is bounded here, because its scheduler does
//! not; stop strings are found here, because it streams them before it sees them; prompt and answer
//! are fitted to the context here, because it looks at the prompt alone. An engine that died anyway
//! is loaded again by the next request.
//!
//! Its tokenizer reads control tokens in a message's content as such; see
//! [`crate::prompt::neutralise`]. `threads` is not obeyed: mistralrs computes on rayon's global
//! pool, whose size is `RAYON_NUM_THREADS`. It makes an empty folder for a hub's cache below
//! `HF_HOME`, or the home folder, whichever there is; nothing is fetched into it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mistralrs::{Constraint, RequestBuilder, Response, StopTokens, TextMessageRole};

use crate::chat::{
    ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo, Role, Usage,
};
use crate::config::EngineConfig;
use crate::llama_cpp::{TextGate, spaced};
use crate::relay::{self, Gate, Output, Turn};

mod load;
mod sample;

use load::{Engine, Source};
use sample::Seeded;

/// Between the end of a request's channel and that of its engine, when the engine dies.
const DEATH: Duration = Duration::from_millis(200);

/// The adapter.
pub struct Mistral(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    source: Source,
    gate: Gate,
    timeout: Duration,
    engine: Mutex<Arc<Engine>>,
    /// Held while a dead engine is replaced, so that it is replaced once.
    reload: tokio::sync::Mutex<()>,
}

impl Mistral {
    /// Loads the model at `config.model`, measures its chat template, and starts its engine.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the path is no model that mistralrs can run.
    pub async fn load(config: &EngineConfig) -> Result<Self, EngineError> {
        let source = Source {
            path: PathBuf::from(&config.model),
            parallel: config.parallel,
        };
        let engine = source.load().await?;
        let trained = engine.model.max_sequence_length().ok().flatten();
        let trained = trained.map_or(u32::MAX, |tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        let name = source.path.file_stem().unwrap_or(source.path.as_os_str());
        Ok(Self(Arc::new(Inner {
            info: ModelInfo {
                provider: "mistralrs",
                model: name.to_string_lossy().into_owned(),
                context_tokens: config.context_tokens.min(trained),
            },
            gate: Gate::new(config.parallel, config.queue),
            timeout: config.timeout,
            engine: Mutex::new(engine),
            reload: tokio::sync::Mutex::new(()),
            source,
        })))
    }

    fn submit(&self, request: ChatRequest) -> Result<ChatStream, EngineError> {
        let submitted = Instant::now();
        request.check()?;
        let inner = Arc::clone(&self.0);
        let prompt_tokens = inner.fit(&request)?;
        let place = inner.gate.enter()?;
        let capacity = request.max_tokens as usize;
        Ok(relay::spawn(
            capacity,
            inner.timeout,
            move |output| async move {
                let turn = place.turn().await?;
                let engine = Arc::clone(&inner).living().await?;
                let job = Job {
                    request,
                    prompt_tokens,
                    submitted,
                    turn,
                };
                let result = job.run(&engine, &output).await;
                if matches!(result, Err(EngineError::Died(_))) {
                    engine.set_dead();
                }
                result
            },
        ))
    }

    /// Makes the engine's thread panic at its next step.
    #[doc(hidden)]
    pub fn crash_for_test(&self) {
        let engine = self.0.engine();
        tokio::spawn(async move {
            let crash = |_: &mistralrs::Tensor, _: &[u32]| -> mistralrs::Result<_> {
                panic!("the engine's thread was told to crash, for a test")
            };
            let request = RequestBuilder::new()
                .add_message(TextMessageRole::User, "a")
                .add_logits_processor(Arc::new(crash));
            if let Ok(mut stream) = engine.model.stream_chat_request(request).await {
                while stream.next().await.is_some() {}
            }
        });
    }
}

impl Inner {
    fn engine(&self) -> Arc<Engine> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&engine)
    }

    /// Tokens of the prompt, at most.
    fn fit(&self, request: &ChatRequest) -> Result<u32, EngineError> {
        let engine = self.engine();
        let mut tokens = engine.template.tokens(request.messages.len());
        for message in &request.messages {
            tokens = tokens.saturating_add(engine.count(&message.content)?);
        }
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        if tokens.saturating_add(request.max_tokens) > self.info.context_tokens {
            return Err(EngineError::PromptTooLong {
                tokens,
                max_tokens: request.max_tokens,
                context: self.info.context_tokens,
            });
        }
        Ok(tokens)
    }

    /// The engine; loaded again, in a task that a cancelled request does not cancel, if it died.
    async fn living(self: Arc<Self>) -> Result<Arc<Engine>, EngineError> {
        if !self.engine().is_dead() {
            return Ok(self.engine());
        }
        let task = tokio::spawn(async move {
            let _one_at_a_time = self.reload.lock().await;
            if self.engine().is_dead() {
                tracing::warn!(
                    model = self.info.model,
                    "the engine died and is loaded again"
                );
                let engine = self.source.load().await.map_err(|error| {
                    EngineError::Unavailable(format!("the engine died, and then: {error}"))
                })?;
                *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = engine;
            }
            Ok(self.engine())
        });
        task.await
            .unwrap_or_else(|panic| Err(EngineError::Died(panic.to_string())))
    }
}

impl LanguageModel for Mistral {
    fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        let tokens = self.0.engine().count(text)?;
        Ok(u32::try_from(tokens).unwrap_or(u32::MAX))
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        let tokens = self.0.engine().template.tokens(messages);
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        std::future::ready(self.submit(request)).boxed()
    }
}

/// One request that has its turn.
struct Job {
    request: ChatRequest,
    /// At most; the engine says how many there were when the answer ends by itself.
    prompt_tokens: u32,
    submitted: Instant,
    turn: Turn,
}

impl Job {
    async fn run(self, engine: &Engine, output: &Output) -> Result<(Finish, Usage), EngineError> {
        let died = |_| EngineError::Died("the engine's thread has ended".into());
        // Its channel closes with the engine's thread: the one sure sign of a death.
        let requests = engine.model.inner().get_sender(None).map_err(died)?;
        let mut stream = engine
            .model
            .stream_chat_request(self.build(engine.end))
            .await
            .map_err(|_| EngineError::Died("the engine takes no requests any more".into()))?;
        let mut text = TextGate::new(self.request.stop.clone());
        let mut usage = Usage {
            prompt_tokens: self.prompt_tokens,
            queued: self.turn.queued,
            ..Usage::default()
        };
        while let Some(response) = stream.next().await {
            let mut chunk = match response {
                Response::Chunk(chunk) => chunk,
                other => return Err(self.refused(&other)),
            };
            if usage.completion_tokens == 0 {
                usage.first_token = self.submitted.elapsed();
            }
            usage.completion_tokens += 1;
            if let Some(counts) = chunk.usage {
                usage.prompt_tokens = u32::try_from(counts.prompt_tokens).unwrap_or(u32::MAX);
                usage.completion_tokens =
                    u32::try_from(counts.completion_tokens).unwrap_or(u32::MAX);
            }
            let Some(choice) = chunk.choices.pop() else {
                continue;
            };
            let content = choice.delta.content.unwrap_or_default();
            output.delta(text.push(content.as_bytes())).await;
            if text.stopped() {
                // Dropping the stream ends the request in the engine, at its next token.
                return Ok((Finish::Stop, usage));
            }
            let finish = match choice.finish_reason.as_deref() {
                None => continue,
                Some("length") => Finish::Length,
                Some("canceled") => {
                    return Err(EngineError::Died("the engine gave the answer up".into()));
                }
                Some(_) => Finish::Stop,
            };
            output.delta(text.finish()).await;
            return Ok((finish, usage));
        }
        tokio::time::sleep(DEATH).await;
        if requests.is_closed() {
            return Err(EngineError::Died("the engine's thread has ended".into()));
        }
        // It says nothing about a last token that is half a character.
        output.delta(text.finish()).await;
        Ok((Finish::Length, usage))
    }

    fn build(&self, end: Option<u32>) -> RequestBuilder {
        let request = &self.request;
        let mut builder = RequestBuilder::new()
            .set_sampler_temperature(0.0)
            .set_sampler_max_len(request.max_tokens as usize);
        for message in &request.messages {
            let role = match message.role {
                Role::System => TextMessageRole::System,
                Role::User => TextMessageRole::User,
                Role::Assistant => TextMessageRole::Assistant,
            };
            builder = builder.add_message(role, &message.content);
        }
        if request.temperature > 0.0 {
            builder = builder.add_logits_processor(Arc::new(Seeded {
                temperature: request.temperature,
                top_p: request.top_p,
                seed: request.seed,
            }));
        }
        if request.frequency_penalty > 0.0 {
            builder = builder.set_sampler_frequency_penalty(request.frequency_penalty);
        }
        let Some(schema) = &request.schema else {
            return builder;
        };
        if let Some(end) = end {
            builder = builder.set_sampler_stop_toks(StopTokens::Ids(vec![end]));
        }
        builder.set_constraint(Constraint::JsonSchema(spaced(schema.clone())))
    }

    /// What an answer that is no chunk means. Its texts may hold the prompt, so none passes.
    fn refused(&self, response: &Response) -> EngineError {
        let cause = match response {
            Response::ValidationError(cause) => cause.to_string(),
            Response::InternalError(_) | Response::ModelError(..) => {
                return EngineError::Unavailable("the engine failed at a step".into());
            }
            _ => return EngineError::Unavailable("the engine gave no chat answer".into()),
        };
        if cause.starts_with("Invalid grammar") {
            return EngineError::Invalid("schema: cannot be enforced".into());
        }
        EngineError::Invalid("messages: the chat template refuses them".into())
    }
}
