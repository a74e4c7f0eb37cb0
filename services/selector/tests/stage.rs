//! The stage on a real nats-server and the embedded Qdrant.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use foil_proto::names::{stream, subject};
use foil_proto::v1;
use foil_rig::{Servers, TENANT, eventually, record};
use foil_runtime::testing::context;
use foil_runtime::{Emit, Outcome, Reason, Stage as _, StageError};
use foil_selector::choose::Strategy;
use foil_selector::{Compare, Selector, SelectorConfig, TenantConfig};
use foil_store::{RecordKey, RecordWrite};
use prost::Message as _;

const ITEM: &str = "café";

/// A record of each user, in a direction of its own.
async fn write(rig: &Servers, users: &[&str]) {
    write_in(rig, TENANT, users).await;
}

async fn write_in(rig: &Servers, tenant: &str, users: &[&str]) {
    for (index, user) in users.iter().enumerate() {
        let angle = index as f32;
        let write = RecordWrite {
            key: RecordKey::new(tenant, *user, ITEM),
            vector: vec![angle.cos(), angle.sin(), 0.1 * angle, 0.5],
            ..record(user, ITEM, &format!("{user} on it"))
        };
        rig.store.put_record(&write).await.unwrap();
    }
}

async fn select(rig: &Servers, config: &SelectorConfig) -> Result<Outcome, StageError> {
    select_in(rig, TENANT, config).await
}

async fn select_in(
    rig: &Servers,
    tenant: &str,
    config: &SelectorConfig,
) -> Result<Outcome, StageError> {
    let subject = subject::select(tenant, ITEM);
    let cx = context(rig.nats.client().await, &subject);
    let work = v1::SelectWork {
        tenant: tenant.to_owned(),
        item: ITEM.to_owned(),
    };
    let selector = Selector::new(config, rig.store.clone());
    selector.handle(work, &cx).await
}

/// The extract tokens by user.
async fn extracts(rig: &Servers, config: &SelectorConfig) -> BTreeMap<String, v1::ExtractWork> {
    extracts_in(rig, TENANT, config).await
}

async fn extracts_in(
    rig: &Servers,
    tenant: &str,
    config: &SelectorConfig,
) -> BTreeMap<String, v1::ExtractWork> {
    let works = match select_in(rig, tenant, config).await.unwrap() {
        Outcome::Emit(emits) => emits,
        Outcome::Skip(why) => panic!("skipped: {why}"),
    };
    works.into_iter().map(|emit| of_user(&emit)).collect()
}

fn of_user(emit: &Emit) -> (String, v1::ExtractWork) {
    let work = v1::ExtractWork::decode(emit.payload.clone()).unwrap();
    let subject = subject::extract(&work.tenant, &work.user, &work.item);
    assert_eq!(emit.subject, subject);
    (work.user.clone(), work)
}

fn eager() -> SelectorConfig {
    SelectorConfig {
        compare: Compare::Eager,
        ..SelectorConfig::default()
    }
}

