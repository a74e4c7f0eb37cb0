//! The comparison as the model sees it: instructions, item, representatives, then the target. Records
//! of one item share all but the end, so a prefix cache pays.

use foil_llm::ask::{budget, messages};
use foil_llm::prompt::{Part, PromptError, PromptFile, fit, neutralise};
use foil_llm::{BuildError, ChatRequest, LanguageModel, statement};
use foil_proto::feature::Feature;
use foil_proto::v1;
use foil_store::{Item, Record};
use serde_json::{Value, json};

use crate::config::{Criterion, ExtractorConfig};
use crate::evidence::Sample;
use crate::findings::{Sources, schema};

/// Longest title in a prompt, in characters.
const TITLE_CHARS_MAX: usize = 120;
/// From this z-score on, either sign, an author stands out.
const Z_MIN: f64 = 0.5;

/// Everything one comparison rests on.
pub struct Comparison<'a> {
    /// None where no item was ever published under that id.
    pub item: Option<&'a Item>,
    pub representatives: &'a [Record],
    pub target: &'a Record,
    pub evidence: &'a [v1::Evidence],
}

/// The file that is part of this program.
///
/// # Errors
/// When the file is none; a test of the stage shows that it is one.
pub fn file() -> Result<PromptFile, PromptError> {
    PromptFile::parse(include_str!("../prompts/difference.v1.md"))
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
        let budget = budget(model, config.max_tokens, share)?;
        let empty = vec![String::new(); self.texts().len()];
        let (system, user) = self.render(prompt, config, &empty)?;
        let mut parts = vec![Part::whole(system), Part::whole(user)];
        parts.extend(self.texts().into_iter().map(Part::shorten));
        let fitted = fit(parts, budget, model)?;
        let (system, user) = self.render(prompt, config, &fitted.texts[2..])?;
        let mut request = ChatRequest::new(messages(system, user), config.max_tokens);
        request.schema = Some(schema(&config.criteria));
        Ok(request)
    }

    /// What an answer must not take over, and what it may.
    pub fn sources(&self, config: &ExtractorConfig) -> Sources {
        let facts = config.criteria.iter();
        let facts = facts.map(|c| fact(c, self.evidence, config.facts));
        let own: Vec<String> = facts
            .map(|fact| format!("{}{fact}.", statement::SUBJECT))
            .collect();
        let peers = self.representatives.iter();
        Sources::new(
            peers
                .clone()
                .flat_map(|r| [r.text.as_str(), r.title.as_str()]),
            self.item
                .iter()
                .flat_map(|i| [i.title.as_str(), i.description.as_str()]),
            own.iter().map(String::as_str),
            peers.map(|record| record.key.user.as_str()),
        )
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
        let definitions = config.criteria.iter();
        let definitions: Vec<Value> = definitions
            .map(|c| json!({ "name": c.name, "definition": c.definition }))
            .collect();
        let system = prompt.render("system", json!({ "criteria": definitions }))?;
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
            let fact = fact(criterion, self.evidence, config.facts);
            json!({ "name": criterion.name, "fact": fact })
        });
        target["criteria"] = criteria.collect();
        target["measured"] = (config.facts > 0).into();
        user.push(prompt.render("target", target)?);
        Ok((system, user.join("\n\n")))
    }
}

fn values(record: &Record, text: &str) -> Value {
    let rating = record.rating.map_or("none".to_owned(), number);
    json!({ "title": short(&record.title), "text": text, "rating": rating })
}

fn short(title: &str) -> String {
    let plain = neutralise(title).replace('\n', " ");
    plain.chars().take(TITLE_CHARS_MAX).collect()
}

/// What the criterion's features tell of the author, those first that stand out most: "uses far more
/// exclamation marks and writes longer sentences than others". In words and without numbers, so that
/// a small model that only repeats it says something true and readable; the numbers are stored beside
/// the statement.
fn fact(criterion: &Criterion, evidence: &[v1::Evidence], most: usize) -> String {
    // Only where representatives and item agree: the reader of a statement sees both.
    let stands_out = |found: &&v1::Evidence| {
        found.z_score.abs() >= Z_MIN && (found.value - found.peers_mean) * found.z_score > 0.0
    };
    let mut bearing: Vec<&v1::Evidence> = evidence
        .iter()
        .filter(|found| criterion.features.contains(&found.feature))
        .filter(stands_out)
        .collect();
    bearing.sort_by(|a, b| b.z_score.abs().total_cmp(&a.z_score.abs()));
    let phrases = bearing.iter().take(most).filter_map(|found| {
        let feature = Feature::named(&found.feature)?;
        Some(feature.phrase(found.z_score))
    });
    let phrases: Vec<String> = phrases.collect();
    if phrases.is_empty() {
        return "is like the others".to_owned();
    }
    format!("{} than others", phrases.join(" and "))
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
