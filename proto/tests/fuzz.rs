//! Decoding, checking and id encoding under random input. `PROPTEST_CASES` makes it longer.

#![allow(clippy::unwrap_used)]

#[path = "golden/hex.rs"]
mod hex;
#[path = "../../tests/hostile/fuzz.rs"]
mod random;

use foil_proto::check::{self, Faults};
use foil_proto::names::{subject, user_key};
use foil_proto::v1::update::Change;
use foil_proto::{token, v1};
use proptest::prelude::*;
use prost::Message;
use random::{fuzz, mutated};

const NOW: i64 = 1_760_000_000_000;
/// Every field that a fault may name.
const FIELDS: [&str; 17] = [
    "tenant",
    "change",
    "user",
    "item",
    "text",
    "title",
    "rating",
    "occurred_at_ms",
    "revision",
    "description",
    "item_title",
    "item_description",
    "strategy",
    "max_tokens",
    "temperature",
    "deadline_ms",
    "tenant_erase.tenant",
];
/// A fault says a field and sizes, never a text: so it is short, whatever came.
const FAULT_BYTES_MAX: usize = 400;

fn name_fields(faults: &Faults) -> Result<(), TestCaseError> {
    prop_assert!(!faults.0.is_empty() && faults.0.len() <= 16);
    for fault in &faults.0 {
        let field = fault.split(": ").next().unwrap();
        prop_assert!(FIELDS.contains(&field), "{fault}");
        prop_assert!(fault.len() <= FAULT_BYTES_MAX, "{} bytes", fault.len());
    }
    Ok(())
}

/// The bytes of a message of each kind.
fn good() -> Vec<Vec<u8>> {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let files = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "hex"));
    let good: Vec<Vec<u8>> = files
        .map(|path| hex::read(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect();
    assert!(good.len() >= 15, "{} golden messages", good.len());
    good
}

/// What decodes is no larger than what came and encodes to what decodes to the same.
fn roundtrip<M: Message + Default + PartialEq>(bytes: &[u8]) -> Result<Option<M>, TestCaseError> {
    let Ok(message) = M::decode(bytes) else {
        return Ok(None);
    };
    let again = message.encode_to_vec();
    prop_assert!(
        again.len() <= 2 * bytes.len() + 16,
        "{} of {}",
        again.len(),
        bytes.len()
    );
    Ok(Some(message))
}

#[test]
fn fuzz_decode() {
    let random = prop::collection::vec(any::<u8>(), 0..512);
    let values = prop_oneof![3 => mutated(good()), 1 => random];
    fuzz("decode", &values, |bytes| {
        if let Some(update) = roundtrip::<v1::Update>(&bytes)?
            && let Err(faults) = check::update(&update, NOW)
        {
            name_fields(&faults)?;
        }
        if let Some(request) = roundtrip::<v1::GenerateRequest>(&bytes)?
            && let Err(faults) = check::generate(&request)
        {
            name_fields(&faults)?;
        }
        if let Some(work) = roundtrip::<v1::ExtractWork>(&bytes)?
            && let Err(faults) = check::keys(&work.tenant, Some(&work.user), Some(&work.item))
        {
            name_fields(&faults)?;
        }
        roundtrip::<v1::SelectWork>(&bytes)?;
        roundtrip::<v1::ProfileWork>(&bytes)?;
        roundtrip::<v1::Profile>(&bytes)?;
        roundtrip::<v1::Difference>(&bytes)?;
        roundtrip::<v1::Event>(&bytes)?;
        roundtrip::<v1::GenerateReply>(&bytes)?;
        Ok(())
    });
}

/// Lengths at, below and above the limits, and odd characters.
fn texts(limit: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        ".{0,40}",
        "[ \t\n\u{a0}\u{3000}]{0,9}",
        (0..4_usize).prop_map(move |more| "x".repeat((limit + more).saturating_sub(2))),
        (0..4_usize).prop_map(move |more| "\u{e9}".repeat((limit / 2 + more).saturating_sub(2))),
    ]
}

fn numbers() -> impl Strategy<Value = f64> {
    let odd = [
        1e6,
        -1e6,
        1_000_000.1,
        f64::NAN,
        f64::INFINITY,
        f64::MIN_POSITIVE,
        -0.0,
        2.0,
        2.1,
    ];
    prop_oneof![any::<f64>(), prop::sample::select(odd.to_vec())]
}

fn times() -> impl Strategy<Value = i64> {
    let day = check::FUTURE_MS_MAX;
    let odd = vec![0, -1, 1, i64::MIN, i64::MAX, NOW, NOW + day, NOW + day + 1];
    prop_oneof![any::<i64>(), prop::sample::select(odd)]
}

