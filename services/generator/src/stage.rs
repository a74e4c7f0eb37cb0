//! From a request to the streamed reply.

use std::sync::Arc;
use std::time::Duration;

use foil_llm::prompt::{PromptError, PromptFile};
use foil_llm::{
    AskError, BuildError, ChatEvent, ChatRequest, EngineError, Finish, LanguageModel, Usage,
};
use foil_proto::names::subject;
use foil_proto::v1::generate_reply::Part;
use foil_proto::v1::{self, GenerateRequest};
use foil_proto::{check, token};
use foil_runtime::{Classify as _, Context, Emit, Outcome, Stage, StageError};
use foil_store::{Store, StoreError};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::activation;
use crate::answer::{self, Question, Wish};
use crate::config::GeneratorConfig;
use crate::context::Material;
use crate::guard::{Guard, GuardError};
use crate::history::Topic;
use crate::metered::Metered;
use crate::prompt::{self, ComposeError, Task};
use crate::reply::{Code, Reply, context_part, now_ms};
use crate::strategy::{Known, Strategy, Summary};
use crate::summary::{self, Spent};

/// Before the deadline, so that the failure still arrives in time; less for short ones.
const MARGIN: Duration = Duration::from_millis(250);
/// Before the worker would give the request back and another one would answer it again.
const WORKER_MARGIN: Duration = Duration::from_secs(1);
/// Tokens that are ready at once go out as one part, at most so many.
const COALESCED: usize = 32;
/// Longest text of a reply: an engine that never ends must not.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// A request is retried only with more than this left.
const RETRY_WORTH: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(crate) struct Generator {
    config: GeneratorConfig,
    store: Store,
    model: Arc<dyn LanguageModel>,
    prompt: PromptFile,
    summary_prompt: PromptFile,
}

