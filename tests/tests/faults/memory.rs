//! A queue may be long, but what works on it holds only what is at work.

use std::time::{Duration, Instant};

use foil_proto::names::{stage, stream};
use foil_tests::fleet::{Fleet, STAGES, Tuning};

use crate::support::{messages, publish_all_of, records, stop, updates_done};

/// Names another number of updates, such as 100000.
const VARIABLE: &str = "FOIL_TEST_QUEUED_UPDATES";
const UPDATES: usize = 5_000;
/// Bytes of each text: all of them together are well above what the embedder may grow by, so that one
/// that held the queue would be seen.
const TEXT_BYTES: usize = 8 * 1024;
const LIMIT: Duration = Duration::from_secs(540);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const MIB: f64 = 1_048_576.0;
/// For whatever grows with the work at hand, and not with the queue: of the servers, and of the embedder.
const SLACK_MIB: f64 = 64.0;
const EMBEDDER_SLACK_MIB: f64 = 24.0;
/// In NATS's memory for each message kept: where it is, and what was read of late.
const BYTES_PER_MESSAGE: f64 = 2.0 * 1024.0;
/// In the embedded Qdrant's memory for each record stored: its vector of 384 numbers is 1.5 KiB.
const BYTES_PER_RECORD: f64 = 16.0 * 1024.0;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn updates() -> usize {
    let number = std::env::var(VARIABLE).ok();
    number.map_or(UPDATES, |number| number.parse().unwrap())
}

/// Resident memory, MiB.
#[derive(Clone, Copy, Debug, Default)]
struct Resident {
    now: f64,
    peak: f64,
}

fn resident(pid: u32) -> Resident {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().trim_start_matches(':').trim();
        let kib: f64 = kib.split(' ').next().unwrap().parse().unwrap();
        kib / 1024.0
    };
    Resident {
        now: mib("VmRSS"),
        peak: mib("VmHWM"),
    }
}

/// Of nats-server, the embedded Qdrant and the embedder; none of the latter while it is stopped.
async fn all(fleet: &Fleet, embedder: bool) -> [Resident; 3] {
    let worker = &fleet.replica(stage::EMBEDDER, 0).process;
    [
        resident(fleet.nats.lock().await.pid()),
        resident(fleet.edge.lock().await.pid()),
        match embedder {
            true => resident(worker.lock().await.pid()),
            false => Resident::default(),
        },
    ]
}

fn show(when: &str, [nats, edge, embedder]: [Resident; 3]) {
    let (nats, edge, embedder) = (nats.now, edge.now, embedder.now);
    println!("{when:<24}{nats:>12.1}{edge:>12.1}{embedder:>14.1}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_takes_no_memory() {
    let count = updates();
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(directory.path(), 1, &Tuning::default()).await;
    let look = fleet.look().await;
    let idle = all(&fleet, true).await;
    for stage in STAGES {
        stop(&fleet, stage).await;
    }
    println!("MiB resident             nats-server  foil-edge  foil-embedder");
    show("idle", idle);
    let started = Instant::now();
    publish_all_of(&look, 0..count, TEXT_BYTES).await;
    let queued_mib = (count * TEXT_BYTES) as f64 / MIB;
    assert!(queued_mib > EMBEDDER_SLACK_MIB, "too few updates to tell");
    assert_eq!(messages(&look, stream::UPDATES).await, count as u64);
    println!(
        "{count} updates of {queued_mib:.0} MiB queued in {:.1?}",
        started.elapsed()
    );
    show("all queued", all(&fleet, false).await);

    fleet
        .replica(stage::EMBEDDER, 0)
        .process
        .lock()
        .await
        .start();
    let (started, mut highest) = (Instant::now(), 0.0_f64);
    loop {
        let now = all(&fleet, true).await;
        let (done, published) = updates_done(&look).await;
        let tenth = published as f64 / 10.0;
        if (done as f64 / tenth).floor() > (highest / tenth).floor() {
            show(&format!("{done} worked off"), now);
        }
        highest = done as f64;
        if done >= published {
            break;
        }
        assert!(started.elapsed() < LIMIT, "{done} of {published}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    println!("worked off in {:.1?}", started.elapsed());
    let after = all(&fleet, true).await;
    show("after", after);
    let peaks = after.map(|resident| Resident {
        now: resident.peak,
        ..resident
    });
    show("highest", peaks);
    assert_eq!(records(&look, count).await, count as u64);
    assert_eq!(messages(&look, stream::DEAD).await, 0);

    let grown = |which: usize| after[which].peak - idle[which].now;
    let queued = count as f64 * BYTES_PER_MESSAGE / MIB;
    assert!(
        grown(0) < SLACK_MIB + queued,
        "nats-server: {:.1} MiB more",
        grown(0)
    );
    assert!(
        grown(2) < EMBEDDER_SLACK_MIB,
        "the embedder: {:.1} MiB more",
        grown(2)
    );
    let stored = count as f64 * BYTES_PER_RECORD / MIB;
    assert!(
        grown(1) < SLACK_MIB + stored,
        "foil-edge: {:.1} MiB more",
        grown(1)
    );
}
