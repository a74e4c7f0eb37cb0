//! The adapter for any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp's
//! server, mistralrs-server.
//!
//! Each request runs in a task of its own with a deadline that covers waiting, connecting and the
//! whole answer; nothing is retried here, since the callers' messages are delivered again. How many
//! run and wait is bounded, and so are the bytes of an answer. Dropping the stream closes the
//! connection. No call leaves `base_url`: redirects are not followed and proxies not asked.

use std::time::{Duration, Instant};

use foil_runtime::Secret;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::{Client, Url};

use crate::chat::{ChatRequest, ChatStream, EngineError, LanguageModel, ModelInfo};
use crate::config::EngineConfig;
use crate::relay::{self, Gate};

mod answer;
mod client;
mod fault;
mod request;
mod sse;
mod tokens;

/// No vocabulary in use has tokens of this many bytes on average: a prompt longer than the context
/// at this rate is refused without sending it.
const MAX_BYTES_PER_TOKEN: usize = 16;

/// A served model.
pub struct OpenAi {
    info: ModelInfo,
    url: Url,
    client: Client,
    gate: Gate,
    deadline: Duration,
}

impl OpenAi {
    /// Makes a client; the server is not called before the first request. Reads `api_key_file`.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] naming the field of the configuration that cannot be used.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let base_url = config
            .base_url
            .as_deref()
            .ok_or_else(|| EngineError::Invalid("llm.base_url: is missing".into()))?;
        Ok(Self {
            info: ModelInfo {
                provider: "openai",
                model: config.model.clone(),
                context_tokens: config.context_tokens,
            },
            url: endpoint(base_url)?,
            client: client::build(api_key(config)?.as_ref())?,
            gate: Gate::new(config.parallel, config.queue),
            deadline: config.timeout,
        })
    }

    fn submit(&self, request: &ChatRequest) -> Result<ChatStream, EngineError> {
        let submitted = Instant::now();
        request.check()?;
        let size = fault::Size {
            prompt_tokens: client::prompt_tokens(&request.messages),
            max_tokens: request.max_tokens,
            context_tokens: self.info.context_tokens,
        };
        let bytes: usize = request
            .messages
            .iter()
            .map(|message| message.content.len())
            .sum();
        if bytes / MAX_BYTES_PER_TOKEN > self.info.context_tokens as usize
            || request.max_tokens >= self.info.context_tokens
        {
            return Err(size.too_long());
        }
        let body = serde_json::to_vec(&request::body(&self.info.model, request))
            .map_err(|error| EngineError::Invalid(format!("request cannot be sent: {error}")))?;
        let place = self.gate.enter()?;
        let client = self.client.clone();
        let url = self.url.clone();
        let capacity = request.max_tokens as usize;
        Ok(relay::spawn(
            capacity,
            self.deadline,
            move |output| async move {
                let turn = place.turn().await?;
                let call = client::Call {
                    client,
                    url,
                    body,
                    size,
                    submitted,
                    queued: turn.queued,
                };
                call.run(&output).await
            },
        ))
    }
}

impl LanguageModel for OpenAi {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// An estimate that is not below the truth for ordinary text; the server's tokenizer is not here.
    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        Ok(tokens::estimate(text))
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        messages
            .saturating_mul(tokens::PER_MESSAGE)
            .saturating_add(tokens::PER_REQUEST)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        std::future::ready(self.submit(&request)).boxed()
    }
}

/// The key of the configuration, from its file where it names one.
fn api_key(config: &EngineConfig) -> Result<Option<Secret>, EngineError> {
    let Some(path) = &config.api_key_file else {
        return Ok(config.api_key.clone());
    };
    let key = std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        EngineError::Invalid(format!("llm.api_key_file: cannot read {path}: {error}"))
    })?;
    Ok(Some(Secret::new(key.trim())))
}

/// `base_url` with `chat/completions` added to its path.
fn endpoint(base_url: &str) -> Result<Url, EngineError> {
    let fault = |cause: &str| EngineError::Invalid(format!("llm.base_url: {cause}"));
    let mut url = Url::parse(base_url).map_err(|error| fault(&format!("is no url: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fault("must start with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault("must have neither ? nor #"));
    }
    url.path_segments_mut()
        .map_err(|()| fault("must have a path, such as /v1"))?
        .pop_if_empty()
        .extend(["chat", "completions"]);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_keeps_the_path_of_base_url() {
        for (base, expected) in [
            ("http://h:8000/v1", "http://h:8000/v1/chat/completions"),
            ("http://h:8000/v1/", "http://h:8000/v1/chat/completions"),
            ("https://h", "https://h/chat/completions"),
            ("https://h/a/b/v1", "https://h/a/b/v1/chat/completions"),
        ] {
            assert_eq!(endpoint(base).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_base_url_that_cannot_work_is_named() {
        for base in [
            "",
            "h:8000",
            "localhost:8000/v1",
            "ftp://h/v1",
            "http://h/v1?x=1",
            "file:///x",
        ] {
            let error = endpoint(base).unwrap_err().to_string();
            assert!(error.contains("llm.base_url: "), "{base}: {error}");
        }
    }

    #[test]
    fn token_estimates_err_upwards() {
        for (text, at_least) in [
            ("", 0),
            ("a", 1),
            ("The food was good, the service was not!", 10),
            ("2024-01-31", 10),
            ("naïve café", 4),
            ("写真はきれい", 6),
            ("🙂🙂", 4),
        ] {
            let estimate = tokens::estimate(text);
            assert!(estimate >= at_least, "{text}: {estimate}");
            assert!(
                estimate as usize <= text.len().max(1),
                "never more than bytes: {text}"
            );
        }
    }
}
