//! An older revision never overwrites a newer one, whatever the order of arrival.

use qdrant_client::qdrant::{Condition, Filter, Range, UpdateMode, UpsertPointsBuilder};
use rand::seq::SliceRandom;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{C, payload, point, put, server, stored};

fn older_than(revision: u64) -> Filter {
    Filter::must([Condition::range(
        "revision",
        Range {
            lt: Some(revision as f64),
            ..Default::default()
        },
    )])
}

fn fenced(id: u64, revision: u64) -> UpsertPointsBuilder {
    let point = point(
        id,
        json!({"revision": revision, "text": format!("text {revision}")}),
    );
    UpsertPointsBuilder::new(C, vec![point])
        .wait(true)
        .update_filter(older_than(revision))
}

#[tokio::test]
async fn a_missing_point_is_inserted_and_an_existing_one_only_replaced_where_it_matches() {
    let server = server().await;
    let client = &server.client;
    for (revision, left) in [(5, 5), (4, 5), (5, 5), (6, 6), (1, 6)] {
        client.upsert_points(fenced(1, revision)).await.unwrap();
        assert_eq!(stored(client, 1).await["revision"], json!(left));
    }
    // A point that lacks the field does not match, so it stays.
    put(client, vec![point(2, json!({"text": "no revision"}))]).await;
    client.upsert_points(fenced(2, 9)).await.unwrap();
    assert_eq!(stored(client, 2).await, json!({"text": "no revision"}));
}

#[tokio::test]
async fn each_point_of_an_upsert_is_judged_alone() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        vec![
            point(1, json!({"revision": 9})),
            point(2, json!({"revision": 1})),
        ],
    )
    .await;
    let points = (1..=3)
        .map(|id| point(id, json!({"revision": 5})))
        .collect::<Vec<_>>();
    let upsert = UpsertPointsBuilder::new(C, points)
        .wait(true)
        .update_filter(older_than(5));
    client.upsert_points(upsert).await.unwrap();
    for (id, revision) in [(1, 9), (2, 5), (3, 5)] {
        assert_eq!(stored(client, id).await["revision"], json!(revision));
    }
}

#[tokio::test]
async fn update_modes_insert_only_and_update_only() {
    let server = server().await;
    let client = &server.client;
    let upsert = |id, text: &str, mode: UpdateMode| {
        let point = point(id, json!({"text": text}));
        client.upsert_points(
            UpsertPointsBuilder::new(C, vec![point])
                .wait(true)
                .update_mode(mode),
        )
    };
    upsert(1, "first", UpdateMode::InsertOnly).await.unwrap();
    upsert(1, "second", UpdateMode::InsertOnly).await.unwrap();
    assert_eq!(stored(client, 1).await, json!({"text": "first"}));
    upsert(2, "none", UpdateMode::UpdateOnly).await.unwrap();
    assert_eq!(stored(client, 2).await, json!(null));
    upsert(1, "third", UpdateMode::UpdateOnly).await.unwrap();
    assert_eq!(stored(client, 1).await, payload_json("third"));
}

fn payload_json(text: &str) -> serde_json::Value {
    serde_json::Value::Object(payload(json!({"text": text})).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_upserts_at_once_the_highest_revision_stays() {
    let server = server().await;
    for indexed in [false, true] {
        if indexed {
            use qdrant_client::qdrant::{CreateFieldIndexCollectionBuilder, FieldType};
            let index = CreateFieldIndexCollectionBuilder::new(C, "revision", FieldType::Integer);
            server
                .client
                .create_field_index(index.wait(true))
                .await
                .unwrap();
        }
        let id = u64::from(indexed);
        let mut revisions: Vec<u64> = (1..=200).collect();
        revisions.shuffle(&mut rand::rng());
        let mut writes = JoinSet::new();
        for revision in revisions {
            let client = server.client.clone();
            writes.spawn(async move {
                client.upsert_points(fenced(id, revision)).await.unwrap();
                // Acknowledged, so nothing older may be seen from here on.
                let seen = stored(&client, id).await["revision"].as_u64().unwrap();
                assert!(seen >= revision, "{seen} after {revision} was acknowledged");
            });
        }
        while let Some(done) = writes.join_next().await {
            done.unwrap();
        }
        let left = stored(&server.client, id).await;
        assert_eq!(left, json!({"revision": 200, "text": "text 200"}));
    }
}
