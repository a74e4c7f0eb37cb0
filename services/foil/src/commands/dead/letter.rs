//! One dead letter, as it is stored.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use foil_proto::names::{header, subject};
use foil_proto::token;
use serde::Serialize;

use crate::render;

pub struct Letter {
    /// In FOIL_DEAD.
    pub sequence: u64,
    /// When the copy was stored, milliseconds since 1970.
    pub at_ms: i64,
    /// The subject of the copy: whose it is, and of which stage.
    pub filed: String,
    pub stage: String,
    pub reason: String,
    pub error: String,
    /// The original one; so are those that follow.
    pub subject: String,
    pub stream: String,
    pub stream_sequence: String,
    pub deliveries: String,
    pub message_id: Option<String>,
    pub payload: Bytes,
    all: HeaderMap,
}

/// A letter in a list.
#[derive(Debug, Serialize)]
pub struct Summary {
    sequence: u64,
    at_ms: i64,
    stage: String,
    reason: String,
    tenant: Option<String>,
    user: Option<String>,
    error: String,
    subject: String,
    stream: String,
    stream_sequence: Option<u64>,
    deliveries: Option<u64>,
}

impl Letter {
    pub fn new(message: StreamMessage) -> Self {
        let headers = message.headers;
        let get = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        let text = |name: &str| get(name).unwrap_or_default();
        let nanoseconds = message.time.unix_timestamp_nanos();
        Self {
            sequence: message.sequence,
            at_ms: i64::try_from(nanoseconds / 1_000_000).unwrap_or_default(),
            filed: message.subject.to_string(),
            stage: text(header::DEAD_STAGE),
            reason: text(header::DEAD_REASON),
            error: text(header::DEAD_ERROR),
            subject: text(header::DEAD_SUBJECT),
            stream: text(header::DEAD_STREAM),
            stream_sequence: text(header::DEAD_SEQUENCE),
            deliveries: text(header::DEAD_DELIVERIES),
            message_id: get(header::DEAD_MESSAGE_ID),
            payload: message.payload,
            all: headers,
        }
    }

    /// For a list: what is listed is shown or redriven one by one.
    pub fn without_payload(self) -> Self {
        let payload = Bytes::new();
        Self { payload, ..self }
    }

    pub fn age_ms(&self) -> i64 {
        render::now_ms().saturating_sub(self.at_ms).max(0)
    }

    /// As the original subject says; none where that is no token.
    pub fn tenant(&self) -> Option<String> {
        decoded(subject::tenant_token(&self.subject)?)
    }

    /// Likewise; only the subjects of updates, comparisons and profiles name a user.
    pub fn user(&self) -> Option<String> {
        let named = ["foil.v1.update.", "foil.v1.extract.", "foil.v1.profile."];
        let named = named.iter().any(|prefix| self.subject.starts_with(prefix));
        let user = self.subject.split('.').nth(4).filter(|_| named)?;
        decoded(user).filter(|user| !user.is_empty())
    }

    /// Every header of the copy, without those that the server adds when it is read.
    pub fn headers(&self) -> BTreeMap<String, Vec<String>> {
        let mut headers = BTreeMap::new();
        for (name, values) in self.all.iter() {
            let name = name.to_string();
            if name == header::MESSAGE_ID || !name.to_ascii_lowercase().starts_with("nats-") {
                let values = values.iter().map(|value| value.as_str().to_owned());
                headers.insert(name, values.collect());
            }
        }
        headers
    }

    /// Those the original had, but for orders to the server.
    pub fn original_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in self.all.iter() {
            let lower = name.to_string().to_ascii_lowercase();
            if lower.starts_with("nats-") || lower.starts_with("foil-dead-") {
                continue;
            }
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
        headers
    }

    pub fn summary(&self) -> Summary {
        Summary {
            sequence: self.sequence,
            at_ms: self.at_ms,
            stage: self.stage.clone(),
            reason: self.reason.clone(),
            tenant: self.tenant(),
            user: self.user(),
            error: self.error.clone(),
            subject: self.subject.clone(),
            stream: self.stream.clone(),
            stream_sequence: self.stream_sequence.parse().ok(),
            deliveries: self.deliveries.parse().ok(),
        }
    }
}

fn decoded(token: &str) -> Option<String> {
    let bytes = token::decode(token).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
