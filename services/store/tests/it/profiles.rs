//! Profile versions.

use foil_store::{StoreError, Written};

use crate::support::{Rig, TENANT, profile};

#[tokio::test]
async fn versions_are_kept_newest_first_up_to_16() {
    let rig = Rig::start().await;
    assert!(rig.store.profile(TENANT, "mara").await.unwrap().is_none());
    assert!(
        rig.store
            .profile_history(TENANT, "mara")
            .await
            .unwrap()
            .is_empty()
    );
    for version in 1..=20 {
        let slot = rig.store.profile_slot(TENANT, "mara").await.unwrap();
        assert_eq!(slot.current.map_or(0, |p| p.version), version - 1);
        let next = profile("mara", version);
        let written = rig.store.put_profile(&next, slot.kv_revision).await;
        assert_eq!(written.unwrap(), Written::Stored);
    }
    let newest = rig.store.profile(TENANT, "mara").await.unwrap().unwrap();
    assert_eq!(newest.profile, profile("mara", 20));
    let history = rig.store.profile_history(TENANT, "mara").await.unwrap();
    let versions: Vec<u64> = history
        .iter()
        .map(|stored| stored.profile.version)
        .collect();
    assert_eq!(versions, (5..=20).rev().collect::<Vec<_>>());
    assert_eq!(history[0], newest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_at_once_one_wins_each_version() {
    let rig = Rig::start().await;
    let writers = (0..12).map(|n| {
        let store = rig.store.clone();
        tokio::spawn(async move {
            let mut wins = Vec::new();
            for _ in 0..5 {
                let slot = store.profile_slot(TENANT, "mara").await.unwrap();
                let version = slot.current.map_or(0, |p| p.version) + 1;
                let mut next = profile("mara", version);
                next.summary = format!("by {n}");
                if store.put_profile(&next, slot.kv_revision).await.unwrap() == Written::Stored {
                    wins.push(version);
                }
            }
            wins
        })
    });
    let mut wins = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        wins.extend(writer.await.unwrap());
    }
    wins.sort_unstable();
    // Without a gap, and no version twice.
    assert_eq!(wins, (1..=wins.len() as u64).collect::<Vec<_>>());
    let newest = rig.store.profile(TENANT, "mara").await.unwrap().unwrap();
    assert_eq!(newest.profile.version, wins.len() as u64);
}

#[tokio::test]
async fn a_write_sent_twice_is_the_same() {
    let rig = Rig::start().await;
    let first = profile("mara", 1);
    assert_eq!(
        rig.store.put_profile(&first, 0).await.unwrap(),
        Written::Stored
    );
    assert_eq!(
        rig.store.put_profile(&first, 0).await.unwrap(),
        Written::Same
    );
    let other = profile("mara", 2);
    assert_eq!(
        rig.store.put_profile(&other, 0).await.unwrap(),
        Written::Stale
    );
    assert_eq!(
        rig.store
            .profile_history(TENANT, "mara")
            .await
            .unwrap()
            .len(),
        1
    );
}

/// Stores this many versions and gives the slot after them.
async fn versions(rig: &Rig, count: u64) -> foil_store::ProfileSlot {
    for version in 1..=count {
        let slot = rig.store.profile_slot(TENANT, "mara").await.unwrap();
        let next = profile("mara", version);
        let written = rig.store.put_profile(&next, slot.kv_revision).await;
        assert_eq!(written.unwrap(), Written::Stored);
    }
    rig.store.profile_slot(TENANT, "mara").await.unwrap()
}

#[tokio::test]
async fn a_deleted_profile_leaves_no_version_and_starts_anew() {
    let rig = Rig::start().await;
    let other = profile("noor", 1);
    rig.store.put_profile(&other, 0).await.unwrap();
    let last = versions(&rig, 3).await.kv_revision;
    let delete = |expected| rig.store.delete_profile(TENANT, "mara", expected);
    assert_eq!(delete(last).await.unwrap(), Written::Stored);
    assert!(rig.store.profile(TENANT, "mara").await.unwrap().is_none());
    let history = rig.store.profile_history(TENANT, "mara").await.unwrap();
    assert!(history.is_empty());
    // Past the store: the versions' bytes are gone too, and what is left is one empty marker.
    let bucket = rig.jetstream().await;
    let bucket = bucket.get_stream("KV_FOIL_PROFILES").await.unwrap();
    assert_eq!(bucket.cached_info().state.messages, 2);
    // Sent twice because its ack was lost.
    assert_eq!(delete(last).await.unwrap(), Written::Same);
    assert_eq!(versions(&rig, 1).await.current, Some(profile("mara", 1)));
    let noor = rig.store.profile(TENANT, "noor").await.unwrap().unwrap();
    assert_eq!(noor.profile, other);
}

#[tokio::test]
async fn a_version_that_came_in_between_is_not_deleted() {
    let rig = Rig::start().await;
    let seen = versions(&rig, 1).await.kv_revision;
    let newer = profile("mara", 2);
    rig.store.put_profile(&newer, seen).await.unwrap();
    let deleted = rig.store.delete_profile(TENANT, "mara", seen).await;
    assert_eq!(deleted.unwrap(), Written::Stale);
    let deleted = rig.store.delete_profile(TENANT, "mara", 0).await;
    assert_eq!(deleted.unwrap(), Written::Stale);
    let newest = rig.store.profile(TENANT, "mara").await.unwrap().unwrap();
    assert_eq!(newest.profile, newer);
}

#[tokio::test]
async fn a_deletion_refuses_versions_still_being_written_even_where_nothing_was() {
    let rig = Rig::start().await;
    let version = profile("mara", 1);
    let write = |expected| rig.store.put_profile(&version, expected);
    for _ in 0..2 {
        let slot = rig.store.profile_slot(TENANT, "mara").await.unwrap();
        assert!(slot.current.is_none());
        let deleted = rig.store.delete_profile(TENANT, "mara", slot.kv_revision);
        assert_eq!(deleted.await.unwrap(), Written::Stored);
        assert_eq!(write(slot.kv_revision).await.unwrap(), Written::Stale);
    }
    let slot = rig.store.profile_slot(TENANT, "mara").await.unwrap();
    assert_eq!(write(slot.kv_revision).await.unwrap(), Written::Stored);
}

#[tokio::test]
async fn an_incomplete_profile_is_refused() {
    let rig = Rig::start().await;
    let mut cases = Vec::new();
    let mut case = |field: &str, change: &dyn Fn(&mut foil_proto::v1::Profile)| {
        let mut bad = profile("mara", 1);
        change(&mut bad);
        cases.push((field.to_owned(), bad));
    };
    case("user", &|p| p.user.clear());
    case("version", &|p| p.version = 0);
    case("summary", &|p| p.summary = " ".to_owned());
    case("summary", &|p| p.summary = "x".repeat(4_001));
    case("provenance", &|p| p.provenance = None);
    for (expected, bad) in cases {
        match rig.store.put_profile(&bad, 0).await {
            Err(StoreError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_value_that_is_no_profile_is_reported() {
    let rig = Rig::start().await;
    let js = rig.jetstream().await;
    let key = foil_proto::names::user_key(TENANT, "mara");
    let subject = format!("$KV.FOIL_PROFILES.{key}");
    js.publish(subject, "\u{7f}\u{7f}".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let corrupt = rig.store.profile(TENANT, "mara").await.unwrap_err();
    assert!(matches!(corrupt, StoreError::Corrupt { .. }), "{corrupt}");
    assert!(!corrupt.is_transient());
}
