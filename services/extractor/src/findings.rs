//! The model's answer: the schema it must satisfy, and the check of what came.

use foil_llm::statement::{self, BadStatement};
use foil_llm::{Completion, Finish};
use foil_proto::v1;
use serde_json::{Map, Value, json};

use crate::config::Criterion;
use crate::leak::{Letters, follows, quotes};

/// A shorter id may be any word.
const ID_BYTES_MIN: usize = 4;

/// Why an answer cannot be stored. Holds nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    #[error("the answer ran out of tokens")]
    Unfinished,
    #[error("the answer is not the JSON object asked for")]
    Malformed,
    #[error("{criterion}: is missing")]
    Missing { criterion: String },
    #[error("{criterion}: {fault}")]
    Statement {
        criterion: String,
        fault: BadStatement,
    },
    #[error("{criterion}: confidence is not within 0 and 1")]
    Confidence { criterion: String },
    #[error("{criterion}: statement repeats a peer's text")]
    Quotes { criterion: String },
    #[error("{criterion}: statement follows a text that says what to write")]
    Follows { criterion: String },
    #[error("{criterion}: statement names a peer")]
    Names { criterion: String },
    #[error("the statements together repeat a peer's text")]
    QuotesTogether,
}

/// What an answer is checked against.
pub struct Sources {
    /// Texts and titles of the representatives.
    peers: Vec<Letters>,
    /// Title and description of the item.
    item: Vec<Letters>,
    /// What Foil itself tells the model about the author.
    own: Letters,
    /// Ids of the representatives' users that are no words.
    ids: Vec<String>,
}

impl Sources {
    /// `own`: the sentences that the prompt has for the model to use. `users`: ids of the
    /// representatives' users.
    pub fn new<'a>(
        peers: impl IntoIterator<Item = &'a str>,
        item: impl IntoIterator<Item = &'a str>,
        own: impl IntoIterator<Item = &'a str>,
        users: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let users = users.into_iter().filter(|id| is_telling(id));
        Self {
            peers: peers.into_iter().map(Letters::of).collect(),
            item: item.into_iter().map(Letters::of).collect(),
            own: Letters::joined(own),
            ids: users.map(str::to_lowercase).collect(),
        }
    }

    fn check(&self, criterion: &str, statement: &str) -> Result<(), BadAnswer> {
        let criterion = || criterion.to_owned();
        let said = Letters::of(statement);
        if quotes(&said, &self.own, &self.peers) {
            let criterion = criterion();
            return Err(BadAnswer::Quotes { criterion });
        }
        if follows(&said, &self.own, self.peers.iter().chain(&self.item)) {
            let criterion = criterion();
            return Err(BadAnswer::Follows { criterion });
        }
        let lower = statement.to_lowercase();
        if self.ids.iter().any(|id| lower.contains(id)) {
            let criterion = criterion();
            return Err(BadAnswer::Names { criterion });
        }
        Ok(())
    }

    /// A text that was cut up and put into several statements.
    fn check_together(&self, findings: &[v1::Finding]) -> Result<(), BadAnswer> {
        let parts = findings.iter().map(|found| {
            let statement = found.statement.as_str();
            statement
                .strip_prefix(statement::SUBJECT)
                .unwrap_or(statement)
        });
        if quotes(&Letters::joined(parts), &self.own, &self.peers) {
            return Err(BadAnswer::QuotesTogether);
        }
        Ok(())
    }
}

/// Whether an id can be told from a word: else a user could, by their name, keep statements from being
/// stored that happen to hold it.
fn is_telling(id: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_digit() || byte == b'@';
    id.len() >= ID_BYTES_MIN && id.bytes().any(sign) && !id.contains(char::is_whitespace)
}

/// The JSON schema of an answer: for each criterion, in order, a statement and a confidence.
pub fn schema(criteria: &[Criterion]) -> Value {
    let finding = json!({
        "type": "object",
        "properties": {
            "statement": statement::schema(),
            // Steps, because a small model writes digits without end.
            "confidence": { "enum": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.4, 0.3, 0.2, 0.1] },
        },
        "required": ["statement", "confidence"],
        "additionalProperties": false,
    });
    let properties: Map<String, Value> = criteria
        .iter()
        .map(|criterion| (criterion.name.clone(), finding.clone()))
        .collect();
    let names: Vec<&str> = criteria.iter().map(|c| c.name.as_str()).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": false,
    })
}

/// Parses and checks an answer.
///
/// # Errors
/// [`BadAnswer`] with the first fault.
pub fn check(
    completion: &Completion,
    criteria: &[Criterion],
    sources: &Sources,
) -> Result<Vec<v1::Finding>, BadAnswer> {
    if completion.finish == Finish::Length {
        return Err(BadAnswer::Unfinished);
    }
    let answer: Value =
        serde_json::from_str(completion.text.trim()).map_err(|_| BadAnswer::Malformed)?;
    let answer = answer.as_object().ok_or(BadAnswer::Malformed)?;
    if answer.len() > criteria.len() {
        return Err(BadAnswer::Malformed);
    }
    let findings = criteria.iter().map(|c| finding(answer, &c.name, sources));
    let findings = findings.collect::<Result<Vec<_>, _>>()?;
    sources.check_together(&findings)?;
    Ok(findings)
}

fn finding(
    answer: &Map<String, Value>,
    name: &str,
    sources: &Sources,
) -> Result<v1::Finding, BadAnswer> {
    let criterion = name.to_owned();
    let Some(found) = answer.get(name) else {
        return Err(BadAnswer::Missing { criterion });
    };
    let Some(statement) = found.get("statement").and_then(Value::as_str) else {
        return Err(BadAnswer::Missing { criterion });
    };
    let statement = match statement::check(statement) {
        Ok(statement) => statement,
        Err(fault) => return Err(BadAnswer::Statement { criterion, fault }),
    };
    let confidence = found.get("confidence").and_then(Value::as_f64);
    let Some(confidence) = confidence.filter(|value| (0.0..=1.0).contains(value)) else {
        return Err(BadAnswer::Confidence { criterion });
    };
    sources.check(name, &statement)?;
    Ok(v1::Finding {
        criterion,
        statement,
        confidence,
    })
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
