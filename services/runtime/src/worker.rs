//! The loop of one stage: a permit before every pull, and no end but the shutdown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::{Context as JetStream, ContextBuilder};
use async_nats::{Client, Message};
use tokio::task::JoinSet;

use crate::burial::DeadEvent;
use crate::config::WorkerConfig;
use crate::error::BoxError;
use crate::health::HealthCheck;
use crate::heartbeat::Heartbeat;
use crate::metrics::StageMetrics;
use crate::outputs::Outputs;
use crate::process::{Desk, Shared, process};
use crate::pull::{Pulled, Puller};
use crate::service::{RunError, Service};
use crate::shutdown::Shutdown;
use crate::stage::Stage;

/// Failed pulls in a row before readiness goes off.
const FAILURES_TOLERATED: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often lost pull requests and reconnects are looked for.
const MAINTENANCE: Duration = Duration::from_millis(500);
/// A withdrawn pull is answered within a round trip.
const WITHDRAWAL: Duration = Duration::from_secs(2);

/// What a stage reads, and what its dead letters say.
#[derive(Clone, Copy, Debug)]
pub struct StageSpec {
    /// As in `names::stage`.
    pub name: &'static str,
    /// Input stream.
    pub stream: &'static str,
    /// Durable consumer, made by `foil provision`.
    pub consumer: &'static str,
    /// What is told of a dead letter.
    pub dead_event: Option<DeadEvent>,
}

impl StageSpec {
    /// The consumer carries the stage's name.
    pub fn new(name: &'static str, stream: &'static str) -> Self {
        Self {
            name,
            stream,
            consumer: name,
            dead_event: None,
        }
    }

    /// The same with an event behind every dead letter.
    #[must_use]
    pub fn with_dead_event(mut self, event: DeadEvent) -> Self {
        self.dead_event = Some(event);
        self
    }
}

/// Runs a stage until the shutdown, through outages of the server and absence of the consumer. An
/// error ends this stage alone: who runs several triggers the shutdown of the others.
///
/// # Errors
/// [`RunError::Fatal`] when the stage cannot serve; [`RunError::DeadlinePassed`] when work would not
/// stop, or could not be given back, before the shutdown's deadline.
pub async fn run_stage<S: Stage>(
    stage: Arc<S>,
    spec: StageSpec,
    config: WorkerConfig,
    service: &Service,
) -> Result<(), RunError> {
    let service = service.stage(spec.name);
    let check = service.health.register("consumer");
    let outputs = Arc::new(Outputs::new(service.health.register("outputs")));
    let jetstream = jetstream(&config, &service.nats);
    let metrics = StageMetrics::new(spec.name, config.permits);
    service.health.started();
    let mut worker = Worker {
        stage,
        spec,
        config,
        shutdown: service.shutdown.child(),
        check,
        metrics,
        shared: Arc::default(),
        outputs: outputs.clone(),
        tasks: JoinSet::new(),
        cut: 0,
        failures: 0,
        waiting_for: None,
        has_pulled: false,
        service,
    };
    let working = async {
        while let Some((desk, puller)) = worker.bind().await {
            if let Some(puller) = worker.serve(&desk, puller).await {
                worker.withdraw(&desk, puller).await;
                break;
            }
        }
        worker.drain().await
    };
    tokio::select! {
        ended = working => ended,
        never = outputs.follow(&jetstream) => match never {},
    }
}

fn jetstream(config: &WorkerConfig, nats: &Client) -> JetStream {
    ContextBuilder::new()
        .timeout(config.publish_timeout)
        .ack_timeout(config.publish_timeout)
        .build(nats.clone())
}

struct Worker<S> {
    stage: Arc<S>,
    spec: StageSpec,
    config: WorkerConfig,
    service: Service,
    /// This worker's own: a fatal error stops it alone.
    shutdown: Shutdown,
    check: HealthCheck,
    metrics: StageMetrics,
    shared: Arc<Shared>,
    outputs: Arc<Outputs>,
    tasks: JoinSet<bool>,
    cut: usize,
    failures: u32,
    waiting_for: Option<String>,
    /// Before the first pull a check that is down is no surprise.
    has_pulled: bool,
}

