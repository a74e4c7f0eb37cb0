//! Does the faults of a schedule, and mends each.

use std::sync::Arc;
use std::time::Duration;

use foil_llm::stub::{Mode, StubServer};
use tokio::sync::Mutex;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep, sleep_until};

use super::counts::Counts;
use super::schedule::{Blow, Fault, Target, Timed};
use crate::fleet::{Fleet, Process, Signal};

/// Past the shutdown's deadline of the fleet.
const END_LIMIT: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was done, and what should not have been.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub kills: u64,
    pub stops: u64,
    pub restarts: u64,
    /// Faults of a model.
    pub models: u64,
    /// Processes that ended by themselves, or not cleanly after SIGTERM.
    pub fell: Vec<String>,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.stops += other.stops;
        self.restarts += other.restarts;
        self.models += other.models;
        self.fell.extend(other.fell);
    }
}

/// Does all of `faults`, each at its time after `start`, and returns when all are mended.
pub async fn run(
    fleet: &Arc<Fleet>,
    counts: &Arc<Counts>,
    faults: &[Timed],
    start: Instant,
) -> Done {
    let mut tasks = JoinSet::new();
    for timed in faults {
        let (fleet, counts, timed) = (fleet.clone(), counts.clone(), *timed);
        tasks.spawn(async move {
            sleep_until(start + timed.at).await;
            one(&fleet, &counts, timed).await
        });
    }
    let mut all = Done::default();
    while let Some(done) = tasks.join_next().await {
        all.add(done.expect("a fault is done and mended"));
    }
    all
}

async fn one(fleet: &Fleet, counts: &Counts, timed: Timed) -> Done {
    let Timed { lasts, fault, .. } = timed;
    match fault {
        Fault::Llm(mode) => model(&fleet.llm, mode, lasts).await,
        Fault::Encoder(mode) => model(&fleet.encoder, mode, lasts).await,
        Fault::Process(Target::Nats, blow) => nats(fleet, blow, lasts).await,
        Fault::Process(Target::Edge, blow) => process(&fleet.edge, counts, blow, lasts).await,
        Fault::Process(Target::Stage(stage, number), blow) => {
            let replica = fleet.replica(stage, number);
            process(&replica.process, counts, blow, lasts).await
        }
    }
}

async fn model(stub: &Mutex<StubServer>, mode: Mode, lasts: Duration) -> Done {
    let mut stub = stub.lock().await;
    stub.set_mode(mode);
    sleep(lasts).await;
    match mode {
        Mode::Die => block_in_place(|| stub.restart()).expect("the stub gets its port again"),
        _ => stub.set_mode(Mode::Ok),
    }
    Done {
        models: 1,
        ..Done::default()
    }
}

async fn nats(fleet: &Fleet, blow: Blow, lasts: Duration) -> Done {
    let mut nats = fleet.nats.lock().await;
    match blow {
        Blow::Kill => block_in_place(|| nats.kill()),
        Blow::Stop => nats.pause(),
        Blow::Restart => {
            let pid = nats.pid().to_string();
            let sent = std::process::Command::new("kill").arg(pid).status();
            sent.expect("`kill` runs");
        }
    }
    sleep(lasts).await;
    match blow {
        Blow::Stop => nats.resume(),
        Blow::Kill | Blow::Restart => block_in_place(|| nats.restart()),
    }
    done(blow)
}

fn done(blow: Blow) -> Done {
    let mut done = Done::default();
    match blow {
        Blow::Kill => done.kills = 1,
        Blow::Stop => done.stops = 1,
        Blow::Restart => done.restarts = 1,
    }
    done
}

async fn process(process: &Mutex<Process>, counts: &Counts, blow: Blow, lasts: Duration) -> Done {
    let mut process = process.lock().await;
    let mut done = done(blow);
    done.fell.extend(raise(&mut process, counts));
    block_in_place(|| counts.read(&process));
    match blow {
        Blow::Kill => block_in_place(|| process.kill()),
        Blow::Stop => process.signal(Signal::Stop),
        Blow::Restart => process.signal(Signal::Terminate),
    }
    sleep(lasts).await;
    match blow {
        Blow::Stop => {
            process.signal(Signal::Continue);
            return done;
        }
        Blow::Kill => {}
        Blow::Restart => match block_in_place(|| process.wait(END_LIMIT)) {
            Some(status) if status.success() => {}
            Some(status) => done
                .fell
                .push(format!("{} after SIGTERM: {status}", process.name)),
            None => {
                done.fell
                    .push(format!("{} after SIGTERM: it did not end", process.name));
                block_in_place(|| process.kill());
            }
        },
    }
    counts.close(&process);
    block_in_place(|| process.start());
    done
}

/// Starts a process again that has ended by itself, and says so.
fn raise(process: &mut Process, counts: &Counts) -> Option<String> {
    let status = process.ended()?;
    counts.close(process);
    process.start();
    Some(format!("{} by itself: {status}", process.name))
}

/// Reads counters and raises what has ended by itself, until it is dropped. What fell is sent.
pub async fn watch(fleet: Arc<Fleet>, counts: Arc<Counts>, fell: Arc<Mutex<Vec<String>>>) {
    loop {
        sleep(LOOK_EVERY).await;
        let stages = fleet.replicas.iter().map(|replica| &replica.process);
        for process in stages.chain([&fleet.edge]) {
            // Who holds it is at a fault.
            let Ok(mut process) = process.try_lock() else {
                continue;
            };
            let raised = raise(&mut process, &counts);
            fell.lock().await.extend(raised);
            block_in_place(|| counts.read(&process));
        }
    }
}
