//! The burst: updates come, the rule reads the lag, replicas come and go until all is at rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use foil_proto::names::{stage, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::burst::{self, Published};
use super::fresh::Watch;
use super::lag::Lags;
use super::replicas::Replicas;
use super::report::Burst;
use super::rule::Scaler;
use super::rules::Rules;
use super::{Options, SHUTDOWN, processor};
use crate::chaos::quiet;
use crate::fleet::{Fleet, STAGES};
use crate::look::Look;

/// Longest time between two looks.
const LOOK_EVERY_S: f64 = 0.25;
/// Looks in the rule's shortest wait, of this many seconds.
const LOOKS_EACH: f64 = 3.0;
const WAIT_S: f64 = 15.0;
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Longest time without a lag: nothing is simulated meanwhile.
const BLIND_LIMIT: Duration = Duration::from_secs(30);
const SAY_EVERY: Duration = Duration::from_secs(10);
const CONSUMERS: [(&str, &str); 4] = [
    (stage::EMBEDDER, stream::UPDATES),
    (stage::SELECTOR, stream::SELECT),
    (stage::EXTRACTOR, stream::EXTRACT),
    (stage::PROFILER, stream::PROFILE),
];

/// All stages at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Seconds since the start.
    pub s: f64,
    pub stages: BTreeMap<&'static str, At>,
    /// Seconds of processor time that all of this run has used so far.
    pub processor_s: f64,
}

/// One stage at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct At {
    /// Waiting and unacknowledged messages.
    pub lag: u64,
    /// Those that were not told to end.
    pub replicas: u32,
    /// Those that finish their work.
    pub ending: usize,
}

struct Stage {
    name: &'static str,
    stream: &'static str,
    replicas: Replicas,
    scaler: Option<Scaler>,
    rest: u32,
}

/// Runs the bursts of `options` over a fleet in `directory`.
pub async fn run(options: &Options, rules: &Rules, directory: &Path) -> Burst {
    let tuning = options.tuning(rules, options.latency_ms);
    let fleet = Fleet::start(directory, 0, &tuning).await;
    let look = fleet.look().await;
    let mut drive = Drive::new(options, rules, &fleet).await;
    let watch = Watch::start(&look.nats).await;
    let window = STAGES.iter().filter_map(|stage| rules.scaled(stage));
    let window = window.map(|rule| rule.down.window_s).fold(0.0, f64::max);
    let mut published = Published::new();
    let mut wrong = Vec::new();
    for number in 0..options.bursts {
        if number > 0 {
            // So that a stage which is woken by the next burst was not just let go.
            let quiet = Duration::from_secs_f64(window / options.compression);
            drive.go_on_for(quiet).await;
        }
        drive.started.push(drive.start.elapsed().as_secs_f64());
        let updates = burst::draw(options.updates, number + 1);
        let publishing = tokio::spawn(burst::publish(look.jetstream.clone(), updates));
        if !drive.until_rest(&look, &publishing).await {
            wrong.push(format!("burst {number} is not at rest in time"));
        }
        published.extend(publishing.await.expect("the updates are published"));
    }
    wrong.append(&mut drive.end().await);
    wrong.extend(check(&look, &watch, &published, &fleet).await);
    let origin = jiff::Timestamp::now().as_millisecond();
    let origin = origin - i64::try_from(drive.start.elapsed().as_millis()).unwrap_or(0);
    let slowest_end = drive.stages.iter().map(|s| s.replicas.slowest_end).max();
    Burst::new(
        drive.samples,
        &drive.started,
        &watch.freshness(&published),
        origin,
        slowest_end.unwrap_or_default().as_secs_f64(),
        wrong,
    )
}

struct Drive<'a> {
    options: &'a Options,
    fleet: &'a Fleet,
    monitor: String,
    stages: Vec<Stage>,
    start: Instant,
    /// When the lag was last read.
    read: Instant,
    /// When each burst began, in seconds.
    started: Vec<f64>,
    samples: Vec<Sample>,
}

