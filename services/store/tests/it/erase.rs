//! Erasing a user: what goes, what stays, and that it stays so.

use foil_proto::names::{header, stream, subject};
use foil_proto::v1;
use foil_store::{RecordKey, Store, Written};

use crate::support::{Rig, TENANT, at, difference, item_of, profile, record, update, users_of};

async fn records_of(store: &Store, user: &str) -> usize {
    store.user_records(TENANT, user, 999).await.unwrap().len()
}

#[tokio::test]
async fn everything_of_the_user_goes_and_nothing_else() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let records = item_of(store, "kettle", &["mara", "ben", "cleo"]).await;
    let [mara, ben, cleo] = &records[..] else {
        panic!()
    };
    item_of(store, "lamp", &["ben", "mara"]).await;
    store
        .delete_record(&RecordKey::new(TENANT, "ben", "lamp"), 1, 7)
        .await
        .unwrap();
    for (target, representatives) in [
        (mara, vec![ben, cleo]),
        (ben, vec![mara]),
        (cleo, vec![mara]),
    ] {
        let found = difference(target, &representatives);
        store.put_difference(&target.key, 1, &found).await.unwrap();
    }
    store.put_profile(&profile("ben", 1), 0).await.unwrap();
    let slot = store.profile_slot(TENANT, "ben").await.unwrap();
    store
        .put_profile(&profile("ben", 2), slot.kv_revision)
        .await
        .unwrap();
    store.put_profile(&profile("mara", 1), 0).await.unwrap();
    store.touch_active(TENANT, "ben").await.unwrap();
    store.touch_active(TENANT, "mara").await.unwrap();

    let erased = store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!((erased.records, erased.profiles), (1, 2));
    assert_eq!(erased.differences_of_others, 1);
    assert_eq!(users_of(&erased.recompare), ["mara"].into());

    assert!(store.record(&ben.key).await.unwrap().is_none());
    assert_eq!(records_of(store, "ben").await, 0);
    assert!(store.profile(TENANT, "ben").await.unwrap().is_none());
    assert!(
        store
            .profile_history(TENANT, "ben")
            .await
            .unwrap()
            .is_empty()
    );
    let active = store.are_active(TENANT, &["ben", "mara"]).await.unwrap();
    assert_eq!(active, ["mara".to_owned()].into());

    assert_eq!(records_of(store, "mara").await, 2);
    assert!(store.profile(TENANT, "mara").await.unwrap().is_some());
    let cleo = store.record(&cleo.key).await.unwrap().unwrap();
    assert!(cleo.difference.is_some());
    let mara = store.record(&mara.key).await.unwrap().unwrap();
    assert!(mara.difference.is_none());

    // Again, as after a crash: nothing more to remove, the same to compare anew.
    let again = store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!((again.records, again.profiles), (0, 0));
    assert_eq!(users_of(&again.recompare), ["mara"].into());
}

#[tokio::test]
async fn no_point_names_the_erased_user() {
    let rig = Rig::start().await;
    item_of(&rig.store, "kettle", &["ben"]).await;
    item_of(&rig.store, "lamp", &["ben"]).await;
    let key = RecordKey::new(TENANT, "ben", "lamp");
    rig.store.delete_record(&key, 1, 7).await.unwrap();
    rig.store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    for collection in ["foil_records", "foil_users", "foil_items"] {
        let call = qdrant_client::qdrant::ScrollPointsBuilder::new(collection).with_payload(true);
        let answer = rig.qdrant().scroll(call).await.unwrap();
        for point in answer.result {
            assert!(
                !format!("{:?}", point.payload).contains("ben"),
                "{collection}"
            );
        }
    }
}

#[tokio::test]
async fn a_replay_brings_nothing_back() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let mut write = record("ben", "kettle", 5);
    write.sequence = 19;
    store.put_record(&write).await.unwrap();
    store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    write.revision = u64::MAX; // no revision helps
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stale);
    assert_eq!(records_of(store, "ben").await, 0);
    assert_eq!(store.delete_record(&write.key, 9, 18).await.unwrap(), None);
    // An older erasure, replayed, does not take back the newer one.
    store.erase_user(TENANT, "ben", at(3)).await.unwrap();
    let state = store.user_state(TENANT, "ben").await.unwrap();
    assert_eq!(state.erased_sequence, 20);
    // What the user writes afterwards is theirs; and a replay of the erasure leaves it.
    write.sequence = 21;
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stored);
    let erased = store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!((erased.records, records_of(store, "ben").await), (0, 1));
}

