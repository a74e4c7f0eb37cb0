//! From the chunks of a streamed answer to events.

use serde::Deserialize;
use serde_json::Value;

use super::fault::{self, Size};
use crate::chat::{EngineError, Finish};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

/// Token counts as the server reports them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(super) struct Counts {
    #[serde(default)]
    pub(super) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(super) completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

impl Counts {
    pub(super) fn cached_tokens(&self) -> u32 {
        let details = self.prompt_tokens_details.as_ref();
        details
            .and_then(|details| details.cached_tokens)
            .unwrap_or(0)
    }
}

/// What the chunks so far said about the end.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) finish: Option<Finish>,
    pub(super) counts: Option<Counts>,
    /// Chunks with text: a fair count of tokens where the server reports none.
    pub(super) pieces: u32,
}

impl Answer {
    /// Takes one event and returns its text, empty where there is none.
    ///
    /// # Errors
    /// When the event is not a chunk, or reports an error or an end that is none.
    pub(super) fn take(&mut self, data: &str, size: Size) -> Result<String, EngineError> {
        if data.trim() == "[DONE]" {
            return Ok(String::new());
        }
        let broken = || EngineError::Died("an event of the stream is not a JSON object".into());
        let value: Value = serde_json::from_str(data).map_err(|_| broken())?;
        // serde would take an array for a struct whose fields have defaults.
        if !value.is_object() {
            return Err(broken());
        }
        let reports_error = value.get("error").is_some_and(|error| !error.is_null())
            || value.get("object").is_some_and(|object| object == "error");
        if reports_error {
            return Err(fault::in_stream(&value, size));
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|_| broken())?;
        self.counts = chunk.usage.or(self.counts.take());
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(String::new());
        };
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(finish(&reason)?);
        }
        let text = choice
            .delta
            .and_then(|delta| delta.content)
            .unwrap_or_default();
        self.pieces = self.pieces.saturating_add(u32::from(!text.is_empty()));
        Ok(text)
    }
}

fn finish(reason: &str) -> Result<Finish, EngineError> {
    match reason {
        "length" => Ok(Finish::Length),
        "content_filter" => Err(EngineError::Invalid(
            "the server's content filter ended the answer".into(),
        )),
        "abort" | "canceled" | "cancelled" | "error" => {
            Err(EngineError::Died("the server gave the answer up".into()))
        }
        // `stop`, and the names that servers have for an end token or a stop word.
        _ => Ok(Finish::Stop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        prompt_tokens: 1,
        max_tokens: 1,
        context_tokens: 1,
    };

    fn play(events: &[&str]) -> Result<(String, Answer), EngineError> {
        let mut answer = Answer::default();
        let mut text = String::new();
        for event in events {
            text.push_str(&answer.take(event, SIZE)?);
        }
        Ok((text, answer))
    }

    #[test]
    fn vllm_role_first_and_usage_last_with_empty_choices() {
        let (text, answer) = play(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":" you"},"finish_reason":"length","stop_reason":null}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}}}"#,
            "[DONE]",
        ])
        .unwrap();
        assert_eq!(text, "hi you");
        assert_eq!(answer.finish, Some(Finish::Length));
        let counts = answer.counts.unwrap();
        assert_eq!(
            (
                counts.prompt_tokens,
                counts.completion_tokens,
                counts.cached_tokens()
            ),
            (Some(9), Some(2), 4)
        );
    }

    #[test]
    fn llama_server_null_content_and_no_usage() {
        let (text, answer) = play(&[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"timings":{"prompt_n":3}}"#,
        ])
        .unwrap();
        assert_eq!((text.as_str(), answer.pieces), ("a", 1));
        assert_eq!((answer.finish, answer.counts), (Some(Finish::Stop), None));
    }

    #[test]
    fn mistralrs_server_usage_on_the_finish_chunk() {
        let (text, answer) = play(&[
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"a","role":"assistant"},"logprobs":null}],"usage":null}"#,
            r#"{"choices":[{"finish_reason":"stop","index":0,"delta":{"content":"b","role":"assistant"}}],"usage":{"completion_tokens":2,"prompt_tokens":5,"total_tokens":7,"avg_tok_per_sec":1.5}}"#,
        ])
        .unwrap();
        assert_eq!(text, "ab");
        assert_eq!(answer.counts.unwrap().prompt_tokens, Some(5));
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        for event in [
            "",
            "{",
            "[]",
            "null",
            "plain text of an error",
            r#"{"choices":7}"#,
        ] {
            assert!(
                matches!(play(&[event]), Err(EngineError::Died(_))),
                "{event}"
            );
        }
        assert!(matches!(
            play(&[r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#]),
            Err(EngineError::Died(_))
        ));
        assert!(matches!(
            play(&[r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#]),
            Err(EngineError::Invalid(_))
        ));
    }
}
