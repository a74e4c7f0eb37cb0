//! One request over HTTP: what goes out, and a bounded reading of what comes back.
//!
//! This is reqwest and not async-openai, because async-openai 0.43 logs the bodies of answers that
//! it cannot parse and of failures (users' text would reach the logs), reads error bodies, lines and
//! answers without a bound, and retries by itself.

use std::time::{Duration, Instant};

use foil_runtime::Secret;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url, redirect, retry};

use super::answer::Answer;
use super::fault::{self, Size};
use super::sse::Events;
use super::tokens;
use crate::chat::{EngineError, Finish, Usage};
use crate::relay::Output;

/// A server that takes longer to accept a connection is down or out of reach.
const CONNECT: Duration = Duration::from_secs(5);
/// An answer may have this many bytes, and [`BYTES_PER_TOKEN`] for each token asked for.
const BYTES_PER_ANSWER: usize = 64 << 10;
/// A chunk of one token is about 250 bytes; servers that add fields stay below this.
const BYTES_PER_TOKEN: usize = 2 << 10;
/// Of an error's body no more than this is read.
const ERROR_BYTES: usize = 16 << 10;
/// After the finish reason only token counts and the end marker are missing; a server that does not
/// send them does not hold the answer up for longer.
const TRAILER: Duration = Duration::from_secs(2);

/// A client that speaks to one address only: it follows no redirect and asks no proxy.
///
/// # Errors
/// [`EngineError::Invalid`] naming `api_key` when it cannot be a header.
pub(super) fn build(api_key: Option<&Secret>) -> Result<Client, EngineError> {
    // reqwest takes the process's TLS provider and panics without one. An error here means that
    // there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| EngineError::Invalid("llm.api_key: cannot stand in a header".into()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Client::builder()
        .default_headers(headers)
        .connect_timeout(CONNECT)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .build()
        .map_err(|error| EngineError::Unavailable(format!("cannot make an http client: {error}")))
}

/// One request to be sent.
pub(super) struct Call {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) body: Vec<u8>,
    pub(super) size: Size,
    pub(super) submitted: Instant,
    pub(super) queued: Duration,
}

impl Call {
    /// Sends the request and passes the answer's text to `output`. Dropping this closes the
    /// connection, which is how servers learn that nobody wants the answer any more.
    pub(super) async fn run(self, output: &Output) -> Result<(Finish, Usage), EngineError> {
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .body(self.body.clone());
        let mut response = request.send().await.map_err(|error| self.unsent(&error))?;
        if !response.status().is_success() {
            let status = response.status();
            let body = beginning(&mut response).await;
            return Err(fault::status(status, &body, self.size));
        }
        let (answer, first) = self.read(&mut response, output).await?;
        let finish = answer
            .finish
            .ok_or_else(|| EngineError::Died("the stream ended without a finish reason".into()))?;
        let counts = answer.counts.unwrap_or_default();
        let usage = Usage {
            prompt_tokens: counts.prompt_tokens.unwrap_or(self.size.prompt_tokens),
            cached_tokens: counts.cached_tokens(),
            completion_tokens: counts.completion_tokens.unwrap_or(answer.pieces),
            queued: self.queued,
            first_token: first.unwrap_or_else(|| self.submitted.elapsed()),
        };
        Ok((finish, usage))
    }

    /// Reads the stream to its end. Gives what it said, and when its first text came.
    async fn read(
        &self,
        response: &mut Response,
        output: &Output,
    ) -> Result<(Answer, Option<Duration>), EngineError> {
        let max_tokens = usize::try_from(self.size.max_tokens).unwrap_or(usize::MAX);
        let limit = max_tokens
            .saturating_mul(BYTES_PER_TOKEN)
            .saturating_add(BYTES_PER_ANSWER);
        let mut received = 0_usize;
        let mut events = Events::default();
        let mut answer = Answer::default();
        let mut first = None;
        while let Some(bytes) = next(response, answer.finish.is_some()).await? {
            received = received.saturating_add(bytes.len());
            if received > limit {
                return Err(EngineError::Unavailable(format!(
                    "the answer exceeds {limit} bytes for {max_tokens} tokens"
                )));
            }
            for event in events.feed(&bytes).map_err(not_text)? {
                let text = answer.take(&event, self.size)?;
                if !text.is_empty() {
                    first.get_or_insert_with(|| self.submitted.elapsed());
                    output.delta(text).await;
                }
            }
        }
        if let Some(event) = events.finish().map_err(not_text)? {
            output.delta(answer.take(&event, self.size)?).await;
        }
        Ok((answer, first))
    }

    /// No answer came. The URL may hold a password, so the text names host and port only.
    fn unsent(&self, error: &reqwest::Error) -> EngineError {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        EngineError::Unavailable(match error.is_connect() {
            true => format!("cannot connect to {host}:{port}"),
            false => format!("{host}:{port} closed the connection without an answer"),
        })
    }
}

/// The next bytes of the body. Once the answer is finished, a body that breaks or lingers is one
/// that ends.
async fn next(
    response: &mut Response,
    finished: bool,
) -> Result<Option<bytes::Bytes>, EngineError> {
    if finished {
        let trailer = tokio::time::timeout(TRAILER, response.chunk()).await;
        return Ok(trailer.ok().and_then(Result::ok).flatten());
    }
    response
        .chunk()
        .await
        .map_err(|_| EngineError::Died("the connection broke during the answer".into()))
}

fn not_text(_: super::sse::NotText) -> EngineError {
    EngineError::Died("the stream is not utf-8".into())
}

/// The first bytes of an error's body, as far as they come; [`fault::status`] does without them.
async fn beginning(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES {
        let chunk = tokio::time::timeout(TRAILER, response.chunk()).await;
        match chunk {
            Ok(Ok(Some(bytes))) => {
                body.extend_from_slice(&bytes[..bytes.len().min(ERROR_BYTES - body.len())])
            }
            _ => break,
        }
    }
    body
}

/// Tokens of a request's prompt by [`tokens::estimate`].
pub(super) fn prompt_tokens(messages: &[crate::chat::Message]) -> u32 {
    messages.iter().fold(tokens::PER_REQUEST, |sum, message| {
        sum.saturating_add(tokens::PER_MESSAGE)
            .saturating_add(tokens::estimate(&message.content))
    })
}
