//! Storing, reading, deleting.

use foil_store::{RecordKey, StoreError, Written};

use crate::support::{DIMENSION, Rig, TENANT, record};

#[tokio::test]
async fn a_stored_record_comes_back_whole() {
    let rig = Rig::start().await;
    let mut write = record("mara \u{1f600}.*>\n", "kettle", u64::MAX);
    write.sequence = u64::MAX - 3;
    assert_eq!(rig.store.put_record(&write).await.unwrap(), Written::Stored);

    let read = rig.store.record(&write.key).await.unwrap().unwrap();
    assert_eq!(read.key, write.key);
    assert_eq!(read.id, write.key.id());
    assert_eq!(read.text, write.text);
    assert_eq!(read.title, write.title);
    assert_eq!(read.rating, Some(4.0));
    assert_eq!(read.occurred_at_ms, write.occurred_at_ms);
    assert_eq!(read.updated_at_ms, write.updated_at_ms);
    assert_eq!((read.revision, read.sequence), (u64::MAX, u64::MAX - 3));
    assert_eq!((read.due, read.due_at_ms, read.opted_out), (None, 0, false));
    assert!(read.vector.is_none() && read.difference.is_none());

    let read = rig
        .store
        .records_by_ids(TENANT, &[write.key.id()], true)
        .await;
    assert_eq!(read.unwrap()[0].vector, Some(vec![0.6, 0.0, 0.8, 0.0]));
}

#[tokio::test]
async fn an_absent_rating_stays_absent_and_0_stays_0() {
    let rig = Rig::start().await;
    for (user, rating) in [("none", None), ("zero", Some(0.0)), ("half", Some(-2.5))] {
        let mut write = record(user, "kettle", 1);
        write.rating = rating;
        rig.store.put_record(&write).await.unwrap();
        let read = rig.store.record(&write.key).await.unwrap().unwrap();
        assert_eq!(read.rating, rating);
    }
}

