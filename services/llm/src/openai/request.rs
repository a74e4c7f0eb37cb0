//! The body of a chat completion request.

use serde_json::{Map, Value, json};

use crate::chat::{ChatRequest, Role};

/// Servers differ in the integers they take for a seed; all take 31 bits.
const SEED_BITS: u64 = 0x7fff_ffff;

/// The body, streamed, with the token counts asked for in the stream.
pub(super) fn body(model: &str, request: &ChatRequest) -> Value {
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| json!({"role": role(message.role), "content": message.content}))
        .collect();
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert("messages".into(), messages.into());
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({"include_usage": true}));
    body.insert("max_tokens".into(), request.max_tokens.into());
    body.insert("temperature".into(), short(request.temperature));
    body.insert("top_p".into(), short(request.top_p));
    body.insert("seed".into(), (request.seed & SEED_BITS).into());
    if request.frequency_penalty > 0.0 {
        let penalty = short(request.frequency_penalty);
        body.insert("frequency_penalty".into(), penalty);
    }
    if !request.stop.is_empty() {
        body.insert("stop".into(), json!(request.stop));
    }
    if let Some(schema) = &request.schema {
        body.insert(
            "response_format".into(),
            json!({
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": true, "schema": schema},
            }),
        );
    }
    Value::Object(body)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// 0.7 as 0.7, not as the 0.699999988079071 that it is as f64.
fn short(value: f32) -> Value {
    let value = (f64::from(value) * 1e4).round() / 1e4;
    json!(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Message;

    #[test]
    fn every_field_of_a_request_goes_out() {
        let message = |role, content: &str| Message {
            role,
            content: content.into(),
        };
        let mut request = ChatRequest::new(
            vec![
                message(Role::System, "be brief"),
                message(Role::User, "hi"),
                message(Role::Assistant, "hello"),
            ],
            64,
        );
        assert_eq!(body("m", &request).get("stop"), None);
        assert_eq!(body("m", &request).get("response_format"), None);
        request.temperature = 0.7;
        request.top_p = 0.95;
        request.frequency_penalty = 0.4;
        request.seed = u64::MAX;
        request.stop = vec!["###".into()];
        request.schema = Some(json!({"type": "object"}));
        assert_eq!(
            body("m", &request),
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": "hello"},
                ],
                "stream": true, "stream_options": {"include_usage": true},
                "max_tokens": 64, "temperature": 0.7, "top_p": 0.95, "seed": 2_147_483_647,
                "frequency_penalty": 0.4,
                "stop": ["###"],
                "response_format": {"type": "json_schema", "json_schema":
                    {"name": "answer", "strict": true, "schema": {"type": "object"}}},
            })
        );
    }
}
