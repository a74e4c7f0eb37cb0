//! A disk that fails: the caller is told, the process goes on, and nothing acknowledged is lost.

use qdrant_client::qdrant::{Filter, ScrollPointsBuilder, UpsertPointsBuilder};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{C, point, put, refused, server};

/// More writes than the journal holds before the engine flushes.
const WRITES: u64 = 2_400;

#[tokio::test]
async fn a_flush_that_fails_loses_nothing_and_the_collection_comes_back() {
    let server = server().await;
    let client = &server.client;
    // So that the engine has made its first files.
    put(client, vec![point(WRITES + 1, json!({}))]).await;
    let shard = server.dir.path().join("collections").join(C).join("shard");
    let away = shard.with_extension("away");
    std::fs::rename(&shard, &away).unwrap();
    // In the journal, so they are acknowledged, until the flush finds no directory.
    let mut tasks = JoinSet::new();
    for task in 0..32 {
        let client = client.clone();
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for id in (0..WRITES).filter(|id| id % 32 == task) {
                let upsert = UpsertPointsBuilder::new(C, vec![point(id, json!({"n": id}))]);
                match client.upsert_points(upsert.wait(true)).await {
                    Ok(_) => acknowledged.push(id),
                    result => assert_eq!(refused(result).code(), Code::Unavailable),
                }
            }
            acknowledged
        });
    }
    let acknowledged = tasks.join_all().await.concat();
    assert!(
        (2_000..WRITES).contains(&(acknowledged.len() as u64)),
        "{}",
        acknowledged.len()
    );
    let read = refused(client.scroll(ScrollPointsBuilder::new(C)).await);
    assert_eq!(read.code(), Code::Unavailable);
    assert!(read.message().contains(C));

    std::fs::rename(&away, &shard).unwrap();
    put(client, vec![point(WRITES, json!({"n": WRITES}))]).await;
    let scroll = ScrollPointsBuilder::new(C)
        .filter(Filter::default())
        .limit(10_000);
    let stored = client.scroll(scroll).await.unwrap().result;
    let stored: Vec<u64> = stored
        .iter()
        .map(|p| crate::support::number(&p.id))
        .collect();
    for id in acknowledged.into_iter().chain([WRITES, WRITES + 1]) {
        assert!(stored.binary_search(&id).is_ok(), "{id} was acknowledged");
    }
}
