//! From a server's refusals to [`EngineError`]. No text of the server passes: it may repeat a prompt.

use reqwest::StatusCode;
use serde_json::Value;

use crate::chat::EngineError;

/// What a request asked for, to say why it does not fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) prompt_tokens: u32,
    pub(super) max_tokens: u32,
    pub(super) context_tokens: u32,
}

impl Size {
    pub(super) fn too_long(self) -> EngineError {
        EngineError::PromptTooLong {
            tokens: self.prompt_tokens,
            max_tokens: self.max_tokens,
            context: self.context_tokens,
        }
    }
}

/// Classifies an answer that is not a success. `body` is its beginning.
pub(super) fn status(status: StatusCode, body: &[u8], size: Size) -> EngineError {
    let body = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_client_error() && says_too_long(&body) {
        return size.too_long();
    }
    let code = status.as_u16();
    let label = label(&body);
    match code {
        300..400 => EngineError::Unavailable(format!(
            "server redirects (status {code}), which is not followed; llm.base_url must be the final address"
        )),
        401 | 403 => {
            EngineError::Unavailable(format!("server refuses llm.api_key (status {code}{label})"))
        }
        404 => EngineError::Unavailable(format!(
            "server knows no such path or model (status 404{label}); check llm.base_url and llm.model"
        )),
        408 | 425 | 429 => {
            EngineError::Unavailable(format!("server is overloaded (status {code}{label})"))
        }
        400..500 => EngineError::Invalid(format!("server refuses it (status {code}{label})")),
        _ => EngineError::Unavailable(format!("server failed (status {code}{label})")),
    }
}

/// Classifies an error object that came inside a stream, after status 200.
pub(super) fn in_stream(body: &Value, size: Size) -> EngineError {
    if says_too_long(body) {
        return size.too_long();
    }
    let code = error(body).get("code").and_then(Value::as_u64);
    match code
        .and_then(|code| u16::try_from(code).ok())
        .and_then(|code| StatusCode::from_u16(code).ok())
    {
        Some(code) if code.is_client_error() => {
            status(code, &serde_json::to_vec(body).unwrap_or_default(), size)
        }
        _ => EngineError::Died(format!("server failed during the answer{}", label(body))),
    }
}

/// The error object: under `error`, or the body itself as older vLLM has it.
fn error(body: &Value) -> &Value {
    body.get("error").unwrap_or(body)
}

/// Whether the server means that prompt and answer exceed the context. Each server has its words:
/// OpenAI and vLLM `maximum context length`, llama.cpp `exceed_context_size_error` and `context
/// size`, SGLang `context length`, mistralrs `sequence length is greater`.
fn says_too_long(body: &Value) -> bool {
    let error = error(body);
    let texts = ["code", "type", "message"].map(|field| error.get(field).and_then(Value::as_str));
    let whole = error.as_str();
    texts.into_iter().chain([whole]).flatten().any(|text| {
        let text = text.to_lowercase();
        [
            "context_length",
            "context length",
            "context_size",
            "context size",
            "context window",
            "sequence length is greater",
        ]
        .iter()
        .any(|words| text.contains(words))
    })
}

/// `, type code` where the server names them: machine words only.
fn label(body: &Value) -> String {
    let error = error(body);
    let words = ["type", "code"]
        .iter()
        .filter_map(|field| match error.get(field) {
            Some(Value::String(word)) => Some(word.clone()),
            _ => None,
        });
    words
        .filter(|word| {
            word.len() <= 64
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        })
        .fold(String::new(), |label, word| format!("{label}, {word}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SIZE: Size = Size {
        prompt_tokens: 5000,
        max_tokens: 200,
        context_tokens: 4096,
    };

    fn classify(code: u16, body: &Value) -> EngineError {
        status(
            StatusCode::from_u16(code).unwrap(),
            &serde_json::to_vec(body).unwrap(),
            SIZE,
        )
    }

    #[test]
    fn every_servers_words_for_a_full_context_are_understood() {
        let bodies = [
            json!({"error": {"message": "x", "code": "context_length_exceeded"}}),
            json!({"object": "error", "message": "This model's maximum context length is 4096 tokens. However, ...", "code": 400}),
            json!({"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}),
            json!({"error": {"message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."}}),
            json!({"error": "Prompt sequence length is greater than 4096, perhaps consider using `truncate_sequence`?"}),
        ];
        for body in bodies {
            let error = classify(400, &body);
            assert!(
                matches!(error, EngineError::PromptTooLong { tokens: 5000, .. }),
                "{body}: {error}"
            );
        }
    }

    #[test]
    fn a_status_says_whether_to_come_back() {
        for code in [302, 307, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert!(
                matches!(classify(code, &Value::Null), EngineError::Unavailable(_)),
                "{code}"
            );
        }
        for code in [400, 405, 413, 422] {
            assert!(
                matches!(classify(code, &Value::Null), EngineError::Invalid(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn an_error_in_a_stream_is_classified_like_one_before_it() {
        let died = in_stream(&json!({"error": {"message": "x", "code": 500}}), SIZE);
        assert!(matches!(died, EngineError::Died(_)), "{died}");
        let invalid = in_stream(&json!({"error": {"message": "x", "code": 400}}), SIZE);
        assert!(matches!(invalid, EngineError::Invalid(_)), "{invalid}");
        let long = in_stream(
            &json!({"error": {"message": "maximum context length is 1", "code": 400}}),
            SIZE,
        );
        assert!(matches!(long, EngineError::PromptTooLong { .. }), "{long}");
    }

    #[test]
    fn no_text_of_the_server_passes_but_its_codes_do() {
        let body = json!({"error": {
            "message": "SECRET prompt", "type": "SECRET prompt", "code": "bad_request",
        }});
        let text = classify(422, &body).to_string();
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("bad_request"), "{text}");
    }
}
