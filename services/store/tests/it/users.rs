//! Opting out.

use foil_store::{RecordKey, UserState, Written};

use crate::support::{Rig, TENANT, at, difference, item_of, record, users_of};

#[tokio::test]
async fn a_choice_reaches_old_and_new_records() {
    let rig = Rig::start().await;
    let flag = async |item: &str| {
        let key = RecordKey::new(TENANT, "ben", item);
        rig.store.record(&key).await.unwrap().unwrap().opted_out
    };
    item_of(&rig.store, "kettle", &["ben", "mara"]).await;
    let out = rig.store.put_opt_out(TENANT, "ben", true, 5).await.unwrap();
    assert_eq!(out.written, Written::Stored);
    rig.store
        .put_record(&record("ben", "lamp", 1))
        .await
        .unwrap();
    assert!(flag("kettle").await && flag("lamp").await);
    let mara = rig
        .store
        .record(&RecordKey::new(TENANT, "mara", "kettle"))
        .await;
    assert!(!mara.unwrap().unwrap().opted_out);

    let state = rig.store.user_state(TENANT, "ben").await.unwrap();
    let expected = UserState {
        opted_out: true,
        opt_out_revision: 5,
        erased_sequence: 0,
        erased_at_ms: 0,
    };
    assert_eq!(state, expected);

    let stale = rig
        .store
        .put_opt_out(TENANT, "ben", false, 4)
        .await
        .unwrap();
    assert_eq!(stale.written, Written::Stale);
    assert!(flag("kettle").await);
    let back = rig
        .store
        .put_opt_out(TENANT, "ben", false, u64::MAX)
        .await
        .unwrap();
    assert_eq!(back.written, Written::Stored);
    assert!(!flag("kettle").await && !flag("lamp").await);
}

#[tokio::test]
async fn opting_out_drops_the_differences_that_used_one() {
    let rig = Rig::start().await;
    let records = item_of(&rig.store, "kettle", &["mara", "ben", "cleo"]).await;
    let [mara, ben, cleo] = &records[..] else {
        panic!()
    };
    for (target, representative) in [(mara, ben), (ben, mara), (cleo, mara)] {
        let found = difference(target, &[representative]);
        rig.store
            .put_difference(&target.key, 1, &found)
            .await
            .unwrap();
    }
    for written in [Written::Stored, Written::Same] {
        let out = rig.store.put_opt_out(TENANT, "ben", true, 1).await.unwrap();
        assert_eq!(out.written, written);
        assert_eq!(users_of(&out.recompare), ["mara"].into());
    }
    let has = async |key| {
        let record = rig.store.record(key).await.unwrap().unwrap();
        record.difference.is_some()
    };
    assert!(!has(&mara.key).await);
    // Who opts out is still compared with others.
    assert!(has(&ben.key).await && has(&cleo.key).await);
}

#[tokio::test]
async fn many_states_come_in_one_call() {
    let rig = Rig::start().await;
    rig.store.put_opt_out(TENANT, "ben", true, 1).await.unwrap();
    rig.store.erase_user(TENANT, "cleo", at(9)).await.unwrap();
    let states = rig
        .store
        .user_states(TENANT, &["ben", "cleo", "dan"])
        .await
        .unwrap();
    assert!(states["ben"].opted_out && states["ben"].erased_sequence == 0);
    assert!(!states["cleo"].opted_out && states["cleo"].erased_sequence == 9);
    assert_eq!(states["dan"], UserState::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn choices_and_records_at_once_end_in_agreement() {
    let rig = Rig::start().await;
    for round in 0..8_u64 {
        let user = format!("u{round}");
        let mut tasks = Vec::new();
        for n in 0..8_u64 {
            let (store, user) = (rig.store.clone(), user.clone());
            tasks.push(tokio::spawn(async move {
                let choice = store.put_opt_out(TENANT, &user, n % 2 == round % 2, n);
                choice.await.unwrap();
            }));
        }
        for n in 0..8 {
            let (store, write) = (rig.store.clone(), record(&user, &format!("item{n}"), 1));
            tasks.push(tokio::spawn(async move {
                store.put_record(&write).await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        // Revision 7 stands, whichever arrived last.
        let records = rig.store.user_records(TENANT, &user, 99).await.unwrap();
        assert_eq!(records.len(), 8);
        assert!(
            records.iter().all(|r| r.opted_out == (round % 2 == 1)),
            "round {round}"
        );
    }
}