impl<S: Stage> Worker<S> {
    /// Finds the consumer, however long it takes. None: the shutdown came first.
    async fn bind(&mut self) -> Option<(Arc<Desk<S>>, Puller)> {
        let jetstream = jetstream(&self.config, &self.service.nats);
        let (stream, consumer) = (self.spec.stream, self.spec.consumer);
        while !self.shutdown.is_triggered() {
            let found = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                // Asks for the consumer only: a worker may not read the stream's own state.
                found = jetstream.get_consumer_from_stream(consumer, stream) => found,
            };
            let result = match found {
                Ok(consumer) => self.desk(&jetstream, consumer).await,
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(bound) => {
                    self.check.set(self.failures < FAILURES_TOLERATED);
                    return Some(bound);
                }
                Err(error) => {
                    self.check.set(false);
                    let hint = "is the server up, and was `foil provision` run?";
                    self.fail(&format!(
                        "consumer {consumer} of stream {stream}: {error}; {hint}"
                    ))
                    .await;
                }
            }
        }
        None
    }

    async fn desk(
        &self,
        jetstream: &JetStream,
        consumer: PullConsumer,
    ) -> Result<(Arc<Desk<S>>, Puller), BoxError> {
        let settings = consumer.cached_info().config.clone();
        let allowed = settings.max_deliver;
        if allowed > 0 && u64::try_from(allowed).is_ok_and(|n| n <= self.config.max_deliveries) {
            tracing::warn!(
                stage = self.spec.name,
                consumer = allowed,
                worker = self.config.max_deliveries,
                "the consumer's max_deliver must be higher than the worker's max_deliveries: a \
                 message that kills the process will stay in the stream, delivered to nobody"
            );
        }
        // Twice the publishing: its patience, and one attempt that began just before its end.
        let publishing = self.config.publish_timeout.saturating_mul(2);
        let ceiling = self
            .config
            .timeout
            .saturating_add(self.config.publish_patience)
            .saturating_add(publishing);
        let client = self.service.nats.clone();
        let puller = Puller::open(client.clone(), consumer, self.config.pull_expiry).await?;
        let heartbeat = Heartbeat::start(client.clone(), settings.ack_wait, ceiling);
        let desk = Desk {
            stage: self.stage.clone(),
            spec: self.spec,
            config: self.config.clone(),
            client,
            jetstream: jetstream.clone(),
            health: self.service.health.clone(),
            heartbeat,
            metrics: self.metrics.clone(),
            shutdown: self.shutdown.clone(),
            shared: self.shared.clone(),
            outputs: self.outputs.clone(),
            span_name: format!("process {}", settings.filter_subject),
            template: settings.filter_subject,
        };
        tracing::info!(
            stage = self.spec.name,
            permits = self.config.permits,
            "pulling"
        );
        Ok((Arc::new(desk), puller))
    }

    /// Pulls and hands out. Gives the puller back on shutdown; none when the consumer was lost.
    async fn serve(&mut self, desk: &Arc<Desk<S>>, mut puller: Puller) -> Option<Puller> {
        let mut maintenance = tokio::time::interval(MAINTENANCE);
        maintenance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut health = self.service.health.watch();
        loop {
            if let Err(error) = self.pull(&mut puller).await {
                self.fail(&error.to_string()).await;
                return None;
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Some(puller),
                // The sender lives in `self`.
                _ = health.changed() => if let Err(error) = self.hold_back(desk, &mut puller).await {
                    self.fail(&error.to_string()).await;
                    return None;
                },
                Some(done) = self.tasks.join_next() => self.reap(done),
                pulled = puller.next() => match pulled {
                    Pulled::Input(message) => {
                        self.succeed();
                        self.hand_out(desk, message);
                    }
                    Pulled::Expired => self.succeed(),
                    Pulled::Refused(words) => {
                        self.fail(&format!("pull refused: {words}")).await;
                        return None;
                    }
                    Pulled::Closed => {
                        self.fail("the connection's client is gone").await;
                        return None;
                    }
                },
                _ = maintenance.tick() => match puller.maintain().await {
                    Ok(inputs) => {
                        for message in inputs {
                            self.hand_out(desk, message);
                        }
                    }
                    Err(error) => {
                        self.fail(&error.to_string()).await;
                        return None;
                    }
                },
            }
        }
    }

    /// Asks for as many inputs as there are free permits. Under load it waits until half of them
    /// are free, so that requests come in batches; with nothing on its way it asks for any.
    async fn pull(&mut self, puller: &mut Puller) -> Result<(), BoxError> {
        let permits = self.config.permits;
        let reserved = puller.reserved();
        let free = permits.saturating_sub(self.tasks.len() + reserved);
        let worthwhile = free > 0 && (reserved == 0 || free * 2 >= permits);
        if !worthwhile || self.must_wait() {
            return Ok(());
        }
        puller.request(free).await
    }

    /// Withdraws what was asked for when something that this stage needs went down: the server would
    /// deliver one input again and again into an open request.
    async fn hold_back(&mut self, desk: &Desk<S>, puller: &mut Puller) -> Result<(), BoxError> {
        // A request does not outlive its connection.
        let connected = self.service.nats.connection_state() == State::Connected;
        if self.must_wait() && connected {
            for message in puller.withdraw(WITHDRAWAL).await? {
                desk.give_back(message).await;
            }
        }
        Ok(())
    }

    /// Whether something that this stage needs is down. Pulling then would only burn attempts.
    fn must_wait(&mut self) -> bool {
        let down = self.service.health.first_down(&self.check);
        if down != self.waiting_for {
            let stage = self.spec.name;
            match &down {
                Some(check) if self.has_pulled => {
                    tracing::warn!(stage, check, "not pulling: a check is down");
                }
                Some(check) => tracing::info!(stage, check, "not pulling yet"),
                None => tracing::info!(stage, "pulling again"),
            }
            self.waiting_for = down;
        }
        self.has_pulled |= self.waiting_for.is_none();
        self.waiting_for.is_some()
    }

    fn hand_out(&mut self, desk: &Arc<Desk<S>>, message: Message) {
        self.tasks.spawn(process(desk.clone(), message));
    }

    fn reap(&mut self, done: Result<bool, tokio::task::JoinError>) {
        match done {
            Ok(cut) => self.cut += usize::from(cut),
            // Handlers' panics are caught where they happen.
            Err(error) => tracing::error!(%error, "settling failed: the input will come again"),
        }
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.check.set(true);
    }

    /// Notes a failure and pauses, longer from time to time.
    async fn fail(&mut self, problem: &str) {
        self.failures = self.failures.saturating_add(1);
        self.metrics.pull_error();
        if self.failures >= FAILURES_TOLERATED {
            self.check.set(false);
        }
        let doublings = (self.failures - 1).min(8);
        let pause = (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX);
        tracing::warn!(stage = self.spec.name, problem, ?pause, "cannot pull");
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    async fn withdraw(&mut self, desk: &Desk<S>, puller: Puller) {
        self.check.set(false);
        let limit = WITHDRAWAL.min(self.shutdown.remaining() / 4);
        for message in puller.close(limit).await {
            desk.give_back(message).await;
        }
    }

    /// Lets what runs finish, until the deadline. What the cut took and gave back in time ends as
    /// cleanly as what finished: another has it already.
    async fn drain(mut self) -> Result<(), RunError> {
        self.check.set(false);
        let started = Instant::now();
        let deadline = tokio::time::Instant::now() + self.shutdown.remaining();
        let mut unfinished = 0;
        loop {
            match tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
                Ok(None) => break,
                Ok(Some(done)) => self.reap(done),
                Err(_) => {
                    unfinished = self.tasks.len();
                    self.tasks.abort_all();
                    break;
                }
            }
        }
        // NAKs and acks may still be in the client's buffer.
        let limit = self.shutdown.remaining().max(Duration::from_millis(100));
        let flushed = tokio::time::timeout(limit, self.service.nats.flush()).await;
        let stage = self.spec.name;
        tracing::info!(stage, took = ?started.elapsed(), unfinished, cut = self.cut, "drained");
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!(stage, "nats was not flushed");
            // Not given back: it waits out the ack wait, as what would not stop does.
            unfinished += self.cut;
        }
        match self.shared.take_fatal() {
            Some(cause) => Err(RunError::Fatal { stage, cause }),
            None if unfinished > 0 => Err(RunError::DeadlinePassed { stage, unfinished }),
            None => Ok(()),
        }
    }
}
