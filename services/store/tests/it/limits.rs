//! What may be stored: each size below its limit, at it, and above, where the error names the field.

use foil_store::{Item, Store, StoreError, Written};

use crate::support::{Rig, TENANT, difference, item_of, profile, record};

fn refused<T: std::fmt::Debug>(field: &str, outcome: Result<T, StoreError>) {
    let error = outcome.expect_err(field);
    let named = matches!(&error, StoreError::Invalid { field: named, .. } if *named == field);
    assert!(named, "{field}: {error}");
    assert!(error.to_string().len() < 200, "{field}: {error}");
}

#[tokio::test]
async fn a_records_sizes() {
    let rig = Rig::start().await;
    let store = &rig.store;
    let text = |bytes: usize| "x".repeat(bytes);
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        record("mara", &format!("kettle-{number}"), 1)
    };
    for bytes in [1, 65_535, 65_536, 65_537] {
        let mut write = fresh();
        write.text = text(bytes);
        let outcome = store.put_record(&write).await;
        match bytes {
            65_537 => refused("text", outcome),
            _ => assert_eq!(outcome.unwrap(), Written::Stored, "{bytes}"),
        }
    }
    for bytes in [0, 1_023, 1_024, 1_025] {
        let mut write = fresh();
        write.title = text(bytes);
        let outcome = store.put_record(&write).await;
        match bytes {
            1_025 => refused("title", outcome),
            _ => assert_eq!(outcome.unwrap(), Written::Stored, "{bytes}"),
        }
    }
    for length in [3, 4, 5] {
        let mut write = fresh();
        write.vector = vec![1.0; length];
        let outcome = store.put_record(&write).await;
        match length {
            4 => assert_eq!(outcome.unwrap(), Written::Stored),
            _ => refused("vector", outcome),
        }
    }
    keys(store).await;
}

async fn keys(store: &Store) {
    for (field, most) in [("tenant", 64), ("user", 256), ("item", 256)] {
        for bytes in [0, 1, most - 1, most, most + 1] {
            let mut write = record("mara", "lamp", 1);
            let id = "i".repeat(bytes);
            match field {
                "tenant" => write.key.tenant = id,
                "user" => write.key.user = id,
                _ => write.key.item = id,
            }
            let outcome = store.put_record(&write).await;
            match (1..=most).contains(&bytes) {
                true => assert_eq!(outcome.unwrap(), Written::Stored, "{field}: {bytes}"),
                false => refused(field, outcome),
            }
        }
    }
}

#[tokio::test]
async fn an_items_sizes() {
    let rig = Rig::start().await;
    for (field, most) in [("title", 1_024), ("description", 16_384)] {
        for bytes in [0, most - 1, most, most + 1] {
            let text = "x".repeat(bytes);
            let mut item = Item {
                id: format!("{field}-{bytes}"),
                title: String::new(),
                description: String::new(),
                revision: 1,
            };
            match field {
                "title" => item.title = text,
                _ => item.description = text,
            }
            let outcome = rig.store.put_item(TENANT, &item, 1).await;
            match bytes <= most {
                true => assert_eq!(outcome.unwrap(), Written::Stored, "{field}: {bytes}"),
                false => refused(field, outcome),
            }
        }
    }
}

#[tokio::test]
async fn a_differences_sizes() {
    const JSON_BYTES_MAX: usize = 256 * 1024;
    let rig = Rig::start().await;
    let users: Vec<String> = (0..18).map(|number| format!("user-{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let records = item_of(&rig.store, "kettle", &users).await;
    let (target, others) = records.split_first().unwrap();
    for count in [0, 1, 15, 16, 17] {
        let found = difference(target, &others.iter().take(count).collect::<Vec<_>>());
        let outcome = rig.store.put_difference(&target.key, 1, &found).await;
        match count {
            0 | 17 => refused("provenance.representatives", outcome),
            _ => drop(outcome.unwrap()),
        }
    }
    let sized = |bytes: usize| {
        let mut found = difference(target, &[&others[0]]);
        found.findings[0].statement.clear();
        let rest = serde_json::to_string(&found).unwrap().len();
        found.findings[0].statement = "x".repeat(bytes - rest);
        found
    };
    for bytes in [JSON_BYTES_MAX - 1, JSON_BYTES_MAX, JSON_BYTES_MAX + 1] {
        let outcome = rig
            .store
            .put_difference(&target.key, 1, &sized(bytes))
            .await;
        match bytes <= JSON_BYTES_MAX {
            true => drop(outcome.unwrap()),
            false => refused("difference", outcome),
        }
    }
}

#[tokio::test]
async fn a_profiles_sizes() {
    let rig = Rig::start().await;
    for (version, chars) in [(1, 1), (2, 3_999), (3, 4_000), (4, 4_001)] {
        let slot = rig.store.profile_slot(TENANT, "mara").await.unwrap();
        let mut next = profile("mara", version);
        // Characters, not bytes.
        next.summary = "\u{e9}".repeat(chars);
        let outcome = rig.store.put_profile(&next, slot.kv_revision).await;
        match chars <= 4_000 {
            true => assert_eq!(outcome.unwrap(), Written::Stored, "{chars}"),
            false => refused("summary", outcome),
        }
    }
    const BYTES_MAX: usize = 512 * 1024;
    let sized = |bytes: usize, version: u64| {
        let mut next = profile("ben", version);
        let mut provenance = next.provenance.take().unwrap_or_default();
        provenance.model = "m".repeat(BYTES_MAX - 1_000);
        next.provenance = Some(provenance.clone());
        let rest = prost::Message::encoded_len(&next);
        provenance.model.push_str(&"m".repeat(bytes - rest));
        next.provenance = Some(provenance);
        assert_eq!(prost::Message::encoded_len(&next), bytes);
        next
    };
    for (version, bytes) in [(1, BYTES_MAX - 1), (2, BYTES_MAX), (3, BYTES_MAX + 1)] {
        let slot = rig.store.profile_slot(TENANT, "ben").await.unwrap();
        let outcome = rig
            .store
            .put_profile(&sized(bytes, version), slot.kv_revision)
            .await;
        match bytes <= BYTES_MAX {
            true => assert_eq!(outcome.unwrap(), Written::Stored, "{bytes}"),
            false => refused("profile", outcome),
        }
    }
}
