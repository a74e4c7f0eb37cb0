//! Each number of a call: at its limit it is served, above it is refused by field.

use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, Distance, FacetCountsBuilder, Filter,
    GetPointsBuilder, PointId, PointStruct, QueryPointsBuilder, ScrollPointsBuilder,
    UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, QdrantError};
use serde_json::json;
use tonic::Code;

use crate::support::{C, point, put, refused, server};

const PAGE: u64 = 16_384;
const IDS: u64 = 16_384;
const CONDITIONS: usize = 1_024;

/// Served, or refused by this field.
fn check<T: std::fmt::Debug>(what: &str, field: &str, good: bool, answer: Result<T, QdrantError>) {
    if good {
        answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        return;
    }
    let status = refused(answer);
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    assert!(
        status.message().starts_with(field),
        "{what}: {}",
        status.message()
    );
}

#[tokio::test]
async fn pages_and_offsets() {
    let server = server().await;
    put(&server.client, vec![point(1, json!({ "user": "mara" }))]).await;
    for limit in [0, 1, PAGE - 1, PAGE, PAGE + 1] {
        let good = (1..=PAGE).contains(&limit);
        let small = u32::try_from(limit).unwrap();
        let scroll = ScrollPointsBuilder::new(C).limit(small);
        check(
            "a scroll",
            "limit",
            good,
            server.client.scroll(scroll).await,
        );
        let query = QueryPointsBuilder::new(C).query(vec![1.0_f32, 0.0, 0.0, 1.0]);
        let nearest = server.client.query(query.clone().limit(limit)).await;
        check("a query", "limit", good, nearest);
        let offset = server.client.query(query.offset(limit)).await;
        check("a query's offset", "offset", limit <= PAGE, offset);
    }
    // A facet needs its index; the limit is looked at before.
    let facet = FacetCountsBuilder::new(C, "user").limit(PAGE + 1);
    check("a facet", "limit", false, server.client.facet(facet).await);
}

#[tokio::test]
async fn ids_points_and_values() {
    let server = server().await;
    for count in [IDS - 1, IDS, IDS + 1] {
        let good = count <= IDS;
        let ids: Vec<PointId> = (0..count).map(PointId::from).collect();
        let get = server
            .client
            .get_points(GetPointsBuilder::new(C, ids.clone()))
            .await;
        check("ids of a get", "ids", good, get);
        let filter = Filter::must([Condition::has_id(ids)]);
        let counted = server
            .client
            .count(CountPointsBuilder::new(C).filter(filter))
            .await;
        check("ids of a filter", "filter.has_id", good, counted);
        let values: Vec<String> = (0..count).map(|value| value.to_string()).collect();
        let filter = Filter::must([Condition::matches("user", values)]);
        let counted = server
            .client
            .count(CountPointsBuilder::new(C).filter(filter))
            .await;
        check("values of a filter", "filter.match", good, counted);
    }
    for count in [IDS, IDS + 1] {
        let points = (0..count).map(|id| PointStruct::new(id, vec![1.0; 4], Payload::new()));
        let upsert = UpsertPointsBuilder::new(C, points.collect::<Vec<_>>()).wait(true);
        let written = server.client.upsert_points(upsert).await;
        check("points", "points", count <= IDS, written);
    }
}

#[tokio::test]
async fn conditions() {
    let server = server().await;
    for count in [CONDITIONS - 1, CONDITIONS, CONDITIONS + 1] {
        let good = count <= CONDITIONS;
        let condition = |number: usize| Condition::matches("n", i64::try_from(number).unwrap());
        let flat = Filter::should((0..count).map(condition));
        // The inner ones count, and the one that holds them.
        let inner = Filter::should((1..count).map(condition));
        for filter in [flat, Filter::must([Condition::from(inner)])] {
            let counted = server
                .client
                .count(CountPointsBuilder::new(C).filter(filter))
                .await;
            check("conditions", "filter", good, counted);
        }
    }
}

#[tokio::test]
async fn collections_and_dimensions() {
    let server = server().await;
    let create = |name: String, size: u64| {
        let vectors = VectorParamsBuilder::new(size, Distance::Cosine);
        let collection = CreateCollectionBuilder::new(name).vectors_config(vectors);
        server.client.create_collection(collection)
    };
    for size in [1, 65_535, 65_536, 65_537] {
        let made = create(format!("size-{size}"), size).await;
        check("a dimension", "vectors_config.size", size <= 65_536, made);
    }
    // One is there from the start, three were made above.
    for number in 4..64 {
        create(format!("c-{number}"), 4).await.unwrap();
    }
    let status = refused(create("one-more".to_owned(), 4).await);
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("64"), "{}", status.message());
    server.client.delete_collection("c-4").await.unwrap();
    create("one-more".to_owned(), 4).await.unwrap();
    // A name is as long as the file system allows it to be.
    server.client.delete_collection("c-5").await.unwrap();
    let longest = refused(create("x".repeat(256), 4).await);
    assert_eq!(longest.code(), Code::InvalidArgument, "{longest:?}");
    create("x".repeat(200), 4).await.unwrap();
}
