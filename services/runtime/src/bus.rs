//! What the runtime costs: a no-op stage against a bare loop that pulls and double-acks, over the
//! same messages on the same server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context as JetStream};
use futures::StreamExt;

use crate::config::WorkerConfig;
use crate::error::{BoxError, StageError};
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::stage::{Context, Outcome, Stage};
use crate::worker::{StageSpec, run_stage};

const STREAM: &str = "FOIL_BENCH_BUS";
const SUBJECT: &str = "foil.v1.bench.bus";
const STAGE: &str = "bench";
const ROUNDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// Messages per second of each.
#[derive(Clone, Copy, Debug)]
pub struct BusReport {
    pub raw_per_second: f64,
    pub stage_per_second: f64,
}

impl BusReport {
    /// The stage's rate by the bare loop's; 1 is no overhead.
    pub fn ratio(&self) -> f64 {
        self.stage_per_second / self.raw_per_second
    }
}

/// Measures both over `messages` messages, `concurrency` at work at once, in a memory stream made
/// for it, and repeats that in turn: the best of each side is what it can do when nothing else
/// wants the processor. The service's user must be allowed to make streams.
///
/// # Errors
/// When the server refuses, or the messages are not through within two minutes.
pub async fn measure(
    service: &Service,
    messages: usize,
    concurrency: usize,
) -> Result<BusReport, BoxError> {
    let jetstream = jetstream::new(service.nats.clone());
    let mut report = BusReport {
        raw_per_second: 0.0,
        stage_per_second: 0.0,
    };
    for _ in 0..ROUNDS {
        let consumer = fill(&jetstream, messages, concurrency).await?;
        let raw = timed(messages, raw_loop(&consumer, messages, concurrency)).await?;
        fill(&jetstream, messages, concurrency).await?;
        let stage = timed(messages, stage_loop(service, messages, concurrency)).await?;
        report.raw_per_second = report.raw_per_second.max(raw);
        report.stage_per_second = report.stage_per_second.max(stage);
    }
    jetstream.delete_stream(STREAM).await?;
    Ok(report)
}

async fn timed(
    messages: usize,
    work: impl Future<Output = Result<(), BoxError>>,
) -> Result<f64, BoxError> {
    let started = Instant::now();
    tokio::time::timeout(PATIENCE, work).await??;
    Ok(messages as f64 / started.elapsed().as_secs_f64())
}

async fn fill(
    jetstream: &JetStream,
    messages: usize,
    concurrency: usize,
) -> Result<PullConsumer, BoxError> {
    // Absent on the first call.
    jetstream.delete_stream(STREAM).await.ok();
    let stream = jetstream
        .create_stream(Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECT.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::Memory,
            ..Config::default()
        })
        .await?;
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some(STAGE.to_owned()),
            ack_wait: Duration::from_secs(30),
            max_deliver: -1,
            max_ack_pending: i64::try_from(concurrency * 4)?,
            ..pull::Config::default()
        })
        .await?;
    let mut acks = Vec::new();
    for _ in 0..messages {
        acks.push(jetstream.publish(SUBJECT, "".into()).await?);
        if acks.len() >= 256 {
            for ack in acks.drain(..) {
                ack.await?;
            }
        }
    }
    for ack in acks {
        ack.await?;
    }
    Ok(consumer)
}

async fn raw_loop(
    consumer: &PullConsumer,
    messages: usize,
    concurrency: usize,
) -> Result<(), BoxError> {
    let stream = consumer
        .stream()
        .max_messages_per_batch(concurrency)
        .messages()
        .await?;
    let mut acks = stream
        .take(messages)
        .map(|message| async {
            match message {
                Ok(message) => message.double_ack().await,
                Err(error) => Err(error.into()),
            }
        })
        .buffer_unordered(concurrency);
    while let Some(ack) = acks.next().await {
        ack?;
    }
    Ok(())
}

struct NoOp {
    handled: AtomicUsize,
    messages: usize,
    done: Shutdown,
}

impl Stage for NoOp {
    type Input = ();

    async fn handle(&self, _input: (), _cx: &Context) -> Result<Outcome, StageError> {
        if self.handled.fetch_add(1, Ordering::Relaxed) + 1 == self.messages {
            self.done.trigger();
        }
        Ok(Outcome::Skip("noop"))
    }
}

async fn stage_loop(
    service: &Service,
    messages: usize,
    concurrency: usize,
) -> Result<(), BoxError> {
    let done = service.shutdown.child();
    let stage = NoOp {
        handled: AtomicUsize::new(0),
        messages,
        done: done.clone(),
    };
    let service = Service {
        shutdown: done,
        ..service.clone()
    };
    let config = WorkerConfig {
        permits: concurrency,
        ..WorkerConfig::default()
    };
    // The drain at its end settles the last ones: they count.
    Ok(run_stage(
        Arc::new(stage),
        StageSpec::new(STAGE, STREAM),
        config,
        &service,
    )
    .await?)
}
