//! Any server that speaks OpenAI's embeddings. Nothing is retried here, since messages are delivered
//! again; no redirect is followed and no proxy asked.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url, redirect, retry};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::EmbedConfig;
use crate::embed::{EmbedError, TextEmbedder, normalised};
use crate::metrics::EngineLabels;

/// As in telemetry.
pub(crate) const ENGINE: &str = "openai";
const CONNECT: Duration = Duration::from_secs(5);
/// A number in JSON, with its comma and generous white space.
const BYTES_PER_NUMBER: usize = 32;
const BYTES_PER_ANSWER: usize = 64 << 10;
/// Of ordinary text; the server cuts further, or refuses.
const BYTES_PER_TOKEN: usize = 4;

/// A served embedding model.
pub struct OpenAiEmbedder {
    client: Client,
    url: Url,
    model: String,
    labels: EngineLabels,
    dimension: usize,
    text_bytes: usize,
    places: Semaphore,
    queue: usize,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
    #[serde(default)]
    usage: Usage,
}

/// Not every server tells.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: usize,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    embedding: Vec<f32>,
}

impl OpenAiEmbedder {
    /// Makes a client; the server is not called before the first request. Reads `api_key_file`.
    ///
    /// # Errors
    /// [`EmbedError::Invalid`] names the key of the configuration.
    pub fn new(config: &EmbedConfig) -> Result<Self, EmbedError> {
        let base_url = config.base_url.as_deref().unwrap_or_default();
        Ok(Self {
            client: client(config)?,
            url: endpoint(base_url)?,
            model: config.model.clone(),
            labels: EngineLabels::new(ENGINE, &config.model),
            dimension: config.dimension as usize,
            text_bytes: config.max_tokens as usize * BYTES_PER_TOKEN,
            places: Semaphore::new(config.queue),
            queue: config.queue,
            timeout: config.timeout,
        })
    }

    async fn request(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let body = serde_json::json!({
            "model": self.model, "input": texts, "encoding_format": "float",
        });
        let request = self.client.post(self.url.clone()).json(&body);
        // The error's own text may hold the URL, and that a password.
        let unsent = |_| EmbedError::Unavailable("no answer from the server".into());
        let mut response = request.send().await.map_err(unsent)?;
        let status = response.status();
        if !status.is_success() {
            return Err(EmbedError::Unavailable(format!("status {status}")));
        }
        let limit = BYTES_PER_ANSWER + texts.len() * self.dimension * BYTES_PER_NUMBER;
        let mut bytes = Vec::new();
        let broken = |_| EmbedError::Unavailable("the connection broke".into());
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > limit {
                return Err(EmbedError::BadOutput(format!("above {limit} bytes")));
            }
        }
        let bad = |_| EmbedError::BadOutput("not the JSON of embeddings".into());
        let answer: Answer = serde_json::from_slice(&bytes).map_err(bad)?;
        self.labels.request(texts.len(), answer.usage.prompt_tokens);
        self.in_order(answer, texts.len())
    }

    fn in_order(&self, mut answer: Answer, count: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
        answer.data.sort_by_key(|entry| entry.index);
        let indices = answer.data.iter().map(|entry| entry.index);
        if !indices.eq(0..count) {
            let came = answer.data.len();
            let problem = format!("{came} vectors for {count} texts, or not theirs");
            return Err(EmbedError::BadOutput(problem));
        }
        let vectors = answer.data.into_iter().map(|entry| entry.embedding);
        vectors.map(|v| normalised(v, self.dimension)).collect()
    }
}

impl TextEmbedder for OpenAiEmbedder {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            if texts.is_empty() {
                return Ok(Vec::new());
            }
            let busy = |_| EmbedError::Busy { limit: self.queue };
            let _place = self.places.try_acquire().map_err(busy)?;
            let texts = texts.iter().map(|text| cut(text, self.text_bytes));
            let texts: Vec<&str> = texts.collect();
            let answer = tokio::time::timeout(self.timeout, self.request(&texts)).await;
            answer.unwrap_or(Err(EmbedError::Timeout))
        })
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn client(config: &EmbedConfig) -> Result<Client, EmbedError> {
    // reqwest panics without one.
    foil_runtime::install_tls_provider();
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key(config)? {
        let bad = |_| EmbedError::Invalid("embed.api_key: cannot stand in a header".into());
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(bad)?;
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
        .map_err(|error| EmbedError::Unavailable(format!("cannot make an http client: {error}")))
}

fn api_key(config: &EmbedConfig) -> Result<Option<String>, EmbedError> {
    let Some(path) = &config.api_key_file else {
        return Ok(config.api_key.as_ref().map(|key| key.expose().to_owned()));
    };
    let key = std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        EmbedError::Invalid(format!("embed.api_key_file: cannot read {path}: {error}"))
    })?;
    Ok(Some(key.trim().to_owned()))
}

/// `base_url` with `embeddings` added to its path.
fn endpoint(base_url: &str) -> Result<Url, EmbedError> {
    let bad = || EmbedError::Invalid("embed.base_url: is no http:// or https:// address".into());
    let mut url = Url::parse(base_url).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    let mut path = url.path_segments_mut().map_err(|()| bad())?;
    path.pop_if_empty().push("embeddings");
    drop(path);
    Ok(url)
}
