//! Key-value buckets with compare-and-swap, markers and a time to live for each key, over plain
//! JetStream calls: they need no look at the bucket first, so a worker needs no right to it.

use std::time::{Duration, SystemTime};

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind, Stream};
use bytes::Bytes;

use crate::StoreError;

const OPERATION: &str = "KV-Operation";
const PURGE: &str = "PURGE";

/// One bucket.
pub(crate) struct Bucket {
    name: &'static str,
    context: Context,
    timeout: Duration,
}

/// The newest message of a key.
pub(crate) struct Entry {
    pub(crate) revision: u64,
    pub(crate) created: SystemTime,
    /// None: the key was removed, and this marker stands for it.
    pub(crate) value: Option<Bytes>,
}

/// What became of a write.
pub(crate) enum Put {
    Stored,
    /// The key has another revision than the one expected.
    Conflict,
}

impl Bucket {
    pub(crate) fn new(name: &'static str, context: Context, timeout: Duration) -> Self {
        Self {
            name,
            context,
            timeout,
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    async fn stream(&self) -> Result<Stream<()>, StoreError> {
        let name = format!("KV_{}", self.name);
        let stream = self.context.get_stream_no_info(name).await;
        stream.map_err(|error| self.unavailable("read", error))
    }

    fn unavailable(&self, operation: &'static str, error: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable {
            operation,
            cause: format!("bucket {}: {error}", self.name),
        }
    }

    async fn bounded<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(operation, "no answer in time")),
        }
    }

    fn read(
        &self,
        answer: Result<StreamMessage, DirectGetError>,
    ) -> Result<Option<Entry>, StoreError> {
        let message = match answer {
            Ok(message) => message,
            Err(error) => {
                return match error.kind() {
                    DirectGetErrorKind::NotFound => Ok(None),
                    _ => Err(self.unavailable("read", error)),
                };
            }
        };
        let marker = message
            .headers
            .get(OPERATION)
            .is_some_and(|o| o.as_str() != "PUT")
            || message.headers.get("Nats-Marker-Reason").is_some();
        Ok(Some(Entry {
            revision: message.sequence,
            created: message.time.into(),
            value: (!marker).then_some(message.payload),
        }))
    }

    /// The newest message of a key; none where nothing was ever written.
    pub(crate) async fn last(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let stream = self.stream().await?;
        let subject = self.subject(key);
        self.bounded("read", async {
            self.read(stream.direct_get_last_for_subject(subject).await)
        })
        .await
    }

    /// All messages of a key that are kept, oldest first, at most `limit`.
    pub(crate) async fn history(&self, key: &str, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let stream = self.stream().await?;
        let subject = self.subject(key);
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < limit {
            let from = entries.last().map_or(1, |entry| entry.revision + 1);
            let next = self.bounded("read", async {
                let next = stream.direct_get_next_for_subject(&subject, Some(from));
                self.read(next.await)
            });
            match next.await? {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
        Ok(entries)
    }

    /// Writes a value if the key's newest message is `expected`; 0: none was ever written.
    pub(crate) async fn put(
        &self,
        key: &str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(expected),
        );
        if let Some(ttl) = ttl {
            headers.insert(async_nats::header::NATS_MESSAGE_TTL, seconds(ttl));
        }
        self.publish(key, headers, value).await
    }

    /// Removes a key with its history; if `expected` is given, only while that is its newest message
    /// (0: none was ever written). A marker stands for it until `ttl` is over, also where nothing
    /// was: it refuses every write that expects an older state.
    pub(crate) async fn purge(
        &self,
        key: &str,
        expected: Option<u64>,
        ttl: Duration,
    ) -> Result<Put, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, PURGE);
        headers.insert(async_nats::header::NATS_ROLLUP, "sub");
        headers.insert(async_nats::header::NATS_MESSAGE_TTL, seconds(ttl));
        if let Some(expected) = expected {
            headers.insert(
                async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
                HeaderValue::from(expected),
            );
        }
        self.publish(key, headers, Bytes::new()).await
    }

    async fn publish(
        &self,
        key: &str,
        headers: HeaderMap,
        value: Bytes,
    ) -> Result<Put, StoreError> {
        let subject = self.subject(key);
        let stored = self.bounded("write", async {
            let sent = self.context.publish_with_headers(subject, headers, value);
            let acked = match sent.await {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match acked {
                Ok(_) => Ok(Put::Stored),
                Err(error) => match error.kind() {
                    PublishErrorKind::WrongLastSequence => Ok(Put::Conflict),
                    PublishErrorKind::StreamNotFound => Err(StoreError::NotProvisioned {
                        what: format!("bucket {}", self.name),
                    }),
                    PublishErrorKind::MaxPayloadExceeded => Err(StoreError::Invalid {
                        field: "value",
                        problem: "is larger than the server takes".to_owned(),
                    }),
                    _ => Err(self.unavailable("write", error)),
                },
            }
        });
        stored.await
    }
}

/// The server counts in whole seconds.
fn seconds(ttl: Duration) -> HeaderValue {
    HeaderValue::from(ttl.as_secs().max(1))
}
