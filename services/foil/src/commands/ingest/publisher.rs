//! Publishing with a bounded window of unacked updates.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use async_nats::HeaderMap;
use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use foil_proto::names::{header, subject};
use foil_proto::v1::update::Change;
use foil_proto::{check, v1};
use foil_runtime::telemetry;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// Updates awaiting their acks.
const UNACKED_MAX: usize = 256;
/// How long one update is tried.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// An update as it goes out, kept until it is stored.
struct Sent {
    /// Where it came from, for a person.
    place: String,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    ack: Result<PublishAckFuture, PublishError>,
}

/// Publishes in order.
pub struct Publisher {
    jetstream: JetStream,
    unacked: VecDeque<Sent>,
    stored: u64,
    duplicates: u64,
    patience: Duration,
}

impl Publisher {
    pub fn new(jetstream: JetStream) -> Self {
        Self {
            jetstream,
            unacked: VecDeque::new(),
            stored: 0,
            duplicates: 0,
            patience: PATIENCE,
        }
    }

    /// Stored for the first time, and found stored already.
    pub fn counts(&self) -> (u64, u64) {
        (self.stored, self.duplicates)
    }

    /// Sends one update; waits for older ones when too many are on their way.
    ///
    /// # Errors
    /// When an update is not stored for a minute.
    pub async fn publish(
        &mut self,
        update: &v1::Update,
        place: impl FnOnce() -> String,
    ) -> Result<()> {
        // An erasure works on what stands before it: it must not change places with its neighbours.
        let erases = matches!(update.change, Some(Change::UserErase(_)));
        if erases {
            self.drain().await?;
        }
        while self.unacked.len() >= UNACKED_MAX {
            self.settle_first().await?;
        }
        let payload = Bytes::from(update.encode_to_vec());
        let subject = subject::update(&update.tenant, check::user_of(update));
        let headers = headers(update, &payload);
        let ack = self.send(&subject, &headers, &payload).await;
        self.unacked.push_back(Sent {
            place: place(),
            subject,
            headers,
            payload,
            ack,
        });
        if erases { self.drain().await } else { Ok(()) }
    }

    /// Waits until everything sent is stored.
    ///
    /// # Errors
    /// When an update is not stored for a minute; those after it are not looked at then.
    pub async fn drain(&mut self) -> Result<()> {
        while !self.unacked.is_empty() {
            self.settle_first().await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        subject: &str,
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Result<PublishAckFuture, PublishError> {
        let message = PublishMessage::build()
            .headers(headers.clone())
            .payload(payload.clone());
        self.jetstream
            .send_publish(subject.to_owned(), message)
            .await
    }

    async fn settle_first(&mut self) -> Result<()> {
        let Some(sent) = self.unacked.pop_front() else {
            return Ok(());
        };
        let ack = match self.settle(sent).await {
            Ok(ack) => ack,
            Err(error) => {
                // The server is away: every other one would be waited for as long.
                self.unacked.clear();
                return Err(error);
            }
        };
        if ack.duplicate {
            self.duplicates += 1;
        } else {
            self.stored += 1;
        }
        Ok(())
    }

    async fn settle(&self, sent: Sent) -> Result<PublishAck> {
        let end = Instant::now() + self.patience;
        let mut pause = PAUSE_FIRST;
        let mut attempt = sent.ack;
        loop {
            let result = match attempt {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(ack) => return Ok(ack),
                Err(error) => error,
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || error.kind() == PublishErrorKind::MaxPayloadExceeded {
                let place = &sent.place;
                let hint = match error.kind() {
                    PublishErrorKind::TimedOut => {
                        "; a nats-server that cannot write gives no answer: see its log and its disk"
                    }
                    _ => "",
                };
                let context = format!("{place} and later lines may not be stored{hint}");
                return Err(anyhow!(error).context(context));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
            attempt = self.send(&sent.subject, &sent.headers, &sent.payload).await;
        }
    }
}

/// The same message has the same id in every run, so that a second run soon after the first stores
/// nothing twice. Not so an erasure: the same one may be meant again, after new records.
fn headers(update: &v1::Update, payload: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !matches!(update.change, Some(Change::UserErase(_))) {
        let digest = Sha256::digest(payload);
        let mut id = String::from("ingest.");
        for byte in &digest[..16] {
            id.push_str(&format!("{byte:02x}"));
        }
        headers.insert(header::MESSAGE_ID, id);
    }
    let span = tracing::info_span!(
        parent: None,
        "publish update",
        otel.kind = "producer",
        messaging.system = "nats",
        messaging.operation.type = "send",
        messaging.destination.name = "foil.v1.update",
    );
    span.in_scope(|| telemetry::inject(&mut headers));
    headers
}