/// What the extractor would store for this work.
fn difference(work: &v1::ExtractWork) -> v1::Difference {
    v1::Difference {
        findings: vec![v1::Finding {
            criterion: "writing".to_owned(),
            statement: "writes in short sentences".to_owned(),
            confidence: 0.75,
        }],
        evidence: Vec::new(),
        provenance: Some(v1::DifferenceProvenance {
            revision: 1,
            representatives: work.representatives.clone(),
            selection: work.selection.clone(),
            model: "test/none".to_owned(),
            prompt_version: "difference.v1".to_owned(),
            created_at_ms: 1_700_000_001_000,
            prompt_tokens: 620,
            completion_tokens: 80,
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_gets_peers_that_are_not_itself_and_a_mark() {
    let rig = Servers::start().await;
    let users = ["ana", "ben", "cleo", "dov", "eva", "fred", "gil"];
    write(&rig, &users).await;
    let works = extracts(&rig, &eager()).await;
    assert_eq!(works.len(), users.len());
    for (user, work) in &works {
        let key = RecordKey::new(TENANT, user, ITEM);
        assert_eq!(work.representatives.len(), 4, "{user}");
        assert!(!work.representatives.contains(&key.id().to_string()));
        let selection = work.selection.as_ref().unwrap();
        assert_eq!(
            (selection.strategy.as_str(), selection.records),
            ("kmeans", 7)
        );
        let record = rig.store.record(&key).await.unwrap().unwrap();
        assert_eq!(record.due.as_ref(), Some(&selection.fingerprint));
    }
    assert_eq!(
        extracts(&rig, &eager()).await,
        works,
        "the same records, the same answer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_are_read_are_compared_by_default() {
    let rig = Servers::start().await;
    write(&rig, &["ana", "ben", "cleo"]).await;
    let config = SelectorConfig::default();
    let nobody = select(&rig, &config).await.unwrap();
    assert!(matches!(nobody, Outcome::Skip("nothing_due")));
    rig.store.touch_active(TENANT, "ben").await.unwrap();
    let works = extracts(&rig, &config).await;
    assert_eq!(works.keys().collect::<Vec<_>>(), ["ben"]);
}

/// Strategies and numbers of representatives of the extract tokens.
fn ways(works: &BTreeMap<String, v1::ExtractWork>) -> BTreeSet<(String, usize)> {
    let mut ways = BTreeSet::new();
    for work in works.values() {
        let strategy = work.selection.as_ref().unwrap().strategy.clone();
        ways.insert((strategy, work.representatives.len()));
    }
    ways
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_compared_in_its_own_way_or_not_at_all() {
    let rig = Servers::start().await;
    let users = ["ana", "ben", "cleo", "dov", "eva", "fred", "gil"];
    for tenant in [TENANT, "globex", "initech"] {
        write_in(&rig, tenant, &users).await;
        rig.store.touch_active(tenant, "ana").await.unwrap();
    }
    let globex = TenantConfig {
        strategy: Some(Strategy::Random),
        k: Some(2),
        ..TenantConfig::default()
    };
    let initech = TenantConfig {
        compare: Some(Compare::None),
        ..TenantConfig::default()
    };
    let own = [("globex", globex), ("initech", initech)];
    let own = own.map(|(tenant, own)| (tenant.to_owned(), own));
    let config = SelectorConfig {
        tenants: own.into_iter().collect(),
        ..eager()
    };
    for (tenant, strategy, k) in [(TENANT, "kmeans", 4), ("globex", "random", 2)] {
        let works = extracts_in(&rig, tenant, &config).await;
        assert_eq!(works.len(), users.len(), "{tenant}");
        let expected = BTreeSet::from([(strategy.to_owned(), k)]);
        assert_eq!(ways(&works), expected, "{tenant}");
    }
    let none = select_in(&rig, "initech", &config).await.unwrap();
    assert!(matches!(none, Outcome::Skip("nothing_due")));
    for user in users {
        let record = rig.record(&RecordKey::new("initech", user, ITEM)).await;
        assert_eq!(record.due, None, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compared_record_is_compared_again_when_its_item_has_doubled() {
    let rig = Servers::start().await;
    write(&rig, &["ana", "ben", "cleo"]).await;
    for (user, work) in extracts(&rig, &eager()).await {
        let key = RecordKey::new(TENANT, user, ITEM);
        let stored = rig.store.put_difference(&key, 1, &difference(&work)).await;
        stored.unwrap();
    }
    let none = select(&rig, &eager()).await.unwrap();
    assert!(matches!(none, Outcome::Skip("nothing_due")));
    write(&rig, &["ana", "ben", "cleo", "dov", "eva"]).await;
    let new = extracts(&rig, &eager()).await;
    assert_eq!(new.keys().collect::<Vec<_>>(), ["dov", "eva"]);
    write(&rig, &["ana", "ben", "cleo", "dov", "eva", "fred"]).await;
    assert_eq!(extracts(&rig, &eager()).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_serves_nobody_but_is_served() {
    let rig = Servers::start().await;
    write(&rig, &["ana", "ben", "cleo"]).await;
    rig.store.put_opt_out(TENANT, "ana", true, 1).await.unwrap();
    let works = extracts(&rig, &eager()).await;
    let ana = RecordKey::new(TENANT, "ana", ITEM).id().to_string();
    assert_eq!(works.len(), 3);
    assert!(
        works
            .values()
            .all(|work| !work.representatives.contains(&ana))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_record_of_a_read_user_goes_to_the_profiler() {
    let rig = Servers::start().await;
    write(&rig, &["ana"]).await;
    rig.store.touch_active(TENANT, "ana").await.unwrap();
    let outcome = select(&rig, &SelectorConfig::default()).await.unwrap();
    let Outcome::Emit(emits) = outcome else {
        panic!("skipped");
    };
    assert_eq!(emits.len(), 1);
    assert_eq!(emits[0].subject, subject::profile(TENANT, "ana"));
    let schedule = emits[0].schedule.as_ref().unwrap();
    assert_eq!(schedule.subject, subject::profile_schedule(TENANT, "ana"));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_another_subject_is_refused() {
    let rig = Servers::start().await;
    let cx = context(rig.nats.client().await, &subject::select("other", ITEM));
    let work = v1::SelectWork {
        tenant: TENANT.to_owned(),
        item: ITEM.to_owned(),
    };
    let selector = Selector::new(&eager(), rig.store.clone());
    let refused = selector.handle(work, &cx).await;
    let invalid = Reason::Invalid;
    assert!(matches!(refused, Err(StageError::Reject { reason, .. }) if reason == invalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_stage_turns_a_token_into_work() {
    let rig = Servers::start().await;
    write(&rig, &["ana", "ben"]).await;
    let (store, service) = (rig.store.clone(), rig.service.clone());
    let running = tokio::spawn(async move { foil_selector::run(&eager(), store, &service).await });
    let token = v1::SelectWork {
        tenant: TENANT.to_owned(),
        item: ITEM.to_owned(),
    };
    rig.publish_bytes(subject::select(TENANT, ITEM), token.encode_to_vec())
        .await;
    eventually("work for two records", async || {
        rig.count(stream::EXTRACT, ">").await == 2
    })
    .await;
    rig.stop(running).await;
}
