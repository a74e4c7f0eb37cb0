//! The comparison as the model sees it: instructions, item, representatives, then the target. Records
//! of one item share all but the end, so a prefix cache pays.

use foil_llm::prompt::{Part, PromptError, PromptFile, fit, neutralise};
use foil_llm::{ChatRequest, EngineError, LanguageModel, Message, Role};
use foil_proto::v1;
use foil_store::{Item, Record};
use serde_json::{Value, json};

use crate::config::{Criterion, ExtractorConfig};
use crate::evidence::{Sample, label};
use crate::findings::schema;

/// Longest title in a prompt, in characters.
const TITLE_CHARS_MAX: usize = 120;
/// Tokens that joining texts may take beyond what was counted.
const SLACK_TOKENS: u32 = 16;
/// A smaller budget holds no comparison.
const BUDGET_MIN: u32 = 64;

/// Everything one comparison rests on.
pub struct Comparison<'a> {
    /// None where no item was ever published under that id.
    pub item: Option<&'a Item>,
    pub representatives: &'a [Record],
    pub target: &'a Record,
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

/// A record's text and rating as they are measured.
pub fn sample(record: &Record) -> Sample<'_> {
    Sample {
        text: &record.text,
        rating: record.rating,
    }
}

impl Comparison<'_> {
    /// The request. `share`: of the context that the prompt may take, 0 to 1.
    ///
    /// # Errors
    /// [`BuildError::Engine`] when even the instructions do not fit, or the tokenizer fails.
    pub fn request(
        &self,
        prompt: &PromptFile,
        config: &ExtractorConfig,
        model: &dyn LanguageModel,
        share: f64,
    ) -> Result<ChatRequest, BuildError> {
        let context = model.info().context_tokens;
        let taken = config.max_tokens + model.template_tokens(2) + SLACK_TOKENS;
        let budget = (f64::from(context.saturating_sub(taken)) * share) as u32;
        if budget < BUDGET_MIN {
            let problem = format!("llm.context_tokens: {context} leave no room for a comparison");
            return Err(EngineError::Invalid(problem).into());
        }
        let empty = vec![String::new(); self.texts().len()];
        let (system, user) = self.render(prompt, config, &empty)?;
        let mut parts = vec![Part::whole(system), Part::whole(user)];
        parts.extend(self.texts().into_iter().map(Part::shorten));
        let fitted = fit(parts, budget, model)?;
        let (system, user) = self.render(prompt, config, &fitted.texts[2..])?;
        let messages = vec![message(Role::System, system), message(Role::User, user)];
        let mut request = ChatRequest::new(messages, config.max_tokens);
        request.schema = Some(schema(&config.criteria));
        Ok(request)
    }

    /// What may be shortened: the description, each representative's text, the target's text.
    fn texts(&self) -> Vec<String> {
        let description = self.item.map_or("", |item| item.description.as_str());
        let texts = self.representatives.iter().chain([self.target]);
        let texts = texts.map(|record| record.text.as_str());
        [description]
            .into_iter()
            .chain(texts)
            .map(neutralise)
            .collect()
    }

    /// System and user message. `texts`: as [`Comparison::texts`] gives them.
    fn render(
        &self,
        prompt: &PromptFile,
        config: &ExtractorConfig,
        texts: &[String],
    ) -> Result<(String, String), PromptError> {
        let system = prompt.render("system", json!({}))?;
        let title = self.item.map_or(String::new(), |item| short(&item.title));
        let item = json!({ "title": title, "description": texts[0] });
        let mut user = vec![prompt.render("item", item)?];
        for (record, text) in self.representatives.iter().zip(&texts[1..]) {
            user.push(prompt.render("representative", values(record, text))?);
        }
        let mut target = values(self.target, &texts[texts.len() - 1]);
        let names: Vec<&str> = config.criteria.iter().map(|c| c.name.as_str()).collect();
        target["names"] = names.join(", ").into();
        let criteria = config.criteria.iter().map(|criterion| {
            let facts = facts(criterion, self.evidence, config.facts);
            json!({ "name": criterion.name, "definition": criterion.definition, "facts": facts })
        });
        target["criteria"] = criteria.collect();
        user.push(prompt.render("target", target)?);
        Ok((system, user.join("\n\n")))
    }
}

fn values(record: &Record, text: &str) -> Value {
    let rating = record.rating.map_or("none".to_owned(), number);
    json!({ "title": short(&record.title), "text": text, "rating": rating })
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}

fn short(title: &str) -> String {
    let plain = neutralise(title).replace('\n', " ");
    plain.chars().take(TITLE_CHARS_MAX).collect()
}

/// The criterion's measured facts that stand out most, such as
/// "higher words per sentence than others (31.0, theirs 14.2)".
fn facts(criterion: &Criterion, evidence: &[v1::Evidence], most: usize) -> Vec<String> {
    let mut bearing: Vec<&v1::Evidence> = evidence
        .iter()
        .filter(|found| criterion.features.contains(&found.feature))
        .collect();
    bearing.sort_by(|a, b| b.z_score.abs().total_cmp(&a.z_score.abs()));
    bearing.truncate(most);
    bearing.into_iter().map(fact).collect()
}

/// Worded so that a small model that only repeats it says something true.
fn fact(found: &v1::Evidence) -> String {
    let (value, peers) = (number(found.value), number(found.peers_mean));
    let label = label(&found.feature);
    if value == peers {
        return format!("the same {label} as others ({value})");
    }
    let direction = if found.value > found.peers_mean {
        "higher"
    } else {
        "lower"
    };
    format!("{direction} {label} than others ({value}, theirs {peers})")
}

fn number(value: f64) -> String {
    if value.abs() < 2.0 && value.fract() != 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests;
