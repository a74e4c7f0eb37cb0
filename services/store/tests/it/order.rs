//! Whatever the order and however often messages arrive, the same state comes out.

use foil_store::{Record, RecordKey, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Rig, TENANT, record};

/// One change of a record, with its revision.
#[derive(Debug, Clone)]
enum Change {
    Upsert(u64),
    Delete(u64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    // Few revisions, so that they meet; around where the halves and the floats would go wrong.
    let base = prop::sample::select(vec![0, 0xffff_fffe, (1 << 53) - 1, u64::MAX - 3]);
    base.prop_flat_map(|base| {
        let revision = (0..4_u64).prop_map(move |n| base + n);
        let change = (any::<bool>(), revision).prop_map(|(upsert, revision)| {
            if upsert {
                Change::Upsert(revision)
            } else {
                Change::Delete(revision)
            }
        });
        prop::collection::vec(change, 1..6)
    })
}

/// The same changes in another order, some of them again.
fn arrivals() -> impl Strategy<Value = (Vec<Change>, Vec<Change>)> {
    changes().prop_flat_map(|changes| {
        let again = prop::sample::subsequence(changes.clone(), 0..=changes.len());
        again.prop_flat_map(move |again| {
            let all: Vec<Change> = changes.iter().cloned().chain(again).collect();
            (Just(changes.clone()), Just(all).prop_shuffle())
        })
    })
}

async fn play(store: &Store, user: &str, changes: &[Change]) -> Option<Record> {
    for change in changes {
        match change {
            Change::Upsert(revision) => {
                let write = record(user, "kettle", *revision);
                store.put_record(&write).await.unwrap();
            }
            Change::Delete(revision) => {
                let key = RecordKey::new(TENANT, user, "kettle");
                store.delete_record(&key, *revision, 7).await.unwrap();
            }
        }
    }
    let key = RecordKey::new(TENANT, user, "kettle");
    store.record(&key).await.unwrap()
}

/// What the messages say, by the rule: highest revision, a delete above an upsert.
fn expected(changes: &[Change]) -> Option<u64> {
    let rank = |change: &Change| match change {
        Change::Upsert(revision) => (*revision, false),
        Change::Delete(revision) => (*revision, true),
    };
    let (revision, deleted) = changes.iter().map(rank).max()?;
    (!deleted).then_some(revision)
}

#[test]
fn any_order_ends_in_the_same_state() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::start());
    let mut runner = TestRunner::new(Config::with_cases(96));
    let serial = std::sync::atomic::AtomicUsize::new(0);
    let outcome = runner.run(&arrivals(), |(changes, arrivals)| {
        let n = serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let user = format!("u{n}");
        let record = runtime.block_on(play(&rig.store, &user, &arrivals));
        prop_assert_eq!(record.as_ref().map(|r| r.revision), expected(&changes));
        let text = record.map(|r| r.text);
        let wanted = expected(&changes).map(|r| format!("{user} on kettle, revision {r}"));
        prop_assert_eq!(text, wanted);
        Ok(())
    });
    outcome.unwrap();
    let rig = rig;
    runtime.block_on(async move { drop(rig) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_end_in_the_same_state() {
    let rig = Rig::start().await;
    for round in 0..12_u64 {
        let user = format!("u{round}");
        let key = RecordKey::new(TENANT, &user, "kettle");
        let top = u64::MAX - round;
        let changes = (0..16_u64).map(|n| {
            let (store, key, user) = (rig.store.clone(), key.clone(), user.clone());
            tokio::spawn(async move {
                let revision = top - n / 2;
                // Even rounds: the highest revision is upserted only; odd ones: deleted as well.
                if n % 2 == 0 || (revision == top && round % 2 == 0) {
                    let write = record(&user, "kettle", revision);
                    store.put_record(&write).await.unwrap();
                } else {
                    store.delete_record(&key, revision, 7).await.unwrap();
                }
            })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.unwrap();
        }
        let found = rig.store.record(&key).await.unwrap().map(|r| r.revision);
        assert_eq!(found, (round % 2 == 0).then_some(top));
    }
}
