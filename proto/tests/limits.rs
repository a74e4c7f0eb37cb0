//! Each size and number of a message: below its limit and at it it holds, above it is refused by name.

#![allow(clippy::unwrap_used)]

use foil_proto::check::{self, Faults};
use foil_proto::v1;
use foil_proto::v1::update::Change;

const NOW: i64 = 1_760_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// Holds at each of `good`; at each of `bad` the one fault begins with `field`.
fn bounds<T: Copy + std::fmt::Debug>(
    field: &str,
    good: &[T],
    bad: &[T],
    check: impl Fn(T) -> Result<(), Faults>,
) {
    for value in good {
        assert_eq!(check(*value), Ok(()), "{field}: {value:?}");
    }
    for value in bad {
        let faults = check(*value).expect_err(field).0;
        let named = faults.len() == 1 && faults[0].starts_with(&format!("{field}: "));
        assert!(named, "{field}: {value:?}: {faults:?}");
    }
}

/// A text's length in bytes, from `least` to `most`.
fn lengths(field: &str, least: usize, most: usize, check: impl Fn(String) -> Result<(), Faults>) {
    let below = least.checked_sub(1);
    let bad: Vec<usize> = below
        .into_iter()
        .chain([most + 1, most + 2, 10 * most])
        .collect();
    bounds(field, &[least, least + 1, most - 1, most], &bad, |bytes| {
        check("x".repeat(bytes))
    });
    // Bytes, not characters.
    bounds(field, &[most / 2], &[most / 2 + 1], |count| {
        check("\u{e9}".repeat(count))
    });
}

fn update(tenant: String, change: Change) -> Result<(), Faults> {
    let change = Some(change);
    check::update(&v1::Update { tenant, change }, NOW)
}

fn record(set: impl FnOnce(&mut v1::RecordUpsert)) -> Result<(), Faults> {
    let mut record = v1::RecordUpsert {
        user: "u".into(),
        item: "i".into(),
        text: "t".into(),
        revision: 1,
        ..v1::RecordUpsert::default()
    };
    set(&mut record);
    update("t".into(), Change::RecordUpsert(record))
}

