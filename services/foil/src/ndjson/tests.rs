use foil_proto::v1::update::Change;

use super::*;

const NOW: i64 = 1_800_000_000_000;

fn parsed(line: &str) -> v1::Update {
    parse(line.as_bytes(), "demo", NOW).expect(line)
}

/// The faults of a line.
fn faults(line: impl AsRef<[u8]>) -> String {
    parse(line.as_ref(), "demo", NOW)
        .expect_err("a faulty line")
        .to_string()
}

/// A record whose keys are those of a good one, then `more`, of which a later one counts.
fn record(more: &str) -> String {
    format!(
        r#"{{"type":"record","user":"u","item":"i","revision":1,"text":"good text"{}{more}}}"#,
        if more.is_empty() { "" } else { "," }
    )
}

#[test]
fn every_type() {
    let update = parsed(
        r#"{"type":"record","tenant":"acme","user":"mara","item":"kettle","title":"Loud","rating":2,
        "occurred_at":"2026-03-14T18:20:00+02:00","revision":3,"text":"It sings."}"#,
    );
    assert_eq!(update.tenant, "acme");
    let expected = v1::RecordUpsert {
        user: "mara".into(),
        item: "kettle".into(),
        text: "It sings.".into(),
        title: "Loud".into(),
        rating: Some(2.0),
        occurred_at_ms: 1_773_505_200_000,
        revision: 3,
    };
    assert_eq!(update.change, Some(Change::RecordUpsert(expected)));

    let update = parsed(r#"{"type":"item","id":"kettle","title":"Kettle","description":"Boils."}"#);
    assert_eq!(update.tenant, "demo");
    let Some(Change::ItemUpsert(item)) = update.change else {
        panic!("an item")
    };
    assert_eq!((item.item.as_str(), item.revision), ("kettle", 0));

    let update = parsed(r#"{"type":"record_delete","user":"u","item":"i","revision":7}"#);
    assert!(matches!(update.change, Some(Change::RecordDelete(d)) if d.revision == 7));
    let update = parsed(r#"{"type":"user_erase","user":"u"}"#);
    assert!(matches!(update.change, Some(Change::UserErase(e)) if e.user == "u"));
    let update = parsed(r#"{"type":"peer_opt_out","user":"u","opted_out":false,"revision":2}"#);
    assert!(matches!(update.change, Some(Change::PeerOptOut(o)) if !o.opted_out));
}

#[test]
fn ids_may_hold_anything() {
    for id in ["a b", "a.b", "*", ">", "a\\nb", "🦊", "\\u0000"] {
        parsed(&record(&format!(r#""user":"{id}","item":"{id}""#)));
    }
}

#[test]
fn null_is_absent() {
    let update = parsed(&record(r#""rating":null,"title":null,"occurred_at":null"#));
    assert!(matches!(update.change, Some(Change::RecordUpsert(r)) if r.rating.is_none()));
    assert_eq!(faults(record(r#""text":null"#)), "text: is missing");
}

#[test]
fn what_a_line_may_not_hold() {
    let long = "x".repeat(2_000);
    let megabyte = "x".repeat(1_000_000);
    for (line, expected) in [
        (record(r#""text":"""#), "text: is blank"),
        (record(r#""text":" \n\t ""#), "text: is blank"),
        (
            record(&format!(r#""text":"{megabyte}""#)),
            "text: 1000000 bytes, at most 65536",
        ),
        (record(r#""user":"""#), "user: is missing"),
        (
            record(&format!(r#""user":"{long}""#)),
            "user: 2000 bytes, at most 256",
        ),
        (record(r#""tenant":"""#), "tenant: is missing"),
        (record(r#""rating":1e300"#), "rating: 1000"),
        (
            record(r#""rating":"4""#),
            "rating: is a string, expected a number",
        ),
        (
            record(r#""revision":-1"#),
            "revision: is a number, expected a whole number, 0 or more",
        ),
        (
            record(r#""revision":1.5"#),
            "revision: is a number, expected a whole number, 0 or more",
        ),
        (
            record(r#""occurred_at":"1969-12-31T23:59:59Z""#),
            "occurred_at_ms: lies before 1970",
        ),
        (
            record(r#""occurred_at_ms":-1"#),
            "occurred_at_ms: lies before 1970",
        ),
        (
            record(r#""occurred_at":"2999-01-01T00:00:00Z""#),
            "more than a day in the future",
        ),
        (
            record(r#""occurred_at":"2026-03-14""#),
            "occurred_at: is no RFC 3339 time",
        ),
        (
            record(r#""occurred_at":1"#),
            "occurred_at: is a number, expected a string",
        ),
        (
            record(r#""occurred_at_ms":"1""#),
            "occurred_at_ms: is a string, expected a whole number",
        ),
        (
            record(r#""colour":"red""#),
            "colour: is no key of a line of type record; those are type",
        ),
        (
            r#"{"type":"record"}"#.to_owned(),
            "user: is missing; item: is missing; text: is missing",
        ),
        (r#"{"user":"u"}"#.to_owned(), "type: is missing"),
        (
            r#"{"type":"reccord"}"#.to_owned(),
            "type: is none of record, item",
        ),
        (
            r#"{"type":7}"#.to_owned(),
            "type: is a number, expected a string",
        ),
        (
            r#"{"type":"record_delete","user":"u","item":"i"}"#.to_owned(),
            "revision: is missing",
        ),
        (
            r#"{"type":"peer_opt_out","user":"u","opted_out":"yes","revision":1}"#.to_owned(),
            "opted_out: is a string, expected true or false",
        ),
        ("[1]".to_owned(), "line: is an array, expected an object"),
        (
            r#"{"type":"#.to_owned(),
            "line: not JSON: EOF while parsing a value at column 8",
        ),
    ] {
        let found = faults(&line);
        let shown = &line[..line.len().min(120)];
        assert!(
            found.contains(expected),
            "{shown}: {found:?}, not {expected:?}"
        );
    }
}

#[test]
fn json_knows_no_nan_and_no_infinity() {
    for number in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let found = faults(record(&format!(r#""rating":{number}"#)));
        assert!(found.starts_with("line: not JSON: "), "{number}: {found}");
    }
}

#[test]
fn several_faults_come_at_once() {
    let found = faults(r#"{"type":"record","user":5,"rating":[],"text":"t","item":"i"}"#);
    assert_eq!(
        found,
        "user: is a number, expected a string; rating: is an array, expected a number"
    );
}

#[test]
fn invalid_utf8_is_named() {
    let line = b"{\"type\":\"user_erase\",\"user\":\"\xff\"}";
    assert_eq!(faults(line), "line: invalid UTF-8 at byte 30");
}

#[test]
fn faults_hold_no_text_of_a_user() {
    let found = faults(record(r#""text":["my secret diary"],"title":7"#));
    assert!(!found.contains("diary"), "{found}");
}

async fn lines(input: &[u8]) -> Vec<(u64, Line)> {
    // A small buffer, so that a line comes in many parts.
    let mut lines = Lines::new(tokio::io::BufReader::with_capacity(7, input));
    let mut all = Vec::new();
    while let Some(line) = lines.next().await.expect("memory can be read") {
        all.push(line);
    }
    assert_eq!(lines.bytes(), input.len() as u64);
    all
}

fn text(text: &str) -> Line {
    Line::Text(text.as_bytes().to_vec())
}

#[tokio::test]
async fn blank_lines_count_but_do_not_come() {
    let found = lines(b"\xef\xbb\xbfone\r\n\n  \t\nfour, which is longer\nfive").await;
    let expected = vec![
        (1, text("one\r")),
        (4, text("four, which is longer")),
        (5, text("five")),
    ];
    assert_eq!(found, expected);
    assert_eq!(lines(b"").await, vec![]);
}

#[tokio::test]
async fn a_line_that_is_too_long_does_not_stop_the_rest() {
    let mut input = vec![b'x'; LINE_BYTES_MAX];
    input.push(b'\n');
    input.extend(vec![b'y'; LINE_BYTES_MAX + 1]);
    input.extend(b"\nlast\n");
    let found = lines(&input).await;
    assert!(matches!(&found[0], (1, Line::Text(t)) if t.len() == LINE_BYTES_MAX));
    assert_eq!(found[1..], [(2, Line::TooLong), (3, text("last"))]);
}
