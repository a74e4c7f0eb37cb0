//! The stub's routes.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::stream;
use serde_json::{Value, json};

use super::reply::{Answer, Step, embedding, prompt_tokens, tokens};
use super::{Mode, Recorded, Shared};

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .with_state(shared)
}

/// Counts a request while it is answered, and as a disconnect when the answer is dropped unfinished.
struct Flight {
    shared: Arc<Shared>,
    finished: bool,
}

impl Flight {
    fn new(shared: &Arc<Shared>) -> Self {
        let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.max_in_flight.fetch_max(now, Ordering::SeqCst);
        Self {
            shared: Arc::clone(shared),
            finished: false,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.finished {
            self.shared.disconnects.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let mut flight = Flight::new(&shared);
    let mode = shared.mode();
    let request = match gate(&shared, mode, &headers, &body).await {
        Ok(request) => request,
        Err(response) => {
            flight.finished = true;
            return response;
        }
    };
    let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < shared.config.kept {
        kept.push(request.clone());
    }
    drop(kept);
    if let Some(refusal) = too_long(&shared, &request) {
        flight.finished = true;
        return refusal;
    }
    let answer = Answer::new(&shared.config, &request);
    if request["stream"] != true {
        flight.finished = true;
        return Json(answer.whole()).into_response();
    }
    let steps = answer.steps(mode, shared.config.usage);
    let body = Body::from_stream(stream::unfold((steps, flight), play));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Records the request and does what the mode does before any answer.
async fn gate(
    shared: &Shared,
    mode: Mode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, Response> {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return Err(refusal(400, "invalid_json", "the body is not JSON"));
    };
    *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = Recorded {
        authorization: headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned),
        body: request.clone(),
    };
    tokio::time::sleep(shared.config.latency).await;
    match mode {
        Mode::Hang => std::future::pending().await,
        Mode::Status(status) => Err(refusal(status, "stub", "the stub was told to fail")),
        _ => Ok(request),
    }
}

fn too_long(shared: &Shared, request: &Value) -> Option<Response> {
    let prompt = prompt_tokens(request);
    let answer = request["max_tokens"].as_u64().unwrap_or(0);
    let context = u64::from(shared.config.context_tokens);
    (prompt as u64 + answer > context).then(|| {
        let message = format!(
            "This model's maximum context length is {context} tokens. However, you requested \
             {} tokens ({prompt} in the messages, {answer} in the completion).",
            prompt as u64 + answer
        );
        refusal(400, "context_length_exceeded", &message)
    })
}

fn refusal(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": code,
    }});
    // A client that followed this would call here again, and be counted twice.
    let location = [(header::LOCATION, "/v1/chat/completions")];
    match status.is_redirection() {
        true => (status, location, Json(error)).into_response(),
        false => (status, Json(error)).into_response(),
    }
}

type Play = (Box<dyn Iterator<Item = Step> + Send>, Flight);

/// Does the steps of an answer until there is something to send.
async fn play((mut steps, mut flight): Play) -> Option<(io::Result<Bytes>, Play)> {
    loop {
        match steps.next() {
            Some(Step::Send(text)) => return Some((Ok(text.into()), (steps, flight))),
            Some(Step::Wait(pause)) => tokio::time::sleep(pause).await,
            Some(Step::Stall) => std::future::pending::<()>().await,
            Some(Step::Cut) => {
                flight.finished = true;
                let broken = io::Error::from(io::ErrorKind::ConnectionAborted);
                return Some((Err(broken), (steps, flight)));
            }
            Some(Step::Die) => {
                flight.finished = true;
                flight.shared.kill();
                std::future::pending::<()>().await;
            }
            None => {
                flight.finished = true;
                return None;
            }
        }
    }
}

async fn embeddings(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.embedding_calls.fetch_add(1, Ordering::SeqCst);
    let mode = shared.mode();
    let request = match gate(&shared, mode, &headers, &body).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let inputs: Vec<&str> = match &request["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) if texts.iter().all(Value::is_string) => {
            texts.iter().filter_map(Value::as_str).collect()
        }
        _ => {
            return refusal(
                400,
                "invalid_input",
                "input must be a text or a list of texts",
            );
        }
    };
    let broken = || stream::iter([Err::<Bytes, _>(io::Error::from(io::ErrorKind::Other))]);
    match mode {
        Mode::Slow(pause) => tokio::time::sleep(pause).await,
        Mode::InvalidJson => return "{not json".into_response(),
        Mode::EndEarly => return "{\"object\":\"list\",\"data\":[".into_response(),
        Mode::CutMidStream => return Body::from_stream(broken()).into_response(),
        Mode::Stall => {
            return Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
                .into_response();
        }
        Mode::Die => {
            shared.kill();
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let total: usize = inputs.iter().map(|text| tokens(text).len()).sum();
    let data = inputs.iter().enumerate().map(|(index, text)| {
        let vector = embedding(text, shared.config.dimensions);
        json!({"object": "embedding", "index": index, "embedding": vector})
    });
    Json(json!({
        "object": "list", "model": shared.config.model, "data": data.collect::<Vec<_>>(),
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }))
    .into_response()
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let model = json!({
        "id": shared.config.model, "object": "model", "created": 0, "owned_by": "stub",
        "max_model_len": shared.config.context_tokens,
    });
    Json(json!({"object": "list", "data": [model]})).into_response()
}