#[test]
fn a_records_limits() {
    lengths("tenant", 1, 64, |tenant| {
        let erase = v1::UserErase { user: "u".into() };
        update(tenant, Change::UserErase(erase))
    });
    lengths("user", 1, 256, |user| record(|r| r.user = user));
    lengths("item", 1, 256, |item| record(|r| r.item = item));
    lengths("text", 1, 65_536, |text| record(|r| r.text = text));
    lengths("title", 0, 1_024, |title| record(|r| r.title = title));
    let ratings = [-1e6, -999_999.9, 0.0, 999_999.9, 1e6];
    let others = [
        -1_000_000.1,
        1_000_000.1,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    bounds("rating", &ratings, &others, |rating| {
        record(|r| r.rating = Some(rating))
    });
    let times = [0, 1, NOW + DAY_MS - 1, NOW + DAY_MS];
    let others = [-1, i64::MIN, NOW + DAY_MS + 1, i64::MAX];
    bounds("occurred_at_ms", &times, &others, |ms| {
        record(|r| r.occurred_at_ms = ms)
    });
    bounds("revision", &[1, u64::MAX], &[0], |revision| {
        record(|r| r.revision = revision)
    });
}

#[test]
fn the_other_changes_limits() {
    let delete = |user: String, item: String| {
        update(
            "t".into(),
            Change::RecordDelete(v1::RecordDelete {
                user,
                item,
                revision: 0,
            }),
        )
    };
    lengths("user", 1, 256, |user| delete(user, "i".into()));
    lengths("item", 1, 256, |item| delete("u".into(), item));
    lengths("user", 1, 256, |user| {
        update("t".into(), Change::UserErase(v1::UserErase { user }))
    });
    lengths("user", 1, 256, |user| {
        let choice = v1::PeerOptOut {
            user,
            ..v1::PeerOptOut::default()
        };
        update("t".into(), Change::PeerOptOut(choice))
    });
    let item = |set: fn(&mut v1::ItemUpsert, String), text: String| {
        let mut item = v1::ItemUpsert {
            item: "i".into(),
            ..v1::ItemUpsert::default()
        };
        set(&mut item, text);
        update("t".into(), Change::ItemUpsert(item))
    };
    lengths("item", 1, 256, |text| item(|i, text| i.item = text, text));
    lengths("title", 0, 1_024, |text| {
        item(|i, text| i.title = text, text)
    });
    lengths("description", 0, 16_384, |text| {
        item(|i, text| i.description = text, text)
    });
}

fn request(set: impl FnOnce(&mut v1::GenerateRequest)) -> Result<(), Faults> {
    let mut request = v1::GenerateRequest {
        tenant: "t".into(),
        user: "u".into(),
        item: "i".into(),
        item_title: "t".into(),
        deadline_ms: 1,
        ..v1::GenerateRequest::default()
    };
    set(&mut request);
    check::generate(&request)
}

#[test]
fn a_requests_limits() {
    lengths("tenant", 1, 64, |text| request(|r| r.tenant = text));
    lengths("user", 1, 256, |text| request(|r| r.user = text));
    lengths("item", 0, 256, |text| request(|r| r.item = text));
    lengths("item_title", 0, 1_024, |text| {
        request(|r| r.item_title = text)
    });
    lengths("item_description", 0, 16_384, |text| {
        request(|r| r.item_description = text)
    });
    lengths("title", 0, 1_024, |text| request(|r| r.title = text));
    let others = [2_049, u32::MAX];
    bounds("max_tokens", &[0, 1, 2_047, 2_048], &others, |most| {
        request(|r| r.max_tokens = most)
    });
    let others = [-0.1, 2.1, f64::NAN, f64::INFINITY];
    bounds("temperature", &[0.0, 0.1, 1.9, 2.0], &others, |t| {
        request(|r| r.temperature = Some(t))
    });
    bounds(
        "rating",
        &[-1e6, 1e6],
        &[-1e6 - 1.0, 1e6 + 1.0, f64::NAN],
        |rating| request(|r| r.rating = Some(rating)),
    );
    bounds("deadline_ms", &[1, i64::MAX], &[0, -1, i64::MIN], |ms| {
        request(|r| r.deadline_ms = ms)
    });
    let strategies = [&check::STRATEGIES[..], &[""]].concat();
    bounds("strategy", &strategies, &["DPL", " ", "dpl "], |name| {
        request(|r| r.strategy = name.into())
    });
}

#[test]
fn the_keys_of_works_limits() {
    lengths("tenant", 1, 64, |text| {
        check::keys(&text, Some("u"), Some("i"))
    });
    lengths("user", 1, 256, |text| check::keys("t", Some(&text), None));
    lengths("item", 1, 256, |text| check::keys("t", None, Some(&text)));
}

/// What the streams take, so that nothing valid is refused by NATS: FOIL_UPDATES 992 KiB, FOIL_GENERATE
/// 64 KiB, work and events 16 KiB, and 4,096 bytes for a line of the protocol.
#[test]
fn the_largest_of_each_message_fits_its_stream() {
    use prost::Message as _;
    let long = |bytes: usize| "\u{1}".repeat(bytes);
    let record = v1::RecordUpsert {
        user: long(256),
        item: long(256),
        text: long(65_536),
        title: long(1_024),
        rating: Some(0.1),
        occurred_at_ms: i64::MAX,
        revision: u64::MAX,
    };
    let update = v1::Update {
        tenant: long(64),
        change: Some(Change::RecordUpsert(record)),
    };
    assert!(
        update.encoded_len() < 128 * 1024,
        "{}",
        update.encoded_len()
    );
    let request = v1::GenerateRequest {
        tenant: long(64),
        user: long(256),
        item: long(256),
        item_title: long(1_024),
        item_description: long(16_384),
        title: long(1_024),
        rating: Some(0.1),
        strategy: "non-perso".into(),
        max_tokens: 2_048,
        temperature: Some(0.1),
        seed: u64::MAX,
        deadline_ms: i64::MAX,
        context_only: true,
        wait: true,
        min_version: u64::MAX,
    };
    assert!(
        request.encoded_len() < 32 * 1024,
        "{}",
        request.encoded_len()
    );
    let work = v1::ExtractWork {
        tenant: long(64),
        user: long(256),
        item: long(256),
        representatives: vec![long(36); 16],
        selection: Some(v1::Selection {
            strategy: "dissimilar".into(),
            records: u32::MAX,
            fingerprint: long(64),
        }),
    };
    assert!(work.encoded_len() < 8 * 1024, "{}", work.encoded_len());
    let (t, u, i) = (long(64), long(256), long(256));
    let subject = foil_proto::names::subject::extract(&t, &u, &i);
    assert!(subject.len() < 2_048, "{}", subject.len());
}
