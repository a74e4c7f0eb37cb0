//! What every [`LanguageModel`] must do, run against each adapter.
//!
//! An adapter's test file has one function that makes a [`Subject`] and one line that lists the
//! checks as tests:
//!
//! ```ignore
//! mod contract;
//! fn make(limits: contract::Limits) -> BoxFuture<'static, contract::Subject> { ... }
//! contract_tests!(make);
//! ```
//!
//! No check needs a clever model: a server that always gives the same text passes too, if it obeys
//! stop words, limits and schemas.

use std::sync::Arc;
use std::time::Duration;

use foil_llm::{
    ChatEvent, ChatRequest, ChatStream, Completion, EngineError, Finish, LanguageModel, Message,
    Role, collect,
};
use futures::StreamExt as _;
use futures::future::BoxFuture;

mod answers;
mod load;
mod schema;

pub use answers::*;
pub use load::*;

/// How the subject is to be set up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that run at once.
    pub parallel: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Tokens of one request, prompt and answer.
    pub context_tokens: u32,
    /// A long answer must take a second or more. A model does by itself; a stub has to be slow.
    #[allow(dead_code, reason = "an adapter over a real model need not read it")]
    pub slow: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parallel: 4,
            queue: 64,
            context_tokens: 2048,
            slow: false,
        }
    }
}

/// One adapter under test, and how to break what it drives.
pub struct Subject {
    pub model: Arc<dyn LanguageModel>,
    /// Kills the engine: its thread, its process or its server.
    pub crash: Box<dyn Fn() + Send + Sync>,
    /// Brings back what does not come back by itself, such as a server; nothing in-process.
    pub recover: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// Makes a fresh subject. Panics with what is missing, such as an unset environment variable.
pub type Make = fn(Limits) -> BoxFuture<'static, Subject>;

/// The environment variable that names the GGUF chat model of the tests.
#[allow(dead_code, reason = "adapters without a model file do not read it")]
#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
pub fn test_model() -> String {
    std::env::var("FOIL_TEST_LLM_MODEL").expect(
        "FOIL_TEST_LLM_MODEL is not set: it names a GGUF chat model (run deploy/local/setup first)",
    )
}

/// Lists every check as a test of its own: `contract_tests!(make)`, `make` a [`Make`].
#[macro_export]
macro_rules! contract_tests {
    ($make:path) => {
        $crate::contract_tests!(@each $make:
            streaming_gives_the_whole_text_in_several_deltas
            a_dropped_stream_frees_the_engine
            json_schema_output_parses_and_validates
            an_impossible_schema_is_invalid
            the_text_ends_before_a_stop_string
            usage_counts_agree_with_count_tokens
            max_tokens_is_kept
            a_prompt_longer_than_the_context_is_refused
            a_malformed_request_is_invalid
            eight_requests_at_once_get_their_own_answers
            a_full_queue_is_busy
            a_crashed_engine_fails_the_request_and_recovers
            greedy_answers_repeat
        );
    };
    (@each $make:path: $($check:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                contract::$check($make).await;
            }
        )*
    };
}

/// Longest wait for anything that must come, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}

fn ask(text: &str, max_tokens: u32) -> ChatRequest {
    let message = |role, content: &str| Message {
        role,
        content: content.into(),
    };
    let system = "You answer in plain English.";
    ChatRequest::new(
        vec![message(Role::System, system), message(Role::User, text)],
        max_tokens,
    )
}

/// A request that keeps an engine busy for a while.
fn ask_long() -> ChatRequest {
    ask(
        "Write a long story about a fishing village, with many chapters.",
        1500,
    )
}

async fn start(model: &Arc<dyn LanguageModel>, request: ChatRequest) -> ChatStream {
    within("acceptance", model.chat(request))
        .await
        .unwrap_or_else(|error| panic!("refused: {error}"))
}

async fn answer(model: &Arc<dyn LanguageModel>, request: ChatRequest) -> Completion {
    let stream = start(model, request).await;
    within("the answer", collect(stream))
        .await
        .unwrap_or_else(|error| panic!("failed: {error}"))
}

/// Answers the request once and forgets it. Later answers find the prompt in any prefix cache and
/// are computed alike; the first is read in other batches, whose rounding may differ.
async fn warm(model: &Arc<dyn LanguageModel>, request: &ChatRequest) {
    let mut request = request.clone();
    request.max_tokens = 1;
    answer(model, request).await;
}

/// Refused when submitted or in the stream: both are allowed.
async fn refusal(model: &Arc<dyn LanguageModel>, request: ChatRequest) -> EngineError {
    let result = match within("acceptance", model.chat(request)).await {
        Ok(stream) => within("the answer", collect(stream)).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(completion) => panic!("accepted, and answered {:?}", completion.finish),
        Err(error) => error,
    }
}

/// Waits for the first text, so that the request certainly runs.
async fn first_delta(stream: &mut ChatStream) {
    match within("the first delta", stream.next()).await {
        Some(Ok(ChatEvent::Delta(_))) => {}
        other => panic!("expected a delta, got {other:?}"),
    }
}
