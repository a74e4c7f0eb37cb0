//! What was erased is in no file of either server.

use foil_proto::names::{header, subject};
use foil_proto::v1::{self, update::Change};
use foil_store::{RecordKey, Store};
use prost::Message as _;

use crate::support::{Rig, TENANT, at, difference, profile, record};

const MARKER: &str = "quetzalmarker";
/// More than are kept, so that some have left the bucket before the erasure.
const VERSIONS: u64 = 20;

/// A record on `item` whose text has the marker, and everything that is made of it: messages in the
/// log and the dead letters, a difference and profile versions that quote it.
async fn fill(rig: &Rig, user: &str, item: &str) -> u64 {
    let store = &rig.store;
    let js = rig.jetstream().await;
    let text = format!("The {MARKER} of {user}");
    let update = v1::Update {
        tenant: TENANT.to_owned(),
        change: Some(Change::RecordUpsert(v1::RecordUpsert {
            user: user.to_owned(),
            item: item.to_owned(),
            text: text.clone(),
            title: MARKER.to_owned(),
            revision: 1,
            ..v1::RecordUpsert::default()
        })),
    };
    let payload = bytes::Bytes::from(update.encode_to_vec());
    let log = subject::update(TENANT, user);
    let sent = js.publish(log.clone(), payload.clone()).await.unwrap();
    let sequence = sent.await.unwrap().sequence;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(header::DEAD_SUBJECT, log.as_str());
    let dead = subject::dead("embedder", TENANT);
    let sent = js.publish_with_headers(dead, headers, payload).await;
    sent.unwrap().await.unwrap();

    let mut write = record(user, item, 1);
    (write.text, write.title, write.sequence) = (text, MARKER.to_owned(), sequence);
    store.put_record(&write).await.unwrap();
    let mut peer = record("peer", item, 1);
    peer.sequence = sequence;
    store.put_record(&peer).await.unwrap();
    for (target, peer) in [(&write.key, &peer.key), (&peer.key, &write.key)] {
        let target = store.record(target).await.unwrap().unwrap();
        let peer = store.record(peer).await.unwrap().unwrap();
        let mut found = difference(&target, &[&peer]);
        found.findings[0].statement = format!("says {MARKER}");
        store.put_difference(&target.key, 1, &found).await.unwrap();
    }
    for version in 1..=VERSIONS {
        for user in [user, "peer"] {
            put_version(store, user, item, version).await;
        }
    }
    sequence
}

async fn put_version(store: &Store, user: &str, item: &str, version: u64) {
    let mut next = profile(user, version);
    next.summary = format!("wrote {MARKER}, {version}");
    next.provenance.as_mut().unwrap().sources = vec![v1::Source {
        item: item.to_owned(),
        revision: 1,
        compared: true,
        difference_at_ms: 1,
    }];
    let slot = store.profile_slot(TENANT, user).await.unwrap();
    store.put_profile(&next, slot.kv_revision).await.unwrap();
}

async fn nothing_is_left(rig: &Rig) {
    rig.compacted().await;
    let left = rig.files_with(MARKER);
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn of_a_user() {
    let rig = Rig::start().await;
    let last = fill(&rig, "ben", "kettle").await;
    assert!(
        rig.files_with(MARKER).len() >= 4,
        "{:#?}",
        rig.files_with(MARKER)
    );
    let erased = rig.store.erase_user(TENANT, "ben", at(last + 1)).await;
    let erased = erased.unwrap();
    assert_eq!((erased.records, erased.profiles), (1, 16));
    assert_eq!(erased.removed.profiles_of_others, 16);
    assert_eq!((erased.removed.log, erased.removed.dead_letters), (1, 1));
    nothing_is_left(&rig).await;
    let peer = RecordKey::new(TENANT, "peer", "kettle");
    assert!(rig.store.record(&peer).await.unwrap().is_some());
}

#[tokio::test]
async fn of_a_record() {
    let rig = Rig::start().await;
    let last = fill(&rig, "ben", "kettle").await;
    let key = RecordKey::new(TENANT, "ben", "kettle");
    let erased = rig.store.erase_record(&key, 1, last + 1).await.unwrap();
    let erased = erased.unwrap();
    assert_eq!((erased.records, erased.profiles), (1, 16));
    assert_eq!((erased.removed.log, erased.removed.dead_letters), (1, 1));
    nothing_is_left(&rig).await;
}

#[tokio::test]
async fn of_a_tenant() {
    let rig = Rig::start().await;
    fill(&rig, "ben", "kettle").await;
    let last = fill(&rig, "mara", "lamp").await;
    let erased = rig.store.erase_tenant(TENANT, at(last + 1)).await.unwrap();
    assert_eq!((erased.records, erased.removed.log), (4, 2));
    nothing_is_left(&rig).await;
}
