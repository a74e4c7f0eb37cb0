//! From which update on freshness is measured.

#![allow(clippy::unwrap_used)]

mod support;

use foil_llm::stub::Mode;
use foil_rig::record;
use foil_runtime::metrics;

use support::{CHOSEN, Rig, config, stub};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;
/// More than a version takes on a busy machine.
const SOON_S: f64 = 600.0;

/// Stores what the user published so many seconds ago.
async fn wrote(rig: &Rig, user: &str, item: &str, revision: u64, seconds_ago: i64) {
    let mut write = record(user, item, "Boils in four minutes. Handle hot.");
    write.revision = revision;
    write.updated_at_ms = jiff::Timestamp::now().as_millisecond() - seconds_ago * 1_000;
    rig.store.put_record(&write).await.unwrap();
}

/// Over all versions so far, seconds.
fn total(strategy: &str) -> f64 {
    let name = format!("foil_freshness_seconds_sum{{strategy=\"{strategy}\"}} ");
    let text = metrics::text().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// Has the next version made for a token of now, and gives what it adds.
async fn measured(rig: &Rig, user: &str, version: u64, strategy: &str) -> f64 {
    let before = total(strategy);
    rig.publish(user).await;
    rig.until_version(user, version).await;
    rig.until_idle().await;
    total(strategy) - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_update_of_the_user_that_is_new_counts_and_no_other_users() {
    let rig = Rig::start().await;
    let (_stub, model) = stub(Mode::Ok).await;
    let running = rig.run(model, config());
    // A first request: nobody waited for what was written long before it.
    wrote(&rig, "mara", "kettle", 1, 40 * DAY_S).await;
    let first = measured(&rig, "mara", 1, "intsum").await;
    assert!(first < SOON_S, "{first}");

    // Two updates on items that she shares with noor, who has just written: the token is hers too, and
    // tells of noor's.
    wrote(&rig, "mara", "kettle", 2, 2 * HOUR_S).await;
    wrote(&rig, "mara", "lamp", 1, HOUR_S).await;
    wrote(&rig, "noor", "lamp", 1, 0).await;
    let second = measured(&rig, "mara", 2, "intsum").await;
    let two_hours = (2 * HOUR_S) as f64;
    assert!(
        (two_hours..two_hours + SOON_S).contains(&second),
        "{second}"
    );
    let theirs = measured(&rig, "noor", 1, "intsum").await;
    assert!(theirs < SOON_S, "{theirs}");

    // What noor wrote has her compared anew; she wrote nothing since.
    rig.compare("mara", "lamp", CHOSEN).await;
    let third = measured(&rig, "mara", 3, "dpl").await;
    assert!(third < SOON_S, "{third}");

    // Asked for again, after days in which nobody read what ole wrote.
    wrote(&rig, "ole", "kettle", 1, 90 * DAY_S).await;
    measured(&rig, "ole", 1, "intsum").await;
    wrote(&rig, "ole", "lamp", 1, 5 * DAY_S).await;
    let again = measured(&rig, "ole", 2, "intsum").await;
    assert!(again < SOON_S, "{again}");
    rig.stop(running).await;
}
