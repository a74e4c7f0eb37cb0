//! Acknowledged writes and reads a second, and what many overwrites do to them:
//! `cargo run --release -p foil-edge --example speed [DIR]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use foil_edge::{Edge, EdgeConfig};
use qdrant_client::qdrant::{
    Condition, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder,
    Distance, FieldType, Filter, PointStruct, PointsIdsList, Range, ScrollPointsBuilder,
    UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde_json::json;
use tokio::task::JoinSet;

const C: &str = "records";
const DIMENSION: u64 = 384;

type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn point(id: u64, revision: u64) -> PointStruct {
    let vector: Vec<f32> = (0..DIMENSION)
        .map(|i| ((id * 31 + i * 7 + revision) % 97) as f32)
        .collect();
    let value = json!({
        "tenant": "t", "item": format!("item-{}", id / 150), "user": format!("user-{}", id % 500),
        "revision": revision, "text": "a text of some length ".repeat(30),
    });
    let payload: Payload = value.try_into().unwrap_or_default();
    PointStruct::new(id, vector, payload)
}

async fn upsert(client: &Qdrant, id: u64, revision: u64) -> Done {
    let older = Range {
        lt: Some(revision as f64),
        ..Default::default()
    };
    let older = Filter::must([Condition::range("revision", older)]);
    let upsert = UpsertPointsBuilder::new(C, vec![point(id, revision)]).wait(true);
    client.upsert_points(upsert.update_filter(older)).await?;
    Ok(())
}

/// Writes a second.
async fn writes(
    client: &Qdrant,
    writers: u64,
    each: u64,
    ids: u64,
    revision: u64,
) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let client = client.clone();
        tasks.spawn(async move {
            for i in 0..each {
                upsert(&client, (writer * each + i) % ids, revision + i).await?;
            }
            Done::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((writers * each) as f64 / since.elapsed().as_secs_f64())
}

/// Time for the 150 records of an item, with vectors.
async fn item_read(client: &Qdrant) -> Result<Duration, Box<dyn std::error::Error + Send + Sync>> {
    let scroll = ScrollPointsBuilder::new(C)
        .filter(Filter::must([Condition::matches(
            "item",
            "item-3".to_owned(),
        )]))
        .limit(256)
        .with_vectors(true);
    let since = Instant::now();
    for _ in 0..20 {
        client.scroll(scroll.clone()).await?;
    }
    Ok(since.elapsed() / 20)
}

fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

async fn open(dir: &Path) -> Result<(Edge, Qdrant), Box<dyn std::error::Error + Send + Sync>> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let edge = foil_edge::start(EdgeConfig {
        data_dir: dir.to_owned(),
        listen,
    })
    .await?;
    let client = Qdrant::from_url(&format!("http://{}", edge.address()))
        .skip_compatibility_check()
        .build()?;
    Ok((edge, client))
}

#[tokio::main]
async fn main() -> Done {
    let dir = std::env::args().nth(1).map_or_else(
        || std::env::temp_dir().join("foil-edge-speed"),
        PathBuf::from,
    );
    let _ = std::fs::remove_dir_all(&dir);
    let (edge, client) = open(&dir).await?;
    let vectors = VectorParamsBuilder::new(DIMENSION, Distance::Cosine);
    client
        .create_collection(CreateCollectionBuilder::new(C).vectors_config(vectors))
        .await?;
    for (key, kind) in [
        ("tenant", FieldType::Keyword),
        ("item", FieldType::Keyword),
        ("user", FieldType::Keyword),
        ("revision", FieldType::Integer),
    ] {
        client
            .create_field_index(CreateFieldIndexCollectionBuilder::new(C, key, kind).wait(true))
            .await?;
    }
    println!(
        "1 writer: {:.0} writes/s",
        writes(&client, 1, 500, 1_500, 1).await?
    );
    println!(
        "32 writers: {:.0} writes/s",
        writes(&client, 32, 100, 1_500, 1_000).await?
    );
    let mut revision = 10_000;
    for round in 0..5 {
        let rate = writes(&client, 32, 64, 1_500, revision).await?;
        revision += 10_000;
        let read = item_read(&client).await?;
        let mib = disk(&dir) >> 20;
        println!(
            "after {} overwrites: {rate:.0} writes/s, item read {read:.2?}, {mib} MiB",
            (round + 1) * 2_048
        );
    }
    for round in 0..5 {
        for chunk in 0..20_u64 {
            let ids: Vec<u64> = (100_000 + chunk * 100..100_000 + (chunk + 1) * 100).collect();
            let points = ids.iter().map(|id| point(*id, 1)).collect::<Vec<_>>();
            client
                .upsert_points(UpsertPointsBuilder::new(C, points).wait(true))
                .await?;
            let ids = PointsIdsList {
                ids: ids.into_iter().map(u64::into).collect(),
            };
            client
                .delete_points(DeletePointsBuilder::new(C).points(ids).wait(true))
                .await?;
        }
        let read = item_read(&client).await?;
        let mib = disk(&dir) >> 20;
        println!(
            "after {} inserted and deleted: item read {read:.2?}, {mib} MiB",
            (round + 1) * 2_000
        );
    }
    let since = Instant::now();
    edge.shutdown().await;
    println!("shutdown {:.2?}", since.elapsed());
    let since = Instant::now();
    let (edge, client) = open(&dir).await?;
    println!(
        "start {:.2?}, item read {:.2?}",
        since.elapsed(),
        item_read(&client).await?
    );
    edge.shutdown().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
