use super::*;
use v1::update::Change;

const NOW: i64 = 1_760_000_000_000;

fn record() -> v1::RecordUpsert {
    v1::RecordUpsert {
        user: "u".into(),
        item: "i".into(),
        text: "words".into(),
        occurred_at_ms: NOW,
        ..Default::default()
    }
}

fn faults_of(change: impl FnOnce(&mut v1::RecordUpsert)) -> String {
    let mut upsert = record();
    change(&mut upsert);
    let message = v1::Update {
        tenant: "t".into(),
        change: Some(Change::RecordUpsert(upsert)),
    };
    update(&message, NOW).map_or_else(|f| f.to_string(), |()| String::new())
}

#[test]
fn sizes_hold_at_their_limit_and_not_above() {
    assert_eq!(faults_of(|r| r.text = "x".repeat(TEXT_BYTES_MAX)), "");
    assert!(faults_of(|r| r.text = "x".repeat(TEXT_BYTES_MAX + 1)).starts_with("text: "));
    assert_eq!(faults_of(|r| r.user = "x".repeat(ID_BYTES_MAX)), "");
    assert!(faults_of(|r| r.user = "x".repeat(ID_BYTES_MAX + 1)).starts_with("user: "));
    assert_eq!(faults_of(|r| r.title = "x".repeat(TITLE_BYTES_MAX)), "");
    assert!(faults_of(|r| r.title = "x".repeat(TITLE_BYTES_MAX + 1)).starts_with("title: "));
}

#[test]
fn each_fault_names_its_field() {
    for (field, change) in [
        ("user", (|r| r.user.clear()) as fn(&mut v1::RecordUpsert)),
        ("item", |r| r.item.clear()),
        ("text", |r| r.text = " \n\t\u{a0}".into()),
        ("rating", |r| r.rating = Some(f64::NAN)),
        ("rating", |r| r.rating = Some(f64::INFINITY)),
        ("occurred_at_ms", |r| r.occurred_at_ms = -1),
        ("occurred_at_ms", |r| {
            r.occurred_at_ms = NOW + FUTURE_MS_MAX + 1
        }),
        ("occurred_at_ms", |r| r.occurred_at_ms = i64::MAX),
        ("revision", |r| r.occurred_at_ms = 0),
    ] {
        let faults = faults_of(change);
        assert!(
            faults.starts_with(&format!("{field}: ")),
            "{field}: {faults:?}"
        );
    }
}

#[test]
fn all_faults_come_at_once() {
    let faults = faults_of(|r| {
        r.user.clear();
        r.text.clear();
        r.rating = Some(f64::NAN);
    });
    assert_eq!(faults.split("; ").count(), 3, "{faults}");
}

#[test]
fn odd_ids_are_welcome() {
    for id in ["a b", "a.b", "*", ">", "a\nb", "🦀", "="] {
        assert_eq!(faults_of(|r| r.user = id.into()), "");
    }
}

#[test]
fn an_unknown_change_is_refused() {
    let message = v1::Update {
        tenant: "t".into(),
        change: None,
    };
    assert!(update(&message, NOW).is_err());
}

#[test]
fn a_tenant_is_erased_only_when_it_is_named_twice() {
    let erase = |named: &str| v1::Update {
        tenant: "shop-7".into(),
        change: Some(v1::update::Change::TenantErase(v1::TenantErase {
            tenant: named.into(),
        })),
    };
    assert_eq!(update(&erase("shop-7"), NOW), Ok(()));
    assert_eq!(user_of(&erase("shop-7")), "");
    for other in ["", "shop-8", "shop"] {
        let faults = update(&erase(other), NOW).expect_err("another tenant");
        assert_eq!(
            faults.to_string(),
            "tenant_erase.tenant: is not the tenant of the update"
        );
    }
}

#[test]
fn a_request_needs_something_to_write_about() {
    let mut request = v1::GenerateRequest {
        tenant: "t".into(),
        user: "u".into(),
        deadline_ms: 1,
        ..Default::default()
    };
    assert!(generate(&request).is_err());
    request.item_title = "A kettle".into();
    assert_eq!(generate(&request), Ok(()));
    request.strategy = "magic".into();
    request.max_tokens = GENERATE_TOKENS_MAX + 1;
    request.temperature = Some(f64::NAN);
    let faults = generate(&request).expect_err("three faults").0;
    assert_eq!(faults.len(), 3, "{faults:?}");
}
