//! Erasing one record: what rests on it and nothing else.

use foil_proto::names::{header, stream, subject};
use foil_proto::v1::{self, update::Change};
use foil_store::{RecordKey, Written};
use prost::Message as _;

use crate::support::{Rig, TENANT, item_of, profile};

fn update(item: &str, revision: u64) -> Vec<u8> {
    let record = v1::RecordUpsert {
        user: "ben".to_owned(),
        item: item.to_owned(),
        text: "words".to_owned(),
        revision,
        ..v1::RecordUpsert::default()
    };
    let update = v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(Change::RecordUpsert(record)),
    };
    update.encode_to_vec()
}

fn resting(version: u64, sources: &[(&str, u64)]) -> v1::Profile {
    let mut resting = profile("ben", version);
    let source = |(item, revision): &(&str, u64)| v1::Source {
        item: (*item).to_owned(),
        revision: *revision,
        ..v1::Source::default()
    };
    let provenance = resting.provenance.as_mut().unwrap();
    provenance.sources = sources.iter().map(source).collect();
    resting
}

#[tokio::test]
async fn its_messages_go_up_to_the_revision_and_no_others() {
    let rig = Rig::start().await;
    item_of(&rig.store, "kettle", &["ben"]).await;
    let js = rig.jetstream().await;
    let publish = async |subject: String, payload: Vec<u8>, original: Option<String>| {
        let mut headers = async_nats::HeaderMap::new();
        if let Some(original) = original {
            headers.insert(header::DEAD_SUBJECT, original.as_str());
        }
        let sent = js.publish_with_headers(subject, headers, payload.into());
        sent.await.unwrap().await.unwrap().sequence
    };
    let log = subject::update(TENANT, "ben");
    let dead = subject::dead("embedder", TENANT);
    for (item, revision) in [("kettle", 1), ("kettle", 2), ("kettle", 3), ("lamp", 1)] {
        publish(log.clone(), update(item, revision), None).await;
        publish(dead.clone(), update(item, revision), Some(log.clone())).await;
    }
    publish(subject::update(TENANT, "mara"), update("kettle", 1), None).await;
    for item in ["kettle", "lamp"] {
        let work = subject::extract(TENANT, "ben", item);
        publish(work, Vec::new(), None).await;
    }
    let deleting = publish(log.clone(), Vec::new(), None).await;

    let key = RecordKey::new(TENANT, "ben", "kettle");
    let erased = rig.store.erase_record(&key, 2, deleting).await.unwrap();
    let erased = erased.unwrap();
    assert_eq!(erased.records, 1);
    assert_eq!((erased.removed.log, erased.removed.dead_letters), (2, 2));
    assert_eq!(erased.removed.queued, 1);
    assert!(rig.store.record(&key).await.unwrap().is_none());
    let left = async |name: &str| {
        let stream = js.get_stream(name).await.unwrap();
        stream.cached_info().state.messages
    };
    assert_eq!(left(stream::UPDATES).await, 4);
    assert_eq!(left(stream::DEAD).await, 2);
    assert_eq!(left(stream::EXTRACT).await, 1);
    let again = rig.store.erase_record(&key, 2, deleting).await.unwrap();
    let again = again.unwrap();
    assert_eq!((again.records, again.removed), (0, v1::Removed::default()));
}

#[tokio::test]
async fn versions_that_rest_on_it_go_and_counting_goes_on() {
    let rig = Rig::start().await;
    let store = &rig.store;
    item_of(store, "kettle", &["ben"]).await;
    item_of(store, "lamp", &["ben"]).await;
    let versions = [
        resting(1, &[("lamp", 1)]),
        resting(2, &[("lamp", 1), ("kettle", 1)]),
        resting(3, &[("lamp", 1), ("kettle", 2)]),
        resting(4, &[("kettle", 1)]),
    ];
    for version in &versions {
        let slot = store.profile_slot(TENANT, "ben").await.unwrap();
        assert_eq!(slot.version + 1, version.version);
        store.put_profile(version, slot.kv_revision).await.unwrap();
    }
    let before = store.profile_slot(TENANT, "ben").await.unwrap();
    let key = RecordKey::new(TENANT, "ben", "kettle");
    let erased = store.erase_record(&key, 1, 20).await.unwrap().unwrap();
    assert_eq!(erased.profiles, 2);
    let history = store.profile_history(TENANT, "ben").await.unwrap();
    let left: Vec<u64> = history.iter().map(|v| v.profile.version).collect();
    assert_eq!(left, [3, 1]);
    let after = store.profile_slot(TENANT, "ben").await.unwrap();
    assert_eq!((after.current, after.version), (None, 4));

    let late = resting(5, &[("kettle", 1)]);
    let late = store.put_profile(&late, before.kv_revision).await.unwrap();
    assert_eq!(late, Written::Stale);
    let next = resting(5, &[("lamp", 1)]);
    let next = store.put_profile(&next, after.kv_revision).await.unwrap();
    assert_eq!(next, Written::Stored);
}

#[tokio::test]
async fn a_newest_version_that_does_not_rest_on_it_stays_and_older_reads_are_refused() {
    let rig = Rig::start().await;
    let store = &rig.store;
    item_of(store, "kettle", &["ben"]).await;
    item_of(store, "lamp", &["ben"]).await;
    let first = resting(1, &[("kettle", 1)]);
    let second = resting(2, &[("lamp", 1)]);
    store.put_profile(&first, 0).await.unwrap();
    let slot = store.profile_slot(TENANT, "ben").await.unwrap();
    store.put_profile(&second, slot.kv_revision).await.unwrap();
    // It read the record before it was deleted, and writes when that is over.
    let before = store.profile_slot(TENANT, "ben").await.unwrap();
    let key = RecordKey::new(TENANT, "ben", "kettle");
    let erased = store.erase_record(&key, 1, 20).await.unwrap().unwrap();
    assert_eq!(erased.profiles, 1);
    let history = store.profile_history(TENANT, "ben").await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].profile, second);
    let late = resting(3, &[("kettle", 1)]);
    let late = store.put_profile(&late, before.kv_revision).await.unwrap();
    assert_eq!(late, Written::Stale);

    // Where there never was a version, the first one under way is refused too.
    item_of(store, "kettle", &["mara"]).await;
    let key = RecordKey::new(TENANT, "mara", "kettle");
    store.erase_record(&key, 1, 21).await.unwrap();
    let first = store.put_profile(&profile("mara", 1), 0).await.unwrap();
    assert_eq!(first, Written::Stale);
}
