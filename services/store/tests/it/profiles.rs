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
