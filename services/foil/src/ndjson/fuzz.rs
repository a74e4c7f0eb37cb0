//! Lines and streams of lines under random input. `PROPTEST_CASES` makes it longer.

use crate::random::{fuzz, mutated, pieces};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000_000;
/// Every field a fault may begin with, beside a key that the line itself has.
const FIELDS: [&str; 20] = [
    "line",
    "type",
    "tenant",
    "user",
    "item",
    "id",
    "text",
    "title",
    "rating",
    "occurred_at",
    "occurred_at_ms",
    "revision",
    "description",
    "opted_out",
    "change",
    "item_title",
    "item_description",
    "strategy",
    "deadline_ms",
    "tenant_erase.tenant",
];

fn good() -> Vec<Vec<u8>> {
    [
        r#"{"type":"record","user":"u","item":"i","text":"good","title":"t","rating":2.5,"occurred_at":"2026-03-14T18:20:00Z","revision":3}"#,
        r#"{"type":"item","id":"kettle","title":"Kettle","description":"Boils.","revision":0}"#,
        r#"{"type":"record_delete","user":"u","item":"i","revision":7}"#,
        r#"{"type":"user_erase","user":"u","tenant":"t"}"#,
        r#"{"type":"peer_opt_out","user":"u","opted_out":true,"revision":2}"#,
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec()
}

fn name_fields(faults: &check::Faults) -> Result<(), TestCaseError> {
    prop_assert!(
        !faults.0.is_empty() && faults.0.len() <= 24,
        "{}",
        faults.0.len()
    );
    for fault in &faults.0 {
        prop_assert!(fault.len() <= 1_000, "{} bytes", fault.len());
        let field = fault.split(": ").next().unwrap_or_default();
        let unknown = fault.contains(": is no key of a line of type ");
        prop_assert!(unknown || FIELDS.contains(&field), "{fault}");
        prop_assert!(!fault.chars().any(char::is_control), "{fault:?}");
    }
    Ok(())
}

fn check_line(line: &[u8]) -> Result<(), TestCaseError> {
    match parse(line, "demo", NOW) {
        Ok(update) => {
            prop_assert!(check::update(&update, NOW).is_ok());
            prop_assert!(!update.tenant.is_empty());
            let size = prost::Message::encoded_len(&update);
            prop_assert!(size <= line.len() + 64, "{size} bytes of {}", line.len());
        }
        Err(faults) => name_fields(&faults)?,
    }
    Ok(())
}

#[test]
fn fuzz_lines() {
    let keys = prop::collection::hash_map(pieces(), pieces(), 0..20);
    let objects = keys.prop_map(|keys| {
        let mut object = serde_json::json!({ "type": "record", "user": 1, "item": [], "text": {} });
        for (key, value) in keys {
            object[key] = value.into();
        }
        object.to_string().into_bytes()
    });
    let nested = (0..3_000_usize).prop_map(|deep| "[{\"a\":".repeat(deep).into_bytes());
    let lines = prop_oneof![
        6 => mutated(good()),
        2 => pieces().prop_map(String::into_bytes),
        2 => objects,
        1 => nested,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    fuzz("lines", &lines, |line| check_line(&line));
}

/// A line whose text is this hostile case is published or refused by name.
#[test]
fn hostile_texts_in_every_field_of_a_line() {
    let cases = crate::corpus::corpus();
    for case in &cases {
        let text = case.text.as_str();
        for (kind, key) in [
            ("record", "user"),
            ("record", "item"),
            ("record", "text"),
            ("record", "title"),
            ("record", "tenant"),
            ("record", "occurred_at"),
            ("record", "colour"),
            ("item", "title"),
            ("item", "description"),
            ("no such kind", "user"),
        ] {
            let mut line = serde_json::json!({
                "type": kind, "user": "u", "text": "t", "revision": 1, "item": "i",
            });
            if kind == "item" {
                line = serde_json::json!({ "type": kind, "id": "i" });
            }
            line[key] = text.into();
            let checked = check_line(line.to_string().as_bytes());
            checked.unwrap_or_else(|fault| panic!("{} as {key}: {fault}", case.name));
        }
    }
    println!("{} hostile texts", cases.len());
}

/// What a simple reader of all the bytes would give.
fn expected(input: &[u8]) -> Vec<(u64, Line)> {
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if number == 1 && line.len() <= LINE_BYTES_MAX => rest,
            _ => line,
        };
        if line.len() > LINE_BYTES_MAX {
            found.push((number, Line::TooLong));
        } else if !line.trim_ascii().is_empty() {
            found.push((number, Line::Text(line.to_vec())));
        }
    }
    found
}

#[test]
fn fuzz_reader() {
    let piece = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40),
        3 => Just(b"\n".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(BYTE_ORDER_MARK.to_vec()),
        1 => prop::sample::select(good()),
        1 => (0..4_usize).prop_map(|more| vec![b'x'; LINE_BYTES_MAX + more - 2]),
    ];
    let inputs = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    fuzz("reader", &(inputs, 1..5_000_usize), |(input, buffer)| {
        let read = async {
            let mut lines = Lines::new(tokio::io::BufReader::with_capacity(buffer, &input[..]));
            let mut found = Vec::new();
            while let Some(line) = lines.next().await.expect("memory can be read") {
                found.push(line);
            }
            (found, lines.bytes())
        };
        let (found, bytes) = runtime.block_on(read);
        prop_assert_eq!(bytes, input.len() as u64);
        prop_assert!(found == expected(&input));
        Ok(())
    });
}
