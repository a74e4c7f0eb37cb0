//! The embedded Qdrant on a disk that is full, or cannot be written.

use std::collections::BTreeSet;
use std::time::Duration;

use foil_proto::names::{stage, stream};
use foil_store::{RecordKey, RecordWrite};
use foil_tests::fleet::{Fleet, Tuning};
use foil_tests::{Look, SmallDisk};
use futures::StreamExt as _;

use crate::support::{
    TENANT, all_embedded, asked, messages, publish_all, put_on, records, until_down,
};

const EMBEDDED: Duration = Duration::from_secs(60);
/// Less than the embedded Qdrant leaves free.
const TOO_LITTLE: u64 = 100;
const PLENTY: u64 = 1024;
/// Much longer than the attempts that an input has, with the delays between them.
const LONG: Duration = Duration::from_secs(15);

fn tuning() -> Tuning {
    Tuning {
        // As in production: an outage that costs attempts would show as dead letters.
        max_deliveries: 5,
        ..Tuning::default()
    }
}

fn record(number: usize) -> RecordWrite {
    RecordWrite {
        key: RecordKey::new(TENANT, format!("writer-{number}"), "direct"),
        text: "Written past the stages.".to_owned(),
        title: String::new(),
        rating: None,
        occurred_at_ms: 1_700_000_000_000,
        revision: 1,
        updated_at_ms: 1_700_000_000_500,
        sequence: 1,
        vector: vec![0.5; 384],
    }
}

/// Writes side by side; gives those acknowledged, and what the others were told.
async fn write(look: &Look, numbers: std::ops::Range<usize>) -> (BTreeSet<usize>, Vec<String>) {
    let mut results = futures::stream::iter(numbers)
        .map(|number| async move { (number, look.store.put_record(&record(number)).await) })
        .buffer_unordered(16);
    let (mut stored, mut refused) = (BTreeSet::new(), Vec::new());
    while let Some((number, result)) = results.next().await {
        match result {
            Ok(_) => assert!(stored.insert(number)),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                refused.push(error.to_string());
            }
        }
    }
    (stored, refused)
}

/// Those of `write` that are there now.
async fn written(look: &Look) -> BTreeSet<usize> {
    let there = asked(async || look.store.item_records(TENANT, "direct", 10_000).await).await;
    let number = |user: &str| user.strip_prefix("writer-").unwrap().parse().unwrap();
    there
        .iter()
        .map(|record| number(&record.key.user))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_wait_for_room_and_lose_nothing() {
    let mut disk = SmallDisk::new(4096);
    let directory = tempfile::tempdir().unwrap();
    put_on(&disk, directory.path(), "edge");
    let fleet = Fleet::start(directory.path(), 1, &tuning()).await;
    let look = fleet.look().await;
    publish_all(&look, 0..100).await;
    all_embedded(&look, EMBEDDED).await;

    disk.leave(TOO_LITTLE);
    let (stored, refused) = write(&look, 0..20).await;
    assert!(stored.is_empty());
    for words in &refused {
        assert!(words.contains("the disk is full"), "{words}");
    }
    publish_all(&look, 100..400).await;
    until_down(&fleet, stage::EMBEDDER, "store").await;
    tokio::time::sleep(LONG).await;
    until_down(&fleet, stage::EMBEDDER, "store").await;
    assert_eq!(records(&look, 400).await, 100, "reads go on");
    assert_eq!(messages(&look, stream::DEAD).await, 0);

    disk.leave(PLENTY);
    fleet.all_ready().await;
    all_embedded(&look, EMBEDDED).await;
    assert_eq!(records(&look, 400).await, 400);
    assert_eq!(messages(&look, stream::DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_on_a_full_disk() {
    let mut disk = SmallDisk::new(4096);
    let directory = tempfile::tempdir().unwrap();
    put_on(&disk, directory.path(), "edge");
    let fleet = Fleet::start(directory.path(), 1, &tuning()).await;
    let look = fleet.look().await;
    // Room for some more than a hundred of them beyond what stays free.
    disk.leave(130);
    let (mut acknowledged, refused) = write(&look, 0..2_000).await;
    assert!(
        !acknowledged.is_empty() && !refused.is_empty(),
        "{}",
        refused.len()
    );
    assert_eq!(written(&look).await, acknowledged, "reads go on");
    // Another program takes what was left. The kernel may now end a process that touches a page of
    // a mapped file which the disk has no room for, so what is asked here may get no answer.
    disk.leave(0);
    let (stored, _) = write(&look, 2_000..2_020).await;
    assert!(stored.is_empty());

    let mut edge = fleet.edge.lock().await;
    edge.kill();
    edge.start();
    let ended = edge.wait(Duration::from_secs(20)).expect("it cannot serve");
    assert_eq!(ended.code(), Some(1));
    let said = edge.said();
    assert!(said.contains("disk is full"), "{said}");
    disk.leave(PLENTY);
    edge.start();
    drop(edge);
    fleet.all_ready().await;
    assert_eq!(written(&look).await, acknowledged);
    let (stored, refused) = write(&look, 3_000..3_010).await;
    assert_eq!(refused.len(), 0);
    acknowledged.extend(stored);
    assert_eq!(written(&look).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_directory_is_named() {
    let mut disk = SmallDisk::new(4096);
    let directory = tempfile::tempdir().unwrap();
    put_on(&disk, directory.path(), "edge");
    let fleet = Fleet::start(directory.path(), 1, &tuning()).await;
    let look = fleet.look().await;
    let (acknowledged, _) = write(&look, 0..20).await;
    assert_eq!(acknowledged.len(), 20);
    let mut edge = fleet.edge.lock().await;
    edge.kill();
    disk.protect();
    edge.start();
    let ended = edge.wait(Duration::from_secs(20)).expect("it cannot serve");
    assert_eq!(ended.code(), Some(1));
    let said = edge.said();
    let folder = directory.path().join("edge").display().to_string();
    assert!(
        said.contains(&folder) && said.contains("Read-only"),
        "{said}"
    );
    until_down(&fleet, stage::EMBEDDER, "store").await;

    disk.unprotect();
    edge.start();
    drop(edge);
    fleet.all_ready().await;
    assert_eq!(written(&look).await, acknowledged);
}