#[tokio::test]
async fn only_a_higher_revision_replaces() {
    let rig = Rig::start().await;
    // Neighbours that f64 or i64 cannot tell apart, and borders of the two halves.
    let ladder = [
        0,
        1,
        u64::from(u32::MAX) - 1,
        u64::from(u32::MAX),
        u64::from(u32::MAX) + 1,
        (1 << 53) - 1,
        1 << 53,
        (1 << 53) + 1,
        i64::MAX.unsigned_abs(),
        i64::MAX.unsigned_abs() + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    for (index, &revision) in ladder.iter().enumerate() {
        let write = record("mara", "kettle", revision);
        assert_eq!(rig.store.put_record(&write).await.unwrap(), Written::Stored);
        assert_eq!(rig.store.put_record(&write).await.unwrap(), Written::Same);
        for &older in &ladder[..index] {
            let older = record("mara", "kettle", older);
            assert_eq!(rig.store.put_record(&older).await.unwrap(), Written::Stale);
        }
        let read = rig.store.record(&write.key).await.unwrap().unwrap();
        assert_eq!((read.revision, read.text), (revision, write.text));
    }
}

#[tokio::test]
async fn of_two_texts_under_one_revision_the_first_stays() {
    let rig = Rig::start().await;
    let first = record("mara", "kettle", 3);
    let mut second = first.clone();
    second.text = "something else".to_owned();
    rig.store.put_record(&first).await.unwrap();
    assert_eq!(rig.store.put_record(&second).await.unwrap(), Written::Stale);
    let read = rig.store.record(&first.key).await.unwrap().unwrap();
    assert_eq!(read.text, first.text);
}

#[tokio::test]
async fn a_delete_leaves_a_tombstone_that_fences() {
    let rig = Rig::start().await;
    let key = RecordKey::new(TENANT, "mara", "kettle");
    let put = |revision| {
        let write = record("mara", "kettle", revision);
        let store = rig.store.clone();
        async move { store.put_record(&write).await.unwrap() }
    };
    put(5).await;
    let late = rig.store.delete_record(&key, 4, 8).await.unwrap().unwrap();
    assert_eq!(late.written, Written::Stale);
    assert!(rig.store.record(&key).await.unwrap().is_some());

    let deleted = rig.store.delete_record(&key, 5, 9).await.unwrap().unwrap();
    assert_eq!(deleted.written, Written::Stored);
    assert!(rig.store.record(&key).await.unwrap().is_none());
    assert_eq!(
        rig.store
            .count_item_records(TENANT, "kettle")
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        rig.store.count_user_records(TENANT, "mara").await.unwrap(),
        0
    );
    assert!(
        rig.store
            .item_records(TENANT, "kettle", 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        rig.store
            .user_records(TENANT, "mara", 9)
            .await
            .unwrap()
            .is_empty()
    );

    let again = rig.store.delete_record(&key, 5, 9).await.unwrap().unwrap();
    assert_eq!(again.written, Written::Same);
    assert_eq!(put(5).await, Written::Stale);
    assert_eq!(put(6).await, Written::Stored);
    assert_eq!(
        rig.store
            .count_item_records(TENANT, "kettle")
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_tombstone_holds_no_text() {
    let rig = Rig::start().await;
    let write = record("mara", "kettle", 5);
    rig.store.put_record(&write).await.unwrap();
    rig.store.delete_record(&write.key, 5, 9).await.unwrap();

    let id = write.key.id().into();
    let ids = qdrant_client::qdrant::GetPointsBuilder::new("foil_records", vec![id]);
    let call = ids.with_payload(true).with_vectors(true);
    let point = rig
        .qdrant()
        .get_points(call)
        .await
        .unwrap()
        .result
        .remove(0);
    for gone in ["text", "title", "rating", "occurred_at_ms", "difference"] {
        assert!(!point.payload.contains_key(gone), "{gone}");
    }
    let vector = point
        .vectors
        .and_then(|vectors| vectors.get_vector())
        .unwrap();
    let qdrant_client::qdrant::vector_output::Vector::Dense(vector) = vector else {
        panic!("no dense vector");
    };
    assert_eq!(vector.data, vec![0.0; DIMENSION as usize]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_agree_on_one_winner() {
    let rig = Rig::start().await;
    for round in 0..8_u64 {
        let user = format!("u{round}");
        // Every revision twice: with one text, and once more with another.
        let writes = (0..24_u64).map(|n| {
            let mut write = record(&user, "kettle", u64::MAX - n / 2);
            write.text = format!("text {n}");
            let store = rig.store.clone();
            tokio::spawn(async move { (n, store.put_record(&write).await.unwrap()) })
        });
        let mut stored = Vec::new();
        for write in writes.collect::<Vec<_>>() {
            let (n, written) = write.await.unwrap();
            if written == Written::Stored {
                stored.push(n);
            }
        }
        let key = RecordKey::new(TENANT, &user, "kettle");
        let read = rig.store.record(&key).await.unwrap().unwrap();
        assert_eq!(read.revision, u64::MAX);
        let winner: u64 = read.text.strip_prefix("text ").unwrap().parse().unwrap();
        assert!(winner < 2, "{winner}");
        // Of the two that hold the highest revision, one was stored, and says so.
        assert_eq!(
            stored.iter().filter(|n| **n < 2).collect::<Vec<_>>(),
            [&winner]
        );
    }
}

#[tokio::test]
async fn an_items_records_are_the_lowest_ids() {
    let rig = Rig::start().await;
    let mut ids = Vec::new();
    // More than a page.
    for n in 0..300 {
        let write = record(&format!("u{n}"), "kettle", 1);
        ids.push(write.key.id());
        rig.store.put_record(&write).await.unwrap();
    }
    rig.store
        .put_record(&record("u1", "lamp", 1))
        .await
        .unwrap();
    ids.sort();
    for limit in [0, 1, 255, 256, 257, 299, 300, 1_000] {
        let records = rig
            .store
            .item_records(TENANT, "kettle", limit)
            .await
            .unwrap();
        let found: Vec<_> = records.iter().map(|record| record.id).collect();
        assert_eq!(found, ids[..limit.min(300)]);
        assert!(
            records
                .iter()
                .all(|r| r.vector.as_ref().is_some_and(|v| v.len() == 4))
        );
    }
    assert_eq!(
        rig.store
            .count_item_records(TENANT, "kettle")
            .await
            .unwrap(),
        300
    );
}

#[tokio::test]
async fn a_users_records_are_the_newest_first() {
    let rig = Rig::start().await;
    for n in 0..40_i64 {
        let mut write = record("mara", &format!("item{n}"), 1);
        write.occurred_at_ms = 1_000 * ((n * 7) % 40);
        rig.store.put_record(&write).await.unwrap();
    }
    let records = rig.store.user_records(TENANT, "mara", 5).await.unwrap();
    let times: Vec<_> = records.iter().map(|record| record.occurred_at_ms).collect();
    assert_eq!(times, [39_000, 38_000, 37_000, 36_000, 35_000]);
    let keys = rig.store.user_keys(TENANT, "mara", 5).await.unwrap();
    assert_eq!(keys, records.into_iter().map(|r| r.key).collect::<Vec<_>>());
    assert_eq!(
        rig.store.count_user_records(TENANT, "mara").await.unwrap(),
        40
    );
}

#[tokio::test]
async fn records_by_ids_keep_the_order_asked_for() {
    let rig = Rig::start().await;
    let mut keys = Vec::new();
    for n in 0..5 {
        let write = record(&format!("u{n}"), "kettle", 1);
        rig.store.put_record(&write).await.unwrap();
        keys.push(write.key);
    }
    rig.store.delete_record(&keys[3], 1, 8).await.unwrap();
    let missing = RecordKey::new(TENANT, "nobody", "kettle");
    let ids = [&keys[4], &missing, &keys[0], &keys[3], &keys[2]].map(RecordKey::id);
    let found = rig.store.records_by_ids(TENANT, &ids, false).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|record| record.key).collect();
    assert_eq!(found, [&keys[4], &keys[0], &keys[2]].map(Clone::clone));
}

#[tokio::test]
async fn what_cannot_be_stored_names_its_field() {
    let rig = Rig::start().await;
    let with = |change: &dyn Fn(&mut foil_store::RecordWrite)| {
        let mut write = record("mara", "kettle", 1);
        change(&mut write);
        write
    };
    let cases = [
        ("tenant", with(&|w| w.key.tenant.clear())),
        ("user", with(&|w| w.key.user = "u".repeat(257))),
        ("item", with(&|w| w.key.item.clear())),
        ("text", with(&|w| w.text = " \n\t".to_owned())),
        ("text", with(&|w| w.text = "x".repeat(64 * 1024 + 1))),
        ("title", with(&|w| w.title = "x".repeat(1_025))),
        ("rating", with(&|w| w.rating = Some(f64::NAN))),
        ("vector", with(&|w| w.vector = vec![1.0; 3])),
        ("vector", with(&|w| w.vector[2] = f32::INFINITY)),
        ("vector", with(&|w| w.vector = vec![0.0; 4])),
    ];
    for (expected, write) in cases {
        match rig.store.put_record(&write).await {
            Err(StoreError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert_eq!(
        rig.store.count_user_records(TENANT, "mara").await.unwrap(),
        0
    );
}
