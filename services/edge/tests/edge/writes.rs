//! The calls that change points.

use qdrant_client::qdrant::{
    Condition, DeletePayloadPointsBuilder, DeletePointsBuilder, Filter, PointsIdsList,
    SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use serde_json::json;
use tonic::Code;

use crate::support::{C, matching, open, payload, point, put, refused, server, stored};

fn one(id: u64) -> PointsIdsList {
    PointsIdsList {
        ids: vec![id.into()],
    }
}

#[tokio::test]
async fn an_upsert_replaces_the_whole_point() {
    let server = server().await;
    let client = &server.client;
    put(client, vec![point(1, json!({"a": 1, "b": 2}))]).await;
    put(client, vec![point(1, json!({"a": 3}))]).await;
    assert_eq!(stored(client, 1).await, json!({"a": 3}));
}

#[tokio::test]
async fn set_payload_merges_at_the_top_and_below_a_key() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        vec![
            point(1, json!({"a": 1, "o": {"x": 1}})),
            point(2, json!({"a": 1})),
        ],
    )
    .await;
    let set = SetPayloadPointsBuilder::new(C, payload(json!({"b": 2})))
        .points_selector(one(1))
        .wait(true);
    client.set_payload(set).await.unwrap();
    assert_eq!(
        stored(client, 1).await,
        json!({"a": 1, "b": 2, "o": {"x": 1}})
    );
    let set = SetPayloadPointsBuilder::new(C, payload(json!({"y": 2})))
        .points_selector(one(1))
        .key("o")
        .wait(true);
    client.set_payload(set).await.unwrap();
    assert_eq!(
        stored(client, 1).await,
        json!({"a": 1, "b": 2, "o": {"x": 1, "y": 2}})
    );
    let all = Filter::must([Condition::matches("a", 1)]);
    let set = SetPayloadPointsBuilder::new(C, payload(json!({"a": 9})))
        .points_selector(all)
        .wait(true);
    client.set_payload(set).await.unwrap();
    assert_eq!(stored(client, 1).await["a"], json!(9));
    assert_eq!(stored(client, 2).await, json!({"a": 9}));
}

#[tokio::test]
async fn set_payload_on_a_missing_point_is_not_found() {
    let server = server().await;
    let set = SetPayloadPointsBuilder::new(C, payload(json!({"b": 2})))
        .points_selector(one(7))
        .wait(true);
    let missing = refused(server.client.set_payload(set).await);
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains('7'), "{}", missing.message());
    assert_eq!(stored(&server.client, 7).await, json!(null));
}

#[tokio::test]
async fn overwrite_and_delete_payload() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        vec![
            point(1, json!({"a": 1, "o": {"x": 1, "y": 2}})),
            point(2, json!({"a": 1})),
        ],
    )
    .await;
    let delete = DeletePayloadPointsBuilder::new(C, vec!["o.x".to_owned(), "gone".to_owned()])
        .points_selector(one(1))
        .wait(true);
    client.delete_payload(delete).await.unwrap();
    assert_eq!(stored(client, 1).await, json!({"a": 1, "o": {"y": 2}}));
    let overwrite = SetPayloadPointsBuilder::new(C, payload(json!({"z": 1})))
        .points_selector(one(1))
        .wait(true);
    client.overwrite_payload(overwrite).await.unwrap();
    assert_eq!(stored(client, 1).await, json!({"z": 1}));
    let filter = Filter::must([Condition::matches("a", 1)]);
    let delete = DeletePayloadPointsBuilder::new(C, vec!["a".to_owned()])
        .points_selector(filter)
        .wait(true);
    client.delete_payload(delete).await.unwrap();
    assert_eq!(stored(client, 2).await, json!({}));
}

#[tokio::test]
async fn points_are_deleted_by_id_and_by_filter() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        (1..=6).map(|id| point(id, json!({"n": id}))).collect(),
    )
    .await;
    let ids = PointsIdsList {
        ids: vec![1.into(), 2.into(), 77.into()],
    };
    client
        .delete_points(DeletePointsBuilder::new(C).points(ids).wait(true))
        .await
        .unwrap();
    assert_eq!(matching(client, Filter::default()).await, [3, 4, 5, 6]);
    let filter = Filter::any([Condition::matches("n", 3), Condition::matches("n", 6)]);
    client
        .delete_points(DeletePointsBuilder::new(C).points(filter).wait(true))
        .await
        .unwrap();
    assert_eq!(matching(client, Filter::default()).await, [4, 5]);
    // A deleted id can come back.
    put(client, vec![point(3, json!({"n": 30}))]).await;
    assert_eq!(stored(client, 3).await, json!({"n": 30}));
}

#[tokio::test]
async fn a_refused_write_changes_nothing_and_harms_no_other() {
    let server = server().await;
    let client = &server.client;
    put(client, vec![point(1, json!({"a": 1}))]).await;
    let mut wrong = point(2, json!({}));
    wrong.vectors = Some(vec![1.0_f32, 2.0].into());
    let upsert = UpsertPointsBuilder::new(C, vec![point(1, json!({"a": 2})), wrong]).wait(true);
    let refusal = refused(client.upsert_points(upsert).await);
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        refusal.message().contains("expected dim: 4, got 2"),
        "{}",
        refusal.message()
    );
    assert_eq!(stored(client, 1).await, json!({"a": 1}));
    put(client, vec![point(2, json!({"a": 3}))]).await;
    assert_eq!(stored(client, 2).await, json!({"a": 3}));
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        (0..300)
            .map(|id| point(id, json!({"n": id, "odd": id % 2 == 1})))
            .collect(),
    )
    .await;
    let set = SetPayloadPointsBuilder::new(C, payload(json!({"late": true})))
        .points_selector(one(5))
        .wait(true);
    client.set_payload(set).await.unwrap();
    let ids = PointsIdsList {
        ids: (100..200).map(u64::into).collect(),
    };
    client
        .delete_points(DeletePointsBuilder::new(C).points(ids).wait(true))
        .await
        .unwrap();
    server.edge.shutdown().await;

    let (edge, client) = open(server.dir.path()).await;
    let expected: Vec<u64> = (0..100).chain(200..300).collect();
    assert_eq!(matching(&client, Filter::default()).await, expected);
    assert_eq!(
        stored(&client, 5).await,
        json!({"n": 5, "odd": true, "late": true})
    );
    // And it goes on from there.
    put(
        &client,
        vec![point(5, json!({"n": 50})), point(150, json!({"n": 150}))],
    )
    .await;
    drop(edge);

    let (_edge, client) = open(server.dir.path()).await;
    assert_eq!(stored(&client, 5).await, json!({"n": 50}));
    assert_eq!(stored(&client, 150).await, json!({"n": 150}));
}
