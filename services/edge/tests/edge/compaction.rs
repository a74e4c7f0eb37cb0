//! What was deleted or replaced goes from the files too, and nothing else does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CollectionInfo, CollectionStatus, CreateFieldIndexCollectionBuilder, DeletePointsBuilder,
    FacetCountsBuilder, FieldType, GetPointsBuilder, PointsIdsList, ScrollPointsBuilder,
    SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use serde_json::{Value, json};

use crate::process::spawn;
use crate::support::{C, client, create, number, open, payload, point, put, server, stored};

/// In no other text, and in no file of the engine's own.
pub const MARKER: &str = "quetzalmarker";
/// Quiet time, the compaction itself on a busy machine, and a margin.
const GREEN_LIMIT: Duration = Duration::from_secs(60);

/// Files below `dir` in which the bytes of `word` are.
pub fn files_with(dir: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, word));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(word.len()).any(|w| w == word.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

async fn info(client: &Qdrant) -> CollectionInfo {
    client.collection_info(C).await.unwrap().result.unwrap()
}

/// Waits until the collection says that nothing is left to compact.
pub async fn green(client: &Qdrant) {
    let end = Instant::now() + GREEN_LIMIT;
    while info(client).await.status() != CollectionStatus::Green {
        assert!(Instant::now() < end, "it is never compacted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Removals, and how many of them are compacted away.
fn counts(info: &CollectionInfo) -> (i64, i64) {
    let metadata = &info.config.as_ref().unwrap().metadata;
    let count = |name: &str| metadata[name].as_integer().unwrap();
    (count("foil_edge_removals"), count("foil_edge_compacted"))
}

async fn delete(client: &Qdrant, ids: &[u64]) {
    let ids = PointsIdsList {
        ids: ids.iter().map(|id| (*id).into()).collect(),
    };
    let delete = DeletePointsBuilder::new(C).points(ids).wait(true);
    client.delete_points(delete).await.unwrap();
}

#[tokio::test]
async fn what_is_removed_goes_from_every_file_and_what_stays_is_as_it_was() {
    let server = server().await;
    let client = &server.client;
    for (field, kind) in [("kind", FieldType::Keyword), ("n", FieldType::Integer)] {
        let index = CreateFieldIndexCollectionBuilder::new(C, field, kind).wait(true);
        client.create_field_index(index).await.unwrap();
    }
    assert_eq!(info(client).await.status(), CollectionStatus::Green);
    let marked = |id: u64| json!({"kind": MARKER, "n": id, "text": format!("a {MARKER} here")});
    let points = (0..600).map(|id| match id % 3 {
        0 => point(id, marked(id)),
        _ => point(
            id,
            json!({"kind": "plain", "n": id, "deep": {"l": [1.5, "é", null]}}),
        ),
    });
    put(client, points.collect()).await;
    // New points leave nothing dead behind.
    assert_eq!(info(client).await.status(), CollectionStatus::Green);
    assert!(!files_with(server.dir.path(), MARKER).is_empty());

    // Deleted, replaced by another point, and by another payload.
    let ids: Vec<u64> = (0..600).filter(|id| id % 3 == 0).collect();
    delete(client, &ids[..100]).await;
    assert_eq!(info(client).await.status(), CollectionStatus::Yellow);
    let again = ids[100..150]
        .iter()
        .map(|id| point(*id, json!({"kind": "new", "n": id})));
    put(client, again.collect()).await;
    let over = SetPayloadPointsBuilder::new(C, payload(json!({"kind": "over"})));
    let rest = PointsIdsList {
        ids: ids[150..].iter().map(|id| (*id).into()).collect(),
    };
    client
        .overwrite_payload(over.points_selector(rest).wait(true))
        .await
        .unwrap();
    let before = all(client).await;
    green(client).await;
    assert_eq!(files_with(server.dir.path(), MARKER), Vec::<String>::new());
    assert_eq!(all(client).await, before);
    let (removals, compacted) = counts(&info(client).await);
    assert!(
        removals >= 3 && removals == compacted,
        "{removals} {compacted}"
    );
    // The indexes came along: a facet needs one.
    let facet = client
        .facet(FacetCountsBuilder::new(C, "kind"))
        .await
        .unwrap();
    let mut hits: Vec<u64> = facet.hits.iter().map(|hit| hit.count).collect();
    hits.sort_unstable();
    assert_eq!(hits, [50, 50, 400]);
    assert_eq!(info(client).await.payload_schema.len(), 2);

    // And so it stays over a restart, which does not start anew either.
    let dir = server.dir;
    server.edge.shutdown().await;
    let (_edge, client) = open(dir.path()).await;
    assert_eq!(info(&client).await.status(), CollectionStatus::Green);
    assert_eq!(all(&client).await, before);
    put(&client, vec![point(0, json!({"later": true}))]).await;
    assert_eq!(stored(&client, 0).await, json!({"later": true}));
}

/// Every point with payload and vector, in the order of ids.
async fn all(client: &Qdrant) -> Vec<(u64, Value, String)> {
    let scroll = ScrollPointsBuilder::new(C).limit(10_000).with_vectors(true);
    let found = client
        .scroll(scroll.with_payload(true))
        .await
        .unwrap()
        .result;
    let line = |point: &qdrant_client::qdrant::RetrievedPoint| {
        let vectors = format!("{:?}", point.vectors);
        (number(&point.id), crate::support::json(point), vectors)
    };
    found.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_constant_writing_a_removal_goes_too_and_its_count_says_so() {
    let server = server().await;
    let client = &server.client;
    put(client, vec![point(1, json!({"text": MARKER}))]).await;
    delete(client, &[1]).await;
    let (removed, _) = counts(&info(client).await);
    // Overwrites all the time: it is never quiet, and never green for long.
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        async move {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let write = UpsertPointsBuilder::new(C, vec![point(7, json!({"n": n}))]);
                client.upsert_points(write.wait(true)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            n
        }
    });
    let end = Instant::now() + 2 * GREEN_LIMIT;
    while counts(&info(client).await).1 < removed {
        assert!(Instant::now() < end, "it waits for quiet for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(files_with(server.dir.path(), MARKER), Vec::<String>::new());
    stop.store(true, Ordering::Relaxed);
    let n = writing.await.unwrap();
    assert_eq!(stored(client, 7).await, json!({"n": n}));
}

#[tokio::test]
async fn dead_bytes_of_a_process_that_ended_go_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, address) = spawn(dir.path()).await;
    let qdrant = client(address);
    create(&qdrant, C, 4).await;
    put(&qdrant, vec![point(1, json!({"text": MARKER}))]).await;
    put(&qdrant, vec![point(2, json!({"text": "stays"}))]).await;
    delete(&qdrant, &[1]).await;
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    assert!(!files_with(dir.path(), MARKER).is_empty());

    let (_child, address) = spawn(dir.path()).await;
    let qdrant = client(address);
    assert_eq!(info(&qdrant).await.status(), CollectionStatus::Yellow);
    green(&qdrant).await;
    assert_eq!(files_with(dir.path(), MARKER), Vec::<String>::new());
    assert_eq!(stored(&qdrant, 2).await, json!({"text": "stays"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_point_of_a_compaction_loses_nothing() {
    const POINTS: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let (mut child, address) = spawn(dir.path()).await;
    let mut qdrant = client(address);
    create(&qdrant, C, 4).await;
    for ids in (0..POINTS).collect::<Vec<_>>().chunks(500) {
        let text = "x".repeat(300);
        let points = ids
            .iter()
            .map(|id| point(*id, json!({"n": 0, "text": text})));
        put(&qdrant, points.collect()).await;
    }
    let collection = dir.path().join("collections").join(C);
    let (mut half_way, mut done) = (0, 0);
    for round in 1..=10_u64 {
        // Something to compact, and writes that must be there afterwards.
        let removed = MARKER.to_owned() + &round.to_string();
        put(
            &qdrant,
            vec![point(POINTS + round, json!({"text": removed}))],
        )
        .await;
        delete(&qdrant, &[POINTS + round]).await;
        put(&qdrant, vec![point(round, json!({"n": round}))]).await;
        let shards = || {
            let entries = std::fs::read_dir(&collection).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name());
            names
                .filter(|name| name.to_str().unwrap().starts_with("shard"))
                .count()
        };
        let end = Instant::now() + GREEN_LIMIT;
        while shards() < 2 && Instant::now() < end {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        // From its first files to the removal of the old ones.
        tokio::time::sleep(Duration::from_millis(60 * (round - 1))).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        match shards() {
            1 => done += 1,
            _ => half_way += 1,
        }
        let address;
        (child, address) = spawn(dir.path()).await;
        qdrant = client(address);
        assert_eq!(
            shards(),
            1,
            "what a compaction left is removed at the start"
        );
        let ids: Vec<_> = (0..POINTS + 20).map(Into::into).collect();
        let get = GetPointsBuilder::new(C, ids).with_payload(true);
        let found = qdrant.get_points(get).await.unwrap().result;
        assert_eq!(found.len() as u64, POINTS, "round {round}");
        for id in 1..=round {
            assert_eq!(stored(&qdrant, id).await, json!({"n": id}), "round {round}");
        }
    }
    println!("killed in {half_way} compactions, {done} were over");
    assert!(half_way > 0, "no kill met a compaction");
    green(&qdrant).await;
    assert_eq!(files_with(dir.path(), MARKER), Vec::<String>::new());
}