#[tokio::test]
async fn what_was_written_before_the_erasure_is_refused_whenever_it_arrives() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let mut write = record("ben", "kettle", 1);
    let now = write.occurred_at_ms;
    let js = rig.jetstream().await;
    let log = async |user: &str, occurred_at_ms: i64| {
        let payload = update(user, occurred_at_ms);
        let sent = js.publish(subject::update(TENANT, user), payload.into());
        sent.await.unwrap().await.unwrap().sequence
    };
    while log("mara", now).await < 20 {}
    let (old, later, timeless) = (
        log("ben", now).await,
        log("ben", now + 1).await,
        log("ben", 0).await,
    );
    // Stored already when the erasure, whose message came before it, is worked on.
    write.sequence = old;
    store.put_record(&write).await.unwrap();
    let erasure = foil_store::Erasure {
        sequence: 20,
        at_ms: now,
    };
    let erased = store.erase_user(TENANT, "ben", erasure).await.unwrap();
    assert_eq!((erased.records, records_of(store, "ben").await), (1, 0));
    assert_eq!(erased.removed.log, 2);
    let updates = js.get_stream(stream::UPDATES).await.unwrap();
    for (sequence, stays) in [(1, true), (old, false), (later, true), (timeless, false)] {
        let found = updates.get_raw_message(sequence).await;
        assert_eq!(found.is_ok(), stays, "{sequence}");
    }
    // Published again, long after, as a restore does: with a new place in the log.
    write.sequence = 1_000;
    write.revision = u64::MAX;
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stale);
    let place = (write.sequence, write.occurred_at_ms);
    let refused = store.is_erased(&write.key, write.revision, place).await;
    assert!(refused.unwrap());
    // So is one that does not say when it was written.
    write.occurred_at_ms = 0;
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stale);
    // What the user writes later is a new beginning, and a replay of the erasure leaves it.
    write.occurred_at_ms = now + 1;
    assert_eq!(store.put_record(&write).await.unwrap(), Written::Stored);
    store.erase_user(TENANT, "ben", erasure).await.unwrap();
    assert_eq!(records_of(store, "ben").await, 1);
    // A deletion from before leaves no name behind where there is nothing to delete.
    let lamp = RecordKey::new(TENANT, "ben", "secret-lamp");
    store.delete_record(&lamp, 5, 1_001).await.unwrap();
    let call = qdrant_client::qdrant::ScrollPointsBuilder::new("foil_records").with_payload(true);
    for point in rig.qdrant().scroll(call).await.unwrap().result {
        assert!(!format!("{:?}", point.payload).contains("secret-lamp"));
    }
    let mut late = record("ben", "secret-lamp", 5);
    (late.sequence, late.occurred_at_ms) = (1_002, now + 2);
    assert_eq!(store.put_record(&late).await.unwrap(), Written::Stale);
}

#[tokio::test]
async fn profiles_of_others_go_where_they_rest_on_a_difference_that_went() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let records = item_of(store, "kettle", &["mara", "ben", "cleo"]).await;
    let [mara, ben, cleo] = &records[..] else {
        panic!()
    };
    for target in [mara, cleo] {
        let rests_on = if target.key.user == "mara" { ben } else { mara };
        let found = difference(target, &[rests_on]);
        store.put_difference(&target.key, 1, &found).await.unwrap();
    }
    for user in ["mara", "cleo"] {
        let mut resting = profile(user, 1);
        resting.provenance.as_mut().unwrap().sources = vec![v1::Source {
            item: "kettle".to_owned(),
            revision: 1,
            compared: true,
            difference_at_ms: 1,
        }];
        store.put_profile(&resting, 0).await.unwrap();
    }
    let started_before = store.profile_slot(TENANT, "mara").await.unwrap();
    let erased = store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!(erased.removed.profiles_of_others, 1);
    assert_eq!(erased.reprofile, ["mara"]);
    assert!(store.profile(TENANT, "mara").await.unwrap().is_none());
    assert!(store.profile(TENANT, "cleo").await.unwrap().is_some());
    // Whoever wrote from the state before is refused, and counting goes on.
    let second = profile("mara", 2);
    let late = store.put_profile(&second, started_before.kv_revision);
    assert_eq!(late.await.unwrap(), Written::Stale);
    let slot = store.profile_slot(TENANT, "mara").await.unwrap();
    assert_eq!((slot.version, slot.current.is_none()), (1, true));
    // Again, as after a crash: it is still to be made.
    let again = store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!(again.reprofile, ["mara"]);
    let slot = store.profile_slot(TENANT, "mara").await.unwrap();
    let next = store.put_profile(&second, slot.kv_revision).await;
    assert_eq!(next.unwrap(), Written::Stored);
    let again = store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!((again.reprofile.len(), again.profiles), (0, 0));
}

#[tokio::test]
async fn the_opt_out_outlives_the_erasure() {
    let rig = Rig::start().await;
    rig.store.put_opt_out(TENANT, "ben", true, 1).await.unwrap();
    rig.store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    let mut write = record("ben", "kettle", 1);
    write.sequence = 21;
    rig.store.put_record(&write).await.unwrap();
    assert!(
        rig.store
            .record(&write.key)
            .await
            .unwrap()
            .unwrap()
            .opted_out
    );
}

