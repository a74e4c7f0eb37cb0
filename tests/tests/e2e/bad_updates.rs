//! Bad updates, as they come over NATS: each is accepted, or kept in FOIL_DEAD with a reason, and
//! the good ones around it are stored.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use foil_proto::names::{header, stream, subject};
use foil_proto::v1::{self, update::Change};
use foil_tests::{Look, Place};
use prost::Message as _;

use Expect::{Accepted, Dead};

const TENANT: &str = "demo";
const ITEM: &str = "kettle";
const TEXT: &str = "It boils, it whistles, and it stays.";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const EMBED_LIMIT: Duration = Duration::from_secs(30);

enum Expect {
    /// The user's record on this item is there.
    Accepted(&'static str),
    /// A dead letter for this reason, whose error says this.
    Dead(&'static str, &'static str),
}

/// An update, to whom it is said to belong, and what becomes of it.
type Case = (&'static str, Vec<u8>, Expect);

fn record(user: &str) -> v1::RecordUpsert {
    v1::RecordUpsert {
        user: user.to_owned(),
        item: ITEM.to_owned(),
        text: TEXT.to_owned(),
        revision: 1,
        ..v1::RecordUpsert::default()
    }
}

fn update(tenant: &str, record: v1::RecordUpsert) -> Vec<u8> {
    let update = v1::Update {
        tenant: tenant.to_owned(),
        change: Some(Change::RecordUpsert(record)),
    };
    update.encode_to_vec()
}

fn with(user: &str, change: impl FnOnce(&mut v1::RecordUpsert)) -> Vec<u8> {
    let mut record = record(user);
    change(&mut record);
    update(TENANT, record)
}

fn now_ms() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The bytes of `good` with one text in the place of another of the same length.
fn replaced(good: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = good.windows(from.len()).position(|w| w == from).unwrap();
    let mut bytes = good.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// Protobuf that is broken, or of a later version.
fn broken() -> Vec<Case> {
    let good = |user: &str| with(user, |_| {});
    // Field 200: a number; field 201: two bytes.
    let unknown: &[u8] = &[0xc0, 0x0c, 0x01, 0xca, 0x0c, 0x02, 0x68, 0x69];
    let later = [good("later"), unknown.to_vec()].concat();
    let truncated = good("cut");
    let truncated = truncated[..truncated.len() / 2].to_vec();
    // Field 99, of two bytes, is no change that is known.
    let other_change = [&[0x0a, 4][..], b"demo", &[0x9a, 0x06, 2, 8, 1]].concat();
    let utf8 = |user: &str, from: &[u8]| replaced(&good(user), from, b"\xff\xfe");
    vec![
        ("cut", truncated, Dead("undecodable", "Update.change")),
        ("none", Vec::new(), Dead("invalid", "tenant: is missing")),
        ("random", vec![0xff; 64], Dead("undecodable", "decode")),
        ("later", later, Accepted(ITEM)),
        (
            "strange",
            other_change,
            Dead("invalid", "change: is missing, or of a kind"),
        ),
        (
            "latin",
            utf8("latin", b"It"),
            Dead("undecodable", "RecordUpsert.text"),
        ),
        (
            "latinid",
            utf8("latinid", b"la"),
            Dead("undecodable", "RecordUpsert.user"),
        ),
    ]
}

/// Fields that are out of their bounds, and some that are just within.
fn fields() -> Vec<Case> {
    let text = |user: &str, text: String| with(user, |r| r.text = text);
    let at = |user: &str, ms: i64| with(user, |r| r.occurred_at_ms = ms);
    let long: &'static str = Box::leak("u".repeat(2_000).into_boxed_str());
    let invalid = |error| Dead("invalid", error);
    vec![
        (
            "blank",
            text("blank", " \n\t\u{3000}".into()),
            invalid("text: is blank"),
        ),
        (
            "empty",
            text("empty", String::new()),
            invalid("text: is blank"),
        ),
        (
            "mega",
            text("mega", "a".repeat(1_000_000)),
            invalid("text: 1000000 bytes, at most 65536"),
        ),
        (
            "tokens",
            text("tokens", "tea ".repeat(10_000)),
            Accepted(ITEM),
        ),
        (
            "nan",
            with("nan", |r| r.rating = Some(f64::NAN)),
            invalid("rating: NaN is not a finite number"),
        ),
        (
            "inf",
            with("inf", |r| r.rating = Some(f64::INFINITY)),
            invalid("rating: inf"),
        ),
        (
            "rated",
            with("rated", |r| r.rating = Some(-0.5)),
            Accepted(ITEM),
        ),
        (
            "noitem",
            with("noitem", |r| r.item.clear()),
            invalid("item: is missing"),
        ),
        ("", with("", |_| {}), invalid("user: is missing")),
        (
            "notenant",
            update("", record("notenant")),
            invalid("tenant: is missing"),
        ),
        (
            long,
            with(long, |_| {}),
            invalid("user: 2000 bytes, at most 256"),
        ),
        (
            "longitem",
            with("longitem", |r| r.item = long.into()),
            invalid("item: 2000 bytes, at most 256"),
        ),
        (
            "future",
            at("future", now_ms() + 2 * DAY_MS),
            invalid("occurred_at_ms: lies more than a day in the future"),
        ),
        ("soon", at("soon", now_ms() + DAY_MS / 2), Accepted(ITEM)),
        (
            "past",
            at("past", -DAY_MS),
            invalid("occurred_at_ms: lies before 1970"),
        ),
        (
            "norevision",
            with("norevision", |r| r.revision = 0),
            invalid("revision: is missing"),
        ),
        (
            "forged",
            with("another", |_| {}),
            invalid("user: is not the subject's"),
        ),
        (
            "abroad",
            update("acme", record("abroad")),
            invalid("tenant: is not the subject's"),
        ),
    ]
}

/// Ids that no subject may hold as they are; each is the user and the item.
const ODD_IDS: [&str; 12] = [
    "two words",
    " ",
    "dots.in.it",
    ".",
    "*",
    ">",
    "new\nline",
    "tab\tquote\"",
    "🫖 tea",
    "نعم",
    "=2E",
    "--json",
];

fn odd_ids() -> Vec<Case> {
    let case = |id: &'static str| (id, with(id, |r| r.item = id.to_owned()), Accepted(id));
    ODD_IDS.into_iter().map(case).collect()
}

async fn publish(look: &Look, user: &str, bytes: Vec<u8>) -> u64 {
    let to = subject::update(TENANT, user);
    let sent = look.jetstream.publish(to, bytes.into()).await.unwrap();
    sent.await.unwrap().sequence
}

/// Error and reason of each dead letter, by the sequence of what it is a copy of.
async fn dead_letters(place: &Place) -> BTreeMap<u64, (String, String)> {
    let list = place
        .run(["dead", "list", "--json"])
        .await
        .succeeded()
        .json();
    let letters = list["letters"].as_array().unwrap().iter();
    let text = |letter: &serde_json::Value, key: &str| letter[key].as_str().unwrap().to_owned();
    letters
        .map(|letter| {
            let sequence = letter["stream_sequence"].as_u64().unwrap();
            (sequence, (text(letter, "reason"), text(letter, "error")))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_update_is_accepted_or_kept_with_its_reason() {
    let place = Place::new();
    let _up = place.up(&[]).await;
    let look = place.look().await;
    assert_eq!(look.messages(stream::DEAD).await, 0);
    let cases: Vec<Case> = [broken(), fields(), odd_ids()]
        .into_iter()
        .flatten()
        .collect();
    let mut sequences = Vec::new();
    for (index, (user, bytes, _)) in cases.iter().enumerate() {
        sequences.push(publish(&look, user, bytes.clone()).await);
        let good = format!("good-{index}");
        publish(&look, &good, with(&good, |_| {})).await;
    }
    look.all_embedded(EMBED_LIMIT).await;

    let letters = dead_letters(&place).await;
    let mut dead = 0;
    for (index, ((user, _, expected), sequence)) in cases.iter().zip(&sequences).enumerate() {
        let user = user.escape_debug().to_string();
        let found = letters.get(sequence);
        match expected {
            Accepted(_) => assert_eq!(found, None, "{user}"),
            Dead(reason, words) => {
                dead += 1;
                let (why, error) = found.unwrap_or_else(|| panic!("{user}: no dead letter"));
                assert!(
                    why == reason && error.contains(words),
                    "{user}: {why}: {error}"
                );
            }
        }
        let good = look.records(TENANT, &format!("good-{index}")).await;
        assert_eq!(good.len(), 1, "the good one after {user}");
    }
    assert_eq!(letters.len(), dead, "{letters:#?}");
    for (user, _, expected) in &cases {
        if let Accepted(item) = expected {
            is_readable(&place, user, item).await;
        }
    }
    shown(&place, &letters).await;
}

/// By the command, as a person would.
async fn is_readable(place: &Place, user: &str, item: &str) {
    let arguments = ["differences", "--json", "--", user];
    let rows = place.run(arguments).await.succeeded().json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{user:?}");
    assert_eq!(rows[0]["item"], item, "{user:?}");
    let item = format!("--item={item}");
    let asked = ["context", "--strategy=rag", "--json", &item, "--", user];
    let context = place.run(asked).await.succeeded().json();
    assert_eq!(context["context"]["strategy"], "rag", "{user:?}");
}

/// A letter can be looked at, and the list is fit for a terminal.
async fn shown(place: &Place, letters: &BTreeMap<u64, (String, String)>) {
    let list = place.run(["dead", "list"]).await.succeeded().stdout;
    assert!(
        !list.contains('\u{1b}') && list.lines().count() > letters.len(),
        "{list}"
    );
    let list = place.run(["dead", "list", "--json"]).await.json();
    for letter in list["letters"].as_array().unwrap() {
        let sequence = letter["sequence"].as_u64().unwrap().to_string();
        let shown = place.run(["dead", "show", &sequence, "--json"]).await;
        let shown = shown.succeeded().json();
        assert_eq!(shown["error"], letter["error"]);
        let undecodable = letter["reason"] == "undecodable";
        assert_eq!(shown["undecodable"].is_string(), undecodable, "{shown}");
        assert_eq!(shown["message"].is_object(), !undecodable, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_or_older_update_changes_nothing_and_is_no_dead_letter() {
    let place = Place::new();
    let _up = place.up(&[]).await;
    let look = place.look().await;
    let revision = |number: u64| {
        with("mara", |r| {
            r.revision = number;
            r.text = format!("Written for revision {number}.");
        })
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, "one");
    for repeated in [false, true] {
        let to = subject::update(TENANT, "mara");
        let sent = look
            .jetstream
            .publish_with_headers(to, headers.clone(), revision(5).into());
        assert_eq!(sent.await.unwrap().await.unwrap().duplicate, repeated);
    }
    for number in [5, 3, 4] {
        publish(&look, "mara", revision(number)).await;
    }
    look.all_embedded(EMBED_LIMIT).await;
    let stored = look.records(TENANT, "mara").await;
    let wanted = (ITEM.to_owned(), 5, "Written for revision 5.".to_owned());
    assert_eq!(stored.into_iter().collect::<Vec<_>>(), [wanted]);
    publish(&look, "mara", revision(6)).await;
    look.all_embedded(EMBED_LIMIT).await;
    let stored = look.records(TENANT, "mara").await;
    assert_eq!(stored.first().unwrap().1, 6);
    assert_eq!(look.messages(stream::DEAD).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_no_stream_can_hold_is_refused_at_once() {
    let place = Place::new();
    let _up = place.up(&[]).await;
    let look = place.look().await;
    // Room for the reason in the copy's headers is kept, so this is less than the server takes.
    for bytes in [1_030_000, 1 << 20, 2 << 20] {
        let to = subject::update(TENANT, "giga");
        let payload = with("giga", |r| r.text = "a".repeat(bytes));
        let refused = match look.jetstream.publish(to, payload.into()).await {
            Ok(sent) => sent.await.err(),
            Err(error) => Some(error),
        };
        let error = refused.expect("it is refused").to_string();
        assert!(
            error.contains("payload") || error.contains("size"),
            "{error}"
        );
    }
    publish(&look, "mara", with("mara", |_| {})).await;
    look.all_embedded(EMBED_LIMIT).await;
    assert_eq!(look.records(TENANT, "mara").await.len(), 1);
    assert_eq!(look.messages(stream::DEAD).await, 0);
}
