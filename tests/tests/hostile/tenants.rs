//! Two tenants with the same ids do random things at the same time: no byte of one is ever in what the
//! other reads, is sent, or is told of a fault. `PROPTEST_CASES` makes it longer: one run for each 256.

mod acts;

use std::sync::atomic::{AtomicUsize, Ordering};

use acts::{Act, MARKS, OPERATIONS, Tenant, apply, operations, put, put_item};
use foil_store::RecordKey;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::obedient::telltale;
use crate::rig::Rig;

const CASES_PER_RUN: u32 = 256;
/// Most records that are read at once; there are never so many.
const RECORDS_MAX: usize = 100;

/// All that the store tells a tenant, by its own ids and by those of the other.
pub async fn read(rig: &Rig, tenant: Tenant) -> Result<Vec<String>, TestCaseError> {
    let store = &rig.store;
    let id = tenant.id();
    let mut all = Vec::new();
    macro_rules! see {
        ($what:literal, $read:expr) => {{
            // A refusal would be a leak that the last guard stopped.
            let value = $read
                .await
                .unwrap_or_else(|error| panic!("{id} reads {}: {error}", $what));
            tenant.sees($what, &value)?;
            all.push(format!("{}: {value:?}", $what));
        }};
    }
    let items = tenant.items();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    for user in &tenant.users() {
        see!(
            "a user's records",
            store.user_records(&id, user, RECORDS_MAX)
        );
        see!("a user's keys", store.user_keys(&id, user, RECORDS_MAX));
        see!("a user's count", store.count_user_records(&id, user));
        see!("a user's state", store.user_state(&id, user));
        see!("a profile", store.profile(&id, user));
        see!("a profile's versions", store.profile_history(&id, user));
        see!("who is active", store.are_active(&id, &[user.as_str()]));
        for item in &items {
            let key = RecordKey::new(&id, user, *item);
            see!("a record", store.record(&key));
        }
    }
    for item in &items {
        see!("an item", store.item(&id, item));
        see!(
            "an item's records",
            store.item_records(&id, item, RECORDS_MAX)
        );
        see!("an item's count", store.count_item_records(&id, item));
    }
    let known = store.items(&id, &items).await.expect("its own items");
    for item in known.values() {
        tenant.sees("the items", item)?;
    }
    Ok(all)
}

/// Whatever stood on the wire under a tenant's subjects: work, events, dead letters with headers.
fn check_messages(rig: &Rig) -> Result<usize, TestCaseError> {
    let seen = rig.seen.lock().unwrap();
    let holds = |bytes: &[u8], mark: &str| bytes.windows(mark.len()).any(|w| w == mark.as_bytes());
    for message in seen.iter() {
        let side = MARKS.iter().position(|mark| message.subject.contains(mark));
        let Some(side) = side else {
            return Err(TestCaseError::fail(format!(
                "{} names no tenant",
                message.subject
            )));
        };
        let foreign = MARKS[1 - side];
        let clean = !message.subject.contains(foreign) && !holds(&message.bytes, foreign);
        prop_assert!(
            clean,
            "{}: {}",
            message.subject,
            String::from_utf8_lossy(&message.bytes)
        );
    }
    Ok(seen.len())
}

/// What one tenant deletes, opts out of and erases changes nothing of the other.
async fn check_removals(rig: &mut Rig, run: usize) -> Result<(), TestCaseError> {
    let [mine, theirs] = [0, 1].map(|side| Tenant { side, run });
    for number in 0..12 {
        for tenant in [mine, theirs] {
            put(
                rig,
                tenant,
                (number % 4, number / 4),
                5_000 + number as u64,
                9_000,
            )
            .await;
            put_item(rig, tenant, number % 3, 5_000 + number as u64).await;
        }
    }
    rig.idle().await;
    let before = read(rig, theirs).await?;
    let records = before
        .iter()
        .filter(|read| read.starts_with("a record: Some"))
        .count();
    prop_assert_eq!(records, 12);
    for (act, user) in [
        (Act::OptOut, 0),
        (Act::Delete, 1),
        (Act::Erase, 2),
        (Act::Erase, 0),
        (Act::EraseTenant, 0),
    ] {
        for item in 0..3 {
            apply(rig, run, (act, mine.side, user, item, 9_998)).await?;
        }
    }
    rig.idle().await;
    let after = read(rig, theirs).await?;
    for (before, after) in before.iter().zip(&after) {
        prop_assert_eq!(before, after, "changed by the other tenant");
    }
    Ok(())
}

#[test]
fn two_tenants_see_nothing_of_each_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let rig = tokio::sync::Mutex::new(runtime.block_on(Rig::start(telltale(MARKS))));
    let default = Config::default();
    let config = Config {
        cases: default.cases.div_ceil(CASES_PER_RUN),
        max_shrink_iters: 8,
        failure_persistence: None,
        ..default
    };
    let cases = config.cases;
    let runs = AtomicUsize::new(0);
    let outcome = TestRunner::new(config).run(&operations(), |operations| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        runtime.block_on(async {
            let mut rig = rig.lock().await;
            for operation in operations {
                apply(&rig, run, operation).await?;
            }
            rig.idle().await;
            for side in [0, 1] {
                read(&rig, Tenant { side, run }).await?;
            }
            check_removals(&mut rig, run).await?;
            check_messages(&rig).map(drop)
        })
    });
    outcome.unwrap();
    let rig = rig.into_inner();
    let messages = check_messages(&rig).unwrap();
    println!(
        "{cases} runs of {OPERATIONS} operations and removals, {messages} messages on the wire"
    );
    assert!(messages > 100 * cases as usize, "{messages}");
    runtime.block_on(rig.stop());
}
