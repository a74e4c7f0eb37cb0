//! One input stream, one output stream, the dead letters, and a stage made of a closure.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, Stream};
use async_nats::jetstream::{self, AckKind, Context as JetStream};
use foil_runtime::testing::NatsServer;
use foil_runtime::{
    BoxError, Context, Emit, Outcome, RunError, Service, Stage, StageError, StageSpec,
    WorkerConfig, run_stage,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

pub const IN: &str = "IN";
pub const OUT: &str = "OUT";
pub const DEAD: &str = "DEAD";
pub const STAGE: &str = "tester";
pub const INPUT: &str = "foil.v1.in.acme.u1";
pub const OUTPUT: &str = "foil.v1.out.acme.u1";

#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    #[prost(string, tag = "1")]
    pub text: String,
}

pub fn note(text: &str) -> Note {
    Note {
        text: text.to_owned(),
    }
}

pub fn output(text: &str) -> Emit {
    Emit::new(OUTPUT.to_owned(), &note(text))
}

type Handled = BoxFuture<'static, Result<Outcome, StageError>>;
type Kept = BoxFuture<'static, Result<bool, BoxError>>;

/// Calls the closure with the input, the context, and the number of the call from 1.
pub struct TestStage {
    pub calls: AtomicUsize,
    handler: Box<dyn Fn(Note, Context, usize) -> Handled + Send + Sync>,
    kept: Box<dyn Fn(Vec<u8>, Context) -> Kept + Send + Sync>,
}

