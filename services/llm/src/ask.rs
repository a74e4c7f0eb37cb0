//! Asking until an answer holds: what the extractor and the profiler do with a model.

use std::sync::Arc;
use std::time::Duration;

use foil_runtime::{BoxError, Classify as _, Context, Reason, StageError};

use crate::chat::{
    ChatRequest, Completion, EngineError, LanguageModel, Message, Role, Usage, collect,
};
use crate::health::ModelHealth;
use crate::metrics::{self, Cost};
use crate::prompt::PromptError;

/// Tries with one input before it is given back.
const TRIES: u64 = 2;
/// The second try's temperature, at least: the first one's answer would only come again.
const WARM: f32 = 0.7;
const BUSY_DELAY: Duration = Duration::from_secs(3);
/// Shares of the context that a prompt may take: all of it, and less where the engine finds it too
/// long after all.
const SHARES: [f64; 2] = [1.0, 0.6];
/// Tokens that joining texts may take beyond what was counted.
const SLACK_TOKENS: u32 = 16;
/// A smaller budget holds no work.
const BUDGET_MIN: u32 = 64;

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{0}")]
    Prompt(#[from] PromptError),
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// Why no answer holds.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0}")]
    Build(#[from] BuildError),
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// What was wrong with the last answer.
    #[error("the model's answer cannot be used: {0}")]
    Answer(BoxError),
}

/// A model, and what its failures mean for an input.
#[derive(Clone)]
pub struct Asker {
    pub model: Arc<dyn LanguageModel>,
    pub health: ModelHealth,
    /// Of the first try; 0 is greedy.
    pub temperature: f32,
    /// How long an input rests after the model failed.
    pub outage_delay: Duration,
    /// Who asks, as in `names::stage`.
    pub stage: &'static str,
}

/// An answer that holds.
#[derive(Debug)]
pub struct Answer<T> {
    pub value: T,
    /// Of all tries.
    pub prompt_tokens: u32,
    /// Of all tries.
    pub completion_tokens: u32,
    /// Calls of the model.
    pub calls: u32,
}

/// Asks until `check` accepts, twice at most. `request`: the question in this share of the context, 0
/// to 1. `temperature`: of the very first try; `delivered`: how often the input was tried, from 1.
///
/// # Errors
/// [`AskError`]; what the engine says ends it at once.
pub async fn ask<T, E: Into<BoxError>>(
    model: &dyn LanguageModel,
    (temperature, delivered): (f32, u64),
    request: impl Fn(f64) -> Result<ChatRequest, BuildError>,
    check: impl Fn(&Completion) -> Result<T, E>,
) -> Result<Answer<T>, AskError> {
    let (mut prompt_tokens, mut completion_tokens, mut calls) = (0, 0, 0);
    let mut problem: BoxError = "no answer".into();
    for attempt in 0..TRIES {
        let tried = Try {
            temperature: if delivered == 1 && attempt == 0 {
                temperature
            } else {
                temperature.max(WARM)
            },
            seed: (delivered << 8) + attempt,
        };
        let completion = once(model, tried, &request).await?;
        let Usage {
            prompt_tokens: read,
            completion_tokens: written,
            ..
        } = completion.usage;
        prompt_tokens += read;
        completion_tokens += written;
        calls += 1;
        match check(&completion) {
            Ok(value) => {
                return Ok(Answer {
                    value,
                    prompt_tokens,
                    completion_tokens,
                    calls,
                });
            }
            Err(error) => {
                problem = error.into();
                metrics::refused(model.info());
                tracing::warn!(error = %problem, attempt, "the model's answer cannot be used");
            }
        }
    }
    Err(AskError::Answer(problem))
}

struct Try {
    temperature: f32,
    seed: u64,
}

async fn once(
    model: &dyn LanguageModel,
    tried: Try,
    request: impl Fn(f64) -> Result<ChatRequest, BuildError>,
) -> Result<Completion, AskError> {
    let mut result = Err(EngineError::Invalid("no prompt was tried".to_owned()));
    for share in SHARES {
        let mut request = request(share)?;
        request.seed = tried.seed;
        request.temperature = tried.temperature;
        result = match model.chat(request).await {
            Ok(stream) => collect(stream).await,
            Err(error) => Err(error),
        };
        if !matches!(result, Err(EngineError::PromptTooLong { .. })) {
            break;
        }
    }
    Ok(result?)
}

impl Asker {
    /// Asks until `check` accepts. `request`: the question in this share of the context, 0 to 1.
    ///
    /// # Errors
    /// Retry while the model is away, busy, or its answers do not hold; Reject with
    /// [`Reason::BadOutput`] at the last attempt, or when the model never will take the question.
    pub async fn ask<T, E: Into<BoxError>>(
        &self,
        cx: &Context,
        request: impl Fn(f64) -> Result<ChatRequest, BuildError>,
        check: impl Fn(&Completion) -> Result<T, E>,
    ) -> Result<Answer<T>, StageError> {
        let how = (self.temperature, cx.delivered);
        let check = |answer: &Completion| {
            let cost = Cost {
                calls: 1,
                input_tokens: answer.usage.prompt_tokens,
                output_tokens: answer.usage.completion_tokens,
            };
            metrics::charge(&cx.subject, self.stage, cost);
            check(answer)
        };
        match ask(&*self.model, how, request, check).await {
            Ok(answer) => Ok(answer),
            Err(AskError::Engine(error) | AskError::Build(BuildError::Engine(error))) => {
                Err(self.verdict(error))
            }
            // The prompt is a part of the program.
            Err(AskError::Build(BuildError::Prompt(error))) => Err(StageError::Fatal {
                cause: error.into(),
            }),
            Err(AskError::Answer(problem)) if cx.last_attempt => {
                Err(problem).reject(Reason::BadOutput)
            }
            Err(AskError::Answer(problem)) => Err(problem).retry(),
        }
    }

    fn verdict(&self, error: EngineError) -> StageError {
        self.health.note(&error);
        let after = match &error {
            EngineError::Busy { .. } => Some(BUSY_DELAY),
            EngineError::Load { .. } => {
                return StageError::Fatal {
                    cause: error.into(),
                };
            }
            error if error.is_transient() => Some(self.outage_delay),
            _ => {
                return StageError::Reject {
                    reason: Reason::Invalid,
                    cause: error.into(),
                };
            }
        };
        StageError::Retry {
            after,
            cause: error.into(),
        }
    }
}

/// Tokens that a prompt of two messages may take, in this `share` of the context beside an answer of
/// `max_tokens`.
///
/// # Errors
/// [`EngineError::Invalid`] when no room is left.
pub fn budget(model: &dyn LanguageModel, max_tokens: u32, share: f64) -> Result<u32, EngineError> {
    let context = model.info().context_tokens;
    let taken = max_tokens + model.template_tokens(2) + SLACK_TOKENS;
    let budget = (f64::from(context.saturating_sub(taken)) * share) as u32;
    if budget < BUDGET_MIN {
        let problem = format!("llm.context_tokens: {context} leave no room for a prompt");
        return Err(EngineError::Invalid(problem));
    }
    Ok(budget)
}

/// A system and a user message.
pub fn messages(system: String, user: String) -> Vec<Message> {
    let message = |role, content| Message { role, content };
    vec![message(Role::System, system), message(Role::User, user)]
}

/// As in provenance: provider and model.
pub fn model_name(model: &dyn LanguageModel) -> String {
    let info = model.info();
    format!("{}/{}", info.provider, info.model)
}
