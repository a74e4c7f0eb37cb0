//! Contexts, whole and degraded. None costs a call to the model.

use std::time::Duration;

use foil_generator::{GeneratorConfig, TenantConfig};
use foil_llm::stub::{StubConfig, StubServer};
use foil_proto::v1::GenerateRequest;
use foil_rig::{eventually, record};
use foil_store::{RecordKey, RecordWrite};

use crate::support::*;

#[tokio::test]
async fn a_context_costs_no_call_and_is_the_same_every_time() {
    let (rig, stub) = Rig::start().await;
    put_history(&rig.store).await;
    put_difference(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    let parts = rig.ask(context_request()).await;
    assert_eq!(parts.len(), 2);
    assert_eq!(done(&parts).llm_calls, 0);
    let context = rig.context(context_request()).await;
    assert_eq!(
        (context.strategy.as_str(), context.degraded.as_str()),
        ("dpl", "")
    );
    assert_eq!(context.profile_version, 1);
    assert!(context.profile_age_ms > 1_000);
    assert_eq!(context.key_samples, ["kettle", "lamp"]);
    for words in [
        "Dry and terse, version 1.",
        "shorter sentences (2.00 words a sentence",
        "writing: Writes far shorter sentences",
        "It boils. It stops. Good.",
    ] {
        assert!(context.block.contains(words), "{words}: {}", context.block);
    }
    assert_eq!(rig.context(context_request()).await.block, context.block);
    assert_eq!(stub.calls(), 0);
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn no_peer_is_in_a_context() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    put_difference(&rig.store).await;
    let context = rig.context(context_request()).await;
    let peer = foil_store::RecordKey::new(TENANT, "otto-the-peer", "kettle");
    for hidden in ["Gloriously", "otto", &peer.id().to_string()] {
        assert!(!format!("{context:?}").contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn without_history_it_is_not_personal() {
    let (rig, _stub) = Rig::start().await;
    let context = rig.context(context_request()).await;
    assert_eq!(context.strategy, "non-perso");
    assert_eq!(context.degraded, "no_history");
    assert_eq!((context.block.as_str(), context.profile_version), ("", 0));
}

#[tokio::test]
async fn without_peers_it_is_a_summary_or_the_past_texts() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    let context = rig.context(context_request()).await;
    assert_eq!(
        (context.strategy.as_str(), context.degraded.as_str()),
        ("intsum", "no_peers")
    );
    assert!(context.block.contains("It boils. It stops."));
    put_profile(&rig.store, 1, "intsum").await;
    let context = rig.context(context_request()).await;
    assert_eq!(context.degraded, "no_peers");
    assert!(context.block.contains("Dry and terse, version 1."));
    assert!(!context.block.contains("Measured"), "{}", context.block);
}

#[tokio::test]
async fn another_tenant_of_the_same_user_has_no_history() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    let context = rig
        .context(GenerateRequest {
            tenant: "other".into(),
            ..context_request()
        })
        .await;
    assert_eq!(context.degraded, "no_history");
}

#[tokio::test]
async fn a_strategy_can_be_asked_for() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    put_difference(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    for (strategy, differences, texts) in [
        ("rag", false, true),
        ("non-perso", false, false),
        ("dpl", true, true),
    ] {
        let request = GenerateRequest {
            strategy: strategy.into(),
            ..context_request()
        };
        let context = rig.context(request).await;
        assert_eq!(
            (context.strategy.as_str(), context.degraded.as_str()),
            (strategy, "")
        );
        assert_eq!(
            context.block.contains("<differences"),
            differences,
            "{strategy}"
        );
        assert_eq!(context.block.contains("<past_text"), texts, "{strategy}");
    }
}

#[tokio::test]
async fn the_item_itself_is_looked_up_and_no_sample_of_its_own() {
    let (rig, stub) = Rig::start().await;
    put_history(&rig.store).await;
    let request = GenerateRequest {
        item: "kettle".into(),
        item_title: String::new(),
        item_description: String::new(),
        ..request()
    };
    let context = rig.context(request).await;
    assert_eq!(context.key_samples, ["lamp"]);
    eventually("the call", || async { stub.calls() == 1 }).await;
    let prompt = stub.last_request().body.to_string();
    assert!(prompt.contains("An electric kettle for water."), "{prompt}");
}

#[tokio::test]
async fn a_request_that_waits_gets_the_later_profile() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    let waiting = rig.context(GenerateRequest {
        wait: true,
        ..context_request()
    });
    let arrives = async {
        // The comparison starts while the request still waits.
        eventually("the work", || async {
            rig.count("FOIL_SELECT", "foil.v1.select.>").await == 2
        })
        .await;
        put_profile(&rig.store, 1, "intsum").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        put_profile(&rig.store, 2, "dpl").await;
    };
    let (context, ()) = tokio::join!(waiting, arrives);
    assert_eq!(
        (context.strategy.as_str(), context.degraded.as_str()),
        ("dpl", "")
    );
    assert_eq!(context.profile_version, 2);
}

#[tokio::test]
async fn a_version_that_never_comes_degrades_before_the_deadline() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    // The stage is up once it answers; what follows is about time.
    rig.context(context_request()).await;
    let request = GenerateRequest {
        min_version: 9,
        ..context_request()
    };
    let since = std::time::Instant::now();
    let parts = rig.ask_within(request, Duration::from_secs(4)).await;
    assert!(since.elapsed() > Duration::from_secs(1), "it did not wait");
    assert_eq!(done(&parts).llm_calls, 0);
    let context = match &parts[0] {
        foil_proto::v1::generate_reply::Part::Context(context) => context,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (context.strategy.as_str(), context.profile_version),
        ("dpl", 1)
    );
}

