//! Pull requests on one inbox: asked for only as many inputs as there are free permits, several
//! requests open at once, so that the next inputs are on their way while others are settled.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Client, Message, StatusCode, Subject, Subscriber};
use futures::{FutureExt, StreamExt};

use crate::error::BoxError;

/// A request of which nothing was heard for this long after its expiry is lost.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Puller {
    client: Client,
    consumer: PullConsumer,
    expiry: Duration,
    subscriber: Subscriber,
    inbox: String,
    /// Connections so far when the inbox was opened: requests do not outlive their connection.
    connects: u64,
    next_token: u64,
    open: VecDeque<Request>,
}

struct Request {
    token: u64,
    left: usize,
    lost_at: Instant,
}

/// What came on the inbox.
pub(crate) enum Pulled {
    Input(Message),
    /// A request ended as it should.
    Expired,
    /// A request was refused, with the server's words.
    Refused(String),
    /// The inbox is gone, and the client with it.
    Closed,
}

impl Puller {
    pub(crate) async fn open(
        client: Client,
        consumer: PullConsumer,
        expiry: Duration,
    ) -> Result<Self, BoxError> {
        let connects = connects(&client);
        let (inbox, subscriber) = inbox(&client).await?;
        Ok(Self {
            client,
            consumer,
            expiry,
            subscriber,
            inbox,
            connects,
            next_token: 0,
            open: VecDeque::new(),
        })
    }

    /// Inputs that were asked for and may still come.
    pub(crate) fn reserved(&self) -> usize {
        self.open.iter().map(|request| request.left).sum()
    }

    pub(crate) async fn request(&mut self, count: usize) -> Result<(), BoxError> {
        // A consumer may have limits of its own, and refuses what is beyond.
        let limits = &self.consumer.cached_info().config;
        let most = usize::try_from(limits.max_batch).unwrap_or(0);
        let count = if most > 0 { count.min(most) } else { count };
        let expiry = match limits.max_expires {
            Duration::ZERO => self.expiry,
            longest => self.expiry.min(longest),
        };
        let token = self.next_token;
        self.next_token += 1;
        let batch = BatchConfig {
            batch: count,
            expires: Some(expiry),
            ..BatchConfig::default()
        };
        let inbox = Subject::from(format!("{}.{token}", self.inbox));
        self.consumer.request_batch(batch, inbox).await?;
        self.open.push_back(Request {
            token,
            left: count,
            lost_at: Instant::now() + expiry + GRACE,
        });
        Ok(())
    }

    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Pulled {
        loop {
            let Some(message) = self.subscriber.next().await else {
                return Pulled::Closed;
            };
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.count_input();
                    return Pulled::Input(message);
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                    self.forget(&message.subject);
                    return Pulled::Expired;
                }
                Some(status) => {
                    self.forget(&message.subject);
                    let words = message.description.unwrap_or_default();
                    return Pulled::Refused(format!("{status} {words}"));
                }
            }
        }
    }

    /// Inputs carry no token; the server serves the oldest request first.
    fn count_input(&mut self) {
        if let Some(oldest) = self.open.iter_mut().find(|request| request.left > 0) {
            oldest.left -= 1;
        }
        self.open.retain(|request| request.left > 0);
    }

    fn forget(&mut self, inbox: &Subject) {
        let token = inbox
            .rsplit('.')
            .next()
            .and_then(|token| token.parse().ok());
        self.open.retain(|request| Some(request.token) != token);
    }

    /// Gives up requests that can bring nothing any more. Inputs that had come before are returned.
    ///
    /// After a reconnect the server may or may not know the old requests; on a fresh inbox the old
    /// ones are without interest, so no more can come than was asked for.
    pub(crate) async fn maintain(&mut self) -> Result<Vec<Message>, BoxError> {
        let now = Instant::now();
        self.open.retain(|request| request.lost_at > now);
        let connects = connects(&self.client);
        if connects == self.connects {
            return Ok(Vec::new());
        }
        self.connects = connects;
        let mut old = self.renew().await?;
        let mut inputs = Vec::new();
        while let Some(Some(message)) = old.next().now_or_never() {
            if message.status.is_none() {
                inputs.push(message);
            }
        }
        Ok(inputs)
    }

    /// A fresh inbox without requests; gives the old one.
    async fn renew(&mut self) -> Result<Subscriber, BoxError> {
        let (inbox, subscriber) = inbox(&self.client).await?;
        self.inbox = inbox;
        self.open.clear();
        Ok(std::mem::replace(&mut self.subscriber, subscriber))
    }

    /// Withdraws the requests. Inputs that were on their way are returned, to be given back: else
    /// they would wait out the ack wait.
    pub(crate) async fn withdraw(&mut self, limit: Duration) -> Result<Vec<Message>, BoxError> {
        if self.reserved() == 0 {
            return Ok(Vec::new());
        }
        Ok(drain(self.renew().await?, limit).await)
    }

    /// The same, for good.
    pub(crate) async fn close(self, limit: Duration) -> Vec<Message> {
        if self.reserved() == 0 {
            return Vec::new();
        }
        drain(self.subscriber, limit).await
    }
}

async fn drain(mut subscriber: Subscriber, limit: Duration) -> Vec<Message> {
    let mut inputs = Vec::new();
    if subscriber.drain().await.is_err() {
        return inputs;
    }
    let end = tokio::time::Instant::now() + limit;
    while let Ok(Some(message)) = tokio::time::timeout_at(end, subscriber.next()).await {
        if message.status.is_none() {
            inputs.push(message);
        }
    }
    inputs
}

async fn inbox(client: &Client) -> Result<(String, Subscriber), BoxError> {
    let inbox = client.new_inbox();
    let subscriber = client.subscribe(format!("{inbox}.*")).await?;
    Ok((inbox, subscriber))
}

fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
