//! The summary: what the model is asked, and the check of what came.

use std::collections::{HashMap, HashSet};

use foil_llm::prompt::{Part, PromptError, PromptFile, fit, neutralise};
use foil_llm::{ChatRequest, Completion, EngineError, Finish, LanguageModel, Message, Role};
use foil_proto::v1;
use foil_store::{Item, Record};
use serde_json::json;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::config::ProfilerConfig;

/// Most sentences of a summary; further ones are cut off.
const SENTENCES_MAX: usize = 4;
/// Fewer words say nothing.
const WORDS_MIN: usize = 5;
/// A sequence of this many words that comes back is a loop.
const LOOP_WORDS: usize = 5;
/// How often it may come.
const LOOP_TIMES: usize = 2;
/// Longest title of an item in a prompt, in characters.
const TITLE_CHARS_MAX: usize = 80;
/// Most bytes of a past text that are looked at.
const TEXT_BYTES_MAX: usize = 4096;
/// Tokens that joining texts may take beyond what was counted.
const SLACK_TOKENS: u32 = 16;
/// A smaller budget holds no history.
const BUDGET_MIN: u32 = 64;

/// What a summary is made of. Records newest first.
pub struct History<'a> {
    pub records: &'a [Record],
    pub items: &'a HashMap<String, Item>,
    pub evidence: &'a [v1::Evidence],
}

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{0}")]
    Prompt(#[from] PromptError),
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// Why an answer cannot be stored. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSummary {
    #[error("summary: is blank")]
    Blank,
    #[error("summary: ran out of tokens before a sentence ended")]
    Unfinished,
    #[error("summary: repeats itself")]
    Loop,
}

impl History<'_> {
    /// The request. `share`: of the context that the prompt may take, 0 to 1.
    ///
    /// # Errors
    /// [`BuildError::Engine`] when even the instructions do not fit, or the tokenizer fails.
    pub fn request(
        &self,
        prompt: &PromptFile,
        config: &ProfilerConfig,
        model: &dyn LanguageModel,
        share: f64,
    ) -> Result<ChatRequest, BuildError> {
        let context = model.info().context_tokens;
        let taken = config.max_tokens + model.template_tokens(2) + SLACK_TOKENS;
        let budget = (f64::from(context.saturating_sub(taken)) * share) as u32;
        if budget < BUDGET_MIN {
            let problem = format!("llm.context_tokens: {context} leave no room for a history");
            return Err(EngineError::Invalid(problem).into());
        }
        let (differences, texts) = (self.differences(config), self.texts(config));
        let split = differences.len();
        let blank = vec![String::new(); split + texts.len()];
        let (system, user) = self.render(prompt, config, blank.split_at(split))?;
        let mut parts = vec![Part::whole(system), Part::whole(user)];
        parts.extend(differences.into_iter().chain(texts).map(Part::shorten));
        let fitted = fit(parts, budget, model)?;
        let (system, user) = self.render(prompt, config, fitted.texts[2..].split_at(split))?;
        let messages = vec![message(Role::System, system), message(Role::User, user)];
        Ok(ChatRequest::new(messages, config.max_tokens))
    }

    /// The newest differences, one line each: the item and what was found.
    fn differences(&self, config: &ProfilerConfig) -> Vec<String> {
        let compared = self.records.iter().filter_map(|record| {
            let difference = record.difference.as_ref()?;
            let item = self.items.get(&record.key.item);
            let title = item.map_or("", |item| item.title.as_str());
            let title: String = one_line(title).chars().take(TITLE_CHARS_MAX).collect();
            let statements = difference.findings.iter().map(|f| one_line(&f.statement));
            let statements: Vec<String> = statements.collect();
            Some(format!("- On {title}: {}", statements.join(" ")))
        });
        compared.take(config.differences).collect()
    }

    fn texts(&self, config: &ProfilerConfig) -> Vec<String> {
        let texts = self.records.iter().take(config.texts);
        let clipped = texts.map(|record| {
            let text = record.text.as_str();
            &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
        });
        clipped.map(neutralise).collect()
    }

    /// System and user message of these differences and texts.
    fn render(
        &self,
        prompt: &PromptFile,
        config: &ProfilerConfig,
        (differences, texts): (&[String], &[String]),
    ) -> Result<(String, String), PromptError> {
        let system = prompt.render("system", json!({}))?;
        let mut user = Vec::new();
        if !texts.is_empty() {
            user.push(prompt.render("texts", json!({ "texts": texts }))?);
        }
        if !differences.is_empty() {
            let values = json!({ "differences": differences });
            user.push(prompt.render("differences", values)?);
        }
        let facts = facts(self.evidence, config.facts);
        if !facts.is_empty() {
            user.push(prompt.render("facts", json!({ "facts": facts }))?);
        }
        user.push(prompt.render("task", json!({}))?);
        Ok((system, user.join("\n\n")))
    }
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}

fn one_line(text: &str) -> String {
    let plain = neutralise(text);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands out most, such as "words per sentence: 7.1, others 14.2 (lower)".
fn facts(evidence: &[v1::Evidence], most: usize) -> Vec<String> {
    let mut strongest: Vec<&v1::Evidence> = evidence.iter().collect();
    strongest.sort_by(|a, b| b.z_score.abs().total_cmp(&a.z_score.abs()));
    let fact = |found: &v1::Evidence| {
        let (value, peers) = (number(found.value), number(found.peers_mean));
        let direction = if value == peers {
            "the same"
        } else if found.value > found.peers_mean {
            "higher"
        } else {
            "lower"
        };
        let feature = found.feature.replace('_', " ");
        format!("{feature}: {value}, others {peers} ({direction})")
    };
    strongest.into_iter().take(most).map(fact).collect()
}

fn number(value: f64) -> String {
    if value.abs() < 2.0 && value.fract() != 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// The summary of an answer: at most four whole sentences, on one line.
///
/// # Errors
/// [`BadSummary`] with the first fault.
pub fn check(completion: &Completion) -> Result<String, BadSummary> {
    let line: Vec<&str> = completion.text.split_whitespace().collect();
    let line: String = line.join(" ").chars().filter(|c| !c.is_control()).collect();
    if line.unicode_words().count() < WORDS_MIN {
        return Err(BadSummary::Blank);
    }
    let whole: Vec<&str> = line
        .unicode_sentences()
        .filter(|sentence| ends(sentence))
        .take(SENTENCES_MAX)
        .collect();
    let summary = match (whole.is_empty(), completion.finish) {
        (false, _) => whole.concat(),
        (true, Finish::Stop) => line,
        (true, Finish::Length) => return Err(BadSummary::Unfinished),
    };
    let summary = summary.trim();
    if summary.unicode_words().count() < WORDS_MIN {
        return Err(BadSummary::Blank);
    }
    if repeats_itself(summary) {
        return Err(BadSummary::Loop);
    }
    Ok(summary.to_owned())
}

fn ends(sentence: &str) -> bool {
    let closing = |c: char| c.is_whitespace() || "\"'”’)".contains(c);
    let text = sentence.trim_end_matches(closing);
    text.ends_with(['.', '!', '?', '…', '。', '！', '？'])
}

/// Whether the same few words come again and again.
fn repeats_itself(text: &str) -> bool {
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let runs = words.windows(LOOP_WORDS).count();
    let distinct: HashSet<&[String]> = words.windows(LOOP_WORDS).collect();
    runs - distinct.len() >= LOOP_TIMES
}

#[cfg(test)]
mod tests;
