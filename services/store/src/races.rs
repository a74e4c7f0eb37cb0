//! Interleavings that chance seldom gives, step by step: what one call does between two steps of
//! another.

use qdrant_client::qdrant::Filter;
use uuid::Uuid;

use crate::check_input::check_difference;
use crate::fence::REVISION;
use crate::model::{Record, RecordWrite};
use crate::point::{Fields, Point, field};
use crate::progress::Progress;
use crate::support::{Rig, TENANT, at, difference, item_of, record, users_of};
use crate::{RecordKey, Store};

/// The middle of `put_record`, by a writer who saw neither opt-out nor erasure.
async fn write_unaware(store: &Store, write: &RecordWrite) -> Option<Point> {
    let fields = Fields::default()
        .with(field::USER, write.key.user.as_str())
        .with(field::ITEM, write.key.item.as_str())
        .with(field::TEXT, write.text.as_str())
        .with(field::TITLE, write.title.as_str())
        .with(field::OCCURRED_AT, write.occurred_at_ms)
        .with(field::UPDATED_AT, write.updated_at_ms)
        .with(field::OPTED_OUT, false)
        .with(field::DELETED, false);
    let point = store.replace_record(
        &write.key,
        (write.revision, write.sequence),
        (write.vector.clone(), fields),
        ("unaware", REVISION.is_below(write.revision)),
    );
    point.await.unwrap()
}

fn place(write: &RecordWrite) -> (u64, Option<i64>) {
    (write.sequence, Some(write.occurred_at_ms))
}

#[tokio::test]
async fn an_opt_out_before_the_write_reaches_the_record() {
    let rig = Rig::start().await;
    let write = record("ben", "kettle", 1);
    rig.store.put_opt_out(TENANT, "ben", true, 1).await.unwrap();
    let point = write_unaware(&rig.store, &write).await.unwrap();
    let flagged = async || {
        let record = rig.store.record(&write.key).await.unwrap().unwrap();
        record.opted_out
    };
    assert!(!flagged().await, "the race that this is about");
    assert!(
        !rig.store
            .settle_user(&write.key, place(&write), &point)
            .await
            .unwrap()
    );
    assert!(flagged().await);
}