impl<'a> Drive<'a> {
    async fn new(options: &'a Options, rules: &Rules, fleet: &'a Fleet) -> Self {
        let mut stages: Vec<Stage> = CONSUMERS
            .iter()
            .map(|&(name, stream)| Stage {
                name,
                stream,
                replicas: Replicas::new(name, SHUTDOWN),
                scaler: rules.scaled(name).cloned().map(Scaler::new),
                rest: rules.start(name),
            })
            .collect();
        for stage in &mut stages {
            stage.replicas.scale_to(fleet, stage.rest);
        }
        let until = Instant::now() + READY_LIMIT;
        while !stages.iter().all(|stage| stage.replicas.ready()) {
            assert!(Instant::now() < until, "the stages are not ready");
            sleep(Duration::from_millis(50)).await;
        }
        Self {
            options,
            fleet,
            monitor: fleet.monitor.clone().expect("NATS is monitored"),
            stages,
            start: Instant::now(),
            read: Instant::now(),
            started: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Reads the lag, does what the rule says, and waits for the next look. Gives whether nothing is
    /// left and every stage has the replicas that it has at rest.
    async fn look(&mut self) -> bool {
        let lags = Lags::read(&self.monitor);
        if lags.is_some() {
            self.read = Instant::now();
        }
        let blind = self.read.elapsed();
        assert!(blind < BLIND_LIMIT, "NATS's monitoring says nothing");
        let s = self.start.elapsed().as_secs_f64();
        let mut stages = BTreeMap::new();
        let mut rests = true;
        for stage in &mut self.stages {
            stage.replicas.look();
            let count = stage.replicas.count();
            // As with the real ones, nothing changes while nobody knows the lag.
            let lag = lags.as_ref().and_then(|l| l.of(stage.stream, stage.name));
            let wanted = match (&mut stage.scaler, lag) {
                (Some(scaler), Some(lag)) => {
                    scaler.wanted(s * self.options.compression, count, lag)
                }
                _ => count,
            };
            stage.replicas.scale_to(self.fleet, wanted);
            let at = At {
                lag: lag.unwrap_or_default(),
                replicas: stage.replicas.count(),
                ending: stage.replicas.ending(),
            };
            rests &= lag == Some(0) && at.replicas == stage.rest && at.ending == 0;
            stages.insert(stage.name, at);
        }
        let processor_s = self.processor_s().await;
        self.samples.push(Sample {
            s,
            stages,
            processor_s,
        });
        let period = WAIT_S / self.options.compression / LOOKS_EACH;
        sleep(Duration::from_secs_f64(period.min(LOOK_EVERY_S))).await;
        rests
    }

    async fn processor_s(&self) -> f64 {
        let stages = self.stages.iter().flat_map(|stage| stage.replicas.pids());
        let servers = [
            self.fleet.nats.lock().await.pid(),
            self.fleet.edge.lock().await.pid(),
        ];
        processor::seconds_here() + processor::seconds_of(stages.chain(servers))
    }

    async fn go_on_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look().await;
        }
    }

    /// Whether all is at rest before the limit.
    async fn until_rest(
        &mut self,
        look: &Look,
        publishing: &tokio::task::JoinHandle<Published>,
    ) -> bool {
        let start = Instant::now();
        let mut said = start;
        while start.elapsed() < self.options.limit() {
            let rests = self.look().await && publishing.is_finished();
            if said.elapsed() > SAY_EVERY {
                said = Instant::now();
                self.say();
            }
            // Profiles that wait for their time are in no lag.
            if rests
                && quiet::look(&look.jetstream)
                    .await
                    .is_some_and(|l| l.is_empty())
            {
                return true;
            }
        }
        false
    }

    fn say(&self) {
        let Some(last) = self.samples.last() else {
            return;
        };
        let stages = last.stages.iter();
        let stages: Vec<String> = stages
            .map(|(name, at)| format!("{name} {} by {}", at.lag, at.replicas))
            .collect();
        eprintln!("scale: {:.0} s: {}", last.s, stages.join(", "));
    }

    /// Ends all processes. Gives what fell, or would not end.
    async fn end(&mut self) -> Vec<String> {
        let mut fell = Vec::new();
        for stage in &mut self.stages {
            stage.replicas.end(self.fleet).await;
            fell.append(&mut stage.replicas.fell);
        }
        fell
    }
}

/// What is lost, dead, or was done twice.
async fn check(look: &Look, watch: &Watch, published: &Published, fleet: &Fleet) -> Vec<String> {
    let mut wrong = Vec::new();
    let dead = look.messages(stream::DEAD).await;
    if dead > 0 {
        wrong.push(format!("{dead} dead letters"));
    }
    let updates = watch.freshness(published);
    let lost = updates.iter().filter(|update| update.fresh_ms.is_none());
    match lost.count() {
        0 => {}
        lost => wrong.push(format!("{lost} updates are in no profile")),
    }
    // Each call of the model is a stored difference or profile: work that was under way when its
    // replica was told to end was finished there, and not begun anew elsewhere.
    let (calls, stored) = (fleet.llm.lock().await.calls(), watch.stored());
    if calls != stored {
        wrong.push(format!("{calls} calls of the model for {stored} results"));
    }
    wrong
}
