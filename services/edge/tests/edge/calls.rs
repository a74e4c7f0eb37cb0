//! Each call does what Qdrant's server does.

use qdrant_client::qdrant::vector_output::Vector;
use qdrant_client::qdrant::{Condition, PointId};
use qdrant_client::qdrant::{
    CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, Distance,
    FacetCountsBuilder, FieldType, Filter, GetPointsBuilder, KeywordIndexParamsBuilder,
    PayloadExcludeSelector, PayloadIncludeSelector, PayloadSchemaType, PointStruct,
    QueryPointsBuilder, ScrollPointsBuilder, UpsertPointsBuilder, VectorParamsBuilder, facet_value,
    vectors_config,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{C, create, empty, json, number, payload, point, put, refused, server};

#[tokio::test]
async fn a_collection_is_created_described_listed_and_deleted() {
    let server = empty().await;
    let client = &server.client;
    assert!(!client.collection_exists("a").await.unwrap());
    create(client, "a", 3).await;
    create(client, "b", 5).await;
    assert!(client.collection_exists("a").await.unwrap());
    let mut names: Vec<String> = client
        .list_collections()
        .await
        .unwrap()
        .collections
        .into_iter()
        .map(|c| c.name)
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);

    let info = client.collection_info("b").await.unwrap().result.unwrap();
    assert_eq!(info.points_count, Some(0));
    let params = info.config.unwrap().params.unwrap();
    match params.vectors_config.unwrap().config {
        Some(vectors_config::Config::Params(params)) => {
            assert_eq!((params.size, params.distance()), (5, Distance::Cosine));
        }
        other => panic!("{other:?}"),
    }

    assert!(client.delete_collection("a").await.unwrap().result);
    assert!(!client.delete_collection("a").await.unwrap().result);
    assert!(!client.collection_exists("a").await.unwrap());
    let missing = refused(client.collection_info("a").await);
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("`a`"), "{}", missing.message());
    // The name is free again.
    create(client, "a", 3).await;
}

#[tokio::test]
async fn a_collection_that_exists_is_not_created_again() {
    let server = server().await;
    let vectors = VectorParamsBuilder::new(4, Distance::Cosine);
    let again = CreateCollectionBuilder::new(C).vectors_config(vectors);
    let again = refused(server.client.create_collection(again).await);
    assert_eq!(again.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn payload_and_vector_come_back_as_they_went_in() {
    let server = server().await;
    let client = &server.client;
    let value = json!({
        "null": null, "true": true, "integer": i64::MIN, "large": 9_007_199_254_740_993_i64,
        "double": 0.1, "whole": 3.0, "text": "naïve \u{1F98A}\n\u{0}", "empty": "",
        "list": [1, 2.5, "x", [], {}], "object": {"a": {"b": {"c": [null]}}}, "key with.dot": 1,
    });
    let uuid = "0b9f2e0c-8b1e-5c55-9f5b-7f8f0a8f2b11";
    let vector = vec![0.6_f32, 0.8, 0.0, 0.0];
    let stored = PointStruct::new(uuid, vector.clone(), payload(value.clone()));
    put(client, vec![stored]).await;

    let get = GetPointsBuilder::new(C, vec![uuid.into()])
        .with_payload(true)
        .with_vectors(true);
    let found = client.get_points(get).await.unwrap().result.remove(0);
    assert_eq!(found.id, Some(PointId::from(uuid)));
    assert_eq!(json(&found), value);
    assert_eq!(found.payload["whole"].as_double(), Some(3.0));
    match found.vectors.unwrap().get_vector().unwrap() {
        Vector::Dense(dense) => assert_eq!(dense.data, vector),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn get_selects_ids_payload_and_vectors() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        (1..=3)
            .map(|id| point(id, json!({"a": id, "b": {"c": 1, "d": 2}})))
            .collect(),
    )
    .await;

    let ids = vec![3.into(), 9.into(), 1.into()];
    let found = client
        .get_points(GetPointsBuilder::new(C, ids))
        .await
        .unwrap()
        .result;
    let order: Vec<u64> = found.iter().map(|p| number(&p.id)).collect();
    assert_eq!(
        order,
        [3, 1],
        "in the order asked for, the missing one left out"
    );
    assert!(
        found.iter().all(|p| p.vectors.is_none()),
        "vectors only when asked for"
    );

    let one = |selector: qdrant_client::qdrant::with_payload_selector::SelectorOptions| {
        client.get_points(GetPointsBuilder::new(C, vec![2.into()]).with_payload(selector))
    };
    let include = PayloadIncludeSelector {
        fields: vec!["a".into(), "b.d".into()],
    };
    let found = one(include.into()).await.unwrap().result.remove(0);
    assert_eq!(json(&found), json!({"a": 2, "b": {"d": 2}}));
    let exclude = PayloadExcludeSelector {
        fields: vec!["b".into()],
    };
    let found = one(exclude.into()).await.unwrap().result.remove(0);
    assert_eq!(json(&found), json!({"a": 2}));
    let found = one(false.into()).await.unwrap().result.remove(0);
    assert_eq!(json(&found), json!({}));
}

#[tokio::test]
async fn scroll_pages_through_everything_once_in_order() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        (0..25)
            .rev()
            .map(|id| point(id, json!({"even": id % 2 == 0})))
            .collect(),
    )
    .await;
    let (mut offset, mut seen, mut pages) = (None::<PointId>, Vec::new(), 0);
    loop {
        let mut scroll = ScrollPointsBuilder::new(C)
            .filter(Filter::must([Condition::matches("even", true)]))
            .limit(5)
            .with_vectors(true);
        if let Some(offset) = offset.take() {
            scroll = scroll.offset(offset);
        }
        let page = client.scroll(scroll).await.unwrap();
        assert!(page.result.iter().all(|p| p.vectors.is_some()));
        seen.extend(page.result.iter().map(|p| number(&p.id)));
        pages += 1;
        offset = page.next_page_offset;
        if offset.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..25).step_by(2).collect::<Vec<u64>>());
    assert_eq!(pages, 3);
    // No limit means 10, as in Qdrant.
    let page = client.scroll(ScrollPointsBuilder::new(C)).await.unwrap();
    assert_eq!(page.result.len(), 10);
    assert_eq!(number(&page.next_page_offset), 10);
}

