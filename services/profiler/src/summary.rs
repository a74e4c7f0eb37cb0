//! The summary: what the model is asked, and the check of what came.

use foil_llm::ask::{budget, messages};
use foil_llm::prompt::{Part, PromptError, PromptFile, fit, neutralise};
use foil_llm::statement::{self, BadStatement};
use foil_llm::{BuildError, ChatRequest, Completion, Finish, LanguageModel};
use foil_proto::feature::Feature;
use foil_proto::v1;
use foil_store::Record;
use serde_json::{Map, Value, json};

use crate::config::ProfilerConfig;

/// Most criteria of a summary, as of a comparison.
const CRITERIA_MAX: usize = 8;
/// What a summary without differences says.
const PLAIN: [&str; 2] = ["style", "tone"];
/// Most bytes of a past text that are looked at.
const TEXT_BYTES_MAX: usize = 4096;
/// From this z-score on, either sign, an author stands out.
const Z_MIN: f64 = 0.5;

/// What a summary is made of. Records newest first.
pub struct History<'a> {
    pub records: &'a [Record],
    pub evidence: &'a [v1::Evidence],
}

/// Why an answer cannot be stored. Holds nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSummary {
    #[error("summary: ran out of tokens")]
    Unfinished,
    #[error("summary: is not the JSON object asked for")]
    Malformed,
    #[error("summary: {criterion}: is missing")]
    Missing { criterion: String },
    #[error("summary: {criterion}: {fault}")]
    Statement {
        criterion: String,
        fault: BadStatement,
    },
}

/// The file that is part of this program.
///
/// # Errors
/// When the file is none; a test of the stage shows that it is one.
pub fn file() -> Result<PromptFile, PromptError> {
    PromptFile::parse(include_str!("../prompts/profile.v1.md"))
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
        let budget = budget(model, config.max_tokens, share)?;
        let criteria = self.criteria(config);
        let statements = criteria.iter().map(|name| self.statements(name, config));
        let statements: Vec<String> = statements.filter(|lines| !lines.is_empty()).collect();
        let (texts, split) = (self.texts(config), statements.len());
        let blank = vec![String::new(); split + texts.len()];
        let (system, user) = self.render(prompt, config, &criteria, blank.split_at(split))?;
        let mut parts = vec![Part::whole(system), Part::whole(user)];
        parts.extend(statements.into_iter().chain(texts).map(Part::shorten));
        let fitted = fit(parts, budget, model)?;
        let parts = fitted.texts[2..].split_at(split);
        let (system, user) = self.render(prompt, config, &criteria, parts)?;
        let mut request = ChatRequest::new(messages(system, user), config.max_tokens);
        request.schema = Some(schema(&criteria));
        Ok(request)
    }

    /// The criteria of the differences, in their order; others where nothing was compared yet.
    pub fn criteria(&self, config: &ProfilerConfig) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for finding in self.findings(config) {
            if names.len() < CRITERIA_MAX && !names.contains(&finding.criterion) {
                names.push(finding.criterion.clone());
            }
        }
        if names.is_empty() {
            return PLAIN.map(str::to_owned).into();
        }
        names
    }

    /// Those of the newest differences.
    fn findings(&self, config: &ProfilerConfig) -> impl Iterator<Item = &v1::Finding> {
        let compared = self.records.iter().filter_map(|r| r.difference.as_ref());
        compared.take(config.differences).flat_map(|d| &d.findings)
    }

    /// What was found under one criterion, a line each. What was found again and again is said once,
    /// before the rest: a small model repeats what it reads repeated.
    fn statements(&self, criterion: &str, config: &ProfilerConfig) -> String {
        let mut counted: Vec<(String, usize)> = Vec::new();
        for finding in self.findings(config).filter(|f| f.criterion == criterion) {
            let statement = one_line(&finding.statement);
            match counted.iter_mut().find(|(known, _)| *known == statement) {
                Some((_, count)) => *count += 1,
                None => counted.push((statement, 1)),
            }
        }
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let lines = counted
            .iter()
            .map(|(statement, _)| format!("- {statement}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn texts(&self, config: &ProfilerConfig) -> Vec<String> {
        let texts = self.records.iter().take(config.texts);
        let clipped = texts.map(|record| {
            let text = record.text.as_str();
            &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
        });
        clipped.map(neutralise).collect()
    }

    /// System and user message of these statements, one text for each criterion, and past texts.
    fn render(
        &self,
        prompt: &PromptFile,
        config: &ProfilerConfig,
        criteria: &[String],
        (statements, texts): (&[String], &[String]),
    ) -> Result<(String, String), PromptError> {
        let system = prompt.render("system", json!({}))?;
        let mut user = Vec::new();
        if !texts.is_empty() {
            user.push(prompt.render("texts", json!({ "texts": texts }))?);
        }
        let facts = facts(self.evidence, config.facts);
        if !facts.is_empty() {
            user.push(prompt.render("facts", json!({ "facts": facts }))?);
        }
        if !statements.is_empty() {
            let groups = criteria.iter().zip(statements);
            let groups: Vec<Value> = groups
                .map(|(name, lines)| json!({ "name": name, "statements": lines }))
                .collect();
            user.push(prompt.render("differences", json!({ "criteria": groups }))?);
        }
        let compared = !statements.is_empty();
        let task = json!({ "names": criteria.join(", "), "compared": compared });
        user.push(prompt.render("task", task)?);
        Ok((system, user.join("\n\n")))
    }
}

/// The JSON schema of an answer: a statement for each criterion, in order.
fn schema(criteria: &[String]) -> Value {
    let properties: Map<String, Value> = criteria
        .iter()
        .map(|name| (name.clone(), statement::schema()))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": criteria,
        "additionalProperties": false,
    })
}

fn one_line(text: &str) -> String {
    let plain = neutralise(text);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands out most, such as "writes far shorter sentences".
fn facts(evidence: &[v1::Evidence], most: usize) -> Vec<String> {
    let clear = evidence.iter().filter(|found| found.z_score.abs() >= Z_MIN);
    let mut strongest: Vec<&v1::Evidence> = clear.collect();
    strongest.sort_by(|a, b| b.z_score.abs().total_cmp(&a.z_score.abs()));
    let phrases = strongest.into_iter().take(most).filter_map(|found| {
        let feature = Feature::named(&found.feature)?;
        Some(feature.phrase(found.z_score))
    });
    phrases.collect()
}

/// The summary of an answer: its statements in the order of `criteria`, each said once.
///
/// # Errors
/// [`BadSummary`] with the first fault.
pub fn check(completion: &Completion, criteria: &[String]) -> Result<String, BadSummary> {
    if completion.finish == Finish::Length {
        return Err(BadSummary::Unfinished);
    }
    let answer: Value =
        serde_json::from_str(completion.text.trim()).map_err(|_| BadSummary::Malformed)?;
    let answer = answer.as_object().ok_or(BadSummary::Malformed)?;
    let mut statements: Vec<String> = Vec::new();
    for name in criteria {
        let criterion = name.clone();
        let Some(text) = answer.get(name).and_then(Value::as_str) else {
            return Err(BadSummary::Missing { criterion });
        };
        match statement::check(text) {
            Ok(statement) if statements.contains(&statement) => {}
            Ok(statement) => statements.push(statement),
            Err(fault) => return Err(BadSummary::Statement { criterion, fault }),
        }
    }
    Ok(statements.join(" "))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
