//! A text whose prompt shows what others wrote, or what was said of them, leaves only whole, and only
//! when it repeats none of that.

use foil_llm::leak::{Letters, quotes};
use foil_llm::metrics::refused;
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
    /// None where the prompt shows nothing of anybody else: neither a text nor a summary, which may
    /// quote one. The user's own words, what was summed up of them and the item's words may be said,
    /// whoever wrote the same.
    pub fn of(known: &Known, topic: &Topic) -> Option<Self> {
        let contrasts = known.contrasts.iter().map(|other| &other.text);
        let others: Vec<Letters> = contrasts
            .chain(&known.similar)
            .map(|text| Letters::of(text))
            .collect();
        if others.is_empty() {
            return None;
        }
        let samples = known.samples.iter().chain(&known.history);
        let own = samples.map(|sample| &sample.record.text);
        let topic = [&topic.item_title, &topic.item_description, &topic.title];
        let own = own.chain(&known.summary).chain(topic);
        Some(Self {
            others,
            own: Letters::joined(own.map(String::as_str)),
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
            refused(model.info());
            tracing::warn!(attempt, "a text repeats another user's");
        }
        Err(GuardError::Repeats)
    }
}

#[cfg(test)]
mod tests;