#[tokio::test]
async fn an_erasure_before_the_write_removes_the_record() {
    let rig = Rig::start().await;
    let write = record("ben", "kettle", 1);
    rig.store
        .erase_user(TENANT, "ben", at(write.sequence + 1))
        .await
        .unwrap();
    let point = write_unaware(&rig.store, &write).await.unwrap();
    assert!(
        rig.store.record(&write.key).await.unwrap().is_some(),
        "the race"
    );
    assert!(
        rig.store
            .settle_user(&write.key, place(&write), &point)
            .await
            .unwrap()
    );
    assert!(rig.store.record(&write.key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_writer_who_died_after_the_write_leaves_nothing_once_it_comes_again() {
    let rig = Rig::start().await;
    let write = record("ben", "kettle", 1);
    rig.store
        .erase_user(TENANT, "ben", at(write.sequence + 1))
        .await
        .unwrap();
    write_unaware(&rig.store, &write).await.unwrap();
    let again = rig.store.put_record(&write).await.unwrap();
    assert_eq!(again, crate::Written::Stale);
    assert!(rig.store.record(&write.key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_newer_revision_that_comes_during_a_delete_is_named() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let key = record("ben", "kettle", 1).key;
    let erase_with = async |newer: Option<u64>| {
        let there = store.record(&key).await.unwrap();
        let revision = there.as_ref().map_or(1, |there| there.revision);
        let deleted = store.delete_record(&key, revision, 8).await.unwrap();
        if let Some(newer) = newer {
            store
                .put_record(&record("ben", "kettle", newer))
                .await
                .unwrap();
        }
        let mut progress = Progress::default();
        let found = (there, deleted.unwrap());
        let erased = store.finish_erasing(&key, revision, found, &mut progress);
        erased.await.unwrap().survivors
    };
    store.put_record(&record("ben", "kettle", 1)).await.unwrap();
    // Its comparison may have been queued before the queue was emptied.
    assert_eq!(erase_with(Some(2)).await, std::slice::from_ref(&key));
    assert_eq!(erase_with(None).await, []);
}

/// The first step of `delete_record`, by somebody who was killed after it.
async fn bury(store: &Store, key: &RecordKey, revision: u64) {
    let fields = Fields::default()
        .with(field::USER, key.user.as_str())
        .with(field::ITEM, key.item.as_str())
        .with(field::DELETED, true);
    let anything = Filter::default().into();
    let point = store.replace_record(
        key,
        (revision, 8),
        (vec![0.0; store.config().dimension as usize], fields),
        ("killed", anything),
    );
    point.await.unwrap();
}

#[tokio::test]
async fn a_delete_that_died_half_way_is_ended_beside_a_newer_revision() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let kettle = item_of(store, "kettle", &["mara", "ben"]).await;
    let (on_ben, ben) = (difference(&kettle[0], &[&kettle[1]]), &kettle[1].key);
    store
        .put_difference(&kettle[0].key, 1, &on_ben)
        .await
        .unwrap();
    bury(store, ben, 1).await;
    assert!(store.record(ben).await.unwrap().is_none());
    let newer = record("ben", "kettle", 2);
    assert_eq!(
        store.put_record(&newer).await.unwrap(),
        crate::Written::Stored
    );

    let erased = store.erase_record(ben, 1, 8).await.unwrap().unwrap();
    assert_eq!(erased.records, 0);
    assert_eq!(users_of(&erased.recompare), ["mara"].into());
    assert_eq!(erased.survivors, std::slice::from_ref(ben));
    let mara = store.record(&kettle[0].key).await.unwrap().unwrap();
    assert!(mara.difference.is_none(), "it rested on what is deleted");
    let stands = store.record(ben).await.unwrap().unwrap();
    assert_eq!((stands.revision, &stands.text), (2, &newer.text));
}

/// Announces a difference of the first record that rests on the second one, lets `between` happen,
/// and then commits as if the check had passed before. Whether it was stored, and what `between` gave.
async fn commit_after(
    rig: &Rig,
    records: &[Record],
    between: impl AsyncFnOnce(&RecordKey) -> Vec<RecordKey>,
) -> (bool, Vec<RecordKey>) {
    let found = difference(&records[0], &[&records[1]]);
    let checked = check_difference(&found, records[0].revision).unwrap();
    let key = &records[0].key;
    let write = Uuid::new_v4().to_string();
    rig.store
        .announce(key, records[0].revision, &checked, &write)
        .await
        .unwrap();
    let recompare = between(&records[1].key).await;
    let stored = rig
        .store
        .commit(key, &checked, &write, false)
        .await
        .unwrap();
    let read = rig.store.record(key).await.unwrap().unwrap();
    assert_eq!(read.difference.is_some(), stored);
    (stored, recompare)
}

#[tokio::test]
async fn an_announced_difference_cannot_outlive_its_representative() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let kettle = item_of(store, "kettle", &["mara", "ben"]).await;
    let (stored, _) = commit_after(&rig, &kettle, async |_| Vec::new()).await;
    assert!(stored, "nothing came in between");

    let lamp = item_of(store, "lamp", &["mara", "ben"]).await;
    let (stored, recompare) = commit_after(&rig, &lamp, async |ben| {
        let deleted = store.delete_record(ben, 1, 8).await.unwrap();
        deleted.unwrap().recompare
    })
    .await;
    assert!(!stored);
    assert_eq!(users_of(&recompare), ["mara"].into());

    let mug = item_of(store, "mug", &["mara", "cleo"]).await;
    let (stored, recompare) = commit_after(&rig, &mug, async |_| {
        let out = store.put_opt_out(TENANT, "cleo", true, 1).await;
        out.unwrap().recompare
    })
    .await;
    assert!(!stored);
    assert_eq!(users_of(&recompare), ["mara"].into());

    let pan = item_of(store, "pan", &["mara", "dan"]).await;
    let (stored, recompare) = commit_after(&rig, &pan, async |_| {
        let erased = store.erase_user(TENANT, "dan", at(20)).await;
        erased.unwrap().recompare
    })
    .await;
    assert!(!stored);
    assert_eq!(users_of(&recompare), ["mara"].into());
}

#[tokio::test]
async fn an_edit_in_between_stops_the_commit() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben"]).await;
    let edited = record("mara", "kettle", 2);
    let (stored, _) = commit_after(&rig, &records, async |_| {
        rig.store.put_record(&edited).await.unwrap();
        Vec::new()
    })
    .await;
    assert!(!stored);
}
