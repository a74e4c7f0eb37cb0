//! A text whose prompt shows what others wrote leaves only whole, and only when it repeats none of that.

use foil_llm::leak::{Letters, quotes};
use foil_llm::{ChatRequest, Completion, EngineError, LanguageModel, Usage, collect};

use crate::history::Topic;
use crate::strategy::Known;

/// Tries until a text repeats nobody.
const TRIES: u64 = 2;

/// What a text must not repeat, and what it may.
pub struct Guard {
    others: Vec<Letters>,
    own: Letters,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Every try repeated eight or more words of somebody else.
    #[error("the text repeats another user's")]
    Repeats,
}

impl Guard {
    /// None where the prompt shows nobody else's text. The user's own words and those of the item may
    /// be said, whoever wrote the same.
    pub fn of(known: &Known, topic: &Topic) -> Option<Self> {
        if known.contrasts.is_empty() {
            return None;
        }
        let others = known.contrasts.iter();
        let own = known.samples.iter().map(|s| s.record.text.as_str());
        let topic = [&topic.item_title, &topic.item_description, &topic.title];
        Some(Self {
            others: others.map(|other| Letters::of(&other.text)).collect(),
            own: Letters::joined(own.chain(topic.map(String::as_str))),
        })
    }

    fn holds(&self, text: &str) -> bool {
        !quotes(&Letters::of(text), &self.own, &self.others)
    }

    /// The answer to `chat`, whose usage counts every try, and the tries.
    ///
    /// # Errors
    /// [`GuardError`].
    pub async fn ask(
        &self,
        model: &dyn LanguageModel,
        chat: ChatRequest,
    ) -> Result<(Completion, u32), GuardError> {
        let mut spent = Usage::default();
        for attempt in 0..TRIES {
            let mut chat = chat.clone();
            chat.seed = chat.seed.wrapping_add(attempt);
            let mut completion = collect(model.chat(chat).await?).await?;
            spent.prompt_tokens += completion.usage.prompt_tokens;
            spent.cached_tokens += completion.usage.cached_tokens;
            spent.completion_tokens += completion.usage.completion_tokens;
            if self.holds(&completion.text) {
                completion.usage = spent;
                return Ok((completion, attempt as u32 + 1));
            }
            tracing::warn!(attempt, "a text repeats another user's");
        }
        Err(GuardError::Repeats)
    }
}

#[cfg(test)]
mod tests;
