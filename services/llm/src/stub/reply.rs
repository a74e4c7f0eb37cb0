//! What a request is answered with: the text, its tokens, and the order of the bytes of a stream.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::schema::MANNER;
use super::{Mode, StubConfig, UsageStyle};

/// One thing the body of an answer does.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Send(String),
    Wait(Duration),
    /// Waits for ever.
    Stall,
    /// Breaks the connection.
    Cut,
    /// Ends the whole server.
    Die,
}

/// Bytes that are not on the wire yet go with a connection that breaks; so a break waits for them.
const FLUSH: Duration = Duration::from_millis(20);

/// Pieces of at most 8 characters that start at a word's leading space; the stub's "tokens".
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut length = 0;
    for character in text.chars() {
        if length == 0 || length == 8 || character.is_whitespace() {
            pieces.push(String::new());
            length = 0;
        }
        if let Some(last) = pieces.last_mut() {
            last.push(character);
        }
        length += 1;
    }
    pieces
}

/// Tokens of all messages, with 4 more for each as a chat template adds them.
pub(super) fn prompt_tokens(request: &Value) -> usize {
    let messages = request.get("messages").and_then(Value::as_array);
    messages
        .into_iter()
        .flatten()
        .map(|message| tokens(message["content"].as_str().unwrap_or_default()).len() + 4)
        .sum()
}

/// The words of the prompt that [`StubConfig::quotes`] asks for, each once; none where there are none.
fn quoted(config: &StubConfig, request: &Value) -> Option<String> {
    let prefix = config.quotes.as_deref()?;
    let messages = request["messages"].to_string();
    let words = messages.split(|c: char| !c.is_alphanumeric());
    let words: BTreeSet<&str> = words.filter(|word| word.starts_with(prefix)).collect();
    let words: Vec<&str> = words.into_iter().collect();
    (!words.is_empty()).then(|| words.join(" and "))
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) tokens: Vec<String>,
    finish: &'static str,
    usage: Value,
    model: String,
}

impl Answer {
    pub(super) fn new(config: &StubConfig, request: &Value) -> Self {
        let schema = request.pointer("/response_format/json_schema/schema");
        let text = match schema {
            Some(schema) => {
                let text = super::schema::instance(schema).to_string();
                match quoted(config, request) {
                    Some(words) => text.replace(MANNER, &format!("of {words}")),
                    None => text,
                }
            }
            None => stopped(&config.text, &request["stop"]),
        };
        let mut tokens = tokens(&text);
        let limit = request["max_tokens"].as_u64().unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let finish = if tokens.len() > limit {
            "length"
        } else {
            "stop"
        };
        tokens.truncate(limit);
        let prompt = prompt_tokens(request);
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": tokens.len(),
            "total_tokens": prompt + tokens.len(),
        });
        let model = config.model.clone();
        Self {
            tokens,
            finish,
            usage,
            model,
        }
    }

    /// The body of an answer that is not streamed.
    pub(super) fn whole(&self) -> Value {
        json!({
            "id": "stub", "object": "chat.completion", "created": 0, "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.tokens.concat()},
                "finish_reason": self.finish,
            }],
            "usage": self.usage,
        })
    }

    /// The steps of a streamed answer. The first chunk has a role and null content, as vLLM's has.
    pub(super) fn steps(
        self,
        mode: Mode,
        usage: UsageStyle,
    ) -> Box<dyn Iterator<Item = Step> + Send> {
        let role = self.chunk(json!({"role": "assistant", "content": null}), None, None);
        let first = self.tokens.first().cloned().unwrap_or_default();
        let one_token = vec![role, self.text(&first)];
        match mode {
            Mode::Stall => Box::new(one_token.into_iter().chain([Step::Stall])),
            Mode::CutMidStream => {
                Box::new(one_token.into_iter().chain([Step::Wait(FLUSH), Step::Cut]))
            }
            Mode::EndEarly => Box::new(one_token.into_iter()),
            Mode::Die => Box::new(one_token.into_iter().chain([Step::Wait(FLUSH), Step::Die])),
            Mode::InvalidJson => Box::new(one_token.into_iter().chain([line("{not json")])),
            Mode::ErrorInStream => {
                let error = json!({"error": {"message": "the stub's engine failed", "code": 500}});
                Box::new(one_token.into_iter().chain([line(&error.to_string())]))
            }
            Mode::Flood => {
                let again = self.text(" more and more");
                let Step::Send(again) = again else {
                    return Box::new(std::iter::empty());
                };
                let forever = std::iter::repeat_with(move || Step::Send(again.clone()));
                Box::new(one_token.into_iter().chain(forever))
            }
            Mode::Slow(pause) => Box::new(self.paced(Some(pause), usage).into_iter()),
            Mode::Ok | Mode::Hang | Mode::Status(_) => {
                Box::new(self.paced(None, usage).into_iter())
            }
        }
    }

    fn paced(&self, pause: Option<Duration>, usage: UsageStyle) -> Vec<Step> {
        let mut steps = vec![self.chunk(json!({"role": "assistant", "content": null}), None, None)];
        for token in &self.tokens {
            steps.extend(pause.map(Step::Wait));
            steps.push(self.text(token));
        }
        let at_finish = (usage == UsageStyle::FinishChunk).then_some(&self.usage);
        steps.push(self.chunk(json!({}), Some(self.finish), at_finish));
        if usage == UsageStyle::LastChunk {
            let last = json!({
                "id": "stub", "object": "chat.completion.chunk", "created": 0,
                "model": self.model, "choices": [], "usage": self.usage,
            });
            steps.push(line(&last.to_string()));
        }
        steps.push(line("[DONE]"));
        steps
    }

    fn text(&self, token: &str) -> Step {
        self.chunk(json!({"content": token}), None, None)
    }

    fn chunk(&self, delta: Value, finish: Option<&str>, usage: Option<&Value>) -> Step {
        let chunk = json!({
            "id": "stub", "object": "chat.completion.chunk", "created": 0, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            "usage": usage,
        });
        line(&chunk.to_string())
    }
}

fn line(data: &str) -> Step {
    Step::Send(format!("data: {data}\n\n"))
}

/// `text` before the first of the stop words.
fn stopped(text: &str, stop: &Value) -> String {
    let words = stop.as_array().into_iter().flatten();
    let end = words
        .filter_map(Value::as_str)
        .filter_map(|word| text.find(word))
        .min()
        .unwrap_or(text.len());
    text[..end].to_owned()
}

/// A unit vector that depends on `text` alone: equal texts are equal, others nearly orthogonal.
pub(super) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = Vec::with_capacity(dimensions);
    let mut block = 0_u32;
    while vector.len() < dimensions {
        let digest = Sha256::new()
            .chain_update(block.to_le_bytes())
            .chain_update(text.as_bytes())
            .finalize();
        let values = digest
            .chunks_exact(2)
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / f32::from(i16::MAX));
        vector.extend(values.take(dimensions - vector.len()));
        block += 1;
    }
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|x| *x /= norm);
    }
    vector
}
