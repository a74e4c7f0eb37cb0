//! NATS on a disk that is full, or cannot be written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use foil_proto::names::{stage, stream, subject};
use foil_runtime::testing::server_binary;
use foil_tests::fleet::{Fleet, Tuning};
use foil_tests::{Look, Place, SmallDisk};
use prost::Message as _;
use tokio::process::Command;

use crate::support::{
    TENANT, all_embedded, messages, publish, publish_all, put_on, records, stop, until_down, update,
};

const EMBEDDED: Duration = Duration::from_secs(120);
const PLENTY: u64 = 2048;

fn tuning() -> Tuning {
    Tuning {
        // As in production: an outage that costs attempts would show as dead letters.
        max_deliveries: 5,
        ..Tuning::default()
    }
}

/// Publishes until one is refused; gives sequence and number of those acknowledged, and the refusal.
async fn publish_until_refused(look: &Look, from: usize) -> (BTreeMap<u64, usize>, String) {
    let mut acknowledged = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(60);
    for number in from.. {
        match publish(look, number).await {
            Ok(sequence) => acknowledged.insert(sequence, number),
            Err(refusal) => return (acknowledged, refusal),
        };
        assert!(Instant::now() < until, "{number} were stored");
    }
    unreachable!("the range has no end")
}

/// Every update that was acknowledged is in the log, as it was sent.
async fn are_there(look: &Look, acknowledged: &BTreeMap<u64, usize>) {
    let updates = look.jetstream.get_stream(stream::UPDATES).await.unwrap();
    for (sequence, number) in acknowledged {
        let stored = updates.get_raw_message(*sequence).await;
        let stored = stored.unwrap_or_else(|error| panic!("{sequence} of {number}: {error}"));
        assert_eq!(
            stored.payload,
            update(*number).encode_to_vec(),
            "{sequence}"
        );
        let to = subject::update(TENANT, &format!("user-{}", number % 200));
        assert_eq!(stored.subject.as_str(), to);
    }
}

/// The last lines of the server's log.
fn said(directory: &Path) -> String {
    let log = std::fs::read_to_string(directory.join("nats/nats.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_disk_is_full() {
    let mut disk = SmallDisk::new(8192);
    let directory = tempfile::tempdir().unwrap();
    put_on(&disk, directory.path(), "nats/jetstream");
    let fleet = Fleet::start(directory.path(), 1, &tuning()).await;
    let look = fleet.look().await;
    publish_all(&look, 0..100).await;
    all_embedded(&look, EMBEDDED).await;

    // So that there is work left to do on a full disk.
    stop(&fleet, stage::EMBEDDER).await;
    disk.leave(1);
    let (mut acknowledged, refusal) = publish_until_refused(&look, 100).await;
    println!(
        "{} more were acknowledged, then: {refusal}",
        acknowledged.len()
    );
    let log = said(directory.path());
    assert!(log.contains("no space left on device"), "{log}");
    fleet
        .replica(stage::EMBEDDER, 0)
        .process
        .lock()
        .await
        .start();
    until_down(&fleet, stage::EMBEDDER, "outputs").await;
    assert_eq!(messages(&look, stream::DEAD).await, 0);

    // It is of no use to start it again without room, but it does no harm.
    fleet.nats.lock().await.restart();
    let (more, refusal) = publish_until_refused(&look, 50_000).await;
    println!("{} after a restart, then: {refusal}", more.len());
    assert!(refusal.contains("resource"), "{refusal}");
    acknowledged.extend(more);

    disk.leave(PLENTY);
    fleet.nats.lock().await.restart();
    fleet.all_ready().await;
    are_there(&look, &acknowledged).await;
    publish_all(&look, 60_000..60_010).await;
    all_embedded(&look, EMBEDDED).await;
    let stored = records(&look, 61_000).await;
    assert!(stored >= 110 + acknowledged.len() as u64, "{stored}");
    assert_eq!(messages(&look, stream::DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_directory_is_named() {
    let mut disk = SmallDisk::new(8192);
    let directory = tempfile::tempdir().unwrap();
    put_on(&disk, directory.path(), "nats/jetstream");
    let fleet = Fleet::start(directory.path(), 1, &tuning()).await;
    let look = fleet.look().await;
    publish_all(&look, 0..100).await;
    let mut nats = fleet.nats.lock().await;
    nats.kill();
    disk.protect();
    let refused = Command::new(server_binary())
        .args([
            "--addr",
            "127.0.0.1",
            "--port",
            "-1",
            "--jetstream",
            "--store_dir",
        ])
        .arg(directory.path().join("nats/jetstream"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(said.contains("storage directory is not writable"), "{said}");

    disk.unprotect();
    nats.restart();
    drop(nats);
    fleet.all_ready().await;
    all_embedded(&look, EMBEDDED).await;
    assert_eq!(records(&look, 100).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn foil_up_says_which_disk_is_full_and_goes_on_where_it_was() {
    let mut disk = SmallDisk::new(8192);
    let place = Place::new();
    let folder = disk.path().display().to_string();
    let setting = format!("--set=up.data_dir={folder}");
    disk.protect();
    let refused = place.run_within(EMBEDDED, [&setting, "up"]).await;
    assert_eq!(refused.code(), Some(1));
    let told = &refused.stderr;
    assert!(
        told.contains(&folder) && told.contains("Read-only"),
        "{told}"
    );

    disk.unprotect();
    let up = place.up(&[&setting]).await;
    let look = place.look().await;
    publish_all(&look, 0..10).await;
    all_embedded(&look, EMBEDDED).await;
    disk.leave(1);
    let (acknowledged, refusal) = publish_until_refused(&look, 10).await;
    println!(
        "{} more were acknowledged, then: {refusal}",
        acknowledged.len()
    );
    let (status, log) = up.ended(EMBEDDED).await;
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.rsplit("foil: ").next().unwrap();
    for word in [
        "nats-server stores nothing",
        "is full",
        &folder,
        "no space left",
    ] {
        assert!(last.contains(word), "{word}: {last}");
    }

    disk.leave(PLENTY);
    let _up = place.up(&[&setting]).await;
    are_there(&place.look().await, &acknowledged).await;
}
