//! Erasing a tenant: everything of it, nothing of another, and that it stays so.

use foil_proto::names::{stream, subject};
use foil_store::{Erasure, Item, Store, Written};

use crate::support::{Rig, TENANT, at, profile, record};

const OTHER: &str = "other";

fn item(revision: u64) -> Item {
    Item {
        id: "kettle".to_owned(),
        title: "A kettle".to_owned(),
        description: "It boils.".to_owned(),
        revision,
    }
}

async fn fill(rig: &Rig, tenant: &str) {
    let store = &rig.store;
    for user in ["mara", "ben"] {
        let mut write = record(user, "kettle", 1);
        write.key.tenant = tenant.to_owned();
        store.put_record(&write).await.unwrap();
        let mut version = profile(user, 1);
        version.tenant = tenant.to_owned();
        store.put_profile(&version, 0).await.unwrap();
        store.touch_active(tenant, user).await.unwrap();
    }
    store.put_item(tenant, &item(3), 2).await.unwrap();
    store.put_opt_out(tenant, "ben", true, 4).await.unwrap();
    store.erase_user(tenant, "gone", at(3)).await.unwrap();
    let js = rig.jetstream().await;
    for subject in [
        subject::update(tenant, "mara"),
        subject::update(tenant, ""),
        subject::select(tenant, "kettle"),
        subject::extract(tenant, "mara", "kettle"),
        subject::profile(tenant, "mara"),
        subject::generate(tenant, "interactive"),
        subject::event("profile.updated", tenant, "mara"),
        subject::event("user.erased", tenant, "gone"),
        subject::event("dead", tenant, ""),
        subject::dead("embedder", tenant),
        subject::dead("generator", tenant),
    ] {
        let sent = js.publish(subject, "x".into()).await.unwrap();
        sent.await.unwrap();
    }
}

const STREAMS: [&str; 7] = [
    stream::UPDATES,
    stream::SELECT,
    stream::EXTRACT,
    stream::PROFILE,
    stream::GENERATE,
    stream::EVENTS,
    stream::DEAD,
];

async fn messages(rig: &Rig) -> Vec<u64> {
    let js = rig.jetstream().await;
    let mut counts = Vec::new();
    for name in STREAMS {
        let stream = js.get_stream(name).await.unwrap();
        counts.push(stream.cached_info().state.messages);
    }
    counts
}

async fn is_whole(store: &Store, tenant: &str) -> bool {
    let records = store.item_records(tenant, "kettle", 9).await.unwrap().len();
    let item = store.item(tenant, "kettle").await.unwrap();
    let profile = store.profile(tenant, "mara").await.unwrap();
    let active = store.are_active(tenant, &["mara", "ben"]).await.unwrap();
    match (records, &item, &profile, active.len()) {
        (2, Some(_), Some(_), 2) => true,
        (0, None, None, 0) => false,
        other => panic!("half of {tenant} is there: {other:?}"),
    }
}

#[tokio::test]
async fn everything_of_it_goes_and_nothing_of_another() {
    let rig = Rig::start().await;
    let store = &rig.store;
    fill(&rig, TENANT).await;
    let alone = messages(&rig).await;
    fill(&rig, OTHER).await;
    assert!(is_whole(store, TENANT).await && is_whole(store, OTHER).await);

    let erased = store.erase_tenant(TENANT, at(100)).await.unwrap();
    assert_eq!((erased.records, erased.items), (2, 1));
    assert_eq!(erased.profiles, 2);
    let removed = erased.removed;
    assert_eq!((removed.log, removed.queued), (2, 4));
    assert_eq!((removed.dead_letters, removed.events), (2, 3));
    assert!(!is_whole(store, TENANT).await);
    assert!(is_whole(store, OTHER).await);
    assert_eq!(messages(&rig).await, alone);
    assert!(store.user_state(OTHER, "ben").await.unwrap().opted_out);
    assert_eq!(
        store
            .user_state(OTHER, "gone")
            .await
            .unwrap()
            .erased_sequence,
        3
    );

    // What stays in Qdrant names nobody and nothing.
    for collection in ["foil_records", "foil_users", "foil_items"] {
        let call = qdrant_client::qdrant::ScrollPointsBuilder::new(collection).with_payload(true);
        for point in rig.qdrant().scroll(call).await.unwrap().result {
            let payload = format!("{:?}", point.payload);
            let of_it = payload.contains(TENANT);
            assert!(
                !of_it || !payload.contains("ben") && !payload.contains("ettle"),
                "{payload}"
            );
        }
    }
    let again = store.erase_tenant(TENANT, at(100)).await.unwrap();
    assert_eq!((again.records, again.items, again.profiles), (0, 0, 0));
}

#[tokio::test]
async fn a_replay_brings_nothing_of_it_back_and_it_may_begin_anew() {
    let rig = Rig::start().await;
    let store = &rig.store;
    fill(&rig, TENANT).await;
    let mut write = record("mara", "kettle", 9);
    let erasure = Erasure {
        sequence: 100,
        at_ms: write.occurred_at_ms,
    };
    let before = store.profile_slot(TENANT, "mara").await.unwrap();
    store.erase_tenant(TENANT, erasure).await.unwrap();
    // From the log, and published again.
    for sequence in [7, 500] {
        write.sequence = sequence;
        assert_eq!(store.put_record(&write).await.unwrap(), Written::Stale);
        let old = store.put_item(TENANT, &item(3), sequence).await.unwrap();
        assert_eq!(old, Written::Stale);
        assert!(
            store
                .is_item_erased(TENANT, "kettle", (3, sequence))
                .await
                .unwrap()
        );
        // A higher revision brings the item back, if it came after the erasure.
        let newer = store.is_item_erased(TENANT, "kettle", (4, sequence));
        assert_eq!(newer.await.unwrap(), sequence < 100);
        let choice = store.put_opt_out(TENANT, "ben", true, 4).await.unwrap();
        assert_eq!(choice.written, Written::Same);
    }
    let late = profile("mara", 2);
    let late = store.put_profile(&late, before.kv_revision).await;
    assert_eq!(late.unwrap(), Written::Stale);
    assert!(
        store
            .user_records(TENANT, "mara", 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.item(TENANT, "kettle").await.unwrap().is_none());

    write.sequence = 501;
    write.occurred_at_ms += 1;
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stored);
    let new = store.put_item(TENANT, &item(4), 502).await.unwrap();
    assert_eq!(new, Written::Stored);
    // The erasure, delivered again, leaves the new beginning alone.
    store.erase_tenant(TENANT, erasure).await.unwrap();
    assert_eq!(
        store.user_records(TENANT, "mara", 9).await.unwrap().len(),
        1
    );
    assert_eq!(store.item(TENANT, "kettle").await.unwrap(), Some(item(4)));
}
