//! Items.

use foil_store::{Item, StoreError, Written};

use crate::support::{Rig, TENANT};

fn item(id: &str, revision: u64) -> Item {
    Item {
        id: id.to_owned(),
        title: format!("{id} {revision}"),
        description: "boils water".to_owned(),
        revision,
    }
}

#[tokio::test]
async fn the_newest_revision_stays() {
    let rig = Rig::start().await;
    let put = async |revision| {
        let written = rig
            .store
            .put_item(TENANT, &item("kettle", revision), 1)
            .await;
        written.unwrap()
    };
    assert_eq!(put(u64::MAX - 1).await, Written::Stored);
    assert_eq!(put(u64::MAX - 1).await, Written::Same);
    assert_eq!(put(u64::MAX - 2).await, Written::Stale);
    assert_eq!(put(u64::MAX).await, Written::Stored);
    let stored = rig.store.item(TENANT, "kettle").await.unwrap();
    assert_eq!(stored, Some(item("kettle", u64::MAX)));

    let mut other = item("kettle", u64::MAX);
    other.title = "another".to_owned();
    let written = rig.store.put_item(TENANT, &other, 1).await.unwrap();
    assert_eq!(written, Written::Stale);
}

#[tokio::test]
async fn items_come_in_one_call() {
    let rig = Rig::start().await;
    for id in ["kettle", "lamp"] {
        rig.store.put_item(TENANT, &item(id, 1), 1).await.unwrap();
    }
    let found = rig
        .store
        .items(TENANT, &["lamp", "nothing", "kettle"])
        .await;
    let found = found.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found["lamp"], item("lamp", 1));
    assert!(rig.store.items(TENANT, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_oversized_item_is_refused() {
    let rig = Rig::start().await;
    let mut large = item("kettle", 1);
    large.description = "x".repeat(16 * 1024 + 1);
    let refused = rig.store.put_item(TENANT, &large, 1).await;
    assert!(matches!(
        refused,
        Err(StoreError::Invalid {
            field: "description",
            ..
        })
    ));
}
