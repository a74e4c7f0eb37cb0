//! Summaries made for one request, where a strategy asks for what no profile holds. The number of calls,
//! what they read and what they write are bounded; the answers can only fill a schema.

use std::sync::{Mutex, PoisonError};

use foil_llm::ask::{ask, budget, messages};
use foil_llm::prompt::{Part, PromptError, PromptFile, fit};
use foil_llm::statement;
use foil_llm::{AskError, BuildError, ChatRequest, Completion, Finish, LanguageModel};
use serde_json::{Map, Value, json};

use crate::config::GeneratorConfig;
use crate::context::{clean, label};
use crate::history::Sample;
use crate::strategy::{Known, Strategy, Summary};

/// Texts in a block of `llm-trsr`.
pub const BLOCK: usize = 5;
/// Most fields of an answer.
const FIELDS_MAX: usize = 8;
/// Characters for each token of an answer, a little less than there are.
const CHARS_PER_TOKEN: f64 = 2.5;
const HISTORY: [&str; 3] = ["style", "tone", "interests"];
const PERSONA: [&str; 4] = ["style", "tone", "interests", "values"];

/// What was asked for a request beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub calls: u32,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
}

/// The file that is part of this program.
///
/// # Errors
/// When the file is none; a test shows that it is one.
pub fn file() -> Result<PromptFile, PromptError> {
    PromptFile::parse(include_str!("../prompts/summary.v1.md"))
}

/// How many of the newest texts the strategy reads for its summary.
pub fn history_needed(strategy: Strategy, config: &GeneratorConfig) -> usize {
    match strategy {
        Strategy::LlmTrsr => config.history_blocks * BLOCK,
        Strategy::PersonaDb => config.key_samples,
        _ => 0,
    }
}

