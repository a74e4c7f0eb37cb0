//! A fake model that answers by a script, where a test needs answers that no server would give.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::{
    ChatEvent, ChatRequest, ChatStream, EngineError, Finish, LanguageModel, ModelInfo, Usage,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};

/// Answers by its script and keeps what it was asked. Words stand for tokens.
pub struct Scripted {
    info: ModelInfo,
    script: Mutex<VecDeque<String>>,
    last: String,
    requests: Mutex<Vec<ChatRequest>>,
}

impl Scripted {
    /// The same answer for ever.
    pub fn always(text: String) -> Arc<Self> {
        Self::then(Vec::new(), text)
    }

    /// `first`, one each, then `last` for ever.
    pub fn then(first: Vec<String>, last: String) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo {
                provider: "script",
                model: "script".to_owned(),
                context_tokens: 2048,
            },
            script: Mutex::new(first.into()),
            last,
            requests: Mutex::default(),
        })
    }

    /// Requests so far.
    pub fn calls(&self) -> usize {
        self.requests().len()
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().expect("no panic before").clone()
    }
}

impl LanguageModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        Ok(u32::try_from(count(text)).expect("a short text"))
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        u32::try_from(4 * messages).expect("few messages")
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        self.requests.lock().expect("no panic before").push(request);
        let next = self.script.lock().expect("no panic before").pop_front();
        let text = next.unwrap_or_else(|| self.last.clone());
        let done = ChatEvent::Done {
            finish: Finish::Stop,
            usage: Usage::default(),
        };
        let events = [Ok(ChatEvent::Delta(text)), Ok(done)];
        async { Ok(stream::iter(events).boxed()) }.boxed()
    }
}

/// Words stand for tokens.
pub fn count(text: &str) -> usize {
    text.split_whitespace().count()
}
