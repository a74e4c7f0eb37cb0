//! Key-value buckets with compare-and-swap, markers and a time to live for each key, over plain
//! JetStream calls: they need no look at the bucket first, so a worker needs no right to it.

use std::time::{Duration, SystemTime};

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind, Stream};
use bytes::Bytes;
use foil_proto::names::header;

use crate::StoreError;
use crate::wipe::{next_at_leader, overwrite};

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
    /// The number that a marker was given; 0: none.
    pub(crate) number: u64,
}

impl Entry {
    fn of(message: StreamMessage) -> Self {
        let headers = &message.headers;
        let marker = headers.get(OPERATION).is_some_and(|o| o.as_str() != "PUT")
            || headers.get("Nats-Marker-Reason").is_some();
        let number = headers.get(header::LAST_VERSION);
        Self {
            revision: message.sequence,
            created: message.time.into(),
            number: number.and_then(|n| n.as_str().parse().ok()).unwrap_or(0),
            value: (!marker).then_some(message.payload),
        }
    }
}

/// What became of a write.
pub(crate) enum Put {
    /// As this revision.
    Stored(u64),
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

    fn what(&self) -> String {
        format!("bucket {}", self.name)
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
        Ok(Some(Entry::of(message)))
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

    /// The same as the stream's leader has it, which lags behind no write.
    pub(crate) async fn all(&self, key: &str, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let stream = self.stream().await?;
        let subject = self.subject(key);
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < limit {
            let from = entries.last().map_or(1, |entry| entry.revision + 1);
            let what = self.what();
            let next = next_at_leader(&stream, &what, &subject, from);
            match self.bounded("read", next).await? {
                Some(message) => entries.push(Entry::of(message)),
                None => break,
            }
        }
        Ok(entries)
    }

    /// The first message at or after `from` of a key that begins with `prefix` and a dot, with its
    /// key. Markers are messages too: who puts one must not take it for the next key.
    pub(crate) async fn next_entry(
        &self,
        prefix: &str,
        from: u64,
    ) -> Result<Option<(String, Entry)>, StoreError> {
        let stream = self.stream().await?;
        let below = self.subject(&format!("{prefix}.>"));
        let what = self.what();
        let next = next_at_leader(&stream, &what, &below, from);
        let found = self.bounded("read", next).await?;
        Ok(found.map(|message| {
            let key = message.subject.strip_prefix(&self.subject(""));
            let key = key.unwrap_or_default().to_owned();
            (key, Entry::of(message))
        }))
    }

    /// Removes one message of a key's history, its bytes overwritten.
    pub(crate) async fn remove(&self, revision: u64) -> Result<(), StoreError> {
        let stream = self.stream().await?;
        let removed = self.bounded("delete", overwrite(&stream, revision));
        removed.await.map(drop)
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

    /// Removes a key. What was there stays in the files of the server until they are rewritten, so
    /// this is for values without a user's text; others go by [`Bucket::mark`] and
    /// [`Bucket::remove`].
    pub(crate) async fn purge(&self, key: &str, ttl: Duration) -> Result<(), StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, PURGE);
        headers.insert(async_nats::header::NATS_ROLLUP, "sub");
        headers.insert(async_nats::header::NATS_MESSAGE_TTL, seconds(ttl));
        self.publish(key, headers, Bytes::new()).await.map(drop)
    }

    /// Puts a marker on top of a key's history, which says that nothing is there; if `expected` is
    /// given, only while that is the newest message (0: none was ever written). It refuses every
    /// write that expects an older state, until `ttl` is over; none: for good. `number` is kept on it.
    pub(crate) async fn mark(
        &self,
        key: &str,
        expected: Option<u64>,
        number: u64,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, PURGE);
        if number > 0 {
            headers.insert(header::LAST_VERSION, HeaderValue::from(number));
        }
        if let Some(ttl) = ttl {
            headers.insert(async_nats::header::NATS_MESSAGE_TTL, seconds(ttl));
        }
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
                Ok(ack) => Ok(Put::Stored(ack.sequence)),
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