pub fn stage<F, R>(handler: F) -> Arc<TestStage>
where
    F: Fn(Note, Context, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Outcome, StageError>> + Send + 'static,
{
    keeping(handler, async |_, _| Ok(true))
}

/// The second closure is asked before a dead letter, with the bytes and the context.
pub fn keeping<F, R, G, K>(handler: F, kept: G) -> Arc<TestStage>
where
    F: Fn(Note, Context, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Outcome, StageError>> + Send + 'static,
    G: Fn(Vec<u8>, Context) -> K + Send + Sync + 'static,
    K: Future<Output = Result<bool, BoxError>> + Send + 'static,
{
    Arc::new(TestStage {
        calls: AtomicUsize::new(0),
        handler: Box::new(move |input, cx, call| Box::pin(handler(input, cx, call))),
        kept: Box::new(move |payload, cx| Box::pin(kept(payload, cx))),
    })
}

impl TestStage {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Stage for TestStage {
    type Input = Note;

    async fn handle(&self, input: Note, cx: &Context) -> Result<Outcome, StageError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        (self.handler)(input, cx.clone(), call).await
    }

    async fn may_be_kept(&self, payload: &[u8], cx: &Context) -> Result<bool, BoxError> {
        (self.kept)(payload.to_vec(), cx.clone()).await
    }
}

pub fn spec() -> StageSpec {
    StageSpec::new(STAGE, IN)
}

/// Short waits all over.
pub fn config() -> WorkerConfig {
    WorkerConfig {
        permits: 4,
        timeout: Duration::from_secs(10),
        max_deliveries: 3,
        backoff_base: Duration::from_millis(50),
        backoff_cap: Duration::from_millis(200),
        pull_expiry: Duration::from_secs(2),
        publish_timeout: Duration::from_secs(2),
        publish_patience: Duration::from_millis(100),
    }
}

pub struct World {
    pub server: NatsServer,
    pub service: Service,
    pub jetstream: JetStream,
}

impl World {
    pub async fn new() -> Self {
        Self::with_ack_wait(Duration::from_secs(30)).await
    }

    pub async fn with_ack_wait(ack_wait: Duration) -> Self {
        let world = Self::bare(NatsServer::start(None)).await;
        world.provision(ack_wait).await;
        world
    }

    /// A server without streams.
    pub async fn bare(server: NatsServer) -> Self {
        let service = server.service(Duration::from_secs(10)).await;
        let jetstream = jetstream::new(service.nats.clone());
        Self {
            server,
            service,
            jetstream,
        }
    }

    pub async fn provision(&self, ack_wait: Duration) {
        self.stream(Config {
            name: IN.to_owned(),
            subjects: vec!["foil.v1.in.>".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            ..Config::default()
        })
        .await;
        self.stream(Config {
            name: OUT.to_owned(),
            subjects: vec!["foil.v1.out.>".to_owned()],
            discard: DiscardPolicy::New,
            allow_direct: true,
            ..Config::default()
        })
        .await;
        self.provision_dead().await;
        self.consumer(ack_wait).await;
    }

    pub async fn provision_dead(&self) {
        self.stream(Config {
            name: DEAD.to_owned(),
            subjects: vec!["foil.v1.dead.>".to_owned(), "foil.v1.event.>".to_owned()],
            ..Config::default()
        })
        .await;
    }

    pub async fn stream(&self, config: Config) -> Stream {
        let stream = self.jetstream.create_stream(config).await;
        stream.expect("the stream is made")
    }

    pub async fn consumer(&self, ack_wait: Duration) -> PullConsumer {
        let stream = self.jetstream.get_stream(IN).await.expect("IN is there");
        let config = pull::Config {
            durable_name: Some(STAGE.to_owned()),
            ack_wait,
            max_deliver: -1,
            max_ack_pending: 1000,
            ..pull::Config::default()
        };
        stream
            .create_consumer(config)
            .await
            .expect("the consumer is made")
    }

    /// Takes one input so often and gives it back, as dying processes would.
    pub async fn deliver_in_vain(&self, times: usize) {
        let consumer = self.consumer(Duration::from_secs(30)).await;
        for _ in 0..times {
            let mut batch = consumer
                .batch()
                .max_messages(1)
                .expires(Duration::from_secs(5))
                .messages()
                .await
                .expect("a batch");
            let message = batch.next().await.expect("delivered").expect("a message");
            message.ack_with(AckKind::Nak(None)).await.expect("sent");
        }
    }

    /// A second connection with a shutdown and health of its own, as another machine has.
    pub async fn another(&self) -> Service {
        self.server.service(Duration::from_secs(10)).await
    }

    pub fn run(&self, stage: &Arc<TestStage>, config: WorkerConfig) -> Running {
        run_in(&self.service, stage, spec(), config)
    }

    pub async fn send(&self, text: &str) {
        self.send_with(text, HeaderMap::new()).await;
    }

    pub async fn send_with(&self, text: &str, headers: HeaderMap) {
        let payload = prost::Message::encode_to_vec(&note(text));
        self.send_bytes(payload, headers).await;
    }

    pub async fn send_bytes(&self, payload: Vec<u8>, headers: HeaderMap) {
        let sent = self
            .jetstream
            .publish_with_headers(INPUT, headers, payload.into())
            .await;
        sent.expect("sent").await.expect("stored");
    }

    /// Messages in a stream.
    pub async fn count(&self, stream: &str) -> u64 {
        let stream = self
            .jetstream
            .get_stream(stream)
            .await
            .expect("the stream is there");
        stream.cached_info().state.messages
    }

    /// Everything in a stream, in order.
    pub async fn messages(&self, stream: &str) -> Vec<StreamMessage> {
        let stream = self
            .jetstream
            .get_stream(stream)
            .await
            .expect("the stream is there");
        let state = stream.cached_info().state.clone();
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                messages.push(message);
            }
        }
        messages
    }

    /// The texts in a stream, in order.
    pub async fn texts(&self, stream: &str) -> Vec<String> {
        let messages = self.messages(stream).await;
        messages
            .iter()
            .map(|message| text_of(&message.payload))
            .collect()
    }

    pub async fn consumer_info(&self) -> jetstream::consumer::Info {
        let consumer: PullConsumer = self
            .jetstream
            .get_consumer_from_stream(STAGE, IN)
            .await
            .expect("the consumer is there");
        consumer.cached_info().clone()
    }

    /// Until all that was published is settled.
    pub async fn settled(&self) {
        // Not the count of what is pending: it lags behind the publisher's ack.
        let stream = self.jetstream.get_stream(IN).await.expect("it is there");
        let last = stream.cached_info().state.last_sequence;
        until("everything is settled", async || {
            self.consumer_info().await.ack_floor.stream_sequence >= last
        })
        .await;
    }

    /// Stops the worker and gives its verdict.
    pub async fn stop(&self, running: Running) -> Result<(), RunError> {
        self.service.shutdown.trigger();
        ended(running).await
    }
}

pub type Running = JoinHandle<Result<(), RunError>>;

pub fn run_in(
    service: &Service,
    stage: &Arc<TestStage>,
    spec: StageSpec,
    config: WorkerConfig,
) -> Running {
    let (service, stage) = (service.clone(), stage.clone());
    tokio::spawn(async move { run_stage(stage, spec, config, &service).await })
}

pub async fn ended(running: Running) -> Result<(), RunError> {
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
    ended
        .expect("the worker ends")
        .expect("the worker does not panic")
}

pub fn text_of(payload: &[u8]) -> String {
    let note: Note = prost::Message::decode(payload).expect("a note");
    note.text
}

pub fn header<'a>(message: &'a StreamMessage, name: &str) -> &'a str {
    message.headers.get(name).map_or("", |value| value.as_str())
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < end,
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
