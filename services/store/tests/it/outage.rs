//! Servers that are down, and come back.

use std::time::Duration;

use foil_runtime::StageError;
use foil_store::{Store, StoreError, Written};

use crate::support::{Rig, TENANT, profile, record, start_edge};

#[tokio::test]
async fn the_store_outlives_an_outage_of_qdrant() {
    let mut rig = Rig::start().await;
    let write = record("mara", "kettle", 1);
    rig.store.put_record(&write).await.unwrap();
    let edge = rig.edge.take().unwrap();
    let port = edge.address().port();
    edge.shutdown().await;

    let down = rig.store.ready().await.unwrap_err();
    assert!(matches!(down, StoreError::Unavailable { .. }), "{down}");
    let address = format!("store.qdrant_url: {}", rig.store.config().qdrant_url);
    assert!(down.to_string().contains(&address), "{down}");
    for failed in [
        rig.store.put_record(&write).await.map(drop),
        rig.store.record(&write.key).await.map(drop),
        rig.store.item_records(TENANT, "kettle", 9).await.map(drop),
    ] {
        let failed = failed.unwrap_err();
        assert!(failed.is_transient(), "{failed}");
        assert!(matches!(failed.into_stage(), StageError::Retry { .. }));
    }
    rig.edge = Some(start_edge(&rig.directory, port).await);
    rig.store.ready().await.unwrap();
    assert_eq!(rig.store.put_record(&write).await.unwrap(), Written::Same);
}

#[tokio::test]
async fn a_handle_is_made_while_qdrant_is_down() {
    let mut rig = Rig::start().await;
    rig.edge.take().unwrap().shutdown().await;
    let store = Store::connect(&rig.config, rig.nats.client().await)
        .await
        .unwrap();
    assert!(store.ready().await.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_long() {
    let rig = Rig::start().await;
    let store = rig
        .with(|config| config.timeout = Duration::from_millis(300))
        .await;
    // Under load the first answer may take longer than that.
    rig.store.put_profile(&profile("mara", 1), 0).await.unwrap();
    rig.nats.pause();
    let since = std::time::Instant::now();
    for failed in [
        store.profile(TENANT, "mara").await.map(drop),
        store.put_profile(&profile("mara", 2), 1).await.map(drop),
        store.touch_active(TENANT, "mara").await.map(drop),
    ] {
        assert!(failed.unwrap_err().is_transient());
    }
    assert!(
        since.elapsed() < Duration::from_secs(9),
        "{:?}",
        since.elapsed()
    );
    rig.nats.resume();
    assert!(rig.store.profile(TENANT, "mara").await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_not_provisioned_is_waited_for() {
    let rig = Rig::bare().await;
    for missing in [
        rig.store
            .put_record(&record("mara", "kettle", 1))
            .await
            .map(drop),
        rig.store
            .put_profile(&profile("mara", 1), 0)
            .await
            .map(drop),
        rig.store.touch_active(TENANT, "mara").await.map(drop),
        rig.store.profile(TENANT, "mara").await.map(drop),
    ] {
        let missing = missing.unwrap_err();
        assert!(missing.is_transient(), "{missing}");
    }
    let put = rig
        .store
        .put_profile(&profile("mara", 1), 0)
        .await
        .unwrap_err();
    assert!(matches!(put, StoreError::NotProvisioned { .. }), "{put}");
}

#[tokio::test]
async fn a_faulty_configuration_is_refused_by_name() {
    let rig = Rig::bare().await;
    for (key, change) in [
        (
            "qdrant_url",
            (|c| c.qdrant_url = "localhost:6334".to_owned()) as fn(&mut foil_store::StoreConfig),
        ),
        ("dimension", |c| c.dimension = 0),
        ("timeout", |c| c.timeout = Duration::ZERO),
        ("active_window", |c| {
            c.active_window = Duration::from_millis(10)
        }),
    ] {
        let mut config = rig.config.clone();
        change(&mut config);
        let refused = Store::connect(&config, rig.nats.client().await).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(key), "{refused}");
    }
}