/// Why a request is not answered with a text.
enum Stop {
    /// The store failed before anything was said.
    Store(StoreError),
    /// To be told.
    Failed(Code, String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Stage for Generator {
    type Input = GenerateRequest;

    async fn handle(&self, input: GenerateRequest, cx: &Context) -> Result<Outcome, StageError> {
        let mut reply = Reply::to(cx, &self.config.reply_prefix)?;
        if let Err(message) = check_request(&input, cx) {
            reply.fail(Code::Invalid, message).await;
            reply.flush().await;
            return Ok(Outcome::Skip("invalid"));
        }
        let left = time_left(input.deadline_ms, cx.timeout);
        if left.is_zero() {
            reply.fail(Code::Deadline, "the deadline had passed").await;
            reply.flush().await;
            return Ok(Outcome::Skip("deadline"));
        }
        let end = Instant::now() + left;
        let mut work = Vec::new();
        let serving = self.serve(&input, cx, &mut reply, &mut work, left);
        let stop = match tokio::time::timeout_at(end, serving).await {
            Ok(Ok(())) => None,
            Ok(Err(Stop::Store(error))) => Some(self.store_failed(error, cx, end)?),
            Ok(Err(Stop::Failed(code, message))) => Some((code, message)),
            Err(_) => {
                let message = "the deadline passed before the reply was whole";
                Some((Code::Deadline, message.to_owned()))
            }
        };
        let failed = stop.is_some();
        if let Some((code, message)) = stop {
            reply.fail(code, message).await;
        }
        reply.flush().await;
        if failed && work.is_empty() {
            return Ok(Outcome::Skip("failed"));
        }
        Ok(Outcome::Emit(work))
    }
}

impl Generator {
    pub(crate) fn new(
        config: GeneratorConfig,
        store: Store,
        model: Arc<dyn LanguageModel>,
    ) -> Result<Self, PromptError> {
        Ok(Self {
            config,
            store,
            model,
            prompt: prompt::file()?,
            summary_prompt: summary::file()?,
        })
    }

    async fn serve(
        &self,
        request: &GenerateRequest,
        cx: &Context,
        reply: &mut Reply,
        work: &mut Vec<Emit>,
        left: Duration,
    ) -> Result<(), Stop> {
        let wish = Wish {
            differences: request.wait,
            min_version: request.min_version,
        };
        let until = answer::waiting_ends(left, self.config.wait_reserve);
        *work = self.activate(request, cx).await?;
        if (wish.differences || wish.min_version > 0) && !work.is_empty() {
            let early = activation::publish_now(&cx.client, work.clone()).await;
            if let Err(error) = early {
                // They go out with the outcome too.
                tracing::warn!(%error, "the comparison of an inactive user starts late");
            }
        }
        let topic = Topic {
            item: request.item.clone(),
            item_title: request.item_title.clone(),
            item_description: request.item_description.clone(),
            title: request.title.clone(),
        };
        let topic = answer::complete(&self.store, &request.tenant, topic).await?;
        let config = self.config.of(&request.tenant);
        let how = config.how(&request.strategy);
        let (asked, _) = how;
        let question = Question {
            tenant: &request.tenant,
            user: &request.user,
            strategy: asked,
        };
        let mut known =
            answer::await_known(&self.store, &config, question, &topic, (wish, until)).await?;
        let model = Metered {
            model: self.model.as_ref(),
            subject: &cx.subject,
        };
        let spent = if request.context_only {
            Spent::default()
        } else {
            self.summarise(how, &mut known, &model).await?
        };
        let (strategy, degraded) = known.strategy(asked);
        let material = Material::new(strategy, &known, &config);
        let block = material.render(&self.prompt).map_err(internal)?;
        let context = context_part(&known, strategy, degraded, block);
        reply.send(Part::Context(context)).await;
        if request.context_only {
            reply.send(Part::Done(self.done(spent, None))).await;
            return Ok(());
        }
        let guard = Guard::of(&known, &topic);
        let chat = self.chat(request, topic, &material)?;
        match guard {
            Some(guard) => {
                let asked = (&model, &guard);
                self.write_guarded(chat, spent, asked, reply).await
            }
            None => self.write(chat, spent, &model, reply).await,
        }
    }

    async fn summarise(
        &self,
        how: (Strategy, Summary),
        known: &mut Known,
        model: &Metered<'_>,
    ) -> Result<Spent, Stop> {
        let config = &self.config;
        let made = summary::make(&self.summary_prompt, how, known, config, model).await;
        made.map_err(|error| match error {
            AskError::Engine(error) | AskError::Build(BuildError::Engine(error)) => {
                engine_failed(&error)
            }
            error => internal(error),
        })
    }

    /// The work that a request for an inactive user starts. One that is delivered again may have
    /// been cut off behind the note that the user is active, so it starts the work again.
    async fn activate(
        &self,
        request: &GenerateRequest,
        cx: &Context,
    ) -> Result<Vec<Emit>, StoreError> {
        let (tenant, user) = (request.tenant.as_str(), request.user.as_str());
        let was_inactive = self.store.touch_active(tenant, user).await?;
        if !was_inactive && cx.delivered <= 1 {
            return Ok(Vec::new());
        }
        let most = self.config.activation_items;
        let keys = self.store.user_keys(tenant, user, most).await?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let items: Vec<&str> = keys.iter().map(|key| key.item.as_str()).collect();
        let delay = self.config.activation_delay;
        Ok(activation::work(tenant, user, &items, delay))
    }

    fn chat(
        &self,
        request: &GenerateRequest,
        topic: Topic,
        material: &Material,
    ) -> Result<ChatRequest, Stop> {
        let task = Task {
            topic,
            rating: request.rating,
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            seed: request.seed,
        };
        let model = self.model.as_ref();
        let chat = prompt::compose(&self.prompt, material, &task, &self.config, model);
        chat.map_err(|error| match error {
            ComposeError::Prompt(error) => internal(error),
            ComposeError::Engine(error) => engine_failed(&error),
        })
    }

    /// Streams nothing before the whole text was seen to repeat nobody.
    async fn write_guarded(
        &self,
        chat: ChatRequest,
        mut spent: Spent,
        (model, guard): (&Metered<'_>, &Guard),
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let answer = guard.ask(model, chat).await;
        let (text, tries) = answer.map_err(|error| match error {
            GuardError::Engine(error) => engine_failed(&error),
            error @ GuardError::Repeats => internal(error),
        })?;
        if text.text.len() > TEXT_BYTES_MAX {
            return Err(internal("the language model did not end"));
        }
        spent.calls += tries - 1;
        reply.send(Part::Delta(text.text)).await;
        let done = self.done(spent, Some((text.finish, text.usage)));
        reply.send(Part::Done(done)).await;
        Ok(())
    }

    async fn write(
        &self,
        chat: ChatRequest,
        spent: Spent,
        model: &Metered<'_>,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let stream = model.chat(chat).await.map_err(|e| engine_failed(&e))?;
        let mut chunks = stream.ready_chunks(COALESCED);
        let mut sent = 0;
        while let Some(events) = chunks.next().await {
            let mut delta = String::new();
            let mut end = None;
            for event in events {
                match event {
                    Ok(ChatEvent::Delta(text)) => delta.push_str(&text),
                    Ok(ChatEvent::Done { finish, usage }) => end = Some(Ok((finish, usage))),
                    Err(error) => end = Some(Err(engine_failed(&error))),
                }
            }
            sent += delta.len();
            if !delta.is_empty() {
                reply.send(Part::Delta(delta)).await;
            }
            if let Some(end) = end {
                let done = self.done(spent, Some(end?));
                reply.send(Part::Done(done)).await;
                return Ok(());
            }
            if sent > TEXT_BYTES_MAX {
                return Err(internal("the language model did not end"));
            }
        }
        Err(engine_failed(&EngineError::Died("no end".to_owned())))
    }

    fn done(&self, spent: Spent, written: Option<(Finish, Usage)>) -> v1::Done {
        let info = self.model.info();
        let llm_calls = spent.calls + u32::from(written.is_some());
        let (finish, usage) = written.unwrap_or((Finish::Stop, Usage::default()));
        let finish = match finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
        };
        v1::Done {
            finish: finish.to_owned(),
            prompt_tokens: spent.prompt_tokens + usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            completion_tokens: spent.completion_tokens + usage.completion_tokens,
            llm_calls,
            model: format!("{}/{}", info.provider, info.model),
            prompt_version: self.prompt.version().to_owned(),
        }
    }

    /// Nothing was said yet, so a failure that may pass is tried again while there is time.
    fn store_failed(
        &self,
        error: StoreError,
        cx: &Context,
        end: Instant,
    ) -> Result<(Code, String), StageError> {
        let left = end.saturating_duration_since(Instant::now());
        if error.is_transient() && !cx.last_attempt && left > RETRY_WORTH {
            return Err(error)
                .retry_after(RETRY_AFTER)
                .map(|()| unreachable!("an error stays one"));
        }
        tracing::warn!(%error, "a request failed for the store");
        Ok((Code::Internal, "the store cannot be read".to_owned()))
    }
}

/// All that is wrong with a request.
fn check_request(request: &GenerateRequest, cx: &Context) -> Result<(), String> {
    check::generate(request).map_err(|faults| faults.to_string())?;
    // Who may publish is decided by subject, so the subject's tenant is the one that counts.
    if subject::tenant_token(&cx.subject) != Some(token::encode(&request.tenant).as_str()) {
        return Err("tenant: is another one than the subject's".to_owned());
    }
    Ok(())
}

fn time_left(deadline_ms: i64, worker: Duration) -> Duration {
    let left = deadline_ms.saturating_sub(now_ms());
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    let left = left.saturating_sub(MARGIN.min(left / 10));
    left.min(worker.saturating_sub(WORKER_MARGIN.min(worker / 10)))
}

fn internal(error: impl std::fmt::Display) -> Stop {
    tracing::error!(%error, "a request failed");
    Stop::Failed(
        Code::Internal,
        "the request could not be worked on".to_owned(),
    )
}

fn engine_failed(error: &EngineError) -> Stop {
    let (code, message) = match error {
        EngineError::Busy { .. } => (Code::Busy, "the language model has too much to do"),
        EngineError::Unavailable(_) | EngineError::Died(_) | EngineError::Load { .. } => (
            Code::EngineUnavailable,
            "the language model does not answer",
        ),
        EngineError::PromptTooLong { .. } | EngineError::Invalid(_) => {
            (Code::Internal, "the language model refused the prompt")
        }
    };
    tracing::warn!(%error, code = code.as_str(), "a text was not written");
    Stop::Failed(code, message.to_owned())
}