#[tokio::test]
async fn a_tenant_has_key_samples_and_facts_of_its_own() {
    let of = |key_samples, facts| TenantConfig {
        key_samples: Some(key_samples),
        facts: Some(facts),
        ..TenantConfig::default()
    };
    let own = [(TENANT, of(1, 0)), ("globex", of(2, 1))];
    let own = own.map(|(tenant, own)| (tenant.to_owned(), own));
    let config = GeneratorConfig {
        key_samples: 3,
        tenants: own.into_iter().collect(),
        ..GeneratorConfig::default()
    };
    let stub = StubServer::start(StubConfig::default()).unwrap();
    let rig = Rig::with(model(&stub).await, config).await;
    put_history(&rig.store).await;
    put_difference(&rig.store).await;
    put_profile(&rig.store, 1, "dpl").await;
    let context = rig.context(context_request()).await;
    assert_eq!(
        (context.strategy.as_str(), context.degraded.as_str()),
        ("dpl", "")
    );
    assert_eq!(context.key_samples, ["kettle"]);
    assert!(context.block.contains("Dry and terse"), "{}", context.block);
    assert!(!context.block.contains("2.00 words"), "{}", context.block);
    for (tenant, samples) in [("globex", 2), ("initech", 3)] {
        for item in ["kettle", "lamp", "pan"] {
            let write = RecordWrite {
                key: RecordKey::new(tenant, USER, item),
                ..record(USER, item, "It boils. It stops. Good.")
            };
            rig.store.put_record(&write).await.unwrap();
        }
        let request = GenerateRequest {
            tenant: tenant.into(),
            ..context_request()
        };
        let context = rig.context(request).await;
        assert_eq!(context.key_samples.len(), samples, "{tenant}");
    }
}

#[tokio::test]
async fn who_asks_for_a_summary_without_differences_waits_for_none() {
    let (rig, _stub) = Rig::start().await;
    put_history(&rig.store).await;
    put_profile(&rig.store, 1, "intsum").await;
    // The stage is up once it answers; what follows is about time.
    rig.context(context_request()).await;
    let request = GenerateRequest {
        strategy: "intsum".into(),
        wait: true,
        ..context_request()
    };
    let since = std::time::Instant::now();
    let context = rig.context(request).await;
    assert!(since.elapsed() < PATIENCE / 2, "it waited");
    assert_eq!(
        (context.strategy.as_str(), context.degraded.as_str()),
        ("intsum", "")
    );
}
