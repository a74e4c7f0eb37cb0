//! Bad input gets an error that names the field; calls outside the part get `UNIMPLEMENTED`.

use qdrant_client::qdrant::{
    ClearPayloadPointsBuilder, CountPointsBuilder, CreateCollectionBuilder,
    CreateFieldIndexCollectionBuilder, DeletePointsBuilder, Distance, FieldType, Filter,
    GetPointsBuilder, OrderByBuilder, PointId, PointStruct, QueryPointsBuilder,
    ScrollPointsBuilder, SearchPointsBuilder, SetPayloadPointsBuilder, UpdateCollectionBuilder,
    UpdatePointVectorsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use serde_json::json;
use tonic::Code;

use crate::support::{C, payload, point, put, refused, server};

fn names(refusal: &tonic::Status, field: &str) {
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
    assert!(
        refusal.message().starts_with(field),
        "{field}: {}",
        refusal.message()
    );
}

#[tokio::test]
async fn bad_input_is_refused_by_field() {
    let server = server().await;
    let client = &server.client;
    names(
        &refused(client.scroll(ScrollPointsBuilder::new(C).limit(0)).await),
        "limit",
    );
    names(
        &refused(
            client
                .scroll(ScrollPointsBuilder::new(C).limit(20_000))
                .await,
        ),
        "limit",
    );
    names(
        &refused(
            client
                .scroll(ScrollPointsBuilder::new(C).offset("no uuid"))
                .await,
        ),
        "offset",
    );
    let order = ScrollPointsBuilder::new(C).order_by(OrderByBuilder::new("n"));
    names(&refused(client.scroll(order).await), "order_by");
    let ids: Vec<PointId> = (0..20_000).map(u64::into).collect();
    names(
        &refused(client.get_points(GetPointsBuilder::new(C, ids)).await),
        "ids",
    );
    let many: Vec<PointStruct> = (0..20_000).map(|id| point(id, json!({}))).collect();
    names(
        &refused(
            client
                .upsert_points(UpsertPointsBuilder::new(C, many))
                .await,
        ),
        "points",
    );
    let mut nameless = point(1, json!({}));
    nameless.id = None;
    names(
        &refused(
            client
                .upsert_points(UpsertPointsBuilder::new(C, vec![nameless]))
                .await,
        ),
        "points.id",
    );
    let infinite = PointStruct::new(1, vec![f32::NAN, 0.0, 0.0, 0.0], payload(json!({})));
    names(
        &refused(
            client
                .upsert_points(UpsertPointsBuilder::new(C, vec![infinite]))
                .await,
        ),
        "points.vectors",
    );
    names(
        &refused(client.delete_points(DeletePointsBuilder::new(C)).await),
        "points",
    );
    names(
        &refused(client.query(QueryPointsBuilder::new(C)).await),
        "query",
    );
    names(
        &refused(
            client
                .query(QueryPointsBuilder::new(C).query(vec![1.0_f32]))
                .await,
        ),
        "query",
    );
    let set =
        SetPayloadPointsBuilder::new(C, payload(json!({}))).points_selector(Filter::default());
    let below = set.clone().key("a");
    names(&refused(client.overwrite_payload(below).await), "key");
    let wrong = set.key("a[");
    names(&refused(client.set_payload(wrong).await), "key");
    let geo = CreateFieldIndexCollectionBuilder::new(C, "place", FieldType::Geo);
    names(&refused(client.create_field_index(geo).await), "field_type");
}

#[tokio::test]
async fn a_collection_needs_a_good_name_and_a_good_vector() {
    let server = server().await;
    let create = |name: &str, size: u64, distance: Distance| {
        let vectors = VectorParamsBuilder::new(size, distance);
        server
            .client
            .create_collection(CreateCollectionBuilder::new(name).vectors_config(vectors))
    };
    for name in ["", "a/b", "..", ".hidden", "a\nb", "a*", &"x".repeat(256)] {
        names(
            &refused(create(name, 4, Distance::Cosine).await),
            "collection_name",
        );
    }
    names(
        &refused(create("v", 0, Distance::Cosine).await),
        "vectors_config.size",
    );
    names(
        &refused(create("v", 1 << 40, Distance::Cosine).await),
        "vectors_config.size",
    );
    names(
        &refused(create("v", 4, Distance::UnknownDistance).await),
        "vectors_config.distance",
    );
    create("naïve name", 4, Distance::Dot).await.unwrap();
}

#[tokio::test]
async fn a_missing_collection_is_not_found_by_every_call() {
    let server = server().await;
    let client = &server.client;
    let upsert = UpsertPointsBuilder::new("none", vec![point(1, json!({}))]);
    for refusal in [
        refused(client.upsert_points(upsert).await),
        refused(client.scroll(ScrollPointsBuilder::new("none")).await),
        refused(client.count(CountPointsBuilder::new("none")).await),
        refused(
            client
                .get_points(GetPointsBuilder::new("none", vec![1.into()]))
                .await,
        ),
        refused(
            client
                .delete_points(DeletePointsBuilder::new("none").points(Filter::default()))
                .await,
        ),
    ] {
        assert_eq!(refusal.code(), Code::NotFound);
        assert!(refusal.message().contains("none"));
    }
}

#[tokio::test]
async fn a_large_message_passes_and_a_larger_one_does_not() {
    let server = server().await;
    let client = &server.client;
    let with_text = |bytes: usize| {
        let point = point(1, json!({"text": "x".repeat(bytes)}));
        UpsertPointsBuilder::new(C, vec![point]).wait(true)
    };
    client.upsert_points(with_text(32 << 20)).await.unwrap();
    let found = crate::support::stored(client, 1).await;
    assert_eq!(found["text"].as_str().unwrap().len(), 32 << 20);
    let refusal = refused(client.upsert_points(with_text(65 << 20)).await);
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal:?}");
    put(client, vec![point(2, json!({}))]).await;
}

#[tokio::test]
async fn calls_outside_the_part_are_unimplemented_by_name() {
    let server = server().await;
    let client = &server.client;
    let vectors = UpdatePointVectorsBuilder::new(C, vec![]);
    let clear = ClearPayloadPointsBuilder::new(C).points(Filter::default());
    let refusals = [
        (
            "Points.update_vectors",
            refused(client.update_vectors(vectors).await),
        ),
        (
            "Points.clear_payload",
            refused(client.clear_payload(clear).await),
        ),
        (
            "Points.search",
            refused(
                client
                    .search_points(SearchPointsBuilder::new(C, vec![1.0; 4], 1))
                    .await,
            ),
        ),
        (
            "Collections.update",
            refused(
                client
                    .update_collection(UpdateCollectionBuilder::new(C))
                    .await,
            ),
        ),
        (
            "Collections.list_aliases",
            refused(client.list_aliases().await),
        ),
    ];
    for (name, refusal) in refusals {
        assert_eq!(refusal.code(), Code::Unimplemented, "{name}");
        assert!(refusal.message().starts_with(name), "{}", refusal.message());
    }
    let snapshots = refused(client.list_snapshots(C).await);
    assert_eq!(snapshots.code(), Code::Unimplemented);
}
