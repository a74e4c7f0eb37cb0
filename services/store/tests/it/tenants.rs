//! Nothing crosses a tenant.

use std::collections::HashMap;

use foil_proto::names::user_key;
use foil_store::{Due, Item, RecordKey, StoreError};
use prost::Message;
use qdrant_client::qdrant::{PointStruct, UpsertPointsBuilder, Value};

use crate::support::{Rig, TENANT, at, difference, item_of, profile, record};

const OTHER: &str = "other";

#[tokio::test]
async fn the_same_ids_in_two_tenants_are_two_of_everything() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let mine = record("mara", "kettle", 1);
    let mut theirs = record("mara", "kettle", 9);
    theirs.key.tenant = OTHER.to_owned();
    theirs.text = "theirs".to_owned();
    store.put_record(&mine).await.unwrap();
    store.put_record(&theirs).await.unwrap();
    for tenant in [TENANT, OTHER] {
        for records in [
            store.item_records(tenant, "kettle", 9).await.unwrap(),
            store.user_records(tenant, "mara", 9).await.unwrap(),
        ] {
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].key.tenant, tenant);
        }
        assert_eq!(store.count_item_records(tenant, "kettle").await.unwrap(), 1);
        assert_eq!(store.count_user_records(tenant, "mara").await.unwrap(), 1);
        let item = Item {
            id: "kettle".to_owned(),
            title: tenant.to_owned(),
            description: String::new(),
            revision: 1,
        };
        store.put_item(tenant, &item, 1).await.unwrap();
    }
    assert_eq!(
        store.item(OTHER, "kettle").await.unwrap().unwrap().title,
        OTHER
    );

    store.put_opt_out(OTHER, "mara", true, 1).await.unwrap();
    assert!(!store.user_state(TENANT, "mara").await.unwrap().opted_out);
    assert!(!store.record(&mine.key).await.unwrap().unwrap().opted_out);

    store.touch_active(TENANT, "mara").await.unwrap();
    store.put_profile(&profile("mara", 1), 0).await.unwrap();
    assert!(store.are_active(OTHER, &["mara"]).await.unwrap().is_empty());
    assert!(store.profile(OTHER, "mara").await.unwrap().is_none());

    let erased = store.erase_user(OTHER, "mara", at(99)).await.unwrap();
    assert_eq!((erased.records, erased.profiles), (1, 0));
    assert!(store.record(&mine.key).await.unwrap().is_some());
    assert!(store.profile(TENANT, "mara").await.unwrap().is_some());
    assert_eq!(store.are_active(TENANT, &["mara"]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_tenants_point_id_is_an_error_and_changes_nothing() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let mine = item_of(store, "kettle", &["mara", "ben"]).await;
    let mut theirs = record("eve", "kettle", 1);
    theirs.key.tenant = OTHER.to_owned();
    store.put_record(&theirs).await.unwrap();
    let foreign = theirs.key.id();

    let ids = [mine[0].id, foreign];
    let refused = store.records_by_ids(TENANT, &ids, true).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::TenantMismatch { .. }),
        "{refused}"
    );

    let eve = store.record(&theirs.key).await.unwrap().unwrap();
    let found = difference(&mine[0], &[&eve]);
    let refused = store
        .put_difference(&mine[0].key, 1, &found)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::TenantMismatch { .. }),
        "{refused}"
    );

    let marks = [Due {
        id: foreign,
        fingerprint: "chosen-1".to_owned(),
    }];
    store.mark_due(TENANT, &marks).await.unwrap();
    assert_eq!(store.count_due(OTHER, "eve", 0).await.unwrap(), 0);

    let found = difference(&mine[0], &[&mine[1]]);
    store.put_difference(&mine[0].key, 1, &found).await.unwrap();
    let cleared = store
        .clear_differences_using(OTHER, &[mine[1].id], "test")
        .await;
    assert!(cleared.unwrap().is_empty());
    let kept = store.record(&mine[0].key).await.unwrap().unwrap();
    assert_eq!(kept.difference, Some(found));
}

/// Someone wrote past Foil: under the id that follows from one tenant's key lies another's data.
#[tokio::test]
async fn an_answer_of_another_tenant_is_never_data() {
    let rig = Rig::start().await;
    let key = RecordKey::new(TENANT, "mara", "kettle");
    let payload: HashMap<String, Value> = [
        ("tenant", OTHER.into()),
        ("user", "mara".into()),
        ("item", "kettle".into()),
        ("text", "theirs".into()),
        ("deleted", false.into()),
    ]
    .map(|(name, value): (&str, Value)| (name.to_owned(), value))
    .into();
    let point = PointStruct::new(key.id(), vec![1.0, 0.0, 0.0, 0.0], payload);
    let call = UpsertPointsBuilder::new("foil_records", vec![point]).wait(true);
    rig.qdrant().upsert_points(call).await.unwrap();

    let read = rig.store.record(&key).await.unwrap_err();
    assert!(matches!(read, StoreError::TenantMismatch { .. }), "{read}");
    let write = rig
        .store
        .put_record(&record("mara", "kettle", u64::MAX))
        .await;
    assert!(matches!(write, Err(StoreError::TenantMismatch { .. })));
    assert!(
        rig.store
            .item_records(TENANT, "kettle", 9)
            .await
            .unwrap()
            .is_empty()
    );
    let deleted = rig
        .store
        .delete_record(&key, u64::MAX, 9)
        .await
        .unwrap_err();
    assert!(
        matches!(deleted, StoreError::TenantMismatch { .. }),
        "{deleted}"
    );
    assert_eq!(
        rig.store.count_item_records(OTHER, "kettle").await.unwrap(),
        1
    );

    let mut theirs = profile("mara", 1);
    theirs.tenant = OTHER.to_owned();
    let subject = format!("$KV.FOIL_PROFILES.{}", user_key(TENANT, "mara"));
    let js = rig.jetstream().await;
    let value = theirs.encode_to_vec().into();
    js.publish(subject, value).await.unwrap().await.unwrap();
    for read in [
        rig.store.profile(TENANT, "mara").await.map(drop),
        rig.store.profile_history(TENANT, "mara").await.map(drop),
    ] {
        assert!(matches!(read, Err(StoreError::TenantMismatch { .. })));
    }
}

#[tokio::test]
async fn an_id_with_white_space_is_an_id_and_no_search_for_words() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let tenant = "two words";
    // Each holds the words of the one before.
    let ids = ["tea", "tea pot", "tea pot\nlid", " "];
    for user in ids {
        for item in ids {
            let mut write = record(user, item, 1);
            write.key.tenant = tenant.to_owned();
            store.put_record(&write).await.unwrap();
        }
    }
    for id in ids {
        for records in [
            store.user_records(tenant, id, 9).await.unwrap(),
            store.item_records(tenant, id, 9).await.unwrap(),
        ] {
            assert_eq!(records.len(), ids.len(), "{id:?}");
        }
        assert_eq!(
            store.count_item_records("two", id).await.unwrap(),
            0,
            "{id:?}"
        );
    }
    let erased = store.erase_user(tenant, "tea pot", at(99)).await.unwrap();
    assert_eq!(erased.records, 4);
    for (user, left) in [("tea", 4), ("tea pot", 0), ("tea pot\nlid", 4)] {
        let count = store.count_user_records(tenant, user).await.unwrap();
        assert_eq!(count, left, "{user:?}");
    }
}