#[tokio::test]
async fn count_and_facet_follow_the_filter() {
    let server = server().await;
    let client = &server.client;
    for (field, kind) in [
        ("user", FieldType::Keyword),
        ("n", FieldType::Integer),
        ("flag", FieldType::Bool),
        ("ref", FieldType::Uuid),
    ] {
        client
            .create_field_index(CreateFieldIndexCollectionBuilder::new(C, field, kind).wait(true))
            .await
            .unwrap();
    }
    let uuid = "0b9f2e0c-8b1e-5c55-9f5b-7f8f0a8f2b11";
    put(
        client,
        (0..12)
            .map(|id| {
                let user = if id < 8 { "ann" } else { "bob" };
                point(
                    id,
                    json!({"user": user, "n": id % 3, "flag": id == 0, "ref": uuid}),
                )
            })
            .collect(),
    )
    .await;
    let filter = Filter::must([Condition::matches("n", 0)]);
    let count = client
        .count(
            CountPointsBuilder::new(C)
                .filter(filter.clone())
                .exact(true),
        )
        .await
        .unwrap();
    assert_eq!(count.result.unwrap().count, 4);
    assert_eq!(
        client
            .count(CountPointsBuilder::new(C))
            .await
            .unwrap()
            .result
            .unwrap()
            .count,
        12
    );

    let facet = client
        .facet(FacetCountsBuilder::new(C, "user").filter(filter).limit(10))
        .await
        .unwrap();
    let hits: Vec<_> = facet
        .hits
        .into_iter()
        .map(|h| (h.value.unwrap().variant.unwrap(), h.count))
        .collect();
    let text = |s: &str| facet_value::Variant::StringValue(s.to_owned());
    assert_eq!(hits, [(text("ann"), 3), (text("bob"), 1)]);
    let facet = client
        .facet(FacetCountsBuilder::new(C, "ref"))
        .await
        .unwrap();
    assert_eq!(
        facet.hits[0].value.clone().unwrap().variant,
        Some(text(uuid))
    );
    let facet = client
        .facet(FacetCountsBuilder::new(C, "n").limit(1))
        .await
        .unwrap();
    assert_eq!(facet.hits.len(), 1);
    let unindexed = refused(client.facet(FacetCountsBuilder::new(C, "other")).await);
    assert_eq!(unindexed.code(), Code::InvalidArgument);
    assert!(unindexed.message().contains("other"));
}