/// Puts the summary that the strategy needs, and that does not stand, into what is known. An answer
/// that cannot be used leaves it as it was.
///
/// # Errors
/// When the model fails.
pub async fn make(
    prompt: &PromptFile,
    (strategy, summary): (Strategy, Summary),
    known: &mut Known,
    config: &GeneratorConfig,
    model: &dyn LanguageModel,
) -> Result<Spent, AskError> {
    let mut maker = Maker {
        prompt,
        config,
        model,
        spent: Spent::default(),
    };
    let made = match strategy {
        _ if !known.has_history => return Ok(Spent::default()),
        Strategy::Dpl if summary == Summary::Task && known.has_differences() => {
            maker.differences(&known.samples).await
        }
        Strategy::IntSum if summary == Summary::Task || known.standing(strategy).is_none() => {
            maker.history(&known.samples).await
        }
        Strategy::LlmTrsr => maker.block_by_block(&known.history).await,
        Strategy::PersonaDb => maker.persona(&known.history).await,
        _ => return Ok(Spent::default()),
    };
    match made {
        Ok(made) => known.summary = made,
        // It was said in the log, and the reply says that the summary is missing.
        Err(AskError::Answer(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(maker.spent)
}

struct Maker<'a> {
    prompt: &'a PromptFile,
    config: &'a GeneratorConfig,
    model: &'a dyn LanguageModel,
    spent: Spent,
}

/// One question.
#[derive(Default)]
struct Question<'a> {
    kind: &'static str,
    known: Option<&'a str>,
    texts: Vec<String>,
    lines: Vec<String>,
    fields: Vec<String>,
}

impl Maker<'_> {
    async fn history(&mut self, samples: &[Sample]) -> Result<Option<String>, AskError> {
        let texts = self.texts(samples.iter());
        self.ask("history", None, texts, &HISTORY).await
    }

    async fn block_by_block(&mut self, history: &[Sample]) -> Result<Option<String>, AskError> {
        let newest = &history[..history.len().min(self.config.history_blocks * BLOCK)];
        let oldest_first: Vec<&Sample> = newest.iter().rev().collect();
        let mut summary: Option<String> = None;
        for block in oldest_first.chunks(BLOCK) {
            let texts = self.texts(block.iter().copied());
            let kind = if summary.is_none() {
                "history"
            } else {
                "update"
            };
            let updated = self.ask(kind, summary.as_deref(), texts, &HISTORY).await;
            match updated {
                Ok(updated) => summary = updated.or(summary),
                // One block that cannot be summed up does not take the others away.
                Err(AskError::Answer(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(summary)
    }

    async fn persona(&mut self, history: &[Sample]) -> Result<Option<String>, AskError> {
        let texts = self.texts(history.iter());
        let filled = self.ask("history", None, texts.clone(), &PERSONA).await?;
        let refined = self.ask("refine", filled.as_deref(), texts, &PERSONA).await;
        match refined {
            Err(AskError::Answer(_)) => Ok(filled),
            refined => Ok(refined?.or(filled)),
        }
    }

    async fn differences(&mut self, samples: &[Sample]) -> Result<Option<String>, AskError> {
        let compared = samples.iter().filter_map(|s| s.record.difference.as_ref());
        let (mut fields, mut lines) = (Vec::new(), Vec::new());
        for finding in compared.flat_map(|difference| &difference.findings) {
            let name = label(&finding.criterion);
            if !fields.contains(&name) && fields.len() < FIELDS_MAX {
                fields.push(name);
            }
            let line = label(&finding.statement);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let question = Question {
            kind: "differences",
            texts: self.texts(samples.iter()),
            lines,
            fields,
            ..Question::default()
        };
        self.put(&question).await.map(Some)
    }

    async fn ask(
        &mut self,
        kind: &'static str,
        known: Option<&str>,
        texts: Vec<String>,
        fields: &[&str],
    ) -> Result<Option<String>, AskError> {
        if texts.is_empty() {
            return Ok(None);
        }
        let question = Question {
            kind,
            known,
            texts,
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            lines: Vec::new(),
        };
        self.put(&question).await.map(Some)
    }

    fn texts<'a>(&self, samples: impl Iterator<Item = &'a Sample>) -> Vec<String> {
        let chars = self.config.sample_chars;
        samples.map(|s| clean(&s.record.text, chars)).collect()
    }

    async fn put(&mut self, question: &Question<'_>) -> Result<String, AskError> {
        let spent = Mutex::new(self.spent);
        let request = |share| self.request(question, share);
        // Every whole answer is seen by the check, whether it holds or not.
        let check = |answer: &Completion| {
            let mut spent = spent.lock().unwrap_or_else(PoisonError::into_inner);
            spent.calls += 1;
            spent.prompt_tokens += answer.usage.prompt_tokens;
            spent.completion_tokens += answer.usage.completion_tokens;
            check(answer, &question.fields)
        };
        let answer = ask(self.model, (0.0, 1), request, check).await;
        self.spent = *spent.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(answer?.value)
    }

    fn request(&self, question: &Question<'_>, share: f64) -> Result<ChatRequest, BuildError> {
        let max_tokens = self.config.summary_tokens;
        let budget = budget(self.model, max_tokens, share)?;
        let blank = vec![String::new(); question.texts.len()];
        let (system, user) = self.render(question, &blank)?;
        let mut parts = vec![Part::whole(system), Part::whole(user)];
        parts.extend(question.texts.iter().map(Part::shorten));
        let fitted = fit(parts, budget, self.model)?;
        let (system, user) = self.render(question, &fitted.texts[2..])?;
        let mut request = ChatRequest::new(messages(system, user), max_tokens);
        request.schema = Some(schema(&question.fields, max_tokens));
        Ok(request)
    }

    fn render(
        &self,
        question: &Question<'_>,
        texts: &[String],
    ) -> Result<(String, String), PromptError> {
        let system = self.prompt.render("system", json!({}))?;
        let mut user = Vec::new();
        if !texts.is_empty() {
            user.push(self.prompt.render("texts", json!({ "texts": texts }))?);
        }
        if !question.lines.is_empty() {
            let lines = json!({ "lines": question.lines });
            user.push(self.prompt.render("differences", lines)?);
        }
        if let Some(summary) = question.known {
            let known = json!({ "summary": summary });
            user.push(self.prompt.render("known", known)?);
        }
        let task = json!({ "kind": question.kind, "names": question.fields.join(", ") });
        user.push(self.prompt.render("task", task)?);
        Ok((system, user.join("\n\n")))
    }
}

/// A statement for each field, all of them within the tokens of an answer.
fn schema(fields: &[String], max_tokens: u32) -> Value {
    let chars = f64::from(max_tokens) * CHARS_PER_TOKEN / fields.len().max(1) as f64;
    let statement = statement::schema_within(chars as usize);
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.clone(), statement.clone()))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": fields,
        "additionalProperties": false,
    })
}

/// The answer's statements in the order of the fields, each said once.
fn check(answer: &Completion, fields: &[String]) -> Result<String, String> {
    if answer.finish == Finish::Length {
        return Err("summary: ran out of tokens".to_owned());
    }
    let object: Value = serde_json::from_str(answer.text.trim())
        .map_err(|_| "summary: is not the JSON object asked for".to_owned())?;
    let mut statements: Vec<String> = Vec::new();
    for field in fields {
        let text = object.get(field).and_then(Value::as_str);
        let text = text.ok_or_else(|| format!("summary: {field}: is missing"))?;
        let checked =
            statement::check(text).map_err(|fault| format!("summary: {field}: {fault}"))?;
        if !statements.contains(&checked) {
            statements.push(checked);
        }
    }
    Ok(statements.join(" "))
}

#[cfg(test)]
mod tests;
