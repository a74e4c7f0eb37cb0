//! From a context to a request that fits the model.

use foil_llm::prompt::{Part, PromptError, PromptFile, fit};
use foil_llm::{ChatRequest, EngineError, LanguageModel, Message, Role};

use crate::config::GeneratorConfig;
use crate::context::{Material, clean, label};
use crate::history::Topic;

/// Words for each token that may be written; a model told a number of words stays below it.
const WORDS_PER_TOKEN: f64 = 0.6;
/// Tokens that joining the parts may take beyond their own.
const JOINTS: u32 = 8;

/// Why a prompt cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What the text to write shall be.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) topic: Topic,
    pub(crate) rating: Option<f64>,
    /// 0 takes the configured default.
    pub(crate) max_tokens: u32,
    pub(crate) temperature: Option<f64>,
    pub(crate) seed: u64,
}

/// The file that is part of this program.
///
/// # Errors
/// When the file is none; a test shows that it is one.
pub(crate) fn file() -> Result<PromptFile, PromptError> {
    PromptFile::parse(include_str!("../prompts/generate.v1.md"))
}

/// The request for `task` over `material`: instructions and task stay whole, texts are shortened
/// evenly, and where that is not enough the least key samples are left out.
///
/// # Errors
/// When the instructions alone do not fit the model's context.
pub(crate) fn compose(
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
    let budget = context.saturating_sub(max_tokens + model.template_tokens(2) + JOINTS);
    let system = prompt.render("system", serde_json::json!({}))?;
    let mut material = material.clone();
    let user = loop {
        match user(
            prompt,
            &system,
            material.clone(),
            (task, max_tokens),
            config,
            budget,
            model,
        ) {
            Err(ComposeError::Engine(EngineError::Invalid(_))) if material.drop_last() => {}
            other => break other?,
        }
    };
    let message = |role, content| Message { role, content };
    let messages = vec![message(Role::System, system), message(Role::User, user)];
    let temperature = task
        .temperature
        .map_or(config.temperature, |temperature| temperature as f32);
    Ok(ChatRequest {
        temperature,
        top_p: config.top_p,
        frequency_penalty: config.frequency_penalty,
        seed: task.seed,
        ..ChatRequest::new(messages, max_tokens)
    })
}

fn user(
    prompt: &PromptFile,
    system: &str,
    mut material: Material,
    (task, max_tokens): (&Task, u32),
    config: &GeneratorConfig,
    budget: u32,
    model: &dyn LanguageModel,
) -> Result<String, ComposeError> {
    let topic = &task.topic;
    let words = (f64::from(max_tokens) * WORDS_PER_TOKEN).floor().max(1.0);
    let ending = prompt.render(
        "task",
        serde_json::json!({
            "personal": !material.is_empty(),
            "title": label(&topic.title),
            "rating": task.rating,
            "words": words as u32,
        }),
    )?;
    let item = |description: &str| {
        let title = label(&topic.item_title);
        let values = serde_json::json!({ "title": title, "description": description });
        prompt.render("item", values)
    };
    let mut description = clean(&topic.item_description, config.description_chars);
    // The frame is measured with its texts taken out, so that no cut ever takes a closing tag.
    let mut frame = material.clone();
    for text in frame.texts_mut() {
        text.clear();
    }
    let frame = format!(
        "{system}\n{}\n{}\n{ending}",
        frame.render(prompt)?,
        item("")?
    );
    let mut texts = material.texts_mut();
    texts.push(&mut description);
    let mut parts = vec![Part::whole(frame)];
    parts.extend(texts.iter().map(|text| Part::shorten(text.as_str())));
    let fitted = fit(parts, budget, model)?;
    for (text, fitted) in texts.into_iter().zip(fitted.texts.into_iter().skip(1)) {
        *text = fitted;
    }
    let block = material.render(prompt)?;
    let item = item(&description)?;
    let sections = [block, item, ending];
    let sections: Vec<String> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    Ok(sections.join("\n\n"))
}