#[tokio::test]
async fn indexes_are_described_and_change_no_answer() {
    let server = server().await;
    let client = &server.client;
    put(
        client,
        (0..6)
            .map(|id| point(id, json!({"tenant": format!("t{}", id % 2)})))
            .collect(),
    )
    .await;
    let filter = Filter::must([Condition::matches("tenant", "t1".to_owned())]);
    let before = crate::support::matching(client, filter.clone()).await;
    let params = KeywordIndexParamsBuilder::default().is_tenant(true);
    let index = CreateFieldIndexCollectionBuilder::new(C, "tenant", FieldType::Keyword)
        .field_index_params(params)
        .wait(true);
    // Twice: provisioning repeats itself.
    client.create_field_index(index.clone()).await.unwrap();
    client.create_field_index(index).await.unwrap();
    assert_eq!(crate::support::matching(client, filter).await, before);
    assert_eq!(before, [1, 3, 5]);
    let info = client.collection_info(C).await.unwrap().result.unwrap();
    let tenant = &info.payload_schema["tenant"];
    assert_eq!(tenant.data_type(), PayloadSchemaType::Keyword);
    assert_eq!(tenant.points, Some(6));
    assert_eq!(info.points_count, Some(6));
}

#[tokio::test]
async fn query_finds_the_nearest_under_a_filter() {
    let server = server().await;
    let client = &server.client;
    let vectors = [
        [1.0, 0.0, 0.0, 0.0],
        [0.9, 0.1, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.95, 0.05, 0.0, 0.0],
    ];
    let points = vectors
        .iter()
        .enumerate()
        .map(|(id, v)| PointStruct::new(id as u64, v.to_vec(), payload(json!({"ok": id != 3}))));
    put(client, points.collect()).await;
    let query = QueryPointsBuilder::new(C)
        .query(vec![1.0_f32, 0.0, 0.0, 0.0])
        .filter(Filter::must([Condition::matches("ok", true)]))
        .limit(2)
        .with_payload(true);
    let found = client.query(query).await.unwrap().result;
    let ids: Vec<u64> = found.iter().map(|p| number(&p.id)).collect();
    assert_eq!(ids, [0, 1]);
    assert!((found[0].score - 1.0).abs() < 1e-6);
    assert_eq!(found[0].payload["ok"].as_bool(), Some(true));
}

#[tokio::test]
async fn a_collection_without_vectors_holds_points() {
    let server = empty().await;
    let client = &server.client;
    client
        .create_collection(CreateCollectionBuilder::new("items"))
        .await
        .unwrap();
    let info = client
        .collection_info("items")
        .await
        .unwrap()
        .result
        .unwrap();
    let params = info.config.unwrap().params.unwrap();
    match params.vectors_config.unwrap().config {
        Some(vectors_config::Config::ParamsMap(map)) => assert!(map.map.is_empty()),
        other => panic!("{other:?}"),
    }
    let item = |id: u64, vectors: qdrant_client::qdrant::Vectors| {
        let point = PointStruct::new(id, vectors, payload(json!({"title": "tea", "id": id})));
        client.upsert_points(UpsertPointsBuilder::new("items", vec![point]).wait(true))
    };
    for id in 0..3 {
        item(id, Default::default()).await.unwrap();
    }
    let get = GetPointsBuilder::new("items", vec![1.into()])
        .with_payload(true)
        .with_vectors(true);
    let found = client.get_points(get).await.unwrap().result.remove(0);
    assert_eq!(json(&found), json!({"title": "tea", "id": 1}));
    assert_eq!(found.vectors, None);
    let filter = Filter::must([Condition::matches("title", "tea".to_owned())]);
    let count = client
        .count(CountPointsBuilder::new("items").filter(filter))
        .await
        .unwrap();
    assert_eq!(count.result.unwrap().count, 3);
    let refusal = refused(item(9, vec![1.0_f32].into()).await);
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        refusal.message().starts_with("points.vectors"),
        "{}",
        refusal.message()
    );
}

#[tokio::test]
async fn collections_do_not_see_each_other() {
    let server = server().await;
    let client = &server.client;
    create(client, "other", 2).await;
    put(client, vec![point(1, json!({"in": "records"}))]).await;
    let other = PointStruct::new(1, vec![0.0_f32, 1.0], payload(json!({"in": "other"})));
    client
        .upsert_points(UpsertPointsBuilder::new("other", vec![other]).wait(true))
        .await
        .unwrap();
    assert_eq!(
        crate::support::stored(client, 1).await,
        json!({"in": "records"})
    );
    client.delete_collection("other").await.unwrap();
    assert_eq!(
        crate::support::stored(client, 1).await,
        json!({"in": "records"})
    );
}

#[tokio::test]
async fn the_health_check_satisfies_the_client() {
    let server = empty().await;
    let reply = server.client.health_check().await.unwrap();
    assert!(reply.version.starts_with("1."), "{}", reply.version);
    assert_eq!(Value::from(reply.title.contains("foil-edge")), json!(true));
}
