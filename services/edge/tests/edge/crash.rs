//! kill -9: every acknowledged write is there afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qdrant_client::Qdrant;
use qdrant_client::qdrant::vector_output::Vector;
use qdrant_client::qdrant::{
    Condition, CreateFieldIndexCollectionBuilder, DeletePointsBuilder, FieldType, Filter,
    GetPointsBuilder, PointStruct, PointsIdsList, Range, SetPayloadPointsBuilder,
    UpsertPointsBuilder,
};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::process::spawn;
use crate::support::{C, client, create, json, payload};

/// A point so large that every third write of it makes the engine flush, beside the others.
const HEAVY: u64 = 1_000_000;
const HEAVY_BYTES: usize = 11 << 20;
const TASKS: u64 = 8;
const IDS_PER_TASK: u64 = 40;

/// What a point must look like. A write without an answer may or may not have happened, so there
/// can be several.
type Allowed = Mutex<HashMap<u64, Vec<Option<Value>>>>;

fn vector(revision: u64) -> Vec<f32> {
    // On the unit circle, since the collection's distance normalises.
    let angle = revision as f32 * 0.37;
    vec![angle.cos(), angle.sin(), 0.0, 0.0]
}

/// One write on one of the task's own points, recorded before and after.
async fn write(client: &Qdrant, id: u64, revision: u64, allowed: &Allowed) -> bool {
    let before = allowed
        .lock()
        .unwrap()
        .get(&id)
        .cloned()
        .unwrap_or(vec![None]);
    let kind = rand::rng().random_range(0..10);
    let after = match kind {
        0 => None,
        1..4 => before[0].clone().map(|mut value| {
            value["note"] = json!(revision);
            value
        }),
        _ => Some(json!({"revision": revision, "task": id % TASKS, "text": "x".repeat(300)})),
    };
    let mut either = before.clone();
    either.push(after.clone());
    allowed.lock().unwrap().insert(id, either);
    let one = PointsIdsList {
        ids: vec![id.into()],
    };
    let done = match (&after, kind) {
        (None, 0) => {
            client
                .delete_points(DeletePointsBuilder::new(C).points(one).wait(true))
                .await
        }
        (Some(_), 1..4) => {
            let set = SetPayloadPointsBuilder::new(C, payload(json!({"note": revision})));
            client
                .set_payload(set.points_selector(one).wait(true))
                .await
        }
        (Some(value), _) => {
            let older = Range {
                lt: Some(revision as f64),
                ..Default::default()
            };
            let older = Filter::must([Condition::range("revision", older)]);
            let point = PointStruct::new(id, vector(revision), payload(value.clone()));
            client
                .upsert_points(
                    UpsertPointsBuilder::new(C, vec![point])
                        .wait(true)
                        .update_filter(older),
                )
                .await
        }
        // A note on a point that is not there.
        (None, _) => {
            allowed.lock().unwrap().insert(id, before);
            return true;
        }
    };
    if done.is_ok() {
        allowed.lock().unwrap().insert(id, vec![after]);
    }
    done.is_ok()
}

/// Overwrites the heavy point until the server is gone.
async fn write_heavy(client: &Qdrant, revision: &AtomicU64, acknowledged: &AtomicU64) {
    loop {
        let revision = revision.fetch_add(1, Ordering::Relaxed);
        let value = json!({"revision": revision, "text": "x".repeat(HEAVY_BYTES)});
        let point = PointStruct::new(HEAVY, vector(revision), payload(value));
        let upsert = UpsertPointsBuilder::new(C, vec![point]).wait(true);
        if client.upsert_points(upsert).await.is_err() {
            return;
        }
        acknowledged.store(revision, Ordering::Relaxed);
    }
}

async fn check_heavy(client: &Qdrant, acknowledged: &AtomicU64) {
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    if acknowledged > 0 {
        let heavy = crate::support::stored(client, HEAVY).await;
        assert!(heavy["revision"].as_u64().unwrap() >= acknowledged);
        assert_eq!(heavy["text"].as_str().unwrap().len(), HEAVY_BYTES);
    }
}