#[tokio::test]
async fn a_profiler_that_started_before_cannot_finish_after() {
    let rig = Rig::start().await;
    let store = &rig.store;
    // One had a version, the other none.
    store.put_profile(&profile("ben", 1), 0).await.unwrap();
    for (user, version) in [("ben", 2), ("cleo", 1)] {
        let slot = store.profile_slot(TENANT, user).await.unwrap();
        store.erase_user(TENANT, user, at(20)).await.unwrap();
        let late = store
            .put_profile(&profile(user, version), slot.kv_revision)
            .await;
        assert_eq!(late.unwrap(), Written::Stale, "{user}");
        assert!(store.profile(TENANT, user).await.unwrap().is_none());
        // One that started after the erasure can.
        let slot = store.profile_slot(TENANT, user).await.unwrap();
        assert!(slot.current.is_none());
        let new = store.put_profile(&profile(user, 1), slot.kv_revision).await;
        assert_eq!(new.unwrap(), Written::Stored, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_the_same_time_leave_nothing_behind() {
    let rig = Rig::start().await;
    for round in 0..8_u64 {
        let user = format!("u{round}");
        let mut tasks = Vec::new();
        for n in 0..24 {
            let (store, mut write) = (rig.store.clone(), record(&user, &format!("i{n}"), 1));
            write.sequence = 10 + n;
            tasks.push(tokio::spawn(async move {
                store.put_record(&write).await.unwrap();
            }));
        }
        let store = rig.store.clone();
        let erasing = tokio::spawn({
            let user = user.clone();
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(2 * round)).await;
                store.erase_user(TENANT, &user, at(30)).await.unwrap();
            }
        });
        for task in tasks {
            task.await.unwrap();
        }
        erasing.await.unwrap();
        let records = rig.store.user_records(TENANT, &user, 99).await.unwrap();
        let mut sequences: Vec<u64> = records.iter().map(|r| r.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, [31, 32, 33], "round {round}");
    }
}

#[tokio::test]
async fn more_than_a_page_of_records_goes() {
    let rig = Rig::start().await;
    for n in 0..300 {
        let write = record("ben", &format!("item{n}"), 1);
        rig.store.put_record(&write).await.unwrap();
    }
    let erased = rig.store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!(
        (erased.records, records_of(&rig.store, "ben").await),
        (300, 0)
    );
}

#[tokio::test]
async fn what_came_after_it_stays_and_is_named() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let earlier = record("ben", "kettle", 1);
    let mut later = record("ben", "lamp", 1);
    later.sequence = 30;
    later.occurred_at_ms = at(20).at_ms + 1;
    rig.store.put_record(&earlier).await.unwrap();
    rig.store.put_record(&later).await.unwrap();
    let letter = async |sequence: u64, occurred_at_ms: i64| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(
            header::DEAD_SUBJECT,
            subject::update(TENANT, "ben").as_str(),
        );
        headers.insert(header::DEAD_SEQUENCE, sequence.to_string().as_str());
        let subject = subject::dead("embedder", TENANT);
        let payload = update("ben", occurred_at_ms);
        let sent = js.publish_with_headers(subject, headers, payload.into());
        sent.await.unwrap().await.unwrap().sequence
    };
    let after = at(20).at_ms + 1;
    letter(19, after).await;
    letter(21, after - 1).await; // of an old text, published again
    let stays = letter(21, after).await;

    let erased = rig.store.erase_user(TENANT, "ben", at(20)).await.unwrap();
    assert_eq!(erased.records, 1);
    assert_eq!(erased.survivors, [later.key.clone()]);
    assert_eq!(erased.removed.dead_letters, 2);
    let dead = js.get_stream(stream::DEAD).await.unwrap();
    assert!(dead.get_raw_message(stays).await.is_ok());
    let tenant = rig.store.erase_tenant(TENANT, at(20)).await.unwrap();
    assert_eq!(tenant.survivors, [later.key]);
    assert!(dead.get_raw_message(stays).await.is_ok());
}

#[tokio::test]
async fn queued_and_logged_messages_go() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let publish = async |subject: String, original: Option<String>| {
        let mut headers = async_nats::HeaderMap::new();
        if let Some(original) = original {
            headers.insert(header::DEAD_SUBJECT, original.as_str());
        }
        let sent = js
            .publish_with_headers(subject, headers, "text".into())
            .await;
        sent.unwrap().await.unwrap().sequence
    };
    let mut last = 0;
    for user in ["ben", "mara", "ben.x", "ben"] {
        last = publish(subject::update(TENANT, user), None).await;
        publish(subject::extract(TENANT, user, "kettle"), None).await;
        publish(subject::profile(TENANT, user), None).await;
        let dead = subject::dead("embedder", TENANT);
        publish(dead, Some(subject::update(TENANT, user))).await;
    }
    publish(subject::update(TENANT, "ben"), None).await; // written after the erasure
    let erased = rig.store.erase_user(TENANT, "ben", at(last)).await.unwrap();
    // Of the log one update before the erasing message, one extract, one profile, two dead letters.
    let removed = erased.removed;
    assert_eq!((removed.log, removed.queued), (1, 2));
    assert_eq!((removed.dead_letters, removed.events), (2, 0));

    let left = async |name: &str| {
        let mut stream = js.get_stream(name).await.unwrap();
        stream.info().await.unwrap().state.messages
    };
    assert_eq!(left(stream::UPDATES).await, 4);
    assert_eq!(left(stream::EXTRACT).await, 2);
    assert_eq!(left(stream::PROFILE).await, 2);
    assert_eq!(left(stream::DEAD).await, 2);
}
