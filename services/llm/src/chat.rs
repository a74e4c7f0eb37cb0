//! The port: what Foil asks of a language model, and what it gets back.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// One request. Dropping the stream it gave cancels it.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    pub messages: Vec<Message>,
    /// Most tokens to generate, at least 1.
    pub max_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 < `top_p` <= 1.
    pub top_p: f32,
    /// What a token's logit loses each time it was generated, 0 to 2: small models go in circles
    /// without it. As in OpenAI's API.
    pub frequency_penalty: f32,
    /// Same seed, same request, same engine and no other load: same text, where the engine can.
    pub seed: u64,
    /// The text ends before the first of these; at most 8.
    pub stop: Vec<String>,
    /// A JSON schema the whole output must satisfy; decoding is constrained by it.
    pub schema: Option<serde_json::Value>,
}

impl ChatRequest {
    /// A greedy request without stop words or schema.
    pub fn new(messages: Vec<Message>, max_tokens: u32) -> Self {
        Self {
            messages,
            max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            frequency_penalty: 0.0,
            seed: 0,
            stop: Vec::new(),
            schema: None,
        }
    }

    /// What every adapter checks before anything else.
    ///
    /// # Errors
    /// [`EngineError::Invalid`], naming the field.
    pub fn check(&self) -> Result<(), EngineError> {
        let fault = if self.messages.is_empty() {
            "messages: is empty"
        } else if self.max_tokens == 0 {
            "max_tokens: is 0"
        } else if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            "temperature: is not a number from 0"
        } else if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            "top_p: is not above 0 and at most 1"
        } else if !(0.0..=2.0).contains(&self.frequency_penalty) {
            "frequency_penalty: is not within 0 and 2"
        } else if self.stop.len() > MAX_STOPS {
            "stop: has more than 8 strings"
        } else if self.stop.iter().any(String::is_empty) {
            "stop: has an empty string"
        } else if self
            .schema
            .as_ref()
            .is_some_and(|schema| !schema.is_object())
        {
            "schema: is not a JSON object"
        } else {
            return Ok(());
        };
        Err(EngineError::Invalid(fault.into()))
    }
}

/// Most [`ChatRequest::stop`] strings.
const MAX_STOPS: usize = 8;

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop word was met.
    Stop,
    /// `max_tokens` or the context ran out: constrained output may be incomplete.
    Length,
}

/// What a request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u32,
    /// The part of `prompt_tokens` that came from a prefix cache.
    pub cached_tokens: u32,
    pub completion_tokens: u32,
    /// Waiting for a place in the engine.
    pub queued: Duration,
    /// From submission to the first token.
    pub first_token: Duration,
}

/// One step of a streamed answer. `Done` comes last and exactly once on success.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    Delta(String),
    Done { finish: Finish, usage: Usage },
}

/// A streamed answer; drop it to cancel the request.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, EngineError>>;

/// What the engine serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The adapter: `llama-cpp`, `mistralrs` or `openai`.
    pub provider: &'static str,
    /// The model's name, for provenance and telemetry.
    pub model: String,
    /// Tokens one request may use, prompt and completion together.
    pub context_tokens: u32,
}

/// Why a request, or the engine, failed. Texts hold no prompt and no output.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine's queue is full; a later attempt may succeed.
    #[error("engine queue is full ({limit} requests)")]
    Busy { limit: usize },
    /// The prompt leaves no room: trim it. It will never work as it is.
    #[error(
        "prompt of {tokens} tokens and {max_tokens} to generate exceed the context of {context} tokens"
    )]
    PromptTooLong {
        tokens: u32,
        max_tokens: u32,
        context: u32,
    },
    /// The request is malformed and never will work; names the field.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The engine or its server cannot be reached or failed; a later attempt may succeed.
    #[error("engine unavailable: {0}")]
    Unavailable(String),
    /// The engine's thread or process died during the request; a later attempt may succeed.
    #[error("engine died: {0}")]
    Died(String),
    /// The model could not be loaded: missing, truncated, or of the wrong kind. Names the key and the
    /// file.
    #[error("llm.model: cannot load model {file}: {cause}")]
    Load { file: String, cause: String },
}

impl EngineError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Unavailable(_) | Self::Died(_)
        )
    }
}

/// A language model. Object-safe: which adapter serves is decided by configuration.
pub trait LanguageModel: Send + Sync {
    fn info(&self) -> &ModelInfo;

    /// Tokens of `text` alone, without the chat template. An adapter that cannot know exactly
    /// returns an estimate that is not below the truth for ordinary text.
    fn count_tokens(&self, text: &str) -> Result<u32, EngineError>;

    /// Tokens the chat template adds for `messages` messages, at most.
    fn template_tokens(&self, messages: usize) -> u32;

    /// Submits a request. Returns when it is accepted or refused; tokens come by the stream.
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>>;
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub text: String,
    pub finish: Finish,
    pub usage: Usage,
}

/// Collects a streamed answer.
///
/// # Errors
/// The stream's first error; [`EngineError::Died`] when it ends without `Done`.
pub async fn collect(mut stream: ChatStream) -> Result<Completion, EngineError> {
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            ChatEvent::Delta(delta) => text.push_str(&delta),
            ChatEvent::Done { finish, usage } => {
                return Ok(Completion {
                    text,
                    finish,
                    usage,
                });
            }
        }
    }
    Err(EngineError::Died("the stream ended early".into()))
}
