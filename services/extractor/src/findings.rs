//! The model's answer: the schema it must satisfy, and the check of what came.

use foil_llm::statement::{self, BadStatement};
use foil_llm::{Completion, Finish};
use foil_proto::v1;
use serde_json::{Map, Value, json};

use crate::config::Criterion;
use crate::leak::quotes;

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

/// Parses and checks an answer. `peers`: the texts that must not be repeated.
///
/// # Errors
/// [`BadAnswer`] with the first fault.
pub fn check(
    completion: &Completion,
    criteria: &[Criterion],
    peers: &[&str],
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
    let findings = criteria.iter().map(|c| finding(answer, &c.name, peers));
    findings.collect()
}

fn finding(
    answer: &Map<String, Value>,
    name: &str,
    peers: &[&str],
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
    if quotes(&statement, peers.iter().copied()) {
        return Err(BadAnswer::Quotes { criterion });
    }
    Ok(v1::Finding {
        criterion,
        statement,
        confidence,
    })
}

#[cfg(test)]
mod tests;