async fn check(client: &Qdrant, allowed: &Allowed) -> usize {
    let expected = allowed.lock().unwrap().clone();
    let ids: Vec<_> = expected.keys().map(|id| (*id).into()).collect();
    let get = GetPointsBuilder::new(C, ids)
        .with_payload(true)
        .with_vectors(true);
    let found = client.get_points(get).await.unwrap().result;
    let mut stored = HashMap::new();
    for point in found {
        stored.insert(crate::support::number(&point.id), point);
    }
    for (id, states) in &expected {
        let point = stored.get(id);
        let value = point.map(json);
        assert!(
            states.contains(&value),
            "point {id} is {value:?}, not one of {states:?}"
        );
        // Where no write was in flight, the vector belongs to the payload.
        if let (Some(point), [Some(value)]) = (point, states.as_slice()) {
            let Some(Vector::Dense(dense)) = point.vectors.as_ref().and_then(|v| v.get_vector())
            else {
                panic!("point {id} lost its vector");
            };
            let wanted = vector(value["revision"].as_u64().unwrap());
            assert!(
                dense
                    .data
                    .iter()
                    .zip(&wanted)
                    .all(|(a, b)| (a - b).abs() < 1e-5),
                "point {id}"
            );
        }
    }
    // What is there now is what the next round starts from.
    let states = expected
        .keys()
        .map(|id| (*id, vec![stored.get(id).map(json)]));
    *allowed.lock().unwrap() = states.collect();
    stored.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let allowed = Arc::new(Allowed::default());
    let revision = Arc::new(AtomicU64::new(1));
    let heavy = Arc::new(AtomicU64::new(0));
    let mut acknowledged = 0;
    for round in 0..8 {
        let (mut child, address) = spawn(dir.path()).await;
        let qdrant = client(address);
        if round == 0 {
            create(&qdrant, C, 4).await;
            for (field, kind) in [
                ("revision", FieldType::Integer),
                ("task", FieldType::Integer),
            ] {
                let index = CreateFieldIndexCollectionBuilder::new(C, field, kind).wait(true);
                qdrant.create_field_index(index).await.unwrap();
            }
        } else {
            check(&qdrant, &allowed).await;
            check_heavy(&qdrant, &heavy).await;
        }
        let mut tasks = JoinSet::new();
        if round % 2 == 1 {
            let (qdrant, heavy, revision) =
                (qdrant.clone(), Arc::clone(&heavy), Arc::clone(&revision));
            tasks.spawn(async move {
                write_heavy(&qdrant, &revision, &heavy).await;
                0
            });
        }
        for task in 0..TASKS {
            let (qdrant, allowed, revision) =
                (qdrant.clone(), Arc::clone(&allowed), Arc::clone(&revision));
            tasks.spawn(async move {
                let mut written = 0_u64;
                loop {
                    let id = task + TASKS * rand::rng().random_range(0..IDS_PER_TASK);
                    let revision = revision.fetch_add(1, Ordering::Relaxed);
                    if !write(&qdrant, id, revision, &allowed).await {
                        return written;
                    }
                    written += 1;
                }
            });
        }
        let life = if round % 2 == 1 { 300..1_500 } else { 50..600 };
        let life = rand::rng().random_range(life);
        tokio::time::sleep(Duration::from_millis(life)).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        acknowledged += tasks.join_all().await.iter().sum::<u64>();
    }
    let (_child, address) = spawn(dir.path()).await;
    let qdrant = client(address);
    let left = check(&qdrant, &allowed).await;
    check_heavy(&qdrant, &heavy).await;
    assert!(heavy.load(Ordering::Relaxed) > 0);
    println!("{acknowledged} acknowledged writes over 8 kills, {left} points left");
    assert!(acknowledged > 100, "{acknowledged}");
    assert!(left > 0);
}
