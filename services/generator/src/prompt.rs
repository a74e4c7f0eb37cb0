//! From a context to a request that fits the model.

use foil_llm::prompt::{Part, PromptError, PromptFile, fit};
use foil_llm::{ChatRequest, EngineError, LanguageModel, Message, Role};

use crate::config::GeneratorConfig;
use crate::context::{Material, clean, label};
use crate::history::Topic;

/// Words for each token that may be written; a model told a number of words stays below it.
const WORDS_PER_TOKEN: f64 = 0.6;
/// A small model may go on with the next request after its answer: the text ends before that.
const STOPS: [&str; 2] = ["<item>", "</item>"];
/// Tokens that joining the parts may take beyond their own.
const JOINTS: u32 = 8;

/// Why a prompt cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What the text to write shall be.
#[derive(Clone, Debug)]
pub struct Task {
    pub topic: Topic,
    pub rating: Option<f64>,
    /// 0 takes the configured default.
    pub max_tokens: u32,
    pub temperature: Option<f64>,
    pub seed: u64,
}

/// The file that is part of this program.
///
/// # Errors
/// When the file is none; a test shows that it is one.
pub fn file() -> Result<PromptFile, PromptError> {
    PromptFile::parse(include_str!("../prompts/generate.v1.md"))
}

/// The request for `task` over `material`: instructions and task stay whole, texts are shortened
/// evenly, and where that would leave fragments of the key samples, comparisons and the least of
/// the key samples are left out.
///
/// Past texts stand as the model's own earlier answers: even a small model goes on in their voice,
/// and they are never mistaken for facts about the item.
///
/// # Errors
/// When the instructions alone do not fit the model's context.
pub fn compose(
    prompt: &PromptFile,
    material: &Material,
    task: &Task,
    config: &GeneratorConfig,
    model: &dyn LanguageModel,
) -> Result<ChatRequest, ComposeError> {
    let context = model.info().context_tokens;
    let wanted = match task.max_tokens {
        0 => config.max_tokens,
        tokens => tokens,
    };
    let max_tokens = wanted.min(context / 2).max(1);
    let words = (f64::from(max_tokens) * WORDS_PER_TOKEN).floor().max(1.0);
    let draft = Draft {
        prompt,
        task,
        words: words as u32,
    };
    let mut material = material.clone();
    let messages = loop {
        let room = context.saturating_sub(max_tokens);
        match draft.fitted(material.clone(), config, room, model) {
            Err(ComposeError::Engine(EngineError::Invalid(_))) if material.leave_out() => {}
            Ok((_, Some(words)))
                if words < config.sample_words_min
                    && material.has_more()
                    && material.leave_out() => {}
            other => break other?.0,
        }
    };
    let temperature = task
        .temperature
        .map_or(config.temperature, |temperature| temperature as f32);
    Ok(ChatRequest {
        temperature,
        top_p: config.top_p,
        frequency_penalty: config.frequency_penalty,
        seed: task.seed,
        stop: STOPS.map(str::to_owned).into(),
        ..ChatRequest::new(messages, max_tokens)
    })
}

/// What a conversation is made from, whatever is left of the texts.
struct Draft<'a> {
    prompt: &'a PromptFile,
    task: &'a Task,
    words: u32,
}

impl Draft<'_> {
    /// The conversation within `room` tokens, and the words of the shortest key sample that was
    /// cut for it.
    fn fitted(
        &self,
        mut material: Material,
        config: &GeneratorConfig,
        room: u32,
        model: &dyn LanguageModel,
    ) -> Result<(Vec<Message>, Option<usize>), ComposeError> {
        let whole = material.clone();
        let mut description = clean(&self.task.topic.item_description, config.description_chars);
        // The frame is measured with its texts taken out, so that no cut ever takes a closing tag.
        let mut frame = material.clone();
        for text in frame.texts_mut() {
            text.clear();
        }
        let frame = self.messages(&frame, "")?;
        let budget = room.saturating_sub(model.template_tokens(frame.len()) + JOINTS);
        let frame: Vec<String> = frame.into_iter().map(|message| message.content).collect();
        let mut texts = material.texts_mut();
        texts.push(&mut description);
        let mut parts = vec![Part::whole(frame.join("\n"))];
        parts.extend(texts.iter().map(|text| Part::shorten(text.as_str())));
        let fitted = fit(parts, budget, model)?;
        for (text, fitted) in texts.into_iter().zip(fitted.texts.into_iter().skip(1)) {
            *text = fitted;
        }
        let messages = self.messages(&material, &description)?;
        Ok((messages, material.shortest_cut(&whole)))
    }

    fn messages(
        &self,
        material: &Material,
        description: &str,
    ) -> Result<Vec<Message>, PromptError> {
        let voice = serde_json::json!({
            "personal": !material.is_empty(),
            "words": self.words,
        });
        let mut system = vec![self.prompt.render("system", voice)?];
        system.extend(material.everybody(self.prompt)?);
        let message = |role, content| Message { role, content };
        let mut messages = vec![message(Role::System, system.join("\n\n"))];
        for [asked, written] in material.turns(self.prompt)? {
            messages.push(message(Role::User, asked));
            messages.push(message(Role::Assistant, written));
        }
        let topic = &self.task.topic;
        let task = serde_json::json!({
            "item": label(&topic.item_title),
            "description": description,
            "title": label(&topic.title),
            "rating": self.task.rating,
        });
        messages.push(message(Role::User, self.prompt.render("task", task)?));
        Ok(messages)
    }
}

#[cfg(test)]
mod tests;
