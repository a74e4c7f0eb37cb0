//! The running stage with a real model on the sample corpus.

#![allow(clippy::unwrap_used)]

mod support;

use foil_llm::{EngineConfig, load};
use foil_proto::v1;
use foil_store::{Item, RecordKey};
use serde_json::Value;

use support::{Rig, TENANT, config, eventually, work};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/");
const ITEM: &str = "cafe-lantern-yard";

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn model_file() -> String {
    std::env::var("FOIL_TEST_LLM_MODEL")
        .expect("FOIL_TEST_LLM_MODEL is not set: it names a GGUF chat model")
}

fn lines(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{CORPUS}{file}")).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// Stores the item and all its records, and gives the users.
async fn fill(rig: &Rig) -> Vec<String> {
    let items = lines("items.ndjson");
    let item = items.iter().find(|item| item["id"] == ITEM).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let stored = Item {
        id: ITEM.to_owned(),
        title: text(&item["title"]),
        description: text(&item["description"]),
        revision: 1,
    };
    rig.store.put_item(TENANT, &stored, 1).await.unwrap();
    let mut users = Vec::new();
    for file in ["users-1.ndjson", "users-2.ndjson", "users-3.ndjson"] {
        for record in lines(file).iter().filter(|record| record["item"] == ITEM) {
            let user = text(&record["user"]);
            rig.put(&user, ITEM, &text(&record["text"])).await;
            users.push(user);
        }
    }
    users
}

fn value(difference: &v1::Difference, feature: &str) -> v1::Evidence {
    let mut found = difference.evidence.iter();
    found.find(|e| e.feature == feature).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_of_real_texts_hold_and_rest_on_what_was_measured() {
    let rig = Rig::start().await;
    let users = fill(&rig).await;
    let engine = EngineConfig {
        model: model_file(),
        ..EngineConfig::default()
    };
    let model = load(&engine).await.unwrap();
    let running = rig.run(model, {
        let mut config = config();
        config.worker.timeout = std::time::Duration::from_secs(240);
        config
    });
    let targets = ["mara", "osric", "tilly"];
    let mut peers = Vec::new();
    for user in users
        .iter()
        .filter(|u| !targets.contains(&u.as_str()))
        .take(3)
    {
        peers.push(rig.record(&RecordKey::new(TENANT, user, ITEM)).await);
    }
    for user in targets {
        let key = RecordKey::new(TENANT, user, ITEM);
        rig.publish(&work(&key, &peers.iter().collect::<Vec<_>>()))
            .await;
    }
    let mut differences = Vec::new();
    for user in targets {
        let key = RecordKey::new(TENANT, user, ITEM);
        eventually("a difference", || async {
            rig.record(&key).await.difference.is_some()
        })
        .await;
        let difference = rig.record(&key).await.difference.unwrap();
        println!("{user}:");
        for finding in &difference.findings {
            println!(
                "  {}: {} ({})",
                finding.criterion, finding.statement, finding.confidence
            );
        }
        println!(
            "  {:?}",
            difference.provenance.as_ref().unwrap().completion_tokens
        );
        differences.push(difference);
    }
    for difference in &differences {
        assert_eq!(difference.findings.len(), 3);
        for finding in &difference.findings {
            assert!(
                finding.statement.split_whitespace().count() >= 4,
                "{finding:?}"
            );
        }
    }
    // The voices of the corpus's own description.
    let [mara, osric, tilly] = &differences[..] else {
        panic!("three differences")
    };
    assert!(value(mara, "words_per_sentence").z_score < 0.0);
    assert!(value(osric, "words_per_sentence").z_score > 1.0);
    assert!(value(tilly, "exclamations").z_score > 1.0);
    rig.stop(running).await;
}
