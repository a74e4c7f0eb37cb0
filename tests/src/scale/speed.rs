//! The same work by 1, 2, 4 and 8 replicas of the extractor: a queue that is full before they start.

use std::path::Path;
use std::time::Duration;

use foil_proto::names::{stage, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::fresh::Watch;
use super::lag::Lags;
use super::replicas::Replicas;
use super::rules::Rules;
use super::{Options, SHUTDOWN, burst, processor};
use crate::fleet::Fleet;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The seed is the same for each measurement: so is the work.
const SEED: u64 = 1;
/// Foil's own default of `extractor.worker.permits`.
const PERMITS: usize = 4;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub replicas: u32,
    pub records: usize,
    /// From the start of the replicas to the last acknowledged record.
    pub seconds: f64,
    /// Share of what the replicas may ask the model at once that was asked, on average: 1 when the
    /// model is all that they wait for.
    pub busy: f64,
    /// Processors used by everything of this run: NATS, Qdrant, the replicas and the stub.
    pub processors: f64,
    /// Load of the machine in the end, over a minute, whoever it is of.
    pub load: f64,
    pub wrong: Vec<String>,
}

/// Measures how long `replicas` take.
pub async fn measure(options: &Options, rules: &Rules, replicas: u32, directory: &Path) -> Row {
    let tuning = options.tuning(rules, options.speedup_latency_ms);
    let fleet = Fleet::start(directory, 0, &tuning).await;
    let look = fleet.look().await;
    let monitor = fleet.monitor.clone().expect("NATS is monitored");
    fill(options, &fleet, &monitor).await;

    let watch = Watch::start(&look.nats).await;
    let servers = [
        std::process::id(),
        fleet.nats.lock().await.pid(),
        fleet.edge.lock().await.pid(),
    ];
    let mut extractors = Replicas::new(stage::EXTRACTOR, SHUTDOWN);
    let used = processor::seconds_of(servers);
    let start = Instant::now();
    extractors.scale_to(&fleet, replicas);
    let mut in_flight = Vec::new();
    let mut wrong = Vec::new();
    while lag(&monitor, stream::EXTRACT, stage::EXTRACTOR) != Some(0) {
        if start.elapsed() > options.limit() {
            wrong.push("not done in time".to_owned());
            break;
        }
        in_flight.push(fleet.llm.lock().await.in_flight());
        sleep(LOOK_EVERY).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let pids = extractors.pids().chain(servers);
    let used = processor::seconds_of(pids) - used;
    extractors.end(&fleet).await;
    wrong.append(&mut extractors.fell);
    let (calls, stored) = (fleet.llm.lock().await.calls(), watch.stored());
    if (calls, stored) != (options.speedup_records, options.speedup_records) {
        wrong.push(format!("{calls} calls of the model, {stored} differences"));
    }
    let permits = rules.permits().get(stage::EXTRACTOR).copied();
    let slots = permits.unwrap_or(PERMITS) * replicas as usize;
    let asked: usize = in_flight.iter().sum();
    Row {
        replicas,
        records: options.speedup_records,
        seconds,
        busy: asked as f64 / (slots * in_flight.len().max(1)) as f64,
        processors: used / seconds,
        load: processor::load(),
        wrong,
    }
}

/// Has every record wait for its comparison, with nobody there to do it.
async fn fill(options: &Options, fleet: &Fleet, monitor: &str) {
    let look = fleet.look().await;
    let mut before = [stage::EMBEDDER, stage::SELECTOR].map(|s| Replicas::new(s, SHUTDOWN));
    for stage in &mut before {
        stage.scale_to(fleet, 1);
    }
    let updates = burst::draw(options.speedup_records, SEED);
    let waits = updates.len() as u64;
    burst::publish(look.jetstream.clone(), updates).await;
    look.until("every record waits", options.limit(), async || {
        lag(monitor, stream::UPDATES, stage::EMBEDDER) == Some(0)
            && lag(monitor, stream::SELECT, stage::SELECTOR) == Some(0)
            && lag(monitor, stream::EXTRACT, stage::EXTRACTOR) == Some(waits)
    })
    .await;
    for stage in &mut before {
        stage.end(fleet).await;
    }
}

fn lag(monitor: &str, stream: &str, consumer: &str) -> Option<u64> {
    Lags::read(monitor)?.of(stream, consumer)
}
