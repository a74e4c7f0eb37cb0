//! Updates and faults by a seeded schedule over real processes, and then the proof that nothing is
//! lost, doubled, stale or left. `tests/chaos` is the command.

mod check;
mod counts;
mod faults;
mod model;
pub(crate) mod producer;
pub(crate) mod quiet;
mod schedule;
pub(crate) mod updates;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fleet::{Fleet, Tuning};
use counts::Counts;
use model::Model;

pub use schedule::{Options, Schedule};

/// How long it may take until nothing is left, beside a quarter of the run.
const QUIET_LIMIT: Duration = Duration::from_secs(120);

/// How a run ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub minutes: f64,
    /// Publications: repeated ones and those that never can be worked on included.
    pub updates: u64,
    /// SIGKILLs of processes.
    pub kills: u64,
    /// SIGSTOPs.
    pub stops: u64,
    /// SIGTERMs.
    pub restarts: u64,
    /// Times that a model was slow, failed, hung, talked nonsense or died.
    pub model_faults: u64,
    /// Inputs that a stage got more than once, as far as their counters were read in time.
    pub redelivered: u64,
    /// Publications that NATS knew already.
    pub duplicates: u64,
    /// Updates that the store had already, or had newer; counted as `redelivered` is.
    pub repeated: u64,
    /// Records, differences, profiles and dead letters that are not there.
    pub lost: u64,
    pub doubled: u64,
    pub stale: u64,
    /// Work in queues.
    pub left: u64,
    /// Messages in queues that are no work: acked ones and fired schedules that a killed nats-server
    /// brought back and delivers to nobody. No fault of Foil's.
    pub brought_back: u64,
    /// Dead letters.
    pub dead: u64,
    pub dead_by_reason: BTreeMap<String, u64>,
    pub unexplained_dead: u64,
    /// Differences and profiles of which no event tells; no fault by itself.
    pub untold: u64,
    /// Processes that ended by themselves, or not cleanly after SIGTERM.
    pub fell: u64,
    /// Records that are there in the end.
    pub records: u64,
    /// Chat requests that the stub got.
    pub llm_calls: u64,
    /// From the last fault to the end of all work.
    pub quiet_seconds: f64,
    pub seconds: f64,
    /// What is wrong, by ids.
    pub wrong: Vec<String>,
}

impl Report {
    /// Whether all holds.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Runs a schedule with everything kept in `directory`.
///
/// # Panics
/// When the fleet cannot be run or read.
pub async fn run(options: &Options, directory: &Path) -> Report {
    let started = Instant::now();
    let schedule = Schedule::new(options);
    let model = Model::of(&schedule.updates);
    let fleet = Fleet::start(directory, options.replicas, &Tuning::default()).await;
    let look = fleet.look().await;
    let counts = Arc::new(Counts::default());
    let fell: Arc<Mutex<Vec<String>>> = Arc::default();
    let watching = tokio::spawn(faults::watch(fleet.clone(), counts.clone(), fell.clone()));

    let start = Instant::now();
    let (duplicates, done) = tokio::join!(
        producer::run(&look.jetstream, &schedule.updates, start),
        faults::run(&fleet, &counts, &schedule.faults, start),
    );
    let mended = Instant::now();
    eprintln!(
        "chaos: all is published and mended after {} s",
        start.elapsed().as_secs()
    );
    let limit = QUIET_LIMIT + start.elapsed() / 4;
    let left = quiet::wait(&look.jetstream, limit).await;
    let quiet_seconds = mended.elapsed().as_secs_f64();
    let brought_back = quiet::brought_back(&look.jetstream).await;
    let (wrong, dead) = check::check(&look, &model).await;
    watching.abort();

    let mut fallen = done.fell;
    fallen.append(&mut *fell.lock().await);
    let mut named: Vec<String> = Vec::new();
    for (kind, list) in [
        ("lost", &wrong.lost),
        ("doubled", &wrong.doubled),
        ("stale", &wrong.stale),
        ("unexplained dead letter", &wrong.unexplained),
        ("ended", &fallen),
    ] {
        named.extend(list.iter().map(|what| format!("{kind}: {what}")));
    }
    if !left.is_empty() {
        named.extend(
            left.iter()
                .map(|(what, count)| format!("left: {what}: {count}")),
        );
    }
    let sums = counts.total();
    let count = |list: &[String]| list.len() as u64;
    Report {
        seed: options.seed,
        minutes: options.minutes,
        updates: schedule.updates.len() as u64,
        kills: done.kills,
        stops: done.stops,
        restarts: done.restarts,
        model_faults: done.models,
        redelivered: sums.redelivered,
        duplicates,
        repeated: sums.repeated,
        lost: count(&wrong.lost),
        doubled: count(&wrong.doubled),
        stale: count(&wrong.stale),
        left: left.values().sum(),
        brought_back: brought_back.unwrap_or_default(),
        dead: dead.by_reason.values().sum(),
        dead_by_reason: dead.by_reason,
        unexplained_dead: count(&wrong.unexplained),
        untold: wrong.untold,
        fell: count(&fallen),
        records: model.records.len() as u64,
        llm_calls: fleet.llm.lock().await.calls() as u64,
        quiet_seconds,
        seconds: started.elapsed().as_secs_f64(),
        wrong: named,
    }
}
