//! Differences, what they rest on, and due marks.

use foil_store::{Due, RecordKey, StoreError, Written};

use crate::support::{Rig, TENANT, at, difference, item_of, record, users_of};

#[tokio::test]
async fn a_difference_is_stored_on_its_record() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben", "cleo"]).await;
    let [mara, ben, cleo] = &records[..] else {
        panic!()
    };
    let found = difference(mara, &[ben, cleo]);
    let put = async || {
        rig.store
            .put_difference(&mara.key, 1, &found)
            .await
            .unwrap()
    };
    assert_eq!(put().await, Written::Stored);
    assert_eq!(put().await, Written::Same);
    let read = rig.store.record(&mara.key).await.unwrap().unwrap();
    assert_eq!(read.difference, Some(found));
    assert_eq!(read.text, mara.text);
    assert!(
        rig.store
            .record(&ben.key)
            .await
            .unwrap()
            .unwrap()
            .difference
            .is_none()
    );
}

#[tokio::test]
async fn an_edit_drops_the_difference_and_a_late_one_is_stale() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben"]).await;
    let [mara, ben] = &records[..] else { panic!() };
    let found = difference(mara, &[ben]);
    rig.store
        .put_difference(&mara.key, 1, &found)
        .await
        .unwrap();
    rig.store
        .put_record(&record("mara", "kettle", 2))
        .await
        .unwrap();

    let read = rig.store.record(&mara.key).await.unwrap().unwrap();
    assert!(read.difference.is_none());
    let late = rig
        .store
        .put_difference(&mara.key, 1, &found)
        .await
        .unwrap();
    assert_eq!(late, Written::Stale);
    let read = rig.store.record(&mara.key).await.unwrap().unwrap();
    assert!(read.difference.is_none());
}

#[tokio::test]
async fn a_revision_above_what_qdrant_counts_survives() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben"]).await;
    rig.store
        .put_record(&record("mara", "kettle", u64::MAX))
        .await
        .unwrap();
    let mara = rig.store.record(&records[0].key).await.unwrap().unwrap();
    let found = difference(&mara, &[&records[1]]);
    let written = rig.store.put_difference(&mara.key, u64::MAX, &found).await;
    assert_eq!(written.unwrap(), Written::Stored);
    let read = rig.store.record(&mara.key).await.unwrap().unwrap();
    assert_eq!(read.difference, Some(found));
}

#[tokio::test]
async fn an_unusable_representative_makes_it_stale() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben", "cleo", "dan"]).await;
    let [mara, ben, cleo, dan] = &records[..] else {
        panic!()
    };
    let lamp = item_of(&rig.store, "lamp", &["eve", "mara"]).await;
    rig.store.delete_record(&cleo.key, 1, 8).await.unwrap();
    rig.store.put_opt_out(TENANT, "dan", true, 1).await.unwrap();
    rig.store.erase_user(TENANT, "ben", at(9)).await.unwrap();
    for (gone, why) in [
        (ben, "erased"),
        (cleo, "deleted"),
        (dan, "opted out"),
        (&lamp[0], "another item"),
        (&lamp[1], "the same user"),
    ] {
        let found = difference(mara, &[gone]);
        let written = rig
            .store
            .put_difference(&mara.key, 1, &found)
            .await
            .unwrap();
        assert_eq!(written, Written::Stale, "{why}");
        let read = rig.store.record(&mara.key).await.unwrap().unwrap();
        assert!(read.difference.is_none(), "{why}");
    }
}