fn records() -> impl Strategy<Value = v1::RecordUpsert> {
    let ids = || texts(token::ID_BYTES_MAX);
    let text = texts(check::TEXT_BYTES_MAX);
    let title = texts(check::TITLE_BYTES_MAX);
    let rating = prop::option::of(numbers());
    (
        ids(),
        ids(),
        text,
        title,
        rating,
        times(),
        prop_oneof![Just(0), any::<u64>()],
    )
        .prop_map(
            |(user, item, text, title, rating, occurred_at_ms, revision)| v1::RecordUpsert {
                user,
                item,
                text,
                title,
                rating,
                occurred_at_ms,
                revision,
            },
        )
}

/// The same limits, written down a second time: which fields are wrong.
fn wrong_fields(tenant: &str, r: &v1::RecordUpsert) -> Vec<&'static str> {
    let id = |id: &str, max: usize| id.is_empty() || id.len() > max;
    let rating = r
        .rating
        .is_some_and(|x| !(-1_000_000.0..=1_000_000.0).contains(&x));
    let mut wrong = Vec::new();
    for (field, is_wrong) in [
        ("tenant", id(tenant, 64)),
        ("user", id(&r.user, 256)),
        ("item", id(&r.item, 256)),
        ("text", r.text.trim().is_empty() || r.text.len() > 65_536),
        ("title", r.title.len() > 1_024),
        ("rating", rating),
        (
            "occurred_at_ms",
            !(0..=NOW + 86_400_000).contains(&r.occurred_at_ms),
        ),
        ("revision", r.revision == 0 && r.occurred_at_ms == 0),
    ] {
        if is_wrong {
            wrong.push(field);
        }
    }
    wrong
}

#[test]
fn fuzz_record() {
    let values = (texts(check::TENANT_BYTES_MAX), records());
    fuzz("record", &values, |(tenant, record)| {
        let wrong = wrong_fields(&tenant, &record);
        let change = Some(Change::RecordUpsert(record));
        let found = check::update(&v1::Update { tenant, change }, NOW);
        let Err(faults) = found else {
            prop_assert_eq!(wrong, [""; 0]);
            return Ok(());
        };
        name_fields(&faults)?;
        let mut named: Vec<&str> = faults
            .0
            .iter()
            .map(|f| f.split(':').next().unwrap())
            .collect();
        named.dedup();
        prop_assert_eq!(named, wrong);
        Ok(())
    });
}

#[test]
fn fuzz_request() {
    let ids = || texts(token::ID_BYTES_MAX);
    let titles = || texts(check::TITLE_BYTES_MAX);
    let strategy = prop_oneof![Just("dpl".to_owned()), ".{0,12}", "x{100,2000}"];
    let texts = (
        ids(),
        ids(),
        titles(),
        texts(check::DESCRIPTION_BYTES_MAX),
        titles(),
        strategy,
    );
    let rest = (
        any::<u32>(),
        prop::option::of(numbers()),
        prop::option::of(numbers()),
        times(),
    );
    fuzz("request", &(texts, rest), |(texts, rest)| {
        let (user, item, item_title, item_description, title, strategy) = texts;
        let (max_tokens, temperature, rating, deadline_ms) = rest;
        let request = v1::GenerateRequest {
            tenant: "acme".to_owned(),
            user,
            item,
            item_title,
            item_description,
            title,
            rating,
            strategy,
            max_tokens,
            temperature,
            deadline_ms,
            ..v1::GenerateRequest::default()
        };
        match check::generate(&request) {
            Err(faults) => name_fields(&faults)?,
            Ok(()) => {
                prop_assert!(request.max_tokens <= 2048 && request.deadline_ms > 0);
                prop_assert!(request.title.len() <= 1024 && request.item_title.len() <= 1024);
                prop_assert!(request.item_description.len() <= 16 * 1024);
                prop_assert!(request.rating.is_none_or(|x| x.abs() <= 1e6));
            }
        }
        Ok(())
    });
}

#[test]
fn fuzz_ids() {
    let id = || prop::collection::vec(any::<u8>(), 0..=token::ID_BYTES_MAX);
    fuzz("ids", &(id(), id(), ".{0,80}"), |(one, other, text)| {
        let token = token::encode(&one);
        prop_assert!(token.len() <= 3 * token::ID_BYTES_MAX && !token.is_empty());
        prop_assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b))
        );
        prop_assert_eq!(token::decode(&token), Ok(one.clone()));
        prop_assert_eq!(one == other, token == token::encode(&other));
        // No text but an encoded id decodes.
        if let Ok(id) = token::decode(&text) {
            prop_assert_eq!(token::encode(id), text.as_str());
        }
        let to = subject::extract(&text, &text, &text);
        prop_assert_eq!(to.split('.').count(), 6, "{}", to);
        prop_assert!(to.len() < 4_096 && !to.contains(['*', '>', ' ', '\r', '\n']));
        prop_assert_eq!(user_key(&text, &text).split('.').count(), 2);
        Ok(())
    });
}
