use foil_proto::v1::{self, event::Kind};
use foil_store::Compaction;

use super::receipt::Receipt;

fn event(user: &str, kind: Kind) -> v1::Event {
    v1::Event {
        tenant: "shop-7".to_owned(),
        user: user.to_owned(),
        at_ms: 1_773_512_495_000,
        kind: Some(kind),
    }
}

fn look(collection: &'static str, counted: bool) -> Compaction {
    Compaction {
        collection,
        green: true,
        counted: counted.then_some((1, 1)),
    }
}

fn erased() -> Kind {
    Kind::UserErased(v1::UserErased {
        sequence: 1_234,
        records: 1,
        profiles: 4,
        differences_of_others: 11,
        erased_at_ms: 1_773_512_494_321,
        removed: Some(v1::Removed {
            log: 12,
            queued: 2,
            dead_letters: 1,
            events: 21,
            profiles_of_others: 5,
        }),
    })
}

#[test]
fn a_receipt_says_what_went_and_what_became_of_the_bytes() {
    let collections = vec![look("foil_records", true), look("foil_items", false)];
    let receipt = Receipt::of(&event("ma\nra", erased()), collections, &["foil_records"]).unwrap();
    let text = receipt.to_string();
    let wanted = "\
erased ma\\nra in tenant shop-7
  receipt    1234, 2026-03-14T18:21:35Z
  stored     1 record, 4 profile versions
  of others  11 differences, 5 profile versions
  messages   12 in the log, 2 queued, 1 dead letter, 21 events
  files      overwritten in FOIL_UPDATES, FOIL_DEAD, KV_FOIL_PROFILES
  files      green: foil_items
  files      not yet gone from foil_records
";
    assert_eq!(text, wanted);
}

#[test]
fn a_tenants_receipt_names_no_user() {
    let kind = Kind::TenantErased(v1::TenantErased {
        sequence: 7,
        items: 3,
        ..v1::TenantErased::default()
    });
    let receipt = Receipt::of(&event("", kind), Vec::new(), &[]).unwrap();
    assert!(
        receipt
            .to_string()
            .starts_with("erased everything of tenant shop-7\n")
    );
    let json = serde_json::to_value(&receipt).unwrap();
    assert_eq!(
        (json["user"].as_str(), json["items"].as_u64()),
        (None, Some(3))
    );
}

#[test]
fn only_what_messages_were_removed_from_was_overwritten() {
    let overwritten = |kind| {
        let receipt = Receipt::of(&event("", kind), Vec::new(), &[]).unwrap();
        receipt.files.overwritten
    };
    let queued = Some(v1::Removed {
        queued: 3,
        events: 2,
        ..v1::Removed::default()
    });
    let tenant = v1::TenantErased {
        removed: queued,
        ..v1::TenantErased::default()
    };
    assert_eq!(overwritten(Kind::TenantErased(tenant)), ["FOIL_GENERATE"]);
    // Of a user only keys were queued, and those are purged.
    let user = v1::UserErased {
        removed: queued,
        ..v1::UserErased::default()
    };
    assert!(overwritten(Kind::UserErased(user)).is_empty());
    let record = v1::RecordErased {
        removed: Some(v1::Removed {
            dead_letters: 1,
            profiles_of_others: 1,
            ..v1::Removed::default()
        }),
        ..v1::RecordErased::default()
    };
    let both = ["FOIL_DEAD", "KV_FOIL_PROFILES"];
    assert_eq!(overwritten(Kind::RecordErased(record)), both);
}

#[test]
fn replicas_are_said_to_remember() {
    let mut receipt = Receipt::of(&event("mara", erased()), Vec::new(), &[]).unwrap();
    assert!(!receipt.to_string().contains("Raft"));
    receipt.files.in_raft_logs = vec!["FOIL_UPDATES", "FOIL_DEAD"];
    let line =
        "  files      until their next snapshot in the Raft logs of FOIL_UPDATES, FOIL_DEAD\n";
    assert!(receipt.to_string().contains(line), "{receipt}");
}

#[test]
fn a_misspelt_id_is_told_from_an_erased_one() {
    let kind = Kind::UserErased(v1::UserErased::default());
    let nothing = Receipt::of(&event("maraa", kind), Vec::new(), &[]).unwrap();
    assert!(nothing.to_string().contains("nothing was known"));
}

#[test]
fn another_event_is_no_receipt() {
    let kind = Kind::Dead(v1::DeadLettered::default());
    assert!(Receipt::of(&event("mara", kind), Vec::new(), &[]).is_err());
}
