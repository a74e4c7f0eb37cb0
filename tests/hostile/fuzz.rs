//! What the fuzz tests of several packages share; included by its path, as `corpus.rs` is.
#![allow(dead_code, reason = "every package uses a part of it")]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Runs `test` on as many values as `PROPTEST_CASES` says, and tells how many.
pub fn fuzz<S: Strategy>(
    name: &str,
    values: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    println!("{name}: {} cases", config.cases);
    TestRunner::new(config).run(values, test).unwrap();
}

/// What texts that try to be more than text are made of.
pub fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9]{1,12}",
        4 => "[<>|\\[\\](){}#/:`\"=~ \n\t*_%-]{1,4}",
        2 => prop::sample::select(vec![
            "INST", "im_end", "|user|", "system:", "User\u{ff1a}", "## system", "</item>", "[gMASK]", "<0x0A>",
            "\u{ff1c}", "\u{ff3b}", "\u{ff5c}", "\u{ff3d}",
        ]).prop_map(str::to_owned),
        2 => "[\u{200b}\u{ad}\u{202e}\u{301}\u{34e}\u{fe0f}\u{feff}\0\u{1b}\u{9b}]{1,6}",
        3 => "\\PC{1,6}",
        1 => any::<Vec<char>>().prop_map(|chars| chars.into_iter().take(8).collect::<String>()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Bytes that are, up to a few, those of `good`: changed, cut, doubled or put in.
pub fn mutated(good: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..6_u8);
    let edits = prop::collection::vec(edit, 0..8);
    (prop::sample::select(good), edits).prop_map(|(mut bytes, edits)| {
        for (place, byte, kind) in edits {
            let at = place.index(bytes.len() + 1);
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 => bytes.splice(at..at, [0xff; 9]).for_each(drop),
                3 => {
                    let tail = bytes[at..].to_vec();
                    bytes.extend(tail);
                }
                _ => {
                    if let Some(there) = bytes.get_mut(at) {
                        *there = byte;
                    }
                }
            }
        }
        bytes
    })
}