#[tokio::test]
async fn an_incomplete_difference_is_refused() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben"]).await;
    let [mara, ben] = &records[..] else { panic!() };
    let good = difference(mara, &[ben]);
    let mut cases = Vec::new();
    let mut case = |field: &str, change: &dyn Fn(&mut foil_proto::v1::Difference)| {
        let mut bad = good.clone();
        change(&mut bad);
        cases.push((field.to_owned(), bad));
    };
    case("findings", &|d| d.findings.clear());
    case("findings.confidence", &|d| {
        d.findings[0].confidence = f64::NAN
    });
    case("evidence.z_score", &|d| {
        d.evidence[0].z_score = f64::INFINITY
    });
    case("provenance", &|d| d.provenance = None);
    case("provenance.revision", &|d| {
        d.provenance.as_mut().unwrap().revision = 2
    });
    case("provenance.selection", &|d| {
        d.provenance.as_mut().unwrap().selection = None
    });
    case("provenance.representatives", &|d| {
        d.provenance.as_mut().unwrap().representatives = vec!["ben".to_owned()];
    });
    case("provenance.representatives", &|d| {
        d.provenance.as_mut().unwrap().representatives.clear();
    });
    for (expected, bad) in cases {
        match rig.store.put_difference(&mara.key, 1, &bad).await {
            Err(StoreError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let read = rig.store.record(&mara.key).await.unwrap().unwrap();
    assert!(read.difference.is_none());
}

#[tokio::test]
async fn deleting_a_representative_names_those_to_compare_anew() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben", "cleo", "dan"]).await;
    let [mara, ben, cleo, dan] = &records[..] else {
        panic!()
    };
    for (target, representatives) in [
        (mara, vec![ben, cleo]),
        (cleo, vec![ben]),
        (dan, vec![cleo]),
    ] {
        let found = difference(target, &representatives);
        let written = rig.store.put_difference(&target.key, 1, &found).await;
        assert_eq!(written.unwrap(), Written::Stored);
    }
    let deleted = rig
        .store
        .delete_record(&ben.key, 1, 8)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(users_of(&deleted.recompare), ["cleo", "mara"].into());
    for (key, kept) in [(&mara.key, false), (&cleo.key, false), (&dan.key, true)] {
        let read = rig.store.record(key).await.unwrap().unwrap();
        assert_eq!(read.difference.is_some(), kept, "{key:?}");
    }
    // The worker died before it passed the keys on: the message comes again.
    let again = rig
        .store
        .delete_record(&ben.key, 1, 8)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.written, Written::Same);
    assert_eq!(users_of(&again.recompare), ["cleo", "mara"].into());
    // One is compared anew, the other one edited.
    let found = difference(mara, &[cleo]);
    rig.store
        .put_difference(&mara.key, 1, &found)
        .await
        .unwrap();
    rig.store
        .put_record(&record("cleo", "kettle", 2))
        .await
        .unwrap();
    let again = rig
        .store
        .delete_record(&ben.key, 1, 8)
        .await
        .unwrap()
        .unwrap();
    assert!(again.recompare.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_difference_outlives_its_representative() {
    let rig = Rig::start().await;
    for round in 0..24 {
        let item = format!("item{round}");
        let records = item_of(&rig.store, &item, &["mara", "ben", "cleo"]).await;
        let deleting = {
            let (store, key) = (rig.store.clone(), records[1].key.clone());
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(round)).await;
                store.delete_record(&key, 1, 8).await.unwrap().unwrap()
            })
        };
        let storing = {
            let (store, key) = (rig.store.clone(), records[0].key.clone());
            let found = difference(&records[0], &[&records[1], &records[2]]);
            tokio::spawn(async move { store.put_difference(&key, 1, &found).await.unwrap() })
        };
        let (deleted, written) = (deleting.await.unwrap(), storing.await.unwrap());
        let mara = rig.store.record(&records[0].key).await.unwrap().unwrap();
        assert!(mara.difference.is_none(), "round {round}: {written:?}");
        if written == Written::Stored {
            assert_eq!(users_of(&deleted.recompare), ["mara"].into());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_differences_at_once_stays() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben", "cleo"]).await;
    let puts = (0..16).map(|n| {
        let (store, key) = (rig.store.clone(), records[0].key.clone());
        let mut found = difference(&records[0], &[&records[1 + n % 2]]);
        found.findings[0].statement = format!("statement {n}");
        tokio::spawn(async move {
            (
                found.clone(),
                store.put_difference(&key, 1, &found).await.unwrap(),
            )
        })
    });
    let mut stored = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        let (found, written) = put.await.unwrap();
        if written == Written::Stored {
            stored.push(found);
        }
    }
    let read = rig.store.record(&records[0].key).await.unwrap().unwrap();
    assert!(stored.contains(&read.difference.unwrap()));
}

#[tokio::test]
async fn a_due_mark_lasts_until_its_own_comparison() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben"]).await;
    let [mara, ben] = &records[..] else { panic!() };
    let mark = |id, fingerprint: &str| Due {
        id,
        fingerprint: fingerprint.to_owned(),
    };
    let due = async || {
        let record = rig.store.record(&mara.key).await.unwrap().unwrap();
        let count = rig.store.count_due(TENANT, "mara", 0).await.unwrap();
        assert_eq!(count, u64::from(record.due.is_some()));
        assert_eq!(record.due_at_ms > 0, record.due.is_some());
        record.due
    };
    assert_eq!(due().await, None);
    let marks = [mark(mara.id, "chosen-2"), mark(ben.id, "chosen-1")];
    rig.store.mark_due(TENANT, &marks).await.unwrap();
    assert_eq!(due().await.as_deref(), Some("chosen-2"));

    // A comparison with another choice leaves the mark: its own is still under way.
    let found = difference(mara, &[ben]); // of chosen-1
    rig.store
        .put_difference(&mara.key, 1, &found)
        .await
        .unwrap();
    assert_eq!(due().await.as_deref(), Some("chosen-2"));
    rig.store
        .mark_due(TENANT, &[mark(mara.id, "chosen-1")])
        .await
        .unwrap();
    let mut found = found;
    found.findings[0].statement = "something else".to_owned();
    let written = rig
        .store
        .put_difference(&mara.key, 1, &found)
        .await
        .unwrap();
    assert_eq!((written, due().await), (Written::Stored, None));

    rig.store
        .mark_due(TENANT, &[mark(mara.id, "chosen-3")])
        .await
        .unwrap();
    rig.store.clear_due(&mara.key, "chosen-1").await.unwrap();
    assert_eq!(due().await.as_deref(), Some("chosen-3"));
    let soon = i64::MAX / 4;
    assert_eq!(rig.store.count_due(TENANT, "mara", soon).await.unwrap(), 0);
    rig.store.clear_due(&mara.key, "chosen-3").await.unwrap();
    assert_eq!(due().await, None);
}

#[tokio::test]
async fn what_is_missing_or_deleted_takes_no_mark() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara"]).await;
    rig.store
        .delete_record(&records[0].key, 1, 8)
        .await
        .unwrap();
    let missing = RecordKey::new(TENANT, "mara", "lamp").id();
    let marks = [records[0].id, missing].map(|id| Due {
        id,
        fingerprint: "chosen-1".to_owned(),
    });
    rig.store.mark_due(TENANT, &marks).await.unwrap();
    assert_eq!(rig.store.count_due(TENANT, "mara", 0).await.unwrap(), 0);
    let found = rig
        .store
        .records_by_ids(TENANT, &[missing], false)
        .await
        .unwrap();
    assert!(found.is_empty());
}
